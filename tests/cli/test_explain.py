"""From a decision back to the filings, and for a name that was not bought: which rule, and by how much."""

import json
from datetime import UTC, date, datetime

import polars as pl
import pytest

from tests.cli.conftest import WITH_CLOCK
from tests.markets import SESSIONS, START, XNYS, filing, run_layers, security_of
from tradebot_core.interfaces import Batch
from tradebot_core.model.tables import BARS, DECISIONS, FUNDAMENTALS, SECURITIES
from tradebot_core.trading.evidence import filing_link

VALUE = ("--strategy", "value_investor")
GROWTH = ("--strategy", "quality_growth")
JANUARY = datetime(2024, 1, 20, 12, tzinfo=UTC)
ACCESSION = "9900000001-24-000007"


def reported(tag: str, value: float, unit: str = "USD") -> dict[str, object]:
    return {
        "taxonomy": "us-gaap",
        "tag": tag,
        "unit": unit,
        "period_start": "2023-01-01",
        "period_end": "2023-12-31",
        "accession": ACCESSION,
        "value": value,
        "form": "10-K",
        "filed": "2024-01-20",
        "known_at": JANUARY.isoformat(),
    }


def file_report(desk, symbol: str, provenance: dict[str, object], **figures: float | None) -> None:
    """A later report of the year 2023, with its provenance."""
    stored = {name: {"rule": None, "reason": None, "inputs": []} | given for name, given in provenance.items()}
    row = filing(symbol, date(2023, 12, 31), JANUARY, **figures) | {"accession": ACCESSION, "provenance": json.dumps(stored)}
    schema = {**FUNDAMENTALS.columns, "known_at": FUNDAMENTALS.schema["known_at"]}
    desk.bot.store.append(Batch(FUNDAMENTALS, pl.DataFrame([row], schema=schema), "normalised"), JANUARY)


def test_a_purchase_is_traced_to_its_fill_and_its_filing(desk):
    income = {"rule": "fiscal_year", "inputs": [reported("NetIncomeLoss", 7e8)]}
    file_report(desk, "GOOD", {"net_income_ttm": income})
    desk.backtest()
    found = desk.json("explain", "GOOD", START, *VALUE)
    assert (found["strategy"], found["symbol"], found["session"], found["book"]) == (
        "value_investor",
        "GOOD",
        "2024-02-07",
        "backtest",
    )
    assert [(layer["layer"], layer["passed"]) for layer in found["layers"]] == [("screen", True), ("analyze", True)]
    assert found["layers"][1]["features"]["earnings_yield"] == pytest.approx(7e8 / 5.905e9)
    assert found["decision"]["action"] == "buy" and found["decision"]["target_weight"] == 0.25
    (order,) = found["orders"]
    assert (order["order_key"], order["quantity"], order["state"], order["approved"]) == (
        f"value_investor|2024-02-07|{security_of('GOOD')}|buy",
        211,
        "filled",
        True,
    )
    (fill,) = found["fills"]
    assert (fill["session"], fill["quantity"], fill["price"]) == ("2024-02-08", 211, 60.03)
    (fact,) = [fact for fact in found["facts"] if fact["accession"]]
    assert {name: fact[name] for name in ("concept", "value", "unit", "period_end", "accession", "source", "used_for")} == {
        "concept": "us-gaap:NetIncomeLoss",
        "value": 7e8,
        "unit": "USD",
        "period_end": "2023-12-31",
        "accession": ACCESSION,
        "source": "sample market (fictional)",
        "used_for": ["net_income_ttm"],
    }
    assert fact["known_at"] == "2024-01-20T12:00:00+00:00"
    market = {fact["concept"]: fact["value"] for fact in found["facts"] if not fact["accession"]}
    assert market == {"close": 59.05, "market_cap": pytest.approx(5.905e9)}


def test_a_rejected_name_says_which_rule_and_by_how_much(desk):
    desk.backtest()
    found = desk.json("explain", "DEAR", START, *VALUE)
    rejected = found["layers"][-1]
    assert (rejected["layer"], rejected["passed"], rejected["rule"]) == ("screen", False, "exit_earnings_yield")
    assert rejected["value"] == pytest.approx(7e8 / 29.425e9) and rejected["threshold"] == 0.025
    assert rejected["reasoning"] == "earnings_yield 0.0237893 is below 0.025, as exit_earnings_yield asks (short by 0.00121071)"
    assert found["summary"].startswith("Not bought: screen rejected it, earnings_yield 0.0237893 is below")
    assert found["decision"] is None and found["orders"] == [] and found["fills"] == []


def test_only_the_figures_that_the_layers_looked_at_are_listed(desk):
    desk.backtest()
    rejected_by_screen = desk.json("explain", "LOSS", START, *VALUE)
    assert "free_cash_flow_ttm" in {figure["figure"] for figure in rejected_by_screen["figures"]}
    assert "debt" not in {figure["figure"] for figure in rejected_by_screen["figures"]}  # only analyze looks at it
    assert rejected_by_screen["layers"][0]["reasoning"] == (
        "net_income_ttm -200,000,000 is not above 0, as exit_net_income asks (short by 200,000,000)"
    )


def test_a_layer_in_plain_python_is_watched_for_what_it_reads(desk):
    desk.backtest("quality_growth")
    found = desk.json("explain", "GOOD", START, *GROWTH)
    assert {figure["figure"] for figure in found["figures"]} == {
        "net_income_ttm",
        "equity",
        "assets",
        "revenue_ttm",
        "revenue_ttm_1y",
        "revenue_ttm_3y",
        "operating_income_ttm",
        "shares_outstanding",
    }
    assert found["layers"][-1]["reasoning"] == "roe 0.233333 is at least min_roe 0.15 (by 0.0833333)"


def test_a_missing_figure_gives_its_reason(desk):
    why = "no fact for tag us-gaap:NetCashProvidedByOperatingActivities"
    file_report(desk, "GOOD", {"free_cash_flow_ttm": {"reason": why}}, free_cash_flow_ttm=None)
    desk.backtest()
    found = desk.json("explain", "GOOD", START, *VALUE)
    assert found["layers"][0]["value"] is None
    assert found["layers"][0]["reasoning"] == (
        f"missing: free_cash_flow_ttm is not known, and positive_free_cash_flow needs it (free_cash_flow_ttm: {why})"
    )
    assert {"figure": "free_cash_flow_ttm", "value": None, "rule": None, "reason": why} in found["figures"]


def test_a_name_that_found_no_place_says_so(desk_with):
    desk = desk_with(WITH_CLOCK.replace("max_positions: 4", "max_positions: 1"))
    desk.backtest()
    found = desk.json("explain", "GOOD", START, *VALUE)
    assert (found["decision"]["action"], found["decision"]["rule"]) == ("skip", "max_positions")
    assert found["summary"] == (
        "Not bought: max_positions: number 2 of the candidates that are not held, with 1 free places (1 too far back)."
    )


def test_a_refusal_by_the_risk_gate_says_which_limit(desk_with):
    desk = desk_with(WITH_CLOCK.replace("max_order_notional: 20000", "restricted: [GOOD], max_order_notional: 20000"))
    desk.backtest()
    found = desk.json("explain", "GOOD", START, *VALUE)
    assert found["orders"][0]["state"] == "refused" and found["orders"][0]["rule"] == "restricted"
    assert found["summary"] == "Not bought: refused: restricted."
    assert found["fills"] == []


def test_a_sale_names_what_deteriorated(desk):
    sold = date(2024, 5, 1)
    sessions = SESSIONS[25:95]
    run_layers(desk.bot, "value_investor", sessions)
    desk.bot.backtest("value_investor", sessions, restart=True)
    found = desk.json("explain", "FADE", sold, *VALUE)
    assert (found["decision"]["action"], found["decision"]["rule"]) == ("sell", "exit_net_income")
    assert found["fills"][0]["session"] == "2024-05-02" and found["fills"][0]["side"] == "sell"
    assert found["summary"].startswith("Sold 230 at ")


def test_a_company_that_never_filed_is_explained_without_a_warning(desk, recwarn):
    known = desk.bot.store.read(SECURITIES, as_of=JANUARY).head(1).drop("source", "ingested_at")
    silent = known.with_columns(security_id=pl.lit(990_000_000_900), cik=pl.lit(9_900_000_009), symbol=pl.lit("MUTE"))
    desk.bot.store.append(Batch(SECURITIES, silent, "test"), JANUARY)
    bars = desk.bot.store.read(BARS, as_of=datetime(2030, 1, 1, tzinfo=UTC))
    one = bars.filter(pl.col("security_id") == bars["security_id"][0]).with_columns(security_id=pl.lit(990_000_000_900))
    desk.bot.store.append(Batch(BARS, one.drop("source", "ingested_at"), "test"), JANUARY)
    desk.backtest()
    found = desk.json("explain", "MUTE", START, *VALUE)
    assert "no filing was known at the cut-off" in found["summary"]
    assert "10-K" not in {fact["form"] for fact in found["facts"]}
    assert [str(warning.message) for warning in recwarn if "null" in str(warning.message)] == []


def test_a_security_without_a_bar_was_not_considered(desk):
    known = desk.bot.store.read(SECURITIES, as_of=JANUARY).head(1).drop("source", "ingested_at")
    idle = known.with_columns(security_id=pl.lit(990_000_000_900), cik=pl.lit(9_900_000_009), symbol=pl.lit("IDLE"))
    desk.bot.store.append(Batch(SECURITIES, idle, "test"), JANUARY)
    desk.backtest()
    found = desk.json("explain", "IDLE", START, *VALUE)
    assert found["summary"] == "Not considered: no bar of the session was known at the cut-off."
    assert found["layers"] == [] and found["facts"] == []


def test_order_keys_and_execution_ids_lead_to_their_decision(desk):
    desk.backtest()
    by_name = desk.json("explain", "GOOD", START, *VALUE)
    assert desk.json("explain", by_name["orders"][0]["order_key"]) == by_name
    assert desk.json("explain", by_name["fills"][0]["execution_id"]) == by_name


def test_the_live_book_comes_first_and_the_backtest_on_request(live_desk):
    live_desk.json("run-session")
    live_desk.backtest()
    assert live_desk.json("explain", "GOOD", START, *VALUE)["book"] == "live"
    assert live_desk.json("explain", "GOOD", START, *VALUE)["summary"].startswith("To be bought: an order for 211 is working")
    assert live_desk.json("explain", "GOOD", START, *VALUE, "--book", "backtest")["book"] == "backtest"


def test_what_came_into_the_store_after_a_live_decision_is_not_shown_as_its_reason(live_desk):
    live_desk.json("run-session")
    late = datetime(2024, 6, 1, tzinfo=UTC)
    row = filing("GOOD", date(2023, 12, 31), JANUARY, net_income_ttm=1.0)
    schema = {**FUNDAMENTALS.columns, "known_at": FUNDAMENTALS.schema["known_at"]}
    live_desk.bot.store.append(Batch(FUNDAMENTALS, pl.DataFrame([row], schema=schema), "normalised"), late)
    figures = live_desk.json("explain", "GOOD", START, *VALUE)["figures"]
    assert next(f["value"] for f in figures if f["figure"] == "net_income_ttm") == 7e8


def test_a_review_is_called_a_review(live_desk):
    bot = live_desk.bot
    run_layers(bot, "value_investor", [START])
    sleeve = bot.sleeve("value_investor")
    bot.desk.decide(sleeve.strategy, sleeve.capital, START, None, "somebody", live_desk.clock.now())
    result = live_desk.run("explain", "GOOD", START, *VALUE)
    assert "a review: decided without the right to trade, and no engine saw it" in result.stdout
    assert bot.store.result_sessions(DECISIONS, "value_investor", "live") == []


def test_the_page_reads_from_verdict_to_filing(desk):
    income = {"rule": "fiscal_year", "inputs": [reported("NetIncomeLoss", 7e8)]}
    file_report(desk, "GOOD", {"net_income_ttm": income})
    desk.backtest()
    page = desk.run("explain", "good", START, *VALUE).stdout
    sections = ("Layers", "Decision", "Orders", "Fills", "Figures the layers looked at", "Facts they were made of")
    places = [page.index(f"\n{section}\n") for section in sections]
    assert places == sorted(places)
    assert f"10-K {ACCESSION}, known 2024-01-20 12:00 UTC, sample market (fictional)" in page


def test_a_filing_of_a_real_company_is_linked():
    assert filing_link(320193, "0001628280-16-020309") == "https://www.sec.gov/Archives/edgar/data/320193/000162828016020309/"
    assert filing_link(9_900_000_001, "9900000001-24-000007") is None


def test_a_vendors_report_has_no_number_of_the_sec_and_gets_no_link():
    assert filing_link(18230, "ibkr-18230-10-K-2020-02-19") is None
    assert filing_link(18230, "ibkr-18230-10-K-2020-02-19+20201104T220000Z") is None


def test_a_fact_of_a_vendors_report_is_said_to_be_one(desk):
    income = {
        "rule": "vendor_net_income",
        "inputs": [reported("NINC", 7e8) | {"taxonomy": "ibkr", "accession": "ibkr-1-10-K-x"}],
    }
    file_report(desk, "GOOD", {"net_income_ttm": income})
    desk.backtest()
    page = desk.run("explain", "good", START, *VALUE).stdout
    assert "10-K ibkr-1-10-K-x, known 2024-01-20 12:00 UTC, IBKR fundamental report, latest version of the period" in page


def renamed(desk) -> None:
    """GOOD becomes BEST in the middle of the backtest; its old symbol passes to nobody."""
    row = {"security_id": security_of("GOOD"), "cik": security_of("GOOD") // 100, "name": "GOOD (test)", "valid_to": date.max}
    row = dict.fromkeys(SECURITIES.columns) | row | {"symbol": "BEST", "valid_from": SESSIONS[40]}
    known = {**row, "known_at": XNYS.opens_at(SESSIONS[40])}
    schema = {**SECURITIES.columns, "known_at": SECURITIES.schema["known_at"]}
    old = {**known, "symbol": "GOOD", "valid_from": date(2020, 1, 1), "valid_to": SESSIONS[39], "known_at": JANUARY}
    desk.bot.store.append(Batch(SECURITIES, pl.DataFrame([known, old], schema=schema), "test"), JANUARY)


def test_an_old_symbol_is_explained_in_its_own_time_and_the_new_one_since(desk):
    renamed(desk)
    desk.backtest()
    assert desk.json("explain", "GOOD", START, *VALUE)["decision"]["action"] == "buy"
    assert desk.json("explain", "BEST", SESSIONS[40], *VALUE)["decision"]["action"] == "hold"
    early, late = desk.run("explain", "BEST", START, *VALUE), desk.run("explain", "GOOD", SESSIONS[40], *VALUE)
    assert early.exit_code == late.exit_code == 2
    assert "BEST is a later symbol of GOOD" in early.output and "Ask for GOOD." in early.output
    assert "Ask for BEST, as it was called then." in late.output


def test_the_market_value_says_which_share_count_stands_for_the_issuer(desk):
    file_report(desk, "GOOD", {"shares_outstanding": {"rule": "reported_balance"}}, shares_outstanding=1e7, shares_diluted=1e8)
    desk.backtest()
    found = desk.json("explain", "GOOD", START, *VALUE)
    (value,) = [fact for fact in found["facts"] if fact["concept"] == "market_cap"]
    assert value["source"].startswith(
        "computed: 100,000,000 shares x close; shares: the diluted average, which counts all share classes"
    )
    assert {"shares_outstanding", "shares_diluted"} <= {figure["figure"] for figure in found["figures"]}


# Data checks


def test_a_company_that_a_data_check_stops_is_explained_with_value_threshold_source_and_filing(desk):
    reason = {"liabilities": {"rule": "reported", "inputs": [reported("Liabilities", 9e9)]}}
    file_report(desk, "GOOD", reason, liabilities=9e9)
    desk.backtest()
    found = desk.json("explain", "GOOD", START, *VALUE)
    filed = f"10-K {ACCESSION}, period to 2023-12-31"
    said = (
        "the data check balance stops it: liabilities and equity are 2 times the assets, which they cannot exceed "
        f"(1.005 with the tolerance) (XBRL US DQC_0004) [{filed}]"
    )
    assert found["summary"] == f"Not bought: {said}."
    (screen,) = found["layers"]
    assert (screen["rule"], screen["value"], screen["threshold"]) == ("data_quality.balance", 2.0, 1.005)
    (check,) = found["data_checks"]
    assert {name: check[name] for name in ("check", "blocks", "value", "threshold", "form", "accession", "period_end")} == {
        "check": "balance",
        "blocks": True,
        "value": 2.0,
        "threshold": 1.005,
        "form": "10-K",
        "accession": ACCESSION,
        "period_end": "2023-12-31",
    }
    assert {"liabilities", "equity", "assets"} <= {figure["figure"] for figure in found["figures"]}
    (fact,) = [fact for fact in found["facts"] if fact["accession"]]
    assert (fact["concept"], fact["value"]) == ("us-gaap:Liabilities", 9e9)
    page = desk.run("explain", "GOOD", START, *VALUE).output
    assert "Data checks it does not meet" in page and "BLOCKS  balance" in page and filed in page


def test_what_is_held_is_said_to_be_held_and_not_to_be_bought_more(desk):
    desk.backtest()
    later = datetime(2024, 3, 1, 12, tzinfo=UTC)
    row = filing("GOOD", date(2023, 12, 31), later, liabilities=9e9)
    schema = {**FUNDAMENTALS.columns, "known_at": FUNDAMENTALS.schema["known_at"]}
    desk.bot.store.append(Batch(FUNDAMENTALS, pl.DataFrame([row], schema=schema), "normalised"), later)
    desk.backtest()
    found = desk.json("explain", "GOOD", "2024-03-01", *VALUE)
    assert found["decision"]["action"] == "hold"
    assert found["summary"].endswith("No more of it is bought while its data are in doubt (balance).")


def test_a_warning_is_shown_and_stops_nothing(desk):
    file_report(desk, "GOOD", {}, debt=4e9)
    desk.backtest()
    found = desk.json("explain", "GOOD", START, *VALUE)
    assert [(check["check"], check["blocks"]) for check in found["data_checks"]] == [("debt", False)]
    assert found["decision"]["action"] == "buy"


def test_status_names_the_companies_that_data_checks_stop(desk):
    assert desk.json("status")["blocked_companies"] == {}
    file_report(desk, "GOOD", {}, liabilities=9e9, cash=7e9)
    assert desk.json("status")["blocked_companies"] == {"GOOD": ["balance", "cash"]}
    assert "Data checks stop purchases of GOOD (balance, cash)." in desk.run("status").output
