"""The graph of a configuration with ops that do nothing: keys, dependencies, partitions, checks, resources and event log are the
project's own, and what an op reports of each session has the size of what ours report. What it costs to run is Dagster's share.
"""

from collections.abc import Sequence
from datetime import date
from typing import Any

import dagster as dg

from tradebot_core.wiring import Tradebot
from tradebot_dagster.defs import definitions_of
from tradebot_dagster.defs.jobs import backtest_job_name, shadow_keys
from tradebot_dagster.factories import Report, Work, range_of, session_asset
from tradebot_dagster.resources import Research

OF_LAYERS = {"seen_in_session": 3000, "passed_in_session": 1500}
OF_BACKTEST = {"equity": 1234567.89}


def backtest_job(tradebot: Tradebot, strategy: str, empty: bool) -> dg.JobDefinition:
    """The strategy's backtest from its layers to its figures, or the same with ops that do nothing."""
    real = definitions_of(tradebot)
    if not empty:
        return real.resolve_job_def(backtest_job_name(strategy))
    keys = set(shadow_keys(tradebot.sleeve(strategy)))
    assets = [_emptied(asset) for asset in real.resolve_asset_graph().assets_defs if asset.key in keys]
    name = backtest_job_name(strategy)
    job = dg.define_asset_job(name, partitions_def=assets[0].partitions_def)
    resources = {"research": Research(tradebot)}
    return dg.Definitions(assets, jobs=[job], resources=resources, executor=dg.in_process_executor).resolve_job_def(name)


def _emptied(asset: dg.AssetsDefinition) -> dg.AssetsDefinition:
    spec = asset.get_asset_spec()
    assert asset.partitions_def is not None and spec.group_name is not None
    return session_asset(
        spec.key.path,
        _nothing(spec.key, list(asset.check_specs)),
        Research,
        asset.partitions_def,
        group=spec.group_name,
        description=spec.description or "",
        deps=spec.deps,
        kinds=spec.kinds,
        owner="research",
        checks=list(asset.check_specs),
        code_version=spec.code_version,
    )


def _nothing(key: dg.AssetKey, checks: Sequence[dg.AssetCheckSpec]) -> Work:
    step = key.path[-1]
    numbers = {"performance": {}, "backtest": OF_BACKTEST}.get(step, OF_LAYERS)

    def work(_context: dg.AssetExecutionContext, _given: Any, sessions: Sequence[date]) -> Report:
        passed = [dg.AssetCheckResult(passed=True, check_name=check.name, asset_key=key) for check in checks]
        return Report({"sessions": range_of(sessions)}, dict.fromkeys(sessions, numbers) if numbers else {}, passed)

    return work
