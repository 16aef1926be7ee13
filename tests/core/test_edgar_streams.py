"""The bulk file streams: a batch is some whole groups of issuers, little is read ahead, and each file of the store is written once."""

import json
import os
import zipfile
from collections import Counter
from datetime import UTC, date, datetime
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from tests.markets import XNYS
from tradebot_core.collectors import edgar
from tradebot_core.collectors.edgar import EdgarFacts
from tradebot_core.collectors.read_ahead import read_ahead
from tradebot_core.collectors.read_apart import read_apart
from tradebot_core.errors import DataError
from tradebot_core.model.issuers import CIKS_OF_A_GROUP, first_cik, issuer_groups
from tradebot_core.model.tables import FACTS
from tradebot_core.stores import parquet_files
from tradebot_core.stores.file_store import FileStore
from tradebot_core.trading.collection import collect

START, END = date(2009, 1, 2), date(2020, 12, 31)
NOW = datetime(2021, 1, 4, tzinfo=UTC)
CIKS = [group * CIKS_OF_A_GROUP + n for group in (0, 3, 4, 900) for n in range(1, 8)]
FACTS_OF_EACH = 5


def company(cik: int) -> str:
    row = {"end": "2015-09-26", "val": cik, "fy": 2015, "fp": "FY", "form": "10-K", "filed": "2015-10-28"}
    rows = [
        {"end": row["end"], "val": n, "accn": f"{cik:010d}-15-{n:06d}", **{k: row[k] for k in ("fy", "fp", "form", "filed")}}
        for n in range(FACTS_OF_EACH)
    ]
    return json.dumps({"cik": cik, "facts": {"us-gaap": {"Assets": {"units": {"USD": rows}}}}}, separators=(",", ":"))


@pytest.fixture(scope="module")
def archive(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("sec") / "companyfacts.zip"
    with zipfile.ZipFile(path, "w") as bundle:
        for cik in reversed(CIKS):
            bundle.writestr(f"CIK{cik:010d}.json", company(cik))
    return path


@pytest.fixture
def small(monkeypatch) -> None:
    """Batches of one or two groups, and three companies read at once."""
    monkeypatch.setattr(edgar, "_BATCH_ROWS", 8 * FACTS_OF_EACH)
    monkeypatch.setattr(edgar, "_BYTES_AT_ONCE", 3 * len(company(CIKS[-1])) - 100)


def collector(archive: Path) -> EdgarFacts:
    return EdgarFacts(EdgarFacts.Params(path=archive), XNYS)


SECURITIES = pl.DataFrame({"cik": CIKS}, schema={"cik": pl.Int64})


def test_a_batch_is_whole_groups_of_issuers_in_order_of_cik(archive, small):
    batches = [
        batch.rows["cik"].unique(maintain_order=True).to_list() for batch in collector(archive).collect(SECURITIES, START, END)
    ]
    assert batches == [CIKS[:14], CIKS[14:]]
    assert [len(group) for group in issuer_groups(CIKS)] == [7] * 4


def test_the_size_of_what_is_read_at_once_changes_nothing(archive, small, monkeypatch):
    some = pl.concat([batch.rows for batch in collector(archive).collect(SECURITIES, START, END)])
    monkeypatch.setattr(edgar, "_BYTES_AT_ONCE", 1)
    one_by_one = pl.concat([batch.rows for batch in collector(archive).collect(SECURITIES, START, END)])
    assert some.equals(one_by_one)
    assert some.height == FACTS_OF_EACH * len(CIKS)


def test_each_file_is_written_once_by_a_collection_and_not_at_all_by_the_next(archive, small, monkeypatch, tmp_path):
    store = FileStore(tmp_path / "store", XNYS)
    written: Counter[str] = Counter()
    write = parquet_files.write

    def counted(frame: pl.DataFrame, path: Path) -> None:
        written[path.name] += 1
        write(frame, path)

    monkeypatch.setattr(parquet_files, "write", counted)
    assert collect(store, collector(archive), SECURITIES, START, END, NOW).new_rows == FACTS_OF_EACH * len(CIKS)
    assert written == {f"{first_cik(group[0]):019d}.parquet": 1 for group in issuer_groups(CIKS)}
    assert collect(store, collector(archive), SECURITIES, START, END, NOW).new_rows == 0
    assert sum(written.values()) == 4
    assert store.read(FACTS, as_of=NOW)["cik"].unique(maintain_order=True).to_list() == CIKS


def test_a_reader_of_one_issuer_opens_one_file(archive, monkeypatch, tmp_path):
    store = FileStore(tmp_path / "store", XNYS)
    collect(store, collector(archive), SECURITIES, START, END, NOW)
    opened = []
    read = parquet_files.read
    monkeypatch.setattr(parquet_files, "read", lambda path, columns=None: opened.append(path.name) or read(path, columns))
    assert store.read_versions(FACTS, as_of=NOW, ciks=[CIKS[7]])["cik"].unique().to_list() == [CIKS[7]]
    assert opened == [f"{first_cik(CIKS[7]):019d}.parquet"]


# Reading ahead


def test_no_more_is_read_ahead_than_is_asked_for():
    started = []
    for taken, (item, result) in enumerate(read_ahead(range(50), lambda n: started.append(n) or n * n, readers=2, ahead=3)):
        assert (item, result) == (taken, taken * taken)
        assert len(started) <= taken + 3
    assert sorted(started) == list(range(50))


def test_an_error_comes_up_where_its_item_would_have():
    def read(n: int) -> int:
        if n == 2:
            raise ValueError("the third")
        return n

    taken = []
    with pytest.raises(ValueError, match="the third"):
        for item, _ in read_ahead(range(10), read, readers=2, ahead=2):
            taken.append(item)
    assert taken == [0, 1]


def test_who_stops_early_leaves_nothing_running():
    started = []
    reading = read_ahead(range(1000), lambda n: started.append(n) or n, readers=2, ahead=2)
    assert next(reading) == (0, 0)
    reading.close()
    assert len(started) <= 2


# In other processes


def several_files(folder: Path) -> Path:
    """Groups of issuers with a good company, a damaged member, another's facts, a figure that contradicts itself, and no file."""
    path = folder / "companyfacts.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as bundle:
        for n, cik in enumerate(CIKS):
            text = company(cik)
            if n % 7 == 1:
                text = text.replace('"filed":"2015-10-28"', '"filed":"2014-10-28"', 1)
            if n % 7 == 2:
                text = company(cik + 1)
            if n % 7 == 3:
                text = text.replace('"end":"2015-09-26"', '"end":"2015-13-26"', 2)
            if n % 7 != 4:
                bundle.writestr(f"CIK{cik:010d}.json", text)
    with zipfile.ZipFile(path) as bundle:
        damaged = bundle.getinfo(f"CIK{CIKS[5]:010d}.json")
    content = bytearray(path.read_bytes())
    content[damaged.header_offset + 30 + len(damaged.filename) + 20] ^= 0xFF
    path.write_bytes(content)
    return path


def test_other_processes_give_the_same_rows_refusals_and_batches_in_the_same_order(small, monkeypatch, tmp_path):
    path = several_files(tmp_path)
    here = list(collector(path).collect(SECURITIES, START, END))
    apart = []

    def noticed(*of):
        apart.append(of)
        return read_apart(*of)

    monkeypatch.setattr(edgar, "read_apart", noticed)
    monkeypatch.setattr(edgar, "_WORTH_PROCESSES", 0)
    monkeypatch.setattr(edgar, "_PROCESSES", 2)
    there = list(collector(path).collect(SECURITIES, START, END))
    assert len(apart) == 1
    assert [batch.rejected for batch in there] == [batch.rejected for batch in here]
    assert {item.rule for batch in here for item in batch.rejected} >= {"corrupt_file", "cik_mismatch", "no_facts"}
    for other, own in zip(there, here, strict=True):
        assert_frame_equal(other.rows, own.rows, check_exact=True)
    assert len(here) == 2


def test_few_files_are_read_without_other_processes(archive, monkeypatch):
    monkeypatch.setattr(edgar, "read_apart", None)
    assert sum(batch.rows.height for batch in collector(archive).collect(SECURITIES, START, END)) == FACTS_OF_EACH * len(CIKS)


def die_at_two(n: int) -> tuple[pl.DataFrame, int]:
    if n == 2:
        os._exit(9)
    return pl.DataFrame({"n": [n]}), n


def fail_at_two(n: int) -> tuple[pl.DataFrame, int]:
    if n == 2:
        raise ValueError("the third")
    return pl.DataFrame({"n": [n]}), n


def test_a_process_that_dies_ends_the_collection_with_its_cause_named():
    with pytest.raises(DataError, match="ended without an answer"):
        list(read_apart(range(10), die_at_two, 2, 4))


def test_an_error_of_another_process_comes_up_where_its_item_would_have():
    taken = []
    with pytest.raises(ValueError, match="the third"):
        for item, (rows, rest) in read_apart(range(10), fail_at_two, 2, 4):
            assert rows["n"].to_list() == [rest]
            taken.append(item)
    assert taken == [0, 1]
