"""`tradebot reconcile`: the ledger against the broker's account: orders, executions, positions, cash."""

from getpass import getuser
from pathlib import Path

import click

from tradebot_core.config import Mode
from tradebot_core.errors import UsageError
from tradebot_core.model.order import OrderState
from tradebot_core.trading.account_comparison import Line
from tradebot_core.trading.account_reconciliation import broken
from tradebot_core.trading.reconciliation import OrderCheck, check_open_orders
from tradebot_core.wiring import Tradebot, load
from tradebot_dagster.cli.output import emit


@click.command()
@click.option("--expire", metavar="ORDER_KEY", help="State that this order never traded: you have looked it up at the broker.")
@click.option(
    "--accept-external",
    metavar="REASON",
    help="Enter every difference of positions and cash as the account's own, beside the sleeves: you know where it comes from.",
)
@click.pass_obj
def reconcile(config_path: Path, expire: str | None, accept_external: str | None) -> int:
    """Compare the ledger with the broker: PASS or BREAK, one line for each order, execution, position and the cash.

    While a break stands, the order run sends nothing of that security, or nothing at all when it is of an order or of cash.

    With --expire, an order whose fate is unknown is entered as expired on your word, and its sleeve trades again. With
    --accept-external, what you bought, sold, paid in or took out by hand is entered as external; the bot never touches it.

    Exit code 1 on any BREAK.

    \b
    Example: tradebot reconcile --json
    """
    bot = load(config_path)
    ledger, checks = bot.store.ledger, []
    if expire is not None:
        in_doubt = {intent.key for name in bot.sleeves for intent, _ in ledger.open_orders(name)}
        if expire not in in_doubt:
            raise UsageError(
                f"{expire} is not an open order of the ledger.", f"Open orders: {', '.join(sorted(in_doubt)) or 'none'}."
            )
        ledger.record_state(expire, OrderState.EXPIRED, bot.clock.now(), "By hand: it never traded at the broker.")
    waiting = [name for name in bot.sleeves if ledger.open_orders(name)]
    if waiting:  # without open orders no broker is called
        engine = bot.desk.engine_factory()
        checks = [check for name in waiting for check in check_open_orders(ledger, engine, name)]
    lines = _account_lines(bot, accept_external)
    breaks = sum(not check.agrees for check in checks) + len(broken(lines))
    document = {"passed": not breaks, "breaks": breaks, "orders": checks, "account": lines}
    text = [*map(_line, checks), *map(_account_line, lines)]
    emit(document, "\n".join(text) or "PASS  no order is open.")
    return 1 if breaks else 0


def _account_lines(bot: Tradebot, accept_external: str | None) -> tuple[Line, ...]:
    """Without an ibkr block there is no account beside the ledger, and the ledger of a dry run is of no account."""
    if accept_external is not None and not accept_external.strip():
        raise UsageError("An external change needs its reason.", 'Write it in quotes: --accept-external "bought by hand".')
    if bot.config.ibkr is None or bot.config.mode is Mode.DRY_RUN:
        if accept_external is not None:
            raise UsageError(
                "A dry run, or a configuration without an ibkr block, has no account that could hold anything external."
            )
        return ()
    reconciler, now = bot.account_reconciler(), bot.clock.now()
    return reconciler.lines(now) if accept_external is None else reconciler.accept(accept_external.strip(), getuser(), now)


def _account_line(line: Line) -> str:
    text = f"{'PASS ' if line.passed else 'BREAK'} {line.kind} {line.what}: ledger {line.ledger}, broker {line.broker}; {line.reason}"
    return f"{text}\n      {line.command}" if line.command else text


def _line(check: OrderCheck) -> str:
    answer = check.broker_state or "nothing"
    result = "PASS " if check.agrees else "BREAK"
    return f"{result} {check.order_key}: ledger {check.ledger_state}, broker {answer}; {check.reason}"
