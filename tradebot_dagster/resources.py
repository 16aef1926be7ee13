"""What assets are given to work with. They are plain objects: run configuration cannot point them at another store or mode.

`research` has no way to an engine; it is all that collectors, layers and backtests are given. `execution` has the trading
desk, and only the assets of the live path ask for it.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from functools import cache
from pathlib import Path

import polars as pl

from tradebot_core.calendar import TradingCalendar
from tradebot_core.interfaces import DataStore, Ledger
from tradebot_core.model.tables import LAYERS
from tradebot_core.quant.performance import Performance
from tradebot_core.trading.account_comparison import Line
from tradebot_core.trading.collection import Collected
from tradebot_core.trading.data_checks import DataChecks
from tradebot_core.trading.holdings import valued_book
from tradebot_core.trading.live import Decided, Submission
from tradebot_core.trading.report import Report
from tradebot_core.trading.session import sleeve_equity
from tradebot_core.trading.stored_markets import MARKET, LayerPart
from tradebot_core.trading.trials import Selection
from tradebot_core.wiring import SideBySide, Tradebot, load
from tradebot_dagster.lookahead_check import leaks_of


@cache
def tradebot_of(config_path: Path) -> Tradebot:
    """The Tradebot of a configuration, made once in a process."""
    return load(config_path)


class Research:
    """Facts, layers and backtests. `reports` are those that it has made, by strategy."""

    def __init__(self, tradebot: Tradebot) -> None:
        self._tradebot = tradebot
        self.reports: dict[str, Report] = {}

    @property
    def calendar(self) -> TradingCalendar:
        return self._tradebot.calendar

    @property
    def store(self) -> DataStore:
        return self._tradebot.store

    @property
    def data_checks(self) -> DataChecks:
        return self._tradebot.data_checks

    def collect(self, collector: str, sessions: Sequence[date]) -> Collected:
        return self._tradebot.collect(collector, sessions[0], sessions[-1])

    def securities(self, session: date) -> pl.DataFrame:
        return self._tradebot.securities(session)

    def panel(self, sessions: Sequence[date], figures: Collection[str] | None = None) -> pl.DataFrame:
        return self._tradebot.markets.panel(sessions, figures)

    def layers_by_year(self, strategy: str, layers: Sequence[str], sessions: Sequence[date]) -> Iterator[LayerPart]:
        return self._tradebot.markets.layers_by_year(self._tradebot.sleeve(strategy).strategy, layers, sessions)

    def forget_layers(self, strategy: str, layers: Sequence[str], sessions: Sequence[date]) -> None:
        for layer in layers:
            self.store.forget_results(LAYERS, strategy, MARKET, sessions, layer=layer)

    def backtest(self, strategy: str, sessions: Sequence[date], restart: bool) -> dict[str, pl.DataFrame]:
        return self._tradebot.backtest(strategy, sessions, restart)

    def backtest_sessions(self, strategy: str, until: date) -> Sequence[date]:
        return self._tradebot.backtest_sessions(strategy, until)

    def whole_book(self, strategy: str, until: date) -> Sequence[date]:
        return self._tradebot.whole_book(strategy, until)

    def leaks(self, strategy: str, sessions: Sequence[date]) -> pl.DataFrame:
        return leaks_of(self._tradebot, strategy, sessions)

    def selection(self, strategy: str, book: Sequence[date]) -> Selection:
        return self._tradebot.selection(strategy, book[0], book[-1])

    def side_by_side(self, strategy: str, progress: Callable[[str], None]) -> SideBySide:
        return self._tradebot.side_by_side(strategy, progress)

    def sweep(
        self, variants: Sequence[str], sessions: Sequence[date], parts: int, part: int | None, progress: Callable[[str], None]
    ) -> None:
        if part is None:
            self._tradebot.sweep_common(variants, sessions, parts, progress)
        else:
            self._tradebot.sweep_part(variants, sessions, parts, part, progress)

    def performance(self, strategy: str, until: date) -> Performance:
        return self._tradebot.performance(strategy, end=until)

    def report(self, strategy: str, until: date) -> Report:
        self.reports[strategy] = self._tradebot.report(strategy, until)
        return self.reports[strategy]

    def write_tear_sheet(self, report: Report) -> Path:
        return self._tradebot.write_tear_sheet(report)


@dataclass(frozen=True)
class Holdings:
    """A sleeve's positions and money at a session's close, USD, at the last prices known then."""

    positions: pl.DataFrame
    cash: float
    equity: float


class Execution:
    """The trading desk. It checks every right itself: a run without the live permit gets reviews and readings only."""

    def __init__(self, tradebot: Tradebot) -> None:
        self._tradebot = tradebot

    @property
    def calendar(self) -> TradingCalendar:
        return self._tradebot.calendar

    @property
    def ledger(self) -> Ledger:
        return self._tradebot.store.ledger

    def decide(self, name: str, session: date, permit_id: str | None, run_id: str) -> Decided:
        sleeve = self._tradebot.sleeve(name)
        return self._tradebot.desk.decide(sleeve.strategy, sleeve.capital, session, permit_id, run_id, self._now)

    def submit(self, name: str, session: date, permit_id: str | None, run_id: str) -> Submission:
        return self._tradebot.desk.submit(self._tradebot.sleeve(name).strategy, session, permit_id, run_id, self._now)

    def record(self, name: str, session: date, permit_id: str | None, run_id: str) -> bool:
        """Brings the ledger up to the session's close when the run holds the permit; otherwise touches nothing."""
        desk, now = self._tradebot.desk, self._now
        permitted = desk.holds_permit(name, session, permit_id, run_id, now)
        if permitted:
            desk.record(self._tradebot.sleeve(name).strategy, session, now)
        return permitted

    def account_lines(self, session: date, permit_id: str | None, run_id: str) -> Sequence[Line] | None:
        """The broker's account against the ledger; None when the run does not hold the session's permit: then nobody is asked."""
        desk, now = self._tradebot.desk, self._now
        if not any(desk.holds_permit(name, session, permit_id, run_id, now) for name in self._tradebot.sleeves):
            return None
        return self._tradebot.account_reconciler().lines(now)

    def record_fills(self) -> dict[str, int]:
        """Asks the engine about the orders past their open: by strategy, how many now have a final state."""
        return {name: self._tradebot.desk.record_fills(name, self._now) for name in self._tradebot.sleeves}

    def holdings(self, name: str, session: date) -> Holdings:
        book, prices = valued_book(self._tradebot.markets, name, session)
        rows = [
            (p.symbol, p.quantity, float(p.average_cost), float(prices[held].price), prices[held].session, p.opened)
            for held, p in sorted(book.positions.items())
            if held in prices
        ]
        schema = {
            "symbol": pl.String,
            "quantity": pl.Int64,
            "average_cost": pl.Float64,
            "price": pl.Float64,
            "price_of": pl.Date,
            "opened": pl.Date,
        }
        return Holdings(pl.DataFrame(rows, schema=schema, orient="row"), float(book.cash), float(sleeve_equity(book, prices)))

    @property
    def _now(self) -> datetime:
        return self._tradebot.clock.now()
