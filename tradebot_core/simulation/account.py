"""What the simulated broker keeps: accounts with cash and holdings, orders, executions, of all days. Written as JSON.

This is the truth of a test: `AccountState.load` reads the file of a simulated TWS that runs in another process.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec

from tradebot_core.model.market import ActionType
from tradebot_core.model.portfolio import usd

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
    algorithm: str = ""
    algorithm_terms: tuple[tuple[str, str], ...] = ()


class Slices(msgspec.Struct, frozen=True):
    """In how many executions an order fills, and how far apart they are in market time."""

    parts: int = 1
    seconds: float = 0.0

    def quantities(self, total: int) -> list[int]:
        """As even as whole shares allow, the larger ones first."""
        each, over = divmod(total, self.parts)
        return [size for n in range(self.parts) if (size := each + (n < over))]


WHOLE = Slices()


class SimulatedOrder(msgspec.Struct, kw_only=True):
    client_id: int
    order_id: int  # negative for an order by hand
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
    algorithm: str = ""
    algorithm_terms: tuple[tuple[str, str], ...] = ()
    slices: Slices = WHOLE
    status: str = "PreSubmitted"
    filled: int = 0
    average_price: Decimal = Decimal(0)
    completed_at: datetime | None = None
    completed_status: str = ""

    @property
    def is_open(self) -> bool:
        return self.status in OPEN_STATES

    @property
    def remaining(self) -> int:
        return self.quantity - self.filled

    @property
    def sign(self) -> int:
        return 1 if self.action == "BUY" else -1


class SimulatedExecution(msgspec.Struct, kw_only=True, frozen=True):
    """A correction is one more, whose id differs in what follows the last point and is higher."""

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
    cumulative: int = 0  # shares of the order filled with this execution
    average_price: Decimal = Decimal(0)


def latest(executions: Iterable[SimulatedExecution]) -> Sequence[SimulatedExecution]:
    """What counts: of each execution its last correction."""
    found: dict[str, SimulatedExecution] = {}
    for done in executions:
        found[done.execution_id.rpartition(".")[0]] = done
    return list(found.values())


class Holding(msgspec.Struct):
    quantity: int
    cost: Decimal  # with commissions, as IBKR's average cost


class Proceeds(msgspec.Struct, frozen=True):
    """Cash of a sale, not settled before its day."""

    settles: date
    amount: Decimal


class CashEntry(msgspec.Struct, frozen=True):
    """Cash that came or went without an order."""

    day: date
    kind: str  # opening, deposit, withdrawal, interest, dividend, cash in lieu, delisting
    amount: Decimal


class Book(msgspec.Struct, kw_only=True):
    """One account. Its cash is the sum of `entries` and of what its executions paid and cost."""

    cash: Decimal
    holdings: dict[int, Holding] = {}
    proceeds: list[Proceeds] = []
    entries: list[CashEntry] = []

    def settled_cash(self, today: date) -> Decimal:
        """Purchases count at once, sales when they settle: IBKR's SettledCash."""
        return self.cash - sum((p.amount for p in self.proceeds if p.settles > today), Decimal(0))

    def receive(self, day: date, kind: str, amount: Decimal) -> None:
        self.entries.append(CashEntry(day, kind, amount))
        self.cash += amount

    def trade(self, con_id: int, sign: int, quantity: int, price: Decimal, cost: Decimal, *, settles: date) -> Decimal | None:
        """Books an execution; returns what a sale realized."""
        value = quantity * price
        holding = self.holdings.setdefault(con_id, Holding(0, Decimal(0)))
        realized = None
        if sign > 0:
            holding.cost += value + cost
        else:
            share = usd(holding.cost * quantity / holding.quantity) if holding.quantity else Decimal(0)
            realized = value - cost - share
            holding.cost -= share
            self.proceeds.append(Proceeds(settles, value - cost))
        holding.quantity += sign * quantity
        if holding.quantity == 0:
            del self.holdings[con_id]
        self.cash -= sign * value + cost
        return realized


class Announced(msgspec.Struct, frozen=True):
    """A corporate action that the market's files do not have."""

    symbol: str
    session: date  # at whose open it takes effect
    type: ActionType
    value: float


class AccountState(msgspec.Struct, kw_only=True):
    accounts: dict[str, Book]
    opened: date  # the latest session whose open was processed
    orders: list[SimulatedOrder] = []
    executions: list[SimulatedExecution] = []
    next_order_id: dict[int, int] = {}  # by client id
    announced: list[Announced] = []

    @classmethod
    def load(cls, path: Path) -> "AccountState":
        return cls.read(path.read_bytes())

    @classmethod
    def read(cls, text: bytes) -> "AccountState":
        kept: dict[str, Any] = msgspec.json.decode(text)
        if "account" in kept:  # a file from before there could be several
            kept["accounts"] = {kept["account"]: {"cash": kept["cash"], "holdings": kept["holdings"]}}
        return msgspec.convert(kept, cls, strict=False)

    def save(self, path: Path) -> None:
        """Replaces the file whole, so that a crash leaves the old state or the new one."""
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_suffix(".new")
        fresh.write_bytes(msgspec.json.encode(self))
        fresh.replace(path)
