"""The folder of the SEC's files: who is asked for, what is fetched again, and what an interruption costs."""

import json
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.sec_server import NO_SUCH_FILE, TOO_FAST, FakeTime, Fault, SecServer, sec_server
from tradebot_core.calendar import NEW_YORK
from tradebot_core.clock import FixedClock
from tradebot_core.collectors.kept_files import one_at_a_time, read_record
from tradebot_core.collectors.sec_http import SecClient, SecRefused, SecUnavailable
from tradebot_core.collectors.sec_index import DailyIndex, has_gap
from tradebot_core.collectors.sec_mirror import Mirror

CIKS = tuple(range(101, 109))
TUESDAY, WEDNESDAY, THURSDAY = date(2026, 11, 3), date(2026, 11, 4), date(2026, 11, 5)


def evening(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, 18, 5, tzinfo=NEW_YORK).astimezone(UTC)


def morning(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, 7, 0, tzinfo=NEW_YORK).astimezone(UTC)


class Edgar:
    """A small SEC behind a server: companies that file, and the index of each day that has been published."""

    def __init__(self, server: SecServer) -> None:
        self.server = server
        self.filings: dict[int, list[tuple[str, date, str, bool]]] = {}
        self.pages: dict[int, list[dict]] = {}
        self.published: dict[date, list[int]] = {}
        self._sequence = 0
        for cik in CIKS:
            self.file(cik, date(2026, 8, 3))

    def file(self, cik: int, day: date, form: str = "10-Q", xbrl: bool = True, facts: bool = True) -> str:
        self._sequence += 1
        accession = f"{cik:010d}-{day:%y}-{self._sequence:06d}"
        self.filings.setdefault(cik, []).insert(0, (accession, day, form, xbrl))
        self.publish(cik, facts)
        return accession

    def publish(self, cik: int, facts: bool = True) -> None:
        rows = self.filings[cik]
        columns = {
            "accessionNumber": [row[0] for row in rows],
            "filingDate": [row[1].isoformat() for row in rows],
            "acceptanceDateTime": [f"{row[1]}T16:30:00.000Z" for row in rows],
            "form": [row[2] for row in rows],
            "isXBRL": [int(row[3]) for row in rows],
        }
        main = {"cik": str(cik), "filings": {"recent": columns, "files": self.pages.get(cik, [])}}
        self.server.files[submissions(cik)] = json.dumps(main).encode()
        if facts:
            document = {"cik": cik, "facts": {"us-gaap": {"Assets": {"accn": [row[0] for row in rows if row[3]]}}}}
            self.server.files[facts_of(cik)] = json.dumps(document).encode()

    def index(self, day: date, *ciks: int) -> None:
        self.published[day] = list(ciks)
        lines = [f"{cik}|COMPANY {cik}, INC.|10-Q|{day:%Y%m%d}|edgar/data/{cik}/0000000{cik}-26-000001.txt" for cik in ciks]
        text = "Description: Daily Index\n\nCIK|Company Name|Form Type|Date Filed|File Name\n" + "-" * 80 + "\n"
        self.server.files[idx(day)] = (text + "".join(f"{line}\n" for line in lines)).encode()
        names = [f"{kind}.{on:%Y%m%d}.idx" for on in sorted(self.published) for kind in ("company", "form", "master")]
        listing = {"directory": {"item": [{"name": name, "type": "file"} for name in names], "name": "daily-index/"}}
        self.server.files["/Archives/edgar/daily-index/2026/QTR4/index.json"] = json.dumps(listing).encode()


def submissions(cik: int) -> str:
    return f"/submissions/CIK{cik:010d}.json"


def facts_of(cik: int) -> str:
    return f"/api/xbrl/companyfacts/CIK{cik:010d}.json"


def idx(day: date) -> str:
    return f"/Archives/edgar/daily-index/2026/QTR4/master.{day:%Y%m%d}.idx"


LISTING = "/Archives/edgar/daily-index/2026/QTR4/index.json"


@pytest.fixture
def server() -> Iterator[SecServer]:
    with sec_server() as running:
        yield running


@pytest.fixture
def edgar(server: SecServer) -> Edgar:
    return Edgar(server)


def mirror(folder: Path, edgar: Edgar, now: datetime) -> Mirror:
    client = SecClient("Jane Doe jane@doe.net", 10, FakeTime().limiter(), attempts=3, timeouts_s=(2, 2))
    url = edgar.server.url
    return Mirror(folder, client, DailyIndex(client, f"{url}/Archives/edgar"), url, FixedClock(now))


def sync(folder: Path, edgar: Edgar, now: datetime, ciks=CIKS, until: datetime | None = None):
    """What was asked for (path, status), and the rules of what could not be had."""
    before = len(edgar.server.asked)
    rejected = mirror(folder, edgar, now).sync(ciks, until or now)
    return edgar.server.since(before), [(record.record["cik"], record.rule) for record in rejected]


def on_disk(folder: Path, cik: int) -> tuple[bytes, bytes]:
    name = f"CIK{cik:010d}.json"
    return (folder / "companyfacts" / name).read_bytes(), (folder / "submissions" / name).read_bytes()


def served(edgar: Edgar, cik: int) -> tuple[bytes, bytes]:
    return edgar.server.files[facts_of(cik)], edgar.server.files[submissions(cik)]


# Who is asked for -----------------------------------------------------------------------------------------------------------


def test_a_new_company_is_fetched_whole(tmp_path, edgar):
    asked, rejected = sync(tmp_path, edgar, evening(TUESDAY), CIKS[:2])
    assert asked == [(path, 200) for cik in CIKS[:2] for path in (submissions(cik), facts_of(cik))]
    assert rejected == []
    assert [on_disk(tmp_path, cik) for cik in CIKS[:2]] == [served(edgar, cik) for cik in CIKS[:2]]


def test_only_companies_that_the_index_names_are_asked_for(tmp_path, edgar):
    sync(tmp_path, edgar, evening(TUESDAY))
    edgar.file(103, WEDNESDAY)
    edgar.index(TUESDAY, 999)
    edgar.index(WEDNESDAY, 103, 999)
    asked, rejected = sync(tmp_path, edgar, morning(THURSDAY), until=evening(WEDNESDAY))
    assert asked == [
        *((path, 200) for path in (LISTING, idx(TUESDAY), idx(WEDNESDAY))),
        (submissions(103), 200),
        (facts_of(103), 200),
    ]
    assert rejected == [] and on_disk(tmp_path, 103) == served(edgar, 103)


def test_on_the_evening_before_the_index_every_company_is_asked_and_only_the_one_that_filed_is_fetched(tmp_path, edgar):
    sync(tmp_path, edgar, evening(TUESDAY))
    edgar.index(TUESDAY)
    edgar.file(105, WEDNESDAY)
    asked, _ = sync(tmp_path, edgar, evening(WEDNESDAY))
    assert asked[0] == (LISTING, 200)
    expected = [(submissions(cik), 304) for cik in CIKS]
    expected[4:5] = [(submissions(105), 200), (facts_of(105), 200)]
    assert asked[1:] == expected
    assert on_disk(tmp_path, 105) == served(edgar, 105)


def test_a_filing_without_figures_does_not_fetch_the_facts_again(tmp_path, edgar):
    sync(tmp_path, edgar, evening(TUESDAY), CIKS[:1])
    edgar.file(101, WEDNESDAY, form="4", xbrl=False)
    assert sync(tmp_path, edgar, evening(WEDNESDAY), CIKS[:1])[0] == [(submissions(101), 200)]


def test_what_was_checked_after_the_range_asks_nothing(tmp_path, edgar):
    sync(tmp_path, edgar, evening(THURSDAY))
    assert sync(tmp_path, edgar, evening(THURSDAY + timedelta(days=300)), until=evening(WEDNESDAY)) == ([], [])
    assert sync(tmp_path, edgar, evening(THURSDAY), until=evening(THURSDAY)) == ([], [])


def test_a_later_filing_is_found_although_the_same_day_was_checked_before(tmp_path, edgar):
    noon = evening(TUESDAY) - timedelta(hours=6)
    sync(tmp_path, edgar, noon)
    edgar.file(102, TUESDAY)
    edgar.index(TUESDAY, 102)
    sync(tmp_path, edgar, morning(WEDNESDAY), until=evening(TUESDAY))
    assert on_disk(tmp_path, 102) == served(edgar, 102)


def test_a_holiday_has_no_index_and_leaves_no_gap(tmp_path, edgar):
    sync(tmp_path, edgar, evening(TUESDAY))
    edgar.index(TUESDAY)
    edgar.index(THURSDAY)  # as if Wednesday had been one
    asked, _ = sync(tmp_path, edgar, morning(THURSDAY + timedelta(days=2)))
    assert asked[-1][0] == submissions(CIKS[-1])  # Friday's is not out: they are asked
    edgar.index(THURSDAY + timedelta(days=1))
    asked, _ = sync(tmp_path, edgar, morning(THURSDAY + timedelta(days=3)))  # a Sunday
    assert asked == [(LISTING, 200)]


def test_a_new_quarter_without_a_listing_means_asking(tmp_path, edgar):
    sync(tmp_path, edgar, evening(TUESDAY))
    edgar.server.faults[LISTING] = [Fault(403, NO_SUCH_FILE, {"Content-Type": "application/xml"})]
    asked, _ = sync(tmp_path, edgar, evening(WEDNESDAY))
    assert asked == [(LISTING, 403), *((submissions(cik), 304) for cik in CIKS)]


@pytest.mark.parametrize("spoilt", ["cut", "gone", "page"])
def test_an_index_that_cannot_be_read_means_asking_every_company(tmp_path, edgar, spoilt):
    sync(tmp_path, edgar, evening(TUESDAY))
    edgar.file(104, WEDNESDAY)
    edgar.index(TUESDAY)
    edgar.index(WEDNESDAY, 104)
    if spoilt == "cut":
        edgar.server.files[idx(WEDNESDAY)] = edgar.server.files[idx(WEDNESDAY)][:-6]
    elif spoilt == "gone":
        del edgar.server.files[idx(WEDNESDAY)]
    else:
        edgar.server.files[idx(WEDNESDAY)] = b"<html>Back soon</html>"
    asked, _ = sync(tmp_path, edgar, morning(THURSDAY), until=evening(WEDNESDAY))
    assert [path for path, _ in asked if path.startswith("/submissions/")] == [submissions(cik) for cik in CIKS]
    assert on_disk(tmp_path, 104) == served(edgar, 104)


def test_after_a_long_gap_companies_are_asked_and_no_year_of_indexes_is_read(tmp_path, edgar):
    sync(tmp_path, edgar, evening(TUESDAY))
    asked, _ = sync(tmp_path, edgar, evening(TUESDAY + timedelta(days=400)))
    assert asked == [(submissions(cik), 304) for cik in CIKS]


def test_one_company_left_behind_does_not_make_the_others_read_old_indexes(tmp_path, edgar):
    sync(tmp_path, edgar, evening(TUESDAY - timedelta(days=100)), CIKS[:1])
    sync(tmp_path, edgar, evening(TUESDAY), CIKS[1:])
    edgar.index(TUESDAY)
    edgar.index(WEDNESDAY)
    asked, _ = sync(tmp_path, edgar, morning(THURSDAY), until=evening(WEDNESDAY))
    assert [path for path, _ in asked] == [LISTING, idx(TUESDAY), idx(WEDNESDAY), submissions(101)]


def test_two_companies_are_asked_themselves_instead_of_three_indexes(tmp_path, edgar):
    sync(tmp_path, edgar, evening(TUESDAY), CIKS[:2])
    asked, _ = sync(tmp_path, edgar, evening(THURSDAY), CIKS[:2])
    assert asked == [(submissions(cik), 304) for cik in CIKS[:2]]


@pytest.mark.parametrize(
    ("first", "last", "published", "gap"),
    [
        (TUESDAY, TUESDAY, [], True),
        (TUESDAY, TUESDAY, [TUESDAY], False),
        (TUESDAY, WEDNESDAY, [TUESDAY], True),
        (TUESDAY, THURSDAY, [TUESDAY, THURSDAY], False),
        (date(2026, 11, 6), date(2026, 11, 8), [date(2026, 11, 6)], False),
        (date(2026, 11, 7), date(2026, 11, 8), [], False),
        (date(2026, 11, 6), date(2026, 11, 9), [date(2026, 11, 6)], True),
    ],
)
def test_a_gap_is_a_day_of_work_after_the_newest_index(first, last, published, gap):
    assert has_gap(first, last, frozenset(published)) is gap


# What is fetched again ------------------------------------------------------------------------------------------------------


def test_facts_that_lag_behind_their_filing_are_named_and_asked_for_again(tmp_path, edgar):
    sync(tmp_path, edgar, evening(TUESDAY), CIKS[:1])
    edgar.file(101, WEDNESDAY, facts=False)
    asked, rejected = sync(tmp_path, edgar, evening(WEDNESDAY), CIKS[:1])
    assert asked == [(submissions(101), 200), (facts_of(101), 304)]
    assert rejected == [(101, "facts_not_published")]
    edgar.publish(101)
    asked, rejected = sync(tmp_path, edgar, evening(WEDNESDAY) + timedelta(minutes=10), CIKS[:1], evening(WEDNESDAY))
    assert (asked[-1], rejected) == ((facts_of(101), 200), [])
    assert on_disk(tmp_path, 101) == served(edgar, 101)
    assert sync(tmp_path, edgar, evening(WEDNESDAY) + timedelta(minutes=20), CIKS[:1], evening(WEDNESDAY)) == ([], [])


def test_facts_that_never_appear_are_not_awaited_for_ever(tmp_path, edgar):
    sync(tmp_path, edgar, evening(TUESDAY), CIKS[:1])
    edgar.file(101, WEDNESDAY, form="10-K/A", facts=False)
    assert sync(tmp_path, edgar, evening(WEDNESDAY), CIKS[:1])[1] == [(101, "facts_not_published")]
    assert sync(tmp_path, edgar, evening(WEDNESDAY + timedelta(days=7)), CIKS[:1])[1] == []
    later = sync(tmp_path, edgar, evening(WEDNESDAY + timedelta(days=8)), CIKS[:1])
    assert later == ([(submissions(101), 304)], [])


def test_a_company_without_facts_is_not_asked_for_them_again_until_it_reports_some(tmp_path, edgar):
    edgar.filings[101] = [("0000000101-26-000001", date(2026, 8, 3), "D", False)]
    edgar.publish(101)
    del edgar.server.files[facts_of(101)]
    asked, rejected = sync(tmp_path, edgar, evening(TUESDAY), CIKS[:1])
    assert (asked, rejected) == ([(submissions(101), 200), (facts_of(101), 404)], [])
    assert sync(tmp_path, edgar, evening(WEDNESDAY), CIKS[:1])[0] == [(submissions(101), 304)]
    edgar.file(101, THURSDAY)
    assert sync(tmp_path, edgar, evening(THURSDAY), CIKS[:1])[0][-1] == (facts_of(101), 200)


def test_older_filings_are_fetched_once_and_again_when_their_page_has_grown(tmp_path, edgar):
    older = {"accessionNumber": ["x"], "filingDate": ["2015-01-01"], "form": ["10-K"]}
    pages = [f"CIK0000000101-submissions-00{n}.json" for n in (1, 2)]
    edgar.pages[101] = [
        {"name": pages[0], "filingCount": 1, "filingFrom": "2010-01-01", "filingTo": "2015-01-01"},
        {"name": pages[1], "filingCount": 9, "filingFrom": "1994-01-01", "filingTo": "2004-01-01"},
    ]
    edgar.server.files[f"/submissions/{pages[0]}"] = json.dumps(older).encode()
    edgar.publish(101)
    asked, rejected = sync(tmp_path, edgar, evening(TUESDAY), CIKS[:1])
    assert [path for path, _ in asked] == [submissions(101), facts_of(101), f"/submissions/{pages[0]}"]
    assert rejected == [] and (tmp_path / "submissions" / pages[0]).read_bytes() == json.dumps(older).encode()
    edgar.file(101, WEDNESDAY)
    assert [path for path, _ in sync(tmp_path, edgar, evening(WEDNESDAY), CIKS[:1])[0]] == [submissions(101), facts_of(101)]
    edgar.pages[101][0]["filingCount"] = 2
    edgar.publish(101)
    assert sync(tmp_path, edgar, evening(THURSDAY), CIKS[:1])[0][-1] == (f"/submissions/{pages[0]}", 304)


@pytest.mark.parametrize("name", ["../../evil.json", "CIK0000000102-submissions-001.json", "CIK0000000101-submissions-/../x"])
def test_a_page_with_a_foreign_name_is_not_fetched(tmp_path, edgar, name):
    edgar.pages[101] = [{"name": name, "filingCount": 1, "filingFrom": "2010-01-01", "filingTo": "2015-01-01"}]
    edgar.publish(101)
    asked, rejected = sync(tmp_path, edgar, evening(TUESDAY), CIKS[:1])
    assert len(asked) == 2 and rejected == [(101, "foreign_page")]


def test_a_page_that_is_missing_is_named(tmp_path, edgar):
    page = "CIK0000000101-submissions-001.json"
    edgar.pages[101] = [{"name": page, "filingCount": 1, "filingFrom": "2010-01-01", "filingTo": "2015-01-01"}]
    edgar.publish(101)
    assert sync(tmp_path, edgar, evening(TUESDAY), CIKS[:1])[1] == [(101, "page_absent")]


def test_a_server_without_tags_costs_bytes_and_nothing_else(tmp_path, edgar):
    edgar.server.with_etags = False
    sync(tmp_path, edgar, evening(TUESDAY), CIKS[:1])
    assert sync(tmp_path, edgar, evening(WEDNESDAY), CIKS[:1])[0] == [(submissions(101), 200)]
    assert on_disk(tmp_path, 101) == served(edgar, 101)


@pytest.mark.parametrize("damage", ["shortened", "deleted"])
def test_a_file_that_was_damaged_here_is_fetched_whole_again(tmp_path, edgar, damage):
    sync(tmp_path, edgar, evening(TUESDAY), CIKS[:1])
    path = tmp_path / "companyfacts" / "CIK0000000101.json"
    path.unlink() if damage == "deleted" else path.write_bytes(path.read_bytes()[:-1])
    sync(tmp_path, edgar, evening(WEDNESDAY), CIKS[:1])
    assert on_disk(tmp_path, 101) == served(edgar, 101)


def test_a_record_that_cannot_be_read_is_made_anew(tmp_path, edgar):
    sync(tmp_path, edgar, evening(TUESDAY), CIKS[:1])
    (tmp_path / "records" / "CIK0000000101.json").write_text("{")
    asked, _ = sync(tmp_path, edgar, evening(TUESDAY), CIKS[:1])
    assert [status for _, status in asked] == [200, 200]
    assert read_record(tmp_path / "records" / "CIK0000000101.json").checked == evening(TUESDAY)


# What goes wrong ------------------------------------------------------------------------------------------------------------


def test_a_company_that_cannot_be_had_is_named_and_the_others_go_on(tmp_path, edgar):
    sync(tmp_path, edgar, evening(TUESDAY), CIKS[1:2])
    before = on_disk(tmp_path, 102)
    edgar.file(102, WEDNESDAY)
    edgar.server.faults[facts_of(102)] = [Fault(cut_to=20)] * 3
    asked, rejected = sync(tmp_path, edgar, evening(WEDNESDAY), CIKS[:3])
    assert rejected == [(102, "not_fetched")]
    assert on_disk(tmp_path, 102) == before
    assert [on_disk(tmp_path, cik) for cik in (101, 103)] == [served(edgar, cik) for cik in (101, 103)]
    asked, rejected = sync(tmp_path, edgar, evening(WEDNESDAY), CIKS[:3])
    assert (asked, rejected) == ([(submissions(102), 200), (facts_of(102), 200)], [])
    assert on_disk(tmp_path, 102) == served(edgar, 102)


def test_the_reason_names_the_address_and_what_to_do(tmp_path, edgar):
    edgar.server.faults[submissions(101)] = [Fault(500)] * 3
    (record,) = mirror(tmp_path, edgar, evening(TUESDAY)).sync(CIKS[:2], evening(TUESDAY))
    assert submissions(101) in record.reason and "500" in record.reason and "goes on from there" in record.reason


def test_facts_of_another_company_do_not_replace_good_ones(tmp_path, edgar):
    sync(tmp_path, edgar, evening(TUESDAY), CIKS[:2])
    before = on_disk(tmp_path, 101)
    edgar.file(101, WEDNESDAY)
    edgar.server.files[facts_of(101)] = edgar.server.files[facts_of(102)]
    _, rejected = sync(tmp_path, edgar, evening(WEDNESDAY), CIKS[:2])
    assert rejected == [(101, "not_fetched")] and on_disk(tmp_path, 101) == before


def test_a_file_with_a_nan_is_kept_for_the_reader_to_judge(tmp_path, edgar):
    edgar.server.files[facts_of(101)] = b'{"cik": 101, "facts": {"us-gaap": {"Assets": [NaN]}}}'
    assert sync(tmp_path, edgar, evening(TUESDAY), CIKS[:1])[1] == []
    assert b"NaN" in on_disk(tmp_path, 101)[0]


def test_facts_that_are_gone_leave_those_of_before(tmp_path, edgar):
    sync(tmp_path, edgar, evening(TUESDAY), CIKS[:1])
    before = on_disk(tmp_path, 101)
    edgar.file(101, WEDNESDAY)
    del edgar.server.files[facts_of(101)]
    rules = [rule for _, rule in sync(tmp_path, edgar, evening(WEDNESDAY), CIKS[:1])[1]]
    assert "facts_gone" in rules and on_disk(tmp_path, 101)[0] == before[0]


def test_a_number_that_is_no_company_is_named(tmp_path, edgar):
    assert sync(tmp_path, edgar, evening(TUESDAY), (101, 7))[1] == [(7, "unknown_cik")]


def test_facts_are_fetched_where_filings_are_not_listed(tmp_path, edgar):
    del edgar.server.files[submissions(101)]
    assert sync(tmp_path, edgar, evening(TUESDAY), CIKS[:1]) == ([(submissions(101), 404), (facts_of(101), 200)], [])
    assert sync(tmp_path, edgar, evening(WEDNESDAY), CIKS[:1]) == ([(submissions(101), 404), (facts_of(101), 304)], [])


def test_an_outage_ends_the_work_after_three_companies(tmp_path, edgar):
    edgar.server.faults["*"] = [Fault(503)] * 100
    with pytest.raises(SecUnavailable, match="3 companies in a row"):
        sync(tmp_path, edgar, evening(TUESDAY))
    assert len(edgar.server.asked) == 9


def test_a_refusal_ends_the_work_and_the_next_run_goes_on_from_there(tmp_path, edgar):
    edgar.server.faults[submissions(103)] = [Fault(403, TOO_FAST)]
    with pytest.raises(SecRefused):
        sync(tmp_path, edgar, evening(TUESDAY))
    assert edgar.server.paths()[-1] == submissions(103)
    asked, _ = sync(tmp_path, edgar, evening(TUESDAY))
    assert asked == [(path, 200) for cik in CIKS[2:] for path in (submissions(cik), facts_of(cik))]


def test_two_that_fetch_into_one_folder_take_turns(tmp_path, edgar, caplog):
    caplog.set_level("INFO", "tradebot_core")
    other = threading.Thread(target=sync, args=(tmp_path, edgar, evening(TUESDAY)))
    with one_at_a_time(tmp_path):
        other.start()
        deadline = time.monotonic() + 10
        while "waiting for it" not in caplog.text and time.monotonic() < deadline:
            time.sleep(0.01)
        assert edgar.server.asked == [] and "Another process fetches into" in caplog.text
    other.join()
    assert sync(tmp_path, edgar, evening(TUESDAY)) == ([], [])


def test_it_says_how_far_it_is(tmp_path, edgar, caplog):
    caplog.set_level("INFO", "tradebot_core")
    sync(tmp_path, edgar, evening(TUESDAY))
    assert caplog.messages == ["SEC: 8 of 8 companies are to be asked for", "SEC: 8 of 8 companies done, 0 with a problem"]


# Interruptions --------------------------------------------------------------------------------------------------------------


class Killed(BaseException):
    """As when the process dies."""


def killed_after(requests: int, folder: Path, edgar: Edgar, now: datetime, monkeypatch: pytest.MonkeyPatch) -> None:
    working = mirror(folder, edgar, now)
    left = iter(range(requests))
    wait = working.client.limiter.wait

    def counted(per_second: float) -> None:
        if next(left, None) is None:
            raise Killed
        wait(per_second)

    monkeypatch.setattr(working.client.limiter, "wait", counted)
    with pytest.raises(Killed):
        working.sync(CIKS, now)


@pytest.mark.parametrize("requests", range(1, 16))
def test_whenever_it_dies_nothing_that_arrived_is_sent_again(tmp_path, edgar, monkeypatch, requests):
    killed_after(requests, tmp_path, edgar, evening(TUESDAY), monkeypatch)
    sync(tmp_path, edgar, evening(TUESDAY))
    sent = [asked.path for asked in edgar.server.asked if asked.status == 200 and "companyfacts" in asked.path]
    assert sorted(sent) == [facts_of(cik) for cik in CIKS]
    assert len(edgar.server.asked) <= 2 * len(CIKS) + 1
    assert [on_disk(tmp_path, cik) for cik in CIKS] == [served(edgar, cik) for cik in CIKS]


@pytest.mark.parametrize("requests", range(1, 5))
def test_whenever_it_dies_no_new_filing_is_lost(tmp_path, edgar, monkeypatch, requests):
    sync(tmp_path, edgar, evening(TUESDAY), CIKS[:2])
    edgar.file(101, WEDNESDAY)
    edgar.file(102, WEDNESDAY)
    killed_after(requests, tmp_path, edgar, evening(WEDNESDAY), monkeypatch)
    sync(tmp_path, edgar, evening(WEDNESDAY), CIKS)
    assert [on_disk(tmp_path, cik) for cik in CIKS] == [served(edgar, cik) for cik in CIKS]


def sync_if_it_answers(*asked: Any, **more: Any) -> None:
    """A fault of the only company that is to be asked is a failure of all."""
    with suppress(SecUnavailable):
        sync(*asked, **more)


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["file", "form 4", "sync evening", "sync next morning", "fault", "lagging facts"]),
        st.sampled_from(CIKS),
    ),
    max_size=14,
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
@example(steps=[("sync evening", 101), ("file", 101), ("fault", 101), ("sync next morning", 101)])
def test_whatever_happens_day_after_day_the_folder_ends_as_the_sec_has_it(tmp_path, server, steps):
    """Filings, failures, evenings before and mornings after the index, in any order: after one more run all is here."""
    shutil.rmtree(tmp_path)
    server.files.clear()
    server.faults.clear()
    edgar = Edgar(server)
    day, filed = TUESDAY, set()
    for step, cik in steps:
        if step in ("file", "form 4", "lagging facts"):
            edgar.file(cik, day, *(("4", False) if step == "form 4" else ()), facts=step == "file")
            filed.add(cik)
        elif step == "fault":
            server.faults[submissions(cik)] = [Fault(500)] * 3
        else:
            if step == "sync evening":
                sync_if_it_answers(tmp_path, edgar, evening(day))
            edgar.index(day, *filed)
            for late in filed:
                edgar.publish(late)
            filed.clear()
            if step == "sync next morning":
                sync_if_it_answers(tmp_path, edgar, morning(day + timedelta(days=1)), until=evening(day))
            day += timedelta(days=3 if day.weekday() == 4 else 1)
    server.faults.clear()
    for cik in CIKS:
        edgar.publish(cik)
    sync(tmp_path, edgar, evening(day))
    assert [on_disk(tmp_path, cik)[0] for cik in CIKS] == [served(edgar, cik)[0] for cik in CIKS]
