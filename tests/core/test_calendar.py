"""The calendar of the New York exchange: frozen in a file, and equal to the one the world keeps."""

from datetime import UTC, date, datetime, time, timedelta

import exchange_calendars
import pytest

from tradebot_core.calendar import NEW_YORK, xnys
from tradebot_core.errors import UsageError

XNYS = xnys()


@pytest.fixture(scope="module")
def published():
    return exchange_calendars.get_calendar("XNYS", start="1990-01-01", end="2027-11-19")


def test_the_frozen_sessions_are_those_of_the_exchange_from_1990_to_2027(published):
    ours = XNYS.sessions(date(1990, 1, 1), date(2027, 11, 19))
    assert list(ours) == [stamp.date() for stamp in published.sessions]


def test_every_session_opens_and_closes_when_the_exchange_does(published):
    schedule = published.schedule
    opens = [stamp.to_pydatetime() for stamp in schedule["open"]]
    closes = [stamp.to_pydatetime() for stamp in schedule["close"]]
    sessions = XNYS.sessions(date(1990, 1, 1), date(2027, 11, 19))
    assert [XNYS.opens_at(s) for s in sessions] == opens
    assert [XNYS.closes_at(s) for s in sessions] == closes


def test_at_least_sixty_days_of_the_frozen_calendar_remain():
    assert XNYS.last >= datetime.now(UTC).date() + timedelta(days=60), "freeze a longer xnys.json"


@pytest.mark.parametrize(
    "closed",
    [
        date(2012, 10, 29),  # hurricane Sandy
        date(2012, 10, 30),
        date(2001, 9, 11),
        date(2018, 12, 5),  # mourning for G. H. W. Bush
        date(2025, 1, 9),  # mourning for J. Carter, announced ten days before
        date(2022, 6, 20),  # Juneteenth observed, the first one the exchange kept
        date(2024, 3, 29),  # Good Friday
        date(2024, 6, 29),  # a Saturday
    ],
)
def test_a_day_on_which_the_exchange_was_closed_is_no_session(closed):
    assert not XNYS.is_session(closed)


def test_a_holiday_is_refused_by_naming_the_sessions_around_it():
    with pytest.raises(UsageError) as refusal:
        XNYS.require_session(date(2025, 1, 9))
    assert str(refusal.value) == (
        "2025-01-09 (Thursday) is not a trading session: the New York exchange is closed. "
        "The sessions around it are 2025-01-08 and 2025-01-10."
    )
    assert refusal.value.exit_code == 2


def test_a_day_outside_the_calendar_is_refused_by_naming_its_bounds():
    with pytest.raises(UsageError, match=f"outside the calendar, which runs from {XNYS.first} to {XNYS.last}"):
        XNYS.require_session(date(1929, 10, 24))
    with pytest.raises(UsageError, match="outside the calendar"):
        XNYS.require_session(XNYS.last + timedelta(days=1))


def test_a_range_without_a_session_is_refused():
    with pytest.raises(UsageError, match="no trading session from 2024-06-29 to 2024-06-30"):
        XNYS.sessions(date(2024, 6, 29), date(2024, 6, 30))
    with pytest.raises(UsageError, match="no trading session"):
        XNYS.sessions(date(2024, 6, 28), date(2024, 6, 27))


def test_half_days_close_at_one_in_new_york():
    for half_day in (date(2024, 7, 3), date(2024, 11, 29), date(2024, 12, 24), date(2026, 11, 27)):
        assert XNYS.closes_at(half_day).astimezone(NEW_YORK).time() == time(13, 0)
    assert XNYS.closes_at(date(2024, 7, 2)).astimezone(NEW_YORK).time() == time(16, 0)


@pytest.mark.parametrize(
    ("session", "cutoff_utc"),
    [
        (date(2024, 3, 8), datetime(2024, 3, 8, 23, tzinfo=UTC)),  # Friday before the clocks go forward
        (date(2024, 3, 11), datetime(2024, 3, 11, 22, tzinfo=UTC)),
        (date(2024, 11, 1), datetime(2024, 11, 1, 22, tzinfo=UTC)),
        (date(2024, 11, 4), datetime(2024, 11, 4, 23, tzinfo=UTC)),  # Monday after they went back
    ],
)
def test_the_cut_off_stays_at_six_in_new_york_when_the_clocks_change(session, cutoff_utc):
    assert XNYS.cutoff(session) == cutoff_utc


def test_the_cut_off_of_a_half_day_is_no_earlier():
    assert XNYS.cutoff(date(2024, 7, 3)) == datetime(2024, 7, 3, 22, tzinfo=UTC)


def test_another_cut_off_time_can_be_configured():
    assert xnys(time(20, 30)).cutoff(date(2024, 7, 2)) == datetime(2024, 7, 3, 0, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("filed", "counts_from"),
    [
        (date(2024, 6, 25), date(2024, 6, 26)),
        (date(2024, 6, 28), date(2024, 7, 1)),  # Friday: Monday
        (date(2024, 6, 29), date(2024, 7, 1)),  # Saturday
        (date(2024, 7, 3), date(2024, 7, 5)),  # over Independence Day
    ],
)
def test_a_filing_with_only_a_date_counts_from_the_next_session_at_six(filed, counts_from):
    known_at = XNYS.date_only_known_at(filed)
    assert known_at.astimezone(NEW_YORK) == datetime.combine(counts_from, time(6), NEW_YORK)
    assert known_at > XNYS.cutoff(XNYS.offset(counts_from, -1))  # so no decision of the day before can see it
    assert known_at < XNYS.opens_at(counts_from)


def test_the_session_that_may_be_decided_is_the_last_whose_cut_off_has_passed():
    friday, monday = date(2024, 6, 28), date(2024, 7, 1)
    instant = timedelta(microseconds=1)
    assert XNYS.last_cut_off(XNYS.cutoff(friday) - instant) == date(2024, 6, 27)
    assert XNYS.last_cut_off(XNYS.cutoff(friday)) == friday
    assert XNYS.last_cut_off(datetime(2024, 6, 30, 12, tzinfo=UTC)) == friday  # Sunday
    assert XNYS.last_cut_off(XNYS.cutoff(monday) - instant) == friday
    assert XNYS.last_cut_off(XNYS.cutoff(monday)) == monday


def test_offsets_count_sessions_and_not_days():
    assert XNYS.next(date(2024, 6, 28)) == date(2024, 7, 1)
    assert XNYS.previous(date(2024, 7, 5)) == date(2024, 7, 3)
    assert XNYS.offset(date(2024, 7, 5), -3) == date(2024, 7, 1)
    assert XNYS.first_after(date(2024, 7, 3)) == date(2024, 7, 5)
    with pytest.raises(UsageError, match="outside the calendar"):
        XNYS.next(XNYS.all_sessions[-1])
    with pytest.raises(UsageError, match="outside the calendar"):
        XNYS.previous(XNYS.all_sessions[0])


@pytest.mark.parametrize(
    ("traded", "settles"),
    [
        ("2026-11-17", "2026-11-18"),
        ("2026-11-20", "2026-11-23"),  # over the weekend
        ("2026-11-25", "2026-11-27"),  # over Thanksgiving
        ("2026-10-09", "2026-10-13"),  # Columbus Day is the 12th: it trades and does not settle
        ("2026-10-12", "2026-10-13"),
        ("2026-11-10", "2026-11-12"),  # Veterans Day
        ("2026-11-11", "2026-11-12"),
        ("2018-11-09", "2018-11-14"),  # T+2, and Veterans Day on a Sunday, kept on Monday the 12th
        ("2023-11-09", "2023-11-13"),  # T+2, and Veterans Day on a Saturday
        ("2017-09-01", "2017-09-07"),  # the last day of T+3, over Labor Day: both settle on the same day
        ("2017-09-05", "2017-09-07"),  # the first of T+2
        ("2024-05-24", "2024-05-29"),  # the last of T+2, over Memorial Day
        ("2024-05-28", "2024-05-29"),  # the first of T+1
        ("2012-10-05", "2012-10-11"),  # T+3, of which Columbus Day is none
    ],
)
def test_a_trade_settles_on_the_next_day_on_which_the_exchange_and_the_banks_are_open(traded, settles):
    assert xnys().settles_on(date.fromisoformat(traded)) == date.fromisoformat(settles)
