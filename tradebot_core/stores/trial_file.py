"""Every backtest ever run, in one SQLite file of the store. It only grows: triggers refuse update and delete."""

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date, datetime, timedelta
from hashlib import sha256
from pathlib import Path

import numpy as np

from tradebot_core.errors import StoreError
from tradebot_core.model.trial import TrialRun
from tradebot_core.stores.parquet_files import exclusive, storage_errors, sync_folder

_TABLE = """\
CREATE TABLE runs (
  sequence INTEGER PRIMARY KEY AUTOINCREMENT, trial TEXT NOT NULL, idea TEXT NOT NULL, strategy TEXT NOT NULL,
  counts INTEGER NOT NULL, parameters TEXT NOT NULL, settings TEXT NOT NULL, first TEXT NOT NULL, last TEXT NOT NULL,
  sessions BLOB NOT NULL, returns BLOB NOT NULL, data_version TEXT NOT NULL, code_version TEXT NOT NULL,
  strategy_code TEXT NOT NULL, mean REAL, deviation REAL, skewness REAL, kurtosis REAL, sharpe REAL, at TEXT NOT NULL,
  digest TEXT NOT NULL UNIQUE);
CREATE INDEX runs_of_idea ON runs (idea);
CREATE TRIGGER runs_no_update BEFORE UPDATE ON runs BEGIN SELECT RAISE(ABORT, 'trials are not changed'); END;
CREATE TRIGGER runs_no_delete BEFORE DELETE ON runs BEGIN SELECT RAISE(ABORT, 'trials are not forgotten'); END;
"""
_COLUMNS = (
    "trial, idea, strategy, counts, parameters, settings, sessions, returns, data_version, code_version, strategy_code, "
    "mean, deviation, skewness, kurtosis, sharpe, at"
)
_EPOCH = date(1970, 1, 1)


class TrialFile:
    """See interfaces.Trials. The file is made with the first trial."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def record(self, run: TrialRun) -> bool:
        days = np.array([(session - _EPOCH).days for session in run.sessions], "<i4").tobytes()
        returns = np.array(run.returns, "<f8").tobytes()
        parameters = json.dumps(dict(run.parameters), sort_keys=True)
        made_of = (run.trial, run.strategy, run.data_version, run.code_version, sha256(days + returns).hexdigest())
        row = (
            *(run.trial, run.idea, run.strategy, int(run.counts), parameters, run.settings),
            *(run.sessions[0].isoformat(), run.sessions[-1].isoformat(), days, returns),
            *(run.data_version, run.code_version, run.strategy_code),
            *(run.mean, run.deviation, run.skewness, run.kurtosis, run.sharpe),
            *(run.at.isoformat(), sha256("\x1f".join(made_of).encode()).hexdigest()),
        )
        names = _COLUMNS.replace("sessions,", "first, last, sessions,") + ", digest"
        with exclusive(self._path.parent):
            self._make()
            return self._insert(names, row)

    def _make(self) -> None:
        """Whole or not at all: a file without the table has lost it."""
        if self._path.exists():
            return
        fresh = self._path.with_name(f"{self._path.name}.new")
        with storage_errors(fresh):
            fresh.unlink(missing_ok=True)  # left by one that was killed
            with self._connection(fresh) as database:
                database.executescript(_TABLE)
            fresh.rename(self._path)
            sync_folder(self._path.parent)

    def _insert(self, names: str, row: Sequence[object]) -> bool:
        with self._connection() as database:
            places = ", ".join("?" * len(row))
            done = database.execute(f"INSERT INTO runs ({names}) VALUES ({places}) ON CONFLICT (digest) DO NOTHING", row)
            database.commit()
            return done.rowcount == 1

    def runs(self, idea: str | None = None) -> Sequence[TrialRun]:
        if not self._path.exists():
            return []
        with self._connection() as database:
            of = ("WHERE idea = ?", (idea,)) if idea is not None else ("", ())
            rows = database.execute(f"SELECT {_COLUMNS} FROM runs {of[0]} ORDER BY sequence", of[1]).fetchall()
        return [_run_of(row) for row in rows]

    @contextmanager
    def _connection(self, path: Path | None = None) -> Iterator[sqlite3.Connection]:
        try:
            database = sqlite3.connect(path or self._path, timeout=60)
            try:
                yield database
            finally:
                database.close()
        except sqlite3.Error as error:
            raise StoreError(
                f"The record of trials {self._path} cannot be used: {error}.",
                "Check the disk's free space; where the file is damaged, restore it from a backup.",
            ) from error


def _run_of(row: tuple) -> TrialRun:
    trial, idea, strategy, counts, parameters, settings, days, returns, *rest, at = row
    sessions = tuple(_EPOCH + timedelta(days=int(day)) for day in np.frombuffer(days, "<i4"))
    values = tuple(np.frombuffer(returns, "<f8").tolist())
    return TrialRun(
        trial,
        idea,
        strategy,
        bool(counts),
        json.loads(parameters),
        settings,
        sessions,
        values,
        *rest,
        at=datetime.fromisoformat(at),
    )
