"""Daily bars from Interactive Brokers.

IBKR's TRADES bars are on today's share count: every split since is applied to them, dividends are not. The store keeps prices as
they were traded. A bar that is fetched before the day of any later split is both; that is how a day-by-day collection works. For
anything older the splits must be known to undo them: give `actions_path`, or history is refused.

IBKR has no bars of delisted shares. A backtest over a history that was fetched here has seen survivors only.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Annotated, Any, ClassVar

import polars as pl
from pydantic import Field

from tradebot_core.calendar import NEW_YORK, TradingCalendar
from tradebot_core.collectors.tabular import listing_periods, with_security
from tradebot_core.config import IbkrSettings, Settings
from tradebot_core.errors import CorruptInput, DataError
from tradebot_core.ibkr.connection import BrokerError
from tradebot_core.ibkr.contracts import Named
from tradebot_core.ibkr.history import TradesBar, daily_bars
from tradebot_core.interfaces import Batch, Rejected
from tradebot_core.model.market import ActionType
from tradebot_core.model.tables import BARS, INSTANT, FactTable

_SOURCE = "ibkr"
_ACTION_COLUMNS = {"symbol": pl.String, "session": pl.Date, "type": pl.String, "value": pl.Float64}
_SCHEMA = pl.Schema({**BARS.columns, "known_at": INSTANT})


class Params(Settings):
    """The gateway; `client_id` as in the ibkr block (this reader connects as client_id + 9). `actions_path`: a CSV with the
    columns symbol, session (ex-date), type, value; a header alone says that there was no split."""

    host: str = "127.0.0.1"
    port: int = 4002
    client_id: Annotated[int, Field(ge=1, le=31)] = 1
    account: str
    actions_path: Path | None = None
    requests_in_flight: Annotated[int, Field(ge=1, le=5)] = 3


class IbkrBars:
    table: ClassVar[FactTable] = BARS
    Params: ClassVar[type[Params]] = Params
    caveat: ClassVar[str] = "IbkrBars: IBKR has no bars of delisted shares, so history fetched from it is of survivors only."

    def __init__(self, params: Params, calendar: TradingCalendar) -> None:
        self._params = params
        self._calendar = calendar

    def collect(self, securities: pl.DataFrame, start: date, end: date) -> Iterator[Batch]:
        """One batch per security. A session that is not over, by the broker's clock, has no bar yet."""
        rows = securities.sort("security_id", "valid_from").unique("security_id", keep="last", maintain_order=True).to_dicts()
        if not rows:
            return
        sessions = self._calendar.sessions(start, end)
        shares = [Named(row["symbol"], row["con_id"]) for row in rows]
        settings = IbkrSettings(**self._params.model_dump(include={"host", "port", "client_id", "account"}))
        answer = daily_bars(
            settings, shares, len(sessions), self._calendar.cutoff(sessions[-1]), self._params.requests_in_flight
        )
        closed = [session for session in sessions if self._calendar.closes_at(session) <= answer.asked_at]
        splits = self._splits(securities, closed, answer.asked_at)
        for row, found in zip(rows, answer.answers, strict=True):
            yield self._batch(row, found, closed, splits.get(row["security_id"], {}))

    def _splits(
        self, securities: pl.DataFrame, closed: Sequence[date], asked_at: datetime
    ) -> Mapping[int, Mapping[date, float]]:
        """By security, the ratios of the splits on whose account the bars stand. Raises DataError when they are needed and unknown."""
        today = asked_at.astimezone(NEW_YORK).date()
        path = self._params.actions_path
        if path is None:
            if closed and self._calendar.next(closed[0]) <= today:
                raise DataError(
                    f"IBKR's bars since {closed[0]} are adjusted for splits up to {today}, and the store keeps prices as traded.",
                    "Give params.actions_path: a CSV of symbol, session, type, value with the splits (a header alone, when there "
                    "was none), or collect each session on its own day.",
                )
            return {}
        try:
            actions = pl.read_csv(path, schema_overrides=_ACTION_COLUMNS).select(*_ACTION_COLUMNS)
        except FileNotFoundError:
            raise DataError(f"{path} does not exist.", "Correct params.actions_path.") from None
        except pl.exceptions.PolarsError as error:
            raise CorruptInput(f"{path} cannot be read: {error}", "Its columns are symbol, session, type, value.") from None
        splits = actions.filter(pl.col("type") == ActionType.SPLIT)
        if splits.filter(pl.any_horizontal(pl.all().is_null()) | ~(pl.col("value") > 0)).height:
            raise CorruptInput(f"{path} has a split without symbol, session or ratio.", "Complete or remove the row.")
        listed, _ = with_security(splits.filter(pl.col("session") <= today), listing_periods(securities))
        found: dict[int, dict[date, float]] = {}
        for security_id, session, ratio in listed.select("security_id", "session", "value").iter_rows():
            found.setdefault(security_id, {})[session] = ratio
        return found

    def _batch(
        self,
        row: Mapping[str, Any],
        found: Sequence[TradesBar] | BrokerError,
        closed: Sequence[date],
        splits: Mapping[date, float],
    ) -> Batch:
        if isinstance(found, BrokerError):
            refusal = Rejected({"symbol": row["symbol"], "con_id": row["con_id"]}, f"ibkr_{found.code}", found.text)
            return Batch(BARS, _SCHEMA.to_frame(), _SOURCE, (refusal,))
        wanted = set(closed)
        records = [self._record(row["security_id"], bar, splits) for bar in found if bar.session in wanted]
        refused = [Rejected(record, "not_a_bar", problem) for record in records if (problem := _problem(record))]
        sound = [record for record in records if not _problem(record)]
        return Batch(BARS, pl.DataFrame(sound, schema=_SCHEMA, orient="row"), _SOURCE, tuple(refused))

    def _record(self, security_id: int, bar: TradesBar, splits: Mapping[date, float]) -> dict[str, Any]:
        ratio = math.prod(ratio for session, ratio in splits.items() if session > bar.session)
        return {
            "security_id": security_id,
            "session": bar.session,
            "open": bar.open * ratio,
            "high": bar.high * ratio,
            "low": bar.low * ratio,
            "close": bar.close * ratio,
            "volume": bar.volume / ratio,
            "known_at": self._calendar.closes_at(bar.session),
        }


def _problem(record: Mapping[str, Any]) -> str:
    prices = [record[name] for name in ("open", "high", "low", "close")]
    if not all(math.isfinite(price) and price > 0 for price in prices):
        return "a price is not a positive number"
    if not (record["low"] <= min(prices) and max(prices) <= record["high"]):
        return "open or close is outside the day's range"
    if not (math.isfinite(record["volume"]) and record["volume"] >= 0):
        return "the volume is not known"  # IBKR sends -1
    return ""
