"""Figures of a finished run: return, risk, turnover. Sessions are daily; 252 a year."""

import math
from dataclasses import dataclass

import polars as pl

SESSIONS_PER_YEAR = 252


@dataclass(frozen=True)
class Performance:
    """Returns and risk are fractions (0.12 is 12 %), money is USD. A figure that cannot be computed is None."""

    sessions: int
    initial_capital: float
    final_equity: float
    total_return: float
    cagr: float | None
    volatility: float | None  # annualised standard deviation of daily returns
    sharpe: float | None  # annualised, risk-free rate 0
    max_drawdown: float  # the deepest fall from a peak, as a negative fraction
    trades: int  # fills
    turnover: float | None  # a year: the lesser of purchases and sales over mean equity
    commission: float
    dividends: float


def summarise(equity: pl.DataFrame, fills: pl.DataFrame, entries: pl.DataFrame, initial_capital: float) -> Performance:
    """`equity` (session, equity), `fills` (side, quantity, price), `entries` (kind, cash) of one book, in session order."""
    values = equity["equity"].cast(pl.Float64)
    sessions = len(values)
    final = float(values[-1]) if sessions else initial_capital
    path = pl.concat([pl.Series([initial_capital], dtype=pl.Float64), values])
    returns = (path / path.shift(1) - 1).drop_nulls()
    years = sessions / SESSIONS_PER_YEAR
    deviation = returns.std() if sessions > 1 else None
    total = final / initial_capital - 1
    traded = (fills["quantity"] * fills["price"].cast(pl.Float64)).alias("notional")
    by_side = {side: float(traded.filter(fills["side"] == side).sum()) for side in ("buy", "sell")}
    mean_equity = values.mean()
    return Performance(
        sessions=sessions,
        initial_capital=initial_capital,
        final_equity=final,
        total_return=total,
        cagr=(final / initial_capital) ** (1 / years) - 1 if sessions and final > 0 else None,
        volatility=deviation * math.sqrt(SESSIONS_PER_YEAR) if deviation is not None else None,
        sharpe=returns.mean() / deviation * math.sqrt(SESSIONS_PER_YEAR) if deviation else None,
        max_drawdown=float((path / path.cum_max() - 1).min()),
        trades=len(fills),
        turnover=min(by_side.values()) / mean_equity / years if sessions and mean_equity else None,
        commission=-_sum(entries, "commission"),
        dividends=_sum(entries, "dividend"),
    )


def drawdowns(equity: pl.Series) -> pl.Series:
    """The fall from the running peak, as a negative fraction."""
    return equity / equity.cum_max() - 1


def _sum(entries: pl.DataFrame, kind: str) -> float:
    return float(entries.filter(pl.col("kind") == kind)["cash"].cast(pl.Float64).sum())
