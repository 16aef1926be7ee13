"""Fundamental reports from the simulated TWS, through the unmodified client and a real socket."""

import asyncio
import struct
import time
from datetime import date, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import polars as pl
import pytest
from eventkit import Event
from ib_async import Stock

from tests.ibkr.conftest import ACCOUNT, TUESDAY, Gateway, at
from tests.ibkr.reports import annual, snapshot
from tests.ibkr.test_ibkr_collectors import CON_IDS, SECURITY_IDS
from tradebot_core.calendar import xnys
from tradebot_core.clock import FixedClock
from tradebot_core.collectors.ibkr_fundamentals import IbkrFundamentals
from tradebot_core.errors import CorruptInput, DataError
from tradebot_core.ibkr import fundamentals
from tradebot_core.ibkr.reports.plan import Refusal, Refused, Wanted
from tradebot_core.ibkr.reports.record import ReportType
from tradebot_core.ibkr.reports.safe_xml import MAX_BYTES
from tradebot_core.interfaces import Batch
from tradebot_core.simulation.market_data import MarketData
from tradebot_core.simulation.tws import SimulatedTws, serving

CIKS = {"AAA": 1001, "BBB": 1002, "CC.B": 1003, "ZZZ": 9999}
TYPES = ("ReportSnapshot", "ReportsFinStatements", "ReportsFinSummary")
EVENING = at(TUESDAY, 18)
WANTED = Wanted(1001, "AAA", 101, ReportType.SNAPSHOT)


def securities(*symbols: str, valid_to: date | None = None) -> pl.DataFrame:
    rows = [
        {
            "security_id": SECURITY_IDS.get(symbol, 999_900),
            "cik": CIKS[symbol],
            "symbol": symbol,
            "con_id": CON_IDS.get(symbol),
            "valid_from": date(2020, 1, 2),
            "valid_to": valid_to,
        }
        for symbol in symbols
    ]
    return pl.DataFrame(rows, schema_overrides={"con_id": pl.Int64, "valid_to": pl.Date})


class Collection:
    """Runs of the collector, each at an instant of its own, in one folder."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway
        self.folder = gateway.folder / "reports"

    def run(self, served: dict | None, /, *symbols: str, now: datetime = EVENING, **params: object) -> Batch:
        with self.gateway.serving(reports=served) as port:
            return self.at(port, *symbols, now=now, **params)

    def at(self, port: int, *symbols: str, now: datetime = EVENING, **params: object) -> Batch:
        params = {
            "path": self.folder,
            "account": ACCOUNT,
            "port": port,
            "reports": TYPES[:2],
            "answer_timeout_s": 2.0,
            **params,
        }
        collector = IbkrFundamentals(IbkrFundamentals.Params(**params), xnys(), FixedClock(now))
        batches = list(collector.collect(securities(*symbols), TUESDAY, TUESDAY))
        rows = pl.concat([batch.rows for batch in batches]) if batches else pl.DataFrame()
        rejected = tuple(record for batch in batches for record in batch.rejected)
        return Batch(IbkrFundamentals.table, rows, "test", rejected)

    def files(self) -> list[str]:
        return sorted(path.name.split("_2026")[0] for path in self.folder.glob("*.xml"))


@pytest.fixture
def collection(gateway: Gateway) -> Collection:
    return Collection(gateway)


def rules(batch: Batch) -> list[str]:
    return [record.rule for record in batch.rejected]


BOTH = {("AAA", "ReportSnapshot"): snapshot(cik=1001), ("AAA", "ReportsFinStatements"): annual()}


def test_reports_come_through_the_socket_are_kept_as_they_are_and_become_facts(collection):
    batch = collection.run(BOTH, "AAA")
    assert batch.rejected == ()
    assert batch.rows.select("cik", "tag", "value").rows() == [
        (1001, "Employees", 50.0),
        (1001, "RTLR", 1e8),
        (1001, "SharesOut", 1e6),
        (1001, "TotalFloat", 9e5),
    ]
    assert collection.files() == ["CIK0000001001_ReportSnapshot", "CIK0000001001_ReportsFinStatements"]
    (kept,) = collection.folder.glob("*_ReportSnapshot_20261117T230000Z_*.xml")
    assert kept.read_text() == snapshot(cik=1001)
    assert dict(batch.rows.select("tag", "known_at").iter_rows())["SharesOut"] == EVENING


def test_what_was_received_is_not_asked_for_again_for_a_week(collection):
    first = collection.run(BOTH, "AAA")
    changed = {**BOTH, ("AAA", "ReportsFinStatements"): annual("101.0")}
    collection.gateway.clock.set(at(TUESDAY, 19))
    assert collection.run(changed, "AAA", now=at(TUESDAY, 19)).rows.equals(first.rows)
    later = EVENING + timedelta(days=8)
    after_a_week = collection.run(changed, "AAA", now=later)
    assert len(collection.files()) == 3
    versions = after_a_week.rows.filter(pl.col("tag") == "RTLR").sort("known_at")
    assert versions["value"].to_list() == [1e8]  # the change is known on 25 November, after this session's cut-off


def test_a_gateway_that_does_not_allow_it_is_asked_once_and_says_so_once(collection, caplog):
    batch = collection.run(None, "AAA", "BBB", "CC.B")
    assert rules(batch) == ["source_off"]
    assert batch.rejected[0].record == {"source": "ibkr_reports", "reports": sorted(TYPES[:2]), "day": "2026-11-17"}
    for part in ("IBKR 10358: Fundamentals data is not allowed.", "version 10.47", "before 2026-11-18", "EdgarFacts"):
        assert part in batch.rejected[0].reason
    warnings = [r for r in caplog.records if r.name.startswith("tradebot_core") and r.levelname == "WARNING"]
    assert len(warnings) == 1


def test_a_second_run_of_the_day_does_not_ask_and_the_next_day_does(collection):
    off = collection.run(None, "AAA", "BBB")
    again = collection.at(1, "AAA", "BBB", now=at(TUESDAY, 23))  # nothing listens on port 1: it would be an error to connect
    assert again.rejected == off.rejected
    with pytest.raises(DataError, match="Nothing answers at"):
        collection.at(1, "AAA", "BBB", now=at(TUESDAY, 23) + timedelta(hours=2))
    collection.gateway.clock.set(EVENING + timedelta(days=1))
    assert collection.run(BOTH, "AAA", now=EVENING + timedelta(days=1)).rejected == ()


def test_what_was_kept_is_read_while_the_source_is_off(collection):
    first = collection.run(BOTH, "AAA")
    later = EVENING + timedelta(days=8)
    batch = collection.run(None, "AAA", now=later)
    assert rules(batch) == ["source_off"]
    assert batch.rows.equals(first.rows)


def test_430_for_every_share_switches_the_source_off_and_not_one_message_per_share(collection):
    batch = collection.run({}, "AAA", "BBB", "CC.B")
    assert rules(batch) == ["source_off"]
    assert "IBKR 430" in batch.rejected[0].reason


def test_430_for_one_share_is_said_of_that_share(collection):
    batch = collection.run(BOTH, "AAA", "BBB")
    assert [(r.rule, r.record) for r in batch.rejected] == [
        ("ibkr_430", {"symbol": "BBB", "report": "ReportSnapshot"}),
        ("ibkr_430", {"symbol": "BBB", "report": "ReportsFinStatements"}),
    ]
    assert batch.rows.height == 4


def test_a_login_with_some_reports_gives_those(collection):
    only = {(symbol, "ReportSnapshot"): snapshot(cik=CIKS[symbol]) for symbol in ("AAA", "BBB", "CC.B")}
    batch = collection.run(only, "AAA", "BBB", "CC.B")
    assert [(r.rule, r.record["reports"]) for r in batch.rejected] == [("source_off", ["ReportsFinStatements"])]
    assert set(batch.rows["cik"]) == {1001, 1002, 1003}


@pytest.mark.parametrize(("answer", "words"), [(321, "IBKR 321"), (None, "no answer in 2 s")])
def test_error_321_and_silence_end(collection, answer, words):
    """ib_async would wait for ever after both."""
    batch = collection.run({("AAA", "ReportSnapshot"): answer}, "AAA", reports=TYPES[:1])
    assert rules(batch) == ["source_off"]
    assert words in batch.rejected[0].reason


def test_a_request_that_was_given_up_is_cancelled_and_the_next_goes_on(collection):
    batch = collection.run({**BOTH, ("AAA", "ReportSnapshot"): None}, "AAA", answer_timeout_s=0.5)
    assert rules(batch) == ["no_answer"]
    assert batch.rows["tag"].to_list() == ["RTLR"]


def test_an_unknown_share_has_its_reason_and_the_others_go_on(collection):
    batch = collection.run(BOTH, "ZZZ", "AAA")
    assert {(r.rule, r.record["symbol"]) for r in batch.rejected} == {("ibkr_error", "ZZZ")}
    assert batch.rows.height == 4


def test_a_report_about_another_company_is_kept_and_refused(collection):
    batch = collection.run({("AAA", "ReportSnapshot"): snapshot(cik=7)}, "AAA", reports=TYPES[:1])
    assert (batch.rows.height, rules(batch)) == (0, ["cik_mismatch"])
    assert len(collection.files()) == 1


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("", "empty"),
        ("<html>Please log in</html>", "web_page"),
        (annual()[:200], "not_xml"),
        ("<Error>no data</Error>", "vendor_error"),
        ('<!DOCTYPE x [<!ENTITY a "a">]><ReportSnapshot>&a;</ReportSnapshot>', "forbidden_markup"),
        (annual().replace("UTF-8", "UTF-16"), "wrong_encoding"),
    ],
)
def test_what_comes_instead_of_a_report_is_quarantined(collection, text, rule):
    batch = collection.run({("AAA", "ReportSnapshot"): text}, "AAA", reports=TYPES[:1])
    assert (batch.rows.height, rules(batch)) == (0, [rule])
    assert len(batch.rejected[0].record["sha256"]) == 64


def test_a_run_asks_for_no_more_than_it_may_and_the_next_goes_on_where_it_stopped(collection):
    reports = {(symbol, "ReportSnapshot"): snapshot(cik=CIKS[symbol]) for symbol in ("AAA", "BBB", "CC.B")}
    collection.run(reports, "AAA", "BBB", "CC.B", reports=TYPES[:1], requests_per_run=2)
    assert collection.files() == ["CIK0000001001_ReportSnapshot", "CIK0000001002_ReportSnapshot"]
    collection.run(reports, "AAA", "BBB", "CC.B", reports=TYPES[:1], requests_per_run=2)
    assert len(collection.files()) == 3


def test_a_delisted_share_is_not_asked_for(collection, gateway):
    collector = IbkrFundamentals(
        IbkrFundamentals.Params(path=collection.folder, account=ACCOUNT, port=1), xnys(), FixedClock(EVENING)
    )
    assert list(collector.collect(securities("AAA", valid_to=date(2026, 11, 13)), TUESDAY, TUESDAY)) == []


def test_a_damaged_record_of_requests_is_named_with_its_mend(collection):
    collection.folder.mkdir()
    (collection.folder / "requests.json").write_text('{"day": ')
    with pytest.raises(CorruptInput, match="Delete it"):
        collection.at(1, "AAA")


@pytest.mark.parametrize("answer", [[], None, 5])
def test_an_answer_that_is_no_text_is_refused(answer):
    """What ib_async answers after error 430 or 10358 when it is not told to raise is an empty list."""

    async def ask() -> str | Refused:
        future = asyncio.get_running_loop().create_future()
        future.set_result(answer)
        client = SimpleNamespace(
            getReqId=lambda: 7, reqFundamentalData=lambda *_: None, conn=SimpleNamespace(hasData=Event()), _data=b""
        )
        ib = SimpleNamespace(client=client, wrapper=SimpleNamespace(startReq=lambda *_: future), errorEvent=Event())
        return await fundamentals._ask(ib, fundamentals._Watch(ib), WANTED, Stock("AAA", "SMART", "USD"), 1.0)

    refused = asyncio.run(ask())
    assert (refused.why, refused.wanted) == (Refusal.NO_TEXT, WANTED)
    assert type(answer).__name__ in refused.text


class EndlessTws(SimulatedTws):
    """Answers a request for fundamental data with a message that announces 500 MB, and sends it as fast as it is taken."""

    sent = 0

    def __init__(self, *args: object, **options: object) -> None:
        super().__init__(*args, **options)
        self._desk._answers[52] = lambda session, _: asyncio.ensure_future(self._flood(session))

    async def _flood(self, session) -> None:
        session._writer.write(struct.pack(">I", 500 << 20) + b"51\x001\x00")
        try:
            while self.sent < 500 << 20:
                session._writer.write(b"<a>1</a>" * 8192)
                await session._writer.drain()
                self.sent += 65536
        except ConnectionError:
            pass  # the client has hung up


def test_a_message_of_500_mb_is_cut_off_at_its_announcement(collection, gateway):
    tws = EndlessTws(MarketData.read(gateway.folder), gateway.clock, ACCOUNT, state_path=gateway.folder / "account.json")
    started = time.monotonic()
    with serving(tws) as port:
        batch = collection.at(port, "AAA", "BBB")
    assert rules(batch) == ["too_large"]
    assert f"524288000 bytes was announced; the limit is {MAX_BYTES}" in batch.rejected[0].reason
    assert tws.sent < MAX_BYTES  # what the sockets' buffers took
    assert time.monotonic() - started < 15
    assert collection.files() == []


def test_a_gateway_that_goes_away_in_the_middle_costs_nothing_of_what_came(collection, gateway: Gateway, monkeypatch):
    class Dropping(SimulatedTws):
        def __init__(self, *args: object, **options: object) -> None:
            super().__init__(*args, **options)
            answer = self._desk._answers[52]

            def once(session, fields) -> None:
                if self.asked:
                    session._writer.transport.abort()
                else:
                    answer(session, fields)
                self.asked += 1

            self.asked = 0
            self._desk._answers[52] = once

    tws = Dropping(MarketData.read(gateway.folder), gateway.clock, ACCOUNT, state_path=gateway.folder / "a.json", reports=BOTH)
    with serving(tws) as port, pytest.raises(DataError, match="broke"):
        collection.at(port, "AAA")
    assert collection.files() == ["CIK0000001001_ReportSnapshot"]
    assert collection.run(BOTH, "AAA").rows.height == 4


def test_the_folder_only_grows(collection, tmp_path: Path):
    collection.run(BOTH, "AAA")
    before = {path: path.read_bytes() for path in collection.folder.glob("*.xml")}
    later = EVENING + timedelta(days=8)
    collection.run({**BOTH, ("AAA", "ReportSnapshot"): snapshot(cik=1001, shares="2000000.0")}, "AAA", now=later)
    assert {path: path.read_bytes() for path in before} == before
    assert len(list(collection.folder.glob("*.xml"))) == 3
