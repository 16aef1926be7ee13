"""The reference market (Parquet files: bars, splits, dividends, fundamentals, listings) as a store of ours.

Not timed: it stands where collecting stands. Of fundamentals it makes what our own normalisation makes of filings, one row for
every company and filing day: the newest period, and sums over four quarters that are all known.
"""

from datetime import UTC, date, datetime, time
from pathlib import Path
from zoneinfo import ZoneInfo

import polars as pl

from tradebot_core.calendar import xnys
from tradebot_core.interfaces import Batch
from tradebot_core.model.tables import ACTIONS, BARS, FUNDAMENTALS, INSTANT, SECURITIES, FactTable
from tradebot_core.stores.file_store import FileStore

NEW_YORK = ZoneInfo("America/New_York")
NOW = datetime(2025, 1, 2, tzinfo=UTC)
SUMMED = {"net_income": "net_income_ttm", "ocf": "operating_cash_flow_ttm", "capex": "capital_expenditure_ttm"}


def fill(store: Path, market: Path) -> None:
    """Makes the store and the universe (universe.csv beside it) of the market in `market`."""
    kept = FileStore(store, xnys(date(2000, 1, 3)))
    listings = pl.read_parquet(market / "listings.parquet")

    def put(table: FactTable, rows: pl.DataFrame) -> None:
        missing = [pl.lit(None, kind).alias(name) for name, kind in table.columns.items() if name not in rows.columns]
        whole = rows.with_columns(missing).select(pl.col(name).cast(kind) for name, kind in table.columns.items())
        times = rows.select(pl.col("known_at").cast(INSTANT))
        kept.append(Batch(table=table, rows=pl.concat([whole, times], how="horizontal"), source="reference market"), NOW)

    put(
        SECURITIES,
        listings.select(
            security_id=100 * (pl.col("sid").cast(pl.Int64) + 1),
            cik=pl.col("sid") + 1,
            symbol="symbol",
            name="symbol",
            exchange=pl.lit("NYSE"),
            valid_from="first_session",
            valid_to=pl.date(9999, 12, 31),
            known_at=at("first_session", time(9)),
        ),
    )
    for path in sorted((market / "bars").glob("*.parquet")):
        bars = pl.read_parquet(path)
        put(BARS, bars.with_columns(security_id=100 * (pl.col("sid").cast(pl.Int64) + 1), known_at=at("session", time(16, 15))))
    actions = [
        pl.read_parquet(market / f"{name}.parquet").select(
            security_id=100 * (pl.col("sid").cast(pl.Int64) + 1),
            session="ex_date",
            type=pl.lit(kind),
            value=value,
            known_at=at("ex_date", time(4)),
        )
        for name, kind, value in (("splits", "split", "ratio"), ("dividends", "dividend", "amount"))
    ]
    put(ACTIONS, pl.concat(actions))
    put(FUNDAMENTALS, fundamentals(pl.read_parquet(market / "fundamentals.parquet")))
    spells = listings.select("symbol", "first_session", last=pl.col("delist_announced") - pl.duration(days=1))
    lines = ["symbol,from,to", *(f"{symbol},{first},{last or ''}" for symbol, first, last in spells.iter_rows())]
    (store / "universe.csv").write_text("\n".join(lines) + "\n")


def at(day: str, when: time) -> pl.Expr:
    return pl.col(day).dt.combine(when).dt.replace_time_zone(str(NEW_YORK)).dt.convert_time_zone("UTC")


def fundamentals(filed: pl.DataFrame) -> pl.DataFrame:
    quarter = (pl.col("period_end").dt.year().cast(pl.Int32) * 12 + pl.col("period_end").dt.month() - 1) // 3
    filed = filed.sort("filed").with_columns(quarter=quarter)
    rows = filed.select("sid", "filed", newest=pl.col("quarter").cum_max().over("sid")).unique(
        ["sid", "filed"], keep="last", maintain_order=True
    )
    for back in range(4):
        columns = ["revenue", "equity", "debt", "assets", "shares", "period_end", *SUMMED] if back == 0 else list(SUMMED)
        of = filed.select("sid", "quarter", "filed", *(pl.col(column).alias(f"{column}_{back}") for column in columns))
        rows = (
            rows.with_columns(quarter=pl.col("newest") - back)
            .join_asof(of, on="filed", by=["sid", "quarter"], check_sortedness=False)
            .drop("quarter")
        )
    sums = {
        name: pl.sum_horizontal([f"{column}_{back}" for back in range(4)], ignore_nulls=False)
        for column, name in SUMMED.items()
    }
    return rows.with_columns(**sums).select(
        cik=pl.col("sid") + 1,
        company_name=pl.lit("reference"),
        period_end="period_end_0",
        form=pl.lit("10-Q"),
        accession=pl.format("{}-{}", "sid", "filed"),
        shares_basis_date="period_end_0",
        equity="equity_0",
        debt="debt_0",
        assets="assets_0",
        shares_outstanding="shares_0",
        free_cash_flow_ttm=pl.col("operating_cash_flow_ttm") - pl.col("capital_expenditure_ttm"),
        **{name: name for name in sums},
        normalised_by=pl.lit("reference"),
        known_at=at("filed", time(12)),
    )
