"""Walk-forward: of several variants the best of each training window is followed in the window after it.

What is joined are returns of sessions that were in no window the choice was made on. Each variant keeps its own book all the time; what
it would cost to change from one book to another is not in the figures.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np

from tradebot_core.quant.overfitting import Returns, moments
from tradebot_core.quant.performance import SESSIONS_PER_YEAR


def _sharpe(returns: Returns) -> float | None:
    found = moments(returns)
    if found.sharpe is None:
        return 0.0 if found.deviation == 0 else None
    return found.sharpe * math.sqrt(SESSIONS_PER_YEAR)


def _total_return(returns: Returns) -> float:
    return float(np.prod(1 + returns) - 1)


def _return_over_drawdown(returns: Returns) -> float | None:
    path = np.concatenate([[1.0], np.cumprod(1 + returns)])
    deepest = float((1 - path / np.maximum.accumulate(path)).max())
    return _total_return(returns) / deepest if deepest > 0 else None


FIGURES: Mapping[str, Callable[[Returns], float | None]] = {
    "sharpe": _sharpe,
    "total_return": _total_return,
    "return_over_drawdown": _return_over_drawdown,
}


@dataclass(frozen=True)
class Window:
    """`figure` is that of `chosen` in training; `out_of_sample` the same figure in the sessions after it, None where it has none."""

    train_start: date
    train_end: date
    test_start: date
    test_end: date
    chosen: str
    figure: float
    out_of_sample: float | None


@dataclass(frozen=True)
class WalkForward:
    """`equity` is 1 before the first of `sessions`, and then what the chosen variants made of it."""

    windows: Sequence[Window]
    sessions: Sequence[date]
    returns: Sequence[float]
    equity: Sequence[float]


def walk_forward(
    sessions: Sequence[date], returns: Mapping[str, Sequence[float]], train_years: int, test_years: int, figure: str = "sharpe"
) -> WalkForward:
    """`returns` of each variant in each of `sessions`. Windows are of whole calendar years from the first session on; the last test window
    ends where the sessions do. Of equals the variant that is named first is chosen, and one without the figure never.

    Raises ValueError where there is no session after the first training window, or where no variant has the figure in a window.
    """
    require_windows(sessions, train_years, test_years)
    of = FIGURES[figure]
    columns = {name: np.array(values, float) for name, values in returns.items()}
    days = list(sessions)
    windows: list[Window] = []
    joined: list[float] = []
    tested: list[date] = []
    start = days[0]
    while (split := _years_after(start, train_years)) <= days[-1]:
        train = _between(days, start, split)
        test = _between(days, split, _years_after(split, test_years))
        if test.start == test.stop:
            raise ValueError(f"no session from {split} on for a year")
        found = {name: of(values[train]) for name, values in columns.items()}
        known = {name: value for name, value in found.items() if value is not None}
        if not known:
            raise ValueError(f"no variant has a {figure} from {start} to {split}")
        best = max(known, key=lambda name: known[name])
        own = columns[best][test]
        windows.append(
            Window(days[train.start], days[train.stop - 1], days[test.start], days[test.stop - 1], best, known[best], of(own))
        )
        joined += own.tolist()
        tested += days[test]
        start = _years_after(start, test_years)
    return WalkForward(windows, tested, joined, np.cumprod(1 + np.array(joined)).tolist())


def require_windows(sessions: Sequence[date], train_years: int, test_years: int) -> None:
    """Raises ValueError where no session is left to test what the first training window chose."""
    if train_years < 1 or test_years < 1:
        raise ValueError("windows are of one year at least")
    if _years_after(sessions[0], train_years) > sessions[-1]:
        raise ValueError(f"the sessions end on {sessions[-1]}, within the first training window")


def _years_after(day: date, years: int) -> date:
    try:
        return day.replace(year=day.year + years)
    except ValueError:  # 29 February
        return date(day.year + years, 3, 1)


def _between(days: Sequence[date], start: date, end: date) -> slice:
    """The sessions from `start` to before `end`."""
    first = next((n for n, day in enumerate(days) if day >= start), len(days))
    last = next((n for n, day in enumerate(days) if day >= end), len(days))
    return slice(first, last)
