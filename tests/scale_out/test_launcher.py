"""When the worker of a run is taken for lost. What the broker holds of the run is real; whether its worker answers is scripted."""

import pytest
from dagster import DagsterRun
from dagster._core.launcher import WorkerStatus

from tradebot_dagster import celery_launcher
from tradebot_dagster.celery_launcher import WatchedCeleryRunLauncher

TASK, WORKER = "task-1", "dagster-1@there"
RUN = DagsterRun("sweep", tags={"dagster-celery/task_id": TASK})


class Watch:
    """A launcher, the time, and what the worker says when it is asked."""

    def __init__(self, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now, self.says = 1000.0, {}
        self.launcher = WatchedCeleryRunLauncher(default_queue="dagster", broker=url, backend=url, lost_after_seconds=60)
        monkeypatch.setattr(celery_launcher, "monotonic", lambda: self.now)
        monkeypatch.setattr(self.launcher.celery.control, "inspect", lambda names, timeout: self)

    def active(self) -> dict[str, list[dict[str, str]]]:
        return self.says

    def told(self, state: str) -> "Watch":
        """What the worker wrote down before."""
        self.launcher.celery.backend.store_result(TASK, {"hostname": WORKER, "pid": 1} if state == "STARTED" else 0, state)
        return self

    def after(self, seconds: float) -> WorkerStatus:
        self.now += seconds
        return self.launcher.check_run_worker_health(RUN).status


@pytest.fixture
def watch(broker: str, monkeypatch: pytest.MonkeyPatch) -> Watch:
    made = Watch(broker, monkeypatch)
    made.launcher.celery.backend.delete(made.launcher.celery.backend.get_key_for_task(TASK))
    return made


def test_a_worker_that_has_the_run_is_at_work_however_long_it_takes(watch: Watch) -> None:
    watch.told("STARTED").says = {WORKER: [{"id": "another"}, {"id": TASK}]}
    assert [watch.after(seconds) for seconds in (0, 50, 5000)] == [WorkerStatus.RUNNING] * 3


@pytest.mark.parametrize("says", [{}, {WORKER: []}, {WORKER: [{"id": "another"}]}, {"other@there": [{"id": TASK}]}])
def test_one_that_does_not_know_of_it_is_lost_after_a_minute(watch: Watch, says: dict[str, list[dict[str, str]]]) -> None:
    watch.told("STARTED").says = says
    assert [watch.after(seconds) for seconds in (0, 30, 29)] == [WorkerStatus.RUNNING] * 3
    found = watch.after(1)
    assert found is WorkerStatus.FAILED


def test_one_that_answers_in_time_begins_anew(watch: Watch) -> None:
    watch.told("STARTED")
    assert watch.after(0) is watch.after(59) is WorkerStatus.RUNNING
    watch.says = {WORKER: [{"id": TASK}]}
    assert watch.after(30) is WorkerStatus.RUNNING
    watch.says = {}
    assert [watch.after(seconds) for seconds in (30, 59)] == [WorkerStatus.RUNNING] * 2
    assert watch.after(1) is WorkerStatus.FAILED


@pytest.mark.parametrize(
    ("state", "expected"),
    [("SUCCESS", WorkerStatus.SUCCESS), ("FAILURE", WorkerStatus.FAILED), ("PENDING", WorkerStatus.UNKNOWN)],
)
def test_what_the_broker_knows_for_certain_needs_no_asking(watch: Watch, state: str, expected: WorkerStatus) -> None:
    if state != "PENDING":
        watch.launcher.celery.backend.store_result(TASK, ValueError("x") if state == "FAILURE" else 0, state)
    assert watch.after(0) is expected
