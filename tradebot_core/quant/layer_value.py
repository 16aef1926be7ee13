"""What a layer added: the forward total return of what it passed against that of what it rejected.

Every 21st session is a sample. A security is bought at the open of the session after it, the earliest fill that a decision could have, and
valued at the close 21, 63 or 252 sessions after the sample. The spread of a sample is the mean of the passed less the mean of the
rejected, each security alike; the layer's is the mean over samples. Samples of the longer horizons overlap, which the t-statistic admits
(Newey and West with as many lags as samples overlap); where fewer than `LEAST_WINDOWS` horizons fit beside one another it is None.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np

from tradebot_core.quant.regression import mean_t

STEP = 21  # sessions from one sample to the next
HORIZONS = (21, 63, 252)  # multiples of STEP
LEAST_WINDOWS = 5


@dataclass(frozen=True)
class Snapshot:
    """The market at a sample: `entry` and `level` as in total_return.Levels, `entry` of the session after."""

    session: date
    securities: np.ndarray
    level: np.ndarray
    entry: np.ndarray | None  # None of a sample that is the last session
    traded: np.ndarray  # in the sample's own session


@dataclass(frozen=True)
class Judged:
    """Ids that a layer passed, and those it was shown and rejected."""

    passed: np.ndarray
    rejected: np.ndarray


@dataclass(frozen=True)
class LayerValue:
    """Fractions over the horizon. None: no sample, or too few for the figure."""

    layer: str
    horizon: int  # sessions
    samples: int  # with passed and rejected both
    windows: int  # horizons that fit beside one another in the samples
    passed: int  # securities over all samples
    rejected: int
    passed_return: float | None
    rejected_return: float | None
    spread: float | None
    t: float | None
    positive: float | None  # share of samples whose spread was above 0
    carried: (
        float | None
    )  # share of securities without a bar at the horizon's end: at their last price, or what a delisting paid


def layer_value(layer: str, horizon: int, snapshots: Sequence[Snapshot], judged: Mapping[date, Judged]) -> LayerValue:
    """`snapshots` of consecutive samples; `judged` by the session of a sample (a sample without verdicts is none)."""
    steps = horizon // STEP
    rows: list[tuple[float, float]] = []
    passed = rejected = carried = 0
    for number in range(len(snapshots) - steps):
        verdicts, start, end = judged.get(snapshots[number].session), snapshots[number], snapshots[number + steps]
        if verdicts is None:
            continue
        good, good_carried = _returns(verdicts.passed, start, end)
        bad, bad_carried = _returns(verdicts.rejected, start, end)
        if not len(good) or not len(bad):
            continue
        rows.append((float(good.mean()), float(bad.mean())))
        passed, rejected, carried = passed + len(good), rejected + len(bad), carried + good_carried + bad_carried
    if not rows:
        return LayerValue(layer, horizon, 0, 0, 0, 0, None, None, None, None, None, None)
    means = np.array(rows)
    spreads = means[:, 0] - means[:, 1]
    windows = (len(rows) - 1) // steps + 1
    return LayerValue(
        layer,
        horizon,
        len(rows),
        windows,
        passed,
        rejected,
        float(means[:, 0].mean()),
        float(means[:, 1].mean()),
        float(spreads.mean()),
        mean_t(spreads, steps - 1) if windows >= LEAST_WINDOWS else None,
        float((spreads > 0).mean()),
        carried / (passed + rejected),
    )


def _returns(ids: np.ndarray, start: Snapshot, end: Snapshot) -> tuple[np.ndarray, int]:
    """Of those that could be bought; and of how many there was no bar at the end."""
    if start.entry is None:
        return np.empty(0), 0
    at_start, known = _places(start.securities, ids)
    entry = np.where(known, start.entry[at_start], np.nan)
    at_end, there = _places(end.securities, ids)
    level = np.where(there, end.level[at_end], np.nan)
    usable = (entry > 0) & ~np.isnan(level)
    return level[usable] / entry[usable] - 1, int((~end.traded[at_end][usable]).sum())


def _places(securities: np.ndarray, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if not len(securities):
        return np.zeros(len(ids), dtype=int), np.zeros(len(ids), dtype=bool)
    places = np.minimum(np.searchsorted(securities, ids), len(securities) - 1)
    return places, securities[places] == ids
