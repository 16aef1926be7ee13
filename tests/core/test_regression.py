"""Standard errors for observations that follow each other, against the formula written out."""

import math
import random

import numpy as np
import pytest

from tradebot_core.quant.regression import alpha_beta, mean_t, usual_lags


def series(count: int, seed: int, memory: float = 0.6) -> np.ndarray:
    generator = random.Random(seed)
    values = [0.0]
    for _ in range(count):
        values.append(memory * values[-1] + generator.gauss(0.1, 1.0))
    return np.array(values[1:])


def test_the_t_of_a_mean_is_the_double_sum_of_newey_and_west():
    values, lags = series(40, 1), 3
    deviations = values - values.mean()
    variance = 0.0
    for i in range(40):
        for j in range(40):
            if abs(i - j) <= lags:
                variance += (1 - abs(i - j) / (lags + 1)) * deviations[i] * deviations[j]
    assert mean_t(values, lags) == pytest.approx(values.mean() / (math.sqrt(variance) / 40))


def test_without_lags_it_is_the_ordinary_t_of_a_mean():
    values = series(50, 2)
    assert mean_t(values, 0) == pytest.approx(values.mean() / (values.std(ddof=0) / math.sqrt(50)))


def test_overlap_makes_evidence_smaller_than_it_looks():
    yearly = np.convolve(series(200, 3, memory=0.0) + 0.15, np.ones(12), "valid")  # sums of twelve, one apart
    assert abs(mean_t(yearly, 11)) < 0.6 * abs(mean_t(yearly, 0))


def test_a_mean_of_one_value_or_of_equal_ones_has_no_t():
    assert mean_t(np.array([0.3]), 0) is None
    assert mean_t(np.array([]), 2) is None
    assert mean_t(np.array([0.3, 0.3, 0.3]), 1) is None


def test_a_line_is_that_of_least_squares_and_its_error_the_sandwich_written_out():
    other = series(120, 4, memory=0.0)
    own = 0.02 + 0.7 * other + series(120, 5) * 0.1
    found = alpha_beta(own, other)
    slope, intercept = np.polyfit(other, own, 1)
    assert (found.beta, found.alpha) == pytest.approx((slope, intercept))
    x = np.column_stack([np.ones(120), other])
    errors = own - x @ [intercept, slope]
    lags = usual_lags(120)
    assert lags == 4
    meat = np.zeros((2, 2))
    for i in range(120):
        for j in range(max(0, i - lags), min(120, i + lags + 1)):
            meat += (1 - abs(i - j) / (lags + 1)) * errors[i] * errors[j] * np.outer(x[i], x[j])
    bread = np.linalg.inv(x.T @ x)
    assert found.alpha_t == pytest.approx(intercept / math.sqrt((bread @ meat @ bread)[0, 0]))


def test_a_book_that_is_its_benchmark_has_beta_one_and_no_t_of_alpha():
    other = series(100, 6) / 100
    found = alpha_beta(other, other)
    assert (found.beta, found.alpha) == (pytest.approx(1.0), pytest.approx(0.0, abs=1e-12))
    assert found.alpha_t is None


def test_a_benchmark_that_does_not_move_and_too_few_returns_give_no_line():
    assert alpha_beta(np.array([0.1, 0.2, 0.3]), np.array([0.1, 0.1, 0.1])) is None
    assert alpha_beta(np.array([0.1, 0.2]), np.array([0.1, 0.3])) is None
    assert alpha_beta(np.array([]), np.array([])) is None
