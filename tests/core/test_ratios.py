"""Ratios against hand-worked numbers, financetoolkit's published ones, and two independent sets of statements."""

from datetime import date

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.statements_of import YEARS, folder_of_real_data, published, row, rows, simfin_statements, toolkit_statements, value
from tradebot_core.calendar import xnys
from tradebot_core.collectors.edgar import EdgarFacts
from tradebot_core.model.fundamentals import FIGURES
from tradebot_core.quant import ratios, scores
from tradebot_core.quant.statements import normalise_many

NUMBERS = {
    name: e for module in (ratios, scores) for name, e in vars(module).items() if name.isupper() and isinstance(e, pl.Expr)
}
RATIOS = {name: e for name, e in NUMBERS.items() if name[0] != "_" and not name.endswith("_RANK")}

# Definitions --------------------------------------------------------------------------------------------------------------

SOUND = {
    "revenue_ttm": 1000.0,
    "gross_profit_ttm": 400.0,
    "operating_income_ttm": 200.0,
    "pretax_income_ttm": 180.0,
    "income_tax_ttm": 45.0,
    "net_income_ttm": 130.0,
    "interest_expense_ttm": 25.0,
    "depreciation_and_amortisation_ttm": 50.0,
    "operating_cash_flow_ttm": 170.0,
    "free_cash_flow_ttm": 110.0,
    "assets": 2000.0,
    "assets_1y": 1800.0,
    "assets_2y": 1700.0,
    "current_assets": 600.0,
    "current_assets_1y": 550.0,
    "current_liabilities": 400.0,
    "current_liabilities_1y": 390.0,
    "cash": 150.0,
    "cash_1y": 120.0,
    "debt": 500.0,
    "short_term_debt": 60.0,
    "short_term_debt_1y": 70.0,
    "taxes_payable": 20.0,
    "taxes_payable_1y": 15.0,
    "equity": 800.0,
    "liabilities": 1150.0,
    "minority_interest": 50.0,
    "preferred_equity": 30.0,
    "retained_earnings": 300.0,
    "property_plant_equipment": 700.0,
    "market_cap": 3000.0,
}
BY_HAND = {
    "EBIT": 200,
    "EBITDA": 250,
    "GROSS_MARGIN": 0.4,
    "OPERATING_MARGIN": 0.2,
    "NET_MARGIN": 0.13,
    "FREE_CASH_FLOW_MARGIN": 0.11,
    "RETURN_ON_EQUITY": 0.1625,
    "RETURN_ON_ASSETS": 0.065,
    "EFFECTIVE_TAX_RATE": 0.25,
    "INVESTED_CAPITAL": 800 + 50 + 500 - 150,
    "RETURN_ON_INVESTED_CAPITAL": 200 * 0.75 / 1200,
    "GROSS_PROFITABILITY": 0.2,
    "ASSET_TURNOVER": 0.5,
    "EQUITY_MULTIPLIER": 2.5,
    "TAX_BURDEN": 130 / 180,
    "INTEREST_BURDEN": 0.9,
    "EBIT_MARGIN": 0.2,
    # (50 - 30) of non-cash current assets, less 10 + 10 - 5 of current liabilities, less 50 of depreciation, over 1,900
    "ACCRUALS_BALANCE_SHEET": (20 - 15 - 50) / 1900,
    "ACCRUALS_CASH_FLOW": (130 - 170) / 1900,
    "NET_DEBT": 350,
    "NET_DEBT_TO_EBITDA": 1.4,
    "LEVERAGE": 0.25,
    "INTEREST_COVERAGE": 8,
    "CURRENT_RATIO": 1.5,
    "EARNINGS_YIELD": 130 / 3000,
    "FREE_CASH_FLOW_YIELD": 110 / 3000,
    "ENTERPRISE_VALUE": 3000 + 350 + 50 + 30,
    "EBIT_YIELD": 200 / 3430,
    "RETURN_ON_TANGIBLE_CAPITAL": 200 / ((600 - 150) - (400 - 60) + 700),
}


@pytest.mark.parametrize("name", BY_HAND)
def test_a_ratio_is_what_its_definition_says(name):
    assert value(RATIOS[name], row(**SOUND)) == pytest.approx(BY_HAND[name], rel=1e-12)


def without(*names: str, **changed: float | None) -> pl.DataFrame:
    return row(**{**SOUND, **dict.fromkeys(names), **changed})


def test_the_factors_of_dupont_multiply_to_the_return_on_equity():
    three = ratios.NET_MARGIN * ratios.ASSET_TURNOVER * ratios.EQUITY_MULTIPLIER
    five = ratios.TAX_BURDEN * ratios.INTEREST_BURDEN * ratios.EBIT_MARGIN * ratios.ASSET_TURNOVER * ratios.EQUITY_MULTIPLIER
    for product in (three, five):
        assert value(product, row(**SOUND)) == pytest.approx(value(ratios.RETURN_ON_EQUITY, row(**SOUND)), rel=1e-12)


def test_ebit_of_a_company_without_operating_income_is_pretax_income_and_interest():
    assert value(ratios.EBIT, without("operating_income_ttm")) == 205
    assert value(ratios.EBIT, without("operating_income_ttm", "interest_expense_ttm")) is None


def test_minorities_and_preferred_equity_are_nothing_where_no_line_shows_them_and_debt_is_unknown():
    assert value(ratios.ENTERPRISE_VALUE, without("minority_interest", "preferred_equity")) == 3350
    assert value(ratios.ENTERPRISE_VALUE, without("debt")) is None


def test_income_taxes_payable_count_where_both_balance_sheets_show_them():
    assert value(ratios.ACCRUALS_BALANCE_SHEET, without("taxes_payable_1y")) == pytest.approx((20 - 20 - 50) / 1900)


def test_a_denominator_that_is_not_positive_gives_no_ratio():
    for expression, changed in (
        (ratios.RETURN_ON_EQUITY, {"equity": -10.0}),
        (ratios.RETURN_ON_EQUITY, {"equity": 0.0}),
        (ratios.INTEREST_COVERAGE, {"interest_expense_ttm": 0.0}),
        (ratios.EBIT_YIELD, {"cash": 5000.0}),
        (ratios.EFFECTIVE_TAX_RATE, {"pretax_income_ttm": -1.0}),
        (ratios.RETURN_ON_INVESTED_CAPITAL, {"pretax_income_ttm": -1.0}),
        (ratios.NET_DEBT_TO_EBITDA, {"operating_income_ttm": -80.0}),
    ):
        assert value(expression, without(**changed)) is None


def test_a_loss_is_a_negative_margin_and_yield():
    assert value(ratios.NET_MARGIN, without(net_income_ttm=-50.0)) == -0.05
    assert value(ratios.EARNINGS_YIELD, without(net_income_ttm=-300.0)) == -0.1


# Properties ---------------------------------------------------------------------------------------------------------------

ABSOLUTE = {"EBIT", "EBITDA", "INVESTED_CAPITAL", "NET_DEBT", "ENTERPRISE_VALUE"}  # USD
SHARES = [name for name in FIGURES if name.startswith("shares")]
amounts = st.one_of(*[st.integers(-(10**12), 10**12).map(float)] * 4, st.just(0.0), st.none())
statements = st.fixed_dictionaries(dict.fromkeys([*FIGURES, "market_cap"], amounts))


@settings(max_examples=150, deadline=None)
@given(statements, st.integers(-20, 20))
def test_ratios_do_not_depend_on_the_unit_of_money(figures, power):
    """By a power of two, which is exact: thousands, yen or cents would give the same ratios but for rounding."""
    scaled = {k: v if v is None or k in SHARES else v * 2.0**power for k, v in figures.items()}
    chosen = [e.alias(name) for name, e in RATIOS.items() if name not in ABSOLUTE]
    assert rows([figures]).select(chosen).equals(rows([scaled]).select(chosen))


@settings(max_examples=150, deadline=None)
@given(statements)
def test_no_ratio_is_ever_nan_or_infinite(figures):
    found = rows([figures]).select(e.alias(name) for name, e in RATIOS.items()).row(0, named=True)
    assert not [name for name, number in found.items() if isinstance(number, float) and not abs(number) < float("inf")]


WHEN_REPORTED = {"minority_interest", "preferred_equity", "taxes_payable", "taxes_payable_1y"}  # said so where they are used
STANDS_IN = {"operating_income_ttm", "pretax_income_ttm", "interest_expense_ttm", "short_term_debt", "debt"}
COUNTED = {"F_SCORE_AT_LEAST", "F_UNKNOWN", "RETURN_ON_CAPITAL"}  # say what is known of parts, or stand on another ratio


@pytest.mark.parametrize("name", sorted(set(RATIOS) - COUNTED))
def test_a_missing_part_makes_the_ratio_missing(name):
    complete = {figure: SOUND.get(figure, 100.0) for figure in [*FIGURES, "market_cap"]}
    assert value(RATIOS[name], row(**complete)) is not None
    parts = set(RATIOS[name].meta.root_names())
    needed = parts - WHEN_REPORTED - ({"debt"} if name == "RETURN_ON_TANGIBLE_CAPITAL" else set())
    for part in needed - {"operating_income_ttm", "pretax_income_ttm", "interest_expense_ttm", "short_term_debt"}:
        assert value(RATIOS[name], row(**{**complete, part: None})) is None, part
    if parts & STANDS_IN:  # with what may stand in for it
        assert value(RATIOS[name], row(**{**complete, **dict.fromkeys(STANDS_IN)})) is None


# financetoolkit -----------------------------------------------------------------------------------------------------------
# Its EBIT is net income + taxes + interest for all companies, ours for those without operating income; its returns and turnovers
# take average balances. Both are given to our expressions as inputs; what they compute is then the same.

COMPANIES = ("AAPL", "MSFT")
BALANCES = ("assets", "equity")


def vendor(company: str, year: str) -> pl.DataFrame:
    return rows([toolkit_statements(company, year) | {"operating_income_ttm": None}])


def vendor_with_averages(company: str, year: str) -> pl.DataFrame:
    now, before = toolkit_statements(company, year), toolkit_statements(company, str(int(year) - 1))
    return rows([now | {name: (now[name] + before[name]) / 2 for name in BALANCES}])


SAME_DEFINITION = {
    ("test_collect_all_ratios", "Gross Margin"): ratios.GROSS_MARGIN,
    ("test_collect_all_ratios", "Net Profit Margin"): ratios.NET_MARGIN,
    ("test_collect_all_ratios", "Effective Tax Rate"): ratios.EFFECTIVE_TAX_RATE,
    ("test_collect_all_ratios", "EBIT to Revenue"): ratios.EBIT_MARGIN,
    ("test_collect_all_ratios", "EBT to EBIT Ratio"): ratios.INTEREST_BURDEN,
    ("test_collect_all_ratios", "Net Income per EBT"): ratios.TAX_BURDEN,
    ("test_collect_all_ratios", "Debt-to-Assets Ratio"): ratios.LEVERAGE,
    ("test_collect_all_ratios", "Current Ratio"): ratios.CURRENT_RATIO,
    ("test_collect_all_ratios", "Free Cash Flow Yield"): ratios.FREE_CASH_FLOW_YIELD,
    ("test_collect_all_ratios", "EV-to-EBIT"): 1 / ratios.EBIT_YIELD,
    ("test_get_enterprise_value_breakdown", "Enterprise Value"): ratios.ENTERPRISE_VALUE,
    ("test_get_altman_z_score", "Working Capital to Total Assets"): scores.ALTMAN_WORKING_CAPITAL,
    ("test_get_altman_z_score", "Retained Earnings to Total Assets"): scores.ALTMAN_RETAINED_EARNINGS,
    ("test_get_altman_z_score", "EBIT to Total Assets"): scores.ALTMAN_EBIT,
    ("test_get_altman_z_score", "Market Value to Total Liabilities"): scores.ALTMAN_MARKET_EQUITY,
    ("test_get_altman_z_score", "Sales to Total Assets"): scores.ALTMAN_SALES,
    # It rounds the weight of sales to 1; the paper's is 0.999.
    ("test_get_altman_z_score", "Altman Z-Score"): scores.ALTMAN_Z + 0.001 * scores.ALTMAN_SALES,
}
WITH_AVERAGES = {
    "Return on Assets": ratios.RETURN_ON_ASSETS,
    "Return on Equity": ratios.RETURN_ON_EQUITY,
    "Asset Turnover Ratio": ratios.ASSET_TURNOVER,
    "Equity Multiplier": ratios.EQUITY_MULTIPLIER,
}


def close(number: float | None, expected: float | None) -> bool:
    """To the four decimals that are published; both missing where the year has no price."""
    return number is expected is None or (number is not None and expected is not None and abs(number - expected) < 5.1e-5)


@pytest.mark.parametrize("company", COMPANIES)
@pytest.mark.parametrize(("file", "line"), SAME_DEFINITION)
def test_published_ratios_of_apple_and_microsoft(company, file, line):
    expected = published(file)
    for year in YEARS:
        assert close(value(SAME_DEFINITION[file, line], vendor(company, year)), expected[company, line, year]), (company, year)


@pytest.mark.parametrize("company", COMPANIES)
def test_published_returns_when_they_are_given_average_balances(company):
    expected = published("test_collect_all_ratios")
    for year in YEARS[1:]:
        for line, expression in WITH_AVERAGES.items():
            assert close(value(expression, vendor_with_averages(company, year)), expected[company, line, year]), (line, year)


@pytest.mark.parametrize("company", COMPANIES)
def test_published_ratios_of_other_definitions_in_terms_of_ours(company):
    """Interest is covered by operating income and depreciation; DuPont's burdens have the two incomes swapped."""
    expected = published("test_collect_all_ratios") | published("test_get_extended_dupont_analysis")
    for year in YEARS:
        of = rows([toolkit_statements(company, year)])
        depreciation, interest = pl.col("depreciation_and_amortisation_ttm"), pl.col("interest_expense_ttm")
        definitions = {
            "Interest Coverage Ratio": ratios.INTEREST_COVERAGE + depreciation / interest,
            "Operating Margin": ratios.OPERATING_MARGIN,
            "Net-Debt to EBITDA Ratio": ratios.NET_DEBT_TO_EBITDA,
            "Interest Burden Ratio": 1 / ratios.INTEREST_BURDEN,
            "Tax Burden Ratio": ratios.TAX_BURDEN * ratios.INTEREST_BURDEN,
            "Operating Profit Margin": ratios.INTEREST_BURDEN * ratios.EBIT_MARGIN,
        }
        for line, expression in definitions.items():
            assert close(value(expression, of), expected[company, line, year]), (line, year, value(expression, of))


# Statements of two sources ------------------------------------------------------------------------------------------------

APPLE, NVIDIA, AMD = 320193, 1045810, 2488


@pytest.fixture(scope="module")
def filed() -> pl.DataFrame:
    """FUNDAMENTALS of three companies, from the SEC's files through the whole path."""
    edgar = folder_of_real_data("edgar")
    params = EdgarFacts.Params(path=edgar / "companyfacts.zip", submissions_path=edgar / "submissions.zip")
    companies = pl.DataFrame({"cik": [APPLE, NVIDIA, AMD]})
    facts = pl.concat([b.rows for b in EdgarFacts(params, xnys()).collect(companies, date(2009, 1, 2), date(2026, 6, 30))])
    return normalise_many(facts, {})


def annual(filed: pl.DataFrame, cik: int, ending_in: int, **market: float | None) -> pl.DataFrame:
    """What the annual report said of a fiscal year, by the calendar year in which it ends."""
    report = filed.filter(pl.col("cik") == cik, pl.col("form") == "10-K", pl.col("period_end").dt.year() == ending_in)
    return report.with_columns(pl.lit(market.get("market_cap"), pl.Float64).alias("market_cap")).tail(1)


NOT_THE_SAME = {
    "market_cap": "not of the filing",
    "debt": "financetoolkit counts leases",
    "minority_interest": "Apple shows no such line, financetoolkit 0",
    "preferred_equity": "the same",
}


@pytest.mark.parametrize("year", YEARS)
def test_apples_figures_from_the_filings_are_those_financetoolkit_has(filed, year):
    found = annual(filed, APPLE, int(year)).row(0, named=True)
    expected = {k: v for k, v in toolkit_statements("AAPL", year).items() if k not in NOT_THE_SAME}
    assert {name: found[name] for name in expected} == expected
    assert (found["minority_interest"], found["preferred_equity"]) == (None, None)


@pytest.mark.parametrize("year", YEARS[:3])
def test_apples_altman_z_from_the_filings_is_the_published_one(filed, year):
    """With financetoolkit's market value, EBIT and weight of sales."""
    market_cap = published("test_get_enterprise_value_breakdown")["AAPL", "Market Capitalization", year]
    report = annual(filed, APPLE, int(year), market_cap=market_cap).with_columns(operating_income_ttm=pl.lit(None, pl.Float64))
    found = value(scores.ALTMAN_Z + 0.001 * scores.ALTMAN_SALES, report)
    assert close(found, published("test_get_altman_z_score")["AAPL", "Altman Z-Score", year])


def test_apples_return_on_equity_from_the_filings_is_net_income_over_closing_equity(filed):
    """FY2021: 94,680 over 63,090 M; over the average, as financetoolkit has it, 1.4744."""
    assert value(ratios.RETURN_ON_EQUITY, annual(filed, APPLE, 2021)) == pytest.approx(1.5007, abs=5e-5)


FROM_STATEMENTS = (
    *("GROSS_MARGIN", "OPERATING_MARGIN", "NET_MARGIN", "RETURN_ON_EQUITY", "RETURN_ON_ASSETS", "GROSS_PROFITABILITY"),
    *("ASSET_TURNOVER", "EQUITY_MULTIPLIER", "CURRENT_RATIO", "ACCRUALS_CASH_FLOW", "TAX_BURDEN"),
    *("ALTMAN_WORKING_CAPITAL", "ALTMAN_RETAINED_EARNINGS", "ALTMAN_BOOK_EQUITY", "ALTMAN_SALES"),
    # Not F_FALLING_DEBT: SimFin's debt within a year has commercial paper, which is no long-term debt.
    *("F_RISING_RETURN", "F_CASH_EXCEEDS_EARNINGS", "F_RISING_LIQUIDITY", "F_NO_NEW_SHARES", "F_RISING_MARGIN"),
    "F_RISING_TURNOVER",
)
OTHER_DEFINITION = {"AMD": {"OPERATING_MARGIN"}}  # SimFin moves restructuring and the like below operating income
# SimFin has Apple's figures as restated later, the annual report as filed (USD million): debt issue costs (ASU 2015-03), taxes on
# shares withheld (ASU 2016-09) and restricted cash (ASU 2016-18) in cash flow, a reclassification of taxes in 2019.
AS_FILED = {
    ("AAPL", 2015): {"assets": 290_479e6, "liabilities": 171_124e6},
    ("AAPL", 2016): {"operating_cash_flow_ttm": 65_824e6},
    ("AAPL", 2017): {"operating_cash_flow_ttm": 63_598e6},
    ("AAPL", 2018): {"current_liabilities": 116_866e6},
}


@pytest.mark.parametrize(("cik", "ticker", "ending_in", "fiscal_year"), [
    *((APPLE, "AAPL", year, year) for year in range(2014, 2020)),
    *((NVIDIA, "NVDA", year, year - 1) for year in (2012, 2013, 2018, 2019, 2020)),
    *((AMD, "AMD", year, year) for year in (2011, 2012, 2013, 2014, 2019)),  # losses among them
])  # fmt: skip
def test_ratios_of_the_filings_and_of_simfins_statements_agree(filed, cik, ticker, ending_in, fiscal_year):
    restated = simfin_statements(ticker)[fiscal_year]
    as_filed = AS_FILED.get((ticker, fiscal_year), {})
    assert all(restated[figure] != number for figure, number in as_filed.items())
    statements_of_year, report = rows([restated | as_filed]), annual(filed, cik, ending_in)
    for name in set(FROM_STATEMENTS) - OTHER_DEFINITION.get(ticker, set()):
        found, expected = value(RATIOS[name], report), value(RATIOS[name], statements_of_year)
        if name == "TAX_BURDEN" and restated["pretax_income_ttm"] < 0:
            assert found is expected is None
        else:
            assert expected is not None
            assert found == pytest.approx(expected, rel=1e-9), name
