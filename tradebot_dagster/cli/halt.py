"""`tradebot halt` and `tradebot resume`: the kill switch."""

from pathlib import Path

import click

from tradebot_core.errors import UsageError
from tradebot_core.wiring import load
from tradebot_dagster.cli.output import emit


@click.command()
@click.argument("reason")
@click.pass_obj
def halt(config_path: Path, reason: str) -> None:
    """Stop all sending of orders at once, for every strategy, until `tradebot resume`.

    Orders that are at the broker already stay there; decisions and records go on.

    \b
    Example: tradebot halt "the prices of today look wrong"
    """
    if not reason.strip():
        raise UsageError("A halt needs its reason.", 'Write it in quotes: tradebot halt "prices look wrong".')
    bot = load(config_path)
    bot.store.ledger.halt(reason.strip(), bot.clock.now())
    emit({"halted": reason.strip()}, f"Halted: {reason.strip()}. No order is sent until `tradebot resume`.")


@click.command()
@click.pass_obj
def resume(config_path: Path) -> None:
    """End a halt. Orders of sessions that have passed meanwhile are not sent.

    \b
    Example: tradebot resume
    """
    bot = load(config_path)
    before = bot.store.ledger.halted()
    if before is not None:
        bot.store.ledger.resume(bot.clock.now())
    text = f"Trading goes on; it was halted: {before}." if before is not None else "Trading was not halted."
    emit({"halted": None, "was_halted": before}, text)
