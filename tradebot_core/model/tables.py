"""Every table of the store: its columns with units, what identifies a row, and the day a row is filed under.

Fact tables are append-only and carry two times: `known_at` (UTC, when the market could know it) and `ingested_at` (UTC, when
we did). Result tables belong to one strategy and book (`live` or `backtest`) and hold one set of rows per session.
"""

from dataclasses import dataclass, field

import polars as pl

from tradebot_core.model.fundamentals import FIGURES

INSTANT = pl.Datetime("us", "UTC")


@dataclass(frozen=True)
class FactTable:
    """Rows with the same `key` and different content are versions; the latest known at the reader's instant counts."""

    name: str
    columns: dict[str, pl.DataType | type[pl.DataType]]
    key: tuple[str, ...]

    @property
    def schema(self) -> pl.Schema:
        return pl.Schema({**self.columns, "source": pl.String, "known_at": INSTANT, "ingested_at": INSTANT})

    @property
    def content(self) -> tuple[str, ...]:
        return tuple(c for c in self.columns if c not in self.key)


BARS = FactTable(
    "bars",  # raw prices in USD as traded, volume in shares
    {
        "security_id": pl.Int64,
        "session": pl.Date,
        "open": pl.Float64,
        "high": pl.Float64,
        "low": pl.Float64,
        "close": pl.Float64,
        "volume": pl.Float64,
    },
    key=("security_id", "session"),
)
ACTIONS = FactTable(
    "actions",  # session is the ex-date; value as in model.market.ActionType
    {"security_id": pl.Int64, "session": pl.Date, "type": pl.String, "value": pl.Float64},
    key=("security_id", "session", "type"),
)
SECURITIES = FactTable(
    "securities",
    {
        "security_id": pl.Int64,
        "cik": pl.Int64,
        "symbol": pl.String,
        "name": pl.String,
        "exchange": pl.String,
        "con_id": pl.Int64,
        "industry": pl.String,
        "category": pl.String,
        # How many of the shares its issuer counts one listed share stands for: an ADR of five 5.0, a Berkshire B 1/1500. Null: one.
        "shares_per_listed": pl.Float64,
        "valid_from": pl.Date,
        "valid_to": pl.Date,
    },
    key=("security_id", "symbol", "valid_from"),
)
FACTS = FactTable(
    "facts",  # one reported number of one filing; value in `unit`; period_start is null for an instant
    {
        "cik": pl.Int64,
        "taxonomy": pl.String,
        "tag": pl.String,
        "unit": pl.String,
        "period_start": pl.Date,
        "period_end": pl.Date,
        "accession": pl.String,
        "value": pl.Float64,
        "form": pl.String,
        "fiscal_year": pl.Int32,
        "fiscal_period": pl.String,
        "filed": pl.Date,
    },
    key=("cik", "taxonomy", "tag", "unit", "period_start", "period_end", "accession"),
)
FUNDAMENTALS = FactTable(
    "fundamentals",  # one row per issuer and instant at which a figure changed; USD, shares, USD/share
    {
        "cik": pl.Int64,
        "company_name": pl.String,
        "period_end": pl.Date,
        "form": pl.String,
        "accession": pl.String,
        "shares_basis_date": pl.Date,  # share counts stand on the split basis of this day (that of shares_outstanding, where known)
        "diluted_basis_date": pl.Date,  # that of shares_diluted
        "eps_basis_date": pl.Date,  # that of eps_diluted_ttm
        **dict.fromkeys(FIGURES, pl.Float64),
        "provenance": pl.String,  # JSON: figure -> {rule, inputs: [fact], reason}
        "normalised_by": pl.String,  # which rules made the row (quant.statements.NORMALISATION)
    },
    key=("cik", "known_at"),
)
FACT_TABLES = {table.name: table for table in (SECURITIES, BARS, ACTIONS, FACTS, FUNDAMENTALS)}


@dataclass(frozen=True)
class ResultTable:
    """`key` orders the rows within a session; the file order is session, then key."""

    name: str
    columns: dict[str, pl.DataType | type[pl.DataType]]
    key: tuple[str, ...]
    open_columns: bool = field(default=False)  # a layer adds its features

    @property
    def schema(self) -> pl.Schema:
        return pl.Schema({"session": pl.Date, **self.columns})


VERDICT_COLUMNS = {"passed": pl.Boolean, "rule": pl.String, "value": pl.Float64, "threshold": pl.Float64}
LAYERS = ResultTable(
    "layers",  # the verdict of one layer on every security it was shown, and its features
    {"security_id": pl.Int64, "symbol": pl.String, **VERDICT_COLUMNS},
    key=("security_id",),
    open_columns=True,
)
DECISIONS = ResultTable(
    "decisions",  # target_weight: share of the sleeve's equity
    {
        "security_id": pl.Int64,
        "symbol": pl.String,
        "action": pl.String,
        "target_weight": pl.Float64,
        "rule": pl.String,
        "value": pl.Float64,
        "threshold": pl.Float64,
    },
    key=("security_id",),
)
ORDERS = ResultTable(
    # session: of the decision; reference_price USD; rule, value, limit: the risk gate's verdict, its last one where that refused
    "orders",
    {
        "order_key": pl.String,
        "security_id": pl.Int64,
        "symbol": pl.String,
        "side": pl.String,
        "quantity": pl.Int64,
        "reference_price": pl.String,
        "order_type": pl.String,
        "approved": pl.Boolean,
        "rule": pl.String,
        "value": pl.Float64,
        "limit": pl.Float64,
    },
    key=("order_key",),
)
ORDER_STATES = ResultTable(
    "order_states",  # session: in which the state was reached; the last one by sequence counts
    {"order_key": pl.String, "sequence": pl.Int64, "state": pl.String, "detail": pl.String},
    key=("order_key", "sequence"),
)
FILLS = ResultTable(
    "fills",  # session: of the fill; price USD a share, commission USD, null until the broker has reported it
    {
        "execution_id": pl.String,
        "order_key": pl.String,
        "security_id": pl.Int64,
        "symbol": pl.String,
        "side": pl.String,
        "quantity": pl.Int64,
        "price": pl.String,
        "commission": pl.String,
        "filled_at": INSTANT,
    },
    key=("execution_id",),
)
ENTRIES = ResultTable(
    "entries",  # the ledger: signed changes of shares and cash (USD)
    {
        "entry_key": pl.String,
        "kind": pl.String,
        "security_id": pl.Int64,
        "symbol": pl.String,
        "quantity": pl.Int64,
        "cash": pl.String,
    },
    key=("entry_key",),
)
POSITIONS = ResultTable(
    "positions",  # at the close; cost and price in USD; price_session: the session of the price (older when it did not trade)
    {
        "security_id": pl.Int64,
        "symbol": pl.String,
        "quantity": pl.Int64,
        "cost": pl.String,
        "opened": pl.Date,
        "price": pl.String,
        "price_session": pl.Date,
    },
    key=("security_id",),
)
EQUITY = ResultTable(
    "equity",  # at the close, USD
    {"cash": pl.String, "invested": pl.String, "equity": pl.String, "positions": pl.Int64},
    key=(),
)
BOOKS = ResultTable(
    "books",  # the sleeve after each session (JSON); before and after are digests that chain the sessions of one book
    {"before": pl.String, "after": pl.String, "state": pl.String},
    key=(),
)
RESULT_TABLES = {
    table.name: table for table in (LAYERS, DECISIONS, ORDERS, ORDER_STATES, FILLS, ENTRIES, POSITIONS, EQUITY, BOOKS)
}

# Sessions (inclusive) of which a source was asked for a security and had nothing.
ABSENT_COLUMNS = {"table": pl.String, "source": pl.String, "security_id": pl.Int64, "start": pl.Date, "end": pl.Date}
QUARANTINE_COLUMNS = {
    "table": pl.String,
    "source": pl.String,
    "record": pl.String,  # the record as it was read, JSON
    "rule": pl.String,
    "reason": pl.String,
    "sha256": pl.String,  # of the record
    "ingested_at": INSTANT,
}
