"""The tables that can be exported, and how each is read."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime

import polars as pl

from tradebot_core.calendar import NEW_YORK
from tradebot_core.errors import UsageError
from tradebot_core.model.event import EventType
from tradebot_core.model.tables import (
    BARS,
    DECISIONS,
    EQUITY,
    FACT_TABLES,
    FILLS,
    FUNDAMENTALS,
    INSTANT,
    LAYERS,
    POSITIONS,
    SECURITIES,
)
from tradebot_core.model.tables import FACTS as FACTS_TABLE
from tradebot_core.quant.adjust import Adjustment
from tradebot_core.trading.adjusted_bars import adjusted_bars
from tradebot_core.trading.company import Reports, versions_of
from tradebot_core.trading.fundamentals_view import Period, fundamentals_as_of
from tradebot_core.trading.holdings import live_equity, live_positions
from tradebot_core.trading.live import LIVE
from tradebot_core.trading.order_trail import orders_with_state
from tradebot_core.trading.security_master import with_last_price
from tradebot_core.trading.stored_markets import MARKET
from tradebot_core.wiring import Tradebot
from tradebot_dagster.cli.output import plain

_EVENT_COLUMNS = {
    "type": pl.String,
    "symbol": pl.String,
    "timestamp": INSTANT,  # known_at
    "ingested_at": INSTANT,
    "source": pl.String,
    "payload": pl.String,  # JSON
}


@dataclass(frozen=True)
class Selection:
    strategy: str | None
    book: str
    layer: str | None
    start: date | None
    end: date | None
    as_of: datetime
    reports: Reports = Reports.ALL
    period: Period = Period.TWELVE_MONTHS
    adjusted: Adjustment | None = None  # of bars


def table_of(bot: Tradebot, table: str, wanted: Selection) -> pl.DataFrame:
    """Rows in a fixed order."""
    if table == BARS.name and wanted.adjusted is not None:
        return adjusted_bars(bot.store, wanted.adjusted, wanted.as_of, wanted.start, wanted.end)
    if table == FUNDAMENTALS.name:
        return fundamentals_as_of(bot.store, wanted.as_of, wanted.period, wanted.start, wanted.end)
    if table == FACTS_TABLE.name:
        reports = bot.store.read if wanted.reports is Reports.ALL else bot.store.read_versions
        return versions_of(reports(FACTS_TABLE, as_of=wanted.as_of, start=wanted.start, end=wanted.end), wanted.reports)
    if table == SECURITIES.name:
        return _securities(bot, wanted)
    if table in FACTS:
        return bot.store.read(FACT_TABLES[table], as_of=wanted.as_of, start=wanted.start, end=wanted.end)
    if table in _OF_A_STRATEGY:
        return _OF_A_STRATEGY[table](bot, wanted)
    return _OTHERS[table](bot, wanted)


def _securities(bot: Tradebot, wanted: Selection) -> pl.DataFrame:
    """The security master, with the last price of what is no longer listed. A listing that ended later than the instant asked about had
    no end then."""
    known = bot.store.read(SECURITIES, as_of=wanted.as_of, start=wanted.start, end=wanted.end)
    day = wanted.as_of.astimezone(NEW_YORK).date()
    as_it_was = known.with_columns(valid_to=pl.when(pl.col("valid_to") <= day).then("valid_to").otherwise(date.max))
    return with_last_price(as_it_was, bot.store.read(BARS, as_of=wanted.as_of))


def _layers(bot: Tradebot, wanted: Selection) -> pl.DataFrame:
    assert wanted.strategy is not None
    names = [layer.name for layer in bot.tested(wanted.strategy).strategy.layers()]
    if wanted.layer is not None and wanted.layer not in names:
        raise UsageError(f"{wanted.strategy} has no layer {wanted.layer}.", f"Its layers are {', '.join(names)}.")
    frames = []
    for name in names if wanted.layer is None else [wanted.layer]:
        rows = bot.store.read_results(LAYERS, wanted.strategy, MARKET, wanted.start, wanted.end, name)
        frames.append(rows.select(pl.col("session"), pl.lit(name).alias("layer"), pl.exclude("session")))
    return pl.concat(frames, how="diagonal_relaxed")


def _decisions(bot: Tradebot, wanted: Selection) -> pl.DataFrame:
    return bot.store.read_results(DECISIONS, wanted.strategy or "", wanted.book, wanted.start, wanted.end)


def _orders(bot: Tradebot, wanted: Selection) -> pl.DataFrame:
    return orders_with_state(bot.store, wanted.strategy or "", wanted.book, wanted.start, wanted.end)


def _fills(bot: Tradebot, wanted: Selection) -> pl.DataFrame:
    if wanted.book == LIVE:
        return bot.store.ledger.fills(wanted.strategy or "", wanted.start, wanted.end)
    return bot.store.read_results(FILLS, wanted.strategy or "", wanted.book, wanted.start, wanted.end)


def _positions(bot: Tradebot, wanted: Selection) -> pl.DataFrame:
    if wanted.book == LIVE:
        return live_positions(bot.markets, wanted.strategy or "", _live_sessions(bot, wanted))
    return bot.store.read_results(POSITIONS, wanted.strategy or "", wanted.book, wanted.start, wanted.end)


def _equity(bot: Tradebot, wanted: Selection) -> pl.DataFrame:
    if wanted.book == LIVE:
        return live_equity(bot.markets, wanted.strategy or "", _live_sessions(bot, wanted))
    return bot.store.read_results(EQUITY, wanted.strategy or "", wanted.book, wanted.start, wanted.end)


def _live_sessions(bot: Tradebot, wanted: Selection) -> Sequence[date]:
    """The sessions wanted, from the first entry of the ledger to the last session that is over."""
    entries = bot.store.ledger.entries(wanted.strategy or "")
    if not entries:
        return []
    last = bot.calendar.last_cut_off(bot.clock.now())
    start = max(wanted.start or entries[0].session, entries[0].session)
    end = min(wanted.end or last, last)
    return bot.calendar.sessions(start, end) if start <= end else []


def _events(bot: Tradebot, wanted: Selection) -> pl.DataFrame:
    types = [kind for kind in EventType if kind is not EventType.SESSION_CLOSE]
    end = bot.calendar.last_cut_off(bot.clock.now())
    rows = [
        (str(e.type), e.symbol, e.timestamp, e.ingested_at, e.source, _payload(e.payload))
        for e in bot.store.events(wanted.start or date.min, min(wanted.end or end, end), types)
    ]
    return pl.DataFrame(rows, schema=_EVENT_COLUMNS, orient="row")


def _payload(payload: object) -> str:
    fields = asdict(payload)  # type: ignore[call-overload]
    fields.pop("provenance", None)
    return json.dumps(fields, default=plain, sort_keys=True)


def _quarantine(bot: Tradebot, wanted: Selection) -> pl.DataFrame:
    within = pl.col("ingested_at").dt.date().is_between(wanted.start or date.min, wanted.end or date.max)
    return bot.store.quarantined().filter(within)


_Read = Callable[[Tradebot, Selection], pl.DataFrame]
_OF_A_STRATEGY: dict[str, _Read] = {
    "layers": _layers,
    "decisions": _decisions,
    "orders": _orders,
    "fills": _fills,
    "positions": _positions,
    "equity": _equity,
}
_OTHERS: dict[str, _Read] = {"events": _events, "quarantine": _quarantine}
FACTS = tuple(FACT_TABLES)
OF_A_STRATEGY = tuple(_OF_A_STRATEGY)
TABLES = (*FACTS, *OF_A_STRATEGY, *_OTHERS)
