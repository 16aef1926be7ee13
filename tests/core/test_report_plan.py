"""When the gateway is believed to have no reports, and how fast it may be asked."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tradebot_core.ibkr.reports.plan import MOST_IN_WINDOW, PROOF, WINDOW, Refusal, Refused, ReportPlan, Wanted, pause, reasons
from tradebot_core.ibkr.reports.record import ReportType

SNAPSHOT, STATEMENTS, SUMMARY = ReportType.SNAPSHOT, ReportType.STATEMENTS, ReportType.SUMMARY
START = datetime(2026, 11, 24, tzinfo=UTC)


def plan(shares: int, *reports: ReportType, off: dict | None = None) -> ReportPlan:
    return ReportPlan([Wanted(n, f"S{n}", None, report) for n in range(shares) for report in reports or (SNAPSHOT,)], off or {})


def run(plan: ReportPlan, answers: dict[tuple[int, ReportType], Refusal | None], default: Refusal | None) -> list[tuple]:
    """What was asked, when each request ends as `answers` says (None: with a report)."""
    asked = []
    while (wanted := plan.next()) is not None:
        asked.append((wanted.cik, wanted.report))
        why = answers.get(asked[-1], default)
        if why is None:
            plan.answered(wanted)
        else:
            plan.heard(Refused(wanted, why, f"said {why}"))
    plan.close()
    return asked


def test_one_10358_ends_the_round_and_switches_all_reports_off():
    p = plan(100, SNAPSHOT, STATEMENTS, SUMMARY)
    assert run(p, {}, Refusal.NOT_ALLOWED) == [(0, SNAPSHOT)]
    assert set(p.off) == {SNAPSHOT, STATEMENTS, SUMMARY}
    assert p.single_refusals() == []


def test_a_10358_after_another_report_came_is_of_its_own_type():
    p = plan(2, SNAPSHOT, STATEMENTS)
    asked = run(p, {(0, STATEMENTS): Refusal.NOT_ALLOWED}, None)
    assert asked == [(0, SNAPSHOT), (0, STATEMENTS), (1, SNAPSHOT)]
    assert set(p.off) == {STATEMENTS}


@pytest.mark.parametrize("why", [Refusal.NO_REPORT, Refusal.NOT_VALID, Refusal.SILENCE, Refusal.NO_TEXT])
def test_three_shares_without_a_report_and_none_with_one_prove_that_the_login_has_none(why):
    p = plan(100)
    assert run(p, {}, why) == [(n, SNAPSHOT) for n in range(PROOF)]
    assert p.off == {SNAPSHOT: f"said {why}"}


def test_one_report_proves_that_the_type_is_there_and_refusals_are_then_of_single_shares():
    p = plan(10)
    assert len(run(p, {(1, SNAPSHOT): None}, Refusal.NO_REPORT)) == 10
    assert p.off == {}
    assert [refused.wanted.cik for refused in p.single_refusals()] == [0, 2, 3, 4, 5, 6, 7, 8, 9]


def test_a_login_may_have_some_reports_and_not_others():
    p = plan(10, SNAPSHOT, STATEMENTS)
    asked = run(p, {(n, SNAPSHOT): None for n in range(10)}, Refusal.NO_REPORT)
    assert [n for n, report in asked if report is STATEMENTS] == [0, 1, 2]
    assert len([n for n, report in asked if report is SNAPSHOT]) == 10
    assert set(p.off) == {STATEMENTS}


def test_a_round_of_one_share_without_any_report_proves_it_as_well():
    p = plan(1, SNAPSHOT, STATEMENTS)
    assert len(run(p, {}, Refusal.NO_REPORT)) == 2
    assert set(p.off) == {SNAPSHOT, STATEMENTS}


def test_an_unknown_share_says_nothing_of_the_source():
    p = plan(5)
    assert len(run(p, {}, Refusal.OTHER)) == 5
    assert p.off == {}
    assert len(p.single_refusals()) == 5


def test_what_is_off_is_not_asked_for():
    p = plan(3, SNAPSHOT, SUMMARY, off={SUMMARY: "off since this morning"})
    assert run(p, {}, None) == [(0, SNAPSHOT), (1, SNAPSHOT), (2, SNAPSHOT)]
    assert p.off == {SUMMARY: "off since this morning"}


def test_a_message_that_had_to_be_cut_off_ends_the_round_and_proves_nothing():
    p = plan(5)
    assert run(p, {}, Refusal.TOO_LARGE) == [(0, SNAPSHOT)]
    assert p.off == {}
    assert [refused.why for refused in p.single_refusals()] == [Refusal.TOO_LARGE]


def test_reasons_are_said_once_where_they_are_the_same():
    assert reasons({SNAPSHOT: "no", SUMMARY: "no"}) == "ReportSnapshot, ReportsFinSummary: no"
    assert reasons({SNAPSHOT: "no", SUMMARY: "never"}) == "ReportSnapshot: no; ReportsFinSummary: never"


def test_the_first_sixty_requests_do_not_wait_and_the_next_waits_for_the_first_to_be_ten_minutes_old():
    asked = [START + timedelta(seconds=n) for n in range(MOST_IN_WINDOW)]
    assert pause(asked[:-1], START + timedelta(seconds=60)) == timedelta(0)
    assert pause(asked, START + timedelta(seconds=60)) == WINDOW - timedelta(seconds=60)


@given(st.lists(st.integers(0, 30), max_size=200))
def test_no_ten_minutes_hold_more_than_sixty_requests_however_they_come(gaps):
    now, asked = START, []
    for gap in gaps:
        now += timedelta(seconds=gap)
        now += pause(asked, now)
        asked.append(now)
    for at in asked:
        assert sum(at <= other < at + WINDOW for other in asked) <= MOST_IN_WINDOW
