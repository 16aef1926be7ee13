"""The kill switch: the ledger's own, and the file beside it."""

from collections.abc import Mapping
from datetime import datetime
from typing import ClassVar

from tradebot_core.stores.halt_file import HaltFile
from tradebot_core.stores.ledger.file import LedgerFile


class Switch(LedgerFile):
    tables: ClassVar[Mapping[str, str]] = {
        "halts": "sequence INTEGER PRIMARY KEY AUTOINCREMENT, halted INTEGER NOT NULL, reason TEXT NOT NULL, at TEXT NOT NULL",
    }

    def halted(self) -> str | None:
        by_file = HaltFile(self._path.parent).reason()
        if by_file is not None:
            return by_file
        with self._connection() as database:
            row = database.execute("SELECT halted, reason FROM halts ORDER BY sequence DESC LIMIT 1").fetchone()
        return row[1] if row and row[0] else None

    def halt(self, reason: str, at: datetime) -> None:
        self._switch(True, reason, at)

    def resume(self, at: datetime) -> None:
        self._switch(False, "", at)

    def _switch(self, halted: bool, reason: str, at: datetime) -> None:
        with self._transaction() as database:
            database.execute("INSERT INTO halts (halted, reason, at) VALUES (?, ?, ?)", (int(halted), reason, at.isoformat()))
