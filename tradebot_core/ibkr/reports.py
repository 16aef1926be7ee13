"""IBKR's fundamental reports (Reuters/Refinitiv XML) as records: ReportsFinStatements, ReportSnapshot, ReportsFinSummary.

Numbers leave here in plain units (USD, shares, USD a share): what the XML states in millions is multiplied exactly. Signs are the
file's. An item that is not there, or is -99999.99, is not there here either. Schema after real reports: CAT of November 2020
(statements), AMD of August 2025 (snapshot), AAPL of 2024 (summary, https://github.com/quantbelt/ib_fundamental/issues/10).
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Any
from xml.etree.ElementTree import Element

from tradebot_core.ibkr.report_xml import Document, Unreadable, root_of
from tradebot_core.interfaces import Rejected

_MISSING = Decimal("-99999.99")
_NUMBER = re.compile(r"-?\d{1,16}(\.\d{1,12})?")
# The map of a statement gives money a precision of 1, shares 2, amounts per share 3; the codes say the same.
_SHARES = frozenset({"SDWS", "QTCO", "QTPO"})
_PER_SHARE = frozenset({"SDBF", "VDES", "DDPS1", "STBP"})
_MONEY_PRECISION = "1"
_AS_FIRST_FILED = frozenset({"UPD", "UCA"})  # updated, and calculated (a fourth quarter); all others were changed later
_MILLIONS = 6
_LONGEST = {"M": 24, "W": 106}  # two years

# Diluted earnings a share as filed. The report's own SDBF leaves out what the vendor takes for extraordinary: CAT 2017 is 5.21
# there and 1.26 in the filing, which is 754 M (SDNI, diluted net income) / 599.3 M shares (SDWS).
DILUTED_EPS = "SDNI/SDWS"


class ReportType(StrEnum):
    SNAPSHOT = "ReportSnapshot"
    STATEMENTS = "ReportsFinStatements"
    SUMMARY = "ReportsFinSummary"


_ROOTS = {
    "ReportSnapshot": ReportType.SNAPSHOT,
    "ReportFinancialStatements": ReportType.STATEMENTS,
    "FinancialSummary": ReportType.SUMMARY,
}


@dataclass(frozen=True, slots=True)
class Item:
    """One number. `filed`: the date of the filing that it stands in, None where the report names none."""

    tag: str
    unit: str
    period_start: date | None
    period_end: date
    value: float
    form: str
    filed: date | None
    restated: bool  # the vendor's, or a later filing's, second word on the period
    fiscal_year: int | None = None
    fiscal_period: str | None = None

    @property
    def is_per_share_or_shares(self) -> bool:
        return "shares" in self.unit


@dataclass(frozen=True)
class Report:
    """`made_on`: the latest day on which the report says it was worked on. `ratios`: the vendor's own figures by field name,
    money in plain USD; they are there to check others by."""

    type: ReportType
    cik: int | None
    company_name: str | None
    industry: str | None
    made_on: date | None
    split_on: date | None  # the latest split it knows
    items: tuple[Item, ...]
    ratios: Mapping[str, float] = field(default_factory=dict)
    rejected: tuple[Rejected, ...] = ()


def read_report(document: Document) -> Report:
    """Raises Unreadable when the document as a whole cannot be used; single items that cannot are in `rejected`."""
    root = root_of(document)
    if root.tag == "Error":
        raise Unreadable("vendor_error", f"the vendor sent an error: {_text(root)[:200] or 'without a text'}")
    if root.tag not in _ROOTS:
        raise Unreadable("unknown_report", f"its root is <{root.tag[:60]}>; known are {', '.join(_ROOTS)}")
    kind = _ROOTS[root.tag]
    reading = _Reading(root, document.sha256, kind)
    items: list[Item]
    match kind:
        case ReportType.STATEMENTS:
            items = list(_statements(reading))
        case ReportType.SNAPSHOT:
            items = list(_snapshot(reading))
        case ReportType.SUMMARY:
            items = list(_summary(reading))
    return Report(
        kind,
        _cik(root),
        _text(root.find("CoIDs/CoID[@Type='CompanyName']")) or None,
        _text(root.find("peerInfo/IndustryInfo/Industry[@type='TRBC'][@order='1']")) or None,
        _made_on(root),
        max(filter(None, (_day(e.get("Date")) for e in root.findall("Issues/Issue/MostRecentSplit"))), default=None),
        tuple(items),
        _ratios(reading) if kind is ReportType.SNAPSHOT else {},
        tuple(reading.rejected),
    )


class _Reading:
    """One report while it is read: its currency, and what was refused in it."""

    def __init__(self, root: Element, sha256: str, kind: ReportType) -> None:
        self.root = root
        self.currency = root.find("CoGeneralInfo/ReportingCurrency").get("Code", "") if _has_currency(root) else ""
        self.rejected: list[Rejected] = []
        self._where = {"report": str(kind), "cik": _text(root.find("CoIDs/CoID[@Type='CIKNo']")), "sha256": sha256}

    def refuse(self, where: Mapping[str, Any], rule: str, reason: str) -> None:
        self.rejected.append(Rejected({**self._where, **where}, rule, reason))

    def number(self, text: str | None, where: Mapping[str, Any], shift: int = 0) -> float | None:
        """The number, times ten to the power of `shift`; None when it is missing or refused."""
        text = (text or "").strip()
        if not text:
            return None
        if not _NUMBER.fullmatch(text):
            self.refuse({**where, "text": text[:60]}, "not_a_number", "the value is not a plain decimal number")
            return None
        exact = Decimal(text)
        return None if exact == _MISSING else float(exact.scaleb(shift))


def _has_currency(root: Element) -> bool:
    return root.find("CoGeneralInfo/ReportingCurrency") is not None


# ReportsFinStatements


@dataclass(frozen=True, slots=True)
class _Heading:
    """What a statement says of itself."""

    period_start: date | None
    period_end: date
    form: str
    filed: date
    restated: bool
    fiscal_year: int | None
    fiscal_period: str | None


def _statements(reading: _Reading) -> Iterator[Item]:
    precisions = {item.get("coaItem"): item.get("precision") for item in reading.root.iter("mapItem")}
    for path, fiscal_label in (("AnnualPeriods", "FY"), ("InterimPeriods", None)):
        for period in reading.root.findall(f"FinancialStatements/{path}/FiscalPeriod"):
            number = period.get("FiscalPeriodNumber", "")
            label = fiscal_label or (f"Q{number}" if number.isdigit() else None)
            for statement in period.findall("Statement"):
                where = {"period": period.get("EndDate"), "statement": statement.get("Type")}
                heading = _heading(reading, period, statement, label, where)
                if heading is not None:
                    yield from _lines(reading, statement, heading, precisions, where)


def _heading(
    reading: _Reading, period: Element, statement: Element, label: str | None, where: Mapping[str, Any]
) -> _Heading | None:
    header, end = statement.find("FPHeader"), _day(period.get("EndDate"))
    if header is None or end is None:
        reading.refuse(where, "no_period", "the statement has no header, or its period no end")
        return None
    source = header.find("Source")
    filed, form = (_day(source.get("Date")), _text(source)) if source is not None else (None, "")
    if filed is None or not form:
        reading.refuse(where, "no_source", "the statement names no source with a date, so nothing says when it was known")
        return None
    if filed < end:
        reading.refuse(where, "filed_before_period_end", f"its source is dated {filed}")
        return None
    start = None
    if statement.get("Type") != "BAL":
        start = _start_of(end, header)
        if start is None:
            reading.refuse(where, "no_period", "nothing says how long its period is")
            return None
    update = header.find("UpdateType")
    first = update is not None and update.get("Code") in _AS_FIRST_FILED and _day(_text(header.find("StatementDate"))) == end
    year = period.get("FiscalYear", "")
    return _Heading(start, end, form, filed, not first, int(year) if re.fullmatch(r"\d{4}", year) else None, label)


def _start_of(end: date, header: Element) -> date | None:
    kind, length = header.find("periodType"), _text(header.find("PeriodLength"))
    code = "" if kind is None else kind.get("Code", "")
    if not re.fullmatch(r"\d{1,3}", length) or not 0 < int(length) <= _LONGEST.get(code, 0):
        return None
    return end - timedelta(weeks=int(length)) + timedelta(days=1) if code == "W" else months_to(end, int(length))


def months_to(end: date, months: int) -> date:
    """The first day of so many months that end there: three to 2020-09-30 begin on 2020-07-01."""
    after = end + timedelta(days=1)
    year, month = divmod(after.year * 12 + after.month - 1 - months, 12)
    for day in range(after.day, 0, -1):  # the 31st of a month of 30 days is its last
        try:
            return date(year, month + 1, day)
        except ValueError:
            continue
    raise AssertionError(f"{year}-{month + 1} has no first day")


def _lines(
    reading: _Reading,
    statement: Element,
    heading: _Heading,
    precisions: Mapping[str | None, str | None],
    where: Mapping[str, Any],
) -> Iterator[Item]:
    read: dict[str, float] = {}
    for line in statement.findall("lineItem"):
        code = line.get("coaCode", "")
        at = {**where, "item": code}
        scale = _scale(code, precisions.get(code), reading.currency)
        if scale is None:
            reading.refuse(at, "unknown_unit", "the report's map does not say what the item is counted in")
            continue
        unit, shift = scale
        value = reading.number(line.text, at, shift)
        if value is None:
            continue
        if read.setdefault(code, value) != value:
            reading.refuse(at, "conflicting_values", "the statement has two values of the item; the first is kept")
            continue
        yield _item(code, unit, value, heading)
    if "SDNI" in read and read.get("SDWS", 0) > 0:
        yield _item(DILUTED_EPS, f"{reading.currency}/shares", read["SDNI"] / read["SDWS"], heading)


def _scale(code: str, precision: str | None, currency: str) -> tuple[str, int] | None:
    """The unit of an item, and the power of ten that makes it plain."""
    if not code or not currency:
        return None
    if code in _SHARES:
        return "shares", _MILLIONS
    if code in _PER_SHARE:
        return f"{currency}/shares", 0
    return (currency, _MILLIONS) if precision == _MONEY_PRECISION else None


def _item(tag: str, unit: str, value: float, of: _Heading) -> Item:
    return Item(
        tag, unit, of.period_start, of.period_end, value, of.form, of.filed, of.restated, of.fiscal_year, of.fiscal_period
    )


# ReportSnapshot


def _snapshot(reading: _Reading) -> Iterator[Item]:
    """Counts only: ratios and forecasts are the vendor's work, and no fact of a filing."""
    found = reading.root.find("CoGeneralInfo")
    if found is None:
        return
    changed = _day(_text(found.find("LastModified")))

    def count(tag: str, unit: str, text: str | None, day: date | None) -> Iterator[Item]:
        value = reading.number(text, {"item": tag})
        if value is None:
            return
        if day is None:
            reading.refuse({"item": tag, "text": text}, "no_period", "nothing says of which day it is")
        elif not value > 0:
            reading.refuse({"item": tag, "text": text}, "not_positive", "a listed company has some")
        else:
            yield Item(tag, unit, None, day, value, str(ReportType.SNAPSHOT), changed, restated=True)

    employees, shares = found.find("Employees"), found.find("SharesOut")
    if employees is not None:
        yield from count("Employees", "pure", employees.text, _day(employees.get("LastUpdated")))
    if shares is not None:
        yield from count("SharesOut", "shares", shares.text, _day(shares.get("Date")))
        yield from count("TotalFloat", "shares", shares.get("TotalFloat"), _day(shares.get("Date")))


_RATIOS_IN_MILLIONS = frozenset({"EV", "MKTCAP", "TTMREV", "TTMEBITD", "TTMNIAC", "VOL10DAVG"})


def _ratios(reading: _Reading) -> dict[str, float]:
    found = {}
    for ratio in reading.root.findall("Ratios/Group/Ratio[@Type='N']"):
        name = ratio.get("FieldName", "")
        value = reading.number(ratio.text, {"item": name}, _MILLIONS if name in _RATIOS_IN_MILLIONS else 0)
        if value is not None:
            found[name] = value
    return found


# ReportsFinSummary

_SERIES = {"EPSs": "EPS", "DividendPerShares": "DividendPerShare", "TotalRevenues": "TotalRevenue"}


def _summary(reading: _Reading) -> Iterator[Item]:
    """Plain units. The kind of report (A, P, R, TTM) is a part of the tag, since the same day has several. Its twelve months roll
    from quarter to quarter, its earnings a share are basic, and its days are those of calendar months."""
    for series, name in _SERIES.items():
        block = reading.root.find(series)
        currency = "" if block is None else block.get("currency", "")
        for element in () if block is None else block.findall(name):
            kind, length = element.get("reportType", ""), element.get("period", "")
            where = {"item": name, "day": element.get("asofDate"), "kind": kind, "length": length}
            end = _day(element.get("asofDate"))
            if end is None or not currency or not re.fullmatch(r"[A-Z]{1,4}", kind) or length not in ("3M", "12M"):
                reading.refuse(where, "no_period", "it has no currency, day, length of 3M or 12M, or kind")
                continue
            value = reading.number(element.text, where)
            if value is None:
                continue
            unit = currency if name == "TotalRevenue" else f"{currency}/shares"
            start = months_to(end, int(length.removesuffix("M")))
            yield Item(f"{name}_{kind}", unit, start, end, value, str(ReportType.SUMMARY), None, restated=True)


# Of all of them


def _cik(root: Element) -> int | None:
    text = _text(root.find("CoIDs/CoID[@Type='CIKNo']"))
    return int(text) if re.fullmatch(r"\d{1,10}", text) and int(text) > 0 else None


def _made_on(root: Element) -> date | None:
    days = [
        _day(_text(root.find("CoGeneralInfo/LastModified"))),
        _day(_text(root.find("Ratios/Group/Ratio[@FieldName='PDATE']"))),
        *(_day(element.get("Date")) for element in root.findall("CoGeneralInfo/MostRecentExchange")),
        *(_day(element.get("lastUpdated")) for path in ("contactInfo", "peerInfo") for element in root.findall(path)),
        *(_day(element.get("Date")) for element in root.iter("Source")),
    ]
    return max(filter(None, days), default=None)


def _text(element: Element | None) -> str:
    return "" if element is None else (element.text or "").strip()


def _day(text: str | None) -> date | None:
    """Reports write 2025-08-20, 2025-08-20T00:00:00, and now and then a line feed behind it."""
    match = re.match(r"(19|20)\d{2}-\d{2}-\d{2}(?!\d)", (text or "").strip())
    try:
        return date.fromisoformat(match[0]) if match else None
    except ValueError:
        return None
