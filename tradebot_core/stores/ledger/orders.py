"""Orders: committed as a session's plan, then state after state as model.order.TRANSITIONS allows."""

import json
import sqlite3
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from typing import ClassVar

import polars as pl

from tradebot_core.interfaces import OtherOrders
from tradebot_core.model.order import TERMINAL_STATES, OrderIntent, OrderState, RiskVerdict, Side, next_state, unknown_order
from tradebot_core.model.tables import ORDERS
from tradebot_core.stores.ledger.file import LedgerFile

_LAST_STATE = "SELECT order_key, state, detail, MAX(sequence) FROM order_states GROUP BY order_key"

_REFUSAL = "SELECT order_key, rule, value, threshold, approved FROM checks WHERE approved = 0"
_CHECKS = {
    "order_key": pl.String,
    "at": pl.Datetime("us", "UTC"),
    "approved": pl.Boolean,
    "rule": pl.String,
    "value": pl.Float64,
    "limit": pl.Float64,
    "detail": pl.String,
}


class Orders(LedgerFile):
    tables: ClassVar[Mapping[str, str]] = {
        "plans": "strategy TEXT NOT NULL, session TEXT NOT NULL, committed_at TEXT NOT NULL, PRIMARY KEY (strategy, session)",
        "intents": "order_key TEXT PRIMARY KEY, strategy TEXT NOT NULL, session TEXT NOT NULL, intent TEXT NOT NULL, "
        "approved INTEGER NOT NULL, rule TEXT NOT NULL, value REAL, threshold REAL",
        "order_states": "sequence INTEGER PRIMARY KEY AUTOINCREMENT, order_key TEXT NOT NULL REFERENCES intents, state TEXT NOT NULL, "
        "at TEXT NOT NULL, detail TEXT NOT NULL, broker_order_id TEXT NOT NULL",
        # The gate's looks at an order just before it went out. A refusal among them takes the place of the verdict it was planned with.
        "checks": "sequence INTEGER PRIMARY KEY AUTOINCREMENT, order_key TEXT NOT NULL REFERENCES intents, at TEXT NOT NULL, "
        "approved INTEGER NOT NULL, rule TEXT NOT NULL, value REAL, threshold REAL, detail TEXT NOT NULL",
        # Rejected for a reason of the order or its security, which says nothing about the account.
        "own_faults": "order_key TEXT PRIMARY KEY REFERENCES intents",
    }

    def is_planned(self, strategy: str, session: date) -> bool:
        with self._connection() as database:
            found = database.execute("SELECT 1 FROM plans WHERE strategy = ? AND session = ?", (strategy, session.isoformat()))
            return found.fetchone() is not None

    def commit_orders(
        self, strategy: str, session: date, orders: Sequence[tuple[OrderIntent, RiskVerdict]], at: datetime
    ) -> bool:
        return self.commit_plan(strategy, session, lambda _: orders, at)

    def commit_plan(
        self,
        strategy: str,
        session: date,
        plan: Callable[[OtherOrders], Sequence[tuple[OrderIntent, RiskVerdict]]],
        at: datetime,
    ) -> bool:
        with self._transaction() as database:
            planned = database.execute(
                "INSERT INTO plans VALUES (?, ?, ?) ON CONFLICT DO NOTHING", (strategy, session.isoformat(), at.isoformat())
            )
            if planned.rowcount == 0:
                return False
            approved = database.execute(
                "SELECT intent FROM intents WHERE session = ? AND strategy <> ? AND approved = 1",
                (session.isoformat(), strategy),
            ).fetchall()
            others = [OrderIntent.from_dict(json.loads(text)) for (text,) in approved]
            seen = OtherOrders(len(others), frozenset((order.security_id, order.side) for order in others))
            for intent, verdict in plan(seen):
                text = json.dumps(intent.to_dict(), sort_keys=True)
                database.execute(
                    "INSERT INTO intents VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                    (
                        intent.key,
                        strategy,
                        session.isoformat(),
                        text,
                        int(verdict.approved),
                        verdict.rule,
                        verdict.value,
                        verdict.limit,
                    ),
                )
                state = OrderState.NEW if verdict.approved else OrderState.REFUSED
                _insert_state(database, intent.key, state, at, "", "")
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
        with self._transaction() as database:
            if not next_state(order_key, _state_of(database, order_key), state):
                return False
            _insert_state(database, order_key, state, at, detail, broker_order_id)
            if own_fault and state is OrderState.REJECTED:
                database.execute("INSERT INTO own_faults VALUES (?) ON CONFLICT DO NOTHING", (order_key,))
            return True

    def state_of(self, order_key: str) -> OrderState:
        with self._connection() as database:
            return _state_of(database, order_key)

    def open_orders(self, strategy: str) -> Sequence[tuple[OrderIntent, OrderState]]:
        with self._connection() as database:
            rows = database.execute(
                f"SELECT intent, state FROM intents JOIN ({_LAST_STATE}) USING (order_key) WHERE strategy = ? ORDER BY intents.rowid",
                (strategy,),
            ).fetchall()
        orders = [(OrderIntent.from_dict(json.loads(intent)), OrderState(state)) for intent, state in rows]
        return [(intent, state) for intent, state in orders if state not in TERMINAL_STATES]

    def orders(self, strategy: str, start: date | None = None, end: date | None = None) -> pl.DataFrame:
        with self._connection() as database:
            rows = database.execute(
                "SELECT intent, COALESCE(r.approved, i.approved), COALESCE(r.rule, i.rule), "
                "CASE WHEN r.rule IS NULL THEN i.value ELSE r.value END, "
                "CASE WHEN r.rule IS NULL THEN i.threshold ELSE r.threshold END, state, detail FROM intents i "
                f"JOIN ({_LAST_STATE}) USING (order_key) LEFT JOIN ({_REFUSAL}) r USING (order_key) "
                "WHERE strategy = ? AND session BETWEEN ? AND ? ORDER BY session, order_key",
                (strategy, (start or date.min).isoformat(), (end or date.max).isoformat()),
            ).fetchall()
        records = []
        for intent, approved, rule, value, limit, state, detail in rows:
            order = json.loads(intent)
            record = {column: order[column] for column in ORDERS.schema if column in order}
            record |= {"session": date.fromisoformat(order["session"]), "order_key": order["key"], "approved": bool(approved)}
            records.append(record | {"rule": rule, "value": value, "limit": limit, "state": state, "detail": detail})
        return pl.DataFrame(records, schema={**ORDERS.schema, "state": pl.String, "detail": pl.String})

    def record_check(self, order_key: str, verdict: RiskVerdict, at: datetime, detail: str) -> bool:
        with self._transaction() as database:
            if _state_of(database, order_key) is not OrderState.NEW:
                return False
            database.execute(
                "INSERT INTO checks (order_key, at, approved, rule, value, threshold, detail) VALUES (?, ?, ?, ?, ?, ?, ?)",
                (order_key, at.isoformat(), int(verdict.approved), verdict.rule, verdict.value, verdict.limit, detail),
            )
            if not verdict.approved:
                _insert_state(database, order_key, OrderState.REFUSED, at, detail, "")
            return True

    def checks(self, strategy: str, start: date | None = None, end: date | None = None) -> pl.DataFrame:
        with self._connection() as database:
            rows = database.execute(
                "SELECT c.order_key, c.at, c.approved, c.rule, c.value, c.threshold, c.detail FROM checks c "
                "JOIN intents USING (order_key) WHERE strategy = ? AND session BETWEEN ? AND ? ORDER BY c.sequence",
                (strategy, (start or date.min).isoformat(), (end or date.max).isoformat()),
            ).fetchall()
        typed = [(key, datetime.fromisoformat(at), bool(approved), *rest) for key, at, approved, *rest in rows]
        return pl.DataFrame(typed, schema=_CHECKS, orient="row")

    def unfilled(self, strategy: str, since: date, before: date) -> Mapping[tuple[int, Side], int]:
        def last(state: OrderState) -> str:
            return f"(SELECT MAX(sequence) FROM order_states s WHERE s.order_key = intents.order_key AND s.state = '{state}')"

        with self._connection() as database:
            rows = database.execute(  # an order that could not be sent at all went back from sending to new
                "SELECT intent FROM intents WHERE strategy = ? AND session >= ? AND session < ? "
                f"AND {last(OrderState.SENDING)} > {last(OrderState.NEW)} "
                "AND NOT EXISTS (SELECT 1 FROM fills WHERE fills.order_key = intents.order_key)",
                (strategy, since.isoformat(), before.isoformat()),
            ).fetchall()
        orders = [OrderIntent.from_dict(json.loads(intent)) for (intent,) in rows]
        return Counter((order.security_id, order.side) for order in orders)

    def rejected(self, session: date) -> int:
        return self._rejected("session = ? AND order_key NOT IN (SELECT order_key FROM own_faults)", session.isoformat())

    def rejected_of(self, strategy: str, session: date) -> int:
        return self._rejected("session = ? AND strategy = ?", session.isoformat(), strategy)

    def _rejected(self, which: str, *values: str) -> int:
        with self._connection() as database:
            (count,) = database.execute(
                f"SELECT COUNT(*) FROM intents JOIN ({_LAST_STATE}) USING (order_key) WHERE state = ? AND {which}",
                (str(OrderState.REJECTED), *values),
            ).fetchone()
        return count

    def strategies(self) -> Sequence[str]:
        with self._connection() as database:
            return [name for (name,) in database.execute("SELECT DISTINCT strategy FROM intents ORDER BY strategy")]


def _state_of(database: sqlite3.Connection, order_key: str) -> OrderState:
    last = database.execute(
        "SELECT state FROM order_states WHERE order_key = ? ORDER BY sequence DESC LIMIT 1", (order_key,)
    ).fetchone()
    if last is None:
        raise unknown_order(order_key)
    return OrderState(last[0])


def _insert_state(
    database: sqlite3.Connection, order_key: str, state: OrderState, at: datetime, detail: str, broker_order_id: str
) -> None:
    database.execute(
        "INSERT INTO order_states (order_key, state, at, detail, broker_order_id) VALUES (?, ?, ?, ?, ?)",
        (order_key, str(state), at.isoformat(), detail, broker_order_id),
    )
