"""What an order would do to the account, asked without placing it.

A preview is the message of an order with one flag set, and uses up an order id. A refusal comes as the order's own error code. With
a warning that the gateway itself has about the order, or without margins, the client never ends the request (ib_insync issues 380
and 403): no answer proves nothing.
"""

from dataclasses import dataclass
from decimal import Decimal

from ib_async import IB, Contract, Order, OrderState

from tradebot_core.ibkr.connection import answer

_UNSET = 1e300


@dataclass(frozen=True, slots=True)
class Preview:
    """USD; None where the broker leaves it out. Beyond `equity_with_loan_after` the initial margin may not go."""

    initial_margin_change: Decimal | None
    initial_margin_after: Decimal | None
    equity_with_loan_after: Decimal | None
    commission: Decimal | None
    warning: str


async def preview(ib: IB, contract: Contract, account: str, side: str, quantity: int, *, timeout_s: float) -> Preview:
    """Of a market order for the day. Raises BrokerError when the broker would refuse it, ConnectionError when no answer comes,
    ConfigurationError when the gateway is read-only."""
    order = Order(action=side, totalQuantity=quantity, orderType="MKT", tif="DAY", account=account, transmit=True)
    state: OrderState = await answer(ib, ib.whatIfOrderAsync(contract, order), timeout_s=timeout_s)
    return Preview(
        _number(state.initMarginChange),
        _number(state.initMarginAfter),
        _number(state.equityWithLoanAfter),
        _number(state.commission),
        state.warningText or "",
    )


def _number(told: str | float) -> Decimal | None:
    value = float(told) if told != "" else _UNSET
    return Decimal(str(told)) if abs(value) < _UNSET else None
