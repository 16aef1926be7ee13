"""The lines that a sleeve's book is the fold of."""

import sqlite3
from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import ClassVar

from tradebot_core.errors import ReconciliationError
from tradebot_core.model.portfolio import Book, Entry, EntryKind, fold_order
from tradebot_core.stores.ledger.file import LedgerFile


class Entries(LedgerFile):
    tables: ClassVar[Mapping[str, str]] = {
        "entries": "sequence INTEGER PRIMARY KEY AUTOINCREMENT, strategy TEXT NOT NULL, entry_key TEXT NOT NULL, session TEXT NOT NULL, "
        "kind TEXT NOT NULL, security_id INTEGER, symbol TEXT NOT NULL, quantity INTEGER NOT NULL, cash TEXT NOT NULL, "
        "UNIQUE (strategy, entry_key)",
    }

    def post(self, strategy: str, entries: Sequence[Entry]) -> int:
        with self._transaction() as database:
            return insert_entries(database, strategy, entries)

    def entries(self, strategy: str, until: date | None = None) -> Sequence[Entry]:
        with self._connection() as database:
            return read_entries(database, strategy, until)

    def book(self, strategy: str, until: date) -> Book:
        try:
            return Book().apply_all(self.entries(strategy, until))
        except ValueError as error:
            raise ReconciliationError(
                f"The ledger of {strategy} makes an impossible book: {error}.",
                "A corporate action that was heard of after the sale is settled by the next session's run: `tradebot run-session`. If this "
                "stands after it, nothing of this sleeve is decided until it is explained: compare the broker's statement with `tradebot "
                "export fills` and `tradebot export actions`.",
            ) from None


def insert_entries(database: sqlite3.Connection, strategy: str, entries: Sequence[Entry]) -> int:
    return sum(
        database.execute(
            "INSERT INTO entries (strategy, entry_key, session, kind, security_id, symbol, quantity, cash) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
            (strategy, e.key, e.session.isoformat(), str(e.kind), e.security_id, e.symbol, e.quantity, str(e.cash)),
        ).rowcount
        for e in entries
    )


def read_entries(database: sqlite3.Connection, strategy: str, until: date | None) -> list[Entry]:
    rows = database.execute(
        "SELECT entry_key, session, kind, cash, quantity, security_id, symbol FROM entries "
        "WHERE strategy = ? AND session <= ? ORDER BY sequence",
        (strategy, (until or date.max).isoformat()),
    ).fetchall()
    entries = [Entry(key, date.fromisoformat(on), EntryKind(kind), Decimal(cash), *rest) for key, on, kind, cash, *rest in rows]
    return sorted(entries, key=fold_order)
