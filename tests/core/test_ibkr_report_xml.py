"""What a document from outside may not do: every attack and every damage is refused whole, with its hash, in little memory."""

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.ibkr.reports import annual
from tradebot_core.ibkr.reports.reader import read_report
from tradebot_core.ibkr.reports.safe_xml import MAX_BYTES, MAX_DEPTH, Document, Unreadable, root_of

LAUGHS = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
BOMB = f'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY l0 "lol">{LAUGHS}]><ReportSnapshot>&l9;</ReportSnapshot>'
QUADRATIC = f'<!DOCTYPE x [<!ENTITY a "{"a" * 50_000}">]><ReportSnapshot>{"&a;" * 50_000}</ReportSnapshot>'
EXTERNAL = '<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]><ReportSnapshot>&e;</ReportSnapshot>'
PARAMETER = '<!DOCTYPE x [<!ENTITY % p SYSTEM "http://127.0.0.1:9/x.dtd"> %p;]><ReportSnapshot/>'
EXTERNAL_SUBSET = '<!DOCTYPE ReportSnapshot SYSTEM "http://127.0.0.1:9/x.dtd"><ReportSnapshot/>'


def refusal(content: bytes | str) -> str:
    document = Document.of("x.xml", content.encode() if isinstance(content, str) else content)
    with pytest.raises(Unreadable) as refused:
        read_report(document)
    return refused.value.rule


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        (BOMB, "forbidden_markup"),
        (QUADRATIC, "forbidden_markup"),
        (EXTERNAL, "forbidden_markup"),
        (PARAMETER, "forbidden_markup"),
        (EXTERNAL_SUBSET, "forbidden_markup"),
        ("<ReportSnapshot>" + "<a>" * 1000 + "</a>" * 1000 + "</ReportSnapshot>", "too_deep"),
        ("<ReportSnapshot>" + "<a/>" * 300_000 + "</ReportSnapshot>", "too_many_elements"),
        ("<ReportSnapshot>" + " " * MAX_BYTES + "</ReportSnapshot>", "too_large"),
        ("", "empty"),
        (" \n\t", "empty"),
        (b"\xef\xbb\xbf", "empty"),
        ("<!DOCTYPE html><html><body>Please log in</body></html>", "web_page"),
        ("\n<HTML><body></body></HTML>", "web_page"),
        ("Error: no data", "not_xml"),
        ('{"error": 430}', "not_xml"),
        (annual()[:-40], "not_xml"),
        (annual() + "<again/>", "not_xml"),
        ("<ReportSnapshot>&unknown;</ReportSnapshot>", "not_xml"),
        ("<ReportSnapshot>\0</ReportSnapshot>", "not_xml"),
        ("<Error>Code = 430, no data</Error>", "vendor_error"),
        ("<Error/>", "vendor_error"),
        ("<RESC/>", "unknown_report"),
        (annual().encode("utf-16"), "wrong_encoding"),
        (annual().encode("utf-16-le"), "wrong_encoding"),
        (annual().replace("UTF-8", "UTF-16").encode(), "wrong_encoding"),
        (annual().replace("UTF-8", "ISO-8859-1").encode("latin-1"), "wrong_encoding"),
        (annual().replace("UTF-8", "cp037").encode(), "wrong_encoding"),
        (annual().replace("Alpha", "Béta").encode("latin-1"), "wrong_encoding"),
        (b"<?xml version='1.0'?><ReportSnapshot>\xff\xfe</ReportSnapshot>", "wrong_encoding"),
    ],
)
def test_what_is_not_a_sound_report_is_refused_by_name(content, rule):
    assert refusal(content) == rule


def test_a_report_may_begin_with_a_byte_order_mark_and_name_its_company_in_any_letters():
    report = read_report(Document.of("x.xml", b"\xef\xbb\xbf" + annual().replace("Alpha", "Bétà 東").encode()))
    assert report.company_name == "Bétà 東 Works"


def test_the_bound_on_depth_is_where_it_says():
    inner = MAX_DEPTH - 1
    assert root_of(Document.of("x", f"<r>{'<a>' * inner}{'</a>' * inner}</r>".encode())).tag == "r"
    with pytest.raises(Unreadable, match="nested more than"):
        root_of(Document.of("x", f"<r>{'<a>' * (inner + 1)}{'</a>' * (inner + 1)}</r>".encode()))


def test_a_refused_document_carries_its_hash_and_its_beginning():
    rejected = Document.of("some.xml", b"<html>x").refused("web_page", "why")
    assert rejected.record == {
        "file": "some.xml",
        "sha256": hashlib.sha256(b"<html>x").hexdigest(),
        "bytes": 7,
        "begins": "<html>x",
    }


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=400))
@example(b"<")
@example(b"<?xml")
@example(b"<?xml version='1.0' encoding='\xff'?><a/>")
def test_whatever_the_bytes_the_answer_is_a_report_or_a_reason(content):
    try:
        read_report(Document.of("x", content))
    except Unreadable as refused:
        assert refused.rule and refused.reason


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_whatever_is_cut_out_or_put_into_a_report_the_answer_is_a_report_or_a_reason(data):
    content = annual().encode()
    start = data.draw(st.integers(0, len(content)))
    end = data.draw(st.integers(start, len(content)))
    try:
        report = read_report(Document.of("x", content[:start] + data.draw(st.binary(max_size=30)) + content[end:]))
    except Unreadable as refused:
        assert refused.rule
    else:
        assert all(item.value == item.value and abs(item.value) < 1e24 for item in report.items)


_READ_500_MB = """
import resource, sys, time
from pathlib import Path
from tradebot_core.ibkr.reports.safe_xml import Document, Unreadable, root_of

before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
started = time.perf_counter()
document = Document.at(Path(sys.argv[1]))
try:
    root_of(document)
except Unreadable as refused:
    print(refused.rule, document.size, document.sha256)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, time.perf_counter() - started)
"""


def test_a_document_of_500_mb_is_refused_in_a_few_megabytes_and_hashed_all_the_same(tmp_path: Path):
    """A sparse file: half a gigabyte that takes no room on the disk."""
    path, size = tmp_path / "huge.xml", 500 << 20
    with path.open("wb") as file:
        file.write(b"<ReportSnapshot>")
        file.truncate(size)
    done = subprocess.run([sys.executable, "-c", _READ_500_MB, str(path)], capture_output=True, text=True, check=True)
    refused, cost = done.stdout.splitlines()
    rule, length, digest = refused.split()
    assert (rule, int(length)) == ("too_large", size)
    with path.open("rb") as file:
        assert digest == hashlib.file_digest(file, "sha256").hexdigest()
    kilobytes, seconds = cost.split()
    assert int(kilobytes) < 40 << 10
    assert float(seconds) < 30
