"""`tradebot halt` and `tradebot resume`: the kill switch.

It needs the disk and the machine's time, and nothing that may be broken when it is wanted: first of all a file is written that
every order run looks for. What needs more (the ledger, the broker) comes after that, and what fails there is told.
"""

import getpass
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import click

from tradebot_core.calendar import xnys
from tradebot_core.clock import SystemClock
from tradebot_core.errors import MissingData, StoreError, TradebotError, UsageError
from tradebot_core.interfaces import Ledger
from tradebot_core.stores.file_store import FileStore
from tradebot_core.stores.halt_file import HaltFile
from tradebot_core.trading.cancelling import Cancellation, cancel_open_orders
from tradebot_core.wiring import Tradebot, build_for_orders
from tradebot_dagster.cli.emergency import Usable, usable
from tradebot_dagster.cli.output import emit, progress

_IN_TWS = (
    "Cancel in TWS what it shows under Tradebot's references (Order Ref.): strategy|session|security|side, or tb1-... where "
    "that is too long."
)


@dataclass(frozen=True)
class Attempt:
    """What was cancelled after the halt. `problem`: why there may be more to cancel; empty when there is not."""

    orders: Sequence[Cancellation] = ()
    problem: str = ""


@click.command()
@click.argument("reason")
@click.option("--keep-orders", is_flag=True, help="Leave the orders that are at the broker where they are.")
@click.pass_obj
def halt(config_path: Path, reason: str, keep_orders: bool) -> int:
    """Stop all sending of orders at once, for every strategy, until `tradebot resume`; then cancel the open ones at the broker.

    Works without Dagster and with a damaged ledger or a refused configuration. Only Tradebot's own orders are cancelled, one
    after the other. Decisions and records go on. Exit code 1 when an order may still be open: it is named.

    \b
    Example: tradebot halt "the prices of today look wrong"
    """
    if not reason.strip():
        raise UsageError("A halt needs its reason.", 'Write it in quotes: tradebot halt "prices look wrong".')
    reason, found = reason.strip(), usable(config_path)
    problems = _throw(found, reason)
    progress(f"Halted: {reason}. No order is sent until `tradebot resume`.")
    attempt = Attempt() if keep_orders else _cancel(found)
    if attempt.problem:
        problems.append(f"{attempt.problem} {_IN_TWS}")
    left = [_reference(order.order_key, found) for order in attempt.orders if order.problem]
    if left:
        problems.append(f"May still be open: {', '.join(left)}. Cancel in TWS what it shows under these references.")
    done = "Orders at the broker stay there." if keep_orders else "The ledger knows of no other open order."
    emit({"halted": reason, "orders": attempt.orders, "problems": problems}, "\n".join(problems) or done)
    return 1 if problems else 0


@click.command()
@click.pass_obj
def resume(config_path: Path) -> None:
    """End a halt. Orders of sessions that have passed meanwhile are not sent, and cancelled ones are not sent again.

    \b
    Example: tradebot resume
    """
    found = usable(config_path)
    try:
        ledger = _ledger(found)
        before = ledger.halted()
        if before is not None:
            ledger.resume(SystemClock().now())
    except TradebotError as error:
        raise StoreError(
            f"The end of the halt cannot be recorded, so trading stays halted. {error.cause}", error.mend
        ) from error
    if before is not None:
        HaltFile(found.store).remove()
    text = f"Trading goes on; it was halted: {before}." if before is not None else "Trading was not halted."
    emit({"halted": None, "was_halted": before}, text)


def operator() -> str:
    """Who is at the machine."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container may have no name for its user
        return f"uid {os.getuid()}"


def _ledger(found: Usable) -> Ledger:
    return FileStore(found.store, xnys(), found.config.sample_market is not None).ledger


def _throw(found: Usable, reason: str) -> list[str]:
    """Halts by file, then in the ledger; returns what failed of the two. Raises StoreError when both did."""
    now, problems = SystemClock().now(), []
    try:
        HaltFile(found.store).write(reason, now, operator())
    except StoreError as error:
        problems.append(str(error))
    try:
        _ledger(found).halt(reason, now)
    except TradebotError as error:
        problems.append(f"The halt is not recorded in the ledger: {error}")
    if len(problems) == 2 and HaltFile(found.store).reason() is None:
        raise StoreError(f"TRADING IS NOT HALTED. {' '.join(problems)}", "Stop Tradebot's processes, or the gateway.")
    return problems


def _cancel(found: Usable) -> Attempt:
    orders: list[Cancellation] = []
    if not found.can_trade:
        return Attempt(problem="The configuration does not say where its orders are, so none was cancelled.")
    try:
        bot = build_for_orders(found.config)
        for order in cancel_open_orders(bot.store.ledger, bot.desk.engine_factory, _now(bot), time.sleep):
            progress(f"  {order.order_key}: {order.state}" + (f", FAILED. {order.problem}" if order.problem else ""))
            orders.append(order)
    except TradebotError as error:
        return Attempt(orders, f"Not every open order could be cancelled. {error}")
    return Attempt(orders)


def _now(bot: Tradebot) -> datetime:
    try:
        return bot.clock.now()
    except MissingData:  # a sample market without its clock; without open orders nothing else needs it
        return SystemClock().now()


def _reference(key: str, found: Usable) -> str:
    """The key as the broker shows it."""
    if found.config.ibkr is None:
        return key
    from tradebot_core.ibkr.orders import order_reference  # noqa: PLC0415  ib_async is only loaded where it is used

    return order_reference(key)
