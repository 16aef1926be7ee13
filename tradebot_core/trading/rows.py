"""Model objects as rows of the result tables. The live book and the backtest write the same rows through these functions."""

from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import Any

import polars as pl

from tradebot_core.model.decision import Action, Decision
from tradebot_core.model.order import Fill, OrderIntent, RiskVerdict
from tradebot_core.model.portfolio import Book, Entry, EntryKind
from tradebot_core.model.tables import ResultTable
from tradebot_core.trading.session import LastPrice

Row = dict[str, Any]


def frame(table: ResultTable, rows: Sequence[Row]) -> pl.DataFrame:
    """The rows as a table: columns, types and order as `table` says."""
    return pl.DataFrame(rows, schema=table.schema, orient="row").sort("session", *table.key)


def of_decisions(decisions: Sequence[Decision]) -> list[Row]:
    return [
        {
            "session": d.session,
            "security_id": d.security_id,
            "symbol": d.symbol,
            "action": str(d.action),
            "target_weight": d.target_weight,
            "rule": d.rule,
            "value": d.value,
            "threshold": d.threshold,
        }
        for d in decisions
    ]


def to_decisions(decisions: pl.DataFrame) -> tuple[Decision, ...]:
    return tuple(Decision(**{**row, "action": Action(row["action"])}) for row in decisions.iter_rows(named=True))


def of_order(intent: OrderIntent, verdict: RiskVerdict) -> Row:
    return {
        "session": intent.session,
        "order_key": intent.key,
        "security_id": intent.security_id,
        "symbol": intent.symbol,
        "side": str(intent.side),
        "quantity": intent.quantity,
        "reference_price": str(intent.reference_price),
        "order_type": str(intent.order_type),
        "approved": verdict.approved,
        "rule": verdict.rule,
        "value": verdict.value,
        "limit": verdict.limit,
    }


def of_fill(fill: Fill) -> Row:
    return {
        "session": fill.session,
        "execution_id": fill.execution_id,
        "order_key": fill.order_key,
        "security_id": fill.security_id,
        "symbol": fill.symbol,
        "side": str(fill.side),
        "quantity": fill.quantity,
        "price": str(fill.price),
        "commission": None if fill.commission is None else str(fill.commission),
        "filled_at": fill.filled_at,
    }


def of_entry(entry: Entry) -> Row:
    return {
        "session": entry.session,
        "entry_key": entry.key,
        "kind": str(entry.kind),
        "security_id": entry.security_id,
        "symbol": entry.symbol,
        "quantity": entry.quantity,
        "cash": str(entry.cash),
    }


def to_entries(entries: pl.DataFrame) -> list[Entry]:
    found = entries.select("entry_key", "session", "kind", "cash", "quantity", "security_id", "symbol").iter_rows()
    return [Entry(key, session, EntryKind(kind), Decimal(cash), *rest) for key, session, kind, cash, *rest in found]


def of_positions(session: date, book: Book, prices: Mapping[int, LastPrice]) -> list[Row]:
    return [
        {
            "session": session,
            "security_id": position.security_id,
            "symbol": position.symbol,
            "quantity": position.quantity,
            "cost": str(position.cost),
            "opened": position.opened,
            "price": str(prices[held].price),
            "price_session": prices[held].session,
        }
        for held, position in sorted(book.positions.items())
    ]


def of_equity(session: date, book: Book, prices: Mapping[int, LastPrice]) -> Row:
    invested = sum((p.quantity * prices[held].price for held, p in book.positions.items()), Decimal(0))
    return {
        "session": session,
        "cash": str(book.cash),
        "invested": str(invested),
        "equity": str(book.cash + invested),
        "positions": len(book.positions),
    }
