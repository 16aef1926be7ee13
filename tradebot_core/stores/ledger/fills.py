"""Executions and the exchange's corrections of them, with the entries they make."""

import sqlite3
from collections.abc import Mapping
from dataclasses import replace
from datetime import date, datetime
from decimal import Decimal
from typing import ClassVar

import polars as pl

from tradebot_core.model.order import Fill
from tradebot_core.model.portfolio import correction_entries, fill_entries
from tradebot_core.model.tables import FILLS
from tradebot_core.stores.ledger.entries import insert_entries
from tradebot_core.stores.ledger.file import LedgerFile
from tradebot_core.stores.ledger.orders import unknown_order

_CORRECTED = ("quantity", "price", "commission")
_LAST_CORRECTION = "SELECT execution_id, quantity, price, commission, MAX(version) FROM corrections GROUP BY execution_id"


class Fills(LedgerFile):
    tables: ClassVar[Mapping[str, str]] = {
        "fills": "execution_id TEXT PRIMARY KEY, strategy TEXT NOT NULL, order_key TEXT NOT NULL REFERENCES intents, "
        "session TEXT NOT NULL, security_id INTEGER NOT NULL, symbol TEXT NOT NULL, side TEXT NOT NULL, "
        "quantity INTEGER NOT NULL CHECK (quantity > 0), price TEXT NOT NULL, commission TEXT NOT NULL, filled_at TEXT NOT NULL",
        # The terms that take the place of a fill's, by the exchange's correction; the highest version counts.
        "corrections": "execution_id TEXT NOT NULL REFERENCES fills (execution_id), version INTEGER NOT NULL, "
        "quantity INTEGER NOT NULL CHECK (quantity > 0), price TEXT NOT NULL, commission TEXT NOT NULL, "
        "PRIMARY KEY (execution_id, version)",
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
                    str(fill.commission),
                    fill.filled_at.isoformat(),
                ),
            )
            if done.rowcount == 0:
                return _correct(database, strategy, fill)
            if fill.version > 1:
                _insert_correction(database, fill)
            insert_entries(database, strategy, fill_entries(fill))
            return True

    def fills(self, strategy: str, start: date | None = None, end: date | None = None) -> pl.DataFrame:
        """Each execution once, in its latest terms."""
        columns = [f"COALESCE(c.{c}, f.{c})" if c in _CORRECTED else f"f.{c}" for c in FILLS.schema if c != "session"]
        with self._connection() as database:
            rows = database.execute(
                f"SELECT f.session, {', '.join(columns)} FROM fills f LEFT JOIN ({_LAST_CORRECTION}) c USING (execution_id) "
                "WHERE f.strategy = ? AND f.session BETWEEN ? AND ? ORDER BY f.session, f.execution_id",
                (strategy, (start or date.min).isoformat(), (end or date.max).isoformat()),
            ).fetchall()
        typed = [(date.fromisoformat(row[0]), *row[1:-1], datetime.fromisoformat(row[-1])) for row in rows]
        return pl.DataFrame(typed, schema=FILLS.schema, orient="row")


def _correct(database: sqlite3.Connection, strategy: str, fill: Fill) -> bool:
    """Enters the correction of an execution that was entered before; False when it is not newer or changes nothing."""
    version, quantity, price, commission = database.execute(
        "SELECT COALESCE(c.version, 1), COALESCE(c.quantity, f.quantity), COALESCE(c.price, f.price), "
        "COALESCE(c.commission, f.commission) FROM fills f LEFT JOIN corrections c USING (execution_id) "
        "WHERE f.execution_id = ? ORDER BY c.version DESC LIMIT 1",
        (fill.execution_id,),
    ).fetchone()
    if fill.version <= version:
        return False
    _insert_correction(database, fill)
    entered = replace(fill, quantity=quantity, price=Decimal(price), commission=Decimal(commission))
    if (entered.quantity, entered.price, entered.commission) == (fill.quantity, fill.price, fill.commission):
        return False
    insert_entries(database, strategy, correction_entries(entered, fill))
    return True


def _insert_correction(database: sqlite3.Connection, fill: Fill) -> None:
    database.execute(
        "INSERT INTO corrections VALUES (?, ?, ?, ?, ?)",
        (fill.execution_id, fill.version, fill.quantity, str(fill.price), str(fill.commission)),
    )
