from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import markets
from tests.dagster_project.project import Project, project
from tradebot_core.simulation.sample_market import prepare
from tradebot_core.wiring import Tradebot


@pytest.fixture(scope="session")
def sample_market(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepare(tmp_path_factory.mktemp("market")).path


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Project]:
    """Four companies, half a year, facts in the store already."""
    bot = markets.tradebot(tmp_path)
    markets.fill_store(bot)
    with project(bot) as made:
        yield made


@pytest.fixture
def engines(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A line for every engine that is made."""
    made: list[str] = []
    make = Tradebot._engine

    def counted(bot: Tradebot) -> object:
        made.append(bot.config.mode)
        return make(bot)

    monkeypatch.setattr(Tradebot, "_engine", counted)
    return made
