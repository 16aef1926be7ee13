"""One SQLite file of append-only tables (triggers refuse update and delete); every call is one committed transaction.

SQLite takes an absent file, and one of no or one byte, for an empty database. A bot that forgot its orders would trade anew, so a
ledger is made once: whole, under a lock, and beside it a marker that says that there is one. Later it is opened and never made.
"""

import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar
from urllib.parse import quote

from tradebot_core.errors import ConfigurationError, StoreError
from tradebot_core.stores import parquet_files

_EMPTY_BYTES = 1  # a file of so many bytes is an empty database to SQLite
_WORDS = "There is a ledger beside this file. While it is missing or empty, nothing is traded; see docs/operations.md.\n"


class LedgerFile:
    """What every part of the ledger is built on. A part names its `tables` (name -> columns) and, where it needs them, `indexes`
    (name -> what it is on); those of all parts are made when the file is opened, so an older file gains what is new."""

    tables: ClassVar[Mapping[str, str]] = {
        "venues": "venue TEXT NOT NULL, one INTEGER PRIMARY KEY CHECK (one = 1)",
    }
    indexes: ClassVar[Mapping[str, str]] = {}

    def __init__(self, path: Path) -> None:
        """Raises StoreError when the ledger is damaged, empty, or missing where there was one."""
        self._path = path
        self._marker = path.with_name(f"{path.name}.made")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if not (path.exists() or any(witness.exists() for witness in self._witnesses())):
                self._make()
            self._require_content()
        except OSError as error:
            raise StoreError(f"The ledger {path} cannot be used: {error.strerror}.", "Check data_store.path.") from error
        with self._connection() as database:
            self._require_whole(database)
            if not database.execute("SELECT COUNT(*) FROM sqlite_master WHERE name = 'venues'").fetchone()[0]:
                raise StoreError(f"{path} is a database without a ledger in it.", self._mend())
            database.execute("PRAGMA journal_mode = WAL")
            database.executescript(self._creation())
        self._mark()  # of a ledger that is older than the marker, too

    def _witnesses(self) -> tuple[Path, Path]:
        """Either says that there was a ledger: the marker, and what SQLite had not yet written into the file."""
        return self._marker, self._path.with_name(f"{self._path.name}-wal")

    def _make(self) -> None:
        fresh = self._path.with_name(f"{self._path.name}.new")
        with parquet_files.exclusive(self._path.parent):
            if self._path.exists():  # another process was faster
                return
            for left in self._path.parent.glob(f"{fresh.name}*"):  # by one that was killed
                left.unlink()
            with self._connection(fresh, "rwc") as database:
                database.execute("PRAGMA journal_mode = WAL")
                database.executescript(self._creation())
            _sync(fresh)
            fresh.rename(self._path)
            _sync(self._path.parent)

    def _require_content(self) -> None:
        try:
            size = self._path.stat().st_size
        except FileNotFoundError:
            witness = next(path.name for path in self._witnesses() if path.exists())
            raise StoreError(f"The ledger {self._path} is missing, and {witness} says there was one.", self._mend()) from None
        if size <= _EMPTY_BYTES:
            raise StoreError(f"The ledger {self._path} is empty ({size} bytes): its orders and fills are gone.", self._mend())

    def _require_whole(self, database: sqlite3.Connection) -> None:
        """A file cut within its last page is read with zeros for what is gone."""
        # Never by a file of our own: closing one gives up the locks that SQLite holds on the ledger in this process (sqlite.org,
        # "How To Corrupt An SQLite Database File", 2.2).
        (page,) = database.execute("PRAGMA page_size").fetchone()
        torn = self._path.stat().st_size % page
        (first, *_) = database.execute("PRAGMA quick_check(1)").fetchone()
        if torn or first != "ok":
            why = "it ends within a page" if torn else first
            raise StoreError(f"The ledger {self._path} is damaged: {why}.", "Halt and restore it from a backup.")

    def _mend(self) -> str:
        return (
            "Restore it from a backup, then `tradebot reconcile`. Only where this store never sent an order: delete "
            f"all {self._path.name}* of its folder, and a new ledger begins."
        )

    def _mark(self) -> None:
        if self._marker.exists():
            return
        with parquet_files.storage_errors(self._marker):
            self._marker.write_text(_WORDS)
            _sync(self._marker)
            _sync(self._path.parent)

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
    def _connection(self, path: Path | None = None, mode: str = "rw") -> Iterator[sqlite3.Connection]:
        file = f"file:{quote(str((path or self._path).absolute()))}?mode={mode}"
        try:
            database = sqlite3.connect(file, uri=True, timeout=30, isolation_level=None)
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


def _sync(path: Path) -> None:
    """What was written to the file, or the names in the folder, is on the disk when this returns."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
