"""Fundamental reports of Interactive Brokers: from a gateway that still gives them, and from a folder of their XML.

IBKR took fundamental data out of its API in version 10.47 (2026), and many logins lost it before. This is a second source beside
the SEC's filings, never the only one. The gateway is asked once a day whether it gives reports; when it does not, the source is off
for the day and says so once. Every report that comes is kept as it is, so that later versions do not hide earlier ones.
"""

import asyncio
import logging
from collections.abc import Iterator, Sequence
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Annotated, ClassVar

import polars as pl
from pydantic import Field

from tradebot_core.calendar import NEW_YORK, TradingCalendar
from tradebot_core.clock import SystemClock
from tradebot_core.collectors.report_archive import Kept, ReportArchive, Requests
from tradebot_core.config import IbkrSettings, Settings
from tradebot_core.errors import DataError
from tradebot_core.ibkr.fundamentals import ANSWER_TIMEOUT_S, ask_for_reports
from tradebot_core.ibkr.reports.facts import SCHEMA, Seen, fact_rows
from tradebot_core.ibkr.reports.plan import WINDOW, Refusal, Refused, ReportPlan, Wanted, pause, reasons
from tradebot_core.ibkr.reports.reader import read_report
from tradebot_core.ibkr.reports.record import Report, ReportType
from tradebot_core.ibkr.reports.safe_xml import Document, Unreadable
from tradebot_core.interfaces import Batch, Clock, Rejected
from tradebot_core.model.tables import FACTS, FactTable

_log = logging.getLogger(__name__)
_SOURCE = "ibkr_reports"
_BATCH_ROWS = 200_000


class Params(Settings):
    """`path`: the folder of reports; what the gateway sends is kept there. `account`: the gateway's; without it none is asked, and
    the folder is only read. `client_id` as in the ibkr block (this reader connects as client_id + 11). A report is asked for again
    after `refresh_days`; a run asks for no more than `requests_per_run` (IBKR allows 60 in ten minutes: more take longer)."""

    path: Path
    account: str | None = None
    host: str = "127.0.0.1"
    port: int = 4002
    client_id: Annotated[int, Field(ge=1, le=31)] = 1
    reports: tuple[ReportType, ...] = tuple(ReportType)
    refresh_days: Annotated[int, Field(ge=1, le=90)] = 7
    requests_per_run: Annotated[int, Field(ge=1, le=5000)] = 60
    answer_timeout_s: Annotated[float, Field(gt=0, le=300)] = ANSWER_TIMEOUT_S


class IbkrFundamentals:
    table: ClassVar[FactTable] = FACTS
    Params: ClassVar[type[Params]] = Params
    caveat: ClassVar[str] = (
        "IBKR's reports hold only the latest version of a period: what was restated counts from when it was first seen here, "
        "and silent corrections by the vendor do not show."
    )

    def __init__(self, params: Params, calendar: TradingCalendar, clock: Clock | None = None) -> None:
        self._params = params
        self._calendar = calendar
        self._clock = clock or SystemClock()
        self._archive = ReportArchive(params.path)

    def collect(self, securities: pl.DataFrame, start: date, end: date) -> Iterator[Batch]:
        """Asks the gateway for what is due, then reads the whole folder; every fact known by the cut-off of `end`.

        A number that counts from when it was first seen, and is seen only now, comes with the next collection."""
        known_by = self._calendar.cutoff(end)
        if self._params.account is not None:
            known_by = min(known_by, self._clock.now())
            refused = self._ask(securities)
            if refused:
                yield Batch(FACTS, SCHEMA.to_frame(), _SOURCE, tuple(refused))
        elif not self._params.path.is_dir():
            raise DataError(
                f"{self._params.path} is not a folder.",
                "Put the XML of reports there, or give params.account to ask a gateway for them.",
            )
        yield from self._read(set(securities["cik"].drop_nulls()), known_by)

    # The gateway.

    def _ask(self, securities: pl.DataFrame) -> list[Rejected]:
        """What was refused: one record for the source as far as it is off, one for each single refusal."""
        now, requests = self._clock.now(), self._archive.requests()
        today = now.astimezone(NEW_YORK).date()
        if requests.day != today:
            requests.day, requests.off = today, {}
        plan = ReportPlan(
            self._due(securities, requests, now), {ReportType(report): text for report, text in requests.off.items()}
        )
        if all(wanted.report in plan.off for wanted in plan.wanted):  # nothing is due, or nothing is to be had today
            return self._refusals(plan, today) if plan.wanted else []

        async def before_each(_: Wanted) -> None:
            await asyncio.sleep(pause(requests.asked, self._clock.now()).total_seconds())
            asked_at = self._clock.now()
            requests.asked = [*(at for at in requests.asked if asked_at - at < WINDOW), asked_at]
            self._archive.remember(requests)  # before the request goes out: a run that dies has asked all the same

        def keep(wanted: Wanted, text: str) -> None:
            received_at = self._clock.now()
            self._archive.keep(wanted.cik, wanted.report, text, received_at)
            requests.settled[_key(wanted)] = received_at

        settings = IbkrSettings(**self._params.model_dump(include={"host", "port", "client_id", "account"}))
        try:
            ask_for_reports(settings, plan, keep, before_each, self._params.answer_timeout_s)
        finally:
            requests.off = {str(report): text for report, text in plan.off.items()}
            requests.settled.update(
                {_key(refused.wanted): self._settled_at(refused, now) for refused in plan.single_refusals()}
            )
            self._archive.remember(requests)
        return self._refusals(plan, today)

    def _settled_at(self, refused: Refused, now: datetime) -> datetime:
        """A share without reports is asked about as seldom as one with; whatever else went wrong, a day later."""
        return now if refused.why is Refusal.NO_REPORT else now - timedelta(days=self._params.refresh_days - 1)

    def _due(self, securities: pl.DataFrame, requests: Requests, now: datetime) -> Sequence[Wanted]:
        """One listed share of each issuer, the reports longest not had first."""
        today = now.astimezone(NEW_YORK).date()
        listed = securities.filter(pl.col("cik").is_not_null() & (pl.col("valid_to").is_null() | (pl.col("valid_to") >= today)))
        shares = listed.sort("cik", "security_id", "valid_from", descending=[False, False, True]).unique(
            "cik", keep="first", maintain_order=True
        )
        wanted = [
            Wanted(row["cik"], row["symbol"], row["con_id"], report)
            for row in shares.iter_rows(named=True)
            for report in self._params.reports
        ]
        never = datetime.min.replace(tzinfo=now.tzinfo)
        oldest = now - timedelta(days=self._params.refresh_days)
        due = [w for w in wanted if requests.settled.get(_key(w), never) <= oldest]
        return sorted(due, key=lambda w: requests.settled.get(_key(w), never))[: self._params.requests_per_run]

    def _refusals(self, plan: ReportPlan, today: date) -> list[Rejected]:
        refused = [
            Rejected({"symbol": r.wanted.symbol, "report": str(r.wanted.report)}, str(r.why), r.text)
            for r in plan.single_refusals()
        ]
        if not plan.off:
            return refused
        message = (
            f"IBKR gives no fundamental reports today ({reasons(plan.off)}). It took them out of its API in version 10.47, and many "
            f"logins lost them before. They are not asked for again before {today + timedelta(days=1)} (New York); what was kept in "
            f"{self._params.path} is still read. The SEC's filings are the source that lasts: collectors.edgar.EdgarFacts."
        )
        _log.warning(message)
        return [
            Rejected({"source": _SOURCE, "reports": sorted(plan.off), "day": today.isoformat()}, "source_off", message),
            *refused,
        ]

    # The folder.

    def _read(self, ciks: set[int], known_by: datetime) -> Iterator[Batch]:
        """Issuer by issuer, all reports of one together; some issuers to a batch."""
        files, rejected = self._files_of(ciks)
        frames: list[pl.DataFrame] = []
        for cik in sorted(files):
            seen = [found for kept in files[cik] for found in [self._seen(kept)]]
            reports = [found for found in seen if isinstance(found, Seen)]
            rows, refused = fact_rows(cik, reports, self._calendar)
            rejected.extend(found for found in seen if isinstance(found, Rejected))
            rejected.extend(record for found in reports for record in found.report.rejected)
            rejected.extend(refused)
            frames.append(rows.filter(pl.col("known_at") <= known_by))
            if sum(frame.height for frame in frames) >= _BATCH_ROWS:
                yield Batch(FACTS, pl.concat(frames), _SOURCE, tuple(rejected))
                frames, rejected = [], []
        if frames or rejected:
            yield Batch(FACTS, pl.concat([SCHEMA.to_frame(), *frames]), _SOURCE, tuple(rejected))

    def _files_of(self, ciks: set[int]) -> tuple[dict[int, list[Kept]], list[Rejected]]:
        """The files by issuer. Those of other names than ours are opened to see whose they are."""
        files: dict[int, list[Kept]] = {}
        rejected: list[Rejected] = []
        for kept in self._archive.files():
            cik = kept.cik
            if cik is None:
                found = self._seen(kept)
                if isinstance(found, Rejected):
                    rejected.append(found)
                    continue
                cik = found.report.cik
            if cik in ciks:
                files.setdefault(cik, []).append(kept)
        return files, rejected

    def _seen(self, kept: Kept) -> Seen | Rejected:
        """The report with the instant at which we had it, or why it cannot be used."""
        try:
            document = Document.at(kept.path)
        except OSError as error:
            return Rejected({"file": kept.path.name}, "unreadable_file", str(error))
        if kept.hash_begins is not None and not document.sha256.startswith(kept.hash_begins):
            return document.refused("changed_file", "it is not what was received: its hash is not the one in its name")
        try:
            report = read_report(document)
        except Unreadable as unreadable:
            return document.refused(unreadable.rule, unreadable.reason)
        if kept.cik is not None and report.cik not in (None, kept.cik):
            return document.refused("cik_mismatch", f"CIK {kept.cik} was asked for, and the report is about CIK {report.cik}")
        if kept.cik is None and report.cik is None:
            return document.refused("no_issuer", "neither the report nor the file's name says which company (CIK) it is about")
        at = kept.at or self._made_at(report)
        if at is None:
            return document.refused("undated", "neither the report nor the file's name says when it was made")
        return Seen(report, at, kept.path.name, document.sha256)

    def _made_at(self, report: Report) -> datetime | None:
        """For a file of somebody's own: the session after the latest day that the report names. A file's own time says nothing:
        copying changes it."""
        if report.made_on is None or not self._calendar.first <= report.made_on <= self._calendar.last - timedelta(days=7):
            return None
        return self._calendar.date_only_known_at(report.made_on)


def _key(wanted: Wanted) -> str:
    return f"CIK{wanted.cik:010d} {wanted.report}"
