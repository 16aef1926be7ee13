"""Daily bars from CSV or Parquet files: raw prices in USD as traded, volume in shares."""

from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import ClassVar

import polars as pl

from tradebot_core.calendar import TradingCalendar
from tradebot_core.collectors import tabular
from tradebot_core.config import Settings
from tradebot_core.errors import CorruptInput
from tradebot_core.interfaces import Batch, Rejected
from tradebot_core.model.tables import BARS, INSTANT, FactTable

_PRICES = ("open", "high", "low", "close")
_NUMBERS = (*_PRICES, "volume")
_AFTER_CLOSE = timedelta(minutes=15)  # closing auctions and late prints are in by then
_SCHEMA = pl.Schema({**BARS.columns, "known_at": INSTANT})
_RULES = {
    "unreadable_session": (pl.col("session").is_null(), "the session is not a day (YYYY-MM-DD)"),
    "not_a_session": (pl.col("known_at").is_null(), "the New York exchange was closed on that day"),
    "missing_value": (
        pl.any_horizontal(pl.col(*_NUMBERS).is_null()),
        "open, high, low, close and volume must be numbers",
    ),
    "not_finite": (~pl.all_horizontal(pl.col(*_NUMBERS).is_finite()), "a value is NaN or infinite"),
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


class Params(Settings):
    """`path`: a CSV or Parquet file, or a folder of them, with columns symbol or security_id, session or date, open, high, low,
    close, volume."""

    path: Path


class FileBars:
    table: ClassVar[FactTable] = BARS
    Params: ClassVar[type[Params]] = Params

    def __init__(self, params: Params, calendar: TradingCalendar) -> None:
        self._path = params.path
        self._calendar = calendar

    def collect(self, securities: pl.DataFrame, start: date, end: date) -> Iterator[Batch]:
        rows, unlisted = self._read(securities, start, end)
        closes = pl.DataFrame(
            [(session, self._calendar.closes_at(session) + _AFTER_CLOSE) for session in self._calendar.sessions(start, end)],
            schema={"session": pl.Date, "known_at": INSTANT},
            orient="row",
        )
        rows = rows.join(closes, on="session", how="left", maintain_order="left").with_columns(
            pl.col(*_NUMBERS).cast(pl.Float64, strict=False)
        )
        bars, rejected = tabular.judge(rows, _RULES)
        yield Batch(
            BARS,
            bars.select(_SCHEMA.names()).unique(BARS.key, keep="first").sort(BARS.key).cast(dict(_SCHEMA)),
            source=f"file:{self._path.name}",
            rejected=(*unlisted, *rejected),
        )

    def _read(self, securities: pl.DataFrame, start: date, end: date) -> tuple[pl.DataFrame, list[Rejected]]:
        """Rows of these securities and days; only they are read from Parquet."""
        table = tabular.open_table(self._path, ("session", *_NUMBERS), {"date": "session"})
        schema = table.collect_schema()
        session = tabular.as_day("session", schema["session"])
        table = table.filter(session.is_between(start, end) | session.is_null()).with_columns(session=session)
        if "security_id" in schema:
            ids = sorted(set(securities["security_id"]))
            table = table.with_columns(pl.col("security_id").cast(pl.Int64, strict=False))
            return tabular.read(table.filter(pl.col("security_id").is_in(ids)), self._path), []
        if "symbol" not in schema:
            raise CorruptInput(f"{self._path} has no column symbol or security_id.", f"Its columns are {', '.join(schema)}.")
        symbols = sorted(set(securities["symbol"]))
        rows = tabular.read(table.filter(pl.col("symbol").is_in(symbols)), self._path)
        return tabular.with_security(rows, tabular.listing_periods(securities))
