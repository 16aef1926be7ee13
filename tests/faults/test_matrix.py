"""Rows of the fault matrix that are told one by one: what must show, and what a person has to do. README.md lists them all."""

import sqlite3
import threading
from datetime import timedelta
from decimal import Decimal
from itertools import count

import pytest

from tests.faults.broker import Trouble, bust
from tests.faults.disk import AT_WRITE
from tests.faults.story import Bad, Story
from tests.faults.trader import REFUSED
from tests.faults.world import ACCOUNT, CON_IDS, SECOND, SESSIONS, SLEEVE, Given, Prices, World, at
from tradebot_core.calendar import xnys
from tradebot_core.config import IbkrSettings, Mode
from tradebot_core.ibkr.account import IbkrAccountReader
from tradebot_core.ibkr.orders import order_reference
from tradebot_core.model.market import ActionType
from tradebot_core.trading.account_comparison import LineKind
from tradebot_core.trading.account_reconciliation import AccountReconciler, broken

DAY, NEXT, THIRD, FOURTH = SESSIONS[:4]
BUY = (f"{DAY} buy AAA 0.3",)
SEED = 5


def states(story: Story) -> list[str]:
    return [state for of in story.sleeves for state in story.ledger.orders(of).sort("session", "side")["state"]]


def outcome(story: Story) -> str:
    """Of the last run, as it said."""
    return story.said.splitlines()[-1].split(": ", 1)[1]


def breaks_with_the_account(story: Story) -> list[tuple[LineKind, str]]:
    reader = IbkrAccountReader(IbkrSettings(port=story.port, account=ACCOUNT), Mode.PAPER)
    reconciler = AccountReconciler(story.ledger, xnys(), story.sleeves, reader, lambda: CON_IDS, order_reference)
    return [(line.kind, line.what) for line in broken(reconciler.lines(story.clock.now()))]


# The process and its ledger.


@pytest.mark.parametrize("what", AT_WRITE)
@pytest.mark.parametrize("step", ["decide", "submit", "record"])
def test_whichever_write_fails_the_errand_is_finished_later(tmp_path, step, what):
    """Every sixth write until the errand survives; the stories draw the others. An order is lost at most where the disk left it in
    doubt."""
    failed = 0
    for nth in count(1 + len(step) % 3, 6):
        with Story(tmp_path / str(nth), SEED, BUY) as story:
            bads = {step: [Bad(at_write=(what, nth))]}
            story.evening(DAY, bads.get("decide", ()))
            story.dawn(DAY, bads.get("submit", ()))
            story.noon(DAY, bads.get("record", ()))
            story.evening(NEXT)
            assert states(story) in (["filled"], ["lost"]), (nth, story.steps)
            refused = [line for line in story.steps if f"-> {REFUSED}" in line]
        if not refused:
            break
        failed += 1
    assert failed or (step, what) in {("submit", "store full"), ("record", "store full")}  # these write no files


def test_a_ledger_that_another_program_holds_is_waited_for(tmp_path):
    with Story(tmp_path, SEED, BUY) as story:
        story.evening(DAY)
        story.clock.set(at(NEXT, 8))
        other = sqlite3.connect(tmp_path / "store" / "ledger.sqlite", isolation_level=None, check_same_thread=False)
        other.execute("BEGIN IMMEDIATE")
        letting_go = threading.Timer(0.5, other.execute, ("ROLLBACK",))
        letting_go.start()
        assert story.errand("submit", DAY) == 0
        letting_go.join()
        assert states(story) == ["working"]


def test_who_was_dead_all_day_sends_nothing_until_a_person_has_looked(tmp_path):
    """The order filled while nobody was there, and the next day the broker shows nothing of it: no order is added to it, and the
    account shows what is missing."""
    script = (*BUY, f"{NEXT} buy CCC 0.2", f"{THIRD} buy CCC 0.2")
    with Story(tmp_path, SEED, script) as story:
        story.evening(DAY)
        assert breaks_with_the_account(story) == []
        story.dawn(DAY)
        story.clock.set(at(THIRD, 18))
        assert story.errand("decide", THIRD) == 0
        story.clock.set(at(FOURTH, 8))
        assert story.errand("submit", THIRD) == 0
        assert outcome(story).startswith(f"in_doubt What became of {SLEEVE}|{DAY}|100100|buy is not known")
        assert len(story.truth().orders) == 1
        assert (LineKind.POSITION, "AAA") in [(kind, what.split()[0]) for kind, what in breaks_with_the_account(story)]


# The broker.


def test_of_two_orders_with_one_reference_none_is_chosen_and_no_third_is_sent(tmp_path):
    """The broker lists two orders under the reference, each with a permId of its own."""
    with Story(tmp_path, SEED, BUY) as story:
        story.evening(DAY)
        story.clock.set(at(NEXT, 8))
        story.errand("submit", DAY, Bad(troubles=[Trouble("kill after the order")]))
        exchange = story.tws.exchange
        (order,) = exchange.open_orders()

        def second() -> None:
            exchange.twin(order).order_id = order.order_id + 1

        story.tws.hand.do(second)
        for _ in range(2):
            assert story.errand("submit", DAY) == REFUSED
            assert "lists 2 orders with the reference" in outcome(story)
        assert (states(story), len(exchange.truth().orders)) == (["sending"], 2)


def test_a_trade_that_was_busted_breaks_the_account_and_what_was_entered_stays(tmp_path):
    """The broker takes the shares back and shows the execution no more. What IBKR sends then is written nowhere: a person decides."""
    with Story(tmp_path, SEED, BUY) as story:
        story.evening(DAY)
        assert breaks_with_the_account(story) == []
        story.dawn(DAY)
        story.noon(DAY)
        entered = story.ledger.entries(SLEEVE)
        exchange = story.tws.exchange
        (done,) = exchange.executions()
        story.tws.hand.do(lambda: bust(exchange, done.execution_id))
        story.clock.set(at(NEXT, 18))
        assert story.errand("decide", NEXT) in (0, REFUSED)
        assert list(story.ledger.entries(SLEEVE)) == list(entered)
        assert {LineKind.POSITION, LineKind.CASH} <= {kind for kind, _ in breaks_with_the_account(story)}


@pytest.mark.parametrize("word", ["1101", "1102"])
def test_what_fills_while_the_gateway_has_lost_ibkr_is_entered_when_it_is_back(tmp_path, word):
    with Story(tmp_path, SEED, BUY) as story:
        story.evening(DAY)
        story.dawn(DAY)
        hand = story.tws.hand
        hand.do(hand.lose_link)
        story.clock.set(at(NEXT, 10, 15))
        down = Trouble("the link is down")
        assert story.errand("record", DAY, Bad(troubles=[down])) == REFUSED
        assert (states(story), len(story.truth().executions)) == (["working"], 1)
        hand.down.word = int(word)
        story.noon(DAY)
        assert states(story) == ["filled"]


@pytest.mark.parametrize("nth", (2, 5, 8, 11))
def test_a_link_that_is_lost_while_the_order_is_sent_leaves_one_order_or_none(tmp_path, nth):
    with Story(tmp_path, SEED, BUY) as story:
        story.evening(DAY)
        story.dawn(DAY, [Bad(troubles=[Trouble("link lost", nth)])])
        story.noon(DAY)
        story.evening(NEXT)
        orders = story.truth().orders
        assert (states(story), len(orders)) in ((["filled"], 1), (["lost"], 0))


# Corporate actions and sleeves.


def test_a_split_and_a_dividend_are_in_the_book_as_they_are_in_the_account(tmp_path):
    """1:10, which leaves a fraction, and a dividend on those that are left, of which the trader hears a session late."""
    fifth = SESSIONS[4]
    actions = (
        Given("AAA", THIRD, ActionType.SPLIT, 0.1, THIRD),
        Given("AAA", FOURTH, ActionType.DIVIDEND, 0.2475, fifth),
    )
    with Story(tmp_path, SEED, world=World(Prices.drawn(SEED, actions), {SLEEVE: BUY})) as story:
        story.evening(DAY)
        story.dawn(DAY)
        story.noon(DAY)
        for session in (NEXT, THIRD, FOURTH, fifth):
            story.evening(session)
        entries = story.ledger.entries(SLEEVE)
        bought = next(entry.quantity for entry in entries if entry.kind == "trade")
        assert bought % 10, "no fraction"
        assert [entry.kind for entry in entries][-3:] == ["split", "cash_in_lieu", "dividend"]
        assert entries[-1].cash == (bought // 10) * Decimal("0.2475")


def test_two_sleeves_with_the_same_share_keep_their_books_apart_and_are_the_account_together(tmp_path):
    scripts = {
        SLEEVE: (*BUY, f"{NEXT} sell AAA"),
        SECOND: (f"{DAY} buy AAA 0.2", f"{NEXT} buy AAA 0.4"),
    }
    with Story(tmp_path, SEED, world=World(Prices.drawn(SEED), scripts)) as story:
        for session in (DAY, NEXT):
            story.evening(session)
            story.dawn(session, [Bad(troubles=[Trouble("kill after the order")])])
            story.noon(session)
        story.evening(THIRD)
        assert len({order.order_ref for order in story.truth().orders}) >= 3
        books = [story.ledger.book(of, THIRD).positions for of in story.sleeves]
        assert (list(books[0]), list(books[1])) == ([], [100_100])


@pytest.mark.parametrize("minutes", [-1440, -90, 90, 1440])
def test_a_clock_that_is_wrong_sends_no_order_twice_and_loses_no_fill(tmp_path, minutes):
    wrong = [Bad(skew=timedelta(minutes=minutes))]
    with Story(tmp_path, SEED, (*BUY, f"{NEXT} sell AAA")) as story:
        for session in (DAY, NEXT):
            story.evening(session, wrong)
            story.dawn(session, wrong)
            story.noon(session, wrong)
        story.evening(THIRD, wrong)
        assert set(states(story)) <= {"filled", "refused", "expired"}
