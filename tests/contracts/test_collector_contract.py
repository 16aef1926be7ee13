"""What every shipped collector that reads files promises, whatever it collects. A new one adds a line to COLLECTORS.

Those that need a gateway, a server or a vendor's folder of their own have their own tests, named in TESTED_ELSEWHERE.
"""

import inspect
import pkgutil
from collections.abc import Callable
from datetime import date
from importlib import import_module
from pathlib import Path

import polars as pl
import pytest

import tradebot_core.collectors
from tests.simfin_files import write_simfin, year
from tradebot_core.calendar import xnys
from tradebot_core.collectors.edgar import EdgarFacts
from tradebot_core.collectors.file_actions import FileActions
from tradebot_core.collectors.file_bars import FileBars
from tradebot_core.collectors.file_securities import FileSecurities
from tradebot_core.collectors.simfin import SimFin
from tradebot_core.interfaces import Batch, Collector
from tradebot_core.model.tables import INSTANT, SECURITIES
from tradebot_core.schemas import validate
from tradebot_core.simulation.sample_market import FIRST_SESSION, SampleMarket, prepare

ROOT = Path(__file__).parents[2]
XNYS = xnys()
START, MIDDLE, END = FIRST_SESSION, date(2022, 6, 30), date(2023, 6, 30)


def simfin(market: SampleMarket) -> SimFin:
    """Two years of two companies of the sample market, in files of their own."""
    folder = market.path.parent / "simfin"
    if not folder.exists():
        listed = pl.read_csv(market.securities).head(2)
        names = dict(listed.select("symbol", "name").iter_rows())
        write_simfin(folder, *(row for symbol in names for row in _two_years(symbol)), names=names)
    return SimFin(SimFin.Params(path=folder, archived_on=date(2023, 6, 1)), XNYS)


def _two_years(symbol: str) -> tuple[dict[str, str], ...]:
    about = {"Ticker": symbol, "SimFinId": str(sum(symbol.encode()))}
    first = year(Report_Date="2020-12-31", Publish_Date="2021-02-24", Restated_Date="2022-02-23", Fiscal_Year="2020")
    return (first | about, year(Report_Date="2021-12-31", Publish_Date="2022-02-23", Restated_Date="2023-02-22") | about)


COLLECTORS: dict[str, Callable[[SampleMarket], Collector]] = {
    "file_securities": lambda market: FileSecurities(FileSecurities.Params(path=market.securities), XNYS),
    "file_bars": lambda market: FileBars(FileBars.Params(path=market.bars), XNYS),
    "file_actions": lambda market: FileActions(FileActions.Params(path=market.actions), XNYS),
    "edgar": lambda market: EdgarFacts(EdgarFacts.Params(path=market.companyfacts, submissions_path=market.submissions), XNYS),
    "simfin": simfin,
}
TESTED_ELSEWHERE = {
    **dict.fromkeys(["ibkr_bars", "ibkr_contracts", "ibkr_fundamentals", "ibkr_splits"], "tests/ibkr"),
    **dict.fromkeys(["edgar_api", "edgar_bulk"], "tests/core/test_edgar_api.py"),  # EdgarFacts on what they fetch
    **dict.fromkeys(["lean_bars", "lean_actions"], "tests/core/test_lean_collectors.py"),
    "sec_tickers": "tests/core/test_security_master.py",
    "lean_map_files": "tests/core/test_security_master.py",
}


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> SampleMarket:
    return prepare(tmp_path_factory.mktemp("sample") / "market")


@pytest.fixture(scope="module")
def securities(market) -> pl.DataFrame:
    (batch,) = COLLECTORS["file_securities"](market).collect(pl.DataFrame(schema=SECURITIES.schema), START, END)
    return batch.rows


@pytest.fixture(params=COLLECTORS)
def collector(request, market) -> Collector:
    return COLLECTORS[request.param](market)


def batches(collector: Collector, securities: pl.DataFrame, end: date = END) -> list[Batch]:
    known = pl.DataFrame(schema=SECURITIES.schema) if collector.table is SECURITIES else securities
    return list(collector.collect(known, START, end))


def rows(collector: Collector, securities: pl.DataFrame, end: date = END) -> pl.DataFrame:
    return pl.concat([batch.rows for batch in batches(collector, securities, end)])


def test_every_shipped_collector_is_in_this_suite_or_named_with_its_own():
    modules = [module.name for module in pkgutil.iter_modules(tradebot_core.collectors.__path__)]
    shipped = {
        name
        for name in modules
        for _, thing in inspect.getmembers(import_module(f"tradebot_core.collectors.{name}"), inspect.isclass)
        if thing.__module__.endswith(name) and hasattr(thing, "collect")
    }
    assert shipped == COLLECTORS.keys() | TESTED_ELSEWHERE.keys()
    assert all((ROOT / tests).exists() for tests in TESTED_ELSEWHERE.values())


def test_a_batch_has_the_columns_of_its_table_and_names_its_source(collector, securities):
    found = batches(collector, securities)
    assert sum(batch.rows.height for batch in found) > 0
    for batch in found:
        assert batch.table is collector.table
        assert dict(batch.rows.schema) == {**collector.table.columns, "known_at": INSTANT}
        assert batch.source


def test_the_rows_keep_the_schema_and_no_key_is_delivered_twice(collector, securities):
    assert validate(collector.table.name, rows(collector, securities)) == []


def test_nothing_is_delivered_that_nobody_could_know_at_the_cut_off_of_the_end(collector, securities):
    found = rows(collector, securities, MIDDLE)
    assert found.height > 0
    assert found["known_at"].max() <= XNYS.cutoff(MIDDLE)


def test_what_is_delivered_up_to_a_session_does_not_depend_on_how_far_one_collects(collector, securities):
    """No row of an early session is made with what came later."""
    until = XNYS.cutoff(MIDDLE)
    early, late = rows(collector, securities, MIDDLE), rows(collector, securities).filter(pl.col("known_at") <= until)
    key = list(collector.table.key)
    assert early.sort(key).equals(late.sort(key))


def test_the_same_source_gives_the_same_bytes_again(collector, market, securities):
    again = next(make(market) for make in COLLECTORS.values() if type(make(market)) is type(collector))
    one, two = batches(collector, securities), batches(again, securities)
    assert [batch.rows.to_dicts() for batch in one] == [batch.rows.to_dicts() for batch in two]
    assert [batch.rejected for batch in one] == [batch.rejected for batch in two]


def test_what_a_source_cannot_be_trusted_for_is_one_sentence_for_people(collector):
    caveat = getattr(collector, "caveat", None)
    assert caveat is None or (caveat.endswith(".") and 20 < len(caveat) < 200)


def test_making_a_collector_opens_nothing(collector, tmp_path):
    fields = type(collector).Params.model_fields
    paths = {name: tmp_path / "absent" for name in fields if "path" in name}
    assert type(collector)(type(collector).Params(**paths), XNYS).table is collector.table
