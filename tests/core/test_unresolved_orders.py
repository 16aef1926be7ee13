"""Orders whose fate is not known, or turns out to be another than was believed: asked about until there is evidence."""

import logging
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from tests.core.test_live import BUY, Desk, FakeEngine, a_desk, day, evening, lose_the_order, morning_after
from tests.markets import XNYS
from tests.scripted import security_of
from tradebot_core.errors import OrderUnknown
from tradebot_core.model.order import Fill, OrderIntent, OrderState, OrderStatus, RiskVerdict, Side, order_key
from tradebot_core.model.portfolio import usd
from tradebot_core.trading.live import Outcome

KEY = order_key("scripted", day(0), security_of("AAA"), Side.BUY)


def fill(quantity: int, commission: str | None = "1", number: int = 1) -> Fill:
    opened = XNYS.opens_at(day(1))
    paid = usd(commission) if commission else None
    return Fill(f"e{number}", KEY, day(1), security_of("AAA"), "AAA", Side.BUY, quantity, usd("10"), paid, opened)


def is_unknown(engine: FakeEngine, intent: OrderIntent) -> None:
    """The order arrives, its answer does not, and the broker does not tell all of it."""
    engine.received.append(intent.key)
    engine.told[intent.key] = OrderStatus(OrderState.UNKNOWN, detail="IBKR says 500 shares were filled and shows none.")
    raise OrderUnknown("No answer came.")


def detail(desk: Desk) -> str:
    return desk.ledger.orders("scripted", day(0), day(0))["detail"][0]


def a_lost_order(folder: Path, *script: str) -> tuple[Desk, FakeEngine]:
    engine = FakeEngine(False, lose_the_order)
    desk = a_desk(folder, BUY, *script, engine=lambda: engine)
    desk.night(day(0))
    assert desk.states() == {"buy AAA": "lost"}
    engine.on_submit = FakeEngine.receive
    return desk, engine


# In doubt


def test_an_order_in_doubt_is_asked_about_on_every_later_occasion_until_there_is_evidence(tmp_path):
    engine = FakeEngine(False, is_unknown)
    desk = a_desk(tmp_path, BUY, f"{day(1)} buy BBB 0.3", engine=lambda: engine)
    desk.night(day(0))
    assert desk.states() == {"buy AAA": "unknown"}

    def asked() -> int:
        count, engine.asked[:] = engine.asked.count(KEY), []
        return count

    asked()
    occasions = {
        "another run of the same evening": lambda: desk.submit(day(0)),
        "the next morning before the open": lambda: desk.submit(day(0), morning_after(day(0))),
        "after the open": lambda: desk.desk(XNYS.opens_at(day(1))).record_fills("scripted", XNYS.opens_at(day(1))),
        "the evening of the day of its fill": lambda: desk.decide(day(1)),
        "before the new orders": lambda: desk.submit(day(1)),
        "the morning after that": lambda: desk.submit(day(1), morning_after(day(1))),
        "the evening after that": lambda: desk.decide(day(2)),
    }
    for occasion, happens in occasions.items():
        happens()
        assert asked() >= 1, occasion
        assert (desk.states()["buy AAA"], engine.received) == ("unknown", [KEY]), occasion
    engine.told[KEY] = OrderStatus(OrderState.FILLED, (fill(500),))
    desk.decide(day(3))
    assert (desk.states()["buy AAA"], desk.holding(day(1))) == ("filled", 500)


def test_while_an_order_is_in_doubt_no_sleeve_sends_another_of_its_security(tmp_path):
    engine = FakeEngine(False)
    desk = a_desk(tmp_path, BUY, f"{day(0)} buy BBB 0.3", engine=lambda: engine)
    desk.decide(day(0))
    key = order_key("other", day(0), security_of("AAA"), Side.BUY)
    other = OrderIntent(key, "other", day(0), security_of("AAA"), "AAA", Side.BUY, 1, Decimal(10))
    desk.ledger.commit_orders("other", day(0), [(other, RiskVerdict(True, "within_limits"))], evening(day(0)))
    for state in (OrderState.SENDING, OrderState.UNKNOWN):
        desk.ledger.record_state(key, state, evening(day(0)))
    submission = desk.submit(day(0))
    assert (submission.outcome, desk.states()) == (Outcome.IN_DOUBT, {"buy AAA": "new", "buy BBB": "working"})
    assert "another sleeve's order of AAA is not known" in submission.note
    desk.ledger.record_state(key, OrderState.WORKING, evening(day(0)))
    assert desk.submit(day(0)).outcome is Outcome.SUBMITTED
    assert desk.states() == {"buy AAA": "working", "buy BBB": "working"}


def test_an_order_that_another_sleeve_is_sending_at_this_moment_is_in_no_doubt(tmp_path):
    engine = FakeEngine(False)
    desk = a_desk(tmp_path, BUY, engine=lambda: engine)
    desk.decide(day(0))
    key = order_key("other", day(0), security_of("AAA"), Side.BUY)
    other = OrderIntent(key, "other", day(0), security_of("AAA"), "AAA", Side.BUY, 1, Decimal(10))
    desk.ledger.commit_orders("other", day(0), [(other, RiskVerdict(True, "within_limits"))], evening(day(0)))
    desk.ledger.record_state(key, OrderState.SENDING, evening(day(0)))
    assert desk.submit(day(0)).outcome is Outcome.SUBMITTED


# Lost, and there after all


@pytest.mark.parametrize(
    ("shown", "became", "held"),
    [
        (OrderStatus(OrderState.PARTIAL, (fill(200),)), "partial", 200),
        (OrderStatus(OrderState.CANCELLED, (fill(200),), detail="IBKR: Cancelled"), "cancelled", 200),
        (OrderStatus(OrderState.FILLED, (fill(200), fill(300, number=2))), "filled", 500),
        (OrderStatus(OrderState.CANCELLED, detail="IBKR: Cancelled"), "cancelled", 0),
        (OrderStatus(OrderState.WORKING), "working", 0),
    ],
)
def test_a_lost_order_that_shows_up_gets_the_state_that_the_broker_tells_and_a_loud_record(
    tmp_path, caplog, shown, became, held
):
    desk, engine = a_lost_order(tmp_path)
    engine.told[KEY] = shown
    with caplog.at_level(logging.ERROR):
        decided = desk.decide(day(1))
    said = f"It was taken for lost; the broker shows it as {became} after all."
    assert (desk.states(), desk.holding(day(1))) == ({"buy AAA": became}, held)
    assert detail(desk).startswith(said)
    assert f"{KEY}: {said}" in decided.note
    assert any(said in record.getMessage() for record in caplog.records)


def test_a_lost_order_that_lives_is_followed_like_any_other(tmp_path):
    desk, engine = a_lost_order(tmp_path, f"{day(1)} buy BBB 0.3")
    engine.told[KEY] = OrderStatus(OrderState.PARTIAL, (fill(200),))
    desk.decide(day(1))
    assert desk.submit(day(1)).outcome is Outcome.IN_DOUBT
    engine.told[KEY] = OrderStatus(OrderState.CANCELLED, (fill(200),))
    assert desk.submit(day(1)).outcome is Outcome.SUBMITTED
    assert (desk.states(), desk.holding(day(1))) == ({"buy AAA": "cancelled", "buy BBB": "working"}, 200)


@pytest.mark.parametrize(("later", "asked"), [(timedelta(days=1), True), (timedelta(days=7), True), (timedelta(days=8), False)])
def test_a_lost_order_is_looked_for_a_week_before_new_orders_too(tmp_path, later, asked):
    desk, engine = a_lost_order(tmp_path)
    engine.asked.clear()
    now = evening(day(1)) + later
    desk.desk(now)._look_again("scripted", now)
    assert (KEY in engine.asked) is asked


def test_an_order_that_a_person_called_expired_and_that_traded_in_part_is_not_left_expired(tmp_path):
    engine = FakeEngine(False, is_unknown)
    desk = a_desk(tmp_path, BUY, engine=lambda: engine)
    desk.night(day(0))
    desk.ledger.record_state(KEY, OrderState.EXPIRED, XNYS.opens_at(day(1)), "By hand: it never traded.")
    engine.told[KEY] = OrderStatus(OrderState.CANCELLED, (fill(200),))
    desk.decide(day(1))
    assert (desk.states(), desk.holding(day(1))) == ({"buy AAA": "cancelled"}, 200)


def test_a_rejected_order_that_the_broker_lists_as_cancelled_later_was_no_error(tmp_path):
    engine = FakeEngine(False)
    desk = a_desk(tmp_path, BUY, engine=lambda: engine)
    engine.on_submit = lambda engine, intent: engine.told.update({intent.key: OrderStatus(OrderState.REJECTED)})
    desk.night(day(0))
    engine.told[KEY] = OrderStatus(OrderState.CANCELLED)
    assert desk.decide(day(1)).note == "Sealed for the order run."
    assert desk.states() == {"buy AAA": "rejected"}


# Commissions


def filled_without_commission(folder: Path) -> tuple[Desk, FakeEngine]:
    engine = FakeEngine(False)
    desk = a_desk(folder, BUY, f"{day(1)} buy BBB 0.3", engine=lambda: engine)
    desk.night(day(0))
    engine.told[KEY] = OrderStatus(OrderState.FILLED, (fill(500, None),))
    return desk, engine


def commissions(desk: Desk) -> list[str | None]:
    return desk.ledger.fills("scripted")["commission"].to_list()


def test_a_fill_whose_commission_is_not_known_is_entered_and_the_evening_is_finished(tmp_path):
    desk, _ = filled_without_commission(tmp_path)
    assert desk.decide(day(1)).live
    assert (desk.states()["buy AAA"], desk.holding(day(1)), desk.cash(day(1))) == ("filled", 500, Decimal(5000))
    assert commissions(desk) == [None]
    assert desk.submit(day(1)).outcome is Outcome.SUBMITTED


@pytest.mark.parametrize("occasion", ["after midnight", "the next evening"])
def test_a_commission_that_is_told_later_is_entered_then_and_once(tmp_path, occasion):
    desk, engine = filled_without_commission(tmp_path)
    desk.night(day(1))
    engine.told[KEY] = OrderStatus(OrderState.FILLED, (fill(500, "2.5"),))
    for _ in range(2):
        if occasion == "after midnight":
            desk.submit(day(1), XNYS.cutoff(day(1)) + timedelta(hours=7))
        else:
            desk.desk(evening(day(2))).record(desk.strategy, day(2), evening(day(2)))
    assert (commissions(desk), desk.cash(day(1))) == (["2.5000"], Decimal("4997.5"))
    engine.asked.clear()
    desk.desk(evening(day(2))).record(desk.strategy, day(2), evening(day(2)))
    assert KEY not in engine.asked


def test_a_commission_that_never_comes_is_asked_for_a_week_and_stays_missing(tmp_path):
    desk, engine = filled_without_commission(tmp_path)
    desk.night(day(1))
    engine.told[KEY] = OrderStatus(None)
    for later, asked in ((1, True), (7, True), (8, False)):
        engine.asked.clear()
        now = evening(day(1)) + timedelta(days=later)
        desk.desk(now)._look_again("scripted", now)
        assert (KEY in engine.asked) is asked
    assert commissions(desk) == [None]


# A broker that rejects: the account, or the orders of one sleeve


def rejecting(own_fault: bool):
    def reject(engine: FakeEngine, intent: OrderIntent) -> None:
        engine.receive(intent)
        engine.told[intent.key] = OrderStatus(OrderState.REJECTED, detail="No.", own_fault=own_fault)

    return reject


def two_sleeves(folder: Path, *, own_fault: bool) -> tuple[Desk, FakeEngine]:
    engine = FakeEngine(False, rejecting(own_fault))
    script = [f"{day(0)} buy {symbol} 0.2" for symbol in ("AAA", "BBB")]
    desk = a_desk(folder, *script, engine=lambda: engine, limits={"max_rejected_orders": 2})
    desk.decide(day(0))
    return desk, engine


def rejected_elsewhere(desk: Desk, own_fault: bool) -> None:
    """One order of another sleeve in the same session."""
    key = order_key("other", day(0), security_of("CCC"), Side.BUY)
    intent = OrderIntent(key, "other", day(0), security_of("CCC"), "CCC", Side.BUY, 1, Decimal(10))
    desk.ledger.commit_orders("other", day(0), [(intent, RiskVerdict(True, "within_limits"))], evening(day(0)))
    desk.ledger.record_state(key, OrderState.SENDING, evening(day(0)))
    desk.ledger.record_state(key, OrderState.REJECTED, evening(day(0)), own_fault=own_fault)


def test_rejections_that_may_be_the_accounts_are_counted_over_all_sleeves_and_halt_all_trading(tmp_path):
    desk, engine = two_sleeves(tmp_path, own_fault=False)
    rejected_elsewhere(desk, own_fault=False)
    assert desk.submit(day(0)).outcome is Outcome.REJECT_BREAKER
    assert (len(engine.received), desk.states()) == (1, {"buy AAA": "rejected", "buy BBB": "cancelled"})
    assert desk.ledger.halted() == f"the broker rejected 2 orders of {day(0)}"


def test_a_sleeves_bad_symbols_stop_no_other_sleeve(tmp_path):
    desk, engine = two_sleeves(tmp_path, own_fault=True)
    rejected_elsewhere(desk, own_fault=True)
    assert desk.submit(day(0)).outcome is Outcome.SUBMITTED
    assert (len(engine.received), desk.ledger.halted()) == (2, None)


def test_a_sleeve_whose_own_orders_are_rejected_sends_no_more_of_the_session_and_halts_nobody(tmp_path):
    engine = FakeEngine(False, rejecting(own_fault=True))
    script = [f"{day(0)} buy {symbol} 0.2" for symbol in ("AAA", "BBB")]
    desk = a_desk(tmp_path, *script, engine=lambda: engine, limits={"max_rejected_orders": 1})
    desk.decide(day(0))
    submission = desk.submit(day(0))
    assert submission.note == "The broker rejected 1 orders of the session (max_rejected_orders 1): 1 were not sent."
    assert (submission.outcome, desk.ledger.halted()) == (Outcome.REJECT_BREAKER, None)
    assert sorted(desk.states().values()) == ["cancelled", "rejected"]
    engine.on_submit = FakeEngine.receive
    desk.decide(day(1))
    assert desk.submit(day(1)).outcome is Outcome.SUBMITTED
