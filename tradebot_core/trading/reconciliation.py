"""Orders of the ledger against the broker's word on them. It only asks: nothing is entered, sent or cancelled."""

from dataclasses import dataclass

from tradebot_core.interfaces import ExecutionEngine, Ledger
from tradebot_core.model.order import TRANSITIONS, OrderIntent, OrderState, OrderStatus


@dataclass(frozen=True)
class OrderCheck:
    """`agrees` is false when the two cannot both be right, or when the broker's answer proves nothing."""

    strategy: str
    order_key: str
    ledger_state: str
    broker_state: str | None
    agrees: bool
    reason: str


def check_open_orders(ledger: Ledger, engine: ExecutionEngine, strategy: str) -> tuple[OrderCheck, ...]:
    """One check for each order that the ledger holds open, oldest first."""
    return tuple(_check(ledger, engine, strategy, intent, state) for intent, state in ledger.open_orders(strategy))


def _check(ledger: Ledger, engine: ExecutionEngine, strategy: str, intent: OrderIntent, state: OrderState) -> OrderCheck:
    status = engine.get_order_status(intent.key)
    recorded = ledger.fills(strategy, intent.session).filter(order_key=intent.key)
    agrees, reason = _compare(state, status, set(recorded["execution_id"]), engine.absence_is_proof)
    broker_state = None if status.state is None else str(status.state)
    return OrderCheck(strategy, intent.key, str(state), broker_state, agrees, reason)


def _compare(state: OrderState, status: OrderStatus, recorded: set[str], absence_is_proof: bool) -> tuple[bool, str]:
    if status.state is None:
        return _compare_with_silence(state, absence_is_proof)
    unseen = recorded - {fill.execution_id for fill in status.fills}
    if unseen:
        return False, f"the ledger has executions that the broker does not show: {', '.join(sorted(unseen))}"
    if state is OrderState.NEW:
        return False, "the broker has an order that the ledger never sent"
    if status.state is state:
        return True, "the same state"
    if status.state in TRANSITIONS[state]:
        return True, f"the broker is ahead ({status.state}); the ledger follows when the session is recorded"
    return False, f"an order that is {state} cannot become {status.state}"


def _compare_with_silence(state: OrderState, absence_is_proof: bool) -> tuple[bool, str]:
    if state is OrderState.NEW:
        return True, "not sent yet"
    if state in (OrderState.SENDING, OrderState.UNKNOWN) and absence_is_proof:
        return True, "never received; it will be sent again before its deadline"
    return False, "the broker does not know it"
