"""The industry of a security as a decision could know it: for the limit on what one industry may weigh."""

from bisect import bisect_right
from collections.abc import Mapping
from datetime import date, datetime
from functools import cached_property

import polars as pl

from tradebot_core.calendar import TradingCalendar
from tradebot_core.trading.found import Found


class Industries:
    """`securities` are versions of the security master's rows."""

    def __init__(self, securities: pl.DataFrame, calendar: TradingCalendar) -> None:
        self._securities = securities
        self._calendar = calendar

    def of(self, session: date) -> Mapping[int, str] | None:
        """By security, of the listing that had begun last, in the version known at the session's cut-off; those without one are not in it.

        None for all when nobody had told any security's industry by then: there is nothing to divide the securities by.
        """
        cutoff = self._calendar.cutoff(session)
        if self._first_told is None or self._first_told > cutoff:
            return None
        return Found(lambda security: self._of(security, session, cutoff), lambda: sorted(self._versions))

    def _of(self, security: int, session: date, cutoff: datetime) -> str | None:
        versions = self._versions.get(security, [])
        known = versions[: bisect_right(versions, cutoff, key=lambda version: version[0])]
        begun = [(valid_from, n, industry) for n, (_, valid_from, industry) in enumerate(known) if valid_from <= session]
        return max(begun)[2] if begun else None

    @cached_property
    def _first_told(self) -> datetime | None:
        return self._securities.filter(pl.col("industry").is_not_null())["known_at"].min()  # type: ignore[return-value]

    @cached_property
    def _versions(self) -> dict[int, list[tuple[datetime, date, str | None]]]:
        """By security, in the order in which they became known."""
        found: dict[int, list[tuple[datetime, date, str | None]]] = {}
        rows = self._securities.sort("known_at", "ingested_at").select("security_id", "known_at", "valid_from", "industry")
        for security, *version in rows.iter_rows():
            found.setdefault(security, []).append(tuple(version))  # type: ignore[arg-type]
        return found
