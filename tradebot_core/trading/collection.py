"""Bringing facts in: from a collector into the store, and from reported facts to normalised fundamentals."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime

import polars as pl

from tradebot_core.interfaces import Batch, Collector, DataStore
from tradebot_core.model.tables import FACTS, FUNDAMENTALS

Normalise = Callable[[pl.DataFrame, dict[int, str]], pl.DataFrame]


@dataclass(frozen=True)
class Collected:
    """What one collection brought: rows new to the store, rows seen, records refused."""

    table: str
    new_rows: int
    seen_rows: int
    refused: int
    refusals: tuple[tuple[str, int], ...]  # rule, count


def collect(
    store: DataStore, collector: Collector, securities: pl.DataFrame, start: date, end: date, ingested_at: datetime
) -> Collected:
    new = seen = 0
    refusals: dict[str, int] = {}
    for batch in collector.collect(securities, start, end):
        new += store.append(batch, ingested_at)
        seen += len(batch.rows)
        for item in batch.rejected:
            refusals[item.rule] = refusals.get(item.rule, 0) + 1
    return Collected(collector.table.name, new, seen, sum(refusals.values()), tuple(sorted(refusals.items())))


def refresh_fundamentals(
    store: DataStore, normalise: Normalise, securities: pl.DataFrame, as_of: datetime, ingested_at: datetime
) -> int:
    """Normalises the issuers whose facts are newer than their figures; returns the number of new rows of FUNDAMENTALS."""
    facts = store.read_versions(FACTS, as_of=as_of)
    figures = store.read_versions(FUNDAMENTALS, as_of=as_of, without=("provenance",))
    newest = facts.group_by("cik").agg(newest=pl.col("ingested_at").max())
    done = figures.group_by("cik").agg(done=pl.col("ingested_at").max())
    stale = newest.join(done, on="cik", how="left").filter(pl.col("done").is_null() | (pl.col("newest") > pl.col("done")))
    names = dict(securities.select("cik", "name").iter_rows())
    wanted = stale.filter(pl.col("cik").is_in(list(names)))["cik"]
    rows = normalise(facts.filter(pl.col("cik").is_in(wanted.implode())), names)
    return store.append(Batch(FUNDAMENTALS, rows, "normalised"), ingested_at)
