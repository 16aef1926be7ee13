"""Which orders the simulated broker takes, in the words and codes of the real one. Pure."""

from datetime import date, datetime, timedelta
from decimal import Decimal

from tradebot_core.calendar import TradingCalendar
from tradebot_core.simulation.account import OrderTicket

# Price bands of the one market rule that is served: (from this price, step).
PRICE_STEPS = ((Decimal(0), Decimal("0.0001")), (Decimal(1), Decimal("0.01")))

AT_CLOSE = ("MOC", "LOC")
_LIMITED = ("LMT", "LOC")
_TIFS = {"MKT": ("DAY", "OPG"), "LMT": ("DAY", "OPG"), "MOC": ("DAY",), "LOC": ("DAY",)}
_OPENING_CUT_OFF = timedelta(minutes=2)
_CLOSING_CUT_OFF = timedelta(minutes=10)
_PRIORITIES = ("Urgent", "Normal", "Patient")


class OrderRefused(Exception):
    """The broker's error code and text. Of these only 201 is remembered, as a completed order; the others were never taken."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"{code}: {text}")
        self.code = code
        self.text = text


def check_terms(ticket: OrderTicket) -> None:
    """Raises OrderRefused when no such order exists for a share. What the account can pay is not looked at."""
    tifs = _TIFS.get(ticket.order_type)
    if ticket.action not in ("BUY", "SELL") or tifs is None:
        raise OrderRefused(387, "Unsupported order type for this exchange and security type.")
    if ticket.tif not in tifs:
        if ticket.order_type in AT_CLOSE:
            raise OrderRefused(113, f"The Time-in-Force must be DAY for {ticket.order_type} orders.")
        raise OrderRefused(111, f"The TIF (Tif) value {ticket.tif!r} is incorrect for this order type.")
    if ticket.quantity != ticket.quantity.to_integral_value():
        raise OrderRefused(10243, "Fractional-sized order cannot be placed via API.")
    if not ticket.quantity > 0:
        raise OrderRefused(434, "The order size cannot be zero.")
    limit = ticket.limit_price
    if (limit is None) is (ticket.order_type in _LIMITED) or (limit is not None and not _on_grid(limit)):
        raise OrderRefused(110, "The price does not conform to the minimum price variation for this contract.")
    _check_algorithm(ticket)


def _check_algorithm(ticket: OrderTicket) -> None:
    if not ticket.algorithm:
        return
    if ticket.algorithm != "Adaptive":
        raise OrderRefused(439, "Order processing failed. Algorithm definition not found.")
    if ticket.tif != "DAY" or ticket.order_type in AT_CLOSE:
        raise OrderRefused(442, "Specified algorithm is not allowed for this order.")
    terms = dict(ticket.algorithm_terms)
    if terms.keys() != {"adaptivePriority"} or terms["adaptivePriority"] not in _PRIORITIES:
        raise OrderRefused(441, "Algo attributes validation failed: adaptivePriority must be Urgent, Normal or Patient.")


def _on_grid(price: Decimal) -> bool:
    step = next((step for edge, step in reversed(PRICE_STEPS) if price >= edge), None)
    return step is not None and price > 0 and price % step == 0


def session_for(ticket: OrderTicket, opened: date, now: datetime, calendar: TradingCalendar) -> date:
    """The session in which an order may fill; `opened` is the latest that has opened. Raises OrderRefused too late for the
    closing auction (the session's last ten minutes)."""
    if ticket.tif == "OPG":
        session = opened
        while now >= calendar.opens_at(session) - _OPENING_CUT_OFF:
            session = calendar.next(session)
        return session
    closes = calendar.closes_at(opened)
    if now >= closes:
        return calendar.next(opened)
    if ticket.order_type in AT_CLOSE and now >= closes - _CLOSING_CUT_OFF:
        raise OrderRefused(201, "Order rejected - reason:The cut-off of the closing auction has passed.")
    return opened
