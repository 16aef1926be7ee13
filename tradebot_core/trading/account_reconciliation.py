"""The account against all sleeves: whose shares and whose cash it holds, and what nobody has explained.

The account is the sleeves and an external part, which is what a person holds beside them and the bot never touches. The external part
changes only on a person's word, with a reason; what the account held before the bot first traded is its beginning.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

import polars as pl

from tradebot_core.calendar import NEW_YORK, TradingCalendar
from tradebot_core.errors import ReconciliationError
from tradebot_core.interfaces import AccountReader, BrokerAccount, ExternalEntry, Ledger
from tradebot_core.model.order import TERMINAL_STATES, OrderState
from tradebot_core.model.portfolio import EntryKind
from tradebot_core.trading.account_comparison import LedgerSide, Line, LineKind, compare

BASELINE = "held before the bot first traded"
_ORDERS_OF_SESSIONS = 3  # a broker lists the orders of the day: decided the session before, or an evening earlier
_DIVIDENDS_ARE_PAID_WITHIN = timedelta(days=60)
_SENT = frozenset(OrderState) - TERMINAL_STATES - {OrderState.NEW, OrderState.SENDING, OrderState.UNKNOWN}


@dataclass(frozen=True)
class AccountReconciler:
    """`con_ids` gives the broker's listing by security_id, `reference` the orderRef of an order's key."""

    ledger: Ledger
    calendar: TradingCalendar
    strategies: Collection[str]
    reader: AccountReader
    con_ids: Callable[[], Mapping[int, int]]
    reference: Callable[[str], str]

    def lines(self, now: datetime) -> tuple[Line, ...]:
        """Every line of the comparison. On the first, while nothing has traded, what the account holds is entered as external."""
        account = self.reader.account()
        if not self.ledger.external() and all(self.ledger.fills(name).is_empty() for name in self._names):
            self.ledger.record_external(self._differences(account, now, BASELINE, "tradebot"), first=True)
        return self._lines(account, now)

    def accept(self, reason: str, operator: str, now: datetime) -> tuple[Line, ...]:
        """Enters every difference of positions and cash as external, on a person's word; returns what is left.

        Raises ReconciliationError while an order or execution of ours differs: its shares and cash are a sleeve's, not external.
        """
        account = self.reader.account()
        ours = [line for line in broken(self._lines(account, now)) if line.kind in (LineKind.ORDER, LineKind.EXECUTION)]
        if ours:
            raise ReconciliationError(
                f"{ours[0].kind} {ours[0].what}: {ours[0].reason}; what it changed in the account is not external.",
                "Fills are entered by a run after the open: wait for it, or look the order up at the broker, then reconcile again.",
            )
        self.ledger.record_external(self._differences(account, now, reason, operator))
        return self._lines(account, now)

    @property
    def _names(self) -> list[str]:
        return sorted({*self.strategies, *self.ledger.strategies()})

    def _lines(self, account: BrokerAccount, now: datetime) -> tuple[Line, ...]:
        side, unlisted = self._ledger_side(account, now)
        return (*compare(side, account), *unlisted, *_overdrawn(side), *self._without_commission())

    def _without_commission(self) -> list[Line]:
        """Fills whose commission the broker has not reported: they are no break, but the cash differs by it."""
        reason = "its commission is not reported yet and not in the ledger's cash; the account's statement has it"
        return [
            Line(LineKind.EXECUTION, execution_id, "no commission", "none told", True, reason)
            for name in self._names
            for execution_id in self.ledger.fills(name).filter(pl.col("commission").is_null())["execution_id"]
        ]

    def _differences(self, account: BrokerAccount, now: datetime, reason: str, operator: str) -> list[ExternalEntry]:
        side, _ = self._ledger_side(account, now)
        found = []
        for con_id in sorted(side.positions.keys() | side.external_positions.keys() | account.positions.keys()):
            expected = side.positions.get(con_id, 0) + side.external_positions.get(con_id, Decimal(0))
            held = account.positions[con_id].quantity if con_id in account.positions else Decimal(0)
            if held != expected:
                found.append(ExternalEntry(con_id, held - expected, Decimal(0), reason, now, operator))
        differs = [line for line in compare(side, account) if line.kind is LineKind.CASH and not line.passed]
        if account.cash is not None and differs:  # else a dividend that is not paid yet would be counted twice when it is
            cash = account.cash - side.cash - side.external_cash
            found.append(ExternalEntry(None, Decimal(0), cash, reason, now, operator))
        return found

    def _ledger_side(self, account: BrokerAccount, now: datetime) -> tuple[LedgerSide, list[Line]]:
        today, con_ids = now.astimezone(NEW_YORK).date(), self.con_ids()
        since = self.calendar.offset(self.calendar.last_cut_off(now), -_ORDERS_OF_SESSIONS)
        positions: dict[int, int] = {}
        unlisted: list[Line] = []
        cash = deposits = Decimal(0)
        open_orders: set[str] = set()
        ended: set[str] = set()
        executions: set[str] = set()
        dividends: list[tuple[object, Decimal]] = []
        for name in self._names:
            entries = [entry for entry in self.ledger.entries(name) if entry.session <= today]
            book = self.ledger.book(name, today)
            cash += book.cash
            deposits += sum((entry.cash for entry in entries if entry.kind is EntryKind.DEPOSIT), Decimal(0))
            for security, held in book.positions.items():
                if security in con_ids:
                    positions[con_ids[security]] = positions.get(con_ids[security], 0) + held.quantity
                else:
                    reason = "the security master knows no con_id of it, so the broker's position cannot be told"
                    unlisted.append(Line(LineKind.POSITION, held.symbol, str(held.quantity), "unknown", False, reason))
            open_orders |= {self.reference(intent.key) for intent, state in self.ledger.open_orders(name) if state in _SENT}
            for key, state in self.ledger.orders(name, since).select("order_key", "state").iter_rows():
                if state in TERMINAL_STATES and state != OrderState.REFUSED:
                    ended.add(self.reference(key))
            executions |= set(self.ledger.fills(name, today, today)["execution_id"])
            recent = [e for e in entries if e.kind is EntryKind.DIVIDEND and today - e.session <= _DIVIDENDS_ARE_PAID_WITHIN]
            dividends += [(entry.session, entry.cash) for entry in recent]
        in_doubt = {
            self.reference(intent.key)
            for name in self._names
            for intent, state in self.ledger.open_orders(name)
            if state in (OrderState.SENDING, OrderState.UNKNOWN)
        }
        listed = {order.reference for order in account.orders}
        external = self.ledger.external()
        shares: dict[int, Decimal] = {}
        for entry in external:
            if entry.con_id is not None:
                shares[entry.con_id] = shares.get(entry.con_id, Decimal(0)) + entry.quantity
        side = LedgerSide(
            positions=positions,
            cash=cash,
            open_orders=frozenset(open_orders | (in_doubt & listed)),  # an order in doubt that is listed is about to be adopted
            ended_orders=frozenset(ended),
            executions=frozenset(executions),
            own_prefixes=(*(f"{name}|" for name in self._names), "tb1-"),
            external_positions=shares,
            # A sleeve's capital was the account's before it was the sleeve's.
            external_cash=sum((entry.cash for entry in external), Decimal(0)) - deposits,
            pending_dividends=[amount for _, amount in sorted(dividends, key=lambda dividend: dividend[0], reverse=True)],
        )
        return side, unlisted


def _overdrawn(side: LedgerSide) -> list[Line]:
    """The account must have had the capital of its sleeves."""
    if side.external_cash >= 0:
        return []
    reason = "the sleeves were given more capital than the account has: lower allocated_capital in a new store, or pay money in"
    return [
        Line(LineKind.CASH, "capital of the sleeves", f"{side.cash:f}", f"{side.cash + side.external_cash:f}", False, reason)
    ]


def broken(lines: Collection[Line]) -> tuple[Line, ...]:
    return tuple(line for line in lines if not line.passed)


def of_account(lines: Collection[Line]) -> tuple[Line, ...]:
    """The breaks that concern the whole account: cash, orders and executions; a position concerns its security."""
    return tuple(line for line in broken(lines) if line.kind is not LineKind.POSITION or line.con_id is None)
