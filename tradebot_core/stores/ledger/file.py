"""One SQLite file of append-only tables (triggers refuse update and delete); every call is one committed transaction."""

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

from tradebot_core.errors import ConfigurationError, StoreError


class LedgerFile:
    """What every part of the ledger is built on. A part names its `tables` (name -> columns) and, where it needs them, `indexes`
    (name -> what it is on); those of all parts are made when the file is opened, so an older file gains what is new."""

    tables: ClassVar[Mapping[str, str]] = {
        "venues": "venue TEXT NOT NULL, one INTEGER PRIMARY KEY CHECK (one = 1)",
    }
    indexes: ClassVar[Mapping[str, str]] = {}

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(f"The ledger {path} cannot be made: {error.strerror}.", "Check data_store.path.") from error
        with self._connection() as database:
            database.execute("PRAGMA journal_mode = WAL")
            database.executescript(self._creation())

    def _creation(self) -> str:
        parts = [vars(part) for part in reversed(type(self).__mro__)]
        tables = {name: columns for part in parts for name, columns in part.get("tables", {}).items()}
        indexes = {name: on for part in parts for name, on in part.get("indexes", {}).items()}
        made = [f"CREATE TABLE IF NOT EXISTS {name} ({columns});" for name, columns in tables.items()]
        made += [
            f"CREATE TRIGGER IF NOT EXISTS {table}_no_{verb} BEFORE {verb} ON {table} "
            "BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;"
            for table in tables
            for verb in ("update", "delete")
        ]
        made += [f"CREATE UNIQUE INDEX IF NOT EXISTS {name} ON {on};" for name, on in indexes.items()]
        return "".join(made)

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        try:
            database = sqlite3.connect(self._path, timeout=30, isolation_level=None)
            try:
                database.execute("PRAGMA synchronous = FULL")
                database.execute("PRAGMA foreign_keys = ON")
                yield database
            finally:
                database.close()
        except sqlite3.OperationalError as error:
            raise StoreError(
                f"The ledger {self._path} cannot be used: {error}.",
                "Check the disk's free space and that no other tool holds it open.",
            ) from error
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.IntegrityError):
                raise
            raise StoreError(f"The ledger {self._path} is damaged: {error}.", "Halt and restore it from a backup.") from error

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._connection() as database:
            database.execute("BEGIN IMMEDIATE")
            try:
                yield database
            except BaseException:
                database.execute("ROLLBACK")
                raise
            database.execute("COMMIT")

    # Where its orders go

    def require_venue(self, venue: str) -> None:
        with self._transaction() as database:
            database.execute("INSERT INTO venues VALUES (?, 1) ON CONFLICT DO NOTHING", (venue,))
            (kept,) = database.execute("SELECT venue FROM venues").fetchone()
        if kept != venue:
            raise ConfigurationError(
                f"The ledger {self._path} is of {kept}; the configuration trades at {venue}.",
                "What one holds, the other does not: give each its own data_store.path.",
            )
