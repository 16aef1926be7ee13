"""A store in files of schema 1 is brought to the present layout when it is opened, wherever an earlier attempt was cut off."""

import shutil
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from tests.contracts.test_store_contract import DAY, FOREVER, INGESTED, LATER, bar, batch, fact
from tests.markets import XNYS
from tradebot_core.errors import StoreError
from tradebot_core.model.tables import BARS, FACTS, FUNDAMENTALS
from tradebot_core.stores import file_migrations, file_store, parquet_files
from tradebot_core.stores.file_store import SCHEMA_VERSION, FileStore

RESTATED = fact(value=4.0, accession="0000000001-25-000001", known_at=datetime(2025, 2, 1, 12, tzinfo=UTC))
OTHERS = [fact(cik=cik, accession=f"{cik:010d}-24-000001") for cik in (900_000, 5)]


def figures(cik: int, at: datetime) -> dict[str, object]:
    row = dict.fromkeys(FUNDAMENTALS.columns) | {"cik": cik, "company_name": "A", "period_end": date(2023, 12, 31)}
    return row | {"form": "10-K", "accession": "a", "provenance": "{}", "known_at": at}


FIGURES = [figures(5, INGESTED), figures(1, INGESTED), figures(1, INGESTED + timedelta(days=400))]


def of_schema_1(folder: Path) -> Path:
    """As version 1 wrote it: facts by the year of their accession number, fundamentals by the year of known_at."""
    store = FileStore(folder, XNYS)
    store.append(batch(BARS, bar()), INGESTED)
    store.append(batch(FACTS, fact(), RESTATED, *OTHERS), INGESTED)
    store.append(batch(FACTS, fact(value=6.0)), LATER)
    store.append(batch(FUNDAMENTALS, *FIGURES), INGESTED)
    accession_year = pl.col("accession").str.slice(11, 2).cast(pl.Int32)
    for table, year in ((FACTS, accession_year), (FUNDAMENTALS, pl.col("known_at").dt.year())):
        rows = store.read_versions(table, as_of=FOREVER)
        shutil.rmtree(folder / "facts" / table.name)
        for (name,), part in rows.with_columns(_year=year).partition_by("_year", as_dict=True, include_key=False).items():
            parquet_files.write(part, folder / "facts" / table.name / f"{name}.parquet")
    (folder / "schema_version").write_text("1")
    return folder


def content(store: FileStore) -> list[pl.DataFrame]:
    return [store.read_versions(table, as_of=FOREVER) for table in (BARS, FACTS, FUNDAMENTALS)]


@pytest.fixture
def expected(tmp_path) -> list[pl.DataFrame]:
    store = FileStore(tmp_path / "present", XNYS)
    store.append(batch(BARS, bar()), INGESTED)
    store.append(batch(FACTS, fact(), RESTATED, *OTHERS), INGESTED)
    store.append(batch(FACTS, fact(value=6.0)), LATER)
    store.append(batch(FUNDAMENTALS, *FIGURES), INGESTED)
    return content(store)


def same(found: list[pl.DataFrame], expected: list[pl.DataFrame]) -> bool:
    return all(one.equals(other) for one, other in zip(found, expected, strict=True))


def test_every_version_is_kept_and_the_store_goes_on(tmp_path, expected):
    folder = of_schema_1(tmp_path / "store")
    store = FileStore(folder, XNYS)
    assert same(content(store), expected)
    assert expected[1]["value"].to_list() == [5.0, 6.0, 4.0, 5.0, 5.0]
    assert (folder / "schema_version").read_text() == str(SCHEMA_VERSION)
    assert sorted(path.name for path in (folder / "facts").iterdir()) == ["bars", "facts", "fundamentals"]
    assert store.append(batch(FACTS, fact(value=6.0), RESTATED, *OTHERS), LATER) == 0
    assert store.append(batch(FACTS, fact(value=7.0)), LATER + timedelta(days=1)) == 1


@pytest.mark.parametrize("steps", range(12))
def test_an_attempt_cut_off_anywhere_is_finished_by_the_next(tmp_path, expected, monkeypatch, steps):
    folder = of_schema_1(tmp_path / "store")
    done = []

    def until(step):
        def run(*args, **kwargs):
            if len(done) >= steps:
                raise KeyboardInterrupt
            done.append(step)
            return step(*args, **kwargs)

        return run

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", until(Path.rename))
        patched.setattr(file_migrations.parquet_files, "write", until(parquet_files.write))
        patched.setattr(file_migrations.shutil, "rmtree", until(shutil.rmtree))
        try:
            FileStore(folder, XNYS)
        except KeyboardInterrupt:
            assert len(done) == steps
    assert same(content(FileStore(folder, XNYS)), expected)


def test_a_figure_that_came_after_schema_1_is_null_in_its_rows(tmp_path):
    folder = of_schema_1(tmp_path / "store")
    for path in (folder / "facts" / "fundamentals").glob("*.parquet"):
        parquet_files.write(parquet_files.read(path).drop("debt"), path)
    rows = FileStore(folder, XNYS).read(FUNDAMENTALS, as_of=FOREVER)
    assert rows.schema == FUNDAMENTALS.schema
    assert rows["debt"].to_list() == [None] * 3


def test_a_damaged_file_stops_the_migration_and_nothing_is_lost(tmp_path):
    folder = of_schema_1(tmp_path / "store")
    path = folder / "facts" / "facts" / "25.parquet"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    with pytest.raises(StoreError, match=r"25\.parquet is damaged"):
        FileStore(folder, XNYS)
    assert (folder / "schema_version").read_text() == "1"
    path.write_bytes(whole)
    assert len(FileStore(folder, XNYS).read_versions(FACTS, as_of=FOREVER)) == 5


def test_a_store_without_facts_is_of_the_new_version_at_once(tmp_path):
    folder = tmp_path / "store"
    FileStore(folder, XNYS).append(batch(BARS, bar(session=DAY)), INGESTED)
    (folder / "schema_version").write_text("1")
    assert len(FileStore(folder, XNYS).read(BARS, as_of=FOREVER)) == 1
    assert (folder / "schema_version").read_text() == str(file_store.SCHEMA_VERSION)
