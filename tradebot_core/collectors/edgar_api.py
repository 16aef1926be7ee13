"""Company facts from the SEC over HTTP, company by company: https://www.sec.gov/search-filings/edgar-application-programming-interfaces.

The SEC's files of the companies in question are kept in a folder, which is brought up to date and then read like any other folder
of them. It can be copied, read without a network, and given to EdgarFacts as `path`.
"""

from collections.abc import Iterator
from datetime import date
from typing import ClassVar

import polars as pl

from tradebot_core.calendar import TradingCalendar
from tradebot_core.clock import SystemClock
from tradebot_core.collectors.edgar import EdgarFacts
from tradebot_core.collectors.sec_company import FACTS_FOLDER, SUBMISSIONS_FOLDER
from tradebot_core.collectors.sec_fetching import FetchParams, client_for
from tradebot_core.collectors.sec_index import DailyIndex
from tradebot_core.collectors.sec_manners import BaseUrl, Limiter
from tradebot_core.collectors.sec_mirror import Mirror
from tradebot_core.interfaces import Batch, Clock
from tradebot_core.model.tables import FACTS, INSTANT, FactTable

_SOURCE = "sec_edgar"


class Params(FetchParams):
    """`cache_path` holds all facts of the companies, whatever `tags` says."""

    data_url: BaseUrl = "https://data.sec.gov"


class EdgarApi:
    """Only companies that filed since the last collection are fetched again; a range of the past that is here asks nothing."""

    table: ClassVar[FactTable] = FACTS
    Params: ClassVar[type[Params]] = Params

    def __init__(
        self, params: Params, calendar: TradingCalendar, clock: Clock | None = None, limiter: Limiter | None = None
    ) -> None:
        self._params, self._calendar = params, calendar
        self._clock = clock or SystemClock()
        self._limiter = limiter

    def collect(self, securities: pl.DataFrame, start: date, end: date) -> Iterator[Batch]:
        """First the companies that could not be had, each with its reason (their facts of before are used); then all facts
        known by the cut-off of `end`, as EdgarFacts yields them. Raises SecRefused or SecUnavailable, with the mend."""
        ciks = securities["cik"].drop_nulls().unique().to_list()
        if not ciks:
            return
        rejected = self._mirror().sync(ciks, self._calendar.cutoff(end))
        if rejected:
            yield Batch(FACTS, pl.DataFrame(schema={**FACTS.columns, "known_at": INSTANT}), _SOURCE, rejected)
        folders = [self._params.cache_path / name for name in (FACTS_FOLDER, SUBMISSIONS_FOLDER)]
        for folder in folders:
            folder.mkdir(parents=True, exist_ok=True)
        yield from EdgarFacts(self._params.of_files(*folders), self._calendar).collect(securities, start, end)

    def _mirror(self) -> Mirror:
        params = self._params
        client = client_for(params, self._limiter)
        return Mirror(params.cache_path, client, DailyIndex(client, params.archives_url), params.data_url, self._clock)
