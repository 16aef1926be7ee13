"""How much of a good figure is luck: the moments of a return series, the deflated Sharpe ratio, the probability of backtest overfitting.

Everything here is per session, not annualised. Of many trials the best looks good even where none has any merit; both figures put
the best against that.

Sources: Bailey and Lopez de Prado, "The Sharpe Ratio Efficient Frontier" (2012) for the probabilistic Sharpe ratio, "The Deflated
Sharpe Ratio" (2014), and Bailey, Borwein, Lopez de Prado and Zhu, "The Probability of Backtest Overfitting" (2017) for CSCV.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

_NORMAL = NormalDist()
_EULER_MASCHERONI = 0.5772156649015329
FEWEST_SESSIONS = 20  # below these the moments of a series say nothing
BLOCKS = 16  # into which CSCV cuts a series; 12,870 ways to choose the half of them
_NO_SPREAD = 1e-12  # a deviation so small beside the mean is rounding

Returns = NDArray[np.float64]


@dataclass(frozen=True)
class Moments:
    """Of returns per session. `kurtosis` is raw: 3 for a normal distribution. `sharpe` is mean over deviation, risk-free rate 0. What
    cannot be computed is None."""

    sessions: int
    mean: float | None
    deviation: float | None
    skewness: float | None
    kurtosis: float | None
    sharpe: float | None


def moments(returns: Returns) -> Moments:
    """Raises ValueError where a return is not finite."""
    if not np.isfinite(returns).all():
        raise ValueError("a return is not finite")
    sessions = len(returns)
    if sessions < FEWEST_SESSIONS:
        return Moments(sessions, None, None, None, None, None)
    mean, deviation = float(returns.mean()), float(returns.std(ddof=1))
    if not deviation > _NO_SPREAD * max(1.0, abs(mean)):
        return Moments(sessions, mean, 0.0, None, None, None)
    standardised = (returns - mean) / returns.std()
    skewness, kurtosis = float((standardised**3).mean()), float((standardised**4).mean())
    return Moments(sessions, mean, deviation, skewness, kurtosis, mean / deviation)


def expected_maximum_sharpe(variance: float, trials: int) -> float:
    """The Sharpe ratio that the best of `trials` independent ones without merit is expected to show; `variance` is that of the
    trials' Sharpe ratios. 0 of a single one."""
    if trials < 1 or not 0 <= variance < math.inf:
        raise ValueError("trials are at least one, and a variance is finite and not negative")
    if trials == 1:
        return 0.0
    near, far = (_NORMAL.inv_cdf(1 - 1 / n) for n in (trials, trials * math.e))
    return math.sqrt(variance) * ((1 - _EULER_MASCHERONI) * near + _EULER_MASCHERONI * far)


def probabilistic_sharpe(of: Moments, benchmark: float) -> float | None:
    """The probability that the true Sharpe ratio is above `benchmark`; None where `of` has no Sharpe ratio. With the benchmark
    of `expected_maximum_sharpe` it is the deflated Sharpe ratio."""
    if of.sharpe is None or of.skewness is None or of.kurtosis is None:
        return None
    variance = 1 - of.skewness * of.sharpe + (of.kurtosis - 1) / 4 * of.sharpe**2
    return _NORMAL.cdf((of.sharpe - benchmark) * math.sqrt((of.sessions - 1) / variance)) if variance > 0 else None


def deflated_sharpe(of: Moments, sharpes: Sequence[float], trials: int) -> float | None:
    """`sharpes` are those of the trials as far as they are known, from which their variance is taken. None where `of` has no
    Sharpe ratio, or where of several trials fewer than two are known."""
    if trials == 1:
        return probabilistic_sharpe(of, 0.0)
    if len(sharpes) < 2:
        return None
    return probabilistic_sharpe(of, expected_maximum_sharpe(float(np.var(sharpes, ddof=1)), trials))


def probability_of_overfitting(returns: Returns, blocks: int = BLOCKS) -> float | None:
    """CSCV: `returns` (sessions x trials) are cut into an even number of blocks of the same length (the first sessions that are left over
    are not looked at). For each choice of half of the blocks the trial with the best Sharpe ratio in them is ranked by its Sharpe ratio
    in the others. The share of choices in which it is not above the median of them.

    None of fewer than two trials or of fewer than two sessions a block. A trial without spread in some blocks has a ratio of 0 there.
    """
    sessions, trials = returns.shape
    if blocks < 2 or blocks % 2:
        raise ValueError("an even number of blocks")
    if not np.isfinite(returns).all():
        raise ValueError("a return is not finite")
    length = sessions // blocks
    if trials < 2 or length < 2:
        return None
    cut = returns[sessions - length * blocks :].reshape(blocks, length, trials)
    sums, squares = cut.sum(axis=1), (cut**2).sum(axis=1)
    chosen = _halves(blocks)
    half = length * blocks // 2
    inside = _sharpes(chosen @ sums, chosen @ squares, half)
    outside = _sharpes((1 - chosen) @ sums, (1 - chosen) @ squares, half)
    best = inside.argmax(axis=1)
    of_best = outside[np.arange(len(chosen)), best][:, None]
    # The rank in (0, 1); those of the same ratio share the middle of their places.
    below, same = (outside < of_best).sum(axis=1), (outside == of_best).sum(axis=1)
    rank = (below + (same + 1) / 2) / (trials + 1)
    return float((rank <= 0.5).mean())


def _sharpes(sums: Returns, squares: Returns, sessions: int) -> Returns:
    means = sums / sessions
    deviations = np.sqrt(np.maximum(squares / sessions - means**2, 0))
    spread = deviations > _NO_SPREAD * np.maximum(1.0, np.abs(means))
    return np.divide(means, deviations, out=np.zeros_like(means), where=spread)


@cache
def _halves(blocks: int) -> Returns:
    """One row for each choice of half of the blocks: 1 where it is chosen."""
    rows = list(combinations(range(blocks), blocks // 2))
    chosen = np.zeros((len(rows), blocks))
    chosen[np.arange(len(rows))[:, None], rows] = 1
    return chosen
