"""Company facts of all companies from the SEC's two bulk files, downloaded: companyfacts.zip (over 1 GB) and submissions.zip.

https://www.sec.gov/search-filings/edgar-application-programming-interfaces: both are made anew in the night after each business
day, at about 03:00 New York. On the evening of a session they do not hold its filings yet; EdgarApi asks for those.
"""

import logging
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import ClassVar

import polars as pl

from tradebot_core.calendar import TradingCalendar
from tradebot_core.clock import SystemClock
from tradebot_core.collectors.edgar import EdgarFacts
from tradebot_core.collectors.sec_download import BulkFile
from tradebot_core.collectors.sec_fetching import FetchParams, client_for
from tradebot_core.collectors.sec_manners import Limiter
from tradebot_core.interfaces import Batch, Clock
from tradebot_core.model.tables import FACTS, FactTable

_LOG = logging.getLogger(__name__)


class EdgarBulk:
    """Fetched when the files at hand may lack filings of the range, and have changed. An interrupted download goes on."""

    table: ClassVar[FactTable] = FACTS
    Params: ClassVar[type[FetchParams]] = FetchParams

    def __init__(
        self, params: FetchParams, calendar: TradingCalendar, clock: Clock | None = None, limiter: Limiter | None = None
    ) -> None:
        self._params, self._calendar = params, calendar
        self._clock = clock or SystemClock()
        self._limiter = limiter

    def collect(self, securities: pl.DataFrame, start: date, end: date) -> Iterator[Batch]:
        """All facts known by the cut-off of `end`, as EdgarFacts yields them. Raises SecRefused or SecUnavailable."""
        if securities["cik"].drop_nulls().is_empty():
            return
        params = self._params
        client = client_for(params, self._limiter)
        facts, submissions = (
            BulkFile(client, f"{params.archives_url}/daily-index/{place}", params.cache_path / Path(place).name, self._clock)
            for place in ("xbrl/companyfacts.zip", "bulkdata/submissions.zip")
        )
        for file in (facts, submissions):
            file.refresh(end)
        made = facts.made()
        if made is not None and made <= end:
            _LOG.info("SEC: the bulk files were made on %s; filings from that day on are not in them", made)
        yield from EdgarFacts(params.of_files(facts.path, submissions.path), self._calendar).collect(securities, start, end)
