"""ReportsFinStatements: income, balance sheet and cash flow of about six years and six quarters. Schema after a real report (CAT,
November 2020). Income of an interim period is the quarter's, cash flow is the year's to date: each statement says its length."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any
from xml.etree.ElementTree import Element

from tradebot_core.ibkr.reports.record import MILLIONS, Item, Reading, day_of, months_to, text_of

# The map of a statement gives money a precision of 1, shares 2, amounts per share 3; the codes say the same.
_SHARES = frozenset({"SDWS", "QTCO", "QTPO"})
_PER_SHARE = frozenset({"SDBF", "VDES", "DDPS1", "STBP"})
_MONEY_PRECISION = "1"
_AS_FIRST_FILED = frozenset({"UPD", "UCA"})  # updated, and calculated (a fourth quarter); all others were changed later
_LONGEST = {"M": 24, "W": 106}  # two years

# Diluted earnings a share as filed. The report's own SDBF leaves out what the vendor takes for extraordinary: CAT 2017 is 5.21
# there and 1.26 in the filing, which is 754 M (SDNI, diluted net income) / 599.3 M shares (SDWS).
DILUTED_EPS = "SDNI/SDWS"


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


def read_statements(reading: Reading) -> Iterator[Item]:
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
    reading: Reading, period: Element, statement: Element, label: str | None, where: Mapping[str, Any]
) -> _Heading | None:
    header, end = statement.find("FPHeader"), day_of(period.get("EndDate"))
    if header is None or end is None:
        reading.refuse(where, "no_period", "the statement has no header, or its period no end")
        return None
    source = header.find("Source")
    filed, form = (day_of(source.get("Date")), text_of(source)) if source is not None else (None, "")
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
    first = (
        update is not None and update.get("Code") in _AS_FIRST_FILED and day_of(text_of(header.find("StatementDate"))) == end
    )
    year = period.get("FiscalYear", "")
    return _Heading(start, end, form, filed, not first, int(year) if re.fullmatch(r"\d{4}", year) else None, label)


def _start_of(end: date, header: Element) -> date | None:
    kind, length = header.find("periodType"), text_of(header.find("PeriodLength"))
    code = "" if kind is None else kind.get("Code", "")
    if not re.fullmatch(r"\d{1,3}", length) or not 0 < int(length) <= _LONGEST.get(code, 0):
        return None
    return end - timedelta(weeks=int(length)) + timedelta(days=1) if code == "W" else months_to(end, int(length))


def _lines(
    reading: Reading,
    statement: Element,
    heading: _Heading,
    precisions: Mapping[str | None, str | None],
    where: Mapping[str, Any],
) -> Iterator[Item]:
    read: dict[str, Item] = {}
    doubtful: set[str] = set()
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
        if read.setdefault(code, _item(code, unit, value, heading)).value != value:
            reading.refuse(at, "conflicting_values", "the statement has two values of the item, and none can be chosen")
            doubtful.add(code)
    sound = {code: item for code, item in read.items() if code not in doubtful}
    yield from sound.values()
    if "SDNI" in sound and "SDWS" in sound and sound["SDWS"].value > 0:
        earnings = sound["SDNI"].value / sound["SDWS"].value
        yield _item(DILUTED_EPS, f"{reading.currency}/shares", earnings, heading)


def _scale(code: str, precision: str | None, currency: str) -> tuple[str, int] | None:
    """The unit of an item, and the power of ten that makes it plain."""
    if not code or not currency:
        return None
    if code in _SHARES:
        return "shares", MILLIONS
    if code in _PER_SHARE:
        return f"{currency}/shares", 0
    return (currency, MILLIONS) if precision == _MONEY_PRECISION else None


def _item(tag: str, unit: str, value: float, of: _Heading) -> Item:
    return Item(
        tag, unit, of.period_start, of.period_end, value, of.form, of.filed, of.restated, of.fiscal_year, of.fiscal_period
    )
