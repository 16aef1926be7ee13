"""A sleeve's equity at the sessions' closes, and the highest of it."""

from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from typing import ClassVar

from tradebot_core.model.portfolio import EntryKind
from tradebot_core.stores.ledger.entries import read_entries
from tradebot_core.stores.ledger.file import LedgerFile


class Marks(LedgerFile):
    tables: ClassVar[Mapping[str, str]] = {
        "marks": "strategy TEXT NOT NULL, session TEXT NOT NULL, equity TEXT NOT NULL, PRIMARY KEY (strategy, session)",
    }

    def mark(self, strategy: str, session: date, equity: Decimal) -> None:
        with self._transaction() as database:
            database.execute(
                "INSERT INTO marks VALUES (?, ?, ?) ON CONFLICT DO NOTHING", (strategy, session.isoformat(), str(equity))
            )

    def peak(self, strategy: str, until: date) -> Decimal:
        with self._connection() as database:
            marks = database.execute(
                "SELECT session, equity FROM marks WHERE strategy = ? AND session <= ?", (strategy, until.isoformat())
            ).fetchall()
            deposits = [
                (entry.session.isoformat(), entry.cash)
                for entry in read_entries(database, strategy, until)
                if entry.kind is EntryKind.DEPOSIT
            ]
        # A deposit is no gain: what counts is how far the equity was above all that had been deposited by then.
        gains = [Decimal(equity) - sum(cash for on, cash in deposits if on <= session) for session, equity in marks]
        return max([Decimal(0), *gains]) + sum((cash for _, cash in deposits), Decimal(0))
