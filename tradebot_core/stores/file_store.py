"""The store in files: Parquet files by year or by issuers, and SQLite for the ledger.

facts/<table>/<year>.parquet                        append-only versions of what happens in sessions
facts/<table>/<first cik>.parquet                   append-only versions of what companies report, by group of issuers
results/<strategy>/<book>/<table>/<year>.parquet    rows of sessions, replaced session by session
results/<strategy>/<book>/<table>/sessions.json     the sessions that were written, with rows or without, and what made them
trials.sqlite                                       every backtest ever completed
quarantine.parquet · ledger.sqlite (and ledger.sqlite.made: there is one) · HALT (trading is halted while it is there)
"""

import hashlib
import heapq
import json
import os
from collections.abc import Collection, Iterator, Mapping, Sequence, Set
from contextlib import AbstractContextManager
from datetime import date, datetime
from functools import cached_property, lru_cache
from itertools import groupby
from pathlib import Path
from types import MappingProxyType

import polars as pl

from tradebot_core.calendar import TradingCalendar
from tradebot_core.errors import ConfigurationError, StoreError
from tradebot_core.interfaces import Batch, Ledger, Rejected, Trials
from tradebot_core.model.event import Event, EventType
from tradebot_core.model.issuers import first_cik
from tradebot_core.model.keyed_rows import in_order, is_last_of, joined_in_order, merged, once_each, parts
from tradebot_core.model.market import SessionClose
from tradebot_core.model.tables import (
    ABSENT_COLUMNS,
    ACTIONS,
    BARS,
    FACTS,
    FUNDAMENTALS,
    INSTANT,
    QUARANTINE_COLUMNS,
    SECURITIES,
    FactTable,
    ResultTable,
)
from tradebot_core.stores import parquet_files
from tradebot_core.stores.events import event_of
from tradebot_core.stores.file_migrations import migrate
from tradebot_core.stores.issuer_files import BY_ISSUER, file_name, require_issuers
from tradebot_core.stores.sqlite_ledger import SqliteLedger
from tradebot_core.stores.trial_file import TrialFile

SCHEMA_VERSION = 2

# The file of a row. A revision must land in its key's file, so it may not move with known_at.
_FILE_OF: dict[str, pl.Expr] = {
    BARS.name: pl.col("session").dt.year(),
    ACTIONS.name: pl.col("session").dt.year(),
    SECURITIES.name: pl.lit(0),
    FACTS.name: first_cik(pl.col("cik")),
    FUNDAMENTALS.name: first_cik(pl.col("cik")),
}
_EVENT_TABLES = {
    EventType.SECURITY: SECURITIES,
    EventType.CORPORATE_ACTION: ACTIONS,
    EventType.FUNDAMENTALS: FUNDAMENTALS,
    EventType.PRICE_BAR: BARS,
}
_EVENT_ORDER = {kind: n for n, kind in enumerate(EventType)}


class FileStore:
    """See interfaces.DataStore. `fictional` stores and real ones refuse each other's data."""

    def __init__(self, path: Path, calendar: TradingCalendar, fictional: bool = False) -> None:
        self._path = path
        self._calendar = calendar
        self._check_version()
        self._check_kind("the sample market" if fictional else "real markets")

    @cached_property
    def ledger(self) -> Ledger:
        return SqliteLedger(self._path / "ledger.sqlite")

    # Facts

    def append(self, batch: Batch, ingested_at: datetime) -> int:
        added = self._append(batch, ingested_at)
        self._remember_absent(batch)  # last: what is remembered is not asked for again
        return added

    def _append(self, batch: Batch, ingested_at: datetime) -> int:
        table = batch.table
        self._quarantine(batch, batch.rejected, ingested_at)
        stamped = batch.rows.with_columns(
            pl.lit(batch.source).alias("source"), pl.lit(ingested_at).cast(INSTANT).alias("ingested_at")
        )
        fresh = in_order(stamped.select(table.schema.names()).cast(dict(table.schema)), table.key)
        numbers = [c for c, kind in table.columns.items() if kind == pl.Float64]
        finite = pl.all_horizontal(pl.lit(True), *(pl.col(c).is_finite().fill_null(True) for c in numbers))
        strange = fresh.filter(~finite)
        if not strange.is_empty():
            reason = "a number is not finite; what is missing is null"
            self._quarantine(batch, [Rejected(row, "not_finite", reason) for row in strange.iter_rows(named=True)], ingested_at)
            fresh = fresh.filter(finite)
        fresh, doubled = once_each(fresh, table.key)
        if not doubled.is_empty():
            reason = "several rows of one key in one delivery; none can be chosen"
            refused = [Rejected(row, "conflicting_duplicate", reason) for row in doubled.iter_rows(named=True)]
            self._quarantine(batch, refused, ingested_at)
        if fresh.is_empty():
            return 0
        folder = self._path / "facts" / table.name
        added = 0
        with parquet_files.exclusive(folder):
            for file, rows in parts(fresh, _FILE_OF[table.name]):
                added += self._append_to(folder / f"{file_name(table, file)}.parquet", table, rows)
        return added

    def _append_to(self, path: Path, table: FactTable, rows: pl.DataFrame) -> int:
        """`rows` are in order of the key, each key once; so are the stored ones, with their versions in order of time."""
        if not path.exists():
            parquet_files.write(rows, path)
            return len(rows)
        stored = parquet_files.read_as(path, table.schema)
        by_key = list(table.key)
        latest = stored.filter(is_last_of(by_key))
        same = [*by_key, *(c for c in table.content if c not in by_key)]
        if rows.select(same).equals(latest.select(same)):
            return 0
        news = rows.join(latest.select(same), on=same, how="anti", nulls_equal=True)
        if news.is_empty():
            return 0
        if "known_at" not in by_key:  # nobody could act on a correction before we had it
            keys = latest.select(by_key).with_columns(_revises=True)
            news = news.join(keys, on=by_key, how="left", nulls_equal=True).with_columns(
                known_at=pl.when("_revises").then(pl.max_horizontal("known_at", "ingested_at")).otherwise("known_at")
            )
            news = news.drop("_revises")
        parquet_files.write(merged(stored, news, [*by_key, "known_at", "ingested_at"]), path)
        return len(news)

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
        return versions.filter(is_last_of(table.key))

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
        dated = "session" in table.columns
        on = pl.col("session") if dated else pl.col("known_at").dt.convert_time_zone("America/New_York").dt.date()
        wanted = pl.col("known_at") <= as_of
        if start is not None:
            wanted &= on >= start
        if end is not None:
            wanted &= on <= end
        if ciks is not None:
            require_issuers(table)
            wanted &= pl.col("cik").is_in(pl.Series(sorted(set(ciks)), dtype=pl.Int64).implode())
        columns = [column for column in table.schema if column not in without]
        # What is filtered by has to be read, wanted or not.
        read = [
            c for c in table.schema if c in columns or c in wanted.meta.root_names() or c in table.key or c == "ingested_at"
        ]
        frames = []
        for path in self._files(table, ciks):
            year = int(path.stem)
            if dated and ((start is not None and year < start.year) or (end is not None and year > end.year)):
                continue
            frames.append(parquet_files.read_as(path, table.schema, read).filter(wanted))
        rows = pl.concat(frames) if frames else pl.DataFrame(schema={c: table.schema[c] for c in read})
        if table.name not in BY_ISSUER:  # whose files, in order of their names, hold the order of the key
            rows = joined_in_order(rows, [*table.key, "known_at", "ingested_at"])
        nothing = [pl.lit(None, table.schema[column]).alias(column) for column in without]
        return rows.with_columns(nothing).select(table.schema.names())

    def newest(self, table: FactTable, *, as_of: datetime, also: Sequence[str] = ()) -> pl.DataFrame:
        require_issuers(table)
        columns = ["cik", "known_at", "ingested_at", *also]
        empty = pl.DataFrame(schema={column: table.schema[column] for column in columns})
        frames = [empty]
        for path in self._files(table, None):
            known = parquet_files.read(path, columns).filter(pl.col("known_at") <= as_of)
            frames.append(
                known.sort("known_at", "ingested_at")
                .group_by("cik")
                .agg(pl.col("known_at").max(), pl.col("ingested_at").max(), *(pl.col(name).last() for name in also))
            )
        return pl.concat(frames).drop_nulls("cik").sort("cik")  # an issuer is in one file

    def _files(self, table: FactTable, ciks: Collection[int] | None) -> list[Path]:
        folder = self._path / "facts" / table.name
        if ciks is None or table.name not in BY_ISSUER:
            return sorted(folder.glob("*.parquet"))
        names = [file_name(table, group) for group in sorted({first_cik(cik) for cik in ciks})]
        return [path for name in names if (path := folder / f"{name}.parquet").exists()]

    # Quarantine

    def quarantined(self) -> pl.DataFrame:
        path = self._path / "quarantine.parquet"
        return parquet_files.read(path) if path.exists() else pl.DataFrame(schema=QUARANTINE_COLUMNS)

    def _quarantine(self, batch: Batch, rejected: Sequence[Rejected], at: datetime) -> None:
        if not rejected:
            return
        rows = []
        for item in rejected:
            record = json.dumps(item.record, sort_keys=True, default=str)
            digest = hashlib.sha256(record.encode()).hexdigest()
            rows.append((batch.table.name, batch.source, record, item.rule, item.reason, digest, at))
        fresh = pl.DataFrame(rows, schema=QUARANTINE_COLUMNS, orient="row").unique(["source", "sha256"], maintain_order=True)
        with parquet_files.exclusive(self._path):
            stored = self.quarantined()
            news = fresh.join(stored, on=["source", "sha256"], how="anti")
            if not news.is_empty():
                parquet_files.write(pl.concat([stored, news]), self._path / "quarantine.parquet")

    # What sources do not have

    def absent(self, table: FactTable) -> pl.DataFrame:
        path = self._path / "absent.parquet"
        known = parquet_files.read(path) if path.exists() else pl.DataFrame(schema=ABSENT_COLUMNS)
        return known.filter(pl.col("table") == table.name)

    def _remember_absent(self, batch: Batch) -> None:
        if not batch.absent:
            return
        rows = [(batch.table.name, batch.source, gap.security_id, gap.start, gap.end) for gap in batch.absent]
        fresh = pl.DataFrame(rows, schema=ABSENT_COLUMNS, orient="row")
        path = self._path / "absent.parquet"
        with parquet_files.exclusive(self._path):
            known = parquet_files.read(path) if path.exists() else fresh.clear()
            parquet_files.write(pl.concat([known, fresh]).unique(maintain_order=True), path)

    # Events

    def events(self, start: date, end: date, types: Sequence[EventType]) -> Iterator[Event]:
        streams = [self._stored_events(kind, start, end) for kind in types if kind in _EVENT_TABLES]
        if EventType.SESSION_CLOSE in types:
            streams.append(self._session_closes(start, end))
        return heapq.merge(*streams, key=_moment)

    def _stored_events(self, kind: EventType, start: date, end: date) -> Iterator[Event]:
        table, until = _EVENT_TABLES[kind], self._calendar.cutoff(end)
        names = self.read(SECURITIES, as_of=until)
        by_id = dict(zip(names["security_id"], names["symbol"], strict=True))
        unused = ("provenance",) if table is FUNDAMENTALS else ()
        rows = self.read_versions(table, as_of=until, start=start, end=end, without=unused)
        events = [event_of(kind, row, by_id) for row in rows.iter_rows(named=True)]
        return iter(sorted(events, key=_moment))

    def _session_closes(self, start: date, end: date) -> Iterator[Event]:
        for session in self._calendar.sessions(start, end):
            at = self._calendar.cutoff(session)
            yield Event(EventType.SESSION_CLOSE, "", at, at, "calendar", SessionClose(session))

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
        folder = self._results(table, strategy, book, layer)
        strange = set(rows["session"].unique()) - set(sessions)
        if strange:
            raise StoreError(f"Rows of {sorted(map(str, strange))} do not belong to the sessions being written to {folder}.")
        with parquet_files.exclusive(folder):
            years = sorted({session.year for session in sessions})
            written = _written_in(folder / "sessions.json")
            kept = _by_year(written.keys() - set(sessions))
            gone: set[date] = set()
            for year in years:
                path = folder / f"{year}.parquet"
                fresh = rows.filter(pl.col("session").dt.year() == year) if len(years) > 1 else rows
                if year in kept and path.exists():
                    old = _only(path, kept[year])
                    fresh = pl.concat([old, fresh], how="diagonal_relaxed" if table.open_columns else "vertical")
                else:  # a file that was deleted takes its sessions with it
                    gone |= {*kept.get(year, ())}
                parquet_files.write(in_order(fresh, ["session", *table.key]), path)
            there = {session: by for session, by in written.items() if session not in gone}
            self._set_sessions(folder, there | dict.fromkeys(sessions, made_by))

    def read_results(
        self,
        table: ResultTable,
        strategy: str,
        book: str,
        start: date | None = None,
        end: date | None = None,
        layer: str = "",
    ) -> pl.DataFrame:
        folder = self._results(table, strategy, book, layer)
        written = [
            session
            for session in self.result_sessions(table, strategy, book, layer)
            if (start is None or session >= start) and (end is None or session <= end)
        ]
        frames = []
        for year, sessions in groupby(written, lambda session: session.year):
            frames.append(_only(folder / f"{year}.parquet", list(sessions)))
        if not frames:
            return pl.DataFrame(schema=table.schema)
        return pl.concat(frames, how="diagonal_relaxed" if table.open_columns else "vertical")

    def result_sessions(self, table: ResultTable, strategy: str, book: str, layer: str = "") -> Sequence[date]:
        return list(self.result_makers(table, strategy, book, layer))

    def result_makers(self, table: ResultTable, strategy: str, book: str, layer: str = "") -> Mapping[date, str]:
        return _written_in(self._results(table, strategy, book, layer) / "sessions.json")

    def forget_results(self, table: ResultTable, strategy: str, book: str, sessions: Sequence[date], layer: str = "") -> None:
        folder = self._results(table, strategy, book, layer)
        with parquet_files.exclusive(folder):
            written, gone = _written_in(folder / "sessions.json"), set(sessions)
            kept = {session: by for session, by in written.items() if session not in gone}
            # The rows stay where they are: nobody is shown them, and the next write leaves them out.
            self._set_sessions(folder, kept)

    def writing(self, strategy: str, book: str) -> AbstractContextManager[None]:
        return parquet_files.exclusive(self._path / "results" / strategy / book)

    def copy_results(self, table: ResultTable, layer: str, book: str, giver: str, taker: str) -> None:
        source, target = self._results(table, giver, book, layer), self._results(table, taker, book, layer)
        if source == target:
            return
        first, second = sorted((source, target))  # two who copy there and back would wait for each other
        with parquet_files.exclusive(first), parquet_files.exclusive(second):
            for old in target.glob("*.parquet"):
                old.unlink()
            for file in sorted(source.glob("*.parquet")):
                parquet_files.link(file, target / file.name)
            (target / "sessions.json").unlink(missing_ok=True)
            self._set_sessions(target, _written_in(source / "sessions.json"))

    def data_version(self) -> str:
        digest = hashlib.sha256()
        for path in sorted((self._path / "facts").rglob("*.parquet")):
            digest.update(f"{path.relative_to(self._path)} {parquet_files.checksum_of(path)}\n".encode())
        return digest.hexdigest()[:16]

    @cached_property
    def trials(self) -> Trials:
        return TrialFile(self._path / "trials.sqlite")

    def _set_sessions(self, folder: Path, written: Mapping[date, str]) -> None:
        """A list of sessions, as it was before there were marks; where there are any, sessions by mark."""
        path = folder / "sessions.json"
        fresh = path.with_suffix(".new")
        by_mark: dict[str, list[str]] = {}
        for session in sorted(written):
            by_mark.setdefault(written[session], []).append(session.isoformat())
        fresh.write_text(json.dumps(by_mark if by_mark.keys() - {""} else by_mark.get("", [])))
        fresh.replace(path)

    def _results(self, table: ResultTable, strategy: str, book: str, layer: str) -> Path:
        return self._path / "results" / strategy / book / (f"{table.name}.{layer}" if layer else table.name)

    def _check_kind(self, kind: str) -> None:
        path = self._path / "holds"
        with parquet_files.storage_errors(self._path):
            found = _written_once(path, kind)
        if found != kind:
            raise ConfigurationError(
                f"The store {self._path} holds {found}, the configuration speaks of {kind}.",
                "Give each its own data_store.path: fiction and money must not mix.",
            )

    def _check_version(self) -> None:
        path = self._path / "schema_version"
        with parquet_files.storage_errors(self._path):
            self._path.mkdir(parents=True, exist_ok=True)
            written = _written_once(path, str(SCHEMA_VERSION))
        if not written.strip().isdigit():
            raise StoreError(f"{path} does not hold a version number ({written!r}).", f"Write {SCHEMA_VERSION} into it.")
        found = int(written)
        if found > SCHEMA_VERSION:
            raise StoreError(
                f"The store {self._path} was written by a newer version (schema {found}, this one knows {SCHEMA_VERSION}).",
                "Install the newer version, or point data_store.path at another folder.",
            )
        if found < SCHEMA_VERSION:
            migrate(self._path, SCHEMA_VERSION)


def _by_year(sessions: Set[date]) -> dict[int, list[date]]:
    return {year: list(of_year) for year, of_year in groupby(sorted(sessions), key=lambda session: session.year)}


def _only(path: Path, sessions: Sequence[date]) -> pl.DataFrame:
    """The rows of these sessions. Others may be there, of a write that broke off before it came to be known."""
    rows = _read_result(path, pl.col("session").is_between(sessions[0], sessions[-1]))
    there = set(rows["session"].rle().struct.field("value"))  # they come in order: few comparisons instead of one for each row
    return rows if there <= {*sessions} else rows.filter(pl.col("session").is_in(pl.Series(sessions, dtype=pl.Date).implode()))


def _read_result(path: Path, wanted: pl.Expr) -> pl.DataFrame:
    if not path.exists():
        raise StoreError(f"{path} is gone, though its sessions were written.", "Materialize them again, or restore it.")
    return parquet_files.read(path, where=wanted)


def _written_once(path: Path, text: str) -> str:
    """What the file holds; `text` where there was none. Whole, whoever else opens the store at this moment."""
    if not path.exists():
        fresh = path.with_name(f"{path.name}.{os.getpid()}")
        fresh.write_text(text)
        try:
            os.link(fresh, path)
        except FileExistsError:
            pass  # somebody else's, which counts
        except OSError:
            fresh.replace(path)  # a disk without links
        fresh.unlink(missing_ok=True)
    return path.read_text()


def _written_in(path: Path) -> Mapping[date, str]:
    """What made each session, in the order of the sessions."""
    try:
        return _makers(path.read_text())
    except FileNotFoundError:
        return {}
    except (ValueError, TypeError) as error:
        raise StoreError(
            f"{path} is damaged and was not read ({error}).", "Delete its folder and materialize its sessions again."
        ) from error


@lru_cache(maxsize=32)
def _makers(text: str) -> Mapping[date, str]:
    """Of a strategy's tables nearly all have the same sessions."""
    found = json.loads(text)
    by_mark = found if isinstance(found, dict) else {"": found}
    return MappingProxyType(dict(sorted((date.fromisoformat(day), mark) for mark, days in by_mark.items() for day in days)))


def _moment(event: Event) -> tuple[datetime, int, str]:
    """The order of events: by when they became known, then as EventType lists them."""
    return event.timestamp, _EVENT_ORDER[event.type], event.symbol
