"""Bringing facts in: from a collector into the store, and from reported facts to normalised fundamentals."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date, datetime

import polars as pl

from tradebot_core.interfaces import Batch, Collector, DataStore, Rejected
from tradebot_core.model.tables import ACTIONS, FACTS, FUNDAMENTALS

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
    for delivered in collector.collect(securities, start, end):
        batch = _known_by(delivered, ingested_at)
        new += store.append(batch, ingested_at)
        seen += len(batch.rows)
        for item in batch.rejected:
            refusals[item.rule] = refusals.get(item.rule, 0) + 1
    return Collected(collector.table.name, new, seen, sum(refusals.values()), tuple(sorted(refusals.items())))


def _known_by(batch: Batch, now: datetime) -> Batch:
    """Without the rows that nobody can know yet. A bar of a session that still trades is refused: it would be kept as its last
    word. Corporate actions of days to come are left for those days."""
    early = batch.rows.filter(pl.col("known_at") > now)
    if early.is_empty():
        return batch
    refused = [
        Rejected(row, "not_yet_known", "its session is not over: collect it after the close")
        for row in early.iter_rows(named=True)
    ]
    rejected = batch.rejected if batch.table is ACTIONS else (*batch.rejected, *refused)
    return replace(batch, rows=batch.rows.filter(pl.col("known_at") <= now), rejected=rejected)


def refresh_fundamentals(
    store: DataStore, normalise: Normalise, securities: pl.DataFrame, as_of: datetime, ingested_at: datetime
) -> int:
    """Normalises the issuers that may have facts their figures lack; returns the number of new rows of FUNDAMENTALS.

    Those are issuers without figures, with facts that came after the figures or in this very collection (two collections may
    share an instant: the sample market's clock stands still), and with facts that became known after the last figures: they
    may have been in the store while `as_of` still hid them. An issuer whose newest facts change no figure is done each time.
    """
    facts = store.read_versions(FACTS, as_of=as_of)
    figures = store.read_versions(FUNDAMENTALS, as_of=as_of, without=("provenance",))
    newest = facts.group_by("cik").agg(came=pl.col("ingested_at").max(), known=pl.col("known_at").max())
    done = figures.group_by("cik").agg(made=pl.col("ingested_at").max(), reached=pl.col("known_at").max())
    stale = newest.join(done, on="cik", how="left").filter(
        pl.col("made").is_null()
        | (pl.col("came") > pl.col("made"))
        | (pl.col("came") == ingested_at)
        | (pl.col("known") > pl.col("reached"))
    )
    names = dict(securities.select("cik", "name").iter_rows())
    wanted = stale.filter(pl.col("cik").is_in(list(names)))["cik"]
    rows = normalise(facts.filter(pl.col("cik").is_in(wanted.implode())), names)
    return store.append(Batch(FUNDAMENTALS, rows, "normalised"), ingested_at)
