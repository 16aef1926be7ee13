"""Cash that has not settled: in a cash account what a sale brought may not pay for a purchase before it has."""

from collections.abc import Iterable
from datetime import date
from decimal import Decimal

from tradebot_core.calendar import TradingCalendar
from tradebot_core.model.portfolio import Entry, EntryKind


def unsettled(entries: Iterable[Entry], session: date, calendar: TradingCalendar) -> Decimal:
    """USD that sales up to `session` brought and that has not settled when orders decided in it fill, in the session after.

    Sales settle the day after (T+1), so it is 0 but for the days on which banks are closed and the exchange trades.
    """
    fills_on = calendar.next(session)
    if calendar.settles_on(session) <= fills_on:
        return Decimal(0)
    return sum((entry.cash for entry in entries if entry.session == session and is_of_sale(entry)), Decimal(0))


def is_of_sale(entry: Entry) -> bool:
    """A corrected sale changes the cash alone; see model.portfolio.correction_entries."""
    if entry.kind is EntryKind.CORRECTION:
        return entry.quantity == 0
    return entry.kind is EntryKind.TRADE and entry.quantity < 0
