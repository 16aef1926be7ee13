"""Daily bars from CSV or Parquet files: raw prices in USD as traded, volume in shares."""

from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import ClassVar

import polars as pl

from tradebot_core.calendar import TradingCalendar
from tradebot_core.collectors import tabular
from tradebot_core.collectors.raw_bars import NUMBERS, batch_of
from tradebot_core.config import Settings
from tradebot_core.errors import CorruptInput
from tradebot_core.interfaces import Batch, Rejected
from tradebot_core.model.tables import BARS, FactTable


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
        yield batch_of(rows, unlisted, self._calendar, start, end, source=f"file:{self._path.name}")

    def _read(self, securities: pl.DataFrame, start: date, end: date) -> tuple[pl.DataFrame, list[Rejected]]:
        """Rows of these securities and days; only they are read from Parquet."""
        table = tabular.open_table(self._path, ("session", *NUMBERS), {"date": "session"})
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
