"""Parquet files that are whole or absent: written beside, synced, then renamed into place, under one lock per folder.

Each carries its own SHA-256 in its footer, computed with the digest's place zeroed: Parquet itself does not notice a flipped
byte, it returns another number.
"""

import errno
import fcntl
import hashlib
import io
import os
import shutil
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Lock

import polars as pl

from tradebot_core.errors import StoreError

_MARK = b"tradebot_sha256:"
_BLANK = b"0" * 64


@contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """One writer at a time, over all processes of this machine."""
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


@contextmanager
def storage_errors(place: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise storage_error(place, error) from error


def storage_error(place: Path, error: OSError) -> StoreError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StoreError(
            f"The disk is full: {place} could not be written, and nothing of it was changed.", "Free some space and run again."
        )
    return StoreError(f"{place} cannot be used: {error.strerror or error}.", "Check that the folder exists and is writable.")


def write(frame: pl.DataFrame, path: Path) -> None:
    """Replaces the file at `path`; on any failure the old one stays."""
    fresh = path.with_suffix(".new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Without statistics: files are read whole, as their checksum asks for.
        frame.write_parquet(
            fresh, compression="zstd", compression_level=1, statistics=False, metadata={"checksum": (_MARK + _BLANK).decode()}
        )
        whole = fresh.read_bytes()
        with fresh.open("r+b") as file:
            file.seek(whole.rindex(_MARK) + len(_MARK))
            file.write(hashlib.sha256(whole).hexdigest().encode())
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        fresh.unlink(missing_ok=True)
        raise storage_error(path, error) from error
    except pl.exceptions.ComputeError as error:  # how polars reports a failed write in some places
        fresh.unlink(missing_ok=True)
        raise StoreError(f"{path} could not be written: {error}", "Check the space left on the disk.") from error


def sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_as(path: Path, schema: pl.Schema, columns: Sequence[str] | None = None) -> pl.DataFrame:
    """The columns of `schema` (or some of them) in its order; null where the file is older than a column."""
    wanted = [name for name in schema if columns is None or name in columns]
    found = read(path, wanted)
    absent = [pl.lit(None, schema[name]).alias(name) for name in wanted if name not in found.columns]
    return found.with_columns(absent).select(wanted)


def read(path: Path, columns: list[str] | None = None, where: pl.Expr | None = None) -> pl.DataFrame:
    """The file, or those of its columns that are named and of its rows those for which `where` (an expression of these columns) holds.

    Raises StoreError naming the file when it is not, byte for byte, the one that was written.
    """
    try:
        whole = path.read_bytes()
        at = whole.rfind(_MARK) + len(_MARK)
        content = memoryview(whole)
        digest = hashlib.sha256(content[:at])
        digest.update(_BLANK)
        digest.update(content[at + len(_BLANK) :])
        if digest.hexdigest().encode() != whole[at : at + len(_BLANK)]:
            raise OSError(errno.EIO, "its content does not match its checksum")
        if len(whole) <= _SMALL:
            found = _SMALL_FILES.get(digest.digest(), columns, lambda: _decoded(whole, columns))
            return found if where is None else found.filter(where)
        return _decoded(whole, columns, where)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise StoreError(
            f"{path} is damaged and was not read ({error}).",
            "Restore it from a backup; or delete it and materialize its sessions again.",
        ) from error


def _decoded(whole: bytes, columns: list[str] | None, where: pl.Expr | None = None) -> pl.DataFrame:
    """Of rows that are not wanted only what `where` looks at is decoded."""
    there = columns and pl.read_parquet_schema(io.BytesIO(whole))
    wanted = columns and [name for name in columns if name in there]
    if where is None:
        return pl.read_parquet(io.BytesIO(whole), columns=wanted)
    rows = pl.scan_parquet(io.BytesIO(whole)).filter(where)
    return (rows.select(wanted) if wanted else rows).collect()


class _Kept:
    """The last small files that were decoded, by their content: one session of a strategy reads each year of its book a dozen
    times, and to decode a small file takes fifty times as long as to read and verify it."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._frames: OrderedDict[tuple[bytes, tuple[str, ...] | None], pl.DataFrame] = OrderedDict()
        self._bytes = 0
        self._lock = Lock()

    def get(self, digest: bytes, columns: list[str] | None, decode: Callable[[], pl.DataFrame]) -> pl.DataFrame:
        key = digest, None if columns is None else tuple(columns)
        with self._lock:
            if key in self._frames:
                self._frames.move_to_end(key)
                return self._frames[key]
        found = decode()
        with self._lock:
            if key not in self._frames:
                self._frames[key] = found
                self._bytes += found.estimated_size()
            while self._bytes > self._most_bytes:
                self._bytes -= self._frames.popitem(last=False)[1].estimated_size()
        return found


_SMALL = 256 * 1024
_SMALL_FILES = _Kept(most_bytes=32 * 1024 * 1024)


def link(source: Path, target: Path) -> None:
    """The same file under another name, as it is now: files are replaced and never changed, so neither name sees what is written under
    the other. A copy where the disk has no links."""
    with storage_errors(target):
        try:
            os.link(source, target)
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.EXDEV, errno.EMLINK, errno.ENOSYS):
                raise
            shutil.copyfile(source, target)


def checksum_of(path: Path) -> str:
    """The SHA-256 that the file carries, without a look at the rest of it; of a file that carries none, that of its content."""
    with storage_errors(path), path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 8))
        footer = int.from_bytes(file.read(4), "little") + 8
        file.seek(max(0, size - footer))
        tail = file.read()
        at = tail.rfind(_MARK)
        if at >= 0:
            return tail[at + len(_MARK) : at + len(_MARK) + len(_BLANK)].decode(errors="replace")
        file.seek(0)
        return hashlib.file_digest(file, "sha256").hexdigest()
