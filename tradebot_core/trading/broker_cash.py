"""What the account can pay when orders fill: the broker's word on settled cash, less what is promised to orders already."""

from collections.abc import Iterable
from datetime import date
from decimal import Decimal

from tradebot_core.calendar import NEW_YORK, TradingCalendar
from tradebot_core.interfaces import BrokerAccount, BrokerCash
from tradebot_core.model.order import OrderIntent, Side
from tradebot_core.model.portfolio import Entry
from tradebot_core.trading.settlement import is_of_sale

_NOTHING = Decimal(0)


def broker_cash(
    account: BrokerAccount,
    entries: Iterable[Entry],
    open_orders: Iterable[tuple[OrderIntent, int]],
    calendar: TradingCalendar,
    session: date,
    own_prefixes: tuple[str, ...],
    *,
    margin: bool,
) -> BrokerCash:
    """USD for purchases decided in `session`, which fill in the one after.

    A cash account pays with its SettledCash and with the sleeves' sales (`entries`) that settle by the day of the fill, and never with
    more than its cash; a `margin` account with its cash, for nothing is bought on credit. Off go purchases that are open: those of
    `open_orders` (with the shares that each has filled), at their limits, and those placed by hand. What the broker does not say is
    not available: no SettledCash in a cash account, a purchase by hand without a limit.
    """
    stated = account.cash if margin else account.settled_cash
    if stated is None or account.cash is None:
        return BrokerCash(None)
    if not margin:
        today, fills_on = account.at.astimezone(NEW_YORK).date(), calendar.next(session)
        sales = [entry for entry in entries if is_of_sale(entry) and calendar.is_session(entry.session)]
        coming = (entry.cash for entry in sales if today < calendar.settles_on(entry.session) <= fills_on)
        stated = min(stated + sum(coming, _NOTHING), account.cash)
    for intent, filled in open_orders:
        if intent.side is Side.BUY:
            stated -= (intent.quantity - filled) * (intent.limit_price or intent.reference_price)
    for order in account.orders:
        if order.is_open and order.side == "BUY" and not order.reference.startswith(own_prefixes):
            if order.quantity is None or order.filled is None or order.limit_price is None:
                return BrokerCash(None)
            stated -= (order.quantity - order.filled) * order.limit_price
    return BrokerCash(stated)
