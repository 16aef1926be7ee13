"""From target weights to whole-share orders: order = target - position, within what sizing can respect."""

from datetime import date
from decimal import Decimal
from types import MappingProxyType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.markets import XNYS
from tradebot_core.config import RiskSettings
from tradebot_core.interfaces import Situation
from tradebot_core.model.decision import Action, Decision
from tradebot_core.model.order import OrderIntent, OrderStyle, OrderType, RiskVerdict, Side
from tradebot_core.model.portfolio import Book, Entry, EntryKind, Position
from tradebot_core.trading.rebalance import plan_orders
from tradebot_core.trading.risk import LimitGate
from tradebot_core.trading.session import LastPrice, SessionMarket, plan
from tradebot_core.trading.settlement import unsettled

DAY = date(2024, 6, 28)
LIMITS = RiskSettings(max_order_notional=Decimal(10**6), max_position_weight=1.0, cash_buffer=0.0, max_open_gap=0.0)
BIG = 1e12


def decision(security: int, action: Action, weight: float = 0.0) -> Decision:
    return Decision(DAY, security, f"S{security}", action, weight, "test", None, None)


def book(cash: str, **held: int) -> Book:
    """`book("1000", s1=10)` holds ten shares of security 1."""
    positions = {int(name[1:]): Position(int(name[1:]), name.upper(), n, Decimal(n), DAY) for name, n in held.items()}
    return Book(Decimal(cash), MappingProxyType(positions))


def market_of(known: dict[int, LastPrice], volumes: dict[int, float]) -> SessionMarket:
    """Prices that stood the session before."""
    return SessionMarket(DAY, [], {}, known, volumes, {security: last.price for security, last in known.items()})


def planned(
    decisions: list[Decision], before: Book, prices: dict[int, str], limits: RiskSettings = LIMITS, volume: float = BIG
) -> list[tuple[Side, int, int]]:
    worth = {security: Decimal(price) for security, price in prices.items()}
    equity = before.equity(worth)
    orders = plan_orders("s", decisions, before, equity, worth, dict.fromkeys(worth, volume), limits)
    return [(order.side, order.security_id, order.quantity) for order in orders]


def test_a_purchase_is_the_weight_of_equity_in_whole_shares():
    assert planned([decision(1, Action.BUY, 0.25)], book("10000"), {1: "30"}) == [(Side.BUY, 1, 83)]


def test_a_target_above_what_is_held_buys_the_difference():
    # equity 10000, target 5000, held 100 x 30
    assert planned([decision(1, Action.BUY, 0.5)], book("7000", s1=100), {1: "30"}) == [(Side.BUY, 1, 66)]


def test_a_target_below_what_is_held_buys_nothing():
    assert planned([decision(1, Action.BUY, 0.1)], book("7000", s1=100), {1: "30"}) == []


def test_a_sale_sells_everything_that_is_held():
    assert planned([decision(1, Action.SELL)], book("0", s1=37), {1: "30"}) == [(Side.SELL, 1, 37)]


def test_holding_and_skipping_order_nothing():
    decisions = [decision(1, Action.HOLD, 0.9), decision(2, Action.SKIP)]
    assert planned(decisions, book("9000", s1=1), {1: "30", 2: "5"}) == []


def test_sales_come_first_then_purchases_by_weight_and_security():
    decisions = [
        decision(1, Action.BUY, 0.1),
        decision(2, Action.BUY, 0.2),
        decision(3, Action.BUY, 0.1),
        decision(4, Action.SELL),
    ]
    prices = dict.fromkeys((1, 2, 3, 4), "10")
    orders = planned(decisions, book("10000", s4=5), prices)
    assert [(side, security) for side, security, _ in orders] == [(Side.SELL, 4), (Side.BUY, 2), (Side.BUY, 1), (Side.BUY, 3)]


def test_the_proceeds_of_a_sale_of_the_session_are_not_spent_in_it():
    decisions = [decision(1, Action.SELL), decision(2, Action.BUY, 0.5)]
    assert planned(decisions, book("1010", s1=900), {1: "10", 2: "10"}) == [(Side.SELL, 1, 900), (Side.BUY, 2, 100)]


def test_cash_leaves_room_for_slippage_and_fees_and_the_buffer():
    all_in = [decision(1, Action.BUY, 1.0)]
    assert planned(all_in, book("1010"), {1: "10"}) == [(Side.BUY, 1, 100)]
    buffered = LIMITS.model_copy(update={"cash_buffer": 0.5})
    assert planned(all_in, book("2020"), {1: "10"}, buffered) == [(Side.BUY, 1, 100)]


def test_a_purchase_is_limited_to_a_gap_above_the_close_and_paid_for_even_there():
    limits = LIMITS.model_copy(update={"max_open_gap": 0.25})
    before, worth = book("1262.50"), {1: Decimal("10.0001")}
    (order,) = plan_orders("s", [decision(1, Action.BUY, 1.0)], before, before.cash, worth, {1: BIG}, limits)
    assert (order.order_type, order.limit_price, order.quantity) == (OrderType.LIMIT_ON_OPEN, Decimal("12.50"), 99)
    assert order.quantity * order.limit_price * Decimal("1.01") <= before.cash


def test_a_sale_goes_at_the_market():
    (order,) = plan_orders("s", [decision(1, Action.SELL)], book("0", s1=5), Decimal(50), {1: Decimal(10)}, {1: BIG}, LIMITS)
    assert (order.order_type, order.limit_price) == (OrderType.MARKET_ON_OPEN, None)


@pytest.mark.parametrize(
    ("style", "buys", "sells"),
    [
        (OrderStyle.OPEN_AUCTION, (OrderType.LIMIT_ON_OPEN, Decimal("10.29")), (OrderType.MARKET_ON_OPEN, None)),
        (OrderStyle.LIMIT, (OrderType.LIMIT, Decimal("10.29")), (OrderType.LIMIT, Decimal("9.70"))),
        (OrderStyle.ADAPTIVE, (OrderType.ADAPTIVE_LIMIT, Decimal("10.29")), (OrderType.ADAPTIVE_MARKET, None)),
    ],
)
def test_the_style_of_a_strategy_says_how_its_orders_are_placed(style, buys, sells):
    limits = LIMITS.model_copy(update={"max_open_gap": 0.03})
    decisions, worth = [decision(1, Action.BUY, 0.5), decision(2, Action.SELL)], dict.fromkeys((1, 2), Decimal("9.9999"))
    sale, purchase = plan_orders("s", decisions, book("1000", s2=5), Decimal(1050), worth, {1: BIG}, limits, style)
    assert (purchase.order_type, purchase.limit_price) == buys  # 10.299897, and not a cent more
    assert (sale.order_type, sale.limit_price) == sells  # 9.699903 is as far down as the gap goes


def test_two_purchases_share_the_cash_that_is_there():
    decisions = [decision(1, Action.BUY, 0.9), decision(2, Action.BUY, 0.9)]
    assert planned(decisions, book("1010"), {1: "10", 2: "10"}) == [(Side.BUY, 1, 90), (Side.BUY, 2, 10)]


@pytest.mark.parametrize(
    ("limits", "volume", "quantity"),
    [
        ({"max_order_notional": Decimal(505)}, BIG, 50),
        ({"max_position_weight": 0.2}, BIG, 20),
        ({"max_order_volume_share": 0.01}, 30_000.0, 30),
        ({}, 0.0, 0),
    ],
)
def test_sizing_respects_the_limits_it_can(limits, volume, quantity):
    bought = planned([decision(1, Action.BUY, 0.9)], book("1000"), {1: "10"}, LIMITS.model_copy(update=limits), volume)
    assert bought == ([(Side.BUY, 1, quantity)] if quantity else [])


def test_an_unknown_volume_buys_nothing():
    orders = plan_orders("s", [decision(1, Action.BUY, 0.5)], book("1000"), Decimal(1000), {1: Decimal(10)}, {}, LIMITS)
    assert orders == ()


def test_an_order_carries_its_key_and_the_price_it_was_decided_at():
    orders = plan_orders(
        "patient", [decision(7, Action.BUY, 0.5)], book("1000"), Decimal(1000), {7: Decimal("9.9900")}, {7: BIG}, LIMITS
    )
    limited = (OrderType.LIMIT_ON_OPEN, Decimal("9.99"))
    key = "patient|2024-06-28|7|buy"
    assert orders == (OrderIntent(key, "patient", DAY, 7, "S7", Side.BUY, 50, Decimal("9.9900"), *limited),)
    assert OrderIntent.from_dict(orders[0].to_dict()) == orders[0]
    assert orders[0].notional == Decimal("499.5000")


weights = st.floats(min_value=0, max_value=1)


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from([Action.BUY, Action.SELL, Action.HOLD]), weights), min_size=1, max_size=8),
    st.lists(st.integers(0, 300), min_size=8, max_size=8),
    st.lists(st.decimals(min_value="0.5", max_value="400", places=4), min_size=8, max_size=8),
    st.decimals(min_value="100", max_value="100000", places=2),
    st.floats(min_value=0, max_value=0.3),
)
def test_together_the_orders_spend_no_more_than_the_cash_and_the_gate_approves_all_of_them(acts, held, prices, cash, buffer):
    before = book(str(cash), **{f"s{n + 1}": shares for n, shares in enumerate(held) if shares})
    decisions = [
        decision(n, action, weight) for n, (action, weight) in enumerate(acts, start=1) if action is Action.BUY or held[n - 1]
    ]
    limits = LIMITS.model_copy(update={"cash_buffer": buffer, "max_position_weight": 0.4, "max_orders_per_session": 8})
    known = {n: LastPrice(price, DAY) for n, price in enumerate(prices, start=1)}
    market = market_of(known, dict.fromkeys(known, 1e9))
    orders = plan(LimitGate(limits), limits, "s", decisions, before, market)
    refused = [(intent.key, verdict) for intent, verdict in orders if not verdict.approved]
    # What the book holds already may stand above a limit; then nothing more of that security is bought, or of any.
    assert {verdict.rule for _, verdict in refused} <= {"min_price"}
    spent = sum((intent.notional for intent, verdict in orders if intent.side is Side.BUY and verdict.approved), Decimal(0))
    assert spent <= max(Decimal(0), before.cash)


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from([Action.BUY, Action.SELL]), weights), min_size=1, max_size=8),
    st.lists(st.integers(0, 300), min_size=8, max_size=8),
    st.lists(st.decimals(min_value="0.5", max_value="400", places=4), min_size=8, max_size=8),
    st.decimals(min_value="100", max_value="100000", places=2),
    st.floats(min_value=0, max_value=0.2),
    st.sampled_from(OrderStyle),
    st.integers(1, 8),
)
def test_every_planned_order_has_one_verdict_and_those_approved_are_paid_at_their_limits_with_commission(
    acts, held, prices, cash, gap, style, most
):
    before = book(str(cash), **{f"s{n + 1}": shares for n, shares in enumerate(held) if shares})
    decisions = [
        decision(n, action, weight) for n, (action, weight) in enumerate(acts, start=1) if action is Action.BUY or held[n - 1]
    ]
    limits = LIMITS.model_copy(update={"max_open_gap": gap, "max_orders_per_session": most})
    known = {n: LastPrice(price, DAY) for n, price in enumerate(prices, start=1)}
    market = market_of(known, dict.fromkeys(known, 1e9))
    worth = {n: last.price for n, last in known.items()}
    wanted = plan_orders("s", decisions, before, before.equity(worth), worth, market.volumes, limits, style)
    orders = plan(LimitGate(limits), limits, "s", decisions, before, market, style=style)
    assert [intent for intent, _ in orders] == list(wanted)
    assert len({intent.key for intent in wanted}) == len(wanted)
    assert all(isinstance(verdict, RiskVerdict) and verdict.rule for _, verdict in orders)
    approved = [intent for intent, verdict in orders if verdict.approved and intent.side is Side.BUY]
    if style is OrderStyle.MARKET_OPEN:  # nothing bounds a price without a limit: what the close says is there
        assert all(intent.limit_price is None for intent in approved)
        assert sum(intent.notional for intent in approved) <= before.cash
        return
    assert all(intent.limit_price is not None for intent in approved)
    # IBKR takes at most 1 % of the trade's value.
    assert sum(intent.quantity * intent.limit_price * Decimal("1.01") for intent in approved) <= before.cash


def test_the_gate_counts_the_purchases_it_has_approved_so_far():
    limits = LIMITS.model_copy(update={"max_orders_per_session": 1})
    known = {n: LastPrice(Decimal(10), DAY) for n in (1, 2)}
    market = market_of(known, {1: BIG, 2: BIG})
    decisions = [decision(1, Action.BUY, 0.2), decision(2, Action.BUY, 0.2)]
    orders = plan(LimitGate(limits), limits, "s", decisions, book("10000"), market)
    assert [(intent.security_id, verdict.approved, verdict.rule) for intent, verdict in orders] == [
        (1, True, "within_limits"),
        (2, False, "max_orders_per_session"),
    ]


def test_the_gate_is_told_of_a_book_in_which_approved_purchases_are_paid():
    seen: list[Situation] = []

    class Watching:
        def check(self, intent, situation):
            seen.append(situation)
            return LimitGate(LIMITS).check(intent, situation)

    known = {n: LastPrice(Decimal(10), DAY) for n in (1, 2)}
    market = market_of(known, {1: BIG, 2: BIG})
    plan(Watching(), LIMITS, "s", [decision(1, Action.BUY, 0.3), decision(2, Action.BUY, 0.2)], book("10000"), market)
    assert [around.book.cash for around in seen] == [Decimal(10_000), Decimal(7_000)]
    assert [around.orders_this_session for around in seen] == [0, 1]


# Settlement

COLUMBUS_DAY = date(2026, 10, 12)  # trades, and does not settle
FRIDAY = date(2026, 10, 9)


def sale(session: date, cash: str) -> Entry:
    return Entry(f"fill:{session}", session, EntryKind.TRADE, Decimal(cash), -10, 1, "S1")


def test_what_a_sale_brought_before_a_day_on_which_banks_are_closed_has_not_settled_at_its_open():
    entries = [sale(FRIDAY, "500"), sale(XNYS.previous(FRIDAY), "70"), Entry("d", FRIDAY, EntryKind.DEPOSIT, Decimal(1000))]
    assert unsettled(entries, FRIDAY, XNYS) == Decimal(500)
    assert unsettled([sale(COLUMBUS_DAY, "500")], COLUMBUS_DAY, XNYS) == 0
    assert unsettled([sale(DAY, "500")], DAY, XNYS) == 0


def test_what_has_not_settled_buys_nothing():
    known, decisions = {1: LastPrice(Decimal(10), DAY)}, [decision(1, Action.BUY, 0.9)]
    market = market_of(known, {1: BIG})

    def bought(pending: str) -> int:
        orders = plan(LimitGate(LIMITS), LIMITS, "s", decisions, book("1010"), market, unsettled=Decimal(pending))
        return sum(intent.quantity for intent, verdict in orders if verdict.approved)

    assert (bought("0"), bought("505"), bought("1010")) == (90, 50, 0)
