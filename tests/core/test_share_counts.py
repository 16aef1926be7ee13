"""Market value is the issuer's, on one share basis, whichever class a row is about; which count stood for it is said."""

from collections.abc import Iterator
from datetime import UTC, date, datetime
from typing import Any

import polars as pl
import pytest

from tests.core.test_panel import AAA, DAYS, bar, filing, name, of, split, table
from tests.core.test_panel import panel as panel_of
from tests.markets import SESSIONS, XNYS
from tests.real_data import REAL_DATA
from tests.scripted import DAY, append, quote, scripted, walk
from tests.scripted import SESSIONS as MARCH
from tradebot_core.calendar import xnys
from tradebot_core.collectors.edgar import EdgarFacts
from tradebot_core.model.decision import Candidate, Verdict
from tradebot_core.model.tables import ACTIONS, BARS, SECURITIES
from tradebot_core.quant.panel import build_panel
from tradebot_core.quant.statements import normalise_many
from tradebot_core.trading.share_classes import of_one_class

JANUARY = datetime(2024, 1, 15, tzinfo=UTC)
CLASS_B = AAA + 1


def stated(**figures: Any) -> list[dict]:
    return [filing(1, JANUARY, **figures)]


def first(rows: pl.DataFrame, *columns: str, security: int = AAA) -> tuple[Any, ...]:
    return rows.filter(security_id=security).select(columns).row(0)


def test_the_count_on_the_cover_page_stands_where_it_is_near_the_diluted_average():
    rows = panel_of(filings=stated(shares_outstanding=95.0, shares_diluted=100.0))
    assert first(rows, "shares", "shares_rule", "market_cap") == (95.0, "cover_page", 950.0)


def test_a_count_that_lacks_a_class_gives_way_to_the_diluted_average():
    """Mastercard's cover page counts 122,530,193 shares in the SEC's file, year after year; it has about a billion."""
    rows = panel_of(filings=stated(shares_outstanding=122_530_193.0, shares_diluted=1_100e6))
    assert first(rows, "shares", "shares_rule") == (1_100e6, "diluted_average_counts_all_classes")


def test_dilution_by_convertible_notes_is_no_missing_class():
    """NVIDIA, 2016: 539 million shares, 653 million diluted."""
    assert first(panel_of(filings=stated(shares_outstanding=539e6, shares_diluted=653e6)), "shares") == (539e6,)


def test_a_count_far_above_the_average_is_that_of_a_company_that_has_just_issued_shares():
    assert first(panel_of(filings=stated(shares_outstanding=300.0, shares_diluted=100.0)), "shares") == (300.0,)


def test_no_count_at_all_is_no_market_value():
    assert first(panel_of(filings=stated(revenue_ttm=1.0)), "shares", "shares_rule", "market_cap") == (None, None, None)


def two_classes(filings: list[dict], **of_b: Any) -> pl.DataFrame:
    bars = [bar(security, session) for security in (AAA, CLASS_B) for session in SESSIONS[:40]]
    names = [name(AAA, "GOOGL"), name(CLASS_B, "GOOG", **of_b) | {"cik": 1}]
    return panel_of(bars=bars, names=names, filings=filings)


def test_both_classes_of_an_issuer_have_the_market_value_of_the_issuer():
    rows = two_classes(stated(shares_outstanding=100.0, shares_diluted=100.0))
    assert first(rows, "market_cap") == first(rows, "market_cap", security=CLASS_B) == (1000.0,)


def test_of_several_listed_classes_a_count_below_the_average_is_that_of_some():
    rows = two_classes(stated(shares_outstanding=90.0, shares_diluted=100.0))
    assert first(rows, "shares", "shares_rule") == (100.0, "diluted_average_counts_all_classes")


def test_a_listed_share_may_stand_for_a_part_of_a_counted_one_or_for_several():
    berkshire = two_classes(stated(shares_diluted=1_500.0), shares_per_listed=1 / 1500)
    assert first(berkshire, "market_cap", security=CLASS_B) == (pytest.approx(1_500 * 10 * 1500),)
    depositary = two_classes(stated(shares_diluted=500.0), shares_per_listed=5.0)
    assert first(depositary, "market_cap", security=CLASS_B) == (500 * 10 / 5,)


def test_one_count_of_several_classes_is_nobodys_market_value():
    rows = two_classes(stated(shares_outstanding=100.0))
    assert first(rows, "shares", "market_cap", "shares_rule") == (None, None, "one_count_of_several_classes")


def test_a_class_that_is_listed_later_is_no_class_yet():
    listed = {"valid_from": DAYS[4], "known_at": XNYS.opens_at(DAYS[4])}
    rows = two_classes(stated(shares_outstanding=100.0), **listed)
    assert of(rows, "shares") == [100.0] * 4 + [None] * 6


def test_each_count_is_brought_from_its_own_basis_to_that_of_the_session():
    """A cover page counted before a 7:1 split is no seventh of a diluted average counted after it."""
    day = DAYS[4]
    bases = {"shares_basis_date": day, "diluted_basis_date": date(2024, 1, 15), "eps_basis_date": date(2024, 1, 15)}
    figures = stated(shares_outstanding=700.0, shares_diluted=101.0, eps_diluted_ttm=39.75, **bases)
    rows = panel_of(actions=[split(AAA, day, 7.0, known_at=JANUARY)], filings=figures)
    assert of(rows, "shares") == [100.0] * 4 + [700.0] * 6
    assert of(rows, "shares_rule") == ["cover_page"] * 10
    assert of(rows, "eps") == [39.75] * 4 + [pytest.approx(5.678571428571429)] * 6
    assert of(rows, "eps_diluted_ttm") == [39.75] * 10  # the filing's own figure stays


# Of the classes one is bought


def candidate(security: int) -> Candidate:
    return Candidate(security, f"S{security}", 10.0, {})


def test_of_two_classes_the_more_liquid_is_the_candidate_and_the_other_says_why_not():
    kept, passed_over = of_one_class([candidate(101), candidate(100), candidate(200)], {100: 5e6, 101: 9e6, 200: 1e6}, [])
    assert [c.security_id for c in kept] == [101, 200]
    assert [(c.security_id, v) for c, v in passed_over] == [(100, Verdict(False, "more_liquid_class", 5e6, 9e6))]


def test_the_class_that_is_held_stays_the_one():
    kept, passed_over = of_one_class([candidate(100), candidate(101)], {100: 5e6, 101: 9e6}, [100])
    assert [c.security_id for c in kept] == [100]
    assert [(c.security_id, v.rule) for c, v in passed_over] == [(101, "other_class_held")]


def test_a_class_is_passed_over_even_when_the_one_that_is_held_is_no_candidate():
    kept, passed_over = of_one_class([candidate(101)], {101: 9e6}, [100])
    assert (kept, [v.rule for _, v in passed_over]) == ([], ["other_class_held"])


def test_the_class_that_is_not_bought_is_a_decision_with_its_reason(tmp_path):
    """AAA is the more liquid of two classes of the issuer 1."""
    bot = scripted(tmp_path, f"{DAY} buy AAA 0.5", f"{DAY} buy AAB 0.5")
    quote(bot, "AAA", 10.0, volume=2e6)
    other = AAA + 1
    sessions = MARCH[: MARCH.index(DAY) + 2]
    prices = {"open": 10.0, "high": 10.0, "low": 10.0, "close": 10.0, "volume": 1e6}
    append(bot, BARS, *({"security_id": other, "session": s, "known_at": XNYS.closes_at(s), **prices} for s in sessions))
    row = dict.fromkeys(SECURITIES.columns) | name(other, "AAB", known_at=datetime(2020, 1, 1, tzinfo=UTC)) | {"cik": 1}
    append(bot, SECURITIES, row)
    made = walk(bot, [DAY, XNYS.next(DAY)])["decisions"]
    assert made.select("session", "symbol", "action", "rule", "value", "threshold").rows() == [
        (DAY, "AAA", "buy", "told", None, None),
        (DAY, "AAB", "skip", "more_liquid_class", 1e7, 2e7),
        (XNYS.next(DAY), "AAA", "hold", "told", None, None),
        (XNYS.next(DAY), "AAB", "skip", "other_class_held", None, None),
    ]


# Companies ----------------------------------------------------------------------------------------------------------------

APPLE = 320193


@pytest.fixture(scope="module")
def apple() -> Iterator[pl.DataFrame]:
    """Apple's panel around its split of 2014-06-09, on its raw closes of those days (645.57 and 93.70)."""
    edgar = REAL_DATA / "edgar"
    if not edgar.is_dir():
        pytest.skip(f"no real data at {REAL_DATA}; set TRADEBOT_REAL_DATA")
    params = EdgarFacts.Params(path=edgar / "companyfacts.zip", submissions_path=edgar / "submissions.zip")
    batches = EdgarFacts(params, xnys()).collect(pl.DataFrame({"cik": [APPLE]}), date(2009, 1, 2), date(2015, 1, 2))
    facts = pl.concat([batch.rows for batch in batches])
    known = {"source": "test", "ingested_at": JANUARY}
    figures = normalise_many(facts, {}).with_columns(pl.lit(JANUARY).cast(pl.Datetime("us", "UTC")).alias("ingested_at"))
    sessions = XNYS.sessions(date(2013, 11, 1), date(2014, 12, 31))
    security = APPLE * 100
    bars = [bar(security, s, close=645.57 if s < date(2014, 6, 9) else 93.70) for s in sessions]
    names = [name(security, "AAPL", datetime(2009, 1, 2, tzinfo=UTC), valid_from=date(2009, 1, 2)) | {"cik": APPLE} | known]
    seven = [split(security, date(2014, 6, 9), 7.0)]
    yield build_panel(table(BARS, bars), table(ACTIONS, seven), table(SECURITIES, names), figures, sessions[40:], XNYS)


def test_apples_market_value_and_earnings_per_share_cross_the_split_on_one_basis(apple):
    before, after, reported = (
        apple.filter(pl.col("session") == day).row(0, named=True)
        for day in (date(2014, 6, 6), date(2014, 6, 9), date(2014, 7, 24))
    )
    assert (before["shares"], after["shares"]) == (861_381_000, 861_381_000 * 7)
    assert before["market_cap"] == pytest.approx(861_381_000 * 645.57)
    assert after["market_cap"] == pytest.approx(861_381_000 * 7 * 93.70)
    assert after["eps"] == pytest.approx(before["eps"] / 7)
    assert after["eps_diluted_ttm"] == before["eps_diluted_ttm"]  # no filing came between
    assert (reported["split_factor"], reported["shares"]) == (1.0, 5_987_867_000)


def test_apples_year_2013_is_39_75_a_share_until_the_split_and_5_68_after_it(apple):
    row = apple.filter(pl.col("session") == date(2014, 1, 2)).row(0, named=True)
    assert row["eps"] == row["eps_diluted_ttm"] == 39.75
    assert pytest.approx(5.68, abs=0.005) == 39.75 / 7
