"""What a simulated fill costs: IBKR Pro pricing, the fees on sales by date, and slippage from the open."""

from datetime import date
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from tradebot_core.config import CostSettings, Impact
from tradebot_core.errors import MissingData
from tradebot_core.model.order import Side
from tradebot_core.quant.costs import charges, commission, fill_price
from tradebot_core.quant.regulatory_fees import _tables, regulatory_fees
from tradebot_core.quant.sizing import whole_shares

COSTS = CostSettings()
TIERED = CostSettings(commission_plan="tiered")
DAY = date(2024, 6, 28)


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


# Fees on sales


@pytest.mark.parametrize(
    ("day", "fees"),
    [
        ("2009-06-01", "0.3320"),  # 10,000 at 25.70 a million, 1,000 shares at 0.000075
        ("2014-03-17", "0.2930"),  # 17.40 a million, 0.000119
        ("2014-03-18", "0.3400"),  # 22.10
        ("2021-12-31", "0.1700"),  # 5.10, 0.000119
        ("2022-01-03", "0.1810"),  # 0.000130
        ("2024-05-21", "0.2460"),  # 8.00, 0.000166
        ("2024-05-22", "0.4440"),  # 27.80
        ("2025-05-14", "0.1660"),  # the SEC takes nothing
        ("2026-11-24", "0.4010"),  # 20.60, 0.000195
    ],
)
def test_a_sale_pays_what_the_sec_and_finra_asked_on_its_day(day, fees):
    on = date.fromisoformat(day)
    assert regulatory_fees(1000, Decimal(10), on) == Decimal(fees)
    assert charges(Side.SELL, 1000, Decimal(10), on, COSTS).total == Decimal(5) + Decimal(fees)
    assert charges(Side.BUY, 1000, Decimal(10), on, COSTS).total == Decimal(5)


def test_the_trading_activity_fee_has_a_most_for_one_trade():
    assert regulatory_fees(100_000, Decimal(1), date(2025, 6, 2)) == Decimal("8.30")


def test_before_the_first_known_rate_nothing_is_guessed():
    with pytest.raises(MissingData, match="not known on 2003-01-02"):
        regulatory_fees(1, Decimal(1), date(2003, 1, 2))
    free = COSTS.model_copy(update={"regulatory_fees": False})
    assert charges(Side.SELL, 1000, Decimal(10), date(2003, 1, 2), free).total == Decimal(5)


def test_every_rate_has_a_source_and_says_whether_it_was_checked():
    for rows in _tables().values():
        assert [row["since"] for row in rows] == sorted({row["since"] for row in rows})
        assert all(row["source"] and isinstance(row["checked"], bool) for row in rows)


# Tiered


def test_the_tiered_plan_adds_clearing_and_the_exchange_to_a_lower_commission():
    bought = charges(Side.BUY, 1000, Decimal(20), DAY, TIERED)
    # 3.50; clearing 0.20, exchange 3.00, and 0.000735 of 3.50.
    assert (bought.commission, bought.third_parties, bought.total) == (Decimal("3.50"), Decimal("3.2025725"), Decimal("6.7026"))
    assert charges(Side.BUY, 10, Decimal(20), DAY, TIERED).commission == Decimal("0.35")
    assert charges(Side.SELL, 1000, Decimal(20), DAY, TIERED).regulatory == Decimal("0.722")  # 27.80 a million and 0.166
    assert charges(Side.BUY, 1000, Decimal("0.20"), DAY, TIERED).commission == Decimal("2.00")  # 1 % of the value


def test_a_term_of_the_tiered_plan_can_be_set():
    own = CostSettings(commission_plan="tiered", exchange_per_share=0)
    assert (own.exchange_per_share, own.clearing_per_share) == (0, Decimal("0.0002"))


@pytest.mark.parametrize(
    "bad", [{"commission_plan": "free"}, {"impact": "cubic"}, {"max_participation": 0}, {"impact_bps": -1}]
)
def test_what_is_no_plan_is_refused(bad):
    with pytest.raises(ValidationError):
        CostSettings(**bad)


# Impact


@pytest.mark.parametrize(
    ("impact", "participation", "price"),
    [
        ("off", 0.04, "100.0500"),
        ("square_root", 0.04, "100.4500"),  # 5 and 200 x 0.2 basis points
        ("linear", 0.04, "100.1300"),  # 5 and 200 x 0.04
        ("square_root", 1.0, "102.0500"),
        ("square_root", 0.0, "100.0500"),
    ],
)
def test_an_order_pays_for_the_share_of_the_volume_that_it_takes(impact, participation, price):
    costs = CostSettings(impact=impact)
    assert fill_price(100.0, Side.BUY, costs, participation) == Decimal(price)
    assert fill_price(100.0, Side.SELL, costs, participation) == 200 - Decimal(price)


@given(st.sampled_from(Impact), st.floats(0, 1), st.floats(0, 1))
def test_taking_more_never_costs_less(impact, one, other):
    costs = CostSettings(impact=impact)
    less, more = sorted((one, other))
    assert fill_price(50.0, Side.BUY, costs, less) <= fill_price(50.0, Side.BUY, costs, more)


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
