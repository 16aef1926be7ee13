"""After the close: facts from their sources into the store, one asset for each configured collector."""

from collections.abc import Sequence
from datetime import date

import dagster as dg
import polars as pl

from tradebot_core.interfaces import Collector
from tradebot_core.model.event import EventType
from tradebot_core.model.tables import ACTIONS, BARS, FACTS, SECURITIES, FactTable
from tradebot_core.trading.collection import Collected
from tradebot_core.wiring import Tradebot
from tradebot_dagster.defs import checks
from tradebot_dagster.factories import Report, range_of, session_asset, table, text_of
from tradebot_dagster.resources import Research
from tradebot_dagster.telling import heard_by

GROUP = "facts"
_SOURCE_KINDS = {
    "edgar": "sec",
    "sec": "sec",
    "ibkr": "ibkr",
    "file": "csv",
    "lean": "csv",
}  # by how the collector's module begins
_ABOUT = {
    SECURITIES.name: "The security master: which company and share class a symbol stands for, and when it was listed.",
    BARS.name: "Daily bars: raw prices in USD as traded. They are adjusted for splits and dividends when they are read.",
    ACTIONS.name: "Splits, dividends and delistings, by the session on which they take effect.",
    FACTS.name: "Reported figures, each with the filing it stands in and the instant from which it was public. "
    "The fundamentals of each company are computed from them.",
}
# The facts a strategy may subscribe to, and the table that a collector of them fills.
TABLE_OF_EVENT = {
    EventType.SECURITY: SECURITIES,
    EventType.CORPORATE_ACTION: ACTIONS,
    EventType.FUNDAMENTALS: FACTS,
    EventType.PRICE_BAR: BARS,
}


def collector_assets(tradebot: Tradebot, partitions: dg.PartitionsDefinition) -> list[dg.AssetsDefinition]:
    return [_collector_asset(name, tradebot, partitions) for name in tradebot.collectors]


def collectors_of(tradebot: Tradebot, *tables: FactTable) -> list[dg.AssetKey]:
    """The assets that fill these tables."""
    return [dg.AssetKey(name) for name, collector in tradebot.collectors.items() if collector.table in tables]


def _collector_asset(name: str, tradebot: Tradebot, partitions: dg.PartitionsDefinition) -> dg.AssetsDefinition:
    collector = tradebot.collectors[name]
    soundness = checks.of_collector(dg.AssetKey(name), collector.table)

    def collect(context: dg.AssetExecutionContext, research: Research, sessions: Sequence[date]) -> Report:
        with heard_by(context.log.info):
            collected = research.collect(name, sessions)
        return Report(_summary(collected, sessions), checks=soundness.results(research, sessions))

    return session_asset(
        [name],
        collect,
        Research,
        partitions,
        group=GROUP,
        description=f"{_ABOUT[collector.table.name]}\n\n{text_of(type(collector))}".strip(),
        deps=_securities_before(name, tradebot),
        kinds={"parquet", _source_kind(collector)},
        owner="data",
        checks=soundness.specs,
    )


def _securities_before(name: str, tradebot: Tradebot) -> list[dg.AssetKey]:
    """Facts need the securities; of several sources of securities each comes after those configured before it, whose word stands."""
    names = list(tradebot.collectors)
    sources = collectors_of(tradebot, SECURITIES)
    if tradebot.collectors[name].table is not SECURITIES:
        return sources
    return [key for key in sources if names.index(key.to_user_string()) < names.index(name)]


def _source_kind(collector: Collector) -> str:
    module = type(collector).__module__.rpartition(".")[2]
    return next((kind for start, kind in _SOURCE_KINDS.items() if module.startswith(start)), "python")


def _summary(collected: Collected, sessions: Sequence[date]) -> dict[str, object]:
    refusals = pl.DataFrame(collected.refusals, schema={"rule": pl.String, "records": pl.Int64}, orient="row")
    return {
        "dagster/row_count": collected.seen_rows,
        "sessions": range_of(sessions),
        "new_rows": collected.new_rows,
        "refused_records": collected.refused,
        **({"refused_by_rule": table(refusals)} if collected.refused else {}),
    }
