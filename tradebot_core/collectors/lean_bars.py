"""Daily bars from LEAN's data folder: daily/SYMBOL.zip, raw prices times 10,000.

A zip belongs to a symbol, not to a company: goog.zip holds class A until 2014-04-02 and class C since, fb.zip another company
before 2012. The dated symbols of the security master say whose each day is.
"""

from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any, ClassVar

import polars as pl

from tradebot_core.calendar import TradingCalendar
from tradebot_core.collectors import tabular
from tradebot_core.collectors.lean_files import LeanFolder, Unreadable, read_zipped_rows
from tradebot_core.collectors.raw_bars import batch_of
from tradebot_core.config import Settings
from tradebot_core.interfaces import Batch, Rejected
from tradebot_core.model.tables import BARS, FactTable

_COLUMNS = ("session", "open", "high", "low", "close", "volume")
_PRICES = ("open", "high", "low", "close")
_SCALE = 10_000  # LEAN, Data/equity/readme.md: "deci-cents"


class Params(Settings):
    """`path`: LEAN's equity/usa folder."""

    path: Path


class LeanBars:
    table: ClassVar[FactTable] = BARS
    Params: ClassVar[type[Params]] = Params

    def __init__(self, params: Params, calendar: TradingCalendar) -> None:
        self._folder = LeanFolder(params.path)
        self._calendar = calendar

    def collect(self, securities: pl.DataFrame, start: date, end: date) -> Iterator[Batch]:
        """One batch for each symbol that was listed between `start` and `end`; one without a file is refused by name."""
        files = self._folder.files("daily", ".zip")
        periods = tabular.listing_periods(securities).filter(pl.col("valid_from") <= end, pl.col("valid_to") >= start)
        for symbol in sorted(set(periods["symbol"])):
            file = files.get(symbol.lower())
            if file is None:
                refusal = Rejected({"symbol": symbol}, "no_file", f"there is no daily/{symbol.lower()}.zip")
                yield self._batch(_typed([], symbol), [refusal], symbol, start, end)
                continue
            try:
                rows = _typed(read_zipped_rows(file), symbol)
            except Unreadable as error:
                yield self._batch(_typed([], symbol), [error.rejected], symbol, start, end)
                continue
            asked = rows.filter(pl.col("session").is_between(start, end) | pl.col("session").is_null())
            # Days of other bearers of the symbol are no error here: the file holds them all.
            listed, _ = tabular.with_security(asked, periods)
            yield self._batch(listed, [], symbol, start, end)

    def _batch(self, rows: pl.DataFrame, refused: list[Rejected], symbol: str, start: date, end: date) -> Batch:
        if "security_id" not in rows.columns:
            rows = rows.with_columns(security_id=pl.lit(None, pl.Int64))
        return batch_of(rows, refused, self._calendar, start, end, source=f"lean:{symbol.lower()}.zip")


def _typed(rows: list[list[str]], symbol: str) -> pl.DataFrame:
    written: list[dict[str, Any]] = [
        {"symbol": symbol} | dict(zip(_COLUMNS, [*row, *[None] * len(_COLUMNS)][: len(_COLUMNS)], strict=True)) for row in rows
    ]
    text = pl.DataFrame(written, schema=dict.fromkeys(("symbol", *_COLUMNS), pl.String))
    return text.select(
        "symbol",
        pl.col("session").str.slice(0, 8).str.to_date("%Y%m%d", strict=False),
        # Polars divides by multiplying with the inverse; rounding makes 1135.1 of 1135.1000000000001.
        (pl.col(*_PRICES).cast(pl.Float64, strict=False) / _SCALE).round(6),
        pl.col("volume").cast(pl.Float64, strict=False),
        written=pl.struct("symbol", *_COLUMNS),
    )
