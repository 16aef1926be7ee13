"""The panel shows what a session could know: no later fact ever reaches an earlier row, and no row depends on the others' dates."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.markets import SESSIONS, XNYS
from tradebot_core.model.tables import ACTIONS, BARS, FUNDAMENTALS, SECURITIES, FactTable
from tradebot_core.quant.panel import LIQUIDITY_WINDOW, PANEL_COLUMNS, build_panel, first_bar_needed

AAA, BBB = 100, 200
DAYS = SESSIONS[25:35]
INGESTED = datetime(2024, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


def table(of: FactTable, rows: list[dict[str, Any]]) -> pl.DataFrame:
    full = [dict.fromkeys(of.schema) | {"source": "test", "ingested_at": INGESTED} | row for row in rows]
    return pl.DataFrame(full, schema=of.schema)


def bar(security: int, session: date, close: float = 10.0, volume: float = 1000.0, known_at: datetime | None = None) -> dict:
    prices = {"open": close, "high": close + 1, "low": close - 1, "close": close, "volume": volume}
    known = known_at or XNYS.closes_at(session) + HOUR / 4
    return {"security_id": security, "session": session, **prices, "known_at": known}


def name(security: int, symbol: str, known_at: datetime | None = None, **changed: Any) -> dict:
    dates = {"valid_from": date(2020, 1, 1), "valid_to": date.max, "known_at": known_at or datetime(2020, 1, 1, tzinfo=UTC)}
    return {"security_id": security, "cik": security // 100, "symbol": symbol, "name": symbol, **dates, **changed}


def split(security: int, session: date, value: float, known_at: datetime | None = None) -> dict:
    known = known_at or XNYS.opens_at(session) - 9 * HOUR
    return {"security_id": security, "session": session, "type": "split", "value": value, "known_at": known}


def filing(cik: int, known_at: datetime, **figures: Any) -> dict:
    row = {
        "cik": cik,
        "company_name": "A",
        "form": "10-K",
        "accession": f"acc-{known_at:%m%d%H}",
        "period_end": date(2023, 12, 31),
    }
    return row | {"shares_basis_date": known_at.date(), "known_at": known_at} | figures


BARS_OF_TWO = [bar(security, session) for security in (AAA, BBB) for session in SESSIONS[:40]]
NAMES = [name(AAA, "AAA"), name(BBB, "BBB")]
FILINGS = [filing(1, datetime(2024, 1, 15, tzinfo=UTC), revenue_ttm=5.0, shares_outstanding=100.0)]


def panel(sessions=DAYS, bars=BARS_OF_TWO, actions=(), names=NAMES, filings=FILINGS, figures=None) -> pl.DataFrame:
    tables = table(BARS, bars), table(ACTIONS, list(actions)), table(SECURITIES, names), table(FUNDAMENTALS, filings)
    return build_panel(*tables, sessions, XNYS, figures)


def of(rows: pl.DataFrame, column: str, security: int = AAA) -> list[Any]:
    return rows.filter(security_id=security)[column].to_list()


def test_one_row_a_session_and_security_sorted():
    rows = panel()
    assert rows.select("session", "security_id").rows() == [(session, security) for session in DAYS for security in (AAA, BBB)]


def test_the_columns_are_those_that_are_named():
    assert set(panel().columns) == set(PANEL_COLUMNS)
    assert len(PANEL_COLUMNS) == len(set(PANEL_COLUMNS))


def test_a_panel_of_some_columns_has_the_same_rows():
    actions = [split(AAA, DAYS[4], 2.0)]
    whole, part = panel(actions=actions), panel(actions=actions, figures=("revenue_ttm", "close", "no_figure"))
    always = {"session", "security_id", "symbol", "fundamentals_known_at"}
    assert set(part.columns) == always | {"revenue_ttm", "close"}
    assert part.equals(whole.select(part.columns))
    valued = panel(actions=actions, figures=("market_cap",))
    assert set(valued.columns) == always | {"market_cap"}
    assert of(valued, "market_cap") == of(whole, "market_cap") == [1000.0] * 4 + [2000.0] * 6
    aged = panel(figures=("fundamentals_age_days",))
    assert aged.equals(panel().select(aged.columns))


def test_a_figure_appears_in_the_session_whose_cut_off_its_filing_met():
    day = DAYS[3]
    at_cutoff = panel(filings=[*FILINGS, filing(1, XNYS.cutoff(day), revenue_ttm=7.0)])
    assert of(at_cutoff, "revenue_ttm") == [5.0] * 3 + [7.0] * 7
    a_moment_late = panel(filings=[*FILINGS, filing(1, XNYS.cutoff(day) + timedelta(microseconds=1), revenue_ttm=7.0)])
    assert of(a_moment_late, "revenue_ttm") == [5.0] * 4 + [7.0] * 6


def test_a_restatement_is_invisible_before_it_is_known_and_replaces_nothing_before():
    restated_at = XNYS.opens_at(DAYS[5])
    rows = panel(filings=[*FILINGS, filing(1, restated_at, revenue_ttm=4.0, form="10-K/A")])
    assert of(rows, "revenue_ttm") == [5.0] * 5 + [4.0] * 5
    assert of(rows, "form") == ["10-K"] * 5 + ["10-K/A"] * 5
    assert of(rows, "fundamentals_known_at")[4:6] == [datetime(2024, 1, 15, tzinfo=UTC), restated_at]


def test_a_company_without_a_filing_has_nulls_and_not_zeros():
    rows = panel()
    assert set(of(rows, "revenue_ttm", BBB)) == {None}
    assert set(of(rows, "market_cap", BBB)) == {None}
    assert set(of(rows, "fundamentals_age_days", BBB)) == {None}


def test_the_age_of_a_report_is_counted_from_the_end_of_its_period():
    assert of(panel(), "fundamentals_age_days")[0] == (DAYS[0] - date(2023, 12, 31)).days


def test_share_count_and_price_stand_on_one_split_basis():
    day = DAYS[4]
    bars = [bar(AAA, session, close=10.0 if session < day else 5.0) for session in SESSIONS[:40]]
    rows = panel(bars=bars, actions=[split(AAA, day, 2.0)])
    assert of(rows, "split_factor") == [1.0] * 4 + [2.0] * 6
    assert of(rows, "shares") == [100.0] * 4 + [200.0] * 6
    assert of(rows, "market_cap") == [1000.0] * 10  # a split changes no value


def test_a_share_count_stated_after_the_split_is_not_split_again():
    day = DAYS[4]
    bars = [bar(AAA, session, close=10.0 if session < day else 5.0) for session in SESSIONS[:40]]
    later = filing(1, XNYS.opens_at(DAYS[6]), shares_outstanding=200.0, shares_basis_date=DAYS[6])
    rows = panel(bars=bars, actions=[split(AAA, day, 2.0)], filings=[*FILINGS, later])
    assert of(rows, "split_factor") == [1.0] * 4 + [2.0] * 2 + [1.0] * 4
    assert of(rows, "market_cap") == [1000.0] * 10


def test_a_count_stated_on_the_ex_date_itself_is_on_the_new_basis():
    day = DAYS[4]
    stated = [filing(1, datetime(2024, 1, 15, tzinfo=UTC), shares_outstanding=200.0, shares_basis_date=day)]
    rows = panel(actions=[split(AAA, day, 2.0, known_at=INGESTED)], filings=stated)
    assert of(rows, "split_factor") == [0.5] * 4 + [1.0] * 6  # before the split half as many are traded


def test_splits_multiply_and_other_actions_and_other_securities_do_not_matter():
    actions = [
        split(AAA, DAYS[2], 2.0),
        split(AAA, DAYS[6], 1.5),
        split(BBB, DAYS[1], 10.0),
        split(AAA, DAYS[4], 0.9) | {"type": "dividend"},
    ]
    assert of(panel(actions=actions), "split_factor") == [1.0] * 2 + [2.0] * 4 + [3.0] * 4


def test_diluted_shares_stand_in_where_the_count_is_not_reported():
    stated = [filing(1, datetime(2024, 1, 15, tzinfo=UTC), shares_diluted=120.0)]
    assert of(panel(filings=stated), "shares")[0] == 120.0


def test_liquidity_is_the_median_of_twenty_sessions_of_close_times_volume():
    bars = [bar(AAA, session, close=10.0, volume=float(n)) for n, session in enumerate(SESSIONS[:40])]
    first = of(panel(bars=bars), "median_dollar_volume_20d")[0]
    assert first == 10.0 * (15 + 16) / 2  # sessions 6 to 25


def test_the_mean_of_twenty_sessions_is_the_same_number_wherever_the_bars_begin():
    """A sum of floats that is carried on would not be: 0.1 + 1e15 - 1e15 is 0.125."""
    volumes = [1e15 if n < 12 else 0.3 + n for n in range(40)]
    bars = [bar(AAA, session, close=7.0001, volume=volume) for session, volume in zip(SESSIONS[:40], volumes, strict=True)]
    means = of(panel(bars=bars), "mean_dollar_volume_20d")
    parts = [round(7.0001 * volume * 10_000) for volume in volumes]
    assert means[0] is None  # a dollar volume of 7e15 is no market's
    assert means[-1] == sum(parts[15:35]) / 200_000
    assert [mean is None for mean in means] == [True] * 6 + [False] * 4
    for n, session in enumerate(DAYS[6:], start=6):
        late = panel(bars=[b for b in bars if b["session"] > XNYS.offset(session, -LIQUIDITY_WINDOW)], sessions=[session])
        assert of(late, "mean_dollar_volume_20d") == [means[n]]


def test_a_gap_breaks_the_window_until_twenty_sessions_have_passed():
    gap = SESSIONS[10]
    bars = [bar(AAA, session) for session in SESSIONS[:40] if session != gap]
    rows = panel(bars=bars)
    for column in ("median_dollar_volume_20d", "mean_dollar_volume_20d"):
        assert of(rows, column) == [None] * 5 + [10_000.0] * 5  # session 30 is the first after sessions 11..30
    assert XNYS.offset(DAYS[5], -(LIQUIDITY_WINDOW - 1)) == SESSIONS[11]


def test_a_session_without_a_bar_has_no_row():
    bars = [bar(AAA, session) for session in SESSIONS[:40] if session != DAYS[3]]
    assert of(panel(bars=bars), "session") == [session for session in DAYS if session != DAYS[3]]


def test_the_first_bar_needed_is_nineteen_sessions_back():
    assert first_bar_needed(SESSIONS[25], XNYS) == SESSIONS[6]


def test_a_bar_that_came_after_its_cut_off_was_not_there_to_decide_on():
    late = [bar(AAA, s, known_at=XNYS.cutoff(s) + HOUR) if s == DAYS[3] else bar(AAA, s) for s in SESSIONS[:40]]
    assert DAYS[3] not in of(panel(bars=late), "session")


def test_a_bar_corrected_later_is_shown_as_it_stood_at_its_own_cut_off():
    correction = bar(AAA, DAYS[3], close=99.0, known_at=XNYS.cutoff(DAYS[3]) + HOUR)
    assert of(panel(bars=[*BARS_OF_TWO, correction]), "close") == [10.0] * 10
    in_time = bar(AAA, DAYS[3], close=99.0, known_at=XNYS.cutoff(DAYS[3]))
    assert of(panel(bars=[*BARS_OF_TWO, in_time]), "close") == [10.0] * 3 + [99.0] + [10.0] * 6


def test_a_symbol_is_an_attribute_with_dates():
    names = [name(AAA, "OLD", valid_to=DAYS[3]), name(AAA, "NEW", valid_from=DAYS[4])]
    assert of(panel(names=names), "symbol") == ["OLD"] * 4 + ["NEW"] * 6


def test_a_security_is_gone_after_the_end_of_its_listing():
    assert of(panel(names=[name(AAA, "AAA", valid_to=DAYS[3])]), "session") == list(DAYS[:4])


def test_a_recycled_ticker_means_another_company():
    names = [name(AAA, "TICK", valid_to=DAYS[3]), name(BBB, "TICK", valid_from=DAYS[5])]
    rows = panel(names=names)
    assert rows.filter(symbol="TICK")["security_id"].to_list() == [AAA] * 4 + [BBB] * 5


# Facts that become known at some instant of the ten days, each on something the panel shows.
instants = st.integers(0, 10 * 24 * 4).map(lambda quarters: XNYS.opens_at(DAYS[0]) - 12 * HOUR + quarters * HOUR / 4)
days = st.sampled_from(SESSIONS[5:36])
later_facts = st.lists(
    st.one_of(
        st.builds(lambda s, at, close: ("bars", bar(AAA, s, close, known_at=at)), days, instants, st.floats(1, 99)),
        st.builds(lambda s, at, value: ("actions", split(AAA, s, value, known_at=at)), days, instants, st.floats(0.1, 10)),
        st.builds(lambda at, v: ("filings", filing(1, at, revenue_ttm=v, shares_outstanding=v)), instants, st.floats(1, 99)),
        st.builds(
            lambda at, s, e: ("names", name(AAA, "NEW", at, valid_from=s, valid_to=e)), instants, days, st.just(date.max) | days
        ),
        st.builds(lambda at, end: ("names", name(AAA, "AAA", at, valid_to=end)), instants, days),
    ),
    max_size=8,
)


def with_facts(facts, keep=lambda row: True, sessions=DAYS) -> pl.DataFrame:
    given_rows = {
        "bars": list(BARS_OF_TWO), "actions": [split(AAA, DAYS[2], 2.0)], "names": list(NAMES), "filings": list(FILINGS)
    }  # fmt: skip
    for n, (kind, row) in enumerate(facts):
        if keep(row):  # a store has no two versions of one thing from one instant: the later delivery is the later version
            given_rows[kind].append({**row, "ingested_at": INGESTED + timedelta(seconds=n)})
    return panel(sessions, **given_rows)


TWICE_AT_ONCE = [
    ("names", name(AAA, "NEW", XNYS.opens_at(DAYS[0]), valid_from=SESSIONS[5], valid_to=date.max)),
    ("names", name(AAA, "NEW", XNYS.opens_at(DAYS[0]), valid_from=SESSIONS[5], valid_to=SESSIONS[5])),
]


@settings(max_examples=50, deadline=None)
@given(later_facts, st.integers(0, 9))
def test_facts_known_after_a_cut_off_change_no_row_up_to_it(facts, at):
    cutoff = XNYS.cutoff(DAYS[at])
    with_all = with_facts(facts).filter(pl.col("session") <= DAYS[at])
    with_earlier = with_facts(facts, keep=lambda row: row["known_at"] <= cutoff).filter(pl.col("session") <= DAYS[at])
    assert repr(with_all.rows()) == repr(with_earlier.rows())


@settings(max_examples=25, deadline=None)
@given(later_facts, st.integers(0, 9), st.integers(0, 9))
@example(TWICE_AT_ONCE, 0, 9)
def test_the_panel_of_one_session_is_the_slice_of_any_range_bit_for_bit(facts, first, last):
    first, last = sorted((first, last))
    whole = with_facts(facts)

    def as_the_store_hands_it(sessions):
        return with_facts(facts, lambda row: row["known_at"] <= XNYS.cutoff(sessions[-1]), sessions)

    part = as_the_store_hands_it(DAYS[first : last + 1])
    expected = whole.filter(pl.col("session").is_between(DAYS[first], DAYS[last]))
    assert repr(part.rows()) == repr(expected.rows())
    for session in DAYS[first : last + 1]:
        single = as_the_store_hands_it([session])
        assert repr(single.rows()) == repr(whole.filter(session=session).rows())


@settings(max_examples=30, deadline=None)
@given(later_facts, st.randoms(use_true_random=False))
def test_the_order_of_the_rows_given_does_not_matter(facts, chance):
    def shuffled(rows):
        mixed = [{**row, "ingested_at": INGESTED + timedelta(seconds=n)} for n, row in enumerate(rows)]
        chance.shuffle(mixed)
        return mixed

    def ordered(rows):
        return [{**row, "ingested_at": INGESTED + timedelta(seconds=n)} for n, row in enumerate(rows)]

    given_rows = {"bars": list(BARS_OF_TWO), "actions": [], "names": list(NAMES), "filings": list(FILINGS)}
    for kind, row in facts:
        given_rows[kind].append(row)
    one = panel(**{kind: ordered(rows) for kind, rows in given_rows.items()})
    other = panel(**{kind: shuffled(rows) for kind, rows in given_rows.items()})
    assert repr(one.rows()) == repr(other.rows())


def test_a_late_word_of_a_split_reaches_only_the_sessions_after_it():
    word = split(AAA, DAYS[2], 2.0, known_at=XNYS.cutoff(DAYS[4]) + HOUR)
    assert of(panel(actions=[word]), "split_factor") == [1.0] * 5 + [2.0] * 5


def test_a_late_word_of_a_new_symbol_reaches_only_the_sessions_after_it():
    word = name(AAA, "NEW", known_at=XNYS.cutoff(DAYS[4]) + HOUR, valid_from=DAYS[2])
    assert of(panel(names=[*NAMES, word]), "symbol") == ["AAA"] * 5 + ["NEW"] * 5


@pytest.mark.parametrize("missing", ["filings", "actions"])
def test_an_empty_table_leaves_the_rest_working(missing):
    rows = panel(**{missing: []})
    assert len(rows) == 20
    assert of(rows, "market_cap")[0] == (None if missing == "filings" else 1000.0)
