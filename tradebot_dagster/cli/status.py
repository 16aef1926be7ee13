"""`tradebot status`: where things stand."""

from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path

import click

from tradebot_core.errors import MissingData
from tradebot_core.simulation.sample_market import SampleMarket
from tradebot_core.trading.arming import Arming
from tradebot_core.trading.live import current_session
from tradebot_core.wiring import Sleeve, Tradebot, load
from tradebot_dagster.cli.output import emit

_SHOWN = 10


@dataclass(frozen=True)
class SleeveStatus:
    strategy: str
    allocated_capital: Decimal
    cash: Decimal | None  # None before the sleeve's first live session
    positions: dict[str, int]
    open_orders: list[str]
    last_live_session: date | None
    backtest: tuple[date, date] | None


@click.command()
@click.pass_obj
def status(config_path: Path) -> None:
    """The mode, the current session, each sleeve's cash, positions and open orders, and whether trading is halted.

    \b
    Example: tradebot status --json
    """
    bot = load(config_path)
    sample = bot.config.sample_market
    if sample is not None and not SampleMarket(sample.path).clock_path.is_file():
        raise MissingData(
            "The sample market is not prepared yet: there is nothing to show.", "Run `make run` or `tradebot demo` first."
        )
    now = bot.clock.now()
    session, halted = current_session(bot.calendar, now), bot.store.ledger.halted()
    arming = bot.arming
    sleeves = [_sleeve_status(bot, sleeve, session) for sleeve in bot.sleeves.values()]
    found = bot.data_checks.of_session(session).filter("blocks").group_by("symbol").agg("rule").sort("symbol")
    blocked = {symbol: sorted(rules) for symbol, rules in found.iter_rows()}
    document = {
        "config": config_path.resolve(),
        "mode": bot.config.mode,
        "sample_market": sample is not None,
        "store": bot.config.data_store.path,
        "now": now,
        "current_session": session,
        "halted": halted,
        "arming": {"needed": arming.needed, "armed_until": arming.armed_until(now), "why_not": arming.why_not(now)},
        "blocked_companies": blocked,
        "strategies": sleeves,
    }
    market = "sample market (fictional)" if bot.config.sample_market else "ibkr" if bot.config.ibkr else "built-in simulation"
    lines = [
        f"mode {bot.config.mode}, {market}, store {bot.config.data_store.path}",
        f"{now:%Y-%m-%d %H:%M} UTC, current session {session}",
        f"HALTED: {halted}. `tradebot resume` ends the halt." if halted else "Trading is not halted.",
        *_arming_line(arming, now),
        *([f"Data checks stop purchases of {_listed(blocked)}."] if blocked else []),
    ]
    emit(document, "\n".join(lines + [line for sleeve in sleeves for line in _lines(sleeve)]))


def _arming_line(arming: Arming, now: datetime) -> list[str]:
    if not arming.needed:
        return []
    until = arming.armed_until(now)
    return [f"Armed: {arming.account} until {until:%Y-%m-%d %H:%M} UTC." if until else arming.why_not(now)]


def _listed(blocked: dict[str, list[str]]) -> str:
    named = [f"{symbol} ({', '.join(rules)})" for symbol, rules in blocked.items()]
    return ", ".join(named[:_SHOWN]) + (f" and {len(named) - _SHOWN} more" if len(named) > _SHOWN else "")


def _sleeve_status(bot: Tradebot, sleeve: Sleeve, session: date) -> SleeveStatus:
    ledger, name = bot.store.ledger, sleeve.name
    book = ledger.book(name, session) if ledger.entries(name) else None
    live = [made.session for made in ledger.decision_sets(name) if made.live]
    tested = bot.backtest_sessions(name)
    return SleeveStatus(
        name,
        sleeve.capital,
        book.cash if book else None,
        {position.symbol: position.quantity for _, position in sorted(book.positions.items())} if book else {},
        [f"{intent.key} {state}" for intent, state in ledger.open_orders(name)],
        max(live, default=None),
        (tested[0], tested[-1]) if tested else None,
    )


def _lines(sleeve: SleeveStatus) -> list[str]:
    held = ", ".join(f"{quantity} {symbol}" for symbol, quantity in sleeve.positions.items()) or "nothing"
    opened = f"cash {sleeve.cash:,.2f} USD, holds {held}" if sleeve.cash is not None else "not opened yet"
    tested = f"{sleeve.backtest[0]} to {sleeve.backtest[1]}" if sleeve.backtest else "none"
    return [
        "",
        f"{sleeve.strategy} ({sleeve.allocated_capital:,} USD allocated): {opened}",
        f"  last live decisions {sleeve.last_live_session or 'none'}, backtest {tested}",
        *(f"  open order {order}" for order in sleeve.open_orders),
    ]
