"""Orders: an intent with its unique key, the gate's verdict, the broker's answers, the fills."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any

from tradebot_core.errors import ExecutionError

_COMPARE = "Compare the ledger with the broker: tradebot reconcile."


class Side(StrEnum):
    BUY = "buy"
    SELL = "sell"

    @property
    def sign(self) -> int:
        return 1 if self is Side.BUY else -1


class OrderType(StrEnum):
    """Those of an auction end with it; the others are good for the day, from the open to the close."""

    MARKET_ON_OPEN = "market_on_open"
    LIMIT_ON_OPEN = "limit_on_open"
    LIMIT = "limit"
    ADAPTIVE_MARKET = "adaptive_market"  # IBKR's Adaptive algorithm works it into the market, patiently
    ADAPTIVE_LIMIT = "adaptive_limit"
    MARKET_ON_CLOSE = "market_on_close"
    LIMIT_ON_CLOSE = "limit_on_close"

    @property
    def has_limit(self) -> bool:
        return self in (OrderType.LIMIT_ON_OPEN, OrderType.LIMIT, OrderType.ADAPTIVE_LIMIT, OrderType.LIMIT_ON_CLOSE)

    @property
    def ends_at_open(self) -> bool:
        return self in (OrderType.MARKET_ON_OPEN, OrderType.LIMIT_ON_OPEN)

    @property
    def at_close(self) -> bool:
        """It waits for the closing auction of the session after its decision, and ends with it."""
        return self in (OrderType.MARKET_ON_CLOSE, OrderType.LIMIT_ON_CLOSE)


class OrderStyle(StrEnum):
    """How a strategy's orders are placed. Purchases have a limit, so that a gap cannot cost more than there is, in every style but
    `market_open`, which a cash account cannot have."""

    OPEN_AUCTION = "open_auction"  # purchases limit-on-open, sales market-on-open
    LIMIT = "limit"  # day limit orders, sales with a collar below the last close
    ADAPTIVE = "adaptive"  # purchases adaptive with a limit, sales adaptive at the market
    CLOSE_AUCTION = "close_auction"  # of the next session: purchases limit-on-close, sales market-on-close
    MARKET_OPEN = "market_open"  # purchases and sales market-on-open

    def order_type(self, side: Side) -> OrderType:
        buys, sells = _TYPES[self]
        return buys if side is Side.BUY else sells


_TYPES = {
    OrderStyle.OPEN_AUCTION: (OrderType.LIMIT_ON_OPEN, OrderType.MARKET_ON_OPEN),
    OrderStyle.LIMIT: (OrderType.LIMIT, OrderType.LIMIT),
    OrderStyle.ADAPTIVE: (OrderType.ADAPTIVE_LIMIT, OrderType.ADAPTIVE_MARKET),
    OrderStyle.CLOSE_AUCTION: (OrderType.LIMIT_ON_CLOSE, OrderType.MARKET_ON_CLOSE),
    OrderStyle.MARKET_OPEN: (OrderType.MARKET_ON_OPEN, OrderType.MARKET_ON_OPEN),
}


class OrderState(StrEnum):
    NEW = "new"  # intent committed, nothing sent
    REFUSED = "refused"  # by the risk gate, when it was planned or just before it would have been sent
    SENDING = "sending"  # committed before the first byte goes out
    UNKNOWN = "unknown"  # the answer never came: ask, never resend
    WORKING = "working"  # acknowledged by the engine
    PARTIAL = "partial"
    FILLED = "filled"
    CANCELLED = "cancelled"
    REJECTED = "rejected"  # by the engine or broker
    EXPIRED = "expired"  # its session passed before it was sent or filled
    LOST = "lost"  # the broker was asked again and again and showed no trace of it


_TERMINAL = (
    OrderState.REFUSED,
    OrderState.FILLED,
    OrderState.CANCELLED,
    OrderState.REJECTED,
    OrderState.EXPIRED,
    OrderState.LOST,
)
_ANSWERS = (
    OrderState.WORKING,
    OrderState.PARTIAL,
    OrderState.FILLED,
    OrderState.CANCELLED,
    OrderState.REJECTED,
    OrderState.EXPIRED,
)
# From each state, where an order may go. A terminal state is left only on evidence that came late. An order that the broker listed as
# cancelled has ended: only executions that make it whole can follow. One that ended because it was not to be seen (LOST, EXPIRED,
# or REJECTED, which is believed when the broker lists nothing) goes where the broker shows it after all.
TRANSITIONS: dict[OrderState, frozenset[OrderState]] = {
    OrderState.NEW: frozenset({OrderState.SENDING, OrderState.REFUSED, OrderState.EXPIRED, OrderState.CANCELLED}),
    OrderState.SENDING: frozenset({OrderState.NEW, OrderState.UNKNOWN, *_ANSWERS}),  # NEW: it could not be sent at all
    OrderState.UNKNOWN: frozenset({OrderState.SENDING, OrderState.LOST, *_ANSWERS}),
    OrderState.WORKING: frozenset({OrderState.UNKNOWN, *_ANSWERS[1:]}),
    OrderState.PARTIAL: frozenset({OrderState.UNKNOWN, *_ANSWERS[2:]}),
    OrderState.CANCELLED: frozenset({OrderState.FILLED}),
    OrderState.REJECTED: frozenset({OrderState.WORKING, OrderState.PARTIAL, OrderState.FILLED, OrderState.CANCELLED}),
    OrderState.EXPIRED: frozenset({*_ANSWERS} - {OrderState.EXPIRED}),
    OrderState.LOST: frozenset(_ANSWERS),
    OrderState.FILLED: frozenset(),
    OrderState.REFUSED: frozenset(),
}
TERMINAL_STATES = frozenset(_TERMINAL)


def next_state(order_key: str, present: OrderState, new: OrderState) -> bool:
    """Whether a state is news. Raises ExecutionError on an illegal transition."""
    if new is present:
        return False
    if new not in TRANSITIONS[present]:
        raise ExecutionError(f"Order {order_key} cannot go from {present} to {new}.", _COMPARE)
    return True


def unknown_order(order_key: str) -> ExecutionError:
    return ExecutionError(f"There is no order {order_key} in the ledger.", _COMPARE)


@dataclass(frozen=True, slots=True)
class OrderIntent:
    """One order we mean to place. `session` is the session of the decision; it may fill at the next open at the earliest.

    `key` is unique for ever (strategy|session|security|side) and travels to the broker as `order_ref`.
    """

    key: str
    strategy: str
    session: date
    security_id: int
    symbol: str
    side: Side
    quantity: int
    reference_price: Decimal  # raw close of `session`, USD
    order_type: OrderType = OrderType.MARKET_ON_OPEN
    limit_price: Decimal | None = None

    @property
    def notional(self) -> Decimal:
        """USD at the reference price."""
        return self.quantity * self.reference_price

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; money as text, so that it comes back exactly."""
        return {
            "key": self.key,
            "strategy": self.strategy,
            "session": self.session.isoformat(),
            "security_id": self.security_id,
            "symbol": self.symbol,
            "side": str(self.side),
            "quantity": self.quantity,
            "reference_price": str(self.reference_price),
            "order_type": str(self.order_type),
            "limit_price": None if self.limit_price is None else str(self.limit_price),
        }

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> "OrderIntent":
        return cls(
            record["key"],
            record["strategy"],
            date.fromisoformat(record["session"]),
            record["security_id"],
            record["symbol"],
            Side(record["side"]),
            record["quantity"],
            Decimal(record["reference_price"]),
            OrderType(record["order_type"]),
            None if record["limit_price"] is None else Decimal(record["limit_price"]),
        )


def order_key(strategy: str, session: date, security_id: int, side: Side) -> str:
    return f"{strategy}|{session.isoformat()}|{security_id}|{side}"


@dataclass(frozen=True, slots=True)
class RiskVerdict:
    """The gate's answer. `rule` names the limit that decided; `value` was measured, `limit` is what is allowed."""

    approved: bool
    rule: str
    value: float | None = None
    limit: float | None = None


@dataclass(frozen=True, slots=True)
class Fill:
    """One execution. `execution_id` is unique at the broker; price in USD a share, commission in USD (positive is a cost; None until
    the broker has reported it, when the execution comes again with it). An execution that the exchange corrects comes again, under
    the same id and with a higher `version`."""

    execution_id: str
    order_key: str
    session: date
    security_id: int
    symbol: str
    side: Side
    quantity: int
    price: Decimal
    commission: Decimal | None
    filled_at: datetime
    version: int = 1


@dataclass(frozen=True, slots=True)
class OrderStatus:
    """The engine's word on one order. `state` is None when the engine has never heard of it; `own_fault` of a rejection: its reason is the
    order or its security, so that it says nothing about the account."""

    state: OrderState | None
    fills: tuple[Fill, ...] = ()
    broker_order_id: str = ""
    detail: str = ""
    own_fault: bool = False
