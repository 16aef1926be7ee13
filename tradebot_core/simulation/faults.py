"""The faults of brokers and gateways that the simulated TWS can be told to have, and when.

Each was seen at a real gateway, or in what clients wrote about one. A script counts what happens from when a fault was added.
"""

import logging
import re
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from tradebot_core.errors import UsageError

_log = logging.getLogger(__name__)


class Place(StrEnum):
    """Where a fault can happen: at which connection, order, request."""

    CONNECTION = "connection"
    REQUEST = "request"  # of any kind
    ORDER = "order"  # that is to be placed
    WHAT_IF = "what_if"
    CANCEL = "cancel"
    OPEN_ORDERS = "open_orders"
    COMPLETED = "completed"
    EXECUTIONS = "executions"
    POSITIONS = "positions"
    CONTRACT = "contract"
    HISTORY = "history"
    QUOTE = "quote"
    FUNDAMENTALS = "fundamentals"
    TIME = "time"


class FaultKind(StrEnum):
    NO_ACK = "no_ack"
    ACK_THEN_DROP = "ack_then_drop"
    TAKEN_THEN_DROP = "taken_then_drop"
    FILL_BEFORE_STATUS = "fill_before_status"
    LATE_SUBMITTED = "late_submitted"
    TOLD_TWICE = "told_twice"
    CORRECTION = "correction"
    IN_PARTS = "in_parts"
    TWO_PERM_IDS = "two_perm_ids"
    ERROR_201 = "error_201"
    ERROR_321 = "error_321"
    ERROR_326 = "error_326"
    ERROR_10148 = "error_10148"
    ERROR_10349 = "error_10349"
    ERROR_10358 = "error_10358"
    ACCEPT_THEN_CLOSE = "accept_then_close"
    ID_ROLLBACK = "id_rollback"
    PLAIN_LEDGER_KEYS = "plain_ledger_keys"
    LINK_LOST = "link_lost"
    SILENCE = "silence"
    UNANSWERED = "unanswered"
    HANG = "hang"
    DROP = "drop"


@dataclass(frozen=True, slots=True)
class Entry:
    """What a fault is, in a sentence, and where it can happen; the first place is meant where none is named."""

    says: str
    places: tuple[Place, ...]


_ORDER = (Place.ORDER,)
_CONNECTION = (Place.CONNECTION,)
_REQUESTS = tuple(place for place in Place if place is not Place.CONNECTION)

CATALOGUE: Mapping[FaultKind, Entry] = {
    FaultKind.NO_ACK: Entry("TWS takes the order and never says a word of it on this connection.", _ORDER),
    FaultKind.ACK_THEN_DROP: Entry("TWS acknowledges the order, then the connection closes.", _ORDER),
    FaultKind.TAKEN_THEN_DROP: Entry("TWS takes the order, and the connection closes before it is acknowledged.", _ORDER),
    FaultKind.FILL_BEFORE_STATUS: Entry("The first word of the order is its execution; until then nothing is said.", _ORDER),
    FaultKind.LATE_SUBMITTED: Entry("After Filled comes an older status of the order: Submitted, 0 filled.", _ORDER),
    FaultKind.TOLD_TWICE: Entry("Every message about the order comes twice.", _ORDER),
    FaultKind.CORRECTION: Entry(
        "The exchange corrects the order's first execution by a cent: the same id with a higher last part.", _ORDER
    ),
    FaultKind.IN_PARTS: Entry("The order fills in three executions, ten minutes apart.", _ORDER),
    FaultKind.TWO_PERM_IDS: Entry("IBKR places the order twice: the same ids and reference, two permIds.", _ORDER),
    FaultKind.ERROR_201: Entry("The order is rejected (201) and stays on the day's list as Inactive.", _ORDER),
    FaultKind.ERROR_321: Entry(
        "The request is not valid (321) and nothing comes of it; ib_async takes that for a warning and waits on.",
        (
            Place.ORDER,
            Place.HISTORY,
            Place.OPEN_ORDERS,
            Place.EXECUTIONS,
            Place.CONTRACT,
            Place.QUOTE,
            Place.FUNDAMENTALS,
        ),
    ),
    FaultKind.ERROR_326: Entry("The client id is in use (326), and the connection closes.", _CONNECTION),
    FaultKind.ERROR_10148: Entry("The order fills just before the cancellation, which is too late (10148).", (Place.CANCEL,)),
    FaultKind.ERROR_10349: Entry(
        "A remark on the order (10349), for which ib_async shows it as Cancelled; then it is Submitted.", _ORDER
    ),
    FaultKind.ERROR_10358: Entry("Fundamental data is not allowed (10358), whatever the login has.", (Place.FUNDAMENTALS,)),
    FaultKind.ACCEPT_THEN_CLOSE: Entry(
        "The connection is accepted and closes at once: a relay without a gateway.", _CONNECTION
    ),
    FaultKind.ID_ROLLBACK: Entry("The next order id of the client is 1 again, as after some restarts.", _CONNECTION),
    FaultKind.PLAIN_LEDGER_KEYS: Entry("Account values by currency come without `$LEDGER-`: an older gateway.", _CONNECTION),
    FaultKind.LINK_LOST: Entry(
        "TWS loses IBKR (1100) until the market's clock is ten minutes on (1102); orders sent meanwhile vanish, "
        "and nothing is said of what filled.",
        (Place.ORDER, Place.REQUEST, Place.CONNECTION),
    ),
    FaultKind.SILENCE: Entry(
        "From here on nothing gets through in either direction, and the connection stays open.", (Place.CONNECTION, *_REQUESTS)
    ),
    FaultKind.UNANSWERED: Entry("The request is lost on its way to TWS: nothing is done, nothing answered.", _REQUESTS),
    FaultKind.HANG: Entry(
        "The list comes without the message that ends it.",
        (Place.COMPLETED, Place.EXECUTIONS, Place.OPEN_ORDERS, Place.POSITIONS),
    ),
    FaultKind.DROP: Entry("The connection closes instead of an answer, and nothing is done.", _REQUESTS),
}


@dataclass(frozen=True, slots=True)
class Fault:
    """`kind` happens at the `first` to the `last` connection, order or request of its place (counted from 1); to all from the
    first on when `last` is None. Raises UsageError where it cannot happen."""

    kind: FaultKind
    place: Place
    first: int = 1
    last: int | None = 1

    def __post_init__(self) -> None:
        places = CATALOGUE[self.kind].places
        if self.place not in places:
            raise UsageError(f"{self.kind} does not happen at {self.place}.", f"It happens at {', '.join(places)}.")
        if not 1 <= self.first <= (self.first if self.last is None else self.last):
            raise UsageError(f"{self} counts from nowhere to nowhere.", "Count from 1: 3, 2-4, or 3- for all from the third.")

    def __str__(self) -> str:
        times = "" if self.last == self.first else "-" if self.last is None else f"-{self.last}"
        return f"{self.kind}@{self.place}:{self.first}{times}"

    @classmethod
    def of(cls, kind: FaultKind, nth: int = 1) -> "Fault":
        """Once, at the usual place of its kind."""
        return cls(kind, CATALOGUE[kind].places[0], nth, nth)


_FORM = re.compile(r"(?P<kind>\w+)(@(?P<place>\w+)(:(?P<first>\d{1,9})(?P<range>-(?P<last>\d{1,9})?)?)?)?")


def parse_fault(text: str) -> Fault:
    """`kind`, `kind@place`, `kind@place:3` (the third), `kind@place:2-4`, `kind@place:3-` (from the third on). Raises UsageError."""
    form = _FORM.fullmatch(text) if text.isascii() else None
    if form is None:
        raise UsageError(f"{text!r} is not a fault.", "Write kind@place:number, for example no_ack@order:3.")
    if form["kind"] not in list(FaultKind):
        raise UsageError(f"{form['kind']!r} is not a fault.", f"Known are {', '.join(FaultKind)}.")
    kind = FaultKind(form["kind"])
    place = form["place"] or CATALOGUE[kind].places[0]
    if place not in list(Place):
        raise UsageError(f"{place!r} is not a place of faults.", f"{kind} happens at {', '.join(CATALOGUE[kind].places)}.")
    first = int(form["first"] or 1)
    last = first if form["range"] is None else int(form["last"]) if form["last"] else None
    return Fault(kind, Place(place), first, last)


class FaultScript:
    """Faults that are still to come. Safe to use from several threads: the server's, and that of whoever adds faults."""

    def __init__(self, faults: Iterable[Fault] = ()) -> None:
        self._lock = threading.Lock()
        self._armed: list[tuple[Fault, list[int]]] = []
        self._happened: list[Fault] = []
        self.add(*faults)

    def add(self, *faults: Fault) -> None:
        """Each counts from now on."""
        with self._lock:
            self._armed += [(fault, [0]) for fault in faults]

    def clear(self) -> None:
        """What has not happened yet does not happen."""
        with self._lock:
            self._armed.clear()

    @property
    def happened(self) -> tuple[Fault, ...]:
        with self._lock:
            return tuple(self._happened)

    def at(self, *places: Place) -> frozenset[FaultKind]:
        """Counts one more of each of the places; the faults that happen at it."""
        with self._lock:
            due = [fault for fault, count in self._armed if fault.place in places and _counted(fault, count)]
            self._armed = [(fault, count) for fault, count in self._armed if fault.last is None or count[0] < fault.last]
            self._happened += due
        for fault in due:
            _log.warning("scripted fault: %s", fault)
        return frozenset(fault.kind for fault in due)


def _counted(fault: Fault, count: list[int]) -> bool:
    count[0] += 1
    return count[0] >= fault.first  # the script drops a fault after its last
