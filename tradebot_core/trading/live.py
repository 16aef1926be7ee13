"""The live path: the only way from a decision to an engine.

Deciding for an engine takes a permit, issued for the session that is current and claimed once by one run. Without it the same
decisions can be computed and looked at, but they are sealed as a review and nothing will ever send them. Sending takes a live
set of decisions of the current session, a permit of its own, and the hours before the next open; the engine is not even made
before that is established.
"""

import logging
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import StrEnum

import polars as pl

from tradebot_core.calendar import NEW_YORK, TradingCalendar
from tradebot_core.config import RiskSettings
from tradebot_core.errors import ConfigurationError, ExecutionError, NotPermitted, ReconciliationError
from tradebot_core.interfaces import (
    BrokerCash,
    Clock,
    DataStore,
    DecisionSet,
    ExecutionEngine,
    Ledger,
    OtherOrders,
    Permit,
    Purpose,
    QuoteSource,
    RiskGate,
)
from tradebot_core.model.decision import Decision
from tradebot_core.model.order import TERMINAL_STATES, OrderIntent, OrderState, RiskVerdict, Side
from tradebot_core.model.portfolio import Entry, EntryKind, action_day, is_given_back, usd
from tradebot_core.model.tables import DECISIONS, LAYERS
from tradebot_core.strategy import Strategy
from tradebot_core.trading import rows
from tradebot_core.trading.account_reconciliation import AccountReconciler, is_of_account, of_account
from tradebot_core.trading.digest import digest_of
from tradebot_core.trading.doubt import IN_DOUBT, settle_doubt
from tradebot_core.trading.due_actions import due_entries, due_of_sales
from tradebot_core.trading.fresh_prices import FreshPrices, as_sized
from tradebot_core.trading.rebalance import Carried, carried
from tradebot_core.trading.session import (
    Past,
    decide,
    may_send,
    plan,
    send,
    sleeve_equity,
    take_fills,
    take_late,
    take_status,
)
from tradebot_core.trading.settlement import unsettled
from tradebot_core.trading.stored_markets import MARKET, StoredMarkets

LIVE = "live"
REVIEW = "review"
# Orders for the opening auction must be in before it; the exchanges close their books two minutes ahead.
SUBMIT_BEFORE_OPEN = timedelta(minutes=5)
_ASKED_AGAIN_FOR = timedelta(days=7)
_log = logging.getLogger(__name__)

EngineFactory = Callable[[], ExecutionEngine]


def current_session(calendar: TradingCalendar, now: datetime) -> date:
    """The one session that may be decided and submitted now: the latest whose cut-off has passed."""
    return calendar.last_cut_off(now)


def submit_deadline(calendar: TradingCalendar, session: date) -> datetime:
    return calendar.opens_at(calendar.next(session)) - SUBMIT_BEFORE_OPEN


def issue_permit(
    ledger: Ledger, calendar: TradingCalendar, now: datetime, purpose: Purpose = Purpose.DECIDE, *, renew: bool = False
) -> Permit | None:
    """The permit of the current session, or None when its time to submit has passed.

    With `renew` it replaces one that a run has claimed and not used: a person's way on from a run that failed.
    """
    session = current_session(calendar, now)
    deadline = submit_deadline(calendar, session)
    return ledger.issue_permit(session, now, deadline, purpose, renew=renew) if now < deadline else None


@dataclass(frozen=True)
class Decided:
    """Decisions of one session. `live` only when they were made under a permit; `note` says why not."""

    decisions: tuple[Decision, ...]
    digest: str
    live: bool
    note: str


class Outcome(StrEnum):
    SUBMITTED = "submitted"
    NOTHING_LIVE = "nothing_live"  # no live decisions of that session
    EXPIRED = "expired"  # its time to submit has passed: recorded, never sent
    HALTED = "halted"
    NOT_ARMED = "not_armed"  # mode live, and no person has armed it: it may be sent once it is
    NOT_PERMITTED = "not_permitted"  # a run without the permit to submit: it only reads
    REJECT_BREAKER = "reject_breaker"  # the broker rejected too many: the rest of the session's orders is cancelled here
    BREAK = "break"  # the account and the ledger differ, and nobody has explained it
    IN_DOUBT = "in_doubt"  # what became of an order is not known, or it was lost: nothing is added to it


@dataclass(frozen=True)
class Submission:
    outcome: Outcome
    note: str


class _Broken(Exception):
    """The account differs from the ledger; the text says how."""


@dataclass(frozen=True)
class _Beside:
    """Securities of which nothing is sent, and what the account can pay at a session's fill (None: no account)."""

    blocked: frozenset[int] = frozenset()
    cash: Callable[[date], BrokerCash | None] = lambda session: None


@dataclass(frozen=True)
class LiveDesk:
    """Decides, submits and records for the real (paper or live) sleeves. `engine_factory` is called only on the live path."""

    store: DataStore
    calendar: TradingCalendar
    markets: StoredMarkets
    limits: RiskSettings
    gate: RiskGate
    engine_factory: EngineFactory
    clock: Clock
    venue: str  # where orders go; a ledger belongs to one
    pause: Callable[[float], None] = time.sleep  # seconds between two questions about an order in doubt
    reconciler: Callable[[], AccountReconciler] | None = None  # None: the engine has no account beside the ledger
    quotes: Callable[[], QuoteSource] | None = None  # None: the closes that orders were sized on are all that is known
    # Why no order may be sent; empty when it is armed, or need not be. Never to be left out by mistake.
    why_not_armed: Callable[[datetime], str] = field(kw_only=True)

    def decide(
        self, strategy: Strategy, capital: Decimal, session: date, permit_id: str | None, run_id: str, now: datetime
    ) -> Decided:
        """Brings the sleeve up to the session's close and decides. Without a permit that holds: a review."""
        try:
            self._claim(strategy.name, session, permit_id, run_id, now)
        except NotPermitted as refusal:
            return self._review(strategy, capital, session, run_id, now, str(refusal))
        name, ledger = strategy.name, self.store.ledger
        sealed = ledger.live_decisions(name, session)
        if sealed is not None:
            stored = self.store.read_results(DECISIONS, name, LIVE, session, session)
            return Decided(rows.to_decisions(stored), sealed.digest, True, f"Sealed before, by run {sealed.run_id}.")
        self._open_sleeve(name, capital, session)
        remarks = self.record(strategy, session, now)
        book = ledger.book(name, session)
        market = self.markets.at(strategy, session, sorted(book.positions))
        ledger.mark(name, session, sleeve_equity(book, market.prices))
        made = decide(strategy, market, book, self.limits)
        if ledger.live_decisions(name, session) is not None:  # another live run was faster; what it sealed stays as it is
            raise NotPermitted(f"{name} was decided for {session} by another run meanwhile.", "Run the step again to see it.")
        self._keep_verdicts(strategy, session)
        digest = self._seal(name, session, made, LIVE, run_id, now)
        return Decided(made, digest, True, " ".join(["Sealed for the order run.", *remarks]))

    def holds_permit(self, strategy: str, session: date, permit_id: str | None, run_id: str, now: datetime) -> bool:
        """Whether this run may touch the engine for the session: it claims the permit, or has claimed it."""
        try:
            self._claim(strategy, session, permit_id, run_id, now)
        except NotPermitted:
            return False
        return True

    def _claim(
        self,
        strategy: str,
        session: date,
        permit_id: str | None,
        run_id: str,
        now: datetime,
        purpose: Purpose = Purpose.DECIDE,
    ) -> None:
        if permit_id is None:
            raise NotPermitted("This run holds no permit.")
        current = current_session(self.calendar, now)
        if session != current:  # before the claim, which would take the permit from the run that may use it
            raise NotPermitted(f"Only {current} may be decided now, not {session}.")
        permit = self.store.ledger.claim_permit(permit_id, strategy, run_id, now, purpose)
        if permit.session != session:
            raise NotPermitted(f"The permit is for {permit.session}, not for {session}.")

    def _open_sleeve(self, strategy: str, capital: Decimal, session: date) -> None:
        """Deposits the capital in the sleeve's first session. Raises ConfigurationError when it was changed since."""
        ledger = self.store.ledger
        ledger.require_venue(self.venue)
        if not ledger.entries(strategy):
            ledger.post(strategy, [_deposit(capital, session)])
        deposited = ledger.entries(strategy)[0].cash
        if deposited != usd(capital):
            raise ConfigurationError(
                f"The sleeve of {strategy} was opened with {deposited:.2f} USD; allocated_capital now says {capital}.",
                "Moving capital in or out of a sleeve is not built yet: restore the amount, or begin with a new store.",
            )

    def _review(self, strategy: Strategy, capital: Decimal, session: date, run_id: str, now: datetime, why: str) -> Decided:
        book = self.store.ledger.book(strategy.name, session)
        if not self.store.ledger.entries(strategy.name, session):  # before the sleeve was opened
            book = book.apply(_deposit(capital, session))
        market = self.markets.at(strategy, session, sorted(book.positions))
        made = decide(strategy, market, book, self.limits)
        digest = self._seal(strategy.name, session, made, REVIEW, run_id, now)
        return Decided(made, digest, False, f"A review, which no engine will see. {why}")

    def _keep_verdicts(self, strategy: Strategy, session: date) -> None:
        """A copy of the verdicts that the live decision rests on: the market's own change when a partition is made again."""
        for layer in strategy.layers():
            seen = self.store.read_results(LAYERS, strategy.name, MARKET, session, session, layer.name)
            self.store.write_results(LAYERS, strategy.name, LIVE, [session], seen, layer.name)

    def _seal(self, strategy: str, session: date, made: Sequence[Decision], book: str, run_id: str, now: datetime) -> str:
        frame = rows.frame(DECISIONS, rows.of_decisions(made))
        digest = digest_of(frame)
        self.store.write_results(DECISIONS, strategy, book, [session], frame)
        self.store.ledger.seal_decisions(DecisionSet(strategy, session, digest, book == LIVE, run_id, now))
        return digest

    def record(self, strategy: Strategy, session: date, now: datetime) -> Sequence[str]:
        """Enters what happened to the sleeve up to the session's close: corporate actions (of missed sessions too), fills. Returns
        what a person should see of it: orders whose end had been told wrongly."""
        name, ledger = strategy.name, self.store.ledger
        if not ledger.entries(name):
            return ()
        # Fills first: the actions of missed sessions fall on what their fills had made of the book.
        if ledger.open_orders(name):
            engine = self.engine_factory()
            take_fills(ledger, engine, name, session, now)
            for intent, _ in ledger.open_orders(name):
                if intent.session < session:
                    self._settle(name, engine, intent)
        remarks = self._look_again(name, now, of_today=True)
        return [*remarks, *self._post(name, due_entries(self.markets, self.calendar, ledger.entries(name), session))]

    def _look_again(self, strategy: str, now: datetime, *, of_today: bool = False) -> list[str]:
        """Asks once more about orders that have ended, and returns what turned out differently. With `of_today` all whose day of filling
        this is: an exchange may have corrected an execution since. For some days those that were given up for lost or have a fill
        without its commission: IB Gateway shows the present day only, TWS up to seven."""
        ledger, today = self.store.ledger, now.astimezone(NEW_YORK).date()
        fills = ledger.fills(strategy, today - _ASKED_AGAIN_FOR, today)
        without_commission = set(fills.filter(pl.col("commission").is_null())["order_key"])
        orders = ledger.orders(strategy, today - 2 * _ASKED_AGAIN_FOR).select("order_key", "session", "state")
        asked = []
        for key, session, state in orders.iter_rows():
            day = self.calendar.next(session)
            ended = of_today and day == today and state in TERMINAL_STATES and state != OrderState.REFUSED
            lost = state == OrderState.LOST and today <= day + _ASKED_AGAIN_FOR
            if ended or lost or key in without_commission:
                asked.append(key)
        engine = self.engine_factory() if asked else None
        remarks = []
        for key in asked:
            assert engine is not None
            wrong = take_late(ledger, strategy, key, engine.get_order_status(key), now)
            if wrong:
                _log.error("%s", wrong)
                remarks.append(wrong)
        return remarks

    def orders_past_their_open(self, strategy: str, now: datetime) -> list[OrderIntent]:
        """Orders without a final state whose session of filling has opened."""
        return [
            intent
            for intent, state in self.store.ledger.open_orders(strategy)
            if state is not OrderState.NEW and self.calendar.opens_at(self.calendar.next(intent.session)) <= now
        ]

    def orders_without_commission(self, strategy: str, now: datetime) -> list[str]:
        """Orders with a fill of this day, New York, whose commission was not told: IB Gateway tells it only until midnight."""
        today = now.astimezone(NEW_YORK).date()
        fills = self.store.ledger.fills(strategy, today, today)
        return sorted(set(fills.filter(pl.col("commission").is_null())["order_key"]))

    def record_fills(self, strategy: str, now: datetime) -> int:
        """Asks the engine about the orders past their open, and for commissions that are missing; returns how many orders now have a
        final state. Sends nothing."""
        due = self.orders_past_their_open(strategy, now)
        if due:
            engine = self.engine_factory()
            for intent in due:
                take_status(self.store.ledger, strategy, intent, engine.get_order_status(intent.key), now)
                self._settle(strategy, engine, intent)
        for key in self.orders_without_commission(strategy, now):
            take_late(self.store.ledger, strategy, key, self.engine_factory().get_order_status(key), now)
        self._post(strategy, due_of_sales(self.markets, self.store.ledger.entries(strategy)))
        return len(due) - len(self.orders_past_their_open(strategy, now))

    def _post(self, strategy: str, due: Sequence[Entry]) -> list[str]:
        """Enters what corporate actions do. Returns what a person should see of it."""
        self.store.ledger.post(strategy, due)
        remarks = [
            f"{back.symbol}: the {back.kind} of {action_day(back)} took {back.quantity} shares that were sold, and gives them back "
            f"({back.key}). See `tradebot reconcile` and the broker's statement: the account may be short of them."
            for back in due
            if is_given_back(back)
        ]
        for remark in remarks:
            _log.error("%s", remark)
        return remarks

    def submit(self, strategy: Strategy, session: date, permit_id: str | None, run_id: str, now: datetime) -> Submission:
        """Sends the orders of the session's live decisions, each at most once, however often the live path asks."""
        name, ledger = strategy.name, self.store.ledger
        sealed = ledger.live_decisions(name, session)
        if sealed is None:
            return Submission(Outcome.NOTHING_LIVE, f"{name} made no live decisions for {session}; no engine was called.")
        stored = self.store.read_results(DECISIONS, name, LIVE, session, session)
        if digest_of(stored) != sealed.digest:
            raise ReconciliationError(
                f"The stored decisions of {name} for {session} are not the ones that were sealed.",
                "Nothing was sent. Find out who changed the store; restore it from a backup.",
            )
        deadline = submit_deadline(self.calendar, session)
        if session != current_session(self.calendar, now) or now >= deadline:
            planned = ledger.is_planned(name, session)
            self._expire(strategy, session, stored, now)
            if planned:
                return Submission(Outcome.EXPIRED, f"The orders of {session} were handled in their time; no engine was called.")
            return Submission(
                Outcome.EXPIRED, f"Decisions of {session} could be submitted until {deadline:%Y-%m-%d %H:%M} UTC."
            )
        halt = ledger.halted()
        if halt is not None:
            return Submission(Outcome.HALTED, _halted(halt))
        not_armed = self.why_not_armed(now)
        if not_armed:
            return Submission(Outcome.NOT_ARMED, f"{not_armed} Until then nothing is sent.")
        try:
            self._claim(name, session, permit_id, run_id, now, Purpose.SUBMIT)
        except NotPermitted as refusal:
            return Submission(Outcome.NOT_PERMITTED, f"{refusal} No engine was called.")
        ledger.require_venue(self.venue)
        if any(intent.session < session for intent, _ in ledger.open_orders(name)):
            self.record_fills(name, now)
        self._look_again(name, now)
        self._post(name, due_of_sales(self.markets, ledger.entries(name)))
        doubtful = [intent.key for intent, _ in ledger.open_orders(name) if intent.session < session]
        if doubtful:
            return Submission(
                Outcome.IN_DOUBT,
                f"What became of {', '.join(doubtful)} is not known, so nothing is sent. See `tradebot reconcile`; "
                "look the order up at the broker, then `tradebot reconcile --expire ORDER_KEY` if it never traded.",
            )
        try:
            account = self._beside(name, session, now)
        except _Broken as found:
            return Submission(Outcome.BREAK, str(found))
        plan_of = self._plan(strategy, session, stored, now, account.blocked, account.cash)
        ledger.commit_plan(name, session, plan_of, now)
        return self._send_all(name, session, deadline, account.blocked)

    def _beside(self, strategy: str, session: date, now: datetime) -> "_Beside":
        """What the account beside the ledger allows. It is asked before the orders are planned, and again while a break stands, so that
        one that is gone does not hold. Raises _Broken where nothing may be sent."""
        ledger = self.store.ledger
        if self.reconciler is None or (ledger.is_planned(strategy, session) and not ledger.open_breaks()):
            return _Beside()
        reconciler = self.reconciler()
        try:
            compared = reconciler.compare(now)
        except ExecutionError as error:  # not asked: what stood at the last comparison stands
            standing = [record for record in ledger.open_breaks() if is_of_account(record.found)]
            if not standing:
                raise
            found, since = standing[0].found, standing[0].first_seen
            raise _Broken(
                f"The account and the ledger differ since {since:%Y-%m-%d %H:%M} UTC ({found.kind} {found.what}: {found.reason}), and "
                f"the broker cannot be asked now ({error.cause}), so nothing is sent. See `tradebot reconcile`."
            ) from error
        account = of_account(compared.lines)
        if account:
            raise _Broken(
                f"The account and the ledger differ ({account[0].kind} {account[0].what}: {account[0].reason}), so nothing is sent. "
                "See `tradebot reconcile`."
            )
        listings = {line.con_id for line in compared.lines if line.waits or not line.passed}
        blocked = frozenset(security for security, of in reconciler.con_ids().items() if of in listings)
        return _Beside(blocked, compared.cash)

    def _send_all(self, strategy: str, session: date, deadline: datetime, blocked: Collection[int] = ()) -> Submission:
        """Sends what is not with the engine yet, each after a last look at its price. A halt, the end of the arm, the deadline, or a
        broker that rejects one order after the other stops it between two orders. Of `blocked` securities what was never sent stays
        where it is."""
        ledger = self.store.ledger
        waiting = [
            (intent, state)
            for intent, state in ledger.open_orders(strategy)
            if intent.session == session
            and (
                state in (OrderState.SENDING, OrderState.UNKNOWN)
                or (state is OrderState.NEW and intent.security_id not in blocked)
            )
        ]
        engine, waits = self.engine_factory() if waiting else None, []
        before = ledger.rejected(session)
        unsent = [intent for intent, state in waiting if state is OrderState.NEW]
        fresh = FreshPrices(self.quotes() if self.quotes and unsent else None, self.calendar, self.clock, unsent)
        sent = refused = 0
        for n, (intent, state) in enumerate(waiting):
            # First of all, for it takes its time: what else may stop the order is looked at after it.
            price = fresh.of(intent) if state is OrderState.NEW else as_sized(intent)
            halt = ledger.halted()
            if halt is not None:
                return Submission(Outcome.HALTED, f"{_halted(halt)} {sent} orders had gone out.")
            moment = self.clock.now()  # not from `now`: the process may have slept since
            if state is OrderState.NEW and self._rejected(strategy, session) >= self.limits.max_rejected_orders:
                return self._break_off(strategy, waiting[n:], session, moment, before)
            if moment >= deadline:
                return Submission(Outcome.EXPIRED, f"The time to submit ended after {sent} of {len(waiting)} orders.")
            not_armed = self.why_not_armed(moment)
            if not_armed:
                return Submission(Outcome.NOT_ARMED, f"{not_armed} {sent} orders had gone out.")
            if state is OrderState.NEW and intent.security_id in self._in_doubt_elsewhere(strategy, session):
                waits.append(intent)
                continue
            if not may_send(ledger, self.gate, intent, state, price, moment):
                refused += 1
                continue
            assert engine is not None
            send(ledger, engine, strategy, intent, state, moment)
            sent += 1
            became = self._settle(strategy, engine, intent)
            if became is OrderState.LOST or became in IN_DOUBT:
                return Submission(Outcome.IN_DOUBT, f"{_in_doubt(intent, became)} {len(waiting) - n - 1} orders wait.")
        if self.limits.max_rejected_orders <= ledger.rejected(session) > before:
            return self._break_off(strategy, (), session, self.clock.now(), before)
        if waits:
            of = ", ".join(intent.symbol for intent in waits)
            return Submission(Outcome.IN_DOUBT, f"What became of another sleeve's order of {of} is not known: ours of it wait.")
        by_the_gate = f" The risk gate's last look refused {refused}; `tradebot explain` says why." if refused else ""
        return Submission(Outcome.SUBMITTED, f"{sent} orders of {session} went to the engine.{by_the_gate}")

    def _in_doubt_elsewhere(self, strategy: str, session: date) -> set[int]:
        """Securities of which another sleeve has an order whose fate nobody knows. One that is being sent at this moment is none."""
        ledger = self.store.ledger
        return {
            order.security_id
            for name in ledger.strategies()
            if name != strategy
            for order, state in ledger.open_orders(name)
            if state is OrderState.UNKNOWN or (state is OrderState.SENDING and order.session < session)
        }

    def _rejected(self, strategy: str, session: date) -> int:
        """What stops the sleeve: its own rejections for whatever reason, or those of all sleeves that may be the account's."""
        return max(self.store.ledger.rejected_of(strategy, session), self.store.ledger.rejected(session))

    def _break_off(
        self, strategy: str, rest: Sequence[tuple[OrderIntent, OrderState]], session: date, now: datetime, before: int
    ) -> Submission:
        """What was never sent is over; an order in doubt stays in doubt. Rejections that may be the account's halt all trading, first of
        all, by the run that met them (there were `before` when it began); one that finds them after `tradebot resume` does not halt
        again. Those of the orders themselves (a symbol, a price) stop only the sleeve that made them."""
        limit, of_account = self.limits.max_rejected_orders, self.store.ledger.rejected(session)
        rejected, halt = self._rejected(strategy, session), limit <= of_account > before
        if halt:
            self.store.ledger.halt(f"the broker rejected {of_account} orders of {session}", now)
        unsent = [intent for intent, state in rest if state is OrderState.NEW]
        for intent in unsent:
            why = f"reject_breaker: the broker rejected {rejected} orders of the session, the limit is {limit}."
            self.store.ledger.record_state(intent.key, OrderState.CANCELLED, now, why)
        return Submission(
            Outcome.REJECT_BREAKER,
            f"The broker rejected {rejected} orders of the session (max_rejected_orders {limit}): {len(unsent)} were not sent."
            + (" Trading is halted; `tradebot resume` ends the halt." if halt else ""),
        )

    def _settle(self, strategy: str, engine: ExecutionEngine, intent: OrderIntent) -> OrderState | None:
        """Finds out about an order in doubt where the engine does not know at once; None when it is in no doubt."""
        states = {order.key: state for order, state in self.store.ledger.open_orders(strategy)}
        if engine.absence_is_proof or states.get(intent.key) not in IN_DOUBT:
            return None
        return settle_doubt(self.store.ledger, engine, self.calendar, strategy, intent, self.clock, self.pause)

    def _plan(
        self,
        strategy: Strategy,
        session: date,
        stored: pl.DataFrame,
        now: datetime,
        blocked: Collection[int] = (),
        cash: Callable[[date], BrokerCash | None] = lambda session: None,
    ) -> Callable[[OtherOrders], tuple[tuple[OrderIntent, RiskVerdict], ...]]:
        """All that the plan needs, but what the other sleeves have had approved by then."""
        book = self.store.ledger.book(strategy.name, session)
        market = self.markets.at(strategy, session, sorted(book.positions))
        voided = self.markets.voided(self.calendar.next(session), now)
        entries = self.store.ledger.entries(strategy.name, session)
        pending = Decimal(0) if self.limits.spend_proceeds else unsettled(entries, session, self.calendar)
        decisions = rows.to_decisions(stored)
        past = self._past(strategy.name, session)
        told = (self.gate, self.limits, strategy.name, decisions, book, market, voided, strategy.orders, pending, past)
        # The account's cash is worked out when the plan is made: another sleeve's orders may be committed until then.
        return lambda others: plan(*told, others, broken=blocked, broker_cash=cash(session))

    def _past(self, strategy: str, session: date) -> Past:
        ledger, back = self.store.ledger, self.calendar.offset(session, -self.limits.unfilled_sessions)
        return Past(ledger.peak(strategy, session), ledger.unfilled(strategy, back, session), self._left(strategy, session))

    def _left(self, strategy: str, session: date) -> Carried:
        """What the orders of the session before left that were filled in part and have ended."""
        if not self.limits.carry_unfilled:
            return {}
        before, ledger = self.calendar.previous(session), self.store.ledger
        done = ledger.fills(strategy, session, session).group_by("order_key").agg(filled=pl.col("quantity").sum())
        orders = ledger.orders(strategy, before, before).join(done, on="order_key")
        working = {intent.key for intent, _ in ledger.open_orders(strategy)}
        rows = orders.filter(~pl.col("order_key").is_in(working)).select("security_id", "side", "quantity", "filled").rows()
        return carried((security, Side(side), ordered, filled) for security, side, ordered, filled in rows)

    def _expire(self, strategy: Strategy, session: date, stored: pl.DataFrame, now: datetime) -> None:
        """Keeps on record what was decided too late to be sent. Orders committed in time but never sent expire as well."""
        ledger = self.store.ledger
        expired = tuple(
            (intent, RiskVerdict(False, "decision_expired"))
            for intent, _ in self._plan(strategy, session, stored, now)(OtherOrders())
        )
        ledger.commit_orders(strategy.name, session, expired, now)
        for intent, state in ledger.open_orders(strategy.name):
            if intent.session == session and state is OrderState.NEW:
                ledger.record_state(intent.key, OrderState.EXPIRED, now, "Its session passed before it was sent.")


def _in_doubt(intent: OrderIntent, became: OrderState) -> str:
    if became is OrderState.LOST:
        return f"{intent.key} was sent and never reached the broker: look at the gateway's window for a question it asks."
    return f"What became of {intent.key} is not known."


def _halted(reason: str) -> str:
    return f"Trading is halted: {reason}. `tradebot resume` ends the halt."


def _deposit(capital: Decimal, session: date) -> Entry:
    """The allocated capital, entered in the sleeve's first session."""
    return Entry("deposit:opening", session, EntryKind.DEPOSIT, usd(capital))
