"""Which companies filed on which days, from the SEC's daily index files: one small file instead of a question per company.

https://www.sec.gov/search-filings/edgar-search-assistance/accessing-edgar-data: each folder has an index.json that lists it; the
index of a business day is written in the night after it, from about 22:00 New York. Holidays have none.
"""

import re
from collections.abc import Set
from dataclasses import dataclass
from datetime import date, datetime

import msgspec

from tradebot_core.collectors.sec_http import Fetched, SecClient, SecUnavailable

_DAYS_OF_WORK = 5
_COLUMNS = "CIK|Company Name|Form Type|Date Filed|File Name"


class _Item(msgspec.Struct):
    name: str


class _Listing(msgspec.Struct):
    class Directory(msgspec.Struct):
        item: list[_Item]

    directory: Directory


@dataclass(frozen=True)
class DailyIndex:
    """The daily index below `archives` (https://www.sec.gov/Archives/edgar)."""

    client: SecClient
    archives: str

    def published(self, first: date, last: date) -> list[date]:
        """The days from `first` to `last` that have an index, ascending."""
        days: list[date] = []
        for year, quarter in _quarters(first, last):
            url = f"{self.archives}/daily-index/{year}/QTR{quarter}/index.json"
            listed = self.client.get(url, _listed)
            if isinstance(listed, Fetched):  # a quarter that has just begun has no folder yet
                days += _listed(listed.content)
        return sorted(day for day in days if first <= day <= last)

    def filers(self, day: date) -> Set[int]:
        """The CIK of each filer of that day: who has none on a day that has an index did not file."""
        url = f"{self.archives}/daily-index/{day.year}/QTR{_quarter(day)}/master.{day:%Y%m%d}.idx"
        found = self.client.get(url, _filers)
        if not isinstance(found, Fetched):
            raise SecUnavailable(f"{url} is listed and not there.", "Run it again later.")
        return _filers(found.content)


def has_gap(first: date, last: date, published: Set[date]) -> bool:
    """Whether filings may have been made from `first` to `last` that no index names: a day of work after the newest one.

    One without an index before the newest one was a holiday.
    """
    after = max((day for day in published), default=None)
    days = (date.fromordinal(n) for n in range(first.toordinal(), last.toordinal() + 1))
    return any(day.weekday() < _DAYS_OF_WORK and (after is None or day > after) for day in days)


def _quarter(day: date) -> int:
    return (day.month + 2) // 3


def _quarters(first: date, last: date) -> list[tuple[int, int]]:
    count = range(first.year * 4 + _quarter(first) - 1, last.year * 4 + _quarter(last))
    return [(n // 4, n % 4 + 1) for n in count]


def _listed(content: bytes) -> list[date]:
    names = [item.name for item in msgspec.json.decode(content, type=_Listing).directory.item]
    found = (re.fullmatch(r"master\.(\d{8})\.idx", name) for name in names)
    return [datetime.strptime(match[1], "%Y%m%d").date() for match in found if match]  # noqa: DTZ007  a day has no zone


def _filers(content: bytes) -> Set[int]:
    """Raises ValueError when it is not a whole index: a line that is cut off lacks columns or the end of its file's name."""
    _, header, body = content.decode("latin-1").partition(_COLUMNS)
    if not header:
        raise ValueError("it lacks the line of column names of a master index")
    lines = [line for line in body.splitlines() if line.strip("- ")]
    broken = [line for line in lines if not re.fullmatch(r"\d+\|.*\|[^|]+\|[\d-]+\|edgar/\S+\.txt", line)]
    if broken:
        raise ValueError(f"a line of the index is not whole: {broken[0][:80]}")
    return frozenset(int(line.partition("|")[0]) for line in lines)
