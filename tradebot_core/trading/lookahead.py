"""The look-ahead gate: what a backtest stored of a session must be what the session's own knowledge gives.

For each session it looks at, every layer is evaluated again by the code that made it, on the session alone and on a store cut at the
session's cut-off; and once more beside the sessions after it, on a store in which everything that became known later is noise. So are
fills, decisions, orders and the book, from the stored book of the session before. All rows must be the stored ones, bit for bit.
Each step is shown what is stored of the one before, so that the first that differs is the one that looked ahead; where none
differs, the chain is proved as a whole.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

import polars as pl

from tradebot_core.errors import TradebotError
from tradebot_core.model.tables import (
    BARS,
    BOOKS,
    DECISIONS,
    ENTRIES,
    EQUITY,
    FILLS,
    FUNDAMENTALS,
    LAYERS,
    ORDER_STATES,
    ORDERS,
    POSITIONS,
    SECURITIES,
    ResultTable,
)
from tradebot_core.quant.panel import first_bar_needed
from tradebot_core.strategy import Strategy
from tradebot_core.trading import leaks
from tradebot_core.trading.backtest import Backtest, BacktestWalk
from tradebot_core.trading.book_state import BookState
from tradebot_core.trading.layers import reads_of
from tradebot_core.trading.leaks import Leak, differences
from tradebot_core.trading.lookahead_causes import CHANGES_WITH_NOISE, NOT_REPRODUCED, Causes
from tradebot_core.trading.lookahead_figures import figures_of_later
from tradebot_core.trading.lookahead_worlds import SeenMarkets, Worlds
from tradebot_core.trading.order_trail import BACKTEST
from tradebot_core.trading.parity import stored_opening
from tradebot_core.trading.store_views import KeptStore, Move
from tradebot_core.trading.stored_markets import MARKET, StoredMarkets

_LATER = 2  # sessions of noise after the one that is looked at
_MOST_A_FILL_COSTS = 0.25  # share of the price; more than any spread and impact that may be filled at
# In the order in which a session makes them: the first that differs is told, what follows from it is not.
_TABLES = (FILLS, ENTRIES, DECISIONS, ORDERS, ORDER_STATES, POSITIONS, EQUITY, BOOKS)

Why = Callable[[str], str]  # of a layer or table
Compared = dict[tuple[str, date], int]  # rows, by layer or table and session


@dataclass(frozen=True)
class LookAhead:
    """The sessions that were looked at with why, how many rows of each layer and table were compared, and what differed."""

    sessions: Mapping[date, str]
    compared: Mapping[str, int]
    leaks: Sequence[Leak]


@dataclass(frozen=True)
class LookAheadGate:
    """`walk_from` makes the strategy's walk from a book and a deposit."""

    strategy: Strategy
    markets: StoredMarkets
    capital: Decimal
    walk_from: Callable[[BookState, Decimal | None], BacktestWalk]

    def check(self, sessions: Mapping[date, str], book: Sequence[date]) -> LookAhead:
        """Looks at some `sessions` of an unbroken `book` of consecutive sessions; of its fills, at the time of all."""
        calendar, last = self.markets.calendar, max(sessions)
        kept = KeptStore(self.markets.store, calendar.cutoff(calendar.offset(last, _LATER)))
        stamped_early = not leaks.known_before_period_end(kept.whole(FUNDAMENTALS, without=("provenance",))).is_empty()
        members, looks_at = self.markets.members(), reads_of(self.strategy)
        causes, compared = Causes(self.strategy), Compared()
        found = self._fills_out_of_time(book)
        for session in sorted(sessions):
            through = calendar.offset(session, _LATER)
            first_bar = first_bar_needed(session, calendar)
            kept.look_at(first_bar, through, calendar.cutoff(session), calendar.cutoff(through))
            looked = _Session(self, Worlds(self.markets, kept, members, looks_at, session), causes, compared)
            found += [*(looked.stamped_early() if stamped_early else ()), *looked.found()]
        once: dict[tuple[str, date, str], Leak] = {}
        for leak in found:  # the cut and the noisy store often tell of the same row
            once.setdefault((leak.layer, leak.session, leak.symbol), leak)
        rows = Counter[str]()
        for (table, _), count in compared.items():
            rows[table] += count
        return LookAhead(dict(sorted(sessions.items())), dict(rows), tuple(once.values()))

    def _fills_out_of_time(self, book: Sequence[date]) -> list[Leak]:
        read, name = self.markets.store.read_results, self.strategy.name
        fills = read(FILLS, name, BACKTEST, book[0], book[-1])
        return leaks.fills_out_of_time(read(ORDERS, name, BACKTEST, end=book[-1]), fills, self.markets.calendar)


class _Session:
    """One session looked at. `compared` is added to."""

    def __init__(self, gate: LookAheadGate, worlds: Worlds, causes: Causes, compared: Compared) -> None:
        self._gate = gate
        self._strategy = gate.strategy
        self._session = worlds.session
        self._worlds = worlds
        self._causes = causes
        self._compared = compared

    def found(self) -> list[Leak]:
        alone, later = [self._session], self._worlds.later(_LATER)
        cut, noisy = self._worlds.cut(), self._worlds.noisy()
        return [
            *self._bars_too_early(),
            *self._out_of_reach(),
            *self._figures_of_later(),
            *self._layers(cut, alone, lambda layer: self._causes.of(layer, self._worlds)),
            *self._book(cut, alone, lambda _: NOT_REPRODUCED),
            *self._layers(noisy, [*alone, *later], lambda layer: self._causes.known(layer) or CHANGES_WITH_NOISE),
            *self._book(noisy, [*alone, *later], lambda _: CHANGES_WITH_NOISE),
            *(leak for on in later[:1] for leak in self._fills_at_known_prices(on)),
        ]

    # Layers

    def _layers(self, markets: SeenMarkets, sessions: Sequence[date], why: Why) -> list[Leak]:
        """Evaluates each layer on `sessions`: on the stored verdicts of the session, and on its own of later ones."""
        found: list[Leak] = []
        for name in [layer.name for layer in self._strategy.layers()]:
            stored = self._stored(LAYERS, MARKET, layer=name)
            try:
                made = markets.run_layer(self._strategy, name, sessions)
            except TradebotError as error:  # it succeeded when the whole range was there to see
                found.append(Leak(name, self._session, "", "", f"{len(stored)} rows", error.cause, why(name)))
                return found
            here = pl.col("session") == self._session
            found += self._differences(LAYERS, name, stored, made.filter(here), why)
            shown = pl.concat([stored, made.filter(~here)], how="diagonal_relaxed")
            by = markets.marks(self._strategy)[name]
            markets.store.write_results(LAYERS, self._strategy.name, MARKET, sessions, shown, name, by)
        return found

    def _stored(self, table: ResultTable, book: str, on: date | None = None, layer: str = "") -> pl.DataFrame:
        day = on or self._session
        return self._gate.markets.store.read_results(table, self._strategy.name, book, day, day, layer)

    def _differences(self, table: ResultTable, name: str, stored: pl.DataFrame, made: pl.DataFrame, why: Why) -> list[Leak]:
        self._compared[f"layers.{name}" if table is LAYERS else name, self._session] = len(stored)
        return differences(table, name, self._session, stored, made, lambda: why(name))

    # The book

    def _book(self, markets: SeenMarkets, sessions: Sequence[date], why: Why) -> list[Leak]:
        """Steps from the stored book of the session before through the session, in the company of later ones."""
        if self._undecidable(markets, sessions):
            return []
        walk = self._walk()
        try:
            walk.step(self._session, markets.history(self._strategy, sessions))
        except TradebotError as error:
            return [Leak(DECISIONS.name, self._session, "", "", "decided", error.cause, why(DECISIONS.name))]
        return self._first_difference(walk.result(), why)

    def _undecidable(self, markets: SeenMarkets, sessions: Sequence[date]) -> bool:
        """Whether a layer failed, which is told already."""
        done = (
            markets.store.result_sessions(LAYERS, self._strategy.name, MARKET, layer.name) for layer in self._strategy.layers()
        )
        return any(set(sessions) - set(found) for found in done)

    def _walk(self) -> BacktestWalk:
        store, name, capital = self._gate.markets.store, self._strategy.name, self._gate.capital
        return self._gate.walk_from(*stored_opening(store, self._worlds.calendar, name, capital, self._session))

    def _first_difference(self, made: Backtest, why: Why) -> list[Leak]:
        for table in _TABLES:
            here = made.table(table).filter(pl.col("session") == self._session)
            if found := self._differences(table, table.name, self._stored(table, BACKTEST), here, why):
                return found
        return []

    def _fills_at_known_prices(self, on: date) -> list[Leak]:
        """Fills in the session after, which would be at the same price had the market moved: once down, where a limit keeps no
        purchase from being filled, and once up, where it keeps no sale."""
        stored = self._stored(FILLS, BACKTEST, on)
        moves: Sequence[Move] = ("down", "up") if len(stored) else ()
        return [leak for move in moves for leak in self._fills_when_moved(on, stored, move)]

    def _fills_when_moved(self, on: date, stored: pl.DataFrame, move: Move) -> list[Leak]:
        markets, sessions = self._worlds.noisy(move), [self._session, on]
        found = self._layers(markets, sessions, lambda layer: self._causes.known(layer) or CHANGES_WITH_NOISE)
        if self._undecidable(markets, sessions):
            return found
        walk = self._walk()
        try:
            history = markets.history(self._strategy, sessions)
            walk.step(self._session, history)
            limits = {intent.key: intent.limit_price for intent in walk.result().final.working}
            walk.step(on, history)
        except TradebotError as error:
            return [*found, Leak(DECISIONS.name, on, "", "", "decided", error.cause, CHANGES_WITH_NOISE)]
        made = walk.result().table(FILLS).filter(session=on)
        return found + leaks.fills_at_known_prices(stored, made, limits)

    # Rules

    def stamped_early(self) -> list[Leak]:
        """Figures that the session was shown and that nobody can have known."""
        return leaks.figures_before_their_period_ends(self._worlds.cut().panel([self._session], ()))

    def _figures_of_later(self) -> list[Leak]:
        issuers = self._worlds.kept.read(SECURITIES, as_of=self._worlds.cutoff).select("security_id", "cik").unique()
        decided = self._stored(DECISIONS, BACKTEST).join(issuers, on="security_id").select("cik", "symbol")
        self._compared["figures", self._session], found = figures_of_later(self._worlds, decided)
        return found

    def _bars_too_early(self) -> list[Leak]:
        kept, until = self._worlds.kept, self._worlds.cutoff
        bars = kept.read_versions(BARS, as_of=until, start=self._session, end=self._session)
        names = dict(kept.read(SECURITIES, as_of=until).select("security_id", "symbol").iter_rows())
        return leaks.bars_before_their_close(bars, names, self._worlds.calendar)

    def _out_of_reach(self) -> list[Leak]:
        fills = self._stored(FILLS, BACKTEST)
        if fills.is_empty():
            return []
        bars = self._worlds.cut_store.read(BARS, as_of=self._worlds.cutoff, start=self._session, end=self._session)
        return leaks.fills_out_of_reach(fills, bars, _MOST_A_FILL_COSTS)
