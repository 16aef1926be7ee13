"""Whenever a gateway can be asked, every session is told once, in order, as it traded, and never before it is over."""

from datetime import UTC, date, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.markets import XNYS
from tradebot_core.collectors.final_bars import FinalBars
from tradebot_core.ibkr.history import TradesBar
from tradebot_core.ibkr.subscription import LiveBar

BEGIN = datetime(2026, 9, 1, 15, tzinfo=UTC)
SESSIONS = XNYS.sessions(date(2026, 7, 1), date(2027, 2, 26))
OPENS, CLOSES = [XNYS.opens_at(s) for s in SESSIONS], [XNYS.closes_at(s) for s in SESSIONS]
SETTLED = timedelta(minutes=1)
IN_AN_ANSWER = 10


def bar(session: date, ratio: float = 1.0) -> TradesBar:
    price = (100.0 + SESSIONS.index(session)) / ratio
    return TradesBar(session, price, price + 1, price - 1, price + 0.5, 1000.0)


def answer(now: datetime, split_on: date | None) -> list[LiveBar]:
    """What IBKR has at an instant: a running bar as well; once a share has split two for one, every earlier bar halved."""
    begun = [session for session, opens in zip(SESSIONS, OPENS, strict=True) if opens <= now][-IN_AN_ANSWER:]
    has_split = split_on is not None and XNYS.opens_at(split_on) <= now
    return [LiveBar(0, now, bar(s, 2.0 if has_split and split_on is not None and s < split_on else 1.0), True) for s in begun]


def over(now: datetime) -> list[date]:
    return [session for session, closes in zip(SESSIONS, CLOSES, strict=True) if closes + SETTLED <= now]


# A gateway is away for up to eight sessions or so at a time: some that were heard before are then still in its answer.
outages = st.lists(
    st.integers(min_value=1, max_value=10 * 24 * 60).map(lambda n: timedelta(minutes=n)), min_size=1, max_size=12
)


@settings(deadline=None, max_examples=60)
@given(outages)
def test_without_a_split_no_session_is_lost_or_told_twice(outages):
    bars, now, told = FinalBars([1], ["AAA"], XNYS), BEGIN, []
    bars.events(answer(now, None))
    for outage in outages:
        now += outage
        events = bars.events(answer(now, None))
        assert all(XNYS.closes_at(event.payload.session) + SETTLED <= now for event in events)
        told += [(event.payload.session, event.payload.close) for event in events]
    expected = [session for session in over(now) if session not in over(BEGIN)]
    assert told == [(session, bar(session).close) for session in expected]


@settings(deadline=None, max_examples=60)
@given(outages, st.sampled_from(XNYS.sessions(date(2026, 9, 2), date(2026, 11, 30))))
def test_with_a_split_what_is_told_is_as_it_traded_and_what_is_not_was_said(outages, split_on):
    bars, now, told = FinalBars([1], ["AAA"], XNYS), BEGIN, []
    bars.events(answer(now, split_on))
    missed: list[tuple[datetime, datetime]] = []
    for outage in outages:
        before, now = now, now + outage
        told += [(event.payload.session, event.payload.close) for event in bars.events(answer(now, split_on))]
        if before < XNYS.opens_at(split_on) <= now:
            missed.append((before, now))
    sessions = [session for session, _ in told]
    assert told == [(session, bar(session).close) for session in sessions]
    assert sessions == sorted(set(sessions))
    lost = {session for session in over(now) if session not in over(BEGIN)} - set(sessions)
    # Only of the one outage that hid the split's day, and not the last session of that.
    assert all(session in over(missed[0][1]) and session not in over(missed[0][0]) for session in lost)
