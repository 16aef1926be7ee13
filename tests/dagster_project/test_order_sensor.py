import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.test_utils import create_run_for_test

from tests import markets
from tests.dagster_project.project import Project, live_keys, new_york
from tests.dagster_project.test_schedules import seal
from tests.markets import SESSIONS, XNYS
from tradebot_core.config import IbkrSettings, Mode
from tradebot_core.model.order import OrderIntent, RiskVerdict, Side
from tradebot_core.stores.halt_file import HaltFile
from tradebot_dagster.defs import definitions_of, sensors
from tradebot_dagster.defs.jobs import SUBMIT_ORDERS
from tradebot_dagster.defs.live import PERMIT_TAG
from tradebot_dagster.defs.sensors import ORDERS_TAG

SESSION = SESSIONS[40]
OPENS_ON = SESSIONS[41]
MORNING = new_york(OPENS_ON, 8)


def tick(project: Project, now: datetime) -> str | list[dg.RunRequest]:
    """The requests, or the reason there are none."""
    repository = definitions_of(project.at(now).bot).get_repository_def()
    context = dg.build_sensor_context(project.instance, repository_def=repository)
    evaluated = repository.get_sensor_def("submit_live_decisions").evaluate_tick(context)
    return evaluated.run_requests or evaluated.skip_message


def test_live_decisions_of_the_current_session_are_submitted_one_run_a_strategy(small: Project, engines: list[str]) -> None:
    seal(small, SESSION)
    requests = tick(small, MORNING)
    assert [(r.run_key, r.partition_key, r.asset_selection) for r in requests] == [
        (f"{name}:{SESSION}:{'d' * 64}:0", str(SESSION), [dg.AssetKey([name, "orders"])])
        for name in ("value_investor", "quality_growth")
    ]
    assert engines == []


def test_one_strategy_does_not_wait_for_the_other(small: Project) -> None:
    seal(small, SESSION, "quality_growth")
    (request,) = tick(small, MORNING)
    assert request.asset_selection == [dg.AssetKey(["quality_growth", "orders"])]


@pytest.mark.parametrize(
    ("now", "reason"),
    [
        (XNYS.cutoff(SESSION) + timedelta(minutes=1), f"Orders of {SESSION} are submitted from 08:00 New York on {OPENS_ON}."),
        (new_york(OPENS_ON, 7, 59), f"Orders of {SESSION} are submitted from 08:00 New York on {OPENS_ON}."),
        (new_york(OPENS_ON, 9, 25), f"The time to submit orders of {SESSION} ended at"),
        (new_york(OPENS_ON, 15), f"The time to submit orders of {SESSION} ended at"),
    ],
)
def test_outside_the_hours_of_submission_nothing_is_requested(small: Project, now: datetime, reason: str) -> None:
    seal(small, SESSION)
    assert tick(small, now).startswith(reason)


def test_decisions_of_another_session_are_not_requested(small: Project) -> None:
    seal(small, SESSIONS[39])
    seal(small, SESSIONS[41])
    assert tick(small, MORNING) == f"No live decisions of {SESSION} by value_investor, quality_growth."


def test_reviews_are_not_requested(small: Project) -> None:
    """Materialized by hand or by a backfill on the very morning: the event is there, the live decision is not."""
    assert small.at(MORNING).run(*live_keys(), first=SESSIONS[38], last=SESSION).success
    assert tick(small, MORNING) == f"No live decisions of {SESSION} by value_investor, quality_growth."


def test_planned_orders_are_not_requested_again(small: Project) -> None:
    seal(small, SESSION)
    for name in small.bot.sleeves:
        small.bot.store.ledger.commit_orders(name, SESSION, [], MORNING)  # decided to do nothing
    assert tick(small, MORNING) == f"Orders of {SESSION} are planned and sent."


def test_a_halt_holds_everything(small: Project) -> None:
    seal(small, SESSION)
    small.bot.store.ledger.halt("a look at the broker first", MORNING)
    assert tick(small, MORNING).startswith("Trading is halted: a look at the broker first.")
    small.bot.store.ledger.resume(MORNING)
    assert len(tick(small, MORNING)) == 2


def test_a_halt_by_file_holds_everything(small: Project) -> None:
    seal(small, SESSION)
    file = HaltFile(small.bot.config.data_store.path)
    file.write("the ledger was locked", MORNING, "jane")
    assert tick(small, MORNING).startswith("Trading is halted: the ledger was locked.")
    file.remove()
    assert len(tick(small, MORNING)) == 2


def test_in_mode_live_no_run_is_requested_before_it_is_armed(small: Project) -> None:
    """So that none of the session's few runs is used up; armed before the deadline, the next tick requests."""
    seal(small, SESSION)
    config = small.bot.config.model_copy(update={"mode": Mode.LIVE, "ibkr": IbkrSettings(account="U1234567")})
    live = Project(replace(small.bot, config=config), small.instance)
    for _ in range(20):
        assert tick(live, MORNING).startswith(
            "Live trading of U1234567 is not armed: it was never armed. `tradebot arm` arms it."
        )
    assert issued(live) == []
    live.bot.arming.arm("jane", MORNING, MORNING + timedelta(hours=1))
    assert len(tick(live, MORNING)) == 2
    assert tick(live, new_york(OPENS_ON, 9, 1)).startswith("Live trading of U1234567 is not armed: it was armed until")


def issued(project: Project) -> list[str]:
    with closing(sqlite3.connect(project.bot.config.data_store.path / "ledger.sqlite")) as database:
        return database.execute("SELECT permit_id FROM permits").fetchall()


def test_it_keeps_no_cursor_and_asks_the_same_again(small: Project) -> None:
    """Dagster starts one run for one run_key; the ledger ends the asking."""
    seal(small, SESSION)
    assert [r.run_key for r in tick(small, MORNING)] == [r.run_key for r in tick(small, MORNING)]


# What a run left behind


def ran(project: Project, strategy: str, status: dg.DagsterRunStatus) -> None:
    """As if a run that the sensor asked for had come to this."""
    run = create_run_for_test(
        project.instance,
        job_name=SUBMIT_ORDERS,
        status=dg.DagsterRunStatus.STARTED,
        tags={ORDERS_TAG: f"{strategy}:{SESSION}"},
    )
    if status is dg.DagsterRunStatus.FAILURE:
        project.instance.report_run_failed(run, "the gateway was restarting")


def left_unsent(project: Project, strategy: str) -> None:
    order = OrderIntent(f"{strategy}|x", strategy, SESSION, 100_100, "AAA", Side.BUY, 1, Decimal(10))
    project.bot.store.ledger.commit_orders(strategy, SESSION, [(order, RiskVerdict(True, "within_limits"))], MORNING)


def test_orders_that_a_run_could_not_send_are_requested_again_after_a_minute_with_a_new_permit(
    small: Project, monkeypatch
) -> None:
    seal(small, SESSION, "quality_growth")
    (first,) = tick(small, MORNING)
    left_unsent(small, "quality_growth")
    ran(small, "quality_growth", dg.DagsterRunStatus.FAILURE)
    soon = [f"Orders of quality_growth are left to submit; the next run comes in {left} s." for left in (60, 59, 58)]
    assert tick(small, MORNING) in soon
    monkeypatch.setattr(sensors, "_FIRST_WAIT_S", -1.0)
    (again,) = tick(small, MORNING)
    assert (first.run_key[-2:], again.run_key[-2:]) == (":0", ":1")
    assert first.tags[PERMIT_TAG] != again.tags[PERMIT_TAG]


def test_while_a_run_submits_no_other_is_requested(small: Project) -> None:
    seal(small, SESSION, "quality_growth")
    left_unsent(small, "quality_growth")
    ran(small, "quality_growth", dg.DagsterRunStatus.STARTED)
    assert tick(small, MORNING).endswith(" submits orders.")


def test_a_first_run_of_one_strategy_does_not_wait_for_the_runs_of_another(small: Project) -> None:
    seal(small, SESSION)
    left_unsent(small, "quality_growth")
    ran(small, "quality_growth", dg.DagsterRunStatus.FAILURE)
    (request,) = tick(small, MORNING)
    assert request.asset_selection == [dg.AssetKey(["value_investor", "orders"])]


def test_in_the_end_a_person_has_to_look(small: Project, monkeypatch) -> None:
    monkeypatch.setattr(sensors, "_FIRST_WAIT_S", -1.0)
    seal(small, SESSION, "quality_growth")
    left_unsent(small, "quality_growth")
    for _ in range(12):
        assert len(tick(small, MORNING)) == 1
        ran(small, "quality_growth", dg.DagsterRunStatus.FAILURE)
    assert tick(small, MORNING) == (
        "12 runs could not submit every order of quality_growth. Mend the cause, then `tradebot run-session`."
    )


@pytest.mark.parametrize(
    ("sample", "status"), [("", dg.DefaultSensorStatus.STOPPED), ("sample_market: {{}}\n", dg.DefaultSensorStatus.RUNNING)]
)
def test_arming_it_is_a_human_act_except_on_the_sample_market(tmp_path: Path, sample: str, status) -> None:
    path = markets.write_config(tmp_path, markets.CONFIG + sample)
    sensor = definitions_of(markets.build(markets.load_config(path), path)).resolve_sensor_def("submit_live_decisions")
    assert (sensor.default_status, sensor.minimum_interval_seconds) == (status, 5)
