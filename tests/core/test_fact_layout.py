"""Facts read as columns are the facts a JSON parser reads; whatever is not in the SEC's own layout is left to the parser."""

import json
import zipfile
from datetime import date
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from tests.real_data import REAL_DATA
from tradebot_core.collectors import fact_layout
from tradebot_core.collectors.company_facts import CompanyFile, Wanted, _by_types, _raw, facts_of
from tradebot_core.collectors.fact_layout import NO_DATE, NO_YEAR, accession_of, read_columns, text_of
from tradebot_core.model.tables import FACTS

ROW = {"start": "2014-09-28", "end": "2015-09-26", "val": 233715000000, "accn": "0000320193-15-000356", "fy": 2015, "fp": "FY"}
ROW |= {"form": "10-K", "filed": "2015-10-28", "frame": "CY2015"}
BALANCE = {key: value for key, value in ROW.items() if key not in ("start", "frame")} | {"fy": None, "fp": None, "val": -1.5}
SLOW = settings(max_examples=60, deadline=None)


def written(*rows: dict[str, Any]) -> bytes:
    return json.dumps(list(rows), separators=(",", ":")).encode()


def by_columns(text: bytes) -> list[tuple[Any, ...]] | None:
    found = read_columns([text])
    if found is None:
        return None

    def day(days: int) -> date:
        return date.fromordinal(date(1970, 1, 1).toordinal() + int(days))

    return [
        (
            None if found.period_start[n] == NO_DATE else day(found.period_start[n]),
            day(found.period_end[n]),
            float(found.value[n]).hex(),  # to the last bit, and the sign of zero
            accession_of(int(found.accession[n])),
            None if found.fiscal_year[n] == NO_YEAR else int(found.fiscal_year[n]),
            text_of(found.fiscal_period[n]) or None,
            text_of(found.form[n]),
            day(found.filed[n]),
        )
        for n in range(len(found.value))
    ]


class Row(msgspec.Struct):
    end: date
    val: float
    accn: str
    form: str
    filed: date
    start: date | None = None
    fy: int | None = None
    fp: str | None = None


def by_parser(text: bytes) -> list[tuple[Any, ...]]:
    rows = msgspec.json.decode(text, type=list[Row])
    return [(r.start, r.end, r.val.hex(), r.accn, r.fy, r.fp, r.form, r.filed) for r in rows]


days = st.dates().map(date.isoformat)
values = (
    st.integers(-(10**20), 10**20)
    | st.integers(-(10**6), 10**6)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from([0, -0.0, 2**53 + 1, 9_999_999_999_999_999, 12_345_678, 100_000_000, 5e-324])
)
accessions = st.from_regex(r"[0-9]{10}-[0-9]{2}-[0-9]{6}", fullmatch=True)
plain = st.characters(min_codepoint=32, max_codepoint=126, exclude_characters='"\\{')
facts = st.fixed_dictionaries(
    {
        "start": st.none() | days,
        "end": days,
        "val": values,
        "accn": accessions,
        "fy": st.none() | st.integers(1000, 9999),
        "fp": st.none() | st.text(plain, min_size=2, max_size=2),
        "form": st.text(plain, max_size=8),
        "filed": days,
        "frame": st.none() | st.from_regex(r"CY[0-9]{4}(Q[0-9]I?)?", fullmatch=True),
    }
).map(lambda row: {key: row[key] for key in ROW if row[key] is not None or key in ("fy", "fp")})


@SLOW
@given(st.lists(facts, max_size=12))
def test_the_facts_are_those_a_parser_reads(rows):
    text = written(*rows)
    assert by_columns(text) == by_parser(text)


@SLOW
@given(st.lists(facts, min_size=1, max_size=3), st.data())
def test_a_damaged_text_is_left_to_the_parser_or_read_as_the_parser_reads_it(rows, data):
    """A byte changed, lost or doubled anywhere, twice over: never another fact."""
    text = written(*rows)
    for _ in range(data.draw(st.integers(1, 2))):
        at = data.draw(st.integers(0, len(text) - 1))
        byte = data.draw(st.sampled_from([b"", *(bytes([c]) for c in b'",{}[]-0191a .e'), b"\xff"]))
        text = text[:at] + byte + text[at + data.draw(st.integers(0, 1)) :]
    found = by_columns(text)
    if found is not None:
        assert found == by_parser(text)


@pytest.mark.parametrize(
    "change",
    [
        {"end": "2015-02-30"},
        {"end": "2015-13-01"},
        {"end": "2015-00-10"},
        {"end": "2015-01-00"},
        {"end": "0000-01-01"},
        {"end": "2015/01/01"},
        {"filed": None},
        {"start": None},
        {"start": ""},
        {"val": "100"},
        {"val": True},
        {"val": None},
        {"val": [1]},
        {"val": {}},
        {"accn": ""},
        {"accn": "0000320193-15-00035x"},
        {"accn": "000032019-315-000356"},
        {"fy": "2015"},
        {"fy": 15},
        {"fy": 2015.0},
        {"fp": "annual"},
        {"form": 'a"b'},
        {"form": "10-K405/A"},
        {"form": "10-Ж"},
        {"form": None},
        {"frame": "CY20151"},
        {"frame": 'CY2015","val":"1'},
        {"unknown": 1},
    ],
    ids=str,
)
def test_what_is_otherwise_anywhere_is_not_guessed(change):
    assert by_columns(written(ROW, BALANCE)) == by_parser(written(ROW, BALANCE))
    assert read_columns([written(BALANCE, {**ROW, **change}, BALANCE)]) is None


@pytest.mark.parametrize(
    "text",
    [
        *(b"", b"[", b"{}", b"null", b"[1]", b"[{}]", b"[{]", b"[[]]", b"[ ]", b"[,]", written(ROW)[:-1], written(ROW)[1:]),
        written(ROW).replace(b"{", b"{ ", 1),
        written(ROW) + b" ",
        written(ROW)[:-1] + b",]",
        written(ROW, BALANCE).replace(b"},{", b"}, {"),
        written(ROW, BALANCE).replace(b"},{", b"}{"),
        written({"end": ROW["end"], **{k: v for k, v in ROW.items() if k != "end"}}),  # another order of keys
        written(ROW).replace(b"233715000000", b"0233715000000"),
        written(ROW).replace(b"233715000000", b"NaN"),
        written(ROW).replace(b"233715000000", b"1,2"),
        written(ROW).replace(b"233715000000", b"-"),
        written(ROW).replace(b"233715000000", b""),
        written(ROW).replace(b"233715000000", b"1" * 500),
        written(ROW).replace(b"233715000000", b"1e999"),
        written(ROW).replace(b"10-K", b"{" * 8),
        written(ROW).replace(b"10-K", b"10\tK"),
        written(ROW).replace(b"10-K", b"10\\u004b"),
    ],
    ids=lambda text: text[:40].decode() or "nothing",
)
def test_another_layout_is_not_read(text):
    assert read_columns([text]) is None
    assert read_columns([written(BALANCE), text, written(BALANCE)]) is None


def test_facts_know_the_list_in_which_they_stand():
    found = read_columns([written(ROW), written(), written(BALANCE, ROW), written()])
    assert found is not None
    assert found.of_unit.tolist() == [0, 2, 2]
    nothing = read_columns([])
    assert nothing is not None
    assert nothing.value.tolist() == []


def test_how_many_lists_are_read_at_a_time_changes_nothing(monkeypatch):
    lists = [written(ROW), written(), written(BALANCE, ROW), written(*[ROW] * 9), written(), written(BALANCE)]
    at_once = read_columns(lists)
    for size in (1, 400, 2000):
        monkeypatch.setattr(fact_layout, "_BLOCK_BYTES", size)
        in_blocks = read_columns(lists)
        for name, column in vars(at_once).items():
            assert (name, getattr(in_blocks, name).tolist()) == (name, column.tolist())


def test_a_file_in_another_layout_is_read_by_the_parser_and_its_neighbours_as_ever():
    def file(cik: int, separators: tuple[str, str]) -> CompanyFile:
        facts = {"us-gaap": {"Revenues": {"units": {"USD": [ROW, BALANCE]}}, "Assets": {"units": {"USD": [BALANCE]}}}}
        text = json.dumps({"cik": cik, "entityName": "x", "facts": facts}, separators=separators)
        return CompanyFile(cik, f"CIK{cik:010d}.json", text.encode())

    compact, spaced = (",", ":"), (", ", ": ")
    wanted = Wanted(("us-gaap",), None)
    expected, _ = facts_of([file(1, compact), file(2, compact)], wanted)
    mixed, rejected = facts_of([file(1, compact), file(2, spaced)], wanted)
    columns = list(FACTS.columns)
    assert mixed.select(columns).equals(expected.select(columns))
    assert (mixed.select("cik", "tag").rows(), rejected) == (
        [(c, t) for c in (1, 2) for t in ("Assets", "Revenues", "Revenues")],
        [],
    )


# The SEC's own files


def test_every_file_of_the_sec_is_in_its_layout_and_read_as_the_parser_reads_it():
    archive = REAL_DATA / "edgar" / "companyfacts.zip"
    if not archive.is_file():
        pytest.skip(f"no real data at {REAL_DATA}; set TRADEBOT_REAL_DATA")
    wanted = Wanted(("us-gaap", "dei", "ifrs-full"), None)
    columns = list(FACTS.columns)
    with zipfile.ZipFile(archive) as bundle:
        for name in bundle.namelist():
            file = CompanyFile(int(name[3:13]), name, bundle.read(name))
            raw = _raw(file, wanted)
            assert read_columns(raw.lists) is not None, name
            parsed = _by_types(raw).select(columns).sort(FACTS.key, maintain_order=True)
            read = facts_of([file], wanted)[0].select(columns)
            assert_frame_equal(read, parsed)
