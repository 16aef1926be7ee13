"""The process dies (SIGKILL) at every step between the decision and the record of the fill, and the work is taken up again."""

import shutil
from itertools import count
from pathlib import Path

import pytest

from tests.faults.broker import Trouble
from tests.faults.story import Bad, Story
from tests.faults.world import SESSIONS, SLEEVE, at
from tradebot_core.calendar import xnys
from tradebot_core.interfaces import Purpose
from tradebot_core.trading.live import issue_permit

DAY, NEXT, THIRD = SESSIONS[:3]
BUY, BUY_AND_SELL = (f"{DAY} buy AAA 0.3",), (f"{DAY} buy AAA 0.3", f"{NEXT} buy CCC 0.3", f"{NEXT} sell AAA")
SEED = 5


def states(story: Story) -> list[str]:
    return story.ledger.orders(SLEEVE).sort("session", "side")["state"].to_list()


def through(folder: Path, script: tuple[str, ...], **bad: Bad) -> Story:
    """Two sessions, decided, submitted and recorded; the errands of the second one go wrong as told."""
    with Story(folder, SEED, script) as story:
        for session, bads in ((DAY, {}), (NEXT, bad)):
            story.evening(session, [bads["decide"]] if "decide" in bads else [])
            story.dawn(session, [bads["submit"]] if "submit" in bads else [])
            story.noon(session, [bads["record"]] if "record" in bads else [])
        story.evening(THIRD)
    return story


def test_without_a_fault_the_ledger_is_the_broker_s_truth(tmp_path):
    assert states(through(tmp_path, BUY_AND_SELL)) == ["filled", "filled", "filled"]


def killed(story: Story) -> bool:
    return any("-> -9" in line for line in story.steps)


@pytest.mark.parametrize(("step", "lost"), [("decide", 0), ("submit", 2), ("record", 0)])
def test_killed_before_any_mark_the_errand_is_finished_later_and_nothing_is_there_twice(tmp_path, step, lost):
    """Every mark, until the errand survives. Between the committed SENDING and the first byte nobody can know: the order is lost
    then, and never sent again; that is one instant for each of the two orders."""
    found = []
    for number in count(1):
        story = through(tmp_path / str(number), BUY_AND_SELL, **{step: Bad(kill_before=number)})
        if not killed(story):
            break
        found.append(sorted(states(story)))
    assert len(found) >= 5
    assert found.count(["filled", "filled", "lost"]) == lost
    assert found.count(["filled"] * 3) == len(found) - lost


@pytest.mark.parametrize("what", ["kill at the request", "kill before the reply", "kill after the reply"])
@pytest.mark.parametrize("step", ["submit", "record"])
def test_killed_at_any_message_the_errand_is_finished_later(tmp_path, what, step):
    """Every seventh until the errand survives; the stories draw the others."""
    for nth in count(2 + len(what) % 3, 7):
        story = through(tmp_path / str(nth), BUY_AND_SELL, **{step: Bad(troubles=[Trouble(what, nth)])})
        if not killed(story):
            break
    assert nth > 14


@pytest.mark.parametrize(("what", "state"), [("kill before the order", "lost"), ("kill after the order", "filled")])
def test_killed_as_the_order_arrives_it_is_lost_if_the_broker_never_took_it_and_else_adopted(tmp_path, what, state):
    with Story(tmp_path, SEED, BUY) as story:
        story.evening(DAY)
        story.dawn(DAY, [Bad(troubles=[Trouble(what)])])
        story.noon(DAY)
        story.evening(NEXT)
        assert states(story) == [state]
        assert len(story.truth().orders) == (state == "filled")


def test_killed_again_and_again_during_recovery(tmp_path):
    with Story(tmp_path, SEED, BUY) as story:
        story.evening(DAY)
        story.dawn(DAY, [Bad(troubles=[Trouble("kill after the order")]), *(Bad(kill_before=n) for n in range(1, 7))])
        story.noon(DAY, [Bad(kill_before=n) for n in range(1, 5)])
        story.evening(NEXT, [Bad(kill_before=n) for n in range(1, 7)])
        assert states(story) == ["filled"]


# What the first stories found.


def test_a_correction_after_the_fill_was_entered_is_entered_the_same_day(tmp_path):
    with Story(tmp_path, SEED, BUY) as story:
        story.evening(DAY)
        story.dawn(DAY)
        story.noon(DAY)
        exchange = story.tws.exchange
        (done,) = exchange.executions()
        exchange.correct(done.execution_id, done.price + 1)
        story.evening(NEXT)
        assert [entry.kind for entry in story.ledger.entries(SLEEVE)][-2:] == ["correction", "correction"]


def test_a_correction_whose_commission_is_late_is_not_passed_over(tmp_path):
    """The order has ended, and after that evening nobody would ask about it."""
    with Story(tmp_path, SEED, BUY) as story:
        story.evening(DAY)
        story.dawn(DAY)
        story.noon(DAY)
        exchange = story.tws.exchange
        (done,) = exchange.executions()
        exchange.correct(done.execution_id, done.price + 1)
        story.clock.set(at(NEXT, 18))
        story.errand("decide", NEXT, Bad(troubles=[Trouble("commissions later")]))
        story.evening(NEXT)
        assert [entry.kind for entry in story.ledger.entries(SLEEVE)][-2:] == ["correction", "correction"]


def test_an_order_that_a_broker_hid_for_a_whole_day_is_entered_when_it_has_traded(tmp_path):
    """Given up for lost, it fills: the last look of the day finds it. It is not sent again before."""
    with Story(tmp_path, SEED, BUY) as story:
        story.evening(DAY)
        story.clock.set(at(xnys().next(DAY), 8))
        story.errand("submit", DAY, Bad(troubles=[Trouble("hide open orders")]))
        assert states(story) == ["lost"]
        story.errand("submit", DAY)
        story.noon(DAY)
        story.evening(NEXT)
        assert states(story) == ["filled"]


def test_two_processes_that_submit_at_once_place_each_order_once(tmp_path):
    """Both hold a permit they believe in; the ledger's SENDING and the broker's one writer id let one of them send."""
    with Story(tmp_path, SEED, (f"{DAY} buy AAA 0.3", f"{DAY} buy CCC 0.3")) as story:
        story.evening(DAY)
        story.clock.set(at(xnys().next(DAY), 8))
        story.at_once("submit", DAY, 2)
        story.dawn(DAY)
        story.noon(DAY)
        story.evening(NEXT)
        assert states(story) == ["filled", "filled"]


def test_a_run_whose_permit_was_given_to_another_wakes_up_and_sends_nothing(tmp_path):
    with Story(tmp_path, SEED, BUY) as story:
        story.evening(DAY)
        story.clock.set(at(xnys().next(DAY), 8))
        old = issue_permit(story.ledger, xnys(), story.clock.now(), Purpose.SUBMIT)
        issue_permit(story.ledger, xnys(), story.clock.now(), Purpose.SUBMIT, renew=True)
        for permit in (old.permit_id, "forged"):
            assert story.errand("submit", DAY, permit=permit, renew=False) == 0
        assert (states(story), story.truth().orders) == ([], [])
        story.dawn(DAY)
        assert states(story) == ["working"]


def test_a_ledger_restored_from_before_the_sending_adopts_what_the_broker_has(tmp_path):
    with Story(tmp_path, SEED, BUY) as story:
        story.evening(DAY)
        story.clock.set(at(xnys().next(DAY), 8))
        shutil.copytree(tmp_path / "store", tmp_path / "backup")
        story.errand("submit", DAY)
        shutil.rmtree(tmp_path / "store")
        shutil.copytree(tmp_path / "backup", tmp_path / "store")
        story.dawn(DAY)
        assert (states(story), len(story.truth().orders)) == (["working"], 1)
        story.noon(DAY)
        story.evening(NEXT)


def test_a_halt_and_the_deadline_stop_a_run_that_was_killed_from_sending_the_rest(tmp_path):
    with Story(tmp_path, SEED, (f"{DAY} buy AAA 0.3", f"{DAY} buy CCC 0.3")) as story:
        story.evening(DAY)
        story.clock.set(at(xnys().next(DAY), 8))
        story.errand("submit", DAY, Bad(troubles=[Trouble("kill after the order")]))
        story.ledger.halt("a test", story.clock.now())
        story.errand("submit", DAY)
        assert len(story.truth().orders) == 1
        story.ledger.resume(story.clock.now())
        story.clock.set(at(xnys().next(DAY), 9, 26))
        story.errand("submit", DAY)
        assert (sorted(states(story)), len(story.truth().orders)) == (["expired", "sending"], 1)
        story.noon(DAY)
        story.excuses[DAY] += 1  # the second order expired, as it should
        story.evening(NEXT)
        assert sorted(states(story)) == ["expired", "filled"]
