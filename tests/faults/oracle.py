"""Whether the ledger tells the truth: against the broker's own books of all days, which no client can see."""

import sqlite3
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Set
from datetime import date
from decimal import Decimal
from pathlib import Path

from tests.faults.world import ACCOUNT, CON_IDS, SLEEVE
from tradebot_core.model.order import TERMINAL_STATES, OrderState
from tradebot_core.simulation.account import AccountState, SimulatedOrder, latest
from tradebot_core.stores.sqlite_ledger import SqliteLedger

_PERMITS = ("permits", "claims", "sqlite_sequence")  # each run gets one; they are no part of what is true of the account
_MISSING = (OrderState.LOST, OrderState.EXPIRED, OrderState.REJECTED)


def dump(path: Path) -> list[str]:
    """Every row of the ledger but the permits."""
    with sqlite3.connect(path) as database:
        names = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")]
        return [f"{name} {row}" for name in names if name not in _PERMITS for row in database.execute(f"SELECT * FROM {name}")]


def breaks(
    ledger: SqliteLedger,
    truth: AccountState,
    session: date,
    excuses: Mapping[date, int],
    sleeves: Collection[str] = (SLEEVE,),
    unheard: Set[date] = frozenset(),
) -> Iterator[str]:
    """What is wrong after everything up to the close of `session` was recorded. `excuses` are how many runs of a session may have
    cost it an order: each at most one, which may be lost or refused but never be anything else. `unheard` are ex-dates of dividends
    that the broker has paid and nobody has told the trader of yet."""
    at_broker: dict[str, list[SimulatedOrder]] = {}
    for order in truth.orders:
        at_broker.setdefault(order.order_ref, []).append(order)
    yield from (f"{len(orders)} orders at the broker are {ref}" for ref, orders in at_broker.items() if len(orders) > 1)
    known = {row["order_key"]: row for sleeve in sleeves for row in ledger.orders(sleeve).iter_rows(named=True)}
    yield from (f"the broker has {ref}, which the ledger has not" for ref in at_broker.keys() - known.keys())
    for key, row in known.items():
        orders = at_broker.get(key)
        yield from _of_state(key, OrderState(row["state"]), orders[0] if orders else None, row, session)
    missing = Counter(
        row["session"] for key, row in known.items() if row["approved"] and key not in at_broker and row["state"] in _MISSING
    )
    for of, count in missing.items():
        if count > excuses.get(of, 0):
            yield f"{count} orders of {of} were not placed, and {excuses.get(of, 0)} runs went wrong"
    yield from _of_fills(ledger, truth, sleeves)
    yield from _of_book(ledger, truth, session, sleeves, unheard)


def _of_state(key: str, state: OrderState, order: SimulatedOrder | None, row: dict, session: date) -> Iterator[str]:
    if row["session"] < session and state not in TERMINAL_STATES:
        yield f"{key} is still {state} after the day of its fill"
    if order is None:
        if state not in (OrderState.NEW, OrderState.REFUSED, *_MISSING):
            yield f"{key} is {state}, and the broker never had it"
        return
    if not row["approved"]:
        yield f"{key} was refused and is at the broker"
    if order.quantity != row["quantity"] or order.action != row["side"].upper():
        yield f"{key} is {order.action} {order.quantity} at the broker, {row['side']} {row['quantity']} in the ledger"
    expected = _expected(order)
    if row["session"] < session and state not in expected:
        yield f"{key} is {state} in the ledger, {order.status} with {order.filled} of {order.quantity} at the broker"


def _expected(order: SimulatedOrder) -> tuple[OrderState, ...]:
    if order.filled == order.quantity:
        return (OrderState.FILLED,)
    if order.status == "Cancelled":
        return (OrderState.CANCELLED,)
    if order.status == "Inactive":
        return (OrderState.REJECTED,)
    return (OrderState.WORKING, OrderState.PARTIAL)


def _of_fills(ledger: SqliteLedger, truth: AccountState, sleeves: Collection[str]) -> Iterator[str]:
    entered = {
        row["execution_id"]: (
            row["order_key"],
            row["quantity"],
            Decimal(row["price"]),
            row["commission"] and Decimal(row["commission"]),
        )
        for sleeve in sleeves
        for row in ledger.fills(sleeve).iter_rows(named=True)
    }
    done = {  # the ledger knows an execution by its id without the number of its correction
        e.execution_id.rpartition(".")[0]: (e.order_ref, e.quantity, e.price, e.commission) for e in latest(truth.executions)
    }
    yield from (f"execution {of} is not in the ledger: {done[of]}" for of in sorted(done.keys() - entered.keys()))
    yield from (f"fill {of} is not at the broker: {entered[of]}" for of in sorted(entered.keys() - done.keys()))
    for of in sorted(done.keys() & entered.keys()):
        if done[of] != entered[of]:
            yield f"execution {of} is {done[of]}, entered as {entered[of]}"


def _of_book(
    ledger: SqliteLedger, truth: AccountState, session: date, sleeves: Collection[str], unheard: Set[date]
) -> Iterator[str]:
    account, cash, held = truth.accounts[ACCOUNT], Decimal(0), Counter[int]()
    for sleeve in sleeves:
        entries = ledger.entries(sleeve)
        twice = [key for key, count in Counter(entry.key for entry in entries).items() if count > 1]
        if twice:
            yield f"entered twice: {twice}"
        if not entries:
            return
        book = ledger.book(sleeve, session)
        cash += book.cash
        held.update({CON_IDS[of]: position.quantity for of, position in book.positions.items()})
        if not book.cash >= 0:
            yield f"{sleeve} has spent more than it has: {book.cash}"
    paid = sum((entry.amount for entry in account.entries if entry.kind == "dividend" and entry.day in unheard), Decimal(0))
    if cash != account.cash - paid:
        yield f"cash {cash} in the ledger, {account.cash} at the broker, of which {paid} nobody can know of yet"
    there = {con_id: holding.quantity for con_id, holding in account.holdings.items()}
    if held != there:
        yield f"positions {dict(held)} in the ledger, {there} at the broker"
