"""Figures of a finished run: return, risk, exposure, turnover, and how little they may prove. Sessions are daily; 252 a year.

Returns, risk and exposure are fractions (0.12 is 12 %), money is USD, the risk-free rate is 0. What cannot be computed is None.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from statistics import NormalDist

import numpy as np
import polars as pl

from tradebot_core.quant.regression import alpha_beta

SESSIONS_PER_YEAR = 252
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Performance:
    """Of one book from its capital on. `against` names what alpha, beta and benchmark_return are measured against."""

    sessions: int
    initial_capital: float
    final_equity: float
    total_return: float
    cagr: float | None  # compounded, a year
    volatility: float | None  # annualised standard deviation of daily returns
    sharpe: float | None  # mean over standard deviation of daily returns, annualised by the root of 252 (Sharpe 1994)
    max_drawdown: float  # the deepest fall from a peak, as a negative fraction
    trades: int  # fills
    turnover: float | None  # a year: the lesser of purchases and sales over mean equity
    commission: float
    dividends: float
    sharpe_low: float | None = None  # the bounds of its confidence interval (see `sharpe_interval`)
    sharpe_high: float | None = None
    sortino: float | None = None  # mean return over the root mean square of the losses, annualised (Sortino and Price 1994)
    calmar: float | None = None  # cagr over the deepest drawdown (Young 1991, over the whole run)
    longest_drawdown: int = 0  # sessions below an earlier peak
    exposure: float | None = None  # mean share of equity that was invested at the close
    against: str | None = None
    benchmark_return: float | None = None  # total, dividends reinvested
    alpha: float | None = None  # a year: 252 times the intercept of the daily returns on the benchmark's (Jensen 1968)
    alpha_t: float | None = None  # its t-statistic after Newey and West (1987)
    beta: float | None = None


@dataclass(frozen=True)
class Benchmark:
    """`returns` are the daily total returns of the run's sessions, None where there was none."""

    name: str
    returns: Sequence[float | None]


@dataclass(frozen=True)
class PeriodReturn:
    """Of a year, or of a month of it."""

    year: int
    month: int | None
    sessions: int
    total_return: float | None  # None where there was nothing left to earn on
    benchmark_return: float | None
    max_drawdown: float  # within the period, from the equity before it
    exposure: float | None


def summarise(
    equity: pl.DataFrame,
    fills: pl.DataFrame,
    entries: pl.DataFrame,
    initial_capital: float,
    benchmark: Benchmark | None = None,
) -> Performance:
    """`equity` (session, invested, equity), `fills` (side, quantity, price), `entries` (kind, cash) of one book, in session order."""
    values = equity["equity"].cast(pl.Float64)
    sessions = len(values)
    final = float(values[-1]) if sessions else initial_capital
    returns = daily_returns(values, initial_capital)
    years = sessions / SESSIONS_PER_YEAR
    cagr = (final / initial_capital) ** (1 / years) - 1 if sessions and final > 0 else None
    falls = drawdowns(_path(values, initial_capital))
    deepest = float(falls.min())
    traded = (fills["quantity"] * fills["price"].cast(pl.Float64)).alias("notional")
    by_side = {side: float(traded.filter(fills["side"] == side).sum()) for side in ("buy", "sell")}
    mean_equity = values.mean()
    low, high = sharpe_interval(returns) or (None, None)
    return Performance(
        sessions=sessions,
        initial_capital=initial_capital,
        final_equity=final,
        total_return=final / initial_capital - 1,
        cagr=cagr,
        volatility=_volatility(returns),
        sharpe=sharpe_ratio(returns),
        max_drawdown=deepest,
        trades=len(fills),
        turnover=min(by_side.values()) / mean_equity / years if sessions and mean_equity else None,
        commission=-_sum(entries, "commission"),
        dividends=_sum(entries, "dividend"),
        sharpe_low=low,
        sharpe_high=high,
        sortino=sortino_ratio(returns),
        calmar=cagr / -deepest if cagr is not None and deepest < 0 else None,
        longest_drawdown=_longest(falls),
        exposure=_exposure(equity),
        **_against(returns, benchmark),
    )


def daily_returns(equity: pl.Series, initial_capital: float) -> pl.Series:
    """Of each session against the one before, the first against the capital; after ruin there are none."""
    path = _path(equity, initial_capital)
    returns = (path / path.shift(1) - 1)[1:]
    beyond = (~returns.is_finite()).arg_true()
    return returns[: beyond[0]] if len(beyond) else returns


def drawdowns(equity: pl.Series) -> pl.Series:
    """The fall from the running peak, as a negative fraction."""
    return equity / equity.cum_max() - 1


def sharpe_ratio(returns: pl.Series) -> float | None:
    """Annualised. None when nothing moved, or with fewer than two returns."""
    deviation = returns.std() if len(returns) > 1 else None
    return returns.mean() / deviation * math.sqrt(SESSIONS_PER_YEAR) if deviation else None


def sharpe_interval(returns: pl.Series, confidence: float = CONFIDENCE) -> tuple[float, float] | None:
    """Bounds of the annualised Sharpe ratio.

    Source: Lo (2002), The Statistics of Sharpe Ratios, Financial Analysts Journal 58(4): of independent, identically distributed returns
    the ratio SR of T of them has a standard error of sqrt((1 + SR^2 / 2) / T). Returns that follow each other make it wider.
    """
    annual = sharpe_ratio(returns)
    if annual is None:
        return None
    daily = annual / math.sqrt(SESSIONS_PER_YEAR)
    error = math.sqrt((1 + daily**2 / 2) / len(returns) * SESSIONS_PER_YEAR)
    reach = NormalDist().inv_cdf((1 + confidence) / 2) * error
    return annual - reach, annual + reach


def sortino_ratio(returns: pl.Series) -> float | None:
    """Annualised, against a target of 0: the mean over sqrt(mean(min(return, 0)^2)), over all returns. None without a loss."""
    if len(returns) < 2:
        return None
    downside = math.sqrt((returns.clip(upper_bound=0.0) ** 2).mean())
    return returns.mean() / downside * math.sqrt(SESSIONS_PER_YEAR) if downside else None


def by_period(
    equity: pl.DataFrame, initial_capital: float, months: bool, benchmark: Benchmark | None = None
) -> tuple[PeriodReturn, ...]:
    """Calendar years, or months, each against the equity before it. Their returns compound to the total return."""
    values = equity["equity"].cast(pl.Float64).to_list()
    days: list[date] = equity["session"].to_list()
    found: list[PeriodReturn] = []
    first, before = 0, initial_capital
    while first < len(days):
        key = _period(days[first], months)
        last = first
        while last + 1 < len(days) and _period(days[last + 1], months) == key:
            last += 1
        here = slice(first, last + 1)
        path = _path(pl.Series(values[here], dtype=pl.Float64), before)
        falls = drawdowns(path).fill_nan(0.0)
        found.append(
            PeriodReturn(
                key[0],
                key[1],
                last + 1 - first,
                values[last] / before - 1 if before > 0 else None,
                _compounded(benchmark.returns[here]) if benchmark else None,
                float(falls.min()),
                _exposure(equity[first : last + 1]),
            )
        )
        first, before = last + 1, values[last]
    return tuple(found)


def _period(day: date, months: bool) -> tuple[int, int | None]:
    return day.year, day.month if months else None


def _path(values: pl.Series, initial_capital: float) -> pl.Series:
    return pl.concat([pl.Series([initial_capital], dtype=pl.Float64), values.cast(pl.Float64)])


def _volatility(returns: pl.Series) -> float | None:
    return returns.std() * math.sqrt(SESSIONS_PER_YEAR) if len(returns) > 1 else None


def _longest(falls: pl.Series) -> int:
    longest = length = 0
    for fall in falls.to_list():
        length = length + 1 if fall < 0 else 0
        longest = max(longest, length)
    return longest


def _exposure(equity: pl.DataFrame) -> float | None:
    """Sessions without any equity have no share."""
    values = equity["equity"].cast(pl.Float64)
    shares = (equity["invested"].cast(pl.Float64) / values).filter(values > 0)
    return shares.mean()


def _compounded(returns: Sequence[float | None]) -> float | None:
    """Null where a return is missing: what is not known of a day is not known of its year."""
    known = [value for value in returns if value is not None]
    return math.prod(1 + value for value in known) - 1 if known and len(known) == len(returns) else None


def _against(returns: pl.Series, benchmark: Benchmark | None) -> dict[str, str | float | None]:
    if benchmark is None:
        return {}
    known = [(own, other) for own, other in zip(returns, benchmark.returns, strict=False) if other is not None]
    fitted = alpha_beta(np.array([own for own, _ in known]), np.array([other for _, other in known]))
    return {
        "against": benchmark.name,
        "benchmark_return": _compounded(benchmark.returns),
        **(
            {"alpha": fitted.alpha * SESSIONS_PER_YEAR, "alpha_t": fitted.alpha_t, "beta": fitted.beta}
            if fitted is not None
            else {}
        ),
    }


def _sum(entries: pl.DataFrame, kind: str) -> float:
    return float(entries.filter(pl.col("kind") == kind)["cash"].cast(pl.Float64).sum())
