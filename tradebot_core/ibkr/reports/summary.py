"""ReportsFinSummary: earnings, dividends and revenue by period, without a filing or a company's name.

Schema after https://github.com/quantbelt/ib_fundamental/issues/10 (AAPL, 2024).
"""

import re
from collections.abc import Iterator

from tradebot_core.ibkr.reports.record import Item, Reading, ReportType, day_of, months_to

_SERIES = {"EPSs": "EPS", "DividendPerShares": "DividendPerShare", "TotalRevenues": "TotalRevenue"}


def read_summary(reading: Reading) -> Iterator[Item]:
    """Plain units. The kind of report (A, P, R, TTM) is a part of the tag, since the same day has several. Its twelve months roll
    from quarter to quarter, its earnings a share are basic, and its days are those of calendar months."""
    for series, name in _SERIES.items():
        block = reading.root.find(series)
        currency = "" if block is None else block.get("currency", "")
        for element in () if block is None else block.findall(name):
            kind, length = element.get("reportType", ""), element.get("period", "")
            where = {"item": name, "day": element.get("asofDate"), "kind": kind, "length": length}
            end = day_of(element.get("asofDate"))
            if end is None or not currency or not re.fullmatch(r"[A-Z]{1,4}", kind) or length not in ("3M", "12M"):
                reading.refuse(where, "no_period", "it has no currency, day, length of 3M or 12M, or kind")
                continue
            value = reading.number(element.text, where)
            if value is None:
                continue
            unit = currency if name == "TotalRevenue" else f"{currency}/shares"
            start = months_to(end, int(length.removesuffix("M")))
            yield Item(f"{name}_{kind}", unit, start, end, value, str(ReportType.SUMMARY), None, restated=True)
