"""A corporate action and a sale of the same shares, either of which is heard of after the other was entered: there is always a book."""

from collections.abc import Callable
from datetime import date
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.core.test_live import BUY, Desk, day, entered, nights
from tests.core.test_parity import replayed, result_files
from tests.markets import XNYS
from tests.scripted import act, quote, scripted, security_of, walk
from tradebot_core.errors import ReconciliationError
from tradebot_core.model.portfolio import Book, Entry, EntryKind, fold_order, is_given_back, usd
from tradebot_core.trading.due_actions import due_entries
from tradebot_core.trading.oversold import given_back, shares_of

AAA = security_of("AAA")
STORY = [day(n) for n in range(9)]
EX = day(3)
SOLD_ON_EX = (BUY, f"{day(2)} sell AAA")


def reversed_desk(folder: Path, *script: str, ratio: float = 0.1) -> Desk:
    """500 shares of AAA at 10, which are 50 at 100 from day 3 on. Until the word comes the book is worth too much."""
    desk = Desk(scripted(folder, *script, limits={"max_drawdown": 1.0}))
    quote(desk.bot, "AAA", 10.0, dict.fromkeys(STORY[3:], 10.0 / ratio))
    quote(desk.bot, "BBB", 20.0)
    return desk


def book(entries: list[Entry]) -> Book:
    return Book().apply_all(sorted(entries, key=fold_order))


# Live: the row is stamped with the ex-date and collected after the sale


BOUGHT_BACK = [
    (day(1), "trade", 500, usd(-5_000)),
    (EX, "split", 450, usd(0)),  # given back first, so that no line makes the book short
    (EX, "split", -450, usd(0)),
    (EX, "cash_in_lieu", 0, usd(-45_000)),  # 450 shares that were never there, at the close
    (EX, "trade", -500, usd(50_000)),
]


def test_a_reverse_split_collected_after_the_sale_gives_back_what_was_sold_and_the_sleeve_goes_on(tmp_path):
    desk = reversed_desk(tmp_path, *SOLD_ON_EX, f"{day(5)} buy BBB 0.2")
    nights(desk, range(4))
    assert (desk.holding(EX), desk.cash(EX)) == (0, Decimal(55_000))
    act(desk.bot, "AAA", EX, "split", 0.1)
    told = desk.night(day(4)).note
    assert "AAA: the split of 2024-03-06 took 450 shares that were sold" in told and "`tradebot reconcile`" in told
    assert entered(desk) == BOUGHT_BACK
    nights(desk, range(5, 8))
    assert (desk.holding(day(7)), desk.holding(day(7), "BBB")) == (0, 100)
    assert desk.cash(day(4)) == Decimal(10_000)
    assert entered(desk)[:-1] == BOUGHT_BACK
    assert next(e for e in desk.ledger.entries("scripted") if is_given_back(e)).key == f"split:{AAA}:{EX}:oversold:{EX}:0"


def test_a_row_collected_sessions_after_the_sale_is_settled_in_the_session_of_the_sale(tmp_path):
    desk = reversed_desk(tmp_path, BUY, f"{day(4)} sell AAA")
    nights(desk, range(6))
    act(desk.bot, "AAA", EX, "split", 0.1)
    nights(desk, range(6, 8))
    assert (desk.holding(EX), desk.holding(day(4)), desk.holding(day(5))) == (50, 50, 0)
    assert desk.cash(day(7)) == Decimal(10_000)
    assert [e.session for e in desk.ledger.entries("scripted") if is_given_back(e)] == [day(5)]


def test_a_row_that_was_wrong_and_is_corrected_leaves_no_shares_that_nobody_bought(tmp_path):
    desk = reversed_desk(tmp_path, *SOLD_ON_EX)
    nights(desk, range(4))
    act(desk.bot, "AAA", EX, "split", 0.1)
    nights(desk, [4])
    act(desk.bot, "AAA", EX, "split", 1.0, known_at=XNYS.cutoff(day(6)))
    nights(desk, [5, 6, 7])
    assert entered(desk) == [*BOUGHT_BACK, (day(6), "cash_in_lieu", 0, usd(45_000))]
    assert (desk.holding(day(7)), desk.cash(day(7))) == (0, Decimal(55_000))


def test_a_ledger_that_was_left_without_a_book_gets_one_by_further_lines_alone(tmp_path):
    desk = reversed_desk(tmp_path, *SOLD_ON_EX)
    nights(desk, range(4))
    split = Entry(f"split:{AAA}:{EX}", EX, EntryKind.SPLIT, Decimal(0), -450, AAA, "AAA")
    desk.ledger.post("scripted", [split])  # as an older version did
    before = desk.ledger.entries("scripted")
    with pytest.raises(ReconciliationError, match="settled by the next session's run: `tradebot run-session`"):
        desk.ledger.book("scripted", EX)
    act(desk.bot, "AAA", EX, "split", 0.1)
    nights(desk, [4, 5])
    assert {entry.key for entry in before} < {entry.key for entry in desk.ledger.entries("scripted")}
    assert entered(desk) == BOUGHT_BACK


def test_what_is_still_to_be_given_back_is_told_to_the_comparison_with_the_account_and_is_no_share_at_the_broker(tmp_path):
    desk = reversed_desk(tmp_path, *SOLD_ON_EX)
    nights(desk, range(4))
    act(desk.bot, "AAA", EX, "split", 0.1)
    entries = desk.ledger.entries("scripted")
    due = due_entries(desk.bot.markets, XNYS, entries, day(4))
    assert [(e.session, str(e.kind), e.quantity, e.cash) for e in due] == BOUGHT_BACK[1:4]
    assert shares_of([*entries, *due]) == {}
    assert due_entries(desk.bot.markets, XNYS, [*entries, *due], day(4)) == ()


def test_a_sale_that_is_found_after_the_split_was_entered_was_of_shares_that_the_split_did_not_touch(tmp_path):
    """Nobody was there on the day on which the order filled; the ledger had its split by then."""
    desk = reversed_desk(tmp_path, BUY)
    nights(desk, range(2))
    act(desk.bot, "AAA", EX, "split", 0.1)
    nights(desk, range(2, 5))
    assert desk.holding(day(4)) == 50
    lost = Entry("fill:lost", day(2), EntryKind.TRADE, usd(5_000), -500, AAA, "AAA")
    desk.ledger.post("scripted", [lost])
    nights(desk, [5])
    assert (desk.holding(day(2)), desk.holding(day(5)), desk.cash(day(5))) == (0, 0, Decimal(10_000))


def test_a_shortage_that_no_action_explains_stays_an_error_of_its_sleeve(tmp_path):
    desk = reversed_desk(tmp_path, BUY)
    nights(desk, range(2))
    desk.ledger.post("scripted", [Entry("fill:wrong", day(2), EntryKind.TRADE, usd(10), -501, AAA, "AAA")])
    with pytest.raises(ReconciliationError, match="-501 shares of AAA with 500 held"):
        nights(desk, [2])


# A backtest: the word comes in the session in which the sale fills


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        ("split", 0.1, [("cash_in_lieu", 0, usd(-45_000)), ("split", -450, usd(0)), ("split", 450, usd(0))]),
        ("delisting", 3.0, [("delisting", -500, usd(1_500)), ("delisting", 500, usd(-1_500))]),
    ],
)
def test_a_word_that_comes_in_the_session_of_the_sale_is_the_same_in_a_range_session_by_session_replayed_and_live(
    tmp_path, kind, value, expected
):
    live, whole, single = (reversed_desk(tmp_path / name, BUY, f"{day(3)} sell AAA") for name in ("live", "whole", "single"))
    for made in (live, whole, single):
        act(made.bot, "AAA", EX, kind, value, known_at=XNYS.cutoff(day(4)))
    simulated = walk(whole.bot, STORY)
    for session in STORY:
        walk(single.bot, [session])
    assert result_files(single.bot) == result_files(whole.bot)
    assert replayed(whole.bot, "scripted", STORY[3:]).differences == ()
    nights(live, range(9))
    of_day = simulated["entries"].filter(session=day(4))
    of_actions = of_day.filter(~pl.col("kind").is_in(["trade", "commission"]))
    rows = [(k, q, Decimal(c)) for k, q, c in of_actions.select("kind", "quantity", "cash").sort("kind", "quantity").rows()]
    assert rows == expected
    assert sorted(key for key in of_actions["entry_key"]) == sorted(
        e.key for e in live.ledger.entries("scripted") if e.session == day(4) and e.kind not in ("trade", "commission")
    )
    final = Decimal(10_000) if kind == "split" else Decimal(55_000)
    assert live.cash(day(8)) == Decimal(simulated["equity"]["cash"][-1]) == final
    assert (live.holding(day(8)), simulated["positions"].filter(session=day(8)).height) == (0, 0)


# Any story


def price_of(security: int, session: date) -> Decimal:
    return Decimal(7)


Step = tuple[str, int, int, int]
steps = st.tuples(
    st.sampled_from(["buy", "sell", "sell", "split", "reverse", "delisting", "lost sale"]),
    st.integers(1, 100),
    st.integers(0, 5),
    st.integers(0, 2),
)


@settings(deadline=None, max_examples=300)
@given(st.lists(steps, max_size=14))
def test_whatever_is_heard_of_late_the_entries_make_a_book_and_what_was_entered_stays(story: list[Step]):
    entries: list[Entry] = []
    now = 0
    for n, (what, quantity, back, further) in enumerate(story):
        now = min(now + further, 8)
        session = day(max(0, now - back))
        entry = _step(entries, n, what, quantity, session, day(now))
        if entry is None:
            continue
        entries.append(entry)
        made = list(given_back(entries, price_of))
        keys = [e.key for e in (*entries, *made)]
        assert len(keys) == len(set(keys))
        entries += made
        assert book(entries).cash == sum((e.cash for e in entries), Decimal(0))
        assert given_back(entries, price_of) == ()


def _step(entries: list[Entry], n: int, what: str, quantity: int, earlier: date, today: date) -> Entry | None:
    """A line as the ledger would enter it: of what it knew to be held."""

    def held(keep: Callable[[Entry], bool]) -> int:
        position = book([e for e in entries if keep(e)]).positions.get(1)
        return position.quantity if position else 0

    def line(kind: EntryKind, on: date, shares: int, cash: Decimal) -> Entry:
        key = f"fill:{n}" if kind is EntryKind.TRADE else f"{kind}:1:{on}:{n}"
        return Entry(key, on, kind, usd(cash), shares, 1, "AAA")

    if what == "buy":
        return line(EntryKind.TRADE, today, quantity, Decimal(-5) * quantity)
    known, before = held(lambda e: True), held(lambda e: e.session < earlier)
    if what == "sell":
        sold = min(quantity, known)
        return line(EntryKind.TRADE, today, -sold, Decimal(6) * sold) if sold else None
    if what == "lost sale":
        sold = min(quantity, before)
        return line(EntryKind.TRADE, earlier, -sold, Decimal(6) * sold) if sold and _explained(entries, sold, earlier) else None
    if what == "split":
        return line(EntryKind.SPLIT, earlier, before, Decimal(0)) if before else None
    if what == "delisting":
        return line(EntryKind.DELISTING, earlier, -before, Decimal(2) * before) if before else None
    gone = before - before // 10
    return line(EntryKind.SPLIT, earlier, -gone, Decimal(0)) if gone else None


def _explained(entries: list[Entry], sold: int, on: date) -> bool:
    """Whether no sale that was entered since rests on the shares of this one: the sleeve would have sold them twice."""
    since = [e for e in entries if e.session >= on and e.kind is EntryKind.TRADE and e.quantity < 0]
    return not since
