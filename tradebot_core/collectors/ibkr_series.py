"""IBKR's daily series of each security, with the splits on whose account it stands: what both collectors of it begin with."""

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Annotated, Any

import polars as pl
from pydantic import Field

from tradebot_core.calendar import NEW_YORK, TradingCalendar
from tradebot_core.collectors.ibkr_plan import Wanted
from tradebot_core.config import IbkrSettings, Settings
from tradebot_core.ibkr.connection import BrokerError, Client
from tradebot_core.ibkr.contracts import Named
from tradebot_core.ibkr.history import BarsAsked, TradesBar, daily_bars
from tradebot_core.ibkr.pace import Pace
from tradebot_core.interfaces import Held
from tradebot_core.model.market import ActionType
from tradebot_core.quant.rebasing import Basis, Overlap, basis_of

_log = logging.getLogger(__name__)
_TELL_EVERY_S = 10.0
OVERLAP = 5  # stored sessions that every fetch reads again
Splits = Mapping[int, Mapping[date, float]]  # by security, ex-date to ratio


class Gateway(Settings):
    """The gateway; `client_id` as in the ibkr block (readers connect with an id above it). `pace`: ibkr.pace."""

    host: str = "127.0.0.1"
    port: int = 4002
    client_id: Annotated[int, Field(ge=1, le=31)] = 1
    account: str
    requests_in_flight: Annotated[int, Field(ge=1, le=5)] = 3
    pace: Pace = Pace()


@dataclass(frozen=True)
class Series:
    """One security's bars of the sessions asked for; `held` are the stored sessions that were compared. `asked_at` is the broker's
    time; on the share count of that New York day the bars stand."""

    listing: Mapping[str, Any]
    wanted: Wanted
    asked_at: datetime
    bars: Sequence[TradesBar]
    basis: Basis
    held: frozenset[date] = frozenset()
    error: BrokerError | None = None

    @property
    def today(self) -> date:
        return self.asked_at.astimezone(NEW_YORK).date()

    @property
    def compared(self) -> date | None:
        """The first session that was compared."""
        return min(self.held, default=None)

    @property
    def compared_days(self) -> dict[str, str]:
        """For the record of a refusal: the same difference on other days is another one."""
        return {"compared_from": str(min(self.held)), "compared_to": str(max(self.held))}


@dataclass(frozen=True)
class Request:
    listing: Mapping[str, Any]
    wanted: Wanted


def listings(securities: pl.DataFrame) -> list[dict[str, Any]]:
    """The latest listing of each security."""
    return securities.sort("security_id", "valid_from").unique("security_id", keep="last", maintain_order=True).to_dicts()


def by_security(bars: pl.DataFrame) -> dict[int, pl.DataFrame]:
    """Stored bars of each security, in order of session."""
    parted = bars.sort("security_id", "session").partition_by("security_id", as_dict=True)
    return {security_id: rows for (security_id,), rows in parted.items()}


def fetch(
    gateway: Gateway,
    calendar: TradingCalendar,
    requests: Sequence[Request],
    held: Held,
    recorded: Splits,
    client: Client,
) -> Iterator[Series]:
    """The series as they come. Says in the log how far it is. Raises DataError when the gateway cannot be reached, or is lost for good."""
    if not requests:
        return
    settings = IbkrSettings(**gateway.model_dump(include={"host", "port", "client_id", "account"}))
    asked = [
        BarsAsked(
            Named(request.listing["symbol"], request.listing["con_id"]),
            len(calendar.sessions(request.wanted.first, request.wanted.last)) + 1,
            calendar.cutoff(request.wanted.last),
        )
        for request in requests
    ]
    stored = by_security(held.bars)
    progress = Progress(len(asked))
    for answer in daily_bars(settings, asked, gateway.requests_in_flight, gateway.pace, client):
        listing, wanted = requests[answer.number].listing, requests[answer.number].wanted
        progress.one(0 if isinstance(answer.bars, BrokerError) else len(answer.bars))
        if isinstance(answer.bars, BrokerError):
            yield Series(listing, wanted, answer.asked_at, (), Basis(), error=answer.bars)
            continue
        security_id, today = listing["security_id"], answer.asked_at.astimezone(NEW_YORK).date()
        of_file = {day: ratio for day, ratio in recorded.get(security_id, {}).items() if day <= today}
        splits = _recorded(held, security_id, today) | of_file
        compared = stored[security_id].filter(pl.col("session").is_in(sorted(wanted.held))) if wanted.held else None
        overlaps = [] if compared is None else _overlaps(compared, answer.bars)
        begun = calendar.sessions(overlaps[0].session, today) if overlaps else []
        held_sessions = frozenset(overlap.session for overlap in overlaps)
        yield Series(listing, wanted, answer.asked_at, answer.bars, basis_of(overlaps, splits, begun), held_sessions)


class Progress:
    """Tells the log, now and then, how many of the requests are answered."""

    def __init__(self, requests: int) -> None:
        self._requests, self._answered, self._bars = requests, 0, 0
        self._told_at = time.monotonic()

    def one(self, bars: int) -> None:
        self._answered += 1
        self._bars += bars
        if self._answered == self._requests or time.monotonic() - self._told_at >= _TELL_EVERY_S:
            self._told_at = time.monotonic()
            _log.info("IBKR: %d of %d shares, %s daily bars.", self._answered, self._requests, f"{self._bars:,}")


def _recorded(held: Held, security_id: int, today: date) -> dict[date, float]:
    splits = held.actions.filter(
        pl.col("security_id") == security_id, pl.col("type") == ActionType.SPLIT, pl.col("session") <= today
    )
    return dict(splits.select("session", "value").iter_rows())


def _overlaps(stored: pl.DataFrame, bars: Sequence[TradesBar]) -> list[Overlap]:
    fetched = {bar.session: (bar.open, bar.high, bar.low, bar.close) for bar in bars}
    return [
        Overlap(session, (opened, high, low, close), fetched[session])
        for session, opened, high, low, close in stored.select("session", "open", "high", "low", "close").iter_rows()
        if session in fetched
    ]
