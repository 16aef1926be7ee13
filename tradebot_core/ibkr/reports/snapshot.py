"""ReportSnapshot: counts of shares and employees, and the vendor's ratios. Schema after a real report (AMD, August 2025)."""

from collections.abc import Iterator
from datetime import date

from tradebot_core.ibkr.reports.record import MILLIONS, Item, Reading, ReportType, day_of, text_of

_RATIOS_IN_MILLIONS = frozenset({"EV", "MKTCAP", "TTMREV", "TTMEBITD", "TTMNIAC", "VOL10DAVG"})


def read_snapshot(reading: Reading) -> Iterator[Item]:
    """Counts only: ratios and forecasts are the vendor's work, and no fact of a filing."""
    found = reading.root.find("CoGeneralInfo")
    if found is None:
        return
    changed = day_of(text_of(found.find("LastModified")))

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
        yield from count("Employees", "pure", employees.text, day_of(employees.get("LastUpdated")))
    if shares is not None:
        yield from count("SharesOut", "shares", shares.text, day_of(shares.get("Date")))
        yield from count("TotalFloat", "shares", shares.get("TotalFloat"), day_of(shares.get("Date")))


def read_ratios(reading: Reading) -> dict[str, float]:
    found = {}
    for ratio in reading.root.findall("Ratios/Group/Ratio[@Type='N']"):
        name = ratio.get("FieldName", "")
        value = reading.number(ratio.text, {"item": name}, MILLIONS if name in _RATIOS_IN_MILLIONS else 0)
        if value is not None:
            found[name] = value
    return found
