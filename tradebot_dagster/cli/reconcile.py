"""`tradebot reconcile`: the ledger against the broker's account: orders, executions, positions, cash."""

from getpass import getuser
from pathlib import Path

import click

from tradebot_core.config import Mode
from tradebot_core.errors import ExecutionError, UsageError
from tradebot_core.interfaces import BreakRecord
from tradebot_core.trading.account_comparison import Line
from tradebot_core.trading.account_reconciliation import broken
from tradebot_core.trading.expiring import expire as expire_order
from tradebot_core.trading.reconciliation import OrderCheck, check_open_orders
from tradebot_core.wiring import Tradebot, load
from tradebot_dagster.cli.output import emit, progress


@click.command()
@click.option(
    "--expire", metavar="ORDER_KEY", help="State that this order never traded. The broker is asked first, and knows better."
)
@click.option("--unasked", metavar="REASON", help="With --expire: though the broker cannot be asked, or the position differs.")
@click.option(
    "--accept-external",
    metavar="REASON",
    help="Enter every difference of positions and cash as the account's own, beside the sleeves: you know where it comes from.",
)
@click.option("--history", is_flag=True, help="Show every break that ever was, and how it ended. Asks nobody.")
@click.pass_obj
def reconcile(config_path: Path, expire: str | None, unasked: str | None, accept_external: str | None, history: bool) -> int:
    """Compare the ledger with the broker: PASS or BREAK, one line for each order, execution, position and the cash.

    While a break stands, the order run sends nothing of that security, or nothing at all when it is of an order or of cash. Breaks
    are kept: one ends when a later comparison agrees, or on your word.

    With --expire, an order whose fate is unknown is entered as expired on your word, unless the broker knows it, and its sleeve
    trades again. With --accept-external, what you bought, sold, paid in or took out by hand is entered as external; the bot never
    touches it. It takes what the last comparison showed you, and nothing newer.

    Exit code 1 on any BREAK.

    \b
    Example: tradebot reconcile --json
    """
    bot = load(config_path)
    ledger, checks = bot.store.ledger, []
    if history:
        records = ledger.breaks()
        emit({"breaks": records}, "\n".join(map(_record_line, records)) or "There never was a break.")
        return 0
    if unasked is not None and (expire is None or not unasked.strip()):
        raise UsageError("--unasked belongs to --expire, and needs its reason in quotes.")
    if expire is not None:
        _expire(bot, expire, (unasked or "").strip())
    try:
        waiting = [name for name in _names(bot) if ledger.open_orders(name)]
        if waiting:  # without open orders no broker is called
            engine = bot.desk.engine_factory()
            checks = [check for name in waiting for check in check_open_orders(ledger, engine, name)]
        lines = _account_lines(bot, accept_external)
    except ExecutionError as error:
        standing = ledger.open_breaks()
        if standing:
            progress("The broker cannot be asked. What stood at the last comparison still stands:")
            progress("\n".join(map(_record_line, standing)))
            raise ExecutionError(
                f"{error.cause} {len(standing)} breaks stand since an earlier comparison.", error.mend
            ) from error
        raise
    breaks = sum(not check.agrees for check in checks) + len(broken(lines))
    document = {"passed": not breaks, "breaks": breaks, "orders": checks, "account": lines}
    text = [*map(_line, checks), *map(_account_line, lines)]
    emit(document, "\n".join(text) or "PASS  no order is open.")
    return 1 if breaks else 0


def _expire(bot: Tradebot, key: str, unasked: str) -> None:
    ledger = bot.store.ledger
    open_orders = {intent.key: intent for name in _names(bot) for intent, _ in ledger.open_orders(name)}
    if key not in open_orders:
        raise UsageError(
            f"{key} is not an open order of the ledger.", f"Open orders: {', '.join(sorted(open_orders)) or 'none'}."
        )
    reconciler = bot.account_reconciler() if _has_account(bot) else None
    expire_order(ledger, bot.desk.engine_factory(), reconciler, open_orders[key], bot.clock.now(), getuser(), unasked)


def _names(bot: Tradebot) -> list[str]:
    """Also strategies that the configuration no longer has: what they left open must be settled all the same."""
    return sorted({*bot.sleeves, *bot.store.ledger.strategies()})


def _has_account(bot: Tradebot) -> bool:
    """Without an ibkr block there is no account beside the ledger, and the ledger of a dry run is of no account."""
    return bot.config.ibkr is not None and bot.config.mode is not Mode.DRY_RUN


def _account_lines(bot: Tradebot, accept_external: str | None) -> tuple[Line, ...]:
    if accept_external is not None and not accept_external.strip():
        raise UsageError("An external change needs its reason.", 'Write it in quotes: --accept-external "bought by hand".')
    if not _has_account(bot):
        if accept_external is not None:
            raise UsageError(
                "A dry run, or a configuration without an ibkr block, has no account that could hold anything external."
            )
        return ()
    reconciler, now = bot.account_reconciler(), bot.clock.now()
    return reconciler.lines(now) if accept_external is None else reconciler.accept(accept_external.strip(), getuser(), now)


def _account_line(line: Line) -> str:
    text = f"{'PASS ' if line.passed else 'BREAK'} {line.kind} {line.what}: ledger {line.ledger}, broker {line.broker}; {line.reason}"
    text += f" (since {line.since:%Y-%m-%d %H:%M} UTC)" if line.since is not None else ""
    return f"{text}\n      {line.command}" if line.command else text


def _record_line(record: BreakRecord) -> str:
    found = record.found
    end = "stands" if record.ended is None else f"ended {record.ended:%Y-%m-%d %H:%M} UTC by {record.by}: {record.word}"
    return (
        f"{record.first_seen:%Y-%m-%d %H:%M} UTC  {found.kind} {found.what}: ledger {found.ledger}, broker {found.broker}; "
        f"{found.reason}; {end}"
    )


def _line(check: OrderCheck) -> str:
    answer = check.broker_state or "nothing"
    result = "PASS " if check.agrees else "BREAK"
    return f"{result} {check.order_key}: ledger {check.ledger_state}, broker {answer}; {check.reason}"
