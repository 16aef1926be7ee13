"""The ledger against the broker's account, line by line. Pure: it only compares two sides that others have read."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from itertools import combinations

from tradebot_core.interfaces import BrokerAccount

CASH_TOLERANCE = Decimal("0.01")  # USD: the ledger keeps four decimals, the broker states two
_MOST_PENDING = 12  # dividends of which every combination is tried
_ACCEPT = 'tradebot reconcile --accept-external "reason"'


class LineKind(StrEnum):
    ORDER = "order"
    EXECUTION = "execution"
    POSITION = "position"
    CASH = "cash"


@dataclass(frozen=True)
class LedgerSide:
    """What the ledger expects of the account: all sleeves together, and the external part beside them."""

    positions: Mapping[int, int]  # shares by con_id, so that a rename changes nothing
    cash: Decimal
    open_orders: frozenset[str]  # orderRefs of orders that were sent and have not ended
    ended_orders: frozenset[str]
    executions: frozenset[str]  # ids of the broker's present day, New York
    own_prefixes: tuple[str, ...]  # how the orderRefs of our orders begin
    external_positions: Mapping[int, Decimal] = field(default_factory=dict)
    external_cash: Decimal = Decimal(0)
    pending_dividends: Sequence[Decimal] = ()  # entered on the ex-date, perhaps not paid yet; newest first


@dataclass(frozen=True)
class Line:
    """`passed` is false for a BREAK; `command` is then what a person runs next, "" when only looking helps."""

    kind: LineKind
    what: str
    ledger: str
    broker: str
    passed: bool
    reason: str
    command: str = ""
    con_id: int | None = None  # of the one security concerned; None concerns the account


def compare(ledger: LedgerSide, account: BrokerAccount) -> tuple[Line, ...]:
    return (*_orders(ledger, account), *_executions(ledger, account), *_positions(ledger, account), _cash(ledger, account))


def _orders(ledger: LedgerSide, account: BrokerAccount) -> Iterator[Line]:
    ours = [order for order in account.orders if order.reference and order.reference.startswith(ledger.own_prefixes)]
    times = Counter(reference for _, reference in {(order.perm_id, order.reference) for order in ours})
    orders = {order.reference: order for order in sorted(ours, key=lambda order: order.is_open)}  # an open one counts
    for reference, order in sorted(orders.items()):
        state = "open" if reference in ledger.open_orders else "ended" if reference in ledger.ended_orders else "none"
        if times[reference] > 1:
            passed, reason = False, f"the broker has {times[reference]} orders of one reference"
        elif state == "none":
            passed, reason = False, "the broker has an order of ours that the ledger lacks"
        elif state == "ended" and order.is_open:
            passed, reason = False, "the order has ended in the ledger and lives at the broker"
        else:
            passed, reason = True, "known to both"
        yield Line(LineKind.ORDER, reference, state, order.status, passed, reason, con_id=order.con_id)
    executed = {execution.reference for execution in account.executions}
    for reference in sorted(ledger.open_orders - orders.keys() - executed):
        yield Line(LineKind.ORDER, reference, "open", "none", False, "the broker does not know it")


def _executions(ledger: LedgerSide, account: BrokerAccount) -> Iterator[Line]:
    ours = {done.execution_id: done for done in account.executions if done.reference.startswith(ledger.own_prefixes)}
    for execution_id, done in sorted(ours.items()):
        known = execution_id in ledger.executions
        reason = "known to both" if known else "the broker executed it and the ledger lacks it"
        shares = f"{done.side} {done.quantity:f} {done.symbol}"
        yield Line(LineKind.EXECUTION, execution_id, shares if known else "none", shares, known, reason, con_id=done.con_id)
    for execution_id in sorted(ledger.executions - ours.keys()):
        yield Line(LineKind.EXECUTION, execution_id, "recorded", "none", False, "the broker does not show it")


def _positions(ledger: LedgerSide, account: BrokerAccount) -> Iterator[Line]:
    for con_id in sorted(ledger.positions.keys() | ledger.external_positions.keys() | account.positions.keys()):
        expected = ledger.positions.get(con_id, 0) + ledger.external_positions.get(con_id, Decimal(0))
        held = account.positions.get(con_id)
        quantity = held.quantity if held else Decimal(0)
        passed = quantity == expected
        reason = "the same" if passed else f"the broker holds {quantity - expected:+f} shares against the ledger"
        what = f"{held.symbol} ({con_id})" if held else f"{con_id}"
        command = "" if passed else _ACCEPT
        yield Line(LineKind.POSITION, what, f"{expected:f}", f"{quantity:f}", passed, reason, command, con_id)


def _cash(ledger: LedgerSide, account: BrokerAccount) -> Line:
    expected = ledger.cash + ledger.external_cash
    if account.cash is None:
        return Line(LineKind.CASH, "USD", f"{expected:f}", "none", False, "the broker sent no cash balance")
    passed, reason, difference = True, "the same", account.cash - expected
    if not (abs(difference) <= CASH_TOLERANCE):
        pending = _pending(ledger.pending_dividends, -difference)
        passed = pending is not None
        reason = f"the broker has {difference:+f} USD against the ledger"
        if pending is not None:
            reason = f"dividends not paid yet: {', '.join(f'{amount:f}' for amount in pending)}"
    return Line(LineKind.CASH, "USD", f"{expected:f}", f"{account.cash:f}", passed, reason, "" if passed else _ACCEPT)


def _pending(dividends: Sequence[Decimal], missing: Decimal) -> Sequence[Decimal] | None:
    """The fewest dividends whose sum is what is missing."""
    for count in range(1, min(len(dividends), _MOST_PENDING) + 1):
        for some in combinations(dividends[:_MOST_PENDING], count):
            if abs(sum(some, Decimal(0)) - missing) <= CASH_TOLERANCE:
                return some
    return None
