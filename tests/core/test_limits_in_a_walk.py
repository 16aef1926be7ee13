"""The limits that look back: in a backtest, session by session as in one walk, and at the live desk."""

from datetime import date, datetime, timedelta

import polars as pl
import pytest

from tests.markets import XNYS
from tests.scripted import SESSIONS, act, append, quote, scripted, security_of, walk
from tradebot_core.model.tables import ORDERS, SECURITIES
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


# Books made before a limit existed


def test_a_limit_at_its_default_leaves_the_books_made_before_it_valid(tmp_path):
    assert scripted(tmp_path / "as it comes").sleeve("scripted").fingerprint == "2f8ed74906e81a2a"
    written = scripted(tmp_path / "written", limits={"max_price_jump": 0.5})
    assert written.sleeve("scripted").fingerprint == "2f8ed74906e81a2a"


def test_a_limit_that_is_set_makes_another_book(tmp_path):
    assert scripted(tmp_path, limits={"max_price_jump": 0.4}).sleeve("scripted").fingerprint != "2f8ed74906e81a2a"
