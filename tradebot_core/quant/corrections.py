"""What a filing changed of earlier ones, and the figures that earlier filings would have given had they said the same.

A change is another value for the same tag, unit and period. A value that is the other rounded, or the other on the share basis of
a later split, is not one.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import msgspec
import polars as pl

from tradebot_core.model.fundamentals import FIGURES
from tradebot_core.quant.concepts import concept_map
from tradebot_core.quant.fact_versions import NUMBER, ORDER_OF_KNOWLEDGE
from tradebot_core.quant.statements import normalise

_NUMBER = NUMBER[1:]  # of one issuer
_ONE_VERSION = (*_NUMBER, "accession")
_COARSEST = 1_000_000  # statements are in millions at most
_SAME_ON_ANOTHER_BASIS = 0.005  # a per-share figure in cents, divided by a split

Splits = Sequence[tuple[date, float]]  # ex-date, new shares for an old one


@dataclass(frozen=True)
class FactChange:
    """One number of an earlier filing, and what a later one says of it, on the share basis of the earlier."""

    taxonomy: str
    tag: str
    unit: str
    period_start: date | None
    period_end: date
    value_then: float
    value_now: float
    accession_then: str
    accession_now: str

    @property
    def version(self) -> tuple[Any, ...]:
        """What identifies the number as the earlier filing reported it."""
        return (self.taxonomy, self.tag, self.unit, self.period_start, self.period_end, self.accession_then)


@dataclass(frozen=True)
class FigureChange:
    """A figure of model.fundamentals that rested on changed numbers: as it stood, and as it would have stood."""

    figure: str
    value_then: float | None
    value_now: float | None
    accession_then: str  # of the number that was changed; several are joined by a comma
    accession_now: str


@dataclass(frozen=True)
class Filing:
    accession: str
    form: str
    filed: date
    known_at: datetime


def changing_filings(facts: pl.DataFrame) -> list[Filing]:
    """The filings of one issuer that report a number otherwise than the version before, in order of knowledge.

    `facts`: columns of FACTS with known_at. A first, coarse look: `changes_by` says what of it is a change.
    """
    versions = (
        _mapped(facts)
        .sort(ORDER_OF_KNOWLEDGE)
        .with_columns(before=pl.col("value").shift(1).over(_NUMBER, order_by=ORDER_OF_KNOWLEDGE))
    )
    changed = versions.filter(pl.col("before").is_not_null() & (pl.col("before") != pl.col("value")))
    filings = changed.group_by("accession").agg(pl.col("form").first(), pl.col("filed").first(), pl.col("known_at").min())
    return [Filing(*row) for row in filings.sort("known_at", "accession").iter_rows()]


def changes_by(facts: pl.DataFrame, filing: Filing, splits: Splits = ()) -> list[FactChange]:
    """Every earlier version that the filing contradicts, of the numbers whose last version before it was another."""
    known = _mapped(facts)
    now = known.filter(pl.col("accession") == filing.accession).unique(_NUMBER, keep="last", maintain_order=True)
    earlier = known.filter(pl.col("known_at") < filing.known_at, pl.col("accession") != filing.accession)
    pairs = (
        earlier.join(now.select(*_NUMBER, now="value", filed_now="filed"), on=_NUMBER, nulls_equal=True)
        .sort(ORDER_OF_KNOWLEDGE)
        .select(*_NUMBER, "value", "now", "accession", "filed", "filed_now")
    )
    found: dict[tuple[Any, ...], list[FactChange | None]] = {}
    for *number, value, said_now, accession, filed, filed_now in pairs.iter_rows():
        restated = _on_basis_of(said_now, number[2], filed, filed_now, splits)
        same = _same(value, restated, rebased=restated != said_now)
        change = None if same else FactChange(*number, value, restated, accession, filing.accession)
        found.setdefault(tuple(number), []).append(change)
    return [change for versions in found.values() if versions[-1] is not None for change in versions if change is not None]


def rests_on(row: Mapping[str, Any], changes: Sequence[FactChange]) -> dict[str, tuple[str, ...]]:
    """The figures of a row of FUNDAMENTALS that were made of changed numbers, with the accessions these had."""
    changed = {change.version for change in changes}
    origins = msgspec.json.decode(row["provenance"], type=dict[str, _Origin])
    found = {
        figure: tuple(dict.fromkeys(fact.accession for fact in origin.inputs if fact.version in changed))
        for figure, origin in origins.items()
    }
    return {figure: accessions for figure, accessions in found.items() if accessions}


def corrected(facts: pl.DataFrame, changes: Sequence[FactChange], company_name: str) -> pl.DataFrame:
    """The rows of FUNDAMENTALS of one issuer, had the earlier filings reported what the changes say. Nothing else is different:
    the same filings, known at the same instants."""
    values = pl.DataFrame(
        [(*change.version, change.value_now) for change in changes],
        schema={**{name: facts.schema[name] for name in _ONE_VERSION}, "value_now": pl.Float64},
        orient="row",
    )
    said = facts.join(values, on=_ONE_VERSION, how="left", nulls_equal=True, maintain_order="left")
    return normalise(said.with_columns(value=pl.coalesce("value_now", "value")).drop("value_now"), company_name)


def figure_changes(
    stored: Mapping[str, Any], as_filed: Mapping[str, Any], as_corrected: Mapping[str, Any], changes: Sequence[FactChange]
) -> tuple[FigureChange, ...]:
    """What differs between the row as filed and as corrected, beside the value that is stored.

    The comparison is with the row made again of the same facts, so that what a newer normalisation does otherwise is no change.
    """
    accessions = rests_on(as_filed, changes)
    news = ", ".join(dict.fromkeys(change.accession_now for change in changes))
    return tuple(
        FigureChange(figure, stored[figure], as_corrected[figure], ", ".join(accessions.get(figure, ())), news)
        for figure in FIGURES
        if as_filed[figure] != as_corrected[figure]
    )


class _Input(msgspec.Struct):
    taxonomy: str
    tag: str
    unit: str
    period_start: date | None
    period_end: date
    accession: str

    @property
    def version(self) -> tuple[Any, ...]:
        return (self.taxonomy, self.tag, self.unit, self.period_start, self.period_end, self.accession)


class _Origin(msgspec.Struct):
    inputs: list[_Input]


def _mapped(facts: pl.DataFrame) -> pl.DataFrame:
    names = pl.concat_str("taxonomy", pl.lit(":"), "tag", pl.lit("|"), "unit")
    return facts.filter(names.is_in([f"{tag}|{unit}" for tag, unit in concept_map().by_tag()]))


def _on_basis_of(value: float, unit: str, filed: date, filed_now: date, splits: Splits) -> float:
    """A share count or per-share figure of the later filing in the shares of the earlier."""
    multiple = math.prod(ratio for ex_date, ratio in splits if filed < ex_date <= filed_now)
    if unit == "shares":
        return value / multiple
    return value * multiple if unit.endswith("/shares") else value


def _same(one: float, other: float, *, rebased: bool) -> bool:
    if rebased:
        return abs(one - other) <= _SAME_ON_ANOTHER_BASIS * abs(one)
    return one == other or abs(one - other) <= 0.5 * max(_granularity(one), _granularity(other))


def _granularity(value: float) -> float:
    """The unit a whole number seems to be written in: thousands, millions. Of others there is none."""
    if value == 0 or value != int(value):
        return 0.0
    grain = 1
    while grain < _COARSEST and int(value) % (grain * 10) == 0:
        grain *= 10
    return float(grain) if grain >= 1000 else 0.0
