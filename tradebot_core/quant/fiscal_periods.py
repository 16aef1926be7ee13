"""Figures of each fiscal year or quarter, as the filings known at one instant report them: for research and for people.

Strategies read the twelve months (quant.statements). Here every period stands beside the others in its latest version known at
the instant, so that a table of ten years is on one basis as far as later filings restated the earlier years.
"""

from collections import Counter
from collections.abc import Mapping
from datetime import date, datetime
from enum import StrEnum
from typing import Any

import polars as pl

from tradebot_core.model.fundamentals import FIGURES, FLOW_FIGURES
from tradebot_core.model.tables import INSTANT
from tradebot_core.quant.concepts import Concept, ConceptMap, Kind, concept_map
from tradebot_core.quant.periods import is_to_date, is_year
from tradebot_core.quant.statements import FactEncoder, encode_provenance, of_mapped_tags, read_facts, share_basis
from tradebot_core.quant.trailing import Figure, Length, balance_at, figure_at
from tradebot_core.quant.vintages import Vintages

# What every company reports for each of its periods: where one of them has a period, a fiscal period may end.
_ANCHORS = ("revenue", "net_income", "operating_cash_flow")
_COVER_PAGE_DAYS = 150  # a count of shares on a cover page is of a day up to five months after the period
_TTM = "_ttm"


class Fiscal(StrEnum):
    """Which periods; the value is the suffix of the flows' columns, as `_ttm` is of the twelve months'."""

    YEARS = "fy"
    QUARTERS = "q"


def columns_of(fiscal: Fiscal) -> dict[str, Any]:
    """cik, company_name, period_end, form, accession, shares_basis_date, the figures (flows with their suffix), provenance, known_at."""
    names = [_column(figure, fiscal) for figure in _figures()]
    return {
        "cik": pl.Int64,
        "company_name": pl.String,
        "period_end": pl.Date,
        "form": pl.String,
        "accession": pl.String,
        "shares_basis_date": pl.Date,
        **dict.fromkeys(names, pl.Float64),
        "provenance": pl.String,
        "known_at": INSTANT,
    }


def fiscal_periods(facts: pl.DataFrame, names: Mapping[int, str], fiscal: Fiscal, as_of: datetime) -> pl.DataFrame:
    """One row for each issuer and fiscal period that ended by `as_of`, in `columns_of(fiscal)`, ordered by CIK and period_end.

    `facts` are rows of FACTS with known_at. A quarter that is not reported (cash flows; most fourth quarters) is the difference
    of two years to date; per-share figures are only ever as reported. Each row names the filing that most of its figures
    come from, and is known_at since the last fact it rests on. `provenance` is as in FUNDAMENTALS.
    """
    concepts = concept_map()
    issuers = of_mapped_tags(facts.filter(pl.col("known_at") <= as_of)).partition_by("cik", as_dict=True)
    rows: list[tuple[Any, ...]] = []
    for (cik,) in sorted(issuers):
        known = Vintages(concepts)
        for fact in read_facts(issuers[cik,]):
            known.learn(fact)
        encoded = FactEncoder()
        for end in _period_ends(known, concepts, fiscal):
            rows += _row(known, concepts, cik, names.get(cik, f"CIK {cik:010d}"), end, fiscal, encoded)
    return pl.DataFrame(rows, schema=columns_of(fiscal), orient="row")


def _period_ends(known: Vintages, concepts: ConceptMap, fiscal: Fiscal) -> list[date]:
    tags = [tag for anchor in _ANCHORS for tag in concepts.tags_behind(anchor)]
    years = {end for start, end in known.starts_and_ends(tags) if is_year(start, end)}
    if fiscal is Fiscal.YEARS:
        return sorted(years)
    return sorted(years | {end for start, end in known.starts_and_ends(tags) if is_to_date(start, end)})


def _row(
    known: Vintages, concepts: ConceptMap, cik: int, name: str, end: date, fiscal: Fiscal, encoded: FactEncoder
) -> list[tuple[Any, ...]]:
    figures = {_column(figure, fiscal): _figure(known, concepts, figure, end, fiscal) for figure in _figures()}
    if all(figures[_column(flow, fiscal)].value is None for flow in _figures() if flow in FLOW_FIGURES):
        return []  # a quarter that only a half-year or a year has, or none that can be believed
    inputs = [fact for figure in figures.values() for fact in figure.inputs]
    filings = Counter((fact.form, fact.accession) for fact in inputs)
    (form, accession), _ = max(filings.items(), key=lambda item: (item[1], item[0]))
    known_at = max(fact.known_at for fact in inputs)
    values = [figure.value for figure in figures.values()]
    return [(cik, name, end, form, accession, share_basis(figures), *values, encode_provenance(figures, encoded), known_at)]


def _figure(known: Vintages, concepts: ConceptMap, figure: str, end: date, fiscal: Fiscal) -> Figure:
    name = figure.removesuffix(_TTM)
    concept = concepts.concepts.get(name)
    if concept is not None and concept.kind is Kind.INSTANT:
        return balance_at(known, concepts, name, end, _last_day_of(concept, end))
    return figure_at(known, concepts, name, end, Length.TWELVE_MONTHS if fiscal is Fiscal.YEARS else Length.QUARTER)


def _last_day_of(concept: Concept, end: date) -> date:
    return date.fromordinal(end.toordinal() + _COVER_PAGE_DAYS) if concept.after_period else end


def _figures() -> list[str]:
    """Without those of earlier years: here they are other rows."""
    return [figure for figure in FIGURES if not figure.endswith(("_1y", "_2y", "_3y"))]


def _column(figure: str, fiscal: Fiscal) -> str:
    return f"{figure.removesuffix(_TTM)}_{fiscal}" if figure in FLOW_FIGURES else figure
