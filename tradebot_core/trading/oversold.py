"""Shares that a corporate action takes though they were sold: what gives them back, so that entries always make a book.

Its word, or the word of a sale, came when the other was entered already: the sleeve sold 500 shares that a reverse split had made 50 of.
Nothing that was entered is changed. The action gives back what is short. Shares sold after the action's day were never there, so they
are bought back at the close; of shares sold before it the action took nothing. The account shows what the broker made of it as a
break of that security, which a person explains.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date
from decimal import Decimal

from tradebot_core.interfaces import ExecutionEngine, Journal
from tradebot_core.model.portfolio import (
    TRADES,
    Book,
    Entry,
    EntryKind,
    action_day,
    fill_entries,
    fold_order,
    is_given_back,
    usd,
)

PriceOf = Callable[[int, date], Decimal | None]  # the close of a security in a session, USD


def given_back(entries: Iterable[Entry], price_of: PriceOf) -> tuple[Entry, ...]:
    """The entries that `entries`, of one ledger or of one session and what was held before it, lack to make a book.

    Dated to the session in which the shares are short. What no action explains stays short, and `Book.apply` says so.
    """
    moves: defaultdict[int, list[Entry]] = defaultdict(list)
    for entry in sorted(entries, key=fold_order):
        if entry.security_id is not None and entry.quantity:
            moves[entry.security_id].append(entry)
    return tuple(made for of_one in moves.values() if any(map(_takes, of_one)) for made in _of_security(of_one, price_of))


def given_back_in(
    session: date,
    held: Book,
    actions: Sequence[Entry],
    journal: Journal,
    engine: ExecutionEngine,
    strategy: str,
    price_of: PriceOf,
) -> tuple[Entry, ...]:
    """As `given_back`, of a session whose fills are not entered yet: `held` before its open, `actions` the entries of its actions."""
    taken = {entry.security_id for entry in actions if _takes(entry)}
    if not taken:
        return ()
    waiting = [
        intent for intent, _ in journal.open_orders(strategy) if intent.session < session and intent.security_id in taken
    ]
    fills = [fill for intent in waiting for fill in engine.get_order_status(intent.key).fills]
    before = [
        Entry("", date.min, EntryKind.TRADE, Decimal(0), position.quantity, of, position.symbol)
        for of, position in held.positions.items()
        if of in taken
    ]
    return given_back([*before, *actions, *(entry for fill in fills for entry in fill_entries(fill))], price_of)


def _takes(entry: Entry) -> bool:
    return entry.kind in (EntryKind.SPLIT, EntryKind.DELISTING) and entry.quantity < 0


def _of_security(moves: Sequence[Entry], price_of: PriceOf) -> list[Entry]:
    given: defaultdict[str, list[Entry]] = defaultdict(list)
    for move in moves:
        if is_given_back(move):
            given[move.key.partition(":oversold:")[0]].append(move)
    left = {move.key: -move.quantity - sum(back.quantity for back in given[move.key]) for move in moves if _takes(move)}
    made, held, taken = list[Entry](), 0, list[Entry]()
    for n, move in enumerate(moves):
        held += move.quantity
        taken += [move] if _takes(move) else []
        for action in reversed(taken):
            shares = min(-held, left[action.key])
            if shares <= 0:
                continue
            price = price_of(action.security_id or 0, move.session)
            if price is None and move.kind is EntryKind.TRADE:
                price = move.cash / -move.quantity
            bought = min(shares, _sold_since(action, moves[: n + 1])) if action.kind is EntryKind.SPLIT else 0
            if bought and price is None:
                continue
            back = _give_back(action, shares, move.session, len(given[action.key]), bought * (price or 0))
            given[action.key].append(back[0])
            made += back
            left[action.key] -= shares
            held += shares
        if held < 0:
            break
    return made


def _sold_since(action: Entry, moves: Sequence[Entry]) -> int:
    day = action_day(action)
    return sum(-move.quantity for move in moves if move.kind in TRADES and move.quantity < 0 and move.session >= day)


def _give_back(action: Entry, shares: int, session: date, number: int, owed: Decimal) -> list[Entry]:
    key = f"{action.key}:oversold:{session}:{number}"
    unpaid = usd(action.cash * shares / action.quantity) if action.kind is EntryKind.DELISTING else usd(0)
    back = Entry(key, session, action.kind, unpaid, shares, action.security_id, action.symbol)
    if not owed:
        return [back]
    of = EntryKind.CASH_IN_LIEU
    return [back, Entry(f"{of}:{key}", session, of, usd(-owed), 0, action.security_id, action.symbol)]


def shares_of(entries: Iterable[Entry]) -> Mapping[int, tuple[str, int]]:
    """Symbol and shares by security, of entries that need not make a book: where the sum is not zero."""
    found: dict[int, tuple[str, int]] = {}
    for entry in entries:
        if entry.security_id is not None and entry.quantity:
            found[entry.security_id] = (entry.symbol, found.get(entry.security_id, ("", 0))[1] + entry.quantity)
    return {security: held for security, held in found.items() if held[1]}
