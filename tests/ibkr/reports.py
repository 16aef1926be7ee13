"""Fundamental reports for tests: small ones with only what a test is about, in the schema of real ones."""

from collections.abc import Mapping, Sequence

CIK = 1001


def statement(
    kind: str,
    items: Mapping[str, str],
    *,
    length: int | None = 12,
    unit: str = "M",
    update: str = "UPD",
    of: str = "2023-12-31",
    source: str = "10-K",
    filed: str = "2024-02-15",
) -> str:
    period = f'<PeriodLength>{length}</PeriodLength><periodType Code="{unit}">x</periodType>' if length else ""
    lines = "".join(f'<lineItem coaCode="{code}">{text}</lineItem>' for code, text in items.items())
    return (
        f'<Statement Type="{kind}"><FPHeader>{period}<UpdateType Code="{update}">x</UpdateType><StatementDate>{of}</StatementDate>'
        f'<Source Date="{filed}">{source}</Source></FPHeader>{lines}</Statement>'
    )


def period(*statements: str, end: str = "2023-12-31", number: int | None = None) -> str:
    labels = f'Type="Interim" FiscalPeriodNumber="{number}"' if number else 'Type="Annual"'
    return f'<FiscalPeriod {labels} EndDate="{end}" FiscalYear="{end[:4]}">{"".join(statements)}</FiscalPeriod>'


def statements(
    *annual: str,
    interim: Sequence[str] = (),
    cik: int | None = CIK,
    currency: str = "USD",
    modified: str = "2024-02-20",
    split: str = "2001-01-02",
    coa: Mapping[str, str] | None = None,
) -> str:
    map_ = {
        "RTLR": "1",
        "NINC": "1",
        "ATOT": "1",
        "SCEX": "1",
        "SDNI": "1",
        "SDWS": "2",
        "QTCO": "2",
        "SDBF": "3",
        **(coa or {}),
    }
    items = "".join(f'<mapItem coaItem="{code}" statementType="INC" precision="{p}">x</mapItem>' for code, p in map_.items())
    return (
        f'<?xml version="1.0" encoding="UTF-8"?><ReportFinancialStatements Major="1" Minor="0" Revision="1">{_issuer(cik)}'
        f'<Issues><Issue ID="1" Type="C" Order="1"><MostRecentSplit Date="{split}">2.0</MostRecentSplit></Issue></Issues>'
        f"<CoGeneralInfo><LastModified>{modified}</LastModified>"
        f'<ReportingCurrency Code="{currency}">x</ReportingCurrency></CoGeneralInfo><FinancialStatements><COAMap>{items}</COAMap>'
        f"<AnnualPeriods>{''.join(annual)}</AnnualPeriods><InterimPeriods>{''.join(interim)}</InterimPeriods>"
        f"</FinancialStatements></ReportFinancialStatements>"
    )


def annual(revenue: str = "100.0", **heading: str) -> str:
    """A report of one annual income statement."""
    return statements(period(statement("INC", {"RTLR": revenue}, **heading)))


def snapshot(
    *,
    cik: int | None = CIK,
    shares: str = "1000000.0",
    free: str = "900000.0",
    employees: str = "50",
    modified: str = "2024-02-20",
) -> str:
    return (
        f'<?xml version="1.0" encoding="UTF-8"?><ReportSnapshot Major="1" Minor="0" Revision="1">{_issuer(cik)}<CoGeneralInfo>'
        f'<LastModified>{modified}</LastModified><Employees LastUpdated="2023-12-31">{employees}</Employees>'
        f'<SharesOut Date="2024-01-31" TotalFloat="{free}">{shares}</SharesOut>'
        f'<ReportingCurrency Code="USD">U.S. Dollars</ReportingCurrency></CoGeneralInfo></ReportSnapshot>'
    )


# After https://github.com/quantbelt/ib_fundamental/issues/10, with its line feed inside a date.
SUMMARY = """<FinancialSummary>
   <EPSs currency="USD">
      <EPS asofDate="2024-06-30" reportType="R" period="12M">6.600000</EPS>
      <EPS asofDate="2024-06-30" reportType="R" period="3M">1.400000</EPS>
      <EPS asofDate="2022-12-31
" reportType="R" period="3M">1.890000</EPS>
   </EPSs>
   <DividendPerShares currency="USD">
      <DividendPerShare asofDate="2024-06-30" reportType="P" period="3M">0.250000</DividendPerShare>
   </DividendPerShares>
   <TotalRevenues currency="USD">
      <TotalRevenue asofDate="2023-09-30" reportType="A" period="12M">383285000000.000000</TotalRevenue>
      <TotalRevenue asofDate="2024-06-30" reportType="TTM" period="12M">385603000000.000000</TotalRevenue>
   </TotalRevenues>
   <Dividends currency="USD">
      <Dividend type="CD" exDate="2024-08-12" recordDate="2024-08-12" payDate="2024-08-15" declarationDate="">0.25</Dividend>
   </Dividends>
</FinancialSummary>"""


def _issuer(cik: int | None) -> str:
    return f'<CoIDs><CoID Type="CompanyName">Alpha Works</CoID><CoID Type="CIKNo">{cik:010d}</CoID></CoIDs>' if cik else ""
