"""Files fetched from elsewhere, kept in a folder: whole or absent, with what is known of each version beside them."""

import fcntl
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import date, datetime
from pathlib import Path

import msgspec

from tradebot_core.collectors.sec_http import Validators
from tradebot_core.errors import StoreError

_LOG = logging.getLogger(__name__)


class Kept(msgspec.Struct, frozen=True, omit_defaults=True):
    """One file: its size, what the server called its version, and `mark`, what else tells this version from another."""

    size: int
    etag: str | None = None
    last_modified: str | None = None
    mark: str = ""

    @property
    def validators(self) -> Validators:
        return Validators(self.etag, self.last_modified)


class Record(msgspec.Struct, omit_defaults=True):
    """What is known of a company's files, or of one large file.

    `checked`: everything that was public at that instant has been fetched. `waiting`: the day of a filing whose facts had not
    appeared by then. `without_facts`: the SEC has no facts of the company.
    """

    checked: datetime | None = None
    waiting: date | None = None
    without_facts: bool = False
    files: dict[str, Kept] = {}


def read_record(path: Path) -> Record:
    """An empty record when there is none, or when it cannot be read: what it told is then asked again."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Record)
    except (FileNotFoundError, msgspec.DecodeError, UnicodeDecodeError):
        return Record()


def write_record(path: Path, record: Record) -> None:
    """Not waiting for the disk: a record that a power failure takes costs one more request, and never a file."""
    replace_file(path, msgspec.json.encode(record), durable=False)


def is_kept(path: Path, kept: Kept | None) -> bool:
    """Whether the file is there with the size it had."""
    return kept is not None and path.is_file() and path.stat().st_size == kept.size


def replace_file(path: Path, content: bytes, durable: bool = True) -> None:
    """Whole or not at all, whatever happens meanwhile."""
    fresh = path.with_name(f"{path.name}.new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with fresh.open("wb") as file:
            file.write(content)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        fresh.replace(path)
        if durable:
            sync_folder(path.parent)
    except OSError as error:
        with suppress(OSError):  # what kept it from being written may keep it from being removed
            fresh.unlink(missing_ok=True)
        raise unwritable(path, error) from error


def sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def unwritable(path: Path, error: OSError) -> StoreError:
    return StoreError(
        f"{path} could not be written ({error.strerror or error}); the file of before is untouched.",
        "Free some space or correct the rights of the folder, and run it again.",
    )


@contextmanager
def one_at_a_time(folder: Path) -> Iterator[None]:
    """Over all processes of this machine: two that fetch into one folder would ask the SEC twice as fast as one may."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / ".lock").open("w")
    except OSError as error:
        raise unwritable(folder, error) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _LOG.info("Another process fetches into %s; waiting for it", folder)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
