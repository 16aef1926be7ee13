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
    def __init__(self, open_price: float | None = 11.0, split: bool = False, low: float = 10.0, high: float = 12.0) -> None:
        self.price, self.split, self.range = open_price, split, (low, high)

    def open_price(self, security_id: int, session: date) -> float | None:
        assert (security_id, session) == (1, NEXT)
        return self.price

    def traded_range(self, security_id: int, session: date) -> tuple[float, float] | None:
        assert (security_id, session) == (1, NEXT)
        return self.range

    def voids_orders(self, security_id: int, session: date) -> bool:
        return self.split


def engine_at(now: datetime, market: Market | None = None, path: Path | None = None) -> SimulatedEngine:
    return SimulatedEngine(market or Market(), XNYS, FixedClock(now), CostSettings(), path)


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
