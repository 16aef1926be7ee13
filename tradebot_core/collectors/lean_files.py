"""The folder that LEAN (QuantConnect) calls equity/usa: daily/, factor_files/ and map_files/, one file for each security.

Formats: LEAN, Data/equity/readme.md. A map file is named after the permanent ticker (the last symbol, with .1, .2 ... when a
symbol was used again); its first row is the first day, every other row the last day of a symbol:

    20040819,goog,Q      GOOGL from 2004-08-19 ...
    20140402,goog,Q      ... was GOOG until 2014-04-02
    20501231,googl,Q     and is GOOGL since
"""

import csv
import io
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from hashlib import sha256
from itertools import pairwise
from pathlib import Path

from tradebot_core.errors import CorruptInput, DataError
from tradebot_core.interfaces import Rejected

_MAX_BYTES = 1 << 26  # a century of daily bars is below 2 MB
Row = list[str]


class Unreadable(Exception):
    """A file that is refused as a whole."""

    def __init__(self, file: Path, content: bytes, reason: str) -> None:
        super().__init__(reason)
        record = {"file": file.name, "sha256": sha256(content).hexdigest(), "bytes": len(content)}
        self.rejected = Rejected(record, "unreadable_file", reason)


@dataclass(frozen=True)
class NamePeriod:
    """A symbol (in capitals) and the days on which it was the security's, both inclusive."""

    symbol: str
    first: date
    last: date


@dataclass(frozen=True)
class LeanFolder:
    path: Path

    def files(self, kind: str, suffix: str) -> Mapping[str, Path]:
        """By permanent ticker or symbol, in lower case. Raises DataError when the folder is not there."""
        folder = self.path / kind
        if not folder.is_dir():
            raise DataError(
                f"{folder} is not a folder.",
                "params.path is LEAN's equity/usa folder, which holds daily, factor_files, map_files.",
            )
        return {file.name.removesuffix(suffix): file for file in sorted(folder.glob(f"*{suffix}"))}

    def names(self) -> dict[str, tuple[NamePeriod, ...]]:
        """By permanent ticker, the symbols of every map file. Raises CorruptInput: without names nothing can be told apart."""
        found = {}
        for ticker, file in self.files("map_files", ".csv").items():
            try:
                rows = [(day(row[0]), row[1].upper()) for row in read_rows(file)]
            except (Unreadable, ValueError, IndexError) as error:
                raise CorruptInput(f"{file} cannot be read: {error}", "Its rows are YYYYMMDD,symbol[,exchange].") from None
            found[ticker] = tuple(_periods(rows))
        return found


def _periods(rows: list[tuple[date, str]]) -> Iterator[NamePeriod]:
    for (before, _), (last, symbol) in pairwise(rows):
        first = before if before == rows[0][0] else before + timedelta(1)
        if last >= first:
            yield NamePeriod(symbol, first, last)


def read_rows(file: Path) -> list[Row]:
    """The rows of a CSV file. Raises Unreadable."""
    return _rows(file, file.read_bytes())


def read_zipped_rows(file: Path) -> list[Row]:
    """The rows of the only CSV file in a zip. Raises Unreadable."""
    content = file.read_bytes()
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            (member,) = archive.infolist()
            with archive.open(member) as stream:
                text = stream.read(_MAX_BYTES + 1)
    except ValueError:
        raise Unreadable(file, content, "the zip does not hold exactly one file") from None
    except (zipfile.BadZipFile, zipfile.LargeZipFile, EOFError, OSError, NotImplementedError, RuntimeError) as error:
        raise Unreadable(file, content, f"not a readable zip: {error}") from None
    if len(text) > _MAX_BYTES:
        raise Unreadable(file, content, f"the file in the zip is larger than {_MAX_BYTES} bytes")
    return _rows(file, text)


def _rows(file: Path, content: bytes) -> list[Row]:
    try:
        return [row for row in csv.reader(io.StringIO(content.decode("ascii"))) if row]
    except (UnicodeDecodeError, csv.Error) as error:
        raise Unreadable(file, content, f"not a CSV file: {error}") from None


def day(written: str) -> date:
    """Raises ValueError when it is not a day."""
    return datetime.strptime(written.strip(), "%Y%m%d").date()  # noqa: DTZ007  a day has no zone
