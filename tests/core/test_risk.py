"""The risk gate: every limit at its boundary and one step beyond; what is not provably kept does not pass."""

from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from math import isfinite
from types import MappingProxyType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tradebot_core.config import RiskSettings
from tradebot_core.interfaces import BrokerCash, OtherOrders, Situation
from tradebot_core.model.order import OrderIntent, RiskVerdict, Side, order_key
from tradebot_core.model.portfolio import Book, Position
from tradebot_core.trading.risk import LimitGate

DAY = date(2024, 6, 28)
AAA, BBB, CCC = 100, 200, 300
NAN, INF = float("nan"), float("inf")
# So loose that only the limit under test can bind.
LOOSE = RiskSettings(
    max_order_notional=Decimal(10**9),
    max_order_volume_share=1.0,
    max_position_weight=1.0,
    max_gross_exposure=1.0,
    cash_buffer=0.0,
    max_orders_per_session=1000,
    min_price=Decimal(0),
    max_price_jump=0.5,
    max_sector_weight=1.0,
    max_drawdown=1.0,
)


def order(side: Side = Side.BUY, quantity: int = 100, price: str = "10") -> OrderIntent:
    return OrderIntent(order_key("s", DAY, AAA, side), "s", DAY, AAA, "AAA", side, quantity, Decimal(price))


def situation(
    cash: str = "100000",
    held: int = 0,
    price: str = "10",
    volume: float | None = 1e9,
    orders: int = 0,
    equity: str | None = None,
    priced_on: date | None = DAY,
    before: str | None = None,
    peak: str | None = None,
    unfilled: int = 0,
) -> Situation:
    """`before` is the close of the session before; the price when it is not told."""
    positions = {AAA: Position(AAA, "AAA", held, Decimal(held), DAY)} if held else {}
    book = Book(Decimal(cash), MappingProxyType(positions))
    worth = Decimal(equity) if equity is not None else book.equity({AAA: Decimal(price)})
    volumes = {} if volume is None else {AAA: volume}
    return Situation(
        book,
        worth,
        {AAA: Decimal(price)},
        volumes,
        orders,
        priced_on={AAA: priced_on} if priced_on else {},
        previous_closes={AAA: Decimal(before or price)},
        peak=worth if peak is None else Decimal(peak),
        unfilled={(AAA, Side.BUY): unfilled, (AAA, Side.SELL): 0, (BBB, Side.BUY): 99},
    )


def verdict(limits: dict, intent: OrderIntent, around: Situation) -> RiskVerdict:
    return LimitGate(RiskSettings(**{**LOOSE.model_dump(), **limits})).check(intent, around)


def test_an_order_within_all_limits_is_approved_and_says_so():
    assert verdict({}, order(), situation()) == RiskVerdict(True, "within_limits", 1000.0, 100_000.0)


# rule: limits, at the boundary (order, situation), just beyond (order, situation), value beyond, limit
BOUNDARIES = {
    "whole_quantity": ({}, (order(quantity=1), situation()), (order(quantity=0), situation()), 0, 1),
    "max_orders_per_session": (
        {"max_orders_per_session": 5},
        (order(), situation(orders=4)),
        (order(), situation(orders=5)),
        6,
        5,
    ),
    "min_price": (
        {"min_price": Decimal("5")},
        (order(), situation(price="5.0000")),
        (order(), situation(price="4.9999")),
        4.9999,
        5,
    ),
    "max_order_notional": (
        {"max_order_notional": Decimal(1000)},
        (order(quantity=100), situation(price="10")),
        (order(quantity=100), situation(price="10.0001")),
        1000.01,
        1000,
    ),
    "max_order_volume_share": (
        {"max_order_volume_share": 0.01},
        (order(quantity=100), situation(volume=100_000.0)),
        (order(quantity=100), situation(volume=99_999.0)),
        1000,
        999.99,
    ),
    "max_position_weight": (
        {"max_position_weight": 0.2},
        (order(quantity=2000), situation(cash="100000")),
        (order(quantity=2001), situation(cash="100000")),
        20_010,
        20_000,
    ),
    "max_gross_exposure": (
        {"max_gross_exposure": 0.5},
        (order(quantity=2500), situation(cash="75000", held=2500)),
        (order(quantity=2501), situation(cash="75000", held=2500)),
        50_010,
        50_000,
    ),
    "stale_price": (
        {},
        (order(), situation(priced_on=DAY)),
        (order(), situation(priced_on=DAY - timedelta(days=1))),
        1,
        0,
    ),
    "price_jump": (
        {"max_price_jump": 0.5},
        (order(), situation(price="15", before="10")),
        (order(), situation(price="15.0001", before="10")),
        0.50001,
        0.5,
    ),
    "max_account_orders_per_day": (
        {"max_account_orders_per_day": 5},
        (order(), replace(situation(orders=2), others=OtherOrders(2))),
        (order(), replace(situation(orders=2), others=OtherOrders(3))),
        6,
        5,
    ),
    "opposite_order": (
        {},
        (order(), replace(situation(), others=OtherOrders(2, frozenset({(AAA, Side.BUY), (BBB, Side.SELL)})))),
        (order(), replace(situation(), others=OtherOrders(1, frozenset({(AAA, Side.SELL)})))),
        1,
        0,
    ),
    "repeat_orders": (
        {"max_unfilled_orders": 3},
        (order(), situation(unfilled=2)),
        (order(), situation(unfilled=3)),
        4,
        3,
    ),
    "drawdown_stop": (
        {"max_drawdown": 0.25},
        (order(), situation(cash="75000", peak="100000")),
        (order(), situation(cash="74999", peak="100000")),
        0.25001,
        0.25,
    ),
    "cash": (
        {"cash_buffer": 0.02},
        (order(quantity=9800), situation(cash="100000")),
        (order(quantity=9801), situation(cash="100000")),
        98_010,
        98_000,
    ),
    "no_short_sale": (
        {},
        (order(Side.SELL, 100), situation(held=100)),
        (order(Side.SELL, 101), situation(held=100)),
        101,
        100,
    ),
}


@pytest.mark.parametrize("rule", BOUNDARIES)
def test_a_limit_lets_pass_at_its_boundary_and_refuses_one_step_beyond(rule):
    limits, at, beyond, value, limit = BOUNDARIES[rule]
    assert verdict(limits, *at).approved
    refused = verdict(limits, *beyond)
    assert (refused.approved, refused.rule) == (False, rule)
    assert (refused.value, refused.limit) == (pytest.approx(value), pytest.approx(limit))


def test_what_is_held_counts_towards_the_position_limit():
    limits = {"max_position_weight": 0.2}
    assert verdict(limits, order(quantity=500), situation(cash="85000", held=1500)).approved
    refused = verdict(limits, order(quantity=501), situation(cash="85000", held=1500))
    assert (refused.rule, refused.value, refused.limit) == ("max_position_weight", 20_010.0, 20_000.0)


def test_a_restricted_symbol_is_never_bought_and_may_be_sold():
    limits = {"restricted": ("AAA",)}
    refused = verdict(limits, order(), situation())
    assert (refused.approved, refused.rule) == (False, "restricted")
    assert verdict(limits, order(Side.SELL), situation(held=100)).approved


def test_a_sale_is_held_to_what_is_held_and_not_to_the_limits_on_buying():
    tight = {"max_order_notional": 1, "max_position_weight": 0.01, "max_gross_exposure": 0.01, "min_price": Decimal(500)}
    assert verdict(tight, order(Side.SELL, 100), situation(held=100, volume=None)).approved


def test_nothing_is_sold_that_is_not_held():
    refused = verdict({}, order(Side.SELL, 1), situation())
    assert (refused.approved, refused.rule, refused.value, refused.limit) == (False, "no_short_sale", 1.0, 0.0)


@pytest.mark.parametrize("quantity", [-1, 0, 1.5, NAN, INF, True, None, "1", Decimal(3)])
def test_a_quantity_that_is_no_whole_positive_number_never_passes(quantity):
    for side in Side:
        refused = verdict({}, replace(order(side), quantity=quantity), situation(held=100))
        assert (refused.approved, refused.rule) == (False, "whole_quantity")


@pytest.mark.parametrize("price", ["NaN", "sNaN", "Infinity", "-Infinity", "0", "-10"])
def test_a_price_that_is_no_positive_number_never_passes(price):
    for side in Side:
        around = replace(situation(held=100), prices={AAA: Decimal(price)})
        refused = verdict({}, order(side), around)
        assert (refused.approved, refused.rule) == (False, "known_price")


def test_an_unknown_price_never_passes():
    refused = verdict({}, order(), replace(situation(), prices={}))
    assert (refused.approved, refused.rule, refused.value) == (False, "known_price", None)


@pytest.mark.parametrize("volume", [None, NAN, INF, -INF, -1.0, 0.0])
def test_a_volume_that_is_unknown_or_no_number_never_passes(volume):
    refused = verdict({}, order(), situation(volume=volume))
    assert (refused.approved, refused.rule) == (False, "max_order_volume_share")


@pytest.mark.parametrize("equity", ["NaN", "Infinity", "-Infinity", "0", "-1"])
@pytest.mark.parametrize("buffer", [0.0, 0.02])
def test_an_equity_that_is_no_positive_number_never_passes(equity, buffer):
    refused = verdict({"cash_buffer": buffer}, order(quantity=1), situation(equity=equity))
    assert not refused.approved


@pytest.mark.parametrize("cash", ["NaN", "Infinity", "-Infinity", "-0.01", "0"])
def test_cash_that_is_not_there_is_not_spent(cash):
    refused = verdict({}, order(quantity=1), situation(cash=cash, equity="100000"))
    assert not refused.approved


def test_a_fall_is_a_jump_as_a_rise_is():
    assert verdict({"max_price_jump": 0.5}, order(), situation(price="5", before="10")).approved
    refused = verdict({"max_price_jump": 0.5}, order(), situation(price="4.9999", before="10"))
    assert (refused.approved, refused.rule, refused.value) == (False, "price_jump", 0.50001)


def test_nothing_is_bought_whose_price_is_of_no_known_session():
    refused = verdict({}, order(), situation(priced_on=None))
    assert (refused.approved, refused.rule, refused.value, refused.limit) == (False, "stale_price", None, 0.0)


@pytest.mark.parametrize("before", ["NaN", "sNaN", "Infinity", "-Infinity", "0", "-10"])
def test_nothing_is_bought_whose_close_of_the_session_before_is_no_positive_number(before):
    refused = verdict({}, order(), situation(before=before))
    assert (refused.approved, refused.rule, refused.value) == (False, "price_jump", None)


def test_nothing_is_bought_that_did_not_trade_in_the_session_before():
    refused = verdict({}, order(), replace(situation(), previous_closes={}))
    assert (refused.approved, refused.rule, refused.value, refused.limit) == (False, "price_jump", None, 0.5)


@pytest.mark.parametrize("around", [situation(held=100, priced_on=None), situation(held=100, price="1000", before="1")])
def test_what_is_held_is_sold_on_an_old_price_and_after_a_jump(around):
    assert verdict({}, order(Side.SELL), around).approved


@pytest.mark.parametrize("peak", ["NaN", "sNaN", "Infinity", "-Infinity", "0", "-1"])
def test_nothing_is_bought_below_a_peak_that_is_no_positive_number(peak):
    refused = verdict({}, order(quantity=1), situation(peak=peak))
    assert (refused.approved, refused.rule, refused.value) == (False, "drawdown_stop", None)


def test_nothing_is_bought_when_the_peak_is_not_known_and_what_is_held_is_sold():
    around = replace(situation(held=100), peak=None)
    refused = verdict({}, order(quantity=1), around)
    assert (refused.approved, refused.rule, refused.value, refused.limit) == (False, "drawdown_stop", None, 1.0)
    assert verdict({}, order(Side.SELL), around).approved
    assert verdict({"max_drawdown": 0.25}, order(Side.SELL), situation(held=100, peak="10000000")).approved


def test_sales_that_found_nobody_are_not_repeated_for_ever_either():
    around = replace(situation(held=100), unfilled={(AAA, Side.SELL): 3})
    assert verdict({"max_unfilled_orders": 4}, order(Side.SELL), around).approved
    refused = verdict({"max_unfilled_orders": 3}, order(Side.SELL), around)
    assert refused == RiskVerdict(False, "repeat_orders", 4.0, 3.0)


def test_what_another_sleeve_buys_is_not_sold_in_the_same_session():
    around = replace(situation(held=100), others=OtherOrders(1, frozenset({(AAA, Side.BUY)})))
    assert verdict({}, order(Side.SELL), around) == RiskVerdict(False, "opposite_order", 1.0, 0.0)


def among(industries: dict[int, str | None] | None, **held: int) -> Situation:
    """Equity 100,000, every price 10; `b` and `c` shares of two other securities are held."""
    positions = {n: Position(n, "OTHER", held[name], Decimal(1), DAY) for name, n in (("b", BBB), ("c", CCC)) if name in held}
    around, prices = situation(equity="100000"), dict.fromkeys((AAA, BBB, CCC), Decimal(10))
    cash = Decimal(100_000) - sum(10 * shares for shares in held.values())
    return replace(around, book=Book(cash, MappingProxyType(positions)), prices=prices, industries=industries)


def test_purchases_and_what_is_held_of_the_same_industry_stay_within_its_weight():
    limits, industries = {"max_sector_weight": 0.4}, {AAA: "Oil", BBB: "Oil", CCC: "Steel"}
    assert verdict(limits, order(quantity=1000), among(industries, b=3000, c=3000)).approved
    refused = verdict(limits, order(quantity=1001), among(industries, b=3000, c=3000))
    assert refused == RiskVerdict(False, "max_sector_weight", 40_010.0, 40_000.0)


def test_securities_of_unknown_industry_count_as_one_industry():
    limits = {"max_sector_weight": 0.4}
    for unknown in ({AAA: None, BBB: None, CCC: "Steel"}, {CCC: "Steel"}):
        assert verdict(limits, order(quantity=1000), among(unknown, b=3000, c=3000)).approved
        refused = verdict(limits, order(quantity=1001), among(unknown, b=3000, c=3000))
        assert refused == RiskVerdict(False, "max_sector_weight", 40_010.0, 40_000.0)


def test_where_nobody_tells_an_industry_none_is_limited():
    assert verdict({"max_sector_weight": 0.4}, order(quantity=2000), among(None, b=3000)).approved


@pytest.mark.parametrize("price", ["NaN", "sNaN", "Infinity", None])
def test_nothing_is_bought_beside_a_holding_whose_worth_is_no_number(price):
    around = among({AAA: "Oil", BBB: "Oil"}, b=1)
    prices = {AAA: Decimal(10)} | ({BBB: Decimal(price)} if price else {})
    refused = verdict({}, order(quantity=1), replace(around, prices=prices))
    assert (refused.approved, refused.rule, refused.value) == (False, "max_sector_weight", None)


def test_what_is_held_is_sold_however_much_its_industry_weighs():
    around = replace(situation(held=100), industries={AAA: "Oil"})
    assert verdict({"max_sector_weight": 0.001}, order(Side.SELL), around).approved


amounts = st.decimals(min_value="1", max_value="100000", places=2)
shares = st.floats(min_value=0.001, max_value=1.0)


@st.composite
def limit_pairs(draw) -> tuple[RiskSettings, RiskSettings]:
    """Limits, and the same ones with each as tight or tighter."""

    def two(values):
        return sorted((draw(values), draw(values)))

    loose, tight = {}, {}
    for name in ("max_order_volume_share", "max_position_weight", "max_gross_exposure", "max_sector_weight", "max_drawdown"):
        tight[name], loose[name] = two(shares)
    tight["max_order_notional"], loose["max_order_notional"] = two(amounts)
    tight["max_orders_per_session"], loose["max_orders_per_session"] = two(st.integers(1, 10))
    tight["max_price_jump"], loose["max_price_jump"] = two(shares)
    for name in ("max_unfilled_orders", "max_account_orders_per_day"):
        tight[name], loose[name] = two(st.integers(1, 20))
    loose["cash_buffer"], tight["cash_buffer"] = two(st.floats(min_value=0, max_value=0.5))
    loose["min_price"], tight["min_price"] = two(st.decimals(min_value="0", max_value="50", places=2))
    loose["restricted"], tight["restricted"] = (), draw(st.sampled_from([(), ("AAA",), ("BBB",)]))
    return RiskSettings(**loose), RiskSettings(**tight)


prices = st.decimals(min_value="0.01", max_value="100", places=2).map(str)
plain_situations = st.builds(
    situation,
    cash=amounts.map(str),
    held=st.integers(0, 2000),
    price=prices,
    volume=st.none() | st.floats(min_value=0, max_value=1e7) | st.just(NAN),
    orders=st.integers(0, 10),
    priced_on=st.sampled_from([DAY, DAY, DAY - timedelta(days=1), None]),
    before=st.none() | prices,
    peak=st.none() | amounts.map(str),
    unfilled=st.integers(0, 5),
)


@st.composite
def situations_(draw) -> Situation:
    """With an industry or none, and other sleeves or none."""
    others = OtherOrders(draw(st.integers(0, 20)), draw(st.frozensets(st.tuples(st.just(AAA), st.sampled_from(Side)))))
    industries = draw(st.sampled_from([None, {}, {AAA: "Oil"}]))
    return replace(draw(plain_situations), others=others, industries=industries)


situations = situations_()
orders = st.builds(order, side=st.sampled_from(Side), quantity=st.integers(0, 2000))


@settings(deadline=None)
@given(limit_pairs(), orders, situations)
def test_tightening_a_limit_never_turns_a_refusal_into_a_pass(limits, intent, around):
    loose, tight = limits
    if not LimitGate(loose).check(intent, around).approved:
        assert not LimitGate(tight).check(intent, around).approved


NO_NUMBERS = [NAN, INF, -INF]


@st.composite
def spoilt(draw) -> Situation:
    """A situation in which one of the numbers that a purchase is judged by is none."""
    around = draw(plain_situations.map(lambda s: replace(s, industries={AAA: "Oil"})))
    bad = draw(st.sampled_from([*map(Decimal, ("NaN", "sNaN", "Infinity", "-Infinity"))]))
    return draw(
        st.sampled_from(
            [
                replace(around, prices={AAA: bad}),
                replace(around, previous_closes={AAA: bad}),
                replace(around, equity=bad),
                replace(around, peak=bad),
                replace(around, book=replace(around.book, cash=bad)),
                replace(around, median_dollar_volume={AAA: draw(st.sampled_from(NO_NUMBERS))}),
                replace(around, priced_on={}),
                replace(around, previous_closes={}),
                replace(around, peak=None),
            ]
        )
    )


@settings(deadline=None)
@given(limit_pairs(), st.integers(1, 2000), spoilt())
def test_nothing_is_bought_where_a_number_is_missing_or_none(limits, quantity, around):
    for chosen in (*limits, LOOSE):
        refused = LimitGate(chosen).check(order(quantity=quantity), around)
        assert not refused.approved
        assert refused.rule != "within_limits"
        assert refused.value is None or isfinite(refused.value)


@settings(deadline=None)
@given(limit_pairs(), orders, situations)
def test_what_passes_keeps_every_limit(limits, intent, around):
    settings = limits[0]
    if not LimitGate(settings).check(intent, around).approved:
        return
    price, held = around.prices[AAA], around.book.positions.get(AAA)
    shares_held, notional = (held.quantity if held else 0), intent.quantity * price
    assert intent.quantity >= 1
    if intent.side is Side.SELL:
        assert intent.quantity <= shares_held
        return
    assert notional <= settings.max_order_notional
    assert float(notional) <= around.median_dollar_volume[AAA] * settings.max_order_volume_share
    assert float(notional + shares_held * price) <= float(around.equity) * settings.max_position_weight * (1 + 1e-12)
    assert around.priced_on[AAA] == intent.session
    assert abs(float(price / around.previous_closes[AAA]) - 1) <= settings.max_price_jump * (1 + 1e-12)
    assert float(around.equity) >= float(around.peak) * (1 - settings.max_drawdown) * (1 - 1e-12)
    assert around.unfilled[AAA, intent.side] < settings.max_unfilled_orders
    assert (AAA, Side.SELL) not in around.others.sides
    assert float(around.book.cash - notional) >= float(around.equity) * settings.cash_buffer * (1 - 1e-12)
    assert "AAA" not in settings.restricted


@pytest.mark.parametrize(
    ("available", "verdict"),
    [
        (Decimal(1000), RiskVerdict(True, "within_limits", 1000, 1000)),
        (Decimal("999.99"), RiskVerdict(False, "broker_settled_cash", 1000, 999.99)),
        (Decimal(-5), RiskVerdict(False, "broker_settled_cash", 1000, -5)),
        (None, RiskVerdict(False, "broker_settled_cash", None, 0)),
        (Decimal("NaN"), RiskVerdict(False, "broker_settled_cash", None, 0)),
    ],
)
def test_a_purchase_must_fit_into_what_the_broker_says_is_settled(available, verdict):
    told = replace(situation(), broker_cash=BrokerCash(available))
    assert LimitGate(LOOSE).check(order(), told) == verdict
    assert LimitGate(LOOSE).check(order(Side.SELL), replace(told, book=situation(held=100).book)).approved


# The last look: the price of the moment against the one an order was sized on


def last_look(*prices: str, side: Side = Side.BUY, **limits: object) -> RiskVerdict:
    """Of an order sized at 10."""
    return LimitGate(RiskSettings(**limits)).check_price(order(side), [Decimal(price) for price in prices])


@pytest.mark.parametrize(
    ("side", "price", "approved", "value", "limit"),
    [
        (Side.BUY, "10", True, 0.0, 0.1),
        (Side.BUY, "11", True, 0.1, 0.1),
        (Side.BUY, "11.0001", False, 0.10001, 0.1),
        (Side.BUY, "9", True, 0.1, 0.1),
        (Side.BUY, "8.9999", False, 0.10001, 0.1),
        (Side.BUY, "5", False, 0.5, 0.1),  # split two for one
        (Side.SELL, "8", True, 0.2, 0.3),  # a fall in which one wants to be out
        (Side.SELL, "7", True, 0.3, 0.3),
        (Side.SELL, "6.6667", False, 0.33333, 0.3),  # split three for two
        (Side.SELL, "5", False, 0.5, 0.3),
        (Side.SELL, "100", False, 9.0, 0.3),  # ten shares made one: there is less to sell than we think
    ],
)
def test_the_price_may_be_so_far_from_the_close_an_order_was_sized_on(side, price, approved, value, limit):
    assert last_look(price, side=side) == RiskVerdict(approved, "price_collar", value, limit)


def test_the_collars_are_settings_of_their_own():
    assert last_look("10.6", price_collar=0.05) == RiskVerdict(False, "price_collar", 0.06, 0.05)
    assert last_look("8.9", side=Side.SELL, price_collar_sales=0.1) == RiskVerdict(False, "price_collar", 0.11, 0.1)


def test_of_several_prices_the_farthest_decides():
    assert last_look("10.1", "5") == RiskVerdict(False, "price_collar", 0.5, 0.1)
    assert last_look("10.1", "9.95") == RiskVerdict(True, "price_collar", 0.01, 0.1)


@pytest.mark.parametrize("worthless", ["NaN", "sNaN", "Infinity", "0", "-1"])
@pytest.mark.parametrize("side", Side)
def test_a_price_that_is_none_keeps_no_collar(worthless, side):
    assert last_look("10", worthless, side=side) == RiskVerdict(False, "price_collar", None, 0.1 if side is Side.BUY else 0.3)


@pytest.mark.parametrize("side", Side)
def test_without_any_price_the_setting_decides(side):
    assert last_look(side=side) == RiskVerdict(True, "fresh_quote")
    assert last_look(side=side, fresh_quote="required") == RiskVerdict(False, "fresh_quote")


def test_an_order_that_was_sized_on_no_price_has_no_collar_to_keep():
    assert not LimitGate(RiskSettings()).check_price(order(price="0"), [Decimal("10")]).approved
    assert not LimitGate(RiskSettings()).check_price(order(price="NaN"), [Decimal("10")]).approved
