"""What the market did while a backtest ran: a benchmark, the prices of fills, and samples for what layers added. The store is read year by
year, each once, and of each no more is kept than the report shows."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime

import numpy as np
import polars as pl

from tradebot_core.calendar import TradingCalendar
from tradebot_core.interfaces import DataStore
from tradebot_core.model.keyed_rows import is_last_of
from tradebot_core.model.tables import ACTIONS, BARS, LAYERS
from tradebot_core.quant.layer_value import STEP, Judged, Snapshot
from tradebot_core.quant.total_return import Levels, TotalReturns
from tradebot_core.trading.stored_markets import MARKET, by_year

_UNUSED_OF_BARS = ("high", "low", "source")


@dataclass(frozen=True)
class MarketReview:
    """By session: total returns of the equal-weighted universe and of the benchmark from the close of the first on, None where unknown.
    `fills` with open, close and volume of their sessions (null without a bar). `snapshots` every STEP sessions from the first on."""

    universe: Sequence[float | None]
    benchmark: Sequence[float | None]
    benchmark_gaps: int  # sessions in which the benchmark has no bar
    fills: pl.DataFrame
    snapshots: Sequence[Snapshot]


def review(
    store: DataStore,
    calendar: TradingCalendar,
    sessions: Sequence[date],
    members: pl.DataFrame | None,
    benchmark: int | None,
    fills: pl.DataFrame,
) -> MarketReview:
    """Of consecutive sessions, with the facts as they were known at the cut-off of the last. `members` as in trading.universe (None: every
    security). The universe is bought in equal parts at the last close of a month, of members that traded then, and left alone until
    the next: to rebalance daily would count the bounce between bid and ask as return (Blume and Stambaugh 1983)."""
    as_of, returns = calendar.cutoff(sessions[-1]), TotalReturns()
    universe, index = _Universe(members), _Index(benchmark)
    snapshots: list[Snapshot] = []
    priced, number = [], 0
    for piece in by_year(sessions):
        bars = _bars(store, as_of, piece)
        priced.append(bars.join(fills.select("security_id", "session").unique(), on=["security_id", "session"], how="semi"))
        levels = returns.advance(bars, store.read(ACTIONS, as_of=as_of, start=piece[0], end=piece[-1]), piece)
        for row, session in enumerate(piece):
            universe.step(session, levels, row)
            index.step(levels, row)
            if number % STEP == 1 and snapshots and snapshots[-1].entry is None:
                snapshots[-1] = _entered(snapshots[-1], levels, row)
            if number % STEP == 0:
                snapshots.append(Snapshot(session, levels.securities, levels.level[row].copy(), None, levels.traded[row]))
            number += 1
    found = pl.concat(priced).select("security_id", "session", "open", "close", "volume")
    joined = fills.join(found, on=["security_id", "session"], how="left", maintain_order="left")
    return MarketReview(_from_the_first(universe.returns), _from_the_first(index.returns), index.gaps, joined, snapshots)


def verdicts_at(store: DataStore, strategy: str, layer: str, sessions: Sequence[date]) -> dict[date, Judged]:
    """What a layer passed and rejected in these sessions, as far as it was run in them."""
    there = set(store.result_sessions(LAYERS, strategy, MARKET, layer))
    found = {}
    for piece in by_year([session for session in sessions if session in there]):
        rows = store.read_results(LAYERS, strategy, MARKET, piece[0], piece[-1], layer)
        rows = rows.select("session", "security_id", "passed").filter(pl.col("session").is_in(piece))
        for (session,), judged in rows.group_by("session"):
            ids, passed = judged["security_id"].to_numpy(), judged["passed"].to_numpy()
            found[session] = Judged(ids[passed], ids[~passed])
    return found


def _bars(store: DataStore, as_of: datetime, sessions: Sequence[date]) -> pl.DataFrame:
    versions = store.read_versions(BARS, as_of=as_of, start=sessions[0], end=sessions[-1], without=_UNUSED_OF_BARS)
    latest = versions.lazy().filter(is_last_of(BARS.key)).select("security_id", "session", "open", "close", "volume")
    return latest.filter(pl.col("open") > 0, pl.col("close") > 0).collect()


def _entered(snapshot: Snapshot, levels: Levels, row: int) -> Snapshot:
    """The opening levels of the session after a sample, for the sample's securities."""
    places = np.searchsorted(levels.securities, snapshot.securities)  # securities are never forgotten
    return Snapshot(snapshot.session, snapshot.securities, snapshot.level, levels.opening[row][places], snapshot.traded)


class _Index:
    """The returns of one security."""

    def __init__(self, security: int | None) -> None:
        self._security, self._before = security, np.nan
        self.returns: list[float | None] = []
        self.gaps = 0

    def step(self, levels: Levels, row: int) -> None:
        at = np.flatnonzero(levels.securities == self._security)
        level = levels.level[row][at[0]] if len(at) else np.nan
        self.gaps += not len(at) or not levels.traded[row][at[0]]
        self.returns.append(_return(level, self._before))
        self._before = level


class _Universe:
    """The returns of equal parts, made anew at the last close of each month."""

    def __init__(self, members: pl.DataFrame | None) -> None:
        self._members = members
        self._base: tuple[np.ndarray, np.ndarray] | None = None  # ids and their levels when the parts were made
        self._before = np.nan
        self.returns: list[float | None] = []
        self._last: tuple[date, np.ndarray, np.ndarray, np.ndarray] | None = None

    def step(self, session: date, levels: Levels, row: int) -> None:
        if self._last is not None and (self._base is None or self._last[0].month != session.month):
            self._divide()
        value = self._value(levels, row)
        self.returns.append(_return(value, self._before))
        self._before = value
        self._last = session, levels.securities, levels.level[row].copy(), levels.traded[row]

    def _divide(self) -> None:
        assert self._last is not None
        day, ids, level, traded = self._last
        chosen = traded & (level > 0)
        if self._members is not None:
            inside = self._members.filter((pl.col("first") <= day) & (pl.col("last") >= day))["security_id"].to_numpy()
            chosen &= np.isin(ids, inside)
        self._base = (ids[chosen], level[chosen]) if chosen.any() else None
        self._before = 1.0 if chosen.any() else np.nan

    def _value(self, levels: Levels, row: int) -> float:
        if self._base is None:
            return np.nan
        ids, base = self._base
        return float((levels.level[row][np.searchsorted(levels.securities, ids)] / base).mean())


def _from_the_first(returns: list[float | None]) -> list[float | None]:
    """Measured from the close of the first session, where it is known in the second: a book is opened then, and cannot trade before."""
    return [0.0, *returns[1:]] if len(returns) == 1 or returns[1] is not None else returns


def _return(level: float, before: float) -> float | None:
    return float(level / before - 1) if before > 0 and not np.isnan(level) else None
