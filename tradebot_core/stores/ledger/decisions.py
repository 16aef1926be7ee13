"""Decision sets as they were sealed; at most one of a strategy and session is live."""

import sqlite3
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import ClassVar

from tradebot_core.errors import NotPermitted
from tradebot_core.interfaces import DecisionSet
from tradebot_core.stores.ledger.file import LedgerFile


class Decisions(LedgerFile):
    tables: ClassVar[Mapping[str, str]] = {
        "decision_sets": "strategy TEXT NOT NULL, session TEXT NOT NULL, digest TEXT NOT NULL, live INTEGER NOT NULL, "
        "run_id TEXT NOT NULL, decided_at TEXT NOT NULL",
    }
    indexes: ClassVar[Mapping[str, str]] = {"one_live_set": "decision_sets (strategy, session) WHERE live = 1"}

    def seal_decisions(self, decisions: DecisionSet) -> None:
        row = (
            decisions.strategy,
            decisions.session.isoformat(),
            decisions.digest,
            int(decisions.live),
            decisions.run_id,
            decisions.decided_at.isoformat(),
        )
        try:
            with self._transaction() as database:
                database.execute("INSERT INTO decision_sets VALUES (?, ?, ?, ?, ?, ?)", row)
        except sqlite3.IntegrityError:
            raise NotPermitted(f"{decisions.strategy} has decided live for {decisions.session} already.") from None

    def live_decisions(self, strategy: str, session: date) -> DecisionSet | None:
        found = [d for d in self.decision_sets(strategy) if d.live and d.session == session]
        return found[0] if found else None

    def decision_sets(self, strategy: str) -> Sequence[DecisionSet]:
        with self._connection() as database:
            rows = database.execute("SELECT * FROM decision_sets WHERE strategy = ? ORDER BY rowid", (strategy,)).fetchall()
        return [
            DecisionSet(name, date.fromisoformat(session), digest, bool(live), run_id, datetime.fromisoformat(at))
            for name, session, digest, live, run_id, at in rows
        ]
