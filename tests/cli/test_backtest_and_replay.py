"""A backtest from the command line, and its replay from the events."""

import subprocess
import sys
from datetime import UTC, date, datetime
from pathlib import Path

import polars as pl

from tests.markets import CONFIG, SESSIONS, START, cik_of, fill_store, security_of, tradebot
from tests.scripted import append
from tradebot_core.model.tables import LAYERS, SECURITIES
from tradebot_dagster.webserver import Webserver

END = SESSIONS[54]
RANGE = ("--start", START, "--end", END)
KEYS = [
    "strategy",
    "start",
    "end",
    "sessions",
    "initial_capital",
    "final_equity",
    "total_return",
    "cagr",
    "volatility",
    "sharpe",
    "max_drawdown",
    "trades",
    "turnover",
    "commission",
    "dividends",
    "sharpe_low",
    "sharpe_high",
    "sortino",
    "calmar",
    "longest_drawdown",
    "exposure",
    "against",
    "benchmark_return",
    "alpha",
    "alpha_t",
    "beta",
    "coverage",
    "selection",
    "run_id",
    "note",
    "round_trips",
    "costs",
    "years",
    "months",
    "positions",
    "unattributed",
    "layers",
    "capacity",
    "doubts",
    "tear_sheet",
]


def test_a_backtest_prints_the_figures_of_its_book(desk):
    figures = desk.json("backtest", "value_investor", *RANGE)
    assert list(figures) == KEYS
    assert (figures["strategy"], figures["start"], figures["end"]) == ("value_investor", str(START), str(END))
    assert (figures["sessions"], figures["initial_capital"], figures["trades"]) == (30, 50000.0, 2)
    assert figures["final_equity"] == desk.bot.performance("value_investor").final_equity
    assert figures["total_return"] == figures["final_equity"] / 50000 - 1
    assert figures["dividends"] == 211 * 0.5
    assert round(figures["commission"], 4) == 2.205
    profits = sum(position["profit"] for position in figures["positions"])
    assert round(50000 + profits, 4) == figures["final_equity"]
    assert [layer["layer"] for layer in figures["layers"]] == ["screen"] * 3 + ["analyze"] * 3
    assert Path(figures["tear_sheet"]) == desk.folder / "store" / "reports" / "value_investor.html"
    assert figures["doubts"][0].startswith("0.1 years put the Sharpe ratio of")

    seen = figures["coverage"]
    assert (seen["securities"], seen["with_bars"], seen["with_market_value"], seen["ended"]) == (4, 1.0, 1.0, 0)
    assert [year["year"] for year in seen["years"]] == [2024] and seen["warnings"] == []
    assert [caveat.split(":")[0] for caveat in seen["caveats"]] == ["No industry was known when the first session was decided"]

    # Continued, it is the one backtest over the longer range.
    later = SESSIONS[59]
    longer = desk.json("backtest", "value_investor", "--start", SESSIONS[55], "--end", later, "--continue")
    assert (longer["start"], longer["end"], longer["sessions"]) == (str(START), str(later), 35)
    replayed = desk.json("replay", "--strategy", "value_investor", "--start", SESSIONS[50], "--end", later)
    assert replayed["differences"] == []


def test_the_tear_sheet_is_written_where_it_is_wanted(desk, tmp_path):
    sheet = tmp_path / "reports" / "of mine.html"
    printed = desk.run("backtest", "value_investor", *RANGE, "--report", sheet).stdout
    assert f"tear sheet {sheet}" in printed and "with 95 % confidence" in printed
    assert "against the universe, equal-weighted, dividends reinvested" in printed
    assert "layer screen" in printed and "passed against rejected over 21 sessions (t not known, 1 samples, 1 apart)" in printed
    assert sheet.read_text().startswith("<!DOCTYPE html>")


def test_what_the_figures_rest_on_is_printed_with_every_doubt(desk):
    fade = {
        "security_id": security_of("FADE"),
        "cik": cik_of("FADE"),
        "symbol": "FADE",
        "name": "FADE",
        "valid_from": date(2020, 1, 1),
    }
    ends = {"valid_to": SESSIONS[40], "known_at": datetime(2023, 6, 1, tzinfo=UTC)}
    append(desk.bot, SECURITIES, dict.fromkeys(SECURITIES.columns) | fade | ends)
    unseen = {
        "security_id": 100,
        "cik": 1,
        "symbol": "GONE",
        "name": "Gone",
        "valid_from": date(2020, 1, 1),
        "valid_to": date.max,
    }
    append(desk.bot, SECURITIES, dict.fromkeys(SECURITIES.columns) | unseen | {"known_at": datetime(2023, 1, 1, tzinfo=UTC)})
    printed = desk.run("backtest", "value_investor", *RANGE).stdout
    assert "5 securities, of which 1 ended" in printed
    # Of 3 x 30 sessions, 16 of the one that ended and 30 of the one that never traded.
    assert "with bars                        77.9% of the sessions in which they were listed" in printed
    assert "! 1 has no bar in the range: GONE." in printed and "! 1 has no known filing: GONE." in printed


def test_a_new_book_says_which_stored_sessions_went_on_from_the_one_it_replaced(desk):
    assert desk.json("backtest", "value_investor", *RANGE)["note"] == ""
    again = desk.json("backtest", "value_investor", "--start", SESSIONS[40], "--end", SESSIONS[45])["note"]
    assert f"from {SESSIONS[46]} to {END} went on from another book" in again
    assert f"tradebot backtest value_investor --continue --start {SESSIONS[46]} --end {END}" in again
    mended = desk.json("backtest", "value_investor", "--continue", "--start", SESSIONS[46], "--end", END)
    assert (mended["note"], mended["start"]) == ("", str(SESSIONS[40]))


def test_without_a_trade_no_figure_is_minus_nothing(desk):
    figures = desk.json("backtest", "value_investor", "--start", START, "--end", START)
    assert figures["trades"] == 0 and not any(str(value) == "-0.0" for value in figures.values())
    assert "-0.00" not in desk.run("backtest", "value_investor", "--start", START, "--end", START).stdout


def test_a_failed_backtest_says_why_and_nothing_else(tmp_path):
    """In a process of its own: what Dagster logs there goes past the command line."""
    source = "collectors:\n  - {{name: price_bars, class_path: tradebot_core.collectors.file_bars.FileBars, params: {{path: none.csv}}}}\n"
    bot = tradebot(tmp_path, text=CONFIG + source)
    fill_store(bot)
    command = [sys.executable, "-c", "from tradebot_dagster.cli import main; main()", "backtest", "value_investor"]
    options = ["--start", str(START), "--end", str(START), "--config", str(tmp_path / "config.yaml")]
    done = subprocess.run([*command, *options], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("Error: The backtest of value_investor failed.") and "none.csv does not exist" in done.stderr
    assert len(done.stderr.splitlines()) <= 3, done.stderr


def test_a_blocking_check_that_stops_a_backtest_says_what_it_found(tmp_path):
    bars = "symbol,session,open,high,low,close,volume\nGOOD,2024-01-03,10,11,9,10,1000\nGOOD,2024-01-04,10,11,12,10,1000\n"
    (tmp_path / "bars.csv").write_text(bars)
    source = "collectors:\n  - {{name: price_bars, class_path: tradebot_core.collectors.file_bars.FileBars, params: {{path: bars.csv}}}}\n"
    bot = tradebot(tmp_path, text=CONFIG + source)
    fill_store(bot, SESSIONS[:1])
    command = [sys.executable, "-c", "from tradebot_dagster.cli import main; main()", "backtest", "value_investor"]
    options = ["--start", str(START), "--end", str(END), "--config", str(tmp_path / "config.yaml")]
    done = subprocess.run([*command, *options], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "every_session_has_bars: " in done.stderr and " found, the first: session 2024-" in done.stderr
    assert "`tradebot export quarantine --format csv -o -` lists what was refused of the data." in done.stderr


def test_by_a_running_instance_the_assets_are_those_of_the_job(desk, monkeypatch):
    desk.backtest()
    asked = {}
    monkeypatch.setattr(Webserver, "launch_backfill", lambda server, assets, days, title: asked.update(assets=assets) or "abc")
    monkeypatch.setattr(Webserver, "wait_for_backfill", lambda *_: None)
    found = desk.json("backtest", "value_investor", *RANGE, "--remote")
    steps = ("screen", "analyze", "backtest", "performance")
    assert found["run_id"] == "abc" and asked["assets"] == [["value_investor", step] for step in steps]


def test_a_page_for_a_person(desk):
    page = desk.run("backtest", "quality_growth", "--start", START, "--end", SESSIONS[26]).stdout
    assert "2" in page and "30,000.00 USD" in page and "max drawdown" in page


def test_the_events_lead_to_the_stored_decisions(desk):
    desk.backtest("value_investor", "quality_growth")
    found = desk.json("replay", "--strategy", "value_investor", *RANGE)
    assert found["differences"] == [] and found["sessions"] == 30
    assert found["compared"] == {"layers.screen": 120, "layers.analyze": 60, "decisions": 60}
    # Four securities, their bars from twenty sessions before, two actions, five filings, and the session closes.
    bars = 4 * (30 + 19)
    assert found["events"] == 4 + bars + 1 + 4 + (30 + 19)
    assert desk.json("replay", "--strategy", "quality_growth", *RANGE)["differences"] == []


def test_a_replay_may_begin_in_the_middle_of_a_book(desk):
    desk.backtest()
    found = desk.json("replay", "--strategy", "value_investor", "--start", SESSIONS[40], "--end", SESSIONS[45])
    assert found["differences"] == [] and found["compared"]["decisions"] == 12


def test_a_changed_verdict_is_found(desk):
    desk.backtest()
    store, session = desk.bot.store, SESSIONS[30]
    stored = store.read_results(LAYERS, "value_investor", "market", session, session, "analyze")
    forged = stored.with_columns(value=pl.when(pl.col("symbol") == "GOOD").then(0.9).otherwise("value"))
    store.write_results(LAYERS, "value_investor", "market", [session], forged, "analyze")
    result = desk.run("replay", "--strategy", "value_investor", *RANGE)
    assert result.exit_code == 1
    assert "1 differences" in result.stdout and f"layers.analyze {session} GOOD" in result.stdout
