"""Bars, corporate actions and the security master from a person's own files."""

from datetime import UTC, date, datetime
from pathlib import Path

import polars as pl
import pytest

from tests.real_data import REAL_DATA
from tradebot_core.calendar import xnys
from tradebot_core.collectors.file_actions import FileActions
from tradebot_core.collectors.file_bars import FileBars
from tradebot_core.collectors.file_securities import FileSecurities
from tradebot_core.errors import CorruptInput, DataError, UsageError
from tradebot_core.interfaces import Batch
from tradebot_core.model.tables import ACTIONS, BARS, INSTANT, SECURITIES

START, END = date(2014, 6, 2), date(2014, 6, 13)
BAR_HEADER = "symbol,session,open,high,low,close,volume"
AAPL = "AAPL,2014-06-06,649.9,651.26,644.47,645.57,12497800"
NOBODY = pl.DataFrame(schema=dict(SECURITIES.columns))
APPLE, IBM = 32019300, 5114300


def listed(*rows: tuple[int, str, date | None, date | None]) -> pl.DataFrame:
    frame = pl.DataFrame(rows, schema=["security_id", "symbol", "valid_from", "valid_to"], orient="row")
    return frame.with_columns(pl.col("valid_from", "valid_to").cast(pl.Date))


MASTER = listed((APPLE, "AAPL", date(1990, 1, 2), date.max), (IBM, "IBM", None, None))


def write(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n")
    return path


def bars_of(path: Path, securities: pl.DataFrame = MASTER, start: date = START, end: date = END) -> Batch:
    (batch,) = FileBars(FileBars.Params(path=path), xnys()).collect(securities, start, end)
    return batch


def actions_of(path: Path, securities: pl.DataFrame = MASTER, end: date = END) -> Batch:
    (batch,) = FileActions(FileActions.Params(path=path), xnys()).collect(securities, START, end)
    return batch


def securities_of(path: Path, end: date = END) -> Batch:
    (batch,) = FileSecurities(FileSecurities.Params(path=path), xnys()).collect(NOBODY, START, end)
    return batch


def rules(batch: Batch) -> list[str]:
    return [record.rule for record in batch.rejected]


# Bars ---------------------------------------------------------------------------------------------------------------------


def test_a_bar_is_known_a_quarter_of_an_hour_after_the_close(tmp_path):
    batch = bars_of(write(tmp_path / "bars.csv", BAR_HEADER, AAPL))
    assert dict(batch.rows.schema) == {**BARS.columns, "known_at": INSTANT}
    assert batch.rows.rows() == [
        (APPLE, date(2014, 6, 6), 649.9, 651.26, 644.47, 645.57, 12497800.0, datetime(2014, 6, 6, 20, 15, tzinfo=UTC))
    ]
    assert (batch.source, rules(batch)) == ("file:bars.csv", [])


def test_a_bar_of_a_short_session_is_known_earlier(tmp_path):
    path = write(tmp_path / "bars.csv", BAR_HEADER, AAPL.replace("2014-06-06", "2014-07-03"))
    batch = bars_of(path, end=date(2014, 7, 3))
    assert batch.rows["known_at"].to_list() == [datetime(2014, 7, 3, 17, 15, tzinfo=UTC)]


def test_bars_come_by_security_and_session_whatever_their_order(tmp_path):
    days = ["2014-06-09", "2014-06-03", "2014-06-06"]
    path = write(tmp_path / "bars.csv", BAR_HEADER, *(f"{s},{day},1,2,1,2,5" for day in days for s in ("AAPL", "IBM")))
    expected = [(security, date.fromisoformat(day)) for security in (IBM, APPLE) for day in sorted(days)]
    assert bars_of(path).rows.select("security_id", "session").rows() == expected


def test_only_the_days_and_symbols_asked_for_are_read(tmp_path):
    days = ("2014-05-30", "2014-06-02", "2014-06-13", "2014-06-16")
    path = write(
        tmp_path / "bars.csv", BAR_HEADER, *(f"{symbol},{day},1,2,1,2,5" for day in days for symbol in ("AAPL", "XYZ"))
    )
    batch = bars_of(path)
    assert batch.rows.select("security_id", "session").rows() == [(APPLE, START), (APPLE, END)]
    assert rules(batch) == []


def test_parquet_csv_and_a_folder_of_both_say_the_same(tmp_path):
    csv = write(tmp_path / "bars.csv", BAR_HEADER, AAPL, "IBM,2014-06-09,186.2,187,185.5,186.22,2600100")
    frame = pl.read_csv(csv, try_parse_dates=True)
    frame.write_parquet(tmp_path / "bars.parquet")
    folder = tmp_path / "folder"
    folder.mkdir()
    frame.head(1).rename({"session": "date"}).write_csv(folder / "apple.csv")
    frame.tail(1).write_parquet(folder / "ibm.parquet")
    for path in (tmp_path / "bars.parquet", folder):
        assert bars_of(path).rows.equals(bars_of(csv).rows)


def test_bars_may_name_the_security_itself(tmp_path):
    path = write(tmp_path / "bars.csv", BAR_HEADER.replace("symbol", "security_id"), AAPL.replace("AAPL", str(APPLE)))
    assert bars_of(path).rows["security_id"].to_list() == [APPLE]


@pytest.mark.parametrize(
    ("row", "rule"),
    [
        ("AAPL,2014-06-06,nan,2,1,2,5", "not_finite"),
        ("AAPL,2014-06-06,1,inf,1,2,5", "not_finite"),
        ("AAPL,2014-06-06,0,2,0,2,5", "price_not_positive"),
        ("AAPL,2014-06-06,1,2,-1,2,5", "price_not_positive"),
        ("AAPL,2014-06-06,1,1,2,1,5", "high_below_low"),
        ("AAPL,2014-06-06,3,2,1,2,5", "outside_range"),
        ("AAPL,2014-06-06,1,2,1,0.5,5", "outside_range"),
        ("AAPL,2014-06-06,1,2,1,2,-5", "negative_volume"),
        ("AAPL,2014-06-06,1,2,1,,5", "missing_value"),
        ("AAPL,2014-06-06,1,2,1,two,5", "missing_value"),
        ("AAPL,2014-06-07,1,2,1,2,5", "not_a_session"),
        ("AAPL,06/06/2014,1,2,1,2,5", "unreadable_session"),
        ("AAPL,,1,2,1,2,5", "unreadable_session"),
    ],
)
def test_a_bad_bar_is_refused_as_it_was_written_and_the_others_enter(tmp_path, row, rule):
    batch = bars_of(write(tmp_path / "bars.csv", BAR_HEADER, row, "AAPL,2014-06-09,1,2,1,2,5"))
    (refused,) = batch.rejected
    assert refused.rule == rule
    assert refused.record == {"file": "bars.csv"} | dict(
        zip(BAR_HEADER.split(","), (value or None for value in row.split(",")), strict=True)
    )
    assert batch.rows["session"].to_list() == [date(2014, 6, 9)]


def test_two_different_bars_of_one_session_are_both_refused(tmp_path):
    batch = bars_of(write(tmp_path / "bars.csv", BAR_HEADER, AAPL, AAPL.replace("645.57", "645.58")))
    assert (rules(batch), batch.rows.height) == (["conflicting_bars"] * 2, 0)


def test_a_bar_written_twice_alike_is_one_bar(tmp_path):
    batch = bars_of(write(tmp_path / "bars.csv", BAR_HEADER, AAPL, AAPL))
    assert (rules(batch), batch.rows.height) == ([], 1)


def test_a_symbol_means_the_security_that_had_it_on_the_day(tmp_path):
    master = listed((100, "FB", date(2014, 6, 4), date(2014, 6, 5)), (200, "FB", date(2014, 6, 9), date.max))
    days = ("2014-06-03", "2014-06-04", "2014-06-06", "2014-06-09")
    batch = bars_of(write(tmp_path / "bars.csv", BAR_HEADER, *(f"FB,{day},1,2,1,2,5" for day in days)), master)
    assert batch.rows.select("security_id", "session").rows() == [(100, date(2014, 6, 4)), (200, date(2014, 6, 9))]
    (refused,) = batch.rejected
    assert (refused.rule, refused.record) == ("no_security", {"symbol": "FB"})
    assert "on 2 days from 2014-06-03 to 2014-06-06" in refused.reason


def test_a_missing_path_says_what_to_do(tmp_path):
    with pytest.raises(DataError, match=r"bars\.csv does not exist.*params\.path"):
        bars_of(tmp_path / "bars.csv")
    with pytest.raises(DataError, match=r"holds no \.csv or \.parquet file"):
        bars_of(tmp_path)


@pytest.mark.parametrize("content", ["", "<html><body>Too many requests</body></html>", "symbol,session\nAAPL,2014-06-06"])
def test_a_file_that_is_no_table_of_bars_is_corrupt_input(tmp_path, content):
    with pytest.raises(CorruptInput):
        bars_of(write(tmp_path / "bars.csv", content))


def test_a_truncated_parquet_file_is_corrupt_input(tmp_path):
    path = tmp_path / "bars.parquet"
    pl.DataFrame({"symbol": ["AAPL"] * 100}).write_parquet(path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(CorruptInput, match=r"bars\.parquet cannot be read"):
        bars_of(path)


def test_a_range_without_sessions_is_refused(tmp_path):
    with pytest.raises(UsageError, match="no trading session"):
        bars_of(write(tmp_path / "bars.csv", BAR_HEADER, AAPL), start=date(2014, 6, 7), end=date(2014, 6, 8))


# Corporate actions --------------------------------------------------------------------------------------------------------

ACTION_HEADER = "symbol,session,type,value"


def test_an_action_is_known_when_its_ex_date_begins_in_new_york(tmp_path):
    batch = actions_of(write(tmp_path / "actions.csv", ACTION_HEADER, "AAPL,2014-06-09,split,7"))
    assert dict(batch.rows.schema) == {**ACTIONS.columns, "known_at": INSTANT}
    assert batch.rows.rows() == [(APPLE, date(2014, 6, 9), "split", 7.0, datetime(2014, 6, 9, 4, 0, tzinfo=UTC))]


def test_actions_before_the_range_are_read_and_those_after_it_are_not(tmp_path):
    lines = (f"AAPL,{day},dividend,0.5" for day in ("2012-08-09", "2014-06-13", "2014-08-07"))
    batch = actions_of(write(tmp_path / "actions.csv", ACTION_HEADER, *lines))
    assert batch.rows["session"].to_list() == [date(2012, 8, 9), date(2014, 6, 13)]


@pytest.mark.parametrize(
    ("row", "rule"),
    [
        ("AAPL,2014-06-09,merger,7", "unknown_type"),
        ("AAPL,2014-06-09,,7", "unknown_type"),
        ("AAPL,2014-06-09,split,0", "value_not_positive"),
        ("AAPL,2014-06-09,dividend,-1", "value_not_positive"),
        ("AAPL,2014-06-09,delisting,-1", "value_not_positive"),
        ("AAPL,2014-06-09,split,NaN", "not_finite"),
        ("AAPL,2014-06-09,split,7:1", "missing_value"),
        ("AAPL,2014-06-08,split,7", "not_a_session"),
        ("AAPL,soon,split,7", "unreadable_session"),
    ],
)
def test_a_bad_action_is_refused_and_the_others_enter(tmp_path, row, rule):
    batch = actions_of(write(tmp_path / "actions.csv", ACTION_HEADER, row, "IBM,2014-06-09,dividend,1.1"))
    assert rules(batch) == [rule]
    assert batch.rows["security_id"].to_list() == [IBM]


def test_a_delisting_may_leave_nothing(tmp_path):
    batch = actions_of(write(tmp_path / "actions.csv", ACTION_HEADER, "AAPL,2014-06-09,delisting,0"))
    assert batch.rows["value"].to_list() == [0.0]


def test_two_different_splits_of_one_day_are_both_refused(tmp_path):
    path = write(tmp_path / "actions.csv", ACTION_HEADER, "AAPL,2014-06-09,split,7", "AAPL,2014-06-09,split,2")
    assert rules(actions_of(path)) == ["conflicting_actions"] * 2


def test_a_split_and_a_dividend_of_one_day_are_two_actions(tmp_path):
    path = write(tmp_path / "actions.csv", ACTION_HEADER, "AAPL,2014-06-09,split,7", "AAPL,2014-06-09,dividend,2")
    assert actions_of(path).rows["type"].to_list() == ["dividend", "split"]


# Securities ---------------------------------------------------------------------------------------------------------------


def test_a_security_without_dates_is_valid_from_the_first_session_for_ever(tmp_path):
    batch = securities_of(write(tmp_path / "securities.csv", "symbol,cik,name", "AAPL,320193,Apple Inc."))
    assert dict(batch.rows.schema) == {**SECURITIES.columns, "known_at": INSTANT}
    row = batch.rows.row(0, named=True)
    assert (row["security_id"], row["cik"], row["symbol"], row["name"]) == (32019300, 320193, "AAPL", "Apple Inc.")
    assert (row["valid_from"], row["valid_to"], row["con_id"], row["exchange"]) == (date(1990, 1, 2), date.max, None, None)
    assert row["known_at"] == datetime(1990, 1, 2, 5, 0, tzinfo=UTC)


FULL_HEADER = "symbol,cik,name,exchange,con_id,share_class,industry,category,valid_from,valid_to"


def test_share_classes_are_securities_of_their_own(tmp_path):
    lines = ("GOOGL,1652044,Alphabet,NASDAQ,208813719,0,Software,,2004-08-19,", "GOOG,1652044,Alphabet,NASDAQ,,1,,,2014-04-03,")
    batch = securities_of(write(tmp_path / "securities.csv", FULL_HEADER, *lines))
    assert batch.rows.select("security_id", "symbol", "con_id", "industry").rows() == [
        (165204400, "GOOGL", 208813719, "Software"),
        (165204401, "GOOG", None, None),
    ]


def test_a_rename_is_two_rows_of_one_security(tmp_path):
    lines = ("FB,1326801,Facebook,,,,,,2012-05-18,2022-06-08", "META,1326801,Meta,,,,,,2022-06-09,")
    batch = securities_of(write(tmp_path / "securities.csv", FULL_HEADER, *lines), end=date(2022, 6, 9))
    assert batch.rows.select("security_id", "symbol").rows() == [(132680100, "FB"), (132680100, "META")]


def test_a_listing_that_has_not_begun_is_not_known_yet(tmp_path):
    lines = ("FB,1326801,Facebook,,,,,,2012-05-18,2022-06-08", "META,1326801,Meta,,,,,,2022-06-09,")
    path = write(tmp_path / "securities.csv", FULL_HEADER, *lines)
    assert securities_of(path, end=date(2022, 6, 8)).rows["symbol"].to_list() == ["FB"]


def test_two_symbols_of_one_company_at_once_need_share_classes(tmp_path):
    path = write(tmp_path / "securities.csv", "symbol,cik,name", "GOOGL,1652044,Alphabet", "GOOG,1652044,Alphabet")
    with pytest.raises(DataError, match=r"GOOG and GOOGL are both the share class 0 of CIK 1652044.*own share_class"):
        securities_of(path)


def test_one_symbol_cannot_stand_for_two_companies_at_once(tmp_path):
    path = write(tmp_path / "securities.csv", "symbol,cik,name", "FB,1326801,Facebook", "FB,999,Falcon Building")
    with pytest.raises(DataError, match="FB stands for CIK 999 and CIK 1326801 at the same time"):
        securities_of(path)


@pytest.mark.parametrize(
    ("row", "rule"),
    [
        (",320193,Apple,,,,,,,", "missing_symbol"),
        ("AAPL,,Apple,,,,,,,", "bad_cik"),
        ("AAPL,apple,Apple,,,,,,,", "bad_cik"),
        ("AAPL,0,Apple,,,,,,,", "bad_cik"),
        ("AAPL,320193,Apple,,,100,,,,", "bad_share_class"),
        ("AAPL,320193,Apple,,,A,,,,", "bad_share_class"),
        ("AAPL,320193,Apple,,many,,,,,", "bad_con_id"),
        ("AAPL,320193,Apple,,,,,,yesterday,", "bad_valid_from"),
        ("AAPL,320193,Apple,,,,,,,12/31/2019", "bad_valid_to"),
        ("AAPL,320193,Apple,,,,,,2014-01-02,2013-01-02", "ends_before_it_begins"),
    ],
)
def test_a_bad_security_is_refused_and_the_others_enter(tmp_path, row, rule):
    batch = securities_of(write(tmp_path / "securities.csv", FULL_HEADER, row, "IBM,51143,IBM,NYSE,,,,,,"))
    assert rules(batch) == [rule]
    assert batch.rows["symbol"].to_list() == ["IBM"]


def test_a_security_written_twice_differently_is_refused(tmp_path):
    path = write(tmp_path / "securities.csv", "symbol,cik,name", "AAPL,320193,Apple", "AAPL,320193,Apple Computer")
    assert rules(securities_of(path)) == ["conflicting_securities"] * 2


# A market -----------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def companies() -> pl.DataFrame:
    if not REAL_DATA.is_dir():
        pytest.skip(f"no real data at {REAL_DATA}; set TRADEBOT_REAL_DATA")
    return securities_of(REAL_DATA / "edgar" / "securities.csv").rows


def test_every_bar_of_the_31_companies_enters(companies):
    batch = bars_of(REAL_DATA / "market" / "bars.parquet", companies, date(2009, 1, 2), date(2020, 5, 22))
    assert (batch.rows.height, batch.rows["security_id"].n_unique(), rules(batch)) == (88_877, 31, [])
    closes = dict(batch.rows.filter(pl.col("security_id") == APPLE).select("session", "close").iter_rows())
    assert (closes[date(2014, 6, 6)], closes[date(2014, 6, 9)]) == (645.57, 93.70)


def test_every_action_of_the_31_companies_enters(companies):
    batch = actions_of(REAL_DATA / "market" / "actions.csv", companies, end=date(2020, 5, 22))
    assert (batch.rows.height, rules(batch)) == (1131, [])
    coca_cola = batch.rows.filter(pl.col("security_id") == 2134400, pl.col("type") == "dividend")
    paid = dict(coca_cola.group_by(pl.col("session").dt.year()).agg("value").iter_rows())
    assert [set(paid[year]) for year in (2014, 2015, 2016)] == [{0.305}, {0.33}, {0.35}]
