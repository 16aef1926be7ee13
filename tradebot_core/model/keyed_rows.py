"""Rows in the order of their key: neighbours tell what is repeated, which is far cheaper than hashing and sorting again."""

from collections.abc import Sequence
from typing import Any

import polars as pl


def in_order(rows: pl.DataFrame, key: Sequence[str]) -> pl.DataFrame:
    """The rows in the order of the key, nulls first; those of one key stay in the order in which they came."""
    return rows if _is_ordered(rows, key) else rows.sort(*key, maintain_order=True)


def joined_in_order(rows: pl.DataFrame, key: Sequence[str]) -> pl.DataFrame:
    """The same, of ordered tables that were put one below the other. Where the later ones are later in the second column of the key,
    as bars of years are, putting together what has one first column is enough."""
    if _is_ordered(rows, key):
        return rows
    return in_order(rows.sort(key[0], maintain_order=True), key)


def _is_ordered(rows: pl.DataFrame, key: Sequence[str]) -> bool:
    """Whether no row is before the one above it."""
    alike = pl.repeat(True, max(len(rows) - 1, 0), dtype=pl.Boolean, eager=True)  # each row and the one below it, so far
    for name in key:
        above, below = rows[name][:-1], rows[name][1:]
        same = above.eq_missing(below)
        # Few rows differ from their neighbour in the first columns of a key, and only those have to be compared.
        differ = alike & ~same
        above, below = above.filter(differ), below.filter(differ)
        if not ((above < below) | above.is_null()).fill_null(False).all():
            return False
        alike &= same
    return True


def spans(values: pl.Series) -> dict[Any, tuple[int, int]]:
    """Of a column whose like values stand together, where those of each begin and end."""
    runs = values.rle().struct.unnest()
    ends = runs["len"].cum_sum()
    return dict(zip(runs["value"], zip((ends - runs["len"]).to_list(), ends.to_list(), strict=True), strict=True))


def _is_first() -> pl.Expr:
    return pl.int_range(pl.len()) == 0


def repeats(key: Sequence[str]) -> pl.Expr:
    """Of ordered rows, those with the key of the row above."""
    return pl.all_horizontal(~_is_first(), *(pl.col(name).eq_missing(pl.col(name).shift(1)) for name in key))


def is_last_of(key: Sequence[str]) -> pl.Expr:
    """Of ordered rows, the last of each key."""
    return ~repeats(key).shift(-1, fill_value=False)


def once_each(rows: pl.DataFrame, key: Sequence[str]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Of ordered rows: each row once, without the rows of keys that have several contents; and those rows."""
    again = rows.select(repeats(key)).to_series()
    if not again.any():
        return rows, rows.clear()
    in_doubt = again | again.shift(-1, fill_value=False)
    several = rows.with_row_index("_at").filter(in_doubt).unique(rows.columns, keep="first", maintain_order=True)
    doubled = pl.struct(key).is_duplicated()
    kept = ~in_doubt | pl.int_range(len(rows), eager=True).is_in(several.filter(~doubled)["_at"].implode())
    return rows.filter(kept), several.filter(doubled).drop("_at")


def parts(rows: pl.DataFrame, of: pl.Expr) -> list[tuple[Any, pl.DataFrame]]:
    """The rows by the value of an expression, in order of the values; slices where the rows have that order already."""
    values = rows.select(of.alias("_of")).to_series()
    if len(values) == 1 < len(rows):  # a literal
        return [(values.item(), rows)]
    if not values.is_sorted():
        named = rows.with_columns(values).partition_by("_of", as_dict=True, include_key=False)
        return [(value, part) for (value,), part in sorted(named.items())]
    runs = values.rle().struct.unnest()
    starts = runs["len"].cum_sum() - runs["len"]
    return [(value, rows.slice(at, n)) for at, n, value in zip(starts, runs["len"], runs["value"], strict=True)]


def merged(rows: pl.DataFrame, news: pl.DataFrame, order: Sequence[str]) -> pl.DataFrame:
    """Ordered rows and others in one order. Only those of the issuers (securities) that have news are sorted again."""
    whose = order[0]
    with_news = pl.col(whose).is_in(news[whose].unique().implode(), nulls_equal=True)
    touched = pl.concat([rows.filter(with_news), news]).sort(*order, nulls_last=False)
    return pl.concat([rows.filter(~with_news), touched]).sort(whose, maintain_order=True)
