"""The book: a fold of immutable entries, exact to the last decimal."""

from datetime import UTC, date, datetime
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tradebot_core.errors import ExecutionError
from tradebot_core.model.market import ActionType, CorporateAction
from tradebot_core.model.order import Fill, Side
from tradebot_core.model.portfolio import Book, Entry, EntryKind, fill_entries, usd
from tradebot_core.trading.session import LastPrice, action_entries, sleeve_equity

DAY = date(2024, 6, 28)
AAA = 100


def deposit(amount: str) -> Entry:
    return Entry("deposit:opening", DAY, EntryKind.DEPOSIT, usd(amount))


def fill(number: int, side: Side, quantity: int, price: str | Decimal, commission: str = "1", security_id: int = AAA) -> Fill:
    at = datetime(2024, 6, 28, 13, 30, tzinfo=UTC)
    order = f"s|{DAY}|{security_id}|{side}"
    return Fill(f"x{number}", order, DAY, security_id, "AAA", side, quantity, usd(price), usd(commission), at)


def after(book: Book, *fills: Fill) -> Book:
    return book.apply_all(entry for made in fills for entry in fill_entries(made))


def split(value: float) -> CorporateAction:
    return CorporateAction(AAA, DAY, ActionType.SPLIT, value)


def closing(price: str | Decimal, session: date = DAY) -> dict[int, LastPrice]:
    return {AAA: LastPrice(usd(price), session)}


prices = st.decimals(min_value="0.01", max_value="5000", places=4)
quantities = st.integers(min_value=1, max_value=10_000)


@st.composite
def honest_trades(draw) -> list[Fill]:
    """Fills in two securities that never sell what is not held."""
    held, made = {AAA: 0, 200: 0}, []
    for number in range(draw(st.integers(0, 25))):
        security = draw(st.sampled_from([AAA, 200]))
        side = draw(st.sampled_from([Side.BUY, Side.SELL] if held[security] else [Side.BUY]))
        quantity = draw(quantities if side is Side.BUY else st.integers(1, held[security]))
        held[security] += side.sign * quantity
        commission = draw(st.decimals(min_value="0", max_value="20", places=4))
        made.append(fill(number, side, quantity, draw(prices), str(commission), security))
    return made


@settings(deadline=None)
@given(honest_trades())
def test_a_position_is_the_sum_of_its_fills_and_cash_balances_to_the_last_decimal(trades):
    book = after(Book().apply(deposit("1000000")), *trades)
    for security in (AAA, 200):
        shares = sum(made.side.sign * made.quantity for made in trades if made.security_id == security)
        held = book.positions.get(security)
        assert (held.quantity if held else 0) == shares
        assert shares >= 0
    paid = sum((made.side.sign * made.quantity * made.price + made.commission for made in trades), Decimal(0))
    assert book.cash == Decimal("1000000") - paid


@settings(deadline=None)
@given(honest_trades())
def test_the_cost_of_a_position_follows_its_average_cost(trades):
    book, cost, held = Book(), Decimal(0), 0
    for made in (made for made in trades if made.security_id == AAA):
        book = after(book, made)
        if made.side is Side.BUY:
            cost, held = cost + made.quantity * made.price, held + made.quantity
        else:
            cost, held = usd(cost * (held - made.quantity) / held), held - made.quantity
        if held:
            assert book.positions[AAA].cost == cost
            assert book.positions[AAA].average_cost == cost / held
        else:
            assert AAA not in book.positions


def test_average_cost_by_hand():
    book = after(Book(), fill(1, Side.BUY, 100, "10"), fill(2, Side.BUY, 300, "14"))
    assert book.positions[AAA].average_cost == Decimal("13")
    book = after(book, fill(3, Side.SELL, 200, "20"))
    assert (book.positions[AAA].quantity, book.positions[AAA].cost) == (200, Decimal("2600.0000"))
    assert book.positions[AAA].average_cost == Decimal("13")  # a sale does not change what the rest cost
    assert book.cash == Decimal(-100 * 10 - 300 * 14 + 200 * 20 - 3)


def test_a_position_cannot_become_negative_and_the_book_stays_as_it_was():
    book = after(Book(), fill(1, Side.BUY, 10, "5"))
    with pytest.raises(ValueError, match="-11 shares of AAA with 10 held"):
        after(book, fill(2, Side.SELL, 11, "5"))
    with pytest.raises(ValueError, match="-1 shares of AAA with 0 held"):
        after(Book(), fill(3, Side.SELL, 1, "5"))
    assert book.positions[AAA].quantity == 10


def test_selling_out_is_remembered_with_its_day_and_a_new_position_opens_anew():
    book = after(Book(), fill(1, Side.BUY, 10, "5"), fill(2, Side.SELL, 10, "6"))
    assert (dict(book.positions), dict(book.last_sold)) == ({}, {AAA: DAY})
    again = after(book, fill(3, Side.BUY, 1, "7"))
    assert again.positions[AAA].cost == Decimal("7.0000")


@settings(deadline=None)
@given(quantities, prices, st.integers(2, 20))
def test_a_split_changes_no_value_and_no_cost(quantity, price, ratio):
    book = after(Book(), fill(1, Side.BUY, quantity, price * ratio))
    after_split = book.apply_all(action_entries(book, [split(float(ratio))], DAY, closing(price)))
    assert after_split.positions[AAA].quantity == quantity * ratio
    assert after_split.positions[AAA].cost == book.positions[AAA].cost
    assert after_split.cash == book.cash
    assert after_split.equity({AAA: price}) == book.equity({AAA: price * ratio})


@settings(deadline=None)
@given(quantities, prices, st.sampled_from([0.5, 0.1, 0.05, 1 / 3, 1.5, 0.025, 7 / 3]))
def test_an_uneven_split_pays_cash_for_the_fraction_at_the_close_and_nothing_is_lost(quantity, price, ratio):
    book = after(Book(), fill(1, Side.BUY, quantity, "10"))
    entries = action_entries(book, [split(ratio)], DAY, closing(price))
    after_split = book.apply_all(entries)
    held = after_split.positions[AAA].quantity if AAA in after_split.positions else 0
    cash_in_lieu = after_split.cash - book.cash
    assert 0 <= cash_in_lieu < price
    exact = quantity * Decimal(str(ratio)) * price
    assert abs(held * price + cash_in_lieu - exact) <= Decimal("0.0002")


def test_a_reverse_split_that_leaves_a_fraction_by_hand():
    book = after(Book(), fill(1, Side.BUY, 25, "2"))
    entries = action_entries(book, [split(0.1)], DAY, closing("21"))
    assert [(entry.kind, entry.quantity, entry.cash) for entry in entries] == [
        (EntryKind.SPLIT, -23, Decimal("0.0000")),
        (EntryKind.CASH_IN_LIEU, 0, Decimal("10.5000")),
    ]


def test_the_fraction_of_a_security_that_did_not_trade_is_worth_its_cost():
    book = after(Book(), fill(1, Side.BUY, 25, "2"))
    entries = action_entries(book, [split(0.1)], DAY, closing("2.5", session=date(2024, 6, 27)))
    assert entries[1].cash == Decimal("10.0000")  # half of a new share, which cost 20


def test_a_reverse_split_of_less_than_one_new_share_ends_the_position_for_cash():
    book = after(Book(), fill(1, Side.BUY, 4, "2"))
    gone = book.apply_all(action_entries(book, [split(0.1)], DAY, closing("30")))
    assert AAA not in gone.positions
    assert gone.cash - book.cash == Decimal("12.0000")


def test_a_dividend_of_a_split_day_is_paid_on_the_new_shares():
    book = after(Book(), fill(1, Side.BUY, 10, "8"))
    dividend = CorporateAction(AAA, DAY, ActionType.DIVIDEND, 0.25)
    for order in ([split(2.0), dividend], [dividend, split(2.0)]):
        entries = action_entries(book, order, DAY, closing("4"))
        assert [(entry.kind, entry.cash) for entry in entries][-1] == (EntryKind.DIVIDEND, Decimal("5.0000"))


def test_a_delisting_pays_what_it_pays_and_ends_the_position():
    book = after(Book(), fill(1, Side.BUY, 10, "8"))
    paid = CorporateAction(AAA, DAY, ActionType.DELISTING, 3.21)
    gone = book.apply_all(action_entries(book, [paid], DAY, {}))
    assert (dict(gone.positions), gone.cash - book.cash) == ({}, Decimal("32.1000"))
    worthless = CorporateAction(AAA, DAY, ActionType.DELISTING, 0.0)
    assert book.apply_all(action_entries(book, [worthless], DAY, {})).cash == book.cash


def test_actions_of_other_days_and_of_securities_not_held_enter_nothing():
    book = after(Book(), fill(1, Side.BUY, 10, "8"))
    other_day = CorporateAction(AAA, date(2024, 6, 27), ActionType.DIVIDEND, 1.0)
    not_held = CorporateAction(999, DAY, ActionType.DIVIDEND, 1.0)
    assert action_entries(book, [other_day, not_held], DAY, closing("8")) == ()


@pytest.mark.parametrize("amount", [float("nan"), float("inf"), float("-inf"), Decimal("NaN"), Decimal("sNaN"), "Infinity"])
def test_what_is_no_finite_number_is_no_money(amount):
    with pytest.raises(ValueError, match="not an amount of money"):
        usd(amount)


def test_money_is_kept_to_a_hundredth_of_a_cent_rounding_half_to_even():
    assert [str(usd(x)) for x in ("1.00005", "1.00015", 0.1, 3, Decimal("-2.5"))] == [
        "1.0000",
        "1.0002",
        "0.1000",
        "3.0000",
        "-2.5000",
    ]


def test_equity_names_a_held_security_without_a_price():
    book = after(Book(), fill(1, Side.BUY, 10, "8"))
    assert book.equity({AAA: Decimal("9")}) == Decimal(-81) + Decimal(90)
    with pytest.raises(KeyError, match=str(AAA)):
        book.equity({})


def test_a_sleeve_with_a_holding_whose_price_was_never_known_has_no_equity():
    book = after(Book(), fill(1, Side.BUY, 10, "8"))
    assert sleeve_equity(book, closing("9")) == Decimal(9)
    with pytest.raises(ExecutionError, match="No price was ever known of AAA"):
        sleeve_equity(book, {})
