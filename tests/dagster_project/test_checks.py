from datetime import date
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from tests import markets
from tests.dagster_project.project import Project, on_sample_market, project
from tests.markets import SESSIONS
from tradebot_core.model.tables import BOOKS, ENTRIES, FILLS, FUNDAMENTALS
from tradebot_core.trading import audit
from tradebot_core.wiring import BACKTEST

FIRST, LAST = SESSIONS[25], SESSIONS[60]
BACKTESTED = tuple(f"value_investor/{step}" for step in ("screen", "analyze", "backtest", "performance"))


def checks(result: dg.ExecuteInProcessResult) -> dict[str, tuple[bool, str]]:
    return {e.check_name: (e.passed, e.severity.value) for e in result.get_asset_check_evaluations()}


def done(result: dg.ExecuteInProcessResult) -> set[str]:
    return {event.step_key for event in result.get_step_success_events()}


def test_a_sound_backtest_passes_every_check(small: Project) -> None:
    assert checks(small.run(*BACKTESTED, first=FIRST, last=LAST)) == {
        "no_look_ahead": (True, "ERROR"),
        "one_unbroken_book": (True, "ERROR"),
        "nothing_stale_after": (True, "WARN"),
        "cash_balances": (True, "ERROR"),
    }


def without_bars(sample_market: Path, folder: Path, missing: pl.Expr) -> Path:
    """The sample market, with some bars taken out."""
    folder.mkdir()
    for name in ("securities.csv", "actions.csv", "companyfacts.zip", "submissions.zip"):
        (folder / name).symlink_to(sample_market / name)
    pl.read_parquet(sample_market / "bars.parquet").filter(~missing).write_parquet(folder / "bars.parquet")
    return folder


def test_a_session_without_any_bar_stops_everything_after_it(tmp_path: Path, sample_market: Path) -> None:
    market = without_bars(sample_market, tmp_path / "gap", pl.col("session").cast(pl.Date) == date(2024, 5, 15))
    _, bot = on_sample_market(tmp_path, market)
    facts = ("contract_details", "price_bars", "corporate_actions", "fundamentals")
    with project(bot) as gapped:
        result = gapped.run(*facts, *BACKTESTED, first=date(2024, 5, 14), last=date(2024, 5, 16))
    assert not result.success
    assert checks(result)["every_session_has_bars"] == (False, "ERROR")
    assert not done(result) & {"price_bars", "value_investor__screen", "value_investor__backtest"}


def test_a_security_without_a_bar_is_a_warning_that_names_it(tmp_path: Path, sample_market: Path) -> None:
    day = date(2024, 5, 15)
    missing = (pl.col("session").cast(pl.Date) == day) & (pl.col("symbol") == "ZALDR")
    _, bot = on_sample_market(tmp_path, without_bars(sample_market, tmp_path / "gap", missing))
    with project(bot) as collecting:
        result = collecting.run("contract_details", "price_bars", first=date(2024, 5, 14), last=date(2024, 5, 16))
    assert result.success
    (complete,) = [e for e in result.get_asset_check_evaluations() if e.check_name == "every_listed_security_has_bars"]
    assert (complete.passed, complete.severity) == (False, dg.AssetCheckSeverity.WARN)
    found = [record.data for record in complete.metadata["findings"].value.records]
    assert found == [{"symbol": "ZALDR", "missing": 1, "first": str(day), "last": str(day)}]


def test_a_security_that_stops_trading_without_a_delisting_is_a_warning_with_its_last_price(
    tmp_path: Path, sample_market: Path
) -> None:
    missing = (pl.col("session").cast(pl.Date) >= date(2024, 5, 2)) & (pl.col("symbol") == "ZALDR")
    _, bot = on_sample_market(tmp_path, without_bars(sample_market, tmp_path / "gap", missing))
    with project(bot) as collecting:
        result = collecting.run("contract_details", "price_bars", first=date(2024, 5, 1), last=date(2024, 5, 16))
    assert result.success
    (ended,) = [e for e in result.get_asset_check_evaluations() if e.check_name == "no_end_without_delisting"]
    assert (ended.passed, ended.severity) == (False, dg.AssetCheckSeverity.WARN)
    (found,) = [record.data for record in ended.metadata["findings"].value.records]
    assert (found["symbol"], found["last_session"]) == ("ZALDR", "2024-05-01") and found["last_close"] > 0


def test_the_sample_market_passes_every_check_of_its_facts(tmp_path: Path, sample_market: Path) -> None:
    _, bot = on_sample_market(tmp_path, sample_market)
    with project(bot) as collecting:
        facts = ("contract_details", "price_bars", "corporate_actions", "fundamentals")
        result = collecting.run(*facts, first=date(2021, 3, 1), last=date(2026, 10, 30))
    assert {name for name, (passed, _) in checks(result).items() if not passed} == set()
    assert len(checks(result)) == 9


def test_a_book_that_was_replaced_leaves_the_sessions_after_it_stale(small: Project) -> None:
    assert small.run(*BACKTESTED, first=FIRST, last=LAST).success
    restart = {"ops": {"value_investor__backtest": {"config": {"restart": True}}}}
    again = small.run(*BACKTESTED, first=SESSIONS[30], last=SESSIONS[40], config=restart)
    assert again.success
    assert checks(again)["nothing_stale_after"] == (False, "WARN")
    # The figures are of the new book alone.
    book = small.metadata("value_investor/performance", SESSIONS[40])["book"]
    assert book == f"{SESSIONS[30]} to {SESSIONS[40]} (11 sessions)"


def test_an_entry_that_was_lost_stops_the_figures(small: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    write = type(small.bot.store).write_results

    def losing(store, table, strategy, book, sessions, rows, layer=""):
        kept = rows.filter(pl.col("kind") != "commission") if table is ENTRIES else rows
        write(store, table, strategy, book, sessions, kept, layer)

    monkeypatch.setattr(type(small.bot.store), "write_results", losing)
    result = small.run(*BACKTESTED, first=FIRST, last=LAST)
    assert not result.success
    assert checks(result)["cash_balances"] == (False, "ERROR")
    assert "value_investor__performance" not in done(result)


# The questions themselves


def test_a_filing_that_was_not_public_at_the_cutoff_is_found() -> None:
    cutoff = markets.XNYS.cutoff(FIRST)
    panel = pl.DataFrame(
        {
            "session": [FIRST] * 3,
            "symbol": ["IN_TIME", "TOO_LATE", "NEVER_FILED"],
            "accession": ["a", "b", None],
            "fundamentals_known_at": [cutoff, cutoff.replace(minute=1), None],
        },
        schema_overrides={"fundamentals_known_at": FUNDAMENTALS.schema["known_at"]},
    )
    assert audit.known_too_late(panel, [FIRST], markets.XNYS)["symbol"].to_list() == ["TOO_LATE"]


def test_a_book_must_begin_where_the_one_before_ended() -> None:
    books = pl.DataFrame(
        {"session": SESSIONS[:5], "before": ["", "a", "x", "c", ""], "after": ["a", "b", "c", "d", "e"], "state": [""] * 5},
        schema=BOOKS.schema,
    )
    assert audit.broken_links(books)["session"].to_list() == [SESSIONS[2]]


def test_a_listed_security_needs_a_bar_in_every_session() -> None:
    securities = pl.DataFrame(
        {
            "security_id": [1, 2, 3],
            "symbol": ["THERE", "GAP", "NOT_YET"],
            "valid_from": [SESSIONS[0], SESSIONS[0], SESSIONS[3]],
            "valid_to": [date.max] * 3,
        }
    )
    bars = pl.DataFrame(
        {"session": [*SESSIONS[:3], SESSIONS[0]], "security_id": [1, 1, 1, 2]}, schema_overrides={"security_id": pl.Int64}
    )
    missing = audit.missing_bars(bars, securities, SESSIONS[:3])
    assert missing.rows() == [("GAP", 2, SESSIONS[1], SESSIONS[2])]
    assert audit.sessions_without_bars(bars, SESSIONS[:4])["session"].to_list() == [SESSIONS[3]]


def test_a_fall_by_more_than_half_is_asked_about_unless_the_share_was_split() -> None:
    bars = pl.DataFrame({"session": SESSIONS[:2] * 2, "security_id": [1, 1, 2, 2], "close": [100.0, 25.0, 100.0, 25.0]})
    split = pl.DataFrame({"session": [SESSIONS[1]], "security_id": [1], "type": ["split"]})
    assert audit.unexplained_moves(bars, split).rows() == [(SESSIONS[1], 2, 25.0, -0.75)]


def test_weights_may_not_exceed_the_sleeve_and_missing_ones_are_not_within_it() -> None:
    decisions = pl.DataFrame(
        {
            "session": [SESSIONS[0], SESSIONS[0], SESSIONS[1], SESSIONS[2]],
            "symbol": ["A", "B", "A", "A"],
            "action": ["buy"] * 4,
            "target_weight": [0.5, 0.6, 1.0, float("nan")],
        }
    )
    assert audit.overcommitted_sessions(decisions)["session"].to_list() == [SESSIONS[0], SESSIONS[2]]
    assert len(audit.overweight_decisions(decisions, 0.5)) == 3


def test_the_ledger_and_the_executions_must_agree(small: Project) -> None:
    markets.run_layers(small.bot, "value_investor", SESSIONS[25:40])
    small.bot.backtest("value_investor", SESSIONS[25:40])
    fills = small.bot.store.read_results(FILLS, "value_investor", BACKTEST)
    missing = audit.trades_without_their_fill(fills, [])
    assert missing["entry_key"].to_list() == sorted(f"fill:{key}" for key in fills["execution_id"])
