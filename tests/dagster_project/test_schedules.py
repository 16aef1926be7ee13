from datetime import date, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import dagster as dg
import pytest

from tests import markets
from tests.dagster_project.project import Project, new_york, project
from tests.markets import SESSIONS, XNYS
from tradebot_core.interfaces import DecisionSet
from tradebot_dagster.defs import definitions_of
from tradebot_dagster.defs.live import PERMIT_TAG
from tradebot_dagster.defs.schedules import SHADOW_TAG

THURSDAY, GOOD_FRIDAY, MONDAY = date(2024, 3, 28), date(2024, 3, 29), date(2024, 4, 1)


def tick(project: Project, now: datetime, name: str = "decide_after_the_close") -> dg.SkipReason | list[dg.RunRequest]:
    repository = definitions_of(project.at(now).bot).get_repository_def()
    context = dg.build_schedule_context(project.instance, now, repository_def=repository)
    evaluated = repository.get_schedule_def(name).evaluate_tick(context)
    return evaluated.run_requests or dg.SkipReason(evaluated.skip_message)


def seal(project: Project, session: date, *names: str) -> None:
    for name in names or project.bot.sleeves:
        made = DecisionSet(name, session, "d" * 64, True, "run", XNYS.cutoff(session))
        project.bot.store.ledger.seal_decisions(made)


@pytest.mark.parametrize(
    ("now", "session"),
    [
        (new_york(THURSDAY, 6), SESSIONS[SESSIONS.index(THURSDAY) - 1]),
        (new_york(GOOD_FRIDAY, 6), THURSDAY),  # the exchange is closed; Thursday is decided as on any morning after
        (new_york(date(2024, 3, 31), 6), THURSDAY),  # a machine that was off on Friday catches up on Sunday
        (new_york(MONDAY, 6), THURSDAY),
        (new_york(MONDAY, 9, 24), THURSDAY),  # until five minutes before the open
    ],
)
def test_the_session_that_was_cut_off_last_is_decided_with_a_permit(small: Project, now: datetime, session: date) -> None:
    (request,) = tick(small, now)
    permit = small.bot.store.ledger.issue_permit(session, now, now)
    assert request.partition_key == str(session)
    assert request.tags[PERMIT_TAG] == permit.permit_id
    assert request.run_key == f"decide:{session}:{permit.permit_id}"


def test_after_the_deadline_nothing_is_decided(small: Project) -> None:
    assert tick(small, new_york(MONDAY, 9, 25)).skip_message == f"The time to submit orders of {THURSDAY} has passed."
    assert tick(small, new_york(MONDAY, 15)).skip_message == f"The time to submit orders of {THURSDAY} has passed."


def test_a_session_is_decided_once_over_a_long_weekend(small: Project) -> None:
    assert tick(small, new_york(GOOD_FRIDAY, 6))[0].partition_key == str(THURSDAY)
    seal(small, THURSDAY)
    for day in (30, 31):
        assert tick(small, new_york(date(2024, 3, day), 6)).skip_message == f"{THURSDAY} is decided."
    assert tick(small, new_york(MONDAY, 6)).skip_message == f"{THURSDAY} is decided."


def test_it_is_decided_when_only_one_of_two_strategies_has_decided(small: Project) -> None:
    seal(small, THURSDAY, "value_investor")
    assert tick(small, new_york(GOOD_FRIDAY, 6))[0].partition_key == str(THURSDAY)


@pytest.mark.parametrize("status", [dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.FAILURE])
def test_a_run_of_the_session_that_hangs_or_failed_is_left_to_a_person(small: Project, status: dg.DagsterRunStatus) -> None:
    (request,) = tick(small, new_york(GOOD_FRIDAY, 6))
    run = dg.DagsterRun(job_name="decide", run_id=str(uuid4()), status=status, tags=dict(request.tags))
    small.instance.add_run(run)
    skipped = tick(small, new_york(GOOD_FRIDAY, 7))
    assert run.run_id in skipped.skip_message
    assert "tradebot run-session" in skipped.skip_message


def test_a_session_before_the_first_partition_is_not_decided(small: Project) -> None:
    assert "not among the partitions" in tick(small, new_york(date(2023, 12, 20), 6)).skip_message


def test_a_sample_market_without_a_clock_waits(tmp_path: Path) -> None:
    text = markets.CONFIG + "sample_market: {{path: %s}}\n" % (tmp_path / "nowhere")
    path = markets.write_config(tmp_path, text)
    with project(markets.build(markets.load_config(path), path)) as waiting:
        for name in ("decide_after_the_close", "shadow_backtest_after_decisions"):
            schedule = definitions_of(waiting.bot).resolve_schedule_def(name)
            evaluated = schedule.evaluate_tick(dg.build_schedule_context(waiting.instance, new_york(MONDAY, 6)))
            assert "has no clock" in evaluated.skip_message


@pytest.mark.parametrize(
    ("mode", "status"),
    [("paper", dg.DefaultScheduleStatus.RUNNING), ("live", dg.DefaultScheduleStatus.STOPPED)],
)
def test_with_real_money_a_person_starts_the_schedule(tmp_path: Path, mode: str, status: dg.DefaultScheduleStatus) -> None:
    text = markets.CONFIG.replace("mode: paper", f"mode: {mode}\nibkr: {{{{account: U1234567}}}}")
    schedule = definitions_of(markets.tradebot(tmp_path, text=text)).resolve_schedule_def("decide_after_the_close")
    assert (schedule.default_status, schedule.cron_schedule) == (status, "0 6 * * *")


# The shadow backtest


def shadow(project: Project, now: datetime):
    return tick(project, now, "shadow_backtest_after_decisions")


def sessions_of(request: dg.RunRequest) -> tuple[str, str]:
    return request.tags["dagster/asset_partition_range_start"], request.tags["dagster/asset_partition_range_end"]


def test_the_backtest_is_carried_on_to_a_session_once_it_is_decided_live(small: Project) -> None:
    session, now = SESSIONS[40], XNYS.cutoff(SESSIONS[40]) + timedelta(hours=1)
    markets.run_layers(small.bot, "value_investor", SESSIONS[25:38])
    small.bot.backtest("value_investor", SESSIONS[25:38])
    assert "has not decided" in shadow(small, now).skip_message
    seal(small, session, "value_investor")
    (request,) = shadow(small, now)
    assert sessions_of(request) == (str(SESSIONS[38]), str(session))
    assert request.tags[SHADOW_TAG] == f"value_investor:{session}"
    assert [key.to_user_string() for key in request.asset_selection] == [
        "value_investor/screen",
        "value_investor/analyze",
        "value_investor/backtest",
        "value_investor/performance",
    ]


def test_without_a_backtest_the_shadow_begins_with_the_live_book(small: Project) -> None:
    seal(small, SESSIONS[40], "value_investor")
    (request,) = shadow(small, XNYS.cutoff(SESSIONS[40]) + timedelta(hours=1))
    assert sessions_of(request) == (str(SESSIONS[40]), str(SESSIONS[40]))


def test_a_backtest_that_ended_long_ago_is_not_carried_on_unasked(small: Project) -> None:
    markets.run_layers(small.bot, "value_investor", SESSIONS[25:30])
    small.bot.backtest("value_investor", SESSIONS[25:30])
    seal(small, SESSIONS[60], "value_investor")
    skipped = shadow(small, XNYS.cutoff(SESSIONS[60]) + timedelta(hours=1))
    assert f"The backtest of value_investor ends on {SESSIONS[29]}, 31 sessions ago." in skipped.skip_message
