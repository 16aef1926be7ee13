"""What was known about one company at an instant: its figures with their filings, and the numbers that its filings report."""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from typing import Any

import polars as pl

from tradebot_core.calendar import NEW_YORK
from tradebot_core.errors import MissingData, UsageError
from tradebot_core.interfaces import DataStore
from tradebot_core.model.fundamentals import FIGURES, Provenance
from tradebot_core.model.tables import FACTS, FUNDAMENTALS, SECURITIES
from tradebot_core.quant import fact_versions
from tradebot_core.quant.statements import provenance_of
from tradebot_core.trading.evidence import SourceFact, filing_link, source_fact


class Reports(StrEnum):
    """Which of the reports of a number."""

    ALL = "all"  # every filing that has it
    FIRST = "first"  # the first filing that has it
    KNOWN = "known"  # the last one that was public at the instant


@dataclass(frozen=True)
class Company:
    cik: int
    symbol: str
    name: str


@dataclass(frozen=True)
class KnownFigure:
    """A figure, the rule by which it was made of `facts`, or (when `value` is None) the reason why it is missing."""

    figure: str
    value: float | None
    rule: str | None
    reason: str | None
    facts: tuple[SourceFact, ...]


@dataclass(frozen=True)
class CompanyAsKnown:
    """All figures as of an instant. The filing is the one that last changed any of them."""

    company: Company
    as_of: datetime
    known_at: datetime
    period_end: date
    form: str
    accession: str
    link: str | None
    figures: tuple[KnownFigure, ...]


def find_company(store: DataStore, subject: str, as_of: datetime) -> Company:
    """By CIK, or by the symbol that one of its securities had on the day, else had last before it.

    Raises UsageError naming similar symbols.
    """
    known = store.read(SECURITIES, as_of=as_of)
    day = as_of.astimezone(NEW_YORK).date()
    if subject.isdigit():
        named = known.filter(pl.col("cik") == int(subject))
    else:
        named = known.filter(pl.col("symbol").str.to_uppercase() == subject.upper())
    if named.is_empty():
        raise UsageError(f"The store knows no company {subject} at {day}.", symbols_alike(known, subject))
    current = pl.lit(day).is_between(pl.col("valid_from").fill_null(date.min), pl.col("valid_to").fill_null(date.max))
    best = named.sort(current, -pl.col("security_id"), "valid_from", nulls_last=False).row(-1, named=True)
    return Company(best["cik"], best["symbol"], best["name"])


def symbols_alike(securities: pl.DataFrame, symbol: str) -> str:
    """What to do about a symbol that no row of the security master has."""
    alike = difflib.get_close_matches(symbol.upper(), securities["symbol"].unique().sort().to_list(), n=3)
    return f"Did you mean {' or '.join(alike)}?" if alike else "`tradebot export securities` lists those that are known."


def company_as_known(store: DataStore, company: Company, as_of: datetime, names: Sequence[str] = ()) -> CompanyAsKnown:
    """Its figures (all, or those of `names`) as of an instant. Raises MissingData when no filing was public."""
    rows = store.read_versions(FUNDAMENTALS, as_of=as_of, ciks=[company.cik])
    if rows.is_empty():
        raise MissingData(
            f"No filing of {company.symbol} was known at {as_of:%Y-%m-%d %H:%M} UTC.",
            "Ask for a later instant, or materialize its fundamentals.",
        )
    row = rows.sort("known_at", "ingested_at").row(-1, named=True)
    figures = []
    for name in names or FIGURES:
        origin = _origin(row, name)
        facts = tuple(source_fact(fact, (name,)) for fact in origin.inputs)
        figures.append(KnownFigure(name, row[name], origin.rule, origin.reason, facts))
    link = filing_link(company.cik, row["accession"])
    return CompanyAsKnown(
        company, as_of, row["known_at"], row["period_end"], row["form"], row["accession"], link, tuple(figures)
    )


def _origin(row: Mapping[str, Any], figure: str) -> Provenance:
    try:
        return provenance_of(row, figure)
    except KeyError:
        return Provenance(None, reason="its origin was not recorded")


def reported_numbers(
    store: DataStore, company: Company, as_of: datetime, tags: Sequence[str], reports: Reports, period_end: date | None = None
) -> pl.DataFrame:
    """Rows of FACTS of these tags (without taxonomy), by tag, period and filing. Raises UsageError on a tag never reported."""
    facts = store.read_versions(FACTS, as_of=as_of, ciks=[company.cik])
    reported = facts["tag"].unique().sort().to_list()
    for tag in tags:
        if tag not in reported:
            alike = difflib.get_close_matches(tag, [*reported, *FIGURES], n=3)
            hint = (
                f"Did you mean {' or '.join(alike)}?" if alike else "Give a figure such as revenue_ttm, or a tag it reported."
            )
            raise UsageError(f"No filing of {company.symbol} known by then reports {tag}.", hint)
    wanted = facts.filter(pl.col("tag").is_in(list(tags)))
    if period_end is not None:
        wanted = wanted.filter(pl.col("period_end") == period_end)
    return versions_of(wanted, reports)


def versions_of(facts: pl.DataFrame, reports: Reports) -> pl.DataFrame:
    """Of all reports known at an instant, those that are asked for."""
    match reports:
        case Reports.FIRST:
            return fact_versions.as_first_filed(facts)
        case Reports.KNOWN:
            return fact_versions.latest(facts)
        case Reports.ALL:
            return facts.sort(*fact_versions.NUMBER, *fact_versions.ORDER_OF_KNOWLEDGE, nulls_last=False)
