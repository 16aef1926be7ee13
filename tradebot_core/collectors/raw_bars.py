"""Daily bars as they were read from somebody's files: which of them may enter the store, and when each was known."""

from collections.abc import Sequence
from datetime import date, timedelta

import polars as pl

from tradebot_core.calendar import TradingCalendar
from tradebot_core.collectors import tabular
from tradebot_core.interfaces import Batch, Rejected
from tradebot_core.model.tables import BARS, INSTANT

_PRICES = ("open", "high", "low", "close")
NUMBERS = (*_PRICES, "volume")
_AFTER_CLOSE = timedelta(minutes=15)  # closing auctions and late prints are in by then
_SCHEMA = pl.Schema({**BARS.columns, "known_at": INSTANT})
_RULES = {
    "unreadable_session": (pl.col("session").is_null(), "the session is not a day (YYYY-MM-DD)"),
    "not_a_session": (pl.col("known_at").is_null(), "the New York exchange was closed on that day"),
    "missing_value": (
        pl.any_horizontal(pl.col(*NUMBERS).is_null()),
        "open, high, low, close and volume must be numbers",
    ),
    "not_finite": (~pl.all_horizontal(pl.col(*NUMBERS).is_finite()), "a value is NaN or infinite"),
    "price_not_positive": (pl.min_horizontal(*_PRICES) <= 0, "a price is zero or negative"),
    "negative_volume": (pl.col("volume") < 0, "the volume is negative"),
    "high_below_low": (pl.col("high") < pl.col("low"), "the high is below the low"),
    "outside_range": (
        ~pl.all_horizontal(pl.col("open", "close").is_between(pl.col("low"), pl.col("high"))),
        "open or close lies outside low and high",
    ),
    "conflicting_bars": (
        tabular.conflicting(BARS.key, BARS.content),
        "the security has several different bars for the session",
    ),
}


def batch_of(
    rows: pl.DataFrame, unlisted: Sequence[Rejected], calendar: TradingCalendar, start: date, end: date, source: str
) -> Batch:
    """The bars of sessions from `start` to `end`, of rows with security_id, session, prices, volume and the row as `written`."""
    closes = pl.DataFrame(
        [(session, calendar.closes_at(session) + _AFTER_CLOSE) for session in calendar.sessions(start, end)],
        schema={"session": pl.Date, "known_at": INSTANT},
        orient="row",
    )
    rows = rows.join(closes, on="session", how="left", maintain_order="left").with_columns(
        pl.col(*NUMBERS).cast(pl.Float64, strict=False)
    )
    bars, rejected = tabular.judge(rows, _RULES)
    return Batch(
        BARS,
        bars.select(_SCHEMA.names()).unique(BARS.key, keep="first").sort(BARS.key).cast(dict(_SCHEMA)),
        source=source,
        rejected=(*unlisted, *rejected),
    )
