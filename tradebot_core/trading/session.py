"""One session of one sleeve, step by step. Live, paper, dry run and backtest all come through here; they differ only in the
journal, the engine and the clock they hand in.

    settle    corporate actions before the open, then the fills of the orders decided the session before
    decide    the strategy's decisions from the layers' verdicts and the book
    submit    decisions -> intents -> risk gate -> journal -> engine
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from decimal import ROUND_FLOOR, Decimal
from itertools import islice

from tradebot_core.config import RiskSettings
from tradebot_core.errors import ExecutionError, OrderUnknown, StrategyError, TradebotError
from tradebot_core.interfaces import BrokerCash, ExecutionEngine, Journal, OtherOrders, RiskGate, Situation
from tradebot_core.judging import authors_line, printing_little
from tradebot_core.model.candidates import finder
from tradebot_core.model.decision import Candidate, Decision, Verdict
from tradebot_core.model.market import ActionType, CorporateAction
from tradebot_core.model.order import (
    TERMINAL_STATES,
    TRANSITIONS,
    OrderIntent,
    OrderState,
    OrderStatus,
    OrderStyle,
    RiskVerdict,
    Side,
)
from tradebot_core.model.portfolio import Book, Entry, EntryKind, Position, usd
from tradebot_core.strategy import Holding, SessionView, Strategy, check_decisions, hold_where_blocked
from tradebot_core.time_limit import OutOfTime, stopped_after
from tradebot_core.trading.fresh_prices import FreshPrice, as_sized
from tradebot_core.trading.late_actions import Earlier, LateWord, late_entries
from tradebot_core.trading.oversold import given_back_in
from tradebot_core.trading.rebalance import Carried, plan_orders, spendable
from tradebot_core.trading.share_classes import of_one_class

_NOTHING = Decimal(0)


@dataclass(frozen=True)
class LastPrice:
    """The latest raw close known of a security, and the session it is from (older when it did not trade)."""

    price: Decimal
    session: date


@dataclass(frozen=True)
class SessionMarket:
    """What the market looked like at a session's cut-off, as far as one sleeve needs it.

    `candidates` in order of preference; `verdicts` of the layers on at least the held securities; `prices` of at least the
    candidates and the held; `volumes` are 20-session median dollar volumes; `previous_closes` those of the session before, in
    the shares of this one (a security that did not trade then has none); `industries` of the candidates and the
    held, None when no source tells any.
    """

    session: date
    candidates: Sequence[Candidate]
    verdicts: Mapping[int, Verdict]
    prices: Mapping[int, LastPrice]
    volumes: Mapping[int, float]
    previous_closes: Mapping[int, Decimal] = field(default_factory=dict)
    industries: Mapping[int, str | None] | None = None


@dataclass(frozen=True)
class Close:
    """A session's last prices, the corporate actions that took effect in it, and words of earlier ones that came in it."""

    session: date
    prices: Mapping[int, LastPrice]
    actions: Sequence[CorporateAction]
    late: Sequence[LateWord] = ()


@dataclass(frozen=True)
class Past:
    """What is looked back on: the sleeve's highest equity so far (None: this is its first session), by security and side how many orders
    of the last sessions went out without any fill, and what orders filled in part left (where `risk.carry_unfilled`)."""

    peak: Decimal | None = None
    unfilled: Mapping[tuple[int, Side], int] = field(default_factory=dict)
    left: Carried = field(default_factory=dict)


_FIRST_SESSION, _NO_OTHERS = Past(), OtherOrders()
# What an account does of itself in a session: of the book before its open and the entries of its actions, further entries.
OfAccount = Callable[[Book, Sequence[Entry], Close], Sequence[Entry]]


def settle(
    journal: Journal,
    engine: ExecutionEngine,
    strategy: str,
    close: Close,
    previous: date,
    now: datetime,
    earlier: Earlier | None = None,
    of_account: OfAccount | None = None,
) -> None:
    """Enters what happened to the sleeve in the session: actions on what was held before the open, then fills.

    `earlier` is needed where words come late: what they are about was held in an earlier session. `of_account` stands in for a
    broker's account (trading/simulated_account.py).
    """
    held = journal.book(strategy, previous)
    entries = action_entries(held, close.actions, close.session, close.prices)
    if close.late and earlier is not None:
        entries += late_entries(close.late, earlier, held.apply_all(entries), lambda of: _price(close.prices, of))
    if of_account is not None:
        entries = (*entries, *of_account(held, entries, close))
    entries = (
        *entries,
        *given_back_in(close.session, held, entries, journal, engine, strategy, lambda of, _: _price(close.prices, of)),
    )
    journal.post(strategy, entries)
    take_fills(journal, engine, strategy, close.session, now)


def take_fills(journal: Journal, engine: ExecutionEngine, strategy: str, session: date, now: datetime) -> None:
    """Asks the engine about every order that was sent before the session, and records its answers."""
    for intent, state in journal.open_orders(strategy):
        if intent.session >= session:
            continue
        if state is OrderState.NEW:
            journal.record_state(intent.key, OrderState.EXPIRED, now, "Its session passed before it was sent.")
            continue
        status = engine.get_order_status(intent.key)
        in_doubt = state in (OrderState.SENDING, OrderState.UNKNOWN)
        if status.state is None and in_doubt and engine.absence_is_proof:
            status = OrderStatus(OrderState.EXPIRED, detail="Never received by the engine, and its session has passed.")
        take_status(journal, strategy, intent, status, now)


def take_status(journal: Journal, strategy: str, intent: OrderIntent, status: OrderStatus, now: datetime) -> None:
    """Records the engine's word on an order: executions first, for they are the truth."""
    for fill in status.fills:
        journal.record_fill(strategy, fill)
    if status.state is not None:
        journal.record_state(intent.key, status.state, now, status.detail, status.broker_order_id, status.own_fault)


def take_late(journal: Journal, strategy: str, order_key: str, status: OrderStatus, now: datetime) -> str:
    """Records what an order that has ended did all the same: its executions, corrections and commissions of them, and the state that
    follows by model.order.TRANSITIONS. Returns what was wrong about its end, "" when nothing was."""
    for fill in status.fills:
        journal.record_fill(strategy, fill)
    present = journal.state_of(order_key)
    if status.state is None or status.state not in TRANSITIONS[present]:
        return ""
    if present in (OrderState.EXPIRED, OrderState.REJECTED) and status.state in TERMINAL_STATES and not status.fills:
        return ""  # another word for an end at which nothing was traded
    detail = status.detail
    if present in TERMINAL_STATES:
        detail = f"It was taken for {present}; the broker shows it as {status.state} after all. {detail}".rstrip()
    journal.record_state(order_key, status.state, now, detail, status.broker_order_id)
    return f"{order_key}: {detail}" if present in TERMINAL_STATES else ""


def _price(prices: Mapping[int, LastPrice], security_id: int) -> Decimal | None:
    last = prices.get(security_id)
    return last.price if last is not None else None


def action_entries(
    book: Book, actions: Sequence[CorporateAction], session: date, prices: Mapping[int, LastPrice]
) -> tuple[Entry, ...]:
    """The entries of a session's corporate actions on a book as it was before the open."""
    entries: list[Entry] = []
    positions = dict(book.positions)
    # Splits first: a dividend of the same day is paid on the shares held after it (ex-dates coincide).
    for action in sorted(actions, key=lambda a: (a.security_id, a.type is not ActionType.SPLIT, a.type)):
        position = positions.get(action.security_id)
        if position is None or action.session != session:
            continue
        made = _entries_of(action, position, prices.get(action.security_id))
        entries += made
        shares = position.quantity + sum(entry.quantity for entry in made)
        if shares:
            positions[action.security_id] = Position(
                position.security_id, position.symbol, shares, position.cost, position.opened
            )
        else:
            del positions[action.security_id]
    return tuple(entries)


def _entries_of(action: CorporateAction, position: Position, close: LastPrice | None) -> list[Entry]:
    value, key = Decimal(str(action.value)), f"{action.security_id}:{action.session}"

    def entry(kind: EntryKind, cash: Decimal, quantity: int = 0) -> Entry:
        return Entry(f"{kind}:{key}", action.session, kind, usd(cash), quantity, position.security_id, position.symbol)

    if action.type is ActionType.DIVIDEND:
        return [entry(EntryKind.DIVIDEND, position.quantity * value)]
    if action.type is ActionType.DELISTING:
        return [entry(EntryKind.DELISTING, position.quantity * value, -position.quantity)]
    shares = position.quantity * value
    whole = int((shares + Decimal("1e-9")).to_integral_value(ROUND_FLOOR))
    made = [entry(EntryKind.SPLIT, Decimal(0), whole - position.quantity)]
    fraction = shares - whole
    if fraction > Decimal("1e-9"):
        # Fractions are sold at the close of the day; of a security that did not trade they are worth their cost.
        traded = close is not None and close.session == action.session
        made.append(entry(EntryKind.CASH_IN_LIEU, fraction * (close.price if traded else position.cost / shares)))
    return made


def sleeve_equity(book: Book, prices: Mapping[int, LastPrice]) -> Decimal:
    missing = [position.symbol for held, position in book.positions.items() if held not in prices]
    if missing:
        raise ExecutionError(f"No price was ever known of {', '.join(missing)}, which the book holds.", "Collect its bars.")
    return book.equity({held: prices[held].price for held in book.positions})


def view_of(
    market: SessionMarket, book: Book, limits: RiskSettings, style: OrderStyle = OrderStyle.OPEN_AUCTION
) -> SessionView:
    """What the strategy may look at."""
    equity = sleeve_equity(book, market.prices)
    candidate_of = finder(market.candidates)

    def holding(position: Position) -> Holding:
        price = market.prices[position.security_id].price
        return Holding(
            position.security_id,
            position.symbol,
            position.quantity,
            float(price),
            float(position.average_cost),
            float(position.quantity * price / equity),
            position.opened,
            candidate_of(position.security_id),
            market.verdicts.get(position.security_id),
        )

    holdings = tuple(holding(book.positions[held]) for held in sorted(book.positions))
    cash_weight = float(spendable(book.cash, equity, limits, style) / equity) if equity > 0 else 0.0
    return SessionView(market.session, market.candidates, holdings, cash_weight, book.last_sold, float(equity))


def decide(strategy: Strategy, market: SessionMarket, book: Book, limits: RiskSettings) -> tuple[Decision, ...]:
    candidates, passed_over = of_one_class(market.candidates, market.volumes, sorted(book.positions))
    view = view_of(replace(market, candidates=candidates), book, limits, strategy.orders)
    where, most = f"Strategy {strategy.name}, session {market.session}", len(view.holdings) + len(view.candidates)
    made: list[Decision] = []
    try:
        with printing_little(where), stopped_after(strategy.limits.seconds_per_session):
            made = list(islice(strategy.decide(view), most + 1))
    except TradebotError:
        raise
    except OutOfTime as error:
        raise StrategyError(
            f"{where}: its decision was stopped after {strategy.limits.seconds_per_session:g} s {authors_line(error, strategy)}.",
            "See whether it loops; give slow work more time with layers.seconds_per_session.",
        ) from None
    except Exception as error:
        raise StrategyError(
            f"Strategy {strategy.name} failed to decide session {market.session}: {type(error).__name__}: {error}",
            "The author's lines are above.",
        ) from error
    if len(made) > most:
        raise StrategyError(f"{where}: more decisions than holdings and candidates ({most}).", "Decide once for each of them.")
    if strange := next((decision for decision in made if not isinstance(decision, Decision)), None):
        raise StrategyError(
            f"{where}: decide gave a {type(strange).__name__}.", "Give decisions: view.buy, hold, sell or skip."
        )
    checked = check_decisions(strategy, view, hold_where_blocked(view, made))
    skipped = [view.skip(candidate, verdict) for candidate, verdict in passed_over]
    return tuple(sorted((*checked, *skipped), key=lambda decision: decision.security_id))


def submit(
    journal: Journal,
    engine: ExecutionEngine,
    gate: RiskGate,
    limits: RiskSettings,
    strategy: str,
    decisions: Sequence[Decision],
    market: SessionMarket,
    now: datetime,
    style: OrderStyle = OrderStyle.OPEN_AUCTION,
    unsettled: Decimal = _NOTHING,
    past: Past = _FIRST_SESSION,
) -> None:
    """Plans, checks, commits and sends. Called again for the same session it plans nothing anew and sends nothing twice."""
    book = journal.book(strategy, market.session)
    orders = plan(gate, limits, strategy, decisions, book, market, style=style, unsettled=unsettled, past=past)
    journal.commit_orders(strategy, market.session, orders, now)
    for intent, state in journal.open_orders(strategy):
        if intent.session == market.session and may_send(journal, gate, intent, state, as_sized(intent), now):
            send(journal, engine, strategy, intent, state, now)


def plan(
    gate: RiskGate,
    limits: RiskSettings,
    strategy: str,
    decisions: Sequence[Decision],
    book: Book,
    market: SessionMarket,
    voided: Collection[int] = (),
    style: OrderStyle = OrderStyle.OPEN_AUCTION,
    unsettled: Decimal = _NOTHING,
    past: Past = _FIRST_SESSION,
    others: OtherOrders = _NO_OTHERS,
    broken: Collection[int] = (),
    broker_cash: BrokerCash | None = None,
) -> tuple[tuple[OrderIntent, RiskVerdict], ...]:
    """The session's orders, each with the gate's verdict. `voided` securities split or end before the orders could fill;
    `unsettled` cash (trading/settlement.py) pays for no purchase; of `broken` securities the broker holds another number than the
    ledger (trading/account_reconciliation.py); `broker_cash` is what the account can pay for all of them together."""
    concerned = {*(decision.security_id for decision in decisions), *book.positions} & market.prices.keys()
    prices = {security: market.prices[security].price for security in concerned}
    priced_on = {security: market.prices[security].session for security in concerned}
    equity = sleeve_equity(book, market.prices)
    peak = max(equity, past.peak) if past.peak is not None else equity
    book = replace(book, cash=book.cash - unsettled)
    promised = book  # the book with the approved purchases paid, so that the limits hold for all of them together
    orders: list[tuple[OrderIntent, RiskVerdict]] = []
    for intent in plan_orders(strategy, decisions, book, equity, prices, market.volumes, limits, style, past.left):
        approved = sum(verdict.approved for _, verdict in orders)
        verdict = (
            RiskVerdict(False, "corporate_action_at_next_open")
            if intent.security_id in voided
            else RiskVerdict(False, "reconciliation_break")
            if intent.security_id in broken
            else gate.check(
                intent,
                Situation(
                    promised,
                    equity,
                    prices,
                    market.volumes,
                    approved,
                    priced_on,
                    market.previous_closes,
                    market.industries,
                    peak,
                    past.unfilled,
                    others,
                    broker_cash=_left(broker_cash, book.cash - promised.cash),
                ),
            )
        )
        orders.append((intent, verdict))
        if verdict.approved and (intent.side is Side.BUY or limits.spend_proceeds):
            promised = promised.apply(_promise(intent))
    return tuple(orders)


def _left(cash: BrokerCash | None, promised: Decimal) -> BrokerCash | None:
    return cash if cash is None or cash.available is None else BrokerCash(cash.available - promised)


def _promise(intent: OrderIntent) -> Entry:
    shares = intent.side.sign * intent.quantity
    cash = -shares * (intent.limit_price or intent.reference_price)
    return Entry(intent.key, intent.session, EntryKind.TRADE, cash, shares, intent.security_id, intent.symbol)


def may_send(
    journal: Journal, gate: RiskGate, intent: OrderIntent, state: OrderState, price: FreshPrice, now: datetime
) -> bool:
    """The gate's last look at an order that was never sent, with what its price is now. The verdict is kept; a refusal ends the order.
    One that was sent, or may have been, is not looked at: it can only be asked about."""
    if state is not OrderState.NEW:
        return True
    verdict = gate.check_price(intent, price.prices)
    journal.record_check(intent.key, verdict, now, price.words)
    return verdict.approved


def send(
    journal: Journal, engine: ExecutionEngine, strategy: str, intent: OrderIntent, state: OrderState, now: datetime
) -> None:
    """Sends an order that was never sent; of one that was left in doubt, asks first and never resends blindly."""
    if state in (OrderState.SENDING, OrderState.UNKNOWN):
        known = engine.get_order_status(intent.key)
        if known.state is not None or not engine.absence_is_proof:
            if known.state is None:
                journal.record_state(intent.key, OrderState.UNKNOWN, now, "The broker does not show it; nothing is resent.")
            take_status(journal, strategy, intent, known, now)
            return
        journal.record_state(intent.key, OrderState.UNKNOWN, now, "Never received by the engine.")
    elif state is not OrderState.NEW:
        return
    try:
        ours = journal.record_state(intent.key, OrderState.SENDING, now)
    except ExecutionError:  # it has moved on since it was read
        ours = False
    if not ours:
        return  # another process sends it at this moment, or has
    try:
        status = engine.submit(intent)
    except OrderUnknown as error:
        journal.record_state(intent.key, OrderState.UNKNOWN, now, str(error))
        return
    except TradebotError as error:  # before anything went out, or it would be OrderUnknown: it may be tried again
        journal.record_state(intent.key, OrderState.NEW, now, error.cause)
        raise
    take_status(journal, strategy, intent, status, now)
