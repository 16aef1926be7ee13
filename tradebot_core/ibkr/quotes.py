"""What a share is worth now: one snapshot of each, live where the login may see live prices, else delayed.

Snapshots end by themselves after eleven seconds at the latest. IBKR sends -1 for a price that there is none of, and 0 for a last
price before the first trade (ib_insync issue 221); both are missing here. A price that the gateway does not tell has a reason and is
no error: whether an order may go without a quote is for the risk gate to say. Without a gateway there is nothing to judge.
"""

import asyncio
from collections.abc import Callable, Mapping
from decimal import Decimal

from ib_async import IB, Contract, Ticker

from tradebot_core.config import IbkrSettings, Mode
from tradebot_core.errors import ExecutionError
from tradebot_core.ibkr.connection import BrokerError, Client, answer, run
from tradebot_core.ibkr.contracts import Named, qualify
from tradebot_core.interfaces import Clock, NoQuote, Quote
from tradebot_core.model.portfolio import usd

SNAPSHOT_TIMEOUT_S = 15.0
# Of 100 market data lines that a login has as it comes; the requests themselves are spread by the connection.
_IN_FLIGHT = 10
_DELAYED = 3  # "if live data is available, it will always be returned instead" (interactivebrokers.github.io/tws-api/delayed_data.html)
_NO_MONEY = 1e9  # USD a share; an unset price is 1.8e308
_DELAYED_KINDS = frozenset({3, 4})


class Quotes:
    """See interfaces.QuoteSource. `con_ids`: the broker's listing by security_id, where it is known. Raises ExecutionError without a
    gateway, ConfigurationError when it is logged in to another account."""

    def __init__(
        self,
        settings: IbkrSettings,
        mode: Mode,
        clock: Clock,
        con_ids: Callable[[], Mapping[int, int]] = dict,
        timeout_s: float = SNAPSHOT_TIMEOUT_S,
    ) -> None:
        self._settings = settings
        self._mode = mode
        self._clock = clock
        self._con_ids = con_ids
        self._timeout_s = timeout_s

    def of(self, securities: Mapping[int, str]) -> Mapping[int, Quote | NoQuote]:
        """All on one connection, ten at a time. Where the time runs out, what has come until then counts."""
        con_ids = self._con_ids()

        async def work(ib: IB) -> list[Quote | NoQuote]:
            ask_for_delayed(ib)
            gate = asyncio.Semaphore(_IN_FLIGHT)

            async def one(security: int, symbol: str) -> Quote | NoQuote:
                async with gate:
                    return await quote_of(ib, Named(symbol, con_ids.get(security)), self._clock, self._timeout_s)

            return await asyncio.gather(*(one(*named) for named in securities.items()))

        found = run(self._settings, self._mode, work, client=Client.QUOTES, failure=ExecutionError)
        return dict(zip(securities, found, strict=True))


async def quote_of(ib: IB, share: Named, clock: Clock, timeout_s: float) -> Quote | NoQuote:
    """Of one share, delayed where `ask_for_delayed` was called and live prices may not be seen. Raises ConnectionError when the
    connection goes."""
    contract = Contract(conId=share.con_id, exchange="SMART") if share.con_id is not None else None
    try:
        contract = contract or await qualify(ib, share)
        await answer(ib, ib.reqTickersAsync(contract), timeout_s=timeout_s)
    except BrokerError as error:
        return NoQuote(str(error))
    except ConnectionError as error:
        if not ib.isConnected():
            raise
        late = _read(ib.ticker(contract), clock) if contract is not None else None
        return late or NoQuote(str(error))
    return _read(ib.ticker(contract), clock) or NoQuote("IBKR knows no price of it now")


def ask_for_delayed(ib: IB) -> None:
    """Where live prices may be seen, live ones come all the same."""
    ib.reqMarketDataType(_DELAYED)


def _read(ticker: Ticker | None, clock: Clock) -> Quote | None:
    """None where it has no price at all."""
    if ticker is None:
        return None
    bid, ask, last, close = map(_price, (ticker.bid, ticker.ask, ticker.last, ticker.close))
    if bid is ask is last is close is None:
        return None
    return Quote(bid, ask, last, close, ticker.marketDataType in _DELAYED_KINDS, clock.now())


def _price(told: float) -> Decimal | None:
    price = usd(told) if 0 < told < _NO_MONEY else Decimal(0)
    return price if price > 0 else None
