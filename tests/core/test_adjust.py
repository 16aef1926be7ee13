"""Adjusted views: what prices look like in the shares, and with the dividends, of the reader's session."""

from datetime import date, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.markets import XNYS
from tests.real_data import REAL_DATA
from tests.scripted import SESSIONS, act, quote, scripted
from tests.scripted import security_of as scripted_id
from tradebot_core.errors import DataError
from tradebot_core.model.tables import ACTIONS, BARS
from tradebot_core.quant.adjust import Adjustment, adjusted
from tradebot_core.trading.adjusted_bars import adjusted_bars

MONDAY, TUESDAY, WEDNESDAY, THURSDAY, FRIDAY = WEEK = [date(2024, 3, 4) + timedelta(n) for n in range(5)]
SPLIT, TOTAL = Adjustment.SPLIT, Adjustment.TOTAL


def bars(*closes: float, days: list[date] = WEEK, security: int = 1, volume: float = 1000.0) -> pl.DataFrame:
    rows = [(security, day, c, c + 1, c - 1, c, volume) for day, c in zip(days, closes, strict=True)]
    return pl.DataFrame(rows, schema=BARS.columns, orient="row")


def actions(*rows: tuple[date, str, float], security: int = 1) -> pl.DataFrame:
    return pl.DataFrame([(security, *row) for row in rows], schema=ACTIONS.columns, orient="row")


def closes(view: pl.DataFrame) -> list[float]:
    return view["close"].to_list()


def test_a_split_divides_the_prices_before_it_and_multiplies_their_volume():
    view = adjusted(bars(100.0, 102.0, 51.0, 52.0, 53.0), actions((WEDNESDAY, "split", 2.0)), FRIDAY, SPLIT)
    assert closes(view) == [50.0, 51.0, 51.0, 52.0, 53.0]
    assert view["volume"].to_list() == [2000.0, 2000.0, 1000.0, 1000.0, 1000.0]
    assert view.row(0, named=True)["high"] == 50.5
    assert view["price_factor"].to_list() == [0.5, 0.5, 1.0, 1.0, 1.0]


def test_a_reverse_split_multiplies_prices():
    view = adjusted(bars(1.0, 1.0, 10.0, 10.0, 10.0), actions((WEDNESDAY, "split", 0.1)), FRIDAY, SPLIT)
    assert closes(view) == pytest.approx([10.0] * 5)
    assert view["volume"].to_list() == pytest.approx([100.0, 100.0, 1000.0, 1000.0, 1000.0])


def test_splits_multiply_up():
    both = actions((TUESDAY, "split", 2.0), (THURSDAY, "split", 3.0))
    assert closes(adjusted(bars(60.0, 30.0, 30.0, 10.0, 10.0), both, FRIDAY, SPLIT)) == pytest.approx([10.0] * 5)


def test_a_dividend_is_reinvested_at_the_close_before_its_ex_date():
    paid = actions((WEDNESDAY, "dividend", 2.0))
    view = adjusted(bars(100.0, 100.0, 98.0, 98.0, 98.0), paid, FRIDAY, TOTAL)
    assert closes(view) == pytest.approx([98.0] * 5)  # a fall by the dividend alone is no loss
    assert view["price_factor"].to_list() == pytest.approx([0.98, 0.98, 1.0, 1.0, 1.0])
    assert view["volume"].to_list() == [1000.0] * 5
    assert closes(adjusted(bars(100.0, 100.0, 98.0, 98.0, 98.0), paid, FRIDAY, SPLIT)) == [100.0, 100.0, 98.0, 98.0, 98.0]


def test_a_dividend_on_the_day_of_a_split_is_paid_on_the_new_shares():
    both = actions((WEDNESDAY, "split", 2.0), (WEDNESDAY, "dividend", 1.0))
    view = adjusted(bars(100.0, 100.0, 49.0, 49.0, 49.0), both, FRIDAY, TOTAL)
    assert closes(view) == pytest.approx([49.0] * 5)


def test_a_dividend_after_days_without_trading_stands_on_the_last_close_in_its_own_shares():
    both = actions((TUESDAY, "split", 2.0), (THURSDAY, "dividend", 1.0))
    traded = bars(100.0, 49.0, 49.0, days=[MONDAY, THURSDAY, FRIDAY])
    assert closes(adjusted(traded, both, FRIDAY, TOTAL)) == pytest.approx([49.0] * 3)


def test_what_takes_effect_after_the_readers_session_changes_nothing():
    later = actions((THURSDAY, "split", 2.0), (FRIDAY, "dividend", 1.0))
    raw = bars(100.0, 100.0, 100.0, 50.0, 49.0)
    view = adjusted(raw, later, WEDNESDAY, TOTAL)
    assert view["session"].to_list() == [MONDAY, TUESDAY, WEDNESDAY]
    assert closes(view) == [100.0] * 3
    assert closes(adjusted(raw, later, FRIDAY, TOTAL)) == pytest.approx([49.0] * 5)


def test_each_security_has_its_own_actions_and_the_order_of_rows_does_not_matter():
    two = pl.concat([bars(100.0, 100.0, 50.0, 50.0, 50.0), bars(*[7.0] * 5, security=2)])
    mixed = pl.concat([actions((WEDNESDAY, "split", 2.0)), actions((FRIDAY, "dividend", 0.7), security=2)])
    view = adjusted(two.sample(fraction=1, shuffle=True, seed=3), mixed[::-1], FRIDAY, TOTAL)
    assert closes(view) == pytest.approx([50.0] * 5 + [6.3] * 4 + [7.0])


def test_delistings_and_dividends_before_the_first_bar_adjust_nothing():
    ended = actions((MONDAY, "dividend", 5.0), (FRIDAY, "delisting", 0.0))
    assert closes(adjusted(bars(*[10.0] * 5), ended, FRIDAY, TOTAL)) == [10.0] * 5


def test_a_dividend_that_is_not_less_than_the_price_is_refused_by_name():
    with pytest.raises(DataError, match=r"Security 1 paid 10\.0 USD on 2024-03-06.*close before, 10\.0"):
        adjusted(bars(*[10.0] * 5), actions((WEDNESDAY, "dividend", 10.0)), FRIDAY, TOTAL)
    assert closes(adjusted(bars(*[10.0] * 5), actions((WEDNESDAY, "dividend", 10.0)), FRIDAY, SPLIT)) == [10.0] * 5


def test_no_bars_and_no_actions_give_no_rows():
    assert adjusted(bars(days=[]), actions(), FRIDAY, TOTAL).schema == pl.Schema(
        {**BARS.columns, "price_factor": pl.Float64, "volume_factor": pl.Float64}
    )


PRICES = st.floats(1.0, 1000.0)
RATIOS = st.sampled_from([0.1, 0.5, 1.5, 2.0, 3.0, 7.0])


@given(
    st.lists(PRICES, min_size=5, max_size=5),
    st.dictionaries(st.sampled_from(WEEK), RATIOS),
    st.dictionaries(st.sampled_from(WEEK), st.floats(0.001, 0.09)),
    st.sampled_from(range(1, 5)),
)
def test_returns_between_two_sessions_do_not_depend_on_the_readers_session(prices, splits, dividends, reader):
    """The metamorphic property of a point-in-time view: what happens later scales history, and changes no return in it."""
    rows = [(day, "split", ratio) for day, ratio in splits.items()]
    rows += [(day, "dividend", paid) for day, paid in dividends.items()]
    early = adjusted(bars(*prices), actions(*rows), WEEK[reader], TOTAL)
    late = adjusted(bars(*prices), actions(*rows), FRIDAY, TOTAL).head(len(early))
    scale = [a / b for a, b in zip(closes(early), closes(late), strict=True)]
    assert scale == pytest.approx([scale[0]] * len(scale), rel=1e-12)
    assert early["close"][-1] == prices[reader]  # the last price is the one on the screen
    dollars = (early["close"] / early["price_factor"] * early["volume"] / early["volume_factor"]).to_list()
    assert dollars == pytest.approx([price * 1000.0 for price in prices[: reader + 1]])


@given(st.lists(PRICES, min_size=5, max_size=5), RATIOS)
def test_a_split_changes_no_value_traded(prices, ratio):
    view = adjusted(bars(*prices), actions((WEDNESDAY, "split", ratio)), FRIDAY, SPLIT)
    assert (view["close"] * view["volume"]).to_list() == pytest.approx([price * 1000.0 for price in prices], rel=1e-12)


# From the store, as of an instant


def test_the_view_knows_only_what_was_known_at_the_instant(tmp_path):
    bot = scripted(tmp_path)
    day, before = SESSIONS[20], SESSIONS[19]
    quote(bot, "AAA", 100.0, dict.fromkeys(SESSIONS[20:], 50.0))
    act(bot, "AAA", day, "split", 2.0, known_at=XNYS.opens_at(SESSIONS[15]))  # announced a week before

    def close_of(session: date, as_of: datetime) -> float:
        return adjusted_bars(bot.store, SPLIT, as_of, session, session)["close"].item()

    assert close_of(before, XNYS.cutoff(before)) == 100.0  # known, not yet in effect
    assert close_of(before, XNYS.opens_at(day)) == 50.0
    assert close_of(before, XNYS.cutoff(SESSIONS[-1])) == 50.0
    assert adjusted_bars(bot.store, SPLIT, XNYS.cutoff(SESSIONS[14]))["session"].max() == SESSIONS[14]
    assert set(adjusted_bars(bot.store, SPLIT, XNYS.cutoff(day))["security_id"]) == {scripted_id("AAA")}


def test_the_end_of_a_range_hides_no_dividend_that_adjusts_it(tmp_path):
    bot = scripted(tmp_path)
    quote(bot, "AAA", 100.0)
    act(bot, "AAA", SESSIONS[30], "dividend", 1.0)
    early = adjusted_bars(bot.store, TOTAL, XNYS.cutoff(SESSIONS[35]), SESSIONS[3], SESSIONS[5])
    assert early["session"].to_list() == list(SESSIONS[3:6])
    assert early["close"].to_list() == [99.0] * 3


# Real prices

LAST = date(2020, 5, 22)


@pytest.fixture(scope="module")
def market() -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame, dict[str, int]]:
    """Raw bars, actions, and another vendor's adjusted prices (32-bit floats) of the same 31 companies, 2009-2020."""
    folder = REAL_DATA / "market"
    if not folder.is_dir():
        pytest.skip(f"no real data at {REAL_DATA}; set TRADEBOT_REAL_DATA")
    raw = pl.read_parquet(folder / "bars.parquet")
    ids = {symbol: n for n, symbol in enumerate(sorted(set(raw["symbol"])))}
    numbered = pl.col("symbol").replace_strict(ids, return_dtype=pl.Int64).alias("security_id")
    acts = pl.read_csv(folder / "actions.csv", schema_overrides={"session": pl.Date, "value": pl.Float64})
    theirs = pl.read_parquet(folder / "bars_split_adjusted_137.parquet").filter(pl.col("symbol").is_in(list(ids)))
    return (
        raw.with_columns(numbered, pl.col("volume").cast(pl.Float64)),
        acts.filter(pl.col("symbol").is_in(list(ids))).with_columns(numbered),
        theirs.with_columns(numbered, pl.col("session").cast(pl.Date)),
        ids,
    )


def differences(view: pl.DataFrame, theirs: pl.DataFrame, column: str) -> pl.DataFrame:
    """By security and session, how far our close is from theirs, as a share of it."""
    other = theirs.select("security_id", "session", theirs=pl.col(column).cast(pl.Float64))
    joined = view.join(other, on=["security_id", "session"], validate="1:1")
    assert len(joined) == len(view) == 31 * 2867
    return joined.select("security_id", "session", off=(pl.col("close") / pl.col("theirs") - 1).abs())


def test_apple_before_and_after_its_split(market):
    raw, acts, _, ids = market
    around = raw.filter(security_id=ids["AAPL"]).select("session", "close")
    assert around.filter(session=date(2014, 6, 6))["close"].item() == 645.57
    view = adjusted(raw, acts, LAST, SPLIT).filter(security_id=ids["AAPL"])
    assert view.filter(session=date(2014, 6, 6))["close"].item() == pytest.approx(645.57 / 7)
    assert view.filter(session=date(2014, 6, 9))["close"].item() == 93.70
    that_evening = adjusted(raw, acts, date(2014, 6, 6), SPLIT).filter(security_id=ids["AAPL"])
    assert that_evening["close"][-1] == 645.57


def test_split_adjusted_prices_are_those_of_another_vendor(market):
    raw, acts, theirs, _ = market
    assert differences(adjusted(raw, acts, LAST, SPLIT), theirs, "close")["off"].max() < 5e-6  # they keep six digits


def test_total_return_prices_are_those_of_another_vendor_but_for_its_errors(market):
    """29 of 31 companies agree. The vendor took KO's and NKE's dividends before their splits off split-adjusted prices without
    restating them, that is twice (four times) their size, and NKE's of August 2014 on two days. With that done on purpose, all do."""
    raw, acts, theirs, ids = market
    off = differences(adjusted(raw, acts, LAST, TOTAL), theirs, "adj_close")
    wrong = off.filter(pl.col("off") > 2e-5)
    assert set(wrong["security_id"]) == {ids["KO"], ids["NKE"]}
    assert wrong.filter(security_id=ids["KO"])["session"].max() == date(2012, 6, 12)  # the day before the last of them
    assert wrong.filter(security_id=ids["NKE"])["session"].max() == date(2015, 12, 4)
    later_splits = pl.DataFrame(
        [(ids["KO"], date(2012, 8, 13)), (ids["NKE"], date(2012, 12, 26)), (ids["NKE"], date(2015, 12, 24))],
        schema={"security_id": pl.Int64, "split": pl.Date},
        orient="row",
    )
    doubled = (
        acts.join(later_splits, on="security_id", how="left")
        .group_by(acts.columns, maintain_order=True)
        .agg(times=(pl.col("split") > pl.col("session")).sum())
        .with_columns(
            value=pl.when(pl.col("type") == "dividend").then(pl.col("value") * 2.0 ** pl.col("times")).otherwise("value")
        )
    )
    again = doubled.filter((pl.col("symbol") == "NKE") & (pl.col("session") == date(2014, 8, 28)))
    as_they_did = pl.concat([doubled, again.with_columns(session=date(2014, 8, 29))])
    assert differences(adjusted(raw, as_they_did, LAST, TOTAL), theirs, "adj_close")["off"].max() < 2e-5
