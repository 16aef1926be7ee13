"""Ratios as expressions over the panel's columns. A ratio without a positive denominator, or with a missing part, is null."""

import polars as pl


def _ratio(numerator: pl.Expr, denominator: pl.Expr) -> pl.Expr:
    return pl.when(denominator > 0).then(numerator / denominator)


def _c(name: str) -> pl.Expr:
    return pl.col(name)


# Net income over market value: the inverse of price to earnings.
EARNINGS_YIELD = _ratio(_c("net_income_ttm"), _c("market_cap"))
FREE_CASH_FLOW_YIELD = _ratio(_c("free_cash_flow_ttm"), _c("market_cap"))
RETURN_ON_EQUITY = _ratio(_c("net_income_ttm"), _c("equity"))
RETURN_ON_ASSETS = _ratio(_c("net_income_ttm"), _c("assets"))
# Operating income over the capital that has to be paid for: assets less current liabilities less cash, at least a tenth of
# the assets (companies financed by their customers would otherwise divide by almost nothing). After Greenblatt, The Little
# Book That Beats the Market (2005), with total instead of tangible assets. Where it cannot be computed: return on equity,
# then on assets.
_CAPITAL = pl.max_horizontal(_c("assets") - _c("current_liabilities") - _c("cash"), _c("assets") * 0.1)
_KNOWN_CAPITAL = pl.when(_c("current_liabilities").is_not_null() & _c("cash").is_not_null()).then(_CAPITAL)
RETURN_ON_CAPITAL = pl.coalesce(_ratio(_c("operating_income_ttm"), _KNOWN_CAPITAL), RETURN_ON_EQUITY, RETURN_ON_ASSETS)
LEVERAGE = _ratio(_c("debt"), _c("assets"))
OPERATING_MARGIN = _ratio(_c("operating_income_ttm"), _c("revenue_ttm"))
REVENUE_GROWTH_1Y = _ratio(_c("revenue_ttm"), _c("revenue_ttm_1y")) - 1
# A year, compound. Not a power: the cube root is the same number on every machine.
REVENUE_GROWTH_3Y = _ratio(_c("revenue_ttm"), _c("revenue_ttm_3y")).cbrt() - 1
