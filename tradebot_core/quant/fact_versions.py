"""Three questions about a reported number, and an answer to each: as first filed, as known at an instant, and the latest.

A number is what one issuer reports under one tag and unit for one period (`NUMBER`); each filing that repeats it, changed or
not, is a report of it. All take reports as rows of FACTS with known_at, in any order, and return one row for each number,
ordered by number. What was never reported is absent.
"""

from datetime import datetime

import polars as pl

NUMBER = ("cik", "taxonomy", "tag", "unit", "period_start", "period_end")
# Filings of one instant are told apart as quant.vintages tells them.
ORDER_OF_KNOWLEDGE = ("known_at", "filed", "accession")


def as_first_filed(reports: pl.DataFrame) -> pl.DataFrame:
    """Each number as the first filing that has it reports it.

    The SEC's structured data begin in 2009: a period before that is first reported as the comparative of a later filing.
    """
    return _one_of_each(reports, "first")


def as_known_at(reports: pl.DataFrame, instant: datetime) -> pl.DataFrame:
    """Each number as the last filing that was public at `instant` reports it."""
    return _one_of_each(reports.filter(pl.col("known_at") <= instant), "last")


def latest(reports: pl.DataFrame) -> pl.DataFrame:
    """Each number as the last filing in the table reports it: for comparison, never for a decision about the past."""
    return _one_of_each(reports, "last")


def _one_of_each(reports: pl.DataFrame, keep: str) -> pl.DataFrame:
    ingested = [column for column in ("ingested_at",) if column in reports.columns]  # a correction of the SEC's data itself
    ordered = reports.sort(*NUMBER, *ORDER_OF_KNOWLEDGE, *ingested, nulls_last=False)
    return ordered.unique(NUMBER, keep=keep, maintain_order=True)  # type: ignore[arg-type]
