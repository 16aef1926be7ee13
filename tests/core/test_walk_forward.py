"""Walk-forward on returns that say in words what has to be chosen."""

from datetime import date

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.markets import XNYS
from tradebot_core.quant.walk_forward import walk_forward

SESSIONS = XNYS.sessions(date(2018, 1, 2), date(2021, 12, 31))
# Up or down a little more or less than always, so that there is a deviation.
WOBBLE = np.where(np.arange(len(SESSIONS)) % 2 == 0, 0.001, -0.001)


def yearly(**returns: float) -> list[float]:
    by_year = {int(year.removeprefix("y")): value for year, value in returns.items()}
    return [by_year[session.year] + wobble for session, wobble in zip(SESSIONS, WOBBLE, strict=True)]


EARLY = yearly(y2018=0.001, y2019=0.001, y2020=-0.002, y2021=-0.002)
LATE = yearly(y2018=-0.001, y2019=-0.001, y2020=0.002, y2021=0.001)


def test_the_best_of_each_training_window_is_followed_after_it():
    found = walk_forward(SESSIONS, {"early": EARLY, "late": LATE}, 1, 1)
    assert [window.chosen for window in found.windows] == ["early", "early", "late"]
    assert (found.windows[0].train_start, found.windows[0].train_end) == (date(2018, 1, 2), date(2018, 12, 31))
    # Windows begin on the day of the year on which the sessions do.
    assert (found.windows[1].test_start, found.windows[1].test_end) == (date(2020, 1, 2), date(2020, 12, 31))
    by_year = {
        year: [r for day, r in zip(found.sessions, found.returns, strict=True) if day.year == year]
        for year in (2019, 2020, 2021)
    }
    assert np.mean(by_year[2019]) == pytest.approx(0.001, abs=1e-5)
    assert np.mean(by_year[2020]) == pytest.approx(-0.002, abs=1e-5)
    assert np.mean(by_year[2021]) == pytest.approx(0.001, abs=1e-5)
    assert found.equity[-1] == pytest.approx(np.prod(1 + np.array(found.returns)))
    assert found.windows[1].out_of_sample < 0 < found.windows[1].figure


def test_the_figure_is_what_it_is_chosen_by():
    calm, wild = (
        yearly(y2018=0.0005, y2019=0, y2020=0, y2021=0),
        [5 * r for r in yearly(y2018=0.0004, y2019=0, y2020=0, y2021=0)],
    )
    chosen = {
        figure: walk_forward(SESSIONS, {"calm": calm, "wild": wild}, 1, 1, figure).windows[0].chosen
        for figure in ("sharpe", "total_return")
    }
    assert chosen == {"sharpe": "calm", "total_return": "wild"}


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 3), st.integers(1, 3), st.integers(0, 2**31))
def test_no_session_is_tested_by_a_choice_that_saw_it_or_tested_twice(train, test, seed):
    draw = np.random.default_rng(seed)
    returns = {name: draw.normal(0, 0.01, len(SESSIONS)).tolist() for name in "abc"}
    found = walk_forward(SESSIONS, returns, train, test)
    assert list(found.sessions) == sorted(set(found.sessions))
    for window in found.windows:
        assert window.train_end < window.test_start <= window.test_end
    at = {session: n for n, session in enumerate(SESSIONS)}
    for window in found.windows:
        tested = [
            r for day, r in zip(found.sessions, found.returns, strict=True) if window.test_start <= day <= window.test_end
        ]
        assert tested == returns[window.chosen][at[window.test_start] : at[window.test_end] + 1]


def test_what_comes_after_does_not_change_a_choice():
    whole = walk_forward(SESSIONS, {"early": EARLY, "late": LATE}, 1, 1)
    cut = [n for n, session in enumerate(SESSIONS) if session <= date(2020, 6, 30)]
    part = walk_forward(SESSIONS[: cut[-1] + 1], {"early": EARLY[: cut[-1] + 1], "late": LATE[: cut[-1] + 1]}, 1, 1)
    assert part.returns == whole.returns[: len(part.returns)]
    assert part.windows[-1].test_end == date(2020, 6, 30)


def test_windows_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="within the first training window"):
        walk_forward(SESSIONS, {"early": EARLY}, 4, 1)
    with pytest.raises(ValueError, match="one year at least"):
        walk_forward(SESSIONS, {"early": EARLY}, 0, 1)
    with pytest.raises(ValueError, match="no variant has a sharpe"):
        short = [date(2018, 1, 2), *SESSIONS[260:400]]  # a training window of one session
        walk_forward(short, {"early": EARLY[: len(short)]}, 1, 1)
