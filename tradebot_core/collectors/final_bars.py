"""Which bars of a live watchlist are final, which of those are news, and on whose share count they stand. Knows the calendar, no broker.

IBKR's bars are on the share count of the day on which they were asked for. A bar of that day, or with no session begun since, is raw. A
session that was missed (the connection was gone) is raw when the sessions heard before it are in the answer and the same: no split
lies between. Where they differ, on which of the missed days a split took effect cannot be told from bars; those sessions are left to
the collector, and said.
"""

import logging
from collections.abc import Iterable, Sequence
from datetime import date, datetime, timedelta

from tradebot_core.calendar import NEW_YORK, TradingCalendar
from tradebot_core.ibkr.history import TradesBar
from tradebot_core.ibkr.subscription import LiveBar
from tradebot_core.model.event import Event, EventType
from tradebot_core.model.market import Bar
from tradebot_core.quant.rebasing import Overlap, basis_of

_log = logging.getLogger(__name__)
_SOURCE = "ibkr_watch"
_SETTLED_AFTER = timedelta(minutes=1)  # the closing auction's print comes some seconds after the close
_ASKED_AGAIN_AFTER = timedelta(minutes=2)
_GIVEN_UP_AFTER = timedelta(minutes=30)  # of the close: a share that did not trade has no bar


class FinalBars:
    def __init__(self, security_ids: Sequence[int], symbols: Sequence[str], calendar: TradingCalendar) -> None:
        self._ids, self._symbols, self._calendar = security_ids, symbols, calendar
        self._told: dict[int, date] = {}  # by security, the last session that needs nothing more
        self._heard: dict[int, dict[date, TradesBar]] = {}  # by security, the final bars of the last answer
        self._asked_at: datetime | None = None

    def start(self, now: datetime) -> None:
        """What was final before is no news. Once: after a new connection the gap is."""
        if not self._told:
            over = self._final_session(now)
            self._told = dict.fromkeys(self._ids, over)

    def is_due(self, now: datetime) -> bool:
        """Whether the bars should be asked for: a session is over whose bars have not come."""
        self.start(now)
        session = self._final_session(now)
        if all(told >= session for told in self._told.values()):
            return False
        if now > self._calendar.closes_at(session) + _GIVEN_UP_AFTER and self._asked_at is not None:
            missing = [symbol for symbol, told in zip(self._symbols, self._told.values(), strict=True) if told < session]
            _log.warning("IBKR has no bar of %s for %s.", session, ", ".join(missing))
            self._told, self._asked_at = dict.fromkeys(self._ids, session), None
            return False
        if self._asked_at is not None and now < self._asked_at + _ASKED_AGAIN_AFTER:
            return False
        self._asked_at = now
        return True

    def events(self, arrived: Iterable[LiveBar]) -> list[Event]:
        """The bars that are final and were not told before, as events in order of session. An update alone is never final."""
        answers: dict[int, list[LiveBar]] = {}
        for live in arrived:
            if live.answered:
                answers.setdefault(live.number, []).append(live)
        told = [event for number, lives in answers.items() for event in self._news(number, lives)]
        if self._told and self._asked_at is not None and min(self._told.values()) >= self._final_session(self._asked_at):
            self._asked_at = None
        return sorted(told, key=lambda event: event.timestamp)

    def _news(self, number: int, lives: Sequence[LiveBar]) -> list[Event]:
        """Of one share's answer."""
        at = lives[0].at
        self.start(at)
        security_id, until = self._ids[number], self._final_session(at)
        answered = {live.bar.session: live.bar for live in lives if live.bar.session <= until}
        news = [bar for session, bar in sorted(answered.items()) if session > self._told[security_id]]
        day = at.astimezone(NEW_YORK).date()
        latest = self._calendar.previous(self._calendar.first_after(day))
        raw = news
        problem = "" if all(bar.session >= latest for bar in news) else self._restated(security_id, answered, day)
        if problem:
            raw = [bar for bar in news if bar.session >= latest]
            left = ", ".join(str(bar.session) for bar in news if bar.session < latest)
            _log.warning("%s of %s is left to the collector of bars: %s.", left, self._symbols[number], problem)
        if news:
            self._told[security_id] = news[-1].session
        self._heard[security_id] = answered
        return [self._event(number, bar, at) for bar in raw]

    def _restated(self, security_id: int, answered: dict[date, TradesBar], day: date) -> str:
        """Why it cannot be said that no split lies between the sessions heard before and `day`; "" when it can."""
        heard = self._heard.get(security_id, {})
        both = sorted(heard.keys() & answered.keys())
        if not both:
            return "no session that was heard before is in the answer"
        overlaps = [Overlap(session, _prices(heard[session]), _prices(answered[session])) for session in both]
        basis = basis_of(overlaps, {}, self._calendar.sessions(both[0], day))
        if basis.problem:
            return basis.problem
        return f"a split, it seems: {basis.found}" if basis.found else ""

    def _event(self, number: int, bar: TradesBar, at: datetime) -> Event:
        payload = Bar(self._ids[number], bar.session, bar.open, bar.high, bar.low, bar.close, bar.volume)
        closed = self._calendar.closes_at(bar.session)
        return Event(EventType.PRICE_BAR, self._symbols[number], closed, at, _SOURCE, payload)

    def _final_session(self, now: datetime) -> date:
        """The latest session that has been over for a minute."""
        day = now.astimezone(NEW_YORK).date()
        session = self._calendar.previous(self._calendar.first_after(day))
        if now < self._calendar.closes_at(session) + _SETTLED_AFTER:
            return self._calendar.previous(session)
        return session


def _prices(bar: TradesBar) -> tuple[float, float, float, float]:
    return bar.open, bar.high, bar.low, bar.close
