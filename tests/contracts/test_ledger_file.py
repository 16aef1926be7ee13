"""A ledger is made once and whole. Where it is missing, empty or cut, it is refused: a bot that forgot its orders would trade anew."""

import shutil
import sqlite3
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.markets import XNYS
from tradebot_core.errors import StoreError
from tradebot_core.interfaces import Ledger
from tradebot_core.stores.file_store import FileStore
from tradebot_core.stores.sqlite_ledger import SqliteLedger

ROOT = Path(__file__).parents[2]
AT = datetime(2024, 1, 3, 15, tzinfo=UTC)


def opened(folder: Path) -> Ledger:
    return FileStore(folder, XNYS).ledger


@pytest.fixture
def folder(tmp_path) -> Path:
    opened(tmp_path / "store").halt("odd prices", AT)
    return tmp_path / "store"


@pytest.fixture
def ledger(folder) -> Path:
    return folder / "ledger.sqlite"


@pytest.mark.parametrize("left", [b"", b"S", b"\0"])
@pytest.mark.parametrize("marked", [True, False], ids=["with its marker", "older than the marker"])
def test_a_ledger_cut_to_nothing_is_refused_and_left_as_it_is(folder, ledger, left, marked):
    ledger.write_bytes(left)
    if not marked:
        (folder / "ledger.sqlite.made").unlink()
    with pytest.raises(StoreError) as refused:
        opened(folder)
    assert f"{ledger} is empty ({len(left)} bytes)" in str(refused.value)
    assert "Restore it from a backup, then `tradebot reconcile`" in str(refused.value)
    assert "Only where this store never sent an order" in str(refused.value)
    assert ledger.read_bytes() == left


def test_a_ledger_that_is_gone_is_refused_and_none_is_made_in_its_place(folder, ledger):
    ledger.unlink()
    with pytest.raises(StoreError, match=r"ledger\.sqlite is missing, and ledger\.sqlite\.made says there was one"):
        opened(folder)
    assert not ledger.exists()


def test_what_sqlite_had_not_written_into_the_file_yet_is_a_witness_too(folder, ledger):
    ledger.unlink()
    (folder / "ledger.sqlite.made").unlink()
    (folder / "ledger.sqlite-wal").write_bytes(b"what a kill left behind")
    with pytest.raises(StoreError, match=r"missing, and ledger\.sqlite-wal says"):
        opened(folder)
    assert not ledger.exists()


def test_every_other_cut_is_refused_too(folder, ledger):
    whole = ledger.read_bytes()
    for size in [2, 99, 100, 511, 512, *range(1024, len(whole), 1024)]:
        ledger.write_bytes(whole[:size])
        with pytest.raises(StoreError, match=r"ledger\.sqlite"):
            opened(folder).halted()


def test_a_database_that_holds_no_ledger_is_refused_and_left_as_it_is(folder, ledger):
    ledger.unlink()
    with closing(sqlite3.connect(ledger)) as database:
        database.execute("CREATE TABLE notes (text)")
    before = ledger.read_bytes()
    with pytest.raises(StoreError, match=r"is a database without a ledger in it"):
        opened(folder)
    assert ledger.read_bytes() == before


def test_a_ledger_that_goes_while_it_is_in_use_is_not_made_anew(folder, ledger):
    held = opened(folder)
    ledger.unlink()
    with pytest.raises(StoreError, match=r"ledger\.sqlite cannot be used"):
        held.halted()
    assert not ledger.exists()


def test_a_restored_ledger_is_taken_and_so_is_one_moved_to_a_new_store(folder, ledger, tmp_path):
    backup = ledger.read_bytes()
    ledger.write_bytes(b"")
    ledger.write_bytes(backup)
    assert opened(folder).halted() == "odd prices"
    (tmp_path / "other").mkdir()
    shutil.copy(ledger, tmp_path / "other")
    assert opened(tmp_path / "other").halted() == "odd prices"
    assert (tmp_path / "other" / "ledger.sqlite.made").exists()


def test_a_ledger_from_before_there_was_a_marker_gains_one_when_it_is_opened(folder):
    (folder / "ledger.sqlite.made").unlink()
    assert opened(folder).halted() == "odd prices"
    assert (folder / "ledger.sqlite.made").exists()


def test_one_ledger_is_made_however_many_want_it_first(tmp_path):
    paths = [tmp_path / str(n) / "ledger.sqlite" for n in range(5)]
    for path in paths:
        with ThreadPoolExecutor(8) as pool:
            for n, _ in enumerate(pool.map(lambda n, path=path: SqliteLedger(path).halt(str(n), AT), range(8))):
                assert n < 8
        with closing(sqlite3.connect(path)) as database:
            assert database.execute("SELECT COUNT(*) FROM halts").fetchone() == (8,)
        assert sorted(file.name for file in path.parent.iterdir()) == [".lock", "ledger.sqlite", "ledger.sqlite.made"]


def test_killed_at_any_step_of_its_making_it_is_made_by_the_next_who_comes(tmp_path):
    """The process ends itself at its n-th event that touches a file of the ledger (audit hook), for each n until it lives."""
    script = textwrap.dedent("""
        import os, sys
        from pathlib import Path
        from tradebot_core.stores.sqlite_ledger import SqliteLedger
        path, left = Path(sys.argv[1]), int(sys.argv[2])
        def watch(event, arguments):
            global left
            if "ledger.sqlite" in str(arguments[:1]):
                left -= 1
                if left < 0:
                    os._exit(9)
        sys.addaudithook(watch)
        SqliteLedger(path)
    """)
    for step in range(40):
        path = tmp_path / str(step) / "ledger.sqlite"
        ended = subprocess.run([sys.executable, "-c", script, str(path), str(step)], cwd=ROOT, check=False).returncode
        assert ended in (0, 9)
        SqliteLedger(path).halt("it works", AT)
        assert SqliteLedger(path).halted() == "it works"
        assert not list(path.parent.glob("*.new*"))
        if ended == 0:
            break
    else:
        pytest.fail("the making of a ledger has no end")
    assert step > 4
