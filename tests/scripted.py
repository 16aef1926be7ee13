"""A strategy that does what a test tells it, on prices that a test gives: for exact sums without a thesis in the way."""

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl

from tests.markets import XNYS, tradebot
from tradebot_core.config import Settings
from tradebot_core.interfaces import Batch
from tradebot_core.model.decision import Decision, Verdict
from tradebot_core.model.security import security_id_of
from tradebot_core.model.tables import ACTIONS, BARS, SECURITIES, FactTable
from tradebot_core.strategy import Layer, Rule, SessionView, Strategy, TableLayer
from tradebot_core.wiring import Tradebot

SESSIONS = tuple(XNYS.sessions(date(2024, 2, 1), date(2024, 3, 28)))
NO_LIMITS = {"max_order_notional": 1_000_000, "max_position_weight": 1.0, "cash_buffer": 0.0}
NO_COSTS = {"slippage_bps": 0, "commission_per_share": 0, "commission_minimum": 0, "regulatory_fees": False}
# The first session of the stories: the twenty before it make the volume known.
DAY = SESSIONS[20]
TOLD = Verdict(True, "told", None, None)

CONFIG = """\
mode: paper
data_store: {{{{backend: file, path: {{store}}}}}}
first_session: 2024-02-01
allowed_packages: [tests]
strategies:
  - name: scripted
    class_path: tests.scripted.Scripted
    allocated_capital: {capital}
    params: {{{{script: {script}}}}}
risk: {{{{{limits}}}}}
costs: {{{{{costs}}}}}
"""


class Params(Settings):
    """Lines of `2024-03-01 buy AAA 0.5` and `2024-03-04 sell AAA`."""

    script: tuple[str, ...] = ()


class Scripted(Strategy):
    """Buys and sells by its script."""

    Params = Params
    params: Params

    def layers(self) -> Sequence[Layer]:
        return (TableLayer("trades", rules=(Rule("price", pl.col("close"), ">", 0),)),)

    def decide(self, view: SessionView) -> Sequence[Decision]:
        told = [line.split()[1:] for line in self.params.script if line.startswith(view.session.isoformat())]
        sold = {symbol for verb, symbol, *_ in told if verb == "sell"}
        bought = {symbol: float(weight[0]) for verb, symbol, *weight in told if verb == "buy"}
        held = {holding.symbol for holding in view.holdings}
        keeping = [(view.sell if h.symbol in sold else view.hold)(h, TOLD) for h in view.holdings if h.symbol not in bought]
        candidates = [c for c in view.candidates if c.symbol in bought and (c.symbol not in held or bought[c.symbol])]
        return keeping + [view.buy(c, bought[c.symbol], TOLD) for c in candidates]


def scripted(
    folder: Path,
    *script: str,
    capital: int = 10_000,
    limits: Mapping[str, Any] | None = None,
    costs: Mapping[str, Any] | None = None,
) -> Tradebot:
    """A Tradebot whose only sleeve follows the script, without limits and costs unless told, on an empty store."""

    def flow(settings: Mapping[str, Any]) -> str:
        return ", ".join(f"{key}: {value}" for key, value in settings.items())

    lines = "[" + ", ".join(f'"{line}"' for line in script) + "]"
    settings = {"limits": flow(NO_LIMITS | dict(limits or {})), "costs": flow(NO_COSTS | dict(costs or {}))}
    return tradebot(folder, text=CONFIG.format(script=lines, capital=capital, **settings))


def security_of(symbol: str) -> int:
    return security_id_of(1 + ["AAA", "BBB", "CCC", "DDD"].index(symbol))


def quote(
    bot: Tradebot,
    symbol: str,
    price: float,
    changed: Mapping[date, float | tuple[float, float] | None] | None = None,
    volume: float = 1e6,
    sessions: Sequence[date] = SESSIONS,
) -> None:
    """Bars of a security at `price`; in some sessions at another one (open and close may differ), or none at all."""
    security, rows = security_of(symbol), []
    for session in sessions:
        at = (changed or {}).get(session, price)
        if at is None:
            continue
        opened, closed = at if isinstance(at, tuple) else (at, at)
        prices = {"open": opened, "high": max(opened, closed), "low": min(opened, closed), "close": closed, "volume": volume}
        known_at = XNYS.closes_at(session) + timedelta(minutes=15)
        rows.append({"security_id": security, "session": session, "known_at": known_at} | prices)
    append(bot, BARS, *rows)
    name = dict.fromkeys(SECURITIES.columns) | {
        "security_id": security,
        "cik": security // 100,
        "symbol": symbol,
        "name": symbol,
    }
    dates = {"valid_from": date(2020, 1, 1), "valid_to": date.max, "known_at": datetime(2020, 1, 1, tzinfo=UTC)}
    append(bot, SECURITIES, name | {"exchange": "TEST"} | dates)


def act(bot: Tradebot, symbol: str, session: date, kind: str, value: float, known_at: datetime | None = None) -> None:
    """A corporate action, known nine hours before the open of its day unless told."""
    known = known_at or XNYS.opens_at(session) - timedelta(hours=9)
    append(
        bot, ACTIONS, {"security_id": security_of(symbol), "session": session, "type": kind, "value": value, "known_at": known}
    )


def append(
    bot: Tradebot, table: FactTable, *rows: dict[str, Any], ingested: datetime = datetime(2024, 1, 1, tzinfo=UTC)
) -> None:
    frame = pl.DataFrame(list(rows), schema={**table.columns, "known_at": table.schema["known_at"]})
    bot.store.append(Batch(table, frame, "test"), ingested)


def walk(bot: Tradebot, sessions: Sequence[date], restart: bool = False) -> dict[str, pl.DataFrame]:
    """Layers and backtest of these sessions."""
    strategy = bot.sleeve("scripted").strategy
    bot.markets.run_layer(strategy, "trades", sessions)
    return bot.backtest("scripted", sessions, restart)
