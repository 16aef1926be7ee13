"""What the length of a reported period says it is. Labels (fy, fp) describe the filing a fact stands in, and are never used."""

from collections.abc import Iterable
from datetime import date, timedelta

_YEAR = range(350, 381)  # 52 and 53 weeks are 364 and 371 days
_QUARTER = range(80, 120)  # 13 or 14 weeks; grocers close 12 and 16 weeks (84 and 112 days)
_TO_DATE = range(80, 350)  # a quarter, a half, nine months: any part of a fiscal year that filings report
SAME_PERIOD_DAYS = 10  # how far the ends of comparable periods lie apart: 52/53-week years move by up to a week
ADJACENT_DAYS = 4  # how far a period may begin from the day after the one before it


def length_days(start: date, end: date) -> int:
    return (end - start).days + 1


def is_year(start: date, end: date) -> bool:
    return length_days(start, end) in _YEAR


def is_quarter(start: date, end: date) -> bool:
    return length_days(start, end) in _QUARTER


def is_to_date(start: date, end: date) -> bool:
    return length_days(start, end) in _TO_DATE


def years_before(day: date, years: int) -> date:
    return day - timedelta(days=round(365.25 * years))


def day_before(day: date) -> date:
    return day - timedelta(days=1)


def nearest(days: Iterable[date], target: date, within_days: int) -> date | None:
    """The day closest to the target, the later of two equally close; None when none is within reach."""
    reachable = [day for day in days if abs((day - target).days) <= within_days]
    return min(reachable, key=lambda day: (abs((day - target).days), target - day), default=None)
