"""Published scores as expressions over the panel's columns: Piotroski's nine signals, Altman's Z, Greenblatt's two ranks.

A score is null when one of its parts is not known. For Piotroski's, which is a count, two more expressions say how far it is
known: the signals that certainly hold, and the names of those that cannot be told. Balances a year and two years earlier are
those known at the row's own instant (the `_1y` and `_2y` figures).
"""

import polars as pl

from tradebot_core.quant.ranks import rank_in_session
from tradebot_core.quant.ratios import CURRENT_RATIO, EBIT, EBIT_YIELD, GROSS_MARGIN, _c, _ratio

# Piotroski, Value Investing: The Use of Historical Financial Statement Information to Separate Winners from Losers, Journal of
# Accounting Research 38 (2000). Income and sales over the assets at the beginning of the year, debt over average assets, as
# he defines them. An unchanged figure is no improvement. Net income is after extraordinary items, which the SEC's taxonomy has not
# had since ASU 2015-01; long-term debt includes the part due within a year. Whether equity was offered is told by the basic
# average shares, not by proceeds from issues, which employees' options bring to nearly every company, nor by diluted shares, which
# are fewer in a loss. Both counts come from one filing and so stand on one split basis.
_ROA, _ROA_1Y = _ratio(_c("net_income_ttm"), _c("assets_1y")), _ratio(_c("net_income_ttm_1y"), _c("assets_2y"))
_DEBT = _ratio(_c("long_term_borrowings"), (_c("assets") + _c("assets_1y")) / 2)
_DEBT_1Y = _ratio(_c("long_term_borrowings_1y"), (_c("assets_1y") + _c("assets_2y")) / 2)
_CURRENT_RATIO_1Y = _ratio(_c("current_assets_1y"), _c("current_liabilities_1y"))
_GROSS_MARGIN_1Y = _ratio(_c("gross_profit_ttm_1y"), _c("revenue_ttm_1y"))
_TURNOVER, _TURNOVER_1Y = _ratio(_c("revenue_ttm"), _c("assets_1y")), _ratio(_c("revenue_ttm_1y"), _c("assets_2y"))

# Where both sides are over the same assets, the assets make no difference and are left out.
F_POSITIVE_RETURN = _c("net_income_ttm") > 0
F_POSITIVE_CASH_FLOW = _c("operating_cash_flow_ttm") > 0
F_RISING_RETURN = _ROA > _ROA_1Y
F_CASH_EXCEEDS_EARNINGS = _c("operating_cash_flow_ttm") > _c("net_income_ttm")
F_FALLING_DEBT = _DEBT < _DEBT_1Y
F_RISING_LIQUIDITY = CURRENT_RATIO > _CURRENT_RATIO_1Y
F_NO_NEW_SHARES = _c("shares_basic") <= _c("shares_basic_1y")
F_RISING_MARGIN = GROSS_MARGIN > _GROSS_MARGIN_1Y
F_RISING_TURNOVER = _TURNOVER > _TURNOVER_1Y

F_SIGNALS: dict[str, pl.Expr] = {
    "f_positive_return": F_POSITIVE_RETURN,
    "f_positive_cash_flow": F_POSITIVE_CASH_FLOW,
    "f_rising_return": F_RISING_RETURN,
    "f_cash_exceeds_earnings": F_CASH_EXCEEDS_EARNINGS,
    "f_falling_debt": F_FALLING_DEBT,
    "f_rising_liquidity": F_RISING_LIQUIDITY,
    "f_no_new_shares": F_NO_NEW_SHARES,
    "f_rising_margin": F_RISING_MARGIN,
    "f_rising_turnover": F_RISING_TURNOVER,
}
# 0 to 9, null unless all nine are known: a missing signal taken for a failed one (the usual practice) or for a passed one would
# be a number nobody reported. F_SCORE_AT_LEAST counts those that are known to hold, so a rule on it never flatters.
F_SCORE = pl.sum_horizontal([signal.cast(pl.Float64) for signal in F_SIGNALS.values()], ignore_nulls=False)
F_SCORE_AT_LEAST = pl.sum_horizontal([signal.fill_null(False).cast(pl.Float64) for signal in F_SIGNALS.values()])
# "f_falling_debt, f_rising_liquidity", or "" where all are known.
F_UNKNOWN = pl.concat_str(
    [pl.when(signal.is_null()).then(pl.lit(name)) for name, signal in F_SIGNALS.items()], separator=", ", ignore_nulls=True
)

# Altman, Financial Ratios, Discriminant Analysis and the Prediction of Corporate Bankruptcy, Journal of Finance 23 (1968): listed
# manufacturers. Sales weigh 0.999 as printed there (vendors round it to 1). Z' (Altman, Corporate Financial Distress, 1983) takes
# book for market equity: private manufacturers. Z'' (Altman, Hartzell and Peck, Emerging Market Corporate Bonds, 1995, without
# its constant) leaves out sales: service companies as well. None is apt for banks and insurers, whose balance sheets are not
# classified: they lack current assets, and the scores are null.
ALTMAN_WORKING_CAPITAL = _ratio(_c("current_assets") - _c("current_liabilities"), _c("assets"))
ALTMAN_RETAINED_EARNINGS = _ratio(_c("retained_earnings"), _c("assets"))
ALTMAN_EBIT = _ratio(EBIT, _c("assets"))
ALTMAN_MARKET_EQUITY = _ratio(_c("market_cap"), _c("liabilities"))
ALTMAN_BOOK_EQUITY = _ratio(_c("equity"), _c("liabilities"))
ALTMAN_SALES = _ratio(_c("revenue_ttm"), _c("assets"))
ALTMAN_Z = (
    1.2 * ALTMAN_WORKING_CAPITAL
    + 1.4 * ALTMAN_RETAINED_EARNINGS
    + 3.3 * ALTMAN_EBIT
    + 0.6 * ALTMAN_MARKET_EQUITY
    + 0.999 * ALTMAN_SALES
)
ALTMAN_Z_PRIVATE = (
    0.717 * ALTMAN_WORKING_CAPITAL
    + 0.847 * ALTMAN_RETAINED_EARNINGS
    + 3.107 * ALTMAN_EBIT
    + 0.420 * ALTMAN_BOOK_EQUITY
    + 0.998 * ALTMAN_SALES
)
ALTMAN_Z_SERVICES = (
    6.56 * ALTMAN_WORKING_CAPITAL + 3.26 * ALTMAN_RETAINED_EARNINGS + 6.72 * ALTMAN_EBIT + 1.05 * ALTMAN_BOOK_EQUITY
)


def _zone(score: pl.Expr, distress_below: float, safe_above: float) -> pl.Expr:
    named = pl.when(score < distress_below).then(pl.lit("distress")).when(score > safe_above).then(pl.lit("safe"))
    return pl.when(score.is_not_null()).then(named.otherwise(pl.lit("grey")))


# "distress", "grey" or "safe"; the bounds themselves are grey.
ALTMAN_Z_ZONE = _zone(ALTMAN_Z, 1.81, 2.99)
ALTMAN_Z_PRIVATE_ZONE = _zone(ALTMAN_Z_PRIVATE, 1.23, 2.90)
ALTMAN_Z_SERVICES_ZONE = _zone(ALTMAN_Z_SERVICES, 1.10, 2.60)

# Greenblatt, The Little Book That Beats the Market (2005), appendix: EBIT over enterprise value (ratios.EBIT_YIELD), and EBIT
# over net working capital plus net fixed assets, where working capital is without cash and without debt due within a year. Where
# debt is reported and none of it as current, none is due. Ranks are among those rows of the session for which both are known; the
# lower the sum the better. He leaves out utilities and financials: filter before ranking.
_CURRENT_DEBT = pl.coalesce(_c("short_term_debt"), pl.when(_c("debt").is_not_null()).then(0.0))
_NET_WORKING_CAPITAL = (_c("current_assets") - _c("cash")) - (_c("current_liabilities") - _CURRENT_DEBT)
RETURN_ON_TANGIBLE_CAPITAL = _ratio(EBIT, _NET_WORKING_CAPITAL + _c("property_plant_equipment"))
_BOTH_KNOWN = EBIT_YIELD.is_not_null() & RETURN_ON_TANGIBLE_CAPITAL.is_not_null()
GREENBLATT_YIELD_RANK = rank_in_session(pl.when(_BOTH_KNOWN).then(EBIT_YIELD), best="high").cast(pl.Float64)
GREENBLATT_RETURN_RANK = rank_in_session(pl.when(_BOTH_KNOWN).then(RETURN_ON_TANGIBLE_CAPITAL), best="high").cast(pl.Float64)
GREENBLATT_RANK = GREENBLATT_YIELD_RANK + GREENBLATT_RETURN_RANK
