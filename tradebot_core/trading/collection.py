"""Bringing facts in: from a collector into the store, and from reported facts to normalised fundamentals."""

from dataclasses import dataclass, replace
from datetime import date, datetime

import polars as pl

from tradebot_core.interfaces import Batch, Collector, DataStore, Rejected
from tradebot_core.model.fundamentals import FIGURES
from tradebot_core.model.issuers import issuer_groups
from tradebot_core.model.tables import ACTIONS, FACTS, FUNDAMENTALS
from tradebot_core.quant.statements import NORMALISATION
from tradebot_core.trading.normalising import Normalise, normalised

_IDENTITY = ("company_name", "period_end", "form", "accession")


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
    store: DataStore,
    normalise: Normalise,
    securities: pl.DataFrame,
    as_of: datetime,
    ingested_at: datetime,
    processes: int = 1,
) -> int:
    """Normalises the issuers that may have facts their figures lack; returns the number of new rows of FUNDAMENTALS.

    Those are issuers without figures, with facts that came after the figures or in this very collection (two collections may
    share an instant: the sample market's clock stands still), and with facts that became known after the last figures: they
    may have been in the store while `as_of` still hid them. An issuer whose newest facts change no figure is done each time.
    Figures that other rules made (an older version of this program) are made again, all of them, as later versions: decisions from now
    on look at the new ones, and those that were made can still be explained by the old.
    Facts are read and figures kept one group of issuers at a time; `normalise` must treat each issuer by itself.
    """
    came = store.newest(FACTS, as_of=as_of)
    made = store.newest(FUNDAMENTALS, as_of=as_of, also=["normalised_by"])
    stale = came.join(made, on="cik", how="left", suffix="_made").filter(
        pl.col("ingested_at_made").is_null()
        | (pl.col("ingested_at") > pl.col("ingested_at_made"))
        | (pl.col("ingested_at") == ingested_at)
        | (pl.col("known_at") > pl.col("known_at_made"))
        | pl.col("normalised_by").ne_missing(NORMALISATION)
    )
    names = dict(securities.select("cik", "name").iter_rows())
    added = 0
    groups = issuer_groups(cik for cik in stale["cik"] if cik in names)
    fresh = normalised(groups, lambda ciks: store.read_versions(FACTS, as_of=as_of, ciks=ciks), normalise, names, processes)
    for group, rows in zip(groups, fresh, strict=True):
        old = store.read_versions(FUNDAMENTALS, as_of=as_of, ciks=group, without=("provenance", *FIGURES))
        whole = pl.concat([rows, _in_place_of(old, rows)])
        added += store.append(Batch(FUNDAMENTALS, whole, "normalised"), ingested_at)
    return added


def _in_place_of(old: pl.DataFrame, rows: pl.DataFrame) -> pl.DataFrame:
    """What is true, by the rows made now, at instants at which the figures changed when they were made before, and now do not: a fact
    collected late said it earlier, or other rules take the filing for no news.

    Without it the old figures would stand from that instant to the next filing. Where there is no row yet, every figure is missing.
    """
    when = ["cik", "known_at"]
    gone = (
        old.unique(when, keep="last", maintain_order=True)
        .join(rows, on=when, how="anti")
        .select(*when, *(pl.col(name).alias(f"{name}_then") for name in _IDENTITY))
    )
    renewed = gone.sort("known_at").join_asof(rows.sort("known_at"), on="known_at", by="cik", check_sortedness=False)
    return renewed.with_columns(
        *(pl.coalesce(name, f"{name}_then").alias(name) for name in _IDENTITY),
        pl.col("provenance").fill_null("{}"),
        pl.col("normalised_by").fill_null(NORMALISATION),
    ).select(rows.columns)
