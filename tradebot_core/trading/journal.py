"""The journal of a simulated sleeve, in memory: the same promises as the ledger, for one backtest."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime

from tradebot_core.model.order import (
    TERMINAL_STATES,
    Fill,
    OrderIntent,
    OrderState,
    RiskVerdict,
    Side,
    next_state,
    unknown_order,
)
from tradebot_core.model.portfolio import Book, Entry, fill_entries, fold_order

_CARRIED_OVER = 3  # an order that waits for the next open has been new, sending and working


class MemoryJournal:
    """One sleeve's journal. `book` is its opening book; `working` are orders carried over from before, `unfilled` those
    that ended without a fill not long before: session of the decision, security, side."""

    def __init__(
        self, book: Book, working: Iterable[OrderIntent] = (), unfilled: Iterable[tuple[date, int, Side]] = ()
    ) -> None:
        self._book = book
        self._opening = book
        self.intents: dict[str, tuple[OrderIntent, RiskVerdict]] = {}
        self.states: dict[str, OrderState] = {}
        self.reached: list[tuple[datetime, str, int, OrderState, str]] = []  # at, order, sequence, state, detail
        self._sequence: dict[str, int] = {}
        self.fills: dict[str, Fill] = {}
        self._fills_of: dict[str, list[Fill]] = {}
        self.entries: list[Entry] = []
        self._keys: set[str] = set()
        self._open: dict[str, OrderIntent] = {}
        self._ended: dict[str, OrderIntent] = {}
        self._planned: set[date] = set()
        self._unfilled: dict[str, tuple[date, int, Side]] = {f"carried {n}": order for n, order in enumerate(unfilled)}
        for intent in working:
            self._unfilled[intent.key] = (intent.session, intent.security_id, intent.side)
            self._open[intent.key] = intent
            self.states[intent.key] = OrderState.WORKING
            self._sequence[intent.key] = _CARRIED_OVER

    def commit_orders(
        self, strategy: str, session: date, orders: Sequence[tuple[OrderIntent, RiskVerdict]], at: datetime
    ) -> bool:
        if session in self._planned:
            return False
        self._planned.add(session)
        for intent, verdict in orders:
            self.intents[intent.key] = (intent, verdict)
            self._reach(intent.key, OrderState.NEW if verdict.approved else OrderState.REFUSED, at, "")
            if verdict.approved:
                self._open[intent.key] = intent
        return True

    def record_state(
        self,
        order_key: str,
        state: OrderState,
        at: datetime,
        detail: str = "",
        broker_order_id: str = "",
        own_fault: bool = False,
    ) -> bool:
        if not next_state(order_key, self.state_of(order_key), state):
            return False
        self._reach(order_key, state, at, detail)
        if state is OrderState.SENDING and order_key in self._open:
            intent = self._open[order_key]
            self._unfilled[order_key] = (intent.session, intent.security_id, intent.side)
        elif state is OrderState.NEW:  # it could not be sent
            self._unfilled.pop(order_key, None)
        if state in TERMINAL_STATES and order_key in self._open:
            self._ended[order_key] = self._open.pop(order_key)
        elif state not in TERMINAL_STATES and order_key in self._ended:  # it lives after all
            self._open[order_key] = self._ended.pop(order_key)
        return True

    def record_fill(self, strategy: str, fill: Fill) -> bool:
        if fill.execution_id in self.fills:
            return False
        if fill.order_key not in self.states:
            raise unknown_order(fill.order_key)
        self.fills[fill.execution_id] = fill
        self._fills_of.setdefault(fill.order_key, []).append(fill)
        self._unfilled.pop(fill.order_key, None)
        self.post(strategy, fill_entries(fill))
        return True

    def fills_of(self, order_key: str) -> list[Fill]:
        return self._fills_of.get(order_key, [])

    def post(self, strategy: str, entries: Sequence[Entry]) -> int:
        first: dict[str, Entry] = {}
        for entry in entries:
            if entry.key not in self._keys:
                first.setdefault(entry.key, entry)
        fresh = list(first.values())
        entries = [*self.entries[-1:], *fresh]
        if entries == sorted(entries, key=fold_order):
            self._book = self._book.apply_all(fresh)
            self.entries.extend(fresh)
        else:
            ordered = sorted([*self.entries, *fresh], key=fold_order)
            self._book = self._opening.apply_all(ordered)
            self.entries = ordered
        self._keys.update(entry.key for entry in fresh)
        return len(fresh)

    def open_orders(self, strategy: str) -> Sequence[tuple[OrderIntent, OrderState]]:
        return [(intent, self.states[key]) for key, intent in self._open.items()]

    def book(self, strategy: str, until: date) -> Book:
        if not self.entries or self.entries[-1].session <= until:
            return self._book
        return self._opening.apply_all(entry for entry in self.entries if entry.session <= until)

    def unfilled(self, strategy: str, since: date, before: date) -> Mapping[tuple[int, Side], int]:
        return Counter((security, side) for on, security, side in self._unfilled.values() if since <= on < before)

    def state_of(self, order_key: str) -> OrderState:
        if order_key not in self.states:
            raise unknown_order(order_key)
        return self.states[order_key]

    def record_check(self, order_key: str, verdict: RiskVerdict, at: datetime, detail: str) -> bool:
        if order_key not in self.states:
            raise unknown_order(order_key)
        if self.states[order_key] is not OrderState.NEW:
            return False
        if not verdict.approved:
            self.intents[order_key] = (self.intents[order_key][0], verdict)
            self.record_state(order_key, OrderState.REFUSED, at, detail)
        return True

    def ended_unfilled(self, since: date) -> tuple[tuple[date, int, Side], ...]:
        """What a walk from here on must be told of: the orders decided from `since` on that are over and have no fill. Older ones
        are forgotten."""
        self._unfilled = {key: order for key, order in self._unfilled.items() if order[0] >= since}
        return tuple(sorted(order for key, order in self._unfilled.items() if key not in self._open))

    def _reach(self, order_key: str, state: OrderState, at: datetime, detail: str) -> None:
        sequence = self._sequence[order_key] = self._sequence.get(order_key, 0) + 1
        self.states[order_key] = state
        self.reached.append((at, order_key, sequence, state, detail))
