"""A small market of three shares, the same for the simulated broker and for the trader, and sleeves that do what they are told.

All of it follows from a seed: prices, dividends and splits, the style of the orders, and what is bought and sold when.
"""

import random
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time
from decimal import Decimal

import polars as pl

from tests.scripted import Params, Scripted
from tradebot_core.calendar import NEW_YORK, xnys
from tradebot_core.config import RiskSettings
from tradebot_core.model.decision import Candidate
from tradebot_core.model.market import ActionType, CorporateAction
from tradebot_core.model.order import OrderStyle
from tradebot_core.model.portfolio import usd
from tradebot_core.simulation.market_data import MarketData
from tradebot_core.strategy import Layer, Strategy
from tradebot_core.trading.late_actions import LateWord
from tradebot_core.trading.session import LastPrice, SessionMarket

ACCOUNT = "DU0000001"
CAPITAL = Decimal(10_000)
SLEEVE, SECOND = "told", "second"
# With a day on which banks are closed (11 November), Thanksgiving and the early close after it.
SESSIONS = tuple(xnys().sessions(date(2026, 11, 9), date(2026, 12, 4)))
SHARES = {"AAA": 100_100, "BBB": 100_200, "CCC": 100_300}
CON_IDS = {100_100: 101, 100_200: 102, 100_300: 103}
LIMITS = RiskSettings(max_order_notional=Decimal(5_000), max_position_weight=0.6, cash_buffer=0.0, max_open_gap=0.05)


def at(session: date, hour: int, minute: int = 0) -> datetime:
    return datetime.combine(session, time(hour, minute), NEW_YORK)


@dataclass(frozen=True)
class Given:
    """A corporate action; the trader hears of it in the session `heard`, which is the ex-date's or later."""

    symbol: str
    session: date
    type: ActionType
    value: float
    heard: date


@dataclass(frozen=True)
class Prices:
    """Open and close in cents by symbol and session: a walk whose gaps sometimes pass a purchase's limit."""

    of: dict[tuple[str, date], tuple[float, float]]
    actions: tuple[Given, ...] = ()

    @classmethod
    def drawn(cls, seed: int, actions: Sequence[Given] = ()) -> "Prices":
        chance, of = random.Random(seed), {}
        splits = {(a.symbol, a.session): a.value for a in actions if a.type is ActionType.SPLIT}
        for symbol, start in (("AAA", 15.0), ("BBB", 90.0), ("CCC", 4.0)):
            close = start
            for session in SESSIONS:
                close = round(close / splits.get((symbol, session), 1.0), 2)
                opened = round(close * chance.choice((0.97, 0.99, 1.0, 1.01, 1.03, 1.08)), 2)
                close = round(opened * chance.uniform(0.98, 1.02), 2)
                of[symbol, session] = (opened, close)
        return cls(of, tuple(actions))

    def ratio(self, symbol: str, session: date) -> Decimal:
        """Of the split in that session, or 1."""
        ratios = [a.value for a in self.actions if (a.symbol, a.session, a.type) == (symbol, session, ActionType.SPLIT)]
        return Decimal(str(ratios[0])) if ratios else Decimal(1)

    def market_data(self) -> MarketData:
        bars = [
            {
                "symbol": symbol,
                "session": session,
                "open": opened,
                "high": max(opened, closed),
                "low": min(opened, closed),
                "close": closed,
                "volume": 1e6,
            }
            for (symbol, session), (opened, closed) in self.of.items()
        ]
        securities = [
            {
                "symbol": symbol,
                "cik": security // 100,
                "name": symbol,
                "exchange": "NYSE",
                "con_id": CON_IDS[security],
                "share_class": 0,
                "industry": "",
                "category": "",
                "valid_from": date(2020, 1, 2),
                "valid_to": None,
            }
            for symbol, security in SHARES.items()
        ]
        actions = pl.DataFrame(
            [(a.symbol, a.session, str(a.type), a.value) for a in self.actions],
            schema={"symbol": pl.String, "session": pl.Date, "type": pl.String, "value": pl.Float64},
            orient="row",
        )
        return MarketData(
            pl.DataFrame(bars), actions, pl.DataFrame(securities, schema_overrides={"valid_to": pl.Date, "con_id": pl.Int64})
        )


@dataclass(frozen=True)
class GivenMarkets:
    """In the place of trading.stored_markets: the same questions, answered from `Prices`."""

    prices: Prices

    def at(self, strategy: Strategy, session: date, held: Sequence[int]) -> SessionMarket:
        last = {security: LastPrice(usd(self.prices.of[symbol, session][1]), session) for symbol, security in SHARES.items()}
        candidates = tuple(Candidate(security, symbol, float(last[security].price), {}) for symbol, security in SHARES.items())
        # On the first session there is no close before: it is its own.
        before = SESSIONS[max(SESSIONS.index(session) - 1, 0)]
        closes = {
            security: usd(usd(self.prices.of[symbol, before][1]) / self.prices.ratio(symbol, session))
            for symbol, security in SHARES.items()
        }
        return SessionMarket(session, candidates, {}, last, dict.fromkeys(SHARES.values(), 1e8), closes)

    def actions_of(
        self, securities: Collection[int], sessions: Sequence[date]
    ) -> tuple[Mapping[date, Sequence[CorporateAction]], Sequence[LateWord]]:
        in_time, late = dict[date, list[CorporateAction]](), []
        for action in self.prices.actions:
            security = SHARES[action.symbol]
            if security not in securities or action.heard not in sessions:
                continue
            if action.heard == action.session:
                made = CorporateAction(security, action.session, action.type, action.value)
                in_time.setdefault(action.session, []).append(made)
            else:
                late.append(LateWord(action.heard, security, action.session, action.type, action.value, None))
        return in_time, late

    def closes(self, session: date, held: Sequence[int]) -> dict[int, LastPrice]:
        return {SHARES[symbol]: LastPrice(usd(self.prices.of[symbol, session][1]), session) for symbol in SHARES}

    def last_prices(self, held: Sequence[int], session: date) -> dict[int, LastPrice]:
        return self.closes(session, held)

    def voided(self, session: date, as_of: datetime) -> frozenset[int]:
        return frozenset(SHARES[symbol] for symbol in SHARES if self.prices.ratio(symbol, session) != 1)


class Told(Scripted):
    """Scripted, on a market that has no layers."""

    def layers(self) -> Sequence[Layer]:
        return ()


def sleeve(script: Sequence[str], name: str = SLEEVE, style: OrderStyle = OrderStyle.OPEN_AUCTION) -> Strategy:
    made = Told(name, Params(script=tuple(script)))
    made.orders = style
    return made


def drawn_script(seed: int, sessions: Sequence[date]) -> tuple[str, ...]:
    """A purchase or two and, of what may be held, a sale in most sessions."""
    chance, lines = random.Random(seed + 1), []
    for number, session in enumerate(sessions):
        symbols = chance.sample(sorted(SHARES), 3)
        for symbol in symbols[: chance.choice((1, 2))]:
            lines.append(f"{session} buy {symbol} {chance.choice((0.2, 0.25, 0.3))}")
        if number and chance.random() < 0.7:
            lines.append(f"{session} sell {symbols[2]}")
    return tuple(lines)


def drawn_actions(chance: random.Random, sessions: Sequence[date], *, fractions: bool) -> tuple[Given, ...]:
    """At most one a session, from the second on. The word of a dividend may come a session late. Without `fractions` no split
    leaves any: a broker sells those of the whole account, a sleeve's book those of its own shares."""
    made = []
    for number, session in enumerate(sessions[1:], 1):
        symbol, kind = chance.choice(sorted(SHARES)), chance.random()
        if kind < 0.25:
            late = chance.random() < 0.3 and number + 1 < len(sessions)
            heard = sessions[number + 1] if late else session
            made.append(Given(symbol, session, ActionType.DIVIDEND, chance.choice((0.03, 0.1, 0.2475, 1.5)), heard))
        elif kind < 0.45:
            made.append(
                Given(symbol, session, ActionType.SPLIT, chance.choice((1.5, 0.1, 0.25) if fractions else (2.0, 3.0)), session)
            )
    return tuple(made)


@dataclass(frozen=True)
class World:
    """All that a trader is told of the market; `scripts` by sleeve."""

    prices: Prices
    scripts: Mapping[str, tuple[str, ...]]
    style: OrderStyle = OrderStyle.OPEN_AUCTION

    @classmethod
    def of(cls, seed: int, script: Sequence[str]) -> "World":
        """One sleeve, no corporate actions."""
        return cls(Prices.drawn(seed), {SLEEVE: tuple(script)})

    @classmethod
    def drawn(cls, seed: int, sessions: Sequence[date]) -> "World":
        """A second sleeve in one story of four, which often wants the same shares."""
        chance = random.Random(f"world {seed}")
        scripts = {SLEEVE: drawn_script(seed, sessions[:-1])}
        if chance.random() < 0.25:
            scripts[SECOND] = drawn_script(seed if chance.random() < 0.5 else seed + 5000, sessions[:-1])
        actions = drawn_actions(chance, sessions, fractions=len(scripts) == 1)
        return cls(Prices.drawn(seed, actions), scripts, chance.choice(sorted(OrderStyle)))

    def unheard(self, session: date) -> frozenset[date]:
        """Ex-dates of dividends that are paid by then and not known."""
        return frozenset(a.session for a in self.prices.actions if a.session <= session < a.heard)
