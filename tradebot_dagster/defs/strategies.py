"""Layers: each layer of each strategy is an asset with a table of verdicts. They are pure functions of the facts."""

from collections.abc import Sequence
from datetime import date

import dagster as dg
import polars as pl

from tradebot_core.wiring import Sleeve, Tradebot
from tradebot_dagster.defs import checks
from tradebot_dagster.defs.collect import TABLE_OF_EVENT, collectors_of
from tradebot_dagster.factories import Report, range_of, session_asset, table, text_of
from tradebot_dagster.resources import Research


def layer_keys(sleeve: Sleeve) -> list[dg.AssetKey]:
    return [dg.AssetKey([sleeve.name, layer.name]) for layer in sleeve.strategy.layers()]


def layer_assets(sleeve: Sleeve, tradebot: Tradebot, partitions: dg.PartitionsDefinition) -> list[dg.AssetsDefinition]:
    """The first layer rests on the facts the strategy subscribes to, each later one on the layer before."""
    subscribed = collectors_of(
        tradebot, *(TABLE_OF_EVENT[kind] for kind in sleeve.strategy.subscriptions if kind in TABLE_OF_EVENT)
    )
    keys = layer_keys(sleeve)
    upstream = [subscribed, *([key] for key in keys[:-1])]
    return [_layer_asset(sleeve, key, deps, partitions) for key, deps in zip(keys, upstream, strict=True)]


def _layer_asset(
    sleeve: Sleeve, key: dg.AssetKey, deps: Sequence[dg.AssetKey], partitions: dg.PartitionsDefinition
) -> dg.AssetsDefinition:
    strategy, layer = key.path
    is_first = key == layer_keys(sleeve)[0]
    soundness = checks.of_first_layer(key) if is_first else checks.Checks(key, [])
    seen = "every security of the universe" if is_first else f"what passed {deps[0].path[-1]}"

    def run_layer(context: dg.AssetExecutionContext, research: Research, sessions: Sequence[date]) -> Report:
        verdicts = research.run_layer(strategy, layer, sessions)
        return Report(_summary(verdicts, sessions), _counts(verdicts), soundness.results(research, sessions))

    return session_asset(
        key.path,
        run_layer,
        Research,
        partitions,
        group=strategy,
        description=f"The verdict of layer {layer} on {seen}: passed or not, by which rule, value and threshold.\n\n"
        f"{text_of(type(sleeve.strategy))}".strip(),
        deps=deps,
        kinds={"polars", "parquet"},
        owner="research",
        checks=soundness.specs,
        code_version=sleeve.fingerprint,
    )


def _summary(verdicts: pl.DataFrame, sessions: Sequence[date]) -> dict[str, object]:
    passed = int(verdicts["passed"].sum())
    rejecting = (
        verdicts.filter(~pl.col("passed"))
        .group_by("rule", "threshold")
        .agg(rejected=pl.len(), median_value=pl.col("value").median(), value_missing=pl.col("value").null_count())
        .sort("rejected", "rule", descending=[True, False])
    )
    last = verdicts.filter(pl.col("session") == sessions[-1], "passed").select("symbol", pl.selectors.float())
    return {
        "dagster/row_count": len(verdicts),
        "sessions": range_of(sessions),
        "passed": passed,
        "passed_share": round(passed / len(verdicts), 4) if len(verdicts) else None,
        "rejecting_rules": table(rejecting),
        f"passed_on_{sessions[-1]}": table(last),
    }


def _counts(verdicts: pl.DataFrame) -> dict[date, dict[str, int]]:
    counted = verdicts.group_by("session").agg(seen=pl.len(), passed=pl.col("passed").sum())
    return {row.pop("session"): {f"{name}_in_session": n for name, n in row.items()} for row in counted.iter_rows(named=True)}
