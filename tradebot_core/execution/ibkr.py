"""The IBKR engine: an intent becomes one order at the broker, known by its reference ever after.

Each call is a connection of its own with the writer's client id. IBKR shows orders and executions of the current day only: of
an older order it says nothing, which proves nothing (`absence_is_proof` is false).
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import ClassVar, TypeVar

from tradebot_core.calendar import NEW_YORK, xnys
from tradebot_core.config import IbkrSettings, Mode
from tradebot_core.errors import ExecutionError, NotPermitted, OrderUnknown, TradebotError
from tradebot_core.ibkr.connection import BrokerError, Client, is_read_only, read_only, require_link, run
from tradebot_core.ibkr.contracts import Named, details_of
from tradebot_core.ibkr.hours import why_restarting, why_too_late
from tradebot_core.ibkr.orders import (
    BrokerExecution,
    BrokerOrder,
    OrderTerms,
    cancel_order,
    find_open,
    find_order,
    order_reference,
    send_order,
)
from tradebot_core.ibkr.ticks import on_grid, price_steps
from tradebot_core.interfaces import Clock
from tradebot_core.model.order import Fill, OrderIntent, OrderState, OrderStatus, OrderType, Side

T = TypeVar("T")

ACKNOWLEDGE_TIMEOUT_S = 30.0

# Codes after which a new order was not taken. They count only when IBKR then lists neither the order nor an execution.
_REJECTIONS = frozenset({103, 109, 110, 111, 113, 163, 200, 201, 203, 321, 383, 387, 434, 435, 436, 451, 460, 10243, 10318})

# Of those, what is wrong with the order or its security: price, size, type, no such share, not allowed to be traded here. Any other
# (201 with margin and permissions, 321 with the gateway's settings, 435 with the account) may meet every order of the account.
_OWN_FAULTS = frozenset({103, 109, 110, 111, 113, 163, 200, 203, 383, 387, 434, 451, 460, 10243, 10318})

# Statuses that end an order. Inactive does so only in the completed list: an inactive open order may be revived in TWS.
_ENDED = {
    "Cancelled": OrderState.CANCELLED,
    "ApiCancelled": OrderState.CANCELLED,
    "Inactive": OrderState.REJECTED,
    "Filled": OrderState.FILLED,
}


class IbkrEngine:
    name: ClassVar[str] = "ibkr"
    absence_is_proof: ClassVar[bool] = False

    def __init__(
        self,
        settings: IbkrSettings,
        mode: Mode,
        con_ids: Mapping[int, int] = MappingProxyType({}),
        acknowledge_timeout_s: float = ACKNOWLEDGE_TIMEOUT_S,
        clock: Clock | None = None,
    ) -> None:
        """`con_ids`: the broker's listing by security_id, where it is known; else the symbol says which share is meant.

        With a `clock`, nothing is sent while IBKR or the gateway restarts, nor after the open that it was meant for."""
        self._settings = settings
        self._mode = mode
        self._con_ids = con_ids
        self._timeout_s = acknowledge_timeout_s
        self._clock = clock

    def submit(self, intent: OrderIntent) -> OrderStatus:
        if self._mode is Mode.DRY_RUN:
            raise NotPermitted("Mode is dry_run: no order goes to IBKR.", "Set mode: paper or live by name.")
        restarting = self._clock and why_restarting(self._clock.now(), self._settings.gateway_restart)
        if restarting:
            raise ExecutionError(f"Order {intent.key} was not sent: {restarting}.", "It may be sent again when that is over.")
        terms = self._terms(intent)
        share = Named(intent.symbol, self._con_ids.get(intent.security_id))

        async def work(ib) -> OrderStatus:
            known = await find_order(ib, terms.account, terms.reference)
            if known is not None:
                return _status(intent.key, known)
            try:
                details = await details_of(ib, share)
            except BrokerError as error:
                require_link(ib)  # else it may not know the share for another reason than that there is none
                return OrderStatus(OrderState.REJECTED, detail=str(error), own_fault=error.code in _OWN_FAULTS)
            placed = terms
            if terms.limit_price is not None:
                placed = replace(terms, limit_price=on_grid(terms.limit_price, intent.side, await price_steps(ib, details)))
            # Looked at last of all: a machine that was suspended wakes anywhere, and all that was asked before is old then.
            late = self._clock and why_too_late(self._clock.now(), intent.session, xnys())
            if late:
                raise ExecutionError(f"Order {intent.key} was not sent: {late}.", "The next session decides anew.")
            require_link(ib)
            answer = await send_order(ib, details.contract, placed, self._timeout_s)
            try:
                known = await find_order(ib, terms.account, terms.reference)
            except (ConnectionError, BrokerError, TradebotError) as error:  # whatever it is, the order is on its way
                cause = error.cause if isinstance(error, TradebotError) else str(error)
                raise _unknown(intent.key, f"was sent, and then: {cause.rstrip('.')}") from error
            if known is not None:
                status = _status(intent.key, known)
                detail = f"IBKR {answer.code}: {answer.text}" if answer.code else status.detail
                return replace(status, detail=detail, own_fault=answer.code in _OWN_FAULTS)
            if is_read_only(answer.code, answer.text):  # never placed: it may be sent when the setting is changed
                raise read_only(f"IBKR {answer.code}: {answer.text}")
            if answer.code in _REJECTIONS:
                detail = f"IBKR {answer.code}: {answer.text}"
                return OrderStatus(OrderState.REJECTED, detail=detail, own_fault=answer.code in _OWN_FAULTS)
            raise _unknown(intent.key, f"was answered with {answer}, but IBKR does not list it")

        return self._run(work)

    def cancel(self, order_key: str) -> OrderStatus:
        account, reference = self._settings.account, order_reference(order_key)

        async def work(ib) -> OrderStatus:
            trade = await find_open(ib, account, reference)
            if trade is not None:
                await cancel_order(ib, trade, self._timeout_s)
            return _status(order_key, await find_order(ib, account, reference))

        return self._run(work)

    def get_order_status(self, order_key: str) -> OrderStatus:
        """What executions and lists of the day say. Its state is None when IBKR shows nothing under the key."""

        async def work(ib) -> OrderStatus:
            return _status(order_key, await find_order(ib, self._settings.account, order_reference(order_key)))

        return self._run(work)

    def _terms(self, intent: OrderIntent) -> OrderTerms:
        if intent.quantity < 1 or intent.quantity != int(intent.quantity):
            raise ExecutionError(f"Order {intent.key} is for {intent.quantity} shares.", "Only whole shares are sent.")
        if (intent.limit_price is None) is intent.order_type.has_limit:
            raise ExecutionError(f"Order {intent.key} is {intent.order_type} with limit {intent.limit_price}.")
        return OrderTerms(
            side="BUY" if intent.side is Side.BUY else "SELL",
            quantity=int(intent.quantity),
            limit_price=intent.limit_price,
            # Orders for the opening auction are MKT or LMT with tif OPG (MOO, LOO), for the closing one MOC or LOC with tif DAY. A tif
            # is always sent: without one the gateway's preset decides and says so with 10349.
            tif="OPG" if intent.order_type.ends_at_open else "DAY",
            account=self._settings.account,
            reference=order_reference(intent.key),
            adaptive=intent.order_type in (OrderType.ADAPTIVE_MARKET, OrderType.ADAPTIVE_LIMIT),
            at_close=intent.order_type.at_close,
        )

    def _run(self, work: Callable[..., Awaitable[T]]) -> T:
        return run(self._settings, self._mode, work, client=Client.ORDERS)


def _status(order_key: str, order: BrokerOrder | None) -> OrderStatus:
    """The order by its executions; the broker's word for its status decides only whether it goes on working."""
    if order is None:
        return OrderStatus(None)
    fills = tuple(_fill(order_key, done) for done in order.executions)
    state, detail = _state(order, sum(fill.quantity for fill in fills))
    return OrderStatus(state, fills, str(order.perm_id or ""), detail)


def _state(order: BrokerOrder, done: int) -> tuple[OrderState, str]:
    ended = None if order.is_open else _ENDED.get(order.status)
    if done < order.filled:
        return OrderState.UNKNOWN, f"IBKR says {order.filled} shares were filled and shows executions of {done}."
    if order.quantity is not None and done >= order.quantity:
        return OrderState.FILLED, ""
    if ended is not None:
        return ended, f"IBKR: {order.status}" if ended is not OrderState.FILLED else ""
    return (OrderState.PARTIAL if done else OrderState.WORKING), f"IBKR: {order.status}" if order.status else ""


def _fill(order_key: str, done: BrokerExecution) -> Fill:
    return Fill(
        execution_id=done.execution_id,
        order_key=order_key,
        session=done.at.astimezone(NEW_YORK).date(),
        security_id=_security_of(order_key),
        symbol=done.symbol.replace(" ", "."),
        side=Side.BUY if done.side == "BOT" else Side.SELL,
        quantity=done.quantity,
        price=done.price,
        commission=done.commission,
        filled_at=done.at,
        version=done.version,
    )


def _security_of(order_key: str) -> int:
    """From strategy|session|security|side (model.order.order_key): the broker sends back no more than the key."""
    try:
        return int(order_key.split("|")[2])
    except (IndexError, ValueError):
        raise ExecutionError(f"{order_key} is not an order key.", "Keys are made by model.order.order_key.") from None


def _unknown(order_key: str, cause: str) -> OrderUnknown:
    return OrderUnknown(f"Order {order_key} {cause}.", "Ask for its status; do not resend.")
