"""The market as the store knows it: panels, layer verdicts, and histories for the session loop."""

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cache, cached_property, partial
from itertools import groupby

import polars as pl

from tradebot_core.calendar import TradingCalendar
from tradebot_core.config import DATA_CHECKS_ON, QualitySettings
from tradebot_core.errors import MissingData
from tradebot_core.interfaces import DataStore
from tradebot_core.model.keyed_rows import joined_in_order
from tradebot_core.model.market import ActionType, CorporateAction
from tradebot_core.model.portfolio import usd
from tradebot_core.model.tables import ACTIONS, BARS, FUNDAMENTALS, INSTANT, LAYERS, SECURITIES, FactTable
from tradebot_core.quant.panel import MedianVolumes, Panels, filings_read, first_bar_needed, known_bars
from tradebot_core.strategy import Strategy
from tradebot_core.trading.industries import Industries
from tradebot_core.trading.late_actions import LateWord, late_words
from tradebot_core.trading.layers import evaluate_next, passed_by, reads_of
from tradebot_core.trading.markets import VOIDING_ACTIONS, MarketHistory, closes_of
from tradebot_core.trading.outsiders import Outsiders
from tradebot_core.trading.session import LastPrice, SessionMarket
from tradebot_core.trading.symbol_workers import judge_of
from tradebot_core.trading.training import Models
from tradebot_core.trading.universe import UniverseEntry, divided, members_of, within
from tradebot_core.trading.verdict_marks import circumstances, marks_of, require_made

_LOOKED_BACK = timedelta(days=45)  # by the first session of a year: more than the sessions that a panel looks back
MARKET = "market"  # the book under which verdicts are stored that depend on no book


@dataclass(frozen=True)
class LayerPart:
    """What a layer was shown of some sessions (what earlier layers rejected is left out), and what it said."""

    layer: str
    sessions: Sequence[date]
    rows: pl.DataFrame
    verdicts: pl.DataFrame


@dataclass(frozen=True)
class StoredMarkets:
    """`universe` None means every security of the store. `quality` are the data checks in force."""

    store: DataStore
    calendar: TradingCalendar
    universe: Sequence[UniverseEntry] | None
    quality: QualitySettings = DATA_CHECKS_ON

    def members(self) -> pl.DataFrame | None:
        """Which securities are in the universe, and when (trading.universe.MEMBERS); None means all, always."""
        if self.universe is None:
            return None
        return members_of(self.universe, self.store.read(SECURITIES, as_of=datetime.max.replace(tzinfo=UTC)))

    def panel(self, sessions: Sequence[date], figures: Collection[str] | None = None) -> pl.DataFrame:
        """quant.panel of consecutive sessions, restricted to the universe as of each; with all columns, or those that `figures` names."""
        return self.up_to(sessions, figures).inside(sessions)

    def up_to(self, sessions: Sequence[date], figures: Collection[str] | None) -> "MarketRange":
        return MarketRange(self, self.calendar.cutoff(sessions[-1]), figures)

    def run_layer(self, strategy: Strategy, name: str, sessions: Sequence[date]) -> pl.DataFrame:
        """Evaluates one layer on the stored verdicts of those before it; stores and returns its own."""
        return pl.concat([part.verdicts for part in self.layers_by_year(strategy, [name], sessions)])

    def layers_by_year(self, strategy: Strategy, names: Collection[str], sessions: Sequence[date]) -> Iterator[LayerPart]:
        """Evaluates these layers on one panel, in order, and on the stored verdicts of the others before them: each year when it is asked
        for, each layer of it stored before it is given. Memory does not grow with the range.

        Where it breaks off, what it did not come to has no verdicts, in any of these layers: what a strategy was before must not stand
        beside what it is. Raises MissingData.
        """
        layers = {layer.name: layer for layer in strategy.layers()}
        if strange := set(names) - set(layers):
            raise MissingData(f"Strategy {strategy.name} has no layer {', '.join(sorted(strange))}.")
        order = [*layers]
        first, last = min(map(order.index, names)), max(map(order.index, names))
        earlier = order[:first]
        self.require_verdicts(strategy, [name for name in order[:last] if name not in names], sessions)
        marks, replacing = self.marks(strategy), False
        known = self.up_to(sessions, reads_of(strategy, self.quality, names))
        with ExitStack() as judges:
            judge = {name: judges.enter_context(judge_of(strategy, layers[name], Models(self))) for name in names}
            for part in by_year(sessions):
                stored = {name: self._verdicts(strategy, name, part) for name in order[:last] if name not in names}
                rows = known.inside(part, _passed(stored[earlier[-1]]) if earlier else None)
                for n, name in enumerate(order[: last + 1]):
                    if name in names:
                        verdicts = evaluate_next(strategy, layers[name], rows, n == 0, self.quality, judge[name])
                        if not replacing:
                            self._forget(strategy, names, sessions)
                            replacing = True
                        self.store.write_results(LAYERS, strategy.name, MARKET, part, verdicts, name, marks[name])
                        yield LayerPart(name, part, rows, verdicts)
                    else:
                        verdicts = stored[name]
                    if n < last:
                        rows = passed_by(verdicts, rows)

    def _forget(self, strategy: Strategy, layers: Collection[str], sessions: Sequence[date]) -> None:
        for layer in layers:
            self.store.forget_results(LAYERS, strategy.name, MARKET, sessions, layer=layer)

    def marks(self, strategy: Strategy) -> Mapping[str, str]:
        """By layer, what its verdicts carry that are made now (trading/verdict_marks.py)."""
        return marks_of(strategy, self._circumstances)

    @cached_property
    def _circumstances(self) -> str:
        return circumstances(self.quality, self.universe, self.calendar.cutoff_time)

    def require_verdicts(self, strategy: Strategy, layers: Collection[str], sessions: Sequence[date]) -> None:
        """Raises MissingData where a session has no verdicts of one of these layers, or has some that something else made than what the
        strategy is now."""
        marks = self.marks(strategy) if layers else {}
        for layer in layers:
            made = self.store.result_makers(LAYERS, strategy.name, MARKET, layer)
            require_made(strategy, layer, sessions, made, marks[layer])

    def _verdicts(self, strategy: Strategy, layer: str, sessions: Sequence[date]) -> pl.DataFrame:
        found = self.store.read_results(LAYERS, strategy.name, MARKET, sessions[0], sessions[-1], layer)
        self.require_verdicts(strategy, [layer], sessions)  # somebody else may have been writing
        return found

    def history(self, strategy: Strategy, sessions: Sequence[date]) -> MarketHistory:
        """What the session loop needs of consecutive sessions."""
        return self.decided(strategy, sessions).history(strategy, sessions)

    def decided(self, strategy: Strategy, sessions: Sequence[date]) -> "MarketRange":
        """A range of which every layer has its verdicts, for its histories a year at a time. Raises MissingData."""
        self.require_verdicts(strategy, [layer.name for layer in strategy.layers()], sessions)
        return self.up_to(sessions, reads_of(strategy, self.quality))

    def at(self, strategy: Strategy, session: date, held: Sequence[int]) -> SessionMarket:
        """The market of one session, with a price for every held security however long it has not traded."""
        history = self.history(strategy, [session])
        history.warm_up(self.last_prices(held, self.calendar.previous(session)))
        history.close(session)
        return history.market(session, held)

    def actions_of(
        self, securities: Collection[int], sessions: Sequence[date]
    ) -> tuple[Mapping[date, Sequence[CorporateAction]], Sequence[LateWord]]:
        """The actions of these consecutive sessions as known at their own cut-offs, by session, and the words that came late."""
        versions = self.store.read_versions(ACTIONS, as_of=self.calendar.cutoff(sessions[-1]), end=sessions[-1]).filter(
            pl.col("security_id").is_in(list(securities))
        )
        in_time = self._at_own_cutoff(versions.filter(pl.col("session") >= sessions[0]), ACTIONS)
        found: dict[date, list[CorporateAction]] = {}
        for security, on, kind, value in in_time.select("security_id", "session", "type", "value").iter_rows():
            found.setdefault(on, []).append(CorporateAction(security, on, ActionType(kind), value))
        return found, late_words(versions, sessions, self.calendar)

    def closes(self, session: date, held: Sequence[int]) -> dict[int, LastPrice]:
        bars = self._bars([session]).filter(pl.col("security_id").is_in(list(held)))
        return {security: LastPrice(usd(close), session) for security, close in bars.select("security_id", "close").iter_rows()}

    def open_price(self, security_id: int, session: date) -> float | None:
        found = self._of_bar(security_id, session, "open")
        return found[0] if found is not None else None

    def traded_range(self, security_id: int, session: date) -> tuple[float, float] | None:
        return self._of_bar(security_id, session, "low", "high")

    def close_price(self, security_id: int, session: date) -> float | None:
        found = self._of_bar(security_id, session, "close")
        return found[0] if found is not None else None

    def traded_volume(self, security_id: int, session: date) -> float | None:
        found = self._of_bar(security_id, session, "volume")
        return found[0] if found is not None else None

    def _of_bar(self, security_id: int, session: date, *columns: str) -> tuple | None:
        found = self._bars([session]).filter(security_id=security_id).select(columns).rows()
        return found[0] if found else None

    def voids_orders(self, security_id: int, session: date) -> bool:
        return security_id in self.voided(session, self.calendar.cutoff(session))

    def voided(self, session: date, as_of: datetime) -> frozenset[int]:
        """Securities for which a split or delisting takes effect in the session, as far as it is known."""
        actions = self.store.read(ACTIONS, as_of=as_of, start=session, end=session)
        return frozenset(actions.filter(pl.col("type").is_in(VOIDING_ACTIONS))["security_id"])

    def _bars(self, sessions: Sequence[date]) -> pl.DataFrame:
        until = self.calendar.cutoff(sessions[-1])
        return self._at_own_cutoff(self.store.read_versions(BARS, as_of=until, start=sessions[0], end=sessions[-1]), BARS)

    def _at_own_cutoff(self, versions: pl.DataFrame, table: FactTable) -> pl.DataFrame:
        """Of each row the version known at the cut-off of its own session: what a decision of that session could see."""
        sessions = versions["session"].unique().sort()
        cutoffs = pl.DataFrame(
            {"session": sessions, "cutoff": [self.calendar.cutoff(s) for s in sessions]},
            schema={"session": pl.Date, "cutoff": INSTANT},
        )
        known = versions.join(cutoffs, on="session").filter(pl.col("known_at") <= pl.col("cutoff"))
        return known.sort(*table.key, "known_at", "ingested_at").unique(table.key, keep="last", maintain_order=True)

    def last_prices(self, held: Sequence[int], session: date) -> dict[int, LastPrice]:
        """The last close known at the session's cut-off, however old, stated in the shares of the session."""
        if not held:
            return {}
        versions = self.store.read_versions(BARS, as_of=self.calendar.cutoff(session), end=session)
        bars = self._at_own_cutoff(versions.filter(pl.col("security_id").is_in(list(held))), BARS)
        last = bars.sort("session").unique("security_id", keep="last")
        splits = self._at_own_cutoff(
            self.store.read_versions(ACTIONS, as_of=self.calendar.cutoff(session), end=session), ACTIONS
        ).filter(type=str(ActionType.SPLIT))
        prices = {}
        for security, close, on in last.select("security_id", "close", "session").iter_rows():
            since = splits.filter(pl.col("security_id") == security, pl.col("session") > on)
            prices[security] = LastPrice(usd(usd(close) / usd(math.prod(since["value"].to_list()))), on)
        return prices


def _passed(verdicts: pl.DataFrame) -> pl.DataFrame:
    return verdicts.filter("passed").select("session", "security_id")


def by_year(sessions: Sequence[date]) -> list[Sequence[date]]:
    return [list(part) for _, part in groupby(sessions, key=lambda session: session.year)]


@dataclass(frozen=True)
class _Tail:
    """The last bars of those that were read."""

    without: Sequence[str]
    since: date
    until: date
    rows: pl.DataFrame


class MarketRange:
    """What is read once for all years of a range: all that is known by its end but the bars."""

    def __init__(self, markets: StoredMarkets, until: datetime, figures: Collection[str] | None) -> None:
        self._markets, self._until, self._figures = markets, until, figures
        self._tail: _Tail | None = None

    def inside(self, sessions: Sequence[date], among: pl.DataFrame | None = None) -> pl.DataFrame:
        """The panel of consecutive sessions within the universe; of these only the rows `among`."""
        bars = self._bars(self._panels.first_bar(sessions[0]), sessions[-1], self._panels.unread)
        missing = sorted(set(sessions) - set(bars["session"].unique()))
        if missing:
            raise MissingData(
                f"There is no bar of {len(missing)} of {len(sessions)} sessions, the first of them {missing[0]}.",
                "Materialize price_bars for them first; where they exist nowhere, choose another range.",
            )
        return within(self._panels.of(bars, sessions, among), self._members)

    def history(self, strategy: Strategy, sessions: Sequence[date]) -> MarketHistory:
        markets, calendar = self._markets, self._markets.calendar
        names = [layer.name for layer in strategy.layers()]
        layers = {name: markets._verdicts(strategy, name, sessions) for name in names}
        # Candidates have the features of the last one.
        layers |= {name: layers[name].select(LAYERS.schema.names()) for name in names[:-1]}
        seen = calendar.sessions(first_bar_needed(sessions[0], calendar), sessions[-1])
        versions_of_bars = self._bars(seen[0], seen[-1])
        bars = known_bars(versions_of_bars, seen, calendar)
        before = closes_of(bars.filter(pl.col("session") == calendar.previous(sessions[0])))
        versions = self._actions.filter(pl.col("session") <= sessions[-1], pl.col("known_at") <= calendar.cutoff(sessions[-1]))
        actions = markets._at_own_cutoff(versions.filter(pl.col("session") >= sessions[0]), ACTIONS)
        return MarketHistory(
            bars.filter(pl.col("session") >= sessions[0]),
            actions,
            layers,
            late_words(versions, sessions, calendar),
            Outsiders(strategy, self._outside(versions_of_bars, sessions), markets.quality),
            before,
            Industries(self._securities, calendar),
            MedianVolumes(bars).of,
        )

    def _outside(self, bars: pl.DataFrame, sessions: Sequence[date]) -> Callable[[int], pl.DataFrame]:
        """The rows of the panel of one security that are outside the universe."""

        @cache
        def rows_of(security: int) -> pl.DataFrame:
            return divided(self._panels.of(bars.filter(security_id=security), sessions), self._members)[1]

        return rows_of

    def _bars(self, start: date, end: date, without: Sequence[str] = ()) -> pl.DataFrame:
        """In the order of their key. What a year and the one before it both look at is read once."""
        read = partial(self._markets.store.read_versions, BARS, as_of=self._until, end=end, without=("source", *without))
        tail = self._tail
        if tail is not None and tail.without == without and tail.since <= start <= tail.until < end:
            later = read(start=tail.until + timedelta(days=1))
            both = pl.concat([tail.rows.filter(pl.col("session") >= start), later])
            rows = joined_in_order(both, [*BARS.key, "known_at", "ingested_at"])
        else:
            rows = read(start=start)
        since = max(start, end - _LOOKED_BACK)
        self._tail = _Tail(without, since, end, rows.filter(pl.col("session") >= since))
        return rows

    @cached_property
    def _members(self) -> pl.DataFrame | None:
        return self._markets.members()

    @cached_property
    def _actions(self) -> pl.DataFrame:
        return self._markets.store.read_versions(ACTIONS, as_of=self._until)

    @cached_property
    def _securities(self) -> pl.DataFrame:
        return self._markets.store.read_versions(SECURITIES, as_of=self._until)

    @cached_property
    def _panels(self) -> Panels:
        read = filings_read(self._figures)
        unread = [column for column in FUNDAMENTALS.columns if column not in read]
        filings = self._markets.store.read_versions(FUNDAMENTALS, as_of=self._until, without=unread)
        return Panels(self._actions, self._securities, filings, self._markets.calendar, self._figures)
