"""Who may import whom. The rules stand in pyproject.toml; this test runs them."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_the_import_rules_of_pyproject_are_kept():
    lint = Path(sys.executable).parent / "lint-imports"
    found = subprocess.run([lint, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout + found.stderr
    assert "The core never imports Dagster KEPT" in found.stdout
    assert "Imports point down the list KEPT" in found.stdout


@pytest.mark.parametrize("module", ["tradebot_core.wiring", "tradebot_core.strategies.value_investor"])
def test_loading_the_core_loads_no_dagster_and_no_broker_library(module):
    code = f"import sys, {module}; print(sorted({{'dagster', 'ib_async', 'tradebot_dagster'}} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_only_the_ibkr_folder_and_the_simulated_tws_know_the_broker_library():
    naming = [
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "tradebot_core").rglob("*.py")
        if any(line.strip().startswith(("import ib_async", "from ib_async")) for line in path.read_text().splitlines())
    ]
    assert naming
    assert all(path.startswith("tradebot_core/ibkr/") for path in naming), naming


def test_nothing_in_the_core_asks_the_machine_for_the_time_but_the_clock():
    calls = ("datetime.now(", "date.today(", "time.time(", "datetime.utcnow(")
    asking = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in (ROOT / "tradebot_core").rglob("*.py")
        for number, line in enumerate(path.read_text().splitlines(), start=1)
        if any(call in line for call in calls) and path.name != "clock.py"
    ]
    assert asking == []
