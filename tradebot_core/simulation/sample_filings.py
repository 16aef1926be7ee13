"""When the fictional companies file, and their filings in the shapes of SEC EDGAR: company facts and submissions.

Shapes as in the bulk files of data.sec.gov/api/xbrl/companyfacts and data.sec.gov/submissions: `fy` and `fp` describe the filing,
later filings repeat earlier figures as comparatives, a 10-Q has the quarter and the year to date (cash flows to date only), a
10-K has whole years only, and share figures are restated for splits.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from math import fsum
from typing import Any

from tradebot_core.calendar import NEW_YORK, TradingCalendar
from tradebot_core.simulation.sample_companies import Company
from tradebot_core.simulation.sample_noise import integers
from tradebot_core.simulation.sample_statements import Quarter, as_reported

FIRST_FISCAL_YEAR_FILED = 2018
_FILING_DESK_CLOSES = time(17, 30)  # what is accepted later is filed on the next business day (Regulation S-T, rule 13)
_THOUSANDS = 1000

JsonObject = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Filing:
    """`quarter` is the last one it covers, as an index into the company's quarters."""

    form: str
    accession: str
    quarter: int
    period_end: date
    fiscal_year: int
    fiscal_period: str
    accepted: datetime  # UTC
    filed: date

    @property
    def annual(self) -> bool:
        return self.form.startswith("10-K")


def filing_schedule(
    company: Company, quarters: Sequence[Quarter], calendar: TradingCalendar, until: date, seed: int
) -> list[Filing]:
    """A company's periodic reports that were accepted by the close of `until`, in the order of acceptance."""
    if not company.has_facts:
        return []
    draws = iter(integers(seed, (2, company.number), 2 * len(quarters)))
    planned: list[tuple[datetime, str, int]] = []
    for index, quarter in enumerate(quarters):
        days, moment = next(draws), next(draws)
        annual = quarter.period.number == 4
        if quarter.period.fiscal_year < FIRST_FISCAL_YEAR_FILED + (0 if annual else 1):
            continue
        accepted = company.accepted.get(quarter.period.end) or _usual_acceptance(
            quarter.period.end, annual, days, moment, calendar
        )
        planned.append((accepted, "10-K" if annual else "10-Q", index))
        restated = company.overstatement
        if restated and annual and quarter.period.fiscal_year == restated.fiscal_year:
            planned.append((restated.amended, "10-K/A", index))
    last_day = company.takeover.delisted - timedelta(days=1) if company.takeover else until
    planned = sorted(plan for plan in planned if plan[0].date() <= last_day)
    return [
        _filing(company, quarters[index], index, form, accepted, sequence, calendar)
        for sequence, (accepted, form, index) in enumerate(planned, start=1)
    ]


def _usual_acceptance(period_end: date, annual: bool, days: int, moment: int, calendar: TradingCalendar) -> datetime:
    """Five to eight weeks after a year, four to six after a quarter; mostly after the close, some before the open."""
    delay = 36 + days % 21 if annual else 27 + days % 14
    day = calendar.first_after(period_end + timedelta(days=delay))
    slot, minute, second = moment % 100, moment // 100 % 75, moment // 10_000 % 60
    if slot < 55:
        opening = time(16, 4)
    elif slot < 72:
        opening = time(17, 35)  # too late for that day
    else:
        opening = time(6, 25)
    return datetime.combine(day, opening) + timedelta(minutes=minute, seconds=second)


def _filing(
    company: Company, quarter: Quarter, index: int, form: str, accepted: datetime, sequence: int, calendar: TradingCalendar
) -> Filing:
    late = accepted.time() > _FILING_DESK_CLOSES
    annual = form.startswith("10-K")
    return Filing(
        form=form,
        accession=f"{company.cik:010d}-{accepted:%y}-{sequence:06d}",
        quarter=index,
        period_end=quarter.period.end,
        fiscal_year=quarter.period.fiscal_year,
        fiscal_period="FY" if annual else f"Q{quarter.period.number}",
        accepted=accepted.replace(tzinfo=NEW_YORK).astimezone(UTC),
        filed=calendar.first_after(accepted.date()) if late else accepted.date(),
    )


@dataclass(frozen=True, slots=True)
class _Tag:
    """`amount` takes the quarters of a period (for an instant: the last one) and the multiple of splits on the filing's day."""

    name: str
    label: str
    unit: str
    amount: Callable[[Sequence[Quarter], float], float]
    taxonomy: str = "us-gaap"


def _usd(name: str, label: str, of: Callable[[Quarter], int]) -> _Tag:
    return _Tag(name, label, "USD", lambda quarters, _: _THOUSANDS * sum(map(of, quarters)))


def _basic_shares(quarters: Sequence[Quarter], multiple: float, options: float = 1) -> int:
    """The average, to the nearest thousand."""
    average = fsum(q.average_shares for q in quarters) / len(quarters)  # sum() of floats rounds as the Python version likes
    return round(options * average * multiple / _THOUSANDS) * _THOUSANDS


def _average_shares(quarters: Sequence[Quarter], multiple: float) -> int:
    """Diluted; options add one percent."""
    return _basic_shares(quarters, multiple, options=1.01)


def _diluted_earnings_per_share(quarters: Sequence[Quarter], multiple: float) -> float:
    earned = _THOUSANDS * sum(q.net_income for q in quarters)
    return round(earned / _average_shares(quarters, multiple), 2)


def shares_outstanding(quarter: Quarter, multiple: float) -> int:
    """To the nearest thousand, after splits that multiplied the shares of the beginning by `multiple`."""
    return round(quarter.shares * multiple / _THOUSANDS) * _THOUSANDS


_COVER_SHARES = _Tag(
    "EntityCommonStockSharesOutstanding",
    "Entity Common Stock, Shares Outstanding",
    "shares",
    lambda quarters, multiple: shares_outstanding(quarters[-1], multiple),
    taxonomy="dei",
)
_INCOME = (
    _usd("CostOfGoodsAndServicesSold", "Cost of Goods and Services Sold", lambda q: q.cost_of_revenue),
    _usd("GrossProfit", "Gross Profit", lambda q: q.gross_profit),
    _usd("OperatingIncomeLoss", "Operating Income (Loss)", lambda q: q.operating_income),
    _usd("NetIncomeLoss", "Net Income (Loss) Attributable to Parent", lambda q: q.net_income),
    _Tag("EarningsPerShareDiluted", "Earnings Per Share, Diluted", "USD/shares", _diluted_earnings_per_share),
    _Tag(
        "WeightedAverageNumberOfSharesOutstandingBasic",
        "Weighted Average Number of Shares Outstanding, Basic",
        "shares",
        _basic_shares,
    ),
    _Tag(
        "WeightedAverageNumberOfDilutedSharesOutstanding",
        "Weighted Average Number of Shares Outstanding, Diluted",
        "shares",
        _average_shares,
    ),
)
_CASH_FLOWS = (
    _usd("DepreciationDepletionAndAmortization", "Depreciation, Depletion and Amortization", lambda q: q.depreciation),
    _usd(
        "NetCashProvidedByUsedInOperatingActivities",
        "Net Cash Provided by (Used in) Operating Activities",
        lambda q: q.operating_cash_flow,
    ),
    _usd(
        "PaymentsToAcquirePropertyPlantAndEquipment",
        "Payments to Acquire Property, Plant, and Equipment",
        lambda q: q.capital_expenditure,
    ),
    _usd("PaymentsOfDividends", "Payments of Dividends", lambda q: q.dividends),
)
_BALANCES = (
    _usd("CashAndCashEquivalentsAtCarryingValue", "Cash and Cash Equivalents, at Carrying Value", lambda q: q.cash),
    _usd("AssetsCurrent", "Assets, Current", lambda q: q.current_assets),
    _usd("Assets", "Assets", lambda q: q.assets),
    _usd("LiabilitiesCurrent", "Liabilities, Current", lambda q: q.current_liabilities),
    _usd("Liabilities", "Liabilities", lambda q: q.liabilities),
    _usd("LongTermDebtCurrent", "Long-term Debt, Current Maturities", lambda q: q.debt_current),
    _usd("LongTermDebtNoncurrent", "Long-term Debt, Excluding Current Maturities", lambda q: q.debt_noncurrent),
    _usd("StockholdersEquity", "Stockholders' Equity Attributable to Parent", lambda q: q.equity),
    _usd("LiabilitiesAndStockholdersEquity", "Liabilities and Equity", lambda q: q.liabilities + q.equity),
)
_BALANCE_SHARES = _Tag(
    "CommonStockSharesOutstanding",
    "Common Stock, Shares, Outstanding",
    "shares",
    lambda quarters, multiple: shares_outstanding(quarters[-1], multiple),
)
_REVENUE_LABELS = {
    "Revenues": "Revenues",
    "RevenueFromContractWithCustomerExcludingAssessedTax": "Revenue from Contract with Customer, Excluding Assessed Tax",
}


def company_facts(company: Company, quarters: Sequence[Quarter], filings: Sequence[Filing]) -> JsonObject:
    """One file of the companyfacts bulk archive."""
    facts: dict[str, dict[str, JsonObject]] = {"dei": {}, "us-gaap": {}}
    for filing in filings:
        for tag, row in _rows(company, quarters, filing):
            described = facts[tag.taxonomy].setdefault(
                tag.name, {"label": tag.label, "description": f"{tag.label}. Fictional, of the sample market.", "units": {}}
            )
            described["units"].setdefault(tag.unit, []).append(row)
    for tags in facts.values():
        for described in tags.values():
            for rows in described["units"].values():
                rows.sort(key=lambda row: (row["end"], row.get("start", ""), row["filed"], row["accn"]))
    return {
        "cik": company.cik,
        "entityName": company.name,
        "facts": {taxonomy: dict(sorted(tags.items())) for taxonomy, tags in facts.items() if tags},
    }


def _rows(company: Company, quarters: Sequence[Quarter], filing: Filing) -> Iterator[tuple[_Tag, JsonObject]]:
    restated = company.overstatement
    amended = restated is None or filing.accepted >= restated.amended.replace(tzinfo=NEW_YORK)
    shown = as_reported(quarters, restated, amended)
    multiple = company.split_multiple(filing.filed)
    about = {
        "accn": filing.accession,
        "fy": filing.fiscal_year,
        "fp": filing.fiscal_period,
        "form": filing.form,
        "filed": filing.filed.isoformat(),
    }

    def reported(tags: Sequence[_Tag], first: int, last: int, on: date | None = None) -> Iterator[tuple[_Tag, JsonObject]]:
        span = shown[first : last + 1]
        flow = {"start": span[0].period.start.isoformat()} if on is None else {}
        end = (on or span[-1].period.end).isoformat()
        for tag in tags:
            if tag.name not in company.unreported:
                yield tag, {**flow, "end": end, "val": tag.amount(span, multiple), **about}

    last = filing.quarter
    income = (_revenue_tag(company, filing.filed), *_INCOME)
    yield from reported([_COVER_SHARES], last, last, on=max(filing.period_end, filing.filed - timedelta(days=6)))
    if filing.annual:
        years = [last - 4 * back for back in range(3)]
        for year in years:
            yield from reported(income + _CASH_FLOWS, year - 3, year)
        comparative_balance = last - 4
    else:
        number = quarters[last].period.number
        for end in (last, last - 4):
            yield from reported(income, end, end)
            if number > 1:
                yield from reported(income, end - number + 1, end)
            yield from reported(_CASH_FLOWS, end - number + 1, end)
        comparative_balance = last - number
    balances = (*_BALANCES, _BALANCE_SHARES) if _COVER_SHARES.name in company.unreported else _BALANCES
    for at in (last, comparative_balance):
        yield from reported(balances, at, at, on=quarters[at].period.end)


def _revenue_tag(company: Company, filed: date) -> _Tag:
    name = "Revenues" if company.retagged and filed < company.retagged else company.revenue_tag
    return _usd(name, _REVENUE_LABELS[name], lambda q: q.revenue)


def company_submissions(company: Company, filings: Sequence[Filing]) -> dict[str, JsonObject]:
    """The company's files of the submissions bulk archive by name: the main one and, for some, a page of older filings."""
    rows = [_submission(filing) for filing in reversed(filings)]
    cut = company.older_page_until.isoformat() if company.older_page_until else ""
    recent = [row for row in rows if row["filingDate"] > cut]
    older = [row for row in rows if row["filingDate"] <= cut]
    files = {}
    pages = []
    if older:
        page = f"CIK{company.cik:010d}-submissions-001.json"
        files[page] = _columns(older)
        span = {"filingFrom": older[-1]["filingDate"], "filingTo": older[0]["filingDate"]}
        pages.append({"name": page, "filingCount": len(older), **span})
    main = {
        "cik": f"{company.cik:010d}",
        "entityType": "operating",
        "sic": company.industry.sic,
        "sicDescription": company.industry.sic_description,
        "insiderTransactionForOwnerExists": 0,
        "insiderTransactionForIssuerExists": 0,
        "name": company.name,
        "tickers": [company.symbol],
        "exchanges": ["Nasdaq" if company.exchange == "NASDAQ" else company.exchange],
        "ein": None,
        "description": "Fictional company of the sample market.",
        "website": "",
        "category": "",
        "fiscalYearEnd": _fiscal_year_end(filings),
        "stateOfIncorporation": "",
        "phone": "",
        "flags": "",
        "formerNames": [],
        "filings": {"recent": _columns(recent), "files": pages},
    }
    return {f"CIK{company.cik:010d}.json": main, **files}


def _fiscal_year_end(filings: Sequence[Filing]) -> str:
    return next(f"{filing.period_end:%m%d}" for filing in reversed(filings) if filing.annual)


def _submission(filing: Filing) -> JsonObject:
    document = f"sample-{filing.period_end:%Y%m%d}.htm"
    return {
        "accessionNumber": filing.accession,
        "filingDate": filing.filed.isoformat(),
        "reportDate": filing.period_end.isoformat(),
        "acceptanceDateTime": f"{filing.accepted:%Y-%m-%dT%H:%M:%S}.000Z",
        "act": "34",
        "form": filing.form,
        "fileNumber": "",
        "filmNumber": "",
        "items": "",
        "core_type": "XBRL",
        "size": 0,
        "isXBRL": 1,
        "isInlineXBRL": 1,
        "primaryDocument": document,
        "primaryDocDescription": filing.form,
    }


def _columns(rows: Sequence[JsonObject]) -> JsonObject:
    return {name: [row[name] for row in rows] for name in rows[0]} if rows else {}
