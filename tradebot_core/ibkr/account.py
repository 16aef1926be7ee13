"""The account as IBKR states it: positions, cash, orders and executions of the day, asked afresh on one connection."""

from collections.abc import Iterable, Sequence
from datetime import UTC
from decimal import Decimal, InvalidOperation

from ib_async import IB, AccountValue, ExecutionFilter, Fill, Position, Trade

from tradebot_core.config import IbkrSettings, Mode
from tradebot_core.errors import ExecutionError
from tradebot_core.ibkr.connection import Client, answer, broker_time, one_link, run
from tradebot_core.interfaces import BrokerAccount, BrokerExecutionLine, BrokerOrderLine, BrokerPosition
from tradebot_core.model.portfolio import usd

_PREFIX = "$LEDGER-"  # since 10.47 a gateway may put it before some tags
_CURRENCY = "USD"
_UNSET = 1e300  # IBKR's "no value" is the largest double


class IbkrAccountReader:
    def __init__(self, settings: IbkrSettings, mode: Mode) -> None:
        self._settings, self._mode = settings, mode

    def account(self) -> BrokerAccount:
        return run(self._settings, self._mode, self._read, client=Client.ACCOUNT)

    async def _read(self, ib: IB) -> BrokerAccount:
        account = self._settings.account
        at = await broker_time(ib)
        with one_link(ib):
            await answer(ib, ib.reqAccountUpdatesAsync(account))
            values = ib.accountValues(account)
            held = await answer(ib, ib.reqPositionsAsync())
            open_orders = await answer(ib, ib.reqAllOpenOrdersAsync())
            completed = await answer(ib, ib.reqCompletedOrdersAsync(False))
            fills = await answer(ib, ib.reqExecutionsAsync(ExecutionFilter(acctCode=account)))
        return BrokerAccount(
            account,
            at.astimezone(UTC),
            _positions(held, account),
            account_value(values, "CashBalance"),
            account_value(values, "SettledCash"),
            account_value(values, "NetLiquidation"),
            (*_orders(open_orders, account, is_open=True), *_orders(completed, account, is_open=False)),
            _executions(fills, account),
        )


def account_value(values: Iterable[AccountValue], tag: str) -> Decimal | None:
    """The USD amount of a tag with or without the prefix, None when it was not sent. Raises ExecutionError for no finite number."""
    for value in values:
        if value.tag.removeprefix(_PREFIX) == tag and value.currency == _CURRENCY and value.value != "":
            try:
                amount = Decimal(value.value)
            except InvalidOperation:
                amount = Decimal("NaN")
            if not amount.is_finite():
                raise ExecutionError(f"IBKR sent {value.tag} = {value.value}, which is no amount.", "Reconcile again.")
            return amount
    return None


def _positions(held: Iterable[Position], account: str) -> dict[int, BrokerPosition]:
    return {
        row.contract.conId: BrokerPosition(
            row.contract.conId, row.contract.symbol, Decimal(str(row.position)).normalize(), usd(row.avgCost)
        )
        for row in held
        if row.account == account and row.position != 0
    }


def _orders(trades: Iterable[Trade], account: str, *, is_open: bool) -> Sequence[BrokerOrderLine]:
    return [
        BrokerOrderLine(
            trade.order.permId or trade.orderStatus.permId,
            trade.order.orderRef,
            trade.contract.conId,
            trade.contract.symbol,
            trade.order.action,
            trade.orderStatus.status,
            is_open,
            # Of a completed order IBKR often sends no quantity: filledQuantity is what it stands by.
            _shares(trade.order.totalQuantity) or None,
            _shares(trade.orderStatus.filled if is_open else trade.order.filledQuantity),
        )
        for trade in trades
        if trade.order.account == account
    ]


def _shares(number: float) -> Decimal | None:
    return Decimal(str(number)).normalize() if number < _UNSET else None


def _executions(fills: Iterable[Fill], account: str) -> Sequence[BrokerExecutionLine]:
    latest: dict[str, Fill] = {}
    for fill in sorted(fills, key=lambda fill: fill.execution.execId):
        if fill.execution.acctNumber == account:
            latest[fill.execution.execId.rpartition(".")[0]] = fill  # a correction: the same id, its last part higher
    return [
        BrokerExecutionLine(
            execution_id,  # what every correction keeps of it, as the ledger has it
            fill.execution.orderRef,
            fill.contract.conId,
            fill.contract.symbol,
            fill.execution.side,
            Decimal(str(fill.execution.shares)).normalize(),
            usd(fill.execution.price),
            fill.execution.time.astimezone(UTC),
        )
        for execution_id, fill in latest.items()
    ]
