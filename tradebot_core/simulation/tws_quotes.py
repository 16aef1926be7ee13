"""Snapshots of prices, as a gateway sends them to a login with live, with delayed or without market data.

Daily bars have no book and no trades outside the session. While it is open the last price is its open, with bid and ask a cent
around it; while it is closed there is a last price and no book (-1). The previous close is counted from midnight, New York, of a
session's day, and both are in the shares of that day, so that a split shows before its open. Delayed prices are the same ones.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import IntEnum, StrEnum

from tradebot_core.model.portfolio import usd
from tradebot_core.simulation.exchange import SimulatedExchange
from tradebot_core.simulation.market_data import Listing
from tradebot_core.simulation.tws_messages import Message, error
from tradebot_core.simulation.tws_protocol import Reply, Request, read_contract
from tradebot_core.simulation.tws_session import Session

_CENT = Decimal("0.01")
_LOT = 100
_NO_PRICE = -1
_NOT_SUBSCRIBED = "Requested market data is not subscribed."


class MarketDataAccess(StrEnum):
    """What the login may see of prices."""

    LIVE = "live"
    DELAYED = "delayed"
    NONE = "none"


class DataType(IntEnum):
    """What a client asks for (reqMarketDataType), and what it is told that it gets."""

    LIVE = 1
    FROZEN = 2
    DELAYED = 3
    DELAYED_FROZEN = 4


_ASKS_FOR_DELAYED = (DataType.DELAYED, DataType.DELAYED_FROZEN)


class Tick(IntEnum):
    BID = 1
    ASK = 2
    LAST = 4
    CLOSE = 9


_DELAYED_TICKS = {Tick.BID: 66, Tick.ASK: 67, Tick.LAST: 68, Tick.CLOSE: 75}


@dataclass(frozen=True, slots=True)
class Prices:
    """USD, in the shares of today. `last` and `close` are None before a share's first session."""

    last: Decimal | None
    close: Decimal | None
    is_open: bool


def prices_of(exchange: SimulatedExchange, con_id: int) -> Prices:
    opened, today = exchange.opened, exchange.today
    bars = exchange.market.split_adjusted_bars(con_id, date.min, opened, today)
    if not bars:
        return Prices(None, None, is_open=False)
    trades_now = exchange.is_open and bars[-1].session == opened
    day = today if exchange.calendar.is_session(today) else opened
    before = [bar for bar in bars if bar.session < day]
    last = usd(bars[-1].open if trades_now else bars[-1].close)
    return Prices(last, usd(before[-1].close) if before else None, trades_now)


class QuoteDesk:
    def __init__(
        self,
        exchange: SimulatedExchange,
        listing: Callable[[dict[str, str]], Listing | None],
        access: MarketDataAccess,
    ) -> None:
        """`listing` finds what a client's contract names."""
        self._exchange = exchange
        self._listing = listing
        self._access = access
        self.answers: Mapping[Request, Callable[[Session, list[str]], None]] = {
            Request.MARKET_DATA: self._market_data,
            Request.MARKET_DATA_TYPE: self._data_type,
        }

    def _data_type(self, session: Session, fields: list[str]) -> None:
        session.data_type = DataType(int(fields[2]))

    def _market_data(self, session: Session, fields: list[str]) -> None:
        request_id = int(fields[2])
        listing = self._listing(read_contract(fields, 3))
        if listing is None:
            session.send(error(200, "No security definition has been found for the request", request_id))
            return
        _delta_neutral, generic_ticks, snapshot = fields[15:18]
        if self._access is MarketDataAccess.NONE:
            session.send(error(354, _NOT_SUBSCRIBED, request_id))
            return
        if snapshot != "1":
            session.send(error(321, "Error validating request.-'bQ' : cause - streaming quotes are not simulated", request_id))
            return
        if generic_ticks:
            text = "Snapshot market data subscription is not applicable to generic ticks"
            session.send(error(321, f"Error validating request.-'bQ' : cause - {text}", request_id))
            return
        delayed = self._access is MarketDataAccess.DELAYED
        if delayed and session.data_type not in _ASKS_FOR_DELAYED:
            session.send(error(354, f"{_NOT_SUBSCRIBED} Delayed market data is available.", request_id))
            return
        if delayed:
            session.send(error(10167, f"{_NOT_SUBSCRIBED} Displaying delayed market data.", request_id))
        kind = DataType.DELAYED if delayed else DataType.LIVE
        session.send([Reply.MARKET_DATA_TYPE, 1, request_id, kind])
        session.send([Reply.TICK_REQUEST_PARAMETERS, request_id, _CENT, "9c0001", 3])
        for message in _ticks(request_id, prices_of(self._exchange, listing.con_id), delayed=delayed):
            session.send(message)
        session.send([Reply.SNAPSHOT_END, 1, request_id])


def _ticks(request_id: int, prices: Prices, *, delayed: bool) -> Iterator[Message]:
    traded = prices.last if prices.is_open else None
    for tick, away in ((Tick.BID, -_CENT), (Tick.ASK, _CENT)):
        yield _tick(request_id, tick, traded + away if traded is not None else None, _LOT, delayed=delayed)
    yield _tick(request_id, Tick.LAST, prices.last, _LOT, delayed=delayed)
    yield _tick(request_id, Tick.CLOSE, prices.close, 0, delayed=delayed)


def _tick(request_id: int, tick: Tick, price: Decimal | None, size: int, *, delayed: bool) -> Message:
    number = _DELAYED_TICKS[tick] if delayed else tick
    told, volume = (_NO_PRICE, 0) if price is None else (price, size)
    return [Reply.TICK_PRICE, 6, request_id, number, told, volume, 0]
