"""The look-ahead gate: what a backtest stored of a session must be what the session's own knowledge gives.

For each session it looks at, every layer is evaluated again by the code that made it, on the session alone and on a store cut at the
session's cut-off; and once more beside the sessions after it, on a store in which everything that became known later is noise. So are
fills, decisions, orders and the book, from the stored book of the session before. All rows must be the stored ones, bit for bit.
Each step is shown what is stored of the one before, so that the first that differs is the one that looked ahead; where none
differs, the chain is proved as a whole.
"""

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
from tradebot_core.strategy import Strategy
from tradebot_core.trading import leaks
from tradebot_core.trading.backtest import Backtest, BacktestWalk
from tradebot_core.trading.book_state import BookState
from tradebot_core.trading.leaks import Leak, differences
from tradebot_core.trading.order_trail import BACKTEST
from tradebot_core.trading.parity import stored_opening
from tradebot_core.trading.store_views import CutStore, KeptStore, NoisyStore, StoreView
from tradebot_core.trading.stored_markets import MARKET, StoredMarkets

_LATER = 2  # sessions of noise after the one that is looked at
_BEFORE = 2
_MOST_A_FILL_COSTS = 0.25  # share of the price; more than any spread and impact that may be filled at
# In the order in which a session makes them: the first that differs is told, what follows from it is not.
_TABLES = (FILLS, ENTRIES, DECISIONS, ORDERS, ORDER_STATES, POSITIONS, EQUITY, BOOKS)

_KNOWN_LATER = (
    "It reads facts that became known after the cut-off: the whole store gives another answer than the store as it was then."
)
_OF_LATER_SESSIONS = (
    "It depends on later sessions that were computed with it, as with shift(-n), bfill, or ranks and sums over all rows "
    'instead of .over("session").'
)
_OF_EARLIER_SESSIONS = (
    "It depends on earlier sessions that were computed with it, so that it is another in another range; a layer may look at the rows "
    "of its own session only."
)
_NOT_REPRODUCED = (
    "Neither the cut nor the whole store gives it again: it was made from other data, by other code, or from what is kept between "
    "calls or lies outside of the store. Materialize the session anew, and if it stays so, look for such a memory."
)
_CHANGES_WITH_NOISE = "It changes when what became known after the cut-off is replaced by noise."


@dataclass(frozen=True)
class LookAhead:
    """The sessions that were looked at with why, how many rows of each layer and table were compared, and what differed."""

    sessions: Mapping[date, str]
    compared: Mapping[str, int]
    leaks: Sequence[Leak]


@dataclass(frozen=True)
class _Markets(StoredMarkets):
    """On a view of the store, with the members the whole store gives: to choose by name is not to know the future."""

    fixed: pl.DataFrame | None = None

    def members(self) -> pl.DataFrame | None:
        return self.fixed


@dataclass(frozen=True)
class LookAheadGate:
    """`walk_from` makes the strategy's walk from a book and a deposit."""

    strategy: Strategy
    markets: StoredMarkets
    capital: Decimal
    walk_from: Callable[[BookState, Decimal | None], BacktestWalk]

    def check(self, sessions: Mapping[date, str], book: Sequence[date]) -> LookAhead:
        """Looks at some `sessions` of an unbroken `book` of consecutive sessions; of its fills, at the time of all."""
        last = self.markets.calendar.offset(max(sessions), _LATER)
        kept = KeptStore(self.markets.store, self.markets.calendar.cutoff(last))
        members = self.markets.members()
        compared: dict[str, int] = {}
        found = self._fills_out_of_time(book)
        stamped_early = not leaks.known_before_period_end(
            kept.read_versions(FUNDAMENTALS, as_of=self.markets.calendar.cutoff(max(sessions)), without=("provenance",))
        ).is_empty()
        for session in sorted(sessions):
            looked = _Session(self, kept, members, session, compared)
            found += [*(looked.stamped_early() if stamped_early else ()), *looked.found()]
        # A cut and a noisy store may tell the same: once is enough.
        once = {(leak.layer, leak.session, leak.symbol, leak.column): leak for leak in reversed(found)}
        return LookAhead(dict(sorted(sessions.items())), compared, tuple(reversed(once.values())))

    def _fills_out_of_time(self, book: Sequence[date]) -> list[Leak]:
        read, name = self.markets.store.read_results, self.strategy.name
        fills = read(FILLS, name, BACKTEST, book[0], book[-1])
        return leaks.fills_out_of_time(read(ORDERS, name, BACKTEST, end=book[-1]), fills, self.markets.calendar)


class _Session:
    """One session looked at. `compared` is added to."""

    def __init__(
        self, gate: LookAheadGate, kept: KeptStore, members: pl.DataFrame | None, session: date, compared: dict[str, int]
    ) -> None:
        self._gate = gate
        self._strategy = gate.strategy
        self._calendar = gate.markets.calendar
        self._kept = kept
        self._members = members
        self._session = session
        self._compared = compared
        self._cutoff = self._calendar.cutoff(session)
        self._read = gate.markets.store.read_results
        self._causes: dict[str, str] = {}

    def found(self) -> list[Leak]:
        alone = [self._session]
        found = [*self._bars_too_early(), *self._out_of_reach()]
        cut = self._on(CutStore(self._kept, self._session, self._cutoff))
        found += self._layers(cut, alone, self._why)
        found += self._book(cut, alone, lambda _: _NOT_REPRODUCED)
        later = self._later()
        noisy = self._on(NoisyStore(self._kept, self._cutoff))
        found += self._layers(noisy, [*alone, *later], lambda _: _CHANGES_WITH_NOISE)
        found += self._book(noisy, [*alone, *later[:1]], lambda _: _CHANGES_WITH_NOISE)
        return found

    def _on(self, view: StoreView) -> _Markets:
        markets = self._gate.markets
        return _Markets(view, markets.calendar, markets.universe, markets.quality, self._members)

    def _later(self) -> list[date]:
        """The next sessions, as far as there are bars of them."""
        after = self._calendar.sessions(self._calendar.next(self._session), self._calendar.offset(self._session, _LATER))
        bars = self._kept.read_versions(BARS, as_of=self._calendar.cutoff(after[-1]), start=after[0], end=after[-1])
        traded = set(bars["session"].unique())
        return [session for n, session in enumerate(after) if traded.issuperset(after[: n + 1])]

    # Layers

    def _layers(self, markets: _Markets, sessions: Sequence[date], why: Callable[[str], str]) -> list[Leak]:
        """Evaluates each layer on `sessions`, on stored verdicts of the session and its own of later ones."""
        found: list[Leak] = []
        for layer in self._strategy.layers():
            stored = self._stored(layer.name)
            made = self._made(markets, layer.name, sessions)
            if isinstance(made, TradebotError):
                found.append(Leak(layer.name, self._session, "", "", f"{len(stored)} rows", made.cause, why(layer.name)))
                made = stored.clear()
            else:
                here = made.filter(pl.col("session") == self._session)
                found += self._differences(LAYERS, layer.name, stored, here, why)
            rest = made.filter(pl.col("session") != self._session)
            shown = pl.concat([stored, rest], how="diagonal_relaxed")
            markets.store.write_results(LAYERS, self._strategy.name, MARKET, sessions, shown, layer=layer.name)
        return found

    def _made(self, markets: StoredMarkets, layer: str, sessions: Sequence[date]) -> pl.DataFrame | TradebotError:
        try:
            return markets.run_layer(self._strategy, layer, sessions)
        except TradebotError as error:  # found, and told with its cause
            return error

    def _stored(self, layer: str) -> pl.DataFrame:
        return self._read(LAYERS, self._strategy.name, MARKET, self._session, self._session, layer)

    def _differences(
        self, table: ResultTable, layer: str, stored: pl.DataFrame, made: pl.DataFrame, why: Callable[[str], str]
    ) -> list[Leak]:
        key = f"layers.{layer}" if table is LAYERS else layer
        self._compared[key] = self._compared.get(key, 0) + len(stored)
        return differences(table, layer, self._session, stored, made, lambda: why(layer))

    def _why(self, layer: str) -> str:
        if layer not in self._causes:
            self._causes[layer] = self._cause(layer)
        return self._causes[layer]

    def _cause(self, layer: str) -> str:
        """Evaluates the layer in other company, until it tells another verdict than by itself."""
        alone = [self._session]
        before = self._calendar.sessions(self._calendar.offset(self._session, -_BEFORE), self._session)
        here = self._answer(CutStore(self._kept, self._session, self._cutoff), layer, alone)
        if self._answer(StoreView(self._kept), layer, alone) != here:
            return _KNOWN_LATER
        if self._answer(StoreView(self._kept), layer, [*alone, *self._later()]) != here:
            return _OF_LATER_SESSIONS
        if self._answer(CutStore(self._kept, self._session, self._cutoff), layer, before) != here:
            return _OF_EARLIER_SESSIONS
        return _NOT_REPRODUCED

    def _answer(self, view: StoreView, layer: str, sessions: Sequence[date]) -> str:
        """What a layer says of the session when it and those before it are evaluated on `sessions`."""
        markets = self._on(view)
        for name in [each.name for each in self._strategy.layers()]:
            made = self._made(markets, name, sessions)
            if isinstance(made, TradebotError):
                return made.cause
            if name == layer:
                return repr(made.filter(pl.col("session") == self._session).rows())
        raise AssertionError(layer)

    # The book

    def _book(self, markets: _Markets, sessions: Sequence[date], why: Callable[[str], str]) -> list[Leak]:
        """Steps from the stored book of the session before through the session, and through one more when there is one."""
        name = self._strategy.name
        opening, deposit = stored_opening(self._gate.markets.store, self._calendar, name, self._gate.capital, self._session)
        walk = self._gate.walk_from(opening, deposit)
        try:
            history = markets.history(self._strategy, sessions)
            walk.step(self._session, history)
            made = walk.result()
            found = self._first_difference(made, why)
            for later in sessions[1:]:
                walk.step(later, history)
                limits = {intent.key: intent.limit_price for intent in made.final.working}
                stored = self._read(FILLS, name, BACKTEST, later, later).filter(pl.col("order_key").is_in(list(limits)))
                found += leaks.fills_at_known_prices(stored, walk.result().table(FILLS).filter(session=later), limits)
        except TradebotError as error:
            return [Leak(DECISIONS.name, self._session, "", "", "decided", error.cause, why(DECISIONS.name))]
        return found

    def _first_difference(self, made: Backtest, why: Callable[[str], str]) -> list[Leak]:
        for table in _TABLES:
            stored = self._read(table, self._strategy.name, BACKTEST, self._session, self._session)
            here = made.table(table).filter(pl.col("session") == self._session)
            if found := self._differences(table, table.name, stored, here, why):
                return found
        return []

    # Rules

    def stamped_early(self) -> list[Leak]:
        """Figures that the session was shown and that nobody can have known."""
        panel = self._on(CutStore(self._kept, self._session, self._cutoff)).panel([self._session], ())
        return leaks.figures_before_their_period_ends(panel)

    def _bars_too_early(self) -> list[Leak]:
        bars = self._kept.read_versions(BARS, as_of=self._cutoff, start=self._session, end=self._session)
        names = dict(self._kept.read(SECURITIES, as_of=self._cutoff).select("security_id", "symbol").iter_rows())
        return leaks.bars_before_their_close(bars, names, self._calendar)

    def _out_of_reach(self) -> list[Leak]:
        fills = self._read(FILLS, self._strategy.name, BACKTEST, self._session, self._session)
        if fills.is_empty():
            return []
        bars = CutStore(self._kept, self._session, self._cutoff).read(
            BARS, as_of=self._cutoff, start=self._session, end=self._session
        )
        return leaks.fills_out_of_reach(fills, bars, _MOST_A_FILL_COSTS)
