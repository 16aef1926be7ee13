"""The collectors against the simulated TWS."""

from datetime import date
from pathlib import Path

import polars as pl
import pytest

from tests.ibkr.conftest import ACCOUNT, SECURITY_IDS, SESSIONS, SPLIT, THURSDAY, TUESDAY, WEDNESDAY, at, open_of
from tradebot_core.calendar import xnys
from tradebot_core.collectors.ibkr_bars import IbkrBars
from tradebot_core.collectors.ibkr_contracts import IbkrContracts
from tradebot_core.errors import ConfigurationError, CorruptInput, DataError
from tradebot_core.ibkr.history import duration
from tradebot_core.interfaces import Batch
from tradebot_core.model.tables import BARS, INSTANT, SECURITIES

CON_IDS = {"AAA": 101, "BBB": 102, "CC.B": None}


def securities(*symbols: str) -> pl.DataFrame:
    rows = [
        {
            "security_id": SECURITY_IDS.get(symbol, 999_900),
            "symbol": symbol,
            "con_id": CON_IDS.get(symbol),
            "valid_from": date(2020, 1, 2),
            "valid_to": None,
        }
        for symbol in symbols
    ]
    return pl.DataFrame(rows, schema_overrides={"con_id": pl.Int64, "valid_to": pl.Date})


def bars(port: int, **params: object) -> IbkrBars:
    return IbkrBars(IbkrBars.Params(port=port, account=ACCOUNT, **params), xnys())


def opens(batch: Batch) -> dict[date, float]:
    return dict(batch.rows.select("session", "open").iter_rows())


def test_the_bars_of_the_day_are_those_of_the_market(port):
    (batch,) = bars(port).collect(securities("AAA"), TUESDAY, TUESDAY)
    assert (batch.table, batch.source, batch.rejected) == (BARS, "ibkr", ())
    assert batch.rows.schema == pl.Schema({**BARS.columns, "known_at": INSTANT})
    assert batch.rows.rows(named=True) == [
        {
            "security_id": 100_100,
            "session": TUESDAY,
            "open": 16.0,
            "high": 17.0,
            "low": 15.75,
            "close": 16.5,
            "volume": 1000.0,
            "known_at": at(TUESDAY, 16),
        }
    ]


def test_each_security_has_its_batch_and_an_unknown_one_its_reason(port):
    batches = list(bars(port).collect(securities("AAA", "CC.B", "ZZZ"), TUESDAY, TUESDAY))
    assert len(batches) == 3  # as they come: the order is the broker's
    rows = pl.concat(batch.rows for batch in batches)
    assert dict(rows.select("security_id", "open").iter_rows()) == {SECURITY_IDS["AAA"]: 16.0, SECURITY_IDS["CC.B"]: 56.0}
    assert [(r.record["symbol"], r.rule) for batch in batches for r in batch.rejected] == [("ZZZ", "ibkr_200")]


def test_a_session_that_is_not_over_has_no_bar(gateway, port):
    gateway.clock.set(at(WEDNESDAY, 15, 59))
    (batch,) = bars(port).collect(securities("AAA"), WEDNESDAY, WEDNESDAY)
    assert batch.rows.height == 0
    gateway.clock.set(at(WEDNESDAY, 16))
    (batch,) = bars(port).collect(securities("AAA"), WEDNESDAY, WEDNESDAY)
    assert opens(batch) == {WEDNESDAY: 17.0}


def test_history_without_the_splits_is_refused(gateway, port):
    gateway.clock.set(at(THURSDAY, 18))
    with pytest.raises(DataError, match=r"params\.actions_path"):
        list(bars(port).collect(securities("BBB"), TUESDAY, THURSDAY))


def test_history_with_the_splits_is_raw_again(gateway, port):
    gateway.clock.set(at(THURSDAY, 18))
    collector = bars(port, actions_path=gateway.folder / "actions.csv")
    (batch,) = collector.collect(securities("BBB"), SESSIONS[0], THURSDAY)
    assert opens(batch) == {session: open_of("BBB", session) for session in SESSIONS if session <= THURSDAY}
    assert set(batch.rows["volume"]) == {1000.0}
    assert opens(batch)[TUESDAY] == 106.0
    assert opens(batch)[SPLIT] == 53.5


def test_bars_end_with_the_session_asked_for(gateway, port):
    gateway.clock.set(at(THURSDAY, 18))
    collector = bars(port, actions_path=gateway.folder / "actions.csv")
    (batch,) = collector.collect(securities("AAA"), TUESDAY, WEDNESDAY)
    assert list(opens(batch)) == [TUESDAY, WEDNESDAY]


def test_a_missing_or_unreadable_actions_file_is_named(gateway, port, tmp_path: Path):
    with pytest.raises(DataError, match=r"nowhere\.csv does not exist"):
        list(bars(port, actions_path=tmp_path / "nowhere.csv").collect(securities("AAA"), TUESDAY, TUESDAY))
    (tmp_path / "bad.csv").write_text("symbol;session\nA;B\n")
    with pytest.raises(CorruptInput, match=r"bad\.csv"):
        list(bars(port, actions_path=tmp_path / "bad.csv").collect(securities("AAA"), TUESDAY, TUESDAY))


@pytest.mark.parametrize(("sessions", "written"), [(1, "1 D"), (365, "365 D"), (366, "2 Y"), (501, "3 Y")])
def test_more_than_365_days_are_written_in_years(sessions, written):
    """Else error 321 comes back, which ib_async takes for a warning."""
    assert duration(sessions) == written


def test_no_security_needs_no_gateway():
    assert list(bars(1).collect(securities("AAA").clear(), TUESDAY, TUESDAY)) == []


def test_a_gateway_that_is_not_there_is_a_data_error():
    with pytest.raises(DataError, match="Nothing answers at"):
        list(bars(1).collect(securities("AAA"), TUESDAY, TUESDAY))


def test_a_wrong_account_is_a_configuration_error(port):
    collector = IbkrBars(IbkrBars.Params(port=port, account="DU0000002"), xnys())
    with pytest.raises(ConfigurationError, match="not to DU0000002"):
        list(collector.collect(securities("AAA"), TUESDAY, TUESDAY))


def contracts(port: int, ciks: Path) -> IbkrContracts:
    return IbkrContracts(IbkrContracts.Params(port=port, account=ACCOUNT, ciks_path=ciks), xnys())


def test_securities_carry_what_the_broker_knows(port, tmp_path: Path):
    ciks = tmp_path / "ciks.csv"
    ciks.write_text("symbol,cik,share_class\nAAA,1001,0\nBBB,1002,\nCC.B,1003,1\nZZZ,9999,0\n")
    (batch,) = contracts(port, ciks).collect(pl.DataFrame(), WEDNESDAY, THURSDAY)
    assert (batch.table, batch.rows.schema) == (SECURITIES, pl.Schema({**SECURITIES.columns, "known_at": INSTANT}))
    assert batch.rows.select("security_id", "cik", "symbol", "name", "exchange", "con_id", "industry", "category").rows() == [
        (100_100, 1001, "AAA", "Alpha Works", "NYSE", 101, "Industrial", "Machinery"),
        (100_200, 1002, "BBB", "Béta Brands", "NASDAQ", 102, "Consumer", "Apparel"),
        (100_301, 1003, "CC.B", "Gamma Class B", "NYSE", 103, "Financial", "Insurance"),
    ]
    assert set(batch.rows["known_at"]) == {at(TUESDAY, 0)}  # the broker's day, whatever was asked for
    assert set(batch.rows.select("valid_from", "valid_to").rows()) == {(TUESDAY, date.max)}
    assert [(r.record["symbol"], r.rule) for r in batch.rejected] == [("ZZZ", "ibkr_200")]


def test_the_share_class_may_be_left_out(port, tmp_path: Path):
    ciks = tmp_path / "ciks.csv"
    ciks.write_text("symbol,cik\nAAA,1001\n")
    (batch,) = contracts(port, ciks).collect(pl.DataFrame(), TUESDAY, TUESDAY)
    assert batch.rows["security_id"].to_list() == [100_100]


def test_a_list_without_ciks_is_named(port, tmp_path: Path):
    ciks = tmp_path / "ciks.csv"
    ciks.write_text("ticker,cik\nAAA,1001\n")
    with pytest.raises(CorruptInput, match="no column symbol"):
        list(contracts(port, ciks).collect(pl.DataFrame(), TUESDAY, TUESDAY))


def test_what_is_seen_again_is_dated_from_when_it_was_first_seen_and_not_known_before(gateway, port, tmp_path: Path):
    ciks = tmp_path / "ciks.csv"
    ciks.write_text("symbol,cik\nAAA,1001\n")
    (batch,) = contracts(port, ciks).collect(pl.DataFrame(), date(2026, 11, 9), THURSDAY)
    known = batch.rows.with_columns(source=pl.lit("ibkr"))
    gateway.clock.set(at(THURSDAY, 18))
    (again,) = contracts(port, ciks).collect(known, THURSDAY, THURSDAY)
    assert again.rows["valid_from"].to_list() == [TUESDAY]


def test_at_night_the_answer_is_about_the_session_that_last_opened(gateway, port, tmp_path: Path):
    ciks = tmp_path / "ciks.csv"
    ciks.write_text("symbol,cik\nAAA,1001\n")
    gateway.clock.set(at(WEDNESDAY, 2))
    (batch,) = contracts(port, ciks).collect(pl.DataFrame(), WEDNESDAY, WEDNESDAY)
    assert batch.rows["valid_from"].to_list() == [TUESDAY]


def test_a_person_may_take_the_answers_as_known_earlier(port, tmp_path: Path):
    ciks = tmp_path / "ciks.csv"
    ciks.write_text("symbol,cik\nAAA,1001\n")
    params = IbkrContracts.Params(port=port, account=ACCOUNT, ciks_path=ciks, known_since=date(2015, 1, 2))
    (batch,) = IbkrContracts(params, xnys()).collect(pl.DataFrame(), TUESDAY, TUESDAY)
    assert batch.rows.select("valid_from", "known_at").row(0) == (date(2015, 1, 2), at(date(2015, 1, 2), 0))
    assert "listed now" in IbkrContracts.caveat
