"""`tradebot watch`: the live watchlist in the foreground, a line for each event."""

import json
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

import click
import polars as pl

from tradebot_core.errors import UsageError
from tradebot_core.model.event import Event, EventType
from tradebot_core.model.market import Bar
from tradebot_core.model.tables import SECURITIES
from tradebot_core.trading.event_bus import EventBus
from tradebot_core.wiring import Tradebot, load
from tradebot_dagster.cli.output import plain, progress, wants_json
from tradebot_dagster.telling import heard_by

if TYPE_CHECKING:
    from tradebot_core.ibkr.subscription import LiveBar


@click.command()
@click.argument("symbols", nargs=-1)
@click.option("--running", is_flag=True, help="Show the bars of the running session as well. They are no events.")
@click.pass_obj
def watch(config_path: Path, symbols: Sequence[str], running: bool) -> None:
    """Follow the daily bars of SYMBOLS (default: the universe) at IBKR until Ctrl-C or SIGTERM; a line for each price_bar event.

    An event comes a minute after its session has closed. Nothing is stored: the collector of bars does that. With --json each line is
    a JSON object. At most 40 symbols.

    \b
    Example: tradebot watch AAPL MSFT --running
    """
    bot = load(config_path)
    if bot.config.ibkr is None:
        raise UsageError(f"{config_path} has no ibkr block.", "Add one: bars are watched at Interactive Brokers.")
    from tradebot_core.collectors.ibkr_watch import watch as follow  # noqa: PLC0415  ib_async is only loaded where it is used

    securities = _watched(bot, symbols)
    bus = EventBus()
    bus.subscribe("tradebot watch", [EventType.PRICE_BAR], _tell)
    with _told_to_stop() as stop, heard_by(lambda text: click.echo(text, err=True)):
        progress(f"Watching {securities['security_id'].n_unique()} shares. Ctrl-C ends it.")
        follow(bot.config.ibkr, securities, bot.calendar, bus.publish, stop, running=_show if running else _ignore)
    progress("Ended.")


def _watched(bot: Tradebot, symbols: Sequence[str]) -> pl.DataFrame:
    if not symbols:
        return bot.securities(bot.calendar.last_cut_off(bot.clock.now()))
    known = bot.store.read(SECURITIES, as_of=bot.clock.now()).sort("valid_from").unique("security_id", keep="last")
    unknown = [symbol for symbol in symbols if symbol not in set(known["symbol"])]
    if unknown:
        close = get_close_matches(unknown[0].upper(), known["symbol"].to_list())
        hint = f"Did you mean {' or '.join(close)}?" if close else "Collect the securities first, or correct the symbol."
        raise UsageError(f"The store knows no security {', '.join(unknown)}.", hint)
    return known.filter(pl.col("symbol").is_in(list(symbols)))


@contextmanager
def _told_to_stop() -> Iterator[threading.Event]:
    """Set by SIGTERM or Ctrl-C; a second Ctrl-C interrupts."""
    stop = threading.Event()

    def tell(number: int, _frame: object) -> None:
        if stop.is_set() and number == signal.SIGINT:
            raise KeyboardInterrupt
        stop.set()

    before = {number: signal.signal(number, tell) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _tell(event: Event) -> None:
    bar = event.payload
    assert isinstance(bar, Bar)
    if wants_json():
        _line(
            {"event": event.type, "symbol": event.symbol, "known_at": event.timestamp, "heard_at": event.ingested_at}
            | asdict(bar)
        )
    else:
        click.echo(f"{bar.session} {event.symbol:<8} price_bar  {_prices(bar.open, bar.high, bar.low, bar.close, bar.volume)}")


def _show(symbol: str, live: "LiveBar") -> None:
    bar = live.bar
    if wants_json():
        _line({"running": True, "symbol": symbol, "at": live.at} | asdict(bar))
    else:
        click.echo(f"{bar.session} {symbol:<8} running    {_prices(bar.open, bar.high, bar.low, bar.close, bar.volume)}")


def _ignore(symbol: str, live: "LiveBar") -> None:
    pass


def _prices(opened: float, high: float, low: float, close: float, volume: float) -> str:
    return f"open {opened:,.2f}  high {high:,.2f}  low {low:,.2f}  close {close:,.2f}  volume {volume:,.0f}"


def _line(document: dict[str, object]) -> None:
    click.echo(json.dumps(document, default=plain, allow_nan=False))
