"""The account as IBKR states it: positions, cash, orders and executions of the day, asked afresh on one connection."""

from collections.abc import Iterable, Sequence
from datetime import UTC
from decimal import Decimal, InvalidOperation

from ib_async import IB, AccountValue, ExecutionFilter, Fill, Position, Trade

from tradebot_core.config import IbkrSettings, Mode
from tradebot_core.errors import ConfigurationError, ExecutionError
from tradebot_core.ibkr.connection import Client, answer, broker_time, one_link, run
from tradebot_core.interfaces import BrokerAccount, BrokerExecutionLine, BrokerOrderLine, BrokerPosition
from tradebot_core.model.portfolio import usd

_PREFIX = "$LEDGER-"  # since 10.47 a gateway may put it before some tags
_CURRENCY, _BASE = "USD", "BASE"
_IN_BASE = frozenset({"NetLiquidation", "TotalCashValue", "SettledCash", "AvailableFunds"})
_READINGS = 3
_UNSET = 1e300  # IBKR's "no value" is the largest double


class IbkrAccountReader:
    def __init__(self, settings: IbkrSettings, mode: Mode) -> None:
        self._settings, self._mode = settings, mode

    def account(self) -> BrokerAccount:
        return run(self._settings, self._mode, self._read, client=Client.ACCOUNT)

    async def _read(self, ib: IB) -> BrokerAccount:
        """Raises ExecutionError when the account keeps changing, or is stated in a way that could be misread (see `checked`)."""
        account = self._settings.account
        at = await broker_time(ib)
        with one_link(ib):
            before = await self._executed(ib)
            for _ in range(_READINGS):
                await answer(ib, ib.reqAccountUpdatesAsync(account))
                values = checked(ib.accountValues(account), account)
                held = await answer(ib, ib.reqPositionsAsync())
                open_orders = await answer(ib, ib.reqAllOpenOrdersAsync())
                completed = await answer(ib, ib.reqCompletedOrdersAsync(False))
                fills = await self._executed(ib)
                # Four questions are not one instant: an execution between them would be in the cash and not in the shares.
                if {fill.execution.execId for fill in fills} == {fill.execution.execId for fill in before}:
                    break
                before = fills
            else:
                raise ExecutionError(
                    f"Orders of account {account} were executed while it was read, {_READINGS} times.", "Reconcile again."
                )
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

    async def _executed(self, ib: IB) -> Sequence[Fill]:
        return await answer(ib, ib.reqExecutionsAsync(ExecutionFilter(acctCode=self._settings.account)))


def checked(values: Iterable[AccountValue], account: str) -> Sequence[AccountValue]:
    """The values of the account as a whole (those of models apart). Raises ExecutionError while the gateway says that they are not
    ready, as after its start, and ConfigurationError when the account's base currency is not USD."""
    whole = [value for value in values if value.modelCode == "" and value.account == account]
    for value in whole:
        if value.tag == "AccountReady" and value.value.lower() == "false":
            raise ExecutionError(
                f"IBKR says that the values of account {account} are not ready.",
                "It is so for a while after a start of the gateway and in IBKR's nightly reset: reconcile again in some minutes.",
            )
    for value in whole:
        tag = value.tag.removeprefix(_PREFIX)
        # The account's totals come in the base currency; the ledger rows say which one BASE is worth 1.00 of.
        foreign = tag in _IN_BASE and value.currency not in ("", _BASE, _CURRENCY)
        rate = tag == "ExchangeRate" and value.currency == _CURRENCY and value.value != "" and _amount(value) != 1
        if foreign or rate:
            stated = value.currency if foreign else f"one in which a USD is worth {value.value}"
            raise ConfigurationError(
                f"The base currency of account {account} is {stated}; Tradebot counts in USD, and would take its totals for dollars.",
                "Set the base currency to USD in the Client Portal (Settings, Account Settings, Currencies), or use another account.",
            )
    return whole


def account_value(values: Iterable[AccountValue], tag: str) -> Decimal | None:
    """The USD amount of a tag with or without the prefix, None when it was not sent. Raises ExecutionError for no finite number, and
    for two different ones."""
    amounts = {
        _amount(value)
        for value in values
        if value.tag.removeprefix(_PREFIX) == tag and value.currency == _CURRENCY and value.value != ""
    }
    if len(amounts) > 1:
        raise ExecutionError(
            f"IBKR sent {tag} as {' and as '.join(f'{amount:f}' for amount in sorted(amounts))} USD.", "Reconcile again."
        )
    return amounts.pop() if amounts else None


def _amount(value: AccountValue) -> Decimal:
    try:
        amount = Decimal(value.value)
    except InvalidOperation:
        amount = Decimal("NaN")
    if not amount.is_finite():
        raise ExecutionError(f"IBKR sent {value.tag} = {value.value}, which is no amount.", "Reconcile again.")
    return amount


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
            usd(trade.order.lmtPrice) if trade.order.orderType == "LMT" and 0 < trade.order.lmtPrice < _UNSET else None,
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
