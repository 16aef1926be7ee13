import json
import os
import re
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.instance.config import dagster_instance_config
from ruamel.yaml import YAML

from tests import markets
from tests.dagster_project.project import Project
from tests.markets import SESSIONS
from tradebot_dagster import definitions
from tradebot_dagster.defs.sensors import failure_sensor
from tradebot_dagster.instance import dagster_home, instance
from tradebot_dagster.storage import BatchedSqliteEventLogStorage

ROOT = Path(definitions.__file__).parents[1]


def test_the_settings_at_the_root_are_valid_and_keep_history_in_one_place() -> None:
    settings, _ = dagster_instance_config(str(ROOT))
    for block in ("run_storage", "event_log_storage", "schedule_storage", "compute_logs", "local_artifact_storage"):
        assert settings[block]["config"]["base_dir"].split("/")[:2] == ["data", "dagster"]
    assert settings["telemetry"] == {"enabled": False}
    assert settings["run_retries"]["max_retries"] == 0
    assert settings["concurrency"]["pools"]["default_limit"] == 1
    assert settings["run_monitoring"]["max_runtime_seconds"] == 7200


def test_the_home_of_a_configuration_holds_the_same_settings_below_its_store(tmp_path: Path) -> None:
    config = markets.tradebot(tmp_path).config
    home = dagster_home(config)
    assert home == tmp_path / "store" / "dagster"
    made, root = (YAML(typ="safe").load((folder / "dagster.yaml").read_text()) for folder in (home, ROOT))
    for block in made.values():
        written = block.get("config", {}).get("base_dir")
        assert written is None or Path(written).is_relative_to(home)
    assert made["event_log_storage"]["config"]["base_dir"] == str(home / "history" / "runs")
    assert {name: block for name, block in made.items() if "config" not in block} == {
        name: block for name, block in root.items() if "config" not in block
    }


def test_the_instance_of_a_configuration_writes_batches(tmp_path: Path) -> None:
    with instance(markets.tradebot(tmp_path).config) as records:
        assert isinstance(records.event_log_storage, BatchedSqliteEventLogStorage)
        assert records.root_directory == str(tmp_path / "store" / "dagster")


def test_plain_dagster_in_the_project_folder_loads_it_and_says_what_is_wrong_with_a_configuration(tmp_path: Path) -> None:
    """`dagster definitions validate` beside workspace.yaml, without DAGSTER_HOME."""
    wrong = tmp_path / "config.yaml"
    wrong.write_text("mode: papper\n")
    for name in ("workspace.yaml",):
        (tmp_path / name).write_text((ROOT / name).read_text())
    environment = {n: v for n, v in os.environ.items() if n != "DAGSTER_HOME"} | {
        "TRADEBOT_CONFIG": str(wrong),
        "PYTHONPATH": str(ROOT),
    }
    command = [str(Path(sys.executable).with_name("dagster")), "definitions", "validate"]
    ended = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 1
    assert f"{wrong}, line 1: mode: " in ended.stdout + ended.stderr


def test_a_failed_run_leaves_a_line_for_people_and_machines(small: Project, tmp_path: Path) -> None:
    result = small.run("value_investor/analyze", first=SESSIONS[30])  # its screen was never run
    assert not result.success
    alerts = tmp_path / "alerts.jsonl"
    failure = next(event for event in result.all_events if event.is_failure)
    context = dg.build_run_status_sensor_context("tell_of_failures", failure, small.instance, result.dagster_run)
    failure_sensor(alerts)(context.for_run_failure())
    line = json.loads(alerts.read_text())
    assert (line["run_id"], line["failed"]) == (result.run_id, ["value_investor__layers"])
    assert "Materialize value_investor/screen for them first." in line["why"]
    assert line["session"] == str(SESSIONS[30])


@pytest.mark.parametrize("place", ["celery", "kubernetes"])
def test_the_settings_for_several_machines_keep_the_limits_of_the_project(
    tmp_path: Path, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is executed where: one run at the desk, nothing retried, everything ended at last, nothing told to anyone."""
    written = ROOT / "deploy" / place / "dagster.yaml"
    for name in re.findall(r"env: (\w+)", written.read_text()):
        monkeypatch.setenv(name, "redis://127.0.0.1:9/0")
    home = dagster_home(markets.tradebot(tmp_path, text=markets.CONFIG + f"dagster_settings: {written}\n").config)
    found, _ = dagster_instance_config(str(home))
    own, _ = dagster_instance_config(str(ROOT))
    for block in ("telemetry", "nux", "run_retries", "retention"):
        assert found[block] == own[block]
    assert found["concurrency"]["pools"] == own["concurrency"]["pools"]
    monitoring = found["run_monitoring"]
    assert monitoring["max_resume_run_attempts"] == 0
    assert {name: monitoring[name] for name in own["run_monitoring"]} == own["run_monitoring"]
    assert found["compute_logs"]["config"]["base_dir"] == str(home / "logs")


@pytest.mark.parametrize("step", ["orders", "positions"])
def test_the_live_ends_of_the_graph_run_alone(small: Project, step: str) -> None:
    assert small.run(f"value_investor/{step}", first=SESSIONS[30]).success
