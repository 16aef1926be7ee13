"""A new collector is one class and one block of configuration; this test follows the recipe of docs/new-collector.md to the letter."""

import re
import sys
import textwrap
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from tests.markets import CONFIG, SESSIONS, fill_store, security_of, tradebot
from tradebot_core.errors import ConfigurationError, DataError
from tradebot_core.model.tables import ACTIONS
from tradebot_core.wiring import Tradebot

PAGE = Path(__file__).parents[2] / "docs" / "new-collector.md"
STATEMENT = """\
symbol,ex_date,per_share
FADE,2024-02-13,0.31
GOOD,2024-02-17,0.20
DEAR,2024-02-14,nothing
ELSE,2024-02-14,0.10
"""


@pytest.fixture
def package(tmp_path, monkeypatch) -> Iterator[str]:
    """The code of the page, in a package that the configuration may name."""
    code, _ = recipe()
    folder = tmp_path / "code" / "my_collectors"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("")
    (folder / "statement_dividends.py").write_text(code)
    monkeypatch.syspath_prepend(folder.parent)
    yield folder.name
    for module in [name for name in sys.modules if name.split(".")[0] == folder.name]:
        del sys.modules[module]


def recipe() -> tuple[str, str]:
    """The code and the block of configuration that the page shows."""
    found = re.finditer(r"```(?:python|yaml)\n(.*?)```", PAGE.read_text(), re.DOTALL)
    code, block = (textwrap.dedent(block[1]) for block in found)
    return code, block


def start(folder: Path, package: str, **replaced: str) -> Tradebot:
    _, block = recipe()
    block = block.replace("tradebot_core.collectors", package)
    for old, new in replaced.items():
        block = block.replace(old, new)
    block = textwrap.indent(block, "  ").replace("{", "{{").replace("}", "}}")
    text = f"allowed_packages: [tradebot_core, {package}]\n{CONFIG}collectors:\n{block}"
    bot = tradebot(folder, text=text)
    fill_store(bot)
    return bot


def test_the_recipe_of_the_documentation_works_as_written(tmp_path, package):
    bot = start(tmp_path, package)
    (tmp_path / "dividends.csv").write_text(STATEMENT)
    collected = bot.collect("statement_dividends", SESSIONS[0], SESSIONS[60])
    assert (collected.new_rows, collected.refused) == (1, 2)
    stored = bot.store.read(ACTIONS, as_of=bot.clock.now()).filter(security_id=security_of("FADE"))
    assert stored.select("session", "type", "value", "known_at", "source").rows() == [
        (date(2024, 2, 13), "dividend", 0.31, datetime(2024, 2, 13, 5, tzinfo=UTC), "file:dividends.csv")
    ]
    assert set(bot.store.quarantined()["rule"]) == {"unreadable", "no_dividend"}
    assert bot.collect("statement_dividends", SESSIONS[0], SESSIONS[60]).new_rows == 0


def test_a_source_that_is_not_there_is_named(tmp_path, package):
    with pytest.raises(DataError, match=r"dividends\.csv does not exist"):
        list(start(tmp_path, package).collect("statement_dividends", SESSIONS[0], SESSIONS[1]).refusals)


def test_an_unknown_parameter_stops_the_start_with_its_line(tmp_path, package):
    with pytest.raises(ConfigurationError, match=r"config\.yaml, line \d+: .*file"):
        start(tmp_path, package, path="file")
