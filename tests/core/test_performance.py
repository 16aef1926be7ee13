"""The figures of a run, against sums done by hand."""

import math
import random
from dataclasses import asdict
from datetime import date, timedelta

import empyrical
import numpy as np
import polars as pl
import pytest

from tradebot_core.model.tables import ENTRIES, EQUITY, FILLS
from tradebot_core.quant.performance import Benchmark, by_period, drawdowns, sharpe_interval, summarise


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


def invested_of(*rows: tuple[date, float, float]) -> pl.DataFrame:
    made = [
        {"session": on, "cash": "0", "invested": str(held), "equity": str(value), "positions": 1} for on, value, held in rows
    ]
    return pl.DataFrame(made, schema=EQUITY.schema)


def test_downside_and_drawdown_figures_by_hand():
    figures = summarise(equity_of(110, 99, 99, 118.8), fills_of(), entries_of(), 100.0)
    returns = [0.1, -0.1, 0.0, 0.2]
    downside = math.sqrt(0.1**2 / 4)  # the root mean square of the losses, over all four returns
    assert figures.sortino == pytest.approx(sum(returns) / 4 / downside * math.sqrt(252))
    assert figures.calmar == pytest.approx((1.188 ** (252 / 4) - 1) / 0.1)
    assert figures.longest_drawdown == 2  # 99 and 99, below 110
    assert summarise(equity_of(101, 102), fills_of(), entries_of(), 100.0).sortino is None  # without a loss
    assert summarise(equity_of(101, 102), fills_of(), entries_of(), 100.0).calmar is None


def test_the_interval_of_a_sharpe_ratio_is_that_of_lo_2002():
    """Lo's table 1: 60 returns with a ratio of 0.50 have a standard error of 0.137."""
    mean, deviation, months = 0.5, 1.0, 60
    half = math.sqrt((months - 1) / months) * deviation
    returns = pl.Series([mean + half, mean - half] * (months // 2))
    assert returns.mean() / returns.std() == pytest.approx(0.5)
    low, high = sharpe_interval(returns)
    reach = 1.959964 * 0.137  # printed to three digits
    assert low / math.sqrt(252) == pytest.approx(0.5 - reach, abs=1e-3)
    assert high / math.sqrt(252) == pytest.approx(0.5 + reach, abs=1e-3)
    assert sharpe_interval(pl.Series([0.1])) is None and sharpe_interval(pl.Series([0.0, 0.0, 0.0])) is None


def test_ten_years_of_a_modest_strategy_cannot_be_told_from_nothing():
    generator = random.Random(5)
    returns = [generator.gauss(0, 0.01) for _ in range(2520)]
    shift = 0.5 / math.sqrt(252) * 0.01 - sum(returns) / len(returns)  # a Sharpe ratio of about a half
    low, high = sharpe_interval(pl.Series([r + shift for r in returns]))
    assert low < 0 < high and high - low == pytest.approx(2 * 1.96 * math.sqrt(1 / 10), rel=0.01)


def test_the_figures_are_those_of_a_library_that_many_use():
    generator = random.Random(7)
    own = [generator.gauss(0.0006, 0.012) for _ in range(900)]
    other = [0.6 * r + generator.gauss(0.0002, 0.008) for r in own]
    values = np.cumprod([1 + r for r in own]) * 1000
    found = summarise(equity_of(*values), fills_of(), entries_of(), 1000.0, Benchmark("other", other))
    returns = np.array(own)
    assert found.total_return == pytest.approx(empyrical.cum_returns_final(returns))
    assert found.cagr == pytest.approx(empyrical.cagr(returns))
    assert found.volatility == pytest.approx(empyrical.annual_volatility(returns))
    assert found.sharpe == pytest.approx(empyrical.sharpe_ratio(returns))
    assert found.sortino == pytest.approx(empyrical.sortino_ratio(returns))
    assert found.max_drawdown == pytest.approx(empyrical.max_drawdown(returns))
    assert found.calmar == pytest.approx(empyrical.calmar_ratio(returns))
    assert found.beta == pytest.approx(empyrical.beta(returns, np.array(other)))
    # The library compounds the daily intercept to a year; the sum over a year is what Jensen's regression says.
    assert (1 + found.alpha / 252) ** 252 - 1 == pytest.approx(empyrical.alpha(returns, np.array(other)))
    assert found.benchmark_return == pytest.approx(empyrical.cum_returns_final(np.array(other)))


def test_years_and_months_compound_to_the_whole():
    days = [(date(2023, 12, 28), 110.0, 55.0), (date(2023, 12, 29), 99.0, 99.0), (date(2024, 1, 2), 108.9, 0.0)]
    rows = [*days, (date(2024, 2, 1), 54.45, 54.45), (date(2024, 2, 2), 60.0, 30.0)]
    years = by_period(invested_of(*rows), 100.0, False, Benchmark("x", [0.1, 0.1, None, 0.0, 0.5]))
    assert [(y.year, y.month, y.sessions) for y in years] == [(2023, None, 2), (2024, None, 3)]
    assert [y.total_return for y in years] == pytest.approx([-0.01, 60 / 99 - 1])
    assert [y.max_drawdown for y in years] == pytest.approx([-0.1, -0.5])
    assert [y.exposure for y in years] == pytest.approx([0.75, 0.5])
    assert [y.benchmark_return for y in years] == [pytest.approx(0.21), None]  # one day of 2024 is not known
    months = by_period(invested_of(*rows), 100.0, True)
    assert [(m.year, m.month) for m in months] == [(2023, 12), (2024, 1), (2024, 2)]
    assert math.prod(1 + m.total_return for m in months) == pytest.approx(0.6)
    assert [m.benchmark_return for m in months] == [None, None, None]
    assert by_period(invested_of(), 100.0, True) == ()


def test_exposure_is_the_mean_share_that_was_invested():
    rows = invested_of((date(2024, 1, 2), 100.0, 0.0), (date(2024, 1, 3), 100.0, 50.0), (date(2024, 1, 4), 200.0, 200.0))
    assert summarise(rows, fills_of(), entries_of(), 100.0).exposure == pytest.approx(0.5)
    assert summarise(invested_of((date(2024, 1, 2), 0.0, 0.0)), fills_of(), entries_of(), 100.0).exposure is None


def test_after_ruin_there_are_no_returns_and_no_figure_is_nan():
    found = summarise(equity_of(50, 0, 0, 0), fills_of(), entries_of(), 100.0, Benchmark("x", [0.1, 0.2, 0.1, 0.1]))
    assert not any(isinstance(value, float) and not math.isfinite(value) for value in asdict(found).values())
    assert (found.max_drawdown, found.beta) == (-1.0, None)  # two returns make no line
    rows = invested_of((date(2024, 1, 2), 50.0, 50.0), (date(2024, 1, 31), 0.0, 0.0), (date(2024, 2, 1), 0.0, 0.0))
    assert [month.total_return for month in by_period(rows, 100.0, True)] == [-1.0, None]
