"""Rows in the order of their key: neighbours tell what is repeated, which is far cheaper than hashing and sorting again."""

from collections.abc import Sequence

import polars as pl


def in_order(rows: pl.DataFrame, key: Sequence[str]) -> pl.DataFrame:
    """The rows in the order of the key, nulls first; those of one key stay in the order in which they came."""
    return rows if rows.select(_is_ordered(key)).item() else rows.sort(*key, maintain_order=True)


def _is_ordered(key: Sequence[str]) -> pl.Expr:
    """Whether no row is before the one above it."""
    before = pl.lit(False)
    for name in reversed(key):
        here, above = pl.col(name), pl.col(name).shift(1)
        lower = (here < above).fill_null(here.is_null() & above.is_not_null())
        before = lower | (here.eq_missing(above) & before)
    first = pl.int_range(pl.len()) == 0
    return ~(before & ~first).any()


def _repeats(key: Sequence[str]) -> pl.Expr:
    """Of ordered rows, those with the key of the row above."""
    first = pl.int_range(pl.len()) == 0
    return pl.all_horizontal(~first, *(pl.col(name).eq_missing(pl.col(name).shift(1)) for name in key))


def is_last_of(key: Sequence[str]) -> pl.Expr:
    """Of ordered rows, the last of each key."""
    return ~_repeats(key).shift(-1, fill_value=False)


def once_each(rows: pl.DataFrame, key: Sequence[str]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Of ordered rows: each row once, without the rows of keys that have several contents; and those rows."""
    repeats = rows.select(_repeats(key)).to_series()
    if not repeats.any():
        return rows, rows.clear()
    in_doubt = repeats | repeats.shift(-1, fill_value=False)
    several = rows.filter(in_doubt).unique(maintain_order=True)
    doubled = pl.struct(key).is_duplicated()
    return merged(rows.filter(~in_doubt), several.filter(~doubled), key), several.filter(doubled)


def merged(rows: pl.DataFrame, news: pl.DataFrame, order: Sequence[str]) -> pl.DataFrame:
    """Ordered rows and others in one order. Only those of the issuers (securities) that have news are sorted again."""
    whose = order[0]
    with_news = pl.col(whose).is_in(news[whose].unique().implode(), nulls_equal=True)
    touched = pl.concat([rows.filter(with_news), news]).sort(*order, nulls_last=False)
    return pl.concat([rows.filter(~with_news), touched]).sort(whose, maintain_order=True)
