"""SimFin's bulk files as SimFin writes them, with the numbers a test is about."""

import zipfile
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path

ABOUT = ("Ticker", "SimFinId", "Currency", "Fiscal Year", "Fiscal Period", "Report Date", "Publish Date", "Restated Date")
COLUMNS = {
    "income": (
        *("Shares (Basic)", "Shares (Diluted)", "Revenue", "Cost of Revenue", "Gross Profit", "Depreciation & Amortization"),
        *("Operating Income (Loss)", "Abnormal Gains (Losses)", "Net Income"),
    ),
    "balance": (
        *("Shares (Basic)", "Shares (Diluted)", "Cash, Cash Equivalents & Short Term Investments", "Total Current Assets"),
        *(
            "Total Assets",
            "Short Term Debt",
            "Total Current Liabilities",
            "Long Term Debt",
            "Total Liabilities",
            "Total Equity",
        ),
    ),
    "cashflow": (
        *("Shares (Basic)", "Shares (Diluted)", "Depreciation & Amortization", "Net Cash from Operating Activities"),
        "Change in Fixed Assets & Intangibles",
    ),
}
# Fiscal year 2015 of a company, published in February 2016 and last shown (as a comparative) in February 2018.
YEAR = {
    "Ticker": "ACME",
    "SimFinId": "77",
    "Currency": "USD",
    "Fiscal Year": "2015",
    "Report Date": "2015-12-31",
    "Publish Date": "2016-02-24",
    "Restated Date": "2018-02-28",
    "Shares (Basic)": "900",
    "Shares (Diluted)": "1000000",
    "Revenue": "5000",
    "Cost of Revenue": "-3000",
    "Gross Profit": "2000",
    "Depreciation & Amortization": "70",
    "Operating Income (Loss)": "900",
    "Abnormal Gains (Losses)": "-100",
    "Net Income": "600",
    "Cash, Cash Equivalents & Short Term Investments": "450",
    "Total Current Assets": "2500",
    "Total Assets": "8000",
    "Short Term Debt": "300",
    "Total Current Liabilities": "1100",
    "Long Term Debt": "1200",
    "Total Liabilities": "5000",
    "Total Equity": "3000",
    "Net Cash from Operating Activities": "850",
    "Change in Fixed Assets & Intangibles": "-250",
}


def year(**changed: str) -> dict[str, str]:
    """A row of all statements; keywords are column names with underscores for spaces (Restated_Date="2017-02-22")."""
    return YEAR | {name.replace("_", " "): value for name, value in changed.items()}


def write_statement(path: Path, kind: str, rows: Sequence[Mapping[str, str]], written_on: date = date(2021, 4, 3)) -> None:
    period = "Q4" if kind == "balance" else "FY"
    columns = (*ABOUT, *COLUMNS[kind])
    lines = [";".join(columns), *(";".join({"Fiscal Period": period, **row}.get(c, "") for c in columns) for row in rows)]
    text = "".join(f"{line}\n" for line in lines)
    if path.suffix != ".zip":
        path.write_text(text)
        return
    member = zipfile.ZipInfo(f"{path.stem}.csv", (written_on.year, written_on.month, written_on.day, 7, 16, 0))
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(member, text)


def write_simfin(folder: Path, *rows: Mapping[str, str], names: Mapping[str, str] | None = None, suffix: str = ".zip") -> Path:
    """A folder with the three statements of these rows and the list of companies (`names` by ticker)."""
    folder.mkdir(parents=True, exist_ok=True)
    for kind in COLUMNS:
        write_statement(folder / f"us-{kind}-annual{suffix}", kind, rows)
    ids = {row["Ticker"]: row["SimFinId"] for row in rows}
    named = {ticker: f"{ticker} INC" for ticker in ids} | dict(names or {})
    lines = [f'{ticker};{ids.get(ticker, "1")};"{name}";100001' for ticker, name in named.items()]
    (folder / "us-companies.csv").write_text("\n".join(['Ticker;SimFinId;"Company Name";IndustryId', *lines, ""]))
    return folder
