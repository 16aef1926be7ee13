"""An order whose fate is unknown, given up on a person's word: the broker is asked first, and a trade that it knows of wins."""

from datetime import datetime

from tradebot_core.errors import ExecutionError, ReconciliationError, UsageError
from tradebot_core.interfaces import ExecutionEngine, Ledger
from tradebot_core.model.order import OrderIntent, OrderState, Side
from tradebot_core.trading.account_comparison import LineKind
from tradebot_core.trading.account_reconciliation import AccountReconciler, broken


def expire(
    ledger: Ledger,
    engine: ExecutionEngine,
    reconciler: AccountReconciler | None,
    intent: OrderIntent,
    now: datetime,
    operator: str,
    unasked: str = "",
) -> None:
    """Enters the order as expired. `unasked` is a person's reason to do so though the broker cannot be asked, or though the account
    looks as if it had traded; it never stands against what the broker says of the order itself.

    Raises ReconciliationError when the broker knows of the order (open, ended or executed) or holds what it would have traded,
    UsageError when it cannot be asked and `unasked` is empty.
    """
    asked = "The broker, asked, shows nothing of it today"
    try:
        status = engine.get_order_status(intent.key)
    except ExecutionError as error:
        if not unasked:
            raise UsageError(
                f"{intent.key} was not expired: the broker cannot be asked about it ({error.cause}).",
                'Ask again when it answers, or say on your own word: --unasked "looked it up in the statement".',
            ) from error
        asked = f"The broker could not be asked ({error.cause})"
    else:
        if status.state is not None or status.fills:
            done = sum(fill.quantity for fill in status.fills)
            raise ReconciliationError(
                f"{intent.key} was not expired: the broker knows it as {status.state or 'executed'}, {done} shares executed.",
                "A run after its open enters what it did: `tradebot run-session`, or wait for the schedule.",
            )
        if reconciler is not None and not unasked:
            _refuse_if_it_shows(reconciler, intent, now)
    word = f"By hand, {operator}: it never traded. {asked}." + (f" {unasked}" if unasked else "")
    ledger.record_state(intent.key, OrderState.EXPIRED, now, word)


def _refuse_if_it_shows(reconciler: AccountReconciler, intent: OrderIntent, now: datetime) -> None:
    """A broker shows executions of the day; an earlier one shows in the position."""
    con_id = reconciler.con_ids().get(intent.security_id)
    for line in broken(reconciler.lines(now)):
        if (
            line.kind is LineKind.POSITION
            and con_id is not None
            and line.con_id == con_id
            and _moved(line.ledger, line.broker, intent)
        ):
            raise ReconciliationError(
                f"{intent.key} was not expired: {line.what} differs as if it had traded (ledger {line.ledger}, broker {line.broker}).",
                "Look at the statement of its day. If the shares are from elsewhere, say so: "
                f'tradebot reconcile --expire "{intent.key}" --unasked "where they are from".',
            )


def _moved(ledger: str, broker: str, intent: OrderIntent) -> bool:
    """Whether the broker's shares differ in the direction of the order."""
    more = float(broker) > float(ledger)
    return more if intent.side is Side.BUY else not more
