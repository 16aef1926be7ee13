"""One completed backtest run, as it is remembered for good: what was tried, on what, and what came of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any


@dataclass(frozen=True)
class TrialRun:
    """A run of the trial `trial`: two runs are the same trial when they decide by the same rules (trading/trials.py says what that is).

    `returns` are those of `sessions` (of the sleeve's equity, per session). Figures are of these returns alone; one that cannot be
    computed is None.
    """

    trial: str
    idea: str  # the class of the strategy, under whatever name it is configured
    strategy: str  # the name it ran under, strategy or strategy@variant
    counts: bool  # whether the result could be chosen; a stress of another trial cannot
    parameters: Mapping[str, Any]
    settings: str  # fingerprint of parameters, limits, data checks, costs, capital
    sessions: tuple[date, ...]
    returns: tuple[float, ...] = field(repr=False)
    data_version: str
    code_version: str
    strategy_code: str  # digest of the strategy's own sources
    mean: float | None
    deviation: float | None
    skewness: float | None
    kurtosis: float | None  # raw: 3 for a normal distribution
    sharpe: float | None  # per session
    at: datetime  # UTC
