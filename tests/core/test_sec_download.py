"""The SEC's bulk files: not fetched without need, resumed where they broke off, replaced only by a whole newer one."""

import io
import zipfile
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from tests.sec_server import MAINTENANCE, UNDECLARED, FakeTime, Fault, SecServer, sec_server
from tradebot_core.clock import FixedClock
from tradebot_core.collectors import sec_download
from tradebot_core.collectors.sec_download import BulkFile
from tradebot_core.collectors.sec_http import SecClient, SecRefused, SecUnavailable
from tradebot_core.errors import StoreError

PLACE = "/Archives/edgar/daily-index/xbrl/companyfacts.zip"
MONDAY, TUESDAY = date(2026, 11, 2), date(2026, 11, 3)
MADE = datetime(2026, 11, 3, 8, tzinfo=UTC)  # 03:00 New York of Tuesday: it holds Monday's filings
NOW = datetime(2026, 11, 3, 23, tzinfo=UTC)


def bulk(*ciks: int, filler: int = 1000) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for cik in ciks:
            archive.writestr(f"CIK{cik:010d}.json", f'{{"cik": {cik}, "facts": {{}}, "filler": "{"x" * filler}"}}')
    return packed.getvalue()


ZIP = {"Content-Type": "application/zip"}
FIRST, SECOND = bulk(1, 2, 3), bulk(1, 2, 3, 4)


@pytest.fixture
def sec() -> Iterator[SecServer]:
    with sec_server() as server:
        server.files[PLACE] = FIRST
        server.modified[PLACE] = MADE
        yield server


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """A piece that breaks off within is lost; these files are small."""
    monkeypatch.setattr(sec_download, "CHUNK_BYTES", 100)


def at(folder: Path, sec: SecServer, now: datetime = NOW) -> BulkFile:
    client = SecClient("Jane Doe jane@doe.net", 10, FakeTime().limiter(), attempts=3, timeouts_s=(2, 2))
    return BulkFile(client, sec.url + PLACE, folder / "bulk" / "companyfacts.zip", FixedClock(now))


def ranges(sec: SecServer) -> list[str | None]:
    return [asked.headers.get("Range") for asked in sec.asked]


def test_a_file_that_is_not_here_is_fetched(tmp_path, sec):
    file = at(tmp_path, sec)
    assert file.refresh(TUESDAY)
    assert file.path.read_bytes() == FIRST and not file.part.exists()
    assert file.made() == TUESDAY


def test_a_file_made_after_the_day_asks_nothing(tmp_path, sec):
    at(tmp_path, sec).refresh(MONDAY)
    assert not at(tmp_path, sec).refresh(MONDAY)
    assert len(sec.asked) == 1


def test_a_file_that_may_lack_the_day_is_asked_for_and_not_sent_when_it_is_the_newest(tmp_path, sec):
    at(tmp_path, sec).refresh(TUESDAY)
    assert not at(tmp_path, sec).refresh(TUESDAY)
    assert [asked.status for asked in sec.asked] == [200, 304]


def test_a_newer_file_replaces_the_one_of_before(tmp_path, sec):
    at(tmp_path, sec).refresh(TUESDAY)
    sec.files[PLACE], sec.modified[PLACE] = SECOND, datetime(2026, 11, 4, 8, tzinfo=UTC)
    file = at(tmp_path, sec)
    assert file.refresh(TUESDAY)
    assert file.path.read_bytes() == SECOND and file.made() == date(2026, 11, 4)


def test_without_a_time_of_change_the_day_it_was_asked_for_counts(tmp_path, sec):
    del sec.modified[PLACE]
    file = at(tmp_path, sec)
    file.refresh(TUESDAY)
    assert file.made() == TUESDAY
    file.refresh(MONDAY)
    assert len(sec.asked) == 1


# Broken off -----------------------------------------------------------------------------------------------------------------


def test_what_breaks_off_goes_on_where_it_was(tmp_path, sec):
    sec.faults[PLACE] = [Fault(cut_to=700), Fault(cut_to=1500)]
    file = at(tmp_path, sec)
    assert file.refresh(TUESDAY)
    assert file.path.read_bytes() == FIRST
    assert ranges(sec) == [None, "bytes=700-", "bytes=1500-"]


def test_a_download_that_gets_on_is_not_given_up(tmp_path, sec):
    sec.faults[PLACE] = [Fault(cut_to=cut) for cut in range(100, 3000, 200)]
    file = at(tmp_path, sec)
    assert file.refresh(TUESDAY)
    assert file.path.read_bytes() == FIRST and len(sec.asked) == 16


def test_another_run_goes_on_where_one_gave_up(tmp_path, sec):
    sec.faults[PLACE] = [Fault(cut_to=700), Fault(503), Fault(503)]
    with pytest.raises(SecUnavailable, match="503"):
        at(tmp_path, sec).refresh(TUESDAY)
    file = at(tmp_path, sec)
    assert file.part.stat().st_size == 700
    assert file.refresh(TUESDAY)
    assert file.path.read_bytes() == FIRST and ranges(sec)[-1] == "bytes=700-"


def test_a_file_that_changed_meanwhile_is_begun_anew(tmp_path, sec):
    sec.faults[PLACE] = [Fault(cut_to=700), Fault(503), Fault(503)]
    with pytest.raises(SecUnavailable):
        at(tmp_path, sec).refresh(TUESDAY)
    sec.files[PLACE] = SECOND
    file = at(tmp_path, sec)
    assert file.refresh(TUESDAY)
    assert file.path.read_bytes() == SECOND
    assert [asked.status for asked in sec.asked][-1] == 200


def test_a_server_that_mixes_versions_is_not_believed(tmp_path, sec):
    other = {"Content-Range": f"bytes 700-{len(SECOND) - 1}/{len(SECOND)}", "ETag": '"other"', **ZIP}
    sec.faults[PLACE] = [Fault(cut_to=700), Fault(206, SECOND[700:], other)]
    file = at(tmp_path, sec)
    assert file.refresh(TUESDAY)
    assert file.path.read_bytes() == FIRST
    assert ranges(sec) == [None, "bytes=700-", None]


def test_a_server_that_knows_no_ranges_sends_it_whole(tmp_path, sec):
    sec.with_ranges = False
    sec.faults[PLACE] = [Fault(cut_to=700)]
    file = at(tmp_path, sec)
    assert file.refresh(TUESDAY)
    assert file.path.read_bytes() == FIRST


def test_a_part_larger_than_the_file_is_begun_anew(tmp_path, sec):
    sec.faults[PLACE] = [Fault(cut_to=700), Fault(416)]
    file = at(tmp_path, sec)
    assert file.refresh(TUESDAY)
    assert file.path.read_bytes() == FIRST and ranges(sec) == [None, "bytes=700-", None]


def test_a_part_that_was_whole_when_the_process_died_is_put_in_place_without_asking(tmp_path, sec, monkeypatch):
    file = at(tmp_path, sec)
    monkeypatch.setattr(Path, "replace", _die_on_zip(Path.replace))
    with pytest.raises(KeyboardInterrupt):
        file.refresh(TUESDAY)
    monkeypatch.undo()
    assert not file.path.exists()
    assert at(tmp_path, sec).refresh(TUESDAY)
    assert file.path.read_bytes() == FIRST and len(sec.asked) == 1


def _die_on_zip(replace):
    def dying(self: Path, target: Path) -> Path:
        if target.suffix == ".zip":
            raise KeyboardInterrupt
        return replace(self, target)

    return dying


# What is not put in place ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "cause"),
    [
        (Fault(200, MAINTENANCE), "a web page came"),
        (Fault(200, SECOND[:-30], ZIP), "no whole zip"),
        (Fault(200, b"", ZIP), "no whole zip"),
        (Fault(200, SECOND, {**ZIP, "Content-Encoding": "br"}), "packed"),
        (Fault(206, SECOND, ZIP), "which part"),
        (Fault(500), "500"),
        (Fault(reset=True), "connection failed"),
    ],
)
def test_a_bad_answer_leaves_the_file_of_before(tmp_path, sec, fault, cause):
    at(tmp_path, sec).refresh(TUESDAY)
    sec.faults[PLACE] = [fault] * 3
    with pytest.raises(SecUnavailable, match=cause) as failed:
        at(tmp_path, sec).refresh(TUESDAY)
    assert at(tmp_path, sec).path.read_bytes() == FIRST and failed.value.mend
    sec.files[PLACE] = SECOND
    assert at(tmp_path, sec).refresh(TUESDAY)
    assert at(tmp_path, sec).path.read_bytes() == SECOND


def test_a_file_that_has_lost_most_companies_is_not_put_in_place(tmp_path, sec):
    at(tmp_path, sec).refresh(TUESDAY)
    sec.files[PLACE] = bulk(1)
    with pytest.raises(SecUnavailable, match="holds 1 files of companies, and the one of before 3"):
        at(tmp_path, sec).refresh(TUESDAY)
    assert at(tmp_path, sec).path.read_bytes() == FIRST


def test_a_zip_of_nothing_is_not_put_in_place(tmp_path, sec):
    sec.files[PLACE] = bulk()
    with pytest.raises(SecUnavailable, match="holds 0 files"):
        at(tmp_path, sec).refresh(TUESDAY)
    assert not at(tmp_path, sec).path.exists()


def test_a_file_that_has_moved_is_named(tmp_path, sec):
    del sec.files[PLACE]
    with pytest.raises(SecUnavailable, match="There is no http"):
        at(tmp_path, sec).refresh(TUESDAY)


def test_a_refusal_stops_the_download(tmp_path, sec):
    sec.faults[PLACE] = [Fault(403, UNDECLARED)]
    with pytest.raises(SecRefused, match="Undeclared"):
        at(tmp_path, sec).refresh(TUESDAY)
    assert len(sec.asked) == 1


def test_a_full_disk_is_named_and_the_file_of_before_stays(tmp_path, sec, monkeypatch):
    at(tmp_path, sec).refresh(TUESDAY)
    sec.files[PLACE] = SECOND

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(sec_download.os, "fsync", full)
    with pytest.raises(StoreError, match="No space left on device"):
        at(tmp_path, sec).refresh(TUESDAY)
    assert at(tmp_path, sec).path.read_bytes() == FIRST
