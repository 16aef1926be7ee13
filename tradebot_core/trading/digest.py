"""The digest of a table: the same rows, the same sixty-four letters, on every machine."""

import hashlib

import polars as pl


def digest_of(rows: pl.DataFrame) -> str:
    """SHA-256 over column names and rows in order; numbers in their shortest exact form."""
    hasher = hashlib.sha256("\x1f".join(rows.columns).encode())
    for row in rows.iter_rows():
        hasher.update(b"\x1e" + "\x1f".join(repr(value) for value in row).encode())
    return hasher.hexdigest()
