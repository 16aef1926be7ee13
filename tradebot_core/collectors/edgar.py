"""Company facts from SEC EDGAR files: companyfacts (bulk zip, folder, or one company's JSON), with acceptance times where given.

https://www.sec.gov/search-filings/edgar-application-programming-interfaces describes both layouts. The whole zip of some 20 GB
streams: some companies are read at a time, and a batch holds the next whole groups of issuers. Where there is much to read, other
processes inflate, read and judge, and this one only passes on what they made, in order.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import ClassVar

import polars as pl

from tradebot_core.calendar import TradingCalendar
from tradebot_core.collectors.company_facts import CompanyFile, Wanted, facts_of
from tradebot_core.collectors.fact_rules import judged
from tradebot_core.collectors.filing_times import acceptances
from tradebot_core.collectors.read_ahead import read_ahead
from tradebot_core.collectors.read_apart import read_apart
from tradebot_core.collectors.sec_files import SecFiles, Unreadable
from tradebot_core.config import Settings
from tradebot_core.interfaces import Batch, Rejected
from tradebot_core.model.issuers import issuer_groups
from tradebot_core.model.tables import FACTS, INSTANT, FactTable

_SOURCE = "sec_edgar"
_BATCH_ROWS = 200_000  # some fifty large companies: few writes of the store, little memory
_BYTES_AT_ONCE = 8 << 20  # of JSON: enough that the number of companies costs nothing, and little beside a batch
_WORTH_PROCESSES = 250 << 20  # of JSON: three seconds of work, of which starting the processes takes one
# Carrying the rows between processes costs CPU: on two cores threads are as fast or faster. Some 350 MiB each; more than three
# give more than the store can take.
_PROCESSES = 1 if (os.cpu_count() or 1) <= 2 else 3
_AHEAD = 24  # parts of some 8 MB of rows: what the processes make while a batch is stored
_AHEAD_OF_THREADS = 4  # that no reader waits for the store, nor the store for a reader
_READERS = 2  # inflating, reading as columns and writing take turns on the interpreter for a small part only
_SCHEMA = pl.Schema({**FACTS.columns, "known_at": INSTANT})


class Params(Settings):
    """`path`: companyfacts as zip, folder of CIK##########.json, or one such file. `submissions_path`: the same for submissions.

    `tags` keeps only these tags (without taxonomy); by default every reported fact is kept.
    """

    path: Path
    submissions_path: Path | None = None
    taxonomies: tuple[str, ...] = ("us-gaap", "dei", "ifrs-full")
    tags: tuple[str, ...] | None = None


class EdgarFacts:
    table: ClassVar[FactTable] = FACTS
    Params: ClassVar[type[Params]] = Params

    def __init__(self, params: Params, calendar: TradingCalendar) -> None:
        self._params = params
        self._calendar = calendar

    def collect(self, securities: pl.DataFrame, start: date, end: date) -> Iterator[Batch]:
        """Every fact known by the cut-off of `end`, those known before `start` as well; whole groups of issuers to a batch."""
        params = self._params
        ciks = securities["cik"].drop_nulls().unique().to_list()
        files = SecFiles.at(params.path, "params.path", ciks)
        submissions = SecFiles.at(params.submissions_path, "params.submissions_path", ciks) if params.submissions_path else None
        reading = _Reading(params, self._calendar, self._calendar.cutoff(end))
        parts = _parts(issuer_groups(ciks), files, submissions)
        if _PROCESSES > 1 and sum(files.size(_name(cik)) for cik in ciks) >= _WORTH_PROCESSES:
            done = read_apart(parts, reading, _PROCESSES, _AHEAD)
        else:
            done = read_ahead(parts, reading, _READERS, _AHEAD_OF_THREADS)
        gathered: list[pl.DataFrame] = []
        rejected: list[Rejected] = []
        for part, (rows, refused) in done:
            gathered.append(rows)
            rejected += refused
            if part.ends_group and sum(map(len, gathered)) >= _BATCH_ROWS:
                yield _batch(gathered, rejected)
                gathered, rejected = [], []
        if gathered:
            yield _batch(gathered, rejected)


@dataclass(frozen=True)
class _Part:
    """Issuers with a few megabytes of files, those files, and whether they are the last issuers of their group."""

    issuers: Sequence[int]
    files: SecFiles
    submissions: SecFiles | None
    ends_group: bool


@dataclass(frozen=True)
class _Reading:
    """What makes rows of a part; goes to another process as it is."""

    params: Params
    calendar: TradingCalendar
    cutoff: datetime

    def __call__(self, part: _Part) -> tuple[pl.DataFrame, list[Rejected]]:
        params = self.params
        files: list[CompanyFile] = []
        rejected: list[Rejected] = []
        for cik in part.issuers:
            name = _name(cik)
            if name not in part.files:
                reason = f"{params.path} has no {name}; the issuer has no facts"
                rejected.append(Rejected({"cik": cik}, "no_facts", reason))
                continue
            try:
                files.append(CompanyFile(cik, name, part.files.read(name)))
            except Unreadable as unreadable:
                rejected.append(unreadable.rejected)
        tags = None if params.tags is None else frozenset(params.tags)
        rows, refused = facts_of(files, Wanted(params.taxonomies, tags))
        rejected += refused
        accepted: dict[int, dict[str, datetime]] = {}
        if part.submissions is not None:
            filings = rows.select("filing", "cik", "accession").unique("filing", maintain_order=True)
            for cik, accessions in filings.group_by("cik", maintain_order=True).agg("accession").iter_rows():
                accepted[cik], unread = acceptances(cik, part.submissions, frozenset(accessions))
                rejected += unread
        rows, refused = judged(rows, accepted, self.calendar)
        return rows.filter(pl.col("known_at") <= self.cutoff).cast(dict(_SCHEMA)), [*rejected, *refused]


def _name(cik: int) -> str:
    return f"CIK{cik:010d}.json"


def _parts(groups: Sequence[Sequence[int]], files: SecFiles, submissions: SecFiles | None) -> Iterator[_Part]:
    def part(issuers: Sequence[int], ends_group: bool) -> _Part:
        return _Part(issuers, files.of(issuers), submissions and submissions.of(issuers), ends_group)

    for group in groups:
        issuers: list[int] = []
        size = 0
        for cik in group:
            if size >= _BYTES_AT_ONCE:
                yield part(issuers, False)
                issuers, size = [], 0
            issuers.append(cik)
            size += files.size(_name(cik))
        yield part(issuers, True)


def _batch(rows: Sequence[pl.DataFrame], rejected: Sequence[Rejected]) -> Batch:
    return Batch(FACTS, pl.concat([_SCHEMA.to_frame(), *rows]), source=_SOURCE, rejected=tuple(rejected))
