"""A new collector is one class and one block of configuration; this test follows the recipes of docs/new-collector.md to the letter."""

import re
import sys
import textwrap
import tomllib
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

import polars as pl
import pytest

from tests.markets import CONFIG, SESSIONS, XNYS, cik_of, fill_store, security_of, tradebot
from tradebot_core.errors import ConfigurationError, DataError
from tradebot_core.model.tables import ACTIONS, FUNDAMENTALS
from tradebot_core.quant.concepts import concept_map
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
    folder = tmp_path / "code" / "my_collectors"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("")
    (folder / "statement_dividends.py").write_text(recipe("python", 0))
    (folder / "acme_sales.py").write_text(recipe("python", 1))
    monkeypatch.syspath_prepend(folder.parent)
    yield folder.name
    for module in [name for name in sys.modules if name.split(".")[0] == folder.name]:
        del sys.modules[module]


def recipe(language: str, number: int) -> str:
    """A block of code or configuration that the page shows."""
    found = re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(), re.DOTALL)
    return textwrap.dedent(found[number])


def start(folder: Path, package: str, **replaced: str) -> Tradebot:
    block = recipe("yaml", 0).replace("tradebot_core.collectors", package)
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


# A vendor of fundamentals -------------------------------------------------------------------------------------------------

SALES = """\
symbol,year_end,version_of,sales
GOOD,2022-12-31,2024-02-20,4100
GOOD,2023-12-31,2024-02-20,4800
DEAR,2023-12-31,2023-12-01,900
FADE,2023-12-31,2024-02-21,nan
LOSS,2023-12-31,soon,900
ELSE,2023-12-31,2024-02-21,900
"""


@pytest.fixture
def vendor(tmp_path, package, monkeypatch) -> Tradebot:
    """A Tradebot with the vendor's collector and its tag in the concept map, as the page shows both."""
    (tag,) = tomllib.loads(recipe("toml", 0))["concepts"]["revenue"]["tags"]
    shipped = concept_map()
    revenue = replace(shipped.concepts["revenue"], tags=(*shipped.concepts["revenue"].tags, tag))
    extended = replace(shipped, concepts=shipped.concepts | {"revenue": revenue})
    monkeypatch.setattr("tradebot_core.quant.statements.concept_map", lambda: extended)
    (tmp_path / "sales.csv").write_text(SALES)
    block = f"  - {{{{name: fundamentals, class_path: {package}.acme_sales.AcmeSales, params: {{{{path: sales.csv}}}}}}}}\n"
    bot = tradebot(tmp_path, text=f"allowed_packages: [tradebot_core, {package}]\n{CONFIG}collectors:\n{block}")
    fill_store(bot)
    return bot


def test_the_vendors_figures_count_from_the_day_of_their_version_and_name_its_document(vendor):
    collected = vendor.collect("fundamentals", SESSIONS[0], SESSIONS[60])
    assert (collected.new_rows, collected.refused) == (2, 3)
    rows = vendor.store.read(FUNDAMENTALS, as_of=XNYS.cutoff(SESSIONS[60])).filter(pl.col("form") == "Acme annual")
    assert rows.select("cik", "period_end", "accession", "revenue_ttm", "revenue_ttm_1y", "known_at").rows() == [
        (
            *(cik_of("GOOD"), date(2023, 12, 31), "acme-GOOD-2023-12-31-2024-02-20", 4800.0, 4100.0),
            datetime(2024, 2, 21, 11, tzinfo=UTC),
        )
    ]
    assert set(vendor.store.quarantined()["rule"]) == {"unreadable", "impossible"}
    assert vendor.collect("fundamentals", SESSIONS[0], SESSIONS[60]).new_rows == 0


def test_a_vendor_says_what_its_data_cannot_be_trusted_for(vendor):
    assert vendor.collectors["fundamentals"].caveat == "Restated values: Acme keeps only the last version of a year."
