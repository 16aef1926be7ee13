"""Fundamentals as a table for people: one row for each company as of an instant, or each of its fiscal periods."""

from datetime import date, datetime
from enum import StrEnum

import polars as pl

from tradebot_core.calendar import NEW_YORK
from tradebot_core.interfaces import DataStore
from tradebot_core.model.issuers import issuer_groups
from tradebot_core.model.tables import FACTS, FUNDAMENTALS, SECURITIES
from tradebot_core.quant.fiscal_periods import Fiscal, fiscal_periods

_LAST = ("industry", "category", "provenance", "source", "ingested_at")
_FIRST = ("symbol", "cik", "company_name", "period_end", "known_at", "form", "accession", "shares_basis_date")


class Period(StrEnum):
    TWELVE_MONTHS = "ttm"
    ANNUAL = "annual"
    QUARTERLY = "quarterly"


def fundamentals_as_of(
    store: DataStore, as_of: datetime, period: Period, start: date | None = None, end: date | None = None
) -> pl.DataFrame:
    """symbol, cik, company_name, period_end, known_at, form, accession, shares_basis_date, the figures, industry, category,
    provenance (JSON: figure -> rule, facts with tag and accession, or the reason why it is missing); by CIK.

    Twelve months: the row of each issuer that was the latest at `as_of`; with `start` or `end` (New York days) all rows that
    became known between them. Fiscal years and quarters: all that were known, and that became known between `start` and `end`.
    Amounts in USD, counts in shares on the split basis of `shares_basis_date`.
    """
    identity = _identity(store, as_of)
    if period is Period.TWELVE_MONTHS:
        parts = (
            store.read(FUNDAMENTALS, as_of=as_of, start=start, end=end, ciks=issuers)
            for issuers in issuer_groups(store.newest(FUNDAMENTALS, as_of=as_of)["cik"]) or [[]]
        )
        if start is None and end is None:
            parts = (rows.sort("cik", "known_at").unique("cik", keep="last", maintain_order=True) for rows in parts)
        rows = pl.concat(parts)
    else:
        names = dict(identity.select("cik", "name").iter_rows())
        fiscal = Fiscal.YEARS if period is Period.ANNUAL else Fiscal.QUARTERS
        rows = pl.concat(
            fiscal_periods(store.read(FACTS, as_of=as_of, ciks=issuers), names, fiscal, as_of)
            for issuers in issuer_groups(store.newest(FACTS, as_of=as_of)["cik"]) or [[]]
        )
        known_on = pl.col("known_at").dt.convert_time_zone(NEW_YORK.key).dt.date()
        rows = rows.filter(known_on.is_between(start or date.min, end or date.max))
    named = rows.join(identity.drop("name"), on="cik", how="left", maintain_order="left")
    last = [column for column in _LAST if column in named.columns]
    return named.select(*_FIRST, pl.exclude(*_FIRST, *last), *last)


def _identity(store: DataStore, as_of: datetime) -> pl.DataFrame:
    """cik, symbol, name, industry, category of each issuer: of its first share class, by the listing that was current, else last."""
    day = as_of.astimezone(NEW_YORK).date()
    current = pl.lit(day).is_between(pl.col("valid_from").fill_null(date.min), pl.col("valid_to").fill_null(date.max))
    return (
        store.read(SECURITIES, as_of=as_of)
        .sort("cik", current, -pl.col("security_id"), "valid_from", nulls_last=False)
        .unique("cik", keep="last", maintain_order=True)
        .select("cik", "symbol", "name", "industry", "category")
    )
