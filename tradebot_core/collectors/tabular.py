"""Bars, actions and securities from CSV and Parquet files: opening them, and telling which rows may enter."""

import math
from collections.abc import Mapping, Sequence
from datetime import date, datetime, time
from pathlib import Path
from typing import Any

import polars as pl

from tradebot_core.calendar import NEW_YORK
from tradebot_core.errors import CorruptInput, DataError
from tradebot_core.interfaces import Rejected
from tradebot_core.model.tables import INSTANT

_SUFFIXES = (".csv", ".parquet")
_FOREVER = date.max
Rule = tuple[pl.Expr, str]  # what is wrong with a row, and how to say so
LISTING_PERIODS = pl.Schema({"symbol": pl.String, "security_id": pl.Int64, "valid_from": pl.Date, "valid_to": pl.Date})


def open_table(path: Path, required: Sequence[str], renamed: Mapping[str, str] | None = None) -> pl.LazyFrame:
    """The rows of a CSV or Parquet file, or of all of them in a folder, and each once more in the column `written`.

    CSV is read as text: a value that is no number is one bad row, found when it is typed, and not the end of the file.
    """
    if not path.exists():
        raise DataError(f"{path} does not exist.", "Put the file there or correct params.path.")
    found = sorted(file for file in path.iterdir() if file.suffix.lower() in _SUFFIXES) if path.is_dir() else [path]
    if not found:
        raise DataError(f"{path} holds no .csv or .parquet file.", "Put the files there or correct params.path.")
    rows = pl.concat([_open(file, required, renamed or {}) for file in found], how="diagonal_relaxed")
    return rows.with_columns(written=pl.struct(pl.all())).drop("file")


def _open(file: Path, required: Sequence[str], renamed: Mapping[str, str]) -> pl.LazyFrame:
    try:
        rows = pl.scan_parquet(file) if file.suffix.lower() == ".parquet" else pl.scan_csv(file, infer_schema=False)
        names = rows.collect_schema().names()
    except (pl.exceptions.PolarsError, OSError) as error:
        raise CorruptInput(f"{file} cannot be read: {error}", "Write it again.") from None
    rows = rows.rename({old: new for old, new in renamed.items() if old in names and new not in names})
    missing = [name for name in required if name not in rows.collect_schema().names()]
    if missing:
        raise CorruptInput(f"{file} has no column {', '.join(missing)}.", f"Its columns are {', '.join(names)}.")
    return rows.with_columns(file=pl.lit(file.name))


def as_day(column: str, kind: pl.DataType) -> pl.Expr:
    """A column of days or of ISO text as Date; null where it is neither."""
    if kind == pl.Date:
        return pl.col(column)
    if isinstance(kind, pl.Datetime):
        return pl.col(column).dt.date()
    return pl.col(column).cast(pl.String).str.strip_chars().str.to_date("%Y-%m-%d", strict=False)


def morning_in_new_york(column: str) -> pl.Expr:
    """The instant at which a day begins in New York."""
    day = pl.col(column).dt.combine(time.min)
    return day.dt.replace_time_zone(NEW_YORK.key).dt.convert_time_zone("UTC").cast(INSTANT)


def read(rows: pl.LazyFrame, source: Path) -> pl.DataFrame:
    try:
        return rows.collect()
    except (pl.exceptions.PolarsError, OSError) as error:
        raise CorruptInput(f"{source} cannot be read: {error}", "Write it again.") from None


def judge(rows: pl.DataFrame, rules: Mapping[str, Rule]) -> tuple[pl.DataFrame, list[Rejected]]:
    """The rows that break no rule, and for each of the others, as it was written, the first rule it breaks."""
    judged = rows.with_columns(
        rule=pl.coalesce(pl.when(wrong.fill_null(False)).then(pl.lit(name)) for name, (wrong, _) in rules.items())
    )
    rejected = [
        Rejected({name: plain(value) for name, value in written.items()}, rule, rules[rule][1])
        for written, rule in judged.filter(pl.col("rule").is_not_null()).select("written", "rule").iter_rows()
    ]
    return judged.filter(pl.col("rule").is_null()).drop("rule"), rejected


def plain(value: Any) -> Any:
    """A value as JSON can hold it."""
    if isinstance(value, (date, datetime)):
        return value.isoformat()
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def conflicting(key: Sequence[str], content: Sequence[str]) -> pl.Expr:
    """Several rows of one key that do not say the same; identical copies are one row written twice."""
    return pl.struct(content).n_unique().over(key) > 1


def listing_periods(securities: pl.DataFrame) -> pl.DataFrame:
    """When which symbol meant which security."""
    return securities.select(
        "symbol", "security_id", pl.col("valid_from").fill_null(date.min), pl.col("valid_to").fill_null(_FOREVER)
    ).cast(dict(LISTING_PERIODS))


def with_security(rows: pl.DataFrame, periods: pl.DataFrame) -> tuple[pl.DataFrame, list[Rejected]]:
    """Rows by symbol and session with the security that had the symbol then.

    Days on which nobody listed had the symbol belong to another company; they are refused, in one record for each symbol.
    """
    listed = (
        rows.with_row_index("_row")
        .join(periods, on="symbol", how="left")
        .with_columns(
            security_id=pl.when(pl.col("session").is_between("valid_from", "valid_to") | pl.col("session").is_null()).then(
                "security_id"
            )
        )
        .sort("_row", "security_id", nulls_last=True)
        .unique("_row", keep="first", maintain_order=True)
        .drop("_row", "valid_from", "valid_to")
    )
    outside = (
        listed.filter(pl.col("security_id").is_null())
        .group_by("symbol")
        .agg(pl.len(), pl.col("session").min().alias("first"), pl.col("session").max().alias("last"))
        .sort("symbol")
    )
    rejected = [
        Rejected(
            {"symbol": symbol},  # and not the days, so that collecting day by day reports a symbol once
            "no_security",
            f"no security had the symbol {symbol} on {days} days from {first} to {last}: see valid_from and valid_to",
        )
        for symbol, days, first, last in outside.iter_rows()
    ]
    return listed.filter(pl.col("security_id").is_not_null()), rejected
