"""The security master from a CSV or Parquet file: which symbol meant which company's shares, and when."""

from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import ClassVar

import polars as pl

from tradebot_core.calendar import TradingCalendar
from tradebot_core.collectors import tabular
from tradebot_core.config import Settings
from tradebot_core.errors import DataError
from tradebot_core.interfaces import Batch
from tradebot_core.model.security import security_id_of
from tradebot_core.model.tables import INSTANT, SECURITIES, FactTable
from tradebot_core.quant.listings import two_at_once

_REQUIRED = ("symbol", "cik", "name")
_OPTIONAL = ("exchange", "con_id", "share_class", "industry", "category", "shares_per_listed", "valid_from", "valid_to")
_SCHEMA = pl.Schema({**SECURITIES.columns, "known_at": INSTANT})
_RULES = {
    "missing_symbol": (pl.col("symbol").is_null() | (pl.col("symbol") == ""), "the row has no symbol"),
    "bad_cik": (pl.col("cik").is_null() | (pl.col("cik") <= 0), "the CIK is not a positive whole number"),
    "bad_share_class": (
        ~pl.col("share_class").is_between(0, 99) | pl.col("share_class").is_null(),
        "the share class is not a whole number from 0 to 99",
    ),
    "bad_con_id": (pl.col("con_id").is_null() & pl.col("con_id_written").is_not_null(), "the con_id is not a whole number"),
    "bad_shares_per_listed": (
        ((pl.col("shares_per_listed") > 0) & pl.col("shares_per_listed").is_finite()).not_()
        | (pl.col("shares_per_listed").is_null() & pl.col("shares_per_listed_written").is_not_null()),
        "shares_per_listed is not a positive number",
    ),
    "bad_valid_from": (pl.col("valid_from").is_null(), "valid_from is not a day (YYYY-MM-DD)"),
    "bad_valid_to": (pl.col("valid_to").is_null(), "valid_to is not a day (YYYY-MM-DD)"),
    "ends_before_it_begins": (pl.col("valid_to") < pl.col("valid_from"), "valid_to is before valid_from"),
}
_ONE_LISTING = {
    "conflicting_securities": (
        tabular.conflicting(SECURITIES.key, SECURITIES.content),
        "the symbol is listed twice from the same day with different content",
    ),
}


class Params(Settings):
    """`path`: a CSV or Parquet file with columns symbol, cik, name and, where known, exchange, con_id, share_class (0 for the
    only or first class), industry, category, shares_per_listed (how many of the shares its issuer counts one listed share stands
    for: 5 for an ADR of five shares, 0.000666667 for a Berkshire B; left out, 1), valid_from, valid_to (both inclusive)."""

    path: Path


class FileSecurities:
    table: ClassVar[FactTable] = SECURITIES
    Params: ClassVar[type[Params]] = Params

    def __init__(self, params: Params, calendar: TradingCalendar) -> None:
        self._path = params.path
        self._calendar = calendar

    def collect(self, securities: pl.DataFrame, start: date, end: date) -> Iterator[Batch]:
        """Every listing that has begun by the cut-off of `end`."""
        rows, rejected = tabular.judge(self._read(), _RULES)
        identified = rows.with_columns(
            security_id=pl.struct("cik", "share_class").map_elements(
                lambda key: security_id_of(key["cik"], key["share_class"]), return_dtype=pl.Int64
            ),
            known_at=tabular.morning_in_new_york("valid_from"),
        )
        identified, conflicts = tabular.judge(identified, _ONE_LISTING)
        listings = identified.select(_SCHEMA.names()).unique(SECURITIES.key, keep="first").sort(SECURITIES.key)
        self._refuse_two_at_once(listings)
        yield Batch(
            SECURITIES,
            listings.filter(pl.col("known_at") <= self._calendar.cutoff(end)).cast(dict(_SCHEMA)),
            source=f"file:{self._path.name}",
            rejected=(*rejected, *conflicts),
        )

    def _read(self) -> pl.DataFrame:
        written = tabular.read(tabular.open_table(self._path, _REQUIRED), self._path)
        written = written.with_columns(
            pl.lit(None, pl.String).alias(name) for name in _OPTIONAL if name not in written.columns
        ).with_columns(pl.col(pl.String).str.strip_chars().replace("", None))
        begins, ends = (tabular.as_day(name, written.schema[name]) for name in ("valid_from", "valid_to"))
        return written.with_columns(
            pl.col("symbol", "name", "exchange", "industry", "category").cast(pl.String),
            pl.col("cik", "con_id").cast(pl.Int64, strict=False),
            con_id_written=pl.col("con_id"),
            shares_per_listed=pl.col("shares_per_listed").cast(pl.Float64, strict=False),
            shares_per_listed_written=pl.col("shares_per_listed"),
            share_class=pl.when(pl.col("share_class").is_null())
            .then(0)
            .otherwise(pl.col("share_class").cast(pl.Int64, strict=False)),
            valid_from=pl.when(pl.col("valid_from").is_null()).then(pl.lit(self._calendar.first)).otherwise(begins),
            valid_to=pl.when(pl.col("valid_to").is_null()).then(pl.lit(date.max)).otherwise(ends),
        )

    def _refuse_two_at_once(self, listings: pl.DataFrame) -> None:
        """Two symbols for one share class, or two share classes for one symbol, on the same day: no row can say which is right."""
        pairs = two_at_once(listings)
        if pairs.is_empty():
            return
        row = pairs.row(0, named=True)
        if row["shared"] == "security_id":
            raise DataError(
                f"{self._path}: {row['symbol']} and {row['symbol_other']} are both the share class "
                f"{row['security_id'] % 100} of CIK {row['cik']} at the same time.",
                "Give each class its own share_class (0, 1, ...), or end one symbol with valid_to before the other begins.",
            )
        raise DataError(
            f"{self._path}: the symbol {row['symbol']} stands for CIK {row['cik']} and CIK {row['cik_other']} at the same time.",
            "End one with valid_to before the other begins with valid_from.",
        )
