"""A disk that is full or a ledger that is locked at the n-th write of a trader. Put in place in its process, for good."""

import errno
import os
import sqlite3
from collections.abc import Callable
from functools import partial
from itertools import count
from typing import Any

# What fails: every write from the n-th on; one beginning; one commit, which is made all the same and says that it was not; every
# write of the store's files from the n-th on.
AT_WRITE = ("ledger full", "ledger locked", "commit unclear", "store full")


def fail(what: str, nth: int) -> None:
    if what == "store full":
        _full_store(nth)
        return
    sqlite3.connect = partial(sqlite3.connect, factory=_KINDS[what](nth))  # type: ignore[assignment]


def _full_ledger(nth: int) -> type[sqlite3.Connection]:
    writes = count(1)

    class Full(sqlite3.Connection):
        def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
            if sql.lstrip().startswith(("INSERT", "COMMIT")) and next(writes) >= nth:
                raise sqlite3.OperationalError("database or disk is full")
            return super().execute(sql, *parameters)

    return Full


def _locked_ledger(nth: int) -> type[sqlite3.Connection]:
    beginnings = count(1)

    class Locked(sqlite3.Connection):
        def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
            if sql.startswith("BEGIN") and next(beginnings) == nth:
                raise sqlite3.OperationalError("database is locked")
            return super().execute(sql, *parameters)

    return Locked


def _unclear_commit(nth: int) -> type[sqlite3.Connection]:
    commits = count(1)

    class Unclear(sqlite3.Connection):
        def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
            done = super().execute(sql, *parameters)
            if sql.startswith("COMMIT") and next(commits) == nth:
                raise sqlite3.OperationalError("disk I/O error")
            return done

    return Unclear


_KINDS: dict[str, Callable[[int], type[sqlite3.Connection]]] = {
    "ledger full": _full_ledger,
    "ledger locked": _locked_ledger,
    "commit unclear": _unclear_commit,
}


def _full_store(nth: int) -> None:
    writes, real = count(1), os.fsync

    def fsync(descriptor: int) -> None:
        if next(writes) >= nth:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(descriptor)

    os.fsync = fsync
