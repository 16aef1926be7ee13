"""XNYS sessions: which days trade, when they open and close, and when a session's decision is cut off.

The days are frozen in `xnys.json` (made from exchange_calendars, compared with it by a test), so that loading costs nothing.
"""

import json
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import cache, cached_property
from importlib.resources import files
from zoneinfo import ZoneInfo

from tradebot_core.errors import UsageError

NEW_YORK = ZoneInfo("America/New_York")
_OPEN = time(9, 30)
_CLOSE = time(16, 0)
# Sessions from a trade to its settlement, by the first day of the trades (17 CFR 240.15c6-1 and SEC Releases 33-7022, 34-80295, 34-96930).
_SETTLEMENT_CYCLES = ((date.min, 5), (date(1995, 6, 7), 3), (date(2017, 9, 5), 2), (date(2024, 5, 28), 1))
DEFAULT_CUTOFF = time(18, 0)


@dataclass(frozen=True)
class TradingCalendar:
    """Sessions from `first` to `last`; `cutoff_time` (New York) ends what a session's decision may know."""

    first: date
    last: date
    holidays: tuple[date, ...]
    early_closes: dict[date, time]
    cutoff_time: time = DEFAULT_CUTOFF

    @cached_property
    def all_sessions(self) -> tuple[date, ...]:
        closed = set(self.holidays)
        days = (self.first + timedelta(n) for n in range((self.last - self.first).days + 1))
        return tuple(day for day in days if day.weekday() < 5 and day not in closed)

    def sessions(self, start: date, end: date) -> Sequence[date]:
        """All sessions from start to end, both included. Raises UsageError when there are none."""
        found = self.all_sessions[bisect_left(self.all_sessions, start) : bisect_right(self.all_sessions, end)]
        if not found:
            raise UsageError(
                f"There is no trading session from {start} to {end}.",
                "Give a start that is not after the end, with at least one day on which the New York exchange is open.",
            )
        return found

    def is_session(self, day: date) -> bool:
        at = bisect_left(self.all_sessions, day)
        return at < len(self.all_sessions) and self.all_sessions[at] == day

    def require_session(self, day: date) -> date:
        """`day` itself. Raises UsageError on a weekend or holiday, naming the sessions around it."""
        if self.is_session(day):
            return day
        at = bisect_left(self.all_sessions, day)
        if at in (0, len(self.all_sessions)):
            raise UsageError(f"{day} is outside the calendar, which runs from {self.first} to {self.last}.")
        raise UsageError(
            f"{day} ({day:%A}) is not a trading session: the New York exchange is closed.",
            f"The sessions around it are {self.all_sessions[at - 1]} and {self.all_sessions[at]}.",
        )

    def offset(self, session: date, sessions: int) -> date:
        """The session that many sessions after (or before, when negative)."""
        at = bisect_left(self.all_sessions, self.require_session(session)) + sessions
        if not 0 <= at < len(self.all_sessions):
            raise UsageError(f"{sessions} sessions from {session} is outside the calendar ({self.first} to {self.last}).")
        return self.all_sessions[at]

    def next(self, session: date) -> date:
        return self.offset(session, 1)

    def previous(self, session: date) -> date:
        return self.offset(session, -1)

    def first_after(self, day: date) -> date:
        """The first session strictly after a calendar day."""
        return self.all_sessions[bisect_right(self.all_sessions, day)]

    def settles_on(self, session: date) -> date:
        """When a trade of the session settles: so many days later on which exchange and banks are open as its day's cycle says, T+1
        since 2024-05-28, T+2 since 2017-09-05, T+3 before.

        On Columbus Day and Veterans Day the exchange trades and nothing settles (FINRA Notice to Members 99-83).
        """
        cycle = next(days for since, days in reversed(_SETTLEMENT_CYCLES) if session >= since)
        day = session
        for _ in range(cycle):
            day = self.next(day)
            while _banks_are_closed(day):
                day = self.next(day)
        return day

    def opens_at(self, session: date) -> datetime:
        return _utc(session, _OPEN)

    def closes_at(self, session: date) -> datetime:
        return _utc(session, self.early_closes.get(session, _CLOSE))

    def cutoff(self, session: date) -> datetime:
        """The instant (UTC) after which nothing may enter the session's decision."""
        return _utc(session, self.cutoff_time)

    def date_only_known_at(self, filed: date) -> datetime:
        """When a filing without an acceptance time counts: 06:00 New York of the session after its date (17 CFR 232.13)."""
        return _utc(self.first_after(filed), time(6, 0))

    def last_cut_off(self, now: datetime) -> date:
        """The latest session whose cut-off is not after `now`: the only one that may be decided live."""
        day = now.astimezone(NEW_YORK).date()
        at = bisect_right(self.all_sessions, day) - 1
        return self.all_sessions[at] if now >= self.cutoff(self.all_sessions[at]) else self.all_sessions[at - 1]


def _banks_are_closed(day: date) -> bool:
    """On a session. Veterans Day on a Sunday is kept on the Monday; on a Saturday banks are open on the Friday before."""
    columbus_day = (day.month, day.weekday()) == (10, 0) and 8 <= day.day <= 14
    veterans_day = day.month == 11 and (day.day == 11 or (day.day == 12 and day.weekday() == 0))
    return columbus_day or veterans_day


def _utc(day: date, at: time) -> datetime:
    return datetime.combine(day, at, NEW_YORK).astimezone(UTC)


@cache
def xnys(cutoff_time: time = DEFAULT_CUTOFF) -> TradingCalendar:
    days = json.loads(files("tradebot_core").joinpath("xnys.json").read_text())
    return TradingCalendar(
        first=date.fromisoformat(days["first"]),
        last=date.fromisoformat(days["last"]),
        holidays=tuple(map(date.fromisoformat, days["holidays"])),
        early_closes={date.fromisoformat(d): time.fromisoformat(t) for d, t in days["early_closes"].items()},
        cutoff_time=cutoff_time,
    )
