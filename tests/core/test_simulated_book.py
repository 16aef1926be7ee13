"""The simulated book by hand: what a sleeve pays and earns beside its trades, what it may spend when, and how much is filled."""

from datetime import date
from decimal import Decimal

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.scripted import SESSIONS, act, quote, scripted, walk
from tradebot_core.calendar import xnys
from tradebot_core.config import InterestRate, load_config
from tradebot_core.errors import ConfigurationError
from tradebot_core.model.order import OrderStyle
from tradebot_core.model.portfolio import Book, Entry, EntryKind, Position
from tradebot_core.trading.book_state import BookState
from tradebot_core.trading.session import Close, LastPrice
from tradebot_core.trading.simulated_account import SimulatedAccount

D = Decimal
XNYS = xnys()


def day(n: int) -> date:
    """The n-th session of a story; 0 is Friday, 2024-03-01."""
    return SESSIONS[20 + n]


def days(n: int) -> tuple[date, ...]:
    return SESSIONS[20 : 20 + n]


def cash_of(tables: dict[str, pl.DataFrame]) -> list[Decimal]:
    return [D(value) for value in tables["equity"]["cash"]]


def fills_of(tables: dict[str, pl.DataFrame]) -> list[tuple]:
    return tables["fills"].select("session", "symbol", "side", "quantity", "price", "commission").rows()


# Fees and styles


def test_a_sale_pays_the_fees_of_its_day_within_its_commission(tmp_path):
    bot = scripted(tmp_path, f"{day(0)} buy AAA 0.5", f"{day(2)} sell AAA", costs={"regulatory_fees": "true"})
    quote(bot, "AAA", 10.0)
    tables = walk(bot, days(4))
    # 8.00 a million of 5,000 and 0.000166 of 500 shares, in March 2024.
    assert [(side, fee) for _, _, side, _, _, fee in fills_of(tables)] == [("buy", "0.0000"), ("sell", "0.1230")]
    assert cash_of(tables)[-1] == D("9999.8770")


def test_orders_of_the_closing_auction_fill_at_the_next_close(tmp_path):
    bot = scripted(tmp_path, f"{day(0)} buy AAA 0.5", f"{day(2)} sell AAA")
    bot.sleeve("scripted").strategy.orders = OrderStyle.CLOSE_AUCTION
    quote(bot, "AAA", 10.0, {day(1): (9.0, 10.2), day(3): (12.0, 11.0)})
    tables = walk(bot, days(4))
    assert [fill[:5] for fill in fills_of(tables)] == [
        (day(1), "AAA", "buy", 500, "10.2000"),
        (day(3), "AAA", "sell", 500, "11.0000"),
    ]
    assert tables["fills"]["filled_at"].to_list() == [XNYS.closes_at(day(1)), XNYS.closes_at(day(3))]


def test_a_purchase_market_on_open_is_filled_however_far_it_gaps(tmp_path):
    bot = scripted(tmp_path, f"{day(0)} buy AAA 0.5")
    bot.sleeve("scripted").strategy.orders = OrderStyle.MARKET_OPEN
    quote(bot, "AAA", 10.0, {day(1): (14.0, 14.0)})
    assert [fill[:5] for fill in fills_of(walk(bot, days(2)))] == [(day(1), "AAA", "buy", 500, "14.0000")]


# Volume


def test_what_the_volume_does_not_fill_ends_and_is_decided_anew(tmp_path):
    script = (f"{day(0)} buy AAA 0.5", f"{day(2)} sell AAA", f"{day(3)} sell AAA")
    bot = scripted(tmp_path, *script, costs={"max_participation": 0.001}, limits={"max_order_volume_share": 1.0})
    quote(bot, "AAA", 10.0, volume=300_000)
    tables = walk(bot, days(5))
    assert [fill[:4] for fill in fills_of(tables)] == [(day(1), "AAA", "buy", 300), (day(3), "AAA", "sell", 300)]
    last = tables["order_states"].group_by("order_key", maintain_order=True).last()
    assert last["state"].to_list() == ["expired", "filled"]
    assert tables["positions"]["quantity"].to_list() == [300, 300]


@pytest.mark.parametrize("style", ["in one walk", "session by session"])
def test_what_the_volume_does_not_fill_is_carried_until_it_is_whole_where_that_is_the_rule(tmp_path, style):
    script = (f"{day(0)} buy AAA 0.7", f"{day(4)} sell AAA")
    limits = {"max_order_volume_share": 1.0, "carry_unfilled": "true"}
    bot = scripted(tmp_path, *script, costs={"max_participation": 0.001}, limits=limits)
    quote(bot, "AAA", 10.0, volume=300_000)
    if style == "in one walk":
        fills = fills_of(walk(bot, days(9)))
    else:
        fills = [fill for session in days(9) for fill in fills_of(walk(bot, [session]))]
    assert [(on, side, quantity) for on, _, side, quantity, *_ in fills] == [
        *((day(1), "buy", 300), (day(2), "buy", 300), (day(3), "buy", 100)),
        *((day(5), "sell", 300), (day(6), "sell", 300), (day(7), "sell", 100)),
    ]


# Settlement


@pytest.mark.parametrize("style", ["in one walk", "session by session"])
def test_what_a_sale_brought_buys_when_it_has_settled_under_the_cycle_of_its_day(tmp_path, style):
    """Sold at the open of day 3, under T+2 settled on day 5: it pays no order for day 4, and one for day 5."""
    script = (f"{day(0)} buy AAA 0.9", f"{day(2)} sell AAA", f"{day(3)} buy BBB 0.9", f"{day(4)} buy BBB 0.9")
    bot = scripted(tmp_path, *script)
    quote(bot, "AAA", 10.0)
    quote(bot, "BBB", 20.0)
    if style == "in one walk":
        tables = walk(bot, days(6))
        fills = fills_of(tables)
    else:
        fills = [fill for session in days(6) for fill in fills_of(walk(bot, [session]))]
    assert [fill[:4] for fill in fills if fill[1] == "AAA"] == [(day(1), "AAA", "buy", 900), (day(3), "AAA", "sell", 900)]
    # 1,000 of cash at 1.03 and 1.01 pays 48 shares; the rest is there for the second order.
    assert [fill[:4] for fill in fills if fill[1] == "BBB"] == [(day(4), "BBB", "buy", 48), (day(5), "BBB", "buy", 402)]


def test_what_has_not_settled_is_kept_with_the_book_and_older_books_read_as_before():
    sales = ((day(3), D("9000.0000")),)
    state = BookState(Book(), {}, (), "f", unsettled=sales)
    assert BookState.from_json(state.to_json()) == state
    assert "unsettled" not in BookState(Book(), {}, (), "f").to_json()


def test_proceeds_are_spent_in_the_session_of_the_sale_only_where_that_is_allowed(tmp_path):
    def bought(allowed: str) -> list[tuple]:
        folder = tmp_path / allowed
        script = (f"{day(0)} buy AAA 0.9", f"{day(2)} sell AAA", f"{day(2)} buy BBB 0.9")
        bot = scripted(folder, *script, limits={"spend_proceeds": allowed})
        quote(bot, "AAA", 10.0)
        quote(bot, "BBB", 20.0)
        tables = walk(bot, days(4))
        assert min(cash_of(tables)) >= 0
        return [fill[:4] for fill in fills_of(tables) if fill[1] == "BBB"]

    assert bought("false") == [(day(3), "BBB", "buy", 48)]
    assert bought("true") == [(day(3), "BBB", "buy", 450)]


CASH_ACCOUNT = "mode: paper\nibkr: {account: DU1234567}\n"


@pytest.mark.parametrize(
    "text",
    [
        CASH_ACCOUNT + "risk: {spend_proceeds: true}\n",
        CASH_ACCOUNT + "strategies:\n  - {name: s, class_path: x.Y, allocated_capital: 1, orders: market_open}\n",
        "ibkr: {account: DU1234567, dividend_withholding: 0.15}\ncosts: {dividend_withholding: 0.3}\n",
    ],
)
def test_what_a_cash_account_cannot_do_or_two_places_say_differently_is_refused(tmp_path, text):
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(ConfigurationError, match=r"account_type margin|write the latter only"):
        load_config(tmp_path / "config.yaml")
    if "15" not in text:
        (tmp_path / "config.yaml").write_text(text.replace("DU1234567", "DU1234567, account_type: margin"))
        load_config(tmp_path / "config.yaml")


# What the account does of itself


def test_tax_is_kept_of_a_dividend_and_of_its_correction(tmp_path):
    bot = scripted(tmp_path, f"{day(0)} buy AAA 0.5", costs={"dividend_withholding": 0.15})
    quote(bot, "AAA", 10.0)
    act(bot, "AAA", day(2), "dividend", 0.4)
    act(bot, "AAA", day(2), "dividend", 0.5, known_at=XNYS.opens_at(day(4)))
    tables = walk(bot, days(5))
    paid = tables["entries"].filter(pl.col("kind").is_in(["dividend", "withholding"])).sort("session", "kind")
    assert paid.select("session", "kind", "cash").rows() == [
        (day(2), "dividend", "200.0000"),
        (day(2), "withholding", "-30.0000"),
        (day(4), "dividend", "50.0000"),
        (day(4), "withholding", "-7.5000"),
    ]
    assert cash_of(tables)[-1] == D(5000) + D("212.5")


def test_cash_above_what_is_free_earns_the_rate_of_its_day_over_weekends_too():
    rates = (InterestRate(since=date(2024, 2, 5), rate=0.036), InterestRate(since=date(2024, 2, 7), rate=0.072))
    account = SimulatedAccount(XNYS, interest=rates, interest_free=D(10_000))

    def earned(cash: int, session: date) -> list[Decimal]:
        return [entry.cash for entry in account.entries(Book(D(cash)), (), Close(session, {}, ()))]

    assert earned(30_000, date(2024, 2, 5)) == []  # the Friday before there was no rate
    assert earned(30_000, date(2024, 2, 6)) == [D("2.0000")]  # 20,000 at 3.6 % for a day of 360
    assert earned(30_000, date(2024, 2, 12)) == [D("12.0000")]  # at 7.2 %, three days
    assert earned(10_000, date(2024, 2, 12)) == earned(-5_000, date(2024, 2, 12)) == []


def test_interest_is_a_line_of_the_ledger(tmp_path):
    interest = "[{{since: 2024-01-01, rate: 0.036}}]"
    bot = scripted(tmp_path, costs={"interest": interest, "interest_free_cash": 0})
    quote(bot, "AAA", 10.0)
    tables = walk(bot, days(3))  # over a weekend, and a day
    assert cash_of(tables) == [D(10_000), D(10_003), D("10004.0003")]
    assert tables["entries"]["kind"].to_list() == ["deposit", "interest", "interest"]


def quiet(costs: dict, folder) -> tuple[list[tuple], list[Decimal]]:
    bot = scripted(folder, f"{day(0)} buy AAA 0.5", costs=costs)
    quote(bot, "AAA", 10.0, {session: None for session in SESSIONS if session > day(5)})
    quote(bot, "BBB", 10.0)
    tables = walk(bot, days(20))
    entries = tables["entries"].filter(kind="delisting").select("session", "symbol", "quantity", "cash").rows()
    return entries, [D(value) for value in tables["equity"]["equity"]]


def test_a_share_that_stops_trading_without_a_word_is_carried_or_written_down_after_ten_quiet_sessions(tmp_path):
    assert quiet({}, tmp_path / "carried") == ([], [D(10_000)] * 20)
    entries, equity = quiet({"delisting_return": -0.3}, tmp_path / "written_down")
    assert entries == [(day(15), "AAA", -500, "3500.0000")]
    assert equity == [D(10_000)] * 15 + [D(8_500)] * 5


def test_a_delisting_with_a_price_pays_that_and_a_merger_for_cash_is_one(tmp_path):
    bot = scripted(tmp_path, f"{day(0)} buy AAA 0.5", costs={"delisting_return": -0.3})
    quote(bot, "AAA", 10.0, {session: None for session in SESSIONS if session > day(5)})
    quote(bot, "BBB", 10.0)
    act(bot, "AAA", day(6), "delisting", 12.5)
    tables = walk(bot, days(20))
    assert tables["entries"].filter(kind="delisting").select("session", "cash").rows() == [(day(6), "6250.0000")]
    assert cash_of(tables)[-1] == D(11_250)


def test_what_is_written_down_is_what_the_session_s_actions_leave():
    held = Book(D(0), {1: Position(1, "AAA", 10, D(100), day(0))})
    close = Close(day(15), {1: LastPrice(D(10), day(0))}, ())
    account = SimulatedAccount(XNYS, delisting_return=-1.0)
    (entry,) = account.entries(held, (), close)
    assert (entry.quantity, entry.cash, entry.kind) == (-10, 0, EntryKind.DELISTING)
    paid = Entry("delisting:1", day(15), EntryKind.DELISTING, D(50), -10, 1, "AAA")
    assert account.entries(held, (paid,), close) == ()


# Cash is conserved


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    plan=st.sampled_from(["fixed", "tiered"]),
    impact=st.sampled_from(["off", "square_root", "linear"]),
    cap=st.sampled_from(["null", "0.0005", "0.01"]),
    weights=st.lists(st.sampled_from([0.0, 0.2, 0.45]), min_size=2, max_size=2),
    style=st.sampled_from(OrderStyle),
    opens=st.lists(st.sampled_from([8.0, 9.99, 10.01, 12.0]), min_size=6, max_size=6),
)
def test_cash_is_the_deposit_and_the_fills_and_nothing_is_spent_that_is_not_there(
    tmp_path_factory, plan, impact, cap, weights, style, opens
):
    script = [
        f"{day(n % 2)} buy {symbol} {weight}" for n, (symbol, weight) in enumerate(zip(["AAA", "BBB"], weights, strict=True))
    ]
    bot = scripted(
        tmp_path_factory.mktemp("walk"),
        *script,
        f"{day(3)} sell AAA",
        costs={"commission_plan": plan, "commission_per_share": 0.005, "commission_minimum": 1, "regulatory_fees": "true"}
        | {"impact": impact, "max_participation": cap, "slippage_bps": 5},
    )
    bot.sleeve("scripted").strategy.orders = style
    for symbol in ("AAA", "BBB"):
        quote(bot, symbol, 10.0, {day(n): (at, 10.0) for n, at in enumerate(opens)}, volume=100_000)
    tables = walk(bot, days(6))
    flows = sum(
        (-1 if side == "buy" else 1) * quantity * D(price) - D(commission)
        for _, _, side, quantity, price, commission in fills_of(tables)
    )
    assert cash_of(tables)[-1] == D(10_000) + flows == sum(D(cash) for cash in tables["entries"]["cash"])
    held = tables["positions"].filter(session=day(5))
    bought = tables["fills"].select(pl.when(side="buy").then("quantity").otherwise(-pl.col("quantity"))).sum().item()
    assert held["quantity"].sum() == bought
    if style is not OrderStyle.MARKET_OPEN:
        assert min(cash_of(tables)) >= 0
