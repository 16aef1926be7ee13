"""The security master: symbols with dates from map files, the SEC's list, and several sources that feed one master."""

import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.markets import CONFIG as PLAIN_CONFIG
from tests.markets import SESSIONS, tradebot
from tests.real_data import REAL_DATA
from tradebot_core.calendar import xnys
from tradebot_core.collectors.lean_map_files import LeanMapFiles
from tradebot_core.collectors.sec_tickers import SecTickers
from tradebot_core.collectors.tabular import listing_periods, with_security
from tradebot_core.errors import CorruptInput, DataError
from tradebot_core.interfaces import Batch
from tradebot_core.model.tables import SECURITIES
from tradebot_core.quant.listings import two_at_once
from tradebot_core.trading.security_master import reconciled
from tradebot_core.wiring import Tradebot

NOW = datetime(2026, 4, 30, tzinfo=UTC)
TODAY = date(2026, 4, 30)
NOBODY = pl.DataFrame(schema=SECURITIES.schema)


def rows(batch: Batch, *columns: str) -> list[tuple]:
    return batch.rows.select(columns).rows()


def rules(batch: Batch) -> list[str]:
    return [refused.rule for refused in batch.rejected]


# Map files ----------------------------------------------------------------------------------------------------------------


def maps(folder: Path, issuers: str, **files: str) -> Batch:
    (folder / "maps").mkdir()
    for name, content in files.items():
        (folder / "maps" / f"{name.replace('__', '.')}.csv").write_text(content)
    (folder / "issuers.csv").write_text(issuers)
    params = LeanMapFiles.Params(path=folder / "maps", issuers_path=folder / "issuers.csv")
    (batch,) = LeanMapFiles(params, xnys()).collect(NOBODY, SESSIONS[0], TODAY)
    return batch


def test_each_symbol_was_borne_until_its_day_and_2050_is_no_end(tmp_path):
    batch = maps(
        tmp_path,
        "permtick,cik,name\nwm,823768,Waste Management\n",
        wm="19980102,uw,N\n19980716,uw,N\n20090804,wmi,N\n20501231,wm,N\n",
    )
    assert rows(batch, "security_id", "symbol", "exchange", "valid_from", "valid_to") == [
        (82376800, "UW", "NYSE", date(1998, 1, 2), date(1998, 7, 16)),
        (82376800, "WM", "NYSE", date(2009, 8, 5), date.max),
        (82376800, "WMI", "NYSE", date(1998, 7, 17), date(2009, 8, 4)),
    ]
    assert batch.rows.filter(symbol="WM")["known_at"][0] == datetime(2009, 8, 5, 4, tzinfo=UTC)


@pytest.mark.parametrize(
    "content", ["", "today,aaa\n", "20200909\n", "20200909,aaa\n20100101,aaa\n", "20200909,\n20501231,aaa\n", "\x00"]
)
def test_a_map_file_that_is_none_is_refused_and_the_others_enter(tmp_path, content):
    batch = maps(tmp_path, "permtick,cik\nbad,1\ngood,2\n", bad=content, good="20200909,good\n20501231,good\n")
    assert rules(batch) == ["unreadable_map"]
    assert rows(batch, "symbol", "name") == [("GOOD", "GOOD")]


def test_a_share_without_an_issuer_is_refused_and_named(tmp_path):
    batch = maps(
        tmp_path, "permtick,cik\ngood,2\n", other="20200909,other\n20501231,other\n", good="20200909,good\n20501231,good\n"
    )
    assert [(r.record, r.rule) for r in batch.rejected] == [({"file": "other.csv"}, "no_issuer")]


def test_two_shares_of_one_class_at_once_are_both_refused(tmp_path):
    one, other = "20200909,aaa\n20501231,aaa\n", "20210104,bbb\n20501231,bbb\n"
    batch = maps(tmp_path, "permtick,cik\naaa,1\nbbb,1\nccc,2\n", aaa=one, bbb=other, ccc="20200909,ccc\n20501231,ccc\n")
    assert rows(batch, "symbol") == [("CCC",)]
    assert rules(batch) == ["two_symbols_at_once"]
    assert "share_class may be missing" in batch.rejected[0].reason


@pytest.mark.parametrize(
    ("issuers", "said"),
    [
        ("ticker,cik\na,1\n", "no column permtick"),
        ("permtick,cik\na,0\n", "names no share"),
        ("permtick,cik\na,1\nA,2\n", "named before"),
    ],
)
def test_a_bad_issuer_list_is_corrupt_input(tmp_path, issuers, said):
    with pytest.raises(CorruptInput, match=said):
        maps(tmp_path, issuers, a="20200909,a\n20501231,a\n")


def test_a_missing_issuer_list_or_folder_is_named(tmp_path):
    params = LeanMapFiles.Params(path=tmp_path / "none", issuers_path=tmp_path / "none.csv")
    with pytest.raises(DataError, match="no folder of map files"):
        list(LeanMapFiles(params, xnys()).collect(NOBODY, SESSIONS[0], TODAY))


# Invented CIKs where the company is of no matter; real ones where it is.
ISSUERS = """permtick,cik,share_class,name
aaa.1,900001,0,Altana
aaa,900002,0,AAF First Priority CLO Bond ETF
aapl,320193,0,Apple
bac,70858,0,Bank of America
fb.1,900003,0,Falcon Building Products
fb,1326801,0,Meta Platforms
gooav,900009,0,Google when issued
goog,1652044,1,Alphabet
googl,1652044,0,Alphabet
qqq,1067839,0,Invesco QQQ Trust
tfcfa,1308161,0,Twenty-First Century Fox
twx.1,900004,0,Time Warner Inc. of before 2001
twx,1105705,0,Time Warner
wm,823768,0,Waste Management
"""


@pytest.fixture(scope="module")
def lean(tmp_path_factory) -> pl.DataFrame:
    if not REAL_DATA.is_dir():
        pytest.skip(f"no real data at {REAL_DATA}; set TRADEBOT_REAL_DATA")
    issuers = tmp_path_factory.mktemp("lean") / "issuers.csv"
    issuers.write_text(ISSUERS)
    params = LeanMapFiles.Params(path=REAL_DATA / "lean" / "map_files", issuers_path=issuers)
    (batch,) = LeanMapFiles(params, xnys()).collect(NOBODY, date(1998, 1, 2), date(2021, 3, 31))
    assert set(rules(batch)) == {"no_issuer"}  # the twelve funds and others that the list does not name
    return batch.rows


@pytest.mark.parametrize(
    ("symbol", "day", "cik"),
    [
        ("FB", date(2001, 6, 1), 900003),
        ("FB", date(2008, 6, 2), None),  # nobody's, between the two
        ("FB", date(2013, 6, 3), 1326801),
        ("GOOG", date(2014, 4, 2), 1652044),
        ("TWX", date(2000, 6, 1), 900004),
        ("TWX", date(2002, 6, 3), None),  # AOL Time Warner was AOL
        ("AOL", date(2002, 6, 3), 1105705),
        ("TWX", date(2010, 6, 1), 1105705),
        ("TWX", date(2018, 6, 18), None),  # taken over by AT&T
        ("AAA", date(2005, 6, 1), 900001),
        ("AAA", date(2020, 9, 9), 900002),
        ("UW", date(1998, 7, 16), 823768),
        ("WMI", date(1998, 7, 17), 823768),
        ("WM", date(2008, 9, 1), None),  # Washington Mutual, of which there is no map
        ("WM", date(2009, 8, 5), 823768),
        ("NB", date(1998, 9, 30), 70858),
        ("BAC", date(1998, 10, 1), 70858),
        ("QQQQ", date(2008, 6, 2), 1067839),
        ("QQQ", date(2008, 6, 2), None),
    ],
)
def test_a_symbol_means_the_company_that_had_it_on_the_day(lean, symbol, day, cik):
    asked = pl.DataFrame({"symbol": [symbol], "session": [day]})
    found, unlisted = with_security(asked, listing_periods(lean))
    assert [security // 100 for security in found["security_id"]] == ([] if cik is None else [cik])
    assert [refused.rule for refused in unlisted] == (["no_security"] if cik is None else [])


def test_google_is_class_a_until_april_2014_and_class_c_since(lean):
    asked = pl.DataFrame(
        {
            "symbol": ["GOOG", "GOOG", "GOOGL", "GOOCV"],
            "session": [date(2014, 4, 2), date(2014, 4, 3), date(2014, 4, 3), date(2014, 3, 28)],
        }
    )
    found, _ = with_security(asked, listing_periods(lean))
    assert found["security_id"].to_list() == [165204400, 165204401, 165204400, 165204401]


def test_the_history_of_a_renamed_company_hangs_on_one_security(lean):
    fox = lean.filter(cik=1308161).sort("valid_from")
    assert fox.select("symbol", "valid_from", "valid_to").rows() == [
        ("NWSA", date(2004, 11, 12), date(2013, 6, 28)),
        ("FOXA", date(2013, 6, 29), date(2019, 3, 18)),
        ("TFCFA", date(2019, 3, 19), date(2019, 3, 20)),
    ]
    assert fox["security_id"].n_unique() == 1


# The SEC's list -----------------------------------------------------------------------------------------------------------


def tickers(
    folder: Path, entries: list[tuple[int, str, str]], known: pl.DataFrame = NOBODY, end: date = TODAY, **params
) -> Batch:
    path = folder / "company_tickers.json"
    path.write_text(
        json.dumps({str(n): dict(zip(("cik_str", "ticker", "title"), e, strict=True)) for n, e in enumerate(entries)})
    )
    made = SecTickers.Params(**{"path": path, "list_date": date(2026, 4, 10), **params})
    (batch,) = SecTickers(made, xnys()).collect(known, SESSIONS[0], end)
    return batch


ALPHABET = [(1652044, "GOOGL", "Alphabet Inc."), (1652044, "GOOG", "Alphabet Inc.")]


def test_the_list_is_known_from_its_own_day(tmp_path):
    batch = tickers(tmp_path, [(320193, "AAPL", "Apple Inc.")])
    assert rows(batch, "security_id", "symbol", "name", "valid_from", "valid_to", "known_at") == [
        (32019300, "AAPL", "Apple Inc.", date(2026, 4, 10), date.max, datetime(2026, 4, 10, 4, tzinfo=UTC))
    ]
    assert tickers(tmp_path, [(320193, "AAPL", "Apple Inc.")], end=date(2026, 4, 9)).rows.is_empty()


def test_a_person_may_take_it_as_known_earlier_and_is_told_what_that_means(tmp_path):
    batch = tickers(tmp_path, [(320193, "AAPL", "Apple Inc.")], known_since=date(2010, 1, 4), end=date(2010, 1, 4))
    assert rows(batch, "valid_from", "known_at") == [(date(2010, 1, 4), datetime(2010, 1, 4, 5, tzinfo=UTC))]
    assert "every company that died" in SecTickers.caveat


def test_further_tickers_of_an_issuer_need_a_list_of_classes(tmp_path):
    batch = tickers(tmp_path, ALPHABET)
    assert (rows(batch, "security_id", "symbol"), rules(batch)) == ([(165204400, "GOOGL")], ["further_ticker"])
    classes = tmp_path / "classes.csv"
    classes.write_text("symbol,cik,share_class,shares_per_listed\nGOOG,1652044,1,\nBRK.B,1067983,0,0.000666667\n")
    batch = tickers(tmp_path, [*ALPHABET, (1067983, "BRK-B", "BERKSHIRE HATHAWAY INC")], classes_path=classes)
    assert rows(batch, "security_id", "symbol", "shares_per_listed") == [
        (106798300, "BRK.B", 0.000666667),
        (165204400, "GOOGL", None),
        (165204401, "GOOG", None),
    ]


def as_known(batch: Batch, source: str = "sec:company_tickers") -> pl.DataFrame:
    times = {"source": pl.lit(source), "ingested_at": pl.lit(NOW).cast(SECURITIES.schema["ingested_at"])}
    return batch.rows.with_columns(**times).select(SECURITIES.schema.names())


def test_a_newer_list_renames_and_ends_what_an_older_one_named(tmp_path):
    old = tickers(
        tmp_path, [(1326801, "FB", "Facebook"), (1, "DEAD", "Dead"), (320193, "AAPL", "Apple Inc.")], list_date=date(2022, 1, 3)
    )
    new = tickers(tmp_path, [(1326801, "META", "Meta Platforms"), (320193, "AAPL", "Apple Inc.")], as_known(old))
    assert rows(new, "security_id", "symbol", "valid_from", "valid_to") == [
        (100, "DEAD", date(2022, 1, 3), date(2026, 4, 9)),
        (32019300, "AAPL", date(2022, 1, 3), date.max),
        (132680100, "FB", date(2022, 1, 3), date(2026, 4, 9)),
        (132680100, "META", date(2026, 4, 10), date.max),
    ]


def test_a_list_that_was_cut_off_ends_nothing(tmp_path):
    old = tickers(tmp_path, [(n, f"T{n}", "x") for n in range(1, 40)], list_date=date(2022, 1, 3))
    with pytest.raises(CorruptInput, match="lacks 38 of the 39 tickers"):
        tickers(tmp_path, [(1, "T1", "x")], as_known(old))


@pytest.mark.parametrize(
    "entry", [(0, "A", "x"), ("1", "A", "x"), (True, "A", "x"), (1, "", "x"), (1, None, "x"), (1, "A", None)]
)
def test_a_bad_entry_is_refused_and_the_others_enter(tmp_path, entry):
    batch = tickers(tmp_path, [entry, (320193, "AAPL", "Apple Inc.")])
    assert (rules(batch), rows(batch, "symbol")) == (["bad_entry"], [("AAPL",)])


def test_a_ticker_of_two_companies_is_refused_for_the_second(tmp_path):
    batch = tickers(tmp_path, [(1, "A", "x"), (2, "A", "y")])
    assert (rules(batch), rows(batch, "cik")) == (["symbol_of_two_securities"], [(1,)])


@pytest.mark.parametrize("content", [b"", b"<html>Request Rate Threshold Exceeded</html>", b"[]", b"{}", b"\xff\xfe"])
def test_what_is_no_list_is_corrupt_input(tmp_path, content):
    path = tmp_path / "company_tickers.json"
    path.write_bytes(content)
    with pytest.raises(CorruptInput, match="not the SEC's list of tickers"):
        list(SecTickers(SecTickers.Params(path=path, list_date=TODAY), xnys()).collect(NOBODY, TODAY, TODAY))


def test_the_list_of_april_2026_enters():
    path = REAL_DATA / "edgar" / "company_tickers.json"
    if not path.is_file():
        pytest.skip(f"no real data at {REAL_DATA}; set TRADEBOT_REAL_DATA")
    (batch,) = SecTickers(SecTickers.Params(path=path, list_date=date(2026, 4, 10)), xnys()).collect(NOBODY, TODAY, TODAY)
    assert (len(batch.rows), set(rules(batch))) == (8029, {"further_ticker"})
    assert rows(Batch(SECURITIES, batch.rows.filter(pl.col("symbol").is_in(["META", "BRK.B"])), ""), "cik") == [
        (1067983,),
        (1326801,),
    ]


# Several sources ----------------------------------------------------------------------------------------------------------

SEVERAL = (
    PLAIN_CONFIG
    + """collectors:
  - name: first
    class_path: tradebot_core.collectors.file_securities.FileSecurities
    params: {{path: {folder}/first.csv}}
  - name: second
    class_path: tradebot_core.collectors.file_securities.FileSecurities
    params: {{path: {folder}/second.csv}}
"""
)
HEADER = "symbol,cik,name,con_id,share_class,valid_from,valid_to"


def several(folder: Path, first: str, second: str) -> Tradebot:
    for name, lines in (("first", first), ("second", second)):
        (folder / f"{name}.csv").write_text("\n".join([HEADER, *lines.split()]) + "\n")
    bot = tradebot(folder, text=SEVERAL.replace("{folder}", str(folder)))
    for name in ("first", "second", "first", "second"):
        bot.collect(name, SESSIONS[0], SESSIONS[5])
    return bot


def stored(bot: Tradebot, *columns: str) -> list[tuple]:
    return bot.store.read(SECURITIES, as_of=datetime.max.replace(tzinfo=UTC)).select(columns).rows()


def refused(bot: Tradebot) -> list[str]:
    return bot.store.quarantined()["rule"].to_list()


def test_a_later_source_fills_in_what_the_first_left_out_and_changes_nothing_it_said(tmp_path):
    bot = several(tmp_path, "AAPL,320193,Apple,,0,2009-01-02,", "AAPL,320193,APPLE-INC,265598,0,2012-01-03,")
    assert stored(bot, "symbol", "name", "con_id", "valid_from", "source") == [
        ("AAPL", "Apple", 265598, date(2009, 1, 2), "file:first.csv + file:second.csv")
    ]
    assert (
        len(bot.store.read_versions(SECURITIES, as_of=datetime.max.replace(tzinfo=UTC))) == 2
    )  # collected twice, changed once


def test_a_later_source_adds_securities_and_the_years_before(tmp_path):
    bot = several(tmp_path, "AAPL,320193,Apple,,0,2012-01-03,", "AAPL,320193,Apple,,0,2009-01-02, IBM,51143,IBM,,0,2009-01-02,")
    assert stored(bot, "symbol", "valid_from", "valid_to") == [
        ("IBM", date(2009, 1, 2), date.max),
        ("AAPL", date(2009, 1, 2), date(2012, 1, 2)),
        ("AAPL", date(2012, 1, 3), date.max),
    ]


def test_a_later_source_may_end_a_listing_by_its_end_or_by_the_next_symbol(tmp_path):
    bot = several(
        tmp_path,
        "FB,1326801,Meta,,0,2012-05-18, DEAD,1,Dead,,0,2010-01-04,",
        "META,1326801,Meta,,0,2022-06-09, DEAD,1,Dead,,0,2010-01-04,2020-06-30",
    )
    assert stored(bot, "symbol", "valid_from", "valid_to") == [
        ("DEAD", date(2010, 1, 4), date(2020, 6, 30)),
        ("FB", date(2012, 5, 18), date(2022, 6, 8)),
        ("META", date(2022, 6, 9), date.max),
    ]
    assert refused(bot) == []


@pytest.mark.parametrize(
    ("second", "rule"),
    [
        ("FB,999,Falcon,,0,2015-01-02,", "symbol_of_two_securities"),
        ("FBK,1326801,Meta,,0,2011-05-18,", "two_symbols_at_once"),
        ("DEAD,1,Dead,,0,2010-01-04,2019-06-28", "two_ends"),
    ],
)
def test_what_contradicts_the_first_source_is_refused_with_the_reason(tmp_path, second, rule):
    bot = several(tmp_path, "FB,1326801,Meta,,0,2012-05-18, DEAD,1,Dead,,0,2010-01-04,2020-06-30", second)
    assert refused(bot) == [rule]
    assert {symbol for (symbol,) in stored(bot, "symbol")} == {"FB", "DEAD"}


def test_the_same_symbol_for_two_companies_at_different_times_is_no_contradiction(tmp_path):
    bot = several(tmp_path, "FB,1326801,Meta,,0,2012-05-18,", "FB,999,Falcon,,0,1999-09-29,2003-03-28")
    assert (refused(bot), len(stored(bot, "symbol"))) == ([], 2)


LISTINGS = st.lists(
    st.tuples(st.integers(1, 3), st.sampled_from("ABC"), st.integers(0, 8), st.one_of(st.none(), st.integers(0, 8))), max_size=5
)


def table_of(drawn: list[tuple[int, str, int, int | None]], source: str) -> pl.DataFrame:
    """Listings over a few days, without those that contradict one another."""
    schema = {**SECURITIES.columns, "known_at": SECURITIES.schema["known_at"]}
    found = pl.DataFrame(
        [
            dict.fromkeys(schema)
            | {
                "security_id": issuer * 100,
                "cik": issuer,
                "symbol": symbol,
                "valid_from": date(2020, 1, 1) + timedelta(days=first),
                "valid_to": date.max if length is None else date(2020, 1, 1) + timedelta(days=first + length),
                "known_at": NOW,
            }
            for issuer, symbol, first, length in drawn
        ],
        schema=schema,
    ).unique(SECURITIES.key, keep="first", maintain_order=True)
    kept = found.clear()
    for n in range(len(found)):
        longer = pl.concat([kept, found[n]])
        kept = longer if two_at_once(longer).is_empty() else kept
    return kept.with_columns(source=pl.lit(source), ingested_at="known_at").select(SECURITIES.schema.names())


def entered(batches: list[Batch], known: pl.DataFrame) -> pl.DataFrame:
    """What the store holds afterwards."""
    news = [
        batch.rows.with_columns(source=pl.lit(batch.source), ingested_at=pl.lit(NOW).cast(known.schema["ingested_at"])).select(
            known.columns
        )
        for batch in batches
    ]
    return pl.concat([known, *news]).unique(SECURITIES.key, keep="last", maintain_order=True).sort(SECURITIES.key)


@settings(max_examples=150, deadline=None)
@given(LISTINGS, LISTINGS)
def test_whatever_two_sources_say_no_day_has_two_securities_for_a_symbol_or_two_symbols_for_a_security(first, second):
    known = table_of(first, "first")
    theirs = Batch(SECURITIES, table_of(second, "second").drop("source", "ingested_at"), "second")
    both = entered(reconciled(theirs, known), known)
    again = entered(reconciled(theirs, both), both)  # what was refused enters once another row has ended what it contradicted
    assert two_at_once(both).is_empty() and two_at_once(again).is_empty()
    assert entered(reconciled(theirs, again), again).equals(again)
    mine = Batch(SECURITIES, known.drop("source", "ingested_at"), "first")
    assert entered(reconciled(mine, again), again).equals(again)
