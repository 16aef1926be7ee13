"""What a report says, as records, and how its text is read.

Numbers leave here in plain units (USD, shares, USD a share): what the XML states in millions is multiplied exactly. Signs are the
file's. An item that is not there, or is -99999.99, is not there here either.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Any
from xml.etree.ElementTree import Element

from tradebot_core.interfaces import Rejected

MILLIONS = 6  # as a power of ten
_MISSING = Decimal("-99999.99")
_NUMBER = re.compile(r"-?\d{1,16}(\.\d{1,12})?")


class ReportType(StrEnum):
    SNAPSHOT = "ReportSnapshot"
    STATEMENTS = "ReportsFinStatements"
    SUMMARY = "ReportsFinSummary"


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


class Reading:
    """One report while it is read: its currency, and what was refused in it."""

    def __init__(self, root: Element, sha256: str, kind: ReportType) -> None:
        self.root = root
        currency = root.find("CoGeneralInfo/ReportingCurrency")
        self.currency = "" if currency is None else currency.get("Code", "")
        self.rejected: list[Rejected] = []
        self._where = {"report": str(kind), "cik": text_of(root.find("CoIDs/CoID[@Type='CIKNo']")), "sha256": sha256}

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


def text_of(element: Element | None) -> str:
    return "" if element is None else (element.text or "").strip()


def day_of(text: str | None) -> date | None:
    """Reports write 2025-08-20, 2025-08-20T00:00:00, and now and then a line feed behind it."""
    match = re.match(r"(19|20)\d{2}-\d{2}-\d{2}(?!\d)", (text or "").strip())
    try:
        return date.fromisoformat(match[0]) if match else None
    except ValueError:
        return None
