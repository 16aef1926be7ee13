"""From the reports of one issuer, as they were seen over time, to rows of FACTS.

A report is only the latest version of its periods. Which instant a number became known at is therefore decided so:

* A statement as first filed (UPD, UCA, of its own date) was known from the date of its source on.
* A restated or reclassified one stands in the filing its source names, but only the vendor says so: it counts from that date or
  from the day we first saw it, whichever is later. So do the counts of a snapshot, and the summary, which name no filing.
* A number that changes from one report to the next is a later version: a filing of its own, known from when it was first seen.

Where shares were split after a filing, nothing says which basis the vendor shows: share counts and amounts a share are refused.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

import polars as pl

from tradebot_core.calendar import NEW_YORK, TradingCalendar
from tradebot_core.ibkr.reports.record import Item, Report
from tradebot_core.interfaces import Rejected
from tradebot_core.model.tables import FACTS, INSTANT

TAXONOMY = "ibkr"
SCHEMA = pl.Schema({**FACTS.columns, "known_at": INSTANT})
_KEY = ("tag", "unit", "period_start", "period_end", "accession")


@dataclass(frozen=True, slots=True)
class Seen:
    """A report and the instant (UTC) at which we had it."""

    report: Report
    at: datetime
    name: str
    sha256: str


def fact_rows(cik: int, reports: Sequence[Seen], calendar: TradingCalendar) -> tuple[pl.DataFrame, list[Rejected]]:
    """Columns of FACTS with known_at, in order of the key; what cannot be dated, or contradicts itself, is refused."""
    rejected: list[Rejected] = []
    versions: list[dict[str, Any]] = []
    latest: dict[tuple[object, ...], object] = {}
    for seen in sorted(reports, key=lambda seen: (seen.at, seen.sha256)):
        for key, row in _rows_of(cik, seen, calendar, rejected).items():
            if key not in latest:
                versions.append(row)
            elif latest[key] != row["value"]:
                accession = f"{row['accession']}+{seen.at:%Y%m%dT%H%M%SZ}"
                versions.append(row | {"accession": accession, "known_at": max(row["known_at"], seen.at)})
            latest[key] = row["value"]
    frame = pl.DataFrame(versions, schema=SCHEMA, orient="row")
    return frame.sort(*FACTS.key, nulls_last=False), rejected


def _rows_of(
    cik: int, seen: Seen, calendar: TradingCalendar, rejected: list[Rejected]
) -> dict[tuple[object, ...], dict[str, Any]]:
    """The rows of one report by key. A balance stands in the annual and in the interim part: where they differ, none can be chosen."""
    found: dict[tuple[object, ...], dict[str, Any]] = {}
    conflicts: dict[tuple[object, ...], Item] = {}
    for item in seen.report.items:
        refusal = _refusal(item, seen, calendar)
        if refusal is not None:
            rejected.append(_rejected(cik, item, seen, *refusal))
            continue
        row = _row(cik, item, seen, calendar)
        key = tuple(row[name] for name in _KEY)
        if found.setdefault(key, row)["value"] != item.value:
            conflicts[key] = item
    for key, item in conflicts.items():
        reason = f"the report has two values for the item and period: this and {found.pop(key)['value']:.15g}"
        rejected.append(_rejected(cik, item, seen, "conflicting_versions", reason))
    return found


def _row(cik: int, item: Item, seen: Seen, calendar: TradingCalendar) -> dict[str, Any]:
    filed = _filed(item, seen)
    known_at = seen.at if item.filed is None else calendar.date_only_known_at(filed)
    return {
        "cik": cik,
        "taxonomy": TAXONOMY,
        "tag": item.tag,
        "unit": item.unit,
        "period_start": item.period_start,
        "period_end": item.period_end,
        "accession": _accession(cik, item, filed),
        "value": item.value,
        "form": item.form,
        "fiscal_year": item.fiscal_year,
        "fiscal_period": item.fiscal_period,
        "filed": filed,
        "known_at": max(known_at, seen.at) if item.restated else known_at,
    }


def _filed(item: Item, seen: Seen) -> date:
    return item.filed or seen.at.astimezone(NEW_YORK).date()


def _accession(cik: int, item: Item, filed: date) -> str:
    """Not the SEC's number, which the report does not have. A summary names no filing: all of it is one."""
    form = re.sub(r"[^A-Za-z0-9]+", "-", item.form).strip("-")
    return f"ibkr-{cik}-{form}-{filed}" if item.filed is not None else f"ibkr-{cik}-{form}"


def _refusal(item: Item, seen: Seen, calendar: TradingCalendar) -> tuple[str, str] | None:
    filed, split_on = _filed(item, seen), seen.report.split_on
    if not calendar.first <= filed <= calendar.last - timedelta(days=7):
        return "filed_outside_calendar", f"{filed} is outside the trading calendar"
    if item.period_end > max(filed, seen.at.astimezone(NEW_YORK).date()):
        return "period_in_the_future", f"it is of {item.period_end} and was seen before"
    if item.is_per_share_or_shares and split_on is not None and filed < split_on:
        return "share_basis_unknown", f"shares were split on {split_on}, after the filing of {filed}"
    return None


def _rejected(cik: int, item: Item, seen: Seen, rule: str, reason: str) -> Rejected:
    record = {
        "file": seen.name,
        "sha256": seen.sha256,
        "cik": cik,
        "item": item.tag,
        "period_end": item.period_end.isoformat(),
        "value": item.value,
        "filed": item.filed.isoformat() if item.filed else None,
    }
    return Rejected(record, rule, reason)
