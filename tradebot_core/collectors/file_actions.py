"""Splits, dividends and delistings from CSV or Parquet files."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import ClassVar

import polars as pl

from tradebot_core.calendar import NEW_YORK, TradingCalendar
from tradebot_core.collectors import tabular
from tradebot_core.config import Settings
from tradebot_core.interfaces import Batch
from tradebot_core.model.market import ActionType
from tradebot_core.model.tables import ACTIONS, INSTANT, FactTable

_SCHEMA = pl.Schema({**ACTIONS.columns, "known_at": INSTANT})
_WORTHLESS_IS_POSSIBLE = pl.col("type") == ActionType.DELISTING.value
_RULES = {
    "unreadable_session": (pl.col("session").is_null(), "the session is not a day (YYYY-MM-DD)"),
    "not_a_session": (pl.col("known_at").is_null(), "the ex-date is not a session: the New York exchange was closed"),
    "unknown_type": (
        ~pl.col("type").is_in([kind.value for kind in ActionType]) | pl.col("type").is_null(),
        f"the type is none of {', '.join(kind.value for kind in ActionType)}",
    ),
    "missing_value": (pl.col("value").is_null(), "the value must be a number"),
    "not_finite": (~pl.col("value").is_finite(), "the value is NaN or infinite"),
    "value_not_positive": (
        (pl.col("value") < 0) | ((pl.col("value") == 0) & ~_WORTHLESS_IS_POSSIBLE),
        "the value is zero or negative",
    ),
    "conflicting_actions": (
        tabular.conflicting(ACTIONS.key, ACTIONS.content),
        "the security has several different actions of the type on the day; add dividends of one day together",
    ),
}


class Params(Settings):
    """`path`: a CSV or Parquet file, or a folder of them, with columns symbol, session (the ex-date), type, value."""

    path: Path


class FileActions:
    table: ClassVar[FactTable] = ACTIONS
    Params: ClassVar[type[Params]] = Params

    def __init__(self, params: Params, calendar: TradingCalendar) -> None:
        self._path = params.path
        self._calendar = calendar

    def collect(self, securities: pl.DataFrame, start: date, end: date) -> Iterator[Batch]:
        """All actions up to `end`: those before `start` too, since what was paid long ago adjusts the prices of before."""
        table = tabular.open_table(self._path, ("symbol", "session", "type", "value"), {"date": "session"})
        session = tabular.as_day("session", table.collect_schema()["session"])
        rows = tabular.read(
            table.filter(pl.col("symbol").is_in(sorted(set(securities["symbol"]))), (session <= end) | session.is_null())
            .with_columns(session=session, type=pl.col("type").cast(pl.String).str.strip_chars())
            .with_columns(pl.col("value").cast(pl.Float64, strict=False)),
            self._path,
        )
        rows, unlisted = tabular.with_security(rows, tabular.listing_periods(securities))
        days = rows["session"].drop_nulls().unique().sort()
        midnights = pl.DataFrame(
            [(day, _midnight(day)) for day in days if self._calendar.is_session(day)],
            schema={"session": pl.Date, "known_at": INSTANT},
            orient="row",
        )
        rows = rows.join(midnights, on="session", how="left", maintain_order="left")
        actions, rejected = tabular.judge(rows, _RULES)
        yield Batch(
            ACTIONS,
            actions.select(_SCHEMA.names()).unique(ACTIONS.key, keep="first").sort(ACTIONS.key).cast(dict(_SCHEMA)),
            source=f"file:{self._path.name}",
            rejected=(*unlisted, *rejected),
        )


def _midnight(day: date) -> datetime:
    """An action is announced before its ex-date; it is taken to be known when that day begins in New York."""
    return datetime.combine(day, time.min, NEW_YORK).astimezone(UTC)
