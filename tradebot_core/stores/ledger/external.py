"""What the account holds beside the sleeves."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import ClassVar

from tradebot_core.interfaces import ExternalEntry
from tradebot_core.stores.ledger.file import LedgerFile


class External(LedgerFile):
    tables: ClassVar[Mapping[str, str]] = {
        "external": "sequence INTEGER PRIMARY KEY AUTOINCREMENT, con_id INTEGER, quantity TEXT NOT NULL, cash TEXT NOT NULL, "
        "reason TEXT NOT NULL, at TEXT NOT NULL, operator TEXT NOT NULL",
    }

    def external(self) -> Sequence[ExternalEntry]:
        with self._connection() as database:
            rows = database.execute(
                "SELECT con_id, quantity, cash, reason, at, operator FROM external ORDER BY sequence"
            ).fetchall()
        return [
            ExternalEntry(con_id, Decimal(quantity), Decimal(cash), reason, datetime.fromisoformat(at), operator)
            for con_id, quantity, cash, reason, at, operator in rows
        ]

    def record_external(self, entries: Sequence[ExternalEntry], *, first: bool = False) -> bool:
        with self._transaction() as database:
            if first and database.execute("SELECT 1 FROM external LIMIT 1").fetchone() is not None:
                return False
            database.executemany(
                "INSERT INTO external (con_id, quantity, cash, reason, at, operator) VALUES (?, ?, ?, ?, ?, ?)",
                [(e.con_id, f"{e.quantity:f}", f"{e.cash:f}", e.reason, e.at.isoformat(), e.operator) for e in entries],
            )
            return True
