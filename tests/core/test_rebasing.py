"""Whether a series that was fetched again was stated anew for a split: told from the sessions that are stored raw."""

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tradebot_core.quant.rebasing import SPLIT_RATIOS, Basis, Overlap, basis_of, nearest_split

# Two weeks; five stored sessions, then those in which a split may have taken effect.
DAYS = [date(2026, 11, 9) + timedelta(n) for n in (0, 1, 2, 3, 4, 7, 8, 9)]
STORED, NEXT = DAYS[:5], DAYS[5]


def overlap(day: date, ratio: float = 1.0, close: float = 100.0) -> Overlap:
    """Stored at about `close`, fetched at that by `ratio`, rounded to the cent."""
    raw = (close - close / 100, close + close / 50, close - close / 50, close)
    opened, high, low, closed = (round(price / ratio, 2) for price in raw)
    return Overlap(day, raw, (opened, high, low, closed))


def series(*ratios: float, close: float = 100.0) -> list[Overlap]:
    return [overlap(day, ratio, close + n) for n, (day, ratio) in enumerate(zip(STORED, ratios, strict=True))]


def test_a_series_that_agrees_stands_on_the_recorded_splits():
    assert basis_of(series(1, 1, 1, 1, 1), {}, DAYS[:6]) == Basis({})
    recorded = {NEXT: 2.0}
    assert basis_of(series(2, 2, 2, 2, 2), recorded, DAYS[:6]) == Basis(recorded)


def test_a_ratio_in_every_session_is_a_split_of_the_next():
    basis = basis_of(series(2, 2, 2, 2, 2), {}, DAYS[:6])
    assert basis.found == (NEXT, 2.0)
    assert (basis.ratio(STORED[-1]), basis.ratio(NEXT)) == (2.0, 1.0)
    assert basis.problem == ""


def test_a_ratio_up_to_a_session_is_a_split_of_the_first_that_agrees():
    basis = basis_of(series(7, 7, 7, 1, 1), {}, DAYS)
    assert basis.found == (STORED[3], 7.0)
    assert [basis.ratio(day) for day in STORED] == [7, 7, 7, 1, 1]


def test_a_reverse_split_is_a_ratio_below_one():
    assert basis_of(series(0.1, 0.1, 0.1, 0.1, 0.1, close=1.5), {}, DAYS[:6]).found == (NEXT, 0.1)


def test_a_second_split_adds_to_the_recorded_one():
    recorded = {date(2026, 11, 12): 3.0}
    basis = basis_of(series(6, 6, 6, 2, 2), recorded, DAYS[:6])
    assert basis.found == (NEXT, 2.0)
    assert dict(basis.splits) == {**recorded, NEXT: 2.0}


def test_a_split_recorded_with_another_ratio_gets_the_ratio_that_the_prices_show():
    basis = basis_of(series(3, 3, 3, 3, 3), {NEXT: 2.0}, DAYS[:6])
    assert basis.found == (NEXT, 3.0)
    assert dict(basis.splits) == {NEXT: 3.0}


def test_a_recorded_split_that_the_series_does_not_show_yet_is_not_undone():
    assert basis_of(series(1, 1, 1, 1, 1), {NEXT: 2.0}, DAYS[:6]) == Basis({})


def test_a_split_on_one_of_several_days_is_refused_with_the_days():
    basis = basis_of(series(2, 2, 2, 2, 2), {}, DAYS[:7])
    assert (basis.found, basis.splits) == (None, {})
    assert "ratio of 2 took effect on one of 2026-11-16, 2026-11-17" in basis.problem


def test_a_split_before_a_session_has_begun_is_refused():
    assert "took effect on no session that has begun" in basis_of(series(2, 2, 2, 2, 2), {}, STORED).problem


def test_two_sessions_are_too_few_to_call_it_a_split():
    assert "only 2 stored sessions show a ratio of 2" in basis_of(series(2, 2, 1, 1, 1), {}, DAYS[:6]).problem


@pytest.mark.parametrize(
    "ratios",
    [
        (1, 1, 1.4, 1, 1),  # one stored bar is wrong
        (2, 2, 3, 2, 2),
        (2, 2, 2.05, 2, 2),
        (1, 1, 1, 1, 2),
        (1.1, 1.1, 1.1, 1.1, 1.1),  # a stock dividend, or a spin-off: constant, and no split
        (1.25, 1.25, 1.25, 1.25, 1.25),
        (5, 4, 3, 2, 1),
    ],
)
def test_any_other_difference_is_refused_with_its_numbers(ratios):
    basis = basis_of(series(*ratios), {}, DAYS[:6])
    assert basis.problem.startswith("stored and fetched closes differ, and not by the constant ratio of a split: 2026-11-09")
    assert (basis.found, basis.splits) == (None, {})


def test_a_bar_that_the_vendor_corrected_a_little_is_no_difference():
    raw = overlap(STORED[4])
    corrected = [*series(1, 1, 1, 1, 1)[:4], Overlap(STORED[4], raw.stored, (99.0, 104.0, 98.0, 100.4))]
    assert basis_of(corrected, {}, DAYS[:6]) == Basis({})


def test_nothing_stored_says_nothing():
    assert basis_of([], {NEXT: 2.0}, []) == Basis({NEXT: 2.0})


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 0.0, -1.0])
def test_a_price_that_is_none_is_a_difference(bad):
    raw = overlap(STORED[4])
    assert basis_of(
        [*series(1, 1, 1, 1, 1)[:4], Overlap(STORED[4], raw.stored, (99.0, 102.0, 98.0, bad))], {}, DAYS[:6]
    ).problem


@given(st.sampled_from(SPLIT_RATIOS), st.floats(5.0, 2000.0), st.integers(3, 5))
def test_every_usual_split_is_found_by_its_ratio_and_day(split, close, before):
    ratio = float(split)
    if close / ratio < 1.0:
        return
    ratios = [ratio] * before + [1.0] * (5 - before)
    basis = basis_of(series(*ratios, close=round(close, 2)), {}, DAYS[:6])
    assert basis.problem == ""
    assert basis.found == (DAYS[before], ratio)


@given(st.floats(0.02, 50.0))
def test_a_ratio_is_never_taken_for_a_split_that_is_not_near(ratio):
    found = nearest_split(ratio, 0.005)
    assert found is None or abs(found / ratio - 1) <= 0.005
    if 0.7 < ratio < 1.4:
        assert found is None
