"""Daily bars of a few shares that are kept up to date: subscribed to, and subscribed to anew when IBKR has dropped them.

A subscription is a historical request with keepUpToDate: first the bars up to now, then each change of the running one. IBKR keeps 50
such requests open. After 1101 (connection restored, data lost) and 10182 (no more updates) they are dead without another word. After
1102 (restored, data kept) they should go on; they are made anew as well, because one that did not would not show.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from ib_async import IB, BarDataList, Contract

from tradebot_core.ibkr.connection import BrokerError, answer, broker_time
from tradebot_core.ibkr.contracts import Named, qualify
from tradebot_core.ibkr.history import TradesBar, bar_of
from tradebot_core.ibkr.pace import Pacer

_log = logging.getLogger(__name__)
MOST_SHARES = 40  # of 50 open requests; collectors have up to five
_DEAD = frozenset({1101, 1102, 10182, 10225})
_ANSWER_TIMEOUT_S = 30.0
_DURATION = "10 D"  # sessions: those that an outage may hide, and some before it to compare


@dataclass(frozen=True, slots=True)
class LiveBar:
    """`number`: which share. `answered`: in the answer to a request that was made at `at` (the broker's time), so as the broker had it
    then; else an update, which is only as good as the stream of updates."""

    number: int
    at: datetime
    bar: TradesBar
    answered: bool


async def live_bars(
    ib: IB, shares: Sequence[Named], pacer: Pacer, is_due: Callable[[datetime], bool], poll_s: float
) -> AsyncIterator[Sequence[LiveBar]]:
    """What came since the last time, every `poll_s` seconds, an empty sequence when nothing did. Everything is asked for anew at
    the start, when the subscriptions have died, and when `is_due` says so of the broker's time. Raises ConnectionError when the gateway
    no longer answers."""
    subscriptions = _Subscriptions(ib, shares, pacer)
    try:
        while True:
            now = await broker_time(ib)
            if subscriptions.dead or is_due(now):
                yield await subscriptions.renew(now)
            yield subscriptions.updates(now)
            await asyncio.sleep(poll_s)
    finally:
        subscriptions.end()


class _Subscriptions:
    def __init__(self, ib: IB, shares: Sequence[Named], pacer: Pacer) -> None:
        self._ib, self._shares, self._pacer = ib, shares, pacer
        self._contracts: dict[int, Contract] = {}
        self._open: dict[int, BarDataList] = {}
        self._changed: set[int] = set()
        self.dead = True
        ib.errorEvent += self._on_error

    def _on_error(self, _request: int, code: int, text: str, _contract: object) -> None:
        if code in _DEAD:
            _log.warning("IBKR %d: %s. The bars are subscribed to anew.", code, text)
            self.dead = True

    async def renew(self, now: datetime) -> list[LiveBar]:
        """The bars of all shares as the broker has them. A share that is refused is left out, and said."""
        self.dead = False
        self._cancel()
        found: list[LiveBar] = []
        for number, share in enumerate(self._shares):
            await self._pacer.turn(("live", number))
            try:
                bars = await self._subscribe(number, share)
            except BrokerError as error:
                _log.warning("%s is not watched (%s).", share.symbol, error)
                continue
            found += [LiveBar(number, now, bar_of(bar), True) for bar in bars]
        return found

    async def _subscribe(self, number: int, share: Named) -> BarDataList:
        if number not in self._contracts:
            self._contracts[number] = await qualify(self._ib, share)
        began = time.monotonic()
        request = self._ib.reqHistoricalDataAsync(
            self._contracts[number],
            "",
            _DURATION,
            "1 day",
            "TRADES",
            useRTH=True,
            formatDate=2,
            keepUpToDate=True,
            timeout=0,
        )
        bars = await answer(self._ib, request, timeout_s=_ANSWER_TIMEOUT_S)
        self._pacer.answered(time.monotonic() - began)
        self._open[number] = bars
        bars.updateEvent += lambda _bars, _is_new: self._changed.add(number)
        return bars

    def updates(self, now: datetime) -> list[LiveBar]:
        changed, self._changed = sorted(self._changed), set()
        return [LiveBar(number, now, bar_of(self._open[number][-1]), False) for number in changed if self._open.get(number)]

    def _cancel(self) -> None:
        for bars in self._open.values():
            self._ib.cancelHistoricalData(bars)
        self._open.clear()
        self._changed.clear()

    def end(self) -> None:
        self._ib.errorEvent -= self._on_error
        if self._ib.isConnected():
            self._cancel()
