"""A strategy's backtest as a Dagster run in a process of its own, with our ops or with ops that do nothing.

The empty graph has the keys, dependencies, partitions, checks and event log of ours, and what an op reports of each session has the size
of what ours report. What it costs is Dagster's share.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import dagster as dg

from tradebot_core.config import load_config
from tradebot_core.wiring import Tradebot, load
from tradebot_dagster.defs import definitions_of
from tradebot_dagster.defs.jobs import backtest_job_name, shadow_keys
from tradebot_dagster.factories import Report, _attach, range_of, sessions_of
from tradebot_dagster.instance import instance

ROOT = Path(__file__).parents[2]
STRATEGY = "qv20"
OF_LAYERS = {"seen_in_session": 3000, "passed_in_session": 1500}
OF_LAST = {"backtest": {"equity": 1234567.89}, "performance": {}}  # by step; of every other, as of layers


@dataclass(frozen=True)
class Cost:
    wall_s: float
    cpu_s: float  # of the process and those it started
    peak_mib: float


def run_apart(config: Path, first: str, last: str, empty: bool) -> Cost:
    """The run over the sessions from `first` to `last`, from the start of its process to its end."""
    command = [
        sys.executable,
        "-m",
        "benchmarks.backtests.empty_graph",
        str(config),
        first,
        last,
        *(["--empty"] if empty else []),
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"}
    began = time.perf_counter()
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(command, env=environment, stdout=said, stderr=subprocess.STDOUT)
        _, status, used = os.wait4(process.pid, 0)
        if status:
            said.seek(0)
            sys.exit(f"{' '.join(command)} ended with {status}:\n{said.read()[-3000:]}")
    return Cost(time.perf_counter() - began, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", type=Path)
    parser.add_argument("first")
    parser.add_argument("last")
    parser.add_argument("--empty", action="store_true")
    given = parser.parse_args()
    tradebot = load(given.config)
    job = backtest_job(tradebot, STRATEGY, given.empty)
    tags = {"dagster/asset_partition_range_start": given.first, "dagster/asset_partition_range_end": given.last}
    quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
    with instance(load_config(given.config)) as records:
        job.execute_in_process(quiet, instance=records, tags=tags)  # raises what failed


def backtest_job(tradebot: Tradebot, strategy: str, empty: bool) -> dg.JobDefinition:
    """From the layers to the figures."""
    real, name = definitions_of(tradebot), backtest_job_name(strategy)
    if not empty:
        return real.resolve_job_def(name)
    keys = {*shadow_keys(tradebot.sleeve(strategy))}
    emptied = [_emptied(asset, tradebot) for asset in real.resolve_asset_graph().assets_defs if keys >= asset.keys]
    job = dg.define_asset_job(name, partitions_def=emptied[0].partitions_def)
    return dg.Definitions(emptied, jobs=[job], executor=dg.in_process_executor).resolve_job_def(name)


def _emptied(asset: dg.AssetsDefinition, tradebot: Tradebot) -> dg.AssetsDefinition:
    @dg.multi_asset(
        name=asset.op.name,
        specs=list(asset.specs),
        check_specs=list(asset.check_specs),
        partitions_def=asset.partitions_def,
        backfill_policy=asset.backfill_policy,
    )
    def nothing(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult]:
        sessions = sessions_of(context, tradebot.calendar)
        for spec in asset.specs:
            numbers = OF_LAST.get(spec.key.path[-1], OF_LAYERS)
            reported = dict.fromkeys(sessions, numbers) if numbers else {}
            _attach(context, Report({"sessions": range_of(sessions)}, reported), spec.key)
            own = [check for check in asset.check_specs if check.asset_key == spec.key]
            passed = [dg.AssetCheckResult(passed=True, check_name=check.name, asset_key=spec.key) for check in own]
            yield dg.MaterializeResult(asset_key=spec.key, check_results=passed)

    return nothing


if __name__ == "__main__":
    main()
