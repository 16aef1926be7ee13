"""The ledger in SQLite: append-only tables (triggers refuse update and delete), every call one committed transaction."""

import json
import secrets
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path

import polars as pl

from tradebot_core.errors import ConfigurationError, ExecutionError, NotPermitted, ReconciliationError, StoreError
from tradebot_core.interfaces import Arm, DecisionSet, ExternalEntry, OtherOrders, Permit, Purpose
from tradebot_core.model.order import TERMINAL_STATES, TRANSITIONS, Fill, OrderIntent, OrderState, RiskVerdict, Side
from tradebot_core.model.portfolio import Book, Entry, EntryKind, correction_entries, fill_entries, fold_order
from tradebot_core.model.tables import FILLS, ORDERS
from tradebot_core.stores.halt_file import HaltFile

_TABLES = {
    "venues": "venue TEXT NOT NULL, one INTEGER PRIMARY KEY CHECK (one = 1)",
    "permits": "sequence INTEGER PRIMARY KEY AUTOINCREMENT, permit_id TEXT NOT NULL UNIQUE, session TEXT NOT NULL, "
    "purpose TEXT NOT NULL, issued_at TEXT NOT NULL, expires_at TEXT NOT NULL",
    "claims": "permit_id TEXT NOT NULL REFERENCES permits (permit_id), strategy TEXT NOT NULL, run_id TEXT NOT NULL, "
    "claimed_at TEXT NOT NULL, PRIMARY KEY (permit_id, strategy)",
    "decision_sets": "strategy TEXT NOT NULL, session TEXT NOT NULL, digest TEXT NOT NULL, live INTEGER NOT NULL, "
    "run_id TEXT NOT NULL, decided_at TEXT NOT NULL",
    "plans": "strategy TEXT NOT NULL, session TEXT NOT NULL, committed_at TEXT NOT NULL, PRIMARY KEY (strategy, session)",
    "intents": "order_key TEXT PRIMARY KEY, strategy TEXT NOT NULL, session TEXT NOT NULL, intent TEXT NOT NULL, "
    "approved INTEGER NOT NULL, rule TEXT NOT NULL, value REAL, threshold REAL",
    "order_states": "sequence INTEGER PRIMARY KEY AUTOINCREMENT, order_key TEXT NOT NULL REFERENCES intents, state TEXT NOT NULL, "
    "at TEXT NOT NULL, detail TEXT NOT NULL, broker_order_id TEXT NOT NULL",
    # The gate's looks at an order just before it went out. A refusal among them takes the place of the verdict it was planned with.
    "checks": "sequence INTEGER PRIMARY KEY AUTOINCREMENT, order_key TEXT NOT NULL REFERENCES intents, at TEXT NOT NULL, "
    "approved INTEGER NOT NULL, rule TEXT NOT NULL, value REAL, threshold REAL, detail TEXT NOT NULL",
    "fills": "execution_id TEXT PRIMARY KEY, strategy TEXT NOT NULL, order_key TEXT NOT NULL REFERENCES intents, "
    "session TEXT NOT NULL, security_id INTEGER NOT NULL, symbol TEXT NOT NULL, side TEXT NOT NULL, "
    "quantity INTEGER NOT NULL CHECK (quantity > 0), price TEXT NOT NULL, commission TEXT NOT NULL, filled_at TEXT NOT NULL",
    # The terms that take the place of a fill's, by the exchange's correction; the highest version counts.
    "corrections": "execution_id TEXT NOT NULL REFERENCES fills (execution_id), version INTEGER NOT NULL, "
    "quantity INTEGER NOT NULL CHECK (quantity > 0), price TEXT NOT NULL, commission TEXT NOT NULL, "
    "PRIMARY KEY (execution_id, version)",
    "entries": "sequence INTEGER PRIMARY KEY AUTOINCREMENT, strategy TEXT NOT NULL, entry_key TEXT NOT NULL, session TEXT NOT NULL, "
    "kind TEXT NOT NULL, security_id INTEGER, symbol TEXT NOT NULL, quantity INTEGER NOT NULL, cash TEXT NOT NULL, "
    "UNIQUE (strategy, entry_key)",
    "marks": "strategy TEXT NOT NULL, session TEXT NOT NULL, equity TEXT NOT NULL, PRIMARY KEY (strategy, session)",
    "halts": "sequence INTEGER PRIMARY KEY AUTOINCREMENT, halted INTEGER NOT NULL, reason TEXT NOT NULL, at TEXT NOT NULL",
    "arms": "sequence INTEGER PRIMARY KEY AUTOINCREMENT, armed INTEGER NOT NULL, account TEXT NOT NULL, operator TEXT NOT NULL, "
    "at TEXT NOT NULL, expires_at TEXT NOT NULL, fingerprint TEXT NOT NULL, code_version TEXT NOT NULL",
    "external": "sequence INTEGER PRIMARY KEY AUTOINCREMENT, con_id INTEGER, quantity TEXT NOT NULL, cash TEXT NOT NULL, "
    "reason TEXT NOT NULL, at TEXT NOT NULL, operator TEXT NOT NULL",
}
_APPEND_ONLY = "".join(
    f"CREATE TRIGGER IF NOT EXISTS {table}_no_{verb} BEFORE {verb} ON {table} "
    f"BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;"
    for table in _TABLES
    for verb in ("update", "delete")
)
_ONE_LIVE_SET = "CREATE UNIQUE INDEX IF NOT EXISTS one_live_set ON decision_sets (strategy, session) WHERE live = 1;"
_LAST_STATE = "SELECT order_key, state, detail, MAX(sequence) FROM order_states GROUP BY order_key"
_REFUSAL = "SELECT order_key, rule, value, threshold, approved FROM checks WHERE approved = 0"
_CORRECTED = ("quantity", "price", "commission")
_LAST_CORRECTION = "SELECT execution_id, quantity, price, commission, MAX(version) FROM corrections GROUP BY execution_id"


_CHECKS = {
    "order_key": pl.String,
    "at": pl.Datetime("us", "UTC"),
    "approved": pl.Boolean,
    "rule": pl.String,
    "value": pl.Float64,
    "limit": pl.Float64,
    "detail": pl.String,
}


class SqliteLedger:
    """See interfaces.Ledger."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(f"The ledger {path} cannot be made: {error.strerror}.", "Check data_store.path.") from error
        creation = "".join(f"CREATE TABLE IF NOT EXISTS {name} ({columns});" for name, columns in _TABLES.items())
        with self._connection() as database:
            database.execute("PRAGMA journal_mode = WAL")
            database.executescript(creation + _APPEND_ONLY + _ONE_LIVE_SET)

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        try:
            database = sqlite3.connect(self._path, timeout=30, isolation_level=None)
            try:
                database.execute("PRAGMA synchronous = FULL")
                database.execute("PRAGMA foreign_keys = ON")
                yield database
            finally:
                database.close()
        except sqlite3.OperationalError as error:
            raise StoreError(
                f"The ledger {self._path} cannot be used: {error}.",
                "Check the disk's free space and that no other tool holds it open.",
            ) from error
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.IntegrityError):
                raise
            raise StoreError(f"The ledger {self._path} is damaged: {error}.", "Halt and restore it from a backup.") from error

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._connection() as database:
            database.execute("BEGIN IMMEDIATE")
            try:
                yield database
            except BaseException:
                database.execute("ROLLBACK")
                raise
            database.execute("COMMIT")

    # The right to trade

    def require_venue(self, venue: str) -> None:
        with self._transaction() as database:
            database.execute("INSERT INTO venues VALUES (?, 1) ON CONFLICT DO NOTHING", (venue,))
            (kept,) = database.execute("SELECT venue FROM venues").fetchone()
        if kept != venue:
            raise ConfigurationError(
                f"The ledger {self._path} is of {kept}; the configuration trades at {venue}.",
                "What one holds, the other does not: give each its own data_store.path.",
            )

    def issue_permit(
        self,
        session: date,
        issued_at: datetime,
        expires_at: datetime,
        purpose: Purpose = Purpose.DECIDE,
        *,
        renew: bool = False,
    ) -> Permit:
        with self._transaction() as database:
            permit = _latest_permit(database, session, purpose)
            if permit is None or renew:
                # Not to be guessed: whoever can name it was told by the live path.
                row = (secrets.token_hex(16), session.isoformat(), str(purpose), issued_at.isoformat(), expires_at.isoformat())
                database.execute(
                    "INSERT INTO permits (permit_id, session, purpose, issued_at, expires_at) VALUES (?, ?, ?, ?, ?)", row
                )
                permit = _latest_permit(database, session, purpose)
            assert permit is not None
            return permit

    def claim_permit(
        self, permit_id: str, strategy: str, run_id: str, at: datetime, purpose: Purpose = Purpose.DECIDE
    ) -> Permit:
        with self._transaction() as database:
            named = database.execute("SELECT session, purpose FROM permits WHERE permit_id = ?", (permit_id,)).fetchone()
            if named is None or named[1] != purpose:
                raise NotPermitted(
                    f"There is no permit {permit_id!r} to {purpose}: only the live path (schedule, sensor, "
                    "`tradebot run-session`) issues one."
                )
            permit = _latest_permit(database, date.fromisoformat(named[0]), purpose)
            assert permit is not None
            if permit.permit_id != permit_id:
                raise NotPermitted(f"The permit to {purpose} for {permit.session} was replaced by a later one.")
            if at >= permit.expires_at:
                raise NotPermitted(f"The permit for {permit.session} expired at {permit.expires_at:%Y-%m-%d %H:%M} UTC.")
            database.execute(
                "INSERT INTO claims VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING", (permit_id, strategy, run_id, at.isoformat())
            )
            (holder,) = database.execute(
                "SELECT run_id FROM claims WHERE permit_id = ? AND strategy = ?", (permit_id, strategy)
            ).fetchone()
            if holder != run_id:
                raise NotPermitted(f"The permit of {strategy} for {permit.session} was claimed by run {holder}.")
            return permit

    def seal_decisions(self, decisions: DecisionSet) -> None:
        row = (
            decisions.strategy,
            decisions.session.isoformat(),
            decisions.digest,
            int(decisions.live),
            decisions.run_id,
            decisions.decided_at.isoformat(),
        )
        try:
            with self._transaction() as database:
                database.execute("INSERT INTO decision_sets VALUES (?, ?, ?, ?, ?, ?)", row)
        except sqlite3.IntegrityError:
            raise NotPermitted(f"{decisions.strategy} has decided live for {decisions.session} already.") from None

    def live_decisions(self, strategy: str, session: date) -> DecisionSet | None:
        found = [d for d in self.decision_sets(strategy) if d.live and d.session == session]
        return found[0] if found else None

    def decision_sets(self, strategy: str) -> Sequence[DecisionSet]:
        with self._connection() as database:
            rows = database.execute("SELECT * FROM decision_sets WHERE strategy = ? ORDER BY rowid", (strategy,)).fetchall()
        return [
            DecisionSet(name, date.fromisoformat(session), digest, bool(live), run_id, datetime.fromisoformat(at))
            for name, session, digest, live, run_id, at in rows
        ]

    # Orders

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
        self, order_key: str, state: OrderState, at: datetime, detail: str = "", broker_order_id: str = ""
    ) -> bool:
        with self._transaction() as database:
            last = database.execute(
                "SELECT state FROM order_states WHERE order_key = ? ORDER BY sequence DESC LIMIT 1", (order_key,)
            ).fetchone()
            if last is None:
                raise _unknown_order(order_key)
            present = OrderState(last[0])
            if state is present:
                return False
            if state not in TRANSITIONS[present]:
                raise ExecutionError(
                    f"Order {order_key} cannot go from {present} to {state}.",
                    "Compare the ledger with the broker: tradebot reconcile.",
                )
            _insert_state(database, order_key, state, at, detail, broker_order_id)
            return True

    def record_fill(self, strategy: str, fill: Fill) -> bool:
        with self._transaction() as database:
            if database.execute("SELECT 1 FROM intents WHERE order_key = ?", (fill.order_key,)).fetchone() is None:
                raise _unknown_order(fill.order_key)
            done = database.execute(
                "INSERT INTO fills VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
                (
                    fill.execution_id,
                    strategy,
                    fill.order_key,
                    fill.session.isoformat(),
                    fill.security_id,
                    fill.symbol,
                    str(fill.side),
                    fill.quantity,
                    str(fill.price),
                    str(fill.commission),
                    fill.filled_at.isoformat(),
                ),
            )
            if done.rowcount == 0:
                return _correct(database, strategy, fill)
            if fill.version > 1:
                _insert_correction(database, fill)
            _insert_entries(database, strategy, fill_entries(fill))
            return True

    def post(self, strategy: str, entries: Sequence[Entry]) -> int:
        with self._transaction() as database:
            return _insert_entries(database, strategy, entries)

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
                (strategy, _from(start), _until(end)),
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
            last = database.execute(
                "SELECT state FROM order_states WHERE order_key = ? ORDER BY sequence DESC LIMIT 1", (order_key,)
            ).fetchone()
            if last is None:
                raise _unknown_order(order_key)
            if last[0] != OrderState.NEW:
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
                (strategy, _from(start), _until(end)),
            ).fetchall()
        typed = [(key, datetime.fromisoformat(at), bool(approved), *rest) for key, at, approved, *rest in rows]
        return pl.DataFrame(typed, schema=_CHECKS, orient="row")

    def fills(self, strategy: str, start: date | None = None, end: date | None = None) -> pl.DataFrame:
        """Each execution once, in its latest terms."""
        columns = [f"COALESCE(c.{c}, f.{c})" if c in _CORRECTED else f"f.{c}" for c in FILLS.schema if c != "session"]
        with self._connection() as database:
            rows = database.execute(
                f"SELECT f.session, {', '.join(columns)} FROM fills f LEFT JOIN ({_LAST_CORRECTION}) c USING (execution_id) "
                "WHERE f.strategy = ? AND f.session BETWEEN ? AND ? ORDER BY f.session, f.execution_id",
                (strategy, _from(start), _until(end)),
            ).fetchall()
        typed = [(date.fromisoformat(row[0]), *row[1:-1], datetime.fromisoformat(row[-1])) for row in rows]
        return pl.DataFrame(typed, schema=FILLS.schema, orient="row")

    def entries(self, strategy: str, until: date | None = None) -> Sequence[Entry]:
        with self._connection() as database:
            return _read_entries(database, strategy, until)

    def book(self, strategy: str, until: date) -> Book:
        try:
            return Book().apply_all(self.entries(strategy, until))
        except ValueError as error:
            raise ReconciliationError(
                f"The ledger of {strategy} makes an impossible book: {error}.",
                "Nothing is decided until it is explained: compare the broker's statement with `tradebot export fills` and the "
                "corporate actions; a missing action, once collected, completes it.",
            ) from None

    # What the limits look back on

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
        with self._connection() as database:
            (count,) = database.execute(
                f"SELECT COUNT(*) FROM intents JOIN ({_LAST_STATE}) USING (order_key) WHERE session = ? AND state = ?",
                (session.isoformat(), str(OrderState.REJECTED)),
            ).fetchone()
        return count

    def mark(self, strategy: str, session: date, equity: Decimal) -> None:
        with self._transaction() as database:
            database.execute(
                "INSERT INTO marks VALUES (?, ?, ?) ON CONFLICT DO NOTHING", (strategy, session.isoformat(), str(equity))
            )

    def peak(self, strategy: str, until: date) -> Decimal:
        with self._connection() as database:
            marks = database.execute(
                "SELECT session, equity FROM marks WHERE strategy = ? AND session <= ?", (strategy, until.isoformat())
            ).fetchall()
            deposits = [
                (entry.session.isoformat(), entry.cash)
                for entry in _read_entries(database, strategy, until)
                if entry.kind is EntryKind.DEPOSIT
            ]
        # A deposit is no gain: what counts is how far the equity was above all that had been deposited by then.
        gains = [Decimal(equity) - sum(cash for on, cash in deposits if on <= session) for session, equity in marks]
        return max([Decimal(0), *gains]) + sum((cash for _, cash in deposits), Decimal(0))

    # The kill switch

    def halted(self) -> str | None:
        by_file = HaltFile(self._path.parent).reason()
        if by_file is not None:
            return by_file
        with self._connection() as database:
            row = database.execute("SELECT halted, reason FROM halts ORDER BY sequence DESC LIMIT 1").fetchone()
        return row[1] if row and row[0] else None

    def halt(self, reason: str, at: datetime) -> None:
        self._switch(True, reason, at)

    def resume(self, at: datetime) -> None:
        self._switch(False, "", at)

    def strategies(self) -> Sequence[str]:
        with self._connection() as database:
            return [name for (name,) in database.execute("SELECT DISTINCT strategy FROM intents ORDER BY strategy")]

    def external(self) -> Sequence[ExternalEntry]:
        with self._connection() as database:
            rows = database.execute(
                "SELECT con_id, quantity, cash, reason, at, operator FROM external ORDER BY sequence"
            ).fetchall()
        return [
            ExternalEntry(con_id, Decimal(quantity), Decimal(cash), reason, datetime.fromisoformat(at), operator)
            for con_id, quantity, cash, reason, at, operator in rows
        ]

    def record_external(self, entries: Sequence[ExternalEntry], *, first: bool = False) -> bool:
        with self._transaction() as database:
            if first and database.execute("SELECT 1 FROM external LIMIT 1").fetchone() is not None:
                return False
            database.executemany(
                "INSERT INTO external (con_id, quantity, cash, reason, at, operator) VALUES (?, ?, ?, ?, ?, ?)",
                [(e.con_id, f"{e.quantity:f}", f"{e.cash:f}", e.reason, e.at.isoformat(), e.operator) for e in entries],
            )
            return True

    def record_arm(self, arm: Arm) -> None:
        times = (arm.at.isoformat(), arm.expires_at.isoformat())
        fingerprint = json.dumps(dict(arm.fingerprint), sort_keys=True)
        row = (int(arm.armed), arm.account, arm.operator, *times, fingerprint, arm.code_version)
        with self._transaction() as database:
            database.execute(
                "INSERT INTO arms (armed, account, operator, at, expires_at, fingerprint, code_version) VALUES (?, ?, ?, ?, ?, ?, ?)",
                row,
            )

    def last_arm(self) -> Arm | None:
        with self._connection() as database:
            row = database.execute(
                "SELECT armed, account, operator, at, expires_at, fingerprint, code_version FROM arms ORDER BY sequence DESC LIMIT 1"
            ).fetchone()
        if row is None:
            return None
        armed, account, operator, at, expires_at, fingerprint, code_version = row
        times = (datetime.fromisoformat(at), datetime.fromisoformat(expires_at))
        return Arm(bool(armed), account, operator, *times, json.loads(fingerprint), code_version)

    def _switch(self, halted: bool, reason: str, at: datetime) -> None:
        with self._transaction() as database:
            database.execute("INSERT INTO halts (halted, reason, at) VALUES (?, ?, ?)", (int(halted), reason, at.isoformat()))


def _unknown_order(order_key: str) -> ExecutionError:
    return ExecutionError(
        f"There is no order {order_key} in the ledger.", "Compare the ledger with the broker: tradebot reconcile."
    )


def _correct(database: sqlite3.Connection, strategy: str, fill: Fill) -> bool:
    """Enters the correction of an execution that was entered before; False when it is not newer or changes nothing."""
    version, quantity, price, commission = database.execute(
        "SELECT COALESCE(c.version, 1), COALESCE(c.quantity, f.quantity), COALESCE(c.price, f.price), "
        "COALESCE(c.commission, f.commission) FROM fills f LEFT JOIN corrections c USING (execution_id) "
        "WHERE f.execution_id = ? ORDER BY c.version DESC LIMIT 1",
        (fill.execution_id,),
    ).fetchone()
    if fill.version <= version:
        return False
    _insert_correction(database, fill)
    entered = replace(fill, quantity=quantity, price=Decimal(price), commission=Decimal(commission))
    if (entered.quantity, entered.price, entered.commission) == (fill.quantity, fill.price, fill.commission):
        return False
    _insert_entries(database, strategy, correction_entries(entered, fill))
    return True


def _insert_correction(database: sqlite3.Connection, fill: Fill) -> None:
    database.execute(
        "INSERT INTO corrections VALUES (?, ?, ?, ?, ?)",
        (fill.execution_id, fill.version, fill.quantity, str(fill.price), str(fill.commission)),
    )


def _latest_permit(database: sqlite3.Connection, session: date, purpose: Purpose) -> Permit | None:
    row = database.execute(
        "SELECT permit_id, expires_at FROM permits WHERE session = ? AND purpose = ? ORDER BY sequence DESC LIMIT 1",
        (session.isoformat(), str(purpose)),
    ).fetchone()
    return Permit(row[0], session, purpose, datetime.fromisoformat(row[1])) if row else None


def _insert_state(
    database: sqlite3.Connection, order_key: str, state: OrderState, at: datetime, detail: str, broker_order_id: str
) -> None:
    database.execute(
        "INSERT INTO order_states (order_key, state, at, detail, broker_order_id) VALUES (?, ?, ?, ?, ?)",
        (order_key, str(state), at.isoformat(), detail, broker_order_id),
    )


def _insert_entries(database: sqlite3.Connection, strategy: str, entries: Sequence[Entry]) -> int:
    return sum(
        database.execute(
            "INSERT INTO entries (strategy, entry_key, session, kind, security_id, symbol, quantity, cash) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
            (strategy, e.key, e.session.isoformat(), str(e.kind), e.security_id, e.symbol, e.quantity, str(e.cash)),
        ).rowcount
        for e in entries
    )


def _read_entries(database: sqlite3.Connection, strategy: str, until: date | None) -> list[Entry]:
    rows = database.execute(
        "SELECT entry_key, session, kind, cash, quantity, security_id, symbol FROM entries "
        "WHERE strategy = ? AND session <= ? ORDER BY sequence",
        (strategy, _until(until)),
    ).fetchall()
    entries = [Entry(key, date.fromisoformat(on), EntryKind(kind), Decimal(cash), *rest) for key, on, kind, cash, *rest in rows]
    return sorted(entries, key=fold_order)


def _from(day: date | None) -> str:
    return (day or date.min).isoformat()


def _until(day: date | None) -> str:
    return (day or date.max).isoformat()
