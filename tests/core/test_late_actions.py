"""Words of corporate actions that come after the session they are about: entered when they come, once, the same live and in backtests."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.core.test_live import BUY, Desk, a_desk, day, entered, evening, nights
from tests.core.test_parity import replayed, result_files
from tests.markets import XNYS
from tests.scripted import act, append, security_of, walk
from tradebot_core.model.market import ActionType
from tradebot_core.model.portfolio import Book, Entry, EntryKind, Position, usd
from tradebot_core.model.tables import ACTIONS
from tradebot_core.trading.late_actions import Earlier, LateWord, late_entries, late_words
from tradebot_core.wiring import Tradebot

HOUR = timedelta(hours=1)
AAA = security_of("AAA")
STORY = [day(n) for n in range(9)]


def correct(bot: Tradebot, session: date, kind: str, value: float, came: datetime) -> None:
    row = {"security_id": AAA, "session": session, "type": kind, "value": value, "known_at": XNYS.opens_at(session) - 9 * HOUR}
    append(bot, ACTIONS, row, ingested=came)


def trouble(bot: Tradebot) -> None:
    """500 shares of AAA since day 1. A dividend of day 2 is heard of on day 4 and corrected on day 7; a split of day 3 was
    recorded as two for one, and is corrected to three for one on day 6."""
    act(bot, "AAA", day(2), "dividend", 0.5, known_at=XNYS.cutoff(day(4)))
    act(bot, "AAA", day(3), "split", 2.0)
    correct(bot, day(3), "split", 3.0, XNYS.cutoff(day(6)) - HOUR)
    correct(bot, day(2), "dividend", 0.7, XNYS.cutoff(day(6)) + HOUR)


EXPECTED = [
    (day(1), "trade", 500, usd(-5_000)),
    (day(3), "split", 500, usd(0)),
    (day(4), "dividend", 0, usd(250)),  # on the 500 shares of day 1
    (day(6), "split", 500, usd(0)),
    (day(7), "dividend", 0, usd(100)),
]


@pytest.fixture
def desk(tmp_path) -> Desk:
    made = a_desk(tmp_path / "live", BUY)
    trouble(made.bot)
    return made


def booked(tables: dict[str, pl.DataFrame]) -> list[tuple[date, str, int, Decimal]]:
    rows = tables["entries"].filter(~pl.col("kind").is_in(["deposit", "commission"]))
    return [(s, k, q, Decimal(c)) for s, k, q, c in rows.select("session", "kind", "quantity", "cash").iter_rows()]


def test_a_backtest_enters_late_words_and_corrections_in_the_session_in_which_they_came(desk):
    assert booked(walk(desk.bot, STORY)) == EXPECTED


def test_live_enters_the_same(desk):
    nights(desk, range(9))
    assert entered(desk) == EXPECTED
    simulated = walk(desk.bot, STORY)
    live = desk.ledger.book("scripted", day(8))
    assert (str(live.cash), live.positions[AAA].quantity) == (simulated["equity"]["cash"][-1], 1500)
    assert [(e.key, e.session) for e in desk.ledger.entries("scripted") if e.kind in (EntryKind.SPLIT, EntryKind.DIVIDEND)] == [
        (f"split:{AAA}:{day(3)}", day(3)),
        (f"dividend:{AAA}:{day(2)}", day(4)),
        (f"split:{AAA}:{day(3)}:{day(6)}", day(6)),
        (f"dividend:{AAA}:{day(2)}:{day(7)}", day(7)),
    ]


def test_a_desk_that_missed_sessions_enters_the_same_and_only_once(desk):
    nights(desk, [0, 1, 8])
    assert entered(desk) == EXPECTED
    nights(desk, [9])
    assert entered(desk) == EXPECTED


def test_the_past_of_the_book_is_not_changed(desk):
    nights(desk, range(4))
    before = desk.ledger.book("scripted", day(3))
    nights(desk, range(4, 9))
    assert desk.ledger.book("scripted", day(3)) == before


@pytest.mark.parametrize("cut", [2, 4, 5, 7])
def test_ranges_and_single_sessions_give_the_same_bytes(tmp_path, cut):
    whole, parts = a_desk(tmp_path / "whole", BUY), a_desk(tmp_path / "parts", BUY)
    for made in (whole, parts):
        trouble(made.bot)
    walk(whole.bot, STORY)
    walk(parts.bot, STORY[:cut])
    for session in STORY[cut:]:
        walk(parts.bot, [session])
    assert result_files(whole.bot) == result_files(parts.bot)


@pytest.mark.parametrize("first", [0, 3, 5, 7])
def test_a_replay_of_the_events_gives_the_same(desk, first):
    walk(desk.bot, STORY)
    assert replayed(desk.bot, "scripted", STORY[first:]).differences == ()


def test_a_new_book_owes_nothing_for_what_an_older_one_held(desk):
    walk(desk.bot, STORY[:4])
    assert booked(walk(desk.bot, STORY[4:], restart=True)) == []


def sold_before_a_split(made: Desk) -> None:
    """All of AAA is sold on day 3, the ex-date of a split that is heard of on day 5."""
    act(made.bot, "AAA", day(3), "split", 2.0, known_at=XNYS.cutoff(day(5)))


SOLD = (BUY, f"{day(2)} sell AAA")


def test_what_a_split_leaves_of_shares_that_were_sold_has_a_cost_live_as_in_a_range_as_session_by_session(tmp_path):
    live, whole, single = (a_desk(tmp_path / name, *SOLD) for name in ("live", "whole", "single"))
    for made in (live, whole, single):
        sold_before_a_split(made)
    nights(live, range(9))
    simulated = walk(whole.bot, STORY)
    for session in STORY:
        walk(single.bot, [session])
    assert result_files(single.bot) == result_files(whole.bot)
    assert replayed(whole.bot, "scripted", STORY[2:]).differences == ()
    last = simulated["positions"].filter(session=day(8)).select("quantity", "cost").row(0)
    assert last == (500, "2500.0000")
    position = live.ledger.book("scripted", day(8)).positions[AAA]
    assert (position.quantity, str(position.cost)) == last
    assert str(live.cash(day(8))) == simulated["equity"]["cash"][-1] == "10000.0000"


def test_an_older_ledger_that_entered_such_a_split_without_its_cost_is_left_as_it_is(tmp_path):
    made = a_desk(tmp_path, *SOLD)
    nights(made, range(5))
    made.ledger.post("scripted", [Entry(f"split:{AAA}:{day(3)}", day(5), EntryKind.SPLIT, Decimal(0), 500, AAA, "AAA")])
    sold_before_a_split(made)
    nights(made, range(5, 8))
    position = made.ledger.book("scripted", day(7)).positions[AAA]
    assert (position.quantity, position.cost, made.cash(day(7))) == (500, 0, Decimal(10_000))


def test_a_word_about_shares_that_were_sold_since_is_still_paid_to_who_held_them(tmp_path):
    made = a_desk(tmp_path, BUY, f"{day(2)} sell AAA")
    act(made.bot, "AAA", day(2), "dividend", 0.5, known_at=XNYS.cutoff(day(5)))
    act(made.bot, "AAA", day(4), "dividend", 9.0, known_at=XNYS.cutoff(day(5)))  # after the sale: none of it is ours
    assert booked(walk(made.bot, STORY))[2:] == [(day(5), "dividend", 0, usd(250))]


# The entries of one word


def held(quantity: int, cost: str = "1000") -> Book:
    return Book(positions={1: Position(1, "AAA", quantity, Decimal(cost), day(0))} if quantity else {})


def always(quantity: int, *splits: Entry) -> Earlier:
    return Earlier(lambda session: held(quantity), lambda since: [split for split in splits if split.session >= since])


def due(kind: ActionType, value: float, before: float | None, then: int, now: int, price: str | None = "7") -> list[tuple]:
    word = LateWord(day(5), 1, day(2), kind, value, before)
    close = Decimal(price) if price else None
    entries = late_entries([word], always(then), held(now), lambda security: close)
    held(now).apply_all(entries)  # never below zero
    return [(str(e.kind), e.quantity, e.cash) for e in entries]


@pytest.mark.parametrize(
    ("kind", "value", "before", "then", "now", "expected"),
    [
        (ActionType.DIVIDEND, 0.5, None, 100, 100, [("dividend", 0, usd(50))]),
        (ActionType.DIVIDEND, 0.3, 0.5, 100, 0, [("dividend", 0, usd(-20))]),  # paid too much
        (ActionType.SPLIT, 3.0, None, 100, 100, [("split", 200, usd(0))]),
        (ActionType.SPLIT, 2.0, 3.0, 100, 300, [("split", -100, usd(0))]),
        (ActionType.SPLIT, 1.5, None, 33, 33, [("split", 16, usd(0)), ("cash_in_lieu", 0, usd("3.5"))]),
        (ActionType.SPLIT, 2.0, 1.5, 33, 49, [("split", 17, usd(0)), ("cash_in_lieu", 0, usd("-3.5"))]),
        # 100 shares were sold that a reverse split had made 10 of: 90 of them have to be bought back.
        (ActionType.SPLIT, 0.1, None, 100, 0, [("cash_in_lieu", 0, usd(-630))]),
        (ActionType.DELISTING, 2.0, None, 100, 100, [("delisting", -100, usd(200))]),
        (ActionType.DELISTING, 2.5, 2.0, 100, 0, [("delisting", 0, usd(50))]),
        (ActionType.DIVIDEND, 0.5, None, 0, 100, []),  # bought since
    ],
)
def test_what_is_due_is_the_effect_of_the_word_less_that_of_the_word_before(kind, value, before, then, now, expected):
    assert due(kind, value, before, then, now) == expected


@pytest.mark.parametrize(
    ("value", "before", "then", "now", "cost"),
    [
        (2.0, None, 100, 0, "500"),  # 200 were bought for 1000, and half of them sold
        (2.0, None, 100, 50, "250"),  # 150 are left; the book had 500 of the cost
        (3.0, 2.0, 100, 50, "250"),  # of 200, 150 were sold
        (2.0, None, 100, 100, "0"),  # none was sold
        (2.0, None, 100, 130, "0"),  # more were bought
        (0.5, None, 100, 80, "0"),  # it adds no shares
    ],
)
def test_shares_that_a_split_adds_late_bring_back_the_cost_that_sales_took_with_too_few_shares(value, before, then, now, cost):
    word = LateWord(day(5), 1, day(2), ActionType.SPLIT, value, before)
    entries = late_entries([word], always(then), held(now, "700"), lambda security: Decimal(7))
    assert sum(entry.cash for entry in entries) == 0
    after = held(now, "700").apply_all(entries).positions[1]
    assert after.cost == (usd(cost) + 700 if now else usd(cost))


@settings(deadline=None)
@given(
    st.integers(1, 500),
    st.lists(st.integers(1, 500), max_size=4),
    st.lists(st.sampled_from([2, 3, 4, 10]), min_size=1, max_size=2),
    st.integers(1, 1_000_000),
)
def test_a_split_heard_late_leaves_the_shares_and_cost_that_it_would_have_left_in_time(shares, sales, ratios, cents):
    """Splits on day 2 and 3, sales on day 4, the words on day 5."""
    in_time = late = Book(positions={1: Position(1, "AAA", shares, usd(Decimal(cents) / 100), day(0))})
    opening = late

    def sell(book: Book, quantity: int) -> Book:
        return book.apply(Entry("", day(4), EntryKind.TRADE, Decimal(1), -quantity, 1, "AAA"))

    for ratio in ratios:
        more = in_time.positions[1].quantity * (ratio - 1)
        in_time = in_time.apply(Entry("", day(2), EntryKind.SPLIT, Decimal(0), more, 1, "AAA"))
    for quantity in sales:
        if 1 in late.positions and quantity <= late.positions[1].quantity:
            in_time, late = sell(in_time, quantity), sell(late, quantity)
    words = [LateWord(day(5), 1, day(2 + n), ActionType.SPLIT, float(ratio), None) for n, ratio in enumerate(ratios)]
    before = Earlier(lambda session: opening, lambda since: [])
    late = late.apply_all(late_entries(words, before, late, lambda security: Decimal(3)))
    assert late.cash == in_time.cash
    assert late.positions[1].quantity == in_time.positions[1].quantity
    assert abs(late.positions[1].cost - in_time.positions[1].cost) <= Decimal("0.0005") * (len(sales) + 2)


def test_a_fraction_without_a_price_is_worth_its_cost():
    assert due(ActionType.SPLIT, 1.5, None, 33, 33, price=None)[1] == (
        "cash_in_lieu",
        0,
        usd(Decimal(1000) / Decimal("49.5") / 2),
    )


def test_a_split_comes_before_a_dividend_of_the_same_evening():
    words = [LateWord(day(5), 1, day(2), kind, 2.0, None) for kind in (ActionType.DIVIDEND, ActionType.SPLIT)]
    made = late_entries(words, always(10), held(10), lambda security: Decimal(1))
    assert [(entry.kind, entry.session) for entry in made] == [(EntryKind.SPLIT, day(5)), (EntryKind.DIVIDEND, day(5))]


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        (ActionType.DIVIDEND, 0.5, (EntryKind.DIVIDEND, 0, usd(100))),  # a share of the new ones
        (ActionType.DELISTING, 3.0, (EntryKind.DELISTING, -200, usd(600))),  # of none is left
    ],
)
@pytest.mark.parametrize("ex_day", [2, 3])
def test_what_follows_a_split_of_the_same_evening_is_about_the_shares_that_it_made(kind, value, expected, ex_day):
    words = [
        LateWord(day(5), 1, day(2), ActionType.SPLIT, 2.0, None),
        LateWord(day(5), 1, day(ex_day), kind, value, None),
    ]
    made = late_entries(words, always(100), held(100), lambda security: Decimal(3))
    assert (made[-1].kind, made[-1].quantity, made[-1].cash) == expected


def test_a_second_split_of_the_same_evening_is_of_the_shares_that_the_first_made():
    words = [LateWord(day(5), 1, day(n), ActionType.SPLIT, ratio, None) for n, ratio in ((2, 2.0), (3, 3.0))]
    made = late_entries(words, always(100), held(100), lambda security: Decimal(3))
    assert [entry.quantity for entry in made] == [100, 400]


def test_a_dividend_before_a_split_of_the_same_evening_is_about_the_shares_of_its_day():
    words = [
        LateWord(day(5), 1, day(3), ActionType.SPLIT, 2.0, None),
        LateWord(day(5), 1, day(2), ActionType.DIVIDEND, 0.5, None),
    ]
    made = late_entries(words, always(100), held(100), lambda security: Decimal(3))
    assert (made[-1].kind, made[-1].cash) == (EntryKind.DIVIDEND, usd(50))


@pytest.mark.parametrize(
    ("key", "entered", "paid"),
    [
        ("split:1:{2}", 2, 100),  # of the same day, known in time
        ("split:1:{2}", 4, 100),  # of the same day, heard before the dividend
        ("split:1:{1}", 3, 100),  # of a day before it, heard after it
        ("split:1:{1}:{4}", 4, 100),  # a correction of one
        ("split:1:{3}", 3, 50),  # of a day after it
        ("split:2:{2}", 2, 50),  # of another security
        ("split:1:{2}:oversold:{3}:0", 3, 50),  # given back, for they were sold: it is none
    ],
)
def test_a_late_dividend_is_paid_on_the_shares_that_splits_entered_before_had_made_by_its_day(key, entered, paid):
    written = key.format(*(day(n) for n in range(6)))
    security = int(written.split(":")[1])
    split = Entry(written, day(entered), EntryKind.SPLIT, Decimal(0), 100, security, "AAA")
    word = LateWord(day(5), 1, day(2), ActionType.DIVIDEND, 0.5, None)
    (made,) = late_entries([word], always(100, split), held(200), lambda security: Decimal(3))
    assert made.cash == usd(paid)


def test_a_corrected_split_is_not_counted_on_top_of_itself():
    split = Entry(f"split:1:{day(2)}", day(2), EntryKind.SPLIT, Decimal(0), 100, 1, "AAA")
    word = LateWord(day(5), 1, day(2), ActionType.SPLIT, 3.0, 2.0)
    (made,) = late_entries([word], always(100, split), held(200), lambda security: Decimal(3))
    assert made.quantity == 100


def on_the_day_of_a_split(bot: Tradebot) -> None:
    """500 shares of AAA since day 1, split two for one on day 3; a dividend of that day is heard of on day 5."""
    act(bot, "AAA", day(3), "split", 2.0)
    act(bot, "AAA", day(3), "dividend", 0.5, known_at=XNYS.cutoff(day(5)))


def test_a_late_dividend_of_the_day_of_a_split_is_paid_on_the_new_shares_live_as_in_a_range_as_session_by_session(tmp_path):
    expected = [
        (day(1), "trade", 500, usd(-5_000)),
        (day(3), "split", 500, usd(0)),
        (day(5), "dividend", 0, usd(500)),
    ]
    live, whole, single = (a_desk(tmp_path / name, BUY) for name in ("live", "whole", "single"))
    for made in (live, whole, single):
        on_the_day_of_a_split(made.bot)
    nights(live, range(9))
    assert entered(live)[: len(expected)] == expected
    assert booked(walk(whole.bot, STORY)) == expected
    for session in STORY:
        walk(single.bot, [session])
    assert result_files(single.bot) == result_files(whole.bot)


# Which words are late


def versions(*rows: tuple[date, float, datetime]) -> pl.DataFrame:
    found = [(1, session, "split", value, "test", known, known) for session, value, known in rows]
    return pl.DataFrame(found, schema=ACTIONS.schema, orient="row")


def test_words_in_time_are_not_late_and_of_several_in_one_session_the_last_counts():
    told = versions(
        (day(2), 2.0, XNYS.cutoff(day(2))),  # at the cut-off: in time
        (day(2), 3.0, XNYS.cutoff(day(2)) + timedelta(seconds=1)),
        (day(2), 4.0, XNYS.cutoff(day(3))),
        (day(2), 5.0, XNYS.cutoff(day(5))),
        (day(4), 9.0, XNYS.cutoff(day(1))),
    )
    words = [LateWord(day(3), 1, day(2), ActionType.SPLIT, 4.0, 2.0), LateWord(day(5), 1, day(2), ActionType.SPLIT, 5.0, 4.0)]
    assert late_words(told, STORY, XNYS) == words
    assert [word for session in STORY for word in late_words(told, [session], XNYS)] == words
    assert late_words(told.clear(), STORY, XNYS) == []


def test_a_correction_that_was_taken_back_within_the_evening_is_none():
    taken_back = versions(
        (day(2), 2.0, datetime(2024, 1, 1, tzinfo=UTC)),
        (day(2), 3.0, evening(day(3)) - 3 * HOUR),
        (day(2), 2.0, evening(day(3)) - 2 * HOUR),
    )
    assert late_words(taken_back, STORY, XNYS) == []
