"""The simulated engine: fills at the next open once it is known, remembers over a restart, and never takes an order twice."""

from dataclasses import replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from tests.markets import SESSIONS, XNYS
from tradebot_core.clock import FixedClock
from tradebot_core.config import CostSettings
from tradebot_core.errors import ExecutionError
from tradebot_core.execution.simulated import SimulatedEngine
from tradebot_core.model.order import OrderIntent, OrderState, OrderStatus, OrderType, Side, order_key

DAY, NEXT = SESSIONS[:2]
ORDER = OrderIntent(order_key("s", DAY, 1, Side.BUY), "s", DAY, 1, "AAA", Side.BUY, 300, Decimal(10))


class Market:
    def __init__(
        self,
        open_price: float | None = 11.0,
        split: bool = False,
        low: float = 10.0,
        high: float = 12.0,
        close: float | None = 11.5,
        volume: float | None = 10_000.0,
    ) -> None:
        self.price, self.split, self.range, self.close, self.volume = open_price, split, (low, high), close, volume

    def open_price(self, security_id: int, session: date) -> float | None:
        assert (security_id, session) == (1, NEXT)
        return self.price

    def traded_range(self, security_id: int, session: date) -> tuple[float, float] | None:
        assert (security_id, session) == (1, NEXT)
        return self.range

    def close_price(self, security_id: int, session: date) -> float | None:
        assert (security_id, session) == (1, NEXT)
        return self.close

    def traded_volume(self, security_id: int, session: date) -> float | None:
        assert (security_id, session) == (1, NEXT)
        return self.volume

    def voids_orders(self, security_id: int, session: date) -> bool:
        return self.split


def engine_at(
    now: datetime, market: Market | None = None, path: Path | None = None, costs: CostSettings | None = None
) -> SimulatedEngine:
    return SimulatedEngine(market or Market(), XNYS, FixedClock(now), costs or CostSettings(), path)


def status_at(now: datetime, market: Market | None = None) -> OrderStatus:
    return engine_at(now, market).submit(ORDER)


def test_before_the_open_an_order_waits():
    assert status_at(XNYS.opens_at(NEXT) - timedelta(microseconds=1)) == OrderStatus(OrderState.WORKING)


def test_from_the_open_on_it_is_filled_with_slippage_and_commission():
    status = status_at(XNYS.opens_at(NEXT))
    assert status.state is OrderState.FILLED
    fill = status.fills[0]
    assert (fill.session, fill.quantity, fill.price, fill.commission) == (NEXT, 300, Decimal("11.0055"), Decimal("1.5000"))
    assert (fill.execution_id, fill.filled_at) == (f"sim:{ORDER.key}", XNYS.opens_at(NEXT))


def test_without_a_known_open_it_waits_until_the_cut_off_and_then_expires():
    silent = Market(open_price=None)
    assert status_at(XNYS.closes_at(NEXT), silent).state is OrderState.WORKING
    assert status_at(XNYS.cutoff(NEXT), silent).state is OrderState.EXPIRED


def test_a_split_on_the_day_cancels_it():
    status = status_at(XNYS.opens_at(NEXT), Market(split=True))
    assert (status.state, status.fills) == (OrderState.CANCELLED, ())


def test_an_order_it_never_had_is_unknown_to_it():
    assert engine_at(XNYS.cutoff(DAY)).get_order_status("nobody") == OrderStatus(None)
    assert engine_at(XNYS.cutoff(DAY)).cancel("nobody") == OrderStatus(None)


def test_orders_and_cancellations_outlive_the_process_and_are_kept_once(tmp_path):
    path, before = tmp_path / "orders.jsonl", XNYS.cutoff(DAY)
    for _ in range(2):
        assert engine_at(before, path=path).submit(ORDER).state is OrderState.WORKING
    assert len(path.read_text().splitlines()) == 1
    assert engine_at(XNYS.cutoff(NEXT), path=path).get_order_status(ORDER.key).state is OrderState.FILLED
    assert engine_at(before, path=path).cancel(ORDER.key).state is OrderState.CANCELLED
    assert engine_at(XNYS.cutoff(NEXT), path=path).get_order_status(ORDER.key).state is OrderState.CANCELLED


def test_what_is_filled_cannot_be_cancelled():
    engine = engine_at(XNYS.opens_at(NEXT))
    engine.submit(ORDER)
    assert engine.cancel(ORDER.key).state is OrderState.FILLED


def test_a_damaged_record_is_named_and_no_order_is_guessed(tmp_path):
    path = tmp_path / "orders.jsonl"
    engine_at(XNYS.cutoff(DAY), path=path).submit(ORDER)
    path.write_text(path.read_text()[:40])
    with pytest.raises(ExecutionError, match=r"orders\.jsonl cannot be read"):
        engine_at(XNYS.cutoff(DAY), path=path)


# Orders good for the day

LIMITED = replace(ORDER, order_type=OrderType.LIMIT, limit_price=Decimal("10.50"))
OVER = XNYS.cutoff(NEXT)


def day_order(market: Market, now: datetime = OVER, order: OrderIntent = LIMITED) -> OrderStatus:
    return engine_at(now, market).submit(order)


def test_a_day_order_that_opens_within_its_limit_fills_at_the_open():
    (fill,) = day_order(Market(open_price=10.4), XNYS.opens_at(NEXT)).fills
    assert (fill.price, fill.filled_at) == (Decimal("10.4052"), XNYS.opens_at(NEXT))


def test_one_that_opens_beyond_it_fills_at_its_limit_when_the_session_traded_through_it():
    market = Market(open_price=11.0, low=10.49)
    assert day_order(market, OVER - timedelta(microseconds=1)).state is OrderState.WORKING
    (fill,) = day_order(market).fills
    assert (fill.price, fill.quantity, fill.filled_at) == (Decimal("10.50"), 300, XNYS.closes_at(NEXT))


def test_a_limit_that_was_only_touched_is_not_filled():
    status = day_order(Market(open_price=11.0, low=10.5))
    assert (status.state, status.fills) == (OrderState.EXPIRED, ())
    assert "beyond the limit of 10.50, and did not trade through it" in status.detail


@pytest.mark.parametrize(("high", "state"), [(12.01, OrderState.FILLED), (12.0, OrderState.EXPIRED)])
def test_a_sale_waits_for_the_highest_price(high, state):
    sale = replace(LIMITED, side=Side.SELL, limit_price=Decimal(12))
    assert day_order(Market(open_price=11.0, high=high), order=sale).state is state


@pytest.mark.parametrize("kind", [OrderType.ADAPTIVE_MARKET, OrderType.MARKET_ON_OPEN])
def test_an_adaptive_order_costs_what_one_at_the_open_costs(kind):
    (fill,) = day_order(Market(open_price=11.0), order=replace(ORDER, order_type=kind)).fills
    assert fill.price == Decimal("11.0055")


# The closing auction

ON_CLOSE = replace(ORDER, order_type=OrderType.LIMIT_ON_CLOSE, limit_price=Decimal(12))
CLOSED = XNYS.closes_at(NEXT)


def test_an_order_for_the_closing_auction_waits_for_it_and_fills_at_the_close():
    assert day_order(Market(close=11.5), CLOSED - timedelta(microseconds=1), ON_CLOSE) == OrderStatus(OrderState.WORKING)
    (fill,) = day_order(Market(close=11.5), CLOSED, ON_CLOSE).fills
    assert (fill.price, fill.quantity, fill.filled_at) == (Decimal("11.5058"), 300, CLOSED)  # 11.50575


def test_one_whose_limit_the_close_is_beyond_ends_though_the_session_traded_within_it():
    status = day_order(Market(open_price=10.0, close=12.5), CLOSED, ON_CLOSE)
    assert (status.state, status.fills) == (OrderState.EXPIRED, ())
    assert status.detail == "It closed at 12.5, beyond the limit of 12."


def test_a_sale_market_on_close_takes_the_close():
    sale = replace(ORDER, side=Side.SELL, order_type=OrderType.MARKET_ON_CLOSE)
    (fill,) = day_order(Market(close=2.0), CLOSED, sale).fills
    # A dollar and a half, 8.00 a million of 599.70 and 0.000166 a share.
    assert (fill.price, fill.commission) == (Decimal("1.9990"), Decimal("1.5546"))


# No more than a share of the volume

TENTH = CostSettings(max_participation=0.1)


def capped(volume: float | None, order: OrderIntent = ORDER, now: datetime = OVER, costs: CostSettings = TENTH) -> OrderStatus:
    return engine_at(now, Market(volume=volume), costs=costs).submit(order)


@pytest.mark.parametrize(
    ("volume", "state", "filled"),
    [
        (3000.0, OrderState.FILLED, 300),
        (2999.0, OrderState.EXPIRED, 299),  # a part of an order is whole shares
        (10.0, OrderState.EXPIRED, 1),
        (9.0, OrderState.EXPIRED, 0),
        (0.0, OrderState.EXPIRED, 0),
        (None, OrderState.EXPIRED, 0),  # what is not known fills nothing
        (float("nan"), OrderState.EXPIRED, 0),
    ],
)
def test_an_order_takes_its_share_of_the_volume_and_the_rest_ends(volume, state, filled):
    status = capped(volume)
    assert (status.state, sum(fill.quantity for fill in status.fills)) == (state, filled)


def test_the_part_pays_the_minimum_and_its_end_is_told():
    status = capped(1000.0)
    assert (status.fills[0].quantity, status.fills[0].commission) == (100, Decimal("1.0000"))
    assert status.detail == "100 of 300 filled: no more than 10.0% of the session's volume. The rest ended."


def test_a_day_order_in_part_works_on_until_the_close_and_one_of_the_auction_has_ended():
    part = replace(ORDER, order_type=OrderType.LIMIT, limit_price=Decimal(12))
    assert capped(1000.0, part, XNYS.opens_at(NEXT)).state is OrderState.PARTIAL
    assert capped(1000.0, part, CLOSED).state is OrderState.EXPIRED
    assert capped(1000.0, ORDER, XNYS.opens_at(NEXT)).state is OrderState.EXPIRED


def test_without_a_cap_no_volume_is_asked_for():
    assert capped(None, costs=CostSettings()).state is OrderState.FILLED


def test_with_impact_alone_never_more_is_filled_than_traded():
    status = capped(100.0, costs=CostSettings(impact="linear", slippage_bps=0))
    assert [(fill.quantity, fill.price) for fill in status.fills] == [(100, Decimal("11.2200"))]  # all of it: 200 basis points
