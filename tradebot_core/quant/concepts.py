"""The concept map: which reported tags stand for which figure. The map itself is data, in concepts.toml, with its sources."""

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


@dataclass(frozen=True, slots=True)
class Sum:
    """A figure made of concepts of one period: all of `plus` less all of `minus`, and `when_reported` where reported."""

    figure: str
    plus: tuple[str, ...]
    minus: tuple[str, ...] = ()
    when_reported: tuple[str, ...] = ()
    not_below: str | None = None


@dataclass(frozen=True, slots=True)
class ConceptMap:
    concepts: dict[str, Concept]
    sums: tuple[Sum, ...]

    def sums_of(self, figure: str) -> tuple[Sum, ...]:
        return tuple(rule for rule in self.sums if rule.figure == figure)

    def by_tag(self) -> dict[tuple[str, str], Concept]:
        """(taxonomy:tag, unit) -> the concept whose rules of refusal hold for it (the first that lists it)."""
        found: dict[tuple[str, str], Concept] = {}
        for concept in self.concepts.values():
            for tag in concept.tags:
                found.setdefault((tag, concept.unit), concept)
        return found


@cache
def concept_map() -> ConceptMap:
    document = tomllib.loads(files("tradebot_core.quant").joinpath("concepts.toml").read_text(encoding="utf-8"))
    concepts = {
        name: Concept(name=name, **{**block, "kind": Kind(block["kind"]), "tags": tuple(block["tags"])})
        for name, block in document["concepts"].items()
    }
    sums = tuple(
        Sum(**{key: tuple(value) if isinstance(value, list) else value for key, value in block.items()})
        for block in document["sums"]
    )
    return ConceptMap(concepts, sums)
