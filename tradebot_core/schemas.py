"""What the rows of each table must look like, as pandera models: types, allowed values, one row for each key.

Collectors refuse bad records one by one; these models look at a table as a whole, whoever wrote it. Columns repeat those of
model/tables.py (a test compares them), so that the file reads as the data dictionary. Importing pandera costs 0.6 s: import
this module where tables are checked, and nowhere else.
"""

from typing import Annotated, Any

import pandera.polars as pa
import polars as pl
import polars.selectors as cs

from tradebot_core.errors import UsageError
from tradebot_core.model.decision import Action
from tradebot_core.model.market import ActionType
from tradebot_core.model.order import OrderState, Side
from tradebot_core.model.tables import FACT_TABLES, RESULT_TABLES

Instant = Annotated[pl.Datetime, "us", "UTC"]
MOST_FAILURES = 1000
_ALWAYS = pl.lit(True)
_DECIMAL = r"^-?\d+(\.\d+)?$"


def _rows(data: pa.PolarsData, holds: pl.Expr) -> pl.LazyFrame:
    """A row passes when the condition holds or cannot be decided because a value is missing: nulls are judged per column."""
    return data.lazyframe.select(holds.fill_null(True))


class _Table(pa.DataFrameModel):
    class Config:
        strict = False  # features of layers, and the columns a store adds

    @pa.dataframe_check
    def numbers_are_finite(cls, data: pa.PolarsData) -> pl.LazyFrame:
        return data.lazyframe.select(pl.all_horizontal(_ALWAYS, cs.float().is_finite().fill_null(True)))


class _FactRows(_Table):
    known_at: Instant


class _ResultRows(_Table):
    session: pl.Date


class Bars(_FactRows):
    security_id: pl.Int64 = pa.Field(gt=0)
    session: pl.Date
    open: pl.Float64 = pa.Field(gt=0)
    high: pl.Float64 = pa.Field(gt=0)
    low: pl.Float64 = pa.Field(gt=0)
    close: pl.Float64 = pa.Field(gt=0)
    volume: pl.Float64 = pa.Field(ge=0)

    @pa.dataframe_check
    def high_not_below_low(cls, data: pa.PolarsData) -> pl.LazyFrame:
        return _rows(data, pl.col("high") >= pl.col("low"))

    @pa.dataframe_check
    def open_and_close_within_range(cls, data: pa.PolarsData) -> pl.LazyFrame:
        return _rows(data, pl.all_horizontal(pl.col("open", "close").is_between(pl.col("low"), pl.col("high"))))


class Actions(_FactRows):
    security_id: pl.Int64 = pa.Field(gt=0)
    session: pl.Date
    type: pl.String = pa.Field(isin=[str(kind) for kind in ActionType])
    value: pl.Float64 = pa.Field(ge=0)

    @pa.dataframe_check
    def only_a_delisting_may_be_worth_nothing(cls, data: pa.PolarsData) -> pl.LazyFrame:
        return _rows(data, (pl.col("value") > 0) | (pl.col("type") == ActionType.DELISTING.value))


class Securities(_FactRows):
    security_id: pl.Int64 = pa.Field(gt=0)
    cik: pl.Int64 = pa.Field(gt=0)
    symbol: pl.String = pa.Field(str_length={"min_value": 1})
    name: pl.String = pa.Field(nullable=True)
    exchange: pl.String = pa.Field(nullable=True)
    con_id: pl.Int64 = pa.Field(nullable=True, gt=0)
    industry: pl.String = pa.Field(nullable=True)
    category: pl.String = pa.Field(nullable=True)
    shares_per_listed: pl.Float64 = pa.Field(nullable=True, gt=0)
    valid_from: pl.Date = pa.Field(nullable=True)
    valid_to: pl.Date = pa.Field(nullable=True)

    @pa.dataframe_check
    def ends_after_it_begins(cls, data: pa.PolarsData) -> pl.LazyFrame:
        return _rows(data, pl.col("valid_from") <= pl.col("valid_to"))


class Facts(_FactRows):
    cik: pl.Int64 = pa.Field(gt=0)
    taxonomy: pl.String = pa.Field(str_length={"min_value": 1})
    tag: pl.String = pa.Field(str_length={"min_value": 1})
    unit: pl.String = pa.Field(str_length={"min_value": 1})
    period_start: pl.Date = pa.Field(nullable=True)
    period_end: pl.Date
    accession: pl.String = pa.Field(str_length={"min_value": 1})
    value: pl.Float64
    form: pl.String = pa.Field(str_length={"min_value": 1})
    fiscal_year: pl.Int32 = pa.Field(nullable=True)
    fiscal_period: pl.String = pa.Field(nullable=True)
    filed: pl.Date

    @pa.dataframe_check
    def period_ends_after_it_begins(cls, data: pa.PolarsData) -> pl.LazyFrame:
        return _rows(data, pl.col("period_start") <= pl.col("period_end"))

    @pa.dataframe_check
    def known_after_it_was_filed(cls, data: pa.PolarsData) -> pl.LazyFrame:
        """Filings are public on their filing date in New York at the earliest, which begins on the same UTC date."""
        return _rows(data, pl.col("known_at").dt.date() >= pl.col("filed"))


class Fundamentals(_FactRows):
    cik: pl.Int64 = pa.Field(gt=0)
    company_name: pl.String
    period_end: pl.Date
    form: pl.String
    accession: pl.String
    shares_basis_date: pl.Date = pa.Field(nullable=True)
    diluted_basis_date: pl.Date = pa.Field(nullable=True)
    eps_basis_date: pl.Date = pa.Field(nullable=True)
    revenue_ttm: pl.Float64 = pa.Field(nullable=True)
    gross_profit_ttm: pl.Float64 = pa.Field(nullable=True)
    operating_income_ttm: pl.Float64 = pa.Field(nullable=True)
    net_income_ttm: pl.Float64 = pa.Field(nullable=True)
    eps_diluted_ttm: pl.Float64 = pa.Field(nullable=True)
    operating_cash_flow_ttm: pl.Float64 = pa.Field(nullable=True)
    capital_expenditure_ttm: pl.Float64 = pa.Field(nullable=True)
    free_cash_flow_ttm: pl.Float64 = pa.Field(nullable=True)
    pretax_income_ttm: pl.Float64 = pa.Field(nullable=True)
    income_tax_ttm: pl.Float64 = pa.Field(nullable=True)
    interest_expense_ttm: pl.Float64 = pa.Field(nullable=True)
    depreciation_and_amortisation_ttm: pl.Float64 = pa.Field(nullable=True)
    revenue_ttm_1y: pl.Float64 = pa.Field(nullable=True)
    revenue_ttm_3y: pl.Float64 = pa.Field(nullable=True)
    gross_profit_ttm_1y: pl.Float64 = pa.Field(nullable=True)
    operating_income_ttm_1y: pl.Float64 = pa.Field(nullable=True)
    net_income_ttm_1y: pl.Float64 = pa.Field(nullable=True)
    net_income_ttm_3y: pl.Float64 = pa.Field(nullable=True)
    assets: pl.Float64 = pa.Field(nullable=True, ge=0)
    current_assets: pl.Float64 = pa.Field(nullable=True, ge=0)
    liabilities: pl.Float64 = pa.Field(nullable=True, ge=0)
    current_liabilities: pl.Float64 = pa.Field(nullable=True, ge=0)
    equity: pl.Float64 = pa.Field(nullable=True)
    cash: pl.Float64 = pa.Field(nullable=True, ge=0)
    debt: pl.Float64 = pa.Field(nullable=True, ge=0)
    shares_outstanding: pl.Float64 = pa.Field(nullable=True, gt=0)
    shares_diluted: pl.Float64 = pa.Field(nullable=True, gt=0)
    shares_basic: pl.Float64 = pa.Field(nullable=True, gt=0)
    float_shares: pl.Float64 = pa.Field(nullable=True, gt=0)
    employees: pl.Float64 = pa.Field(nullable=True, gt=0)
    retained_earnings: pl.Float64 = pa.Field(nullable=True)
    property_plant_equipment: pl.Float64 = pa.Field(nullable=True, ge=0)
    long_term_borrowings: pl.Float64 = pa.Field(nullable=True, ge=0)
    short_term_debt: pl.Float64 = pa.Field(nullable=True, ge=0)
    taxes_payable: pl.Float64 = pa.Field(nullable=True, ge=0)
    minority_interest: pl.Float64 = pa.Field(nullable=True)
    preferred_equity: pl.Float64 = pa.Field(nullable=True, ge=0)
    assets_1y: pl.Float64 = pa.Field(nullable=True, ge=0)
    assets_2y: pl.Float64 = pa.Field(nullable=True, ge=0)
    current_assets_1y: pl.Float64 = pa.Field(nullable=True, ge=0)
    current_liabilities_1y: pl.Float64 = pa.Field(nullable=True, ge=0)
    cash_1y: pl.Float64 = pa.Field(nullable=True, ge=0)
    short_term_debt_1y: pl.Float64 = pa.Field(nullable=True, ge=0)
    taxes_payable_1y: pl.Float64 = pa.Field(nullable=True, ge=0)
    long_term_borrowings_1y: pl.Float64 = pa.Field(nullable=True, ge=0)
    shares_basic_1y: pl.Float64 = pa.Field(nullable=True, gt=0)
    provenance: pl.String = pa.Field(str_startswith="{")
    normalised_by: pl.String = pa.Field(nullable=True)

    @pa.dataframe_check
    def free_cash_flow_is_cash_flow_less_capital_expenditure(cls, data: pa.PolarsData) -> pl.LazyFrame:
        difference = pl.col("operating_cash_flow_ttm") - pl.col("capital_expenditure_ttm") - pl.col("free_cash_flow_ttm")
        return _rows(data, difference.abs() < 1)  # USD

    @pa.dataframe_check
    def share_counts_have_a_basis(cls, data: pa.PolarsData) -> pl.LazyFrame:
        counted = pl.col("shares_outstanding").is_not_null() | pl.col("shares_diluted").is_not_null()
        return _rows(data, ~counted | pl.col("shares_basis_date").is_not_null())


class Layers(_ResultRows):
    security_id: pl.Int64 = pa.Field(gt=0)
    symbol: pl.String
    passed: pl.Boolean
    rule: pl.String = pa.Field(str_length={"min_value": 1})
    value: pl.Float64 = pa.Field(nullable=True)
    threshold: pl.Float64 = pa.Field(nullable=True)

    @pa.dataframe_check
    def a_missing_value_never_passes_a_threshold(cls, data: pa.PolarsData) -> pl.LazyFrame:
        return _rows(data, ~pl.col("passed") | pl.col("threshold").is_null() | pl.col("value").is_not_null())


class Decisions(_ResultRows):
    security_id: pl.Int64 = pa.Field(gt=0)
    symbol: pl.String
    action: pl.String = pa.Field(isin=[str(action) for action in Action])
    target_weight: pl.Float64 = pa.Field(ge=0, le=1)
    rule: pl.String = pa.Field(str_length={"min_value": 1})
    value: pl.Float64 = pa.Field(nullable=True)
    threshold: pl.Float64 = pa.Field(nullable=True)

    @pa.dataframe_check
    def a_sale_leaves_nothing(cls, data: pa.PolarsData) -> pl.LazyFrame:
        return _rows(data, (pl.col("action") != Action.SELL.value) | (pl.col("target_weight") == 0))


class Orders(_ResultRows):
    order_key: pl.String = pa.Field(str_length={"min_value": 1})
    security_id: pl.Int64 = pa.Field(gt=0)
    symbol: pl.String
    side: pl.String = pa.Field(isin=[str(side) for side in Side])
    quantity: pl.Int64 = pa.Field(gt=0)
    reference_price: pl.String = pa.Field(str_matches=_DECIMAL)
    order_type: pl.String
    approved: pl.Boolean
    rule: pl.String = pa.Field(nullable=True)
    value: pl.Float64 = pa.Field(nullable=True)
    limit: pl.Float64 = pa.Field(nullable=True)


class OrderStates(_ResultRows):
    order_key: pl.String = pa.Field(str_length={"min_value": 1})
    sequence: pl.Int64 = pa.Field(ge=0)
    state: pl.String = pa.Field(isin=[str(state) for state in OrderState])
    detail: pl.String = pa.Field(nullable=True)


class Fills(_ResultRows):
    execution_id: pl.String = pa.Field(str_length={"min_value": 1})
    order_key: pl.String = pa.Field(str_length={"min_value": 1})
    security_id: pl.Int64 = pa.Field(gt=0)
    symbol: pl.String
    side: pl.String = pa.Field(isin=[str(side) for side in Side])
    quantity: pl.Int64 = pa.Field(gt=0)
    price: pl.String = pa.Field(str_matches=r"^\d+(\.\d+)?$")
    commission: pl.String = pa.Field(str_matches=_DECIMAL, nullable=True)
    filled_at: Instant


class Equity(_ResultRows):
    cash: pl.String = pa.Field(str_matches=_DECIMAL)
    invested: pl.String = pa.Field(str_matches=_DECIMAL)
    equity: pl.String = pa.Field(str_matches=_DECIMAL)
    positions: pl.Int64 = pa.Field(ge=0)

    @pa.dataframe_check
    def equity_is_cash_and_what_is_invested(cls, data: pa.PolarsData) -> pl.LazyFrame:
        cash, invested, equity = (
            pl.col(name).cast(pl.Decimal(38, 10), strict=False) for name in ("cash", "invested", "equity")
        )
        return _rows(data, cash + invested == equity)


MODELS: dict[str, type[pa.DataFrameModel]] = {
    "bars": Bars,
    "actions": Actions,
    "securities": Securities,
    "facts": Facts,
    "fundamentals": Fundamentals,
    "layers": Layers,
    "decisions": Decisions,
    "orders": Orders,
    "order_states": OrderStates,
    "fills": Fills,
    "equity": Equity,
}


def validate(table_name: str, frame: pl.DataFrame) -> list[dict[str, Any]]:
    """What is wrong with the rows of a table, as {column, check, value, row}; at most MOST_FAILURES, empty when all is well."""
    if table_name not in MODELS:
        raise UsageError(f"There is no schema of a table {table_name}.", f"Tables with one: {', '.join(MODELS)}.")
    repeated = _repeated_keys(table_name, frame)
    try:
        MODELS[table_name].validate(frame, lazy=True)
    except pa.errors.SchemaErrors as errors:
        # A check that needs a missing column fails too; the missing column says it.
        cases = errors.failure_cases.filter(~pl.col("failure_case").str.starts_with("ColumnNotFoundError").fill_null(False))
        cases = cases.head(MOST_FAILURES - len(repeated))
        return repeated + [
            {
                "column": None if case["schema_context"] == "DataFrameSchema" else case["column"],
                "check": case["check"],
                "value": case["failure_case"],
                "row": case["index"],
            }
            for case in cases.iter_rows(named=True)
        ]
    return repeated


def _repeated_keys(table_name: str, frame: pl.DataFrame) -> list[dict[str, Any]]:
    """Rows whose key stands in the table twice. Versions of a fact differ in known_at, those of a key with known_at (figures
    computed anew, by a newer version of Tradebot or from facts that came late) in ingested_at."""
    table = FACT_TABLES.get(table_name)
    if table is None:
        key = ("session", *RESULT_TABLES[table_name].key)
    else:
        key = (*table.key, "ingested_at" if "known_at" in table.key else "known_at")
    if not set(key) <= set(frame.columns):
        return []
    rows = frame.with_row_index("_row").filter(pl.struct(key).is_duplicated()).head(MOST_FAILURES)
    return [
        {"column": None, "check": "one_row_for_each_key", "value": str({name: row[name] for name in key}), "row": row["_row"]}
        for row in rows.iter_rows(named=True)
    ]
