"""What stands in companyfacts files, as rows in the order of their key: as columns where a file is in the SEC's own layout, else
by one typed pass, else fact by fact, so that what is not of its type is refused and the rest enters."""

import json
import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import msgspec
import numpy as np
import polars as pl

from tradebot_core.collectors.fact_layout import NO_DATE, NO_YEAR, Days, Places, Words, accession_of, read_columns, text_of
from tradebot_core.collectors.sec_files import Unreadable, whole_file
from tradebot_core.interfaces import Rejected
from tradebot_core.model.keyed_rows import in_order
from tradebot_core.model.tables import FACTS

_LABEL = ("cik", "taxonomy", "tag", "unit")
_REPORTED = {name: kind for name, kind in FACTS.columns.items() if name not in _LABEL}
_BEFORE_ALL = date.min.toordinal() - date(1970, 1, 1).toordinal() - 1


@dataclass(frozen=True)
class CompanyFile:
    cik: int  # whose it should be
    name: str
    content: bytes


@dataclass(frozen=True)
class Wanted:
    taxonomies: Sequence[str]
    tags: Collection[str] | None  # without taxonomy; None: all


def facts_of(files: Sequence[CompanyFile], wanted: Wanted) -> tuple[pl.DataFrame, list[Rejected]]:
    """Columns of FACTS and `filing`, a number for each issuer, accession and filing date; in the order of the key of FACTS when
    the files are in order of CIK. A file that makes no sense is rejected whole."""
    rows = _all_by_columns(files, wanted)
    if rows is not None and rows["cik"].n_unique() == len(files):  # else some file holds no facts
        return rows, []
    parts, rejected = [pl.DataFrame(schema=FACTS.columns)], []
    for file in files:
        try:
            part, refused = _of_one(file, wanted)
        except Unreadable as unreadable:
            rejected.append(unreadable.rejected)
            continue
        if part.is_empty() and not refused:
            refused = [whole_file(file.name, file.content, "no_facts", "the file holds no facts of the taxonomies asked for")]
        parts.append(in_order(part.select(list(FACTS.columns)), FACTS.key))
        rejected.extend(refused)
    rows = pl.concat(parts)
    filings = rows.select("cik", "accession", "filed").unique(maintain_order=True).with_row_index("filing")
    return rows.join(filings, on=["cik", "accession", "filed"], how="left", maintain_order="left"), rejected


def _all_by_columns(files: Sequence[CompanyFile], wanted: Wanted) -> pl.DataFrame | None:
    try:
        return _by_columns([_raw(file, wanted) for file in files])
    except (Unreadable, msgspec.DecodeError, UnicodeDecodeError):
        return None


def _of_one(file: CompanyFile, wanted: Wanted) -> tuple[pl.DataFrame, Sequence[Rejected]]:
    try:
        company = _raw(file, wanted)
        rows = _by_columns([company])
        return (_by_types(company) if rows is None else rows), ()
    except (msgspec.DecodeError, UnicodeDecodeError):
        return _fact_by_fact(file, wanted)


# As they stand in the file


class _RawTag(msgspec.Struct, gc=False):
    units: dict[str, msgspec.Raw]


class _RawCompany(msgspec.Struct):
    cik: int
    facts: dict[str, dict[str, _RawTag]]


@dataclass(frozen=True)
class _Lists:
    """The lists of facts of one company, in order of their labels."""

    labels: Sequence[tuple[int, str, str, str]]
    lists: Sequence[Any]  # of bytes, or of _Row


_RAW = msgspec.json.Decoder(_RawCompany)


def _raw(file: CompanyFile, wanted: Wanted) -> _Lists:
    company = _RAW.decode(file.content)
    _require_cik(company.cik, file)
    found = {
        (company.cik, taxonomy, tag, unit): memoryview(facts)
        for taxonomy in wanted.taxonomies
        for tag, block in company.facts.get(taxonomy, {}).items()
        if wanted.tags is None or tag in wanted.tags
        for unit, facts in block.units.items()
    }
    labels = sorted(found)
    return _Lists(labels, [found[label] for label in labels])


def _require_cik(cik: int, file: CompanyFile) -> None:
    if cik != file.cik:
        raise Unreadable(whole_file(file.name, file.content, "cik_mismatch", f"the file is about CIK {cik}"))


# As columns


def _by_columns(companies: Sequence[_Lists]) -> pl.DataFrame | None:
    """None when something is in another layout than the SEC's."""
    columns = read_columns([facts for company in companies for facts in company.lists])
    if columns is None:
        return None
    labels = [label for company in companies for label in company.labels]
    accessions, nth_accession = _numbered(columns.accession)
    periods = columns.of_unit << 44 | _positive(columns.period_start) << 22 | _positive(columns.period_end)
    order = _order(periods, nth_accession)
    of_unit, nth_accession, filed = columns.of_unit[order], nth_accession[order], columns.filed[order]
    ciks = np.array([label[0] for label in labels], np.int64)
    nth_company = np.searchsorted(np.unique(ciks), ciks)[of_unit] if labels else of_unit
    _, filing = _numbered((nth_company << 44 | nth_accession << 22 | _positive(filed)).astype(np.uint64))
    start, year = pl.Series(columns.period_start[order]), pl.Series(columns.fiscal_year[order])
    return _labelled(labels, of_unit).with_columns(
        start.set(start == NO_DATE, None).cast(pl.Date).alias("period_start"),
        pl.Series("period_end", columns.period_end[order]).cast(pl.Date),
        _gathered("accession", [accession_of(number) for number in accessions.tolist()], nth_accession),
        pl.Series("value", columns.value[order]),
        _text("form", columns.form[order]),
        year.set(year == NO_YEAR, None).alias("fiscal_year"),
        _text("fiscal_period", columns.fiscal_period[order], null=0),
        pl.Series("filed", filed).cast(pl.Date),
        pl.Series("filing", filing.astype(np.uint32)),
    )


def _order(periods: Places, nth_accession: Places) -> Places:
    """By period, then accession. The SEC's lists are nearly in that order, of which a stable sort makes much."""
    by_period = np.argsort(periods, kind="stable")
    nth_period = np.cumsum(np.diff(periods[by_period], prepend=0) != 0)
    return by_period[np.argsort(nth_period << 22 | nth_accession[by_period], kind="stable")]


def _positive(days: Days) -> Places:
    """Days from the first day of the calendar on, in 22 bits; 0 when there is none."""
    return np.where(days == NO_DATE, 0, days.astype(np.int64) - _BEFORE_ALL)


def _numbered(codes: Words) -> tuple[Words, Places]:
    """The distinct codes in order, and the place of each code among them. A hash is much cheaper than a sort here."""
    distinct = np.sort(pl.Series(codes).unique().to_numpy())
    return distinct, np.searchsorted(distinct, codes)


def _gathered(name: str, values: Sequence[str | None], places: Places) -> pl.Series:
    return pl.Series(name, values, pl.String).gather(places)


def _text(name: str, codes: Words, null: int | None = None) -> pl.Series:
    distinct, places = _numbered(codes)
    return _gathered(name, [None if code == null else text_of(code) for code in distinct.tolist()], places)


def _labelled(labels: Sequence[tuple[int, str, str, str]], of_unit: Places) -> pl.DataFrame:
    kinds = {name: FACTS.columns[name] for name in _LABEL}
    return pl.DataFrame(labels, schema=kinds, orient="row").select(pl.all().gather(pl.Series(of_unit)))


# By types


class _Row(msgspec.Struct, gc=False):
    end: date
    val: float
    accn: str
    form: str
    filed: date
    start: date | None = None
    fy: int | None = None
    fp: str | None = None


_ROWS = msgspec.json.Decoder(list[_Row])


def _by_types(company: _Lists) -> pl.DataFrame:
    """Raises msgspec.DecodeError when a fact is not of its type."""
    return _rows(_Lists(company.labels, [_ROWS.decode(facts) for facts in company.lists]))


def _rows(company: _Lists) -> pl.DataFrame:
    flat = [row for rows in company.lists for row in rows]
    counts = np.array([len(rows) for rows in company.lists], np.int64)
    reported = pl.DataFrame(
        {
            "period_start": [row.start for row in flat],
            "period_end": [row.end for row in flat],
            "accession": [row.accn for row in flat],
            "value": [row.val for row in flat],
            "form": [row.form for row in flat],
            "fiscal_year": [row.fy for row in flat],
            "fiscal_period": [row.fp for row in flat],
            "filed": [row.filed for row in flat],
        },
        schema=_REPORTED,
    )
    labels = _labelled(company.labels, np.repeat(np.arange(len(counts)), counts))
    return pl.concat([labels, reported], how="horizontal")


# Fact by fact


class _LooseCompany(msgspec.Struct):
    cik: int | str
    facts: dict[str, dict[str, dict[str, Any]]]


def _fact_by_fact(file: CompanyFile, wanted: Wanted) -> tuple[pl.DataFrame, list[Rejected]]:
    try:
        # The standard parser also reads NaN and Infinity, which JSON does not know: such rows are refused one by one below.
        company = msgspec.convert(json.loads(file.content), _LooseCompany, strict=False)
        cik = int(company.cik)
    except (ValueError, RecursionError) as error:  # msgspec.ValidationError is a ValueError too
        reason = f"not a companyfacts file: {error}"
        raise Unreadable(whole_file(file.name, file.content, "corrupt_file", reason)) from None
    _require_cik(cik, file)
    rejected: list[Rejected] = []
    found: dict[tuple[int, str, str, str], list[_Row]] = {}
    for taxonomy in wanted.taxonomies:
        for tag, block in company.facts.get(taxonomy, {}).items():
            if wanted.tags is not None and tag not in wanted.tags:
                continue
            units = block.get("units")
            where = {"file": file.name, "tag": f"{taxonomy}:{tag}"}
            if not isinstance(units, dict):
                rejected.append(Rejected(where, "malformed", "the tag has no units"))
                continue
            for unit, rows in units.items():
                found[cik, taxonomy, tag, unit] = _typed(rows, {**where, "unit": unit}, rejected)
    return _rows(_Lists(list(found), list(found.values()))), rejected


def _typed(rows: object, where: dict[str, str], rejected: list[Rejected]) -> list[_Row]:
    if not isinstance(rows, list):
        rejected.append(Rejected(where, "malformed", "the facts of a unit are not a list"))
        return []
    found = []
    for row in rows:
        try:
            typed = msgspec.convert(row, _Row)
        except msgspec.ValidationError as error:
            rejected.append(Rejected({**where, "fact": str(row)}, "malformed", str(error)))
            continue
        if not math.isfinite(typed.val):
            rejected.append(Rejected({**where, "fact": str(row)}, "not_finite", f"the value is {typed.val}"))
            continue
        found.append(typed)
    return found
