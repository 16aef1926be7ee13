"""Launches come at least once: two daemons, deleted histories, re-executions and a hand. Each order is placed once, by one of them."""

from concurrent.futures import ThreadPoolExecutor

import dagster as dg
import pytest
from dagster._core.storage.tags import PARENT_RUN_ID_TAG, ROOT_RUN_ID_TAG

from tests.dagster_project.project import Project
from tests.dagster_project.test_live_path import SESSION, decide, orders_of, permit_of
from tests.dagster_project.test_order_sensor import MORNING, tick
from tradebot_core.interfaces import Purpose
from tradebot_dagster.defs import definitions_of, sensors
from tradebot_dagster.defs.jobs import SUBMIT_ORDERS
from tradebot_dagster.defs.live import PERMIT_TAG


def launched(project: Project, request: dg.RunRequest, **more: str) -> dg.ExecuteInProcessResult:
    """The run that a daemon starts for a request, with the job and the tags that Dagster gives it."""
    job = definitions_of(project.bot).resolve_job_def(SUBMIT_ORDERS)
    return job.execute_in_process(
        instance=project.instance,
        asset_selection=request.asset_selection,
        partition_key=request.partition_key,
        tags={**request.tags, **more},
        raise_on_error=False,
    )


def outcome(project: Project) -> object:
    return project.metadata("value_investor/orders", SESSION)["outcome"]


def received(project: Project) -> int:
    path = project.bot.config.data_store.path / "simulated_engine.jsonl"
    return len(path.read_text().splitlines()) if path.exists() else 0


@pytest.fixture
def morning(small: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    """Decided live the evening before; the sensor asks for a run at once when one has ended."""
    monkeypatch.setattr(sensors, "_FIRST_WAIT_S", -1.0)
    project = small.at(MORNING)
    assert decide(project, permit_of(project)).success
    assert project.metadata("value_investor/decisions", SESSION)["live"] is True
    return project


def test_two_daemons_that_tick_at_once_ask_for_the_same_run_and_both_runs_place_each_order_once(morning: Project) -> None:
    with ThreadPoolExecutor(2) as daemons:
        ticks = list(daemons.map(lambda _: tick(morning, MORNING), range(2)))
    (one,), (other,) = ticks
    assert one.run_key == other.run_key  # one run, where the daemons see each other's
    assert launched(morning, one).success
    assert outcome(morning) == "submitted"
    assert launched(morning, other).success  # and where they do not
    assert outcome(morning) == "not_permitted"
    assert 0 < orders_of(morning) == received(morning)


def test_of_two_renewed_permits_only_the_later_serves(morning: Project) -> None:
    """Both daemons find the first run failed, and each asks for another."""
    (first,) = tick(morning, MORNING)
    launched(morning, first, **{PERMIT_TAG: "made up"})  # it ends without having sent
    with ThreadPoolExecutor(2) as daemons:
        ticks = list(daemons.map(lambda _: tick(morning, MORNING), range(2)))
    outcomes = []
    for (request,) in ticks:
        launched(morning, request)
        outcomes.append(outcome(morning))
    assert sorted(map(str, outcomes)) == ["not_permitted", "submitted"]
    assert 0 < orders_of(morning) == received(morning)


def test_after_the_run_history_was_deleted_nothing_is_sent_again(morning: Project) -> None:
    (request,) = tick(morning, MORNING)
    run = launched(morning, request)
    sent = received(morning)
    morning.instance.delete_run(run.run_id)
    assert tick(morning, MORNING) == f"No live decisions of {SESSION} by quality_growth."
    launched(morning, request)
    assert (outcome(morning), received(morning)) == ("not_permitted", sent)


def test_a_history_deleted_before_the_orders_went_out_delays_them_and_loses_none(morning: Project) -> None:
    """The permit that the deleted run had claimed serves no other; the run after it gets a new one."""
    (request,) = tick(morning, MORNING)
    morning.bot.store.ledger.claim_permit(
        request.tags[PERMIT_TAG], "value_investor", "a run that is gone", MORNING, Purpose.SUBMIT
    )
    (again,) = tick(morning, MORNING)
    launched(morning, again)
    assert (outcome(morning), received(morning)) == ("not_permitted", 0)
    (third,) = tick(morning, MORNING)
    launched(morning, third)
    assert outcome(morning) == "submitted"
    assert 0 < orders_of(morning) == received(morning)


def test_a_re_execution_by_the_instance_sends_nothing(morning: Project) -> None:
    """The run that the instance makes from an earlier one, whose tags it copies, the permit among them."""
    (request,) = tick(morning, MORNING)
    job = definitions_of(morning.bot).resolve_job_def(SUBMIT_ORDERS)
    parent = morning.instance.get_run_by_id(launched(morning, request, **{PERMIT_TAG: "made up"}).run_id)
    assert (outcome(morning), received(morning)) == ("not_permitted", 0)
    remote = {**parent.tags, **request.tags, PARENT_RUN_ID_TAG: parent.run_id, ROOT_RUN_ID_TAG: parent.run_id}
    again = morning.instance.create_run_for_job(
        job,
        parent_run_id=parent.run_id,
        root_run_id=parent.run_id,
        tags=remote,
        asset_selection=frozenset(request.asset_selection),
    )
    assert again.parent_run_id == parent.run_id
    assert launched(morning, request, **again.tags).success
    assert (outcome(morning), received(morning)) == ("not_permitted", 0)
