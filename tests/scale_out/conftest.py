from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from shutil import copytree

import pytest
from ruamel.yaml import YAML

from tests.dagster_project.project import SAMPLE
from tests.scale_out import servers
from tradebot_core.simulation.sample_market import prepare
from tradebot_core.wiring import Tradebot, load
from tradebot_dagster.config_file import PROJECT_ROOT

GROWTH = """\
  - name: quality_growth
    class_path: tradebot_core.strategies.quality_growth.QualityGrowth
    allocated_capital: 30000
"""


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    with servers.postgres() as url:
        yield url


@pytest.fixture(scope="session")
def broker() -> Iterator[str]:
    with servers.broker() as url:
        yield url


@dataclass(frozen=True)
class Twins:
    """Two Tradebots on equal stores, with the facts of the sample market in them: one for this process alone, one for workers."""

    here: Tradebot
    there: Tradebot


@pytest.fixture(scope="module")
def twins(tmp_path_factory: pytest.TempPathFactory, facts_from: tuple[object, object]) -> Twins:
    folder = tmp_path_factory.mktemp("twins")
    market = prepare(folder / "market").path
    settings = YAML(typ="safe").load((PROJECT_ROOT / "deploy" / "celery" / "dagster.yaml").read_text())
    settings["run_launcher"]["config"]["lost_after_seconds"] = 4  # instead of a minute
    YAML().dump(settings, folder / "dagster.yaml")
    here, there = (folder / name for name in ("here", "there"))
    bot = _bot(folder, here, market, "")
    for name in bot.collectors:
        bot.collect(name, *facts_from)
    copytree(here, there)
    return Twins(bot, _bot(folder, there, market, "dagster_settings: dagster.yaml\n"))


def _bot(folder: Path, store: Path, market: Path, more: str) -> Tradebot:
    path = folder / f"{store.name}.yaml"
    path.write_text(SAMPLE.format(store=store, market=market) + GROWTH + more)
    return load(path)
