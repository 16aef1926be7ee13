"""A store that was written before a column existed is read with null there, and goes on."""

from datetime import UTC, date, datetime
from pathlib import Path

import polars as pl

from tradebot_core.calendar import xnys
from tradebot_core.interfaces import Batch
from tradebot_core.model.tables import SECURITIES
from tradebot_core.stores import parquet_files
from tradebot_core.stores.file_store import FileStore

NOW = datetime(2024, 1, 2, tzinfo=UTC)


def listing(symbol: str, security_id: int, **changed: object) -> pl.DataFrame:
    row = dict.fromkeys(SECURITIES.columns) | {"security_id": security_id, "cik": security_id // 100, "symbol": symbol}
    dates = {"valid_from": date(2020, 1, 2), "valid_to": date.max, "known_at": datetime(2020, 1, 2, tzinfo=UTC)}
    return pl.DataFrame([row | dates | changed], schema={**SECURITIES.columns, "known_at": SECURITIES.schema["known_at"]})


def test_a_column_that_came_later_is_null_in_older_rows_and_kept_in_newer_ones(tmp_path: Path):
    store = FileStore(tmp_path, xnys())
    store.append(Batch(SECURITIES, listing("OLD", 100), "test"), NOW)
    (file,) = (tmp_path / "facts" / "securities").glob("*.parquet")
    parquet_files.write(parquet_files.read(file).drop("shares_per_listed"), file)

    assert store.append(Batch(SECURITIES, listing("OLD", 100), "test"), NOW) == 0  # nothing new was said
    assert store.append(Batch(SECURITIES, listing("ADR", 200, shares_per_listed=5.0), "test"), NOW) == 1
    rows = store.read(SECURITIES, as_of=NOW)
    assert rows.schema == SECURITIES.schema
    assert rows.select("symbol", "shares_per_listed").rows() == [("OLD", None), ("ADR", 5.0)]


def test_some_columns_of_an_older_file(tmp_path: Path):
    store = FileStore(tmp_path, xnys())
    store.append(Batch(SECURITIES, listing("OLD", 100), "test"), NOW)
    (file,) = (tmp_path / "facts" / "securities").glob("*.parquet")
    parquet_files.write(parquet_files.read(file).drop("shares_per_listed"), file)
    rows = store.read_versions(SECURITIES, as_of=NOW, without=("name",))
    assert rows.select("symbol", "name", "shares_per_listed").rows() == [("OLD", None, None)]
