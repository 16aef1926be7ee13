"""The figures of a run, against sums done by hand."""

import math
from datetime import date, timedelta

import polars as pl
import pytest

from tradebot_core.model.tables import ENTRIES, EQUITY, FILLS
from tradebot_core.quant.performance import drawdowns, summarise


def equity_of(*values: float) -> pl.DataFrame:
    rows = [
        {"session": date(2024, 1, 2) + timedelta(days=n), "cash": "0", "invested": "0", "equity": str(value), "positions": 0}
        for n, value in enumerate(values)
    ]
    return pl.DataFrame(rows, schema=EQUITY.schema)


def fills_of(*trades: tuple[str, int, str]) -> pl.DataFrame:
    rows = [{"side": side, "quantity": quantity, "price": price} for side, quantity, price in trades]
    return pl.DataFrame([dict.fromkeys(FILLS.schema) | row for row in rows], schema=FILLS.schema)


def entries_of(**cash: str) -> pl.DataFrame:
    rows = [dict.fromkeys(ENTRIES.schema) | {"kind": kind, "cash": amount} for kind, amount in cash.items()]
    return pl.DataFrame(rows, schema=ENTRIES.schema)


def test_the_figures_of_four_sessions_by_hand():
    # 100 -> 110 (+10 %) -> 99 (-10 %) -> 99 (0) -> 118.8 (+20 %)
    figures = summarise(
        equity_of(110, 99, 99, 118.8),
        fills_of(("buy", 3, "10"), ("buy", 1, "20"), ("sell", 2, "12.5")),
        entries_of(commission="-1.5", dividend="0.75", trade="-50"),
        100.0,
    )
    returns = [0.1, -0.1, 0.0, 0.2]
    mean = sum(returns) / 4
    deviation = math.sqrt(sum((r - mean) ** 2 for r in returns) / 3)
    mean_equity = (110 + 99 + 99 + 118.8) / 4
    assert figures.sessions == 4
    assert (figures.initial_capital, figures.final_equity) == (100.0, 118.8)
    assert figures.total_return == pytest.approx(0.188)
    assert figures.cagr == pytest.approx(1.188 ** (252 / 4) - 1)
    assert figures.volatility == pytest.approx(deviation * math.sqrt(252))
    assert figures.sharpe == pytest.approx(mean / deviation * math.sqrt(252))
    assert figures.max_drawdown == pytest.approx(-0.1)
    assert figures.trades == 3
    assert figures.turnover == pytest.approx(25 / mean_equity * 252 / 4)  # 25 sold is less than 50 bought
    assert (figures.commission, figures.dividends) == (1.5, 0.75)


def test_a_fall_from_the_capital_itself_is_a_drawdown():
    assert summarise(equity_of(80, 90), fills_of(), entries_of(), 100.0).max_drawdown == pytest.approx(-0.2)


def test_figures_that_cannot_be_computed_are_missing_and_not_zero():
    none = summarise(equity_of(), fills_of(), entries_of(), 100.0)
    assert (none.sessions, none.final_equity, none.total_return) == (0, 100.0, 0.0)
    assert (none.cagr, none.volatility, none.sharpe, none.turnover) == (None, None, None, None)
    one = summarise(equity_of(101), fills_of(), entries_of(), 100.0)
    assert one.volatility is None
    still = summarise(equity_of(100, 100, 100), fills_of(), entries_of(), 100.0)
    assert (still.volatility, still.sharpe, still.max_drawdown) == (0.0, None, 0.0)
    ruined = summarise(equity_of(50, 0), fills_of(), entries_of(), 100.0)
    assert (ruined.total_return, ruined.cagr, ruined.max_drawdown) == (-1.0, None, -1.0)


def test_drawdowns_are_measured_from_the_running_peak():
    assert drawdowns(pl.Series([100.0, 120.0, 90.0, 120.0, 60.0])).to_list() == [0.0, 0.0, -0.25, 0.0, -0.5]
