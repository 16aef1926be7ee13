"""Older stores in files, brought to the present layout in place.

Schema 1 kept what companies report by year; schema 2 keeps it by group of issuers. A crash at any point loses nothing: the old
folder is moved aside only when the new one is whole, and deleted only when the store says that it is of the new version.
"""

import shutil
from pathlib import Path

import polars as pl

from tradebot_core.model.issuers import first_cik
from tradebot_core.model.keyed_rows import parts
from tradebot_core.model.tables import FACTS, FUNDAMENTALS, FactTable
from tradebot_core.stores import parquet_files
from tradebot_core.stores.issuer_files import file_name


def migrate(store: Path, version: int) -> None:
    """From schema 1 to `version`; nothing when another process has done it meanwhile."""
    with parquet_files.exclusive(store):
        said = store / "schema_version"
        if int(said.read_text()) >= version:
            return
        for table in (FACTS, FUNDAMENTALS):
            _by_issuer(store / "facts", table)
        fresh = said.with_suffix(".new")
        fresh.write_text(str(version))
        fresh.replace(said)
        parquet_files.sync_folder(store)
        for table in (FACTS, FUNDAMENTALS):
            shutil.rmtree(_aside(store / "facts", table), ignore_errors=True)


def _aside(facts: Path, table: FactTable) -> Path:
    return facts / f"{table.name}.schema1"


def _by_issuer(facts: Path, table: FactTable) -> None:
    folder, fresh, aside = facts / table.name, facts / f"{table.name}.schema2", _aside(facts, table)
    if not aside.exists():
        if not folder.exists():
            return
        shutil.rmtree(fresh, ignore_errors=True)  # of an attempt that did not end
        fresh.mkdir()
        for year in sorted(folder.glob("*.parquet")):
            _distribute(parquet_files.read(year), table, fresh)
        folder.rename(aside)
    if not folder.exists():
        fresh.rename(folder)
    parquet_files.sync_folder(facts)


def _distribute(rows: pl.DataFrame, table: FactTable, folder: Path) -> None:
    """A figure that came after schema 1 is null in its rows: it was not computed then."""
    lacking = [pl.lit(None, kind).alias(name) for name, kind in table.schema.items() if name not in rows.columns]
    rows = rows.with_columns(lacking).select(table.schema.names())
    for group, of_group in parts(rows, first_cik(pl.col("cik"))):
        path = folder / f"{file_name(table, group)}.parquet"
        kept = [parquet_files.read(path)] if path.exists() else []
        parquet_files.write(pl.concat([*kept, of_group]).sort(*table.key, "known_at", "ingested_at"), path)
