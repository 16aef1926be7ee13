"""What fundamentals are made of: known at which instant, from which facts, and missing for which reason."""

import json
import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.real_data import REAL_DATA
from tradebot_core.calendar import xnys
from tradebot_core.collectors.edgar import EdgarFacts
from tradebot_core.model.fundamentals import FIGURES
from tradebot_core.model.tables import FACTS, FUNDAMENTALS, INSTANT
from tradebot_core.quant.concepts import concept_map
from tradebot_core.quant.statements import fiscal_year_figure, normalise, normalise_many, provenance_of

CIK = 42
FACT_SCHEMA = pl.Schema({**FACTS.columns, "known_at": INSTANT})
FY2022 = (date(2022, 1, 1), date(2022, 12, 31))
FY2023 = (date(2023, 1, 1), date(2023, 12, 31))
Q1_2022 = (date(2022, 1, 1), date(2022, 3, 31))
Q1_2023 = (date(2023, 1, 1), date(2023, 3, 31))
H1_2022 = (date(2022, 1, 1), date(2022, 6, 30))
H1_2023 = (date(2023, 1, 1), date(2023, 6, 30))
MONTHS_9_2022 = (date(2022, 1, 1), date(2022, 9, 30))
MONTHS_9_2023 = (date(2023, 1, 1), date(2023, 9, 30))
Q2_2023 = (date(2023, 4, 1), date(2023, 6, 30))
Q3_2023 = (date(2023, 7, 1), date(2023, 9, 30))
Q4_2023 = (date(2023, 10, 1), date(2023, 12, 31))
REVENUE = "us-gaap:Revenues"
CONTRACT_REVENUE = "us-gaap:RevenueFromContractWithCustomerExcludingAssessedTax"
OLD_REVENUE = "us-gaap:SalesRevenueNet"
INCOME = "us-gaap:NetIncomeLoss"
EPS = "us-gaap:EarningsPerShareDiluted"
BASIC = "us-gaap:WeightedAverageNumberOfSharesOutstandingBasic"
DILUTED = "us-gaap:WeightedAverageNumberOfDilutedSharesOutstanding"
COVER = "dei:EntityCommonStockSharesOutstanding"


def filing(filed: str, facts: dict, form: str = "10-Q", accession: str | None = None, cik: int = CIK) -> list[tuple]:
    """Rows of FACTS of one filing: {(tag, period): value}, a period being (start, end) or the day of a balance."""
    day = date.fromisoformat(filed)
    accession = accession or f"0000000042-{day:%y}-{day:%m%d}00"
    known_at = datetime(day.year, day.month, day.day, 21, 0, tzinfo=UTC)
    rows = []
    for (tag, period), value in facts.items():
        start, end = period if isinstance(period, tuple) else (None, period)
        unit = "USD/shares" if "PerShare" in tag else "shares" if "Shares" in tag else "USD"
        rows.append((cik, *tag.split(":"), unit, start, end, accession, float(value), form, None, None, day, known_at))
    return rows


def table(*filings: list[tuple]) -> pl.DataFrame:
    return pl.DataFrame([row for rows in filings for row in rows], schema=FACT_SCHEMA, orient="row")


def rows_of(*filings: list[tuple]) -> list[dict]:
    return normalise(table(*filings), "Sample Corp").rows(named=True)


def last(*filings: list[tuple]) -> dict:
    return rows_of(*filings)[-1]


def reason(row: dict, figure: str) -> str:
    assert row[figure] is None
    found = provenance_of(row, figure).reason
    assert found is not None
    return found


ANNUAL_2022 = filing("2023-02-20", {(REVENUE, FY2022): 1000}, "10-K")


# Twelve months ------------------------------------------------------------------------------------------------------------


def test_a_fiscal_year_is_its_own_twelve_months():
    row = last(ANNUAL_2022)
    assert row["revenue_ttm"] == 1000
    assert (row["period_end"], row["form"], row["known_at"]) == (
        date(2022, 12, 31),
        "10-K",
        datetime(2023, 2, 20, 21, tzinfo=UTC),
    )
    assert provenance_of(row, "revenue_ttm").rule == "fiscal_year"


def test_between_fiscal_years_the_same_months_of_the_year_before_are_exchanged():
    row = last(ANNUAL_2022, filing("2023-08-01", {(REVENUE, H1_2023): 620, (REVENUE, H1_2022): 480}))
    assert row["revenue_ttm"] == 1000 + 620 - 480
    provenance = provenance_of(row, "revenue_ttm")
    assert provenance.rule == "fiscal_year_plus_ytd_less_prior_ytd"
    assert [fact.value for fact in provenance.inputs] == [1000, 620, 480]


def test_the_year_before_comes_from_the_filing_that_reports_the_year_to_date():
    row = last(
        filing("2022-08-01", {(REVENUE, H1_2022): 470}),
        ANNUAL_2022,
        filing("2023-08-01", {(REVENUE, H1_2023): 620, (REVENUE, H1_2022): 480}),
    )
    assert [fact.accession for fact in provenance_of(row, "revenue_ttm").inputs[1:]] == ["0000000042-23-080100"] * 2


def test_the_year_before_comes_from_its_own_filing_where_the_current_one_has_none():
    row = last(filing("2022-08-01", {(REVENUE, H1_2022): 470}), ANNUAL_2022, filing("2023-08-01", {(REVENUE, H1_2023): 620}))
    assert row["revenue_ttm"] == 1000 + 620 - 470


def test_a_missing_year_before_is_a_missing_figure_with_its_reason():
    row = last(ANNUAL_2022, filing("2023-08-01", {(REVENUE, H1_2023): 620}))
    assert reason(row, "revenue_ttm").startswith("prior year-to-date missing")


OWN_H1_2022 = filing("2022-08-01", {(REVENUE, H1_2022): 470, (INCOME, H1_2022): 40})
YEAR_2022 = filing("2023-02-20", {(REVENUE, FY2022): 1000, (INCOME, FY2022): 90}, "10-K")


@pytest.mark.parametrize(("recast", "known"), [(300, 1000 + 620 - 300), (940, 1000 + 620 - 940), (230, None), (950, None)])
def test_a_comparative_that_differs_by_more_than_half_makes_the_twelve_months_missing(recast, known):
    row = last(OWN_H1_2022, YEAR_2022, filing("2023-08-01", {(REVENUE, H1_2023): 620, (REVENUE, H1_2022): recast}))
    assert row["revenue_ttm"] == known
    if known is None:
        assert reason(row, "revenue_ttm").startswith(f"comparatives were recast: {recast} for the months to 2022-06-30 in ")


def test_a_comparative_of_another_sign_makes_the_twelve_months_missing():
    row = last(OWN_H1_2022, YEAR_2022, filing("2023-08-01", {(INCOME, H1_2023): 50, (INCOME, H1_2022): -5}))
    assert reason(row, "net_income_ttm").startswith("comparatives were recast: -5 for")


OPENING, CLOSING = date(2021, 12, 31), FY2022[1]


def restated(
    closing_then: float,
    closing_now: float,
    opening_then: float = 900,
    opening_in_year: float = 900,
    year_again: float | None = None,
) -> dict:
    """Half-year income of 40 restated to -5; total assets at both year ends as the filings gave them."""
    filings = [
        filing("2022-08-01", {(INCOME, H1_2022): 40, ("us-gaap:Assets", OPENING): opening_then}),
        filing(
            "2023-02-20",
            {(INCOME, FY2022): 90, ("us-gaap:Assets", CLOSING): closing_then, ("us-gaap:Assets", OPENING): opening_in_year},
            "10-K",
        ),
        filing("2023-08-01", {(INCOME, H1_2023): 50, (INCOME, H1_2022): -5, ("us-gaap:Assets", CLOSING): closing_now}),
    ]
    if year_again is not None:
        filings.insert(2, filing("2023-06-20", {(INCOME, FY2022): year_again}, "8-K"))
    return last(*filings)


def test_of_one_company_whose_past_was_restated_the_quarters_as_first_reported_add_up():
    row = restated(closing_then=1000, closing_now=1004)
    assert row["net_income_ttm"] == 90 + 50 - 40
    provenance = provenance_of(row, "net_income_ttm")
    assert provenance.rule == "fiscal_year_plus_ytd_less_prior_ytd_as_first_reported"
    assert [fact.accession for fact in provenance.inputs] == [
        *("0000000042-23-022000", "0000000042-23-080100", "0000000042-22-080100"),
    ]


def test_after_a_reverse_merger_the_year_of_one_company_and_the_months_of_another_do_not_add_up():
    assert reason(restated(closing_then=1000, closing_now=3400), "net_income_ttm").endswith(
        "40 in 0000000042-22-080100, and total assets do not say that both are of one company"
    )


def test_months_that_another_company_had_filed_before_the_merger_are_passed_over():
    row = restated(closing_then=1000, closing_now=1000, opening_then=300, opening_in_year=900)
    assert row["net_income_ttm"] == 90 + 50 - (-5)


def test_where_the_year_was_restated_as_well_the_comparatives_belong_to_it():
    assert restated(closing_then=1000, closing_now=1000, year_again=55)["net_income_ttm"] == 55 + 50 - (-5)


def test_months_that_exceed_their_year_were_recast_even_where_their_own_filing_is_not_known():
    row = last(YEAR_2022, filing("2023-08-01", {(REVENUE, H1_2023): 6200, (REVENUE, H1_2022): 5000}))
    assert reason(row, "revenue_ttm").startswith("comparatives were recast: 5000 for the months to ")


def test_a_year_reported_again_on_the_new_basis_is_used_with_recast_comparatives():
    current = filing("2023-08-01", {(REVENUE, H1_2023): 620, (REVENUE, H1_2022): 5000, (REVENUE, FY2022): 9000})
    assert last(OWN_H1_2022, YEAR_2022, current)["revenue_ttm"] == 9000 + 620 - 5000


def test_years_of_52_and_53_weeks_are_years():
    fy53 = (date(2022, 9, 25), date(2023, 9, 30))  # 371 days
    quarter, year_before = (date(2023, 10, 1), date(2023, 12, 30)), (date(2022, 9, 25), date(2022, 12, 31))
    row = last(
        filing("2023-11-02", {(REVENUE, fy53): 1000}, "10-K"),
        filing("2024-02-01", {(REVENUE, quarter): 300, (REVENUE, year_before): 280}),
    )
    assert row["revenue_ttm"] == 1020


def test_quarters_of_12_and_16_weeks_add_up():
    year = (date(2022, 8, 29), date(2023, 9, 3))
    first, first_before = (date(2023, 9, 4), date(2023, 11, 26)), (date(2022, 8, 29), date(2022, 11, 20))
    row = last(
        filing("2023-10-11", {(REVENUE, year): 1000}, "10-K"),
        filing("2023-12-20", {(REVENUE, first): 230, (REVENUE, first_before): 210}),
    )
    assert row["revenue_ttm"] == 1020


def test_four_quarters_stand_in_where_the_year_to_date_is_not_reported():
    quarters = {(REVENUE, Q1_2023): 100, (REVENUE, Q2_2023): 110, (REVENUE, Q3_2023): 120, (REVENUE, Q4_2023): 130}
    row = last(filing("2024-02-20", quarters, "10-K"))
    assert (row["revenue_ttm"], provenance_of(row, "revenue_ttm").rule) == (460, "four_quarters")


def test_a_fourth_quarter_is_the_year_less_nine_months():
    next_q1 = (date(2024, 1, 1), date(2024, 3, 31))
    facts = {(REVENUE, Q2_2023): 110, (REVENUE, Q3_2023): 120, (REVENUE, MONTHS_9_2023): 330, (REVENUE, FY2023): 460}
    row = last(filing("2024-02-20", facts, "10-K"), filing("2024-05-01", {(REVENUE, next_q1): 140}))
    assert row["revenue_ttm"] == 140 + (460 - 330) + 120 + 110


def test_a_half_yearly_filer_has_twelve_months_as_well():
    row = last(
        filing("2023-03-01", {(REVENUE, FY2022): 1000}, "20-F"),
        filing("2023-09-01", {(REVENUE, H1_2023): 600, (REVENUE, H1_2022): 500}, "6-K"),
    )
    assert row["revenue_ttm"] == 1100


def test_a_transition_period_is_missing_and_says_so():
    moved = (date(2023, 1, 1), date(2023, 5, 31))
    row = last(ANNUAL_2022, filing("2023-07-20", {(REVENUE, moved): 420}, "10-KT"))
    assert row["period_end"] == date(2023, 5, 31)
    assert row["revenue_ttm"] is None
    stranded = (date(2023, 6, 1), date(2023, 8, 31))
    row = last(
        ANNUAL_2022, filing("2023-07-20", {(REVENUE, moved): 420}, "10-KT"), filing("2023-10-10", {(REVENUE, stranded): 260})
    )
    assert reason(row, "revenue_ttm") == "no fiscal year ends the day before 2023-06-01, where the year to date begins"


def test_labels_of_the_filing_are_not_the_fact():
    labelled = table(ANNUAL_2022).with_columns(fiscal_year=pl.lit(2031, pl.Int32), fiscal_period=pl.lit("Q3"))
    assert normalise(labelled, "Sample Corp")["revenue_ttm"].to_list() == [1000]


def test_earlier_years_are_those_known_at_the_instant():
    row = last(
        filing("2020-02-20", {(REVENUE, (date(2019, 1, 1), date(2019, 12, 31))): 700}, "10-K"),
        filing("2022-02-20", {(REVENUE, (date(2021, 1, 1), date(2021, 12, 31))): 900}, "10-K"),
        filing("2023-02-20", {(REVENUE, FY2022): 1000, (REVENUE, (date(2021, 1, 1), date(2021, 12, 31))): 880}, "10-K"),
    )
    assert (row["revenue_ttm"], row["revenue_ttm_1y"], row["revenue_ttm_3y"]) == (1000, 880, 700)


def test_the_year_before_of_a_quarter_is_not_mixed_from_two_bases():
    """In 2023 the company restates H1 2022 without a sold division; H1 2021 is only known with it."""
    fy2021, h1_2021 = (date(2021, 1, 1), date(2021, 12, 31)), (date(2021, 1, 1), date(2021, 6, 30))
    row = last(
        filing("2022-02-20", {(REVENUE, fy2021): 900}, "10-K"),
        filing("2022-08-01", {(REVENUE, H1_2022): 500, (REVENUE, h1_2021): 430}),
        ANNUAL_2022,
        filing("2023-08-01", {(REVENUE, H1_2023): 420, (REVENUE, H1_2022): 350}),
    )
    assert row["revenue_ttm_1y"] == 900 + 500 - 430


# Tags ---------------------------------------------------------------------------------------------------------------------


def test_a_change_of_tag_does_not_break_the_twelve_months():
    row = last(
        filing("2023-02-20", {(OLD_REVENUE, FY2022): 1000}, "10-K"),
        filing("2023-05-01", {(CONTRACT_REVENUE, Q1_2023): 300, (CONTRACT_REVENUE, Q1_2022): 250}),
    )
    assert row["revenue_ttm"] == 1050
    assert [fact.tag for fact in provenance_of(row, "revenue_ttm").inputs] == [
        "SalesRevenueNet",
        "RevenueFromContractWithCustomerExcludingAssessedTax",
        "RevenueFromContractWithCustomerExcludingAssessedTax",
    ]


def test_the_first_tag_in_precedence_wins():
    assert last(filing("2023-02-20", {(CONTRACT_REVENUE, FY2022): 900, (REVENUE, FY2022): 1000}, "10-K"))["revenue_ttm"] == 1000


def test_one_tag_throughout_is_preferred_to_a_mixture():
    row = last(
        filing("2023-02-20", {(REVENUE, FY2022): 1000, (CONTRACT_REVENUE, FY2022): 900}, "10-K"),
        filing("2023-05-01", {(CONTRACT_REVENUE, Q1_2023): 240, (CONTRACT_REVENUE, Q1_2022): 220}),
    )
    assert row["revenue_ttm"] == 900 + 240 - 220


def test_a_tag_used_in_passing_is_passed_over():
    face = {(OLD_REVENUE, period): 100 for period in (Q1_2022, H1_2022, MONTHS_9_2022)}
    face |= {(OLD_REVENUE, period): 100 for period in (Q1_2023, H1_2023, MONTHS_9_2023)}
    note = {(REVENUE, FY2023): 28}
    row = last(filing("2024-02-20", {**face, **note, (OLD_REVENUE, FY2023): 82}, "10-K"))
    assert row["revenue_ttm"] == 82


def test_a_company_that_reports_in_euros_has_no_figures_in_dollars_and_says_why():
    euros = table(ANNUAL_2022).with_columns(unit=pl.lit("EUR"))
    row = normalise(euros, "Sample Corp").row(-1, named=True)
    assert row["period_end"] == FY2022[1]
    assert reason(row, "revenue_ttm").endswith("; reported in EUR, and no exchange rate is part of a filing")


def test_units_that_are_no_currency_are_not_read():
    per_share = table(ANNUAL_2022).with_columns(unit=pl.lit("USD/shares"))
    assert normalise(per_share, "Sample Corp").is_empty()


def test_gross_profit_is_revenue_less_its_cost_where_it_is_not_reported():
    row = last(filing("2023-02-20", {(REVENUE, FY2022): 1000, ("us-gaap:CostOfRevenue", FY2022): 600}, "10-K"))
    assert (row["gross_profit_ttm"], provenance_of(row, "gross_profit_ttm").rule) == (400, "revenue less cost_of_revenue")


def test_free_cash_flow_is_operating_cash_flow_less_capital_expenditure():
    cash_flow, spent = (
        "us-gaap:NetCashProvidedByUsedInOperatingActivities",
        "us-gaap:PaymentsToAcquirePropertyPlantAndEquipment",
    )
    row = last(filing("2023-02-20", {(cash_flow, FY2022): 300, (spent, FY2022): 120}, "10-K"))
    assert (row["capital_expenditure_ttm"], row["free_cash_flow_ttm"]) == (120, 180)
    row = last(filing("2023-02-20", {(cash_flow, FY2022): 300}, "10-K"))
    assert reason(row, "free_cash_flow_ttm").startswith(
        "capital_expenditure: property_expenditure: no fact in USD under us-gaap:Payments"
    )


PROFIT, MINORITIES = "us-gaap:ProfitLoss", "us-gaap:NetIncomeLossAttributableToNoncontrollingInterest"
TO_COMMON = "us-gaap:NetIncomeLossAvailableToCommonStockholdersBasic"


@pytest.mark.parametrize(
    ("reported", "net_income", "rule"),
    [
        ({INCOME: 90, PROFIT: 100, MINORITIES: 10}, 90, "fiscal_year"),
        ({PROFIT: 100, MINORITIES: 10}, 90, "profit_with_minorities less profit_of_minorities"),
        ({PROFIT: 100}, 100, "profit_with_minorities"),
        ({PROFIT: 100, TO_COMMON: 95}, 95, "net_income_to_common"),
        ({TO_COMMON: 95}, 95, "net_income_to_common"),
    ],
)
def test_net_income_is_the_parents(reported, net_income, rule):
    row = last(filing("2023-02-20", {(tag, FY2022): value for tag, value in reported.items()}, "10-K"))
    assert (row["net_income_ttm"], provenance_of(row, "net_income_ttm").rule) == (net_income, rule)


def test_net_income_a_year_before_is_found_whatever_it_is_made_of():
    years = {(PROFIT, FY2022): 100, (MINORITIES, FY2022): 10, (PROFIT, FY2023): 120, (MINORITIES, FY2023): 15}
    row = last(filing("2024-02-20", years, "10-K"))
    assert (row["net_income_ttm"], row["net_income_ttm_1y"]) == (105, 90)


def test_recast_comparatives_are_not_evaded_by_another_way_of_adding_up():
    profits = {(INCOME, FY2022): 90, (PROFIT, FY2022): 95}
    first = filing("2022-08-01", {(INCOME, H1_2022): 40, (PROFIT, H1_2022): 42})
    recast = {(INCOME, H1_2023): 50, (INCOME, H1_2022): -5, (PROFIT, H1_2023): 52, (PROFIT, H1_2022): 41}
    row = last(first, filing("2023-02-20", profits, "10-K"), filing("2023-08-01", recast))
    assert reason(row, "net_income_ttm").startswith("comparatives were recast: -5 for")


EXPENDITURE = {
    "property": "us-gaap:PaymentsToAcquirePropertyPlantAndEquipment",
    "productive": "us-gaap:PaymentsToAcquireProductiveAssets",
    "oil and gas": "us-gaap:PaymentsToAcquireOilAndGasPropertyAndEquipment",
    "other": "us-gaap:PaymentsToAcquireOtherPropertyPlantAndEquipment",
}


@pytest.mark.parametrize(
    ("reported", "spent"),
    [
        ({"property": 2394, "productive": 541}, 2394),  # McDonald's: productive assets are a part
        ({"property": 325, "productive": 668}, 668),  # Dow: they are the whole
        ({"property": 15, "oil and gas": 320}, 335),  # Range Resources: two kinds of property
        ({"property": 400, "oil and gas": 320}, 400),  # one line contains the other
        ({"oil and gas": 320, "other": 20}, 340),
        ({"other": 20}, None),  # a part of something that was not reported
    ],
)
def test_capital_expenditure_is_the_whole_of_it(reported, spent):
    row = last(filing("2023-02-20", {(EXPENDITURE[k], FY2022): value for k, value in reported.items()}, "10-K"))
    assert row["capital_expenditure_ttm"] == spent


def test_revenue_of_a_bank_is_net_interest_and_noninterest_income():
    income = {("us-gaap:InterestIncomeExpenseNet", FY2022): 700, ("us-gaap:NoninterestIncome", FY2022): 300}
    row = last(filing("2023-02-20", income, "10-K"))
    assert (row["revenue_ttm"], provenance_of(row, "revenue_ttm").rule) == (
        1000,
        "net_interest_income plus noninterest_income",
    )


# Versions -----------------------------------------------------------------------------------------------------------------


def test_a_restatement_is_invisible_before_its_known_at():
    restated = filing("2023-09-15", {(REVENUE, FY2022): 940}, "10-K/A")
    before, after = rows_of(ANNUAL_2022, restated)
    assert (before["revenue_ttm"], before["form"]) == (1000, "10-K")
    assert (after["revenue_ttm"], after["form"], after["known_at"]) == (940, "10-K/A", datetime(2023, 9, 15, 21, tzinfo=UTC))


def test_an_amendment_is_merged_fact_by_fact():
    income = "us-gaap:NetIncomeLoss"
    annual = filing("2023-02-20", {(REVENUE, FY2022): 1000, (income, FY2022): 90}, "10-K")
    row = last(annual, filing("2023-04-01", {(income, FY2022): 80}, "10-K/A"))
    assert (row["revenue_ttm"], row["net_income_ttm"]) == (1000, 80)


def test_an_amended_quarter_counts_although_it_has_no_comparatives():
    quarter = filing("2023-05-01", {(REVENUE, Q1_2023): 300, (REVENUE, Q1_2022): 250})
    row = last(ANNUAL_2022, quarter, filing("2023-06-01", {(REVENUE, Q1_2023): 290}, "10-Q/A"))
    assert row["revenue_ttm"] == 1000 + 290 - 250


def test_a_filing_that_changes_nothing_makes_no_row():
    assert len(rows_of(ANNUAL_2022, filing("2023-04-01", {(REVENUE, FY2022): 1000}, "10-K/A"))) == 1


def test_a_later_version_of_the_same_fact_counts_from_its_own_instant():
    again = [(*row[:7], 990.0, *row[8:12], datetime(2024, 1, 5, 12, tzinfo=UTC)) for row in ANNUAL_2022]
    assert [(row["revenue_ttm"], row["known_at"].year) for row in rows_of(ANNUAL_2022, again)] == [(1000, 2023), (990, 2024)]


def test_a_period_restated_under_another_tag_is_the_restated_one():
    contract = {(CONTRACT_REVENUE, FY2022): 1070, (CONTRACT_REVENUE, FY2023): 1200}
    first = filing("2022-02-20", {(OLD_REVENUE, (date(2021, 1, 1), date(2021, 12, 31))): 900}, "10-K")
    row = last(first, filing("2023-02-20", {(OLD_REVENUE, FY2022): 1000}, "10-K"), filing("2024-02-20", contract, "10-K"))
    assert (row["revenue_ttm"], row["revenue_ttm_1y"]) == (1200, 1070)


def test_a_proxy_statement_is_no_report():
    proxy = filing("2023-04-01", {(INCOME, FY2022): 0.09}, "DEF 14A")
    assert last(YEAR_2022, proxy)["net_income_ttm"] == 90
    assert rows_of(YEAR_2022) == rows_of(YEAR_2022, proxy)


# Per share ----------------------------------------------------------------------------------------------------------------


def test_earnings_per_share_are_those_of_the_fiscal_year():
    assert last(filing("2024-02-20", {(EPS, FY2023): 4.1}, "10-K"))["eps_diluted_ttm"] == 4.1


def test_earnings_per_share_are_never_subtracted():
    row = last(
        filing("2023-02-20", {(EPS, FY2022): 4.0}, "10-K"), filing("2023-08-01", {(EPS, H1_2023): 2.2, (EPS, H1_2022): 1.9})
    )
    assert reason(row, "eps_diluted_ttm").startswith("share basis unknown: no diluted shares in 0000000042-23-022000")


def test_earnings_per_share_between_fiscal_years_are_the_earnings_over_the_average_shares_of_the_twelve_months():
    """A year of 400 M on 100 M shares; a half of 220 M on 90 M shares after one of 180 M on 100 M."""
    row = last(
        filing("2023-02-20", {(EPS, FY2022): 4.0, (DILUTED, FY2022): 100e6}, "10-K"),
        filing(
            "2023-08-01",
            {(EPS, H1_2023): 220 / 90, (EPS, H1_2022): 1.8, (DILUTED, H1_2023): 90e6, (DILUTED, H1_2022): 100e6},
        ),
    )
    assert row["eps_diluted_ttm"] == pytest.approx((400 + 220 - 180) / 95)
    assert provenance_of(row, "eps_diluted_ttm").rule == "year_and_ytd_weighted_by_diluted_shares"


def test_years_before_and_after_a_split_are_not_weighted_together():
    row = last(
        filing("2023-02-20", {(EPS, FY2022): 4.0, (DILUTED, FY2022): 100e6}, "10-K"),
        filing(
            "2023-08-01", {(EPS, H1_2023): 0.55, (EPS, H1_2022): 0.45, (DILUTED, H1_2023): 400e6, (DILUTED, H1_2022): 400e6}
        ),
    )
    assert reason(row, "eps_diluted_ttm").startswith(
        "share basis differs: diluted shares of the periods run from 1e+08 to 4e+08"
    )


def test_a_quarter_without_a_share_count_of_its_own_stands_on_the_basis_of_its_filing():
    """Annual reports used to give the fourth quarter's earnings per share, but no share count for it."""
    filings = quarters_per_share(102e6)
    filings[-1] = filing("2024-01-25", {(EPS, Q4_2023): 1.0, (DILUTED, FY2023): 101e6}, "10-K")
    assert last(*filings)["eps_diluted_ttm"] == 4.0


def quarters_per_share(shares_of_last_filing: float) -> list[list[tuple]]:
    filings = []
    for filed, period in (("2023-05-01", Q1_2023), ("2023-08-01", Q2_2023), ("2023-11-01", Q3_2023), ("2024-01-25", Q4_2023)):
        shares = shares_of_last_filing if period is Q4_2023 else 100e6
        filings.append(filing(filed, {(EPS, period): 1.0, (DILUTED, period): shares}))
    return filings


def test_four_reported_quarters_on_one_share_basis_add_up():
    assert last(*quarters_per_share(102e6))["eps_diluted_ttm"] == 4.0


def test_quarters_before_and_after_a_split_do_not_add_up():
    assert reason(last(*quarters_per_share(700e6)), "eps_diluted_ttm").startswith("share basis differs")


def test_average_shares_are_those_of_the_shortest_period():
    row = last(filing("2023-08-01", {(DILUTED, H1_2023): 110e6, (DILUTED, Q2_2023): 108e6}))
    assert row["shares_diluted"] == 108e6


def test_share_counts_are_on_the_split_basis_of_their_filing():
    row = last(filing("2023-08-01", {(DILUTED, Q2_2023): 108e6, (COVER, date(2023, 7, 21)): 105e6}))
    assert (row["shares_outstanding"], row["shares_basis_date"]) == (105e6, date(2023, 8, 1))
    row = last(filing("2023-08-01", {(DILUTED, Q2_2023): 108e6}))
    assert (row["shares_outstanding"], row["shares_basis_date"]) == (None, date(2023, 8, 1))


# Balances -----------------------------------------------------------------------------------------------------------------

ASSETS = "us-gaap:Assets"
NONCURRENT, CURRENT = "us-gaap:LongTermDebtNoncurrent", "us-gaap:LongTermDebtCurrent"


def test_balances_are_of_the_latest_date_and_not_of_a_comparative():
    row = last(
        filing("2023-08-01", {(REVENUE, H1_2023): 1, (ASSETS, date(2023, 6, 30)): 500, (ASSETS, date(2022, 12, 31)): 470})
    )
    assert row["assets"] == 500


def test_a_restated_comparative_does_not_replace_the_latest_balance():
    first = filing("2023-08-01", {(REVENUE, H1_2023): 1, (ASSETS, date(2023, 6, 30)): 500})
    assert last(first, filing("2023-09-01", {(ASSETS, date(2022, 12, 31)): 999}, "10-K/A"))["assets"] == 500


def test_a_stale_balance_is_missing():
    row = last(
        filing("2023-02-20", {(REVENUE, FY2022): 1000, (ASSETS, date(2022, 12, 31)): 470}, "10-K"),
        filing("2023-11-01", {(REVENUE, Q3_2023): 250}),
    )
    assert reason(row, "assets") == "stale: last known for 2022-12-31, 273 days before 2023-09-30"


EQUITY, TOTAL_EQUITY, MINORITY = (
    "us-gaap:StockholdersEquity",
    "us-gaap:StockholdersEquityIncludingPortionAttributableToNoncontrollingInterest",
    "us-gaap:MinorityInterest",
)


@pytest.mark.parametrize(
    ("reported", "equity"),
    [({EQUITY: 50, TOTAL_EQUITY: 80, MINORITY: 30}, 50), ({TOTAL_EQUITY: 80, MINORITY: 30}, 50), ({TOTAL_EQUITY: 80}, 80)],
)
def test_equity_is_the_parents(reported, equity):
    balances = {(tag, FY2022[1]): value for tag, value in reported.items()}
    row = last(filing("2023-02-20", {(REVENUE, FY2022): 1000, **balances}, "10-K"))
    assert row["equity"] == equity


def test_liabilities_are_assets_less_equity_where_no_total_is_reported():
    equity = "us-gaap:StockholdersEquity"
    row = last(filing("2023-02-20", {(REVENUE, FY2022): 1, (ASSETS, FY2022[1]): 500, (equity, FY2022[1]): 180}, "10-K"))
    assert (row["liabilities"], provenance_of(row, "liabilities").rule) == (320, "assets less equity_with_minorities")


MATURITIES = "us-gaap:LongTermDebtMaturitiesRepaymentsOfPrincipalInNextTwelveMonths"
NAMED = {"us-gaap:LiabilitiesCurrent": 50, "us-gaap:AccountsPayableCurrent": 50}  # nothing of them is without a name
IN_TWO = "long_term_debt_noncurrent plus debt_current"


@pytest.mark.parametrize(
    ("parts", "debt", "rule"),
    [
        ({NONCURRENT: 70, "us-gaap:DebtCurrent": 30, CURRENT: 20}, 100, "long_term_debt_noncurrent plus debt_current"),
        (
            {NONCURRENT: 70, CURRENT: 20, "us-gaap:CommercialPaper": 5},
            95,
            "long_term_debt_noncurrent plus long_term_debt_current plus short_term_borrowings",
        ),
        (
            {"us-gaap:LongTermDebt": 90, "us-gaap:ShortTermBorrowings": 5, **NAMED},
            95,
            "long_term_debt plus short_term_borrowings",
        ),
        ({"us-gaap:LongTermDebt": 12, NONCURRENT: 346, **NAMED}, 346, "long_term_debt_noncurrent"),
        (
            {NONCURRENT: 70, CURRENT: 20, "us-gaap:ShortTermBorrowings": 20},
            90,
            "long_term_debt_noncurrent plus long_term_debt_current",
        ),
        ({"us-gaap:DebtLongtermAndShorttermCombinedAmount": 101, NONCURRENT: 70}, 101, "reported_balance"),
        (
            {NONCURRENT: 70, "us-gaap:ShortTermBankLoansAndNotesPayable": 9},
            79,
            "long_term_debt_noncurrent plus short_term_borrowings",
        ),
        ({"us-gaap:DebtAndCapitalLeaseObligations": 102}, 102, "reported_balance"),
        (
            {"us-gaap:SeniorLongTermNotes": 3394, "us-gaap:OtherLongTermDebtNoncurrent": 4, "us-gaap:DebtCurrent": 938},
            4336,
            "long_term_debt_noncurrent plus debt_current",
        ),
        (
            {NONCURRENT: 467, MATURITIES: 42, "us-gaap:ShortTermBorrowings": 25},
            534,
            "long_term_debt_noncurrent plus long_term_debt_current plus short_term_borrowings",
        ),
        (
            {NONCURRENT: 8179, MATURITIES: 42, "us-gaap:ShortTermBorrowings": 5435},
            13614,
            "long_term_debt_noncurrent plus short_term_borrowings",
        ),
        (
            {NONCURRENT: 1325, "us-gaap:LongTermDebt": 1395, "us-gaap:LinesOfCreditCurrent": 70, **NAMED},
            1395,
            "long_term_debt",
        ),
        ({NONCURRENT: 70, CURRENT: 20, **NAMED}, 90, "long_term_debt_noncurrent plus long_term_debt_current"),
        (
            {
                NONCURRENT: 2025,
                "us-gaap:LongTermDebtAndCapitalLeaseObligationsCurrent": 177,
                "us-gaap:ShortTermBorrowings": 172,
            },
            2197,
            "long_term_debt_noncurrent plus short_term_borrowings",
        ),
        ({"us-gaap:ConvertibleDebtNoncurrent": 1792, **NAMED}, 1792, "convertible_debt_noncurrent"),
        ({NONCURRENT: 70, "us-gaap:DebtCurrent": 30, "us-gaap:ConvertibleDebtNoncurrent": 0}, 100, IN_TWO),
    ],
    ids=[
        *("current in one", "current in parts", "long-term in one", "a total below its part", "one amount, two tags", "in one"),
        *("notes payable", "all in one line", "senior notes beside others", "next year's maturities are not in the borrowings"),
        *(
            "next year's maturities may be in the borrowings",
            "the rest of a total is no second debt",
            "no short-term borrowings",
            "the same with leases and without",
        ),
        *("all convertible", "a line of nothing"),
    ],
)
def test_debt_is_put_together_by_documented_rules(parts, debt, rule):
    row = last(filing("2023-02-20", {(REVENUE, FY2022): 1, **{(tag, FY2022[1]): v for tag, v in parts.items()}}, "10-K"))
    assert (row["debt"], provenance_of(row, "debt").rule) == (debt, rule)


@pytest.mark.parametrize(
    "parts",
    [
        {"us-gaap:DebtCurrent": 30},
        {NONCURRENT: 70, CURRENT: 5, "us-gaap:ConvertibleDebtNoncurrent": 400},
        {NONCURRENT: 70, CURRENT: 5, "us-gaap:ConvertibleSubordinatedDebtCurrent": 25},
        {NONCURRENT: 11134, "us-gaap:DebtCurrent": 0, "us-gaap:RelatedPartyDebtNoncurrent": 1739},
        {NONCURRENT: 84, "us-gaap:CommercialPaperCurrent": 1, "us-gaap:AdvancesFromFederalHomeLoanBanks": 95, **NAMED},
        {"us-gaap:LongTermDebt": 3040, "us-gaap:LiabilitiesSubjectToCompromise": 26_000, **NAMED},
        {"us-gaap:OtherLongTermDebtNoncurrent": 37, **NAMED},
    ],
)
def test_a_part_of_the_debt_is_not_the_debt(parts):
    """What is due within a year, alone; or notes beside long-term debt that may be a part of it, and may not."""
    row = last(filing("2023-02-20", {(REVENUE, FY2022): 1, **{(tag, FY2022[1]): v for tag, v in parts.items()}}, "10-K"))
    assert row["debt"] is None


@pytest.mark.parametrize(
    ("parts", "unnamed", "known"),
    [
        ({NONCURRENT: 19_618}, 1_373, False),  # Sprint, 2009-06-30: the current portion
        ({NONCURRENT: 19_618}, 196, True),
        ({NONCURRENT: 5_017, CURRENT: 49}, 6_382, False),  # Coca-Cola, 2009-07-03: loans and notes payable
        ({NONCURRENT: 5_017, CURRENT: 49}, 5_000, True),
        ({NONCURRENT: 5_017, CURRENT: 49, "us-gaap:CommercialPaper": 6_382}, 6_382, True),
        ({"us-gaap:LongTermDebt": 5_066}, 6_382, False),
    ],
)
def test_debt_is_missing_where_current_liabilities_without_a_name_may_hold_a_part_of_it(parts, unnamed, known):
    """The SEC's companyfacts leave out what stands under a company's own tags; totals of the balance sheet have it."""
    current = {"us-gaap:AccountsPayableCurrent": 2_061, "us-gaap:LiabilitiesCurrent": 2_061 + unnamed + parts.get(CURRENT, 0)}
    facts = {(tag, FY2022[1]): value for tag, value in {**parts, **current}.items()}
    row = last(filing("2023-02-20", {(REVENUE, FY2022): 1, **facts}, "10-K"))
    assert row["debt"] == (sum(parts.values()) if known else None)
    if not known:
        assert f"{unnamed} of current_liabilities stand under no tag of the map" in reason(row, "debt")


@pytest.mark.parametrize("parts", [{"us-gaap:LongTermDebt": 3_322}, {NONCURRENT: 16_721}], ids=["ACE", "Deere"])
def test_a_total_of_long_term_debt_is_not_the_debt_where_no_current_liabilities_are_shown(parts):
    facts = {(tag, FY2022[1]): value for tag, value in {**parts, "us-gaap:AccruedLiabilities": 10}.items()}
    row = last(filing("2023-02-20", {(REVENUE, FY2022): 1, **facts}, "10-K"))
    assert reason(row, "debt").startswith("current_liabilities is not known, without which long_term_debt")


def test_debt_is_missing_where_a_total_may_lack_the_convertible_notes_beside_it():
    """NVIDIA, 2017-01-29: LongTermDebt 1,983 M, ConvertibleDebtCurrent 796 M, and 2,779 M in all."""
    end = FY2022[1]
    debts = {(REVENUE, FY2022): 1000, ("us-gaap:LongTermDebt", end): 1983, ("us-gaap:ConvertibleDebtCurrent", end): 796}
    row = last(filing("2023-02-20", {**debts, **{(tag, end): value for tag, value in NAMED.items()}}, "10-K"))
    assert reason(row, "debt").startswith("convertible_debt_current is reported beside long_term_debt")


def test_no_reported_debt_is_missing_and_not_zero():
    assert reason(last(ANNUAL_2022), "debt").startswith("no fact in USD under us-gaap:DebtLongtermAndShort")


# A year before ------------------------------------------------------------------------------------------------------------

DECEMBER = [date(year, 12, 31) for year in (2020, 2021, 2022)]


def balance_sheet(filed: str, facts: dict, form: str = "10-K") -> list[tuple]:
    year = (date(int(filed[:4]) - 1, 1, 1), date(int(filed[:4]) - 1, 12, 31))
    return filing(filed, {(REVENUE, year): 1, **facts}, form)


def test_the_balance_of_the_year_before_is_the_one_known_now():
    row = last(
        balance_sheet("2021-02-20", {(ASSETS, DECEMBER[0]): 300}),
        balance_sheet("2022-02-20", {(ASSETS, DECEMBER[1]): 400, (ASSETS, DECEMBER[0]): 300}),
        balance_sheet("2023-02-20", {(ASSETS, DECEMBER[2]): 500, (ASSETS, DECEMBER[1]): 390}),
    )
    assert (row["assets"], row["assets_1y"], row["assets_2y"]) == (500, 390, 300)
    assert provenance_of(row, "assets_1y").inputs[0].filed == date(2023, 2, 20)


def test_the_balance_of_a_quarter_is_compared_with_the_same_quarter_and_not_with_the_fiscal_year_end():
    june, june_before = date(2023, 6, 30), date(2022, 6, 30)
    row = last(
        filing("2022-08-01", {(REVENUE, H1_2022): 1, (ASSETS, june_before): 430, (ASSETS, DECEMBER[1]): 400}),
        balance_sheet("2023-02-20", {(ASSETS, DECEMBER[2]): 500}),
        filing("2023-08-01", {(REVENUE, H1_2023): 1, (ASSETS, june): 520, (ASSETS, DECEMBER[2]): 500}),
    )
    assert (row["assets"], row["assets_1y"]) == (520, 430)
    assert reason(row, "assets_2y") == "no balance is known for a day near 2021-06-30"


def test_a_balance_of_another_week_of_a_52_week_year_is_the_same_balance():
    ends = date(2022, 9, 24), date(2023, 9, 30)
    year = (date(2022, 9, 25), date(2023, 9, 30))
    row = last(filing("2023-11-03", {(REVENUE, year): 1, (ASSETS, ends[1]): 520, (ASSETS, ends[0]): 500}, "10-K"))
    assert row["assets_1y"] == 500


def test_without_a_balance_now_there_is_none_to_compare_with():
    row = last(balance_sheet("2023-02-20", {(ASSETS, DECEMBER[0]): 300}))
    assert reason(row, "assets_1y") == "assets is missing, so there is nothing to compare with"


def test_average_shares_of_the_year_before_are_the_comparative_of_the_same_filing():
    """A split 4:1 lies between the two reports: 100 million shares of the first are 400 million of the second."""
    first = filing("2023-02-20", {(REVENUE, FY2022): 1, (BASIC, FY2022): 100e6}, "10-K")
    row = last(first, filing("2024-02-20", {(REVENUE, FY2023): 1, (BASIC, FY2023): 390e6, (BASIC, FY2022): 400e6}, "10-K"))
    assert (row["shares_basic"], row["shares_basic_1y"]) == (390e6, 400e6)
    row = last(first, filing("2024-02-20", {(REVENUE, FY2023): 1, (BASIC, FY2023): 390e6}, "10-K", accession="new"))
    assert reason(row, "shares_basic_1y") == "new has no comparative near 2022-12-31"


def test_average_shares_are_compared_over_the_same_months():
    row = last(filing("2023-08-01", {(REVENUE, H1_2023): 1, (BASIC, Q2_2023): 108e6, (BASIC, H1_2022): 120e6}))
    assert reason(row, "shares_basic_1y").endswith("has no comparative near 2022-06-30")
    q2_2022 = (date(2022, 4, 1), date(2022, 6, 30))
    row = last(filing("2023-08-01", {(REVENUE, H1_2023): 1, (BASIC, Q2_2023): 108e6, (BASIC, q2_2022): 110e6}))
    assert row["shares_basic_1y"] == 110e6


def test_pretax_income_is_the_sum_of_its_domestic_and_foreign_parts_where_the_line_has_no_tag_of_the_taxonomy():
    stem = "us-gaap:IncomeLossFromContinuingOperationsBeforeIncomeTaxes"
    row = last(filing("2024-02-20", {(f"{stem}Domestic", FY2023): 70, (f"{stem}Foreign", FY2023): -20}, "10-K"))
    assert (row["pretax_income_ttm"], provenance_of(row, "pretax_income_ttm").rule) == (
        50,
        "pretax_income_domestic plus pretax_income_foreign",
    )


def test_gross_profit_of_the_year_before_may_be_a_difference_as_well():
    cost = "us-gaap:CostOfRevenue"
    row = last(filing("2024-02-20", {(REVENUE, FY2023): 9, (cost, FY2023): 4, (REVENUE, FY2022): 8, (cost, FY2022): 6}, "10-K"))
    assert (row["gross_profit_ttm"], row["gross_profit_ttm_1y"]) == (5, 2)


@pytest.mark.parametrize(
    ("parts", "long_term", "current"),
    [
        ({NONCURRENT: 70, CURRENT: 20, "us-gaap:CommercialPaper": 5}, 90, 25),
        ({NONCURRENT: 70, "us-gaap:DebtCurrent": 30}, 70, 30),
        ({"us-gaap:LongTermDebt": 90, "us-gaap:ShortTermBorrowings": 5}, 90, 5),
        ({"us-gaap:LongTermDebt": 12, NONCURRENT: 346}, 346, None),
        ({"us-gaap:LongTermDebtAndCapitalLeaseObligationsIncludingCurrentMaturities": 101}, 101, None),
    ],
    ids=["in parts", "current in one", "a total in a note", "a total below its part", "in one"],
)
def test_long_term_borrowings_have_the_part_due_within_a_year_and_no_commercial_paper(parts, long_term, current):
    row = last(filing("2023-02-20", {(REVENUE, FY2022): 1, **{(tag, FY2022[1]): v for tag, v in parts.items()}}, "10-K"))
    assert (row["long_term_borrowings"], row["short_term_debt"]) == (long_term, current)


# Nonsense -----------------------------------------------------------------------------------------------------------------


def test_negative_assets_are_refused():
    row = last(filing("2023-02-20", {(REVENUE, FY2022): 1, (ASSETS, FY2022[1]): -5}, "10-K"))
    assert reason(row, "assets") == "sign: -5 USD is below 0 for us-gaap:Assets"


def test_a_placeholder_is_no_share_count():
    row = last(filing("2023-02-20", {(REVENUE, FY2022): 1, (COVER, date(2023, 2, 1)): 100}, "10-K"))
    assert reason(row, "shares_outstanding").startswith("scale: 100 shares is below 10000")


def test_a_jump_of_scale_is_refused_and_the_older_balance_does_not_stand_in():
    row = last(
        filing("2023-05-01", {(REVENUE, Q1_2023): 1, (ASSETS, date(2023, 3, 31)): 500e6}),
        filing("2023-08-01", {(REVENUE, Q2_2023): 1, (ASSETS, date(2023, 6, 30)): 510e3}),
    )
    assert reason(row, "assets") == "scale: 510000 USD after 500000000, not confirmed by other filings"


def test_a_rise_of_scale_is_believed_when_a_second_filing_confirms_it():
    blank_cheque, merged = {(ASSETS, date(2023, 3, 31)): 25_000}, {(ASSETS, date(2023, 6, 30)): 690e6}
    filings = [
        filing("2023-05-01", {(REVENUE, Q1_2023): 1, **blank_cheque}),
        filing("2023-08-01", {(REVENUE, Q2_2023): 1, **merged}),
    ]
    assert reason(last(*filings), "assets").startswith("scale")
    assert last(*filings, filing("2023-11-01", {(REVENUE, Q3_2023): 1, (ASSETS, date(2023, 9, 30)): 700e6}))["assets"] == 700e6


def test_share_counts_in_thousands_are_not_believed_however_often():
    def second_quarter(year: int, shares: float) -> list[tuple]:
        quarter = (date(year, 4, 1), date(year, 6, 30))
        return filing(f"{year}-08-01", {(REVENUE, quarter): 1, (DILUTED, quarter): shares})

    history = [second_quarter(2020, 574e6), *(second_quarter(year, 588_684) for year in (2021, 2022, 2023, 2024))]
    assert reason(last(*history), "shares_diluted").startswith("scale: 588684 shares after 574000000")


def test_two_share_counts_of_different_scale_are_both_missing():
    row = last(filing("2023-08-01", {(DILUTED, Q2_2023): 588_684, (COVER, date(2023, 7, 21)): 580e6}))
    assert reason(row, "shares_outstanding") == reason(row, "shares_diluted")
    assert row["shares_basis_date"] is None


# Rows ---------------------------------------------------------------------------------------------------------------------


def test_every_figure_has_a_value_or_a_reason():
    row = last(ANNUAL_2022)
    stored = json.loads(row["provenance"])
    assert list(stored) == sorted(FIGURES)
    assert all((row[name] is None) == (stored[name]["reason"] is not None) for name in FIGURES)
    assert set(stored["revenue_ttm"]["inputs"][0]) == {
        *("taxonomy", "tag", "unit", "period_start", "period_end"),
        *("accession", "value", "form", "filed", "known_at"),
    }


def test_provenance_gives_the_facts_back():
    (fact,) = provenance_of(last(ANNUAL_2022), "revenue_ttm").inputs
    assert (fact.cik, fact.tag, fact.value, fact.filed) == (CIK, "Revenues", 1000, date(2023, 2, 20))
    assert fact.known_at == datetime(2023, 2, 20, 21, tzinfo=UTC)


def test_rows_are_those_of_the_fundamentals_table():
    rows = normalise(table(ANNUAL_2022), "Sample Corp")
    assert dict(rows.schema) == {**FUNDAMENTALS.columns, "known_at": INSTANT}
    assert rows["company_name"].to_list() == ["Sample Corp"]


def test_no_facts_make_no_rows():
    assert normalise_many(table(), {}).schema == normalise(table(ANNUAL_2022), "").schema
    assert normalise_many(table(), {}).is_empty()


def test_many_issuers_come_in_order_of_cik_and_time():
    other = filing("2023-01-10", {(REVENUE, FY2022): 5}, "10-K", cik=7)
    rows = normalise_many(table(ANNUAL_2022, other), {42: "Sample Corp", 7: "Other Inc"})
    assert rows.select("cik", "company_name", "revenue_ttm").rows() == [(7, "Other Inc", 5), (42, "Sample Corp", 1000)]


def test_every_figure_has_a_concept_or_a_sum():
    concepts = concept_map()
    made = {*concepts.concepts, *(rule.figure for rule in concepts.sums)}
    assert {re.sub("(_ttm)?(_[123]y)?$", "", name) for name in FIGURES} <= made
    parts = {
        part
        for rule in concepts.sums
        for part in (*rule.plus, *rule.minus, *rule.when_reported, *rule.only_without, *rule.only_with)
    }
    assert parts <= made


# Properties ---------------------------------------------------------------------------------------------------------------

PERIODS = [Q1_2022, H1_2022, MONTHS_9_2022, FY2022, Q1_2023, Q2_2023, H1_2023, Q3_2023, MONTHS_9_2023, Q4_2023, FY2023]
amounts = st.integers(min_value=1, max_value=10_000)


@st.composite
def histories(draw) -> list[list[tuple]]:
    """Some filings after 2022, each with some facts of any of the periods and tags: restated, retagged, or only once."""
    filings = []
    for number in range(draw(st.integers(1, 6))):
        filed = date(2023, 1, 10) + timedelta(days=50 * number + draw(st.integers(0, 40)))
        flows = {
            (draw(st.sampled_from([REVENUE, CONTRACT_REVENUE, OLD_REVENUE])), period): draw(amounts)
            for period in draw(st.lists(st.sampled_from(PERIODS), min_size=1, max_size=5, unique=True))
        }
        balances = {(ASSETS, end): draw(amounts) for _, end in draw(st.lists(st.sampled_from(PERIODS), max_size=2))}
        filings.append(filing(str(filed), {**flows, **balances}, draw(st.sampled_from(["10-Q", "10-K", "10-K/A"]))))
    return filings


@settings(max_examples=60, deadline=None)
@given(histories(), st.randoms(use_true_random=False))
def test_the_order_in_which_facts_arrive_does_not_matter(filings, random):
    rows = [row for rows in filings for row in rows]
    shuffled = random.sample(rows, len(rows))
    assert normalise(table(shuffled), "Sample Corp").equals(normalise(table(rows), "Sample Corp"))


@settings(max_examples=60, deadline=None)
@given(histories())
def test_facts_known_later_never_change_rows_known_earlier(filings):
    whole = normalise(table(*filings), "Sample Corp")
    for count in range(1, len(filings)):
        until = max(row[-1] for rows in filings[:count] for row in rows)
        assert normalise(table(*filings[:count]), "Sample Corp").equals(whole.filter(pl.col("known_at") <= until))


# Companies ----------------------------------------------------------------------------------------------------------------

AAPL, AMD, PG, KO, XOM, CAT, TMUS = 320193, 2488, 80424, 21344, 34088, 18230, 1283699
NVDA, MSFT, ANET, HD = 1045810, 789019, 1596532, 354950


def noon(day: str) -> datetime:
    return datetime.fromisoformat(f"{day}T17:00:00+00:00")


@pytest.fixture(scope="module")
def reported() -> Iterator[pl.DataFrame]:
    edgar = REAL_DATA / "edgar"
    if not edgar.is_dir():
        pytest.skip(f"no real data at {REAL_DATA}; set TRADEBOT_REAL_DATA")
    companies = pl.DataFrame({"cik": [AAPL, AMD, PG, KO, XOM, CAT, TMUS, NVDA, MSFT, ANET, HD]})
    params = EdgarFacts.Params(path=edgar / "companyfacts.zip", submissions_path=edgar / "submissions.zip")
    batches = EdgarFacts(params, xnys()).collect(companies, date(2009, 1, 2), date(2026, 6, 30))
    yield pl.concat([batch.rows for batch in batches])


@pytest.fixture(scope="module")
def fundamentals(reported) -> pl.DataFrame:
    return normalise_many(reported, {})


def as_of(fundamentals: pl.DataFrame, cik: int, instant: datetime) -> dict:
    return fundamentals.filter(pl.col("cik") == cik, pl.col("known_at") <= instant).row(-1, named=True)


def year(reported: pl.DataFrame, cik: int, concept: str, year_end: str, asked: str) -> float | None:
    facts = reported.filter(pl.col("cik") == cik)
    return fiscal_year_figure(facts, concept, date.fromisoformat(year_end), noon(asked)).value


def test_apple_revenue_of_2015_was_known_after_the_close_of_28_october(fundamentals):
    accepted = datetime(2015, 10, 28, 20, 31, 9, tzinfo=UTC)  # 16:31:09 New York
    row = as_of(fundamentals, AAPL, accepted + timedelta(minutes=15))
    assert (row["revenue_ttm"], row["period_end"], row["form"]) == (233_715e6, date(2015, 9, 26), "10-K")
    assert provenance_of(row, "revenue_ttm").inputs[0].accession == "0001193125-15-356351"
    assert as_of(fundamentals, AAPL, accepted + timedelta(minutes=14))["period_end"] == date(2015, 6, 27)


def test_apple_earnings_per_share_of_2013_before_and_after_the_split(reported):
    assert year(reported, AAPL, "eps_diluted", "2013-09-28", "2014-01-31") == 39.75
    assert year(reported, AAPL, "eps_diluted", "2013-09-28", "2014-12-31") == 5.68


def test_apple_share_counts_change_basis_with_the_filing_after_the_split(fundamentals):
    before, after = as_of(fundamentals, AAPL, noon("2014-06-30")), as_of(fundamentals, AAPL, noon("2014-07-31"))
    assert (before["shares_outstanding"], before["shares_basis_date"]) == (861_381_000, date(2014, 4, 24))
    assert (after["shares_outstanding"], after["shares_basis_date"]) == (5_987_867_000, date(2014, 7, 23))


# M, the parts as in the companyfacts on that day.
@pytest.mark.parametrize(
    ("cik", "asked", "debt"),
    [
        (AAPL, "2013-11-30", 16_960),  # long-term; nothing is due within a year
        (AAPL, "2015-11-30", 8_499 + 2_500 + 53_463),  # commercial paper, current, long-term
        (AAPL, "2024-11-30", 96_662 + 9_967),  # term debt, commercial paper
        (AMD, "2014-03-31", 60 + 1_998),
        (AMD, "2015-03-31", 2_025 + 172),  # 2,035 and 177 M are with leases
        (AMD, "2018-03-31", 70 + 1_325),
        (AMD, "2025-03-31", 1_721),
        (PG, "2015-11-30", 13_093 + 17_394),
        (PG, "2019-11-30", 9_352 + 20_161),
        (NVDA, "2014-03-31", 1_356.375),  # capital leases of 17.5 M have a line of their own
        (NVDA, "2017-03-31", None),  # 1,983 M, and 796 M of convertible notes, which may be a part of them
        (NVDA, "2021-03-31", 999 + 5_964),
        (NVDA, "2025-11-30", 999 + 7_468),
    ],
)
def test_debt_is_the_sum_of_the_lines_of_borrowings(fundamentals, cik, asked, debt):
    assert as_of(fundamentals, cik, noon(asked))["debt"] == (None if debt is None else debt * 1e6)


@pytest.mark.parametrize("cik", [KO, XOM, CAT, HD])
def test_long_term_debt_is_not_taken_for_the_debt_where_a_file_lacks_the_rest(reported, fundamentals, cik):
    """Of these the extract of companyfacts has some fifteen tags: Coca-Cola's debt of 2015 was 44.1 bn, its long-term debt 31.0 bn."""
    facts = reported.filter(pl.col("cik") == cik, pl.col("tag").is_in(["LongTermDebt", "LongTermDebtNoncurrent"]))
    assert facts.height > 10
    assert fundamentals.filter(pl.col("cik") == cik)["debt"].drop_nulls().is_empty()


def test_procter_and_gamble_net_income_of_2015(reported, fundamentals):
    assert year(reported, PG, "net_income", "2015-06-30", "2015-12-31") == 7_036e6
    assert as_of(fundamentals, PG, noon("2015-08-31"))["net_income_ttm"] == 7_036e6


def test_procter_and_gamble_sales_are_not_those_of_the_united_states(fundamentals):
    assert as_of(fundamentals, PG, noon("2014-08-31"))["revenue_ttm"] == 83_062e6


def test_coca_cola_revenue_of_2015_is_missing_where_the_file_lacks_it(reported):
    """44,294 M was reported under a tag that this extract of the SEC's file leaves out: missing, and not another number."""
    assert year(reported, KO, "revenue", "2015-12-31", "2016-12-31") in (None, 44_294e6)


def test_exxon_revenue_of_2015_as_filed_and_as_restated(reported):
    assert year(reported, XOM, "revenue", "2015-12-31", "2016-02-25") == 259_488e6
    assert year(reported, XOM, "revenue", "2015-12-31", "2018-02-28") == 259_488e6  # known at 06:00 of the next session
    assert year(reported, XOM, "revenue", "2015-12-31", "2018-03-01") == 239_854e6


def test_amd_twelve_months_of_august_2025(fundamentals):
    row = as_of(fundamentals, AMD, noon("2025-08-31"))
    assert row["revenue_ttm"] == 29_600e6
    assert [fact.value for fact in provenance_of(row, "revenue_ttm").inputs] == [25_785e6, 15_123e6, 11_308e6]
    # 36.78 by the broker's count of shares, a month older than the cover page's
    assert row["equity"] / row["shares_outstanding"] == pytest.approx(36.78, abs=0.02)


def test_caterpillar_revenue_includes_financial_products(reported, fundamentals):
    assert as_of(fundamentals, CAT, noon("2020-02-20"))["revenue_ttm"] == 53_800e6
    assert as_of(fundamentals, CAT, noon("2020-02-20"))["assets"] == 78_453e6
    # Net income of 2019 (6,093 M) is not in this extract of the SEC's file.
    assert year(reported, CAT, "net_income", "2019-12-31", "2020-12-31") in (None, 6_093e6)


def test_t_mobile_after_the_reverse_merger_has_no_twelve_months_of_two_companies(fundamentals):
    for asked in ("2013-08-15", "2013-11-15"):
        row = as_of(fundamentals, TMUS, noon(asked))
        for figure in ("revenue_ttm", "operating_income_ttm", "net_income_ttm", "operating_cash_flow_ttm"):
            assert "comparatives were recast" in reason(row, figure)
    assert as_of(fundamentals, TMUS, noon("2014-03-01"))["net_income_ttm"] == 35e6  # the 10-K of 2013
    # The months of 2013 come from the filing of 2014: those of MetroPCS, filed before the merger, are not the year's.
    assert as_of(fundamentals, TMUS, noon("2014-05-15"))["operating_cash_flow_ttm"] == 3_545e6 + 759e6 - 909e6


def test_microsoft_revenue_of_2017_is_the_restated_one_once_the_next_annual_report_has_it(fundamentals):
    row = as_of(fundamentals, MSFT, noon("2018-08-31"))
    assert (row["revenue_ttm"], row["revenue_ttm_1y"]) == (110_360e6, 96_571e6)  # SalesRevenueNet had said 89,950 M
    assert as_of(fundamentals, MSFT, noon("2017-08-31"))["revenue_ttm"] == 89_950e6


def test_proxy_statements_say_nothing_of_net_income(fundamentals):
    """Arista's of April 2026 gives 2,087 USD for 2023, Home Depot's 14,810 M for the year that its 10-K gives as 14,806 M."""
    assert as_of(fundamentals, ANET, noon("2026-04-30"))["net_income_ttm_3y"] == pytest.approx(1_352.4e6, rel=1e-3)
    assert as_of(fundamentals, HD, noon("2026-04-30"))["net_income_ttm_1y"] == 14_806e6
