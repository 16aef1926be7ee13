"""The file store when the disk lets it down: a damaged file is named and never half-read, a full disk changes nothing."""

import errno
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import polars as pl
import pytest

from tests.contracts.test_store_contract import BARS, DAY, EQUITY, FOREVER, INGESTED, LATER, bar, batch, equity, values
from tests.markets import SESSIONS, XNYS
from tradebot_core.errors import StoreError
from tradebot_core.stores import parquet_files
from tradebot_core.stores.file_store import FileStore

ROOT = Path(__file__).parents[2]


@pytest.fixture
def store(tmp_path) -> FileStore:
    made = FileStore(tmp_path / "store", XNYS)
    made.append(batch(BARS, *[bar(session=session) for session in SESSIONS]), INGESTED)
    made.write_results(EQUITY, "s", "live", [DAY], equity((DAY, "1")))
    return made


@pytest.fixture
def bars_file(store, tmp_path) -> Path:
    return tmp_path / "store" / "facts" / "bars" / "2024.parquet"


def everything(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }


@pytest.mark.parametrize("damage", ["empty", "cut in half", "without its end", "a web page", "zeroed"])
def test_a_damaged_file_is_named_and_not_read(store, bars_file, damage):
    whole = bars_file.read_bytes()
    bars_file.write_bytes(
        {
            "empty": b"",
            "cut in half": whole[: len(whole) // 2],
            "without its end": whole[:-1],
            "a web page": b"<html><body>503 Service Unavailable</body></html>",
            "zeroed": bytes(len(whole)),
        }[damage]
    )
    with pytest.raises(StoreError) as refused:
        store.read(BARS, as_of=FOREVER)
    assert f"{bars_file} is damaged and was not read" in str(refused.value)
    assert "Restore it from a backup" in str(refused.value)
    with pytest.raises(StoreError, match="is damaged"):
        store.append(batch(BARS, bar(session=SESSIONS[5], close=11.0)), LATER)


def test_a_flipped_byte_never_gives_other_figures(store, bars_file):
    whole = bars_file.read_bytes()
    truth = store.read(BARS, as_of=FOREVER)
    silent = []
    for at in range(0, len(whole), 7):
        bars_file.write_bytes(whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :])
        try:
            found = store.read(BARS, as_of=FOREVER)
        except StoreError:
            continue
        if not found.equals(truth):
            silent.append(at)
    assert silent == []


def test_a_damaged_list_of_sessions_is_named(store, tmp_path):
    path = tmp_path / "store" / "results" / "s" / "live" / "equity" / "sessions.json"
    path.write_text('["2024-01-0')
    with pytest.raises(StoreError, match=r"sessions\.json"):
        store.result_sessions(EQUITY, "s", "live")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("step", ["fsync", "replace", "write_parquet"])
def test_a_full_disk_is_said_so_and_the_store_stays_as_it_was(store, tmp_path, monkeypatch, step, number):
    before = everything(tmp_path / "store")

    def full(*_args, **_kwargs):
        raise OSError(number, os.strerror(number))

    where = {
        "fsync": (parquet_files.os, "fsync"),
        "replace": (Path, "replace"),
        "write_parquet": (pl.DataFrame, "write_parquet"),
    }
    with monkeypatch.context() as patched:
        patched.setattr(*where[step], full)
        with pytest.raises(StoreError) as refused:
            store.append(batch(BARS, bar(session=DAY, close=11.0)), LATER)
        assert "The disk is full" in str(refused.value)
        assert "2024.parquet" in str(refused.value)
        assert "Free some space and run again." in str(refused.value)
        with pytest.raises(StoreError, match="The disk is full"):
            store.write_results(EQUITY, "s", "live", [DAY], equity((DAY, "2")))
    assert everything(tmp_path / "store") == before
    assert store.append(batch(BARS, bar(session=DAY, close=11.0)), LATER) == 1  # and it goes on when there is space again


WRITES_TOO_MUCH = """
import resource, signal, sys
from pathlib import Path
from datetime import timedelta
from tests.contracts.test_store_contract import *
store = FileStore(Path(sys.argv[1]), XNYS)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (2048, 2048))
try:
    store.append(batch(BARS, *[bar(n, session, 10.0 + n / 7) for n in range(1, 60) for session in SESSIONS]), LATER)
except StoreError as error:
    print("refused:", error)
"""


def test_a_write_that_the_system_stops_halfway_leaves_the_old_file_whole(store, tmp_path):
    before = everything(tmp_path / "store")
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(WRITES_TOO_MUCH), str(tmp_path / "store")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "POLARS_MAX_THREADS": "1"},
    )
    assert run.returncode == 0, run.stderr
    assert "refused:" in run.stdout
    assert "2024.parquet" in run.stdout
    assert everything(tmp_path / "store") == before


def test_a_torn_file_from_a_crash_is_no_part_of_the_store(store, tmp_path):
    folder = tmp_path / "store" / "facts" / "bars"
    (folder / "2024.new").write_bytes(b"PAR1 torn")
    assert len(store.read(BARS, as_of=FOREVER)) == len(SESSIONS)
    assert store.append(batch(BARS, bar(session=DAY, close=11.0)), LATER) == 1
    assert len(store.read_versions(BARS, as_of=FOREVER)) == len(SESSIONS) + 1


WRITES_ONE = """
import sys
from pathlib import Path
from tests.contracts.test_store_contract import *
store = FileStore(Path(sys.argv[1]), XNYS)
for n in range(10):
    store.append(batch(BARS, bar(int(sys.argv[2]) * 100 + n)), LATER)
    store.write_results(EQUITY, "s", "live", [SESSIONS[int(sys.argv[2]) * 10 + n]], equity())
"""


def test_two_processes_writing_one_table_lose_nothing(store, tmp_path):
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITES_ONE, str(tmp_path / "store"), str(n)], cwd=ROOT, stderr=subprocess.PIPE)
        for n in (1, 2)
    ]
    for writer in writers:
        _, said = writer.communicate(timeout=60)
        assert writer.returncode == 0, said.decode()
    assert len(store.read(BARS, as_of=FOREVER)) == len(SESSIONS) + 20 - 1  # one of the twenty was there before
    assert len(store.result_sessions(EQUITY, "s", "live")) == 21
    assert values(store) == [(DAY, "1")]
