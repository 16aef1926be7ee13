"""Orders at IBKR, found by their reference and judged by their executions.

Order ids roll back after a gateway's restart, and ib_async's status may say Cancelled of an order that lives: neither is
trusted. An order is what the open list, the completed list and the executions of the account say of its orderRef, asked afresh.
"""

import asyncio
import base64
import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from ib_async import IB, Contract, ExecutionFilter, Fill, Order, OrderStatus, TagValue, Trade

from tradebot_core.errors import ExecutionError, OrderUnknown
from tradebot_core.ibkr.connection import answer, is_read_only, one_link, read_only
from tradebot_core.model.portfolio import usd

_REFERENCE_LENGTH = 40  # IBKR states no limit for orderRef; this much is seen to come back whole
_COMMISSION_TIMEOUT_S = 5.0
# Messages about an order that lives on: 399 a note, 2109 and 10349 a field that was changed for us.
_NOTES = frozenset({399, 2109, 10349})


@dataclass(frozen=True, slots=True)
class BrokerExecution:
    """`commission` is None until IBKR has reported it."""

    execution_id: str
    side: str
    symbol: str
    quantity: int
    price: Decimal
    commission: Decimal | None
    at: datetime
    version: int = 1  # higher when the exchange has corrected it


@dataclass(frozen=True, slots=True)
class BrokerOrder:
    """`status` in IBKR's words, "" when only executions are known; `quantity` is None where IBKR leaves it out."""

    perm_id: int
    status: str
    is_open: bool
    quantity: int | None
    filled: int  # as the order says, not the executions
    executions: tuple[BrokerExecution, ...] = ()


@dataclass(frozen=True, slots=True)
class OrderTerms:
    side: str  # BUY | SELL
    quantity: int
    limit_price: Decimal | None
    tif: str
    account: str
    reference: str
    adaptive: bool = False
    at_close: bool = False  # in the closing auction


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """The first answer to an order: acknowledged, or refused with IBKR's code."""

    perm_id: int
    code: int = 0
    text: str = ""


def order_reference(key: str) -> str:
    """What travels as orderRef: the key itself, or its hash when it is long or not plain ASCII. The same key, the same text."""
    if len(key) <= _REFERENCE_LENGTH and key.isascii() and key.isprintable():
        return key
    digest = base64.b32encode(hashlib.sha256(key.encode()).digest()).decode().lower()
    return f"tb1-{digest[:20]}"


async def find_order(ib: IB, account: str, reference: str) -> BrokerOrder | None:
    """All that IBKR knows of the order today. Completed orders and executions reach back to midnight, New York.

    Raises ConnectionError when the gateway loses IBKR meanwhile: that it lists nothing would prove nothing."""
    with one_link(ib):
        trade = await find_open(ib, account, reference)
        completed = _latest(ib, await answer(ib, ib.reqCompletedOrdersAsync(False)), account, reference)
        executions = await _executions(ib, account, reference)
    if completed is not None:
        # Here IBKR sends no order id and often no quantity ordered; filledQuantity is what it stands by.
        filled = int(completed.order.filledQuantity) if completed.order.filledQuantity < 1e300 else 0
        quantity = int(completed.order.totalQuantity) or None
        return BrokerOrder(completed.order.permId, completed.orderStatus.status, False, quantity, filled, executions)
    if trade is not None:
        status = trade.orderStatus
        perm_id = trade.order.permId or status.permId
        return BrokerOrder(perm_id, status.status, True, int(trade.order.totalQuantity), int(status.filled), executions)
    if executions:
        return BrokerOrder(0, "", False, None, 0, executions)
    return None


async def find_open(ib: IB, account: str, reference: str) -> Trade | None:
    return _latest(ib, await answer(ib, ib.reqAllOpenOrdersAsync()), account, reference)


async def send_order(ib: IB, contract: Contract, terms: OrderTerms, timeout_s: float) -> Acknowledgement:
    """Sends once and waits for the broker's word. Raises OrderUnknown when none comes: the order may live."""
    order = Order(
        orderId=ib.client.getReqId(),
        action=terms.side,
        totalQuantity=terms.quantity,
        orderType=("MOC" if terms.at_close else "MKT") if terms.limit_price is None else ("LOC" if terms.at_close else "LMT"),
        tif=terms.tif,
        account=terms.account,
        orderRef=terms.reference,
        outsideRth=False,
        transmit=True,
    )
    if terms.limit_price is not None:
        order.lmtPrice = terms.limit_price
    if terms.adaptive:
        order.algoStrategy, order.algoParams = "Adaptive", [TagValue("adaptivePriority", "Patient")]
    refusals: list[tuple[int, str]] = []

    def on_error(order_id: int, code: int, text: str, _contract: object) -> None:
        if order_id == order.orderId and code not in _NOTES:
            refusals.append((code, text))

    ib.errorEvent += on_error
    try:
        trade = ib.placeOrder(contract, order)
        await _wait(ib, lambda: bool(_perm_id(trade) or refusals), timeout_s)
    except ConnectionError as error:
        raise OrderUnknown(
            f"The connection broke while order {terms.reference} was on its way ({error}).",
            "Ask for its status; do not resend.",
        ) from error
    finally:
        ib.errorEvent -= on_error
    if refusals:
        return Acknowledgement(_perm_id(trade), *refusals[0])
    if not _perm_id(trade):
        raise OrderUnknown(
            f"IBKR did not acknowledge order {terms.reference} in {timeout_s:.0f} s.", "Ask for its status; do not resend."
        )
    return Acknowledgement(_perm_id(trade))


async def cancel_order(ib: IB, trade: Trade, timeout_s: float) -> None:
    """Asks for cancellation and waits until the broker has answered; what came of it is for `find_order` to say."""
    if trade.order.clientId != ib.client.clientId:
        raise ExecutionError(
            f"Order {trade.order.orderRef} was placed by client {trade.order.clientId}; IBKR lets no other client cancel it.",
            f"Set ibkr.client_id to {trade.order.clientId}, or cancel it in TWS.",
        )
    heard: list[tuple[int, str]] = []

    def on_error(order_id: int, code: int, text: str, _contract: object) -> None:
        if order_id == trade.order.orderId:
            heard.append((code, text))

    ib.errorEvent += on_error
    try:
        ib.cancelOrder(trade.order)
        await _wait(ib, lambda: bool(heard) or trade.orderStatus.status in OrderStatus.DoneStates, timeout_s)
    finally:
        ib.errorEvent -= on_error
    for code, text in heard:
        if is_read_only(code, text):
            raise read_only(f"IBKR {code}: {text}")


def _perm_id(trade: Trade) -> int:
    return trade.order.permId or trade.orderStatus.permId


def _latest(ib: IB, trades: Iterable[Trade], account: str, reference: str) -> Trade | None:
    def named(trade: Trade) -> bool:
        return (trade.order.orderRef, trade.order.account) == (reference, account)

    # Of two orders with the same client and order id ib_async keeps one Trade, with the permId that came last; its index by
    # permId has both.
    perm_ids = {perm_id for perm_id, trade in ib.wrapper.permId2Trade.items() if perm_id and named(trade)}
    if len(perm_ids) > 1:
        # Seen after a modification during an outage: two orders of one reference. Nothing here may choose between them.
        raise ExecutionError(
            f"IBKR lists {len(perm_ids)} orders with the reference {reference}.", "Cancel one in TWS and reconcile by hand."
        )
    found = [trade for trade in trades if named(trade)]
    return found[-1] if found else None


async def _executions(ib: IB, account: str, reference: str) -> tuple[BrokerExecution, ...]:
    """Executions with their commissions, which follow in messages of their own. The latest correction of each counts."""
    answered = await answer(ib, ib.reqExecutionsAsync(ExecutionFilter(acctCode=account)))
    wanted = (reference, account)  # a login may hold several accounts, and another's order may bear the reference
    ids = {fill.execution.execId for fill in answered if (fill.execution.orderRef, fill.execution.acctNumber) == wanted}

    def known() -> Sequence[Fill]:  # commission reports reach these objects, not always those of the answer
        return [fill for fill in ib.fills() if fill.execution.execId in ids]

    await _wait(ib, lambda: all(fill.commissionReport.execId for fill in known()), _COMMISSION_TIMEOUT_S)
    latest: dict[str, Fill] = {}
    for fill in sorted(known(), key=lambda fill: fill.execution.execId):
        # A correction comes as the same id with a higher last part (…01.01, …01.02) and replaces the execution.
        latest[fill.execution.execId.rpartition(".")[0]] = fill
    return tuple(_execution(execution_id, fill) for execution_id, fill in latest.items())


def _execution(execution_id: str, fill: Fill) -> BrokerExecution:
    done, report = fill.execution, fill.commissionReport
    return BrokerExecution(
        execution_id,
        done.side,
        fill.contract.symbol,
        int(done.shares),
        usd(done.price),
        usd(report.commission) if report.execId else None,
        done.time.astimezone(UTC),
        _version(done.execId),
    )


def _version(execution_id: str) -> int:
    last = execution_id.rpartition(".")[2]
    return int(last) if last.isascii() and last.isdigit() else 1


async def _wait(ib: IB, reached: Callable[[], bool], timeout_s: float) -> None:
    """Returns when `reached` or when the time is up. Raises ConnectionError when the connection goes."""
    news = asyncio.Event()

    def wake(*_: Any) -> None:
        news.set()

    ib.updateEvent += wake  # after every packet
    ib.disconnectedEvent += wake
    try:
        async with asyncio.timeout(timeout_s):
            while not reached():
                if not ib.isConnected():
                    raise ConnectionError("Socket disconnect")
                await news.wait()
                news.clear()
    except TimeoutError:
        pass
    finally:
        ib.updateEvent -= wake
        ib.disconnectedEvent -= wake
