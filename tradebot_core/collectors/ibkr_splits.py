"""Splits, as Interactive Brokers' bars betray them.

IBKR has no list of corporate actions. But its TRADES bars are stated anew on the day of a split: of the sessions that are stored
as they traded, each fetch reads some again, and a constant ratio between the two is a split (quant.rebasing). The stored bars
stay as they were; the split becomes a row of actions, or a new version of one that was recorded with another ratio.

Its ex-date is certain when the bars are stored up to the session before it, which is so wherever this runs every day. Else the
symbol is refused with the days that it may be. IBKR states series anew on the ex-date: before that morning nobody learns of a
split here. Dividends do not show; give a file of actions for those.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time
from typing import ClassVar

import polars as pl

from tradebot_core.calendar import NEW_YORK, TradingCalendar
from tradebot_core.collectors.ibkr_plan import Wanted
from tradebot_core.collectors.ibkr_series import OVERLAP, Gateway, Request, by_security, fetch, listings
from tradebot_core.ibkr.connection import Client
from tradebot_core.ibkr.history_errors import rule
from tradebot_core.interfaces import Batch, Held, Rejected
from tradebot_core.model.market import ActionType
from tradebot_core.model.tables import ACTIONS, INSTANT, FactTable

_SOURCE = "ibkr_splits"
_SCHEMA = pl.Schema({**ACTIONS.columns, "known_at": INSTANT})


class Params(Gateway):
    pass


@dataclass(frozen=True)
class IbkrSplits:
    params: Params
    calendar: TradingCalendar
    held: Held = field(default_factory=Held.nothing)
    table: ClassVar[FactTable] = ACTIONS
    Params: ClassVar[type[Params]] = Params
    overlap: ClassVar[int] = OVERLAP

    def against(self, held: Held) -> "IbkrSplits":
        return replace(self, held=held)

    def collect(self, securities: pl.DataFrame, start: date, end: date) -> Iterator[Batch]:
        """One batch for each security of which bars are held. Whatever `end` is, the series stands on today's shares."""
        stored = by_security(self.held.bars)
        if not stored:
            return
        requests = []
        for row in listings(securities.filter(pl.col("security_id").is_in(sorted(stored)))):
            held = stored[row["security_id"]]["session"].to_list()
            requests.append(Request(row, Wanted(held[0], end, frozenset(held))))
        for series in fetch(self.params, self.calendar, requests, self.held, {}, Client.SPLITS):
            record = {"symbol": series.listing["symbol"], "con_id": series.listing["con_id"]}
            refused, rows = [], []
            if series.error is not None:
                refused.append(Rejected(record, rule(series.error), series.error.text))
            elif series.basis.problem:
                refused.append(Rejected(record | series.compared_days, "not_a_split", series.basis.problem))
            elif series.basis.found is not None and series.basis.found[0] <= end:
                ex_date, ratio = series.basis.found
                known_at = datetime.combine(ex_date, time.min, NEW_YORK).astimezone(UTC)
                rows.append((series.listing["security_id"], ex_date, str(ActionType.SPLIT), ratio, known_at))
            yield Batch(ACTIONS, pl.DataFrame(rows, schema=_SCHEMA, orient="row"), _SOURCE, tuple(refused))
