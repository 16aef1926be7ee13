"""`tradebot reconcile`: the ledger's open orders against the broker's word on them."""

from pathlib import Path

import click

from tradebot_core.errors import UsageError
from tradebot_core.model.order import OrderState
from tradebot_core.trading.reconciliation import OrderCheck, check_open_orders
from tradebot_core.wiring import load
from tradebot_dagster.cli.output import emit


@click.command()
@click.option("--expire", metavar="ORDER_KEY", help="State that this order never traded: you have looked it up at the broker.")
@click.pass_obj
def reconcile(config_path: Path, expire: str | None) -> int:
    """Compare every open order of the ledger with the broker: PASS or BREAK, one line each. Nothing is changed.

    With --expire, an order whose fate is unknown is entered as expired on your word, and its sleeve trades again.

    Exit code 1 on any BREAK: halt, and find out which of the two is right.

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
    breaks = [check for check in checks if not check.agrees]
    document = {"passed": not breaks, "breaks": len(breaks), "orders": checks}
    emit(document, "\n".join(map(_line, checks)) or "PASS  no order is open.")
    return 1 if breaks else 0


def _line(check: OrderCheck) -> str:
    answer = check.broker_state or "nothing"
    result = "PASS " if check.agrees else "BREAK"
    return f"{result} {check.order_key}: ledger {check.ledger_state}, broker {answer}; {check.reason}"
