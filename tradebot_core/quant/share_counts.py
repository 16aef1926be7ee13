"""How many shares an issuer has in a session, on the session's own share basis, and by which rule that is known.

The cover page of a filing counts each share class apart, and the SEC's companyfacts drop counts that carry a class. What is left
there may be one class (Mastercard: 122,530,193 in every filing since 2010, of about a billion) or nothing (Meta, Alphabet). The
diluted average of the income statement counts all classes as converted, since earnings are divided by it (ASC 260-10-45).
"""

from collections.abc import Sequence
from typing import Final

import polars as pl

from tradebot_core.model.keyed_rows import repeats
from tradebot_core.model.market import ActionType
from tradebot_core.quant.asof import last_places

# Options and convertibles dilute a company by a few hundredths, rarely by a fifth (NVIDIA in 2016, whose convertible notes were far in the
# money: 539 of 653 million). A count below this share of the diluted average lacks a class.
_LACKS_A_CLASS = 0.75

COVER_PAGE = "cover_page"
ALL_CLASSES = "diluted_average_counts_all_classes"
DILUTED = "diluted_average"
UNKNOWN_CLASSES = "one_count_of_several_classes"
SHARES_RULES: Final = {
    COVER_PAGE: "the count on the cover page or balance sheet",
    ALL_CLASSES: "the diluted average, which counts all share classes; the count on the cover page is too small to do so",
    DILUTED: "the diluted average, because no count on a day was reported",
    UNKNOWN_CLASSES: "not known: the issuer has several listed share classes and one count, which may be that of one class",
}


def shares_rule(outstanding: str, diluted: str, classes: str) -> pl.Expr:
    """Which count stands for the issuer (a key of SHARES_RULES); null when nothing was reported. The counts must be on one basis.

    Where several classes are listed, a count below the diluted average is taken for that of some of them.
    """
    count, average = pl.col(outstanding), pl.col(diluted)
    return (
        pl.when(count < average * pl.when(pl.col(classes) > 1).then(1.0).otherwise(_LACKS_A_CLASS))
        .then(pl.lit(ALL_CLASSES))
        .when(count.is_null() & average.is_not_null())
        .then(pl.lit(DILUTED))
        .when(count.is_not_null() & average.is_null() & (pl.col(classes) > 1))
        .then(pl.lit(UNKNOWN_CLASSES))
        .when(count.is_not_null())
        .then(pl.lit(COVER_PAGE))
    )


def issuer_shares(outstanding: str, diluted: str) -> pl.Expr:
    """The count that the column shares_rule names; null when there is none."""
    rule = pl.col("shares_rule")
    return pl.when(rule == COVER_PAGE).then(outstanding).when(rule.is_in([ALL_CLASSES, DILUTED])).then(diluted)


def split_factors(rows: pl.DataFrame, actions: pl.DataFrame, bases: Sequence[str]) -> list[pl.Series]:
    """For each basis date, and each row (session, security_id, cutoff), how many shares of the session one share of the basis has
    become by the splits known at the cut-off. Null where the basis is."""
    splits = actions.filter(pl.col("type") == ActionType.SPLIT).select(
        "security_id", "value", "known_at", "ingested_at", ex_date="session"
    )
    if splits.is_empty():
        return [_ones(rows[basis]) for basis in bases]
    # A factor is the same from one event to the next: it is worked out once for each stretch, and given to its rows.
    split = rows["security_id"].is_in(splits["security_id"].unique().implode())
    stated = [basis for basis in bases if rows[basis].null_count() < len(rows)]
    own = rows.filter(split).select("session", "security_id", "cutoff", *stated)
    stretch = own.with_columns(
        _heard=_last_event(splits, "known_at", own["security_id"], own["cutoff"]),
        _begun=_last_event(splits, "ex_date", own["security_id"], own["session"]),
    )
    of = ["security_id", "_heard", "_begun", *stated]
    begins = stretch.select(~repeats(of)).to_series()
    first = stretch.filter(begins)
    factors = {basis: _split_factor(first, splits, basis) for basis in stated}
    # Of each row the place of its stretch: rows come by security and session, so that those of a stretch stand together.
    stretches = (
        (begins.cum_sum().cast(pl.Int64) - 1).gather((split.cum_sum().cast(pl.Int64) - 1).clip(0)) if len(own) else begins
    )

    def factor(basis: str) -> pl.Series:
        if basis not in stated or own.is_empty():
            return _ones(rows[basis])
        given = factors[basis].gather(stretches)
        return pl.select(pl.when(split).then(given).otherwise(_ones(rows[basis]))).to_series().cast(pl.Float64)

    return [factor(basis) for basis in bases]


def _ones(basis: pl.Series) -> pl.Series:
    return pl.select(pl.when(basis.is_not_null()).then(1.0)).to_series().cast(pl.Float64)


def _last_event(splits: pl.DataFrame, time: str, of: pl.Series, at: pl.Series) -> pl.Series:
    events = splits.sort("security_id", time)
    return last_places(events["security_id"], events[time], of, at)


def _split_factor(rows: pl.DataFrame, splits: pl.DataFrame, basis: str) -> pl.Series:
    row = ["session", "security_id"]
    in_effect, counted = pl.col("ex_date") <= pl.col("session"), pl.col("ex_date") <= pl.col(basis)
    factors = (
        rows.select(*row, "cutoff", basis)
        .join(splits, on="security_id")
        .filter(pl.col("known_at") <= pl.col("cutoff"), in_effect != counted)
        .sort(*row, "ex_date", "known_at", "ingested_at")
        .unique([*row, "ex_date"], keep="last", maintain_order=True)
        .with_columns(multiple=pl.when(in_effect).then(pl.col("value")).otherwise(1 / pl.col("value")))
        .group_by(row, maintain_order=True)
        .agg(factor=pl.col("multiple").cum_prod().last())
    )
    stated = rows.select(*row, basis).join(factors, on=row, how="left", maintain_order="left")
    return stated.select(pl.when(pl.col(basis).is_not_null()).then(pl.col("factor").fill_null(1.0)))["factor"]
