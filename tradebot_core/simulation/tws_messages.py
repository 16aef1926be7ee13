"""Contracts, errors, orders and executions as messages of the TWS protocol."""

from collections.abc import Sequence
from decimal import Decimal

from tradebot_core.simulation.account import SimulatedExecution, SimulatedOrder
from tradebot_core.simulation.tws_protocol import UNSET_DOUBLE, Field, Reply, lay_out, timestamp

_UNSET_INTEGER = 2147483647  # what TWS sends as the order id of an execution that no client ordered

Message = list[Field]


def wire_symbol(symbol: str) -> str:
    """IBKR writes a share class after a space: BRK B."""
    return symbol.replace(".", " ").replace("-", " ")


def contract_values(con_id: int, symbol: str) -> dict[str, Field]:
    wire = wire_symbol(symbol)
    return {
        "conId": con_id,
        "symbol": wire,
        "secType": "STK",
        "exchange": "SMART",
        "currency": "USD",
        "localSymbol": wire,
        "tradingClass": wire,
    }


def error(code: int, text: str, request_id: int = -1) -> Message:
    return [Reply.ERROR, 2, request_id, code, text, ""]


# Orders.


def _order_values(order: SimulatedOrder) -> dict[str, Field | Sequence[Field]]:
    values: dict[str, Field | Sequence[Field]] = contract_values(order.con_id, order.symbol) | {
        "action": order.action,
        "totalQuantity": order.quantity,
        "orderType": order.order_type,
        "lmtPrice": order.limit_price,
        "tif": order.tif,
        "account": order.account,
        "orderRef": order.order_ref,
        "permId": order.perm_id,
        "status": order.status,
    }
    if order.algorithm:
        terms = [field for term in order.algorithm_terms for field in term]
        values["algoStrategy"] = [order.algorithm, len(order.algorithm_terms), *terms]
    return values


def open_order(order: SimulatedOrder) -> Message:
    return lay_out(Reply.OPEN_ORDER, _order_values(order) | {"orderId": order.order_id, "clientId": order.client_id})


def order_status(order: SimulatedOrder) -> Message:
    price = order.average_price
    return [
        Reply.ORDER_STATUS, order.order_id, order.status, order.filled, order.remaining, price,
        order.perm_id, 0, price, order.client_id, "", 0,
    ]  # fmt: skip


def completed_order(order: SimulatedOrder) -> Message:
    """Without order id and client id, and without the quantity ordered: the gateway leaves them out here."""
    values = _order_values(order) | {
        "totalQuantity": 0,
        "filledQuantity": order.filled,
        "completedTime": timestamp(order.completed_at) if order.completed_at else "",
        "completedStatus": order.completed_status,
    }
    return lay_out(Reply.COMPLETED_ORDER, values)


def previewed_order(
    con_id: int,
    symbol: str,
    order_id: int,
    client_id: int,
    *,
    invested: Decimal,
    change: Decimal,
    commission: Decimal,
    equity: Decimal,
) -> Message:
    """The answer to a what-if: in a cash account shares need their whole value, those held (`invested`) and those ordered."""
    values = contract_values(con_id, symbol) | {
        "orderId": order_id,
        "clientId": client_id,
        "whatIf": True,
        "status": "PreSubmitted",
        "initMarginBefore": invested,
        "initMarginChange": change,
        "initMarginAfter": invested + change,
        "maintMarginBefore": invested,
        "maintMarginChange": change,
        "maintMarginAfter": invested + change,
        "equityWithLoanBefore": equity,
        "equityWithLoanChange": -commission,
        "equityWithLoanAfter": equity - commission,
        "commission": commission,
        "minCommission": UNSET_DOUBLE,
        "maxCommission": UNSET_DOUBLE,
        "commissionCurrency": "USD",
    }
    return lay_out(Reply.OPEN_ORDER, values)


def execution(done: SimulatedExecution, request_id: int = -1) -> Message:
    values = contract_values(done.con_id, done.symbol) | {
        "reqId": request_id,
        "orderId": done.order_id if done.order_id > 0 else _UNSET_INTEGER,
        "execId": done.execution_id,
        "time": timestamp(done.at),
        "acctNumber": done.account,
        "executionExchange": "ISLAND",
        "side": "BOT" if done.action == "BUY" else "SLD",
        "shares": done.quantity,
        "price": done.price,
        "permId": done.perm_id,
        "clientId": done.client_id,
        "liquidation": 0,
        "cumQty": done.cumulative or done.quantity,
        "avgPrice": done.average_price or done.price,
        "orderRef": done.order_ref,
        "lastLiquidity": 2,
        "pendingPriceRevision": False,
    }
    return lay_out(Reply.EXECUTION, values)


def commission_report(done: SimulatedExecution) -> Message:
    realized = UNSET_DOUBLE if done.realized_pnl is None else done.realized_pnl
    return [Reply.COMMISSION, 1, done.execution_id, done.commission, "USD", realized, UNSET_DOUBLE, ""]
