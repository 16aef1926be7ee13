"""`tradebot restatements`: the report as a page and as JSON, and what it says to a question that has no answer."""

import json
from pathlib import Path

import pytest

from tests import restated_market
from tests.cli.conftest import Desk
from tests.markets import run_layers
from tests.restated_market import AMENDMENT, ANNUAL_REPORT, CIK, DECIDED, correct, file, report

GOLDEN = Path(__file__).parents[1] / "golden" / "restatements.json"


@pytest.fixture
def corrected_desk(desk: Desk) -> Desk:
    """GOOD's year as first filed, two sessions of a backtest on it, and the amendment that shows a loss."""
    file(desk.bot, report(ANNUAL_REPORT, "10-K", restated_market.FIRST_FILED, 1e8))
    run_layers(desk.bot, "value_investor", DECIDED[:2])
    desk.bot.backtest("value_investor", DECIDED[:2], restart=True)
    correct(desk.bot, NetIncomeLoss=-1e8)
    return desk


def test_the_document_holds_each_figure_verdict_and_decision_then_and_now(corrected_desk):
    assert corrected_desk.json("restatements") == json.loads(GOLDEN.read_text())


def test_the_page_tells_it_in_words(corrected_desk):
    page = corrected_desk.run("restatements", "good").stdout
    assert f"GOOD (test) (CIK {CIK}): 10-K/A {AMENDMENT}, known 2024-05-10 12:00 UTC" in page
    assert f"us-gaap:NetIncomeLoss  2023-01-01 to 2023-12-31  700,000,000 -> -100,000,000 USD  (was {ANNUAL_REPORT})" in page
    assert "value_investor, backtest, GOOD, 2024-02-07" in page
    assert "screen on GOOD: passed (positive_free_cash_flow) -> FAILED (exit_net_income)" in page
    assert "analyze on GOOD: passed (min_score) -> would not be shown it" in page
    assert "decision on GOOD: BUY 25.0% (best_candidates) -> none" in page


@pytest.mark.parametrize(
    ("asked", "filings"),
    [
        (["GOOD"], 1),
        (["--cik", CIK], 1),
        (["--accession", AMENDMENT], 1),
        (["--since", "2024-05-10"], 1),
        (["--since", "2024-05-11"], 0),
        (["--accession", ANNUAL_REPORT], 0),
        (["FADE"], 0),
        (["--strategy", "quality_growth"], 0),
        (["--cik", 4711], 0),
    ],
)
def test_the_report_is_about_the_issuer_the_filing_the_time_and_the_strategy_asked_for(corrected_desk, asked, filings):
    assert len(corrected_desk.json("restatements", *asked)["restatements"]) == filings


def test_where_nothing_was_changed_it_says_so(desk):
    result = desk.run("restatements")
    assert (result.exit_code, result.stdout) == (0, "No stored decision had read a figure that a later filing changed.\n")


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (["GOOOD"], "The store knows no security GOOOD."),
        (["--accession", "0000000001-24-000001"], "no facts from a filing 0000000001-24-000001"),
        (["FADE", "--accession", AMENDMENT], f"no facts of that issuer from a filing {AMENDMENT}"),
        (["GOOD", "--cik", CIK], "Both a symbol and a CIK were given."),
        (["--strategy", "patient"], "There is no strategy patient."),
        (["--since", "yesterday"], "'yesterday' is not a day"),
        (["--cik", "-3"], "-3 is not in the range"),
    ],
)
def test_a_question_that_cannot_be_answered_names_what_is_wrong(corrected_desk, asked, words):
    document = corrected_desk.json("restatements", *asked, exit_code=2)
    assert words in document["error"]
