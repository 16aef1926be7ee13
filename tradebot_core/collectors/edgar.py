"""Company facts from SEC EDGAR files: companyfacts (bulk zip, folder, or one company's JSON), with acceptance times where given.

https://www.sec.gov/search-filings/edgar-application-programming-interfaces describes both layouts. The whole zip of some 20 GB
streams: some companies are read at a time, and a batch holds the next whole groups of issuers.
"""

from collections.abc import Iterator, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import ClassVar

import polars as pl

from tradebot_core.calendar import TradingCalendar
from tradebot_core.collectors.company_facts import CompanyFile, Wanted, facts_of
from tradebot_core.collectors.fact_rules import judged
from tradebot_core.collectors.filing_times import acceptances
from tradebot_core.collectors.read_ahead import read_ahead
from tradebot_core.collectors.sec_files import SecFiles, Unreadable
from tradebot_core.config import Settings
from tradebot_core.interfaces import Batch, Rejected
from tradebot_core.model.issuers import issuer_groups
from tradebot_core.model.tables import FACTS, INSTANT, FactTable

_SOURCE = "sec_edgar"
_BATCH_ROWS = 200_000  # some fifty large companies: few writes of the store, little memory
_BYTES_AT_ONCE = 8 << 20  # of JSON: enough that the number of companies costs nothing, and little beside a batch
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
        company_files = SecFiles.at(self._params.path, "params.path")
        submissions = (
            SecFiles.at(self._params.submissions_path, "params.submissions_path") if self._params.submissions_path else None
        )
        cutoff = self._calendar.cutoff(end)

        def read(issuers: Sequence[int]) -> tuple[pl.DataFrame, list[Rejected]]:
            return self._read(issuers, company_files, submissions, cutoff)

        with company_files, submissions or SecFiles({}):
            gathered: list[pl.DataFrame] = []
            rejected: list[Rejected] = []
            parts = _parts(issuer_groups(securities["cik"].drop_nulls()), company_files)
            for (_, ends_group), (rows, refused) in read_ahead(parts, lambda part: read(part[0]), _READERS):
                gathered.append(rows)
                rejected += refused
                if ends_group and sum(map(len, gathered)) >= _BATCH_ROWS:
                    yield _batch(gathered, rejected)
                    gathered, rejected = [], []
            if gathered:
                yield _batch(gathered, rejected)

    def _read(
        self, issuers: Sequence[int], company_files: SecFiles, submissions: SecFiles | None, cutoff: datetime
    ) -> tuple[pl.DataFrame, list[Rejected]]:
        params = self._params
        files: list[CompanyFile] = []
        rejected: list[Rejected] = []
        for cik in issuers:
            name = f"CIK{cik:010d}.json"
            if name not in company_files:
                reason = f"{params.path} has no {name}; the issuer has no facts"
                rejected.append(Rejected({"cik": cik}, "no_facts", reason))
                continue
            try:
                files.append(CompanyFile(cik, name, company_files.read(name)))
            except Unreadable as unreadable:
                rejected.append(unreadable.rejected)
        tags = None if params.tags is None else frozenset(params.tags)
        rows, refused = facts_of(files, Wanted(params.taxonomies, tags))
        rejected += refused
        accepted: dict[int, dict[str, datetime]] = {}
        if submissions is not None:
            filings = rows.select("filing", "cik", "accession").unique("filing", maintain_order=True)
            for cik, accessions in filings.group_by("cik", maintain_order=True).agg("accession").iter_rows():
                accepted[cik], unread = acceptances(cik, submissions, frozenset(accessions))
                rejected += unread
        rows, refused = judged(rows, accepted, self._calendar)
        return rows.filter(pl.col("known_at") <= cutoff).cast(dict(_SCHEMA)), [*rejected, *refused]


def _parts(groups: Sequence[Sequence[int]], files: SecFiles) -> Iterator[tuple[list[int], bool]]:
    """Issuers with a few megabytes of files, and whether they are the last of their group."""
    for group in groups:
        part: list[int] = []
        size = 0
        for cik in group:
            if size >= _BYTES_AT_ONCE:
                yield part, False
                part, size = [], 0
            part.append(cik)
            size += files.size(f"CIK{cik:010d}.json")
        yield part, True


def _batch(rows: Sequence[pl.DataFrame], rejected: Sequence[Rejected]) -> Batch:
    return Batch(FACTS, pl.concat([_SCHEMA.to_frame(), *rows]), source=_SOURCE, rejected=tuple(rejected))
