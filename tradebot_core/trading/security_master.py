"""One security master from several sources.

The source that is configured first is collected first, and what it said stands. A later one may add securities, fill in what was left
out (the broker's contract number, an industry) and end a listing that had no end yet: by saying so, or by knowing the security under a
symbol that begins later. Where it contradicts (two securities for a symbol, two symbols for a security on one day, two ends), its row is
refused with the reason. A source may always correct its own rows.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import polars as pl

from tradebot_core.interfaces import Batch, Collector, DataStore, Rejected
from tradebot_core.model.tables import SECURITIES, FactTable
from tradebot_core.quant.listings import OPEN, SOURCES_JOINED_BY, overlaps

_FILLED = ("name", "exchange", "con_id", "industry", "category", "shares_per_listed")
_KEY = list(SECURITIES.key)


@dataclass(frozen=True)
class OneOfSeveral:
    """A collector of securities whose rows are reconciled with those that the store has from others."""

    collector: Collector
    store: DataStore

    @property
    def table(self) -> FactTable:
        return self.collector.table

    def collect(self, securities: pl.DataFrame, start: date, end: date) -> Iterator[Batch]:
        for batch in self.collector.collect(securities, start, end):
            yield from reconciled(batch, self.store.read(SECURITIES, as_of=datetime.max.replace(tzinfo=UTC)))


def reconciled(batch: Batch, known: pl.DataFrame) -> list[Batch]:
    """The batch as it may enter beside the rows that are known: what is new or its own, and for each other source whose rows it
    completes, a batch of those."""
    known = known.with_columns(primary=pl.col("source").str.split(SOURCES_JOINED_BY).list.first())
    others = known.filter(pl.col("primary") != batch.source)
    mine = known.filter(pl.col("primary") == batch.source)
    rows = _with_what_others_filled(batch.rows.with_row_index("_row"), mine)
    refused = _contradictions(rows, others)
    sound = rows.filter(~pl.col("_row").is_in(list(refused)))
    same = overlaps(sound, others, "symbol").filter(pl.col("security_id") == pl.col("security_id_other"))
    unmatched = sound.filter(~pl.col("_row").is_in(same["_row"].implode()))
    fresh = pl.concat([unmatched, _before_others(same).select(unmatched.columns)])
    completed = pl.concat(
        [
            same.select(
                *_KEY[:2],
                pl.col("valid_from_other").alias("valid_from"),
                "cik",
                *(pl.coalesce(f"{name}_other", name).alias(name) for name in _FILLED),
                pl.min_horizontal("valid_to", "valid_to_other").alias("valid_to"),
                "known_at",
                pl.col("source").alias("of"),
            ),
            _ended(fresh, known.join(rows, on=_KEY, how="anti"))
            .with_columns(of=pl.col("source"))
            .select(*_KEY, "cik", *_FILLED, "valid_to", "known_at", "of"),
        ]
    ).with_columns(pl.col("valid_to").min().over(_KEY))
    completed = completed.unique(_KEY, keep="first", maintain_order=True)
    rejected = [Rejected(_plain(row), *refused[row["_row"]]) for row in rows.iter_rows(named=True) if row["_row"] in refused]
    columns = batch.rows.columns
    return [
        Batch(SECURITIES, fresh.filter(pl.col("_of").is_null()).select(columns), batch.source, (*batch.rejected, *rejected)),
        *_by_source(fresh.filter(pl.col("_of").is_not_null()).rename({"_of": "of"}), columns),
        *_by_source(completed.with_columns(of=_joined(pl.col("of"), batch.source)), columns),
    ]


def _joined(sources: pl.Expr, another: str) -> pl.Expr:
    said = sources.str.split(SOURCES_JOINED_BY).list.contains(another)
    return pl.when(said).then(sources).otherwise(sources + f"{SOURCES_JOINED_BY}{another}")


def _by_source(rows: pl.DataFrame, columns: list[str]) -> list[Batch]:
    groups = sorted(rows.partition_by("of", as_dict=True).items())
    return [Batch(SECURITIES, group.select(columns), str(source)) for (source,), group in groups]


def _with_what_others_filled(rows: pl.DataFrame, mine: pl.DataFrame) -> pl.DataFrame:
    """A source that repeats its row does not take back what another has filled in. `_of`: the sources of such a row."""
    filled = mine.filter(pl.col("source") != pl.col("primary")).select(*_KEY, *_FILLED, "valid_to", _of="source")
    joined = rows.join(filled, on=_KEY, how="left", suffix="_before", maintain_order="left")
    kept = [pl.coalesce(name, f"{name}_before").alias(name) for name in _FILLED]
    return joined.with_columns(*kept, valid_to=pl.min_horizontal("valid_to", "valid_to_before")).select(*rows.columns, "_of")


def _before_others(same: pl.DataFrame) -> pl.DataFrame:
    """Of listings that others know as well: the part that lies before theirs."""
    first = same.sort("valid_from_other").unique("_row", keep="first", maintain_order=True)
    earlier = first.filter(pl.col("valid_from") < pl.col("valid_from_other"))
    return earlier.with_columns(valid_to=pl.col("valid_from_other") - timedelta(days=1))


def _ended(rows: pl.DataFrame, known: pl.DataFrame) -> pl.DataFrame:
    """Open listings under an earlier symbol, ended the day before the new one begins."""
    open_ones = known.filter(pl.col("valid_to") == OPEN)
    return (
        open_ones.join(rows.select("security_id", begins="valid_from", at="known_at"), on="security_id")
        .filter(pl.col("valid_from") < pl.col("begins"))
        .sort("begins")
        .unique(_KEY, keep="first", maintain_order=True)
        .with_columns(valid_to=pl.col("begins") - timedelta(days=1), known_at=pl.col("at"))
    )


def _contradictions(rows: pl.DataFrame, others: pl.DataFrame) -> dict[int, tuple[str, str]]:
    """Row -> the rule it breaks, and how."""
    found: dict[int, tuple[str, str]] = {}
    renamed = (pl.col("valid_to_other") == OPEN) & (pl.col("valid_from_other") < pl.col("valid_from"))
    two_symbols = overlaps(rows, others, "security_id").filter((pl.col("symbol") != pl.col("symbol_other")) & ~renamed)
    for row in two_symbols.iter_rows(named=True):
        found[row["_row"]] = (
            "two_symbols_at_once",
            f"{row['source']} has the security as {row['symbol_other']} from {row['valid_from_other']} to {row['valid_to_other']}",
        )
    by_symbol = overlaps(rows, others, "symbol")
    for row in by_symbol.iter_rows(named=True):
        if row["security_id"] != row["security_id_other"]:
            found[row["_row"]] = (
                "symbol_of_two_securities",
                f"{row['source']} has {row['symbol']} for security {row['security_id_other']} (CIK {row['cik_other']}) "
                f"from {row['valid_from_other']} to {row['valid_to_other']}",
            )
        elif OPEN not in (row["valid_to"], row["valid_to_other"]) and row["valid_to"] != row["valid_to_other"]:
            found[row["_row"]] = ("two_ends", f"{row['source']} ends the listing on {row['valid_to_other']}")
    return found


def _plain(row: dict[str, object]) -> dict[str, object]:
    return {
        name: str(value) if isinstance(value, (date, datetime)) else value
        for name, value in row.items()
        if not name.startswith("_")
    }


def with_last_price(securities: pl.DataFrame, bars: pl.DataFrame) -> pl.DataFrame:
    """Listings with `last_session` and `last_close` (raw, USD): the last bar of a listing that has ended, null where it goes on or has
    no bar. `bars`: one version of each, with security_id, session and close."""
    of_listing = (
        securities.select(*_KEY, "valid_to")
        .filter(pl.col("valid_to") < OPEN)
        .join(bars.select("security_id", "session", "close"), on="security_id")
        .filter(pl.col("session").is_between("valid_from", "valid_to"))
        .sort("session")
        .unique(_KEY, keep="last", maintain_order=True)
        .select(*_KEY, last_session="session", last_close="close")
    )
    return securities.join(of_listing, on=_KEY, how="left", maintain_order="left", nulls_equal=True)
