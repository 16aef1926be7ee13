"""The command line on the small market of tests.markets, whose time a test can move."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from tests import markets
from tests.markets import CONFIG, SESSIONS, START, XNYS
from tradebot_core.clock import SampleClock
from tradebot_core.wiring import Tradebot
from tradebot_dagster.cli import main

WITH_CLOCK = CONFIG.replace("strategies:", "sample_market: {{path: {store}/market}}\nstrategies:", 1)


@dataclass(frozen=True)
class Desk:
    """A configuration with a filled store, and the command line pointed at it."""

    folder: Path
    bot: Tradebot
    clock: SampleClock

    def run(self, *arguments: object) -> Result:
        return CliRunner().invoke(main, [*map(str, arguments), "--config", str(self.folder / "config.yaml")])

    def json(self, *arguments: object, exit_code: int = 0) -> Any:
        result = self.run(*arguments, "--json")
        assert result.exit_code == exit_code, result.output
        return json.loads(result.stdout)

    def backtest(self, *strategies: str) -> None:
        """Layers and book of the first thirty sessions, without Dagster."""
        sessions = SESSIONS[25:55]
        for name in strategies or ("value_investor",):
            markets.run_layers(self.bot, name, sessions)
            self.bot.backtest(name, sessions, restart=True)

    def after_close_of(self, session) -> None:
        self.clock.set(XNYS.cutoff(session) + timedelta(hours=1))


def make_desk(folder: Path, text: str = WITH_CLOCK, sessions: Sequence[date] = SESSIONS) -> Desk:
    bot = markets.tradebot(folder, text=text)
    markets.fill_store(bot, sessions)
    desk = Desk(folder, bot, SampleClock(folder / "store" / "market" / "clock"))
    desk.after_close_of(SESSIONS[-1])
    return desk


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return make_desk(tmp_path)


@pytest.fixture
def live_desk(desk: Desk) -> Desk:
    """After the close of START: the first session that can be decided."""
    desk.after_close_of(START)
    return desk


@pytest.fixture
def desk_with(tmp_path: Path) -> Callable[..., Desk]:
    """A desk with another configuration, or with bars of other sessions."""
    return partial(make_desk, tmp_path)
