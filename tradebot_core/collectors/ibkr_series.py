"""IBKR's daily series of each security, with the splits on whose account it stands: what both collectors of it begin with."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Annotated, Any

import polars as pl
from pydantic import Field

from tradebot_core.calendar import NEW_YORK, TradingCalendar
from tradebot_core.config import IbkrSettings, Settings
from tradebot_core.ibkr.connection import BrokerError, Client
from tradebot_core.ibkr.contracts import Named
from tradebot_core.ibkr.history import TradesBar, daily_bars
from tradebot_core.interfaces import Held
from tradebot_core.model.market import ActionType
from tradebot_core.quant.rebasing import Basis, Overlap, basis_of

OVERLAP = 5  # stored sessions that every fetch reads again
Splits = Mapping[int, Mapping[date, float]]  # by security, ex-date to ratio


class Gateway(Settings):
    """The gateway; `client_id` as in the ibkr block (readers connect with an id above it)."""

    host: str = "127.0.0.1"
    port: int = 4002
    client_id: Annotated[int, Field(ge=1, le=31)] = 1
    account: str
    requests_in_flight: Annotated[int, Field(ge=1, le=5)] = 3


@dataclass(frozen=True)
class Series:
    """One security's bars since the first session asked for or held; `held` are the stored sessions that were compared."""

    listing: Mapping[str, Any]
    bars: Sequence[TradesBar]
    basis: Basis
    held: frozenset[date] = frozenset()
    error: BrokerError | None = None

    @property
    def compared(self) -> date | None:
        """The first session that was compared."""
        return min(self.held, default=None)

    @property
    def compared_days(self) -> dict[str, str]:
        """For the record of a refusal: the same difference on other days is another one."""
        return {"compared_from": str(min(self.held)), "compared_to": str(max(self.held))}


@dataclass(frozen=True)
class Fetch:
    """`asked_at` is the broker's time; on the share count of that New York day the series stand."""

    asked_at: datetime
    series: Sequence[Series]

    @property
    def today(self) -> date:
        return self.asked_at.astimezone(NEW_YORK).date()


def listings(securities: pl.DataFrame) -> list[dict[str, Any]]:
    """The latest listing of each security."""
    return securities.sort("security_id", "valid_from").unique("security_id", keep="last", maintain_order=True).to_dicts()


def fetch(
    gateway: Gateway,
    calendar: TradingCalendar,
    securities: pl.DataFrame,
    held: Held,
    first: date,
    end: datetime,
    recorded: Splits,
    client: Client,
) -> Fetch:
    """The series from `first` to the instant `end`, one request a security, back to what is held of the sessions before."""
    rows = listings(securities)
    stored = held.bars.filter(pl.col("security_id").is_in([row["security_id"] for row in rows]))
    since = min([first, *stored["session"].unique()])
    settings = IbkrSettings(**gateway.model_dump(include={"host", "port", "client_id", "account"}))
    shares = [Named(row["symbol"], row["con_id"]) for row in rows]
    sessions = calendar.sessions(since, end.astimezone(NEW_YORK).date())
    answer = daily_bars(settings, shares, len(sessions), end, gateway.requests_in_flight, client)
    today = answer.asked_at.astimezone(NEW_YORK).date()
    found = []
    for row, bars in zip(rows, answer.answers, strict=True):
        if isinstance(bars, BrokerError):
            found.append(Series(row, (), Basis(), error=bars))
            continue
        of_file = {day: ratio for day, ratio in recorded.get(row["security_id"], {}).items() if day <= today}
        splits = _recorded(held, row["security_id"], today) | of_file
        overlaps = _overlaps(stored.filter(security_id=row["security_id"]), bars)
        begun = calendar.sessions(overlaps[0].session, today) if overlaps else []
        held_sessions = frozenset(overlap.session for overlap in overlaps)
        found.append(Series(row, bars, basis_of(overlaps, splits, begun), held_sessions))
    return Fetch(answer.asked_at, found)


def _recorded(held: Held, security_id: int, today: date) -> dict[date, float]:
    splits = held.actions.filter(
        pl.col("security_id") == security_id, pl.col("type") == ActionType.SPLIT, pl.col("session") <= today
    )
    return dict(splits.select("session", "value").iter_rows())


def _overlaps(stored: pl.DataFrame, bars: Sequence[TradesBar]) -> list[Overlap]:
    fetched = {bar.session: (bar.open, bar.high, bar.low, bar.close) for bar in bars}
    return [
        Overlap(session, (opened, high, low, close), fetched[session])
        for session, opened, high, low, close in stored.sort("session")
        .select("session", "open", "high", "low", "close")
        .iter_rows()
        if session in fetched
    ]
