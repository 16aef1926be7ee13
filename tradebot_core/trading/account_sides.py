"""The ledger's side of the account."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal

from tradebot_core.model.market import ActionType
from tradebot_core.trading.account_dues import CashDue, ShareDue


@dataclass(frozen=True)
class KnownAction:
    """A corporate action of the store. `value` as in model.market.ActionType."""

    con_id: int
    symbol: str
    session: date
    type: ActionType
    value: Decimal


@dataclass(frozen=True)
class LedgerExecution:
    """One execution in the latest terms that the ledger has. `side` in the broker's words, BOT | SLD."""

    side: str
    quantity: Decimal
    price: Decimal


@dataclass(frozen=True)
class LedgerSide:
    """What the ledger expects of the account: all sleeves together, and the external part beside them.

    `positions` and `cash` are as if every due of `share_dues` and `cash_dues` had been entered and had happened."""

    positions: Mapping[int, int]  # shares by con_id, so that a rename changes nothing
    cash: Decimal
    open_orders: frozenset[str]  # orderRefs of orders that were sent and have not ended
    ended_orders: frozenset[str]
    executions: Mapping[str, LedgerExecution]  # by id, of the broker's present day, New York
    own_prefixes: tuple[str, ...]  # how the orderRefs of our orders begin
    today: date  # New York
    external_positions: Mapping[int, Decimal] = field(default_factory=dict)
    external_cash: Decimal = Decimal(0)
    share_dues: Mapping[int, Sequence[ShareDue]] = field(default_factory=dict)  # by con_id
    cash_dues: Sequence[CashDue] = ()  # unsettled
    settled: Collection[str] = ()  # keys of dues whose effect was seen at the broker
    withholding: Decimal = Decimal(0)  # share of a dividend
    former: Mapping[int, int] = field(default_factory=dict)  # con_id of an earlier listing of a security -> of the present one
    uncommissioned: Sequence[str] = ()  # fills whose commission was not reported
    actions: Sequence[KnownAction] = ()  # of late, on whatever the account holds; they only name causes

    def expected(self, con_id: int) -> Decimal:
        return self.positions.get(con_id, 0) + self.external_positions.get(con_id, Decimal(0))
