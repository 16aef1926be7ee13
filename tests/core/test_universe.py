"""The universe names securities: a symbol that never was is a mistake and is named; what is held is never lost from sight."""

from datetime import date

import polars as pl
import pytest

from tests.core.test_parity import replayed
from tests.markets import CONFIG, SESSIONS, fill_store, run_layers, security_of, tradebot
from tradebot_core.errors import ConfigurationError, UsageError
from tradebot_core.model import portfolio
from tradebot_core.model.portfolio import EntryKind, usd
from tradebot_core.model.tables import DECISIONS, LAYERS
from tradebot_core.trading.explain import explain
from tradebot_core.trading.universe import UniverseEntry, divided, members_of, read_universe, unresolved
from tradebot_core.wiring import Tradebot

RANGE = SESSIONS[25:]


def universe(folder, symbols: str):
    bot = tradebot(folder, text=CONFIG + f"universe: {{{{symbols: [{symbols}]}}}}\n")
    fill_store(bot)
    return bot


@pytest.mark.parametrize(
    ("symbols", "said"),
    [
        ("GOOD, GODO", r"called: GODO\. GODO: did you mean GOOD\?"),
        ("good", r"called: good\. good: symbols are written in capitals, GOOD\."),
        ("XQZW, LOSSS", r"called: XQZW, LOSSS\. XQZW: correct it, .* LOSSS: did you mean LOSS\?"),
    ],
)
def test_a_symbol_that_no_security_ever_had_is_named_with_what_may_be_meant(tmp_path, symbols, said):
    with pytest.raises(UsageError, match=said):
        universe(tmp_path, symbols).securities(SESSIONS[30])


def test_known_symbols_are_looked_at_alone(tmp_path):
    assert universe(tmp_path, "GOOD, LOSS").securities(SESSIONS[30])["symbol"].sort().to_list() == ["GOOD", "LOSS"]


# Names and securities -----------------------------------------------------------------------------------------------------


def master(*rows: tuple[int, str, str, str]) -> pl.DataFrame:
    """security_id, symbol, valid_from, valid_to."""
    days = [(security, symbol, date.fromisoformat(first), date.fromisoformat(last)) for security, symbol, first, last in rows]
    schema = {"security_id": pl.Int64, "symbol": pl.String, "valid_from": pl.Date, "valid_to": pl.Date}
    return pl.DataFrame(days, schema=schema, orient="row")


FALCON, FACEBOOK, CLASS_A, CLASS_C = 100, 200, 300, 301
MASTER = master(
    (FALCON, "FB", "1999-09-29", "2003-03-28"),
    (FACEBOOK, "FB", "2012-05-18", "2022-06-08"),
    (FACEBOOK, "META", "2022-06-09", "9999-12-31"),
    (CLASS_A, "GOOG", "2004-08-19", "2014-04-02"),
    (CLASS_A, "GOOGL", "2014-04-03", "9999-12-31"),
    (CLASS_C, "GOOG", "2014-04-03", "9999-12-31"),
)


@pytest.mark.parametrize(
    ("entry", "security"),
    [
        (UniverseEntry("META"), FACEBOOK),
        (UniverseEntry("FB"), FACEBOOK),
        (UniverseEntry("GOOG"), CLASS_C),
        (UniverseEntry("GOOG", date(2006, 4, 3), date(2014, 4, 2)), CLASS_A),
        (UniverseEntry("FB", date(2000, 1, 3), date(2002, 12, 31)), FALCON),
        (UniverseEntry("META", date(2013, 12, 23), date(2020, 1, 2)), FACEBOOK),  # lists often name a member by its last symbol
    ],
)
def test_a_symbol_means_the_security_that_bore_it_in_its_spell_and_else_the_last_to_bear_it(entry, security):
    assert members_of([entry], MASTER).rows() == [(security, entry.first, entry.last)]


def test_a_symbol_that_nobody_bore_is_no_member():
    entries = [UniverseEntry("XQZW"), UniverseEntry("FB")]
    assert members_of(entries, MASTER)["security_id"].to_list() == [FACEBOOK]
    assert unresolved(entries, MASTER) == [UniverseEntry("XQZW")]


def test_a_member_is_within_in_its_spells_alone_and_once_where_they_meet():
    days = [date(2022, 6, day) for day in (7, 8, 9, 10)]
    panel = pl.DataFrame({"session": days, "security_id": [FACEBOOK] * 4})
    entries = [
        UniverseEntry("FB", date(2022, 6, 8), date(2022, 6, 9)),
        UniverseEntry("META", date(2022, 6, 9), date(2022, 6, 9)),
    ]
    within, outside = divided(panel, members_of(entries, MASTER))
    assert (within["session"].to_list(), outside["session"].to_list()) == (days[1:3], [days[0], days[3]])
    assert divided(panel, None)[0].equals(panel)


def test_a_file_may_give_symbols_or_dated_spells(tmp_path):
    path = tmp_path / "universe.csv"
    path.write_text("# members\nsymbol,from,to\nFB,2013-12-23,2022-06-09\nMETA,2022-06-09,\n")
    assert read_universe(path) == (
        UniverseEntry("FB", date(2013, 12, 23), date(2022, 6, 9)),
        UniverseEntry("META", date(2022, 6, 9)),
    )
    path.write_text("ON\nBRK.B\n")
    assert read_universe(path) == (UniverseEntry("ON"), UniverseEntry("BRK.B"))


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("FB,2013-12-23", "line 2: FB,2013-12-23 is not symbol,from,to"),
        ("FB,yesterday,", "line 2: FB,yesterday, is not symbol,from,to"),
        ("FB,2013-12-23,2012-01-01", "line 2: .* ends before it begins"),
        (",2013-12-23,", "line 2: .* has no symbol"),
    ],
)
def test_a_bad_spell_stops_the_start_and_is_named(tmp_path, line, said):
    path = tmp_path / "universe.csv"
    path.write_text(f"symbol,from,to\n{line}\n")
    with pytest.raises(ConfigurationError, match=said):
        read_universe(path)


def test_another_header_is_named(tmp_path):
    path = tmp_path / "universe.csv"
    path.write_text("ticker,start_date,end_date\nFB,2013-12-23,\n")
    with pytest.raises(ConfigurationError, match="line 1: the header of a universe with dates is symbol,from,to"):
        read_universe(path)


# What is held and leaves ---------------------------------------------------------------------------------------------------

LEAVES = SESSIONS[60]  # FADE's loss is known on 2024-05-01, which is SESSIONS[83]


def leaving(folder) -> Tradebot:
    """The four companies; FADE is a member until LEAVES."""
    folder.mkdir(parents=True, exist_ok=True)
    spells = folder / "members.csv"
    spells.write_text(f"symbol,from,to\nGOOD,,\nDEAR,,\nLOSS,,\nFADE,,{LEAVES}\n")
    bot = tradebot(folder, text=CONFIG + f"universe: {{{{file: {spells}}}}}\n")
    fill_store(bot)
    return bot


def decided(bot: Tradebot) -> dict[date, tuple[str, str]]:
    rows = bot.store.read_results(DECISIONS, "value_investor", "backtest").filter(pl.col("symbol") == "FADE")
    return {session: (action, rule) for session, action, rule in rows.select("session", "action", "rule").iter_rows()}


def test_what_is_held_and_left_the_universe_is_held_on_and_sold_for_the_same_reasons(tmp_path):
    bot = leaving(tmp_path)
    run_layers(bot, "value_investor", RANGE)
    bot.backtest("value_investor", RANGE)
    seen = bot.store.read_results(LAYERS, "value_investor", "market", layer="screen").filter(pl.col("symbol") == "FADE")
    assert seen["session"].max() == LEAVES
    made = decided(bot)
    loss_known = SESSIONS[83]
    assert made[RANGE[0]] == ("buy", "best_candidates")
    assert {made[s] for s in RANGE if LEAVES < s < loss_known} == {("hold", "stop_loss")}
    assert made[loss_known] == ("sell", "exit_net_income")
    assert max(made) == loss_known  # sold, and never bought again


def test_what_is_held_outside_of_the_universe_is_explained_by_the_same_layers(tmp_path):
    bot = leaving(tmp_path)
    run_layers(bot, "value_investor", RANGE)
    bot.backtest("value_investor", RANGE)
    sold = explain(bot.store, bot.calendar, bot.sleeve("value_investor").strategy, "FADE", SESSIONS[83], "backtest")
    assert [(layer.layer, layer.passed, layer.rule) for layer in sold.layers] == [("screen", False, "exit_net_income")]
    assert sold.decision is not None and sold.decision.action == "sell"


def test_single_sessions_and_a_replay_reach_the_same_decisions_about_it(tmp_path):
    whole, stepwise = leaving(tmp_path / "whole"), leaving(tmp_path / "stepwise")
    run_layers(whole, "value_investor", RANGE)
    whole.backtest("value_investor", RANGE)
    leaves, sold = SESSIONS.index(LEAVES), SESSIONS.index(date(2024, 5, 1))
    before, after = SESSIONS[25 : leaves - 2], SESSIONS[sold + 3 :]
    for sessions in (before, *([session] for session in SESSIONS[leaves - 2 : sold + 3]), after):
        run_layers(stepwise, "value_investor", sessions)
        stepwise.backtest("value_investor", sessions)
    assert decided(stepwise) == decided(whole)
    assert replayed(whole, "value_investor", RANGE).differences == ()


def test_what_a_live_sleeve_holds_stays_among_the_securities_that_are_collected(tmp_path):
    bot = tradebot(tmp_path, text=CONFIG + "universe: {{symbols: [GOOD]}}\n")
    fill_store(bot)
    fade = security_of("FADE")
    assert bot.securities(SESSIONS[30])["symbol"].to_list() == ["GOOD"]
    bot.store.ledger.post("value_investor", [portfolio.Entry("t", SESSIONS[30], EntryKind.TRADE, usd(-550), 10, fade, "FADE")])
    assert bot.securities(SESSIONS[30])["symbol"].sort().to_list() == ["FADE", "GOOD"]
    run_layers(bot, "value_investor", [SESSIONS[30]])
    assert bot.markets.at(bot.sleeve("value_investor").strategy, SESSIONS[30], [fade]).verdicts[fade].passed
