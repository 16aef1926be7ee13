"""How an issuer has reported so far: what its rows of FUNDAMENTALS say of its rhythm, and against the periods before.

A period's report is the unbroken run of rows with one period_end; the figures it is compared by are those of its last row.
Everything about a row is made of rows known before it, so that nothing changes when a later one arrives.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import polars as pl

from tradebot_core.calendar import NEW_YORK
from tradebot_core.model.keyed_rows import in_order, is_last_of

PERIODS_COMPARED = 3
_SHARES = "_shares"
# column -> the figure that is compared; the share count is the one that the market value is made of
_SCALES = {"revenue_scale": "revenue_ttm", "assets_scale": "assets", "shares_scale": _SHARES}
_REPEATED = ("revenue_ttm", "net_income_ttm", "assets")
# What is compared with the periods before.
COMPARED = {
    "revenue_scale": ("revenue_ttm",),
    "assets_scale": ("assets",),
    "shares_scale": ("shares_outstanding", "shares_diluted"),
    "repeated_figures": _REPEATED,
}
# What `with_reporting` looks at.
REPORTING_READS = frozenset(
    {"cik", "known_at", "period_end", "revenue_ttm", "net_income_ttm", "assets", "shares_outstanding", "shares_diluted"}
)
REPORTING_COLUMNS = (*_SCALES, "repeated_figures", "report_spacing_days", "report_lag_days")


def with_reporting(fundamentals: pl.DataFrame) -> pl.DataFrame:
    """Rows of FUNDAMENTALS (one per cik and known_at) with the columns below added, sorted by cik and known_at.

    revenue_scale, assets_scale, shares_scale: how many times the figure is one of the last three periods', or that is the
    figure (the larger), against the nearest of the three; null where none is known and above zero. One wrong report among
    them therefore makes no other look wrong. repeated_figures: 1 when revenue, net income and assets are all exactly those of
    the period before, else 0. report_spacing_days: the longest time between two of the last four period ends.
    report_lag_days: the longest time from a period's end to its first row, in days of New York, over the last four periods (a
    year, so that the annual report is among them; null before).
    """
    of_another = (pl.col("cik") != pl.col("cik").shift(1)) | (pl.col("period_end") != pl.col("period_end").shift(1))
    rows = fundamentals.sort("cik", "known_at").with_columns(
        pl.coalesce("shares_outstanding", "shares_diluted").alias(_SHARES), _run=of_another.fill_null(True).cum_sum()
    )
    return rows.join(_of_runs(rows), on="_run", how="left", maintain_order="left").select(
        *fundamentals.columns,
        *(_scale(figure).alias(column) for column, figure in _SCALES.items()),
        _repeated().alias("repeated_figures"),
        "report_spacing_days",
        "report_lag_days",
    )


def _of_runs(rows: pl.DataFrame) -> pl.DataFrame:
    """One row per run: the last figures of the three runs before it, and the rhythm up to it."""
    figures = dict.fromkeys((*_SCALES.values(), *_REPEATED))
    first = rows.unique("_run", keep="first", maintain_order=True).select("_run", "cik", "period_end", "known_at")
    last = rows.unique("_run", keep="last", maintain_order=True).select(*figures)
    known_on = pl.col("known_at").dt.convert_time_zone(str(NEW_YORK)).dt.date()
    runs = pl.concat([first, last], how="horizontal").with_columns(
        _gap=(pl.col("period_end") - _earlier("period_end", 1)).dt.total_days(),
        _lag=(known_on - pl.col("period_end")).dt.total_days(),
    )
    periods = range(PERIODS_COMPARED + 1)
    before = [_earlier(figure, n).alias(_before(figure, n)) for figure in figures for n in periods[1:]]
    year_known = _earlier("period_end", PERIODS_COMPARED).is_not_null()
    return runs.select(
        "_run",
        *before,
        pl.max_horizontal(_earlier("_gap", n) for n in periods[:-1]).alias("report_spacing_days"),
        pl.when(year_known).then(pl.max_horizontal(_earlier("_lag", n) for n in periods)).alias("report_lag_days"),
    )


def _earlier(column: str, rows: int) -> pl.Expr:
    """The issuer's value so many rows up. Not a window over the issuer: a tenth of the time, the rows being sorted by it."""
    return pl.when(pl.col("cik") == pl.col("cik").shift(rows)).then(pl.col(column).shift(rows))


def _before(figure: str, periods: int) -> str:
    return f"_{figure}_{periods}_before"


def _scale(figure: str) -> pl.Expr:
    now = pl.col(figure)

    def against(periods: int) -> pl.Expr:
        then = pl.col(_before(figure, periods))
        return pl.when((now > 0) & (then > 0)).then(pl.max_horizontal(now / then, then / now))

    return pl.min_horizontal(against(n) for n in range(1, PERIODS_COMPARED + 1))


def _repeated() -> pl.Expr:
    return pl.all_horizontal(pl.col(f) == pl.col(_before(f, 1)) for f in _REPEATED).cast(pl.Float64)


def needed_since(fundamentals: pl.DataFrame, at: datetime) -> pl.DataFrame:
    """Of each issuer with rows known by `at`, since when rows are needed for `with_reporting` to give those known last by then and all
    later ones: cik and `since`, an instant of known_at. The rows before change nothing."""
    latest = fundamentals.select("cik", "known_at", "ingested_at", "period_end").filter(pl.col("known_at") <= at)
    rows = in_order(latest, ["cik", "known_at", "ingested_at"]).filter(is_last_of(["cik", "known_at"]))
    first = (pl.col("cik") != pl.col("cik").shift(1)) | (pl.col("period_end") != pl.col("period_end").shift(1))
    runs = rows.filter(rows.select(first.fill_null(True)).to_series())  # the first row of each period's report
    # As many as `remembered` keeps: a new version of the last row may belong to another period.
    return runs.group_by("cik", maintain_order=True).agg(since=pl.col("known_at").tail(PERIODS_COMPARED + 2).first())


def remembered(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those of an issuer's rows, in order of knowledge, that `with_reporting` needs for the last of them."""
    runs: list[list[dict[str, Any]]] = []
    for row in rows:
        if runs and runs[-1][0]["period_end"] == row["period_end"]:
            runs[-1].append(row)
        else:
            runs.append([row])
    # The last but one of a run as well: a new version of the last row may belong to another period.
    return [row for run in runs[-(PERIODS_COMPARED + 2) :] for row in [*run[:1], *run[1:][-2:]]]
