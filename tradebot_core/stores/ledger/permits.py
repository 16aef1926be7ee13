"""The right to decide and to submit: permits of a session, each claimed once per strategy by one run."""

import secrets
import sqlite3
from collections.abc import Mapping
from datetime import date, datetime
from typing import ClassVar

from tradebot_core.errors import NotPermitted
from tradebot_core.interfaces import Permit, Purpose
from tradebot_core.stores.ledger.file import LedgerFile


class Permits(LedgerFile):
    tables: ClassVar[Mapping[str, str]] = {
        "permits": "sequence INTEGER PRIMARY KEY AUTOINCREMENT, permit_id TEXT NOT NULL UNIQUE, session TEXT NOT NULL, "
        "purpose TEXT NOT NULL, issued_at TEXT NOT NULL, expires_at TEXT NOT NULL",
        "claims": "permit_id TEXT NOT NULL REFERENCES permits (permit_id), strategy TEXT NOT NULL, run_id TEXT NOT NULL, "
        "claimed_at TEXT NOT NULL, PRIMARY KEY (permit_id, strategy)",
    }

    def issue_permit(
        self,
        session: date,
        issued_at: datetime,
        expires_at: datetime,
        purpose: Purpose = Purpose.DECIDE,
        *,
        renew: bool = False,
    ) -> Permit:
        with self._transaction() as database:
            permit = _latest_permit(database, session, purpose)
            if permit is None or renew:
                # Not to be guessed: whoever can name it was told by the live path.
                row = (secrets.token_hex(16), session.isoformat(), str(purpose), issued_at.isoformat(), expires_at.isoformat())
                database.execute(
                    "INSERT INTO permits (permit_id, session, purpose, issued_at, expires_at) VALUES (?, ?, ?, ?, ?)", row
                )
                permit = _latest_permit(database, session, purpose)
            assert permit is not None
            return permit

    def claim_permit(
        self, permit_id: str, strategy: str, run_id: str, at: datetime, purpose: Purpose = Purpose.DECIDE
    ) -> Permit:
        with self._transaction() as database:
            named = database.execute("SELECT session, purpose FROM permits WHERE permit_id = ?", (permit_id,)).fetchone()
            if named is None or named[1] != purpose:
                raise NotPermitted(
                    f"There is no permit {permit_id!r} to {purpose}: only the live path (schedule, sensor, "
                    "`tradebot run-session`) issues one."
                )
            permit = _latest_permit(database, date.fromisoformat(named[0]), purpose)
            assert permit is not None
            if permit.permit_id != permit_id:
                raise NotPermitted(f"The permit to {purpose} for {permit.session} was replaced by a later one.")
            if at >= permit.expires_at:
                raise NotPermitted(f"The permit for {permit.session} expired at {permit.expires_at:%Y-%m-%d %H:%M} UTC.")
            database.execute(
                "INSERT INTO claims VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING", (permit_id, strategy, run_id, at.isoformat())
            )
            (holder,) = database.execute(
                "SELECT run_id FROM claims WHERE permit_id = ? AND strategy = ?", (permit_id, strategy)
            ).fetchone()
            if holder != run_id:
                raise NotPermitted(f"The permit of {strategy} for {permit.session} was claimed by run {holder}.")
            return permit


def _latest_permit(database: sqlite3.Connection, session: date, purpose: Purpose) -> Permit | None:
    row = database.execute(
        "SELECT permit_id, expires_at FROM permits WHERE session = ? AND purpose = ? ORDER BY sequence DESC LIMIT 1",
        (session.isoformat(), str(purpose)),
    ).fetchone()
    return Permit(row[0], session, purpose, datetime.fromisoformat(row[1])) if row else None
