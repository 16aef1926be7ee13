from datetime import date
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from tests import markets
from tests.core.test_data_gate import with_many_companies
from tests.core.test_lookahead import LEAKING
from tests.dagster_project.project import Project, new_york, on_sample_market, project
from tests.markets import SESSIONS
from tests.real_data import REAL_DATA
from tests.scripted import append
from tradebot_core.errors import DataError
from tradebot_core.model.tables import ACTIONS, BARS, BOOKS, ENTRIES, FACTS, FILLS, FUNDAMENTALS, LAYERS
from tradebot_core.trading import audit
from tradebot_core.trading.stored_markets import MARKET
from tradebot_core.wiring import BACKTEST, Tradebot
from tradebot_dagster.defs.checks import of_collector
from tradebot_dagster.resources import Research

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
        "look_ahead_gate": (True, "ERROR"),
    }


def test_layers_that_rest_on_what_was_not_known_are_not_made_and_nothing_comes_after(small: Project, monkeypatch) -> None:
    assert small.run(*BACKTESTED, first=FIRST, last=LAST).success
    monkeypatch.setattr("tradebot_core.trading.audit.known_too_late", lambda *_: pl.DataFrame({"symbol": ["GOOD"]}))
    result = small.run(*BACKTESTED, first=FIRST, last=LAST)
    assert checks(result) == {"no_look_ahead": (False, "ERROR")} and done(result) == set()
    made = {
        event.asset_key.to_user_string() for event in result.all_events if event.event_type_value == "ASSET_MATERIALIZATION"
    }
    assert made == {"value_investor/screen"}
    stored = small.bot.store.result_sessions
    assert (len(stored(LAYERS, "value_investor", MARKET, "screen")), stored(LAYERS, "value_investor", MARKET, "analyze")) == (
        36,
        [],
    )


@pytest.mark.parametrize("last", [LAST, FIRST])
def test_a_backtest_that_looks_ahead_fails_its_gate_and_has_no_figures(tmp_path: Path, last: date) -> None:
    """As a range, and as a run of one session, which is looked at beside noise in this process."""
    bot = markets.tradebot(tmp_path, text=LEAKING.format(name="NextClose"))
    markets.fill_store(bot)
    with project(bot) as leaking:
        steps = [f"planted/{step}" for step in ("screen", "analyze", "backtest", "performance")]
        result = leaking.run(*steps, first=FIRST, last=last)
    assert not result.success and "planted__performance" not in done(result)
    assert checks(result)["look_ahead_gate"] == (False, "ERROR")
    (gate,) = [e for e in result.get_asset_check_evaluations() if e.check_name == "look_ahead_gate"]
    found = [record.data for record in gate.metadata["findings"].value.records]
    assert {line["layer"] for line in found} == {"analyze"}
    assert ("GOOD", str(FIRST)) in {(line["symbol"], line["session"]) for line in found}
    assert f"session {FIRST}, layer analyze, symbol GOOD" in gate.description


def test_a_layer_with_a_memory_is_looked_at_where_the_memory_is_empty(tmp_path: Path) -> None:
    bot = markets.tradebot(tmp_path, text=LEAKING.format(name="Remembering"))
    markets.fill_store(bot)
    with project(bot) as leaking:
        result = leaking.run("planted/screen", "planted/analyze", "planted/backtest", first=FIRST, last=LAST)
    (gate,) = [e for e in result.get_asset_check_evaluations() if e.check_name == "look_ahead_gate"]
    assert not gate.passed and "layer analyze" in gate.description and "column rise" in gate.description


def test_a_gate_that_cannot_look_stops_the_run_with_its_reason(small: Project) -> None:
    """The configuration was changed under the run: what was made is not what is in force."""
    path = small.bot.config_path
    path.write_text(path.read_text().replace("max_positions: 4", "max_positions: 3"))
    result = small.run(*BACKTESTED, first=FIRST, last=LAST)
    (failure,) = [event for event in result.get_step_failure_events() if event.step_key == "value_investor__backtest"]
    told = str(failure.step_failure_data.error.to_string())
    assert "was made with other parameters" in told


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
    assert not done(result) & {"price_bars", "value_investor__layers", "value_investor__backtest"}


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


def test_the_sample_market_passes_every_check_of_its_facts_but_for_the_company_that_never_filed(
    tmp_path: Path, sample_market: Path
) -> None:
    _, bot = on_sample_market(tmp_path, sample_market)
    with project(bot) as collecting:
        facts = ("contract_details", "price_bars", "corporate_actions", "fundamentals")
        result = collecting.run(*facts, first=date(2021, 3, 1), last=date(2026, 10, 30))
    # One company has no filings at all, on purpose.
    assert {name for name, (passed, _) in checks(result).items() if not passed} == {"every_company_has_figures"}
    assert len(checks(result)) == 15


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

    def losing(store, table, strategy, book, sessions, rows, layer="", made_by=""):
        kept = rows.filter(pl.col("kind") != "commission") if table is ENTRIES else rows
        write(store, table, strategy, book, sessions, kept, layer, made_by)

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


def bars_of(*securities: tuple[float, ...]) -> pl.DataFrame:
    """Bars of securities 1, 2, ... with these closes; each opens at its close."""
    rows = [
        (number, session, close, close, close, close, 1.0)
        for number, closes in enumerate(securities, start=1)
        for session, close in zip(SESSIONS, closes, strict=False)
    ]
    return pl.DataFrame(rows, schema=BARS.columns, orient="row")


def splits_of(*rows: tuple[int, date, float]) -> pl.DataFrame:
    found = [(security, session, "split", ratio) for security, session, ratio in rows]
    return pl.DataFrame(found, schema=ACTIONS.columns, orient="row")


def test_a_fall_by_more_than_half_is_asked_about_unless_the_share_was_split() -> None:
    bars = bars_of((100.0, 25.0), (100.0, 23.0))
    assert audit.unexplained_moves(bars, splits_of((1, SESSIONS[1], 4.0))).rows() == [(SESSIONS[1], 2, 23.0, -0.77, None)]
    assert audit.unexplained_moves(bars.clear(), splits_of()).is_empty()


@pytest.mark.parametrize(
    ("after", "ratio"),
    [
        (50.0, 2.0),
        (51.5, 2.0),
        (33.0, 3.0),
        (66.0, 1.5),
        (14.0, 7.0),
        (5.0, 20.0),
        (205.0, 0.5),
        (1010.0, 0.1),
        (149.0, 1 / 1.5),
    ],
)
def test_a_night_at_the_ratio_of_a_usual_split_is_named_as_a_likely_missing_split(after, ratio) -> None:
    found = audit.unexplained_moves(bars_of((100.0, after, after)), splits_of())
    assert found.select("session", "security_id", "close", "likely_split").rows() == [(SESSIONS[1], 1, after, ratio)]
    assert found["move"].item() == pytest.approx(after / 100 - 1)


@pytest.mark.parametrize("after", [75.0, 80.0, 60.0, 57.0, 54.0, 130.0, 140.0])
def test_other_moves_of_less_than_half_are_the_markets_own(after) -> None:
    assert audit.unexplained_moves(bars_of((100.0, after)), splits_of()).is_empty()


def test_a_fall_that_goes_on_after_the_open_is_news_and_no_split() -> None:
    crash = bars_of((100.0, 62.0)).with_columns(open=pl.Series([100.0, 67.0]), high=pl.Series([100.0, 67.0]))
    assert audit.unexplained_moves(crash, splits_of()).is_empty()


def test_a_recorded_split_that_the_prices_do_not_show_is_named_too() -> None:
    """Bars that somebody adjusted already, or a split recorded on the wrong day."""
    wrong_day = splits_of((1, SESSIONS[2], 2.0))
    found = audit.unexplained_moves(bars_of((100.0, 50.0, 50.0)), wrong_day)
    assert found.select("session", "likely_split").rows() == [(SESSIONS[1], 2.0), (SESSIONS[2], 0.5)]


def test_a_split_during_days_without_trading_explains_the_move_over_them() -> None:
    halted = bars_of((100.0, 100.0, 50.0)).filter(pl.col("session") != SESSIONS[1])
    assert audit.unexplained_moves(halted, splits_of((1, SESSIONS[1], 2.0))).is_empty()


def test_in_eleven_years_of_31_companies_every_split_is_found_by_its_ratio_and_nothing_else_is() -> None:
    folder = REAL_DATA / "market"
    if not folder.is_dir():
        pytest.skip(f"no real data at {REAL_DATA}; set TRADEBOT_REAL_DATA")
    raw = pl.read_parquet(folder / "bars.parquet")
    ids = {symbol: number for number, symbol in enumerate(sorted(set(raw["symbol"])))}
    numbered = pl.col("symbol").replace_strict(ids, return_dtype=pl.Int64, default=None).alias("security_id")
    actions = pl.read_csv(folder / "actions.csv", schema_overrides={"session": pl.Date, "value": pl.Float64})
    bars = raw.with_columns(numbered, pl.col("volume").cast(pl.Float64))
    recorded = actions.filter(pl.col("type") == "split").with_columns(numbered)

    def found(splits: pl.DataFrame) -> set[tuple[date, str, float | None]]:
        by_id = {number: symbol for symbol, number in ids.items()}
        rows = audit.unexplained_moves(bars, splits).select("session", "security_id", "likely_split").rows()
        return {(session, by_id[security], split) for session, security, split in rows}

    amd = (date(2016, 4, 22), "AMD", None)  # up by 52 % on a joint venture in China
    merger = (date(2013, 5, 1), "TMUS", 1.5)  # MetroPCS: one for two, and 4.06 USD a share in cash that the list does not have
    assert found(recorded) == {amd, merger}
    listed = set(recorded.filter(pl.col("symbol") != "TMUS").select("session", "symbol", "value").rows())
    assert found(recorded.clear()) == {*listed, amd}


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


# Data checks


def asked(bot: Tradebot, *sessions: date) -> dict[str, dg.AssetCheckResult]:
    found = of_collector(dg.AssetKey("fundamentals"), FACTS).results(Research(bot), sessions)
    return {result.check_name: result for result in found}


def test_wrong_figures_of_a_company_are_a_warning_that_names_company_figure_and_filing(tmp_path: Path) -> None:
    bot = markets.tradebot(tmp_path)
    markets.fill_store(bot)
    known = new_york(SESSIONS[30], 12)
    append(bot, FUNDAMENTALS, markets.filing("DEAR", date(2023, 12, 31), known, cash=7e9), ingested=known)
    results = asked(bot, *SESSIONS[28:32])
    broken = {name for name, result in results.items() if not result.passed}
    assert broken == {"accounting_identities_hold"}
    (record,) = results["accounting_identities_hold"].metadata["findings"].value.records
    assert record.data == {
        "session": str(SESSIONS[30]),
        "symbol": "DEAR",
        "cik": markets.cik_of("DEAR"),
        "period_end": "2023-12-31",
        "form": "10-K",
        "accession": markets.filing("DEAR", date(2023, 12, 31), known)["accession"],
        "rule": "cash",
        "blocks": True,
        "value": 1.1667,
        "threshold": 1.005,
    }
    assert results["accounting_identities_hold"].severity == dg.AssetCheckSeverity.WARN
    assert asked(bot, SESSIONS[31])["accounting_identities_hold"].passed  # it was said when it became known


def test_revenue_missing_at_most_companies_stops_the_session_and_a_run_outside_dagster_too(tmp_path: Path) -> None:
    bot = with_many_companies(tmp_path, without_revenue=11)
    results = asked(bot, SESSIONS[45])
    revenue, others = results["revenue_is_known"], results["key_figures_are_known"]
    assert (revenue.passed, revenue.severity) == (False, dg.AssetCheckSeverity.ERROR)
    assert (others.passed, others.severity) == (False, dg.AssetCheckSeverity.WARN)
    with pytest.raises(DataError, match=r"revenue_is_known found 1, .*'missing': 0\.55"):
        of_collector(dg.AssetKey("fundamentals"), FACTS).require(Research(bot), [SESSIONS[45]])
    assert asked(with_many_companies(tmp_path / "half", without_revenue=10), SESSIONS[45])["revenue_is_known"].passed
