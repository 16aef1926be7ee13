"""The exchange corrects an execution: the original stays in the ledger, its reversal and the new terms are added, once."""

from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from itertools import permutations
from pathlib import Path

import pytest

from tradebot_core.model.order import Fill, OrderIntent, RiskVerdict, Side, order_key
from tradebot_core.model.portfolio import Entry, EntryKind, usd
from tradebot_core.stores.sqlite_ledger import SqliteLedger
from tradebot_core.trading.audit import trades_without_their_fill

BEFORE, DAY = date(2024, 3, 4), date(2024, 3, 5)
NOW = datetime(2024, 3, 5, 20, tzinfo=UTC)


def a_fill(side: Side, quantity: int, price: str, commission: str = "1", version: int = 1) -> Fill:
    key = order_key("s", BEFORE, 7, side)
    return Fill(f"e.{side}", key, DAY, 7, "AAA", side, quantity, usd(price), usd(commission), NOW, version)


@pytest.fixture
def ledger(tmp_path: Path) -> SqliteLedger:
    made = SqliteLedger(tmp_path / "ledger.sqlite")
    made.post("s", [Entry("deposit:opening", BEFORE, EntryKind.DEPOSIT, usd(10_000))])
    intents = [
        OrderIntent(order_key("s", BEFORE, 7, side), "s", BEFORE, 7, "AAA", side, 100, Decimal(10))
        for side in (Side.BUY, Side.SELL)
    ]
    made.commit_orders("s", BEFORE, [(intent, RiskVerdict(True, "within_limits")) for intent in intents], NOW)
    return made


def book_of(ledger: SqliteLedger) -> tuple[Decimal, int, Decimal]:
    book = ledger.book("s", DAY)
    held = book.positions.get(7)
    return book.cash, held.quantity if held else 0, held.cost if held else Decimal(0)


def test_a_corrected_purchase_costs_what_the_correction_says_and_the_original_stays(ledger):
    assert ledger.record_fill("s", a_fill(Side.BUY, 100, "10"))
    assert ledger.record_fill("s", a_fill(Side.BUY, 100, "10.05", version=2))
    assert book_of(ledger) == (usd("8994"), 100, usd("1005"))
    lines = [(entry.key, entry.quantity, entry.cash) for entry in ledger.entries("s") if entry.kind != "deposit"]
    assert lines == [
        ("fill:e.buy", 100, usd(-1000)),
        ("commission:e.buy", 0, usd(-1)),
        ("correction:e.buy:2", 100, usd(-1005)),
        ("reversal:e.buy:2", -100, usd(1000)),
    ]
    assert ledger.fills("s").select("execution_id", "quantity", "price").rows() == [("e.buy", 100, "10.0500")]
    assert trades_without_their_fill(ledger.fills("s"), ledger.entries("s")).is_empty()


def test_quantity_and_commission_are_corrected_as_well(ledger):
    ledger.record_fill("s", a_fill(Side.BUY, 100, "10"))
    ledger.record_fill("s", a_fill(Side.BUY, 80, "10", "0.8", version=3))
    assert book_of(ledger) == (usd("9199.2"), 80, usd("800"))
    assert trades_without_their_fill(ledger.fills("s"), ledger.entries("s")).is_empty()


@pytest.mark.parametrize(
    ("sold", "corrected", "book"),
    [
        ((40, "12"), (40, "12.5"), (usd("9498"), 60, usd("600"))),
        ((40, "12"), (50, "12"), (usd("9598"), 50, usd("500"))),
        ((100, "12"), (100, "11"), (usd("10098"), 0, Decimal(0))),
    ],
)
def test_a_corrected_sale_leaves_the_cost_of_what_is_held(ledger, sold, corrected, book):
    ledger.record_fill("s", a_fill(Side.BUY, 100, "10"))
    ledger.record_fill("s", a_fill(Side.SELL, *sold))
    ledger.record_fill("s", a_fill(Side.SELL, *corrected, version=2))
    assert book_of(ledger) == book
    assert trades_without_their_fill(ledger.fills("s"), ledger.entries("s")).is_empty()


def test_a_purchase_is_corrected_after_the_same_shares_were_sold(ledger):
    ledger.record_fill("s", a_fill(Side.BUY, 100, "10"))
    ledger.record_fill("s", a_fill(Side.SELL, 100, "12"))
    ledger.record_fill("s", a_fill(Side.BUY, 100, "10.10", version=2))
    assert book_of(ledger)[:2] == (usd("10188"), 0)


def test_in_whatever_order_and_however_often_the_versions_come_the_last_one_counts(tmp_path, ledger):
    versions = [
        a_fill(Side.BUY, 100, "10"),
        a_fill(Side.BUY, 100, "10.05", version=2),
        a_fill(Side.BUY, 100, "10.02", version=3),
    ]
    for number, order in enumerate(permutations(versions * 2, 4)):
        if versions[2] not in order:
            continue
        strategy = f"s{number}"
        intent = OrderIntent(order_key(strategy, BEFORE, 7, Side.BUY), strategy, BEFORE, 7, "AAA", Side.BUY, 100, Decimal(10))
        ledger.commit_orders(strategy, BEFORE, [(intent, RiskVerdict(True, "within_limits"))], NOW)
        for fill in order:
            ledger.record_fill(strategy, replace(fill, execution_id=f"e{number}", order_key=intent.key))
        book = ledger.book(strategy, DAY)
        assert (book.cash, book.positions[7].quantity, book.positions[7].cost) == (usd("-1003"), 100, usd("1002")), order
