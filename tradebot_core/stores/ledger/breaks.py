"""The history of breaks between account and ledger, and of what corporate actions have done at the broker."""

import sqlite3
from collections.abc import Collection, Mapping, Sequence
from dataclasses import astuple
from datetime import datetime
from decimal import Decimal
from typing import ClassVar

from tradebot_core.interfaces import Break, BreakRecord, Settlement
from tradebot_core.stores.ledger.file import LedgerFile

# An observation belongs to the break that its line's first one since the last end has opened.
_SEEN = """
SELECT b.line, b.kind, b.what, b.con_id, b.ledger, b.broker, b.reason, b.at, f.at, e.at, e.operator, e.word
FROM (SELECT opened, MAX(sequence) AS last FROM breaks GROUP BY opened) o
JOIN breaks b ON b.sequence = o.last
JOIN breaks f ON f.sequence = o.opened
LEFT JOIN break_ends e ON e.opened = o.opened
"""


class Breaks(LedgerFile):
    tables: ClassVar[Mapping[str, str]] = {
        # `opened` is the sequence of the break's first row; a row is added when the line comes to differ otherwise.
        "breaks": "sequence INTEGER PRIMARY KEY AUTOINCREMENT, opened INTEGER NOT NULL, line TEXT NOT NULL, kind TEXT NOT NULL, "
        "what TEXT NOT NULL, con_id INTEGER, ledger TEXT NOT NULL, broker TEXT NOT NULL, reason TEXT NOT NULL, at TEXT NOT NULL",
        "break_ends": "opened INTEGER PRIMARY KEY REFERENCES breaks (sequence), at TEXT NOT NULL, operator TEXT NOT NULL, "
        "word TEXT NOT NULL",
        "settlements": "settled_key TEXT PRIMARY KEY, amount TEXT NOT NULL, at TEXT NOT NULL, note TEXT NOT NULL",
    }

    def open_breaks(self) -> Sequence[BreakRecord]:
        return [record for record in self.breaks() if record.ended is None]

    def breaks(self) -> Sequence[BreakRecord]:
        with self._connection() as database:
            rows = database.execute(f"{_SEEN} ORDER BY o.opened").fetchall()
        return [_record(*row) for row in rows]

    def record_breaks(self, found: Sequence[Break], ended: Collection[str], at: datetime, by: str, word: str) -> None:
        with self._transaction() as database:
            standing = _standing(database)
            for line in found:
                opened, before = standing.get(line.key, (None, None))
                if before == (line.ledger, line.broker, line.reason):
                    continue
                if opened is None:
                    (last,) = database.execute("SELECT COALESCE(MAX(sequence), 0) FROM breaks").fetchone()
                    opened = last + 1
                database.execute(
                    "INSERT INTO breaks (sequence, opened, line, kind, what, con_id, ledger, broker, reason, at) "
                    "VALUES ((SELECT COALESCE(MAX(sequence), 0) + 1 FROM breaks), ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    (opened, *astuple(line)[:-1], line.at.isoformat()),
                )
            for key in sorted(ended):
                if key in standing:
                    database.execute("INSERT INTO break_ends VALUES (?, ?, ?, ?)", (standing[key][0], at.isoformat(), by, word))

    def settlements(self) -> Sequence[Settlement]:
        with self._connection() as database:
            rows = database.execute("SELECT settled_key, amount, at, note FROM settlements ORDER BY rowid").fetchall()
        return [Settlement(key, Decimal(amount), datetime.fromisoformat(at), note) for key, amount, at, note in rows]

    def record_settlements(self, settlements: Sequence[Settlement]) -> None:
        with self._transaction() as database:
            database.executemany(
                "INSERT INTO settlements VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
                [(s.key, f"{s.amount:f}", s.at.isoformat(), s.note) for s in settlements],
            )


def _standing(database: sqlite3.Connection) -> dict[str, tuple[int, tuple[str, str, str]]]:
    """By line: where its open break began, and how it differs now."""
    rows = database.execute(
        "SELECT line, opened, ledger, broker, reason FROM breaks WHERE opened NOT IN (SELECT opened FROM break_ends) ORDER BY sequence"
    ).fetchall()
    return {line: (opened, (ledger, broker, reason)) for line, opened, ledger, broker, reason in rows}


def _record(
    line: str,
    kind: str,
    what: str,
    con_id: int | None,
    ledger: str,
    broker: str,
    reason: str,
    at: str,
    first: str,
    ended: str | None,
    by: str | None,
    word: str | None,
) -> BreakRecord:
    found = Break(line, kind, what, con_id, ledger, broker, reason, datetime.fromisoformat(at))
    end = datetime.fromisoformat(ended) if ended is not None else None
    return BreakRecord(found, datetime.fromisoformat(first), end, by or "", word or "")
