"""The candidates of a session as a sequence that makes one when it is looked at: a decision reads the best of thousands."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from math import isnan
from typing import Any, overload

import numpy as np
import polars as pl

from tradebot_core.model.decision import Candidate
from tradebot_core.model.tables import VERDICT_COLUMNS

_PLAIN = ("session", "security_id", "symbol", *VERDICT_COLUMNS)


class Features(Mapping[str, Any]):
    """The columns of one row that are features; null as None."""

    __slots__ = ("_columns", "_row")

    def __init__(self, columns: Mapping[str, Callable[[int], Any]], row: int) -> None:
        self._columns, self._row = columns, row

    def __getitem__(self, name: str) -> Any:
        return self._columns[name](self._row)

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __len__(self) -> int:
        return len(self._columns)

    def __repr__(self) -> str:
        return repr(dict(self))


def readable(column: pl.Series) -> Callable[[int], Any]:
    """The value in a row: what column[row] is, in a fifth of the time where it is a number (finite, as a layer's are, or null)."""
    if column.dtype != pl.Float64:
        return column.__getitem__
    values = column.to_numpy()  # null as NaN

    def read(row: int) -> float | None:
        value = float(values[row])
        return None if isnan(value) else value

    return read


class FeatureTable:
    """The rows of a layer, sorted by session and security."""

    def __init__(self, rows: pl.DataFrame) -> None:
        self.security_ids = rows["security_id"].to_numpy()
        self.passed = rows["passed"].to_numpy()
        self.symbols = rows["symbol"]
        self.rank = rows["rank"].cast(pl.Float64).to_numpy() if "rank" in rows.columns else None
        self.columns = {name: readable(rows[name]) for name in rows.columns if name not in _PLAIN}

    def candidates(self, start: int, stop: int, price_of: Callable[[int], float]) -> "Candidates":
        """Those that passed of the rows of one session, by rank where there is one, else by symbol."""
        passed = start + np.flatnonzero(self.passed[start:stop])
        if self.rank is not None:
            order = np.argsort(self.rank[passed], kind="stable")  # NaN comes last, and ties stay in order of the security
        else:
            order = self.symbols.gather(passed).arg_sort(nulls_last=True).to_numpy()
        return Candidates(self, passed, passed[order], price_of)


class Candidates(Sequence[Candidate]):
    """`by_security` finds one without making the others."""

    def __init__(self, table: FeatureTable, by_id: np.ndarray, ordered: np.ndarray, price_of: Callable[[int], float]) -> None:
        self._table, self._ordered, self._price_of = table, ordered, price_of
        self._by_id = by_id
        self.security_ids = table.security_ids[by_id]  # ascending
        self._made: dict[int, Candidate] = {}

    def __len__(self) -> int:
        return len(self._ordered)

    @overload
    def __getitem__(self, place: int) -> Candidate: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[Candidate]: ...
    def __getitem__(self, place: int | slice) -> Candidate | Sequence[Candidate]:
        if isinstance(place, slice):
            return [self._of_row(int(row)) for row in self._ordered[place]]
        return self._of_row(int(self._ordered[place]))

    def __iter__(self) -> Iterator[Candidate]:
        return map(self._of_row, self._ordered.tolist())

    def __contains__(self, value: object) -> bool:
        return isinstance(value, Candidate) and self.find(value.security_id) == value

    def find(self, security_id: int) -> Candidate | None:
        place = int(self.security_ids.searchsorted(security_id))
        if place == len(self.security_ids) or self.security_ids[place] != security_id:
            return None
        return self._of_row(int(self._by_id[place]))

    def _of_row(self, row: int) -> Candidate:
        found = self._made.get(row)
        if found is None:
            security = int(self._table.security_ids[row])
            found = Candidate(security, self._table.symbols[row], self._price_of(security), Features(self._table.columns, row))
            self._made[row] = found
        return found


def finder(candidates: Sequence[Candidate]) -> Callable[[int], Candidate | None]:
    """Finds a candidate by its security."""
    if isinstance(candidates, Candidates):
        return candidates.find
    return {candidate.security_id: candidate for candidate in candidates}.get


def security_ids(candidates: Sequence[Candidate]) -> np.ndarray:
    """Of all candidates, ascending."""
    if isinstance(candidates, Candidates):
        return candidates.security_ids
    return np.array(sorted(candidate.security_id for candidate in candidates), np.int64)
