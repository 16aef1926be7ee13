"""What a layer added: forward returns of what it passed against what it rejected."""

import numpy as np
import pytest

from tests.markets import SESSIONS
from tradebot_core.quant.layer_value import Judged, Snapshot, layer_value
from tradebot_core.quant.regression import mean_t

IDS = np.array([10, 20, 30])


def ids(*found: int) -> np.ndarray:
    return np.array(found, dtype=np.int64)


def snapshot(n: int, level: list[float], entry: list[float] | None, traded: list[bool] | None = None) -> Snapshot:
    made = None if entry is None else np.array(entry)
    return Snapshot(SESSIONS[n], IDS, np.array(level), made, np.array(traded or [True] * 3))


def test_the_spread_of_one_sample_by_hand():
    start = snapshot(0, [1.0, 1.0, 1.0], [1.0, 2.0, 4.0])  # bought at the next open
    end = snapshot(1, [1.1, 2.0, 3.0], None, [True, True, False])
    found = layer_value("screen", 21, [start, end], {SESSIONS[0]: Judged(ids(10), ids(20, 30))})
    assert (found.layer, found.horizon, found.samples, found.windows, found.passed, found.rejected) == (
        "screen",
        21,
        1,
        1,
        1,
        2,
    )
    assert found.passed_return == pytest.approx(0.1)
    assert found.rejected_return == pytest.approx((0.0 - 0.25) / 2)
    assert found.spread == pytest.approx(0.225)
    assert (found.t, found.positive, found.carried) == (None, 1.0, pytest.approx(1 / 3))


def test_what_could_not_be_bought_or_was_never_listed_is_not_counted():
    start = snapshot(0, [1.0, 1.0, 1.0], [1.0, np.nan, 1.0])
    end = snapshot(1, [2.0, 9.0, np.nan], None)
    found = layer_value("screen", 21, [start, end], {SESSIONS[0]: Judged(ids(10, 20, 99), ids(30))})
    assert (found.samples, found.spread) == (0, None)  # of the rejected none has a return
    judged = {SESSIONS[0]: Judged(ids(20, 99), ids(10))}
    assert layer_value("screen", 21, [start, end], judged).samples == 0


def test_a_sample_whose_horizon_is_not_over_or_that_has_no_verdicts_is_none():
    shots = [snapshot(n, [1.0, 1.0, 1.0], [1.0, 1.0, 1.0]) for n in range(3)]
    judged = {SESSIONS[n]: Judged(ids(10), ids(20)) for n in (0, 2)}
    assert layer_value("screen", 21, shots, judged).samples == 1
    assert layer_value("screen", 63, shots, judged).samples == 0
    assert layer_value("screen", 21, [], {}).spread is None


STEPS = [1.02 + 0.01 * (n * n % 7) for n in range(40)]


def market(samples: int) -> tuple[list[Snapshot], dict]:
    """Security 10 earns a changing return a step, 20 earns nothing."""
    level, shots = 1.0, []
    for n in range(samples):
        shots.append(snapshot(n, [level, 1.0, 1.0], [level, 1.0, 1.0]))
        level *= STEPS[n]
    return shots, {SESSIONS[n]: Judged(ids(10), ids(20)) for n in range(samples)}


def test_overlapping_horizons_have_a_t_that_admits_it_and_few_windows_have_none():
    shots, judged = market(40)
    found = layer_value("screen", 63, shots, judged)
    assert (found.samples, found.windows) == (37, 13)
    spreads = np.array([np.prod(STEPS[n : n + 3]) - 1 for n in range(37)])
    assert found.spread == pytest.approx(spreads.mean())
    assert found.t == pytest.approx(mean_t(spreads, 2)) and found.t < mean_t(spreads, 0)
    monthly = layer_value("screen", 21, shots, judged)
    assert monthly.t == pytest.approx(mean_t(np.array(STEPS[:39]) - 1, 0))
    assert (monthly.windows, layer_value("screen", 252, shots, judged).windows) == (39, 3)
    assert layer_value("screen", 252, shots, judged).t is None  # three years of non-overlapping evidence are no test
