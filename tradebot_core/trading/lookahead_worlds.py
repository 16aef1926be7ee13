"""The worlds in which the look-ahead gate computes a session again."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from functools import cached_property

import polars as pl

from tradebot_core.calendar import TradingCalendar
from tradebot_core.model.tables import BARS
from tradebot_core.trading.store_views import CutStore, KeptStore, Move, NoisyStore, StoreView
from tradebot_core.trading.stored_markets import MarketRange, StoredMarkets


@dataclass(frozen=True)
class SeenMarkets(StoredMarkets):
    """On a view of the store, with the members the whole store gives: to choose by name is not to know the future. A panel is made once
    for all layers, with the columns that any of them `looks_at`."""

    fixed: pl.DataFrame | None = None
    looks_at: Collection[str] | None = None
    ranges: dict[date, "WholePanels"] = field(default_factory=dict)

    def members(self) -> pl.DataFrame | None:
        return self.fixed

    def up_to(self, sessions: Sequence[date], figures: Collection[str] | None) -> "WholePanels":
        last = sessions[-1]
        if last not in self.ranges:
            self.ranges[last] = WholePanels(self, self.calendar.cutoff(last), self.looks_at)
        return self.ranges[last]


class WholePanels(MarketRange):
    """Makes a panel once, for whatever layer."""

    @cached_property
    def _made(self) -> dict[tuple[date, ...], pl.DataFrame]:
        return {}

    def inside(self, sessions: Sequence[date], among: pl.DataFrame | None = None) -> pl.DataFrame:
        if tuple(sessions) not in self._made:
            self._made[tuple(sessions)] = super().inside(sessions)
        return self._made[tuple(sessions)]


@dataclass(frozen=True)
class Worlds:
    """Of one session: as it was known at its cut-off, as the whole store has it, and with noise in place of all that came later."""

    markets: StoredMarkets
    kept: KeptStore
    members: pl.DataFrame | None
    looks_at: Collection[str] | None
    session: date

    @property
    def calendar(self) -> TradingCalendar:
        return self.markets.calendar

    @property
    def cutoff(self) -> datetime:
        return self.calendar.cutoff(self.session)

    @property
    def cut_store(self) -> CutStore:
        return CutStore(self.kept, self.session, self.cutoff)

    def cut(self) -> SeenMarkets:
        return self._on(self.cut_store)

    def whole(self) -> SeenMarkets:
        return self._on(StoreView(self.kept))

    def noisy(self, prices: Move = "any") -> SeenMarkets:
        return self._on(NoisyStore(self.kept, self.cutoff, prices=prices))

    def later(self, most: int) -> Sequence[date]:
        """The next sessions, as far as there are bars of them, and at most that many."""
        after = self.calendar.sessions(self.calendar.next(self.session), self.calendar.offset(self.session, most))
        bars = self.kept.read_versions(BARS, as_of=self.calendar.cutoff(after[-1]), start=after[0], end=after[-1])
        traded = set(bars["session"].unique())
        missing = next((n for n, session in enumerate(after) if session not in traded), len(after))
        return after[:missing]

    def earlier(self, most: int) -> Sequence[date]:
        """The sessions before it, that many."""
        return self.calendar.sessions(self.calendar.offset(self.session, -most), self.calendar.previous(self.session))

    def _on(self, view: StoreView) -> SeenMarkets:
        markets = self.markets
        return SeenMarkets(view, markets.calendar, markets.universe, markets.quality, self.members, self.looks_at)
