"""What loading the code location does not do: Dagster loads it in every process that it starts."""

import subprocess
import sys
from datetime import date, datetime, time
from pathlib import Path

import dagster as dg
import pytest

from tradebot_core.calendar import xnys
from tradebot_dagster import definitions
from tradebot_dagster.partitions import session_partitions

ROOT = Path(definitions.__file__).parents[1]
# Each takes from a tenth of a second to two seconds; they are imported where they are used.
HEAVY = {"matplotlib", "sklearn", "scipy", "pandera", "pandas", "duckdb", "exchange_calendars", "ib_async", "requests.sessions"}
LOAD = f"""
import sys
from dagster import *
before = set(sys.modules)
from tradebot_dagster import definitions
repository = definitions.defs().get_repository_def()
repository.load_all_definitions()
print(len(list(repository.asset_graph.get_all_asset_keys())), sorted({HEAVY!r} & (set(sys.modules) - before)))
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """The project's own configuration, on a store of its own."""
    path = tmp_path / "config.yaml"
    path.write_text((ROOT / "config.yaml").read_text())
    return path


def loaded(config: Path) -> str:
    environment = {"TRADEBOT_CONFIG": str(config), "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"}
    done = subprocess.run([sys.executable, "-c", LOAD], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_it_imports_nothing_heavy(config: Path) -> None:
    assert loaded(config) == "22 []"


def test_it_reads_no_facts(config: Path) -> None:
    for table in ("bars", "securities", "actions", "facts", "fundamentals"):
        folder = config.parent / "data" / "facts" / table
        folder.mkdir(parents=True)
        (folder / "2024.parquet").write_bytes(b"no Parquet: whoever reads it stops")
    assert loaded(config) == "22 []"


def test_the_definitions_are_made_once_however_often_dagster_asks(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRADEBOT_CONFIG", str(config))
    assert definitions.defs() is definitions.defs()


def test_the_partitions_are_dagsters_own_and_hashed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made = session_partitions(xnys(), date(2024, 1, 2))
    plain = dg.DailyPartitionsDefinition(
        datetime.combine(date(2024, 1, 2), time.min), timezone="America/New_York", exclusions=made.exclusions
    )
    assert made == plain
    assert hash(made) == hash(plain)
    asked: list[object] = []
    monkeypatch.setattr(dg.DailyPartitionsDefinition, "__repr__", lambda of: asked.append(of) or "")  # what Dagster hashes
    assert {made: 1}[made] == 1
    assert asked == []
