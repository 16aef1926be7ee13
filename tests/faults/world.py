"""A small market of three shares, the same for the simulated broker and for the trader, and a sleeve that does what it is told.

All of it follows from a seed: prices, and what is bought and sold when.
"""

import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time
from decimal import Decimal

import polars as pl

from tests.scripted import Params, Scripted
from tradebot_core.calendar import NEW_YORK, xnys
from tradebot_core.config import RiskSettings
from tradebot_core.model.decision import Candidate
from tradebot_core.model.portfolio import usd
from tradebot_core.simulation.market_data import MarketData
from tradebot_core.strategy import Layer, Strategy
from tradebot_core.trading.session import LastPrice, SessionMarket

ACCOUNT = "DU0000001"
CAPITAL = Decimal(10_000)
SLEEVE = "told"
# With a day on which banks are closed (11 November), Thanksgiving and the early close after it.
SESSIONS = tuple(xnys().sessions(date(2026, 11, 9), date(2026, 12, 4)))
SHARES = {"AAA": 100_100, "BBB": 100_200, "CCC": 100_300}
CON_IDS = {100_100: 101, 100_200: 102, 100_300: 103}
LIMITS = RiskSettings(max_order_notional=Decimal(5_000), max_position_weight=0.6, cash_buffer=0.0, max_open_gap=0.05)


def at(session: date, hour: int, minute: int = 0) -> datetime:
    return datetime.combine(session, time(hour, minute), NEW_YORK)


@dataclass(frozen=True)
class Prices:
    """Open and close in cents by symbol and session: a walk whose gaps sometimes pass a purchase's limit."""

    of: dict[tuple[str, date], tuple[float, float]]

    @classmethod
    def drawn(cls, seed: int) -> "Prices":
        chance, of = random.Random(seed), {}
        for symbol, start in (("AAA", 15.0), ("BBB", 90.0), ("CCC", 4.0)):
            close = start
            for session in SESSIONS:
                opened = round(close * chance.choice((0.97, 0.99, 1.0, 1.01, 1.03, 1.08)), 2)
                close = round(opened * chance.uniform(0.98, 1.02), 2)
                of[symbol, session] = (opened, close)
        return cls(of)

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
        actions = pl.DataFrame(schema={"symbol": pl.String, "session": pl.Date, "type": pl.String, "value": pl.Float64})
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
        before = xnys().previous(session) if session > SESSIONS[0] else session
        closes = {security: usd(self.prices.of[symbol, before][1]) for symbol, security in SHARES.items()}
        return SessionMarket(session, candidates, {}, last, dict.fromkeys(SHARES.values(), 1e8), closes)

    def actions_of(self, securities: Collection[int], sessions: Sequence[date]) -> tuple[dict, Sequence]:
        return {}, ()

    def voided(self, session: date, as_of: datetime) -> frozenset[int]:
        return frozenset()


class Told(Scripted):
    """Scripted, on a market that has no layers."""

    def layers(self) -> Sequence[Layer]:
        return ()


def sleeve(script: Sequence[str]) -> Strategy:
    return Told(SLEEVE, Params(script=tuple(script)))


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
