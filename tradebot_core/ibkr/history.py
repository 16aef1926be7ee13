"""Daily bars from IBKR's historical data."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime

from ib_async import IB, BarData

from tradebot_core.config import IbkrSettings, Mode
from tradebot_core.errors import DataError
from tradebot_core.ibkr.connection import BrokerError, Client, answer, broker_time, run
from tradebot_core.ibkr.contracts import Named, qualify

# A slow answer is how IBKR throttles (its "soft slow"); daily bars have no hard limit but 50 open requests.
_ANSWER_TIMEOUT_S = 90.0
_MAX_DAYS = 365  # longer durations must be written in years, or error 321 comes back


@dataclass(frozen=True, slots=True)
class TradesBar:
    """A regular-hours bar. Prices and volume are on the share count of the day on which it was asked for."""

    session: date
    open: float
    high: float
    low: float
    close: float
    volume: float


@dataclass(frozen=True)
class DailyBars:
    """`asked_at` is the broker's time, and with it the day on whose share count the bars are."""

    asked_at: datetime
    answers: Sequence[Sequence[TradesBar] | BrokerError]  # for each share in turn: its bars, or why there are none


def duration(sessions: int) -> str:
    """A duration that covers this many sessions."""
    return f"{sessions} D" if sessions <= _MAX_DAYS else f"{-(-sessions // 250)} Y"  # a year has 250 sessions or more


def daily_bars(
    settings: IbkrSettings,
    shares: Sequence[Named],
    sessions: int,
    end: datetime,
    in_flight: int,
    client: Client = Client.BARS,
) -> DailyBars:
    """The bars of at least `sessions` sessions up to the instant `end`, one request a share, `in_flight` at a time."""

    async def work(ib: IB) -> DailyBars:
        asked_at = await broker_time(ib)
        gate = asyncio.Semaphore(in_flight)

        async def one(share: Named) -> Sequence[TradesBar] | BrokerError:
            async with gate:
                try:
                    contract = await qualify(ib, share)
                    request = ib.reqHistoricalDataAsync(
                        contract,
                        min(end, asked_at),
                        duration(sessions + 1),
                        "1 day",
                        "TRADES",
                        useRTH=True,
                        formatDate=2,
                        timeout=0,
                    )
                    return [_bar(bar) for bar in await answer(ib, request, timeout_s=_ANSWER_TIMEOUT_S)]
                except BrokerError as error:
                    return error

        return DailyBars(asked_at, await asyncio.gather(*map(one, shares)))

    return run(settings, Mode.DRY_RUN, work, client=client, failure=DataError)


def _bar(bar: BarData) -> TradesBar:
    # Daily bars carry a date even with formatDate=2; a datetime would be another bar size.
    assert not isinstance(bar.date, datetime)
    return TradesBar(bar.date, bar.open, bar.high, bar.low, bar.close, bar.volume)
