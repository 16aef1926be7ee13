"""Over HTTP, against a running instance with the order sensor armed and the hour of submission open: what a person or a script
launches reaches no engine. The simulated engine keeps a file of what it was sent; it must not exist."""

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path

import pytest

from tests.dagster_project.project import SAMPLE, live_keys, new_york
from tradebot_core.clock import SampleClock
from tradebot_core.interfaces import Ledger
from tradebot_core.trading.live import issue_permit
from tradebot_core.wiring import Tradebot, load
from tradebot_dagster.defs.live import PERMIT_TAG
from tradebot_dagster.serving import serve, webserver_url
from tradebot_dagster.webserver import Webserver

SESSION = date(2026, 7, 1)
FACTS = ["contract_details", "price_bars", "corporate_actions", "fundamentals"]
REPOSITORY = {"repositoryName": "__repository__", "repositoryLocationName": "tradebot"}
LAUNCH = """mutation ($params: ExecutionParams!) { launchPipelineExecution(executionParams: $params) {
  __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }"""
AGAIN = """mutation ($params: ReexecutionParams!) { launchPipelineReexecution(reexecutionParams: $params) {
  __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }"""
STATUS = "query ($id: ID!) { runOrError(runId: $id) { ... on Run { status } } }"
SCHEDULES = (
    "query ($r: RepositorySelector!) { schedulesOrError(repositorySelector: $r) { ... on Schedules { results { id } } } }"
)
STOP = "mutation ($id: String!) { stopRunningSchedule(id: $id) { __typename } }"
TICKS = """query ($s: SensorSelector!) { sensorOrError(sensorSelector: $s) { ... on Sensor {
  sensorState { status ticks(limit: 3) { timestamp status skipReason } } } } }"""


class Person:
    """Someone at the webserver's API."""

    def __init__(self, server: Webserver) -> None:
        self.server = server

    def launch(self, keys: list[str], session: date, tags: dict[str, str]) -> str:
        selector = {
            "repositoryName": REPOSITORY["repositoryName"],
            "repositoryLocationName": REPOSITORY["repositoryLocationName"],
            "jobName": "__ASSET_JOB",
            "assetSelection": [{"path": key.split("/")} for key in keys],
        }
        given = [{"key": key, "value": value} for key, value in {"dagster/partition": str(session), **tags}.items()]
        params = {"selector": selector, "mode": "default", "executionMetadata": {"tags": given}}
        return self._run_of(self.server.query(LAUNCH, {"params": params})["launchPipelineExecution"])

    def launch_again(self, run_id: str) -> str:
        params = {"parentRunId": run_id, "strategy": "ALL_STEPS"}
        return self._run_of(self.server.query(AGAIN, {"params": params})["launchPipelineReexecution"])

    def wait_for(self, run_id: str) -> None:
        status = _eventually(lambda: self._finished(run_id), f"run {run_id}")
        assert status == "SUCCESS"

    def stop_schedules(self) -> None:
        found = self.server.query(SCHEDULES, {"r": REPOSITORY})["schedulesOrError"]["results"]
        assert len(found) == 2
        for schedule in found:
            assert self.server.query(STOP, {"id": schedule["id"]})["stopRunningSchedule"]["__typename"] == "ScheduleStateResult"

    def sensor_ticks(self) -> list[str]:
        """Why the order sensor last requested nothing, latest first."""
        selector = {**REPOSITORY, "sensorName": "submit_live_decisions"}
        state = self.server.query(TICKS, {"s": selector})["sensorOrError"]["sensorState"]
        assert state["status"] == "RUNNING"
        return [tick["skipReason"] or tick["status"] for tick in state["ticks"]]

    def _finished(self, run_id: str) -> str | None:
        status = self.server.query(STATUS, {"id": run_id})["runOrError"]["status"]
        return status if status in ("SUCCESS", "FAILURE", "CANCELED") else None

    @staticmethod
    def _run_of(answer: dict[str, object]) -> str:
        assert answer["__typename"] == "LaunchRunSuccess", answer
        return answer["run"]["runId"]


@contextmanager
def _running(bot: Tradebot, config_path: Path) -> Iterator[Person]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = Webserver(webserver_url(port))
    with serve(bot.config, config_path, port, config_path.parent / "dagster.log"):
        _eventually(server.is_ready, "the webserver")
        yield Person(server)


def _eventually(asked: Callable[[], object], what: str) -> object:
    until = time.monotonic() + 120
    while time.monotonic() < until:
        answer = asked()
        if answer:
            return answer
        time.sleep(0.5)
    pytest.fail(f"{what} took longer than two minutes")


def _states(ledger: Ledger) -> list[str]:
    return ledger.orders("value_investor")["state"].to_list()


@pytest.fixture
def config_path(tmp_path: Path, sample_market: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(SAMPLE.format(store=tmp_path / "store", market=sample_market) + f"sample_market: {{path: {tmp_path}}}\n")
    return path


def test_nothing_launched_by_hand_reaches_an_engine_and_the_live_path_does(config_path: Path, tmp_path: Path) -> None:
    bot, clock = load(config_path), SampleClock(tmp_path / "clock")
    sent, ledger = tmp_path / "store" / "simulated_engine.jsonl", bot.store.ledger
    clock.set(new_york(date(2026, 7, 2), 10))  # after the deadline: the schedules have nothing to do
    with _running(bot, config_path) as person:
        person.stop_schedules()
        clock.set(new_york(date(2026, 7, 2), 8, 30))  # SESSION is current, its orders may be submitted, the sensor is armed
        everything = [*FACTS, *live_keys()]
        sessions = [str(day) for day in bot.calendar.sessions(date(2026, 6, 29), SESSION)]
        backfill = person.server.launch_backfill([key.split("/") for key in everything], sessions, "everything")
        old, current = (person.launch(everything, session, {}) for session in (date(2026, 6, 30), SESSION))
        for run_id in (old, current):
            person.wait_for(run_id)
        forged = person.launch(live_keys(), SESSION, {PERMIT_TAG: f"{SESSION}@2026-07-01T23:00:00+00:00"})
        scheduled = person.launch(live_keys(), SESSION, {"dagster/schedule_name": "decide_after_the_close"})
        repeated = person.launch_again(old)
        for run_id in (forged, scheduled, repeated):
            person.wait_for(run_id)
        person.server.wait_for_backfill(backfill, 120)
        seen = len(person.sensor_ticks())
        _eventually(lambda: len(person.sensor_ticks()) >= min(seen + 1, 3), "the order sensor")
        assert person.sensor_ticks()[0] == f"No live decisions of {SESSION} by value_investor."
        made = ledger.decision_sets("value_investor")
        assert len(made) >= 8 and not any(decisions.live for decisions in made)
        assert ledger.orders("value_investor").is_empty()
        assert not sent.exists()

        # The same launch with the permit of the live path goes all the way: the test would have noticed.
        permit = issue_permit(ledger, bot.calendar, bot.clock.now())
        person.wait_for(person.launch(live_keys()[:3], SESSION, {PERMIT_TAG: permit.permit_id}))
        _eventually(lambda: _states(ledger) and not {"new", "sending"} & set(_states(ledger)), "the order run")
        assert len(sent.read_text().splitlines()) == len(ledger.orders("value_investor").filter(approved=True)) > 0
