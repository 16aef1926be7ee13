"""The market as the store knows it: panels, layer verdicts, and histories for the session loop."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime

import polars as pl

from tradebot_core.calendar import TradingCalendar
from tradebot_core.config import DATA_CHECKS_ON, QualitySettings
from tradebot_core.errors import MissingData
from tradebot_core.interfaces import DataStore
from tradebot_core.model.market import ActionType, CorporateAction
from tradebot_core.model.portfolio import usd
from tradebot_core.model.tables import ACTIONS, BARS, FUNDAMENTALS, INSTANT, LAYERS, SECURITIES, FactTable
from tradebot_core.quant.panel import build_panel, first_bar_needed
from tradebot_core.strategy import Strategy
from tradebot_core.trading.industries import Industries
from tradebot_core.trading.late_actions import LateWord, late_words
from tradebot_core.trading.layers import evaluate_next, reads_of, reads_of_all
from tradebot_core.trading.markets import VOIDING_ACTIONS, MarketHistory, closes_of
from tradebot_core.trading.outsiders import Outsiders
from tradebot_core.trading.session import LastPrice, SessionMarket
from tradebot_core.trading.universe import UniverseEntry, divided, members_of

MARKET = "market"  # the book under which verdicts are stored that depend on no book


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
        """quant.panel of consecutive sessions, restricted to the universe as of each; with all figures, or those that `figures` names."""
        return divided(self._whole_panel(sessions, figures), self.members())[0]

    def _whole_panel(self, sessions: Sequence[date], figures: Collection[str] | None) -> pl.DataFrame:
        until = self.calendar.cutoff(sessions[-1])
        bars = self.store.read_versions(BARS, as_of=until, start=first_bar_needed(sessions[0], self.calendar), end=sessions[-1])
        missing = sorted(set(sessions) - set(bars["session"].unique()))
        if missing:
            raise MissingData(
                f"There is no bar of {len(missing)} of {len(sessions)} sessions, the first of them {missing[0]}.",
                "Materialize price_bars for them first; where they exist nowhere, choose another range.",
            )
        return build_panel(
            bars,
            self.store.read_versions(ACTIONS, as_of=until),
            self.store.read_versions(SECURITIES, as_of=until),
            self.store.read_versions(FUNDAMENTALS, as_of=until, without=("provenance",)),
            sessions,
            self.calendar,
            figures,
        )

    def run_layer(self, strategy: Strategy, name: str, sessions: Sequence[date]) -> pl.DataFrame:
        """Evaluates one layer on the stored verdicts of those before it; stores and returns its own."""
        before: dict[str, pl.DataFrame] = {}
        for layer in strategy.layers():
            if layer.name == name:
                panel = self.panel(sessions, reads_of(strategy, layer, first=not before))
                verdicts = evaluate_next(strategy, layer, panel, before, self.quality)
                self.store.write_results(LAYERS, strategy.name, MARKET, sessions, verdicts, layer=name)
                return verdicts
            before[layer.name] = self._verdicts(strategy, layer.name, sessions)
        raise MissingData(f"Strategy {strategy.name} has no layer {name}.")

    def _verdicts(self, strategy: Strategy, layer: str, sessions: Sequence[date]) -> pl.DataFrame:
        missing = set(sessions) - set(self.store.result_sessions(LAYERS, strategy.name, MARKET, layer))
        if missing:
            raise MissingData(
                f"Layer {layer} of {strategy.name} has no verdicts for {len(missing)} sessions from {min(missing)} on.",
                f"Materialize {strategy.name}/{layer} for them first.",
            )
        return self.store.read_results(LAYERS, strategy.name, MARKET, sessions[0], sessions[-1], layer)

    def history(self, strategy: Strategy, sessions: Sequence[date]) -> MarketHistory:
        """What the session loop needs of consecutive sessions."""
        until = self.calendar.cutoff(sessions[-1])
        layers = {layer.name: self._verdicts(strategy, layer.name, sessions) for layer in strategy.layers()}
        members = self.members()
        figures = () if members is None else reads_of_all(strategy)  # for what is held and outside of the universe
        panel, outside = divided(self._whole_panel(sessions, figures), members)
        versions = self.store.read_versions(ACTIONS, as_of=until, end=sessions[-1])
        actions = self._at_own_cutoff(versions.filter(pl.col("session") >= sessions[0]), ACTIONS)
        late = late_words(versions, sessions, self.calendar)
        bars = self._bars([self.calendar.previous(sessions[0]), *sessions])
        before = closes_of(bars.filter(pl.col("session") < sessions[0]))
        bars = bars.filter(pl.col("session") >= sessions[0])
        outsiders = Outsiders(strategy, outside, self.quality)
        industries = Industries(self.store.read_versions(SECURITIES, as_of=until), self.calendar)
        return MarketHistory(bars, actions, layers, panel, late, outsiders, before, industries)

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
        found = self._bars([session]).filter(security_id=security_id)["open"].to_list()
        return found[0] if found else None

    def traded_range(self, security_id: int, session: date) -> tuple[float, float] | None:
        found = self._bars([session]).filter(security_id=security_id).select("low", "high").rows()
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
