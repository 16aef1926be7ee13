"""Means and lines with standard errors that admit that observations follow each other.

Source: Newey and West (1987), A Simple, Positive Semi-Definite, Heteroskedasticity and Autocorrelation Consistent Covariance
Matrix, Econometrica 55(3): Bartlett weights 1 - k / (lags + 1). No correction for small samples.
"""

import math
from dataclasses import dataclass

import numpy as np

_LEAST = 3  # observations of a line with an error
_NOISE = 1e-12  # relative: what differs by less is the rounding of floats


@dataclass(frozen=True)
class Line:
    """own = alpha + beta x other + error; `alpha_t` is None where the fit leaves no error."""

    alpha: float
    alpha_t: float | None
    beta: float


def alpha_beta(own: np.ndarray, other: np.ndarray) -> Line | None:
    """Least squares of one series of returns on another. None with fewer than three pairs, or when `other` does not move."""
    count = len(own)
    if count < _LEAST or not _moves(other):
        return None
    x = np.column_stack([np.ones(count), other])
    inverse = np.linalg.inv(x.T @ x)
    alpha, beta = inverse @ x.T @ own
    scores = x * (own - x @ (alpha, beta))[:, None]
    variance = (inverse @ _long_run(scores, usual_lags(count)) @ inverse)[0, 0]
    error = math.sqrt(max(variance, 0.0))
    known = error > _NOISE * np.abs(own).max()  # a book that is its benchmark leaves none
    return Line(float(alpha), float(alpha) / error if known else None, float(beta))


def usual_lags(count: int) -> int:
    """floor(4 (count / 100)^(2/9)): Newey and West (1994), as statistical packages have it."""
    return int(4 * (count / 100) ** (2 / 9))


def mean_t(values: np.ndarray, lags: int) -> float | None:
    """The t-statistic of the mean. None with fewer than two values, or when they do not differ."""
    if len(values) < 2 or not _moves(values):
        return None
    variance = _long_run((values - values.mean())[:, None], lags)[0, 0] / len(values) ** 2
    return float(values.mean()) / math.sqrt(variance) if variance > 0 else None


def _moves(values: np.ndarray) -> bool:
    return bool(np.ptp(values) > _NOISE * np.abs(values).max())


def _long_run(scores: np.ndarray, lags: int) -> np.ndarray:
    """The sum of the products of `scores` (observations x parameters) with themselves and, with falling weights, with those before."""
    total = scores.T @ scores
    for lag in range(1, min(lags, len(scores) - 1) + 1):
        crossed = scores[lag:].T @ scores[:-lag]
        total = total + (1 - lag / (lags + 1)) * (crossed + crossed.T)
    return total
