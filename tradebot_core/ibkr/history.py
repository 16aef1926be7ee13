"""Daily bars from IBKR's historical data: asked for at a pace that IBKR bears, and through connections that break."""

import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import date, datetime

from ib_async import IB, BarData

from tradebot_core.config import IbkrSettings
from tradebot_core.errors import DataError
from tradebot_core.ibkr.connection import BrokerError, Client, answer, broker_time
from tradebot_core.ibkr.contracts import Named, qualify
from tradebot_core.ibkr.history_errors import NO_ANSWER, Refusal, refusal
from tradebot_core.ibkr.pace import Pace, Pacer
from tradebot_core.ibkr.resuming import Remaining, resumed, some_at_a_time

_ANSWER_TIMEOUT_S = 90.0
_MARGIN_S = 10.0
_MAX_DAYS = 365  # longer durations must be written in years, or error 321 comes back
_MESSAGES_A_REQUEST = 3  # contract, history, cancel


@dataclass(frozen=True, slots=True)
class TradesBar:
    """A regular-hours bar. Prices and volume are on the share count of the day on which it was asked for."""

    session: date
    open: float
    high: float
    low: float
    close: float
    volume: float


@dataclass(frozen=True, slots=True)
class BarsAsked:
    """At least so many sessions of a share, up to an instant."""

    share: Named
    sessions: int
    end: datetime


@dataclass(frozen=True, slots=True)
class BarsAnswered:
    """`number`: which of the requests. `asked_at`: the broker's time, and with it the day on whose share count the bars are."""

    number: int
    asked_at: datetime
    bars: Sequence[TradesBar] | BrokerError


def duration(sessions: int) -> str:
    """A duration that covers this many sessions."""
    return f"{sessions} D" if sessions <= _MAX_DAYS else f"{-(-sessions // 250)} Y"  # a year has 250 sessions or more


def daily_bars(
    settings: IbkrSettings, asked: Sequence[BarsAsked], in_flight: int, pace: Pace, client: Client = Client.BARS
) -> Iterator[BarsAnswered]:
    """Each answer as soon as it is there, in no particular order; `in_flight` requests are open at a time.

    A connection that breaks on the way is made again and only what is left is asked for. Raises DataError when it cannot be, when a
    request is refused for its pace again and again, or when another session has the login's market data.
    """
    left = _Left(asked, Pacer(pace), pace.attempts, Remaining(len(asked)))
    for _, found in resumed(settings, left.remaining, lambda ib: _answers(ib, left, in_flight), client, pace.reconnects):
        yield found


@dataclass
class _Left:
    """What is still to be asked for, over all connections."""

    asked: Sequence[BarsAsked]
    pacer: Pacer
    attempts: int
    remaining: Remaining
    tries: Counter[int] = field(default_factory=Counter)


async def _answers(ib: IB, left: _Left, in_flight: int) -> AsyncIterator[tuple[int, BarsAnswered]]:
    asked_at = await broker_time(ib)
    left.remaining.begun = True
    ib.client.MaxRequests = max(
        ib.client.MaxRequests, int(_MESSAGES_A_REQUEST * left.pacer.per_second)
    )  # the pace is the limit
    waiting = deque(left.remaining.numbers)
    answers = some_at_a_time(waiting, in_flight, lambda number: _ask(ib, left, number, asked_at))
    async with aclosing(answers):
        async for number, found in answers:
            if isinstance(found, BrokerError) and _is_to_be_asked_again(found, left, number):
                waiting.append(number)
            else:
                yield number, BarsAnswered(number, asked_at, found)


async def _ask(ib: IB, left: _Left, number: int, asked_at: datetime) -> Sequence[TradesBar] | BrokerError:
    asked = left.asked[number]
    await left.pacer.turn(number)
    began = time.monotonic()
    try:
        contract = await qualify(ib, asked.share)
        request = ib.reqHistoricalDataAsync(
            contract,
            min(asked.end, asked_at),
            duration(asked.sessions),
            "1 day",
            "TRADES",
            useRTH=True,
            formatDate=2,
            timeout=_ANSWER_TIMEOUT_S,  # ib_async then cancels the request, which would stay open at IBKR, and returns no bars
        )
        bars = await answer(ib, request, timeout_s=_ANSWER_TIMEOUT_S + _MARGIN_S)
    except BrokerError as error:
        return error
    taken = time.monotonic() - began
    if not bars and taken >= _ANSWER_TIMEOUT_S:
        return BrokerError(NO_ANSWER, f"no answer in {taken:.0f} s")
    left.pacer.answered(taken)
    return [bar_of(bar) for bar in bars]


def _is_to_be_asked_again(error: BrokerError, left: _Left, number: int) -> bool:
    """Raises DataError when no further request can succeed."""
    meant = refusal(error)
    if meant is Refusal.OTHER_SESSION:
        raise DataError(
            f"IBKR gives no data to this login now ({error}): it is signed in somewhere else as well. {left.remaining.told()}",
            "End the other session (TWS, phone or web with live quotes), then collect again.",
        )
    if meant not in (Refusal.PACING, Refusal.CANCELLED):
        return False
    left.tries[number] += 1
    if left.tries[number] >= left.attempts:
        raise DataError(
            f"IBKR refused {left.asked[number].share.symbol} {left.attempts} times ({error}). {left.remaining.told()}",
            "What came is kept. Collect again later, with a lower params.pace.per_second.",
        )
    if meant is Refusal.PACING:
        left.pacer.pause(str(error))
    return True


def bar_of(bar: BarData) -> TradesBar:
    # Daily bars carry a date even with formatDate=2; a datetime would be another bar size.
    assert not isinstance(bar.date, datetime)
    return TradesBar(bar.date, bar.open, bar.high, bar.low, bar.close, bar.volume)
