"""The concept map: which reported tags stand for which figure. The map itself is data, in concepts.toml, with its sources."""

import hashlib
import json
import tomllib
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from importlib.resources import files


class Kind(StrEnum):
    FLOW = "flow"  # over a period; periods add up
    INSTANT = "instant"  # on a day
    AVERAGE = "average"  # over a period; periods do not add up
    PER_SHARE = "per_share"  # over a period; quarters add up only on one share basis


@dataclass(frozen=True, slots=True)
class Concept:
    """`tags` are taxonomy:tag in order of precedence; a reported value below `minimum` is refused."""

    name: str
    kind: Kind
    unit: str
    tags: tuple[str, ...]
    minimum: float | None = None
    scale: bool = False  # refuse jumps of scale
    after_period: bool = False  # an instant that may be later than the end of the period
    stale_days: int = 200  # two quarters and a late filing: an older balance says nothing about the period
    largest: bool = False  # of several tags reported for the period the one with the largest value counts


@dataclass(frozen=True, slots=True)
class Sum:
    """A figure made of concepts of one period: all of `plus` less all of `minus`, and `when_reported` where reported.

    It is passed over when its value is less than `not_below`, a part of it; when one of `only_without` is reported; when what it
    adds up is no more than `larger_than`, which then contains it; when one of `only_with` is not known. `unnamed_up_to` is of debt:
    where none of `when_reported` is known, the current liabilities that have no name (named_current_liabilities) may hold a part of
    it, and may be at most that share of the value.
    """

    figure: str
    plus: tuple[str, ...]
    minus: tuple[str, ...] = ()
    when_reported: tuple[str, ...] = ()
    not_below: str | None = None
    only_without: tuple[str, ...] = ()
    larger_than: str | None = None
    only_with: tuple[str, ...] = ()
    unnamed_up_to: float | None = None
    alike_within: float = 0.0  # so little less than an amount in the sum, one of `when_reported` may be the same without leases
    vendor: bool = False  # of a vendor's parts: that they are not there is no reason to give for a figure of filings


@dataclass(frozen=True, slots=True)
class ConceptMap:
    concepts: dict[str, Concept]
    sums: tuple[Sum, ...]

    def sums_of(self, figure: str) -> tuple[Sum, ...]:
        return tuple(rule for rule in self.sums if rule.figure == figure)

    def tags_behind(self, figure: str) -> tuple[str, ...]:
        """Every tag from which the figure may come: its own, then those of the parts it may be added up from."""
        own = self.concepts[figure].tags if figure in self.concepts else ()
        parts = (tag for rule in self.sums_of(figure) for part in rule.plus for tag in self.tags_behind(part))
        return tuple(dict.fromkeys((*own, *parts)))

    def by_tag(self) -> dict[tuple[str, str], Concept]:
        """(taxonomy:tag, unit) -> the concept whose rules of refusal hold for it (the first that lists it)."""
        found: dict[tuple[str, str], Concept] = {}
        for concept in self.concepts.values():
            for tag in concept.tags:
                found.setdefault((tag, concept.unit), concept)
        return found


def _written() -> str:
    return files("tradebot_core.quant").joinpath("concepts.toml").read_text(encoding="utf-8")


@cache
def concept_map_digest() -> str:
    """Changes with anything that the map says; comments and layout do not count."""
    said = json.dumps(tomllib.loads(_written()), sort_keys=True)
    return hashlib.sha256(said.encode()).hexdigest()[:8]


@cache
def concept_map() -> ConceptMap:
    document = tomllib.loads(_written())
    concepts = {
        name: Concept(name=name, **{**block, "kind": Kind(block["kind"]), "tags": tuple(block["tags"])})
        for name, block in document["concepts"].items()
    }
    sums = tuple(
        Sum(**{key: tuple(value) if isinstance(value, list) else value for key, value in block.items()})
        for block in document["sums"]
    )
    return ConceptMap(concepts, sums)
