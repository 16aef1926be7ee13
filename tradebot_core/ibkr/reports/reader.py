"""One of IBKR's fundamental reports (Reuters/Refinitiv XML): which it is, whose, of when, and what stands in it."""

import re
from datetime import date
from xml.etree.ElementTree import Element

from tradebot_core.ibkr.reports.record import Item, Reading, Report, ReportType, day_of, text_of
from tradebot_core.ibkr.reports.safe_xml import Document, Unreadable, root_of
from tradebot_core.ibkr.reports.snapshot import read_ratios, read_snapshot
from tradebot_core.ibkr.reports.statements import read_statements
from tradebot_core.ibkr.reports.summary import read_summary

_ROOTS = {
    "ReportSnapshot": ReportType.SNAPSHOT,
    "ReportFinancialStatements": ReportType.STATEMENTS,
    "FinancialSummary": ReportType.SUMMARY,
}


def read_report(document: Document) -> Report:
    """Raises Unreadable when the document as a whole cannot be used; single items that cannot are in `rejected`."""
    root = root_of(document)
    if root.tag == "Error":
        raise Unreadable("vendor_error", f"the vendor sent an error: {text_of(root)[:200] or 'without a text'}")
    if root.tag not in _ROOTS:
        raise Unreadable("unknown_report", f"its root is <{root.tag[:60]}>; known are {', '.join(_ROOTS)}")
    kind = _ROOTS[root.tag]
    reading = Reading(root, document.sha256, kind)
    items: list[Item]
    match kind:
        case ReportType.STATEMENTS:
            items = list(read_statements(reading))
        case ReportType.SNAPSHOT:
            items = list(read_snapshot(reading))
        case ReportType.SUMMARY:
            items = list(read_summary(reading))
    return Report(
        kind,
        _cik(root),
        text_of(root.find("CoIDs/CoID[@Type='CompanyName']")) or None,
        text_of(root.find("peerInfo/IndustryInfo/Industry[@type='TRBC'][@order='1']")) or None,
        _made_on(root),
        max(filter(None, (day_of(e.get("Date")) for e in root.findall("Issues/Issue/MostRecentSplit"))), default=None),
        tuple(items),
        read_ratios(reading) if kind is ReportType.SNAPSHOT else {},
        tuple(reading.rejected),
    )


def _cik(root: Element) -> int | None:
    text = text_of(root.find("CoIDs/CoID[@Type='CIKNo']"))
    return int(text) if re.fullmatch(r"\d{1,10}", text) and int(text) > 0 else None


def _made_on(root: Element) -> date | None:
    days = [
        day_of(text_of(root.find("CoGeneralInfo/LastModified"))),
        day_of(text_of(root.find("Ratios/Group/Ratio[@FieldName='PDATE']"))),
        *(day_of(element.get("Date")) for element in root.findall("CoGeneralInfo/MostRecentExchange")),
        *(day_of(element.get("lastUpdated")) for path in ("contactInfo", "peerInfo") for element in root.findall(path)),
        *(day_of(element.get("Date")) for element in root.iter("Source")),
    ]
    return max(filter(None, days), default=None)
