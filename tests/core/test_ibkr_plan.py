"""Which sessions a share lacks, and the one request that brings them."""

from datetime import date

from hypothesis import given
from hypothesis import strategies as st

from tests.markets import SESSIONS
from tradebot_core.collectors.ibkr_plan import gaps, lacking, wanted

DAYS = list(SESSIONS[:30])
some_days = st.sets(st.sampled_from(DAYS))


def test_what_is_held_absent_or_after_the_end_of_the_listing_is_not_lacking():
    held, absent = {DAYS[3], DAYS[4]}, [(DAYS[0], DAYS[1]), (DAYS[6], DAYS[6])]
    assert lacking(DAYS[:10], held, absent, DAYS[7]) == [DAYS[2], DAYS[5], DAYS[7]]
    assert lacking(DAYS[:3], set(), [], None) == DAYS[:3]


def test_new_sessions_are_asked_for_with_the_last_five_that_are_stored():
    request = wanted(DAYS[20:22], DAYS[:20], 5)
    assert (request.first, request.last) == (DAYS[15], DAYS[21])
    assert request.held == frozenset(DAYS[15:20])


def test_older_history_is_asked_for_with_the_first_five_that_are_stored():
    request = wanted(DAYS[:10], DAYS[10:], 5)
    assert (request.first, request.last) == (DAYS[0], DAYS[14])
    assert request.held == frozenset(DAYS[10:15])


def test_a_share_of_which_nothing_is_stored_has_nothing_to_compare():
    request = wanted(DAYS[:10], [], 5)
    assert (request.first, request.last, request.held) == (DAYS[0], DAYS[9], frozenset())


def test_what_did_not_come_is_told_in_runs_and_not_beyond_the_last_that_came():
    came = {DAYS[3], DAYS[4], DAYS[7]}
    assert gaps(DAYS[:10], came, DAYS[7]) == [(DAYS[0], DAYS[2]), (DAYS[5], DAYS[6])]
    assert gaps(DAYS[:10], set(), date.min) == []


@given(held=some_days, traded=some_days, ended=st.sampled_from([*DAYS, None]))
def test_after_one_answer_only_what_is_newer_than_the_last_bar_is_lacking(held, traded, ended):
    """The source has the bars of `traded`; what it lacks in between or before is remembered and not asked for again."""
    held &= traded
    missing = lacking(DAYS, held, [], ended)
    if not missing:
        return
    request = wanted(missing, sorted(held), 5)
    came = {day for day in traded if request.first <= day <= request.last}
    absent = gaps([day for day in DAYS if request.first <= day <= request.last], came, max(came, default=date.min))
    again = lacking(DAYS, held | came, absent, ended)
    assert set(missing) <= {day for day in DAYS if request.first <= day <= request.last}
    assert all(day > max(came, default=date.min) for day in again if request.first <= day <= request.last)
    assert not {day for first, last in absent for day in traded if first <= day <= last}
