"""Company facts as the SEC writes them: what enters, what is refused and why, and from which instant each fact was known."""

import json
import zipfile
from datetime import UTC, date, datetime
from hashlib import sha256
from pathlib import Path

import polars as pl
import pytest

from tests.real_data import REAL_DATA
from tradebot_core.calendar import xnys
from tradebot_core.collectors.edgar import EdgarFacts
from tradebot_core.errors import CorruptInput, DataError
from tradebot_core.interfaces import Batch
from tradebot_core.model.tables import FACTS, INSTANT

CIK = 320193
START, END = date(2009, 1, 2), date(2020, 12, 31)
ACCESSION = "0000320193-15-000001"
ROW = {"start": "2014-09-28", "end": "2015-09-26", "val": 100, "accn": ACCESSION, "form": "10-K", "filed": "2015-10-28"}
LABELS = {"fy": 2015, "fp": "FY"}


def company(*rows: dict, cik: int | str = CIK, taxonomy: str = "us-gaap", tag: str = "Revenues", unit: str = "USD") -> dict:
    return {"cik": cik, "entityName": "Sample", "facts": {taxonomy: {tag: {"label": tag, "units": {unit: list(rows)}}}}}


def write(folder: Path, document: dict | str | bytes, cik: int = CIK) -> Path:
    content = (
        document if isinstance(document, bytes) else (document if isinstance(document, str) else json.dumps(document)).encode()
    )
    folder.mkdir(exist_ok=True)
    (folder / f"CIK{cik:010d}.json").write_bytes(content)
    return folder


def collect(path: Path, *ciks: int, end: date = END, submissions: Path | None = None, **params) -> Batch:
    securities = pl.DataFrame({"cik": list(ciks or (CIK,))}, schema={"cik": pl.Int64})
    collector = EdgarFacts(EdgarFacts.Params(path=path, submissions_path=submissions, **params), xnys())
    (batch,) = collector.collect(securities, START, end)
    return batch


def rules(batch: Batch) -> list[str]:
    return [record.rule for record in batch.rejected]


# What enters --------------------------------------------------------------------------------------------------------------


def test_a_fact_keeps_its_period_its_filing_and_its_value(tmp_path):
    batch = collect(write(tmp_path, company({**ROW, **LABELS, "frame": "CY2015"})))
    assert dict(batch.rows.schema) == {**FACTS.columns, "known_at": INSTANT}
    assert batch.rows.rows() == [
        (
            *(CIK, "us-gaap", "Revenues", "USD", date(2014, 9, 28), date(2015, 9, 26), ACCESSION, 100.0, "10-K"),
            *(2015, "FY", date(2015, 10, 28), datetime(2015, 10, 29, 10, 0, tzinfo=UTC)),
        )
    ]
    assert (batch.source, rules(batch)) == ("sec_edgar", [])


def test_an_instant_has_no_start_and_labels_may_be_missing(tmp_path):
    balance = {key: value for key, value in ROW.items() if key != "start"}
    row = collect(write(tmp_path, company({**balance, "fy": None, "fp": None}, tag="Assets"))).rows.row(0, named=True)
    assert (row["period_start"], row["fiscal_year"], row["fiscal_period"]) == (None, None, None)


def test_a_fact_reported_twice_alike_is_one_fact(tmp_path):
    batch = collect(write(tmp_path, company(ROW, {**ROW, "frame": "CY2015"}, {**ROW, "fy": 2015})))
    assert (batch.rows.height, rules(batch)) == (1, [])


def test_facts_known_after_the_cutoff_of_the_last_session_are_left_for_later(tmp_path):
    folder = write(tmp_path, company(ROW))
    assert collect(folder, end=date(2015, 10, 28)).rows.is_empty()
    assert collect(folder, end=date(2015, 10, 29)).rows.height == 1


def test_only_the_taxonomies_and_tags_asked_for_are_read(tmp_path):
    folder = write(tmp_path, company(ROW, taxonomy="srt", tag="Oil"))
    assert rules(collect(folder)) == ["no_facts"]
    assert collect(folder, taxonomies=("srt",)).rows["tag"].to_list() == ["Oil"]
    assert collect(folder, taxonomies=("srt",), tags=("Gas",)).rows.is_empty()


def test_zip_folder_and_single_file_say_the_same(tmp_path):
    folder = write(tmp_path / "folder", company(ROW))
    archive = tmp_path / "companyfacts.zip"
    with zipfile.ZipFile(archive, "w") as bundle:
        bundle.write(folder / "CIK0000320193.json", "CIK0000320193.json")
    single = tmp_path / "apple.json"
    single.write_text(json.dumps(company(ROW)))
    for path in (archive, single):
        assert collect(path).rows.equals(collect(folder).rows)


def test_issuers_come_in_order_of_cik_whatever_the_order_of_securities(tmp_path):
    write(tmp_path, company(ROW, cik=7), cik=7)
    write(tmp_path, company(ROW))
    assert collect(tmp_path, CIK, 7, CIK).rows["cik"].to_list() == [7, CIK]


def test_no_securities_means_nothing_to_collect(tmp_path):
    collector = EdgarFacts(EdgarFacts.Params(path=write(tmp_path, company(ROW))), xnys())
    assert list(collector.collect(pl.DataFrame(schema={"cik": pl.Int64}), START, END)) == []


# What is refused ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"end": "2014-01-31"}, "end_before_start"),
        ({"accn": ""}, "missing_accession"),
        ({"form": ""}, "missing_form"),
        ({"filed": "2015-09-25"}, "filed_before_period_end"),
        ({"filed": "2099-10-28", "accn": "0000320193-99-000001"}, "filed_outside_calendar"),
        ({"filed": "2019-10-28"}, "filed_after_accession"),
        ({"accn": "0000320193-16-000001"}, "filed_before_accession"),
        ({"val": "a lot"}, "malformed"),
        ({"val": None}, "malformed"),
        ({"val": True}, "malformed"),
        ({"val": float("nan")}, "not_finite"),
        ({"val": float("-inf")}, "not_finite"),
        ({"end": "2015-02-30"}, "malformed"),
        ({"filed": None}, "malformed"),
    ],
)
def test_a_bad_fact_is_refused_and_the_others_enter(tmp_path, change, rule):
    good = {**ROW, "val": 7, "accn": "0000320193-15-000002"}
    batch = collect(write(tmp_path, company({**ROW, **change}, good)))
    assert rules(batch) == [rule]
    assert batch.rows["value"].to_list() == [7]
    assert batch.rejected[0].record["file"] == "CIK0000320193.json"
    assert batch.rejected[0].reason
    json.dumps(dict(batch.rejected[0].record), allow_nan=False)


@pytest.mark.parametrize("field", ["accn", "filed", "form", "end", "val"])
def test_a_fact_without_a_field_it_needs_is_refused(tmp_path, field):
    batch = collect(write(tmp_path, company({key: value for key, value in ROW.items() if key != field})))
    assert (rules(batch), batch.rows.height) == (["malformed"], 0)
    assert field in batch.rejected[0].reason


def test_two_values_for_one_fact_in_one_filing_are_both_refused(tmp_path):
    batch = collect(write(tmp_path, company(ROW, {**ROW, "val": 101})))
    assert (rules(batch), batch.rows.height) == (["conflicting_versions"] * 2, 0)


def test_a_note_may_look_ahead_where_a_statement_may_not(tmp_path):
    coming = {**ROW, "start": "2016-01-01", "end": "2016-12-31"}
    assert collect(write(tmp_path / "note", company(coming, tag="FutureAmortizationExpenseYearTwo"))).rows.height == 1
    assert rules(collect(write(tmp_path / "face", company(coming)))) == ["filed_before_period_end"]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<!DOCTYPE html><html>Your Request Originates from an Undeclared Automated Tool</html>",
        json.dumps(company(ROW)).encode()[:-40],
        b"[1, 2, 3]",
        b'{"cik": 320193}',
        b'{"cik": "apple", "facts": {}}',
        b"\xff\xfe{}",
        b"[" * 100_000,
    ],
    ids=["empty", "web page", "truncated", "list", "no facts key", "no number", "not UTF-8", "nested without end"],
)
def test_a_file_that_cannot_be_read_is_quarantined_whole_and_the_others_go_on(tmp_path, content):
    write(tmp_path, content)
    write(tmp_path, company(ROW, cik=7), cik=7)
    batch = collect(tmp_path, CIK, 7)
    assert batch.rows["cik"].to_list() == [7]
    (refused,) = batch.rejected
    assert refused.rule == "corrupt_file"
    assert (refused.record["file"], refused.record["sha256"]) == ("CIK0000320193.json", sha256(content).hexdigest())


def test_a_file_about_another_company_is_quarantined(tmp_path):
    batch = collect(write(tmp_path, company(ROW, cik=789019)))
    assert (rules(batch), batch.rows.height) == (["cik_mismatch"], 0)


def test_an_issuer_without_a_file_is_reported_once_and_alike_each_time(tmp_path):
    folder = write(tmp_path, company(ROW))
    batch = collect(folder, CIK, 7)
    (missing,) = batch.rejected
    assert (missing.rule, missing.record) == ("no_facts", {"cik": 7})
    assert batch.rejected == collect(folder, CIK, 7, end=date(2016, 1, 4)).rejected


def test_an_issuer_whose_file_is_empty_of_facts_is_reported(tmp_path):
    batch = collect(write(tmp_path, {"cik": CIK, "entityName": "", "facts": {}}))
    assert (rules(batch), batch.rows.height) == (["no_facts"], 0)


def test_a_damaged_member_of_a_zip_costs_its_issuer_only(tmp_path):
    archive = tmp_path / "companyfacts.zip"
    with zipfile.ZipFile(archive, "w") as bundle:
        bundle.writestr("CIK0000320193.json", json.dumps(company(ROW)))
        bundle.writestr("CIK0000000007.json", json.dumps(company(ROW, cik=7)))
    archive.write_bytes(archive.read_bytes().replace(b"Revenues", b"Rubbishs", 1))
    batch = collect(archive, CIK, 7)
    assert (rules(batch), batch.rows["cik"].to_list()) == (["corrupt_file"], [7])


def test_a_missing_path_says_what_to_do(tmp_path):
    with pytest.raises(DataError, match=r"does not exist.*companyfacts\.zip.*params\.path"):
        collect(tmp_path / "nothing.zip")


def test_a_zip_that_is_no_zip_is_corrupt_input(tmp_path):
    (tmp_path / "companyfacts.zip").write_text("<html>")
    with pytest.raises(CorruptInput, match="is not a readable zip"):
        collect(tmp_path / "companyfacts.zip")


# When it was known --------------------------------------------------------------------------------------------------------


def submissions(folder: Path, *filings: tuple[str, str, str, str], page: str = "") -> Path:
    """Filings as (accession, filing date, acceptanceDateTime, form)."""
    names = ("accessionNumber", "filingDate", "acceptanceDateTime", "form")
    columns = dict(zip(names, map(list, zip(*filings, strict=True)), strict=True))
    document = columns if page else {"cik": str(CIK), "filings": {"recent": columns, "files": []}}
    folder.mkdir(exist_ok=True)
    (folder / f"CIK{CIK:010d}{page}.json").write_text(json.dumps(document))
    return folder


# One filing each that only one of the two clocks explains: 06:01 is night in New York if UTC, 01:30 is night there if local.
NEW_YORK_CLOCK = ("0000320193-25-000079", "2025-10-31", "2025-10-31T06:01:26.000Z", "10-K")
UTC_CLOCK = ("0000320193-25-000080", "2025-11-04", "2025-11-04T01:30:00.000Z", "10-Q")


def known_at(tmp_path: Path, filed: str, accepted: str, *clock: tuple[str, str, str, str], form: str = "10-K") -> datetime:
    times = submissions(tmp_path / "submissions", (ACCESSION, filed, accepted, form), *clock)
    facts = write(tmp_path / "facts", company({**ROW, "filed": filed}))
    return collect(facts, submissions=times).rows["known_at"].item()


def test_a_filing_accepted_by_half_past_five_is_known_a_quarter_of_an_hour_later(tmp_path):
    known = known_at(tmp_path, "2015-10-28", "2015-10-28T16:31:09.000Z", NEW_YORK_CLOCK)
    assert known == datetime(2015, 10, 28, 20, 46, 9, tzinfo=UTC)


def test_a_filing_accepted_later_is_known_at_six_of_the_next_session(tmp_path):
    friday_evening = known_at(tmp_path, "2015-11-02", "2015-10-30T18:12:36.000Z", NEW_YORK_CLOCK)
    assert friday_evening == datetime(2015, 11, 2, 11, 0, tzinfo=UTC)


def test_a_filing_accepted_at_the_deadline_is_still_of_the_day(tmp_path):
    assert known_at(tmp_path, "2015-10-28", "2015-10-28T17:30:00.000Z", NEW_YORK_CLOCK) == datetime(
        2015, 10, 28, 21, 45, tzinfo=UTC
    )


def test_a_filing_is_not_known_before_its_filing_date_although_the_exchange_is_open(tmp_path):
    """EDGAR rests on Columbus Day; the exchange does not."""
    friday_evening = known_at(tmp_path, "2015-10-13", "2015-10-09T19:00:00.000Z", NEW_YORK_CLOCK)
    assert friday_evening == datetime(2015, 10, 13, 10, 0, tzinfo=UTC)


def test_a_filing_of_good_friday_is_known_on_monday(tmp_path):
    good_friday = known_at(tmp_path, "2016-03-25", "2016-03-25T12:00:00.000Z", NEW_YORK_CLOCK)
    assert good_friday == datetime(2016, 3, 28, 10, 0, tzinfo=UTC)


def test_the_clock_of_an_issuer_whose_times_are_utc_is_read_as_utc(tmp_path):
    """18:03 with a Z: two in the afternoon if UTC, and after the deadline if New York's."""
    assert known_at(tmp_path, "2015-10-28", "2015-10-28T18:03:00.000Z", UTC_CLOCK) == datetime(2015, 10, 28, 18, 18, tzinfo=UTC)


def test_in_doubt_the_clock_is_new_yorks_which_is_later(tmp_path):
    assert known_at(tmp_path, "2015-10-28", "2015-10-28T15:00:00.000Z") == datetime(2015, 10, 28, 19, 15, tzinfo=UTC)


def test_an_acceptance_after_the_filing_date_is_believed_by_its_date_alone(tmp_path):
    contradiction = known_at(tmp_path, "2015-10-28", "2015-10-29T10:00:00.000Z", NEW_YORK_CLOCK)
    assert contradiction == datetime(2015, 10, 30, 10, 0, tzinfo=UTC)


def test_a_filing_without_acceptance_time_counts_from_the_session_after_its_date(tmp_path):
    times = submissions(tmp_path / "submissions", NEW_YORK_CLOCK)
    facts = write(tmp_path / "facts", company({**ROW, "filed": "2015-11-25"}))
    known = collect(facts, submissions=times).rows["known_at"].item()
    assert known == datetime(2015, 11, 27, 11, 0, tzinfo=UTC)  # the 26th is Thanksgiving


def test_older_pages_of_the_submissions_are_read(tmp_path):
    times = submissions(tmp_path / "submissions", NEW_YORK_CLOCK)
    submissions(times, (ACCESSION, "2015-10-28", "2015-10-28T16:31:09.000Z", "10-K"), page="-submissions-001")
    known = collect(write(tmp_path / "facts", company(ROW)), submissions=times).rows["known_at"].item()
    assert known == datetime(2015, 10, 28, 20, 46, 9, tzinfo=UTC)


@pytest.mark.parametrize("content", ["<html>", "{}", '{"filings": {"recent": {"accessionNumber": ["a"]}}}'])
def test_unreadable_submissions_cost_the_times_and_not_the_facts(tmp_path, content):
    times = write(tmp_path / "submissions", content)
    batch = collect(write(tmp_path / "facts", company(ROW)), submissions=times)
    assert batch.rows["known_at"].to_list() == [datetime(2015, 10, 29, 10, 0, tzinfo=UTC)]
    assert rules(batch) == ["corrupt_submissions"]


# The SEC's own files ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sec() -> Batch:
    edgar = REAL_DATA / "edgar"
    if not edgar.is_dir():
        pytest.skip(f"no real data at {REAL_DATA}; set TRADEBOT_REAL_DATA")
    ciks = pl.read_csv(edgar / "securities.csv")["cik"]
    return collect(edgar / "companyfacts.zip", *ciks, submissions=edgar / "submissions.zip", end=date(2026, 11, 20))


def test_the_companies_of_the_sec_files_are_all_read(sec):
    assert sec.rows["cik"].n_unique() == 45
    assert sec.rows.height > 174_000


def test_of_the_sec_files_only_impossible_dates_are_refused(sec):
    assert {rule: rules(sec).count(rule) for rule in set(rules(sec))} == {
        "filed_before_accession": 60,  # Salesforce: two filings of 2022 dated 2020 and 2021
        # Walmart: a balance of December 2012 in a filing of March 2012; P&G, three times: maturities on the day of next year's end.
        "filed_before_period_end": 4,
    }


def test_filings_are_known_neither_before_their_date_nor_long_after(sec):
    delay_days = sec.rows.select((pl.col("known_at").dt.date() - pl.col("filed")).dt.total_days())["known_at"]
    assert delay_days.min() == 0
    assert delay_days.max() <= 5


@pytest.mark.parametrize(
    ("cik", "accession", "expected"),
    [
        (320193, "0001193125-15-356351", datetime(2015, 10, 28, 20, 46, 9, tzinfo=UTC)),  # New York's clock, 16:31:09
        (320193, "0000320193-19-000119", datetime(2019, 10, 31, 10, 0, tzinfo=UTC)),  # 18:12:36 of the 30th
    ],
)
def test_apple_filings_were_known_when_new_york_could_read_them(sec, cik, accession, expected):
    rows = sec.rows.filter(pl.col("cik") == cik, pl.col("accession") == accession)
    assert rows["known_at"].unique().to_list() == [expected]


def test_filings_of_issuers_on_utc_are_not_put_off_to_the_next_session(sec):
    """NVIDIA, AMD, Microsoft and others file after the close, at 20:00 to 22:00 UTC, on the filing date itself."""
    nvidia = sec.rows.filter(pl.col("cik") == 1045810, pl.col("filed") >= date(2021, 1, 1))
    same_day = nvidia.filter(pl.col("known_at").dt.convert_time_zone("America/New_York").dt.date() == pl.col("filed"))
    assert same_day.height / nvidia.height > 0.9
