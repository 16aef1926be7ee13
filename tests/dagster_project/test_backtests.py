from datetime import date
from pathlib import Path

import dagster as dg
import pytest

from tests.dagster_project.project import Project, on_sample_market, project
from tests.markets import SESSIONS, run_layers
from tradebot_core.errors import TradebotError, UsageError
from tradebot_core.model.tables import BARS, BOOKS
from tradebot_core.wiring import BACKTEST, load
from tradebot_dagster.defs import definitions_of
from tradebot_dagster.instance import instance, run_backtest_in_process

FACTS = ("contract_details", "price_bars", "corporate_actions", "fundamentals")
BACKTESTED = tuple(f"value_investor/{step}" for step in ("screen", "analyze", "backtest", "performance"))
FIRST, LAST = SESSIONS[25], SESSIONS[60]


def files_of(store: Path) -> dict[str, bytes]:
    """What the store holds, by name; but the record of runs, for three runs are not one."""
    files = (path for path in sorted(store.rglob("*")) if path.is_file() and path.name != "trials.sqlite")
    return {str(path.relative_to(store)): path.read_bytes() for path in files}


def test_three_sessions_one_by_one_leave_the_same_bytes_as_their_range(tmp_path: Path, sample_market: Path) -> None:
    sessions = [date(2024, 5, 14), date(2024, 5, 15), date(2024, 5, 16)]
    (_, daily), (_, ranged) = (on_sample_market(tmp_path, sample_market, name) for name in ("daily", "ranged"))
    with project(daily) as one_by_one:
        assert all(one_by_one.run(*FACTS, *BACKTESTED, first=session).success for session in sessions)
    with project(ranged) as at_once:
        assert at_once.run(*FACTS, *BACKTESTED, first=sessions[0], last=sessions[-1]).success
    written = files_of(tmp_path / "ranged")
    assert "reports/value_investor.html" in written  # drawn of ranges only
    assert {name: content for name, content in written.items() if not name.startswith("reports/")} == files_of(
        tmp_path / "daily"
    )
    assert "results/value_investor/backtest/books/2024.parquet" in written


def test_on_the_sample_market_both_shipped_strategies_see_nothing_that_was_not_known(
    tmp_path: Path, sample_market: Path
) -> None:
    """Filings, figures normalised from their facts, a split and a delisting: every kind of session in which a leak would show."""
    path, _ = on_sample_market(tmp_path, sample_market)
    block = "\n  - {name: quality_growth, class_path: tradebot_core.strategies.quality_growth.QualityGrowth, allocated_capital: 30000}\n"
    path.write_text(path.read_text().rstrip() + block)
    bot = load(path)
    first, last = date(2024, 10, 15), date(2025, 2, 14)
    for name in FACTS:
        bot.collect(name, first, last)
    sessions = bot.calendar.sessions(first, last)
    for name in ("value_investor", "quality_growth"):
        run_layers(bot, name, sessions)
        bot.backtest(name, sessions)
        found = bot.lookahead(name, most=10)
        assert found.leaks == () and found.compared["figures"] > 0 and found.compared["decisions"] > 0
        assert {"before a filing", "before a delisting", "before a trade"} <= set(found.sessions.values())


def test_a_backtest_is_continued_from_the_session_before(small: Project) -> None:
    assert small.run(*BACKTESTED, first=FIRST, last=SESSIONS[40]).success
    assert small.run(*BACKTESTED, first=SESSIONS[41], last=LAST).success
    assert small.metadata("value_investor/performance", LAST)["book"] == f"{FIRST} to {LAST} (36 sessions)"


def test_restart_opens_a_new_book(small: Project) -> None:
    assert small.run(*BACKTESTED, first=FIRST, last=SESSIONS[40]).success
    restart = {"ops": {"value_investor__backtest": {"config": {"restart": True}}}}
    assert small.run(*BACKTESTED, first=SESSIONS[41], last=LAST, config=restart).success
    performance = small.metadata("value_investor/performance", LAST)
    assert performance["book"] == f"{SESSIONS[41]} to {LAST} (20 sessions)"
    assert performance["initial_capital"] == 50_000


def test_what_a_backtest_reports(small: Project) -> None:
    assert small.run(*BACKTESTED, first=FIRST, last=LAST).success
    equity = small.bot.store.read_results(BOOKS, "value_investor", BACKTEST)
    assert len(equity) == 36
    reported = small.metadata("value_investor/backtest", LAST)
    assert reported["fills"] == 2 == len(reported["last_fills"].records)
    assert reported["equity_curve"].startswith("![sparkline](data:image/svg+xml;base64,")
    assert len(reported["equity_curve"]) < 1000  # shown in place
    performance = small.metadata("value_investor/performance", LAST)
    assert performance["chart"].startswith("![value_investor, 2024-02-07 to 2024-03-28](data:image/png;base64,")
    assert performance["final_equity"] == pytest.approx(reported["equity"], abs=1e-3)
    assert (performance["coverage_securities"], performance["coverage_with_bars"], performance["coverage_ended"]) == (4, 1, 0)
    assert [row.data["year"] for row in performance["coverage_by_year"].records] == [2024]
    assert "No industry was known when the first session was decided" in performance["doubts"]
    assert "with 95 % confidence (Lo 2002)" in performance["doubts"]
    assert performance["against"] == "the universe, equal-weighted, dividends reinvested" and "beta" in performance
    sheet = Path(performance["tear_sheet"])
    assert sheet == small.bot.config.data_store.path / "reports" / "value_investor.html"
    assert sheet.read_text().startswith("<!DOCTYPE html>")
    assert [record.data["layer"] for record in performance["layers_added"].records] == ["screen"] * 3 + ["analyze"] * 3
    positions = [record.data for record in performance["positions"].records]
    assert {position["symbol"] for position in positions} == {"GOOD", "FADE"}
    earned = sum(position["profit"] for position in positions)
    assert performance["initial_capital"] + earned == pytest.approx(performance["final_equity"], abs=0.01)
    costs = {record.data["what"]: record.data["usd"] for record in performance["costs"].records}
    assert costs["commission"] == pytest.approx(-performance["commission"]) and costs["cost of trading"] < costs["commission"]
    (months,) = [record.data for record in performance["returns_by_month"].records]
    assert set(months) == {"year", "2", "3"} and months["year"] == 2024


def test_after_a_single_session_the_figures_are_told_and_the_report_waits_for_a_range(small: Project) -> None:
    assert small.run(*BACKTESTED, first=FIRST, last=SESSIONS[40]).success
    sheet = small.bot.config.data_store.path / "reports" / "value_investor.html"
    drawn = sheet.read_bytes()
    assert small.run(*BACKTESTED, first=SESSIONS[41]).success
    performance = small.metadata("value_investor/performance", SESSIONS[41])
    assert performance["book"] == f"{FIRST} to {SESSIONS[41]} (17 sessions)"
    assert performance["final_equity"] == pytest.approx(
        small.metadata("value_investor/backtest", SESSIONS[41])["equity"], abs=1e-3
    )
    assert "chart" not in performance and performance["report"].startswith("Made when a range is materialized")
    assert sheet.read_bytes() == drawn


def test_each_session_has_its_equity_and_only_the_last_one_the_pictures(small: Project) -> None:
    """What is attached to a range is copied into the event of each of its sessions."""
    assert small.run(*BACKTESTED, first=FIRST, last=LAST).success
    assert set(small.metadata("value_investor/backtest", SESSIONS[30])) == {"equity"}
    assert set(small.metadata("value_investor/performance", SESSIONS[30])) == set()


def test_layers_report_who_was_rejected_and_why(small: Project) -> None:
    assert small.run("value_investor/screen", first=FIRST, last=LAST).success
    reported = small.metadata("value_investor/screen", LAST)
    assert (reported["dagster/row_count"], reported["passed"], reported["passed_share"]) == (144, 72, 0.5)
    rejecting = {record.data["rule"]: record.data for record in reported["rejecting_rules"].records}
    assert {rule: found["rejected"] for rule, found in rejecting.items()} == {"exit_net_income": 36, "exit_earnings_yield": 36}
    assert rejecting["exit_net_income"]["median_value_in_last_year"] == -2e8
    assert small.metadata("value_investor/screen", SESSIONS[30]) == {"seen_in_session": 4, "passed_in_session": 2}


def test_collectors_report_what_is_new_and_what_was_refused(tmp_path: Path, sample_market: Path) -> None:
    _, bot = on_sample_market(tmp_path, sample_market)
    day = date(2024, 5, 14)
    with project(bot) as collecting:
        assert collecting.run(*FACTS, first=day).success
        bars = collecting.metadata("price_bars", day)
        assert bars["new_rows"] == len(bot.store.read_versions(BARS, as_of=bot.clock.now()))
        assert bars["refused_records"] == 0
        assert collecting.run("price_bars", first=day).success
        assert collecting.metadata("price_bars", day)["new_rows"] == 0


def test_in_one_process_a_backtest_runs_from_facts_to_figures(tmp_path: Path, sample_market: Path) -> None:
    path, _ = on_sample_market(tmp_path, sample_market)
    first, last = date(2024, 5, 14), date(2024, 5, 31)
    run_id = run_backtest_in_process(path, "value_investor", first, last).run_id
    bot = load(path)
    assert list(bot.backtest_sessions("value_investor")) == list(bot.calendar.sessions(first, last))
    with instance(bot.config) as records:
        assert records.get_run_by_id(run_id).is_success
    # Again, for a part of it: a new book, and figures of that book.
    run_backtest_in_process(path, "value_investor", first, date(2024, 5, 20))
    assert bot.performance("value_investor", end=date(2024, 5, 20)).sessions == 5


def test_a_backtest_that_fails_says_what_failed_and_where_to_look(tmp_path: Path, sample_market: Path) -> None:
    path, _ = on_sample_market(tmp_path, tmp_path / "no_such_market")
    said = r"contract_details: .*securities\.csv does not exist\. .*Its run is [0-9a-f-]{36}\."
    with pytest.raises(TradebotError, match=said):
        run_backtest_in_process(path, "value_investor", date(2024, 5, 14), date(2024, 5, 14))


def test_an_unknown_strategy_or_a_day_without_trading_is_refused_before_anything_runs(tmp_path: Path, sample_market) -> None:
    path, _ = on_sample_market(tmp_path, sample_market)
    with pytest.raises(UsageError, match="There is no strategy value_investr"):
        run_backtest_in_process(path, "value_investr", date(2024, 5, 14), date(2024, 5, 14))
    with pytest.raises(UsageError, match="There is no trading session"):
        run_backtest_in_process(path, "value_investor", date(2024, 5, 18), date(2024, 5, 19))


def test_trials_and_luck_stand_beside_every_performance(small: Project) -> None:
    assert small.run(*BACKTESTED, first=FIRST, last=LAST).success
    performance = small.metadata("value_investor/performance", LAST)
    assert (performance["trials"], performance["trial_runs"], performance["lucky_sharpe"]) == (1, 1, 0)
    assert 0 < performance["deflated_sharpe"] < 1
    assert "probability_of_overfitting" not in performance  # nothing was chosen from
    assert "One trial was recorded" in performance["trials_say"]


def test_variants_stand_beside_the_latest_book(small: Project) -> None:
    assert small.run(*BACKTESTED, first=FIRST, last=LAST).success
    job = definitions_of(small.bot).resolve_implicit_global_asset_job_def()
    done = job.execute_in_process(instance=small.instance, asset_selection=[dg.AssetKey(["value_investor", "variants"])])
    (event,) = done.asset_materializations_for_node("value_investor__variants")
    said = {name: value.value for name, value in event.metadata.items()}
    rows = {record.data["variant"]: record.data for record in said["figures"].records}
    assert list(rows) == ["value_investor", "delayed", "costs_doubled"]
    assert rows["costs_doubled"]["commission"] == pytest.approx(2 * rows["value_investor"]["commission"], abs=1e-3)
    assert {record.data["cause"] for record in said["decisions_of_delayed"].records} <= {"book", "decide"}
    assert said["trials"] == 1  # a stress is none


def test_variants_of_a_backtest_that_was_never_run_are_refused_with_what_to_do(small: Project) -> None:
    job = definitions_of(small.bot).resolve_implicit_global_asset_job_def()
    wanted = [dg.AssetKey(["value_investor", "variants"])]
    with pytest.raises(TradebotError, match="There is no backtest of value_investor"):
        job.execute_in_process(instance=small.instance, asset_selection=wanted)
