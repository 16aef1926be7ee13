"""The SEC's bulk files: fetched when they have changed, resumed where they broke off, put in place only when they are whole."""

import logging
import os
import re
import time
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path

import requests

from tradebot_core.calendar import NEW_YORK
from tradebot_core.collectors.kept_files import (
    Kept,
    Record,
    is_kept,
    one_at_a_time,
    read_record,
    sync_folder,
    unwritable,
    write_record,
)
from tradebot_core.collectors.sec_http import CHUNK_BYTES, SecClient, SecUnavailable, Spoilt, Validators, is_absent
from tradebot_core.interfaces import Clock

_WHOLE, _PART = "whole", "part"
_SECONDS_BETWEEN_WORDS = 10
_LEAST_SHARE_OF_BEFORE = 0.5  # of the companies in the file that it replaces
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class BulkFile:
    """A zip of the SEC at `path`. Beside it: `<name>.part`, what has arrived of a newer one, and `<name>.json`, their versions."""

    client: SecClient
    url: str
    path: Path
    clock: Clock

    def refresh(self, day: date) -> bool:
        """Sees to it that the newest file is here when the one at hand may lack filings of `day`; returns whether it is new.

        The SEC makes it anew in the night after each business day. Raises SecUnavailable or SecRefused; the file at hand stays.
        """
        with one_at_a_time(self.path.parent):
            record = read_record(self._record_path)
            made = self.made(record)
            if made is not None and made > day:
                return False
            asked_at = self.clock.now()
            download = _Download(self, record)
            fresh = self.client.persist(self.url, download.attempt, advanced=download.has_advanced)
            record.checked = asked_at
            write_record(self._record_path, record)
            return fresh

    def made(self, record: Record | None = None) -> date | None:
        """The New York day on which the file at hand was made, by its Last-Modified (else, on which it was last asked for)."""
        record = record or read_record(self._record_path)
        kept = record.files.get(_WHOLE)
        if kept is None or not is_kept(self.path, kept):
            return None
        at = _instant(kept.last_modified) or record.checked
        return at.astimezone(NEW_YORK).date() if at else None

    @property
    def part(self) -> Path:
        return self.path.with_name(f"{self.path.name}.part")

    @property
    def _record_path(self) -> Path:
        return self.path.with_name(f"{self.path.name}.json")

    def remember(self, record: Record) -> None:
        write_record(self._record_path, record)


class _Download:
    """Attempt after attempt, each going on where the one before broke off, as long as the server has the same version."""

    def __init__(self, file: BulkFile, record: Record) -> None:
        self._file, self._record = file, record
        self._arrived = self._size()

    def has_advanced(self) -> bool:
        before, self._arrived = self._arrived, self._size()
        return self._arrived > before

    def attempt(self) -> bool:
        """True when a new file is in place, False when the one at hand is the newest."""
        if not self._is_complete() and not self._receive():
            return False
        self._verify()
        try:
            self._file.part.replace(self._file.path)
            sync_folder(self._file.path.parent)
        except OSError as error:
            raise unwritable(self._file.path, error) from error
        self._record.files[_WHOLE] = self._record.files.pop(_PART)
        self._file.remember(self._record)
        return True

    def _receive(self) -> bool:
        """Fetches what lacks of the part; False when the file at hand is the newest."""
        file, have = self._file, self._size()
        with file.client.open(file.url, {"Accept-Encoding": "identity", **self._conditions(have)}) as response:
            if response.status_code == requests.codes.not_modified:
                return False
            if is_absent(response):
                raise SecUnavailable(f"There is no {file.url}.", "Look on the SEC's page of its interfaces for its new place.")
            if response.status_code == requests.codes.requested_range_not_satisfiable:
                self._discard()
                raise Spoilt("what had arrived does not fit the file any more")
            begin, total = _extent(response)
            self._begin(response, begin, total)
            try:
                self._write(response, begin, total)
            except requests.RequestException:
                raise
            except OSError as error:
                raise unwritable(file.part, error) from error
        if self._size() != total:
            raise Spoilt(f"{self._size()} of {total} bytes arrived")
        return True

    def _conditions(self, have: int) -> Mapping[str, str]:
        part, whole = self._record.files.get(_PART), self._record.files.get(_WHOLE)
        if have and part is not None and (version := part.etag or part.last_modified):
            return {"Range": f"bytes={have}-", "If-Range": version}
        return whole.validators.headers() if whole is not None and is_kept(self._file.path, whole) else {}

    def _begin(self, response: requests.Response, begin: int, total: int) -> None:
        """Remembers which version the part is of, before its bytes arrive. A weak tag does not vouch for bytes (RFC 9110, 13.1.5)."""
        shown = Validators.of(response.headers)
        etag = shown.etag if shown.etag and not shown.etag.startswith("W/") else None
        version = Kept(total, etag, shown.last_modified)
        if begin and (begin != self._size() or version != self._record.files.get(_PART)):
            self._discard()
            raise Spoilt("the answer goes on with another version of the file than the one that is here in part")
        self._record.files[_PART] = version
        self._file.remember(self._record)

    def _write(self, response: requests.Response, begin: int, total: int) -> None:
        arrived, spoke = begin, time.monotonic()
        with self._file.part.open("r+b" if begin else "wb") as part:
            part.seek(begin)
            part.truncate()
            for piece in response.iter_content(CHUNK_BYTES):
                part.write(piece)
                arrived += len(piece)
                if time.monotonic() - spoke > _SECONDS_BETWEEN_WORDS or arrived == total:
                    spoke = time.monotonic()
                    _LOG.info("SEC: %s, %.0f of %.0f MB", self._file.path.name, arrived / 1e6, total / 1e6)
            part.flush()
            os.fsync(part.fileno())

    def _verify(self) -> None:
        """Raises Spoilt when what arrived is no whole zip of company files. The checksum of each is compared when it is read."""
        try:
            count = _members(self._file.part)
        except (zipfile.BadZipFile, OSError, ValueError) as error:
            self._discard()
            raise Spoilt(f"what arrived is no whole zip: {error}") from None
        before = _members(self._file.path) if is_kept(self._file.path, self._record.files.get(_WHOLE)) else 0
        if count == 0 or count < before * _LEAST_SHARE_OF_BEFORE:
            self._discard()
            raise SecUnavailable(
                f"{self._file.url} holds {count} files of companies, and the one of before {before}; it was not put in place.",
                f"Run it again tomorrow. If the SEC meant it, delete {self._file.path}.",
            )

    def _is_complete(self) -> bool:
        part = self._record.files.get(_PART)
        return part is not None and self._size() == part.size

    def _size(self) -> int:
        return self._file.part.stat().st_size if self._file.part.is_file() else 0

    def _discard(self) -> None:
        self._file.part.unlink(missing_ok=True)
        self._record.files.pop(_PART, None)


def _extent(response: requests.Response) -> tuple[int, int]:
    """Where the answer begins in the file, and the size of the whole file in bytes."""
    if response.headers.get("Content-Encoding", "identity") != "identity":
        raise Spoilt("the answer was packed, which had not been asked for")
    if response.status_code == requests.codes.partial_content:
        found = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", response.headers.get("Content-Range", ""))
        if not found:
            raise Spoilt("the answer does not say which part of the file it is")
        return int(found[1]), int(found[2])
    length = response.headers.get("Content-Length", "")
    if response.status_code != requests.codes.ok or not length.isdigit():
        raise Spoilt(f"the answer was {response.status_code} {response.reason}, without the length of the file")
    return 0, int(length)


def _members(path: Path) -> int:
    with zipfile.ZipFile(path) as archive:
        return sum(name.endswith(".json") for name in archive.namelist())


def _instant(http_date: str | None) -> datetime | None:
    try:
        return parsedate_to_datetime(http_date) if http_date else None
    except ValueError:
        return None
