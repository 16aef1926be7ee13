"""What became of an order whose sending was not answered: asked again until it is found, or its absence is evident.

A broker shows orders and executions of the current day. An order that it lists nowhere, asked several times with time between,
on a connection that was proven each time, before the day of its fill is over, never reached it. It is then LOST: its key is not
sent again, the next session decides anew. It is asked about for some days all the same (LiveDesk.record, submit), and what the
broker shows of it after all is entered. In any other case nobody knows, and a person has to look.
"""

from collections.abc import Callable
from datetime import datetime

from tradebot_core.calendar import NEW_YORK, TradingCalendar
from tradebot_core.interfaces import Clock, ExecutionEngine, Journal
from tradebot_core.model.order import OrderIntent, OrderState
from tradebot_core.trading.session import take_status

SWEEPS = 3
APART_S = 60.0
IN_DOUBT = (OrderState.SENDING, OrderState.UNKNOWN)


def settle_doubt(
    journal: Journal,
    engine: ExecutionEngine,
    calendar: TradingCalendar,
    strategy: str,
    intent: OrderIntent,
    clock: Clock,
    pause: Callable[[float], None],
) -> OrderState:
    """Asks up to SWEEPS times, APART_S seconds apart, and records what was found out; returns the order's state. Sends nothing.

    Whatever the engine raises while it is asked (no connection, no answer) is raised: that proves nothing.
    """
    asked: list[datetime] = []
    while len(asked) < SWEEPS:
        if asked:
            pause(APART_S)
        now = clock.now()
        if now.astimezone(NEW_YORK).date() > calendar.next(intent.session):
            return OrderState.UNKNOWN  # what the broker shows today says nothing of that day
        status = engine.get_order_status(intent.key)
        if status.state is not None:
            take_status(journal, strategy, intent, status, now)
            return status.state
        asked.append(now)
    journal.record_state(intent.key, OrderState.UNKNOWN, asked[0], "The broker does not show it.")
    times = ", ".join(f"{at.astimezone(NEW_YORK):%H:%M:%S}" for at in asked)
    detail = f"It never reached the broker, who showed no trace of it when asked at {times} New York. It is not sent again."
    journal.record_state(intent.key, OrderState.LOST, asked[-1], detail)
    return OrderState.LOST
