"""Fiscal years and quarters side by side, as the filings known at an instant report them."""

from datetime import UTC, date, datetime

import polars as pl
import pytest

from tests.core.test_statements import (
    ANNUAL_2022,
    CIK,
    DILUTED,
    EPS,
    FY2022,
    FY2023,
    H1_2023,
    INCOME,
    MONTHS_9_2023,
    OLD_REVENUE,
    Q1_2023,
    Q2_2023,
    REVENUE,
    filing,
    table,
)
from tradebot_core.quant.fiscal_periods import Fiscal, columns_of, fiscal_periods
from tradebot_core.quant.statements import provenance_of

LATER = datetime(2025, 1, 1, tzinfo=UTC)
CASH_FLOW, SPENT = "us-gaap:NetCashProvidedByUsedInOperatingActivities", "us-gaap:PaymentsToAcquirePropertyPlantAndEquipment"
COVER = "dei:EntityCommonStockSharesOutstanding"


def periods(*filings: list[tuple], fiscal: Fiscal = Fiscal.QUARTERS, as_of: datetime = LATER) -> dict[date, dict]:
    rows = fiscal_periods(table(*filings), {CIK: "Sample Corp"}, fiscal, as_of)
    return {row["period_end"]: row for row in rows.iter_rows(named=True)}


def test_each_fiscal_year_is_a_row():
    years = periods(ANNUAL_2022, filing("2024-02-20", {(REVENUE, FY2023): 1200}, "10-K"), fiscal=Fiscal.YEARS)
    assert {end: row["revenue_fy"] for end, row in years.items()} == {date(2022, 12, 31): 1000, date(2023, 12, 31): 1200}
    assert years[FY2023[1]]["known_at"] == datetime(2024, 2, 20, 21, tzinfo=UTC)
    assert years[FY2023[1]]["company_name"] == "Sample Corp"


def test_a_year_that_was_restated_is_as_known_at_the_instant():
    restated = filing("2024-02-20", {(REVENUE, FY2022): 940, (REVENUE, FY2023): 1200}, "10-K")
    assert periods(ANNUAL_2022, restated, fiscal=Fiscal.YEARS)[FY2022[1]]["revenue_fy"] == 940
    before = periods(ANNUAL_2022, restated, fiscal=Fiscal.YEARS, as_of=datetime(2024, 2, 20, 20, tzinfo=UTC))
    assert {end: row["revenue_fy"] for end, row in before.items()} == {FY2022[1]: 1000}


def test_cash_flows_of_a_quarter_are_the_difference_of_two_years_to_date():
    quarters = periods(
        *(
            filing(filed, {(REVENUE, quarter): 100.0, (CASH_FLOW, to_date): cash_flow, (SPENT, to_date): spent})
            for filed, quarter, to_date, cash_flow, spent in (
                ("2023-05-01", Q1_2023, Q1_2023, 80, 20),
                ("2023-08-01", Q2_2023, H1_2023, 200, 70),
            )
        ),
        filing("2023-11-01", {(CASH_FLOW, MONTHS_9_2023): 310, (REVENUE, (date(2023, 7, 1), MONTHS_9_2023[1])): 90}),
        filing("2024-02-20", {(CASH_FLOW, FY2023): 400, (REVENUE, FY2023): 400}, "10-K"),
    )
    assert [row["operating_cash_flow_q"] for row in quarters.values()] == [80, 120, 110, 90]
    assert [row["free_cash_flow_q"] for row in quarters.values()] == [60, 70, None, None]
    second = provenance_of(quarters[H1_2023[1]], "operating_cash_flow_q")
    assert second.rule == "year_to_date_less_quarters_before"
    assert [fact.value for fact in second.inputs] == [200, 80]


def test_a_fourth_quarter_is_the_year_less_nine_months_but_never_of_earnings_per_share():
    quarters = periods(
        filing("2023-11-01", {(REVENUE, MONTHS_9_2023): 700, (EPS, MONTHS_9_2023): 2.1, (DILUTED, MONTHS_9_2023): 10e6}),
        filing("2024-02-20", {(REVENUE, FY2023): 1000, (EPS, FY2023): 3.0, (DILUTED, FY2023): 10e6}, "10-K"),
    )
    fourth = quarters[FY2023[1]]
    assert (fourth["revenue_q"], fourth["eps_diluted_q"]) == (300, None)
    assert "per-share figures are never subtracted" in (provenance_of(fourth, "eps_diluted_q").reason or "")


def test_a_reported_quarter_is_preferred_to_a_difference():
    quarters = periods(
        filing("2023-05-01", {(REVENUE, Q1_2023): 300}),
        filing("2023-08-01", {(REVENUE, H1_2023): 620, (REVENUE, Q2_2023): 318}),
    )
    assert quarters[Q2_2023[1]]["revenue_q"] == 318


def test_a_year_alone_says_nothing_of_its_quarters():
    assert periods(ANNUAL_2022) == {}


def test_two_tags_are_not_mixed_into_one_quarter():
    quarters = periods(
        filing("2023-05-01", {(OLD_REVENUE, Q1_2023): 300, (INCOME, Q1_2023): 30}),
        filing("2023-08-01", {(REVENUE, H1_2023): 620, (INCOME, Q2_2023): 33}),
    )
    assert quarters[Q2_2023[1]]["revenue_q"] is None


def test_shares_of_a_year_are_those_of_its_cover_page_and_name_their_basis():
    years = periods(
        filing("2024-02-20", {(REVENUE, FY2023): 1200, (COVER, date(2024, 2, 9)): 105e6}, "10-K"),
        filing("2024-05-01", {(COVER, date(2024, 6, 30)): 210e6}),
        fiscal=Fiscal.YEARS,
    )
    assert years[FY2023[1]]["shares_outstanding"] == 105e6
    assert years[FY2023[1]]["shares_basis_date"] == date(2024, 2, 20)


@pytest.mark.parametrize("fiscal", list(Fiscal))
def test_columns_are_the_documented_ones(fiscal):
    rows = fiscal_periods(table(ANNUAL_2022), {}, fiscal, LATER)
    assert rows.schema == pl.Schema(columns_of(fiscal))
    assert rows["company_name"].to_list() == (["CIK 0000000042"] if fiscal is Fiscal.YEARS else [])
    assert fiscal_periods(table(), {}, fiscal, LATER).is_empty()
