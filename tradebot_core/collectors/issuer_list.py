"""The small CSV that says which symbol (or permanent ticker) is a share of which issuer, for sources that know no CIK."""

from dataclasses import dataclass
from pathlib import Path

import polars as pl

from tradebot_core.errors import CorruptInput, DataError

_NUMBERS = {"cik": pl.Int64, "share_class": pl.Int64, "shares_per_listed": pl.Float64}
_OPTIONAL = ("share_class", "name", "shares_per_listed")


@dataclass(frozen=True, slots=True)
class Issuer:
    named: str  # as the list writes it
    cik: int
    share_class: int
    name: str | None
    shares_per_listed: float | None


def read_issuers(path: Path, by: str, setting: str) -> dict[str, Issuer]:
    """By the lower-case text of the column `by`, in the order of the file. Raises DataError when it is not there, CorruptInput when it is
    not such a list."""
    columns = f"Its columns are {by}, cik and, where needed, {', '.join(_OPTIONAL)}."
    try:
        rows = pl.read_csv(path, schema_overrides={by: pl.String, "name": pl.String, **_NUMBERS})
    except FileNotFoundError:
        raise DataError(f"{path} does not exist.", f"Correct {setting}.") from None
    except pl.exceptions.PolarsError as error:
        raise CorruptInput(f"{path} cannot be read: {error}", columns) from None
    if missing := {by, "cik"} - set(rows.columns):
        raise CorruptInput(f"{path} has no column {', '.join(sorted(missing))}.", columns)
    absent = [pl.lit(None, _NUMBERS.get(name, pl.String)).alias(name) for name in _OPTIONAL if name not in rows.columns]
    rows = rows.with_columns(absent).with_columns(pl.col("share_class").fill_null(0))
    ratio = pl.col("shares_per_listed")
    bad = rows.filter(
        pl.col(by).is_null()
        | ~(pl.col("cik") > 0).fill_null(False)
        | ~pl.col("share_class").is_between(0, 99)
        | ~((ratio > 0) & ratio.is_finite()).fill_null(True)
        | pl.col(by).str.to_lowercase().is_duplicated()
    )
    if not bad.is_empty():
        raise CorruptInput(
            f"{path} has a row that names no share, or one that is named before: {bad.row(0, named=True)}.", columns
        )
    listed = rows.select(by, "cik", *_OPTIONAL).rows()
    return {row[0].lower(): Issuer(*row) for row in listed}
