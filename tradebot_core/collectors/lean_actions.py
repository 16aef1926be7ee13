"""Splits and dividends from LEAN's factor files: factor_files/PERMTICK.csv, rows of day, price factor, split factor, close.

A row's factors hold for bars up to its day, since the row before; the last row's hold to this day. LEAN writes no actions, but
what it makes of them (Common/Data/Auxiliary/CorporateFactorRow.cs), and from one row (p, s, close) to the next (p', s') it is

    split       s' / s        new shares for one old share
    dividend    close x (1 - p / p')    USD a share

with the session after the row's day as ex-date. Factors are kept to 7 or 8 decimals, so both are known to about that: the
dividend is taken to be the shortest decimal, the split the simplest ratio, that the rounding allows. A dividend of the day of a
split is stated by LEAN in old shares and here, as everywhere, in new ones.

LEAN has no other actions: a spin-off is written as a split or dividend of equal value, which a ledger must not take for one.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import ClassVar

import polars as pl

from tradebot_core.calendar import NEW_YORK, TradingCalendar
from tradebot_core.collectors.lean_files import LeanFolder, NamePeriod, Unreadable, day, read_rows
from tradebot_core.config import Settings
from tradebot_core.interfaces import Batch, Rejected
from tradebot_core.model.market import ActionType
from tradebot_core.model.tables import ACTIONS, INSTANT, FactTable

_SCHEMA = pl.Schema({**ACTIONS.columns, "known_at": INSTANT})
_FACTOR_STEP = 1e-7  # price factors are rounded to it
_RATIO_TOLERANCE = 2e-4  # what rounding has made of chains of split factors: twx.csv says 1.99986 for two for one
_NO_CHANGE = 1e-9
_SIMPLE_RATIOS = sorted({Fraction(a, b) for a in range(1, 101) for b in range(1, 101) if min(a, b) <= 5})


class Params(Settings):
    """`path`: LEAN's equity/usa folder."""

    path: Path


@dataclass(frozen=True)
class FactorRow:
    day: date
    price_factor: float
    split_factor: float
    close: float  # raw, of the day; 1 or 0 where LEAN knows none (the first and the last row)


@dataclass(frozen=True)
class Change:
    """What happened between the day of a factor row and the next session."""

    day: date
    type: ActionType
    value: float


class LeanActions:
    table: ClassVar[FactTable] = ACTIONS
    Params: ClassVar[type[Params]] = Params

    def __init__(self, params: Params, calendar: TradingCalendar) -> None:
        self._folder = LeanFolder(params.path)
        self._calendar = calendar

    def collect(self, securities: pl.DataFrame, start: date, end: date) -> Iterator[Batch]:
        """All actions up to `end`, those before `start` too; one batch for each security."""
        files, names = self._folder.files("factor_files", ".csv"), self._folder.names()
        for (security_id,), listings in sorted(securities.partition_by("security_id", as_dict=True).items()):
            last = listings.sort("valid_from").row(-1, named=True)
            ticker = permanent_ticker(names, last["symbol"], last["valid_from"] or date.min, last["valid_to"] or date.max)
            yield self._batch(security_id, last["symbol"], files.get(ticker) if ticker else None, end)

    def _batch(self, security_id: int, symbol: str, file: Path | None, end: date) -> Batch:
        if file is None:
            refusal = Rejected(
                {"symbol": symbol}, "no_file", f"there is no factor file for {symbol}: its actions are not known"
            )
            return Batch(ACTIONS, _SCHEMA.to_frame(), "lean", (refusal,))
        source = f"lean:{file.name}"
        try:
            found, refused = changes(read_factors(file))
        except Unreadable as error:
            return Batch(ACTIONS, _SCHEMA.to_frame(), source, (error.rejected,))
        rows = []
        for change in found:
            if not self._calendar.first <= change.day < self._calendar.last:
                continue
            ex_date = self._calendar.first_after(change.day)
            if ex_date <= end:
                rows.append((security_id, ex_date, str(change.type), change.value, _midnight(ex_date)))
        return Batch(ACTIONS, pl.DataFrame(rows, schema=_SCHEMA, orient="row"), source, refused)


def permanent_ticker(names: Mapping[str, tuple[NamePeriod, ...]], symbol: str, first: date, last: date) -> str | None:
    """The permanent ticker of whoever last had the symbol in the days from `first` to `last`."""
    bearers = [
        (period.last, ticker)
        for ticker, periods in names.items()
        for period in periods
        if period.symbol == symbol.upper() and period.first <= last and period.last >= first
    ]
    return max(bearers)[1] if bearers else None


def read_factors(file: Path) -> list[FactorRow]:
    """Raises Unreadable when a row is not a day and three numbers, factors are not positive, or days do not ascend."""
    rows = []
    for row in read_rows(file):
        try:
            numbers = [float(number) for number in row[1:4]]
            rows.append(FactorRow(day(row[0]), *numbers))
        except (ValueError, TypeError, IndexError):
            raise Unreadable(file, file.read_bytes(), f"{row} is not a day and three numbers") from None
        made = rows[-1]
        if not (0 < made.price_factor <= 1 and 0 < made.split_factor < 1e9 and 0 <= made.close < 1e9):
            raise Unreadable(file, file.read_bytes(), f"{row} has a factor or price that cannot be")
        if len(rows) > 1 and rows[-2].day >= made.day:
            raise Unreadable(file, file.read_bytes(), f"{row} does not follow {rows[-2].day}")
    return rows


def changes(rows: list[FactorRow]) -> tuple[list[Change], list[Rejected]]:
    """The actions between each two rows, and the rows that make none."""
    found: list[Change] = []
    refused: list[Rejected] = []
    for n, (row, after) in enumerate(pairwise(rows)):
        ratio = simple_ratio(after.split_factor / row.split_factor)
        if abs(ratio - 1) > _NO_CHANGE:
            found.append(Change(row.day, ActionType.SPLIT, ratio))
        if abs(row.price_factor - after.price_factor) < _NO_CHANGE:
            continue
        paid = row.close * (1 - row.price_factor / after.price_factor)
        if n == 0 or not paid > 0:
            record = {"day": row.day.isoformat(), "price_factor": row.price_factor, "next_price_factor": after.price_factor}
            why = "the first row has no close" if n == 0 else "the price factor falls, which no dividend does"
            refused.append(Rejected(record, "no_dividend", why))
            continue
        known_to = row.close * _FACTOR_STEP / after.price_factor
        found.append(Change(row.day, ActionType.DIVIDEND, shortest_decimal(paid / ratio, known_to / ratio)))
    return found, refused


def shortest_decimal(value: float, known_to: float) -> float:
    """The value with the fewest decimals within `known_to` of it (at most 6)."""
    for decimals in range(2, 6):
        if abs(rounded := round(value, decimals)) > 0 and abs(rounded - value) <= known_to:
            return rounded
    return round(value, 6)


def simple_ratio(ratio: float) -> float:
    """A ratio of small whole numbers where rounding allows it, else to six digits."""
    nearest = min(_SIMPLE_RATIOS, key=lambda simple: abs(float(simple) / ratio - 1))
    return float(nearest) if abs(float(nearest) / ratio - 1) <= _RATIO_TOLERANCE else float(f"{ratio:.6g}")


def _midnight(on: date) -> datetime:
    """As for actions from files: known when the ex-date begins in New York."""
    return datetime.combine(on, time.min, NEW_YORK).astimezone(UTC)
