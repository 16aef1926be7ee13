"""Files of the store: what is read is what was written, whatever was read before and whichever rows are asked for."""

from datetime import date, timedelta
from pathlib import Path

import polars as pl
import pytest

from tradebot_core.errors import StoreError
from tradebot_core.stores import parquet_files

FIRST = date(2024, 1, 2)


def rows(count: int, times: float = 1.0) -> pl.DataFrame:
    numbers = pl.int_range(count, eager=True)
    return pl.DataFrame(
        {
            "session": [FIRST + timedelta(days=n // 10) for n in range(count)],
            "security_id": numbers,
            "value": (numbers * 7919 % 10_007) * times / 3,
        }
    )


@pytest.fixture(params=[100, 300_000], ids=["small", "large"])
def stored(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, pl.DataFrame]:
    path, written = tmp_path / "2024.parquet", rows(request.param)
    parquet_files.write(written, path)
    assert (path.stat().st_size <= parquet_files._SMALL) == (request.param == 100)
    return path, written


@pytest.mark.parametrize("columns", [None, ["session", "value"]])
@pytest.mark.parametrize(
    "where",
    [
        pl.lit(True),
        pl.col("session") == FIRST + timedelta(days=3),
        (pl.col("session") >= FIRST) & (pl.col("session") <= FIRST + timedelta(days=1)),
        pl.col("session") < FIRST,
    ],
)
def test_rows_that_are_asked_for_are_those_of_the_whole_file(
    stored: tuple[Path, pl.DataFrame], columns: list[str] | None, where: pl.Expr
) -> None:
    path, written = stored
    expected = written.filter(where)
    assert parquet_files.read(path, columns, where).equals(expected.select(columns or expected.columns))


def test_a_file_that_is_replaced_is_read_anew(stored: tuple[Path, pl.DataFrame]) -> None:
    path, written = stored
    assert parquet_files.read(path).equals(written)
    other = rows(len(written), times=2.0)
    parquet_files.write(other, path)
    assert parquet_files.read(path).equals(other)
    parquet_files.write(written, path)
    assert parquet_files.read(path).equals(written)


@pytest.mark.parametrize("where", [None, pl.col("session") == FIRST])
def test_a_file_that_is_damaged_after_it_was_read_is_refused(stored: tuple[Path, pl.DataFrame], where: pl.Expr | None) -> None:
    path, _ = stored
    parquet_files.read(path, where=where)
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 1
    path.write_bytes(content)
    with pytest.raises(StoreError, match="does not match its checksum"):
        parquet_files.read(path, where=where)


def test_what_is_kept_of_small_files_stays_below_its_bound() -> None:
    frame = rows(100)
    kept, decoded = parquet_files._Kept(most_bytes=3 * frame.estimated_size()), []

    def get(name: str) -> None:
        def decode() -> pl.DataFrame:
            decoded.append(name)
            return frame.clone()

        assert kept.get(name.encode(), None, decode).equals(frame)

    for name in ("a", "b", "c", "a", "d", "a", "b"):
        get(name)
    assert decoded == ["a", "b", "c", "d", "b"]  # b was the oldest when d came
    assert len(kept._frames) == 3
