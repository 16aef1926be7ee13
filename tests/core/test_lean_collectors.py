"""LEAN's data folder as a source: whose each bar is, and which actions the factor files are made of."""

import zipfile
from datetime import UTC, date, datetime
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.real_data import REAL_DATA
from tradebot_core.calendar import xnys
from tradebot_core.collectors.file_securities import FileSecurities
from tradebot_core.collectors.lean_actions import FactorRow, LeanActions, changes, shortest_decimal, simple_ratio
from tradebot_core.collectors.lean_bars import LeanBars
from tradebot_core.errors import CorruptInput, DataError
from tradebot_core.interfaces import Batch
from tradebot_core.model.market import ActionType
from tradebot_core.model.tables import ACTIONS, BARS, INSTANT, SECURITIES

START, END = date(2014, 3, 25), date(2014, 4, 7)
NOBODY = pl.DataFrame(schema=dict(SECURITIES.columns))
MASTER = """symbol,cik,name,share_class,valid_from,valid_to
GOOG,1652044,Google A,0,2004-08-19,2014-04-02
GOOGL,1652044,Google A,0,2014-04-03,
GOOG,1652044,Google C,1,2014-04-03,
FB,1326801,Facebook,0,2012-05-18,
"""
A, C, FB = 165204400, 165204401, 132680100
GOOG_ZIP = (
    "20140402 00:00,11419000,11448000,11241000,11351000,2100000",
    "20140403 00:00,5699900,5875000,5644100,5697400,5000000",
)


def folder(path: Path, **daily: tuple[str, ...]) -> Path:
    for name in ("daily", "factor_files", "map_files"):
        (path / name).mkdir(parents=True)
    for symbol, lines in daily.items():
        with zipfile.ZipFile(path / "daily" / f"{symbol}.zip", "w") as archive:
            archive.writestr(f"{symbol}.csv", "\n".join(lines))
    (path / "map_files" / "googl.csv").write_text("20040819,goog,Q\n20140402,goog,Q\n20501231,googl,Q\n")
    (path / "map_files" / "goog.csv").write_text("20140327,goocv,Q\n20140402,goocv,Q\n20501231,goog,Q\n")
    (path / "map_files" / "fb.csv").write_text("20120518,fb,Q\n20501231,fb,Q\n")
    (path / "map_files" / "fb.1.csv").write_text("19990929,fb\n20030328,fb\n")
    return path


@pytest.fixture
def master(tmp_path: Path) -> pl.DataFrame:
    (tmp_path / "securities.csv").write_text(MASTER)
    (batch,) = FileSecurities(FileSecurities.Params(path=tmp_path / "securities.csv"), xnys()).collect(NOBODY, START, END)
    return batch.rows


def bars_of(path: Path, securities: pl.DataFrame, start: date = START, end: date = END) -> dict[str, Batch]:
    batches = LeanBars(LeanBars.Params(path=path), xnys()).collect(securities, start, end)
    return {batch.source: batch for batch in batches}


def actions_of(path: Path, securities: pl.DataFrame, end: date = END) -> list[Batch]:
    return list(LeanActions(LeanActions.Params(path=path), xnys()).collect(securities, START, end))


def security(security_id: int, symbol: str, first: date | None = None, last: date | None = None) -> pl.DataFrame:
    row = (security_id, symbol, first, last)
    schema = {"security_id": pl.Int64, "symbol": pl.String, "valid_from": pl.Date, "valid_to": pl.Date}
    return pl.DataFrame([row], schema=schema, orient="row")


# Bars


def test_prices_are_ten_thousandths_of_a_dollar_and_known_a_quarter_of_an_hour_after_the_close(tmp_path, master):
    path = folder(tmp_path / "lean", googl=("20140403 00:00,5733900,5883000,5660200,5715000,3966397",))
    batch = bars_of(path, master)["lean:googl.zip"]
    assert batch.rows.schema == pl.Schema({**BARS.columns, "known_at": INSTANT})
    known_at = datetime(2014, 4, 3, 20, 15, tzinfo=UTC)
    assert batch.rows.rows() == [(A, date(2014, 4, 3), 573.39, 588.3, 566.02, 571.5, 3_966_397.0, known_at)]


def test_the_days_of_a_symbol_go_to_who_had_it_that_day(tmp_path, master):
    batch = bars_of(folder(tmp_path / "lean", goog=GOOG_ZIP), master)["lean:goog.zip"]
    assert batch.rows.select("security_id", "session", "close").rows() == [
        (A, date(2014, 4, 2), 1135.1),
        (C, date(2014, 4, 3), 569.74),
    ]


def test_days_of_another_company_under_the_symbol_are_left_out(tmp_path, master):
    line = "20030102 00:00,10000,10000,10000,10000,5"
    batch = bars_of(folder(tmp_path / "lean", fb=(line,)), master, date(2003, 1, 2), END)["lean:fb.zip"]
    assert (batch.rows.height, batch.rejected) == (0, ())


def test_a_symbol_without_a_file_is_named(tmp_path, master):
    batches = bars_of(folder(tmp_path / "lean", goog=GOOG_ZIP), master)
    assert [(r.record["symbol"], r.rule) for r in batches["lean:fb.zip"].rejected] == [("FB", "no_file")]
    assert batches["lean:goog.zip"].rows.height == 2


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        ("2014-04-03,1,1,1,1,1", "unreadable_session"),
        ("20140405 00:00,10000,10000,10000,10000,1", "not_a_session"),
        ("20140403 00:00,10000,10000,10000", "missing_value"),
        ("20140403 00:00,10000,x,10000,10000,1", "missing_value"),
        ("20140403 00:00,NaN,10000,10000,10000,1", "not_finite"),
        ("20140403 00:00,0,10000,0,10000,1", "price_not_positive"),
        ("20140403 00:00,20000,10000,10000,10000,1", "outside_range"),
        ("20140403 00:00,10000,10000,10000,10000,-1", "negative_volume"),
    ],
)
def test_a_bar_that_cannot_be_is_refused_as_it_was_written(tmp_path, master, line, rule):
    batch = bars_of(folder(tmp_path / "lean", fb=(line, "20140404 00:00,10000,10000,10000,10000,1")), master)["lean:fb.zip"]
    assert [r.rule for r in batch.rejected] == [rule]
    assert batch.rejected[0].record["session"] == line.split(",")[0]
    assert batch.rows["session"].to_list() == [date(2014, 4, 4)]


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut short", b"<html>not found</html>"])
def test_a_damaged_zip_is_refused_whole_with_its_hash_and_the_others_go_on(tmp_path, master, content):
    path = folder(tmp_path / "lean", goog=GOOG_ZIP)
    (path / "daily" / "fb.zip").write_bytes(content)
    batches = bars_of(path, master)
    (refusal,) = batches["lean:fb.zip"].rejected
    assert (refusal.rule, refusal.record["bytes"], len(refusal.record["sha256"])) == ("unreadable_file", len(content), 64)
    assert batches["lean:goog.zip"].rows.height == 2


def test_a_zip_of_several_files_is_refused(tmp_path, master):
    path = folder(tmp_path / "lean")
    with zipfile.ZipFile(path / "daily" / "fb.zip", "w") as archive:
        archive.writestr("a.csv", "")
        archive.writestr("b.csv", "")
    assert [r.reason for r in bars_of(path, master)["lean:fb.zip"].rejected] == ["the zip does not hold exactly one file"]


def test_a_folder_that_is_not_there_is_named_with_its_mend(tmp_path, master):
    with pytest.raises(DataError, match=r"nowhere.daily is not a folder\. params\.path"):
        bars_of(tmp_path / "nowhere", master)
    with pytest.raises(DataError, match=r"factor_files is not a folder"):
        actions_of(tmp_path / "nowhere", master)


# Actions


def test_a_split_factor_that_changes_is_a_split_of_the_next_session(tmp_path, master):
    path = folder(tmp_path / "lean")
    (path / "factor_files" / "googl.csv").write_text("20040819,1,0.5,1\n20140402,1,0.5,1135.1\n20501231,1,1,0\n")
    batch, *_ = (b for b in actions_of(path, master) if b.source == "lean:googl.csv")
    assert batch.rows.schema == pl.Schema({**ACTIONS.columns, "known_at": INSTANT})
    assert batch.rows.rows() == [(A, date(2014, 4, 3), "split", 2.0, datetime(2014, 4, 3, 4, tzinfo=UTC))]


def test_a_price_factor_that_changes_is_a_dividend():
    """AAPL's rows of 2012: 2.65 USD at a close of 619.86; the factors alone say 2.649939."""
    rows = [
        FactorRow(date(2005, 2, 25), 0.8613657, 0.0178571, 88.97),
        FactorRow(date(2012, 8, 8), 0.8613657, 0.0357143, 619.86),
        FactorRow(date(2050, 12, 31), 0.8650639, 0.0357143, 0),
    ]
    found, refused = changes(rows)
    assert [(c.day, c.type, c.value) for c in found] == [
        (date(2005, 2, 25), ActionType.SPLIT, 2.0),
        (date(2012, 8, 8), ActionType.DIVIDEND, 2.65),
    ]
    assert refused == []


def test_a_dividend_of_the_day_of_a_split_is_stated_in_new_shares():
    rows = [
        FactorRow(date(2020, 1, 2), 0.98, 0.5, 100.0),
        FactorRow(date(2020, 1, 3), 0.98, 0.5, 100.0),
        FactorRow(date(2050, 12, 31), 1, 1, 0),
    ]
    found, _ = changes(rows)
    assert [(c.type, c.value) for c in found] == [(ActionType.SPLIT, 2.0), (ActionType.DIVIDEND, 1.0)]


def test_actions_to_come_are_left_for_their_day(tmp_path, master):
    path = folder(tmp_path / "lean")
    (path / "factor_files" / "googl.csv").write_text("20040819,1,0.5,1\n20140402,1,0.5,1135.1\n20501231,1,1,0\n")
    batch, *_ = (b for b in actions_of(path, master, end=date(2014, 4, 2)) if b.source == "lean:googl.csv")
    assert batch.rows.height == 0


def test_a_security_without_a_factor_file_is_named(tmp_path, master):
    refused = [r for batch in actions_of(folder(tmp_path / "lean"), master) for r in batch.rejected]
    assert {(r.record["symbol"], r.rule) for r in refused} == {("GOOGL", "no_file"), ("GOOG", "no_file"), ("FB", "no_file")}


def test_the_factor_file_is_found_by_the_permanent_ticker(tmp_path):
    path = folder(tmp_path / "lean")
    (path / "factor_files" / "fb.csv").write_text("20120518,1,1,1\n20501231,1,1,0\n")
    (path / "factor_files" / "fb.1.csv").write_text("19990929,1,0.5,1\n20010104,1,0.5,10\n20030328,1,1,0\n")
    (old,) = actions_of(path, security(7, "FB", date(1999, 9, 29), date(2003, 3, 28)))
    assert (old.source, old.rows["session"].to_list()) == ("lean:fb.1.csv", [date(2001, 1, 5)])
    (new,) = actions_of(path, security(8, "FB", date(2012, 5, 18)))
    assert (new.source, new.rows.height) == ("lean:fb.csv", 0)


def test_factors_from_which_no_dividend_follows_are_refused():
    rising = [
        FactorRow(date(2020, 1, 2), 0.9, 1, 1),
        FactorRow(date(2020, 1, 3), 1.0, 1, 5),
        FactorRow(date(2020, 1, 6), 0.9, 1, 0),
    ]
    found, refused = changes(rising)
    assert found == []
    assert [(r.rule, r.record["day"]) for r in refused] == [("no_dividend", "2020-01-02"), ("no_dividend", "2020-01-03")]


@pytest.mark.parametrize(
    "text", ["20120518,one,1,1", "20120518,1,0,1", "20120518,1,1,nan", "2012,1,1,1", "20120518,1,1", "\xff"]
)
def test_a_factor_file_that_cannot_be_read_is_refused_whole(tmp_path, text):
    path = folder(tmp_path / "lean")
    (path / "factor_files" / "fb.csv").write_text(text)
    (batch,) = actions_of(path, security(8, "FB", date(2012, 5, 18)))
    assert batch.rows.height == 0
    assert [r.rule for r in batch.rejected] == ["unreadable_file"]


def test_factor_rows_out_of_order_are_refused(tmp_path):
    path = folder(tmp_path / "lean")
    (path / "factor_files" / "fb.csv").write_text("20140102,1,1,1\n20130102,1,1,1\n")
    (batch,) = actions_of(path, security(8, "FB", date(2012, 5, 18)))
    assert [r.reason for r in batch.rejected] == ["['20130102', '1', '1', '1'] does not follow 2014-01-02"]


def test_a_damaged_map_file_stops_the_collection(tmp_path, master):
    path = folder(tmp_path / "lean")
    (path / "map_files" / "fb.csv").write_text("20120518\n")
    with pytest.raises(CorruptInput, match=r"fb\.csv cannot be read"):
        actions_of(path, master)


@given(st.integers(1, 999_999), st.floats(1.0, 2000.0), st.floats(0.3, 1.0))
def test_a_dividend_survives_the_rounding_of_its_factors(cents_of_a_cent, close, later):
    """What LEAN writes of a dividend, with factors of seven decimals, is read back to the rounding of the factors."""
    paid, close = cents_of_a_cent / 10_000, round(close, 2)
    later = round(later, 7)
    if paid >= close / 2:
        return
    factor = round(later * (1 - paid / close), 7)
    if factor == later:
        return
    rows = [FactorRow(date(2020, 1, 2), factor, 1, 1), FactorRow(date(2020, 1, 3), factor, 1, close)]
    found, _ = changes([*rows, FactorRow(date(2050, 1, 3), later, 1, 0)])
    assert [c.value for c in found] == [pytest.approx(paid, abs=2 * close * 1e-7 / later + 1e-6)]


@pytest.mark.parametrize(
    ("ratio", "simple"),
    [(1.99986, 2.0), (6.9999972, 7.0), (1.5000049, 1.5), (0.05, 0.05), (0.0125, 0.0125), (0.3333, 1 / 3), (1.0027003, 1.0027)],
)
def test_split_ratios_are_simple_where_rounding_allows_it(ratio, simple):
    assert simple_ratio(ratio) == simple


@pytest.mark.parametrize(
    ("value", "known_to", "shortest"), [(2.649939, 7e-5, 2.65), (0.313385, 1e-6, 0.313385), (0.0001, 1e-3, 0.0001)]
)
def test_dividends_have_as_few_decimals_as_the_rounding_allows(value, known_to, shortest):
    assert shortest_decimal(value, known_to) == shortest


# The real folder


@pytest.fixture(scope="module")
def lean() -> Path:
    if not (REAL_DATA / "lean").is_dir():
        pytest.skip(f"no real data at {REAL_DATA}; set TRADEBOT_REAL_DATA")
    return REAL_DATA / "lean"


def test_google_keeps_its_history_through_the_class_split(lean, master):
    rows = pl.concat([batch.rows for batch in bars_of(lean, master).values()])
    closes = rows.filter(security_id=A).sort("session")["close"].to_list()
    assert closes == [1158.72, 1131.97, 1114.28, 1120.15, 1114.51, 1134.89, 1135.10, 571.50, 545.25, 540.63]


def test_every_bar_of_the_folder_enters_and_facebook_is_two_companies(lean):
    two = pl.concat([security(7, "FB", date(1999, 9, 29), date(2003, 3, 28)), security(8, "FB", date(2012, 5, 18))])
    batch = bars_of(lean, two, date(1998, 1, 2), date(2021, 3, 31))["lean:fb.zip"]
    assert dict(batch.rows.group_by("security_id").len().iter_rows()) == {7: 716, 8: 2231}
    assert batch.rejected == ()


def test_the_splits_and_dividends_of_apple_are_those_of_its_history(lean):
    (batch,) = actions_of(lean, security(9, "AAPL"), date(2020, 5, 22))
    by_type = {kind: rows.select("session", "value").rows() for (kind,), rows in batch.rows.group_by("type")}
    assert by_type["split"] == [(date(2000, 6, 21), 2.0), (date(2005, 2, 28), 2.0), (date(2014, 6, 9), 7.0)]
    assert [value for _, value in by_type["dividend"]][:8] == [2.65] * 3 + [3.05] * 4 + [3.29]


@pytest.mark.parametrize("symbol", ["AAPL", "IBM", "BAC"])
def test_dividends_agree_with_those_of_another_source(lean, symbol):
    """Another vendor's list, itself rounded from factors to 1e-4; it has two of IBM's twice, and pays BAC's 0.075 of 2016 right
    where LEAN's factors say 0.08."""
    listed = pl.read_csv(REAL_DATA / "market" / "actions.csv", schema_overrides={"session": pl.Date, "value": pl.Float64})
    theirs = listed.filter(pl.col("symbol") == symbol, pl.col("type") == "dividend").select("session", theirs="value")
    (batch,) = actions_of(lean, security(9, symbol), date(2020, 5, 22))
    ours = batch.rows.filter(pl.col("type") == "dividend", pl.col("session") >= date(2009, 1, 2)).select("session", "value")
    assert ours.join(theirs, on="session", how="anti").is_empty()
    doubled = {"IBM": {date(2015, 5, 7), date(2016, 5, 9)}}.get(symbol, set())
    assert set(theirs.join(ours, on="session", how="anti")["session"]) == doubled
    off = ours.join(theirs, on="session").filter((pl.col("value") - pl.col("theirs")).abs() > 2.5e-4)
    assert off.rows() == (
        [(date(2016, 8, 31), 0.08, 0.075), (date(2016, 11, 30), 0.08, 0.075), (date(2017, 3, 1), 0.08, 0.075)]
        if symbol == "BAC"
        else []
    )
