"""After a halt: the ledger's open orders are cancelled, whatever happens to one of them, and no others."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from typing import ClassVar

import pytest

from tests.contracts.test_journal_contract import APPROVED, AT, DAY, S, fill_of, order
from tradebot_core.errors import ExecutionError
from tradebot_core.model.order import OrderIntent, OrderState, OrderStatus, Side, order_key
from tradebot_core.stores.sqlite_ledger import SqliteLedger
from tradebot_core.trading.cancelling import Cancellation, cancel_open_orders

CANCELLED = OrderStatus(OrderState.CANCELLED)


def nothing_due() -> None:
    raise AssertionError("an engine was made")


@dataclass
class FakeEngine:
    """Answers as it is told; a list is answered one after the other, an exception is raised."""

    answers: dict[str, list[OrderStatus | Exception]] = field(default_factory=dict)
    absence_is_proof: bool = False
    told: list[str] = field(default_factory=list)
    name: ClassVar[str] = "fake"

    def cancel(self, key: str) -> OrderStatus:
        self.told.append(key)
        answers = self.answers.get(key, [CANCELLED])
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


@dataclass
class Book:
    ledger: SqliteLedger
    pauses: list[float] = field(default_factory=list)

    def cancel(self, engine: FakeEngine, pause: Callable[[float], None] | None = None) -> list[Cancellation]:
        return list(cancel_open_orders(self.ledger, lambda: engine, AT, pause or self.pauses.append))

    def states(self) -> dict[str, str]:
        return dict(self.ledger.orders(S).select("order_key", "state").iter_rows())


@pytest.fixture
def book(tmp_path: Path) -> Book:
    return Book(SqliteLedger(tmp_path / "ledger.sqlite"))


def commit(book: Book, *states: OrderState):
    orders = [order(n) for n in range(1, len(states) + 1)]
    book.ledger.commit_orders(S, DAY, [(one, APPROVED) for one in orders], AT)
    for one, state in zip(orders, states, strict=True):
        if state is not OrderState.NEW:
            book.ledger.record_state(one.key, OrderState.SENDING, AT)
        if state not in (OrderState.NEW, OrderState.SENDING):
            book.ledger.record_state(one.key, state, AT)
    return orders


def test_every_order_at_the_broker_is_cancelled_one_after_the_other(book):
    orders = commit(book, OrderState.WORKING, OrderState.UNKNOWN, OrderState.FILLED, OrderState.SENDING)
    engine = FakeEngine()
    done = book.cancel(engine)
    assert engine.told == [orders[0].key, orders[1].key, orders[3].key]
    assert done == [Cancellation(key, OrderState.CANCELLED) for key in engine.told]
    assert list(book.states().values()).count("cancelled") == 3
    assert book.pauses == []


def test_without_open_orders_no_engine_is_made(book):
    commit(book, OrderState.FILLED)
    assert list(cancel_open_orders(book.ledger, nothing_due, AT, book.pauses.append)) == []


def test_an_order_that_fills_meanwhile_is_entered_as_filled(book):
    (one,) = commit(book, OrderState.WORKING)
    engine = FakeEngine({one.key: [OrderStatus(OrderState.FILLED, (fill_of(one),))]})
    assert book.cancel(engine) == [Cancellation(one.key, OrderState.FILLED)]
    assert book.ledger.fills(S).height == 1


def test_what_had_filled_of_a_cancelled_order_is_entered(book):
    (one,) = commit(book, OrderState.WORKING)
    part = replace(fill_of(one), quantity=1)
    book.cancel(FakeEngine({one.key: [OrderStatus(OrderState.CANCELLED, (part,))]}))
    assert (book.states()[one.key], book.ledger.fills(S)["quantity"].to_list()) == ("cancelled", [1])


@pytest.mark.parametrize("fault", [ExecutionError("The gateway is gone.", "Start it."), RuntimeError("what is this")])
def test_one_that_fails_does_not_stop_the_next_and_is_tried_once_more(book, fault):
    orders = commit(book, OrderState.WORKING, OrderState.WORKING)
    engine = FakeEngine({orders[0].key: [fault]})
    done = book.cancel(engine)
    assert engine.told == [orders[0].key, orders[1].key, orders[0].key]
    assert [(c.order_key, str(c.state)) for c in done] == [(orders[1].key, "cancelled"), (orders[0].key, "working")]
    assert str(fault) in done[1].problem
    assert book.pauses == [5.0]


def test_one_that_could_not_be_cancelled_at_first_is_no_failure(book):
    (one,) = commit(book, OrderState.WORKING)
    engine = FakeEngine({one.key: [ExecutionError("Client id in use."), CANCELLED]})
    assert book.cancel(engine) == [Cancellation(one.key, OrderState.CANCELLED)]


@pytest.mark.parametrize(
    ("answer", "state", "problem"),
    [
        (
            OrderStatus(OrderState.WORKING, detail="IBKR: PendingCancel"),
            "working",
            "has not cancelled it (IBKR: PendingCancel)",
        ),
        (OrderStatus(OrderState.UNKNOWN, detail="no commission"), "unknown", "has not cancelled it (no commission)"),
        (OrderStatus(None), "working", "does not show it"),
    ],
)
def test_an_order_that_may_still_be_open_is_a_problem(book, answer, state, problem):
    (one,) = commit(book, OrderState.WORKING)
    (done,) = book.cancel(FakeEngine({one.key: [answer]}))
    assert (str(done.state), problem in done.problem) == (state, True)


def test_where_absence_is_proof_an_order_that_never_arrived_is_none(book):
    (one,) = commit(book, OrderState.SENDING)
    assert book.cancel(FakeEngine({one.key: [OrderStatus(None)]}, absence_is_proof=True)) == [
        Cancellation(one.key, OrderState.SENDING)
    ]


def test_orders_that_were_never_sent_stay_unsent(book):
    (one,) = commit(book, OrderState.NEW)
    assert list(cancel_open_orders(book.ledger, nothing_due, AT, book.pauses.append)) == []
    assert book.states() == {one.key: "new"}


def test_an_order_that_was_on_its_way_when_the_halt_came_is_cancelled_too(book):
    (one,) = commit(book, OrderState.NEW)

    def meanwhile(_: float) -> None:
        bring_on(book, one)

    assert book.cancel(FakeEngine(), meanwhile) == [Cancellation(one.key, OrderState.CANCELLED)]


def bring_on(book: Book, one) -> None:
    book.ledger.record_state(one.key, OrderState.SENDING, AT)
    book.ledger.record_state(one.key, OrderState.WORKING, AT)


def test_orders_of_a_strategy_that_is_no_longer_configured_are_cancelled(book):
    commit(book, OrderState.WORKING)
    old = OrderIntent(order_key("old", DAY, 1, Side.SELL), "old", DAY, 1, "S1", Side.SELL, 5, Decimal(9))
    book.ledger.commit_orders("old", DAY, [(old, APPROVED)], AT)
    bring_on(book, old)
    assert book.ledger.strategies() == ["old", S]
    assert [done.order_key for done in book.cancel(FakeEngine())] == [old.key, order(1).key]
