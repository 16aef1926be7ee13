"""Fundamental reports as they were received, kept in a folder that only grows, and what was asked of the gateway and when.

A kept report is named CIK##########_<report>_<time of receipt, UTC>_<begin of its SHA-256>.xml. The same report again is not kept
twice. Files of any other name may lie beside them: what they are stands in them.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from hashlib import sha256
from pathlib import Path

import msgspec

from tradebot_core.collectors.kept_files import replace_file
from tradebot_core.errors import CorruptInput
from tradebot_core.ibkr.reports.record import ReportType

_TIME = "%Y%m%dT%H%M%SZ"
_HASH_DIGITS = 16
_NAME = re.compile(rf"CIK(\d{{10}})_({'|'.join(ReportType)})_(20\d{{6}}T\d{{6}}Z)_([0-9a-f]{{{_HASH_DIGITS}}})\.xml")
_REQUESTS_FILE = "requests.json"


@dataclass(frozen=True, slots=True)
class Kept:
    """What the name of a file says: whose report it is, and when it was received. All None for a file of another name."""

    path: Path
    cik: int | None = None
    report: ReportType | None = None
    at: datetime | None = None
    hash_begins: str | None = None


class Requests(msgspec.Struct):
    """`off`: the reports that are not to be had on `day` (New York), and why. `asked`: the last requests. `settled`: when a report
    was last received, or refused for this one share."""

    day: date | None = None
    off: dict[str, str] = msgspec.field(default_factory=dict)
    asked: list[datetime] = msgspec.field(default_factory=list)
    settled: dict[str, datetime] = msgspec.field(default_factory=dict)


@dataclass(frozen=True)
class ReportArchive:
    folder: Path

    def files(self) -> Iterator[Kept]:
        """Every XML file in the folder and below, in the order of their names."""
        for path in sorted(self.folder.rglob("*")):
            if path.suffix.lower() == ".xml" and path.is_file():
                yield _kept(path)

    def keep(self, cik: int, report: ReportType, text: str, at: datetime) -> Path | None:
        """Writes the report; None when it is the one that was kept last."""
        content = text.encode()
        begins = sha256(content).hexdigest()[:_HASH_DIGITS]
        last = max(
            (kept for path in self.folder.glob(f"CIK{cik:010d}_{report}_*.xml") if (kept := _kept(path)).at is not None),
            key=lambda kept: (kept.at, kept.hash_begins),
            default=None,
        )
        if last is not None and last.hash_begins == begins:
            return None
        path = self.folder / f"CIK{cik:010d}_{report}_{at.astimezone(UTC).strftime(_TIME)}_{begins}.xml"
        replace_file(path, content)
        return path

    def requests(self) -> Requests:
        path = self.folder / _REQUESTS_FILE
        try:
            return msgspec.json.decode(path.read_bytes(), type=Requests) if path.exists() else Requests()
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            mend = "Delete it: it only says what was asked of the gateway."
            raise CorruptInput(f"{path} cannot be read ({error}).", mend) from None

    def remember(self, requests: Requests) -> None:
        replace_file(self.folder / _REQUESTS_FILE, msgspec.json.encode(requests))


def _kept(path: Path) -> Kept:
    named = _NAME.fullmatch(path.name)
    if named is None:
        return Kept(path)
    try:
        at = datetime.strptime(named[3], _TIME).replace(tzinfo=UTC)
    except ValueError:  # the 31st of February
        return Kept(path)
    return Kept(path, int(named[1]), ReportType(named[2]), at, named[4])
