"""What a dollar in a security became: dividends reinvested, splits, gaps, delistings, in whatever pieces it is computed."""

from collections.abc import Sequence
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.concordance.lean_desk import raw, securities
from tests.markets import SESSIONS, XNYS
from tests.real_data import REAL_DATA
from tradebot_core.model.tables import ENTRIES, EQUITY, FILLS
from tradebot_core.quant.performance import Benchmark, summarise
from tradebot_core.quant.total_return import Levels, TotalReturns

DAYS = SESSIONS[:8]


def bars(*rows: tuple[int, int, float, float]) -> pl.DataFrame:
    """(security, number of the session, open, close)"""
    schema = {"security_id": pl.Int64, "session": pl.Date, "open": pl.Float64, "close": pl.Float64}
    return pl.DataFrame([(security, DAYS[n], open_, close) for security, n, open_, close in rows], schema=schema, orient="row")


def actions(*rows: tuple[int, int, str, float]) -> pl.DataFrame:
    schema = {"security_id": pl.Int64, "session": pl.Date, "type": pl.String, "value": pl.Float64}
    return pl.DataFrame([(security, DAYS[n], kind, value) for security, n, kind, value in rows], schema=schema, orient="row")


def levels(prices: pl.DataFrame, events: pl.DataFrame, days: Sequence[date] = DAYS) -> Levels:
    return TotalReturns().advance(prices, events, days)


def returns(found: Levels, security: int) -> list[float]:
    level = found.level[:, list(found.securities).index(security)]
    return list(level[1:] / level[:-1] - 1)


def test_a_dividend_is_reinvested_and_a_split_changes_nothing():
    prices = bars((1, 0, 100, 100), (1, 1, 99, 99), (1, 2, 50, 49.5), (1, 3, 60, 60))
    found = levels(prices, actions((1, 1, "dividend", 2.0), (1, 2, "split", 2.0)), DAYS[:4])
    assert returns(found, 1) == pytest.approx([0.01, 0.0, 60 / 49.5 - 1])  # (99 + 2) / 100; 2 x 49.5 / 99


def test_a_dividend_of_the_day_of_a_split_is_paid_on_the_shares_after_it():
    found = levels(bars((1, 0, 100, 100), (1, 1, 50, 50)), actions((1, 1, "split", 2.0), (1, 1, "dividend", 1.0)), DAYS[:2])
    assert returns(found, 1) == pytest.approx([2 * (50 + 1) / 100 - 1])


def test_what_falls_on_days_without_a_bar_counts_in_the_next_one():
    # 100, then 2:1, then 1 USD a share on two shares, then 4:1, then a bar at 13: eight shares, and two dollars.
    events = actions((1, 1, "split", 2.0), (1, 2, "dividend", 1.0), (1, 3, "split", 4.0))
    found = levels(bars((1, 0, 100, 100), (1, 4, 13, 13)), events, DAYS[:5])
    assert returns(found, 1) == pytest.approx([0.0, 0.0, 0.0, (8 * 13 + 2) / 100 - 1])
    assert list(found.traded[:, 0]) == [True, False, False, False, True]


def test_a_dividend_above_the_price_before_still_has_a_return():
    found = levels(bars((1, 0, 10, 10), (1, 1, 1, 1)), actions((1, 1, "dividend", 12.0)), DAYS[:2])
    assert returns(found, 1) == pytest.approx([0.3])


def test_an_opening_buys_what_its_close_is_worth_without_the_dividend_of_the_day():
    found = levels(bars((1, 0, 100, 100), (1, 1, 90, 99), (1, 2, 99, 108)), actions((1, 1, "dividend", 5.0)), DAYS[:3])
    assert found.level[1, 0] / found.opening[1, 0] == pytest.approx(99 / 90)
    assert found.level[2, 0] / found.opening[1, 0] == pytest.approx(108 / 90)


def test_after_a_delisting_it_is_worth_what_that_paid_whatever_bars_come():
    prices = bars((1, 0, 10, 10), (1, 1, 9, 8), (1, 2, 5, 5), (1, 3, 7, 7), (2, 0, 4, 4), (2, 3, 4, 4))
    found = levels(prices, actions((1, 2, "delisting", 2.0), (2, 1, "delisting", 0.0)), DAYS[:4])
    assert returns(found, 1) == pytest.approx([-0.2, -0.75, 0.0])
    assert list(found.level[:, 1]) == [4.0, 0.0, 0.0, 0.0]
    assert not found.traded[2:].any()


def test_before_its_first_bar_a_security_has_no_level():
    found = levels(bars((1, 2, 5, 5)), actions((1, 1, "dividend", 1.0)), DAYS[:3])
    assert np.isnan(found.level[:2, 0]).all() and found.level[2, 0] > 0


def test_a_market_without_bars_is_empty():
    found = levels(bars(), actions(), DAYS[:3])
    assert found.level.shape == (3, 0) and found.securities.size == 0


@settings(deadline=None)  # what takes long is the machine
@given(
    st.lists(
        st.tuples(st.integers(1, 3), st.integers(0, 7), st.floats(1, 100), st.floats(1, 100)),
        unique_by=lambda row: row[:2],
        min_size=1,
    ),
    st.lists(
        st.tuples(st.integers(1, 3), st.integers(0, 7), st.sampled_from(["dividend", "split", "delisting"]), st.floats(0.5, 4)),
        unique_by=lambda row: row[:3],
        max_size=6,
    ),
    st.integers(1, 7),
)
def test_in_pieces_it_is_what_it_is_as_a_whole(prices, events, cut):
    prices, events = bars(*prices), actions(*events)
    early = pl.col("session") < DAYS[cut]
    whole, pieces = levels(prices, events), TotalReturns()
    first = pieces.advance(prices.filter(early), events.filter(early), DAYS[:cut])
    second = pieces.advance(prices.filter(~early), events.filter(~early), DAYS[cut:])
    for security in whole.securities:
        expected = whole.level[:, list(whole.securities).index(security)]
        parts = [
            part.level[:, list(part.securities).index(security)]
            if security in part.securities
            else np.full(len(part.sessions), np.nan)
            for part in (first, second)
        ]
        np.testing.assert_allclose(np.concatenate(parts), expected, rtol=1e-12)


@pytest.mark.skipif(not (REAL_DATA / "lean").exists(), reason="the LEAN data folder is not here (TRADEBOT_REAL_DATA)")
def test_holding_spy_is_what_lean_publishes_of_it(tmp_path: Path):
    """FreePortfolioValueRegressionAlgorithm buys SPY at the open of 2007-10-02 and holds it until 2018-02-01: compounding annual return
    8.174 %, drawdown 55.1 %, beta 0.998, alpha -0, annual standard deviation 0.164 (published; expected/lean_expected_statistics.json)."""
    master = securities(tmp_path, "symbol,cik,name,share_class,valid_from,valid_to\nSPY,1,SPY,0,1993-01-29,\n")
    data = raw(REAL_DATA / "lean", master)
    days = XNYS.sessions(date(2007, 10, 1), date(2018, 2, 1))
    within = pl.col("session").is_between(days[0], days[-1])
    found = TotalReturns().advance(data.bars.filter(within), data.actions.filter(within), days)
    units = 1_000_000 * 0.9975 / found.opening[1, 0]  # LEAN keeps a quarter of a percent in cash
    held = units * found.level[1:, 0] + 2500
    rows = [
        {"session": s, "cash": "0", "invested": str(v), "equity": str(v), "positions": 1}
        for s, v in zip(days[1:], held, strict=True)
    ]
    own = list(found.level[1:, 0] / found.level[:-1, 0] - 1)
    figures = summarise(
        pl.DataFrame(rows, schema=EQUITY.schema),
        FILLS.schema.to_frame(),
        ENTRIES.schema.to_frame(),
        1_000_000.0,
        Benchmark("SPY", own),
    )
    assert figures.cagr == pytest.approx(0.08174, abs=2e-4)
    assert figures.final_equity == pytest.approx(2_254_609.41, rel=2e-3)
    assert figures.max_drawdown == pytest.approx(-0.551, abs=1e-3)
    assert figures.beta == pytest.approx(0.998, abs=3e-3)
    assert figures.alpha == pytest.approx(0.0, abs=1e-3)
    # LEAN's daily series has the days without a session between ours, and both are multiplied by the root of 252.
    assert figures.volatility * (252 / 365.25) ** 0.5 == pytest.approx(0.164, abs=1e-3)
