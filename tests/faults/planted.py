"""Bugs that a trader of money must not have, to be planted in the process of a trader: does the suite see them?"""

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from itertools import count
from typing import Any

from tradebot_core.errors import OrderUnknown
from tradebot_core.execution import ibkr
from tradebot_core.execution.ibkr import IbkrEngine
from tradebot_core.interfaces import Journal
from tradebot_core.model.order import Fill, OrderIntent, OrderState, OrderStatus
from tradebot_core.model.portfolio import EntryKind
from tradebot_core.stores.sqlite_ledger import SqliteLedger
from tradebot_core.trading import live, session
from tradebot_core.trading.live import LiveDesk


def _resend_on_unknown() -> None:
    real = IbkrEngine.submit

    def submit(self: IbkrEngine, intent: OrderIntent) -> OrderStatus:
        try:
            return real(self, intent)
        except OrderUnknown:
            find, ibkr.find_order = ibkr.find_order, _nothing_found
            try:
                return real(self, intent)
            finally:
                ibkr.find_order = find

    IbkrEngine.submit = submit  # type: ignore[method-assign]


async def _nothing_found(*_: Any) -> None:
    return None


def _send_what_is_sending() -> None:
    """Of an order that was left in doubt it does not ask, it sends it."""

    def send(journal: Journal, engine: Any, strategy: str, intent: OrderIntent, state: OrderState, now: Any) -> None:
        find, ibkr.find_order = ibkr.find_order, _nothing_found
        try:
            if state is OrderState.NEW:
                journal.record_state(intent.key, OrderState.SENDING, now)
            status = engine.submit(intent)
        except OrderUnknown:
            return
        finally:
            ibkr.find_order = find
        session.take_status(journal, strategy, intent, status, now)

    live.send = send


def _forget_a_fill() -> None:
    """The last of an order's executions."""
    real = session.take_status

    def take_status(journal: Any, strategy: str, intent: OrderIntent, status: OrderStatus, now: Any) -> None:
        real(journal, strategy, intent, replace(status, fills=status.fills[:-1]), now)

    session.take_status = live.take_status = take_status
    live.take_late = lambda *_: None


def _double_a_fill() -> None:
    real = SqliteLedger.record_fill

    def record_fill(self: SqliteLedger, strategy: str, fill: Fill) -> bool:
        if real(self, strategy, fill):
            return real(self, strategy, replace(fill, execution_id=f"{fill.execution_id}-again"))
        return False

    SqliteLedger.record_fill = record_fill  # type: ignore[method-assign]


def _lose_the_commission() -> None:
    _changing_fills(lambda fill: replace(fill, commission=Decimal(0)))


def _round_prices_to_cents() -> None:
    _changing_fills(lambda fill: replace(fill, price=fill.price.quantize(Decimal("0.1"))))


def _changing_fills(change: Callable[[Fill], Fill]) -> None:
    real = SqliteLedger.record_fill

    def record_fill(self: SqliteLedger, strategy: str, fill: Fill) -> bool:
        return real(self, strategy, change(fill))

    SqliteLedger.record_fill = record_fill  # type: ignore[method-assign]


def _reuse_a_key() -> None:
    """The reference at the broker is that of the security and side, whatever the session."""
    ibkr.order_reference = lambda key: "|".join(part for number, part in enumerate(key.split("|")) if number != 1)


def _ignore_corrections() -> None:
    _changing_fills(lambda fill: replace(fill, version=1))


def _pay_a_dividend_twice() -> None:
    real, runs = SqliteLedger.post, count()

    def post(self: SqliteLedger, strategy: str, entries: Any) -> int:
        twice = [replace(e, key=f"{e.key}:{next(runs)}") for e in entries if e.kind is EntryKind.DIVIDEND]
        return real(self, strategy, [*entries, *twice])

    SqliteLedger.post = post  # type: ignore[method-assign]


def _forget_splits() -> None:
    real = SqliteLedger.post

    def post(self: SqliteLedger, strategy: str, entries: Any) -> int:
        return real(self, strategy, [e for e in entries if e.kind is not EntryKind.SPLIT])

    SqliteLedger.post = post  # type: ignore[method-assign]


def _look_never_again() -> None:
    """What an order did after it had ended, by the ledger, is nobody's business."""
    LiveDesk._look_again = lambda *_, **__: []  # type: ignore[method-assign]


def _send_before_it_is_written() -> None:
    """The order goes out first, and then the ledger learns of it."""

    def send(journal: Journal, engine: Any, strategy: str, intent: OrderIntent, state: OrderState, now: Any) -> None:
        if state is not OrderState.NEW:
            return
        find, ibkr.find_order = ibkr.find_order, _nothing_found
        try:
            engine.submit(intent)
        except OrderUnknown:
            pass
        finally:
            ibkr.find_order = find
        journal.record_state(intent.key, OrderState.SENDING, now)

    live.send = send


BUGS: dict[str, Callable[[], None]] = {
    "resend on unknown": _resend_on_unknown,
    "send what is sending": _send_what_is_sending,
    "send before it is written": _send_before_it_is_written,
    "forget a fill": _forget_a_fill,
    "double a fill": _double_a_fill,
    "lose the commission": _lose_the_commission,
    "round prices": _round_prices_to_cents,
    "reuse a key": _reuse_a_key,
    "ignore corrections": _ignore_corrections,
    "pay a dividend twice": _pay_a_dividend_twice,
    "forget splits": _forget_splits,
    "look never again": _look_never_again,
}
