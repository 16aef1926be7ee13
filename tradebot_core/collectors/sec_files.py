"""The SEC's bulk files on disk: CIK##########.json in a zip or a folder, or one of them alone. A damaged one is quarantined whole."""

import re
import zipfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path

from tradebot_core.collectors import zip_members
from tradebot_core.collectors.zip_members import Member
from tradebot_core.errors import CorruptInput, DataError
from tradebot_core.interfaces import Rejected

_SEC_NAME = re.compile(r"CIK(\d{10})(-submissions-\d+)?\.json")
_MAX_FILE_BYTES = 1 << 29  # the largest companyfacts file of the SEC is below 100 MB


class Unreadable(Exception):
    def __init__(self, rejected: Rejected) -> None:
        super().__init__(rejected.reason)
        self.rejected = rejected


def whole_file(name: str, content: bytes, rule: str, reason: str) -> Rejected:
    record = {
        "file": name,
        "sha256": sha256(content).hexdigest(),
        "bytes": len(content),
        "begins": content[:80].decode("utf-8", "replace"),
    }
    return Rejected(record, rule, reason)


@dataclass(frozen=True)
class SecFiles:
    """The JSON files of a folder or a zip by name. Holds no open file, so that it can go to another process."""

    paths: Mapping[str, Path]
    archive: Path | None = None
    members: Mapping[str, Member] | None = None

    @classmethod
    def at(cls, path: Path, setting: str, ciks: Collection[int]) -> "SecFiles":
        """Of a zip only the files of those issuers: submissions.zip has some 900,000."""
        if not path.exists():
            raise DataError(
                f"{path} does not exist.",
                f"Put the SEC's files there (companyfacts.zip and submissions.zip from "
                f"https://www.sec.gov/Archives/edgar/daily-index/) or correct {setting}; or let Tradebot fetch them: "
                f"collectors.edgar_api.EdgarApi by company, collectors.edgar_bulk.EdgarBulk the two files.",
            )
        if path.is_dir():
            return cls({file.name: file for file in sorted(path.rglob("CIK*.json"))})
        if path.suffix.lower() == ".json":
            return cls({_sec_name(path): path})
        issuers = frozenset(ciks)

        def wanted(name: str) -> bool:
            matched = _SEC_NAME.fullmatch(name)
            return matched is not None and int(matched[1]) in issuers

        try:
            return cls({}, path, zip_members.directory(path, wanted))
        except (zipfile.BadZipFile, OSError) as error:
            raise CorruptInput(f"{path} is not a readable zip ({error}).", "Download it again.") from None

    def of(self, ciks: Collection[int]) -> "SecFiles":
        """Those of some issuers alone."""
        names = [name for cik in ciks for name in self.of_issuer(cik)]
        if self.members is None:
            return SecFiles({name: self.paths[name] for name in names})
        return SecFiles({}, self.archive, {name: self.members[name] for name in names})

    def __contains__(self, name: str) -> bool:
        return name in self.paths or (self.members is not None and name in self.members)

    def size(self, name: str) -> int:
        """In bytes, as the archive or the folder says; 0 when there is no such file."""
        if name not in self:
            return 0
        try:
            return self.members[name].size if self.members is not None else self.paths[name].stat().st_size
        except OSError:
            return 0

    def of_issuer(self, cik: int) -> list[str]:
        """The issuer's file and the further pages of it, where there are any."""
        return self._by_issuer.get(cik, [])

    @cached_property
    def _by_issuer(self) -> dict[int, list[str]]:
        found: dict[int, list[str]] = {}
        for name in sorted(self.members if self.members is not None else self.paths):
            if matched := _SEC_NAME.fullmatch(name):
                found.setdefault(int(matched[1]), []).append(name)
        return found

    def read(self, name: str) -> bytes:
        """Raises Unreadable when the file is too large, damaged, or cannot be read."""
        try:
            if self.archive is not None and self.members is not None:
                size = self.members[name].size
                content = b"" if size > _MAX_FILE_BYTES else zip_members.read(self.archive, self.members[name])
            else:
                size = self.paths[name].stat().st_size
                content = b"" if size > _MAX_FILE_BYTES else self.paths[name].read_bytes()
        except (zipfile.BadZipFile, OSError, EOFError, NotImplementedError, ValueError) as error:
            raise Unreadable(whole_file(name, b"", "corrupt_file", f"it cannot be read: {error}")) from None
        if size > _MAX_FILE_BYTES:
            raise Unreadable(whole_file(name, b"", "file_too_large", f"{size} bytes; the limit is {_MAX_FILE_BYTES}"))
        return content


def _sec_name(path: Path) -> str:
    """A single file may have any name: the CIK inside decides. Unreadable content keeps the name, and is found out later."""
    if _SEC_NAME.fullmatch(path.name):
        return path.name
    found = re.search(rb'"cik"\s*:\s*"?0*(\d{1,10})', path.read_bytes()[:4096])
    return f"CIK{int(found[1]):010d}.json" if found else path.name
