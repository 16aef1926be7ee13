"""Filings fetched from the SEC over HTTP, end to end: the store ends as it does with the same files on disk."""

import json
import zipfile
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path

import polars as pl
import pytest

from tests import markets
from tests.markets import XNYS
from tests.real_data import REAL_DATA
from tests.sec_server import UNDECLARED, FakeTime, Fault, SecServer, sec_server
from tradebot_core.clock import FixedClock
from tradebot_core.collectors.edgar import EdgarFacts
from tradebot_core.collectors.edgar_api import EdgarApi
from tradebot_core.collectors.edgar_bulk import EdgarBulk
from tradebot_core.collectors.sec_http import SecRefused
from tradebot_core.errors import ConfigurationError
from tradebot_core.model.tables import FACTS, FUNDAMENTALS
from tradebot_core.simulation.sample_market import prepare
from tradebot_core.wiring import Tradebot

# ZALDR has a page of older filings, ZTEAK facts and no list of filings, and of ZGHST the SEC knows nothing.
FIRST, LAST = date(2023, 1, 3), date(2023, 12, 29)
NOW = datetime(2026, 11, 2, 14, tzinfo=UTC)
BULK = {"companyfacts.zip": "xbrl/companyfacts.zip", "submissions.zip": "bulkdata/submissions.zip"}
CONFIG = """\
data_store: {{path: {store}}}
first_session: 2021-01-04
universe: {{symbols: [ZALDR, ZASPN, ZCEDR, ZFADE, ZGHST, ZHICK, ZLATE, ZTEAK]}}
collectors:
  - name: contract_details
    class_path: tradebot_core.collectors.file_securities.FileSecurities
    params: {{path: MARKET/securities.csv}}
  - name: fundamentals
    class_path: tradebot_core.collectors.CLASS
    params: {{PARAMS}}
"""
FETCHED = (
    "cache_path: {store}/sec, user_agent: Jane Doe jane@doe.net, requests_per_second: 10, archives_url: 'URL/Archives/edgar'"
)


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepare(tmp_path_factory.mktemp("market")).path


@pytest.fixture
def sec(market: Path) -> Iterator[SecServer]:
    """The sample market's filings, as the SEC would serve them: company by company, and in bulk."""
    with sec_server() as server:
        for bundle, folder in (("companyfacts.zip", "/api/xbrl/companyfacts/"), ("submissions.zip", "/submissions/")):
            place = f"/Archives/edgar/daily-index/{BULK[bundle]}"
            server.files[place] = (market / bundle).read_bytes()
            server.modified[place] = datetime(2026, 11, 2, 8, tzinfo=UTC)
            with zipfile.ZipFile(market / bundle) as archive:
                server.files |= {folder + name: archive.read(name) for name in archive.namelist()}
        yield server


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> FakeTime:
    """The limiter that all of the process share, on time that passes by itself."""
    time = FakeTime()
    monkeypatch.setattr("tradebot_core.collectors.sec_manners.SHARED._clock", time)
    monkeypatch.setattr("tradebot_core.collectors.sec_manners.SHARED._sleep", time.sleep)
    return time


def bot_with(folder: Path, market: Path, class_path: str, params: str, url: str = "") -> Tradebot:
    text = CONFIG.replace("CLASS", class_path).replace("PARAMS", params).replace("URL", url).replace("MARKET", str(market))
    return markets.tradebot(folder, NOW, text)


def from_files(folder: Path, market: Path) -> Tradebot:
    return bot_with(
        folder, market, "edgar.EdgarFacts", "path: MARKET/companyfacts.zip, submissions_path: MARKET/submissions.zip"
    )


def from_api(folder: Path, market: Path, sec: SecServer) -> Tradebot:
    return bot_with(folder, market, "edgar_api.EdgarApi", FETCHED + ", data_url: 'URL'", sec.url)


def from_bulk(folder: Path, market: Path, sec: SecServer) -> Tradebot:
    return bot_with(folder, market, "edgar_bulk.EdgarBulk", FETCHED, sec.url)


def collect(bot: Tradebot, first: date = FIRST, last: date = LAST):
    return [bot.collect(name, first, last) for name in bot.collectors][-1]


def stored(bot: Tradebot, table) -> pl.DataFrame:
    return bot.store.read_versions(table, as_of=NOW)


@pytest.mark.parametrize("fetch", [from_api, from_bulk])
def test_facts_and_figures_are_those_of_the_same_files_on_disk(tmp_path, market, sec, fetch):
    files, fetched = from_files(tmp_path / "files", market), fetch(tmp_path / "fetched", market, sec)
    by_file, by_http = collect(files), collect(fetched)
    assert stored(fetched, FACTS).height > 5_000
    assert stored(fetched, FACTS).equals(stored(files, FACTS))
    assert stored(fetched, FUNDAMENTALS).height > 50
    assert stored(fetched, FUNDAMENTALS).equals(stored(files, FUNDAMENTALS))
    refusals = dict(by_http.refusals)
    assert refusals.pop("unknown_cik", None) == (1 if fetch is from_api else None)
    assert (by_http.new_rows, refusals) == (by_file.new_rows, dict(by_file.refusals))


@pytest.mark.parametrize("fetch", [from_api, from_bulk])
def test_facts_of_long_ago_were_known_when_they_were_filed_and_not_when_they_were_fetched(tmp_path, market, sec, fetch):
    bot = fetch(tmp_path, market, sec)
    collect(bot)
    facts = stored(bot, FACTS)
    assert facts["known_at"].max() <= XNYS.cutoff(LAST) < NOW == facts["ingested_at"].min()
    assert (facts["known_at"].dt.date() - facts["filed"]).max().days <= 4  # over a weekend


@pytest.mark.parametrize("fetch", [from_api, from_bulk])
def test_a_backfill_of_a_range_that_is_here_asks_the_sec_nothing(tmp_path, market, sec, fetch):
    bot = fetch(tmp_path, market, sec)
    collect(bot)
    before = len(sec.asked)
    assert collect(bot, date(2021, 1, 4), date(2022, 12, 30)).new_rows == 0
    assert collect(bot).new_rows == 0
    assert len(sec.asked) == before > 0


def test_the_folder_that_was_fetched_can_be_read_without_a_network(tmp_path, market, sec):
    fetched = from_api(tmp_path / "fetched", market, sec)
    collect(fetched)
    cache = tmp_path / "fetched" / "store" / "sec"
    paths = f"path: {cache}/companyfacts, submissions_path: {cache}/submissions"
    files = bot_with(tmp_path / "files", market, "edgar.EdgarFacts", paths)
    collect(files)
    assert stored(files, FACTS).equals(stored(fetched, FACTS))


def test_every_request_says_who_asks_and_keeps_to_the_rate(tmp_path, market, sec, no_waiting):
    collect(from_api(tmp_path, market, sec))
    assert {asked.headers["User-Agent"] for asked in sec.asked} == {"Jane Doe jane@doe.net"}
    assert len(sec.asked) == 17
    assert no_waiting.now - 1000 >= (len(sec.asked) - 1) / 10 - 1e-6


def test_a_company_that_cannot_be_had_is_in_the_quarantine_with_its_reason(tmp_path, market, sec):
    path = next(path for path in sorted(sec.files) if path.startswith("/api/"))
    sec.faults[path] = [Fault(500)] * 6
    bot = from_api(tmp_path, market, sec)
    assert ("not_fetched", 1) in collect(bot).refusals
    (record,) = bot.store.quarantined().filter(pl.col("rule") == "not_fetched").iter_rows(named=True)
    assert path in record["reason"] and "500" in record["reason"] and "Run it again later" in record["reason"]
    assert collect(bot).new_rows > 0  # the company's
    assert dict(collect(bot).refusals).get("not_fetched") is None


@pytest.mark.parametrize("fetch", [from_api, from_bulk])
def test_a_refusal_by_the_sec_is_an_error_that_says_what_to_do(tmp_path, market, sec, fetch):
    sec.faults["*"] = [Fault(403, UNDECLARED)]
    with pytest.raises(SecRefused, match="Undeclared Automated Tool") as refused:
        collect(fetch(tmp_path, market, sec))
    assert "params.user_agent" in refused.value.mend


@pytest.mark.parametrize(
    ("params", "cause"),
    [
        ("cache_path: ./sec", "user_agent"),
        ("cache_path: ./sec, user_agent: Jane Doe", "contact e-mail"),
        ("cache_path: ./sec, user_agent: a b@example.com", "placeholder"),
        ("cache_path: ./sec, user_agent: a b@c.net, requests_per_second: 11", "requests_per_second"),
        ("cache_path: ./sec, user_agent: a b@c.net, requests_per_second: 0", "requests_per_second"),
        ("cache_path: ./sec, user_agent: a b@c.net, archives_url: 'http://www.sec.gov'", "https"),
        ("user_agent: a b@c.net", "cache_path"),
    ],
)
@pytest.mark.parametrize("collector", ["edgar_api.EdgarApi", "edgar_bulk.EdgarBulk"])
def test_settings_the_sec_would_not_like_stop_the_start_with_their_line(tmp_path, market, collector, params, cause):
    with pytest.raises(ConfigurationError, match=rf"config.yaml, line \d+: collectors.1.params.*{cause}"):
        bot_with(tmp_path, market, collector, params)


def test_without_companies_nothing_is_asked(tmp_path):
    nobody = pl.DataFrame(schema={"cik": pl.Int64})
    for collector in (EdgarApi, EdgarBulk):
        params = collector.Params(user_agent="Jane Doe jane@doe.net", cache_path=tmp_path / "none")
        assert list(collector(params, XNYS, FixedClock(NOW)).collect(nobody, FIRST, LAST)) == []
    assert not (tmp_path / "none").exists()


def test_the_daily_collection_fetches_only_the_company_that_filed(tmp_path, market, sec):
    """Two evenings of the market's own time: on the second, one company has filed."""
    securities = from_files(tmp_path, market)
    securities.collect("contract_details", FIRST, LAST)
    known = securities.securities(LAST)
    ciks = sorted(set(known["cik"].drop_nulls()))
    params = EdgarApi.Params(
        user_agent="Jane Doe jane@doe.net", cache_path=tmp_path / "sec", data_url=sec.url, archives_url=f"{sec.url}/archives"
    )

    def evening(day: date) -> list[tuple[str, int]]:
        before = len(sec.asked)
        list(EdgarApi(params, XNYS, FixedClock(XNYS.cutoff(day)), FakeTime().limiter()).collect(known, day, day))
        return [path for path, status in sec.since(before) if status == 200]

    first = evening(date(2026, 10, 29))
    assert len(first) == 7 + 6 + 1  # facts, lists of filings, a page of older ones
    filed = ciks[3]
    listed, reported = f"/submissions/CIK{filed:010d}.json", f"/api/xbrl/companyfacts/CIK{filed:010d}.json"
    document = json.loads(sec.files[listed])
    for name, column in document["filings"]["recent"].items():
        column.insert(0, {"accessionNumber": "0009999999-26-000001", "filingDate": "2026-10-30"}.get(name, column[0]))
    sec.files[listed] = json.dumps(document).encode()
    sec.files[reported] += b"\n"
    assert evening(date(2026, 10, 30)) == [listed, reported]


AMD, APPLE, MICROSOFT, NVIDIA = 2488, 320193, 789019, 1045810


def test_the_secs_own_files_are_mirrored_byte_for_byte_and_give_the_facts_of_its_bulk_files(tmp_path):
    edgar = REAL_DATA / "edgar"
    if not (edgar / "companyfacts.zip").is_file():
        pytest.skip(f"no real data at {REAL_DATA}; set TRADEBOT_REAL_DATA")
    companies = pl.DataFrame({"cik": [NVIDIA, APPLE, AMD, MICROSOFT]})
    with sec_server() as sec:
        for bundle, folder in (("companyfacts", "/api/xbrl/companyfacts/"), ("submissions", "/submissions/")):
            with zipfile.ZipFile(edgar / f"{bundle}.zip") as archive:
                sec.files |= {folder + name: archive.read(name) for name in archive.namelist()}
        params = EdgarApi.Params(
            user_agent="Jane Doe jane@doe.net", cache_path=tmp_path, data_url=sec.url, archives_url=f"{sec.url}/archives"
        )
        fetching = EdgarApi(params, XNYS, FixedClock(datetime(2026, 4, 25, 12, tzinfo=UTC)), FakeTime().limiter())
        missing, *batches = fetching.collect(companies, FIRST, LAST)
        # The sample lacks the pages of older filings that each of them names; pages before 2009 are not asked for.
        assert [(record.record["cik"], record.rule) for record in missing.rejected] == [
            (cik, "page_absent") for cik in (AMD, APPLE, MICROSOFT, NVIDIA)
        ]
        for cik in (APPLE, AMD):
            name = f"CIK{cik:010d}.json"
            assert (tmp_path / "companyfacts" / name).read_bytes() == sec.files[f"/api/xbrl/companyfacts/{name}"]
    bulk = EdgarFacts.Params(path=edgar / "companyfacts.zip", submissions_path=edgar / "submissions.zip")
    of_files = pl.concat(batch.rows for batch in EdgarFacts(bulk, XNYS).collect(companies, FIRST, LAST))
    fetched = pl.concat(batch.rows for batch in batches)
    assert fetched.height > 50_000 and fetched.equals(of_files)
