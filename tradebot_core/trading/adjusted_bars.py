"""Adjusted bars for a reader: from the raw bars and the actions that the store knew at an instant."""

from datetime import date, datetime

import polars as pl

from tradebot_core.calendar import NEW_YORK
from tradebot_core.interfaces import DataStore
from tradebot_core.model.tables import ACTIONS, BARS
from tradebot_core.quant.adjust import Adjustment, adjusted


def adjusted_bars(
    store: DataStore, adjustment: Adjustment, as_of: datetime, start: date | None = None, end: date | None = None
) -> pl.DataFrame:
    """Rows of quant.adjust.adjusted from `start` to `end`, in the shares of the New York day of `as_of`.

    An action is applied from the day of its ex-date on, if it was known by `as_of`: whoever asked the evening before a split
    gets the prices that stood on the screen then.
    """
    until = as_of.astimezone(NEW_YORK).date()
    # Later bars than `end` are needed: the dividends that adjust those before it stand on them.
    bars = store.read(BARS, as_of=as_of, start=start, end=until)
    rows = adjusted(bars, store.read(ACTIONS, as_of=as_of, end=until), until, adjustment)
    return rows if end is None else rows.filter(pl.col("session") <= end)
