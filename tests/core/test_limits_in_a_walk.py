"""The limits that look back: in a backtest, session by session as in one walk, and at the live desk."""

import json
from datetime import date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from tests.core.test_live import Desk
from tests.markets import XNYS
from tests.scripted import SESSIONS, act, append, quote, scripted, security_of, walk
from tradebot_core.model.tables import BOOKS, EQUITY, ORDERS, RESULT_TABLES, SECURITIES
from tradebot_core.trading.book_state import BookState
from tradebot_core.wiring import Tradebot


def day(n: int) -> date:
    """The n-th session of a story; 0 is the first."""
    return SESSIONS[20 + n]


def days(count: int, start: int = 0) -> list[date]:
    return [day(n) for n in range(start, start + count)]


def verdicts(tables: dict[str, pl.DataFrame]) -> list[tuple]:
    return tables[ORDERS.name].select("session", "side", "rule", "value").rows()


def test_nothing_is_bought_on_the_day_of_a_jump_and_what_is_held_may_be_sold(tmp_path):
    bot = scripted(tmp_path, f"{day(1)} buy AAA 0.5", f"{day(2)} buy AAA 0.5", f"{day(3)} sell AAA")
    quote(bot, "AAA", 10.0, {day(1): 15.5, day(2): 15.5, day(3): (15.5, 40.0)})
    assert verdicts(walk(bot, days(4)))[0] == (day(1), "buy", "price_jump", 0.55)
    found = verdicts(bot.backtest("scripted", days(4), restart=True))
    assert [(session, side, rule) for session, side, rule, _ in found] == [
        (day(1), "buy", "price_jump"),
        (day(2), "buy", "within_limits"),
        (day(3), "sell", "within_limits"),
    ]


def test_a_split_that_is_on_record_is_no_jump(tmp_path):
    bot = scripted(tmp_path, f"{day(1)} buy AAA 0.5")
    quote(bot, "AAA", 40.0, dict.fromkeys(SESSIONS[21:], 10.0))
    act(bot, "AAA", day(1), "split", 4.0)
    assert [rule for *_, rule, _ in verdicts(walk(bot, days(2)))] == ["within_limits"]


def test_a_split_that_is_not_on_record_stops_purchases(tmp_path):
    bot = scripted(tmp_path, f"{day(1)} buy AAA 0.5")
    quote(bot, "AAA", 40.0, dict.fromkeys(SESSIONS[21:], 10.0))
    assert verdicts(walk(bot, days(2))) == [(day(1), "buy", "price_jump", 0.75)]


def test_a_walk_that_begins_on_the_day_of_a_jump_sees_it(tmp_path):
    bot = scripted(tmp_path, f"{day(1)} buy AAA 0.5")
    quote(bot, "AAA", 10.0, {day(1): 15.5})
    assert verdicts(walk(bot, days(2, start=1))) == [(day(1), "buy", "price_jump", 0.55)]


# Industries


@pytest.mark.parametrize(("late", "rule", "value"), [(0, "max_sector_weight", 6000.0), (1, "within_limits", None)])
def test_an_industry_counts_from_the_cutoff_at_which_it_is_known(tmp_path, late, rule, value):
    bot = scripted(tmp_path, f"{day(0)} buy AAA 0.3", f"{day(0)} buy BBB 0.3")
    for symbol in ("AAA", "BBB"):
        quote(bot, symbol, 10.0)
        tell_industry(bot, symbol, "Oil", XNYS.cutoff(day(0)) + timedelta(seconds=late))
    first, second = verdicts(walk(bot, days(1)))
    assert first[2] == "within_limits"
    assert second[2] == rule
    assert value is None or second[3] == value


def test_what_is_held_of_an_industry_counts_and_another_industry_has_its_own_limit(tmp_path):
    bot = scripted(tmp_path, f"{day(0)} buy AAA 0.3", f"{day(2)} buy BBB 0.3", f"{day(2)} buy CCC 0.3")
    for symbol, industry in (("AAA", "Oil"), ("BBB", "Oil"), ("CCC", "Steel")):
        quote(bot, symbol, 10.0)
        tell_industry(bot, symbol, industry, XNYS.cutoff(day(0)))
    assert [rule for *_, rule, _ in verdicts(walk(bot, days(3)))] == ["within_limits", "max_sector_weight", "within_limits"]


def tell_industry(bot: Tradebot, symbol: str, industry: str, known_at: datetime) -> None:
    security = security_of(symbol)
    name = {"security_id": security, "cik": security // 100, "symbol": symbol, "name": symbol, "industry": industry}
    dates = {"valid_from": date(2020, 1, 1), "valid_to": date.max, "known_at": known_at}
    append(bot, SECURITIES, dict.fromkeys(SECURITIES.columns) | name | dates)


# Orders that are repeated without a fill, and the fall from the peak


def missed(folder: Path) -> Tradebot:
    """AAA opens above every purchase's limit, and closes where it was; it is wanted every day."""
    bot = scripted(folder, *(f"{day(n)} buy AAA 0.5" for n in range(7)))
    quote(bot, "AAA", 10.0, dict.fromkeys(SESSIONS[20:], (11.0, 10.0)))
    return bot


def test_a_purchase_that_was_missed_three_times_in_five_sessions_waits_until_the_first_is_past(tmp_path):
    found = verdicts(walk(missed(tmp_path), days(7)))
    assert [rule for *_, rule, _ in found] == ["within_limits"] * 3 + ["repeat_orders"] * 3 + ["within_limits"]
    assert [value for *_, value in found[3:6]] == [4.0, 4.0, 4.0]


def fallen(folder: Path, close: float) -> Tradebot:
    """900 of 1000 shares of AAA are bought at 10, rise to 12 and fall; then BBB is wanted and AAA is not."""
    bot = scripted(folder, f"{day(0)} buy AAA 0.9", f"{day(4)} buy BBB 0.05", f"{day(4)} sell AAA")
    quote(bot, "AAA", 10.0, {day(2): 12.0, day(3): 12.0} | dict.fromkeys(SESSIONS[24:], close))
    quote(bot, "BBB", 10.0)
    return bot


@pytest.mark.parametrize(("close", "bought"), [(8.8, "within_limits"), (7.9, "drawdown_stop")])
def test_a_sleeve_far_below_its_peak_buys_nothing_and_sells(tmp_path, close, bought):
    tables = walk(fallen(tmp_path, close), days(5))
    _, sale, purchase = sorted(verdicts(tables), key=lambda row: (row[0], row[1] == "buy"))
    assert (sale[1:3], purchase[2]) == (("sell", "within_limits"), bought)
    equity = [float(worth) for worth in tables[EQUITY.name]["equity"]]
    fall = 1 - equity[-1] / max(equity)
    assert (fall > 0.25) == (bought == "drawdown_stop")
    assert bought == "within_limits" or purchase[3] == pytest.approx(fall)


@pytest.mark.parametrize("story", [missed, lambda folder: fallen(folder, 7.9)])
def test_walked_session_by_session_the_limits_remember_the_same(tmp_path, story):
    whole, steps = story(tmp_path / "whole"), story(tmp_path / "steps")
    walk(whole, days(7))
    for session in days(7):
        walk(steps, [session])

    def stored(bot: Tradebot) -> list[pl.DataFrame]:
        return [bot.store.read_results(RESULT_TABLES[name], "scripted", "backtest") for name in ("orders", "books")]

    for once, stepped in zip(stored(whole), stored(steps), strict=True):
        assert_frame_equal(once, stepped)


def test_a_book_made_before_peaks_were_kept_keeps_its_text_and_starts_from_the_equity_it_has(tmp_path):
    bot = fallen(tmp_path, 7.9)
    walk(bot, days(4))
    books = bot.store.read_results(BOOKS, "scripted", "backtest")
    older, before = [], ""
    for row in books.iter_rows(named=True):
        state = json.loads(row["state"])
        del state["peak"]
        text = json.dumps(state, sort_keys=True, separators=(",", ":"))
        assert BookState.from_json(text).to_json() == text
        after = BookState.from_json(text).digest
        older.append(row | {"state": text, "before": before, "after": after})
        before = after
    bot.store.write_results(BOOKS, "scripted", "backtest", days(4), pl.DataFrame(older, schema=books.schema))
    assert "drawdown_stop" not in [rule for *_, rule, _ in verdicts(walk(bot, days(1, start=4)))]
    assert len(bot.backtest_sessions("scripted")) == 5


def test_live_the_peak_is_what_the_nights_before_have_marked(tmp_path):
    desk = Desk(fallen(tmp_path, 7.9))
    for session in days(5):
        desk.night(session)
    last = desk.ledger.orders("scripted", day(4), day(4)).select("side", "approved", "rule").rows()
    assert sorted(last) == [("buy", False, "drawdown_stop"), ("sell", True, "within_limits")]


def test_live_an_order_missed_three_times_is_refused(tmp_path):
    desk = Desk(missed(tmp_path))
    for session in days(7):
        desk.night(session)
    assert desk.ledger.orders("scripted")["rule"].to_list() == ["within_limits"] * 3 + ["repeat_orders"] * 3 + ["within_limits"]


# Books made before a limit existed


def test_a_limit_at_its_default_leaves_the_books_made_before_it_valid(tmp_path):
    assert scripted(tmp_path / "as it comes").sleeve("scripted").settings == "2f8ed74906e81a2a"
    written = scripted(tmp_path / "written", limits={"max_price_jump": 0.5})
    assert written.sleeve("scripted").settings == "2f8ed74906e81a2a"


def test_a_limit_that_is_set_makes_another_book(tmp_path):
    assert scripted(tmp_path, limits={"max_price_jump": 0.4}).sleeve("scripted").settings != "2f8ed74906e81a2a"
