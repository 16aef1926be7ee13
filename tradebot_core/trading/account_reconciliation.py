"""The account against all sleeves: whose shares and whose cash it holds, and what nobody has explained.

The account is the sleeves and an external part, which is what a person holds beside them and the bot never touches. The external part
changes only on a person's word, with a reason; what the account held before the bot first traded is its beginning. Every comparison
keeps what it found in the ledger: a break stands until a later comparison agrees or a person has explained it.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from decimal import Decimal

import polars as pl

from tradebot_core.calendar import NEW_YORK, TradingCalendar
from tradebot_core.errors import ReconciliationError
from tradebot_core.interfaces import (
    AccountReader,
    Break,
    BreakRecord,
    BrokerAccount,
    BrokerCash,
    ExternalEntry,
    Ledger,
    Settlement,
)
from tradebot_core.model.order import TERMINAL_STATES, OrderState
from tradebot_core.model.portfolio import Entry, EntryKind, is_given_back, usd
from tradebot_core.trading.account_comparison import (
    Line,
    LineKind,
    cash_explanation,
    compare,
    concerned,
    held_at,
    waiting_shares,
)
from tradebot_core.trading.account_dues import (
    SHARES_FOLLOW_WITHIN,
    CashDue,
    Paid,
    ShareDue,
    cash_dues,
    paid_amount,
    share_dues,
)
from tradebot_core.trading.account_sides import KnownAction, LedgerExecution, LedgerSide
from tradebot_core.trading.broker_cash import broker_cash
from tradebot_core.trading.oversold import shares_of

BASELINE = "held before the bot first traded"
ITSELF = "tradebot"  # who ends a break that is gone
AGREES = "the next comparison agrees"
_ORDERS_OF_SESSIONS = 3  # a broker lists the orders of the day: decided the session before, or an evening earlier
_ACTIONS_OF = timedelta(days=60)
_SENT = frozenset(OrderState) - TERMINAL_STATES - {OrderState.NEW, OrderState.SENDING, OrderState.UNKNOWN}
_SIDES = {"buy": "BOT", "sell": "SLD"}


def _nothing(_: Sequence[Entry], __: date) -> Sequence[Entry]:
    return ()


@dataclass(frozen=True)
class Comparison:
    """`cash` gives what the account can pay when orders decided in a session fill; see trading/broker_cash.py."""

    lines: tuple[Line, ...]
    cash: Callable[[date], BrokerCash | None]


@dataclass(frozen=True)
class AccountReconciler:
    """`con_ids` gives the broker's listing by security_id, `reference` the orderRef of an order's key.

    `due` gives the entries of corporate actions that a sleeve's ledger lacks up to a session (trading/due_actions.py), `former` the
    present listing by the con_id of an earlier one, `actions` what is known of late of the securities of these con_ids.
    """

    ledger: Ledger
    calendar: TradingCalendar
    strategies: Collection[str]
    reader: AccountReader
    con_ids: Callable[[], Mapping[int, int]]
    reference: Callable[[str], str]
    due: Callable[[Sequence[Entry], date], Sequence[Entry]] = _nothing
    former: Callable[[], Mapping[int, int]] = dict
    actions: Callable[[date, date], Sequence[KnownAction]] = lambda start, end: ()
    withholding: Decimal = Decimal(0)
    margin: bool = False

    def lines(self, now: datetime) -> tuple[Line, ...]:
        return self.compare(now).lines

    def compare(self, now: datetime) -> Comparison:
        """Every line of the comparison, and what it found is kept. On the first, while nothing has traded, what the account holds is
        entered as external."""
        account = self.reader.account()
        if self._is_untouched(account):
            self.ledger.record_external(self._differences(account, now, BASELINE, ITSELF), first=True)
        lines = self._compared(account, now)
        return Comparison(self._keep(lines, now, ITSELF, AGREES), lambda session: self._broker_cash(account, session))

    def accept(self, reason: str, operator: str, now: datetime) -> tuple[Line, ...]:
        """Enters every difference of positions and cash as external, on a person's word, and closes their breaks with it; returns
        what is left.

        Raises ReconciliationError while an order or execution of ours differs (its shares and cash are a sleeve's, not external),
        and when something differs that no comparison has shown before.
        """
        shown = {record.found.key: (record.found.ledger, record.found.broker) for record in self.ledger.open_breaks()}
        account = self.reader.account()
        compared = self._compared(account, now)
        found = broken(compared)
        ours = [line for line in found if line.kind in (LineKind.ORDER, LineKind.EXECUTION)]
        if ours:
            raise ReconciliationError(
                f"{ours[0].kind} {ours[0].what}: {ours[0].reason}; what it changed in the account is not external.",
                "Fills are entered by a run after the open: wait for it, or look the order up at the broker, then reconcile again.",
            )
        unseen = [line for line in found if line.command and shown.get(line.key) != (line.ledger, line.broker)]
        if unseen:
            self._keep(compared, now, ITSELF, AGREES)
            raise ReconciliationError(
                f"{unseen[0].kind} {unseen[0].what} differs now and was not shown to you: {unseen[0].reason}.",
                "Nothing was accepted. Look at `tradebot reconcile`, then say it again.",
            )
        self.ledger.record_external(self._differences(account, now, reason, operator))
        return self._keep(self._compared(account, now), now, operator, reason)

    def open_breaks(self) -> Sequence[BreakRecord]:
        """What stood at the last comparison; asks nobody."""
        return self.ledger.open_breaks()

    @property
    def _names(self) -> list[str]:
        return sorted({*self.strategies, *self.ledger.strategies()})

    def _is_untouched(self, account: BrokerAccount) -> bool:
        """Nothing of the account can be ours: neither the ledger nor the broker has ever seen an order that went out."""
        if self.ledger.external() or account.cash is None:
            return False
        orders = [self.ledger.orders(name).select("state").to_series() for name in self._names]
        sent = any(set(states) - {OrderState.NEW, OrderState.REFUSED} for states in orders)
        prefixes = self._prefixes
        listed = (*account.orders, *account.executions)
        return not sent and not any(line.reference.startswith(prefixes) for line in listed if line.reference)

    @property
    def _prefixes(self) -> tuple[str, ...]:
        return (*(f"{name}|" for name in self._names), "tb1-")

    def _compared(self, account: BrokerAccount, now: datetime) -> tuple[Line, ...]:
        """Also settles the dues whose effect is seen for certain, once."""
        side, unlisted = self._ledger_side(account, now)
        self._settle(side, account, now)
        return (*compare(side, account), *unlisted, *_overdrawn(side), *self._without_commission())

    def _without_commission(self) -> list[Line]:
        """Fills whose commission the broker has not reported: they are no break, but the cash differs by it."""
        reason = "its commission is not reported yet and not in the ledger's cash; the account's statement has it"
        return [
            Line(LineKind.EXECUTION, execution_id, "no commission", "none told", True, reason)
            for execution_id in self._uncommissioned()
        ]

    def _uncommissioned(self) -> list[str]:
        fills = [self.ledger.fills(name).filter(pl.col("commission").is_null()) for name in self._names]
        return [execution_id for of_one in fills for execution_id in of_one["execution_id"]]

    def _keep(self, lines: Sequence[Line], now: datetime, by: str, word: str) -> tuple[Line, ...]:
        """Enters what differs; a break whose line agrees again has ended. Returns the lines, each break with when it was first seen."""
        found = [
            Break(line.key, str(line.kind), line.what, line.con_id, line.ledger, line.broker, line.reason, now)
            for line in lines
            if not line.passed
        ]
        differing, passing = {one.key for one in found}, {line.key for line in lines if line.passed}
        sound = not any(one.kind in (LineKind.POSITION, LineKind.CASH) for one in found)
        ended = [
            record.found.key
            for record in self.ledger.open_breaks()
            if record.found.key not in differing and (record.found.key in passing or sound or not _is_of_a_day(record.found))
        ]
        self.ledger.record_breaks(found, ended, now, by, word)
        standing = {record.found.key: record for record in self.ledger.open_breaks()}
        kept = [line if line.passed else replace(line, since=standing[line.key].first_seen) for line in lines]
        # A broker shows orders and executions of the day: that it shows one no more explains nothing while something else differs.
        shown = {line.key for line in lines}
        return (*kept, *(_remembered(record) for key, record in standing.items() if key not in shown))

    def _differences(self, account: BrokerAccount, now: datetime, reason: str, operator: str) -> list[ExternalEntry]:
        side, _ = self._ledger_side(account, now)
        found, held = [], held_at(side, account)
        for con_id in concerned(side, account):
            if waiting_shares(side, account, con_id) is None:
                difference = held.get(con_id, Decimal(0)) - side.expected(con_id)
                found.append(ExternalEntry(con_id, difference, Decimal(0), reason, now, operator))
        if account.cash is not None and cash_explanation(side, account) is None:
            # What is due and unsettled is taken to come still: it is a sleeve's, and never external.
            due = sum((d.cash - d.withheld for d in side.cash_dues if d.last_day >= side.today), Decimal(0))
            cash = account.cash - (side.cash - due) - side.external_cash
            found.append(ExternalEntry(None, Decimal(0), cash, reason, now, operator))
        return found

    def _settle(self, side: LedgerSide, account: BrokerAccount, now: datetime) -> None:
        settled: list[Settlement] = []
        for con_id, dues in side.share_dues.items():
            waiting = waiting_shares(side, account, con_id)
            if waiting is not None:
                done = [due for due in dues if due not in waiting and due.key not in side.settled and due.ex_date <= side.today]
                settled += [Settlement(due.key, Decimal(0), now, due.name) for due in done]
        explanation = cash_explanation(side, account)
        for due, how in explanation.paid.items() if explanation is not None else ():
            amount = paid_amount(due, how, side.withholding)
            if how is Paid.NET:  # what was entered before a crash is entered once
                self._enter_withholding(due, due.cash - amount, side.today)
            settled.append(Settlement(due.key, amount, now, f"{due.name} {how}"))
        if settled:
            self.ledger.record_settlements(settled)

    def _enter_withholding(self, due: CashDue, withheld: Decimal, today: date) -> None:
        """The tax that the broker kept, to each sleeve its share; the last takes what rounding leaves."""
        shares = {}
        for name in self._names:
            mine = [e for e in self.ledger.entries(name) if (e.kind, e.security_id, e.session) == _of(due)]
            if mine:
                shares[name] = sum((e.cash for e in mine), Decimal(0))
        left, names = withheld, list(shares)
        for name in names:
            tax = left if name == names[-1] else usd(withheld * shares[name] / due.cash)
            left -= tax
            key = f"withholding:{due.security_id}:{due.ex_date}"
            self.ledger.post(name, [Entry(key, today, EntryKind.WITHHOLDING, -tax, 0, due.security_id, due.symbol)])

    def _broker_cash(self, account: BrokerAccount, session: date) -> BrokerCash:
        entries = [entry for name in self._names for entry in self.ledger.entries(name)]
        orders = [
            (intent, self._filled(name, intent.key)) for name in self._names for intent, _ in self.ledger.open_orders(name)
        ]
        return broker_cash(account, entries, orders, self.calendar, session, self._prefixes, margin=self.margin)

    def _filled(self, name: str, key: str) -> int:
        return int(self.ledger.fills(name).filter(order_key=key)["quantity"].sum())

    def _ledger_side(self, account: BrokerAccount, now: datetime) -> tuple[LedgerSide, list[Line]]:
        today, con_ids = now.astimezone(NEW_YORK).date(), self.con_ids()
        since = self.calendar.offset(self.calendar.last_cut_off(now), -_ORDERS_OF_SESSIONS)
        positions: dict[int, int] = {}
        unlisted: list[Line] = []
        cash = deposits = Decimal(0)
        open_orders: set[str] = set()
        ended: set[str] = set()
        executions: dict[str, LedgerExecution] = {}
        entered: list[Entry] = []
        missing: list[Entry] = []
        for name in self._names:
            everything = self.ledger.entries(name)
            entries = [entry for entry in everything if entry.session <= today]
            # A split takes effect at the broker in the night before its session.
            due = self.due(everything, self.calendar.first_after(today))
            missing += [entry for entry in due if entry.session <= today or entry.quantity]
            # Sums, not a book: what one sleeve's entries cannot explain must not keep the account from being compared.
            held_shares = shares_of([*entries, *(entry for entry in due if is_given_back(entry))])
            cash += sum((entry.cash for entry in entries), Decimal(0))
            deposits += sum((entry.cash for entry in entries if entry.kind is EntryKind.DEPOSIT), Decimal(0))
            for security, (symbol, shares_held) in held_shares.items():
                if security in con_ids:
                    positions[con_ids[security]] = positions.get(con_ids[security], 0) + shares_held
                else:
                    reason = "the security master knows no con_id of it, so the broker's position cannot be told"
                    unlisted.append(Line(LineKind.POSITION, symbol, str(shares_held), "unknown", False, reason))
            open_orders |= {self.reference(intent.key) for intent, state in self.ledger.open_orders(name) if state in _SENT}
            for key, state in self.ledger.orders(name, since).select("order_key", "state").iter_rows():
                if state in TERMINAL_STATES and state != OrderState.REFUSED:
                    ended.add(self.reference(key))
            for row in self.ledger.fills(name, today, today).iter_rows(named=True):
                terms = LedgerExecution(_SIDES[row["side"]], Decimal(row["quantity"]), usd(row["price"]))
                executions[row["execution_id"]] = terms
            entered += entries
        in_doubt = {
            self.reference(intent.key)
            for name in self._names
            for intent, state in self.ledger.open_orders(name)
            if state in (OrderState.SENDING, OrderState.UNKNOWN)
        }
        listed = {order.reference for order in account.orders}
        former = self.former()
        external = self.ledger.external()
        shares: dict[int, Decimal] = {}
        for entry in external:
            if entry.con_id is not None:
                present = former.get(entry.con_id, entry.con_id)
                shares[present] = shares.get(present, Decimal(0)) + entry.quantity
        settled = {settlement.key for settlement in self.ledger.settlements()}
        dues = _share_dues_by_listing(share_dues(_recent(entered, today), missing), con_ids)
        for con_id, of in dues.items():
            positions[con_id] = positions.get(con_id, 0) + sum(due.missing for due in of)
        side = LedgerSide(
            positions=positions,
            cash=cash + sum((entry.cash for entry in missing), Decimal(0)),
            open_orders=frozenset(open_orders | (in_doubt & listed)),  # an order in doubt that is listed is about to be adopted
            ended_orders=frozenset(ended),
            executions=executions,
            own_prefixes=self._prefixes,
            today=today,
            external_positions=shares,
            # A sleeve's capital was the account's before it was the sleeve's.
            external_cash=sum((entry.cash for entry in external), Decimal(0)) - deposits,
            share_dues=dues,
            cash_dues=[due for due in cash_dues([*entered, *missing], settled) if _may_still_come(due, today)],
            settled=settled,
            withholding=self.withholding,
            former=former,
            uncommissioned=self._uncommissioned(),
            actions=self.actions(today - _ACTIONS_OF, self.calendar.first_after(today)),
        )
        return side, unlisted


def _recent(entries: Sequence[Entry], today: date) -> list[Entry]:
    return [e for e in entries if e.kind in SHARES_FOLLOW_WITHIN and today - e.session <= SHARES_FOLLOW_WITHIN[e.kind]]


def _may_still_come(due: CashDue, today: date) -> bool:
    """Overdue ones stay for as long again, to be named as the cause of a break."""
    return today <= due.last_day + _ACTIONS_OF


def _of(due: CashDue) -> tuple[EntryKind, int, date]:
    return due.kind, due.security_id, due.ex_date


def _share_dues_by_listing(dues: Sequence[ShareDue], con_ids: Mapping[int, int]) -> dict[int, list[ShareDue]]:
    found: dict[int, list[ShareDue]] = {}
    for due in dues:
        if due.security_id in con_ids:
            found.setdefault(con_ids[due.security_id], []).append(due)
    return found


def _overdrawn(side: LedgerSide) -> list[Line]:
    """The account must have had the capital of its sleeves."""
    if side.external_cash >= 0:
        return []
    reason = "the sleeves were given more capital than the account has: lower allocated_capital in a new store, or pay money in"
    return [
        Line(LineKind.CASH, "capital of the sleeves", f"{side.cash:f}", f"{side.cash + side.external_cash:f}", False, reason)
    ]


def _is_of_a_day(found: Break) -> bool:
    return found.kind in (LineKind.ORDER, LineKind.EXECUTION)


def _remembered(record: BreakRecord) -> Line:
    """A break of an earlier day, of which the broker shows nothing any more."""
    found = record.found
    reason = f"{found.reason}; the broker shows it no more, and positions or cash still differ"
    kind = LineKind(found.kind)
    return Line(kind, found.what, found.ledger, found.broker, False, reason, con_id=found.con_id, since=record.first_seen)


def broken(lines: Collection[Line]) -> tuple[Line, ...]:
    return tuple(line for line in lines if not line.passed)


def of_account(lines: Collection[Line]) -> tuple[Line, ...]:
    """The breaks that concern the whole account: cash, orders and executions; a position concerns its security."""
    return tuple(line for line in broken(lines) if line.kind is not LineKind.POSITION or line.con_id is None)


def is_of_account(found: Break) -> bool:
    """As `of_account`, of a break that is kept."""
    return found.kind != LineKind.POSITION or found.con_id is None
