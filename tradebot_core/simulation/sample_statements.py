"""The books of a fictional company, quarter by quarter: growth and margin wander slowly, everything else follows from them.

Money is in whole thousands of USD, so that assets equal liabilities plus equity exactly and cash moves by exactly what the cash
flow statement says. Shares are on the basis of the beginning, before all splits.
"""

from calendar import monthrange
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta

from tradebot_core.simulation.sample_companies import Company, Overstatement
from tradebot_core.simulation.sample_noise import normals

FIRST_FISCAL_YEAR = 2016
LAST_QUARTER_END = date(2027, 2, 28)  # a little beyond the horizon, as prices look ahead
PRICED_AT = date(2021, 1, 1)  # where a company's `price` and the pace of its share counts are anchored

_QUARTERS = 4
_USUAL_DAYS = 365.25 / _QUARTERS
_TAX_RATE = 0.22
_INTEREST_RATE = 0.05
_RECEIVABLES, _PAYABLES = 0.17, 0.16  # of a year's revenue
_PLANT_SHARE, _GOODWILL_SHARE, _STOCK_SHARE = 0.55, 0.20, 0.25  # of a company's capital
_CASH_LEAST, _CASH_AMPLE = 0.06, 0.13  # of a year's revenue
_STOCK_PAY = 0.006  # of revenue


@dataclass(frozen=True, slots=True)
class Period:
    """One fiscal quarter; `number` is 1 to 4."""

    fiscal_year: int
    number: int
    start: date
    end: date

    @property
    def days(self) -> int:
        return (self.end - self.start).days + 1


@dataclass(frozen=True, slots=True)
class Quarter:
    """The statements of one quarter, thousands of USD; shares are counted, on the first basis."""

    period: Period
    revenue: int
    cost_of_revenue: int
    operating_income: int
    net_income: int
    operating_cash_flow: int
    depreciation: int
    capital_expenditure: int
    dividends: int
    buybacks: int
    cash: int
    current_assets: int
    assets: int
    current_liabilities: int
    liabilities: int
    debt_current: int
    debt_noncurrent: int
    equity: int
    shares: float  # at the end
    average_shares: float
    value: float  # what the company as a whole is fundamentally worth

    @property
    def gross_profit(self) -> int:
        return self.revenue - self.cost_of_revenue


def fiscal_periods(year_end: int, weekly: bool) -> Iterator[Period]:
    """The fiscal quarters from FIRST_FISCAL_YEAR on. The 53rd week of a long year falls into its fourth quarter."""
    start = _year_end(FIRST_FISCAL_YEAR - 1, year_end, weekly) + timedelta(days=1)
    for calendar_year in range(FIRST_FISCAL_YEAR, LAST_QUARTER_END.year + 2):
        last = _year_end(calendar_year, year_end, weekly)
        fiscal_year = (last - timedelta(days=60)).year  # a year that ends in January bears the number of the one before
        for number in range(1, _QUARTERS + 1):
            end = last if number == _QUARTERS else _quarter_end(start, number, weekly, year_end, calendar_year)
            if end > LAST_QUARTER_END:
                return
            yield Period(fiscal_year, number, start, end)
            start = end + timedelta(days=1)


def _year_end(year: int, month: int, weekly: bool) -> date:
    last = date(year, month, monthrange(year, month)[1])
    if not weekly:
        return last
    to_saturday = (5 - last.weekday()) % 7
    return last + timedelta(days=to_saturday if to_saturday <= 3 else to_saturday - 7)


def _quarter_end(start: date, number: int, weekly: bool, year_end: int, year: int) -> date:
    if weekly:
        return start + timedelta(weeks=13, days=-1)
    month = year_end - 3 * (_QUARTERS - number)
    if month < 1:
        month, year = month + 12, year - 1
    return date(year, month, monthrange(year, month)[1])


@dataclass(slots=True)
class _Business:
    """Where a company stands between two quarters."""

    growth: float
    margin: float
    run_rate: float  # revenue of a year at the present pace
    plant: int
    goodwill: int
    loans: int
    cash: int
    receivables: int
    inventory: int
    payables: int
    debt: int
    provisions: int = 0
    dividend: int = 0  # of a quarter
    shares: float = 1.0
    earnings: list[int] = field(default_factory=list)
    usual_earnings: list[int] = field(default_factory=list)  # without provisions
    revenues: list[int] = field(default_factory=list)

    @property
    def current_assets(self) -> int:
        return self.cash + self.receivables + self.inventory

    @property
    def assets(self) -> int:
        return self.current_assets + self.plant + self.goodwill + self.loans

    @property
    def liabilities(self) -> int:
        return self.payables + self.debt + self.provisions + self.loans  # deposits fund the loans

    @property
    def equity(self) -> int:
        return self.assets - self.liabilities

    @property
    def working_capital(self) -> int:
        return self.receivables + self.inventory - self.payables


def quarterly_statements(company: Company, seed: int) -> list[Quarter]:
    """All quarters of a company. Share counts are scaled so that it is worth its `price` a share in 2021."""
    periods = list(fiscal_periods(company.year_end, company.weekly))
    noise = iter(normals(seed, (1, company.number), 3 * len(periods)))
    business = _founded(company)
    quarters = [_next_quarter(company, business, period, next(noise), next(noise), next(noise)) for period in periods]
    anchor = [quarter for quarter in quarters if quarter.period.end < PRICED_AT][-1]
    scale = anchor.value * 1000 / company.price / anchor.shares
    return [replace(q, shares=q.shares * scale, average_shares=q.average_shares * scale) for q in quarters]


def _founded(company: Company) -> _Business:
    style = company.style
    run_rate = company.revenue_musd * 1000.0
    capital = style.capital * run_rate
    return _Business(
        growth=style.growth,
        margin=style.margin,
        run_rate=run_rate,
        plant=round(_PLANT_SHARE * capital),
        goodwill=round(_GOODWILL_SHARE * capital),
        loans=round(company.loans * run_rate),
        cash=round(_CASH_AMPLE * run_rate),
        receivables=round(_RECEIVABLES * run_rate),
        inventory=round(_STOCK_SHARE * capital),
        payables=round(_PAYABLES * run_rate),
        debt=round(style.leverage * capital),
    )


def _next_quarter(
    company: Company, business: _Business, period: Period, growth_noise: float, margin_noise: float, sales_noise: float
) -> Quarter:
    style = company.style
    target_growth, target_margin = _advance(company, business, period, growth_noise, margin_noise)

    season = company.industry.seasons[period.number - 1]
    revenue = round(business.run_rate / _QUARTERS * season * period.days / _USUAL_DAYS * (1 + 0.006 * sales_noise))
    gross_margin = min(max(style.gross_margin + 0.4 * (business.margin - style.margin), 0.05), 0.9)
    provision = round(revenue * sum(c.share for c in company.charges if c.quarter_end == period.end))
    operating_income = round(revenue * business.margin) - provision
    pretax = operating_income - round(business.debt * _INTEREST_RATE / _QUARTERS)
    net_income = pretax - max(0, round(pretax * _TAX_RATE))
    business.earnings.append(net_income)
    business.revenues.append(revenue)

    if period.number == 1 and len(business.earnings) > _QUARTERS:
        business.dividend = max(0, round(company.payout * sum(business.earnings[-5:-1]) / _QUARTERS))
    depreciation = round(business.plant * 0.025)
    stock_pay = round(revenue * _STOCK_PAY)
    working_capital = business.working_capital
    capital = style.capital * business.run_rate
    business.receivables = round(_RECEIVABLES * business.run_rate)
    business.inventory = round(_STOCK_SHARE * capital)
    business.payables = round(_PAYABLES * business.run_rate)
    business.provisions += provision
    operating_cash_flow = net_income + depreciation + stock_pay + provision - (business.working_capital - working_capital)
    wanted = depreciation + round(0.25 * (_PLANT_SHARE * capital - business.plant))
    capital_expenditure = max(round(0.5 * depreciation), wanted)
    business.plant += capital_expenditure - depreciation

    business.usual_earnings.append(net_income + round(provision * (1 - _TAX_RATE)))
    value = _fundamental_value(business, target_growth, target_margin)
    buybacks, issued = _finance(
        business, operating_cash_flow - capital_expenditure - business.dividend, style.leverage * capital
    )
    shares_before = business.shares
    business.shares *= 1 + (issued + stock_pay - buybacks) / value

    debt_current = business.debt // 10
    return Quarter(
        period=period,
        revenue=revenue,
        cost_of_revenue=round(revenue * (1 - gross_margin)),
        operating_income=operating_income,
        net_income=net_income,
        operating_cash_flow=operating_cash_flow,
        depreciation=depreciation,
        capital_expenditure=capital_expenditure,
        dividends=business.dividend,
        buybacks=buybacks,
        cash=business.cash,
        current_assets=business.current_assets,
        assets=business.assets,
        current_liabilities=business.payables + business.provisions + debt_current,
        liabilities=business.liabilities,
        debt_current=debt_current,
        debt_noncurrent=business.debt - debt_current,
        equity=business.equity,
        shares=business.shares,
        average_shares=(shares_before + business.shares) / 2,
        value=value,
    )


def _advance(
    company: Company, business: _Business, period: Period, growth_noise: float, margin_noise: float
) -> tuple[float, float]:
    """Moves growth, margin and the pace of revenue on by one quarter; returns where growth and margin tend."""
    style = company.style
    target_growth, target_margin = style.growth, style.margin
    regime = next((r for r in reversed(company.regimes) if r.start <= period.end), None)
    if regime is not None:
        target_growth, target_margin = regime.growth, regime.margin
    # Autoregressive, with the innovations that give the style's swing: sqrt(1 - 0.86**2) and sqrt(1 - 0.85**2).
    business.growth += 0.14 * (target_growth - business.growth) + 0.51 * style.growth_swing * growth_noise
    business.margin += 0.15 * (target_margin - business.margin) + 0.527 * style.margin_swing * margin_noise
    if regime is not None and regime.sudden and period.start < regime.start <= period.end:
        business.growth, business.margin = target_growth, target_margin
        business.run_rate *= 1 + regime.step
    business.run_rate *= 1 + business.growth / _QUARTERS
    return target_growth, target_margin


def _finance(business: _Business, surplus: int, debt_wanted: float) -> tuple[int, int]:
    """Settles the quarter's surplus: debt moves towards its target, ample cash buys back shares, and lack of cash is met by new
    shares (of a loss-maker) or by debt. Returns what was spent on buybacks and what new shares brought in."""
    borrowed = max(round(0.1 * (debt_wanted - business.debt)), -business.debt)
    cash = business.cash + surplus + borrowed
    buybacks = max(0, round(0.5 * (cash - _CASH_AMPLE * business.run_rate)))
    shortage = max(0, round(_CASH_LEAST * business.run_rate) - cash)
    issued = shortage if sum(business.earnings[-_QUARTERS:]) < 0 else 0
    borrowed += shortage - issued
    business.cash += surplus + borrowed + issued - buybacks
    business.debt += borrowed
    return buybacks, issued


def _fundamental_value(business: _Business, target_growth: float, target_margin: float) -> float:
    """Earning power times a multiple that rises with growth and with return on equity; provisions are looked through."""
    quarters = min(len(business.revenues), _QUARTERS)
    earned = sum(business.usual_earnings[-quarters:]) * _QUARTERS / quarters
    sold = sum(business.revenues[-quarters:]) * _QUARTERS / quarters
    usual = sold * (target_margin + 2 * business.margin) / 3 * (1 - _TAX_RATE) * 0.9
    power = max(0.6 * earned + 0.4 * usual, 0.025 * sold)
    growth = min(max((business.growth + target_growth) / 2, -0.03), 0.16)
    returns = min(max(power / max(business.equity, 1) - 0.10, 0.0), 0.25)
    return power * (10.5 + 65.0 * growth + 22.0 * returns)


def as_reported(quarters: Sequence[Quarter], overstatement: Overstatement | None, amended: bool) -> Sequence[Quarter]:
    """The quarters as a filing before or after the amendment shows them.

    What was overstated sits in receivables, with the tax on it in current liabilities and the rest in equity.
    """
    if overstatement is None or amended:
        return quarters
    wrong = next(q for q in quarters if (q.period.fiscal_year, q.period.number) == (overstatement.fiscal_year, _QUARTERS))
    excess = round(wrong.revenue * overstatement.share)
    tax = round(excess * _TAX_RATE)

    def shown(quarter: Quarter) -> Quarter:
        if quarter.period.end < wrong.period.end:
            return quarter
        changed = replace(
            quarter,
            current_assets=quarter.current_assets + excess,
            assets=quarter.assets + excess,
            current_liabilities=quarter.current_liabilities + tax,
            liabilities=quarter.liabilities + tax,
            equity=quarter.equity + excess - tax,
        )
        if quarter is not wrong:
            return changed
        return replace(
            changed,
            revenue=quarter.revenue + excess,
            operating_income=quarter.operating_income + excess,
            net_income=quarter.net_income + excess - tax,
        )

    return [shown(quarter) for quarter in quarters]
