"""A person's word that an account may be traded."""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import ClassVar

from tradebot_core.interfaces import Arm
from tradebot_core.stores.ledger.file import LedgerFile


class Arms(LedgerFile):
    tables: ClassVar[Mapping[str, str]] = {
        "arms": "sequence INTEGER PRIMARY KEY AUTOINCREMENT, armed INTEGER NOT NULL, account TEXT NOT NULL, operator TEXT NOT NULL, "
        "at TEXT NOT NULL, expires_at TEXT NOT NULL, fingerprint TEXT NOT NULL, code_version TEXT NOT NULL",
    }

    def record_arm(self, arm: Arm) -> None:
        times = (arm.at.isoformat(), arm.expires_at.isoformat())
        fingerprint = json.dumps(dict(arm.fingerprint), sort_keys=True)
        row = (int(arm.armed), arm.account, arm.operator, *times, fingerprint, arm.code_version)
        with self._transaction() as database:
            database.execute(
                "INSERT INTO arms (armed, account, operator, at, expires_at, fingerprint, code_version) VALUES (?, ?, ?, ?, ?, ?, ?)",
                row,
            )

    def last_arm(self) -> Arm | None:
        with self._connection() as database:
            row = database.execute(
                "SELECT armed, account, operator, at, expires_at, fingerprint, code_version FROM arms ORDER BY sequence DESC LIMIT 1"
            ).fetchone()
        if row is None:
            return None
        armed, account, operator, at, expires_at, fingerprint, code_version = row
        times = (datetime.fromisoformat(at), datetime.fromisoformat(expires_at))
        return Arm(bool(armed), account, operator, *times, json.loads(fingerprint), code_version)
