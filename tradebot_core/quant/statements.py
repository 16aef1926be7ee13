"""From reported facts to fundamentals: all figures of an issuer at each instant at which one of them changed.

Facts are learnt in the order in which they became known, and each instant's figures are made of what is known by then alone.
A restatement is therefore invisible before its own known_at, and a later one changes nothing that was known earlier.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import fields
from datetime import date, datetime
from itertools import groupby
from typing import Any

import msgspec
import polars as pl

from tradebot_core.model.fundamentals import FIGURES, INSTANT_FIGURES, Fact, Provenance
from tradebot_core.model.tables import FUNDAMENTALS, INSTANT
from tradebot_core.quant.comparatives import average_before, balance_before
from tradebot_core.quant.concepts import ConceptMap, Kind, concept_map, concept_map_digest
from tradebot_core.quant.periods import SAME_PERIOD_DAYS, nearest, years_before
from tradebot_core.quant.trailing import Figure, balance_at, figure_at, missing, year_at
from tradebot_core.quant.vintages import SCALE_JUMP, Vintages, in_order_of_knowledge, ratio_of_scale

# Raise it with every change that makes other figures of the same facts; the concept map counts by its content. A store renews the
# figures that other rules made, as later versions, when it collects next.
_RULES = 2
NORMALISATION = f"{_RULES}-{concept_map_digest()}"
_SCHEMA = pl.Schema({**FUNDAMENTALS.columns, "known_at": INSTANT})
_MADE = pl.Schema({name: kind for name, kind in _SCHEMA.items() if name != "normalised_by"})
_FACT_COLUMNS = tuple(f.name for f in fields(Fact))
_JSON_COLUMNS = tuple(sorted(name for name in _FACT_COLUMNS if name != "cik"))  # the row says whose they are
_YEARS_BACK = {"_1y": 1, "_2y": 2, "_3y": 3}


def normalise(facts: pl.DataFrame, company_name: str) -> pl.DataFrame:
    """The rows of FUNDAMENTALS of one issuer, from all versions of its facts (columns of FACTS with known_at)."""
    return (
        pl.DataFrame(list(_rows(read_facts(facts), company_name)), schema=_MADE, orient="row")
        .with_columns(normalised_by=pl.lit(NORMALISATION))
        .select(_SCHEMA.names())
    )


def normalise_many(facts: pl.DataFrame, names: Mapping[int, str]) -> pl.DataFrame:
    """The rows of all issuers in the facts, in order of CIK and known_at."""
    issuers = of_mapped_tags(facts).partition_by("cik", as_dict=True, maintain_order=False)
    frames = [normalise(issuers[key], names.get(key[0], f"CIK {key[0]:010d}")) for key in sorted(issuers)]
    return pl.concat([_SCHEMA.to_frame(), *frames])


def fiscal_year_figure(facts: pl.DataFrame, concept: str, year_end: date, as_of: datetime) -> Figure:
    """What one issuer's filings said by `as_of` of a concept for the fiscal year that ends there."""
    concepts = concept_map()
    known = Vintages(concepts)
    for fact in read_facts(facts.filter(pl.col("known_at") <= as_of)):
        known.learn(fact)
    return year_at(known, concepts.concepts[concept], year_end)


def provenance_of(row: Mapping[str, Any], figure: str) -> Provenance:
    """Where a figure of a row of FUNDAMENTALS came from, or why it is missing."""
    found = msgspec.json.decode(row["provenance"], type=dict[str, _StoredProvenance])[figure]
    inputs = tuple(Fact(cik=row["cik"], **{name: getattr(fact, name) for name in _JSON_COLUMNS}) for fact in found.inputs)
    return Provenance(rule=found.rule, inputs=inputs, reason=found.reason)


class _StoredFact(msgspec.Struct):
    taxonomy: str
    tag: str
    unit: str
    period_start: date | None
    period_end: date
    accession: str
    value: float
    form: str
    filed: date
    known_at: datetime


class _StoredProvenance(msgspec.Struct):
    rule: str | None
    reason: str | None
    inputs: list[_StoredFact]


def of_mapped_tags(facts: pl.DataFrame) -> pl.DataFrame:
    """The facts under the tags of a concept of the map, in any unit."""
    wanted = pl.DataFrame(
        sorted({tuple(tag.split(":", 1)) for tag, _ in concept_map().by_tag()}), schema=["taxonomy", "tag"], orient="row"
    )
    return facts.join(wanted, on=["taxonomy", "tag"], how="semi")


def read_facts(facts: pl.DataFrame) -> list[Fact]:
    """The facts of mapped tags, in the order in which they are learnt."""
    rows = of_mapped_tags(facts).select(_FACT_COLUMNS).iter_rows()
    return in_order_of_knowledge(Fact(*row) for row in rows)


def _rows(facts: list[Fact], company_name: str) -> Iterator[tuple[Any, ...]]:
    concepts = concept_map()
    known = Vintages(concepts)
    encoded = FactEncoder()
    before: tuple[Any, ...] | None = None
    values_before: dict[str, float | None] = {}
    for known_at, news in groupby(facts, key=lambda fact: fact.known_at):
        learnt = list(news)
        for fact in learnt:
            known.learn(fact)
        if known.latest_period_end is None:
            continue
        figures = _figures(known, concepts, known.latest_period_end)
        values = {name: figure.value for name, figure in figures.items()}
        content = (known.latest_period_end, *_share_bases(figures), *values.values())
        if content == before:
            continue
        changed = [name for name in FIGURES if before is None or values[name] != values_before[name]]
        form, accession = _what_changed(figures, changed, learnt)
        yield (
            learnt[0].cik,
            company_name,
            known.latest_period_end,
            form,
            accession,
            *_share_bases(figures),
            *values.values(),
            encode_provenance(figures, encoded),
            known_at,
        )
        before, values_before = content, values


def _figures(known: Vintages, concepts: ConceptMap, period_end: date) -> dict[str, Figure]:
    """All figures in the order of FIGURES."""
    figures = {}
    for name in FIGURES:
        concept = concepts.concepts.get(name)
        if name in INSTANT_FIGURES and concept is not None and concept.kind is Kind.INSTANT:
            not_after = date.max if concept.after_period else period_end
            figures[name] = balance_at(known, concepts, name, period_end, not_after)
        elif name.endswith(tuple(_YEARS_BACK)):
            now, years = name[:-3], _YEARS_BACK[name[-3:]]
            if now not in INSTANT_FIGURES:
                figures[name] = _years_back(known, concepts, _concept_name(now), period_end, years)
            elif concepts.concepts[now].kind is Kind.AVERAGE:
                figures[name] = average_before(known, figures[now])
            else:
                figures[name] = balance_before(known, concepts, now, figures[now], years)
        else:
            figures[name] = figure_at(known, concepts, _concept_name(name), period_end)
    return {**figures, **_shares_of_different_scale(figures)}


def _shares_of_different_scale(figures: Mapping[str, Figure]) -> dict[str, Figure]:
    """Both share counts are missing when one is 500 times the other: nothing says which is in thousands."""
    counts = {name: figures[name].value for name in ("shares_outstanding", "shares_diluted")}
    outstanding, diluted = counts.values()
    if outstanding is None or diluted is None or ratio_of_scale(outstanding, diluted) < SCALE_JUMP:
        return {}
    return dict.fromkeys(counts, missing(f"scale: {outstanding:.15g} shares outstanding against {diluted:.15g} diluted"))


def _concept_name(figure: str) -> str:
    return figure.removesuffix("_ttm")


def _years_back(known: Vintages, concepts: ConceptMap, name: str, period_end: date, years: int) -> Figure:
    target = years_before(period_end, years)
    end = nearest(known.ends_near(concepts.tags_behind(name), target, SAME_PERIOD_DAYS), target, SAME_PERIOD_DAYS)
    return missing(f"no period ends near {target}") if end is None else figure_at(known, concepts, name, end)


def share_basis(figures: Mapping[str, Figure]) -> date | None:
    """The day on whose split basis share counts stand: that of shares_outstanding, where it is known."""
    return _basis_of(figures["shares_outstanding"]) or _basis_of(figures["shares_diluted"])


def _share_bases(figures: Mapping[str, Figure]) -> tuple[date | None, date | None, date | None]:
    """Those of share counts, of diluted shares and of earnings per share, which may come from different filings."""
    return share_basis(figures), _basis_of(figures["shares_diluted"]), _basis_of(figures["eps_diluted_ttm"])


def _basis_of(figure: Figure) -> date | None:
    """What is counted in shares, or a share, stands on the split basis of the day its newest filing was filed (SAB Topic 4.C)."""
    return max((fact.filed for fact in figure.inputs), default=None)


def _what_changed(figures: Mapping[str, Figure], changed: list[str], learnt: list[Fact]) -> tuple[str, str]:
    """Form and accession of the filing, of those of this instant, that most of the changed figures come from."""
    filings = {fact.accession for fact in learnt}
    causes = [fact for name in changed for fact in figures[name].inputs if fact.accession in filings] or learnt
    reports = Counter(fact.accession for fact in causes)
    cause = max(causes, key=lambda fact: (reports[fact.accession], fact.filed, fact.accession))
    return cause.form, cause.accession


class FactEncoder:
    """Facts as JSON, each made once: most figures of most rows share their facts with the row before."""

    def __init__(self) -> None:
        self._made: dict[int, msgspec.Raw] = {}

    def __call__(self, fact: Fact) -> msgspec.Raw:
        made = self._made.get(id(fact))
        if made is None:
            made = msgspec.Raw(msgspec.json.encode({name: getattr(fact, name) for name in _JSON_COLUMNS}))
            self._made[id(fact)] = made
        return made


def encode_provenance(figures: Mapping[str, Figure], encoded: FactEncoder) -> str:
    """The column `provenance` of FUNDAMENTALS; `provenance_of` reads it."""
    return msgspec.json.encode(
        {
            name: {"inputs": [encoded(fact) for fact in figure.inputs], "reason": figure.reason, "rule": figure.rule}
            for name, figure in sorted(figures.items())
        }
    ).decode()
