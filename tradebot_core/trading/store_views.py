"""Views of a store for the look-ahead gate (trading/lookahead.py): the same facts, less of them or later ones made up.

A view keeps the results that are written to it in memory and shows no others, so that nothing which was computed from the whole
store comes back through it; it has no ledger, and no way to the store's own results.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import date, datetime
from typing import Literal

import polars as pl

from tradebot_core.errors import StoreError
from tradebot_core.interfaces import Batch, DataStore, Ledger, Trials
from tradebot_core.model.event import Event, EventType
from tradebot_core.model.keyed_rows import is_last_of
from tradebot_core.model.tables import BARS, FUNDAMENTALS, FactTable, ResultTable
from tradebot_core.quant.reporting import needed_since

_PRICES = ("open", "high", "low", "close")
_WORDS = ("name", "industry", "category", "company_name", "accession", "provenance")  # of a fact, what may be any other text
_STEPS = 10_007  # of the noise; a prime
Move = Literal["any", "down", "up"]


class StoreView:
    """The facts of a store as they are, with results of its own."""

    def __init__(self, store: DataStore) -> None:
        self._store = store
        self._results: dict[tuple[str, str, str, str], dict[date, tuple[str, pl.DataFrame]]] = {}

    # Facts

    def append(self, batch: Batch, ingested_at: datetime) -> int:
        raise StoreError(f"A view of the store takes no facts ({batch.table.name}).")

    def read(
        self,
        table: FactTable,
        *,
        as_of: datetime,
        start: date | None = None,
        end: date | None = None,
        ciks: Collection[int] | None = None,
    ) -> pl.DataFrame:
        versions = self.read_versions(table, as_of=as_of, start=start, end=end, ciks=ciks)
        return versions.sort(*table.key, "known_at", "ingested_at").filter(is_last_of(table.key))

    def read_versions(
        self,
        table: FactTable,
        *,
        as_of: datetime,
        start: date | None = None,
        end: date | None = None,
        ciks: Collection[int] | None = None,
        without: Sequence[str] = (),
    ) -> pl.DataFrame:
        return self._store.read_versions(table, as_of=as_of, start=start, end=end, ciks=ciks, without=without)

    def newest(self, table: FactTable, *, as_of: datetime, also: Sequence[str] = ()) -> pl.DataFrame:
        versions = self.read_versions(table, as_of=as_of).sort("known_at", "ingested_at")
        latest = [pl.col("known_at").max(), pl.col("ingested_at").max(), *(pl.col(name).last() for name in also)]
        return versions.drop_nulls("cik").group_by("cik").agg(latest).sort("cik")

    def quarantined(self) -> pl.DataFrame:
        """What was refused is not seen."""
        return self._store.quarantined().clear()

    def absent(self, table: FactTable) -> pl.DataFrame:
        return self._store.absent(table).clear()

    def events(self, start: date, end: date, types: Sequence[EventType]) -> Iterator[Event]:
        raise StoreError("A view of the store has tables and no events.")

    def data_version(self) -> str:
        raise StoreError("A view of the store has no version of its own.")

    @property
    def trials(self) -> Trials:
        raise StoreError("A view of the store has no trials: what the gate runs is none.")

    def copy_results(self, table: ResultTable, layer: str, book: str, giver: str, taker: str) -> None:
        raise StoreError("A view of the store copies no results.")

    # Results

    def write_results(
        self,
        table: ResultTable,
        strategy: str,
        book: str,
        sessions: Sequence[date],
        rows: pl.DataFrame,
        layer: str = "",
        made_by: str = "",
    ) -> None:
        kept = self._results.setdefault((table.name, strategy, book, layer), {})
        for session in sessions:
            kept[session] = made_by, rows.filter(pl.col("session") == session)

    def forget_results(self, table: ResultTable, strategy: str, book: str, sessions: Sequence[date], layer: str = "") -> None:
        kept = self._results.get((table.name, strategy, book, layer), {})
        for session in sessions:
            kept.pop(session, None)

    def read_results(
        self,
        table: ResultTable,
        strategy: str,
        book: str,
        start: date | None = None,
        end: date | None = None,
        layer: str = "",
    ) -> pl.DataFrame:
        kept = self._results.get((table.name, strategy, book, layer), {})
        frames = [kept[on][1] for on in sorted(kept) if (start is None or on >= start) and (end is None or on <= end)]
        if not frames:
            return pl.DataFrame(schema=table.schema)
        return pl.concat(frames, how="diagonal_relaxed" if table.open_columns else "vertical")

    def result_sessions(self, table: ResultTable, strategy: str, book: str, layer: str = "") -> Sequence[date]:
        return sorted(self._results.get((table.name, strategy, book, layer), {}))

    def result_makers(self, table: ResultTable, strategy: str, book: str, layer: str = "") -> Mapping[date, str]:
        return {on: made_by for on, (made_by, _) in self._results.get((table.name, strategy, book, layer), {}).items()}

    def writing(self, strategy: str, book: str) -> AbstractContextManager[None]:
        return nullcontext()  # nobody else knows the view

    @property
    def ledger(self) -> Ledger:
        raise StoreError("A view of the store has no ledger: what the live sleeves did is nothing that a backtest may see.")


class KeptStore(StoreView):
    """Reads each table once, as it was known at `until`, and answers from memory: for many questions about some sessions.

    Of figures it keeps those that decisions from `session` on look at, of bars those from `first_bar` to `last_bar`; what it is asked
    beyond that, it asks the store.
    """

    def __init__(self, store: DataStore, until: datetime) -> None:
        super().__init__(store)
        self._until = until
        self._whole: dict[tuple[str, tuple[str, ...]], pl.DataFrame] = {}
        self._kept: dict[tuple[str, tuple[str, ...]], pl.DataFrame] = {}
        self._bars: tuple[date, date, datetime, pl.DataFrame] | None = None
        self._looks_from: datetime | None = None

    def look_at(self, first_bar: date, last_bar: date, cutoff: datetime, until: datetime) -> None:
        """From now on questions are about what was known at `cutoff` and later: bars from the first to the last as known at `until`,
        and of each issuer the figures that a panel compares."""
        bars = self._store.read_versions(BARS, as_of=until, start=first_bar, end=last_bar)
        self._bars = first_bar, last_bar, until, bars
        self._looks_from = cutoff
        self._kept.clear()

    def read_versions(
        self,
        table: FactTable,
        *,
        as_of: datetime,
        start: date | None = None,
        end: date | None = None,
        ciks: Collection[int] | None = None,
        without: Sequence[str] = (),
    ) -> pl.DataFrame:
        known = pl.col("known_at") <= as_of
        if table is BARS and self._bars is not None and start is not None and end is not None:
            first, last, until, bars = self._bars
            if first <= start and end <= last and as_of <= until:
                return bars.filter(known & pl.col("session").is_between(start, end))
        dated = "session" in table.columns
        bounded = start is not None or (end is not None and not dated)
        if table is BARS or bounded or ciks is not None or as_of > self._until:
            return self._store.read_versions(table, as_of=as_of, start=start, end=end, ciks=ciks, without=without)
        rows = self._needed(table, tuple(sorted(without)), as_of)
        return rows.filter(known if end is None else known & (pl.col("session") <= end))

    def whole(self, table: FactTable, without: Sequence[str] = ()) -> pl.DataFrame:
        """All that was known at `until`. What was read already with more columns is given with them."""
        for (name, left_out), rows in self._whole.items():
            if name == table.name and set(left_out) <= set(without):
                return rows
        rows = self._whole[table.name, tuple(sorted(without))] = self._store.read_versions(
            table, as_of=self._until, without=without
        )
        return rows

    def _needed(self, table: FactTable, without: tuple[str, ...], as_of: datetime) -> pl.DataFrame:
        whole = self.whole(table, without)
        if table is not FUNDAMENTALS or self._looks_from is None or as_of < self._looks_from:
            return whole
        key = table.name, without
        if key not in self._kept:
            since = needed_since(whole, self._looks_from)
            rows = whole.select("cik", "known_at").join(since, on="cik", how="left", maintain_order="left")
            needed = rows.select(pl.col("known_at") >= pl.col("since").fill_null(self._looks_from)).to_series()
            self._kept[key] = whole.filter(needed)
        return self._kept[key]


class CutStore(StoreView):
    """Of every table the rows with known_at <= `cutoff`, whenever they were ingested, and no bar of a session after `session`."""

    def __init__(self, store: DataStore, session: date, cutoff: datetime) -> None:
        super().__init__(store)
        self._session = session
        self._cutoff = cutoff

    def read_versions(
        self,
        table: FactTable,
        *,
        as_of: datetime,
        start: date | None = None,
        end: date | None = None,
        ciks: Collection[int] | None = None,
        without: Sequence[str] = (),
    ) -> pl.DataFrame:
        until = min(as_of, self._cutoff)
        rows = super().read_versions(table, as_of=until, start=start, end=end, ciks=ciks, without=without)
        known = pl.col("known_at") <= until  # whatever the store below gave
        return rows.filter(known & (pl.col("session") <= self._session) if table is BARS else known)


class NoisyStore(StoreView):
    """The whole store, in which whatever became known after `cutoff` is noise: rows of the same keys and times with other numbers
    and names. The same seed gives the same noise.

    Numbers are 0.4 to 0.75 or 1.3 to 2.5 times what they were, so that none stays what it is and signs stay: a layer that can
    read the one can read the other. The prices of a bar move together, all of them in one direction if wanted (`prices`), and
    nothing that is missing appears.
    """

    def __init__(self, store: DataStore, cutoff: datetime, seed: int = 0, prices: Move = "any") -> None:
        super().__init__(store)
        self._cutoff = cutoff
        self._seed = seed
        self._prices: Move = prices

    def read_versions(
        self,
        table: FactTable,
        *,
        as_of: datetime,
        start: date | None = None,
        end: date | None = None,
        ciks: Collection[int] | None = None,
        without: Sequence[str] = (),
    ) -> pl.DataFrame:
        rows = super().read_versions(table, as_of=as_of, start=start, end=end, ciks=ciks, without=without)
        numbered = rows.with_row_index("_row")
        later = numbered.filter(pl.col("known_at") > self._cutoff)
        if later.is_empty():
            return rows
        known = numbered.filter(pl.col("known_at") <= self._cutoff)
        return pl.concat([known, self._noise(table, later)]).sort("_row").drop("_row")

    def _noise(self, table: FactTable, rows: pl.DataFrame) -> pl.DataFrame:
        numbers = [name for name, kind in table.schema.items() if kind == pl.Float64]
        words = [name for name in _WORDS if name in table.schema]
        chance = pl.struct(*dict.fromkeys([*table.key, "known_at"])).hash(self._seed)
        return (
            rows.with_columns(_chance=chance)
            .with_columns(
                *(_times(name, 0, self._prices) if name in _PRICES else _times(name, 1 + n) for n, name in enumerate(numbers)),
                *(pl.when(pl.col(name).is_not_null()).then(pl.lit("noise")).alias(name) for name in words),
            )
            .drop("_chance")
        )


def _times(name: str, number: int, move: Move = "any") -> pl.Expr:
    """The column times a factor that differs by row and `number`."""
    u = (pl.col("_chance") % _STEPS + number * 1009).cast(pl.Float64) % _STEPS / _STEPS
    down, up = 0.4 + 0.35 * u, 1.3 + 1.2 * u
    return pl.col(name) * (down if move == "down" else up if move == "up" else pl.when(u < 0.5).then(down).otherwise(up))
