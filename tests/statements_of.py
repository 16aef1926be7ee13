"""Rows of the panel's figures from published statements: by hand, of financetoolkit's examples, and of SimFin's files."""

import zipfile
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.real_data import REAL_DATA
from tradebot_core.model.fundamentals import FIGURES

MARKET = ("market_cap",)
YEARS = ("2020", "2021", "2022", "2023")


def folder_of_real_data(name: str) -> Path:
    found = REAL_DATA / name
    if not found.is_dir():
        pytest.skip(f"no real data at {found}; set TRADEBOT_REAL_DATA")
    return found


def row(**known: float | None) -> pl.DataFrame:
    """One row of the panel: the figures given, and null for all others."""
    assert set(known) <= {*FIGURES, *MARKET}
    return rows([known])


def rows(of: list[dict[str, Any]]) -> pl.DataFrame:
    columns = (*FIGURES, *MARKET)
    data = {name: [record.get(name) for record in of] for name in columns}
    return pl.DataFrame(data, schema=dict.fromkeys(columns, pl.Float64), strict=False)


def value(expression: pl.Expr, of: pl.DataFrame) -> Any:
    return of.select(expression.alias("value"))["value"].item()


def published(name: str) -> dict[tuple[str, str, str], float | None]:
    """(company, line, year) -> value of one of financetoolkit's files."""
    path = folder_of_real_data("expected/financetoolkit") / f"{name}.csv"
    table = pl.read_csv(path, has_header=False, skip_rows=1, new_columns=["company", "line", *YEARS])
    return {
        (record["company"], record["line"].strip(), year): record[year]
        for record in table.iter_rows(named=True)
        for year in YEARS
    }


_TOOLKIT_LINES = {
    "revenue_ttm": "Revenue",
    "gross_profit_ttm": "Gross Profit",
    "operating_income_ttm": "Operating Income",
    "net_income_ttm": "Net Income",
    "pretax_income_ttm": "Income Before Tax",
    "income_tax_ttm": "Income Tax Expense",
    "interest_expense_ttm": "Interest Expense",
    "depreciation_and_amortisation_ttm": "Depreciation and Amortization",
    "operating_cash_flow_ttm": "Operating Cash Flow",
    "free_cash_flow_ttm": "Free Cash Flow",
    "assets": "Total Assets",
    "current_assets": "Total Current Assets",
    "liabilities": "Total Liabilities",
    "current_liabilities": "Total Current Liabilities",
    "equity": "Total Equity",
    "cash": "Cash and Cash Equivalents",
    "debt": "Total Debt",
    "short_term_debt": "Short Term Debt",
    "retained_earnings": "Retained Earnings",
    "minority_interest": "Minority Interest",
    "preferred_equity": "Preferred Stock",
    "shares_diluted": "Weighted Average Shares Diluted",
    "shares_basic": "Weighted Average Shares",
}


def toolkit_statements(company: str, year: str) -> dict[str, float | None]:
    """The figures of one fiscal year as financetoolkit's input files have them."""
    inputs = published("input_income") | published("input_balance") | published("input_cash")
    found: dict[str, float | None] = {figure: inputs[company, line, year] for figure, line in _TOOLKIT_LINES.items()}
    found["market_cap"] = published("test_get_enterprise_value_breakdown")[company, "Market Capitalization", year]
    return found


_SIMFIN_COLUMNS = {
    "revenue_ttm": "Revenue",
    "gross_profit_ttm": "Gross Profit",
    "operating_income_ttm": "Operating Income (Loss)",
    "net_income_ttm": "Net Income (Common)",
    "pretax_income_ttm": "Pretax Income (Loss)",
    "operating_cash_flow_ttm": "Net Cash from Operating Activities",
    "depreciation_and_amortisation_ttm": "Depreciation & Amortization",
    "assets": "Total Assets",
    "current_assets": "Total Current Assets",
    "liabilities": "Total Liabilities",
    "current_liabilities": "Total Current Liabilities",
    "equity": "Total Equity",
    "retained_earnings": "Retained Earnings",
    "property_plant_equipment": "Property, Plant & Equipment, Net",
    "shares_diluted": "Shares (Diluted)",
    "shares_basic": "Shares (Basic)",
}


def simfin_statements(ticker: str) -> dict[int, dict[str, float | None]]:
    """Fiscal year -> figures of a company, with those of the years before."""
    folder = folder_of_real_data("simfin")
    years: dict[int, dict[str, Any]] = {}
    for name in ("income", "balance", "cashflow"):
        with zipfile.ZipFile(folder / f"us-{name}-annual.zip") as archive:
            table = pl.read_csv(archive.read(archive.namelist()[0]), separator=";", infer_schema_length=None)
        for record in table.filter(Ticker=ticker).iter_rows(named=True):
            years.setdefault(record["Fiscal Year"], {}).update(record)
    found = {year: {figure: record[column] for figure, column in _SIMFIN_COLUMNS.items()} for year, record in years.items()}
    for year, figures in found.items():
        before, two_before = found.get(year - 1, {}), found.get(year - 2, {})
        for figure in FIGURES:
            if figure.endswith("_1y"):
                figures[figure] = before.get(figure.removesuffix("_1y"))
        figures["assets_2y"] = two_before.get("assets")
    return found
