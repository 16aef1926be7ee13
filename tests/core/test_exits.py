"""Known deterioration sells a holding, whatever else is wrong with it; what is not known, and what the market does, does not."""

from datetime import UTC, date, datetime
from typing import Any

import polars as pl
import pytest

from tests.markets import START, filing, tradebot
from tradebot_core.model.decision import Action, Decision, Verdict
from tradebot_core.model.fundamentals import FIGURES
from tradebot_core.quant.panel import PANEL_COLUMNS
from tradebot_core.strategy import Holding, SessionView
from tradebot_core.trading import reasoning
from tradebot_core.trading.layers import evaluate_layers

SOUND = filing("GOOD", date(2023, 12, 31), datetime(2024, 1, 15, tzinfo=UTC))
MARKET = {"close": 60.0, "median_dollar_volume_20d": 6e7, "fundamentals_age_days": 38, "market_cap": 6e9}
BAD_MARKET = {"close": 2.0, "median_dollar_volume_20d": None, "fundamentals_age_days": 900}


def decided(folder, strategy: str, cost: float = 60.0, **changed: Any) -> Decision:
    """What a strategy decides on its holding of one company in good order but for the changes."""
    values = {name: SOUND[name] for name in FIGURES} | MARKET | changed
    row = {"session": START, "security_id": 1, "symbol": "GOOD"} | values
    kinds = {"session": pl.Date, "security_id": pl.Int64, "symbol": pl.String}
    schema = {name: kinds.get(name, pl.Float64) for name in PANEL_COLUMNS}
    kit = tradebot(folder).sleeve(strategy).strategy
    verdict = None
    for found in evaluate_layers(kit, pl.DataFrame([{name: row.get(name) for name in schema}], schema=schema)).values():
        for last in found.iter_rows(named=True):
            verdict = Verdict(last["passed"], last["rule"], last["value"], last["threshold"])
    held = Holding(1, "GOOD", 10, values["close"], cost, 0.2, date(2024, 1, 3), None, verdict)
    (decision,) = kit.decide(SessionView(START, (), (held,), 0.5, {}))
    return decision


EXITS = [
    ("value_investor", "exit_net_income", {"net_income_ttm": -1.0}),
    ("value_investor", "exit_free_cash_flow", {"free_cash_flow_ttm": 0.0}),
    ("value_investor", "exit_return_on_capital", {"operating_income_ttm": 1e8}),
    ("value_investor", "exit_earnings_yield", {"market_cap": 60e9}),
    ("quality_growth", "exit_revenue_growth", {"revenue_ttm": 4e9}),
    ("quality_growth", "exit_roe", {"net_income_ttm": 3e7, "revenue_ttm": 4.635e9}),  # growth of 3 % is no exit, nor an entry
    ("quality_growth", "exit_return_on_assets", {"equity": -1.0, "net_income_ttm": 6e7}),
    ("quality_growth", "exit_return_on_assets", {"equity": None, "net_income_ttm": -6e7}),
]


@pytest.mark.parametrize("market", [{}, BAD_MARKET], ids=["good market", "bad market"])
@pytest.mark.parametrize(("strategy", "rule", "changed"), EXITS)
def test_deterioration_sells_even_where_price_liquidity_and_report_fail_too(tmp_path, strategy, rule, changed, market):
    decision = decided(tmp_path, strategy, cost=2.0, **(market | changed))
    assert (decision.action, decision.rule) == (Action.SELL, rule)
    assert decision.value is not None and decision.value <= decision.threshold


@pytest.mark.parametrize("strategy", ["value_investor", "quality_growth"])
@pytest.mark.parametrize("changed", [{}, BAD_MARKET, dict.fromkeys(FIGURES), {"market_cap": None}, {"equity": None}])
def test_what_is_not_known_and_what_the_market_does_is_no_reason_to_sell(tmp_path, strategy, changed):
    decision = decided(tmp_path, strategy, cost=2.0, **changed)
    assert (decision.action, decision.rule) == (Action.HOLD, "stop_loss")


@pytest.mark.parametrize("strategy", ["value_investor", "quality_growth"])
def test_the_stop_is_not_judged_where_no_cost_is_known_and_an_exit_still_is(tmp_path, strategy):
    held = decided(tmp_path, strategy, cost=0.0)
    assert (held.action, held.rule, held.value) == (Action.HOLD, "stop_loss", None)
    assert "cost is not known" in reasoning.of_decision(Verdict(False, held.rule, held.value, held.threshold))
    sold = decided(tmp_path, strategy, cost=0.0, net_income_ttm=-1.0, equity=-1.0)
    assert (sold.action, sold.rule.startswith("exit_")) == (Action.SELL, True)


@pytest.mark.parametrize("strategy", ["value_investor", "quality_growth"])
def test_the_stop_sells_where_no_figure_is_known(tmp_path, strategy):
    decision = decided(tmp_path, strategy, cost=100.0, **dict.fromkeys(FIGURES))
    assert (decision.action, decision.rule) == (Action.SELL, "stop_loss")
