"""How the SEC's servers are asked: declared, slowly, patiently; and what becomes of their bad answers."""

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from pydantic import TypeAdapter, ValidationError

from tests.sec_server import MAINTENANCE, NO_SUCH_FILE, TOO_FAST, UNDECLARED, FakeTime, Fault, SecServer, sec_server
from tradebot_core.collectors.sec_http import (
    Absent,
    Fetched,
    SecClient,
    SecRefused,
    SecUnavailable,
    Unchanged,
    Validators,
)
from tradebot_core.collectors.sec_manners import BaseUrl, Limiter, UserAgent

AGENT = "Jane Doe jane@doe.net"
FILE = b'{"cik": 320193, "facts": {}}'


@pytest.fixture
def sec() -> Iterator[SecServer]:
    with sec_server() as server:
        server.files["/f.json"] = FILE
        yield server


@pytest.fixture
def time() -> FakeTime:
    return FakeTime()


def client(time: FakeTime, **changed) -> SecClient:
    return SecClient(AGENT, **{"per_second": 10, "limiter": time.limiter(), "timeouts_s": (2, 2), **changed})


def is_whole(content: bytes) -> None:
    if not content.endswith(b"}"):
        raise ValueError("it does not end")


def get(sec: SecServer, time: FakeTime, validators: Validators | None = None, **changed):
    return client(time, **changed).get(f"{sec.url}/f.json", is_whole, validators)


# Who asks -----------------------------------------------------------------------------------------------------------------


def test_the_server_is_told_who_asks(sec, time):
    get(sec, time)
    assert sec.asked[0].headers["User-Agent"] == AGENT


@pytest.mark.parametrize(
    "agent",
    [
        "",
        "Jane Doe",
        "Mozilla/5.0 (X11; Linux)",
        "jane@doe",
        "Jane Doe jane@example.com",
        "Sample Company AdminContact@mail.example.org",
        "Your Name your@mail.net",
        "Jane\r\nX-Injected: 1 jane@doe.net",
        "Jané jane@doe.net",
    ],
)
def test_an_agent_without_a_contact_of_its_own_is_refused(agent):
    with pytest.raises(ValidationError):
        TypeAdapter(UserAgent).validate_python(agent)


def test_a_name_and_an_address_are_enough():
    assert TypeAdapter(UserAgent).validate_python(" Tradebot of Jane Doe (jane.doe+sec@doe.co.uk)") == (
        "Tradebot of Jane Doe (jane.doe+sec@doe.co.uk)"
    )


def test_only_this_machine_is_asked_without_encryption():
    url = TypeAdapter(BaseUrl)
    assert url.validate_python("http://127.0.0.1:8080/") == "http://127.0.0.1:8080"
    with pytest.raises(ValidationError, match="https"):
        url.validate_python("http://data.sec.gov")


# How fast -----------------------------------------------------------------------------------------------------------------


def test_requests_begin_no_closer_than_the_rate_allows(sec, time):
    started = time.now
    asking = client(time, per_second=8)
    for _ in range(17):
        asking.get(f"{sec.url}/f.json", is_whole)
    assert time.now - started == pytest.approx(16 / 8)
    assert time.slept == pytest.approx([1 / 8] * 16)


def test_all_clients_of_a_limiter_share_its_rate(sec, time):
    shared = time.limiter()
    for _ in range(5):
        client(time, limiter=shared).get(f"{sec.url}/f.json", is_whole)
    assert sum(time.slept) == pytest.approx(4 / 10)


def test_without_another_one_all_clients_of_the_process_share_one_limiter():
    assert SecClient(AGENT).limiter is SecClient("John Doe john@doe.net", 4).limiter


def test_threads_are_let_through_one_by_one(time):
    limiter, begun = time.limiter(), []

    def ask() -> None:
        limiter.wait(10)
        begun.append(time.now)

    threads = [threading.Thread(target=ask) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    gaps = [later - earlier for earlier, later in zip(sorted(begun), sorted(begun)[1:], strict=False)]
    assert time.now - 1000 == pytest.approx(19 / 10)
    assert len(gaps) == 19


def test_a_sleep_that_ends_early_is_not_a_licence():
    time = FakeTime()
    limiter = Limiter(time, lambda seconds: time.sleep(seconds / 2 if seconds > 1e-6 else seconds))
    limiter.wait(1)
    limiter.wait(1)
    assert time.now - 1000 >= 1


# What arrives -------------------------------------------------------------------------------------------------------------


def test_packed_answers_are_unpacked(sec, time):
    answer = get(sec, time)
    assert isinstance(answer, Fetched) and answer.content == FILE
    assert "gzip" in sec.asked[0].headers["Accept-Encoding"]


def test_a_file_that_has_not_changed_is_not_sent_again(sec, time):
    first = get(sec, time)
    assert isinstance(get(sec, time, first.validators), Unchanged)
    sec.files["/f.json"] = b'{"cik": 1}'
    changed = get(sec, time, first.validators)
    assert changed.content == b'{"cik": 1}'
    assert [asked.status for asked in sec.asked] == [200, 304, 200]


def test_the_time_of_change_is_shown_where_there_is_no_tag(sec, time):
    sec.with_etags = False
    sec.modified["/f.json"] = datetime(2026, 11, 2, 3, tzinfo=UTC)
    get(sec, time, get(sec, time).validators)
    assert sec.asked[1].headers["If-Modified-Since"] == "Mon, 02 Nov 2026 03:00:00 GMT"
    assert "If-None-Match" not in sec.asked[1].headers


def test_a_file_that_is_not_there_is_absent_and_not_asked_for_twice(sec, time):
    asking = client(time)
    assert isinstance(asking.get(f"{sec.url}/none.json", is_whole), Absent)
    sec.faults["/holiday.idx"] = [Fault(403, NO_SUCH_FILE, {"Content-Type": "application/xml"})]
    assert isinstance(asking.get(f"{sec.url}/holiday.idx", is_whole), Absent)
    assert len(sec.asked) == 2


# What goes wrong and passes -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fault",
    [
        Fault(500),
        Fault(502),
        Fault(503, MAINTENANCE),
        Fault(504),
        Fault(429, TOO_FAST),
        Fault(429, TOO_FAST, {"Retry-After": "soon"}),
        Fault(reset=True),
        Fault(cut_to=10),
        Fault(200, MAINTENANCE),
        Fault(200, FILE[:-3], {"Content-Type": "application/json"}),
        Fault(200, b"", {"Content-Type": "application/json"}),
        Fault(200, b"\x1f\x8b\x08broken", {"Content-Type": "application/json", "Content-Encoding": "gzip"}),
        Fault(302, b"", {"Location": "https://www.sec.gov/elsewhere"}),
        Fault(204),
        Fault(304),  # of a version that was not shown
    ],
    ids=lambda fault: (
        f"{fault.status}{'-reset' if fault.reset else ''}{fault.headers.get('Retry-After', '')}-{len(fault.body)}"
    ),
)
def test_what_passes_is_asked_again_after_longer_and_longer_waits(sec, time, fault):
    sec.faults["/f.json"] = [fault, fault, fault]
    assert get(sec, time).content == FILE
    assert len(sec.asked) == 4
    waits = [wait for wait in time.slept if wait > 0.1]
    for wait, most in zip(waits, (1, 2, 4), strict=True):
        assert most / 2 <= wait <= most


def test_a_server_that_does_not_answer_in_time_is_asked_again(sec, time):
    sec.faults["/f.json"] = [Fault(200, FILE, delay_s=0.6)]
    assert get(sec, time, timeouts_s=(2, 0.2)).content == FILE
    assert len([wait for wait in time.slept if wait > 0.1]) == 1


def test_jitter_keeps_waits_apart(sec, time):
    sec.faults["/f.json"] = [Fault(500)] * 5
    first = FakeTime()
    get(sec, first)
    sec.faults["/f.json"] = [Fault(500)] * 5
    get(sec, time)
    assert first.slept != time.slept


def test_the_server_says_how_long_to_wait_and_everyone_waits(sec, time):
    shared = time.limiter()
    sec.faults["/f.json"] = [Fault(429, TOO_FAST, {"Retry-After": "37"})]
    assert get(sec, time, limiter=shared).content == FILE
    assert max(time.slept) == 37
    shared.pause(5)
    get(sec, time, limiter=shared)
    assert time.slept[-1] == pytest.approx(5)


def test_the_server_may_name_an_hour_instead(sec, time):
    until = format_datetime(datetime.now(UTC) + timedelta(seconds=90), usegmt=True)
    sec.faults["/f.json"] = [Fault(503, b"", {"Retry-After": until})]
    get(sec, time)
    assert 80 < max(time.slept) <= 90


def test_nobody_waits_for_hours(sec, time):
    sec.faults["/f.json"] = [Fault(429, TOO_FAST, {"Retry-After": "3600"})]
    with pytest.raises(SecRefused, match="3600 seconds") as refused:
        get(sec, time)
    assert "goes on from there" in refused.value.mend and len(sec.asked) == 1


@pytest.mark.parametrize(
    ("fault", "cause"),
    [
        (Fault(500), "500 Internal Server Error"),
        (Fault(429), "429 Too Many Requests"),
        (Fault(reset=True), "the connection failed"),
        (Fault(cut_to=10), "the answer broke off"),
        (Fault(200, MAINTENANCE), "a web page came instead of the file .SEC.gov | Maintenance"),
        (Fault(200, b"[", {"Content-Type": "application/json"}), "it does not end"),
    ],
)
def test_what_does_not_pass_is_named_with_its_address_and_a_mend(sec, time, fault, cause):
    sec.faults["/f.json"] = [fault] * 9
    with pytest.raises(SecUnavailable, match="could not be had in 6 attempts") as failed:
        get(sec, time)
    assert cause.replace(".SEC", "(SEC") in failed.value.cause
    assert f"{sec.url}/f.json" in failed.value.cause and failed.value.mend
    assert len(sec.asked) == 6


def test_a_machine_without_a_network_is_told_so(time):
    with pytest.raises(SecUnavailable, match="the connection failed"):
        client(time, attempts=2).get("http://127.0.0.1:9/f.json", is_whole)


# What is not asked again --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("page", "cause", "mend"),
    [
        (UNDECLARED, "Undeclared Automated Tool", "params.user_agent"),
        (TOO_FAST, "more than 10 requests a second", "rest for ten minutes"),
        (b"", "refuses this program", "ten minutes"),
    ],
)
def test_a_refusal_stops_at_once_with_what_to_do(sec, time, page, cause, mend):
    sec.faults["*"] = [Fault(403, page)] * 3
    with pytest.raises(SecRefused, match=cause) as refused:
        get(sec, time)
    assert mend in refused.value.mend
    assert len(sec.asked) == 1


def test_an_answer_that_makes_no_sense_is_named(sec, time):
    sec.faults["/f.json"] = [Fault(400, b"")]
    with pytest.raises(SecUnavailable, match="400 Bad Request"):
        get(sec, time)
    assert len(sec.asked) == 1
