"""Deflated Sharpe ratio and probability of overfitting: published values, small cases by hand, and noise that must not pass."""

import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tradebot_core.quant.overfitting import (
    Moments,
    deflated_sharpe,
    expected_maximum_sharpe,
    moments,
    probabilistic_sharpe,
    probability_of_overfitting,
)

# Bailey and Lopez de Prado, "The Deflated Sharpe Ratio" (2014), the numerical example: the best of 100 trials has an annualised Sharpe
# ratio of 2.5 over five years of 250 days; the variance of the annualised ratios is 1/2.
DAILY, VARIANCE = 2.5 / math.sqrt(250), 0.5 / 250
SKEWED = Moments(1250, None, None, -3.0, 10.0, DAILY)
NORMAL = Moments(1250, None, None, 0.0, 3.0, DAILY)


def test_the_expected_maximum_of_the_published_example():
    assert expected_maximum_sharpe(VARIANCE, 100) == pytest.approx(0.1132, abs=5e-5)


@pytest.mark.parametrize(("of", "trials", "published"), [(SKEWED, 100, 0.9004), (SKEWED, 46, 0.9505), (NORMAL, 88, 0.9505)])
def test_the_deflated_sharpe_ratios_of_the_published_example(of, trials, published):
    assert probabilistic_sharpe(of, expected_maximum_sharpe(VARIANCE, trials)) == pytest.approx(published, abs=5e-5)


def test_one_trial_is_put_against_nothing():
    alone = Moments(253, 0.001, 0.01, 0.0, 3.0, 0.1)
    # 0.1 x sqrt(252) / sqrt(1 + 0.1^2 / 2) = 1.5835 deviations above 0.
    assert deflated_sharpe(alone, [0.1], 1) == pytest.approx(0.94334, abs=1e-5)
    assert deflated_sharpe(alone, [0.1, 0.1], 2) == pytest.approx(0.94334, abs=1e-5)  # no two of them differ
    assert deflated_sharpe(alone, [0.1], 2) is None  # how far they differ is not known


@given(st.integers(1, 10_000), st.integers(1, 1000), st.floats(1e-6, 1))
def test_more_trials_ask_for_more(trials, more, variance):
    assert expected_maximum_sharpe(variance, trials) < expected_maximum_sharpe(variance, trials + more)


def test_moments_of_a_series_by_hand():
    found = moments(np.array([0.01, -0.01, 0.01, 0.03] * 5))
    assert found.mean == pytest.approx(0.01)
    assert found.deviation == pytest.approx(math.sqrt(0.0002 * 20 / 19))  # squares of 0, 0.02, 0, 0.02
    assert found.sharpe == pytest.approx(0.01 / math.sqrt(0.0002 * 20 / 19))
    assert (found.skewness, found.kurtosis) == (pytest.approx(0), pytest.approx(2))


def test_what_cannot_be_computed_is_none_and_what_is_no_number_is_refused():
    assert moments(np.full(19, 0.01)).mean is None
    flat = moments(np.full(50, 0.001))
    assert (flat.deviation, flat.sharpe) == (0.0, None)
    assert probabilistic_sharpe(flat, 0) is None
    for wrong in (math.nan, math.inf):
        with pytest.raises(ValueError, match="not finite"):
            moments(np.array([wrong] * 30))
        with pytest.raises(ValueError, match="not finite"):
            probability_of_overfitting(np.full((64, 2), wrong))
    with pytest.raises(ValueError, match="at least one"):
        expected_maximum_sharpe(0.1, 0)
    with pytest.raises(ValueError, match="even"):
        probability_of_overfitting(np.zeros((64, 2)), blocks=3)


def test_what_is_always_better_is_not_overfitted_and_what_takes_turns_is():
    noise = np.random.default_rng(5).normal(0, 0.01, 1600)
    always = np.column_stack([noise, noise + 0.002, noise - 0.002])
    assert probability_of_overfitting(always) == 0
    # Whoever is ahead in one half is behind in the other: a gain of the one block is the loss of the other.
    up = np.where(np.arange(1600) // 100 % 2 == 0, 0.002, -0.002)
    turns = np.column_stack([noise * 0.1 + up, noise * 0.1 - up])
    # Of 12,870 halves, 4,900 have four blocks of each kind: there neither is ahead by its blocks.
    assert probability_of_overfitting(turns) >= (12_870 - 4_900) / 12_870
    assert probability_of_overfitting(turns[:31]) is None  # less than two sessions a block
    assert probability_of_overfitting(turns[:, :1]) is None


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 6), st.sampled_from([2, 4, 6]))
def test_the_probability_is_that_of_the_definition_spelled_out(seed, trials, blocks):
    returns = np.random.default_rng(seed).normal(0.0002, 0.01, (blocks * 7 + 1, trials))
    parts = np.array_split(returns[1:], blocks)
    below = []
    for half in combinations(range(blocks), blocks // 2):
        inside = np.concatenate([parts[n] for n in half])
        outside = np.concatenate([parts[n] for n in range(blocks) if n not in half])
        best = (inside.mean(axis=0) / inside.std(axis=0)).argmax()
        ratios = outside.mean(axis=0) / outside.std(axis=0)
        rank = (ratios <= ratios[best]).sum() / (trials + 1)
        below.append(math.log(rank / (1 - rank)) <= 0)
    assert probability_of_overfitting(returns, blocks) == pytest.approx(np.mean(below))


def passes(returns: np.ndarray) -> bool:
    """The house's gate on the best of several."""
    sharpes = returns.mean(axis=0) / returns.std(axis=0, ddof=1)
    deflated = deflated_sharpe(moments(returns[:, sharpes.argmax()]), sharpes.tolist(), returns.shape[1])
    overfitting = probability_of_overfitting(returns, blocks=8)
    return deflated >= 0.95 and overfitting <= 0.2


def test_the_best_of_noise_passes_the_gate_at_most_once_in_twenty():
    """1,000 searches for the best of ten strategies that are noise, over two years each."""
    draw = np.random.default_rng(20241124)
    assert sum(passes(draw.standard_t(4, (504, 10)) * 0.01) for _ in range(1000)) <= 50


def test_the_best_of_a_thousand_strategies_of_noise_hardly_ever_passes():
    draw = np.random.default_rng(7)
    assert sum(passes(draw.normal(0, 0.01, (504, 1000))) for _ in range(40)) <= 2


def test_what_has_merit_passes():
    draw = np.random.default_rng(3)
    noise = draw.normal(0, 0.01, (2520, 10))
    noise[:, 4] += 0.0015  # an annualised Sharpe ratio of 2.4
    assert passes(noise)
