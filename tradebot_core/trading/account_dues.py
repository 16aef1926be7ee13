"""What corporate actions explain of a difference between ledger and account, and nothing more. Pure.

The ledger enters an action on its ex-date. The broker changes the shares in the night before it and pays dividends and fractions days
or weeks later. Until then the two differ by a sum that is known to the cent: a **due**. A due explains a difference as long as it is
unsettled and its time is not over. Once its effect was seen at the broker it is settled, for good: no later difference of the same
amount can hide behind it.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import ROUND_HALF_EVEN, Decimal
from enum import StrEnum
from itertools import combinations, product

from tradebot_core.model.portfolio import Entry, EntryKind, is_given_back

TOLERANCE = Decimal("0.01")  # USD: the ledger keeps four decimals, the broker states two
# How long after the ex-date the broker may take; companies pay dividends within weeks, a delisting's cash may take longer.
SHARES_FOLLOW_WITHIN = {EntryKind.SPLIT: timedelta(days=7), EntryKind.DELISTING: timedelta(days=60)}
CASH_FOLLOWS_WITHIN = timedelta(days=60)
_PAYING = (EntryKind.DIVIDEND, EntryKind.WITHHOLDING, EntryKind.CASH_IN_LIEU, EntryKind.DELISTING)
_MOST_AT_ONCE = 3
_CENT = Decimal("0.01")


class Paid(StrEnum):
    GROSS = "gross"
    NET = "net of withholding"


@dataclass(frozen=True)
class CashDue:
    """Cash of one action on one security, of all sleeves together. `withheld` is tax that was entered already (positive)."""

    key: str
    kind: EntryKind
    security_id: int
    symbol: str
    ex_date: date
    cash: Decimal
    withheld: Decimal = Decimal(0)

    @property
    def name(self) -> str:
        return f"{self.kind.replace('_', ' ')} of {self.symbol} ({self.ex_date}) {self.cash - self.withheld:f}"

    @property
    def last_day(self) -> date:
        return self.ex_date + CASH_FOLLOWS_WITHIN

    def net(self, rate: Decimal) -> Decimal:
        """What is paid at a share `rate` of withholding, in cents as a broker pays."""
        return (self.cash * (1 - rate)).quantize(_CENT, ROUND_HALF_EVEN)


@dataclass(frozen=True)
class ShareDue:
    """Shares that an action brings or takes, of all sleeves together: what the ledger has `entered`, and what it has still to."""

    key: str
    kind: EntryKind
    security_id: int
    symbol: str
    ex_date: date
    entered: int = 0
    missing: int = 0

    @property
    def quantity(self) -> int:
        return self.entered + self.missing

    @property
    def name(self) -> str:
        return f"{self.kind} of {self.symbol} ({self.ex_date}) {self.quantity:+d} shares"

    @property
    def last_day(self) -> date:
        return self.ex_date + SHARES_FOLLOW_WITHIN[self.kind]


@dataclass(frozen=True)
class Explanation:
    """A difference that dues explain: those that wait, those whose effect is at the broker for certain (and how it was paid).
    `alternatives`: how many other choices of waiting dues make the same sum."""

    waiting: Sequence[CashDue] = ()
    paid: Mapping[CashDue, Paid] = field(default_factory=dict)
    alternatives: int = 0


def cash_dues(entries: Iterable[Entry], settled: Collection[str]) -> list[CashDue]:
    """Of the entries of all sleeves, entered or due, what is unsettled; oldest first. Sums of nothing are none."""
    sums: dict[tuple[EntryKind, int, date], list[Decimal]] = {}
    symbols: dict[int, str] = {}
    for entry in entries:
        if entry.kind in _PAYING and entry.cash and entry.security_id is not None:
            tax = entry.kind is EntryKind.WITHHOLDING
            # The tax names the ex-date in its key: it is entered when the dividend is paid.
            on = date.fromisoformat(entry.key.rpartition(":")[2]) if tax else entry.session
            sum_of = sums.setdefault((EntryKind.DIVIDEND if tax else entry.kind, entry.security_id, on), [Decimal(0)] * 2)
            sum_of[tax] += -entry.cash if tax else entry.cash
            symbols[entry.security_id] = entry.symbol
    found = [
        CashDue(f"cash:{kind}:{security}:{on}", kind, security, symbols[security], on, cash, withheld)
        for (kind, security, on), (cash, withheld) in sums.items()
        if cash - withheld
    ]
    return sorted((due for due in found if due.key not in settled), key=lambda due: (due.ex_date, due.key))


def share_dues(entered: Iterable[Entry], missing: Iterable[Entry]) -> list[ShareDue]:
    """As `cash_dues`, of shares; settled ones too."""
    sums: dict[tuple[EntryKind, int, date], list[int]] = {}
    symbols: dict[int, str] = {}
    for which, entries in enumerate((entered, missing)):
        for entry in entries:
            if (
                entry.kind in SHARES_FOLLOW_WITHIN
                and entry.quantity
                and entry.security_id is not None
                and not is_given_back(entry)
            ):
                sums.setdefault((entry.kind, entry.security_id, entry.session), [0, 0])[which] += entry.quantity
                symbols[entry.security_id] = entry.symbol
    found = [
        ShareDue(f"shares:{kind}:{security}:{on}", kind, security, symbols[security], on, *both)
        for (kind, security, on), both in sums.items()
    ]
    return sorted(found, key=lambda due: (due.ex_date, due.key))


def explain_cash(dues: Sequence[CashDue], difference: Decimal, today: date, rate: Decimal = Decimal(0)) -> Explanation | None:
    """Which of the unsettled `dues` explain `difference`, the broker's cash less the ledger's with every due in it; None: none do.

    Between two comparisons a few dues are paid, or, after a longer while, the oldest: any three, or all up to one ex-date. Every
    other sum of dues explains nothing. `rate` is the share that the broker withholds of dividends. Overdue ones are taken as paid.
    """
    open_dues = [due for due in dues if due.last_day >= today]
    all_wait = -sum((due.cash - due.withheld for due in open_dues), Decimal(0))
    found = [
        paid
        for paid in _choices(open_dues, today, rate)
        if abs(all_wait + sum((_amount(due, how, rate) for due, how in paid.items()), Decimal(0)) - difference) <= TOLERANCE
    ]
    if not found:
        return None
    first = min(found, key=len)  # the fewest payments
    certain = {due: how for due, how in first.items() if all(other.get(due) == how for other in found)}
    return Explanation([due for due in open_dues if due not in first], certain, len(found) - 1)


def paid_amount(due: CashDue, how: Paid, rate: Decimal) -> Decimal:
    """What the broker has paid, USD."""
    return _amount(due, how, rate)


def _choices(dues: Sequence[CashDue], today: date, rate: Decimal) -> Iterator[dict[CashDue, Paid]]:
    payable = [due for due in dues if due.ex_date <= today]
    sets = [some for count in range(min(len(payable), _MOST_AT_ONCE) + 1) for some in combinations(payable, count)]
    sets += [tuple(payable[:count]) for count in range(_MOST_AT_ONCE + 1, len(payable) + 1)]
    for some in sets:
        if len(some) <= _MOST_AT_ONCE:
            for hows in product(*(_ways(due, rate) for due in some)):
                yield dict(zip(some, hows, strict=True))
        else:  # of so many, all were paid alike
            alike = [{due: _ways(due, rate)[way] for due in some} for way in (0, -1)]
            yield from alike if alike[0] != alike[1] else alike[:1]


def _ways(due: CashDue, rate: Decimal) -> Sequence[Paid]:
    taxed = due.kind is EntryKind.DIVIDEND and rate > 0 and not due.withheld
    return (Paid.GROSS, Paid.NET) if taxed else (Paid.NET,) if due.withheld else (Paid.GROSS,)


def _amount(due: CashDue, how: Paid, rate: Decimal) -> Decimal:
    return due.net(rate) if how is Paid.NET and rate > 0 else due.cash - due.withheld


def explain_shares(
    dues: Sequence[ShareDue], difference: Decimal, settled: Collection[str], today: date
) -> Sequence[ShareDue] | None:
    """The dues on one security that the broker has not applied yet, when they explain `difference`: the broker's shares less the
    ledger's with every due in them. It applies them in their order. None: they explain nothing."""
    waiting: list[ShareDue] = []
    if difference == 0:
        return waiting
    for due in sorted(dues, key=lambda due: due.ex_date, reverse=True):
        if due.key in settled or due.last_day < today:
            break
        waiting.insert(0, due)
        if difference == -sum(one.quantity for one in waiting):
            return waiting
    return None
