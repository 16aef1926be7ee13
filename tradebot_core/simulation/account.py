"""What the simulated broker keeps of its one account: orders, executions, holdings, cash. Written as JSON."""

from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path

import msgspec

OPEN_STATES = ("PreSubmitted", "Submitted")


@dataclass(frozen=True, slots=True)
class OrderTicket:
    """What a client asks for."""

    client_id: int
    order_id: int
    con_id: int
    action: str
    quantity: Decimal
    order_type: str
    limit_price: Decimal | None
    tif: str
    account: str
    order_ref: str = ""


class SimulatedOrder(msgspec.Struct, kw_only=True):
    client_id: int
    order_id: int
    perm_id: int
    con_id: int
    symbol: str
    action: str
    quantity: int
    order_type: str
    limit_price: Decimal | None
    tif: str
    account: str
    order_ref: str
    session: date  # in which it may fill
    placed_at: datetime
    status: str = "PreSubmitted"
    filled: int = 0
    average_price: Decimal = Decimal(0)
    completed_at: datetime | None = None
    completed_status: str = ""

    @property
    def is_open(self) -> bool:
        return self.status in OPEN_STATES

    @property
    def sign(self) -> int:
        return 1 if self.action == "BUY" else -1


class SimulatedExecution(msgspec.Struct, kw_only=True, frozen=True):
    execution_id: str
    order_id: int
    client_id: int
    perm_id: int
    con_id: int
    symbol: str
    account: str
    order_ref: str
    action: str
    quantity: int
    price: Decimal
    commission: Decimal
    realized_pnl: Decimal | None  # None for a purchase
    at: datetime


class Holding(msgspec.Struct):
    quantity: int
    cost: Decimal  # with commissions, as IBKR's average cost


class AccountState(msgspec.Struct, kw_only=True):
    account: str
    cash: Decimal
    opened: date  # the latest session whose open was processed
    holdings: dict[int, Holding] = {}
    orders: list[SimulatedOrder] = []
    executions: list[SimulatedExecution] = []
    next_order_id: dict[int, int] = {}  # by client id

    @classmethod
    def load(cls, path: Path) -> "AccountState":
        return msgspec.json.decode(path.read_bytes(), type=cls)

    def save(self, path: Path) -> None:
        """Replaces the file whole, so that a crash leaves the old state or the new one."""
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_suffix(".new")
        fresh.write_bytes(msgspec.json.encode(self))
        fresh.replace(path)
