"""Listings: which symbol meant which security, from one day to another (inclusive). Rows have at least security_id, symbol, valid_from,
valid_to; an end at date.max means that none is known."""

from datetime import date

import polars as pl

OPEN = date.max
SOURCES_JOINED_BY = " + "  # of the names of the sources a listing was completed from
_OTHER = "_other"


def overlaps(rows: pl.DataFrame, others: pl.DataFrame, on: str) -> pl.DataFrame:
    """Pairs of rows and others that agree in the column `on` and share a day; columns of the others end in _other."""
    return rows.join(others, on=on, suffix=_OTHER).filter(
        pl.col("valid_from") <= pl.col("valid_to_other"), pl.col("valid_from_other") <= pl.col("valid_to")
    )


def two_at_once(listings: pl.DataFrame) -> pl.DataFrame:
    """Pairs of listings that cannot both be true: two symbols for one security, or two securities for one symbol, on the same day.

    The column `shared` says which of the two they have in common.
    """
    found = []
    for shared, other in (("security_id", "symbol"), ("symbol", "security_id")):
        pairs = overlaps(listings, listings, shared).filter(pl.col(other) < pl.col(f"{other}{_OTHER}"))
        found.append(pairs.with_columns(shared=pl.lit(shared), **{f"{shared}{_OTHER}": pl.col(shared)}))
    return pl.concat(found, how="diagonal").sort("shared", "security_id", "symbol", "valid_from")


def continued(rows: pl.DataFrame, known: pl.DataFrame) -> pl.DataFrame:
    """Listings that a source sees today, dated from when it first saw them: one that goes on is no new one each day.

    `known` are the source's own listings of before.
    """
    going_on = (
        known.filter(pl.col("valid_to") == OPEN)
        .sort("valid_from")
        .unique(["security_id", "symbol"], keep="first")
        .select("security_id", "symbol", _began="valid_from")
    )
    return (
        rows.join(going_on, on=["security_id", "symbol"], how="left", maintain_order="left")
        .with_columns(valid_from=pl.min_horizontal("valid_from", "_began"))
        .drop("_began")
    )
