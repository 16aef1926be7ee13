"""A live watchlist: the daily bar of each share as an event, as soon as its session is closed.

What a strategy on fundamentals can use is the session's whole bar, the same that the collector stores: raw, of regular hours. So the
bar is subscribed to as a daily bar, and asked for anew a minute after the close: what stands in that answer is final, and becomes a
`price_bar` event, once. The running bar before is shown to whoever wants to see it; it is no event and is never stored, because nothing
tells a reader of it afterwards that the session was not over.

It runs until it is told to stop. A connection that breaks is made again after 1 s, 2 s, 4 s ... 60 s, for ever; the bars of the
sessions that closed meanwhile are in the answer to the new subscription (see `final_bars`).
"""

import logging
import threading
from collections.abc import Callable, Sequence
from contextlib import closing

import polars as pl

from tradebot_core.calendar import TradingCalendar
from tradebot_core.collectors.final_bars import FinalBars
from tradebot_core.collectors.ibkr_series import listings
from tradebot_core.config import IbkrSettings, Mode
from tradebot_core.errors import DataError, UsageError
from tradebot_core.ibkr.connection import Client, stream
from tradebot_core.ibkr.contracts import Named
from tradebot_core.ibkr.pace import Pace, Pacer
from tradebot_core.ibkr.subscription import MOST_SHARES, LiveBar, live_bars
from tradebot_core.model.event import Event

_log = logging.getLogger(__name__)
_POLL_S = 2.0  # the broker's clock may be asked once a second
_LONGEST_WAIT_S = 60.0


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
    for event in final.events(arrived):
        publish(event)
    for live in arrived:
        if not live.answered:
            running(shares[live.number].symbol, live)
