"""`tradebot worker`, `tradebot sweep --remote`, and the settings of an instance whose runs go elsewhere. Real workers: tests/scale_out/."""

import os
from pathlib import Path

import pytest

from tests.cli.conftest import WITH_CLOCK
from tests.markets import START
from tradebot_dagster.cli.worker import worker_command

ROOT = Path(__file__).parents[2]
CELERY = WITH_CLOCK + f"dagster_settings: {ROOT}/deploy/celery/dagster.yaml\n"
VARIABLES = {
    "TRADEBOT_DAGSTER_POSTGRES": "postgresql+psycopg2://nobody@127.0.0.1:9/none",
    "TRADEBOT_CELERY_BROKER": "redis://127.0.0.1:9/0",
}


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[str], dict[str, str]]]:
    """Command and environment that the worker hands over to."""
    found: list[tuple[list[str], dict[str, str]]] = []
    monkeypatch.setattr(os, "execve", lambda path, command, environment: found.append((command, environment)))
    monkeypatch.chdir(Path.cwd())  # and back
    for name, value in VARIABLES.items():
        monkeypatch.setenv(name, value)
    return found


def option(command: list[str], name: str) -> str:
    return command[command.index(name) + 1]


@pytest.mark.parametrize(
    ("arguments", "queue", "processes"), [((), "dagster", "1"), (("--trading", "--processes", 3), "trading", "3")]
)
def test_a_worker_serves_one_queue_a_new_process_for_each_run(desk_with, started, arguments, queue, processes) -> None:
    desk = desk_with(CELERY)
    assert desk.run("worker", *arguments).exit_code == 0
    ((command, environment),) = started
    assert option(command, "-A") == "tradebot_dagster.celery_app"
    assert (option(command, "--queues"), option(command, "--concurrency")) == (queue, processes)
    assert option(command, "--max-tasks-per-child") == "1" and "--disable-prefetch" in command
    assert option(command, "--hostname").startswith(f"{queue}-")
    assert environment["TRADEBOT_CONFIG"] == str(desk.folder / "config.yaml")
    assert environment["DAGSTER_HOME"] == str(desk.folder / "store" / "dagster")


def test_workers_of_one_machine_have_names_of_their_own() -> None:
    assert option(worker_command("dagster", 1), "--hostname") == f"dagster-{os.getpid()}@%h"


def test_where_runs_do_not_go_to_celery_there_is_nothing_for_a_worker_to_do(desk, started) -> None:
    result = desk.run("worker")
    assert result.exit_code == 2 and not started
    assert "do not go to Celery" in result.stderr and "deploy/celery/dagster.yaml" in result.stderr


def test_variables_that_the_settings_need_are_named_when_they_are_missing(desk_with, started, monkeypatch) -> None:
    desk = desk_with(CELERY)
    for name in VARIABLES:
        monkeypatch.delenv(name)
    result = desk.run("worker")
    assert result.exit_code == 2 and not started
    assert "not set: TRADEBOT_CELERY_BROKER, TRADEBOT_DAGSTER_POSTGRES." in result.stderr


def test_settings_that_are_not_there_are_named(desk_with, started) -> None:
    result = desk_with(WITH_CLOCK + "dagster_settings: no/such.yaml\n").run("worker")
    assert result.exit_code == 2 and not started
    assert "no/such.yaml cannot be read" in result.stderr


def test_a_sweep_by_a_running_instance_says_when_there_is_none(desk) -> None:
    result = desk.run("sweep", "value_investor", "--start", START, "--end", START, "--remote", "--url", "http://127.0.0.1:9")
    assert result.exit_code == 2
    assert "No Dagster webserver answers at http://127.0.0.1:9" in result.stderr
