"""The ledger against the broker's account, line by line. Pure: it only compares two sides that others have read.

The account is the sum of the sleeves, the external part, and the dues of corporate actions (trading/account_dues.py), to the share
and to the cent; whatever is left is a BREAK.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from tradebot_core.interfaces import BrokerAccount, BrokerExecutionLine
from tradebot_core.trading.account_dues import TOLERANCE, CashDue, Explanation, ShareDue, explain_cash, explain_shares
from tradebot_core.trading.account_sides import LedgerExecution, LedgerSide
from tradebot_core.trading.break_causes import cash_cause, position_cause

_ACCEPT = 'tradebot reconcile --accept-external "reason"'


class LineKind(StrEnum):
    ORDER = "order"
    EXECUTION = "execution"
    POSITION = "position"
    CASH = "cash"


@dataclass(frozen=True)
class Line:
    """`passed` is false for a BREAK; `command` is then what a person runs next, "" when only looking helps. `waits` is true of a
    position that passes because one side has yet to follow a corporate action: nothing is traded in it until then."""

    kind: LineKind
    what: str
    ledger: str
    broker: str
    passed: bool
    reason: str
    command: str = ""
    con_id: int | None = None  # of the one security concerned; None concerns the account
    waits: bool = False
    since: datetime | None = None  # of a BREAK: when it was first seen

    @property
    def key(self) -> str:
        """Names the line from one comparison to the next; the symbol of a position may change meanwhile."""
        return f"{self.kind}:{self.con_id if self.kind is LineKind.POSITION and self.con_id is not None else self.what}"


def compare(ledger: LedgerSide, account: BrokerAccount) -> tuple[Line, ...]:
    return (*_orders(ledger, account), *_executions(ledger, account), *_positions(ledger, account), _cash(ledger, account))


def held_at(ledger: LedgerSide, account: BrokerAccount) -> dict[int, Decimal]:
    """The broker's shares by con_id, those under a former listing of a security with the present one."""
    held: dict[int, Decimal] = {}
    for con_id, position in account.positions.items():
        present = ledger.former.get(con_id, con_id)
        held[present] = held.get(present, Decimal(0)) + position.quantity
    return held


def concerned(ledger: LedgerSide, account: BrokerAccount) -> list[int]:
    return sorted(
        ledger.positions.keys() | ledger.external_positions.keys() | ledger.share_dues.keys() | held_at(ledger, account).keys()
    )


def cash_explanation(ledger: LedgerSide, account: BrokerAccount) -> Explanation | None:
    """How dues explain the cash; None when they do not, or the broker stated none."""
    if account.cash is None:
        return None
    difference = account.cash - ledger.cash - ledger.external_cash
    return explain_cash(ledger.cash_dues, difference, ledger.today, ledger.withholding)


def waiting_shares(ledger: LedgerSide, account: BrokerAccount, con_id: int) -> Sequence[ShareDue] | None:
    """The dues that the broker has not applied yet; None when the position differs otherwise."""
    difference = held_at(ledger, account).get(con_id, Decimal(0)) - ledger.expected(con_id)
    return explain_shares(ledger.share_dues.get(con_id, ()), difference, ledger.settled, ledger.today)


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
        known = ledger.executions.get(execution_id)
        if known is None:
            passed, reason = False, "the broker executed it and the ledger lacks it"
        elif known != LedgerExecution(done.side, done.quantity, done.price):
            passed, reason = False, "the ledger has other terms: the exchange has corrected it, and no run has entered that yet"
        else:
            passed, reason = True, "known to both"
        ours_is = "none" if known is None else _shares(known, done.symbol)
        yield Line(LineKind.EXECUTION, execution_id, ours_is, _shares(done, done.symbol), passed, reason, con_id=done.con_id)
    for execution_id in sorted(ledger.executions.keys() - ours.keys()):
        yield Line(LineKind.EXECUTION, execution_id, "recorded", "none", False, "the broker does not show it")


def _shares(done: LedgerExecution | BrokerExecutionLine, symbol: str) -> str:
    return f"{done.side} {done.quantity:f} {symbol} at {done.price:f}"


def _positions(ledger: LedgerSide, account: BrokerAccount) -> Iterator[Line]:
    held_shares = held_at(ledger, account)
    for con_id in concerned(ledger, account):
        dues = ledger.share_dues.get(con_id, ())
        entered = ledger.expected(con_id) - sum(due.missing for due in dues)
        quantity = held_shares.get(con_id, Decimal(0))
        if not quantity and not entered and not ledger.expected(con_id):
            continue
        waiting = waiting_shares(ledger, account, con_id)
        sleeves = ledger.positions.get(con_id, 0) - sum(due.quantity for due in waiting or ())
        command, waits = "", False
        if waiting is None:
            passed, command = False, _ACCEPT
            reason = f"the broker holds {quantity - ledger.expected(con_id):+f} shares against the ledger"
            reason += f"; {position_cause(con_id, ledger, account, held_shares)}"
        elif sleeves > 0 and quantity < sleeves:
            passed = False
            reason = f"shares of the sleeves were sold by hand: they have {sleeves}; buy {sleeves - quantity:f} back"
        else:
            ahead = [due for due in dues if due.missing and due not in waiting]
            waits = bool(waiting) or bool(ahead)
            passed, reason = True, "the same"
            if waiting:
                reason = f"the broker has yet to apply {_names(waiting)}"
            if ahead:
                reason = f"{_names(ahead)}: at the broker, and entered when its session is recorded"
        symbol = _symbol(con_id, ledger, account)
        what = f"{symbol} ({con_id})" if symbol else f"{con_id}"
        yield Line(LineKind.POSITION, what, f"{entered:f}", f"{quantity:f}", passed, reason, command, con_id, waits)


def _cash(ledger: LedgerSide, account: BrokerAccount) -> Line:
    expected = ledger.cash + ledger.external_cash
    if account.cash is None:
        return Line(LineKind.CASH, "USD", f"{expected:f}", "none", False, "the broker sent no cash balance")
    explanation, difference = cash_explanation(ledger, account), account.cash - expected
    if explanation is None:
        reason = f"the broker has {difference:+f} USD against the ledger; {cash_cause(difference, ledger, account)}"
        return Line(LineKind.CASH, "USD", f"{expected:f}", f"{account.cash:f}", False, reason, _ACCEPT)
    reason = "the same" if abs(difference) <= TOLERANCE else "explained by what was paid"
    if explanation.waiting:
        total = sum((due.cash - due.withheld for due in explanation.waiting), Decimal(0))
        reason = f"not paid yet, {total:f} in all: {_names(explanation.waiting)}"
    if explanation.paid:
        paid = ", ".join(f"{due.name} {how}" for due, how in explanation.paid.items())
        reason += f"; paid: {paid}"
    if explanation.alternatives:
        reason += f"; {explanation.alternatives} other choices make the same sum, so which were paid stays open"
    return Line(LineKind.CASH, "USD", f"{expected:f}", f"{account.cash:f}", True, reason)


def _names(dues: Sequence[CashDue] | Sequence[ShareDue]) -> str:
    return ", ".join(due.name for due in dues)


def _symbol(con_id: int, ledger: LedgerSide, account: BrokerAccount) -> str:
    listed = [position.symbol for held, position in account.positions.items() if ledger.former.get(held, held) == con_id]
    return listed[0] if listed else ""
