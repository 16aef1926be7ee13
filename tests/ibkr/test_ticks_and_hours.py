"""Prices on the grid of the market rule, and the hours in which nothing is sent."""

from datetime import datetime, time
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.ibkr.conftest import ACCOUNT, TUESDAY, at, intent
from tradebot_core.calendar import NEW_YORK
from tradebot_core.clock import FixedClock
from tradebot_core.config import IbkrSettings, Mode
from tradebot_core.errors import ExecutionError
from tradebot_core.execution.ibkr import IbkrEngine
from tradebot_core.ibkr.hours import why_restarting
from tradebot_core.ibkr.ticks import on_grid
from tradebot_core.model.order import Side

D = Decimal
STEPS = ((D(0), D("0.0001")), (D(1), D("0.01")), (D(100), D("0.05")))


@pytest.mark.parametrize(
    ("price", "buys", "sells"),
    [
        ("0.12345", "0.1234", "0.1235"),
        ("0.99999", "0.9999", "1.0000"),
        ("1", "1.00", "1.00"),
        ("17.129", "17.12", "17.13"),
        ("100.04", "100.00", "100.05"),
    ],
)
def test_purchases_are_rounded_down_and_sales_up_in_the_band_of_their_price(price, buys, sells):
    assert on_grid(D(price), Side.BUY, STEPS) == D(buys)
    assert on_grid(D(price), Side.SELL, STEPS) == D(sells)


@given(st.decimals(min_value="0.0001", max_value=10**6, places=6), st.sampled_from(Side))
def test_a_rounded_price_is_on_the_grid_and_never_worse_for_us(price, side):
    step = next(step for edge, step in reversed(STEPS) if price >= edge)
    rounded = on_grid(price, side, STEPS)
    assert rounded % step == 0
    assert 0 <= (price - rounded) * side.sign < step


@pytest.mark.parametrize("steps", [(), ((D(5), D("0.01")),), ((D(0), D(0)),)])
def test_without_an_increment_for_the_price_none_is_invented(steps):
    with pytest.raises(ValueError, match="no price increment for 2"):
        on_grid(D(2), Side.BUY, steps)


RESTART = time(23, 45)


@pytest.mark.parametrize(
    ("local", "why"),
    [
        ("2026-11-17 08:00", ""),  # a Tuesday
        ("2026-11-17 23:39:59", ""),
        ("2026-11-17 23:40:01", "the gateway restarts at 23:45"),
        ("2026-11-17 23:49:59", "the gateway restarts at 23:45"),
        ("2026-11-17 23:50", ""),
        ("2026-11-18 00:15", "IBKR resets"),
        ("2026-11-18 01:44:59", "IBKR resets"),
        ("2026-11-18 01:45", ""),
        ("2026-11-20 22:59", ""),  # Friday
        ("2026-11-20 23:00", "Friday 23:00 to Saturday 03:00"),
        ("2026-11-21 02:59", "Friday 23:00 to Saturday 03:00"),
        ("2026-11-21 03:00", ""),
        ("2026-11-22 23:00", ""),  # Sunday
    ],
)
def test_nothing_is_sent_while_the_gateway_or_the_broker_restarts(local, why):
    said = why_restarting(datetime.fromisoformat(local).replace(tzinfo=NEW_YORK), RESTART)
    assert (bool(said), why in said) == (bool(why), True)


def test_a_restart_at_midnight_counts_on_both_days():
    assert why_restarting(datetime(2026, 11, 17, 23, 57, tzinfo=NEW_YORK), time(0, 0))
    assert why_restarting(datetime(2026, 11, 18, 0, 3, tzinfo=NEW_YORK), time(0, 0))
    assert not why_restarting(datetime(2026, 11, 18, 0, 3, tzinfo=NEW_YORK), None)


def test_an_order_in_these_hours_is_not_sent_and_may_be_sent_later():
    engine = IbkrEngine(
        IbkrSettings(port=1, account=ACCOUNT), Mode.PAPER, clock=FixedClock(at(TUESDAY, 23, 45))
    )  # nothing listens there
    with pytest.raises(ExecutionError, match=r"was not sent: the gateway restarts.*sent again when that is over"):
        engine.submit(intent())
