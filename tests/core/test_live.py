"""The live desk: a permit, a decision, an order sent at most once, a fill, a position; and everything that must not reach an engine."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from threading import Barrier
from typing import ClassVar

import polars as pl
import pytest

from tests.markets import SESSIONS as HALF_YEAR
from tests.markets import XNYS, at, fill_store, run_layers, tradebot
from tests.scripted import SESSIONS, act, quote, scripted, security_of
from tradebot_core.errors import ConfigurationError, ExecutionError, NotPermitted, OrderUnknown, ReconciliationError
from tradebot_core.interfaces import Break, BrokerCash, Purpose
from tradebot_core.model.order import Fill, OrderIntent, OrderState, OrderStatus, RiskVerdict, Side, order_key
from tradebot_core.model.portfolio import usd
from tradebot_core.model.tables import DECISIONS, LAYERS
from tradebot_core.stores.sqlite_ledger import SqliteLedger
from tradebot_core.trading.account_comparison import Line, LineKind
from tradebot_core.trading.account_reconciliation import Comparison
from tradebot_core.trading.live import (
    Decided,
    LiveDesk,
    Outcome,
    Submission,
    current_session,
    issue_permit,
    submit_deadline,
)
from tradebot_core.wiring import Tradebot

HOUR = timedelta(hours=1)
D = Decimal


def day(n: int) -> date:
    """The n-th session of a story; 0 is the first."""
    return SESSIONS[20 + n]


def evening(session: date) -> datetime:
    """An hour after the cut-off, when the session is decided."""
    return XNYS.cutoff(session) + HOUR


def morning_after(session: date) -> datetime:
    """Ten minutes before the next open."""
    return XNYS.opens_at(XNYS.next(session)) - HOUR / 6


class Crash(BaseException):
    """The process is gone; nothing after this line happens."""


class NoEngine(AssertionError):
    pass


def forbidden() -> None:
    raise NoEngine("an engine was made where none may be")


@dataclass
class FakeEngine:
    """Keeps what it received. `on_submit` may lose the order, or the answer, or the process."""

    absence_is_proof: bool = True
    on_submit: Callable[["FakeEngine", OrderIntent], None] = lambda engine, intent: engine.receive(intent)
    received: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    told: dict[str, OrderStatus] = field(default_factory=dict)
    name: ClassVar[str] = "fake"

    def receive(self, intent: OrderIntent) -> None:
        self.received.append(intent.key)
        self.told[intent.key] = OrderStatus(OrderState.WORKING, broker_order_id=f"b{len(self.received)}")

    def submit(self, intent: OrderIntent) -> OrderStatus:
        self.on_submit(self, intent)
        return self.get_order_status(intent.key)

    def cancel(self, order_key: str) -> OrderStatus:
        raise NotImplementedError

    def get_order_status(self, order_key: str) -> OrderStatus:
        self.asked.append(order_key)
        return self.told.get(order_key, OrderStatus(None))


@dataclass
class Desk:
    """The scripted sleeve's desk at any time, with the engine a test gives it (else the simulated one of the wiring)."""

    bot: Tradebot
    engine: Callable[[], object] | None = None
    pauses: list[float] = field(default_factory=list)

    def desk(self, now: datetime) -> LiveDesk:
        made = replace(at(self.bot, now).desk, pause=self.pauses.append)
        return replace(made, engine_factory=self.engine, reconciler=None, quotes=None) if self.engine is not None else made

    @property
    def strategy(self):
        return self.bot.sleeve("scripted").strategy

    @property
    def ledger(self):
        return self.bot.store.ledger

    def layers(self, session: date) -> None:
        self.bot.markets.run_layer(self.strategy, "trades", [session])

    def permit(self, now: datetime) -> str | None:
        issued = issue_permit(self.ledger, XNYS, now)
        return issued.permit_id if issued else None

    def decide(self, session: date, run: str = "run", now: datetime | None = None, permit: str | None = "issue") -> Decided:
        now = now or evening(session)
        self.layers(session)
        held = self.permit(now) if permit == "issue" else permit
        capital = self.bot.sleeve("scripted").capital
        return self.desk(now).decide(self.strategy, capital, session, held, run, now)

    def submit(self, session: date, now: datetime | None = None) -> Submission:
        now = now or evening(session)
        permit = issue_permit(self.bot.store.ledger, XNYS, now, Purpose.SUBMIT)
        return self.desk(now).submit(self.strategy, session, permit.permit_id if permit else None, "submit", now)

    def night(self, session: date, run: str | None = None) -> Decided:
        """What the schedule and the sensor do after a session."""
        decided = self.decide(session, run or f"run of {session}")
        self.submit(session)
        return decided

    def states(self) -> dict[str, str]:
        """By symbol and side, the state of the latest order."""
        rows = self.ledger.orders("scripted").sort("session").iter_rows(named=True)
        return {f"{row['side']} {row['symbol']}": row["state"] for row in rows}

    def holding(self, session: date, symbol: str = "AAA") -> int:
        position = self.ledger.book("scripted", session).positions.get(security_of(symbol))
        return position.quantity if position else 0

    def cash(self, session: date) -> Decimal:
        return self.ledger.book("scripted", session).cash


def a_desk(folder: Path, *script: str, engine=None, **settings) -> Desk:
    desk = Desk(scripted(folder, *script, **settings), engine)
    quote(desk.bot, "AAA", 10.0)
    quote(desk.bot, "BBB", 20.0)
    return desk


BUY = f"{day(0)} buy AAA 0.5"


# The way an order takes


def test_a_decision_becomes_an_order_a_fill_at_the_next_open_and_a_position(tmp_path):
    desk = a_desk(tmp_path, BUY)
    decided = desk.decide(day(0))
    assert (decided.live, [(d.symbol, d.action, d.target_weight) for d in decided.decisions]) == (True, [("AAA", "buy", 0.5)])
    assert desk.ledger.live_decisions("scripted", day(0)).digest == decided.digest
    submission = desk.submit(day(0))
    assert (submission.outcome, desk.states()) == (Outcome.SUBMITTED, {"buy AAA": "working"})
    assert (desk.holding(day(0)), desk.cash(day(0))) == (0, D(10_000))
    desk.night(day(1))
    assert (desk.states(), desk.holding(day(1)), desk.cash(day(1))) == ({"buy AAA": "filled"}, 500, D(5_000))
    fills = desk.ledger.fills("scripted").select("session", "symbol", "side", "quantity", "price", "filled_at").rows()
    assert fills == [(day(1), "AAA", "buy", 500, "10.0000", XNYS.opens_at(day(1)))]
    assert [entry.kind for entry in desk.ledger.entries("scripted")] == ["deposit", "trade", "commission"]


def test_the_capital_is_deposited_once_in_the_first_session(tmp_path):
    desk = a_desk(tmp_path)
    for n in range(3):
        desk.night(day(n))
    deposits = [(entry.session, entry.cash) for entry in desk.ledger.entries("scripted") if entry.kind == "deposit"]
    assert deposits == [(day(0), usd(10_000))]


def test_the_verdicts_a_live_decision_rests_on_are_kept_with_it(tmp_path):
    desk = a_desk(tmp_path, BUY)
    desk.decide(day(0))
    kept = desk.bot.store.read_results(LAYERS, "scripted", "live", layer="trades")
    assert kept.equals(desk.bot.store.read_results(LAYERS, "scripted", "market", layer="trades"))
    assert kept["symbol"].to_list() == ["AAA", "BBB"]


@pytest.mark.parametrize("name", ["value_investor", "quality_growth"])
def test_live_decides_and_fills_exactly_what_the_backtest_of_the_same_sessions_does(tmp_path, name):
    bot = tradebot(tmp_path)
    fill_store(bot)
    # From a purchase over a split to a sale on deterioration.
    sessions = HALF_YEAR[66:86] if name == "value_investor" else HALF_YEAR[25:30]
    run_layers(bot, name, sessions)
    simulated = bot.backtest(name, sessions)
    sleeve = bot.sleeve(name)
    for session in sessions:
        now = evening(session)
        desk = at(bot, now).desk
        permit = issue_permit(bot.store.ledger, XNYS, now)
        decided = desk.decide(sleeve.strategy, sleeve.capital, session, permit.permit_id, str(session), now)
        assert decided.live
        to_submit = issue_permit(bot.store.ledger, XNYS, now, Purpose.SUBMIT)
        desk.submit(sleeve.strategy, session, to_submit.permit_id, str(session), now)
    assert bot.store.read_results(DECISIONS, name, "live").equals(simulated["decisions"])
    assert bot.store.ledger.fills(name).equals(simulated["fills"].sort("session", "execution_id"))
    assert bot.store.ledger.orders(name).select(simulated["orders"].columns).equals(simulated["orders"])
    final = bot.store.ledger.book(name, sessions[-1])
    assert str(final.cash) == simulated["equity"]["cash"][-1]
    if name == "value_investor":
        assert {"buy", "sell"} == set(simulated["fills"]["side"])
        assert "split" in set(simulated["entries"]["kind"])


# At most once


def test_running_a_session_twice_places_nothing_twice(tmp_path):
    engine = FakeEngine()
    desk = a_desk(tmp_path, BUY, engine=lambda: engine)
    first = desk.night(day(0), "run-1")
    again = desk.night(day(0), "run-1")
    assert again.live
    assert again.digest == first.digest
    assert again.decisions == first.decisions
    desk.submit(day(0), morning_after(day(0)))
    assert engine.received == [f"scripted|{day(0)}|{security_of('AAA')}|buy"]
    assert len(desk.ledger.orders("scripted")) == 1
    assert len(desk.ledger.decision_sets("scripted")) == 1


def test_another_run_of_the_same_session_gets_a_review_and_places_nothing(tmp_path):
    engine = FakeEngine()
    desk = a_desk(tmp_path, BUY, engine=lambda: engine)
    desk.night(day(0), "run-1")
    other = desk.night(day(0), "run-2")
    assert not other.live
    assert "was claimed by run run-1" in other.note
    assert len(engine.received) == 1


def test_a_crash_before_anything_was_committed_leaves_the_same_run_free_to_decide(tmp_path):
    engine = FakeEngine()
    desk = a_desk(tmp_path, BUY, engine=lambda: engine)
    write = desk.bot.store.write_results

    def crash(table, *rest, **more):
        if table is DECISIONS:
            raise Crash
        write(table, *rest, **more)

    desk.bot.store.write_results = crash
    with pytest.raises(Crash):
        desk.decide(day(0), "run-1")
    desk.bot.store.write_results = write
    assert desk.ledger.live_decisions("scripted", day(0)) is None
    assert desk.submit(day(0)).outcome is Outcome.NOTHING_LIVE
    assert desk.night(day(0), "run-1").live
    assert len(engine.received) == 1


def test_a_crash_between_the_commit_and_the_first_byte_is_made_good_once(tmp_path):
    def crashing():
        raise Crash

    desk = a_desk(tmp_path, BUY, engine=crashing)
    desk.decide(day(0))
    with pytest.raises(Crash):
        desk.submit(day(0))
    assert desk.states() == {"buy AAA": "new"}
    engine = FakeEngine()
    desk.engine = lambda: engine
    for _ in range(3):
        desk.submit(day(0))
    assert (len(engine.received), desk.states()) == (1, {"buy AAA": "working"})


def crash_after_receiving(engine: FakeEngine, intent: OrderIntent) -> None:
    engine.receive(intent)
    raise Crash


def crash_before_receiving(engine: FakeEngine, intent: OrderIntent) -> None:
    raise Crash


def lose_the_answer(engine: FakeEngine, intent: OrderIntent) -> None:
    engine.receive(intent)
    raise OrderUnknown("No answer within 10 s.")


def lose_the_order(engine: FakeEngine, intent: OrderIntent) -> None:
    raise OrderUnknown("No answer within 10 s.")


@pytest.mark.parametrize("absence_is_proof", [True, False])
def test_an_order_that_the_broker_has_is_adopted_after_a_crash_and_not_resent(tmp_path, absence_is_proof):
    engine = FakeEngine(absence_is_proof, crash_after_receiving)
    desk = a_desk(tmp_path, BUY, engine=lambda: engine)
    desk.decide(day(0))
    with suppress(Crash):
        desk.submit(day(0))
    assert desk.states() == {"buy AAA": "sending"}
    engine.asked.clear()
    for _ in range(2):
        desk.submit(day(0))
    assert engine.asked[0] == engine.received[0]
    assert (len(engine.received), desk.states(), desk.pauses) == (1, {"buy AAA": "working"}, [])


def test_an_order_whose_answer_was_lost_is_asked_about_at_once_and_adopted(tmp_path):
    engine = FakeEngine(False, lose_the_answer)
    desk = a_desk(tmp_path, BUY, engine=lambda: engine)
    desk.decide(day(0))
    assert desk.submit(day(0)).outcome is Outcome.SUBMITTED
    assert (len(engine.received), desk.states(), desk.pauses) == (1, {"buy AAA": "working"}, [])


@pytest.mark.parametrize(("fault", "left"), [(crash_before_receiving, "sending"), (lose_the_order, "unknown")])
def test_where_absence_proves_that_an_order_never_arrived_it_is_sent_again(tmp_path, fault, left):
    engine = FakeEngine(True, fault)
    desk = a_desk(tmp_path, BUY, engine=lambda: engine)
    desk.decide(day(0))
    with suppress(Crash):
        desk.submit(day(0))
    assert desk.states() == {"buy AAA": left}
    engine.on_submit = FakeEngine.receive
    for _ in range(3):
        desk.submit(day(0))
    assert (len(engine.received), desk.states()) == (1, {"buy AAA": "working"})


@pytest.mark.parametrize("fault", [crash_before_receiving, lose_the_order])
def test_elsewhere_it_is_lost_when_asked_three_times_a_minute_apart_and_never_sent_again(tmp_path, fault):
    engine = FakeEngine(False, fault)
    desk = a_desk(tmp_path, BUY, engine=lambda: engine)
    desk.decide(day(0))
    with suppress(Crash):
        desk.submit(day(0))
    engine.on_submit = FakeEngine.receive
    for _ in range(3):
        desk.submit(day(0))
    assert (engine.received, desk.states(), desk.pauses) == ([], {"buy AAA": "lost"}, [60.0, 60.0])
    (order,) = desk.ledger.orders("scripted").to_dicts()
    assert "showed no trace of it when asked at 19:00:00, 19:00:00, 19:00:00 New York" in order["detail"]


def test_an_order_that_shows_up_while_it_is_looked_for_is_adopted(tmp_path):
    engine = FakeEngine(False, lose_the_order)
    desk = a_desk(tmp_path, BUY, engine=lambda: engine)
    desk.decide(day(0))
    fault = desk.pauses

    class Late(list):
        def append(self, seconds: float) -> None:
            super().append(seconds)
            (intent, _), *_ = desk.ledger.open_orders("scripted")
            engine.receive(intent)

    desk.pauses = Late(fault)
    assert desk.submit(day(0)).outcome is Outcome.SUBMITTED
    assert (len(engine.received), desk.states(), desk.pauses) == (1, {"buy AAA": "working"}, [60.0])


def test_after_an_order_that_was_lost_the_others_wait_for_the_next_run(tmp_path):
    engine = FakeEngine(False, lose_the_order)
    desk = a_desk(tmp_path, BUY, BUY.replace("AAA", "BBB"), engine=lambda: engine)
    desk.decide(day(0))
    submission = desk.submit(day(0))
    assert submission.outcome is Outcome.IN_DOUBT
    assert "look at the gateway's window" in submission.note
    assert sorted(desk.states().values()) == ["lost", "new"]
    engine.on_submit = FakeEngine.receive
    assert desk.submit(day(0)).outcome is Outcome.SUBMITTED
    assert sorted(desk.states().values()) == ["lost", "working"]


def test_when_the_broker_cannot_be_asked_an_order_stays_unknown_and_the_others_wait(tmp_path):
    engine = FakeEngine(False, lose_the_order)
    desk = a_desk(tmp_path, BUY, BUY.replace("AAA", "BBB"), engine=lambda: engine)
    desk.decide(day(0))

    def unreachable(key: str) -> OrderStatus:
        raise ExecutionError("The gateway is gone.")

    engine.get_order_status = unreachable
    with pytest.raises(ExecutionError, match="gone"):
        desk.submit(day(0))
    assert sorted(desk.states().values()) == ["new", "unknown"]


def test_executions_the_broker_tells_twice_are_entered_once(tmp_path):
    engine = FakeEngine()
    desk = a_desk(tmp_path, BUY, engine=lambda: engine)
    desk.night(day(0))
    key = engine.received[0]

    def execution(number: int, quantity: int) -> Fill:
        intent = desk.ledger.open_orders("scripted")[0][0] if number == 1 else first
        return Fill(
            f"x{number}",
            key,
            day(1),
            intent.security_id,
            "AAA",
            intent.side,
            quantity,
            usd("10"),
            usd("1"),
            XNYS.opens_at(day(1)),
        )

    first = desk.ledger.open_orders("scripted")[0][0]
    one, two = execution(1, 200), execution(2, 300)
    engine.told[key] = OrderStatus(OrderState.PARTIAL, (one,))
    desk.desk(evening(day(1))).record(desk.strategy, day(1), evening(day(1)))
    assert (desk.states(), desk.holding(day(1))) == ({"buy AAA": "partial"}, 200)
    engine.told[key] = OrderStatus(OrderState.FILLED, (two, one))
    for _ in range(2):
        desk.desk(evening(day(1))).record(desk.strategy, day(1), evening(day(1)))
    assert (desk.states(), desk.holding(day(1)), desk.cash(day(1))) == ({"buy AAA": "filled"}, 500, D(10_000 - 5_000 - 2))


def test_of_two_desks_that_submit_at_the_same_moment_one_sends(tmp_path):
    engine, together = FakeEngine(), Barrier(2)
    desk = a_desk(tmp_path, BUY)
    desk.decide(day(0))

    def engine_for_both():
        together.wait(timeout=10)  # both have seen the order as new
        return engine

    desk.engine = engine_for_both
    with ThreadPoolExecutor(2) as pool:
        outcomes = [pool.submit(desk.submit, day(0)) for _ in range(2)]
        assert [outcome.result().outcome for outcome in outcomes] == [Outcome.SUBMITTED] * 2
    assert (len(engine.received), desk.states()) == (1, {"buy AAA": "working"})


# What must not reach an engine


def test_without_a_permit_the_decision_is_a_review_and_no_engine_is_made(tmp_path):
    desk = a_desk(tmp_path, BUY, engine=forbidden)
    decided = desk.decide(day(0), permit=None)
    assert (decided.live, [d.symbol for d in decided.decisions]) == (False, ["AAA"])
    assert "holds no permit" in decided.note
    assert desk.submit(day(0)).outcome is Outcome.NOTHING_LIVE
    assert desk.bot.store.read_results(DECISIONS, "scripted", "live").is_empty()
    assert len(desk.bot.store.read_results(DECISIONS, "scripted", "review")) == 1
    assert desk.ledger.entries("scripted") == []


def test_an_invented_permit_is_no_permit(tmp_path):
    desk = a_desk(tmp_path, BUY, engine=forbidden)
    desk.permit(evening(day(0)))
    decided = desk.decide(day(0), permit=f"{day(0)}@now")
    assert not decided.live
    assert desk.submit(day(0)).outcome is Outcome.NOTHING_LIVE


def test_an_expired_permit_is_no_permit(tmp_path):
    desk = a_desk(tmp_path, BUY, engine=forbidden)
    permit = desk.permit(evening(day(0)))
    decided = desk.decide(day(0), permit=permit, now=submit_deadline(XNYS, day(0)))
    assert not decided.live
    assert "expired" in decided.note


def test_no_permit_is_issued_between_the_deadline_and_the_next_cut_off(tmp_path):
    desk = a_desk(tmp_path)
    deadline = submit_deadline(XNYS, day(0))
    assert deadline == XNYS.opens_at(day(1)) - timedelta(minutes=5)
    moment = timedelta(microseconds=1)
    assert issue_permit(desk.ledger, XNYS, deadline - moment).session == day(0)
    assert issue_permit(desk.ledger, XNYS, deadline) is None
    assert issue_permit(desk.ledger, XNYS, XNYS.cutoff(day(1)) - moment) is None
    assert issue_permit(desk.ledger, XNYS, XNYS.cutoff(day(1))).session == day(1)
    assert current_session(XNYS, XNYS.cutoff(day(1)) - moment) == day(0)


@pytest.mark.parametrize("which", [-1, -5, 1])
def test_the_permit_of_tonight_is_none_for_another_session_and_stays_for_the_live_run(tmp_path, which):
    desk = a_desk(tmp_path, f"{day(6)} buy AAA 0.5", f"{day(6 + which)} buy AAA 0.5", engine=forbidden)
    now = evening(day(6))
    permit = desk.permit(now)
    other = desk.decide(day(6 + which), run="a backfill", permit=permit, now=now)
    assert not other.live
    assert desk.submit(day(6 + which), now).outcome is Outcome.NOTHING_LIVE
    assert desk.decide(day(6), run="the live run", permit=permit).live


def test_a_permit_of_another_session_that_has_not_expired_is_no_permit_for_this_one(tmp_path):
    desk = a_desk(tmp_path, BUY, engine=forbidden)
    other = desk.ledger.issue_permit(day(1), evening(day(0)), evening(day(5)))
    decided = desk.decide(day(0), permit=other.permit_id)
    assert (decided.live, f"The permit is for {day(1)}, not for {day(0)}" in decided.note) == (False, True)


def test_live_decisions_of_a_session_still_to_come_are_not_sent(tmp_path):
    """None can be made; should a clock have gone back, the orders wait for nobody."""
    desk = a_desk(tmp_path, BUY)
    desk.decide(day(0))
    desk.engine = forbidden
    assert desk.submit(day(0), evening(day(-1))).outcome is Outcome.EXPIRED


def test_a_review_of_an_old_session_changes_neither_ledger_nor_live_results(tmp_path):
    desk = a_desk(tmp_path, BUY)
    for n in range(4):
        desk.night(day(n))
    kept = desk.bot.store.read_results(DECISIONS, "scripted", "live")
    entries, orders = desk.ledger.entries("scripted"), desk.ledger.orders("scripted")
    desk.engine = forbidden
    reviewed = desk.decide(day(2), run="a backfill", permit=None, now=evening(day(3)))
    assert [(d.symbol, d.action) for d in reviewed.decisions] == [("AAA", "hold")]  # on the book of that day
    assert desk.submit(day(2), evening(day(3))).outcome is Outcome.EXPIRED
    assert desk.bot.store.read_results(DECISIONS, "scripted", "live").equals(kept)
    assert (desk.ledger.entries("scripted"), desk.ledger.orders("scripted").equals(orders)) == (entries, True)


def test_decisions_that_come_too_late_are_recorded_as_expired_and_never_sent(tmp_path):
    desk = a_desk(tmp_path, BUY, engine=forbidden)
    desk.decide(day(0))
    for now in (submit_deadline(XNYS, day(0)), evening(day(1)), evening(day(9))):
        assert desk.submit(day(0), now).outcome is Outcome.EXPIRED
    rows = desk.ledger.orders("scripted").select("symbol", "quantity", "approved", "rule", "state").rows()
    assert rows == [("AAA", 500, False, "decision_expired", "refused")]


def test_an_order_committed_in_time_and_never_sent_expires(tmp_path):
    desk = a_desk(tmp_path, BUY, engine=lambda: (_ for _ in ()).throw(Crash()))
    desk.decide(day(0))
    with pytest.raises(Crash):
        desk.submit(day(0))
    desk.engine = forbidden
    assert desk.submit(day(0), submit_deadline(XNYS, day(0))).outcome is Outcome.EXPIRED
    assert desk.states() == {"buy AAA": "expired"}


@pytest.mark.parametrize("fault", ["before the engine", "before the answer"])
def test_an_order_of_a_past_session_that_never_arrived_is_closed_when_the_next_session_is_recorded(tmp_path, fault):
    engine = FakeEngine(True, crash_before_receiving)
    desk = a_desk(
        tmp_path, BUY, engine=(lambda: (_ for _ in ()).throw(Crash())) if fault == "before the engine" else lambda: engine
    )
    desk.decide(day(0))
    with pytest.raises(Crash):
        desk.submit(day(0))
    engine.on_submit = FakeEngine.receive
    desk.engine = lambda: engine
    desk.night(day(1))
    assert (engine.received, desk.states()) == ([], {"buy AAA": "expired"})
    assert desk.ledger.open_orders("scripted") == []


def test_an_order_of_a_past_session_whose_fate_is_unknown_stays_open_for_a_person(tmp_path):
    """What a broker shows two days later says nothing of the day on which the order could have filled."""
    engine = FakeEngine(False, crash_before_receiving)
    desk = a_desk(tmp_path, BUY, engine=lambda: engine)
    desk.decide(day(0))
    with suppress(Crash):
        desk.submit(day(0))
    desk.desk(evening(day(2))).record(desk.strategy, day(2), evening(day(2)))
    assert (engine.received, desk.states(), desk.pauses) == ([], {"buy AAA": "sending"}, [])
    desk.decide(day(2))
    assert desk.submit(day(2)).outcome is Outcome.IN_DOUBT


def test_a_halt_stops_the_sending_and_its_end_within_the_session_resumes_it(tmp_path):
    desk = a_desk(tmp_path, BUY, engine=forbidden)
    desk.decide(day(0))
    desk.ledger.halt("looks odd", evening(day(0)))
    halted = desk.submit(day(0))
    assert (halted.outcome, "looks odd" in halted.note) == (Outcome.HALTED, True)
    assert desk.ledger.orders("scripted").is_empty()
    engine = FakeEngine()
    desk.engine = lambda: engine
    desk.ledger.resume(morning_after(day(0)))
    assert desk.submit(day(0), morning_after(day(0))).outcome is Outcome.SUBMITTED
    assert len(engine.received) == 1


def test_a_halt_over_the_deadline_lets_the_decisions_expire(tmp_path):
    desk = a_desk(tmp_path, BUY, engine=forbidden)
    desk.decide(day(0))
    desk.ledger.halt("looks odd", evening(day(0)))
    assert desk.submit(day(0), submit_deadline(XNYS, day(0))).outcome is Outcome.EXPIRED
    desk.ledger.resume(evening(day(1)))
    assert desk.submit(day(0), evening(day(1))).outcome is Outcome.EXPIRED


TAMPERED = {
    "another weight": lambda rows: rows.with_columns(target_weight=pl.lit(0.9)),
    "another symbol": lambda rows: rows.with_columns(security_id=pl.lit(security_of("BBB"), pl.Int64), symbol=pl.lit("BBB")),
    "a row more": lambda rows: pl.concat([rows, rows.with_columns(security_id=pl.lit(7, pl.Int64))]),
    "no row": lambda rows: rows.clear(),
    "the last bit of a number": lambda rows: rows.with_columns(target_weight=pl.lit(0.5000000000000001)),
}


@pytest.mark.parametrize("change", TAMPERED)
def test_stored_decisions_that_are_not_the_sealed_ones_stop_everything(tmp_path, change):
    desk = a_desk(tmp_path, BUY, engine=forbidden)
    desk.decide(day(0))
    rows = desk.bot.store.read_results(DECISIONS, "scripted", "live")
    desk.bot.store.write_results(DECISIONS, "scripted", "live", [day(0)], TAMPERED[change](rows))
    for now in (evening(day(0)), evening(day(1))):
        with pytest.raises(ReconciliationError, match="not the ones that were sealed"):
            desk.submit(day(0), now)
    assert desk.ledger.orders("scripted").is_empty()


def test_an_order_the_gate_refuses_reaches_no_engine(tmp_path):
    desk = a_desk(tmp_path, BUY, engine=forbidden, limits={"restricted": "[AAA]"})
    desk.decide(day(0))
    assert desk.submit(day(0)).outcome is Outcome.SUBMITTED
    assert desk.states() == {"buy AAA": "refused"}


def test_a_run_may_touch_the_engine_only_with_the_permit_it_claimed(tmp_path):
    desk = a_desk(tmp_path)
    now = evening(day(0))
    permit, held = desk.permit(now), desk.desk(now)
    assert not held.holds_permit("scripted", day(0), None, "run-1", now)
    assert held.holds_permit("scripted", day(0), permit, "run-1", now)
    assert not held.holds_permit("scripted", day(0), permit, "run-2", now)
    assert not held.holds_permit("scripted", day(1), permit, "run-1", now)
    assert not held.holds_permit("scripted", day(0), permit, "run-1", submit_deadline(XNYS, day(0)))
    with pytest.raises(NotPermitted):
        desk.ledger.claim_permit(permit, "scripted", "run-2", now)


# Missed sessions


def entered(desk: Desk) -> list[tuple[date, str, int, Decimal]]:
    kinds = ("deposit", "commission")
    return [(e.session, str(e.kind), e.quantity, e.cash) for e in desk.ledger.entries("scripted") if e.kind not in kinds]


def nights(desk: Desk, numbers: Sequence[int]) -> None:
    for n in numbers:
        desk.night(day(n))


def test_what_happened_in_missed_sessions_is_entered_once_and_as_it_happened(tmp_path):
    desk = a_desk(tmp_path, BUY)
    act(desk.bot, "AAA", day(2), "dividend", 0.5)
    act(desk.bot, "AAA", day(3), "split", 2.0)
    act(desk.bot, "AAA", day(4), "dividend", 0.25)
    nights(desk, [0, 5])  # bought at the open of day 1, while the bot was down
    expected = [
        (day(1), "trade", 500, usd(-5_000)),
        (day(2), "dividend", 0, usd(250)),
        (day(3), "split", 500, usd(0)),
        (day(4), "dividend", 0, usd(250)),
    ]
    assert entered(desk) == expected
    nights(desk, [6, 7])
    assert entered(desk) == expected
    assert desk.holding(day(7)) == 1000


def test_missed_sessions_lead_to_the_book_of_a_desk_that_missed_none(tmp_path):
    books = []
    for name, present in (("all", range(9)), ("some", (0, 2, 8)), ("few", (0, 2, 6, 8))):
        desk = a_desk(tmp_path / name, BUY, f"{day(2)} sell AAA", f"{day(2)} buy BBB 0.3")
        act(desk.bot, "AAA", day(2), "dividend", 0.5)
        act(desk.bot, "AAA", day(4), "dividend", 5.0)  # sold at the open of day 3: none of it is ours
        act(desk.bot, "BBB", day(5), "split", 3.0)
        act(desk.bot, "BBB", day(7), "dividend", 0.1)
        nights(desk, present)
        books.append((desk.ledger.book("scripted", day(8)), sorted(entered(desk))))
    assert books[0] == books[1] == books[2]
    assert books[0][0].positions[security_of("BBB")].quantity == 3 * 153  # 30 % of 10,250 at 20


def test_a_word_of_an_action_that_came_late_is_entered_when_it_comes(tmp_path):
    desk = a_desk(tmp_path, BUY)
    act(desk.bot, "AAA", day(2), "dividend", 0.5, known_at=XNYS.cutoff(day(4)))
    nights(desk, [0, 1, 2, 3])
    assert [kind for _, kind, *_ in entered(desk)] == ["trade"]
    nights(desk, [4, 5])
    assert entered(desk)[1:] == [(day(4), "dividend", 0, usd(250))]


def test_a_security_that_does_not_trade_when_it_is_decided_on_has_its_last_price(tmp_path):
    desk = Desk(scripted(tmp_path, BUY))
    quote(desk.bot, "AAA", 10.0, {session: None for session in SESSIONS if session > day(2)})
    quote(desk.bot, "BBB", 20.0)
    nights(desk, [0, 1, 2])
    decided = desk.night(day(6))
    assert [(d.symbol, d.action, d.target_weight) for d in decided.decisions] == [("AAA", "hold", 0.5)]


def test_two_desks_on_one_store_keep_their_books_apart(tmp_path):
    bot = tradebot(tmp_path)
    fill_store(bot)
    for name in ("value_investor", "quality_growth"):
        session = HALF_YEAR[25]
        run_layers(bot, name, [session])
        now, sleeve = evening(session), bot.sleeve(name)
        permit = issue_permit(bot.store.ledger, XNYS, now)
        assert at(bot, now).desk.decide(sleeve.strategy, sleeve.capital, session, permit.permit_id, "run", now).live
    assert bot.store.ledger.book("value_investor", session).cash == 50_000
    assert bot.store.ledger.book("quality_growth", session).cash == 30_000


# Fills of the same day


def test_fills_of_the_morning_can_be_recorded_the_same_day_and_only_once(tmp_path):
    engine = FakeEngine()
    desk = a_desk(tmp_path, BUY, engine=lambda: engine)
    desk.night(day(0))
    noon, now = XNYS.opens_at(day(1)) + 2 * HOUR, XNYS.opens_at(day(1)) - HOUR
    assert desk.desk(now).orders_past_their_open("scripted", now) == []
    assert desk.desk(now).record_fills("scripted", now) == 0
    intent = desk.ledger.open_orders("scripted")[0][0]
    made = Fill(
        "x1", intent.key, day(1), intent.security_id, "AAA", intent.side, 500, usd("10"), usd("1"), XNYS.opens_at(day(1))
    )
    engine.told[intent.key] = OrderStatus(OrderState.FILLED, (made,))
    assert desk.desk(noon).orders_past_their_open("scripted", noon) == [intent]
    assert desk.desk(noon).record_fills("scripted", noon) == 1
    assert desk.desk(noon).record_fills("scripted", noon) == 0
    desk.night(day(1))
    assert (desk.holding(day(1)), len(engine.received)) == (500, 1)


def test_a_commission_that_was_not_told_is_asked_for_until_midnight(tmp_path):
    engine = FakeEngine()
    desk = a_desk(tmp_path, BUY, engine=lambda: engine)
    desk.night(day(0))
    opens = XNYS.opens_at(day(1))
    noon, midnight = opens + 2 * HOUR, opens + 15 * HOUR
    intent = desk.ledger.open_orders("scripted")[0][0]
    made = Fill("x1", intent.key, day(1), intent.security_id, "AAA", intent.side, 500, usd("10"), None, opens)
    engine.told[intent.key] = OrderStatus(OrderState.FILLED, (made,))
    assert desk.desk(noon).record_fills("scripted", noon) == 1
    assert desk.desk(noon).orders_without_commission("scripted", noon) == [intent.key]
    assert desk.desk(midnight).orders_without_commission("scripted", midnight) == []
    assert desk.desk(noon).record_fills("scripted", noon) == 0
    assert desk.ledger.fills("scripted")["commission"].to_list() == [None]
    engine.told[intent.key] = OrderStatus(OrderState.FILLED, (replace(made, commission=usd("1")),))
    desk.desk(noon).record_fills("scripted", noon)
    assert desk.ledger.fills("scripted")["commission"].to_list() == ["1.0000"]
    assert desk.desk(noon).orders_without_commission("scripted", noon) == []


def test_a_split_entered_in_the_evening_comes_before_a_fill_recorded_at_noon(tmp_path):
    engine = FakeEngine()
    desk = a_desk(tmp_path, BUY, f"{day(1)} sell AAA", engine=lambda: engine)
    act(desk.bot, "AAA", day(2), "split", 2.0)
    noon = XNYS.opens_at(day(2)) + 2 * HOUR
    desk.night(day(0))
    for n, quantity in ((0, 500), (1, 1000)):  # the broker doubled the sale with the split
        intent = desk.ledger.open_orders("scripted")[0][0] if n == 0 else desk.ledger.open_orders("scripted")[-1][0]
        made = Fill(
            f"x{n}", intent.key, day(n + 1), intent.security_id, "AAA", intent.side, quantity, usd("5"), usd("0"), noon
        )  # fmt: skip
        engine.told[intent.key] = OrderStatus(OrderState.FILLED, (made,))
        if n == 0:
            desk.night(day(1))
    act(desk.bot, "AAA", day(2), "dividend", 0.1)
    desk.desk(evening(day(2))).record(desk.strategy, day(2), evening(day(2)))
    assert desk.holding(day(2)) == 0
    assert [(kind, quantity) for _, kind, quantity, _ in sorted(entered(desk), key=lambda e: e[0])][1:] == [
        ("split", 500),
        ("dividend", 0),
        ("trade", -1000),
    ]


# What a hostile reading found


def test_orders_go_out_only_with_a_permit_to_submit(tmp_path):
    desk = a_desk(tmp_path, BUY, engine=forbidden)
    decided = desk.decide(day(0))
    now, made = evening(day(0)), desk.desk(evening(day(0)))
    to_decide = issue_permit(desk.ledger, XNYS, now)
    for permit in (None, "forged", to_decide.permit_id):
        assert made.submit(desk.strategy, day(0), permit, "a backfill", now).outcome is Outcome.NOT_PERMITTED
    assert (decided.live, desk.ledger.is_planned("scripted", day(0))) == (True, False)


def test_a_claimed_permit_to_submit_serves_no_second_run_and_a_renewed_one_replaces_it(tmp_path):
    desk = a_desk(tmp_path, BUY, engine=lambda: engine)
    engine = FakeEngine()
    desk.decide(day(0))
    now = evening(day(0))
    first = issue_permit(desk.ledger, XNYS, now, Purpose.SUBMIT)
    desk.ledger.claim_permit(first.permit_id, "scripted", "a run that died", now, Purpose.SUBMIT)
    refused = desk.desk(now).submit(desk.strategy, day(0), first.permit_id, "another run", now)
    assert refused.outcome is Outcome.NOT_PERMITTED
    renewed = issue_permit(desk.ledger, XNYS, now, Purpose.SUBMIT, renew=True)
    assert desk.desk(now).submit(desk.strategy, day(0), renewed.permit_id, "a person", now).outcome is Outcome.SUBMITTED
    assert len(engine.received) == 1
    with pytest.raises(NotPermitted, match="replaced by a later one"):
        desk.ledger.claim_permit(first.permit_id, "scripted", "a run that died", now, Purpose.SUBMIT)


def test_while_an_earlier_order_is_in_doubt_nothing_is_added_to_it(tmp_path):
    engine = FakeEngine(absence_is_proof=False)
    desk = a_desk(tmp_path, BUY, f"{day(1)} buy BBB 0.3", engine=lambda: engine)
    desk.night(day(0))
    engine.told.clear()  # a broker shows executions only until midnight
    submission = (desk.decide(day(1)), desk.submit(day(1)))[1]
    assert submission.outcome is Outcome.IN_DOUBT
    assert "tradebot reconcile --expire" in submission.note
    assert (len(engine.received), desk.ledger.is_planned("scripted", day(1))) == (1, False)
    (in_doubt, _), *_ = desk.ledger.open_orders("scripted")
    desk.ledger.record_state(in_doubt.key, OrderState.EXPIRED, evening(day(1)), "By hand: it never traded.")
    assert desk.submit(day(1)).outcome is Outcome.SUBMITTED


def test_an_order_for_an_open_at_which_the_share_splits_is_refused(tmp_path):
    desk = a_desk(tmp_path, BUY, engine=forbidden)
    desk.decide(day(0))
    act(desk.bot, "AAA", day(1), "split", 0.1)
    desk.submit(day(0), morning_after(day(0)))
    (order,) = desk.ledger.orders("scripted").iter_rows(named=True)
    assert (order["state"], order["rule"]) == ("refused", "corporate_action_at_next_open")


def test_a_halt_stops_between_two_orders(tmp_path):
    engine = FakeEngine(on_submit=lambda engine, intent: (engine.receive(intent), desk.ledger.halt("stop", evening(day(0)))))
    desk = a_desk(tmp_path, f"{day(0)} buy AAA 0.3", f"{day(0)} buy BBB 0.3", engine=lambda: engine)
    desk.decide(day(0))
    submission = desk.submit(day(0))
    assert (submission.outcome, len(engine.received)) == (Outcome.HALTED, 1)
    desk.ledger.resume(evening(day(0)))
    engine.on_submit = lambda engine, intent: engine.receive(intent)
    assert (desk.submit(day(0)).outcome, len(engine.received)) == (Outcome.SUBMITTED, 2)


def test_an_engine_that_cannot_be_reached_leaves_the_order_to_be_sent_later(tmp_path):
    def unreachable(_engine, _intent):
        raise ExecutionError("no gateway")

    engine = FakeEngine(absence_is_proof=False, on_submit=unreachable)
    desk = a_desk(tmp_path, BUY, engine=lambda: engine)
    desk.decide(day(0))
    with pytest.raises(ExecutionError, match="no gateway"):
        desk.submit(day(0))
    assert desk.states() == {"buy AAA": "new"}
    engine.on_submit = lambda engine, intent: engine.receive(intent)
    assert desk.submit(day(0)).outcome is Outcome.SUBMITTED
    assert desk.states() == {"buy AAA": "working"}


def test_a_ledger_belongs_to_one_venue(tmp_path):
    desk = a_desk(tmp_path, BUY)
    desk.night(day(0))
    elsewhere = replace(desk.desk(evening(day(1))), venue="account U1 at Interactive Brokers (live)", engine_factory=forbidden)
    now = evening(day(1))
    desk.layers(day(1))
    with pytest.raises(
        ConfigurationError, match=r"is of the simulated engine \(paper\); the configuration trades at account U1"
    ):
        elsewhere.decide(desk.strategy, desk.bot.sleeve("scripted").capital, day(1), desk.permit(now), "run", now)


def test_a_changed_capital_stops_the_sleeve_and_says_what_to_do(tmp_path):
    desk = a_desk(tmp_path, BUY)
    desk.night(day(0))
    now = evening(day(1))
    desk.layers(day(1))
    with pytest.raises(ConfigurationError, match=r"was opened with 10000\.00 USD; allocated_capital now says 1000"):
        desk.desk(now).decide(desk.strategy, D(1000), day(1), desk.permit(now), "run", now)


# A broker that rejects, and two sleeves of one account


def reject(engine: FakeEngine, intent: OrderIntent) -> None:
    engine.receive(intent)
    engine.told[intent.key] = OrderStatus(OrderState.REJECTED, detail="Not today.")


def three_orders(folder: Path, engine: FakeEngine, limit: int) -> Desk:
    script = [f"{day(0)} buy {symbol} 0.2" for symbol in ("AAA", "BBB", "CCC")]
    desk = a_desk(folder, *script, engine=lambda: engine, limits={"max_rejected_orders": limit})
    quote(desk.bot, "CCC", 30.0)
    desk.decide(day(0))
    return desk


def test_after_too_many_rejections_the_rest_of_the_session_is_not_sent(tmp_path):
    engine = FakeEngine(on_submit=reject)
    desk = three_orders(tmp_path, engine, 2)
    submission = desk.submit(day(0))
    assert submission.outcome is Outcome.REJECT_BREAKER
    assert submission.note == (
        "The broker rejected 2 orders of the session (max_rejected_orders 2): 1 were not sent. "
        "Trading is halted; `tradebot resume` ends the halt."
    )
    assert desk.ledger.halted() == f"the broker rejected 2 orders of {day(0)}"
    assert (len(engine.received), sorted(desk.states().values())) == (2, ["cancelled", "rejected", "rejected"])
    (why,) = desk.ledger.orders("scripted").filter(pl.col("state") == "cancelled")["detail"]
    assert why == "reject_breaker: the broker rejected 2 orders of the session, the limit is 2."
    desk.submit(day(0))
    assert len(engine.received) == 2


def test_a_broker_that_rejects_the_last_order_too_halts_the_sessions_that_follow(tmp_path):
    desk = three_orders(tmp_path, FakeEngine(on_submit=reject), 3)
    assert desk.submit(day(0)).outcome is Outcome.REJECT_BREAKER
    desk.decide(day(1))
    assert desk.submit(day(1)).outcome is Outcome.HALTED


def test_after_resume_the_cancelled_orders_stay_unsent_and_nothing_halts_again(tmp_path):
    engine = FakeEngine(on_submit=reject)
    desk = three_orders(tmp_path, engine, 2)
    desk.submit(day(0))
    desk.ledger.resume(evening(day(0)))
    assert desk.submit(day(0)).outcome is Outcome.SUBMITTED
    assert (len(engine.received), desk.ledger.halted()) == (2, None)


def test_a_run_killed_between_the_halt_and_the_cancelling_sends_nothing_more(tmp_path, monkeypatch):
    engine = FakeEngine(on_submit=reject)
    desk = three_orders(tmp_path, engine, 2)
    record = SqliteLedger.record_state

    def killed(ledger, key, state, *rest):
        if state is OrderState.CANCELLED:
            raise Crash
        return record(ledger, key, state, *rest)

    monkeypatch.setattr(SqliteLedger, "record_state", killed)
    with pytest.raises(Crash):
        desk.submit(day(0))
    monkeypatch.undo()
    assert desk.submit(day(0)).outcome is Outcome.HALTED
    desk.ledger.resume(evening(day(0)))
    assert desk.submit(day(0)).outcome is Outcome.REJECT_BREAKER
    assert (len(engine.received), desk.ledger.halted()) == (2, None)
    assert sorted(desk.states().values()) == ["cancelled", "rejected", "rejected"]


def test_fewer_rejections_than_the_limit_stop_nothing(tmp_path):
    engine = FakeEngine(on_submit=reject)
    desk = three_orders(tmp_path, engine, 4)
    assert desk.submit(day(0)).outcome is Outcome.SUBMITTED
    assert (len(engine.received), set(desk.states().values())) == (3, {"rejected"})


def test_an_order_of_another_sleeve_stops_one_in_the_opposite_direction(tmp_path):
    desk = a_desk(tmp_path, BUY)
    desk.decide(day(0))
    key = order_key("other", day(0), security_of("AAA"), Side.SELL)
    sale = OrderIntent(key, "other", day(0), security_of("AAA"), "AAA", Side.SELL, 1, D(10))
    desk.ledger.commit_orders("other", day(0), [(sale, RiskVerdict(True, "within_limits"))], evening(day(0)))
    desk.submit(day(0))
    assert desk.ledger.orders("scripted").select("state", "rule", "value", "limit").rows() == [
        ("refused", "opposite_order", 1.0, 0.0)
    ]


@pytest.mark.parametrize(
    ("limit", "state", "rule"), [(2, "working", "within_limits"), (1, "refused", "max_account_orders_per_day")]
)
def test_the_orders_of_all_sleeves_count_for_the_account(tmp_path, limit, state, rule):
    desk = a_desk(tmp_path, BUY, limits={"max_account_orders_per_day": limit})
    desk.decide(day(0))
    key = order_key("other", day(0), security_of("BBB"), Side.BUY)
    bought = OrderIntent(key, "other", day(0), security_of("BBB"), "BBB", Side.BUY, 1, D(20))
    desk.ledger.commit_orders("other", day(0), [(bought, RiskVerdict(True, "within_limits"))], evening(day(0)))
    desk.submit(day(0))
    assert desk.ledger.orders("scripted").select("state", "rule").rows() == [(state, rule)]


# The account


@dataclass
class FakeReconciler:
    """Says what a test wants of the account."""

    said: Sequence[Line]
    asked: int = 0
    cash: BrokerCash | None = None

    def compare(self, now: datetime) -> Comparison:
        self.asked += 1
        return Comparison(tuple(self.said), lambda session: self.cash)

    def con_ids(self) -> dict[int, int]:
        return {security_of("AAA"): 101, security_of("BBB"): 102}


class SilentReconciler:
    def compare(self, now: datetime) -> Comparison:
        raise ExecutionError("The gateway does not answer.")

    def con_ids(self) -> dict[int, int]:
        return {}


def position_break(con_id: int) -> Line:
    return Line(LineKind.POSITION, "AAA", "0", "7", False, "the broker holds +7 shares against the ledger", con_id=con_id)


def submit_beside(desk: Desk, reconciler: FakeReconciler | SilentReconciler) -> Submission:
    now = evening(day(0))
    permit = issue_permit(desk.ledger, XNYS, now, Purpose.SUBMIT)
    assert permit is not None
    beside = replace(desk.desk(now), reconciler=lambda: reconciler)
    return beside.submit(desk.strategy, day(0), permit.permit_id, "submit", now)


def test_while_cash_or_orders_differ_from_the_account_nothing_is_sent_and_nothing_is_lost(tmp_path):
    engine = FakeEngine()
    desk = a_desk(tmp_path, BUY, engine=lambda: engine)
    desk.decide(day(0))
    cash = Line(LineKind.CASH, "USD", "10000", "9000", False, "the broker has -1000 USD against the ledger")
    refused = submit_beside(desk, FakeReconciler([cash]))
    assert refused.outcome is Outcome.BREAK
    assert "cash USD: the broker has -1000 USD against the ledger" in refused.note
    assert (engine.received, desk.ledger.is_planned("scripted", day(0))) == ([], False)
    assert submit_beside(desk, FakeReconciler([replace(cash, passed=True)])).outcome is Outcome.SUBMITTED
    assert len(engine.received) == 1


def test_a_position_that_differs_stops_the_orders_of_that_security_alone(tmp_path):
    engine = FakeEngine()
    desk = a_desk(tmp_path, f"{day(0)} buy AAA 0.3", f"{day(0)} buy BBB 0.3", engine=lambda: engine)
    desk.decide(day(0))
    assert submit_beside(desk, FakeReconciler([position_break(101)])).outcome is Outcome.SUBMITTED
    assert desk.states() == {"buy AAA": "refused", "buy BBB": "working"}
    rules = dict(desk.ledger.orders("scripted").select("symbol", "rule").iter_rows())
    assert rules["AAA"] == "reconciliation_break"


def test_a_position_that_waits_for_a_corporate_action_stops_its_orders_and_is_no_break(tmp_path):
    desk = a_desk(tmp_path, f"{day(0)} buy AAA 0.3", f"{day(0)} buy BBB 0.3", engine=FakeEngine)
    desk.decide(day(0))
    waits = replace(position_break(101), passed=True, waits=True)
    assert submit_beside(desk, FakeReconciler([waits])).outcome is Outcome.SUBMITTED
    assert desk.states() == {"buy AAA": "refused", "buy BBB": "working"}


def test_purchases_fit_together_into_what_the_account_can_pay(tmp_path):
    """Two of 3000 each, of the 5000 that have settled: one is sent, the refusal of the other has value and limit."""
    desk = a_desk(tmp_path, f"{day(0)} buy AAA 0.3", f"{day(0)} buy BBB 0.3", engine=FakeEngine)
    desk.decide(day(0))
    submit_beside(desk, FakeReconciler([], cash=BrokerCash(D(5000))))
    orders = desk.ledger.orders("scripted").sort("approved").select("approved", "rule", "value", "limit").rows()
    (refused, rule, value, limit), (approved, *_) = orders
    assert (refused, rule, approved) == (False, "broker_settled_cash", True)
    assert value > limit and limit == 5000 - value


def test_while_the_broker_says_nothing_of_its_settled_cash_nothing_is_bought(tmp_path):
    desk = a_desk(tmp_path, BUY, engine=forbidden)
    desk.decide(day(0))
    submit_beside(desk, FakeReconciler([], cash=BrokerCash(None)))
    assert desk.ledger.orders("scripted").select("rule", "value").rows() == [("broker_settled_cash", None)]


CASH_BREAK = Break("cash:USD", "cash", "USD", None, "10000", "9000", "the broker has -1000 USD", evening(day(0)))


def test_a_break_of_an_earlier_comparison_stands_while_the_broker_cannot_be_asked(tmp_path):
    """A new process, a gateway that is gone: what was found before is in the ledger."""
    engine = FakeEngine()
    desk = a_desk(tmp_path, BUY, engine=lambda: engine)
    desk.decide(day(0))
    desk.ledger.record_breaks([CASH_BREAK], [], evening(day(0)), "tradebot", "")
    refused = submit_beside(desk, SilentReconciler())
    assert refused.outcome is Outcome.BREAK
    assert "differ since 2024-03-02 00:00 UTC" in refused.note and "The gateway does not answer." in refused.note
    desk.ledger.record_breaks([], ["cash:USD"], evening(day(0)), "anna", "a fee")
    with pytest.raises(ExecutionError, match="does not answer"):
        submit_beside(desk, SilentReconciler())
    assert engine.received == []


def test_a_break_that_is_found_after_the_orders_were_planned_stops_those_that_have_not_gone(tmp_path):
    def unreachable(_engine, _intent):
        raise ExecutionError("no gateway")

    engine = FakeEngine(on_submit=unreachable)
    desk = a_desk(tmp_path, f"{day(0)} buy AAA 0.3", f"{day(0)} buy BBB 0.3", engine=lambda: engine)
    desk.decide(day(0))
    with pytest.raises(ExecutionError):
        submit_beside(desk, FakeReconciler([]))
    engine.on_submit = lambda engine, intent: engine.receive(intent)
    desk.ledger.record_breaks([CASH_BREAK], [], evening(day(0)), "tradebot", "")
    cash = Line(LineKind.CASH, "USD", "10000", "9000", False, "the broker has -1000 USD")
    assert submit_beside(desk, FakeReconciler([cash])).outcome is Outcome.BREAK
    assert engine.received == []
    assert submit_beside(desk, FakeReconciler([position_break(101)])).outcome is Outcome.SUBMITTED
    assert desk.states() == {"buy AAA": "new", "buy BBB": "working"}


def test_the_account_is_compared_once_before_the_orders_are_planned(tmp_path):
    desk = a_desk(tmp_path, BUY, engine=FakeEngine)
    desk.decide(day(0))
    reconciler = FakeReconciler([])
    for _ in range(2):
        submit_beside(desk, reconciler)
    assert reconciler.asked == 1
