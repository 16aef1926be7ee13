"""Parity: what a replay of the stored events reached, against the verdicts and decisions that the tables hold."""

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from tradebot_core.calendar import TradingCalendar
from tradebot_core.errors import MissingData
from tradebot_core.interfaces import DataStore
from tradebot_core.model.event import Event, EventType
from tradebot_core.model.tables import BOOKS, DECISIONS, LAYERS
from tradebot_core.quant.panel import first_bar_needed
from tradebot_core.strategy import Strategy
from tradebot_core.trading.book_state import BookState
from tradebot_core.trading.order_trail import BACKTEST
from tradebot_core.trading.replay import Difference, Replay, differences
from tradebot_core.trading.stored_markets import MARKET

_PER_SESSION = (EventType.PRICE_BAR, EventType.SESSION_CLOSE)


@dataclass(frozen=True)
class Parity:
    """How many stored rows were compared, by table (layers as layers.<name>), and what differed."""

    events: int
    compared: dict[str, int]
    differences: tuple[Difference, ...]


def stored_opening(
    store: DataStore, calendar: TradingCalendar, strategy: str, capital: Decimal, start: date
) -> tuple[BookState, Decimal | None]:
    """The book that the stored backtest began `start` with, and the capital deposited there when it was a new one."""
    first = store.read_results(BOOKS, strategy, BACKTEST, start, start)
    if first.is_empty():
        raise MissingData(f"{strategy} has no backtest of {start}.", f"Run `tradebot backtest {strategy}` over it first.")
    if first["before"][0] == "":
        return BookState.empty(BookState.from_json(first["state"][0]).fingerprint), capital
    day_before = calendar.previous(start)
    before = store.read_results(BOOKS, strategy, BACKTEST, day_before, day_before)
    if before.is_empty() or before["after"][0] != first["before"][0]:
        raise MissingData(
            f"The book that the backtest of {strategy} continued on {start} is no longer stored.",
            f"Run `tradebot backtest {strategy}` again from its first session.",
        )
    return BookState.from_json(before["state"][0]), None


def events_for(
    store: DataStore, calendar: TradingCalendar, subscriptions: Sequence[EventType], start: date, end: date
) -> Iterator[Event]:
    """What a strategy must hear to decide the sessions: everything ever known, and as many bars as the first one looks at."""
    bars = store.events(first_bar_needed(start, calendar), end, _PER_SESSION)
    others = store.events(date.min, end, [kind for kind in subscriptions if kind not in _PER_SESSION])
    # The store orders each; merging keeps the first in front at the same instant, and EventType lists bars and closes last.
    return heapq.merge(others, bars, key=lambda event: event.timestamp)


def compare(store: DataStore, strategy: Strategy, replayed: Replay, start: date, end: date) -> Parity:
    """Every stored row of the range, exactly."""
    name, compared, found = strategy.name, {}, []
    for layer in strategy.layers():
        stored = store.read_results(LAYERS, name, MARKET, start, end, layer.name)
        table = f"layers.{layer.name}"
        compared[table] = len(stored)
        found += differences(table, stored, replayed.layers.get(layer.name, stored.clear()))
    stored = store.read_results(DECISIONS, name, BACKTEST, start, end)
    compared[DECISIONS.name] = len(stored)
    found += differences(DECISIONS.name, stored, replayed.walk.table(DECISIONS))
    return Parity(replayed.events, compared, tuple(found))
