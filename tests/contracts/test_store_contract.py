"""What every data store promises, whichever backend keeps it. A backend is added to BACKENDS and inherits all of this."""

import math
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.markets import SESSIONS, XNYS
from tradebot_core.errors import StoreError
from tradebot_core.interfaces import Absent, Batch, DataStore, Rejected
from tradebot_core.model.event import EventType
from tradebot_core.model.issuers import CIKS_OF_A_GROUP
from tradebot_core.model.market import ActionType, Bar, CorporateAction
from tradebot_core.model.tables import (
    ACTIONS,
    BARS,
    DECISIONS,
    EQUITY,
    FACTS,
    FUNDAMENTALS,
    LAYERS,
    SECURITIES,
    FactTable,
)
from tradebot_core.stores.file_store import FileStore

BACKENDS: dict[str, Callable[[Path], DataStore]] = {"file": lambda folder: FileStore(folder / "store", XNYS)}
AAA, BBB = 100, 200
DAY, NEXT, THIRD = SESSIONS[:3]
INGESTED = XNYS.cutoff(DAY) + timedelta(hours=3)
LATER = INGESTED + timedelta(days=30)
FOREVER = datetime(2100, 1, 1, tzinfo=UTC)
YEAR_END = (date(2023, 12, 28), date(2023, 12, 29), date(2024, 1, 2), date(2024, 1, 3))


@pytest.fixture(params=BACKENDS)
def reopen(request, tmp_path) -> Callable[[], DataStore]:
    """Opens the same store again, as another process would."""
    return lambda: BACKENDS[request.param](tmp_path)


@pytest.fixture
def store(reopen) -> DataStore:
    return reopen()


def bar(security: int = AAA, session: date = DAY, close: float = 10.0, **changed: Any) -> dict[str, Any]:
    row = {"security_id": security, "session": session, "open": 10.0, "high": 20.0, "low": 5.0, "close": close, "volume": 1e6}
    return row | {"known_at": XNYS.closes_at(session) + timedelta(minutes=15)} | changed


def fact(tag: str = "Revenues", value: float = 5.0, accession: str = "0000000001-24-000001", **changed: Any) -> dict[str, Any]:
    row = dict.fromkeys(FACTS.columns) | {"cik": 1, "taxonomy": "us-gaap", "tag": tag, "unit": "USD", "accession": accession}
    row |= {"value": value, "form": "10-K", "period_end": date(2023, 12, 31), "filed": DAY}
    return row | {"known_at": datetime(2024, 1, 15, 12, tzinfo=UTC)} | changed


def batch(table: FactTable, *rows: dict[str, Any], rejected: tuple[Rejected, ...] = ()) -> Batch:
    return Batch(
        table, pl.DataFrame(list(rows), schema={**table.columns, "known_at": table.schema["known_at"]}), "test", rejected
    )


def closes(rows: pl.DataFrame) -> list[float]:
    return rows["close"].to_list()


# Facts


def test_the_same_rows_again_are_no_news(store):
    rows = [bar(), bar(BBB), bar(session=NEXT)]
    assert store.append(batch(BARS, *rows), INGESTED) == 3
    assert store.append(batch(BARS, *rows), LATER) == 0
    assert store.append(batch(BARS, *reversed(rows), bar(BBB, NEXT)), LATER) == 1
    assert len(store.read_versions(BARS, as_of=FOREVER)) == 4


def test_a_row_given_twice_in_one_delivery_is_kept_once(store):
    assert store.append(batch(BARS, bar(), bar()), INGESTED) == 1
    assert store.quarantined().is_empty()


def test_nothing_is_overwritten_a_revision_is_a_new_version(store):
    store.append(batch(BARS, bar(close=10.0)), INGESTED)
    assert store.append(batch(BARS, bar(close=11.0)), LATER) == 1
    assert closes(store.read_versions(BARS, as_of=FOREVER)) == [10.0, 11.0]
    assert closes(store.read(BARS, as_of=FOREVER)) == [11.0]


def test_a_revision_is_known_no_earlier_than_we_had_it(store):
    store.append(batch(BARS, bar(close=10.0)), INGESTED)
    store.append(batch(BARS, bar(close=11.0)), LATER)  # delivered as if it had been known on the day
    first, second = store.read_versions(BARS, as_of=FOREVER)["known_at"].to_list()
    assert (first, second) == (bar()["known_at"], LATER)
    assert closes(store.read(BARS, as_of=LATER - timedelta(microseconds=1))) == [10.0]
    assert closes(store.read(BARS, as_of=LATER)) == [11.0]


def test_a_revision_that_is_known_even_later_keeps_its_own_time(store):
    store.append(batch(BARS, bar(close=10.0)), INGESTED)
    announced = LATER + timedelta(days=1)
    store.append(batch(BARS, bar(close=11.0, known_at=announced)), LATER)
    assert store.read_versions(BARS, as_of=FOREVER)["known_at"].to_list()[1] == announced


def test_going_back_to_an_earlier_content_is_a_third_version(store):
    for close, at in ((10.0, INGESTED), (11.0, LATER), (10.0, LATER + timedelta(days=1))):
        assert store.append(batch(BARS, bar(close=close)), at) == 1
    assert closes(store.read_versions(BARS, as_of=FOREVER)) == [10.0, 11.0, 10.0]
    assert closes(store.read(BARS, as_of=FOREVER)) == [10.0]


def test_a_first_version_keeps_the_time_at_which_the_market_knew(store):
    store.append(batch(BARS, bar()), LATER)
    assert closes(store.read(BARS, as_of=bar()["known_at"])) == [10.0]
    assert store.read(BARS, as_of=FOREVER)["ingested_at"].to_list() == [LATER]


def test_a_reader_sees_what_was_known_up_to_and_at_his_instant(store):
    store.append(batch(BARS, bar(), bar(session=NEXT)), INGESTED)
    known = bar(session=NEXT)["known_at"]
    assert store.read(BARS, as_of=known - timedelta(microseconds=1))["session"].to_list() == [DAY]
    assert store.read(BARS, as_of=known)["session"].to_list() == [DAY, NEXT]


def test_a_fact_has_a_version_for_each_filing_that_reports_it(store):
    restated = fact(value=4.0, accession="0000000001-24-000099", known_at=datetime(2024, 3, 1, tzinfo=UTC))
    store.append(batch(FACTS, fact(), restated), INGESTED)
    assert store.read(FACTS, as_of=datetime(2024, 2, 1, tzinfo=UTC))["value"].to_list() == [5.0]
    assert store.read(FACTS, as_of=FOREVER)["value"].to_list() == [5.0, 4.0]


def test_bounds_are_inclusive_and_mean_the_session_where_a_table_has_one(store):
    store.append(batch(BARS, *[bar(session=session) for session in (DAY, NEXT, THIRD)]), INGESTED)
    assert store.read(BARS, as_of=FOREVER, start=NEXT, end=NEXT)["session"].to_list() == [NEXT]
    assert store.read(BARS, as_of=FOREVER, start=NEXT)["session"].to_list() == [NEXT, THIRD]
    assert store.read(BARS, as_of=FOREVER, end=NEXT)["session"].to_list() == [DAY, NEXT]


def test_bounds_mean_the_new_york_day_of_known_at_where_a_table_has_no_session(store):
    evening = datetime(2024, 1, 11, 2, tzinfo=UTC)  # nine in the evening of the 10th in New York
    store.append(batch(FACTS, fact(known_at=evening)), INGESTED)
    tenth, eleventh = date(2024, 1, 10), date(2024, 1, 11)
    assert len(store.read(FACTS, as_of=FOREVER, start=tenth, end=tenth)) == 1
    assert store.read(FACTS, as_of=FOREVER, start=eleventh, end=eleventh).is_empty()


def test_rows_come_in_order_of_their_key_over_the_turn_of_the_year(store):
    rows = [bar(security, session) for session in reversed(YEAR_END) for security in (BBB, AAA)]
    store.append(batch(BARS, *rows), INGESTED)
    found = store.read(BARS, as_of=FOREVER).select("security_id", "session").rows()
    assert found == [(security, session) for security in (AAA, BBB) for session in YEAR_END]
    later = store.read(BARS, as_of=FOREVER, start=YEAR_END[2], end=YEAR_END[2]).select("security_id", "session").rows()
    assert later == [(AAA, YEAR_END[2]), (BBB, YEAR_END[2])]


@pytest.mark.parametrize("table", [SECURITIES, BARS, ACTIONS, FACTS, FUNDAMENTALS], ids=lambda table: table.name)
def test_an_empty_store_answers_with_an_empty_table_of_the_right_columns(store, table):
    for rows in (store.read(table, as_of=FOREVER), store.read_versions(table, as_of=FOREVER)):
        assert rows.is_empty()
        assert rows.schema == table.schema


def test_columns_a_reader_does_without_are_null_and_the_others_as_ever(store):
    store.append(batch(FACTS, fact()), INGESTED)
    rows = store.read_versions(FACTS, as_of=FOREVER, without=("form", "source"))
    assert rows.schema == FACTS.schema
    assert rows.select("form", "source", "value").rows() == [(None, None, 5.0)]
    assert store.read_versions(BARS, as_of=FOREVER, without=("volume",)).schema == BARS.schema


def test_an_empty_delivery_is_no_error(store):
    assert store.append(batch(BARS), INGESTED) == 0


def test_what_was_kept_is_there_after_opening_the_store_again(store, reopen):
    store.append(batch(BARS, bar()), INGESTED)
    assert reopen().read(BARS, as_of=FOREVER).equals(store.read(BARS, as_of=FOREVER))


# Issuers


GROUPS = (1, 5 * CIKS_OF_A_GROUP, 5 * CIKS_OF_A_GROUP + 1, 10**9)


def filed_by(cik: int, **changed: Any) -> dict[str, Any]:
    return fact(accession=f"{cik:010d}-24-000001", cik=cik, **changed)


def test_a_reader_of_some_issuers_gets_their_rows_and_no_others(store):
    store.append(batch(FACTS, *[filed_by(cik, tag=tag) for cik in reversed(GROUPS) for tag in ("B", "A")]), INGESTED)
    wanted = [GROUPS[3], GROUPS[1], 777]
    for rows in (store.read(FACTS, as_of=FOREVER, ciks=wanted), store.read_versions(FACTS, as_of=FOREVER, ciks=wanted)):
        assert rows.select("cik", "tag").rows() == [(cik, tag) for cik in (GROUPS[1], GROUPS[3]) for tag in ("A", "B")]
    assert store.read(FACTS, as_of=FOREVER, ciks=()).schema == FACTS.schema
    assert store.read(FACTS, as_of=FOREVER, ciks=()).is_empty()
    everything = store.read(FACTS, as_of=FOREVER)
    assert everything.equals(store.read(FACTS, as_of=FOREVER, ciks=GROUPS))
    assert everything["cik"].unique(maintain_order=True).to_list() == list(GROUPS)


def test_issuers_can_be_asked_for_together_with_time_and_without_columns(store):
    late = datetime(2024, 3, 1, tzinfo=UTC)
    store.append(batch(FACTS, filed_by(1), filed_by(7, known_at=late)), INGESTED)
    known = store.read_versions(FACTS, as_of=late - timedelta(microseconds=1), ciks=[1, 7], without=("cik", "form"))
    assert known.select("cik", "form", "value").rows() == [(None, None, 5.0)]
    assert store.read(FACTS, as_of=late, start=date(2024, 2, 1), ciks=[1, 7])["cik"].to_list() == [7]


def test_issuers_of_the_security_master_are_its_rows_with_their_cik(store):
    market(store)
    assert store.read(SECURITIES, as_of=FOREVER, ciks=[1])["symbol"].to_list() == ["AAA"]
    assert store.read(SECURITIES, as_of=FOREVER, ciks=[2]).is_empty()


def test_issuers_of_a_table_without_issuers_are_refused(store):
    with pytest.raises(StoreError, match="bars are not of issuers"):
        store.read(BARS, as_of=FOREVER, ciks=[1])
    with pytest.raises(StoreError, match="bars are not of issuers"):
        store.newest(BARS, as_of=FOREVER)


def test_the_newest_of_each_issuer_are_the_last_instants_of_the_versions_known(store):
    first, second = datetime(2024, 1, 15, 12, tzinfo=UTC), datetime(2024, 6, 3, 12, tzinfo=UTC)
    assert store.newest(FACTS, as_of=FOREVER).rows() == []
    store.append(batch(FACTS, filed_by(GROUPS[3]), filed_by(1, tag="A"), filed_by(1, tag="B", known_at=second)), INGESTED)
    store.append(batch(FACTS, filed_by(1, tag="C")), LATER)
    assert store.newest(FACTS, as_of=FOREVER).rows() == [(1, second, LATER), (GROUPS[3], first, INGESTED)]
    assert store.newest(FACTS, as_of=first).rows() == [(1, first, LATER), (GROUPS[3], first, INGESTED)]
    assert store.newest(FACTS, as_of=first - timedelta(microseconds=1)).rows() == []
    assert store.newest(FUNDAMENTALS, as_of=FOREVER).columns == ["cik", "known_at", "ingested_at"]


def test_a_revision_of_one_issuer_leaves_its_neighbours_in_their_places(store):
    rows = [filed_by(cik, tag=tag) for cik in (3, 1, 2) for tag in ("B", "C", "A")]
    store.append(batch(FACTS, *rows), INGESTED)
    store.append(batch(FACTS, filed_by(2, tag="B", value=6.0), filed_by(2, tag="AA")), LATER)
    found = store.read_versions(FACTS, as_of=FOREVER).select("cik", "tag", "value").rows()
    two = [(2, "A", 5.0), (2, "AA", 5.0), (2, "B", 5.0), (2, "B", 6.0), (2, "C", 5.0)]
    assert found == [*[(1, tag, 5.0) for tag in "ABC"], *two, *[(3, tag, 5.0) for tag in "ABC"]]


# What comes back is what went in

texts = st.text(st.characters(blacklist_categories=("Cs",)), min_size=1, max_size=12)
symbols = st.sampled_from(["ON", "NO", "BRK B", "CON", "NUL", "../x", "Ä", "東証", "a\x00b", "1"]) | texts
numbers = st.floats(allow_nan=False, allow_infinity=False) | st.sampled_from([-0.0, 5e-324, 1.7976931348623157e308, 0.1 + 0.2])
moments = st.integers(0, 36 * 365 * 86_400_000_000).map(lambda n: datetime(1990, 1, 2, tzinfo=UTC) + timedelta(microseconds=n))
securities = st.fixed_dictionaries(
    {
        "security_id": st.integers(1, 2**62),
        "cik": st.integers(1, 10**10),
        "symbol": symbols,
        "name": texts,
        "exchange": st.none() | texts,
        "con_id": st.none() | st.integers(1, 2**40),
        "industry": st.none() | texts,
        "category": st.none(),
        "valid_from": st.dates(date(1990, 1, 1), date(2026, 1, 1)),
        "valid_to": st.just(date.max) | st.dates(date(1990, 1, 1), date(2026, 1, 1)),
        "known_at": moments,
    }
)
facts = st.builds(
    lambda tag, value, start, known_at, year: fact(tag, value, period_start=start, known_at=known_at, fiscal_year=year),
    texts,
    numbers,
    st.none() | st.dates(),
    moments,
    st.none() | st.integers(1990, 2030),
)
SLOW = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def identical(one: Any, other: Any) -> bool:
    """Equal, and of the same sign where both are zero."""
    if isinstance(one, float) and isinstance(other, float):
        return one == other and math.copysign(1, one) == math.copysign(1, other)
    return type(one) is type(other) and one == other


def fresh(reopen, tmp_path_factory) -> DataStore:
    return FileStore(tmp_path_factory.mktemp("store"), XNYS)


@SLOW
@given(rows=st.lists(securities, max_size=5, unique_by=lambda r: (r["security_id"], r["symbol"], r["valid_from"])))
def test_every_security_comes_back_as_it_was(rows, tmp_path_factory, reopen):
    store = fresh(reopen, tmp_path_factory)
    assert store.append(batch(SECURITIES, *rows), INGESTED) == len(rows)
    found = store.read(SECURITIES, as_of=FOREVER).drop("source", "ingested_at").rows(named=True)
    expected = sorted(rows, key=lambda r: (r["security_id"], r["symbol"].encode(), r["valid_from"]))
    assert len(found) == len(expected)
    for there, here in zip(found, expected, strict=True):
        assert all(identical(there[column], here[column]) for column in here), (there, here)


@SLOW
@given(rows=st.lists(facts, max_size=5, unique_by=lambda r: (r["tag"], r["period_start"])))
def test_every_fact_comes_back_as_it_was_to_the_microsecond_and_the_sign_of_zero(rows, tmp_path_factory, reopen):
    store = fresh(reopen, tmp_path_factory)
    assert store.append(batch(FACTS, *rows), INGESTED) == len(rows)
    found = {(r["tag"], r["period_start"]): r for r in store.read(FACTS, as_of=FOREVER).iter_rows(named=True)}
    for here in rows:
        there = found[here["tag"], here["period_start"]]
        assert all(identical(there[column], here[column]) for column in here), (there, here)
    assert store.append(batch(FACTS, *rows), LATER) == 0


def test_no_symbol_names_a_file(store, tmp_path):
    evil = {"security_id": 1, "cik": 1, "symbol": "../../evil", "name": "/etc/passwd", "exchange": "CON", "con_id": None}
    evil |= {"industry": None, "category": None, "valid_from": DAY, "valid_to": date.max, "known_at": INGESTED}
    store.append(batch(SECURITIES, evil), INGESTED)
    names = [path.name for path in tmp_path.rglob("*")]
    assert not any("evil" in name or "passwd" in name for name in names)


# Quarantine


def test_two_contents_of_one_key_in_one_delivery_are_both_quarantined(store):
    assert store.append(batch(BARS, bar(close=10.0), bar(close=11.0), bar(BBB)), INGESTED) == 1
    assert store.read(BARS, as_of=FOREVER)["security_id"].to_list() == [BBB]
    quarantined = store.quarantined()
    assert quarantined["rule"].to_list() == ["conflicting_duplicate"] * 2
    assert quarantined["table"].to_list() == ["bars"] * 2
    assert sorted('"close": 11.0' in record for record in quarantined["record"]) == [False, True]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_no_finite_number_is_quarantined_and_not_kept(store, value):
    assert store.append(batch(BARS, bar(close=value), bar(BBB)), INGESTED) == 1
    assert store.read(BARS, as_of=FOREVER)["security_id"].to_list() == [BBB]
    assert store.quarantined()["rule"].to_list() == ["not_finite"]


def test_a_rejected_record_is_kept_with_its_reason_and_its_hash_once(store):
    refused = Rejected({"symbol": "ON", "close": -1}, "positive_price", "close is -1")
    store.append(batch(BARS, rejected=(refused,)), INGESTED)
    store.append(batch(BARS, bar(), rejected=(refused,)), LATER)
    rows = store.quarantined().rows(named=True)
    assert [(r["table"], r["source"], r["record"], r["rule"], r["reason"]) for r in rows] == [
        ("bars", "test", '{"close": -1, "symbol": "ON"}', "positive_price", "close is -1")
    ]
    assert len(rows[0]["sha256"]) == 64
    assert len(store.read(BARS, as_of=FOREVER)) == 1


# Events


def market(store: DataStore) -> None:
    dividend = {"security_id": AAA, "session": NEXT, "type": "dividend", "value": 0.5, "known_at": XNYS.opens_at(DAY)}
    named = {"security_id": AAA, "cik": 1, "symbol": "AAA", "name": "A", "exchange": "X", "con_id": None, "industry": None}
    named |= {"category": None, "valid_from": DAY, "valid_to": date.max, "known_at": datetime(2024, 1, 2, 5, tzinfo=UTC)}
    store.append(batch(SECURITIES, named), INGESTED)
    store.append(batch(BARS, bar(session=NEXT), bar()), INGESTED)
    store.append(batch(ACTIONS, dividend), INGESTED)


def test_events_come_one_by_one_in_the_order_in_which_they_became_known(store):
    market(store)
    events = list(store.events(DAY, NEXT, tuple(EventType)))
    assert [(event.type, event.symbol) for event in events] == [
        (EventType.SECURITY, "AAA"),
        (EventType.CORPORATE_ACTION, "AAA"),
        (EventType.PRICE_BAR, "AAA"),
        (EventType.SESSION_CLOSE, ""),
        (EventType.PRICE_BAR, "AAA"),
        (EventType.SESSION_CLOSE, ""),
    ]
    assert [event.timestamp for event in events] == sorted(event.timestamp for event in events)
    assert events[1].payload == CorporateAction(AAA, NEXT, ActionType.DIVIDEND, 0.5)
    assert events[2].payload == Bar(AAA, DAY, 10.0, 20.0, 5.0, 10.0, 1e6)
    assert (events[2].ingested_at, events[2].source) == (INGESTED, "test")


def test_events_end_at_the_cut_off_of_the_last_session(store):
    market(store)
    late = bar(BBB, NEXT, known_at=XNYS.cutoff(NEXT) + timedelta(microseconds=1))
    on_time = bar(300, NEXT, known_at=XNYS.cutoff(NEXT))
    store.append(batch(BARS, late, on_time), INGESTED)
    events = list(store.events(NEXT, NEXT, (EventType.PRICE_BAR, EventType.SESSION_CLOSE)))
    assert [event.payload.security_id for event in events[:-1]] == [AAA, 300]
    assert events[-1].type is EventType.SESSION_CLOSE  # what is known at the cut-off itself was heard before it


def test_every_version_is_an_event_at_its_own_time(store):
    store.append(batch(BARS, bar(close=10.0)), INGESTED)
    store.append(batch(BARS, bar(close=11.0)), LATER)
    events = list(store.events(DAY, SESSIONS[40], (EventType.PRICE_BAR,)))
    assert [(event.payload.close, event.timestamp) for event in events] == [(10.0, bar()["known_at"]), (11.0, LATER)]


def test_only_the_wanted_types_are_fed(store):
    market(store)
    assert [event.type for event in store.events(DAY, NEXT, (EventType.CORPORATE_ACTION,))] == [EventType.CORPORATE_ACTION]


# Results


def equity(*values: tuple[date, str]) -> pl.DataFrame:
    rows = [{"session": session, "cash": value, "invested": "0", "equity": value, "positions": 0} for session, value in values]
    return pl.DataFrame(rows, schema=EQUITY.schema)


def verdicts(session: date, **features: float | None) -> pl.DataFrame:
    row = {
        "session": session,
        "security_id": AAA,
        "symbol": "AAA",
        "passed": True,
        "rule": "r",
        "value": 1.0,
        "threshold": None,
    }
    return pl.DataFrame([row | features], schema={**LAYERS.schema, **dict.fromkeys(features, pl.Float64)})


def values(store: DataStore, strategy: str = "s", book: str = "live", **bounds: date) -> list[tuple[date, str]]:
    return store.read_results(EQUITY, strategy, book, **bounds).select("session", "equity").rows()


def test_results_of_a_session_are_replaced_and_those_of_others_stay(store):
    store.write_results(EQUITY, "s", "live", [DAY, NEXT, THIRD], equity((DAY, "1"), (NEXT, "2"), (THIRD, "3")))
    store.write_results(EQUITY, "s", "live", [NEXT], equity((NEXT, "9")))
    assert values(store) == [(DAY, "1"), (NEXT, "9"), (THIRD, "3")]
    store.write_results(EQUITY, "s", "live", [DAY], equity())
    assert values(store) == [(NEXT, "9"), (THIRD, "3")]


def test_a_session_without_rows_is_remembered_as_empty(store, reopen):
    assert list(store.result_sessions(EQUITY, "s", "live")) == []
    store.write_results(EQUITY, "s", "live", [NEXT], equity())
    store.write_results(EQUITY, "s", "live", [DAY], equity((DAY, "1")))
    assert list(reopen().result_sessions(EQUITY, "s", "live")) == [DAY, NEXT]
    assert values(store) == [(DAY, "1")]


def test_forgotten_sessions_are_missing_until_they_are_written_again(store, reopen):
    store.write_results(EQUITY, "s", "live", [DAY, NEXT, THIRD], equity((DAY, "1"), (NEXT, "2"), (THIRD, "3")))
    store.forget_results(EQUITY, "s", "live", [NEXT, THIRD])
    assert list(reopen().result_sessions(EQUITY, "s", "live")) == [DAY]
    assert values(store) == [(DAY, "1")]
    store.write_results(EQUITY, "s", "live", [NEXT, THIRD], equity((NEXT, "4")))
    assert list(reopen().result_sessions(EQUITY, "s", "live")) == [DAY, NEXT, THIRD]
    assert values(store) == [(DAY, "1"), (NEXT, "4")]


def test_each_session_keeps_what_made_it(store, reopen):
    def makers(strategy: str = "s") -> dict[date, str]:
        return dict(reopen().result_makers(EQUITY, strategy, "live"))

    assert makers() == {}
    store.write_results(EQUITY, "s", "live", [DAY, THIRD], equity((DAY, "1")), made_by="one")
    store.write_results(EQUITY, "s", "live", [NEXT], equity((NEXT, "2")))
    assert list(makers().items()) == [(DAY, "one"), (NEXT, ""), (THIRD, "one")]
    store.write_results(EQUITY, "s", "live", [NEXT, THIRD], equity((NEXT, "3")), made_by="two")
    assert makers() == {DAY: "one", NEXT: "two", THIRD: "two"}
    store.copy_results(EQUITY, "", "live", "s", "t")
    store.forget_results(EQUITY, "s", "live", [NEXT])
    assert makers() == {DAY: "one", THIRD: "two"}
    assert makers("t") == {DAY: "one", NEXT: "two", THIRD: "two"}
    store.write_results(EQUITY, "s", "live", [DAY, THIRD], equity())
    assert makers() == {DAY: "", THIRD: ""}


def test_rows_that_were_forgotten_do_not_come_back_with_the_next_write(store, reopen):
    store.write_results(EQUITY, "s", "live", [DAY, NEXT, THIRD], equity((DAY, "1"), (NEXT, "2"), (THIRD, "3")))
    store.forget_results(EQUITY, "s", "live", [NEXT])
    assert [session for session, _ in values(store)] == [DAY, THIRD]
    store.write_results(EQUITY, "s", "live", [THIRD], equity((THIRD, "4")))
    assert [session for session, _ in values(reopen())] == [DAY, THIRD]
    store.write_results(EQUITY, "s", "live", [NEXT], equity())
    assert values(reopen()) == [(DAY, "1"), (THIRD, "4")]


def test_results_over_the_turn_of_the_year_read_as_one_table(store):
    store.write_results(EQUITY, "s", "live", YEAR_END[::-1], equity(*[(session, str(session)) for session in YEAR_END[::-1]]))
    assert [session for session, _ in values(store)] == list(YEAR_END)
    assert values(store, start=YEAR_END[1], end=YEAR_END[2]) == [(YEAR_END[1], "2023-12-29"), (YEAR_END[2], "2024-01-02")]
    store.write_results(EQUITY, "s", "live", [YEAR_END[1]], equity())
    assert [session for session, _ in values(store)] == [YEAR_END[0], *YEAR_END[2:]]


def test_rows_of_a_session_that_is_not_being_written_are_refused_and_nothing_changes(store):
    store.write_results(EQUITY, "s", "live", [DAY], equity((DAY, "1")))
    with pytest.raises(StoreError, match=str(NEXT)):
        store.write_results(EQUITY, "s", "live", [DAY], equity((DAY, "2"), (NEXT, "2")))
    assert values(store) == [(DAY, "1")]


def test_strategies_books_and_layers_do_not_mix(store):
    store.write_results(EQUITY, "s", "live", [DAY], equity((DAY, "1")))
    store.write_results(EQUITY, "s", "backtest", [DAY], equity((DAY, "2")))
    store.write_results(EQUITY, "t", "live", [DAY], equity((DAY, "3")))
    assert [values(store, *at) for at in (("s", "live"), ("s", "backtest"), ("t", "live"), ("t", "backtest"))] == [
        [(DAY, "1")],
        [(DAY, "2")],
        [(DAY, "3")],
        [],
    ]
    store.write_results(LAYERS, "s", "market", [DAY], verdicts(DAY), layer="screen")
    assert store.read_results(LAYERS, "s", "market", layer="analyze").is_empty()
    assert list(store.result_sessions(LAYERS, "s", "market", "analyze")) == []
    assert len(store.read_results(LAYERS, "s", "market", layer="screen")) == 1


def test_a_layer_that_gains_a_feature_can_be_written_beside_its_old_sessions(store):
    store.write_results(LAYERS, "s", "market", [DAY], verdicts(DAY, old=1.0), layer="screen")
    store.write_results(LAYERS, "s", "market", [NEXT], verdicts(NEXT, old=2.0, new=3.0), layer="screen")
    rows = store.read_results(LAYERS, "s", "market", layer="screen")
    assert rows.select("session", "old", "new").rows() == [(DAY, 1.0, None), (NEXT, 2.0, 3.0)]


def test_results_that_were_never_written_are_an_empty_table_of_the_right_columns(store):
    assert store.read_results(DECISIONS, "s", "live").schema == DECISIONS.schema


@pytest.fixture
def files(tmp_path) -> Iterator[Path]:
    yield tmp_path / "store"


def test_a_store_of_a_newer_version_is_refused_and_named(files):
    FileStore(files, XNYS)
    (files / "schema_version").write_text("3")
    with pytest.raises(StoreError, match=r"store was written by a newer version \(schema 3, this one knows 2\)"):
        FileStore(files, XNYS)


@pytest.mark.parametrize("text", ["", "one", "1.0"])
def test_a_version_that_cannot_be_read_is_named(files, text):
    FileStore(files, XNYS)
    (files / "schema_version").write_text(text)
    with pytest.raises(StoreError, match="schema_version"):
        FileStore(files, XNYS)


def test_a_store_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="file/store cannot be used"):
        FileStore(tmp_path / "file" / "store", XNYS)


def test_what_a_source_does_not_have_is_remembered_once_by_table_and_source(reopen):
    gone = (Absent(AAA, DAY, NEXT), Absent(BBB, DAY, DAY))
    empty = batch(BARS, bar()).rows.clear()
    for _ in range(2):
        assert reopen().append(Batch(BARS, empty, "one", absent=gone), INGESTED) == 0
    reopen().append(Batch(BARS, batch(BARS, bar(BBB, THIRD)).rows, "other", absent=gone[:1]), INGESTED)
    rows = [("bars", "one", AAA, DAY, NEXT), ("bars", "one", BBB, DAY, DAY), ("bars", "other", AAA, DAY, NEXT)]
    assert reopen().absent(BARS).rows() == rows
    assert reopen().absent(ACTIONS).is_empty()
    assert reopen().read(BARS, as_of=FOREVER)["security_id"].to_list() == [BBB]
