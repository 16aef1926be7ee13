"""Rows as the bytes of a file. The same rows give the same bytes; a file is whole or not there."""

import io
import json
from pathlib import Path

import polars as pl

from tradebot_core.errors import UsageError
from tradebot_core.stores.parquet_files import storage_errors
from tradebot_dagster.cli.output import plain

FORMATS = ("parquet", "csv", "json")


def contents(rows: pl.DataFrame, form: str) -> bytes:
    if form == "csv":
        return rows.write_csv(datetime_format="%Y-%m-%dT%H:%M:%S%.6f%:z").encode()
    if form == "json":
        lines = ",\n".join(json.dumps(row, default=plain, allow_nan=False) for row in rows.iter_rows(named=True))
        return (f"[\n{lines}\n]\n" if lines else "[]\n").encode()
    buffer = io.BytesIO()
    rows.write_parquet(buffer, compression="zstd", statistics=True)
    return buffer.getvalue()


def write(rows: pl.DataFrame, form: str, path: Path) -> None:
    """Replaces the file at `path`; when that fails, the old one stays."""
    if not path.parent.is_dir():
        raise UsageError(f"There is no folder {path.parent}.", "Create it, or write elsewhere with -o.")
    if path.is_dir():
        raise UsageError(f"{path} is a folder.", "Give the file's name with -o.")
    fresh = path.with_name(f".{path.name}.new")
    try:
        with storage_errors(path):
            fresh.write_bytes(contents(rows, form))
            fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)
