"""The exchange corrects an execution: the original stays in the ledger, its reversal and the new terms are added, once."""

from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from itertools import permutations
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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
    return made(tmp_path)


def made(folder: Path) -> SqliteLedger:
    made = SqliteLedger(folder / "ledger.sqlite")
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
        ((100, "12"), (98, "12"), (usd("10174"), 2, usd("20"))),  # all were sold, and two are back with what they cost
        ((100, "12"), (98, "11"), (usd("10076"), 2, usd("20"))),
    ],
)
def test_a_corrected_sale_leaves_the_cost_of_what_is_held(ledger, sold, corrected, book):
    ledger.record_fill("s", a_fill(Side.BUY, 100, "10"))
    ledger.record_fill("s", a_fill(Side.SELL, *sold))
    ledger.record_fill("s", a_fill(Side.SELL, *corrected, version=2))
    assert book_of(ledger) == book
    assert trades_without_their_fill(ledger.fills("s"), ledger.entries("s")).is_empty()


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(1, 100), min_size=1, max_size=5), st.booleans())
def test_however_often_a_sale_is_corrected_what_is_left_costs_its_average(sold, in_parts):
    with TemporaryDirectory() as folder:
        ledger = made(Path(folder))
        ledger.record_fill("s", a_fill(Side.BUY, 300, "10"))
        kept = 100
        if in_parts:
            ledger.record_fill("s", replace(a_fill(Side.SELL, 200, "12"), execution_id="first"))
        else:
            kept = 300
        for version, quantity in enumerate([100, *sold], start=1):
            ledger.record_fill("s", a_fill(Side.SELL, quantity, "12", version=version))
        left = kept - sold[-1]
        cash, quantity, cost = book_of(ledger)
        assert (quantity, cost) == (left, usd(10 * left))
        assert cash == 10_000 - 3_001 + (2_399 if in_parts else 0) + 12 * sold[-1] - 1
        position = ledger.book("s", DAY).positions.get(7)
        assert position is None or position.opened == DAY


def test_shares_that_come_back_were_opened_when_they_were_bought(ledger):
    bought = replace(a_fill(Side.BUY, 100, "10"), session=BEFORE)
    for fill in (bought, a_fill(Side.SELL, 100, "12"), a_fill(Side.SELL, 90, "12", version=2)):
        ledger.record_fill("s", fill)
    assert ledger.book("s", DAY).positions[7].opened == BEFORE
    assert ledger.book("s", DAY).positions[7].average_cost == 10


def test_a_purchase_is_corrected_after_the_same_shares_were_sold(ledger):
    ledger.record_fill("s", a_fill(Side.BUY, 100, "10"))
    ledger.record_fill("s", a_fill(Side.SELL, 100, "12"))
    ledger.record_fill("s", a_fill(Side.BUY, 100, "10.10", version=2))
    assert book_of(ledger)[:2] == (usd("10188"), 0)


def test_a_commission_that_comes_later_is_a_line_of_its_own_dated_to_the_fill(ledger):
    unpaid = replace(a_fill(Side.BUY, 100, "10"), commission=None)
    assert ledger.record_fill("s", unpaid)
    assert book_of(ledger) == (usd("9000"), 100, usd("1000"))
    assert ledger.fills("s")["commission"].to_list() == [None]
    assert not ledger.record_fill("s", unpaid)
    assert ledger.record_fill("s", a_fill(Side.BUY, 100, "10", "1.5"))
    assert not ledger.record_fill("s", a_fill(Side.BUY, 100, "10", "1.5"))
    assert not ledger.record_fill("s", a_fill(Side.BUY, 100, "10", "7"))  # the first word on a version stands
    assert ledger.fills("s")["commission"].to_list() == ["1.5000"]
    assert book_of(ledger) == (usd("8998.5"), 100, usd("1000"))
    last = ledger.entries("s")[-1]
    assert (last.key, last.session, last.kind, last.cash) == ("commission:e.buy", DAY, EntryKind.COMMISSION, usd("-1.5"))


def test_a_correction_without_its_commission_leaves_the_one_that_is_known_until_its_own_comes(ledger):
    ledger.record_fill("s", a_fill(Side.BUY, 100, "10", "1"))
    ledger.record_fill("s", replace(a_fill(Side.BUY, 100, "10.05", version=2), commission=None))
    assert book_of(ledger) == (usd("8994"), 100, usd("1005"))
    assert ledger.fills("s")["commission"].to_list() == ["1.0000"]
    assert ledger.record_fill("s", a_fill(Side.BUY, 100, "10.05", "1.2", version=2))
    assert book_of(ledger) == (usd("8993.8"), 100, usd("1005"))
    assert ledger.fills("s")["commission"].to_list() == ["1.2000"]


WORDS = [replace(a_fill(Side.BUY, 100, f"10.0{n}", f"1.{n}", version=n), commission=told) for n in (1, 2, 3)
         for told in (None, usd(f"1.{n}"))]  # fmt: skip


@settings(deadline=None, max_examples=50)
@given(st.lists(st.sampled_from(WORDS), max_size=8))
def test_whatever_comes_in_whatever_order_the_last_terms_and_commission_are_in_the_book(heard):
    """After the last word on the highest version the book is that version, whatever came before."""
    with TemporaryDirectory() as folder:
        ledger = made(Path(folder))
        for word in [*heard, WORDS[-1]]:
            ledger.record_fill("s", word)
        assert book_of(ledger) == (usd("10000") - usd("1003") - usd("1.3"), 100, usd("1003"))
        assert ledger.fills("s").select("quantity", "price", "commission").rows() == [(100, "10.0300", "1.3000")]
        before = ledger.entries("s")
        for word in heard:
            assert not ledger.record_fill("s", word)
        assert ledger.entries("s") == before


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
