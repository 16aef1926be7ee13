"""Ratios as expressions over the panel's columns, for the steps and rules of a TableLayer.

Every ratio is null when a part of it is missing or its denominator is not positive: a return on negative equity is no return.
Flows are the trailing twelve months; market values are those of the row's close. docs/figures.md has them as a table.

Where vendors differ, this is what we take, and why:
- Balances are those at the end of the twelve months, not averages of two years. One report then suffices, and the factors of
  DuPont's identity multiply to the return exactly. Averages are used only where the publication says so (Sloan's accruals, in
  scores.py Piotroski's opening assets).
- EBIT is operating income (Greenblatt's and S&P Compustat's OIADP), which leaves out what cash and securities earn. Companies
  that show no operating income (many insurers, oil companies, conglomerates) have pretax income plus interest expense instead,
  which is what other vendors call EBIT throughout.
- Debt is interest-bearing borrowings without operating leases; cash is cash and equivalents without securities.
- Minority interest and preferred equity count where they are reported. Regulation S-X 5-02.27 to 5-02.31 requires a line where
  there are any, so a balance sheet without the line says that there are none. Debt that is not reported stays unknown.
"""

import polars as pl


def _ratio(numerator: pl.Expr, denominator: pl.Expr) -> pl.Expr:
    return pl.when(denominator > 0).then(numerator / denominator)


def _c(name: str) -> pl.Expr:
    return pl.col(name)


EBIT = pl.coalesce(_c("operating_income_ttm"), _c("pretax_income_ttm") + _c("interest_expense_ttm"))  # USD
EBITDA = EBIT + _c("depreciation_and_amortisation_ttm")  # USD

# Margins.
GROSS_MARGIN = _ratio(_c("gross_profit_ttm"), _c("revenue_ttm"))
OPERATING_MARGIN = _ratio(_c("operating_income_ttm"), _c("revenue_ttm"))
NET_MARGIN = _ratio(_c("net_income_ttm"), _c("revenue_ttm"))
FREE_CASH_FLOW_MARGIN = _ratio(_c("free_cash_flow_ttm"), _c("revenue_ttm"))

# Returns.
RETURN_ON_EQUITY = _ratio(_c("net_income_ttm"), _c("equity"))
RETURN_ON_ASSETS = _ratio(_c("net_income_ttm"), _c("assets"))
# Operating income over the capital that has to be paid for: assets less current liabilities less cash, at least a tenth of
# the assets (companies financed by their customers would otherwise divide by almost nothing). After Greenblatt, The Little
# Book That Beats the Market (2005), with total instead of tangible assets. Where it cannot be computed: return on equity,
# then on assets.
_CAPITAL = pl.max_horizontal(_c("assets") - _c("current_liabilities") - _c("cash"), _c("assets") * 0.1)
_KNOWN_CAPITAL = pl.when(_c("current_liabilities").is_not_null() & _c("cash").is_not_null()).then(_CAPITAL)
RETURN_ON_CAPITAL = pl.coalesce(_ratio(_c("operating_income_ttm"), _KNOWN_CAPITAL), RETURN_ON_EQUITY, RETURN_ON_ASSETS)
# Unknown in a year of losses: a tax credit is no rate on income.
EFFECTIVE_TAX_RATE = _ratio(_c("income_tax_ttm"), _c("pretax_income_ttm"))
# Net operating profit after taxes over the operating capital that investors provide: equity with minorities, plus debt, less
# cash (Koller, Goedhart and Wessels, Valuation, 7th ed. 2020, ch. 11, with reported taxes and all cash taken as excess).
INVESTED_CAPITAL = _c("equity") + _c("minority_interest").fill_null(0.0) + _c("debt") - _c("cash")  # USD
RETURN_ON_INVESTED_CAPITAL = _ratio(EBIT * (1 - EFFECTIVE_TAX_RATE), INVESTED_CAPITAL)
# Novy-Marx, The Other Side of Value: The Gross Profitability Premium, Journal of Financial Economics 108 (2013).
GROSS_PROFITABILITY = _ratio(_c("gross_profit_ttm"), _c("assets"))

# DuPont. Three factors: net margin x asset turnover x equity multiplier = return on equity. Five, as the CFA Institute's
# curriculum has them: tax burden x interest burden x EBIT margin x asset turnover x equity multiplier.
ASSET_TURNOVER = _ratio(_c("revenue_ttm"), _c("assets"))
EQUITY_MULTIPLIER = _ratio(_c("assets"), _c("equity"))
TAX_BURDEN = _ratio(_c("net_income_ttm"), _c("pretax_income_ttm"))
INTEREST_BURDEN = _ratio(_c("pretax_income_ttm"), EBIT)
EBIT_MARGIN = _ratio(EBIT, _c("revenue_ttm"))

# Accruals, positive when earnings exceed the cash that came in. Sloan, Do Stock Prices Fully Reflect Information in Accruals and
# Cash Flows about Future Earnings? The Accounting Review 71 (1996): over average assets. His balance-sheet form: the change in
# non-cash current assets, less that in current liabilities other than debt and income taxes payable, less depreciation. Income
# taxes payable count where both balance sheets show them: what they do not show is within 5 % of current liabilities
# (Regulation S-X 5-02.20).
_AVERAGE_ASSETS = (_c("assets") + _c("assets_1y")) / 2
_TAXES_PAYABLE_ADDED = (_c("taxes_payable") - _c("taxes_payable_1y")).fill_null(0.0)
_NON_CASH_CURRENT_ASSETS_ADDED = (_c("current_assets") - _c("current_assets_1y")) - (_c("cash") - _c("cash_1y"))
_OPERATING_CURRENT_LIABILITIES_ADDED = (
    (_c("current_liabilities") - _c("current_liabilities_1y"))
    - (_c("short_term_debt") - _c("short_term_debt_1y"))
    - _TAXES_PAYABLE_ADDED
)
ACCRUALS_BALANCE_SHEET = _ratio(
    _NON_CASH_CURRENT_ASSETS_ADDED - _OPERATING_CURRENT_LIABILITIES_ADDED - _c("depreciation_and_amortisation_ttm"),
    _AVERAGE_ASSETS,
)
# The cash-flow form is not disturbed by acquisitions and disposals: Hribar and Collins, Errors in Estimating Accruals, Journal
# of Accounting Research 40 (2002). Prefer it.
ACCRUALS_CASH_FLOW = _ratio(_c("net_income_ttm") - _c("operating_cash_flow_ttm"), _AVERAGE_ASSETS)

# Debt.
NET_DEBT = _c("debt") - _c("cash")  # USD, negative where cash exceeds debt
LEVERAGE = _ratio(_c("debt"), _c("assets"))
NET_DEBT_TO_EBITDA = _ratio(NET_DEBT, EBITDA)
INTEREST_COVERAGE = _ratio(EBIT, _c("interest_expense_ttm"))
CURRENT_RATIO = _ratio(_c("current_assets"), _c("current_liabilities"))

# Price. The yields are inverses of the usual multiples, so that a loss sorts below every profit.
EARNINGS_YIELD = _ratio(_c("net_income_ttm"), _c("market_cap"))
FREE_CASH_FLOW_YIELD = _ratio(_c("free_cash_flow_ttm"), _c("market_cap"))
ENTERPRISE_VALUE = (  # USD; what the whole business costs, whoever financed it
    _c("market_cap") + NET_DEBT + _c("minority_interest").fill_null(0.0) + _c("preferred_equity").fill_null(0.0)
)
EBIT_YIELD = _ratio(EBIT, ENTERPRISE_VALUE)

# Growth.
REVENUE_GROWTH_1Y = _ratio(_c("revenue_ttm"), _c("revenue_ttm_1y")) - 1
# A year, compound. Not a power: the cube root is the same number on every machine.
REVENUE_GROWTH_3Y = _ratio(_c("revenue_ttm"), _c("revenue_ttm_3y")).cbrt() - 1
