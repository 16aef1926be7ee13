"""The code of a strategy is part of what its book, its trials and its assets were made with; Tradebot's own is not."""

import importlib
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from tests.markets import SESSIONS, fill_store, run_layers, tradebot
from tradebot_core.errors import UsageError
from tradebot_core.model.tables import BOOKS
from tradebot_core.trading.book_state import BookState
from tradebot_core.trading.code_version import code_of
from tradebot_core.wiring import Tradebot

RANGE = SESSIONS[25:35]
CONFIG = """\
mode: paper
data_store: {{backend: file, path: {store}}}
first_session: 2024-01-02
allowed_packages: [theirs]
strategies:
  - {{name: own, class_path: theirs.own.strategy.Own, allocated_capital: 10000, params: {{}}}}
"""
STRATEGY = '''\
"""Buys what is above a price."""
import polars as pl

from theirs.common import LEAST
from theirs.own.sizing import weight
from tradebot_core.config import Settings
from tradebot_core.model.decision import Verdict
from tradebot_core.strategy import Rule, Strategy, TableLayer


class Own(Strategy):
    class Params(Settings):
        pass

    def layers(self):
        return (TableLayer("screen", rules=(Rule("price", pl.col("close"), ">", LEAST),)),)

    def decide(self, view):
        held = {holding.symbol for holding in view.holdings}
        told = Verdict(True, "told", None, None)
        keep = [view.hold(holding, told) for holding in view.holdings]
        return keep + [view.buy(c, weight(), told) for c in view.candidates if c.symbol not in held]
'''
FILES = {
    "__init__.py": "",
    "common.py": "from theirs.deeper import TEN\n\nLEAST = TEN\n",
    "deeper.py": "TEN = 10.0\n",
    "unrelated.py": "ANY = 1\n",
    "own/__init__.py": "",
    "own/strategy.py": STRATEGY,
    "own/sizing.py": "def weight():\n    return 0.1\n",
    "own/thresholds.json": "{}",
}
Load = Callable[[], Tradebot]


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    folder = tmp_path / "code" / "theirs"
    (folder / "own").mkdir(parents=True)
    for name, text in FILES.items():
        (folder / name).write_text(text)
    monkeypatch.syspath_prepend(folder.parent)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # edits within one second have the same time
    yield folder
    _forget()


def _forget() -> None:
    for module in [name for name in sys.modules if name.split(".")[0] == "theirs"]:
        del sys.modules[module]
    importlib.invalidate_caches()


@pytest.fixture
def load(tmp_path: Path, package: Path) -> Load:
    """As a new process does: with the code that is there now."""

    def loaded() -> Tradebot:
        _forget()
        return tradebot(tmp_path, text=CONFIG)

    return loaded


def run(bot: Tradebot, sessions: tuple, restart: bool = False) -> None:
    run_layers(bot, "own", sessions)
    bot.backtest("own", sessions, restart)


@pytest.mark.parametrize(
    ("file", "text"),
    {
        "own/strategy.py": STRATEGY.replace("not in held", "in ('GOOD',) and c.symbol not in held"),
        "own/sizing.py": "def weight():\n    return 0.2\n",
        "own/thresholds.json": '{"least": 1}',
        "common.py": "LEAST = 20.0\n",
        "deeper.py": "TEN = 11.0\n",
    }.items(),
)
def test_a_book_that_other_code_made_is_not_continued(load: Load, package: Path, file: str, text: str) -> None:
    before = load()
    fill_store(before)
    run(before, RANGE[:5])
    (package / file).write_text(text)
    bot = load()
    with pytest.raises(UsageError) as refused:
        run(bot, RANGE[5:])
    assert f"own up to {RANGE[4]} was made with other code of the strategy, and is not continued" in refused.value.cause
    assert f"`tradebot backtest own --start {RANGE[0]} --end ...`" in refused.value.mend
    assert list(bot.store.result_sessions(BOOKS, "own", "backtest")) == list(RANGE[:5])
    assert bot.sleeve("own").fingerprint != before.sleeve("own").fingerprint  # which is the code version of its assets
    assert bot.sleeve("own").settings == before.sleeve("own").settings
    run(bot, RANGE, restart=True)
    assert list(bot.backtest_sessions("own")) == list(RANGE)


@pytest.mark.parametrize(
    ("file", "text"),
    {
        "own/strategy.py": STRATEGY.replace("Buys what", "It buys what").replace(
            "    def decide", "    # by price\n    def decide"
        ),
        "unrelated.py": "ANY = 2\n",
    }.items(),
)
def test_what_changes_no_rule_of_the_strategy_lets_its_book_go_on(load: Load, package: Path, file: str, text: str) -> None:
    bot = load()
    fill_store(bot)
    run(bot, RANGE[:5])
    (package / file).write_text(text)
    bot = load()
    run(bot, RANGE[5:])
    assert list(bot.backtest_sessions("own")) == list(RANGE)


def test_a_book_that_is_older_than_the_digest_of_the_code_counts_as_made_by_other_code(load: Load) -> None:
    """Nobody can tell which code made it."""
    bot = load()
    fill_store(bot)
    run(bot, RANGE[:5])
    books = bot.store.read_results(BOOKS, "own", "backtest")
    states = [replace(BookState.from_json(text), fingerprint=bot.sleeve("own").settings).to_json() for text in books["state"]]
    bot.store.write_results(BOOKS, "own", "backtest", RANGE[:5], books.with_columns(state=pl.Series(states)))
    with pytest.raises(UsageError, match="made with a release that did not note the strategy's code, and is not continued"):
        run(bot, RANGE[5:])


def test_a_strategy_that_is_derived_from_another_changes_with_it(load: Load, package: Path) -> None:
    derived = "from theirs.own.strategy import Own\n\n\nclass More(Own):\n    pass\n"
    (package / "more").mkdir()
    (package / "more" / "__init__.py").write_text("")
    (package / "more" / "strategy.py").write_text(derived)

    def code() -> str:
        _forget()
        kind = importlib.import_module("theirs.more.strategy").More
        return code_of(kind("more", kind.Params()))

    first = code()
    assert code() == first
    (package / "own" / "strategy.py").write_text(STRATEGY.replace('">"', '">="'))
    assert code() != first


def test_two_shipped_strategies_have_the_code_of_their_own_folders(tmp_path: Path) -> None:
    bot = tradebot(tmp_path)
    codes = [code_of(bot.sleeve(name).strategy) for name in ("value_investor", "quality_growth")]
    assert len(set(codes)) == 2
    assert [bot.sleeve(name).code for name in ("value_investor", "quality_growth")] == codes
