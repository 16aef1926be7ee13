"""A live watchlist: the daily bar of each share as an event, as soon as its session is closed.

What a strategy on fundamentals can use is the session's whole bar, the same that the collector stores: raw, of regular hours. So the
bar is subscribed to as a daily bar, and asked for anew a minute after the close: what stands in that answer is final, and becomes a
`price_bar` event, once. The running bar before is shown to whoever wants to see it; it is no event and is never stored, because nothing
tells a reader of it afterwards that the session was not over.

It runs until it is told to stop. A connection that breaks is made again after 1 s, 2 s, 4 s ... 60 s, for ever; the bars of a session
that closed meanwhile are in the answer to the new subscription. Those of sessions before the last are left to the collector, which
can tell on whose share count they stand.
"""

import logging
import threading
from collections.abc import Callable, Sequence
from contextlib import closing
from datetime import date, datetime, timedelta

import polars as pl

from tradebot_core.calendar import NEW_YORK, TradingCalendar
from tradebot_core.collectors.ibkr_series import listings
from tradebot_core.config import IbkrSettings, Mode
from tradebot_core.errors import DataError, UsageError
from tradebot_core.ibkr.connection import Client, stream
from tradebot_core.ibkr.contracts import Named
from tradebot_core.ibkr.pace import Pace, Pacer
from tradebot_core.ibkr.subscription import MOST_SHARES, LiveBar, live_bars
from tradebot_core.model.event import Event, EventType
from tradebot_core.model.market import Bar

_log = logging.getLogger(__name__)
_SOURCE = "ibkr_watch"
_SETTLED_AFTER = timedelta(minutes=1)  # the closing auction's print comes some seconds after the close
_ASKED_AGAIN_AFTER = timedelta(minutes=2)
_GIVEN_UP_AFTER = timedelta(minutes=30)  # of the close: a share that did not trade has no bar
_POLL_S = 2.0  # the broker's clock may be asked once a second
_LONGEST_WAIT_S = 60.0


class FinalBars:
    """Which bars are final, and which of those are news. Knows the calendar, no broker."""

    def __init__(self, security_ids: Sequence[int], symbols: Sequence[str], calendar: TradingCalendar) -> None:
        self._ids, self._symbols, self._calendar = security_ids, symbols, calendar
        self._told: dict[int, date] = {}  # by security, the last session that needs nothing more
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

    def event(self, live: LiveBar) -> Event | None:
        """The bar as an event, if it is final and was not one before."""
        self.start(live.at)
        security_id, session = self._ids[live.number], live.bar.session
        if not live.answered or session != self._final_session(live.at) or self._told[security_id] >= session:
            return None
        self._told[security_id] = session
        if min(self._told.values()) >= session:
            self._asked_at = None
        bar = Bar(security_id, session, live.bar.open, live.bar.high, live.bar.low, live.bar.close, live.bar.volume)
        return Event(EventType.PRICE_BAR, self._symbols[live.number], self._calendar.closes_at(session), live.at, _SOURCE, bar)

    def _final_session(self, now: datetime) -> date:
        """The latest session that has been over for a minute. Its bar stands on the share count of its own day, as long as no other
        session has begun."""
        day = now.astimezone(NEW_YORK).date()
        session = self._calendar.previous(self._calendar.first_after(day))
        if now < self._calendar.closes_at(session) + _SETTLED_AFTER:
            return self._calendar.previous(session)
        return session


def watch(
    settings: IbkrSettings,
    securities: pl.DataFrame,
    calendar: TradingCalendar,
    publish: Callable[[Event], None],
    stop: threading.Event,
    *,
    running: Callable[[str, LiveBar], None] = lambda symbol, bar: None,
    pace: Pace | None = None,
) -> None:
    """Publishes a `price_bar` event for each share and session that ends, until `stop` is set. `running` is shown what changes before.

    `securities`: rows of the security master. Raises UsageError for none or too many, ConfigurationError for another account.
    """
    rows = listings(securities)
    if not rows:
        raise UsageError("There is nothing to watch.", "Name symbols, or collect the securities first.")
    if len(rows) > MOST_SHARES:
        raise UsageError(
            f"{len(rows)} shares are too many to watch.",
            f"IBKR keeps 50 subscriptions: name at most {MOST_SHARES}. The collector of bars has no such limit.",
        )
    shares = [Named(row["symbol"], row["con_id"]) for row in rows]
    final = FinalBars([row["security_id"] for row in rows], [row["symbol"] for row in rows], calendar)
    pacer = Pacer(pace or Pace())
    breaks = 0
    while not stop.is_set():
        try:
            work = stream(
                settings,
                Mode.DRY_RUN,
                lambda ib: live_bars(ib, shares, pacer, final.is_due, _POLL_S),
                client=Client.WATCH,
                failure=_Broken,
            )
            with closing(work) as arrivals:
                for arrived in arrivals:
                    breaks = 0
                    _handle(arrived, final, shares, publish, running)
                    if stop.is_set():
                        return
        except _Broken as error:
            wait = min(_LONGEST_WAIT_S, 2.0**breaks)
            breaks += 1
            _log.warning("%s Next try in %.0f s.", error.cause, wait)
            stop.wait(wait)


class _Broken(DataError):
    """No connection."""


def _handle(
    arrived: Sequence[LiveBar],
    final: FinalBars,
    shares: Sequence[Named],
    publish: Callable[[Event], None],
    running: Callable[[str, LiveBar], None],
) -> None:
    for live in arrived:
        event = final.event(live)
        if event is not None:
            publish(event)
        elif not live.answered:
            running(shares[live.number].symbol, live)
