"""What one issuer's filings have said so far: every version of every fact, taken in the order in which they became known."""

import math
import re
from bisect import bisect_left, bisect_right, insort
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta

from tradebot_core.model.fundamentals import Fact
from tradebot_core.quant.concepts import Concept, ConceptMap, Kind
from tradebot_core.quant.periods import is_to_date, is_year, length_days, nearest

SCALE_JUMP = 500  # thousands for units is 1,000 times; real figures do not grow so much from one report to the next
_CONFIRMS = 30  # another filing confirms a jump when it reports the same order of magnitude
_FILINGS_FOR_A_RISE, _FILINGS_FOR_A_FALL = 2, 4
_INCIDENTAL_SHARE = 0.25  # of the reports under the tag reported most

DOLLARS = "USD"
_CURRENCY = re.compile("[A-Z]{3}")
# Since 2023 proxy statements repeat net income beside the pay of executives (Regulation S-K, Item 402(v)): rounded, and sometimes
# in another scale (Arista, DEF 14A of 2026-04-16: 2,087 USD for 2,087 M). They are no financial statements.
_PROXY_STATEMENT = re.compile("14[AC]")

Versions = list[Fact]  # of one period, oldest first


def in_order_of_knowledge(facts: Iterable[Fact]) -> list[Fact]:
    """The one order in which facts are learnt, whatever order they came in. Old periods of one filing come first."""
    return sorted(
        facts,
        key=lambda f: (f.known_at, f.filed, f.accession, f.period_end, f.period_start or date.min, f.taxonomy, f.tag, f.value),
    )


def _moment(fact: Fact) -> tuple[datetime, date, str]:
    return fact.known_at, fact.filed, fact.accession


def tag_of(fact: Fact) -> str:
    return f"{fact.taxonomy}:{fact.tag}"


@dataclass
class _Series:
    """All facts of one tag. An instant's period starts on the day it ends."""

    spans: dict[date, dict[date, Versions]] = field(default_factory=dict)  # end -> start -> versions
    ends: list[date] = field(default_factory=list)  # ascending
    last: dict[date, Fact] = field(default_factory=dict)  # end -> the report learnt last
    filings: set[str] = field(default_factory=set)  # accession
    reported: int = 0

    def add(self, fact: Fact) -> None:
        starts = self.spans.get(fact.period_end)
        if starts is None:
            starts = self.spans[fact.period_end] = {}
            insort(self.ends, fact.period_end)
        starts.setdefault(fact.period_start or fact.period_end, []).append(fact)
        self.last[fact.period_end] = fact
        self.filings.add(fact.accession)
        self.reported += 1


class Vintages:
    """Grows by `learn` only, so that what is derived at one instant cannot depend on a later one.

    Lookups take tags in order of precedence and return the versions under the first tag that has any for the period.
    """

    def __init__(self, concepts: ConceptMap) -> None:
        self._concepts = concepts
        self._concept_of = concepts.by_tag()
        self._series: defaultdict[str, _Series] = defaultdict(_Series)
        self._refused: dict[tuple[str, date], str] = {}
        self._accepted: dict[tuple[str, int], float] = {}  # (tag, quarters) -> last value that was believed
        self._doubtful: defaultdict[tuple[str, int], list[Fact]] = defaultdict(list)
        self._averages: defaultdict[str, list[Fact]] = defaultdict(list)  # accession -> average share counts
        self._foreign: dict[str, str] = {}  # tag -> currency
        self.latest_period_end: date | None = None

    def learn(self, fact: Fact) -> None:
        if _PROXY_STATEMENT.search(fact.form):
            return
        concept = self._concept_of.get((tag_of(fact), fact.unit))
        if concept is None:
            self._note_currency(fact)
            return
        if (fact.period_start is None) != (concept.kind is Kind.INSTANT):
            return
        refusal = _nonsense(fact, concept) or self._jump(fact, concept)
        if refusal is not None:
            self._refused[tag_of(fact), fact.period_end] = refusal
            return
        self._accept(fact, concept)

    def _accept(self, fact: Fact, concept: Concept) -> None:
        self._series[tag_of(fact)].add(fact)
        if concept.kind is Kind.AVERAGE:
            self._averages[fact.accession].append(fact)
        self._refused.pop((tag_of(fact), fact.period_end), None)
        if concept.kind is not Kind.INSTANT and _is_fiscal(fact) and fact.period_end > (self.latest_period_end or date.min):
            self.latest_period_end = fact.period_end

    def _note_currency(self, fact: Fact) -> None:
        """Figures are in USD. Of a company that reports in another currency it is known that it did, and for which period."""
        in_dollars = self._concept_of.get((tag_of(fact), DOLLARS))
        if in_dollars is None or not _CURRENCY.fullmatch(fact.unit):
            return
        self._foreign[tag_of(fact)] = fact.unit
        if in_dollars.kind is Kind.FLOW and _is_fiscal(fact) and fact.period_end > (self.latest_period_end or date.min):
            self.latest_period_end = fact.period_end

    def foreign_currency(self, tags: Sequence[str]) -> str | None:
        """The currency in which the company reports what it does not report in USD."""
        return next((self._foreign[tag] for tag in tags if tag in self._foreign), None)

    def _jump(self, fact: Fact, concept: Concept) -> str | None:
        """A reason when the value is of another scale than the last of its kind and too few other filings have confirmed it.

        One filing in the wrong scale is followed by others: NVIDIA reported diluted shares in thousands in seven filings of
        2010-2011. A fall to a 500th therefore needs a year of filings, and a share count never falls so far.
        """
        if not concept.scale or fact.value == 0:
            return None
        series = tag_of(fact), _quarters(fact) if concept.kind is Kind.FLOW else 0
        before = self._accepted.get(series)
        if before is not None and ratio_of_scale(fact.value, before) >= SCALE_JUMP:
            alike = [d for d in self._doubtful[series] if ratio_of_scale(d.value, fact.value) <= _CONFIRMS]
            filings = {fact.accession, *(d.accession for d in alike)}
            needed = _FILINGS_FOR_A_RISE if fact.value > before else _FILINGS_FOR_A_FALL
            if len(filings) < needed or (fact.value < before and concept.unit == "shares"):
                self._doubtful[series].append(fact)
                return f"scale: {fact.value:.15g} {fact.unit} after {before:.15g}, not confirmed by other filings"
            for earlier in alike:
                self._accept(earlier, concept)
            self._doubtful[series] = [d for d in self._doubtful[series] if d not in alike]
        self._accepted[series] = fact.value
        return None

    def balances(self, concept: str, day: date, within_days: int) -> list[Fact]:
        """Every report of a balance on the day nearest to `day`, in the order in which they became known."""
        tags = self._concepts.concepts[concept].tags
        end = nearest(self.ends_near(tags, day, within_days), day, within_days)
        return [] if end is None else self.spans(tags, end).get(end, [])

    def averages_in(self, accession: str) -> list[Fact]:
        """The average share counts that a filing reports."""
        return self._averages.get(accession, [])

    def refusal(self, tags: Sequence[str], end: date) -> str | None:
        """Why a value that was reported for the period was not believed."""
        return next((self._refused[tag, end] for tag in tags if (tag, end) in self._refused), None)

    def reported_tags(self, tags: Sequence[str], end: date) -> list[str]:
        """The tags with a value for a period that ends there, in precedence, without those used in passing.

        A total that stands in a note and not on the face of the statement is reported far less often than the one that does:
        Procter & Gamble used Revenues for its sales in the United States (FY2012: 28.4 of 82.0 bn USD, SalesRevenueNet).
        How often a vendor repeats a number says nothing about the filing's tags: each taxonomy is counted by itself.
        """
        found = [tag for tag in tags if tag in self._series and end in self._series[tag].spans]
        if len(found) < 2:
            return found
        found = self._still_used(found, end)
        most: dict[str, int] = {}
        for tag in found:
            taxonomy = tag.partition(":")[0]
            most[taxonomy] = max(most.get(taxonomy, 0), self._series[tag].reported)
        return [tag for tag in found if self._series[tag].reported >= _INCIDENTAL_SHARE * most[tag.partition(":")[0]]]

    def _still_used(self, tags: Sequence[str], end: date) -> list[str]:
        """Without tags that the latest report of the period has given up: the period was restated under another one since.

        Microsoft reported the revenue of FY2017 as SalesRevenueNet (89,950 M), and a year later, under ASC 606, as contract
        revenue (96,571 M) in a 10-K that no longer knows the old tag.
        """
        latest: dict[str, Fact] = {}
        for tag in tags:
            last, taxonomy = self._series[tag].last[end], tag.partition(":")[0]
            if taxonomy not in latest or _moment(last) > _moment(latest[taxonomy]):
                latest[taxonomy] = last
        return [tag for tag in tags if latest[tag.partition(":")[0]].accession in self._series[tag].filings]

    def spans(self, tags: Sequence[str], end: date) -> dict[date, Versions]:
        """start -> versions, of the periods that end there."""
        if len(tags) == 1:
            return self._series[tags[0]].spans.get(end, {}) if tags[0] in self._series else {}
        merged: dict[date, Versions] = {}
        for tag in self.reported_tags(tags, end):
            for start, versions in self._series[tag].spans[end].items():
                merged.setdefault(start, versions)
        return merged

    def starts_and_ends(self, tags: Sequence[str]) -> set[tuple[date, date]]:
        """All periods that any of the tags is known for."""
        return {
            (start, end)
            for tag in tags
            if tag in self._series
            for end, starts in self._series[tag].spans.items()
            for start in starts
        }

    def ends_near(self, tags: Sequence[str], target: date, within_days: int) -> list[date]:
        """Ends of periods within reach of a day, ascending."""
        reach = timedelta(days=within_days)
        found: set[date] = set()
        for tag in tags:
            if tag in self._series:
                ends = self._series[tag].ends
                found.update(ends[bisect_left(ends, target - reach) : bisect_right(ends, target + reach)])
        return sorted(found)

    def latest_end(self, tags: Sequence[str], not_after: date) -> date | None:
        """The last end of a period up to a day, refused values included: an older one may not stand in for a refused one."""
        found = []
        for tag in tags:
            ends = self._series[tag].ends if tag in self._series else []
            if at := bisect_right(ends, not_after):
                found.append(ends[at - 1])
        found.extend(end for tag, end in self._refused if tag in tags and end <= not_after)
        return max(found, default=None)


def _nonsense(fact: Fact, concept: Concept) -> str | None:
    if not math.isfinite(fact.value):
        return "not a finite number"
    if concept.minimum is not None and fact.value < concept.minimum:
        rule = "sign" if fact.value < 0 else "scale"
        return f"{rule}: {fact.value:.15g} {fact.unit} is below {concept.minimum:g} for {tag_of(fact)}"
    return None


def ratio_of_scale(one: float, other: float) -> float:
    return max(one / other, other / one)


def _quarters(fact: Fact) -> int:
    """The length of the period: flows are compared with flows over about the same time."""
    return max(1, round(length_days(fact.period_start or fact.period_end, fact.period_end) / 91))


def _is_fiscal(fact: Fact) -> bool:
    """Whether the period is a part of a fiscal year, a whole one, or what lies between two when the year end moves (10-KT)."""
    if fact.period_start is None:
        return False
    return (
        is_to_date(fact.period_start, fact.period_end)
        or is_year(fact.period_start, fact.period_end)
        or (is_transition(fact) and length_days(fact.period_start, fact.period_end) > 0)
    )


def is_transition(fact: Fact) -> bool:
    return fact.form.startswith(("10-KT", "10-QT"))
