"""Layers: each layer of each strategy is an asset with a table of verdicts. They are pure functions of the facts."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date

import dagster as dg
import polars as pl

from tradebot_core.calendar import TradingCalendar
from tradebot_core.trading import audit
from tradebot_core.trading.stored_markets import LayerPart
from tradebot_core.wiring import Sleeve, Tradebot
from tradebot_dagster.defs import checks
from tradebot_dagster.defs.collect import TABLE_OF_EVENT, collectors_of
from tradebot_dagster.factories import Report, range_of, session_assets, table, text_of
from tradebot_dagster.resources import Research


def layer_keys(sleeve: Sleeve) -> list[dg.AssetKey]:
    return [dg.AssetKey([sleeve.name, layer.name]) for layer in sleeve.strategy.layers()]


def layer_assets(sleeve: Sleeve, tradebot: Tradebot, partitions: dg.PartitionsDefinition) -> list[dg.AssetsDefinition]:
    """The first layer rests on the facts the strategy subscribes to, each later one on the layer before. They are made in one step: what
    they judge is laid out once for all of them."""
    name, keys = sleeve.name, layer_keys(sleeve)
    subscribed = collectors_of(
        tradebot, *(TABLE_OF_EVENT[kind] for kind in sleeve.strategy.subscriptions if kind in TABLE_OF_EVENT)
    )
    soundness = checks.of_first_layer(keys[0])

    def run_layers(
        context: dg.AssetExecutionContext, research: Research, sessions: Sequence[date], wanted: Sequence[dg.AssetKey]
    ) -> dict[dg.AssetKey, Report]:
        parts = research.layers_by_year(name, [key.path[-1] for key in wanted], sessions)
        told = told_by(parts, research.calendar, context.log.info)
        judged = soundness.results(told[keys[0].path[-1]], sessions) if keys[0] in wanted else []
        made = wanted
        if not all(result.passed for result in judged):  # what rests on data that fails a blocking check is not made
            made = keys[:1]
            research.forget_layers(name, [key.path[-1] for key in wanted[1:]], sessions)
        reports = {key: Report(told[key.path[-1]].summary(sessions), told[key.path[-1]].counts) for key in made}
        return {key: replace(report, checks=judged) if key == keys[0] else report for key, report in reports.items()}

    specs = [
        _layer_spec(sleeve, key, deps) for key, deps in zip(keys, [subscribed, *([key] for key in keys[:-1])], strict=True)
    ]
    return [session_assets(f"{name}__layers", specs, run_layers, partitions, soundness.specs)]


def _layer_spec(sleeve: Sleeve, key: dg.AssetKey, deps: Sequence[dg.AssetKey]) -> dg.AssetSpec:
    strategy, layer = key.path
    seen = "every security of the universe" if key == layer_keys(sleeve)[0] else f"what passed {deps[0].path[-1]}"
    return dg.AssetSpec(
        key,
        deps=deps,
        group_name=strategy,
        description=f"The verdict of layer {layer} on {seen}: passed or not, by which rule, value and threshold.\n\n"
        f"{text_of(type(sleeve.strategy))}".strip(),
        kinds={"polars", "parquet"},
        owners=["team:research"],
        code_version=sleeve.fingerprint,
        skippable=True,
    )


def told_by(
    parts: Iterable[LayerPart], calendar: TradingCalendar, progress: Callable[[str], None] | None = None
) -> Mapping[str, "Told"]:
    """What was said, by layer."""
    told: dict[str, Told] = defaultdict(Told)
    for part in parts:
        told[part.layer].hear(part, calendar)
        if progress is not None:
            progress(f"{part.layer}, {range_of(part.sessions)}: {len(part.verdicts):,} verdicts.")
    return told


@dataclass
class Told:
    """What a layer said, summed up a year at a time."""

    counts: dict[date, dict[str, int]] = field(default_factory=dict)
    known_too_late: list[pl.DataFrame] = field(default_factory=list)
    _rejecting: list[pl.DataFrame] = field(default_factory=list)
    _last: pl.DataFrame = field(default_factory=pl.DataFrame)

    def hear(self, part: LayerPart, calendar: TradingCalendar) -> None:
        verdicts = part.verdicts
        counted = verdicts.group_by("session").agg(seen=pl.len(), passed=pl.col("passed").sum()).sort("session")
        self.counts |= {
            session: {"seen_in_session": seen, "passed_in_session": passed} for session, seen, passed in counted.iter_rows()
        }
        rejected = verdicts.filter(~pl.col("passed")).group_by("rule", "threshold")
        self._rejecting.append(
            rejected.agg(rejected=pl.len(), median_value=pl.col("value").median(), value_missing=pl.col("value").null_count())
        )
        self._last = verdicts.filter(pl.col("session") == part.sessions[-1], "passed").select("symbol", pl.selectors.float())
        self.known_too_late.append(audit.known_too_late(part.rows, part.sessions, calendar))

    def summary(self, sessions: Sequence[date]) -> dict[str, object]:
        seen, passed = (sum(count[f"{name}_in_session"] for count in self.counts.values()) for name in ("seen", "passed"))
        rejecting = (
            pl.concat(self._rejecting)
            .group_by("rule", "threshold", maintain_order=True)
            .agg(
                pl.col("rejected").sum(),
                median_value_in_last_year=pl.col("median_value").last(),
                value_missing=pl.col("value_missing").sum(),
            )
            .sort("rejected", "rule", descending=[True, False])
        )
        return {
            "dagster/row_count": seen,
            "sessions": range_of(sessions),
            "passed": passed,
            "passed_share": round(passed / seen, 4) if seen else None,
            "rejecting_rules": table(rejecting),
            f"passed_on_{sessions[-1]}": table(self._last),
        }
