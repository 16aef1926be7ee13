"""The ledger: append-only, one right to trade a session, one plan a session, whoever races for it."""

import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from tests.contracts.test_journal_contract import APPROVED, AT, DAY, DEPOSIT, NEXT, REFUSED, S, bring, entry, fill_of, order
from tradebot_core.errors import NotPermitted, StoreError
from tradebot_core.interfaces import Arm, Break, DecisionSet, ExternalEntry, OtherOrders, Settlement
from tradebot_core.model.order import OrderState, RiskVerdict, Side
from tradebot_core.model.portfolio import Entry, EntryKind, usd
from tradebot_core.model.tables import FILLS, ORDERS
from tradebot_core.stores.sqlite_ledger import SqliteLedger

ROOT = Path(__file__).parents[2]
EXPIRES = AT + timedelta(hours=14)
D = Decimal
ARM = Arm(True, "U1", "jane", AT, EXPIRES, {"risk": "ab", "ibkr": "cd"}, "0.1.0+aa")


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "ledger.sqlite"


@pytest.fixture
def ledger(path) -> SqliteLedger:
    return SqliteLedger(path)


def a_full_life(ledger: SqliteLedger) -> None:
    """Something in every table."""
    permit = ledger.issue_permit(DAY, AT, EXPIRES)
    ledger.claim_permit(permit.permit_id, S, "run-1", AT)
    ledger.seal_decisions(DecisionSet(S, DAY, "digest", True, "run-1", AT))
    ledger.post(S, [DEPOSIT])
    bring(ledger, order())
    ledger.record_check(order().key, RiskVerdict(True, "price_collar", 0.01, 0.1), AT, "last 9.60")
    for state in (OrderState.SENDING, OrderState.FILLED):
        ledger.record_state(order().key, state, AT)
    ledger.record_fill(S, replace(fill_of(order()), commission=None))
    ledger.record_fill(S, fill_of(order()))
    ledger.record_fill(S, replace(fill_of(order()), version=2))
    bring(ledger, order(session=NEXT), OrderState.SENDING)
    ledger.record_state(order(session=NEXT).key, OrderState.REJECTED, AT, own_fault=True)
    ledger.mark(S, DAY, usd("1000"))
    ledger.halt("test", AT)
    ledger.record_arm(ARM)
    found = Break("cash:USD", "cash", "USD", None, "1", "2", "the broker has +1 USD", AT)
    ledger.record_breaks([found], [], AT, "tradebot", "")
    ledger.record_breaks([], [found.key], AT, "anna", "a gift")
    ledger.record_settlements([Settlement("cash:x", D(1), AT, "a dividend")])
    ledger.record_external(
        [ExternalEntry(101, D(7), D(0), "mine", AT, "anna"), ExternalEntry(None, D(0), D("2.5"), "mine", AT, "anna")]
    )


def test_no_line_of_the_ledger_can_be_changed_or_removed(ledger, path):
    a_full_life(ledger)
    ledger.require_venue("the simulated engine (paper)")
    with sqlite3.connect(path) as database:
        tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        tables = [name for name in tables if not name.startswith("sqlite_")]
        assert {"intents", "order_states", "fills", "entries", "halts", "arms"} <= set(tables)
        for table in tables:
            (column, *_), *_ = [row[1:] for row in database.execute(f"PRAGMA table_info({table})")]
            assert database.execute(f"SELECT count(*) FROM {table}").fetchone()[0] > 0, table
            for statement in (f"UPDATE {table} SET {column} = {column}", f"DELETE FROM {table}"):
                with pytest.raises(sqlite3.IntegrityError, match="append-only"):
                    database.execute(statement)


def test_what_was_committed_is_there_after_opening_the_ledger_again(ledger, path):
    a_full_life(ledger)
    again = SqliteLedger(path)
    assert again.book(S, NEXT) == ledger.book(S, NEXT)
    assert again.book(S, NEXT).cash == Decimal("899.0000")
    assert again.live_decisions(S, DAY) == DecisionSet(S, DAY, "digest", True, "run-1", AT)


# The right to trade


def test_the_permit_of_a_session_is_the_same_when_asked_again(ledger):
    permit = ledger.issue_permit(DAY, AT, EXPIRES)
    assert ledger.issue_permit(DAY, AT + timedelta(hours=1), EXPIRES + timedelta(days=9)) == permit
    assert (permit.session, permit.expires_at) == (DAY, EXPIRES)
    assert ledger.issue_permit(NEXT, AT, EXPIRES).permit_id != permit.permit_id


def test_a_permit_is_claimed_once_per_strategy_by_one_run(ledger):
    permit = ledger.issue_permit(DAY, AT, EXPIRES)
    assert ledger.claim_permit(permit.permit_id, S, "run-1", AT) == permit
    assert ledger.claim_permit(permit.permit_id, S, "run-1", AT + timedelta(hours=1)) == permit  # the same run may go on
    with pytest.raises(NotPermitted, match="was claimed by run run-1"):
        ledger.claim_permit(permit.permit_id, S, "run-2", AT)
    assert ledger.claim_permit(permit.permit_id, "other strategy", "run-2", AT) == permit


def test_a_permit_that_was_never_issued_is_no_permit(ledger):
    with pytest.raises(NotPermitted, match="no permit 'invented'"):
        ledger.claim_permit("invented", S, "run-1", AT)


def test_a_permit_ends_at_its_instant_even_for_the_run_that_holds_it(ledger):
    permit = ledger.issue_permit(DAY, AT, EXPIRES)
    ledger.claim_permit(permit.permit_id, S, "run-1", EXPIRES - timedelta(microseconds=1))
    with pytest.raises(NotPermitted, match="expired at 2024-01-03 13:00 UTC"):
        ledger.claim_permit(permit.permit_id, S, "run-1", EXPIRES)


def test_an_expired_permit_leaves_no_claim(ledger):
    permit = ledger.issue_permit(DAY, AT, EXPIRES)
    with pytest.raises(NotPermitted, match="expired"):
        ledger.claim_permit(permit.permit_id, S, "late", EXPIRES)
    assert ledger.claim_permit(permit.permit_id, S, "run-1", AT) == permit


def test_a_second_live_set_of_decisions_is_refused_and_reviews_are_not(ledger):
    ledger.seal_decisions(DecisionSet(S, DAY, "one", True, "run-1", AT))
    with pytest.raises(NotPermitted, match=f"{S} has decided live for {DAY} already"):
        ledger.seal_decisions(DecisionSet(S, DAY, "two", True, "run-2", AT))
    for digest in ("three", "three"):
        ledger.seal_decisions(DecisionSet(S, DAY, digest, False, "run-3", AT))
    assert [d.digest for d in ledger.decision_sets(S)] == ["one", "three", "three"]
    assert ledger.live_decisions(S, DAY).digest == "one"
    assert ledger.live_decisions(S, NEXT) is None
    assert ledger.live_decisions("other", DAY) is None


# Orders, fills, entries


def test_a_plan_is_remembered_even_without_orders(ledger):
    assert not ledger.is_planned(S, DAY)
    ledger.commit_orders(S, DAY, [], AT)
    assert ledger.is_planned(S, DAY)
    assert not ledger.is_planned("other", DAY)
    assert ledger.commit_orders("other", DAY, [], AT)


def test_orders_are_told_with_the_gates_verdict_and_their_last_state(ledger):
    ledger.commit_orders(S, DAY, [(order(1), APPROVED), (order(2), REFUSED)], AT)
    ledger.record_state(order(1).key, OrderState.SENDING, AT)
    ledger.record_state(order(1).key, OrderState.UNKNOWN, AT, "no answer")
    rows = ledger.orders(S)
    assert list(rows.columns) == [*ORDERS.schema, "state", "detail"]
    told = rows.select("security_id", "quantity", "approved", "rule", "value", "limit", "state", "detail").rows()
    assert told == [
        (1, 10, True, "within_limits", 1.0, 2.0, "unknown", "no answer"),
        (2, 10, False, "cash", 3.0, 2.0, "refused", ""),
    ]
    assert ledger.orders(S, NEXT).is_empty()
    assert len(ledger.orders(S, DAY, DAY)) == 2
    assert ledger.orders("other").is_empty()


def test_fills_are_told_as_they_were_made(ledger):
    a_full_life(ledger)
    rows = ledger.fills(S)
    assert rows.schema == FILLS.schema
    assert rows.select("session", "symbol", "side", "quantity", "price", "commission", "filled_at").rows() == [
        (NEXT, "S1", "buy", 10, "10.0000", "1.0000", AT + timedelta(hours=16))
    ]
    assert ledger.fills(S, DAY, DAY).is_empty()


def test_entries_come_back_exactly_and_until_a_session(ledger):
    a_full_life(ledger)
    dividend = entry("dividend:1", date(2024, 1, 4), "0.0001")
    ledger.post(S, [dividend])
    assert ledger.entries(S)[0] == DEPOSIT
    assert ledger.entries(S)[-1] == dividend
    assert [e.kind for e in ledger.entries(S, DAY)] == ["deposit"]
    assert str(ledger.entries(S)[-1].cash) == "0.0001"


def test_strategies_keep_separate_books(ledger):
    ledger.post(S, [DEPOSIT])
    ledger.post("other", [DEPOSIT])
    assert ledger.book(S, DAY).cash == ledger.book("other", DAY).cash == Decimal(1000)
    assert ledger.entries("third") == []


def test_a_commit_that_fails_halfway_leaves_nothing(ledger):
    with pytest.raises(sqlite3.IntegrityError):
        ledger.commit_orders(S, DAY, [(order(1), APPROVED), (order(1), APPROVED)], AT)
    assert not ledger.is_planned(S, DAY)
    assert ledger.open_orders(S) == []
    assert ledger.commit_orders(S, DAY, [(order(1), APPROVED)], AT)


def test_a_verdict_without_a_number_keeps_its_null(ledger):
    ledger.commit_orders(S, DAY, [(order(1), RiskVerdict(False, "known_price", None, None))], AT)
    assert ledger.orders(S).select("value", "limit").rows() == [(None, None)]


# The kill switch


def test_the_halt_holds_until_it_is_ended_and_tells_its_reason(ledger, path):
    assert ledger.halted() is None
    ledger.halt("looks odd", AT)
    ledger.halt("still odd", AT)
    assert SqliteLedger(path).halted() == "still odd"
    ledger.resume(AT)
    assert ledger.halted() is None


def test_a_halt_without_a_word_is_a_halt(ledger):
    ledger.halt("", AT)
    assert ledger.halted() is not None


# Arming


def test_the_last_word_on_arming_comes_back_as_it_was_given(ledger, path):
    assert ledger.last_arm() is None
    ledger.record_arm(ARM)
    assert SqliteLedger(path).last_arm() == ARM
    over = Arm(False, "U1", "jane", EXPIRES, EXPIRES, {}, "")
    ledger.record_arm(over)
    assert SqliteLedger(path).last_arm() == over


def test_a_ledger_made_before_there_was_arming_gains_its_table(ledger, path):
    with sqlite3.connect(path) as database:
        database.execute("DROP TABLE arms")
    older = SqliteLedger(path)
    older.record_arm(ARM)
    assert older.last_arm() == ARM
    with sqlite3.connect(path) as database, pytest.raises(sqlite3.IntegrityError, match="append-only"):
        database.execute("DELETE FROM arms")


# Damage


def test_a_file_that_is_no_ledger_is_named(path):
    path.write_bytes(b"not a database, not even close to one" * 40)
    with pytest.raises(StoreError, match=r"ledger\.sqlite is damaged"):
        SqliteLedger(path)


def test_a_ledger_in_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"ledger\.sqlite"):
        SqliteLedger(tmp_path / "file" / "ledger.sqlite")


# Races

RACE = """
import sys, time
from datetime import datetime
from pathlib import Path
from tests.contracts.test_journal_contract import *
from tradebot_core.errors import NotPermitted
path, me, start, permit = Path(sys.argv[1]), sys.argv[2], float(sys.argv[3]), sys.argv[4]
time.sleep(max(0.0, start - time.time()))
ledger = SqliteLedger(path)
won = []
for session in SESSIONS[:25]:
    won.append(ledger.commit_orders(S, session, [(order(session=session), APPROVED)], AT))
try:
    ledger.claim_permit(permit, S, me, AT)
    won.append(True)
except NotPermitted:
    won.append(False)
print("".join("1" if one else "0" for one in won))
"""


def test_of_two_processes_that_race_exactly_one_commits_and_one_holds_the_permit(path):
    permit = SqliteLedger(path).issue_permit(DAY, AT, EXPIRES)
    start = str(datetime.now(UTC).timestamp() + 2.0)

    def racer(name: str) -> str:
        done = subprocess.run(
            [sys.executable, "-c", RACE, str(path), name, start, permit.permit_id],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    with ThreadPoolExecutor(2) as pool:
        one, other = pool.map(racer, ("run-1", "run-2"))
    assert len(one) == len(other) == 26
    assert [{a, b} for a, b in zip(one, other, strict=True)] == [{"0", "1"}] * 26
    assert len(SqliteLedger(path).orders(S)) == 25


def test_many_openings_of_a_fresh_ledger_at_once_all_succeed(path):
    def opened(n: int) -> str:
        ledger = SqliteLedger(path)
        ledger.post(f"sleeve {n}", [DEPOSIT])
        return ledger.book(f"sleeve {n}", DAY).cash

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(opened, range(24))) == [Decimal("1000.0000")] * 24


def test_the_peak_is_the_highest_equity_and_a_deposit_is_no_gain(ledger):
    assert ledger.peak(S, DAY) == 0
    ledger.post(S, [DEPOSIT])
    assert ledger.peak(S, DAY) == 1000  # of a ledger without marks: at least what was put in
    for session, equity in ((DAY, "1200"), (NEXT, "900")):
        ledger.mark(S, session, usd(equity))
    assert ledger.peak(S, NEXT) == 1200
    ledger.post(S, [Entry("deposit:more", NEXT, EntryKind.DEPOSIT, usd("500"))])
    assert (ledger.peak(S, DAY), ledger.peak(S, NEXT)) == (1200, 1700)


def test_the_first_word_on_the_equity_of_a_session_stands(ledger):
    ledger.mark(S, DAY, usd("1000"))
    ledger.mark(S, DAY, usd("5000"))
    assert ledger.peak(S, DAY) == 1000


def test_a_ledger_made_before_equity_was_kept_gains_the_table(ledger, path):
    ledger.post(S, [DEPOSIT])
    with sqlite3.connect(path) as database:
        database.execute("DROP TABLE marks")
    again = SqliteLedger(path)
    again.mark(S, DAY, usd("1300"))
    assert again.peak(S, DAY) == 1300


def test_a_plan_is_told_of_the_approved_orders_of_the_other_sleeves_in_its_session(ledger):
    ledger.commit_orders(S, DAY, [(order(1), APPROVED), (order(2), REFUSED)], AT)
    ledger.commit_orders(S, NEXT, [(order(3, session=NEXT), APPROVED)], AT)
    told = []
    assert ledger.commit_plan("other", DAY, lambda others: told.append(others) or [], AT)
    assert told == [OtherOrders(1, frozenset({(1, Side.BUY)}))]
    assert not ledger.commit_plan(S, DAY, lambda others: told.append(others) or [], AT)
    assert len(told) == 1


def test_a_plan_that_fails_leaves_nothing_committed(ledger):
    def failing(others):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        ledger.commit_plan(S, DAY, failing, AT)
    assert not ledger.is_planned(S, DAY)


def test_of_sleeves_that_plan_at_once_each_is_told_of_those_before_it(path):
    names = [f"sleeve {n}" for n in range(4)]
    SqliteLedger(path)

    def plan(name: str) -> int:
        seen = []
        intent = replace(order(1), key=f"{name}|1", strategy=name)
        SqliteLedger(path).commit_plan(name, DAY, lambda others: seen.append(others.count) or [(intent, APPROVED)], AT)
        return seen[0]

    with ThreadPoolExecutor(len(names)) as pool:
        assert sorted(pool.map(plan, names)) == [0, 1, 2, 3]


def test_the_orders_that_the_broker_rejected_are_counted_by_their_session(ledger):
    bring(ledger, order(1), OrderState.SENDING, OrderState.REJECTED)
    bring(ledger, order(2, session=NEXT), OrderState.SENDING, OrderState.WORKING)
    assert (ledger.rejected(DAY), ledger.rejected(NEXT)) == (1, 0)


def test_what_is_external_comes_back_as_it_was_entered(ledger, path):
    mine = [
        ExternalEntry(101, D("7.5"), D(0), "bought by hand", AT, "anna"),
        ExternalEntry(None, D(0), D("-0.01"), "a fee", AT, "anna"),
    ]
    ledger.record_external(mine)
    ledger.record_external([])
    assert SqliteLedger(path).external() == mine
