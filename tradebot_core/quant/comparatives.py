"""Balances and averages of a year or two before, from what is known at the same instant as today's."""

from collections.abc import Iterable
from datetime import date

from tradebot_core.quant.concepts import ConceptMap
from tradebot_core.quant.periods import SAME_PERIOD_DAYS, nearest, years_before
from tradebot_core.quant.trailing import Figure, figure_at, missing
from tradebot_core.quant.vintages import Vintages, tag_of


def balance_before(known: Vintages, concepts: ConceptMap, name: str, now: Figure, years: int) -> Figure:
    """The balance on the same day of an earlier year: as the latest filing that shows it has it, compared with `now`.

    A quarterly report compares its balance sheet with the end of the fiscal year, so that the one of a year before is usually
    that of the report of a year before.
    """
    if now.value is None:
        return missing(f"{name} is missing, so there is nothing to compare with")
    target = years_before(max(fact.period_end for fact in now.inputs), years)
    reason = None
    for day in _nearest_first(known.ends_near(concepts.tags_behind(name), target, SAME_PERIOD_DAYS), target):
        found = figure_at(known, concepts, name, day)
        if found.value is not None:
            return found
        reason = reason or found.reason
    return missing(reason or f"no balance is known for a day near {target}")


def average_before(known: Vintages, now: Figure) -> Figure:
    """The average over the same months of the year before, as the filing that reports `now` restates it.

    Of that filing alone: an issuer's comparatives are on the split basis of the filing they stand in (SAB Topic 4.C), so that
    a split between the two periods does not look like an issue of shares.
    """
    if now.value is None:
        return missing("the average of the current period is missing, so there is nothing to compare with")
    (fact,) = now.inputs
    assert fact.period_start is not None
    target = years_before(fact.period_end, 1)
    tags = [tag_of(fact)]
    for end in _nearest_first(known.ends_near(tags, target, SAME_PERIOD_DAYS), target):
        spans = known.spans(tags, end)
        start = nearest(spans, years_before(fact.period_start, 1), SAME_PERIOD_DAYS)
        of_filing = [version for version in spans.get(start or end, []) if version.accession == fact.accession]
        if of_filing:
            return Figure(of_filing[-1].value, rule="comparative_of_the_same_filing", inputs=(of_filing[-1],))
    return missing(f"{fact.accession} has no comparative near {target}")


def _nearest_first(days: Iterable[date], target: date) -> list[date]:
    return sorted(days, key=lambda day: (abs((day - target).days), target - day))
