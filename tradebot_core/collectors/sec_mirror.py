"""A folder that holds the SEC's files of some companies and is brought up to date: asked is only for what may be new.

    companyfacts/CIK##########.json       submissions/CIK##########.json, CIK##########-submissions-###.json
    records/CIK##########.json            what is known of each file's version, and until when the company was checked

Of a company that was checked before, the SEC's daily index says whether it has filed since. On the evening of a day whose index
is not yet written, or where the companies are fewer than the indexes, the companies are asked themselves: one small conditional
request each. Facts are fetched again only when a filing with XBRL is new.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from tradebot_core.calendar import NEW_YORK
from tradebot_core.collectors.kept_files import Record, one_at_a_time, read_record, write_record
from tradebot_core.collectors.sec_company import Place, Visit
from tradebot_core.collectors.sec_http import SecClient, SecUnavailable
from tradebot_core.collectors.sec_index import DailyIndex, has_gap
from tradebot_core.interfaces import Clock, Rejected

_FAILURES_IN_A_ROW = 3  # then it is not the company
_COMPANIES_BETWEEN_WORDS = 25
_LONGEST_GAP = timedelta(days=31)  # a company left alone for longer is asked itself
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Mirror:
    """`data_url`: https://data.sec.gov, whose api/xbrl/companyfacts and submissions are mirrored."""

    folder: Path
    client: SecClient
    index: DailyIndex
    data_url: str
    clock: Clock

    def sync(self, ciks: Iterable[int], until: datetime) -> list[Rejected]:
        """Fetches what these companies had made public by `until` (or by now) and is not here; returns what could not be had.

        A company that cannot be had is named and the others go on. Raises SecRefused when the SEC refuses to answer, and
        SecUnavailable when it fails for three companies in a row, or for all when fewer are to be asked; what has arrived by then
        is kept and not asked for again.
        """
        until = min(until, self.clock.now())
        with one_at_a_time(self.folder):
            records = {cik: read_record(self._place.record_path(cik)) for cik in sorted(set(ciks))}
            behind = {cik: record for cik, record in records.items() if _is_behind(record, until)}
            if not behind:
                return []
            to_ask = self._may_have_filed(behind, until)
            for cik in behind.keys() - to_ask:
                behind[cik].checked = until
                write_record(self._place.record_path(cik), behind[cik])
            _LOG.info("SEC: %d of %d companies are to be asked for", len(to_ask), len(records))
            return self._ask(sorted(to_ask), behind)

    def _ask(self, ciks: Sequence[int], records: Mapping[int, Record]) -> list[Rejected]:
        rejected: list[Rejected] = []
        failures = 0
        for number, cik in enumerate(ciks, start=1):
            try:
                rejected += Visit(self._place, cik, records[cik]).make()
                failures = 0
            except SecUnavailable as error:
                failures += 1
                rejected.append(Rejected({"cik": cik}, "not_fetched", str(error)))
                if failures >= min(_FAILURES_IN_A_ROW, len(ciks)):
                    raise SecUnavailable(
                        f"The SEC failed for {failures} companies in a row ({number} of {len(ciks)} were asked for). {error.cause}",
                        error.mend,
                    ) from None
            if number % _COMPANIES_BETWEEN_WORDS == 0 or number == len(ciks):
                _LOG.info("SEC: %d of %d companies done, %d with a problem", number, len(ciks), len(rejected))
        return rejected

    def _may_have_filed(self, records: Mapping[int, Record], until: datetime) -> Set[int]:
        """The companies to be asked: those never checked, those whose facts are awaited, those that an index names."""
        last = until.astimezone(NEW_YORK).date()
        checked = {cik: record.checked.astimezone(NEW_YORK).date() for cik, record in records.items() if record.checked}
        since = {cik: day for cik, day in checked.items() if last - day <= _LONGEST_GAP}
        unknown = {cik for cik, record in records.items() if cik not in since or record.waiting is not None}
        if not since:
            return unknown
        first = min(since.values())
        if len(since) <= (last - first).days + 1:
            return set(records)
        try:
            published = self.index.published(first, last)
            if has_gap(first, last, frozenset(published)):
                return set(records)
            filers = {day: self.index.filers(day) for day in published}
        except SecUnavailable as error:
            _LOG.info("%s Every company is asked instead.", error.cause)
            return set(records)
        named = {cik for cik, day in since.items() if any(cik in found for on, found in filers.items() if on >= day)}
        return unknown | named

    @property
    def _place(self) -> Place:
        return Place(self.folder, self.client, self.data_url, self.clock)


def _is_behind(record: Record, until: datetime) -> bool:
    if record.checked is None or record.checked < until:
        return True
    return record.waiting is not None and record.waiting <= until.astimezone(NEW_YORK).date()
