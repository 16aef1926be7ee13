"""The trail of an order: from an order key or execution id to its decision, and from a decision to its orders and fills."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal

import polars as pl

from tradebot_core.errors import UsageError
from tradebot_core.interfaces import DataStore
from tradebot_core.model.tables import FILLS, ORDER_STATES, ORDERS
from tradebot_core.trading import reasoning
from tradebot_core.trading.live import LIVE

BACKTEST = "backtest"


@dataclass(frozen=True)
class CheckMade:
    """A look of the risk gate just before the order would be sent. `detail` is what it looked at."""

    at: datetime
    approved: bool
    rule: str
    value: float | None
    limit: float | None
    detail: str


@dataclass(frozen=True)
class OrderMade:
    """`rule`, `value` and `limit` are the risk gate's verdict, its last one where that refused; `state` is the last one reached."""

    order_key: str
    side: str
    quantity: int
    reference_price: Decimal
    approved: bool
    rule: str
    value: float | None
    limit: float | None
    reasoning: str
    state: str
    detail: str
    checks: tuple[CheckMade, ...] = ()


@dataclass(frozen=True)
class FillMade:
    execution_id: str
    order_key: str
    session: date
    side: str
    quantity: int
    price: Decimal
    commission: Decimal | None  # None until the broker has reported it
    filled_at: datetime


@dataclass(frozen=True)
class Subject:
    """What an order key or execution id is about: the decision behind it."""

    strategy: str
    symbol: str
    session: date
    book: str


def subject_of(store: DataStore, strategies: Sequence[str], identifier: str, book: str | None = None) -> Subject:
    """The decision behind an order key or an execution id, looked for in the live books first. UsageError when there is none."""
    for searched in (LIVE, BACKTEST) if book is None else (book,):
        for name in strategies:
            live = searched == LIVE
            fills = store.ledger.fills(name) if live else store.read_results(FILLS, name, searched)
            keys = [identifier, *fills.filter(pl.col("execution_id") == identifier)["order_key"]]
            orders = store.ledger.orders(name) if live else store.read_results(ORDERS, name, searched)
            found = orders.filter(pl.col("order_key").is_in(keys))
            if not found.is_empty():
                return Subject(name, found["symbol"][0], found["session"][0], searched)
    raise UsageError(
        f"There is no order or execution {identifier}.",
        "Order keys and execution ids are in `tradebot export orders` and `tradebot export fills`.",
    )


def orders_of(store: DataStore, strategy: str, security: int, session: date, book: str) -> tuple[OrderMade, ...]:
    """The orders made of the session's decision about one security. A review has none."""
    checks = _checks_of(store, strategy, session) if book == LIVE else {}
    rows = orders_with_state(store, strategy, book, session, session)
    return tuple(
        OrderMade(
            row["order_key"],
            row["side"],
            row["quantity"],
            Decimal(row["reference_price"]),
            row["approved"],
            row["rule"],
            row["value"],
            row["limit"],
            reasoning.of_order(row["approved"], row["rule"], row["value"], row["limit"]),
            row["state"],
            row["detail"],
            tuple(checks.get(row["order_key"], ())),
        )
        for row in rows.filter(pl.col("security_id") == security).iter_rows(named=True)
    )


def _checks_of(store: DataStore, strategy: str, session: date) -> dict[str, list[CheckMade]]:
    """By order key, of the orders decided in a session."""
    made: dict[str, list[CheckMade]] = {}
    for key, *check in store.ledger.checks(strategy, session, session).iter_rows():
        made.setdefault(key, []).append(CheckMade(*check))
    return made


def orders_with_state(
    store: DataStore, strategy: str, book: str, start: date | None = None, end: date | None = None
) -> pl.DataFrame:
    """The orders decided from `start` to `end`, each with the last state it reached (in whatever session) and its detail."""
    if book == LIVE:
        return store.ledger.orders(strategy, start, end)
    orders = store.read_results(ORDERS, strategy, book, start, end)
    states = store.read_results(ORDER_STATES, strategy, book, start)
    last = states.sort("order_key", "sequence").unique("order_key", keep="last", maintain_order=True)
    return orders.join(last.select("order_key", "state", "detail"), on="order_key", how="left", maintain_order="left")


def fills_of(store: DataStore, strategy: str, keys: Sequence[str], session: date, book: str) -> tuple[FillMade, ...]:
    """The fills of these orders, in whatever session they came."""
    if not keys:
        return ()
    rows = store.ledger.fills(strategy, session) if book == LIVE else store.read_results(FILLS, strategy, book, session)
    return tuple(
        FillMade(
            row["execution_id"],
            row["order_key"],
            row["session"],
            row["side"],
            row["quantity"],
            Decimal(row["price"]),
            None if row["commission"] is None else Decimal(row["commission"]),
            row["filled_at"],
        )
        for row in rows.filter(pl.col("order_key").is_in(list(keys))).iter_rows(named=True)
    )
