"""What counts as a trial, and what the number of trials leaves of a result.

Two runs are the same trial when the class of the strategy, its sources (comments, docstrings and layout apart), its parameters and all
that is in the sleeve's settings (limits, data checks, costs, universe, cut-off, capital) are the same. So to extend a range, to run
anything again, to take another range, or to have newer data or a newer release of Tradebot is no new trial; to edit a rule is one.

Trials are counted for the class of a strategy, under whatever names it is configured. A stress of a trial (delayed, dearer) is
recorded and not counted: nobody chooses it.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime

import numpy as np
import polars as pl

from tradebot_core.model.trial import TrialRun
from tradebot_core.quant.overfitting import deflated_sharpe, expected_maximum_sharpe, moments, probability_of_overfitting
from tradebot_core.quant.performance import SESSIONS_PER_YEAR
from tradebot_core.strategy import Strategy
from tradebot_core.trading.code_version import code_of, idea_of

# What the house asks of a result before it is believed.
LEAST_DEFLATED_SHARPE = 0.95
MOST_OVERFITTING = 0.2


def trial_run(
    strategy: Strategy,
    settings: str,
    counts: bool,
    equity: pl.DataFrame,
    before: float,
    data_version: str,
    code_version: str,
    at: datetime,
) -> TrialRun:
    """The record of a run. `equity` (session, equity) in order; `before` is what the first session began with, USD."""
    idea, code = idea_of(strategy), code_of(strategy)
    path = np.concatenate([[before], equity["equity"].cast(pl.Float64).to_numpy()])
    returns = path[1:] / path[:-1] - 1
    found = moments(returns)
    return TrialRun(
        trial=hashlib.sha256(f"{idea} {code} {settings}".encode()).hexdigest()[:16],
        idea=idea,
        strategy=strategy.name,
        counts=counts,
        parameters=strategy.params.model_dump(mode="json"),
        settings=settings,
        sessions=tuple(equity["session"]),
        returns=tuple(returns.tolist()),
        data_version=data_version,
        code_version=code_version,
        strategy_code=code,
        mean=found.mean,
        deviation=found.deviation,
        skewness=found.skewness,
        kurtosis=found.kurtosis,
        sharpe=found.sharpe,
        at=at,
    )


@dataclass(frozen=True)
class Trial:
    """All runs of one trial together: the return of each session is that of the last run that had it."""

    trial: str
    strategy: str  # the name it was first run under
    counts: bool
    parameters: Mapping[str, object]
    runs: int
    first_run: datetime
    last_run: datetime
    returns: Mapping[date, float]

    @property
    def sharpe(self) -> float | None:
        """Per session, over all sessions it was ever run on."""
        return moments(np.array(list(self.returns.values()))).sharpe


def trials_of(runs: Sequence[TrialRun]) -> list[Trial]:
    """In the order in which they were first run."""
    by_trial: dict[str, list[TrialRun]] = {}
    for run in runs:
        by_trial.setdefault(run.trial, []).append(run)
    found = []
    for trial, own in by_trial.items():
        returns: dict[date, float] = {}
        for run in own:
            returns |= zip(run.sessions, run.returns, strict=True)
        ordered = dict(sorted(returns.items()))
        found.append(Trial(trial, own[0].strategy, own[0].counts, own[0].parameters, len(own), own[0].at, own[-1].at, ordered))
    return found


@dataclass(frozen=True)
class Selection:
    """What remains of a result when all that was tried is counted. Probabilities are fractions; what cannot be told is None, and
    `notes` says why. `sharpe` and `lucky_sharpe` (what the best of so many trials without merit would show) are annualised."""

    trials: int
    runs: int
    sharpe: float | None
    lucky_sharpe: float | None
    deflated_sharpe: float | None
    overfitting: float | None  # the probability, by CSCV
    compared: int  # trials that overfitting is told from: those run on every session of the book
    notes: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether both figures are known and good enough; of a single trial there is nothing to be overfitted to."""
        deflated, overfitting = self.deflated_sharpe, self.overfitting
        sound = self.trials == 1 or (overfitting is not None and overfitting <= MOST_OVERFITTING)
        return sound and deflated is not None and deflated >= LEAST_DEFLATED_SHARPE


def selection(runs: Sequence[TrialRun], sessions: Sequence[date], returns: Sequence[float]) -> Selection:
    """Of the book with these `returns` per session, among all `runs` of its idea."""
    # In an order that does not depend on who ended first: sums of floats do.
    counted = sorted((trial for trial in trials_of(runs) if trial.counts), key=lambda trial: trial.trial)
    number = max(1, len(counted))
    own = moments(np.array(returns, float))
    sharpes = [sharpe for trial in counted if (sharpe := trial.sharpe) is not None]
    wanted = set(sessions)
    rivals = [trial for trial in counted if wanted <= trial.returns.keys()]
    matrix = np.array([[trial.returns[session] for session in sessions] for trial in rivals]).T
    overfitting = probability_of_overfitting(matrix) if len(rivals) > 1 else None
    deflated = deflated_sharpe(own, sharpes, number)
    return Selection(
        number,
        sum(trial.runs for trial in counted),
        _annual(own.sharpe),
        _annual(_lucky(sharpes, number)),
        deflated,
        overfitting,
        len(rivals),
        tuple(_notes(own.sharpe, number, len(sharpes), len(rivals), overfitting, deflated)),
    )


def _lucky(sharpes: Sequence[float], number: int) -> float | None:
    if number == 1:
        return 0.0
    return expected_maximum_sharpe(float(np.var(sharpes, ddof=1)), number) if len(sharpes) > 1 else None


def _annual(sharpe: float | None) -> float | None:
    return sharpe * SESSIONS_PER_YEAR**0.5 if sharpe is not None else None


def _notes(
    sharpe: float | None, number: int, known: int, rivals: int, overfitting: float | None, deflated: float | None
) -> list[str]:
    notes = []
    if sharpe is None:
        notes.append("There are too few sessions, or the equity never moved: there is no Sharpe ratio to deflate.")
    elif number > 1 and known < 2:
        notes.append("Of fewer than two trials a Sharpe ratio is known: what luck would show cannot be told.")
    if number == 1:
        notes.append("One trial was recorded: nothing was chosen from, as far as this store knows.")
    elif rivals < 2:
        notes.append(
            f"Of {number} trials, {rivals} were run on every session of this book: the probability of overfitting needs two. "
            "`tradebot sweep` runs variants over the same sessions."
        )
    elif overfitting is None:
        notes.append("The book has too few sessions for the probability of overfitting.")
    if deflated is not None and deflated < LEAST_DEFLATED_SHARPE:
        notes.append(
            f"The deflated Sharpe ratio is below {LEAST_DEFLATED_SHARPE}: luck among so many trials explains the result as well."
        )
    if overfitting is not None and overfitting > MOST_OVERFITTING:
        notes.append(
            f"The probability of overfitting is above {MOST_OVERFITTING}: the best variant of the past is not the best of what follows."
        )
    return notes
