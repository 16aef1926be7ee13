"""After a halt: the ledger's open orders are cancelled at the broker, one after the other, and no others.

What came of it is the engine's word, entered as any other: an order that filled meanwhile is a fill.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime

import polars as pl

from tradebot_core.errors import TradebotError
from tradebot_core.interfaces import ExecutionEngine, Ledger
from tradebot_core.model.order import TERMINAL_STATES, OrderIntent, OrderState
from tradebot_core.trading.session import take_status

_APART_S = 5.0


@dataclass(frozen=True)
class Cancellation:
    """`state`: the order's in the ledger now. `problem`: why it may still be open at the broker; empty when it is not."""

    order_key: str
    state: OrderState
    problem: str = ""


def cancel_open_orders(
    ledger: Ledger, engine_factory: Callable[[], ExecutionEngine], now: datetime, pause: Callable[[float], None]
) -> Iterator[Cancellation]:
    """Cancels every order of the ledger that may be open at the broker; those that were never sent stay unsent.

    One that fails does not stop the next; it is tried once more at the end. Yields each when nothing more is done about it.
    Raises what the ledger raises, and what `engine_factory` raises; without open orders no engine is made.
    """
    engine: ExecutionEngine | None = None
    settled: set[str] = set()
    for last in (False, True):
        waiting = [
            (name, intent, state)
            for name in ledger.strategies()
            for intent, state in ledger.open_orders(name)
            if intent.key not in settled
        ]
        for name, intent, state in waiting:
            if state is OrderState.NEW:
                continue
            engine = engine or engine_factory()
            tried = _cancel(ledger, engine, name, intent, now, last)
            if last or not tried.problem:
                settled.add(intent.key)
                yield tried
        if last or all(intent.key in settled for _, intent, _ in waiting):
            return
        pause(_APART_S)  # one that was on its way when the halt came is there by then, and the broker's connection free


def _cancel(
    ledger: Ledger, engine: ExecutionEngine, strategy: str, intent: OrderIntent, now: datetime, last: bool
) -> Cancellation:
    problem = ""
    try:
        status = engine.cancel(intent.key)
        take_status(ledger, strategy, intent, status, now)
        if status.state is None:
            problem = "" if engine.absence_is_proof and last else "The broker does not show it."
        elif status.state not in TERMINAL_STATES:
            problem = f"The broker has not cancelled it ({status.detail or status.state})."
    except TradebotError as error:
        problem = str(error)
    except Exception as error:  # whatever it is, the next order has to be tried
        problem = f"{type(error).__name__}: {error}"
    state = ledger.orders(strategy).row(by_predicate=pl.col("order_key") == intent.key, named=True)["state"]
    return Cancellation(intent.key, OrderState(state), problem)
