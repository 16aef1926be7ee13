"""A backtest: the session loop over a range, on a journal in memory and the simulated engine."""

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal

import polars as pl

from tradebot_core.calendar import NEW_YORK, TradingCalendar
from tradebot_core.config import RiskSettings
from tradebot_core.interfaces import Clock, ExecutionEngine, OpeningMarket, RiskGate
from tradebot_core.model.decision import Decision
from tradebot_core.model.portfolio import Book, Entry, EntryKind, usd
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
from tradebot_core.trading.late_actions import Earlier
from tradebot_core.trading.markets import MarketHistory
from tradebot_core.trading.rebalance import Carried, carried
from tradebot_core.trading.rows import Row
from tradebot_core.trading.session import OfAccount, Past, decide, settle, sleeve_equity, submit
from tradebot_core.trading.settlement import unsettled_sales
from tradebot_core.trading.stored_book import StoredBook

_LOOKED_BACK = timedelta(days=30)  # more than a sale takes to settle

# In the order in which they are stored: the book is last, for while it is there the others are complete.
BACKTEST_TABLES = (DECISIONS, ORDERS, ORDER_STATES, FILLS, ENTRIES, POSITIONS, EQUITY, BOOKS)


class SteppingClock:
    """Simulated time: stands at the cut-off of the session in hand."""

    def __init__(self) -> None:
        self.at: datetime | None = None

    def now(self) -> datetime:
        assert self.at is not None
        return self.at


def _since(entries: Sequence[Entry], session: date, back: timedelta) -> Sequence[Entry]:
    """The last entries of a journal, which are in the order of their sessions."""
    return entries[bisect_left(entries, session - back, key=lambda entry: entry.session) :]


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
        stored: StoredBook | None = None,
        of_account: OfAccount | None = None,
    ) -> None:
        """`stored` tells of the sessions before the walk's first, where the book is not a new one."""
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
        self._stored = None if deposit is not None else stored
        self._earlier = Earlier(self._book_before, self._splits_since)
        self._of_account = of_account
        self._sold_before = opening.unsettled  # by sessions before the first
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
        before = self._calendar.previous(session)
        settle(journal, self._engine, name, close, before, clock.now(), self._earlier, self._of_account)
        book = journal.book(name, session)
        market = history.market(session, sorted(book.positions))
        decisions = decide(self._strategy, market, book, self._limits)
        sales = unsettled_sales(_since(journal.entries, session, _LOOKED_BACK), session, self._calendar, self._sold_before)
        pending = Decimal(0) if self._limits.spend_proceeds else sum((cash for _, cash in sales), Decimal(0))
        style = self._strategy.orders
        back = self._calendar.offset(session, -self._limits.unfilled_sessions)
        past = Past(peak, journal.unfilled(name, back, session), self._left())
        submit(journal, self._engine, self._gate, self._limits, name, decisions, market, clock.now(), style, pending, past)
        working = tuple(intent for intent, _ in journal.open_orders(name))
        prices = {held: market.prices[held] for held in book.positions}
        equity = sleeve_equity(book, prices)
        peak = max(peak, equity) if peak is not None else equity
        ended = journal.ended_unfilled(self._calendar.next(back))
        self._state = BookState(book, prices, working, self._state.fingerprint, ended, peak, sales)
        self._record(session, decisions)

    def _book_before(self, session: date) -> Book:
        """What was held before the open of a session, of this walk or before it. Only the positions are told of the latter."""
        assert self._first is not None
        close = self._calendar.previous(session)
        if close >= self._calendar.previous(self._first):
            return self._journal.book(self._strategy.name, close)
        return Book(positions=self._stored.positions(close, self._first)) if self._stored else Book()

    def _splits_since(self, session: date) -> list[Entry]:
        assert self._first is not None
        before = self._stored.splits(session, self._first) if self._stored and session < self._first else ()
        return [*before, *(e for e in self._journal.entries if e.kind is EntryKind.SPLIT and e.session >= session)]

    def _left(self) -> Carried:
        """Of the orders that waited for this session."""
        if not self._limits.carry_unfilled:
            return {}
        filled: dict[str, int] = {}
        for intent in self._state.working:
            filled[intent.key] = sum(fill.quantity for fill in self._journal.fills_of(intent.key))
        return carried((o.security_id, o.side, o.quantity, filled[o.key]) for o in self._state.working)

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

    def close_price(self, security_id: int, session: date) -> float | None:
        return self._history.close_price(security_id, session) if self._history else None

    def traded_volume(self, security_id: int, session: date) -> float | None:
        return self._history.traded_volume(security_id, session) if self._history else None

    def voids_orders(self, security_id: int, session: date) -> bool:
        return self._history.voids_orders(security_id, session) if self._history else False
