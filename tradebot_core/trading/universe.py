"""The universe: which securities may be bought in a session.

A configuration names symbols, and history hangs on securities. A symbol means the security that bore it in its spell of membership
(without dates: that bears it, or bore it last), and that security under every symbol it has ever had: META is Facebook since 2012,
called FB then, and not the company that was called FB before 2003.
"""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import polars as pl

from tradebot_core.errors import ConfigurationError

MEMBERS = pl.Schema({"security_id": pl.Int64, "first": pl.Date, "last": pl.Date})  # a spell of membership, both ends inclusive
_COLUMNS = ["symbol", "from", "to"]


@dataclass(frozen=True, slots=True)
class UniverseEntry:
    """A symbol of the universe from one day to another, inclusive."""

    symbol: str
    first: date = date.min
    last: date = date.max

    @property
    def dated(self) -> bool:
        return (self.first, self.last) != (date.min, date.max)

    def __str__(self) -> str:
        return f"{self.symbol} {self.first} {self.last}" if self.dated else self.symbol


def read_universe(path: Path) -> tuple[UniverseEntry, ...]:
    """One symbol a line; or a CSV with the header symbol,from,to, one spell of membership a line (an empty day is open).

    Raises ConfigurationError naming the line.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"The universe file {path} cannot be read ({error.strerror}).") from None
    lines = [(n, line.strip()) for n, line in enumerate(text.splitlines(), 1) if line.strip() and not line.startswith("#")]
    if not lines or "," not in lines[0][1]:
        return tuple(UniverseEntry(line) for _, line in lines)
    if [name.strip() for name in lines[0][1].split(",")] != _COLUMNS:
        raise ConfigurationError(f"{path}, line {lines[0][0]}: the header of a universe with dates is symbol,from,to.")
    return tuple(_spell(path, number, line) for number, line in lines[1:])


def _spell(path: Path, number: int, line: str) -> UniverseEntry:
    fields = [field.strip() for field in next(csv.reader([line]))]
    try:
        symbol, first, last = fields
        entry = UniverseEntry(
            symbol, date.fromisoformat(first) if first else date.min, date.fromisoformat(last) if last else date.max
        )
    except ValueError:
        raise ConfigurationError(f"{path}, line {number}: {line} is not symbol,from,to with days as YYYY-MM-DD.") from None
    if not symbol or entry.last < entry.first:
        raise ConfigurationError(f"{path}, line {number}: {line} has no symbol, or ends before it begins.")
    return entry


def members_of(entries: Sequence[UniverseEntry], securities: pl.DataFrame) -> pl.DataFrame:
    """Rows of MEMBERS. An entry whose symbol no security ever bore has none (see `unresolved`).

    `securities`: rows of the security master, however much is known of it today. To choose by name is not to know the future: which
    securities a person chose is the person's bias, and coverage says so.
    """
    listed = securities.select(
        "symbol", "security_id", pl.col("valid_from").fill_null(date.min), pl.col("valid_to").fill_null(date.max)
    )
    in_spell = (pl.col("valid_from") <= pl.col("last")) & (pl.col("valid_to") >= pl.col("first"))
    return (
        _named(entries)
        .join(listed, on="symbol")
        .sort("entry", in_spell, "valid_from", "security_id")
        .unique("entry", keep="last")
        .sort("entry")
        .select(MEMBERS.names())
    )


def unresolved(entries: Sequence[UniverseEntry], securities: pl.DataFrame) -> list[UniverseEntry]:
    """The entries whose symbol no security of the master ever bore."""
    known = set(securities["symbol"])
    return [entry for entry in entries if entry.symbol not in known]


def _named(entries: Sequence[UniverseEntry]) -> pl.DataFrame:
    rows = [(n, entry.symbol, entry.first, entry.last) for n, entry in enumerate(entries)]
    schema = {"entry": pl.Int64, "symbol": pl.String, "first": pl.Date, "last": pl.Date}
    return pl.DataFrame(rows, schema=schema, orient="row")


def divided(panel: pl.DataFrame, members: pl.DataFrame | None) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The panel's rows within the universe, and those outside of it; all are within when there are no `members`."""
    if members is None:
        return panel, panel.clear()
    inside = _is_member(panel, members)
    return panel.filter(inside), panel.filter(~inside)


def within(panel: pl.DataFrame, members: pl.DataFrame | None) -> pl.DataFrame:
    """The first of the two alone."""
    return panel if members is None else panel.filter(_is_member(panel, members))


def _is_member(panel: pl.DataFrame, members: pl.DataFrame) -> pl.Series:
    """For each row whether its session is within a spell of its security."""
    rows = panel.select("session", "security_id")
    in_spell = pl.col("session").is_between("first", "last")
    if not members["security_id"].is_duplicated().any():
        of_member = rows.join(members, on="security_id", how="left", maintain_order="left")
        return of_member.select(in_spell.fill_null(False)).to_series()
    numbered = rows.with_row_index("_row").join(members, on="security_id").filter(in_spell)
    return pl.int_range(len(rows), eager=True, dtype=pl.UInt32).is_in(numbered["_row"].unique().implode())
