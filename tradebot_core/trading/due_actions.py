"""What corporate actions still have to do to a sleeve's ledger: one rule for entering it and for expecting it at the broker."""

from collections.abc import Iterable, Sequence
from datetime import date
from decimal import Decimal
from functools import partial

from tradebot_core.calendar import TradingCalendar
from tradebot_core.errors import ReconciliationError
from tradebot_core.model.portfolio import Book, Entry, EntryKind, fold_order
from tradebot_core.trading.late_actions import OF_COST, Earlier, late_entries
from tradebot_core.trading.oversold import given_back
from tradebot_core.trading.session import action_entries
from tradebot_core.trading.stored_markets import StoredMarkets


def due_entries(markets: StoredMarkets, calendar: TradingCalendar, entries: Sequence[Entry], until: date) -> tuple[Entry, ...]:
    """The entries of corporate actions up to session `until`, of missed sessions too, that `entries` (a sleeve's ledger) lacks.

    In the order in which they take effect. Of a session whose bars are not known yet, fractions of shares are valued at cost. Also
    what gives back shares that an action took though they were sold: with these the ledger makes a book.
    """
    if not entries:
        return ()
    ever_held = {entry.security_id for entry in entries if entry.security_id is not None}
    actions, late = markets.actions_of(ever_held, calendar.sessions(entries[0].session, until))
    known, made = {entry.key for entry in entries}, list[Entry]()

    def book_before(session: date) -> Book:
        last = calendar.previous(session)
        return _folded(entry for entry in (*entries, *made) if entry.session <= last)

    def splits_since(session: date) -> list[Entry]:
        return [entry for entry in (*entries, *made) if entry.kind is EntryKind.SPLIT and entry.session >= session]

    def give_back(until: date) -> None:
        made.extend(given_back((entry for entry in (*entries, *made) if entry.session <= until), price_of))

    price_of = partial(_last_price, markets)
    earlier = Earlier(book_before, splits_since)
    for session in sorted(actions.keys() | {word.session for word in late}):
        give_back(calendar.previous(session))
        held = book_before(session)
        due = action_entries(held, actions.get(session, ()), session, markets.closes(session, sorted(held.positions)))
        words = [word for word in late if word.session == session]
        if words:
            due += late_entries(words, earlier, held.apply_all(due), lambda of, session=session: price_of(of, session))
        # The two lines of a split and its cost are one: an older ledger has the first alone.
        made += [entry for entry in due if entry.key not in known and entry.key.removesuffix(OF_COST) not in known]
    give_back(date.max)
    return tuple(sorted(made, key=fold_order))


def due_of_sales(markets: StoredMarkets, entries: Sequence[Entry]) -> tuple[Entry, ...]:
    """What `entries` lack to make a book because of sales that were heard of after a corporate action; see trading/oversold.py."""
    return given_back(entries, partial(_last_price, markets))


def _last_price(markets: StoredMarkets, security: int, session: date) -> Decimal | None:
    last = markets.last_prices([security], session).get(security)
    return last.price if last is not None else None


def _folded(entries: Iterable[Entry]) -> Book:
    try:
        return Book().apply_all(sorted(entries, key=fold_order))
    except ValueError as error:
        raise ReconciliationError(
            f"The ledger makes an impossible book, and no corporate action explains it: {error}.",
            "Compare the broker's statement with `tradebot export fills` and `tradebot export actions`.",
        ) from None
