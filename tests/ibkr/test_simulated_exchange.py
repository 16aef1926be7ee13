"""What the simulated broker's exchange does without a client: orders in slices, orders by hand, corrections, the truth on disk."""

from decimal import Decimal

import pytest

from tests.ibkr.conftest import ACCOUNT, THURSDAY, WEDNESDAY, at
from tradebot_core.calendar import xnys
from tradebot_core.simulation.account import AccountState, OrderTicket, Slices
from tradebot_core.simulation.exchange import SimulatedExchange
from tradebot_core.simulation.market_data import MarketData
from tradebot_core.simulation.order_rules import OrderRefused


@pytest.fixture
def exchange(gateway):
    market, path = MarketData.read(gateway.folder), gateway.folder / "account.json"
    return SimulatedExchange(market, gateway.clock, xnys(), [ACCOUNT, "DU0000002"], Decimal(10_000), path)


def ticket(quantity: int, **terms) -> OrderTicket:
    plain = {"order_type": "MKT", "limit_price": None, "tif": "DAY", "account": ACCOUNT, "order_ref": "one"}
    return OrderTicket(client_id=1, order_id=1, con_id=101, action="BUY", quantity=Decimal(quantity), **(plain | terms))


def test_an_order_in_slices_fills_over_time_and_pays_the_minimum_once(gateway, exchange):
    order = exchange.place(ticket(100), Slices(parts=3, seconds=60))
    seen = []
    for minute in (30, 31, 32):
        gateway.clock.set(at(WEDNESDAY, 9, minute))
        exchange.advance()
        seen.append((order.status, order.filled, order.remaining))
    assert seen == [("Submitted", 34, 66), ("Submitted", 67, 33), ("Filled", 100, 0)]
    done = exchange.executions()
    assert [(e.quantity, e.cumulative, e.commission) for e in done] == [(34, 34, 1), (33, 67, 0), (33, 100, 0)]
    assert len({e.execution_id for e in done}) == 3


def test_what_the_close_finds_unfilled_of_an_order_in_slices_is_cancelled(gateway, exchange):
    order = exchange.place(ticket(100), Slices(parts=2, seconds=86_400))
    gateway.clock.set(at(WEDNESDAY, 18))
    exchange.advance()
    assert (order.status, order.filled, exchange.holdings[101].quantity) == ("Cancelled", 50, 50)


def test_an_order_by_hand_has_a_negative_id_and_no_reference_and_is_of_its_account(gateway, exchange):
    order = exchange.by_hand("AAA", "BUY", 10, account="DU0000002")
    gateway.clock.set(at(WEDNESDAY, 18))
    exchange.advance()
    assert (order.client_id, order.order_id, order.order_ref, order.status) == (0, -1, "", "Filled")
    assert (exchange.holdings, exchange.book("DU0000002").holdings[101].quantity) == ({}, 10)


def test_a_correction_is_one_more_execution_and_moves_the_cash(gateway, exchange):
    exchange.place(ticket(100))
    gateway.clock.set(at(WEDNESDAY, 18))
    exchange.advance()
    (done,) = exchange.executions()
    corrected = exchange.correct(done.execution_id, Decimal("17.10"))
    assert (done.execution_id[-2:], corrected.execution_id) == ("01", done.execution_id[:-2] + "02")
    assert exchange.cash == Decimal(10_000) - 1710 - 1


def test_a_close_auction_takes_no_order_in_its_last_ten_minutes(gateway, exchange):
    gateway.clock.set(at(WEDNESDAY, 15, 50))
    exchange.advance()
    with pytest.raises(OrderRefused, match="201"):
        exchange.place(ticket(1, order_type="MOC"))


def test_the_file_holds_all_that_happened_on_all_days(gateway, exchange):
    exchange.place(ticket(100))
    exchange.move_cash("deposit", Decimal("250.50"))
    gateway.clock.set(at(THURSDAY, 18))
    exchange.advance()
    kept = AccountState.load(gateway.folder / "account.json")
    assert kept == exchange.truth()
    assert (exchange.executions(), len(kept.executions), kept.orders[0].status) == ([], 1, "Filled")
    book = kept.accounts[ACCOUNT]
    assert {entry.kind: entry.amount for entry in book.entries} == {
        "opening": 10_000,
        "deposit": Decimal("250.5"),
        "dividend": 10,
    }
    assert book.cash == sum(entry.amount for entry in book.entries) - 1701
