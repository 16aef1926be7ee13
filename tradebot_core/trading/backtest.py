"""A backtest: the session loop over a range, on a journal in memory and the simulated engine."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal

import polars as pl

from tradebot_core.calendar import NEW_YORK, TradingCalendar
from tradebot_core.config import RiskSettings
from tradebot_core.interfaces import Clock, ExecutionEngine, OpeningMarket, RiskGate
from tradebot_core.model.decision import Decision
from tradebot_core.model.portfolio import Book, Entry, EntryKind, Position, usd
from tradebot_core.model.tables import (
    BOOKS,
    DECISIONS,
    ENTRIES,
    EQUITY,
    FILLS,
    ORDER_STATES,
    ORDERS,
    POSITIONS,
    RESULT_TABLES,
    ResultTable,
)
from tradebot_core.strategy import Strategy
from tradebot_core.trading import rows
from tradebot_core.trading.book_state import BookState
from tradebot_core.trading.journal import MemoryJournal
from tradebot_core.trading.markets import MarketHistory
from tradebot_core.trading.rows import Row
from tradebot_core.trading.session import Past, decide, settle, sleeve_equity, submit
from tradebot_core.trading.settlement import unsettled

BACKTEST_TABLES = (DECISIONS, ORDERS, ORDER_STATES, FILLS, ENTRIES, POSITIONS, EQUITY, BOOKS)


class SteppingClock:
    """Simulated time: stands at the cut-off of the session in hand."""

    def __init__(self) -> None:
        self.at: datetime | None = None

    def now(self) -> datetime:
        assert self.at is not None
        return self.at


@dataclass(frozen=True)
class Backtest:
    """The result tables of a run, and the state it ended in."""

    tables: dict[str, pl.DataFrame]
    final: BookState

    def table(self, table: ResultTable) -> pl.DataFrame:
        return self.tables[table.name]


class BacktestWalk:
    """Walks a sleeve's book through consecutive sessions. `deposit` is entered in the first one when the book is new.

    Session by session and as a range it gives the same rows: nothing depends on where a walk begins.
    """

    def __init__(
        self,
        strategy: Strategy,
        opening: BookState,
        deposit: Decimal | None,
        calendar: TradingCalendar,
        gate: RiskGate,
        limits: RiskSettings,
        engine_at: Callable[[Clock, OpeningMarket], ExecutionEngine],
        positions_at: Callable[[date, date], Mapping[int, Position]] | None = None,
    ) -> None:
        """`positions_at(session, first)` gives what this book held at the close of a session before the walk's `first`."""
        self._strategy = strategy
        self._calendar = calendar
        self._gate = gate
        self._limits = limits
        self._deposit = deposit
        self._clock = SteppingClock()
        self._history: MarketHistory | None = None
        self._journal = MemoryJournal(opening.book, opening.working, opening.unfilled)
        self._engine = engine_at(self._clock, self)
        self._state = opening
        self._digest = "" if deposit is not None else opening.digest
        self._positions_at = None if deposit is not None else positions_at
        self._first: date | None = None
        self._made: dict[str, list[Row]] = {table.name: [] for table in BACKTEST_TABLES}

    def through(self, sessions: Sequence[date], history: MarketHistory) -> None:
        """Steps through the sessions of a history, and lets go of it: of two years one is in memory."""
        for session in sessions:
            self.step(session, history)
        self._history = None

    def step(self, session: date, history: MarketHistory) -> None:
        name, journal, clock = self._strategy.name, self._journal, self._clock
        clock.at = self._calendar.cutoff(session)
        self._first = self._first or session
        if history is not self._history:
            history.warm_up(self._state.prices)
        if not self._made["books"]:
            for intent in self._state.working:
                self._engine.submit(intent)
        self._history = history
        close = history.close(session)
        peak = self._state.peak
        if self._deposit is not None:
            peak = usd(self._deposit)
            journal.post(name, [Entry(f"deposit:{session}", session, EntryKind.DEPOSIT, self._deposit)])
            self._deposit = None
        settle(journal, self._engine, name, close, self._calendar.previous(session), clock.now(), self._book_before)
        book = journal.book(name, session)
        market = history.market(session, sorted(book.positions))
        decisions = decide(self._strategy, market, book, self._limits)
        pending = unsettled(journal.entries, session, self._calendar)
        style = self._strategy.orders
        back = self._calendar.offset(session, -self._limits.unfilled_sessions)
        past = Past(peak, journal.unfilled(name, back, session))
        submit(journal, self._engine, self._gate, self._limits, name, decisions, market, clock.now(), style, pending, past)
        working = tuple(intent for intent, _ in journal.open_orders(name))
        prices = {held: market.prices[held] for held in book.positions}
        equity = sleeve_equity(book, prices)
        peak = max(peak, equity) if peak is not None else equity
        ended = journal.ended_unfilled(self._calendar.next(back))
        self._state = BookState(book, prices, working, self._state.fingerprint, ended, peak)
        self._record(session, decisions)

    def _book_before(self, session: date) -> Book:
        """What was held before the open of a session, of this walk or before it. Only the positions are told of the latter."""
        assert self._first is not None
        close = self._calendar.previous(session)
        if close >= self._calendar.previous(self._first):
            return self._journal.book(self._strategy.name, close)
        return Book(positions=self._positions_at(close, self._first)) if self._positions_at else Book()

    def _record(self, session: date, decisions: Sequence[Decision]) -> None:
        state, made = self._state, self._made
        before, self._digest = self._digest, state.digest
        made["decisions"] += rows.of_decisions(decisions)
        made["positions"] += rows.of_positions(session, state.book, state.prices)
        made["equity"].append(rows.of_equity(session, state.book, state.prices))
        made["books"].append({"session": session, "before": before, "after": self._digest, "state": state.json})

    def result(self) -> Backtest:
        journal, made = self._journal, self._made
        made["orders"] = [rows.of_order(intent, verdict) for intent, verdict in journal.intents.values()]
        made["order_states"] = [
            {"session": at.astimezone(NEW_YORK).date(), "order_key": key, "sequence": n, "state": str(to), "detail": detail}
            for at, key, n, to, detail in journal.reached
        ]
        made["fills"] = [rows.of_fill(fill) for fill in journal.fills.values()]
        made["entries"] = [rows.of_entry(entry) for entry in journal.entries]
        return Backtest({name: rows.frame(RESULT_TABLES[name], found) for name, found in made.items()}, self._state)

    # What the simulated engine asks of the market

    def open_price(self, security_id: int, session: date) -> float | None:
        return self._history.open_price(security_id, session) if self._history else None

    def traded_range(self, security_id: int, session: date) -> tuple[float, float] | None:
        return self._history.traded_range(security_id, session) if self._history else None

    def voids_orders(self, security_id: int, session: date) -> bool:
        return self._history.voids_orders(security_id, session) if self._history else False
