"""Executions, the exchange's corrections of them and commissions that came later, with the entries they make."""

import sqlite3
from collections.abc import Mapping
from dataclasses import replace
from datetime import date, datetime
from decimal import Decimal
from typing import ClassVar

import polars as pl

from tradebot_core.model.order import Fill, unknown_order
from tradebot_core.model.portfolio import commission_entries, correction_entries, fill_entries
from tradebot_core.model.tables import FILLS
from tradebot_core.stores.ledger.entries import insert_entries
from tradebot_core.stores.ledger.file import LedgerFile

_LAST_CORRECTION = "SELECT execution_id, quantity, price, MAX(version) AS version FROM corrections GROUP BY execution_id"
# What was entered last for a fill `f`: the commission of its highest version of which one is known.
_COMMISSION = (
    "(SELECT commission FROM (SELECT 1 AS version, f.commission AS commission "
    "UNION ALL SELECT version, commission FROM corrections WHERE execution_id = f.execution_id "
    "UNION ALL SELECT version, commission FROM commissions WHERE execution_id = f.execution_id) "
    "WHERE commission <> '' ORDER BY version DESC LIMIT 1)"
)


class Fills(LedgerFile):
    tables: ClassVar[Mapping[str, str]] = {
        "fills": "execution_id TEXT PRIMARY KEY, strategy TEXT NOT NULL, order_key TEXT NOT NULL REFERENCES intents, "
        "session TEXT NOT NULL, security_id INTEGER NOT NULL, symbol TEXT NOT NULL, side TEXT NOT NULL, "
        "quantity INTEGER NOT NULL CHECK (quantity > 0), price TEXT NOT NULL, commission TEXT NOT NULL, filled_at TEXT NOT NULL",
        # The terms that take the place of a fill's, by the exchange's correction; the highest version counts.
        "corrections": "execution_id TEXT NOT NULL REFERENCES fills (execution_id), version INTEGER NOT NULL, "
        "quantity INTEGER NOT NULL CHECK (quantity > 0), price TEXT NOT NULL, commission TEXT NOT NULL, "
        "PRIMARY KEY (execution_id, version)",
        # Of an execution, or its correction, that was entered before its commission was known (its own is '' then).
        "commissions": "execution_id TEXT NOT NULL REFERENCES fills (execution_id), version INTEGER NOT NULL, "
        "commission TEXT NOT NULL, PRIMARY KEY (execution_id, version)",
    }

    def record_fill(self, strategy: str, fill: Fill) -> bool:
        with self._transaction() as database:
            if database.execute("SELECT 1 FROM intents WHERE order_key = ?", (fill.order_key,)).fetchone() is None:
                raise unknown_order(fill.order_key)
            done = database.execute(
                "INSERT INTO fills VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
                (
                    fill.execution_id,
                    strategy,
                    fill.order_key,
                    fill.session.isoformat(),
                    fill.security_id,
                    fill.symbol,
                    str(fill.side),
                    fill.quantity,
                    str(fill.price),
                    _text(fill.commission),
                    fill.filled_at.isoformat(),
                ),
            )
            if done.rowcount == 0:
                return _follow(database, strategy, fill)
            if fill.version > 1:
                _insert_correction(database, fill)
            insert_entries(database, strategy, fill_entries(fill))
            return True

    def fills(self, strategy: str, start: date | None = None, end: date | None = None) -> pl.DataFrame:
        """Each execution once, in its latest terms; its commission is null until one is known."""
        latest = {name: f"COALESCE(c.{name}, f.{name})" for name in ("quantity", "price")} | {"commission": _COMMISSION}
        columns = [latest.get(name, f"f.{name}") for name in FILLS.schema if name != "session"]
        with self._connection() as database:
            rows = database.execute(
                f"SELECT f.session, {', '.join(columns)} FROM fills f LEFT JOIN ({_LAST_CORRECTION}) c USING (execution_id) "
                "WHERE f.strategy = ? AND f.session BETWEEN ? AND ? ORDER BY f.session, f.execution_id",
                (strategy, (start or date.min).isoformat(), (end or date.max).isoformat()),
            ).fetchall()
        typed = [(date.fromisoformat(row[0]), *row[1:-1], datetime.fromisoformat(row[-1])) for row in rows]
        return pl.DataFrame(typed, schema=FILLS.schema, orient="row")


def _follow(database: sqlite3.Connection, strategy: str, fill: Fill) -> bool:
    """Enters what is new of an execution that was entered before: its correction, or its commission. False when nothing is."""
    version, quantity, price, commission = database.execute(
        f"SELECT COALESCE(c.version, 1), COALESCE(c.quantity, f.quantity), COALESCE(c.price, f.price), {_COMMISSION} "
        f"FROM fills f LEFT JOIN ({_LAST_CORRECTION}) c USING (execution_id) WHERE f.execution_id = ?",
        (fill.execution_id,),
    ).fetchone()
    entered = replace(fill, quantity=quantity, price=Decimal(price), commission=Decimal(commission) if commission else None)
    if fill.version > version:
        _insert_correction(database, fill)
        if fill.commission is None:  # what is known of the old terms stands until that of the new ones comes
            fill = replace(fill, commission=entered.commission)
        if entered == fill:
            return False
        insert_entries(database, strategy, correction_entries(entered, fill))
        return True
    if fill.version < version or fill.commission is None or not _lacks_commission(database, fill):
        return False
    database.execute("INSERT INTO commissions VALUES (?, ?, ?)", (fill.execution_id, fill.version, str(fill.commission)))
    return insert_entries(database, strategy, commission_entries(entered.commission, fill)) > 0


def _lacks_commission(database: sqlite3.Connection, fill: Fill) -> bool:
    """Whether none was told of this very version."""
    of = {"id": fill.execution_id, "version": fill.version}
    (told,) = database.execute(
        "SELECT COALESCE((SELECT commission FROM commissions WHERE execution_id = :id AND version = :version), "
        "(SELECT commission FROM corrections WHERE execution_id = :id AND version = :version), "
        "(SELECT commission FROM fills WHERE execution_id = :id))",
        of,
    ).fetchone()
    return told == ""


def _insert_correction(database: sqlite3.Connection, fill: Fill) -> None:
    database.execute(
        "INSERT INTO corrections VALUES (?, ?, ?, ?, ?)",
        (fill.execution_id, fill.version, fill.quantity, str(fill.price), _text(fill.commission)),
    )


def _text(commission: Decimal | None) -> str:
    return "" if commission is None else str(commission)
