"""The kill switch as a file: that it is there is the halt."""

import json
import os
from datetime import UTC, datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tradebot_core.errors import StoreError
from tradebot_core.stores.halt_file import HaltFile
from tradebot_core.stores.sqlite_ledger import SqliteLedger

AT = datetime(2026, 11, 24, 14, tzinfo=UTC)


def test_it_says_why_when_and_by_whom(tmp_path):
    file = HaltFile(tmp_path)
    file.write("odd prices", AT, "jane")
    assert json.loads((tmp_path / "HALT").read_text()) == {"reason": "odd prices", "at": AT.isoformat(), "by": "jane"}
    assert file.reason() == "odd prices"
    assert os.listdir(tmp_path) == ["HALT"]


def test_the_last_reason_counts_and_without_the_file_there_is_none(tmp_path):
    file = HaltFile(tmp_path)
    assert file.reason() is None
    file.write("odd", AT, "jane")
    file.write("still odd", AT, "jane")
    assert file.reason() == "still odd"
    file.remove()
    file.remove()
    assert file.reason() is None


def test_file_and_folder_are_on_the_disk_before_it_returns(tmp_path, monkeypatch):
    synced, real = [], os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: (synced.append(os.readlink(f"/proc/self/fd/{fd}")), real(fd)))
    HaltFile(tmp_path).write("odd", AT, "jane")
    assert synced[0] == synced[-1] == str(tmp_path)
    assert [name for name in synced if name.endswith(".new")]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.binary(max_size=60) | st.sampled_from([b"", b"{}", b"[]", b"null", b'{"reason": null}', b'{"reason": " "}', b"[" * 9999])
)
def test_whatever_it_holds_it_halts(tmp_path, content):
    (tmp_path / "HALT").write_bytes(content)
    assert HaltFile(tmp_path).reason()


def test_a_folder_or_a_broken_link_of_that_name_halts(tmp_path):
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "HALT").mkdir()
    (tmp_path / "HALT").symlink_to("nowhere")
    assert "reason cannot be read" in HaltFile(tmp_path / "one").reason()
    assert "reason cannot be read" in HaltFile(tmp_path).reason()
    with pytest.raises(StoreError, match="stays halted"):
        HaltFile(tmp_path / "one").remove()


def test_a_disk_that_is_full_halts_without_words(tmp_path, monkeypatch):
    def full(fd):
        if os.readlink(f"/proc/self/fd/{fd}").endswith(".new"):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    file = HaltFile(tmp_path)
    with pytest.raises(StoreError, match="No space left"):
        file.write("odd", AT, "jane")
    assert "reason cannot be read" in file.reason()
    assert os.listdir(tmp_path) == ["HALT"]


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "store").write_text("")
    with pytest.raises(StoreError, match="HALT cannot be written"):
        HaltFile(tmp_path / "store").write("odd", AT, "jane")
    assert "cannot be seen" in HaltFile(tmp_path / "store").reason()


def test_the_ledger_is_halted_by_its_row_or_by_the_file(tmp_path):
    ledger, file = SqliteLedger(tmp_path / "ledger.sqlite"), HaltFile(tmp_path)
    file.write("by file", AT, "jane")
    assert ledger.halted() == "by file"
    ledger.resume(AT)
    assert ledger.halted() == "by file"  # until it is removed
    file.remove()
    assert ledger.halted() is None
    ledger.halt("by row", AT)
    assert ledger.halted() == "by row"
