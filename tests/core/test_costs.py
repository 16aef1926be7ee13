"""What a simulated fill costs: IBKR Pro fixed pricing, and slippage from the open."""

from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tradebot_core.config import CostSettings
from tradebot_core.model.order import Side
from tradebot_core.quant.costs import commission, fill_price
from tradebot_core.quant.sizing import whole_shares

COSTS = CostSettings()


def test_a_purchase_fills_above_the_open_and_a_sale_below_it():
    assert fill_price(100.0, Side.BUY, COSTS) == Decimal("100.0500")
    assert fill_price(100.0, Side.SELL, COSTS) == Decimal("99.9500")
    assert fill_price(12.34, Side.BUY, COSTS) == Decimal("12.3462")  # 12.34617, to the 1/100 cent


def test_without_slippage_the_fill_is_the_open():
    assert fill_price(12.34, Side.SELL, CostSettings(slippage_bps=0)) == Decimal("12.3400")


@pytest.mark.parametrize(
    ("quantity", "price", "cost"),
    [
        (100, "50", "1.0000"),  # half a dollar by share: the minimum
        (200, "50", "1.0000"),
        (201, "50", "1.0050"),
        (1000, "50", "5.0000"),
        (1000, "0.30", "3.0000"),  # 1 % of the trade's value is the most
        (10, "5", "0.5000"),  # even when that is below the minimum
    ],
)
def test_commission_is_by_share_with_a_minimum_and_a_maximum(quantity, price, cost):
    assert commission(quantity, Decimal(price), COSTS) == Decimal(cost)


@pytest.mark.parametrize("price", [float("nan"), float("inf")])
def test_a_price_that_is_no_number_cannot_fill(price):
    with pytest.raises(ValueError, match="not an amount of money"):
        fill_price(price, Side.BUY, COSTS)


@settings(deadline=None)
@given(
    st.decimals(min_value="-1000", max_value="1000000", places=4),
    st.decimals(min_value="-10", max_value="10000", places=4),
)
def test_whole_shares_never_cost_more_than_the_money_and_one_more_would(notional, price):
    quantity = whole_shares(notional, price)
    if price <= 0 or notional <= 0:
        assert quantity == 0
    else:
        assert quantity * price <= notional < (quantity + 1) * price
