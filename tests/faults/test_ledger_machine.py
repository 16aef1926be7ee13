"""The ledger's invariants, against a broker in memory that is the oracle: whatever is told twice, late, stale or out of order.

Positions and cash are the sum of the executions to the last digit; no line changes; the file read again says the same; the same
events in any order make the same book; no order is filled beyond its quantity; what has ended stays ended but for a late fill;
an execution that was corrected keeps its original, and counts in its latest terms.
"""

import random
import shutil
import tempfile
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.faults.oracle import dump
from tests.markets import SESSIONS
from tradebot_core.errors import ExecutionError
from tradebot_core.model.order import (
    TERMINAL_STATES,
    TRANSITIONS,
    Fill,
    OrderIntent,
    OrderState,
    OrderStatus,
    RiskVerdict,
    Side,
    order_key,
)
from tradebot_core.model.portfolio import Entry, EntryKind, usd
from tradebot_core.stores.sqlite_ledger import SqliteLedger
from tradebot_core.trading.audit import trades_without_their_fill
from tradebot_core.trading.session import take_late, take_status

S = "machine"
NOW = datetime(2024, 1, 2, 23, tzinfo=UTC)
DEPOSIT = Entry("deposit:opening", SESSIONS[0], EntryKind.DEPOSIT, usd(100_000))
APPROVED, REFUSED = RiskVerdict(True, "within_limits"), RiskVerdict(False, "cash", 2.0, 1.0)
cents = st.integers(100, 20_000).map(lambda n: usd(Decimal(n) / 100))


@dataclass
class AtBroker:
    """An order as the broker has it: of each execution all versions, the last of which counts."""

    intent: OrderIntent
    executions: list[list[Fill]] = field(default_factory=list)
    ended: bool = False

    @property
    def filled(self) -> int:
        return sum(versions[-1].quantity for versions in self.executions)

    @property
    def state(self) -> OrderState:
        if self.filled == self.intent.quantity:
            return OrderState.FILLED
        if self.ended:
            return OrderState.CANCELLED
        return OrderState.PARTIAL if self.filled else OrderState.WORKING


class LedgerMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.path = self.folder / "ledger.sqlite"
        self.day = 0
        self.orders: dict[str, AtBroker] = {}
        self.lines: list[str] = []
        self.final: dict[str, OrderState] = {}

    @initialize()
    def opened(self) -> None:
        self.ledger = SqliteLedger(self.path)
        self.ledger.post(S, [DEPOSIT])

    def teardown(self) -> None:
        if hasattr(self, "ledger"):
            self.told_everything()
        shutil.rmtree(self.folder)

    # What happens.

    @rule(
        wanted=st.lists(st.tuples(st.integers(1, 3), st.integers(1, 200), st.booleans()), max_size=3, unique_by=lambda w: w[0])
    )
    def decide(self, wanted: list[tuple[int, int, bool]]) -> None:
        """A session's orders: sales of what is held, purchases of what is not; committed twice, once with other orders."""
        session = SESSIONS[self.day]
        held = self.ledger.book(S, session).positions
        orders = []
        for security, most, approved in wanted:
            position = held.get(security)
            side, quantity = (Side.SELL, min(most, position.quantity)) if position else (Side.BUY, most)
            key = order_key(S, session, security, side)
            intent = OrderIntent(key, S, session, security, f"S{security}", side, quantity, usd(10))
            orders.append((intent, APPROVED if approved else REFUSED))
        first = self.ledger.commit_orders(S, session, orders, NOW)
        assert first
        assert not self.ledger.commit_orders(S, session, orders[:1], NOW)
        for intent, verdict in orders:
            if verdict.approved:
                assert self.ledger.record_state(intent.key, OrderState.SENDING, NOW)
                assert not self.ledger.record_state(intent.key, OrderState.SENDING, NOW), "two senders"
                self.orders[intent.key] = AtBroker(intent)
        self.day += 1

    @precondition(lambda self: self.orders)
    @rule(data=st.data(), price=cents, commission=st.integers(0, 500))
    def execute(self, data: st.DataObject, price: Decimal, commission: int) -> None:
        order = data.draw(st.sampled_from(list(self.orders.values())))
        left = order.intent.quantity - order.filled
        if order.ended or not left:
            return
        number = len(order.executions)
        intent, session = order.intent, SESSIONS[SESSIONS.index(order.intent.session) + 1]
        fill = Fill(
            f"{intent.key}#{number}", intent.key, session, intent.security_id, intent.symbol, intent.side,
            data.draw(st.integers(1, left)), price, usd(Decimal(commission) / 10_000), NOW,
        )  # fmt: skip
        order.executions.append([fill])

    @precondition(lambda self: any(order.executions for order in self.orders.values()))
    @rule(data=st.data(), price=cents)
    def correct(self, data: st.DataObject, price: Decimal) -> None:
        order = data.draw(st.sampled_from([order for order in self.orders.values() if order.executions]))
        versions = data.draw(st.sampled_from(order.executions))
        last = versions[-1]
        # A sale may turn out smaller, and some of its shares come back; what was bought may have been sold since.
        quantity = data.draw(st.integers(1, last.quantity)) if last.side is Side.SELL else last.quantity
        versions.append(replace(last, price=price, quantity=quantity, version=last.version + 1))

    @precondition(lambda self: self.orders)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        data.draw(st.sampled_from(list(self.orders.values()))).ended = True

    @precondition(lambda self: self.orders)
    @rule(data=st.data(), seed=st.integers(0, 1000))
    def hear(self, data: st.DataObject, seed: int) -> None:
        """The ledger is told of an order: some executions, some of them twice or in old terms, in any order."""
        chance, order = random.Random(seed), data.draw(st.sampled_from(list(self.orders.values())))
        told = [fill for versions in order.executions for fill in versions if chance.random() < 0.6]
        told += [fill for fill in told if chance.random() < 0.3]
        chance.shuffle(told)
        take_late(self.ledger, S, order.intent.key, OrderStatus(None, tuple(told)), NOW)

    @precondition(lambda self: self.orders)
    @rule(data=st.data())
    def ask(self, data: st.DataObject) -> None:
        """What the broker says at this moment, whole."""
        self.tell(data.draw(st.sampled_from(list(self.orders.values()))))

    @precondition(lambda self: self.orders)
    @rule(data=st.data(), state=st.sampled_from(OrderState))
    def claim(self, data: st.DataObject, state: OrderState) -> None:
        """Anybody says anything of an order that has ended: only a fill that came late moves it."""
        key = data.draw(st.sampled_from(list(self.orders)))
        present = self.final.get(key)
        if present is None or state is present or state in TRANSITIONS[present]:
            return
        try:
            self.ledger.record_state(key, state, NOW)
        except ExecutionError:
            return
        raise AssertionError(f"{present} became {state}")

    @rule()
    def reopen(self) -> None:
        before = dump(self.path)
        self.ledger = SqliteLedger(self.path)
        assert dump(self.path) == before

    def tell(self, order: AtBroker) -> None:
        fills = tuple(versions[-1] for versions in order.executions)
        status = OrderStatus(order.state, fills)
        if order.intent.key in self.final:
            take_late(self.ledger, S, order.intent.key, status, NOW)
        else:
            take_status(self.ledger, S, order.intent, status, NOW)

    # What always holds.

    @invariant()
    def no_line_changes(self) -> None:
        if hasattr(self, "ledger"):
            lines = [line for line in dump(self.path) if not line.startswith("plans")]
            gone = set(self.lines) - set(lines)
            assert not gone, gone
            self.lines = lines

    @invariant()
    def what_is_entered_is_what_was_executed(self) -> None:
        if not hasattr(self, "ledger"):
            return
        fills = self.ledger.fills(S)
        assert trades_without_their_fill(fills, self.ledger.entries(S)).is_empty()
        known = {
            fill.execution_id: fill for order in self.orders.values() for versions in order.executions for fill in versions
        }
        assert set(fills["execution_id"]) <= known.keys()
        for key, order in self.orders.items():
            assert fills.filter(order_key=key)["quantity"].sum() <= order.intent.quantity
        self.remember_what_ended()

    def remember_what_ended(self) -> None:
        for key, state in self.ledger.orders(S).select("order_key", "state").iter_rows():
            before = self.final.get(key)
            assert before in (None, OrderState(state)) or state == OrderState.FILLED, (key, before, state)
            if state in TERMINAL_STATES and key in self.orders:
                self.final[key] = OrderState(state)

    def told_everything(self) -> None:
        for _ in range(2):
            for order in self.orders.values():
                self.tell(order)
        self.agrees(self.ledger)
        again = SqliteLedger(self.folder / "again.sqlite")
        again.post(S, [DEPOSIT])
        for order in self.orders.values():
            again.commit_orders(S, order.intent.session, [(o.intent, APPROVED) for o in self.of_session(order)], NOW)
        events = [fill for order in self.orders.values() for versions in order.executions for fill in (*versions, versions[-1])]
        random.Random(len(events)).shuffle(events)
        for fill in events:
            again.record_fill(S, fill)
        self.agrees(again)
        assert again.fills(S).equals(self.ledger.fills(S))

    def of_session(self, order: AtBroker) -> list[AtBroker]:
        return [other for other in self.orders.values() if other.intent.session == order.intent.session]

    def agrees(self, ledger: SqliteLedger) -> None:
        cash, held = DEPOSIT.cash, dict[int, int]()
        for order in self.orders.values():
            for *_, fill in order.executions:
                signed = fill.side.sign * fill.quantity
                cash -= signed * fill.price + fill.commission
                held[fill.security_id] = held.get(fill.security_id, 0) + signed
        book = ledger.book(S, SESSIONS[-1])
        assert book.cash == cash
        assert all(position.cost > 0 for position in book.positions.values())  # no price is below a dollar
        assert {of: position.quantity for of, position in book.positions.items()} == {of: n for of, n in held.items() if n}


TestLedger = LedgerMachine.TestCase
TestLedger.settings = settings(
    max_examples=25, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck), print_blob=True
)
