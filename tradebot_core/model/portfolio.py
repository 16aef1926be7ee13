"""A sleeve's book: cash and positions as the sum of immutable entries. Money is Decimal USD."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from decimal import ROUND_HALF_EVEN, Decimal
from enum import StrEnum
from types import MappingProxyType

from tradebot_core.model.order import Fill, Side

_PRICE_STEP = Decimal("0.0001")


def usd(amount: float | str | Decimal) -> Decimal:
    """A finite amount on the 1/100 cent grid on which prices and entries are kept. NaN and infinity are refused."""
    value = amount if isinstance(amount, Decimal) else Decimal(str(amount))
    if not value.is_finite():
        raise ValueError(f"{amount} is not an amount of money")
    return value.quantize(_PRICE_STEP, ROUND_HALF_EVEN)


class EntryKind(StrEnum):
    DEPOSIT = "deposit"
    TRADE = "trade"
    CORRECTION = "correction"  # of a trade: its reversal and what takes its place
    COMMISSION = "commission"
    DIVIDEND = "dividend"
    WITHHOLDING = "withholding"  # tax that the broker kept of a dividend
    SPLIT = "split"
    CASH_IN_LIEU = "cash_in_lieu"
    DELISTING = "delisting"
    INTEREST = "interest"  # on cash


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the ledger. `key` is unique: the same thing cannot be entered twice. Signed changes of shares and cash."""

    key: str
    session: date
    kind: EntryKind
    cash: Decimal
    quantity: int = 0
    security_id: int | None = None
    symbol: str = ""


TRADES = (EntryKind.TRADE, EntryKind.COMMISSION, EntryKind.CORRECTION)  # what an order did


def action_day(action: Entry) -> date:
    """The ex-date of an entry of a corporate action, which may have been entered later: its key is kind:security:ex-date, and of a
    corrected one the session of the correction."""
    return date.fromisoformat(action.key.split(":")[2])


def is_given_back(entry: Entry) -> bool:
    """Whether it gives back what an action took of shares that were sold (trading/oversold.py): no shares move at the broker."""
    return entry.quantity > 0 and ":oversold:" in entry.key


def fold_order(entry: Entry) -> tuple[date, int]:
    """Corporate actions take effect before the open, so they come before the session's trades, whenever they were entered; first what
    adds shares, so that no order of entry makes the book short."""
    return entry.session, 2 if entry.kind in TRADES else 0 if entry.quantity > 0 else 1


@dataclass(frozen=True, slots=True)
class Position:
    """`cost` is what the shares held now were bought for, without commission, USD."""

    security_id: int
    symbol: str
    quantity: int
    cost: Decimal
    opened: date

    @property
    def average_cost(self) -> Decimal:
        return self.cost / self.quantity


@dataclass(frozen=True, slots=True)
class Book:
    """What a sleeve holds: the fold of its entries, in `fold_order`. `last_sold` is when a security was last sold out.

    `sold_out` is what was held before the entry that sold the last share, for a correction that gives some back. It is known within
    one fold only: a correction is of the session of its execution, and folded with it.
    """

    cash: Decimal = Decimal(0)
    positions: Mapping[int, Position] = field(default_factory=lambda: MappingProxyType({}))
    last_sold: Mapping[int, date] = field(default_factory=lambda: MappingProxyType({}))
    sold_out: Mapping[int, Position] = field(default_factory=lambda: MappingProxyType({}), compare=False, repr=False)

    def apply(self, entry: Entry) -> "Book":
        """The book after one more entry. Raises ValueError when it would leave a negative position.

        Shares that a corrected sale gives back bring their cost back. A split leaves the cost as it is, but for what its own line
        says: what a late word makes of the cost that sales took away before it (trading/late_actions.py).
        """
        book = replace(self, cash=self.cash + entry.cash)
        if entry.quantity == 0:
            return book
        assert entry.security_id is not None
        held = self.positions.get(entry.security_id)
        before = held.quantity if held else 0
        after = before + entry.quantity
        if after < 0:
            raise ValueError(f"{entry.key}: {entry.quantity} shares of {entry.symbol} with {before} held")
        positions = dict(self.positions)
        if after == 0:
            del positions[entry.security_id]
            assert held is not None
            return replace(
                book,
                positions=MappingProxyType(positions),
                last_sold=MappingProxyType({**self.last_sold, entry.security_id: entry.session}),
                sold_out=MappingProxyType({**self.sold_out, entry.security_id: held}),
            )
        cost = held.cost if held else Decimal(0)
        opened = held.opened if held else entry.session
        of_shares = entry.kind is EntryKind.CORRECTION and not entry.cash  # of a corrected sale
        if of_shares or (entry.kind is EntryKind.TRADE and entry.quantity < 0):
            of = held or self.sold_out.get(entry.security_id)
            cost, opened = (usd(of.cost * after / of.quantity), of.opened) if of else (cost, opened)
        elif entry.kind in (EntryKind.TRADE, EntryKind.CORRECTION, EntryKind.SPLIT):
            cost -= entry.cash
        positions[entry.security_id] = Position(entry.security_id, entry.symbol, after, cost, opened)
        return replace(book, positions=MappingProxyType(positions))

    def apply_all(self, entries: Iterable[Entry]) -> "Book":
        book = self
        for entry in entries:
            book = book.apply(entry)
        return book

    def equity(self, prices: Mapping[int, Decimal]) -> Decimal:
        """Cash plus positions at `prices` (USD by security_id; KeyError names a held security without one)."""
        return self.cash + sum((p.quantity * prices[p.security_id] for p in self.positions.values()), Decimal(0))


def fill_entries(fill: Fill) -> tuple[Entry, ...]:
    """The two lines of one execution: the trade and its commission; without the second while that is not known."""
    signed = fill.side.sign * fill.quantity
    trade = Entry(
        f"fill:{fill.execution_id}", fill.session, EntryKind.TRADE, -signed * fill.price, signed, fill.security_id, fill.symbol
    )
    return (trade, *commission_entries(None, fill))


def commission_entries(entered: Decimal | None, fill: Fill) -> tuple[Entry, ...]:
    """The lines that bring the commission of an execution from what was `entered` (None: nothing) to what it is; none while that is not
    known, or when it is the same. Dated to the execution, whose session's cash was wrong."""
    if fill.commission is None or fill.commission == entered:
        return ()

    def entry(key: str, cash: Decimal) -> Entry:
        return Entry(key, fill.session, EntryKind.COMMISSION, cash, 0, fill.security_id, fill.symbol)

    if entered is None:
        return (entry(f"commission:{fill.execution_id}", -fill.commission),)
    of = f"{fill.execution_id}:{fill.version}"
    return (entry(f"reversal_commission:{of}", entered), entry(f"correction_commission:{of}", -fill.commission))


def correction_entries(old: Fill, new: Fill) -> tuple[Entry, ...]:
    """What turns the lines of an execution into those of its correction: a reversal and the new terms, linked by the execution's id.

    Dated to the execution, whose session's book was wrong. Shares are added before they are taken, so that the book is never short
    between two lines. Of a corrected sale the shares change on a line of their own: what they had cost is not in its price.
    """

    def entry(name: str, kind: EntryKind, cash: Decimal, quantity: int = 0) -> Entry:
        key = f"{name}:{new.execution_id}:{new.version}"
        return Entry(key, old.session, kind, cash, quantity, old.security_id, old.symbol)

    was, now, corrected = old.quantity * old.price, new.quantity * new.price, EntryKind.CORRECTION
    if old.side is Side.BUY:
        lines = [entry("correction", corrected, -now, new.quantity), entry("reversal", corrected, was, -old.quantity)]
    else:
        lines = [entry("reversal", corrected, -was), entry("correction", corrected, now)]
        if old.quantity != new.quantity:
            lines.append(entry("correction_shares", corrected, Decimal(0), old.quantity - new.quantity))
    return (*lines, *commission_entries(old.commission, replace(new, session=old.session)))
