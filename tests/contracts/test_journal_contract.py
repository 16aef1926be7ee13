"""The ledger on disk and the journal in memory give the same answers to everything a session loop can ask."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.markets import SESSIONS
from tradebot_core.errors import ExecutionError
from tradebot_core.interfaces import Journal
from tradebot_core.model.order import TERMINAL_STATES, TRANSITIONS, Fill, OrderIntent, OrderState, RiskVerdict, Side, order_key
from tradebot_core.model.portfolio import Book, Entry, EntryKind, usd
from tradebot_core.stores.sqlite_ledger import SqliteLedger
from tradebot_core.trading.journal import MemoryJournal

JOURNALS: dict[str, Callable[[Path], Journal]] = {
    "memory": lambda folder: MemoryJournal(Book()),
    "sqlite": lambda folder: SqliteLedger(folder / "ledger.sqlite"),
}
S = "patient"
DAY, NEXT, THIRD = SESSIONS[:3]
AT = datetime(2024, 1, 2, 23, tzinfo=UTC)
APPROVED = RiskVerdict(True, "within_limits", 1.0, 2.0)
REFUSED = RiskVerdict(False, "cash", 3.0, 2.0)


@pytest.fixture(params=JOURNALS)
def journal(request, tmp_path) -> Journal:
    return JOURNALS[request.param](tmp_path)


def order(security: int = 1, side: Side = Side.BUY, quantity: int = 10, session: date = DAY) -> OrderIntent:
    key = order_key(S, session, security, side)
    return OrderIntent(key, S, session, security, f"S{security}", side, quantity, Decimal("9.5000"))


def fill_of(intent: OrderIntent, price: str = "10", quantity: int | None = None, number: int = 1) -> Fill:
    return Fill(
        f"{intent.key}#{number}",
        intent.key,
        SESSIONS[SESSIONS.index(intent.session) + 1],
        intent.security_id,
        intent.symbol,
        intent.side,
        quantity or intent.quantity,
        usd(price),
        usd("1"),
        AT + timedelta(hours=16),
    )


def entry(key: str, session: date = DAY, cash: str = "0", quantity: int = 0, kind: EntryKind = EntryKind.DIVIDEND) -> Entry:
    return Entry(key, session, kind, usd(cash), quantity, 1, "S1")


DEPOSIT = Entry("deposit:opening", DAY, EntryKind.DEPOSIT, usd("1000"))


def open_states(journal: Journal) -> dict[str, OrderState]:
    return {intent.key: state for intent, state in journal.open_orders(S)}


def bring(journal: Journal, intent: OrderIntent, *states: OrderState) -> None:
    journal.commit_orders(S, intent.session, [(intent, APPROVED)], AT)
    for state in states:
        journal.record_state(intent.key, state, AT)


def test_the_orders_of_a_session_are_committed_once(journal):
    assert journal.commit_orders(S, DAY, [(order(1), APPROVED)], AT)
    assert not journal.commit_orders(S, DAY, [(order(1), APPROVED), (order(2), APPROVED)], AT)
    assert open_states(journal) == {order(1).key: OrderState.NEW}


def test_a_session_without_orders_is_committed_too(journal):
    assert journal.commit_orders(S, DAY, [], AT)
    assert not journal.commit_orders(S, DAY, [(order(1), APPROVED)], AT)
    assert open_states(journal) == {}


def test_a_refused_order_is_never_open(journal):
    journal.commit_orders(S, DAY, [(order(1), REFUSED), (order(2), APPROVED)], AT)
    assert open_states(journal) == {order(2).key: OrderState.NEW}


def test_open_orders_come_oldest_first_and_as_they_were_committed(journal):
    first = [(order(3), APPROVED), (order(1), APPROVED)]
    journal.commit_orders(S, DAY, first, AT)
    journal.commit_orders(S, NEXT, [(order(2, session=NEXT), APPROVED)], AT)
    assert [intent for intent, _ in journal.open_orders(S)] == [order(3), order(1), order(2, session=NEXT)]


# A way from NEW to each state.
PATHS = {
    OrderState.NEW: (),
    OrderState.SENDING: (OrderState.SENDING,),
    OrderState.UNKNOWN: (OrderState.SENDING, OrderState.UNKNOWN),
    OrderState.WORKING: (OrderState.SENDING, OrderState.WORKING),
    OrderState.PARTIAL: (OrderState.SENDING, OrderState.PARTIAL),
    OrderState.FILLED: (OrderState.SENDING, OrderState.FILLED),
    OrderState.CANCELLED: (OrderState.CANCELLED,),
    OrderState.REJECTED: (OrderState.SENDING, OrderState.REJECTED),
    OrderState.EXPIRED: (OrderState.EXPIRED,),
}


@pytest.mark.parametrize("present", PATHS)
def test_an_illegal_transition_is_refused_and_changes_nothing(journal, present):
    bring(journal, order(), *PATHS[present])
    before = open_states(journal)
    assert before == ({} if present in TERMINAL_STATES else {order().key: present})
    for state in OrderState:
        if state is present or state in TRANSITIONS[present]:
            continue
        with pytest.raises(ExecutionError, match=f"cannot go from {present} to {state}"):
            journal.record_state(order().key, state, AT)
        assert open_states(journal) == before


@pytest.mark.parametrize(("present", "following"), [(p, f) for p in PATHS for f in sorted(TRANSITIONS[p])])
def test_a_legal_transition_is_taken_and_the_same_state_again_is_nothing(journal, present, following):
    bring(journal, order(), *PATHS[present])
    assert journal.record_state(order().key, following, AT)
    assert not journal.record_state(order().key, following, AT)
    assert open_states(journal) == ({} if following in TERMINAL_STATES else {order().key: following})


LOOKED = RiskVerdict(True, "price_collar", 0.01, 0.1)
REFUSED_LATE = RiskVerdict(False, "price_collar", 0.5, 0.1)


def test_a_last_look_that_approves_changes_nothing_and_one_that_refuses_ends_the_order(journal):
    bring(journal, order(1))
    assert journal.record_check(order(1).key, LOOKED, AT, "last 9.60")
    assert open_states(journal) == {order(1).key: OrderState.NEW}
    assert journal.record_check(order(1).key, REFUSED_LATE, AT, "last 4.75")
    assert open_states(journal) == {}
    with pytest.raises(ExecutionError, match="cannot go from refused to sending"):
        journal.record_state(order(1).key, OrderState.SENDING, AT)


@pytest.mark.parametrize("present", [state for state in PATHS if state is not OrderState.NEW])
def test_an_order_that_is_not_new_any_more_is_looked_at_no_more(journal, present):
    bring(journal, order(), *PATHS[present])
    before = open_states(journal)
    assert not journal.record_check(order().key, REFUSED_LATE, AT, "last 4.75")
    assert open_states(journal) == before


def test_an_order_refused_at_the_last_look_never_went_out(journal):
    bring(journal, order())
    journal.record_check(order().key, REFUSED_LATE, AT, "last 4.75")
    assert journal.unfilled(S, DAY, THIRD) == {}


def test_a_look_at_an_order_that_was_never_committed_is_refused(journal):
    with pytest.raises(ExecutionError, match="no order"):
        journal.record_check("nobody", LOOKED, AT, "")


def test_the_state_of_an_order_that_was_never_committed_is_refused(journal):
    with pytest.raises(ExecutionError, match="no order"):
        journal.record_state("nobody", OrderState.SENDING, AT)


def test_an_execution_is_entered_once_with_its_commission(journal):
    bring(journal, order(), OrderState.SENDING)
    assert journal.record_fill(S, fill_of(order()))
    assert not journal.record_fill(S, fill_of(order()))
    book = journal.book(S, NEXT)
    assert (book.cash, book.positions[1].quantity, book.positions[1].cost) == (Decimal(-101), 10, Decimal(100))


def test_an_execution_of_an_order_we_do_not_know_is_refused_and_enters_nothing(journal):
    with pytest.raises(ExecutionError, match="no order"):
        journal.record_fill(S, fill_of(order()))
    assert journal.book(S, NEXT) == Book()


def test_partial_fills_add_up(journal):
    bring(journal, order(), OrderState.SENDING, OrderState.PARTIAL)
    for number, quantity in ((1, 3), (2, 7)):
        journal.record_fill(S, fill_of(order(), "10", quantity, number))
    journal.record_state(order().key, OrderState.FILLED, AT)
    assert journal.book(S, NEXT).positions[1].quantity == 10
    assert journal.book(S, NEXT).cash == Decimal(-102)


def test_an_entry_is_posted_once(journal):
    assert journal.post(S, [DEPOSIT, entry("dividend:1", cash="5")]) == 2
    assert journal.post(S, [entry("dividend:1", cash="5"), entry("dividend:2", cash="7")]) == 1
    assert journal.post(S, []) == 0
    assert journal.book(S, DAY).cash == Decimal(1012)


def test_the_same_key_twice_in_one_call_is_entered_once_as_it_came_first(journal):
    assert journal.post(S, [DEPOSIT, entry("dividend:1", cash="5"), entry("dividend:1", cash="6")]) == 2
    assert journal.book(S, DAY).cash == Decimal(1005)


def test_a_book_of_an_earlier_session_is_as_it_was_then(journal):
    journal.post(S, [DEPOSIT])
    bring(journal, order(), OrderState.SENDING, OrderState.FILLED)
    journal.record_fill(S, fill_of(order()))
    journal.post(S, [entry("split:1", THIRD, quantity=10, kind=EntryKind.SPLIT)])
    assert [journal.book(S, session).cash for session in (DAY, NEXT, THIRD)] == [Decimal(1000), Decimal(899), Decimal(899)]
    held = [journal.book(S, session).positions.get(1) for session in (DAY, NEXT, THIRD)]
    assert [position and position.quantity for position in held] == [None, 10, 20]


@pytest.mark.parametrize("first", ["the split", "the sale"])
def test_a_split_takes_effect_before_the_trades_of_its_session_whichever_is_entered_first(journal, first):
    journal.post(S, [DEPOSIT])
    bring(journal, order(), OrderState.SENDING, OrderState.FILLED)
    journal.record_fill(S, fill_of(order()))  # 10 held after NEXT
    sale = order(side=Side.SELL, quantity=15, session=NEXT)
    bring(journal, sale, OrderState.SENDING, OrderState.FILLED)
    split = [entry("split:1", THIRD, quantity=10, kind=EntryKind.SPLIT)]
    if first == "the split":
        journal.post(S, split)
        journal.record_fill(S, fill_of(sale))
    else:
        late = order(side=Side.SELL, quantity=5, session=NEXT)
        journal.record_fill(S, replace(fill_of(sale), quantity=late.quantity))
        journal.post(S, split)
        journal.record_fill(S, replace(fill_of(sale), quantity=10, execution_id="the rest"))
    book = journal.book(S, THIRD)
    assert (book.positions[1].quantity, book.positions[1].cost) == (5, Decimal(25))


def test_an_action_of_an_earlier_session_entered_late_counts_from_its_session(journal):
    journal.post(S, [DEPOSIT])
    bring(journal, order(), OrderState.SENDING, OrderState.FILLED)
    journal.record_fill(S, fill_of(order()))
    sale = order(side=Side.SELL, quantity=10, session=THIRD)
    bring(journal, sale, OrderState.SENDING, OrderState.FILLED)
    journal.record_fill(S, fill_of(sale))
    journal.post(S, [entry("dividend:1", THIRD, "5")])
    assert [journal.book(S, session).cash for session in SESSIONS[1:4]] == [Decimal(899), Decimal(904), Decimal(1003)]


@st.composite
def stories(draw):
    """What may happen to a sleeve over a few sessions: calls with their arguments, in order."""
    calls, held, key = [("post", [DEPOSIT])], dict.fromkeys((1, 2), 0), 0
    for n, session in enumerate(SESSIONS[: draw(st.integers(1, 5))]):
        intents = []
        for security in (1, 2):
            side = draw(st.sampled_from([None, Side.BUY, Side.SELL if held[security] else Side.BUY]))
            if side is not None:
                quantity = draw(st.integers(1, held[security] if side is Side.SELL else 500))
                verdict = draw(st.sampled_from([APPROVED, APPROVED, REFUSED]))
                intents.append((order(security, side, quantity, session), verdict))
        calls.append(("commit", session, intents))
        if draw(st.booleans()):
            calls.append(("commit", session, intents))
        for intent, verdict in intents:
            if not verdict.approved:
                continue
            for state in draw(st.lists(st.sampled_from(list(OrderState)), max_size=4)):
                calls.append(("state", intent.key, state))
            if draw(st.booleans()):
                made = fill_of(intent, str(draw(st.decimals("1", "100", places=4))))
                held[intent.security_id] += intent.side.sign * intent.quantity
                calls += [("fill", made)] * draw(st.integers(1, 2))
        following = SESSIONS[n + 1]
        for security in (1, 2):
            if held[security] and draw(st.booleans()):
                key += 1
                cash = str(draw(st.decimals("0", "50", places=4)))
                dividend = replace(entry(f"dividend:{key}", following, cash), security_id=security)
                calls.append(("post", [dividend] * draw(st.integers(1, 2))))
        calls.append(("look", following))
    return calls


def answers(journal: Journal, story) -> list:
    said = []
    for call, *given_with in story:
        try:
            if call == "post":
                # one call is one delivery; the same entry twice in it is a matter of its key
                said.append([journal.post(S, [one]) for one in given_with[0]])
            elif call == "commit":
                said.append(journal.commit_orders(S, *given_with, AT))
            elif call == "state":
                said.append(journal.record_state(*given_with, AT))
            elif call == "fill":
                said.append(journal.record_fill(S, given_with[0]))
            said.append(sorted((intent.key, state) for intent, state in journal.open_orders(S)))
            said.append([journal.book(S, session) for session in SESSIONS[:7]] if call == "look" else None)
        except ExecutionError as error:
            said.append(error.cause)
    return said


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(stories())
def test_every_journal_tells_the_same_story(tmp_path_factory, story):
    memory, sqlite = (make(tmp_path_factory.mktemp("journal")) for make in JOURNALS.values())
    assert answers(memory, story) == answers(sqlite, story)


# What the limits look back on


def test_orders_that_went_out_and_have_no_fill_are_counted_by_security_and_side(journal):
    bring(journal, order(1), OrderState.SENDING, OrderState.WORKING, OrderState.EXPIRED)
    bring(journal, order(1, session=NEXT), OrderState.SENDING, OrderState.REJECTED)
    bring(journal, order(1, Side.SELL, session=THIRD), OrderState.SENDING, OrderState.UNKNOWN)
    assert journal.unfilled(S, DAY, SESSIONS[3]) == {(1, Side.BUY): 2, (1, Side.SELL): 1}
    assert journal.unfilled(S, NEXT, THIRD) == {(1, Side.BUY): 1}


def test_an_order_that_was_refused_never_sent_or_filled_in_part_is_not_counted_as_unfilled(journal):
    never, returned, part = order(1), order(2), order(3)
    journal.commit_orders(S, DAY, [(never, APPROVED), (returned, APPROVED), (part, APPROVED), (order(4), REFUSED)], AT)
    for state in (OrderState.SENDING, OrderState.NEW, OrderState.EXPIRED):
        journal.record_state(returned.key, state, AT)
    for state in (OrderState.SENDING, OrderState.PARTIAL):
        journal.record_state(part.key, state, AT)
    journal.record_fill(S, fill_of(part, quantity=1))
    assert journal.unfilled(S, DAY, NEXT) == {}
    journal.record_state(never.key, OrderState.SENDING, AT)
    assert journal.unfilled(S, DAY, NEXT) == {(1, Side.BUY): 1}
