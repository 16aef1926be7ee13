"""What becomes of an order, as far as daily bars can tell. Pure: the clock decides, the bar of the order's session prices.

MKT or LMT, tif OPG   the opening auction: at the raw open, or cancelled when the limit is not reached or nothing trades
MKT, tif DAY          at the open of the session, at once when it is open already; with Adaptive the same
LMT, tif DAY          at the open when it is within the limit, else at the limit at the close when the day's range
                      reached it, else cancelled at the close
MOC, LOC              at the close, or cancelled when the limit is not reached or nothing trades
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from tradebot_core.model.portfolio import usd
from tradebot_core.simulation.account import SimulatedOrder
from tradebot_core.simulation.market_data import DailyBar
from tradebot_core.simulation.order_rules import AT_CLOSE


@dataclass(frozen=True, slots=True)
class Trade:
    quantity: int
    price: Decimal
    at: datetime


@dataclass(frozen=True, slots=True)
class Expiry:
    at: datetime
    reason: str


def due(
    order: SimulatedOrder, bar: DailyBar | None, opens: datetime, closes: datetime, now: datetime
) -> Iterator[Trade | Expiry]:
    """What is still to happen to an open order up to `now`. An order in slices that the close finds unfinished expires."""
    fill = _fill(order, bar, opens, closes, now)
    if isinstance(fill, Expiry):
        yield fill
        return
    if fill is None:
        return
    price, begins = fill
    passed = order.filled
    for number, quantity in enumerate(order.slices.quantities(order.quantity)):
        at = begins + timedelta(seconds=number * order.slices.seconds)
        if at > closes:
            break
        if passed >= quantity:  # of an earlier look
            passed -= quantity
        elif at > now:
            return
        else:
            yield Trade(quantity, price, at)
    else:
        return
    if now >= closes:
        yield Expiry(closes, "Cancelled: day order expired")


def _fill(
    order: SimulatedOrder, bar: DailyBar | None, opens: datetime, closes: datetime, now: datetime
) -> tuple[Decimal, datetime] | Expiry | None:
    """Price and instant of the first execution, or the end; None while the order waits."""
    if order.order_type in AT_CLOSE:
        if now < closes:
            return None
        if bar is not None and _within(order, bar.close):
            return usd(bar.close), closes
        return Expiry(closes, "Cancelled: not filled in the closing auction")
    if bar is not None and _within(order, bar.open):
        return usd(bar.open), max(opens, order.placed_at)
    if order.tif == "OPG":
        return Expiry(opens, "Cancelled: not filled in the opening auction")
    if now < closes:
        return None
    if bar is not None and order.limit_price is not None and _within(order, bar.low if order.sign > 0 else bar.high):
        return usd(order.limit_price), closes
    return Expiry(closes, "Cancelled: day order expired")


def _within(order: SimulatedOrder, price: float) -> bool:
    return order.limit_price is None or order.sign * (order.limit_price - usd(price)) >= 0
