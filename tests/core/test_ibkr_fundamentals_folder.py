"""Fundamental reports from a folder, without a gateway: whose they are and of when stands in the files."""

from datetime import UTC, date, datetime
from hashlib import sha256
from pathlib import Path

import polars as pl
import pytest

from tests.ibkr.reports import CIK, SUMMARY, annual, snapshot
from tests.real_data import REAL_DATA
from tradebot_core.calendar import xnys
from tradebot_core.collectors.ibkr_fundamentals import IbkrFundamentals
from tradebot_core.collectors.report_archive import ReportArchive
from tradebot_core.errors import DataError, StoreError
from tradebot_core.ibkr.reports.record import ReportType
from tradebot_core.interfaces import Batch
from tradebot_core.model.tables import FACTS, INSTANT
from tradebot_core.stores.file_store import FileStore

REAL = REAL_DATA
DAY = date(2024, 6, 28)
AT = datetime(2024, 3, 1, 23, 0, 5, tzinfo=UTC)


def collect(folder: Path, *ciks: int, end: date = DAY) -> Batch:
    collector = IbkrFundamentals(IbkrFundamentals.Params(path=folder), xnys())
    batches = list(collector.collect(pl.DataFrame({"cik": list(ciks or [CIK])}), end, end))
    rows = pl.concat([pl.DataFrame(schema={**FACTS.columns, "known_at": INSTANT}), *(batch.rows for batch in batches)])
    return Batch(FACTS, rows, "test", tuple(record for batch in batches for record in batch.rejected))


def rules(batch: Batch) -> list[str]:
    return [record.rule for record in batch.rejected]


def test_a_file_of_any_name_is_read_by_what_stands_in_it(tmp_path: Path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "my alpha.XML").write_text(annual())
    (tmp_path / "notes.txt").write_text("not a report")
    batch = collect(tmp_path)
    assert batch.rows.select("tag", "value", "accession").rows() == [("RTLR", 1e8, "ibkr-1001-10-K-2024-02-15")]
    assert batch.rejected == ()


def test_what_a_file_of_ones_own_shows_as_restated_counts_from_the_session_after_its_latest_day(tmp_path: Path):
    (tmp_path / "a.xml").write_text(annual(update="RES"))
    assert collect(tmp_path).rows["known_at"].to_list() == [datetime(2024, 2, 21, 11, tzinfo=UTC)]  # modified 2024-02-20


def test_a_kept_report_says_in_its_name_whose_it_is_and_when_it_came(tmp_path: Path):
    at = AT.replace(month=10)
    path = ReportArchive(tmp_path).keep(CIK, ReportType.SUMMARY, SUMMARY, at)
    assert path.name == f"CIK0000001001_ReportsFinSummary_20241001T230005Z_{sha256(SUMMARY.encode()).hexdigest()[:16]}.xml"
    batch = collect(tmp_path, end=date(2024, 10, 2))
    assert (set(batch.rows["known_at"]), batch.rows.height, batch.rejected) == ({at}, 6, ())


def test_a_number_of_a_day_after_the_report_was_received_is_refused(tmp_path: Path):
    ReportArchive(tmp_path).keep(CIK, ReportType.SUMMARY, SUMMARY, AT)
    batch = collect(tmp_path)
    assert sorted(batch.rows["period_end"]) == [date(2022, 12, 31), date(2023, 9, 30)]
    assert rules(batch) == ["period_in_the_future"] * 4


def test_the_same_report_is_not_kept_twice_and_a_changed_one_is_kept_beside_it(tmp_path: Path):
    archive = ReportArchive(tmp_path)
    assert archive.keep(CIK, ReportType.STATEMENTS, annual("1.0"), AT) is not None
    assert archive.keep(CIK, ReportType.STATEMENTS, annual("1.0"), AT.replace(day=2)) is None
    assert archive.keep(CIK, ReportType.STATEMENTS, annual("2.0"), AT.replace(day=3)) is not None
    assert archive.keep(CIK, ReportType.STATEMENTS, annual("1.0"), AT.replace(day=4)) is not None  # it changed back
    batch = collect(tmp_path)
    assert batch.rows.sort("known_at").select("value", "known_at").rows() == [
        (1e6, datetime(2024, 2, 16, 11, tzinfo=UTC)),
        (2e6, AT.replace(day=3)),
        (1e6, AT.replace(day=4)),
    ]


def test_collecting_again_adds_nothing_to_the_store(tmp_path: Path):
    archive, store = ReportArchive(tmp_path / "reports"), FileStore(tmp_path / "store", xnys())
    archive.keep(CIK, ReportType.STATEMENTS, annual("1.0"), AT)
    now = datetime(2024, 7, 1, tzinfo=UTC)
    assert store.append(collect(tmp_path / "reports"), now) == 1
    archive.keep(CIK, ReportType.STATEMENTS, annual("2.0"), AT.replace(day=3))
    assert store.append(collect(tmp_path / "reports"), now) == 1
    assert store.append(collect(tmp_path / "reports"), now) == 0
    assert store.quarantined().is_empty()


def test_what_is_known_after_the_cut_off_is_left_for_later(tmp_path: Path):
    (tmp_path / "a.xml").write_text(annual())
    assert collect(tmp_path, end=date(2024, 2, 15)).rows.is_empty()
    assert collect(tmp_path, end=date(2024, 2, 16)).rows.height == 1


def test_reports_of_other_companies_are_passed_over(tmp_path: Path):
    (tmp_path / "a.xml").write_text(annual())
    ReportArchive(tmp_path).keep(7, ReportType.STATEMENTS, "<broken", AT)
    batch = collect(tmp_path, 99)
    assert (batch.rows.height, batch.rejected) == (0, ())


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        (snapshot(cik=None), "no_issuer"),
        (SUMMARY, "no_issuer"),
        (annual().replace("<LastModified>2024-02-20</LastModified>", "").replace('Date="2024-02-15"', 'Date=""'), "undated"),
        ("<html></html>", "web_page"),
        ("", "empty"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_with_its_hash_and_the_others_go_on(tmp_path: Path, content, rule):
    (tmp_path / "a.xml").write_text(content)
    (tmp_path / "b.xml").write_text(annual())
    batch = collect(tmp_path)
    assert batch.rows.height == 1
    assert [(r.rule, r.record["file"], r.record["sha256"]) for r in batch.rejected] == [
        (rule, "a.xml", sha256(content.encode()).hexdigest())
    ]


def test_a_report_about_another_company_than_was_asked_for_is_refused(tmp_path: Path):
    ReportArchive(tmp_path).keep(7, ReportType.STATEMENTS, annual(), AT)
    batch = collect(tmp_path, 7)
    assert (batch.rows.height, rules(batch)) == (0, ["cik_mismatch"])
    assert "CIK 7 was asked for, and the report is about CIK 1001" in batch.rejected[0].reason


def test_a_kept_report_that_was_changed_since_is_refused(tmp_path: Path):
    path = ReportArchive(tmp_path).keep(CIK, ReportType.STATEMENTS, annual("1.0"), AT)
    path.write_text(annual("9.0"))
    assert rules(collect(tmp_path)) == ["changed_file"]


def test_a_missing_folder_is_named_with_what_to_do():
    with pytest.raises(DataError, match=r"give params\.account"):
        collect(Path("/nowhere/reports"))


def test_the_source_says_what_it_cannot_be_trusted_for():
    assert "latest version of a period" in IbkrFundamentals.caveat


@pytest.mark.skipif(not (REAL / "ibkr").is_dir(), reason=f"no real reports in {REAL}/ibkr (TRADEBOT_REAL_DATA)")
def test_the_folder_of_real_reports_is_read():
    batch = collect(REAL / "ibkr", 18230, 2488, end=date(2025, 8, 22))
    assert dict(batch.rows.group_by("cik").len().iter_rows()) == {18230: 858, 2488: 3}
    assert rules(batch) == ["conflicting_versions"]


def test_a_folder_that_cannot_be_written_is_named_with_the_mend(tmp_path):
    (tmp_path / "reports").write_text("a file where the folder should be")
    with pytest.raises(StoreError, match=r"reports.* could not be written") as failure:
        ReportArchive(tmp_path / "reports").keep(CIK, ReportType.SNAPSHOT, "<x/>", AT)
    assert "correct the rights of the folder" in failure.value.mend
