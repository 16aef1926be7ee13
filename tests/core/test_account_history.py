"""What the ledger keeps of breaks, and that a comparison over time absorbs nothing."""

import sqlite3
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tradebot_core.calendar import xnys
from tradebot_core.interfaces import Break, BrokerAccount, BrokerOrderLine, BrokerPosition, Settlement
from tradebot_core.model.portfolio import Entry, EntryKind
from tradebot_core.stores.sqlite_ledger import SqliteLedger
from tradebot_core.trading.account_reconciliation import AccountReconciler, broken

D = Decimal
NOON = datetime(2026, 11, 18, 17, tzinfo=UTC)
HOUR = timedelta(hours=1)
CASH = Break("cash:USD", "cash", "USD", None, "100", "90", "the broker has -10 USD", NOON)


@pytest.fixture
def ledger(tmp_path: Path) -> SqliteLedger:
    return SqliteLedger(tmp_path / "ledger.sqlite")


def test_a_break_is_one_record_from_its_first_sight_to_its_end(ledger, tmp_path):
    ledger.record_breaks([CASH], [], NOON, "tradebot", "")
    ledger.record_breaks([replace(CASH, at=NOON + HOUR)], [], NOON + HOUR, "tradebot", "")  # seen again: nothing new
    ledger.record_breaks([replace(CASH, broker="80", at=NOON + 2 * HOUR)], [], NOON + 2 * HOUR, "tradebot", "")
    (record,) = SqliteLedger(tmp_path / "ledger.sqlite").open_breaks()  # another process, later
    assert (record.found.broker, record.first_seen, record.found.at) == ("80", NOON, NOON + 2 * HOUR)
    ledger.record_breaks([], ["cash:USD", "cash:other"], NOON + 3 * HOUR, "anna", "a fee")
    assert ledger.open_breaks() == []
    (record,) = ledger.breaks()
    assert (record.ended, record.by, record.word) == (NOON + 3 * HOUR, "anna", "a fee")


def test_a_line_that_breaks_again_is_a_break_of_its_own(ledger):
    ledger.record_breaks([CASH], [], NOON, "tradebot", "")
    ledger.record_breaks([], ["cash:USD"], NOON + HOUR, "anna", "a fee")
    ledger.record_breaks([replace(CASH, at=NOON + 2 * HOUR)], [], NOON + 2 * HOUR, "tradebot", "")
    assert [(record.first_seen, record.ended) for record in ledger.breaks()] == [
        (NOON, NOON + HOUR),
        (NOON + 2 * HOUR, None),
    ]


@pytest.mark.parametrize("table", ["breaks", "break_ends", "settlements"])
@pytest.mark.parametrize("change", ["DELETE FROM {}", "UPDATE {} SET at = ''"])
def test_the_history_is_never_changed(ledger, tmp_path, table, change):
    ledger.record_breaks([CASH], ["cash:USD"], NOON, "tradebot", "")
    ledger.record_breaks([], ["cash:USD"], NOON, "tradebot", "")
    ledger.record_settlements([Settlement("cash:x", D(1), NOON, "x")])
    with sqlite3.connect(tmp_path / "ledger.sqlite") as database, pytest.raises(sqlite3.IntegrityError, match="append-only"):
        database.execute(change.format(table))


def test_what_was_settled_first_stands(ledger):
    for amount in (D(1), D(2)):
        ledger.record_settlements([Settlement("cash:x", amount, NOON, "x")])
    assert ledger.settlements() == [Settlement("cash:x", D(1), NOON, "x")]


# Comparisons over time


@dataclass
class Broker:
    """The account as it truly is."""

    cash: Decimal = Decimal(50_000)
    shares: dict[int, int] = field(default_factory=dict)
    orders: tuple[BrokerOrderLine, ...] = ()

    def account(self) -> BrokerAccount:
        held = {con_id: BrokerPosition(con_id, f"S{con_id}", D(n), D(1)) for con_id, n in self.shares.items() if n}
        return BrokerAccount("DU1", NOON, held, self.cash, self.cash, self.cash, self.orders, ())


def reconciler(ledger: SqliteLedger, broker: Broker) -> AccountReconciler:
    return AccountReconciler(ledger, xnys(), ["a", "b"], broker, lambda: {n: 100 + n for n in range(1, 4)}, lambda key: key)


def test_an_order_of_yesterday_that_the_broker_shows_no_more_stays_a_break_while_anything_differs(ledger):
    broker = Broker()
    desk = reconciler(ledger, broker)
    assert broken(desk.lines(NOON)) == ()
    broker.orders = (BrokerOrderLine(1, "a|x", 101, "S101", "BUY", "Filled", False, D(1), D(1)),)
    broker.shares[101] = 1
    assert {line.kind for line in broken(desk.lines(NOON))} == {"order", "position"}
    broker.orders = ()  # the next day
    tomorrow = NOON + 24 * HOUR
    order = next(line for line in broken(desk.lines(tomorrow)) if line.kind == "order")
    assert order.reason.endswith("the broker shows it no more, and positions or cash still differ")
    assert broken(desk.accept("an old store of mine bought it", "anna", tomorrow)) == ()
    assert {record.word for record in ledger.breaks()} == {"an old store of mine bought it"}


# Amounts that no sum of the others can make: dividends in whole tens, what a person moves ends in 37 cents.
steps = st.lists(
    st.one_of(
        st.tuples(st.just("buy"), st.sampled_from("ab"), st.integers(1, 3), st.integers(1, 9)),
        st.tuples(st.just("dividend"), st.sampled_from("ab"), st.integers(1, 3), st.integers(1, 99)),
        st.tuples(st.just("pay"), st.just(""), st.integers(1, 3), st.just(0)),
        st.tuples(st.just("hand"), st.just(""), st.integers(1, 3), st.integers(1, 9)),
        st.tuples(st.just("fee"), st.just(""), st.just(0), st.integers(-9, 9).filter(bool)),
        st.tuples(st.just("accept"), st.just(""), st.just(0), st.just(0)),
    ),
    max_size=14,
)


@settings(max_examples=25, deadline=None)
@given(steps)
def test_over_any_history_a_passing_account_is_sleeves_external_part_and_dues(told):
    """Passing and breaking are exactly what a person has explained or not, whatever order things happen in."""
    with TemporaryDirectory() as folder:
        ledger, broker = SqliteLedger(Path(folder) / "ledger.sqlite"), Broker()
        desk = reconciler(ledger, broker)
        assert broken(desk.lines(NOON)) == ()
        unpaid: list[tuple[int, Decimal]] = []
        unexplained: dict[object, Decimal] = {}
        for number, (what, sleeve, security, n) in enumerate(told):
            now, session = NOON + number * HOUR / 10, date(2026, 11, 18)
            if what == "buy":  # by an order of ours, entered
                ledger.post(sleeve, [Entry(f"e{number}", session, EntryKind.TRADE, D(-10 * n), n, security, f"S{security}")])
                broker.cash -= 10 * n
                broker.shares[100 + security] = broker.shares.get(100 + security, 0) + n
            elif what == "dividend" and (security, sleeve) not in {(s, k) for s, _, k in _dividends(ledger)}:
                entry = Entry(
                    f"d{number}", date(2026, 11, security), EntryKind.DIVIDEND, D(10 * n), 0, security, f"S{security}"
                )
                if not any(s == security for s, _ in unpaid) and not any(s == security for s, _, _ in _dividends(ledger)):
                    ledger.post(sleeve, [entry])
                    unpaid.append((security, D(10 * n)))
            elif what == "pay" and "cash" not in unexplained:  # else see the test below
                for one in [one for one in unpaid if one[0] == security]:
                    unpaid.remove(one)
                    broker.cash += one[1]
            elif what == "hand":
                broker.shares[100 + security] = broker.shares.get(100 + security, 0) + n
                unexplained[security] = unexplained.get(security, D(0)) + n
            elif what == "fee":
                broker.cash += n + D("0.37")
                unexplained["cash"] = unexplained.get("cash", D(0)) + n + D("0.37")
            elif what == "accept":
                desk.lines(now)
                desk.accept("mine", "anna", now)
                unexplained.clear()
                continue
            found = {
                line.con_id - 100 if line.con_id else "cash" for line in broken(desk.lines(now)) if "capital" not in line.what
            }
            assert found == {key for key, value in unexplained.items() if value}
            assert {record.found.key for record in ledger.open_breaks() if "capital" not in record.found.key} == {
                f"position:{100 + key}" if key != "cash" else "cash:USD" for key in found
            }
        sleeves = sum((e.cash for name in "ab" for e in ledger.entries(name)), D(0))
        external = sum((e.cash for e in ledger.external()), D(0))
        assert broker.cash == sleeves + external - sum((cash for _, cash in unpaid), D(0)) + unexplained.get("cash", D(0))


def test_a_dividend_paid_while_cash_is_a_break_is_taken_to_come_still_and_shows_when_its_time_is_over(ledger):
    """Nobody can tell a fee of 5 and a dividend of 10 from a gift of 5. What is accepted is the one without the dividend; in the end
    the difference comes to light."""
    broker = Broker()
    desk = reconciler(ledger, broker)
    desk.lines(NOON)
    ledger.post("a", [Entry("d", date(2026, 11, 17), EntryKind.DIVIDEND, D(10), 0, 1, "S1")])
    broker.cash += D(10) - D(5)
    assert "no choice of what is due makes that sum" in broken(desk.lines(NOON))[0].reason
    assert broken(desk.accept("a fee?", "anna", NOON)) == ()
    (cash,) = desk.lines(NOON)
    assert cash.reason == "not paid yet, 10 in all: dividend of S1 (2026-11-17) 10"
    assert [entry.cash for entry in ledger.external()] == [D(50_000), D(5)]
    (late,) = broken(desk.lines(NOON + timedelta(days=60)))
    assert "(2026-11-17) 10 was expected by 2027-01-16 and has not come" in late.reason


def test_a_crash_between_the_taxes_of_two_sleeves_is_made_good(ledger):
    """The first sleeve's tax was entered, the second's not: the next comparison enters the rest, to the cent."""
    broker = Broker()
    desk = replace(reconciler(ledger, broker), withholding=D("0.15"))
    desk.lines(NOON)
    for name, cash in (("a", "10"), ("b", "23.33")):
        ledger.post(name, [Entry("d", date(2026, 11, 17), EntryKind.DIVIDEND, D(cash), 0, 1, "S1")])
    ledger.post("a", [Entry("withholding:1:2026-11-17", date(2026, 11, 18), EntryKind.WITHHOLDING, D("-1.5002"), 0, 1, "S1")])
    broker.cash += D("28.33")  # 33.33 less 15 %
    assert broken(desk.lines(NOON)) == ()
    taxes = {name: ledger.entries(name)[-1].cash for name in "ab"}
    assert taxes == {"a": D("-1.5002"), "b": D("-3.4998")}
    assert broken(desk.lines(NOON)) == ()
    assert [(s.amount, s.note) for s in ledger.settlements()] == [
        (D("28.33"), "dividend of S1 (2026-11-17) 31.8298 net of withholding")
    ]


def _dividends(ledger: SqliteLedger) -> list[tuple[int, Decimal, str]]:
    return [(e.security_id or 0, e.cash, name) for name in "ab" for e in ledger.entries(name) if e.kind is EntryKind.DIVIDEND]
