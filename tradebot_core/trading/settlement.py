"""Cash that has not settled: in a cash account what a sale brought may not pay for a purchase before it has."""

from collections.abc import Iterable
from datetime import date
from decimal import Decimal

from tradebot_core.calendar import TradingCalendar
from tradebot_core.model.portfolio import Entry, EntryKind

Sales = tuple[tuple[date, Decimal], ...]  # what the sales of a session brought, USD; oldest first


def unsettled_sales(entries: Iterable[Entry], session: date, calendar: TradingCalendar, earlier: Sales = ()) -> Sales:
    """What sales up to `session` brought and that has not settled when orders decided in it fill, in the session after.

    `earlier` are those of sessions before the first of the `entries`, as this function gave them then. Under T+1 there are none but
    for the days on which banks are closed and the exchange trades.
    """
    fills_on = calendar.next(session)
    oldest = calendar.offset(session, -_LONGEST)
    brought: dict[date, Decimal] = dict(earlier)
    for entry in entries:
        if oldest <= entry.session <= session and is_of_sale(entry):
            brought[entry.session] = brought.get(entry.session, Decimal(0)) + entry.cash
    return tuple(sorted((on, cash) for on, cash in brought.items() if calendar.settles_on(on) > fills_on))


def unsettled(entries: Iterable[Entry], session: date, calendar: TradingCalendar, earlier: Sales = ()) -> Decimal:
    """The sum of `unsettled_sales`, USD."""
    return sum((cash for _, cash in unsettled_sales(entries, session, calendar, earlier)), Decimal(0))


_LONGEST = 8  # sessions; no cycle is longer, bank holidays counted


def is_of_sale(entry: Entry) -> bool:
    """A corrected sale changes the cash alone; see model.portfolio.correction_entries."""
    if entry.kind is EntryKind.CORRECTION:
        return entry.quantity == 0
    return entry.kind is EntryKind.TRADE and entry.quantity < 0
