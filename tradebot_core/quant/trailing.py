"""One figure of one issuer from the facts known so far: twelve months, a quarter, an average, a balance, or why there is none."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum

from tradebot_core.model.fundamentals import Fact
from tradebot_core.quant.concepts import Concept, ConceptMap, Kind, Sum
from tradebot_core.quant.periods import (
    ADJACENT_DAYS,
    SAME_PERIOD_DAYS,
    day_before,
    is_quarter,
    is_to_date,
    is_year,
    length_days,
    nearest,
    years_before,
)
from tradebot_core.quant.vintages import Versions, Vintages, is_transition, tag_of

_COMPARATIVE_DAYS = 330  # a fact filed so long after its period stands in the next year's filing
_RECAST_SHARE = 0.5  # of the larger of two versions of one period's amount
_SAME_ASSETS_SHARE = 0.1  # reclassifications and corrections of a balance sheet stay below
_SHARE_BASIS_RATIO = 1.4  # the smallest usual split is 3 for 2; issues and buy-backs within a year stay below

_RECAST = "comparatives were recast"
_NO_FACT = "no fact in"


class Length(StrEnum):
    """Over what a flow is asked for. At the end of a fiscal year its twelve months are the fiscal year."""

    TWELVE_MONTHS = "twelve_months"
    QUARTER = "quarter"


@dataclass(frozen=True, slots=True)
class Figure:
    value: float | None
    rule: str | None = None
    reason: str | None = None
    inputs: tuple[Fact, ...] = ()


def missing(reason: str) -> Figure:
    return Figure(None, reason=reason)


def figure_at(known: Vintages, concepts: ConceptMap, name: str, end: date, length: Length = Length.TWELVE_MONTHS) -> Figure:
    """The figure for the period that ends there: reported under a tag of its own, or made of parts by the map's sums."""
    concept = concepts.concepts.get(name)
    own = _reported(known, concepts, concept, end, length) if concept is not None else None
    if own is not None and (own.value is not None or (own.reason or "").startswith(_RECAST)):
        return own
    of_parts = []
    for rule in concepts.sums_of(name):
        found = _sum(known, concepts, rule, end, length)
        if found.value is not None:
            return found
        if not (rule.vendor and _NO_FACT in (found.reason or "")):
            of_parts.append(found)
    return _why_missing(own, of_parts) if own is not None or of_parts else missing(f"no concept {name}")


def _why_missing(own: Figure | None, of_parts: Sequence[Figure]) -> Figure:
    """The reason that says most: what was reported and is no use, before what was not reported."""
    reasons = [figure for figure in (own, *of_parts) if figure is not None]
    return next((figure for figure in reasons if _NO_FACT not in (figure.reason or "")), own or reasons[-1])


def balance_at(known: Vintages, concepts: ConceptMap, name: str, period_end: date, not_after: date) -> Figure:
    """The figure on the latest day up to `not_after` for which any way of reporting it is known, unless that is stale."""
    concept = concepts.concepts[name]
    tags = concepts.tags_behind(name)
    day, unusable = not_after, None
    while (latest := known.latest_end(tags, day)) is not None:
        if (period_end - latest).days > concept.stale_days:
            return unusable or missing(f"stale: last known for {latest}, {(period_end - latest).days} days before {period_end}")
        found = figure_at(known, concepts, name, latest)
        if found.value is not None or known.refusal(tags, latest) is not None:
            return found
        unusable = unusable or found
        day = day_before(latest)
    return unusable or _no_fact(known, concept)


def year_at(known: Vintages, concept: Concept, end: date) -> Figure:
    """The value reported for the fiscal year that ends there."""
    return _fiscal_year(known, known.reported_tags(concept.tags, end), end) or _no_fact(known, concept, end)


def _reported(known: Vintages, concepts: ConceptMap, concept: Concept, end: date, length: Length) -> Figure:
    tags = known.reported_tags(concept.tags, end)
    if not tags:
        refusal = known.refusal(concept.tags, end)
        return missing(refusal) if refusal is not None else _no_fact(known, concept, end)
    match concept.kind:
        case Kind.FLOW if length is Length.QUARTER:
            return _one_quarter(known, concept, tags, end)
        case Kind.PER_SHARE if length is Length.QUARTER:
            return _reported_quarter(known, tags, end)
        case Kind.FLOW:
            return _trailing(known, concept, tags, end)
        case Kind.PER_SHARE:
            return _per_share(known, concept, concepts.concepts["shares_diluted"], tags, end)
        case Kind.AVERAGE:
            return _average(known, tags, end)
        case Kind.INSTANT:
            return _of(known.spans(tags, end)[end], "reported_balance")


def _trailing(known: Vintages, concept: Concept, tags: list[str], end: date) -> Figure:
    """Twelve months under one tag where one has them all; under several where the company changed its tag on the way."""
    if concept.largest and len(tags) > 1:
        return _largest([_trailing(known, concept, [tag], end) for tag in tags]) or _trailing(known, concept, tags[:1], end)
    reason = None
    for choice in (*([tag] for tag in tags), list(concept.tags)):
        found = _fiscal_year(known, choice, end) or _year_to_date(known, concept, choice, end)
        if found.value is None and (found.reason or "").startswith(_RECAST):
            return found  # the fourth quarter of that year would mix the two as well
        if found.value is None:
            reason = found.reason if reason is None or len(choice) > 1 else reason
            found = _four_quarters(known, choice, end) or found
        if found.value is not None:
            return found
    return missing(reason or f"no twelve months end on {end}")


def _largest(found: Sequence[Figure]) -> Figure | None:
    known = [figure for figure in found if figure.value is not None]
    return max(known, key=lambda figure: figure.value or 0, default=None)


def _fiscal_year(known: Vintages, tags: Sequence[str], end: date) -> Figure | None:
    years = {start: v for start, v in known.spans(tags, end).items() if is_year(start, end)}
    if not years:
        return None
    start = nearest(years, years_before(end, 1), within_days=SAME_PERIOD_DAYS * 2)
    return None if start is None else _of(years[start], "fiscal_year")


def _year_to_date(known: Vintages, concept: Concept, tags: Sequence[str], end: date) -> Figure:
    """The last fiscal year, plus the year to date, less the same months of that fiscal year.

    The months of the year before are taken from the filing that reports the year to date, which has them on its own basis.
    A fact that is itself only a comparative of a later filing has none there: then the filing that has both is used.
    """
    spans = known.spans(tags, end)
    reason = f"no year to date ends on {end}"
    for start in sorted(start for start in spans if is_to_date(start, end)):
        year_end = nearest(known.ends_near(tags, day_before(start), ADJACENT_DAYS), day_before(start), ADJACENT_DAYS)
        year = None if year_end is None else _fiscal_year(known, tags, year_end)
        if year is None:
            moved = any(is_transition(version) for version in spans[start])
            reason = (
                f"transition period of {length_days(start, end)} days, {start} to {end}"
                if moved
                else f"no fiscal year ends the day before {start}, where the year to date begins"
            )
            continue
        prior = _same_months(known, tags, year.inputs[0], years_before(end, 1))
        if prior is None:
            return missing(f"prior year-to-date missing: none ends near {years_before(end, 1)}")
        now, before = _of_one_filing(spans[start], prior)
        return _exchanged_months(known, concept, tags, year.inputs[0], now, before, prior)
    return missing(reason)


def _exchanged_months(
    known: Vintages, concept: Concept, tags: Sequence[str], year: Fact, now: Fact, before: Fact, versions: Versions
) -> Figure:
    """The year, plus the months of this year, less those of the last: which of their versions belongs to the year?

    The one in the current filing, unless it differs much from those that were filed up to the year's report (`own`). Then the
    total assets at both year ends tell whether the filings speak of one company (a reverse merger puts another company's past
    in the place of its own: T-Mobile US in MetroPCS, 10-Q of 2013-08-08):
    another one since the year's report: no twelve months. Another one before it: the current filing is right, `own` is not.
    One and the same: its past was restated (new standard, discontinued operations). Where the year was restated as well, the
    current filing is right; else the months that belong to the year are `own`, and the sum is of quarters as first reported.
    """
    standard = Figure(
        year.value + now.value - before.value, rule="fiscal_year_plus_ytd_less_prior_ytd", inputs=(year, now, before)
    )
    if year.filed >= now.filed:  # the year was reported again since, and stands on the basis of the current filing
        return standard
    part_of_more = concept.minimum is not None and concept.minimum >= 0 and before.value > year.value
    own = [fact for fact in versions if fact.filed <= year.filed]
    if not part_of_more and (not own or any(_alike(fact.value, before.value) for fact in own)):
        return standard
    if not own or not _same_company(known, year.period_end, year.filed, now.accession):
        return missing(
            f"{_RECAST}: {before.value:.15g} for the months to {before.period_end} in {before.accession}, {_against(own, year)}"
        )
    first = own[-1]
    restated_too = known.spans(tags, year.period_end)[year.period_start or year.period_end][0].value != year.value
    another_before = not _same_company(known, day_before(year.period_start or year.period_end), year.filed, first.accession)
    if restated_too or another_before:
        return standard
    value = year.value + now.value - first.value
    return Figure(value, rule="fiscal_year_plus_ytd_less_prior_ytd_as_first_reported", inputs=(year, now, first))


def _against(own: Versions, year: Fact) -> str:
    if not own:
        return f"a part of the year's {year.value:.15g}"
    return f"{own[-1].value:.15g} in {own[-1].accession}, and total assets do not say that both are of one company"


def _alike(one: float, other: float) -> bool:
    """Half of the larger amount lets corrections and small disposals pass, which a year's figure outlives."""
    return one * other >= 0 and abs(one - other) <= _RECAST_SHARE * max(abs(one), abs(other))


def _same_company(known: Vintages, day: date, filed: date, accession: str) -> bool:
    """Whether a filing gives the total assets of a day as they stood in the filings up to another."""
    balances = known.balances("assets", day, ADJACENT_DAYS)
    then = [fact for fact in balances if fact.filed <= filed and fact.accession != accession]
    other = [fact for fact in balances if fact.accession == accession]
    return bool(then and other) and abs(then[-1].value - other[-1].value) <= _SAME_ASSETS_SHARE * abs(then[-1].value)


def _same_months(known: Vintages, tags: Sequence[str], year: Fact, target: date) -> Versions | None:
    """The year to date of the fiscal year, up to the day a year before."""
    assert year.period_start is not None
    ends = known.ends_near(tags, target, SAME_PERIOD_DAYS)
    while (end := nearest(ends, target, SAME_PERIOD_DAYS)) is not None:
        spans = {start: v for start, v in known.spans(tags, end).items() if is_to_date(start, end)}
        start = nearest(spans, year.period_start, SAME_PERIOD_DAYS)
        if start is not None:
            return spans[start]
        ends.remove(end)
    return None


def _of_one_filing(now: Versions, before: Versions) -> tuple[Fact, Fact]:
    latest_of = {fact.accession: fact for fact in before}
    latest = now[-1]
    if latest.accession not in latest_of and (latest.filed - latest.period_end).days > _COMPARATIVE_DAYS:
        shared = next((fact for fact in reversed(now) if fact.accession in latest_of), latest)
        latest = shared
    return latest, latest_of.get(latest.accession, before[-1])


def _four_quarters(known: Vintages, tags: Sequence[str], end: date) -> Figure | None:
    """Four adjacent quarters; one that no filing reports (the fourth) is its fiscal year less nine months."""
    inputs: list[Fact] = []
    value, last = 0.0, end
    for _ in range(4):
        quarter_end = nearest(known.ends_near(tags, last, ADJACENT_DAYS), last, ADJACENT_DAYS)
        quarter = (
            None if quarter_end is None else _quarter(known, tags, quarter_end) or _fourth_quarter(known, tags, quarter_end)
        )
        if quarter is None:
            return None
        amount, start, facts = quarter
        value += amount
        inputs.extend(facts)
        last = day_before(start)
    return Figure(value, rule="four_quarters", inputs=tuple(inputs)) if is_year(last + timedelta(days=1), end) else None


def _quarter(known: Vintages, tags: Sequence[str], end: date) -> tuple[float, date, tuple[Fact, ...]] | None:
    for start, versions in sorted(known.spans(tags, end).items(), reverse=True):
        if is_quarter(start, end):
            return versions[-1].value, start, (versions[-1],)
    return None


def _fourth_quarter(known: Vintages, tags: Sequence[str], end: date) -> tuple[float, date, tuple[Fact, ...]] | None:
    year = _fiscal_year(known, tags, end)
    if year is None:
        return None
    whole = year.inputs[0]
    for nine_months_end in known.ends_near(tags, end - timedelta(days=100), within_days=20):
        begins = nine_months_end + timedelta(days=1)
        versions = known.spans(tags, nine_months_end).get(whole.period_start or end)
        if versions is not None and tag_of(versions[-1]) == tag_of(whole) and is_quarter(begins, end):
            return whole.value - versions[-1].value, begins, (whole, versions[-1])
    return None


def _one_quarter(known: Vintages, concept: Concept, tags: Sequence[str], end: date) -> Figure:
    """A quarter as reported; else the year to date, or the year, less what of it had been reported a quarter before.

    Cash flows are only reported for the year to date, and the fourth quarter of most companies not at all.
    """
    if concept.largest and len(tags) > 1:
        return _largest([_one_quarter(known, concept, [tag], end) for tag in tags]) or _one_quarter(
            known, concept, tags[:1], end
        )
    reported = _reported_quarter(known, tags, end)
    if reported.value is not None:
        return reported
    for choice in tags:
        for start, versions in sorted(known.spans([choice], end).items(), reverse=True):
            for before_end in reversed(known.ends_near([choice], end - timedelta(days=92), within_days=30)):
                before = known.spans([choice], before_end).get(start)
                if before is not None and is_quarter(before_end + timedelta(days=1), end):
                    now, then = _of_one_filing(versions, before)
                    return Figure(now.value - then.value, rule="year_to_date_less_quarters_before", inputs=(now, then))
    return missing(f"no quarter ends on {end}, and no years to date of which it is the difference")


def _reported_quarter(known: Vintages, tags: Sequence[str], end: date) -> Figure:
    for choice in tags:
        quarter = _quarter(known, [choice], end)
        if quarter is not None:
            return Figure(quarter[0], rule="quarter", inputs=quarter[2])
    return missing(f"no quarter that ends on {end} is reported, and per-share figures are never subtracted")


def _per_share(known: Vintages, concept: Concept, share_counts: Concept, tags: list[str], end: date) -> Figure:
    """A fiscal year as reported; four quarters as reported; or the year and the years to date, weighted by their shares.

    Per-share figures are never subtracted: a fourth quarter is not the year less nine months.
    """
    reason = None
    for choice in (*([tag] for tag in tags), list(concept.tags)):
        for found in (
            _fiscal_year(known, choice, end),
            _four_reported_quarters(known, share_counts, choice, end),
            _weighted_by_shares(known, concept, share_counts, choice, end),
        ):
            if found is not None and found.value is not None:
                return found
            reason = reason or (found.reason if found is not None else None)
    return missing(reason or "four adjacent reported quarters are not known, and per-share figures are never subtracted")


def _four_reported_quarters(known: Vintages, share_counts: Concept, tags: Sequence[str], end: date) -> Figure | None:
    quarters: list[Fact] = []
    last = end
    for _ in range(4):
        quarter_end = nearest(known.ends_near(tags, last, ADJACENT_DAYS), last, ADJACENT_DAYS)
        quarter = None if quarter_end is None else _quarter(known, tags, quarter_end)
        if quarter is None:
            return None
        quarters.extend(quarter[2])
        last = day_before(quarter[1])
    if not is_year(last + timedelta(days=1), end):
        return None
    counts = _counts_beside(known, share_counts, quarters)
    if isinstance(counts, Figure):
        return counts
    return Figure(sum(q.value for q in quarters), rule="four_quarters", inputs=tuple(quarters))


def _weighted_by_shares(known: Vintages, concept: Concept, share_counts: Concept, tags: Sequence[str], end: date) -> Figure:
    """Earnings for common shares over the average diluted shares of the twelve months.

    Each reported figure times its own diluted shares is the earnings it was divided from (SFAS 128, now ASC 260-10-45): they add up
    as any flow does. Averages of shares over quarters add up weighted by the number of quarters.
    """
    twelve_months = _year_to_date(known, concept, tags, end)
    if twelve_months.value is None:
        return twelve_months
    counts = _counts_beside(known, share_counts, twelve_months.inputs)
    if isinstance(counts, Figure):
        return counts
    year, now, before = (fact.value * count for fact, count in zip(twelve_months.inputs, counts, strict=True))
    months_now = twelve_months.inputs[1]
    quarters = round(length_days(months_now.period_start or end, end) / 91)
    shares = counts[0] + (counts[1] - counts[2]) * quarters / 4
    return Figure((year + now - before) / shares, rule="year_and_ytd_weighted_by_diluted_shares", inputs=twelve_months.inputs)


def _counts_beside(known: Vintages, share_counts: Concept, facts: Sequence[Fact]) -> list[float] | Figure:
    """The diluted shares that each figure was divided by, where all are on one share basis; or why not.

    A filing after a split restates its own quarters, not those of filings before it: 39.75 and 5.68 do not add up.
    """
    counts = []
    for fact in facts:
        count = _beside(known, share_counts, fact)
        if count is None:
            return missing(f"share basis unknown: no diluted shares in {fact.accession}, which reports {fact.period_end}")
        counts.append(count)
    if max(counts) > _SHARE_BASIS_RATIO * min(counts):
        return missing(f"share basis differs: diluted shares of the periods run from {min(counts):g} to {max(counts):g}")
    return counts


def _beside(known: Vintages, concept: Concept, fact: Fact) -> float | None:
    """The concept's value in the same filing: for the same period, else for the period nearest to it. All counts of a filing
    stand on one basis (SAB Topic 4.C)."""
    in_filing = [other for other in known.averages_in(fact.accession) if tag_of(other) in concept.tags]
    nearest_first = min(in_filing, key=lambda other: _distance(other, fact), default=None)
    return None if nearest_first is None else nearest_first.value


def _distance(one: Fact, other: Fact) -> tuple[int, int, str]:
    starts = ((one.period_start or one.period_end) - (other.period_start or other.period_end)).days
    return abs((one.period_end - other.period_end).days), abs(starts), tag_of(one)


def _average(known: Vintages, tags: list[str], end: date) -> Figure:
    """The average over the shortest period that ends there: nearest to the count on the day."""
    for tag in tags:
        spans = known.spans([tag], end)
        fiscal = [start for start in spans if is_to_date(start, end) or is_year(start, end)]
        if fiscal:
            return _of(spans[max(fiscal)], "reported_average")
    return missing(f"no quarter or year ends on {end}")


def _sum(known: Vintages, concepts: ConceptMap, rule: Sum, end: date, length: Length) -> Figure:
    if (passed_over := _passed_over(known, concepts, rule, end)) is not None:
        return missing(passed_over)
    value = 0.0
    inputs: list[Fact] = []
    words: list[str] = []
    parts = [(part, 1) for part in rule.plus] + [(part, -1) for part in rule.minus]
    for part, sign in parts:
        found = figure_at(known, concepts, part, end, length)
        if found.value is None:
            return missing(f"{part}: {found.reason}")
        value += sign * found.value
        inputs.extend(found.inputs)
        words.append(f"less {part}" if sign < 0 else f"plus {part}" if words else part)
    if rule.larger_than is not None:
        whole = figure_at(known, concepts, rule.larger_than, end, length)
        if whole.value is not None and not value > whole.value:
            return missing(f"{' '.join(words)} is no more than {rule.larger_than}, which contains it")
    floor = None if rule.not_below is None else figure_at(known, concepts, rule.not_below, end, length).value
    all_named = rule.unnamed_up_to is None
    for part in rule.when_reported:
        found = figure_at(known, concepts, part, end, length)
        all_named = all_named or found.value is not None
        # The same amount twice is one amount under two tags (AMD's current portion is also its ShortTermBorrowings), and so is what a
        # total has beyond its noncurrent part (AMD 2017: 1,395 M, of which 1,325 M noncurrent, and 70 M of LinesOfCreditCurrent).
        counted = {fact.value for fact in inputs} | ({value - floor} if floor is not None else set())
        if found.value is not None and _a_little_less_than_one_of(counted, found.value, rule.alike_within):
            return missing(f"{part} of {found.value:.15g} may be {' '.join(words)} without its leases")
        if found.value is not None and found.value not in counted:
            value += found.value
            inputs.extend(found.inputs)
            words.append(f"plus {part}")
    unnamed = None if all_named else _unnamed_current_liabilities(known, concepts, end)
    if unnamed is not None and not unnamed <= (rule.unnamed_up_to or 0.0) * value:
        return missing(f"{unnamed:.15g} of current_liabilities stand under no tag of the map, beside {' '.join(words)}")
    if floor is not None and value < floor:
        return missing(f"{' '.join(words)} is less than {rule.not_below}, a part of it")
    concept = concepts.concepts.get(rule.figure)
    if concept is not None and concept.minimum is not None and value < concept.minimum:
        return missing(f"sign: {' '.join(words)} is {value:.15g}")
    return Figure(value, rule=" ".join(words), inputs=tuple(inputs))


def _a_little_less_than_one_of(amounts: Collection[float], value: float, within: float) -> bool:
    return value not in amounts and any(0 < amount - value < within * amount for amount in amounts)


def _passed_over(known: Vintages, concepts: ConceptMap, rule: Sum, end: date) -> str | None:
    """Why a rule says nothing of the day, whatever its parts are."""
    for part in rule.only_without:
        if _is_reported(known, concepts.tags_behind(part), end):
            return f"{part} is reported beside {' plus '.join(rule.plus)}, which alone is not the figure"
    for other in rule.only_with:
        if not known.reported_tags(concepts.tags_behind(other), end):
            return f"{other} is not known, without which {' plus '.join(rule.plus)} is not the figure"
    return None


def _is_reported(known: Vintages, tags: Sequence[str], end: date) -> bool:
    """With an amount; a line of 0 is as good as none."""
    found = (versions[-1] for tag in known.reported_tags(tags, end) for versions in known.spans([tag], end).values())
    return any(fact.value != 0 for fact in found)


def _unnamed_current_liabilities(known: Vintages, concepts: ConceptMap, end: date) -> float | None:
    """What of the total no named line explains. Lines of notes, which repeat those of the balance sheet, make it less, never more."""
    total = figure_at(known, concepts, "current_liabilities", end).value
    named = [known.spans([tag], end).get(end) for tag in concepts.concepts["named_current_liabilities"].tags]
    if total is None or not any(named):
        return None
    due = figure_at(known, concepts, "long_term_debt_current", end).value or 0.0
    return total - due - sum(versions[-1].value for versions in named if versions)


def _of(versions: Versions, rule: str) -> Figure:
    return Figure(versions[-1].value, rule=rule, inputs=(versions[-1],))


def _no_fact(known: Vintages, concept: Concept, end: date | None = None) -> Figure:
    others = f" and {len(concept.tags) - 1} other tags" if len(concept.tags) > 1 else ""
    period = f" for a period that ends on {end}" if end is not None else ""
    currency = known.foreign_currency(concept.tags)
    foreign = f"; reported in {currency}, and no exchange rate is part of a filing" if currency else ""
    return missing(f"{_NO_FACT} {concept.unit} under {concept.tags[0]}{others}{period}{foreign}")
