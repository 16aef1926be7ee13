"""Every seam of the system on one page. To read this is to read the architecture.

Data flows one way: a Collector brings facts into the DataStore; layers turn facts into verdicts; a Strategy decides; the
RiskGate approves; an ExecutionEngine places; the Ledger remembers. Every reader says `as_of`; nothing asks what time it is
but the Clock.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any, ClassVar, Protocol, runtime_checkable

import polars as pl

from tradebot_core.model.event import Event, EventType
from tradebot_core.model.order import Fill, OrderIntent, OrderState, OrderStatus, RiskVerdict, Side
from tradebot_core.model.portfolio import Book, Entry
from tradebot_core.model.tables import ABSENT_COLUMNS, ACTIONS, BARS, FactTable, ResultTable
from tradebot_core.model.trial import TrialRun


class Clock(Protocol):
    def now(self) -> datetime:
        """UTC."""
        ...


@dataclass(frozen=True)
class Rejected:
    """A record that may not enter the store, and why. It is quarantined, never repaired."""

    record: Mapping[str, Any]
    rule: str
    reason: str


@dataclass(frozen=True)
class Absent:
    """Sessions, first to last, of which the source was asked for one security and had nothing: not to be asked for again."""

    security_id: int
    start: date
    end: date


@dataclass(frozen=True)
class Batch:
    """Events of one kind, as rows of one fact table (columns of `table.columns` plus known_at), what was refused, and what the source
    turned out not to have."""

    table: FactTable
    rows: pl.DataFrame
    source: str
    rejected: Sequence[Rejected] = field(default_factory=tuple)
    absent: Sequence[Absent] = field(default_factory=tuple)


class Collector(Protocol):
    """One source x one data set. Made from its configuration block; opens nothing before `collect`.

    A class may say in one sentence what its data cannot be trusted for (`caveat: ClassVar[str]`): every backtest's report repeats it.
    One that brings many issuers yields them in order of CIK, whole groups (model.issuers) to a batch: a store may keep each
    group in one place and write it once.
    """

    table: ClassVar[FactTable]

    def collect(self, securities: pl.DataFrame, start: date, end: date) -> Iterator[Batch]:
        """Everything the market could know from the start of `start` to the cut-off of `end` (sessions, inclusive).

        `securities` are the rows of the security master that matter (for a collector of securities: all that it holds so far). Fact
        collectors that read whole company histories may yield what was known earlier as well: the store keeps one copy.
        Raises CorruptInput when the source as a whole cannot be read, DataError with the mend when it is not there.
        """
        ...


@dataclass(frozen=True)
class Held:
    """What the store holds already, for a collector that must compare: the latest versions of raw bars and of actions, and what
    sources were found not to have (columns of ABSENT_COLUMNS)."""

    bars: pl.DataFrame
    actions: pl.DataFrame
    absent: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=ABSENT_COLUMNS))

    @classmethod
    def nothing(cls) -> "Held":
        return cls(BARS.schema.to_frame(), ACTIONS.schema.to_frame())


@runtime_checkable
class ComparingCollector(Collector, Protocol):
    """A collector whose source can only be read beside what was read of it before, such as a series that is stated anew."""

    overlap: ClassVar[int]  # sessions before `start` of which it must be told

    def against(self, held: Held) -> Collector:
        """The same collector, told what is held from `overlap` sessions before the start of its range on."""
        ...


class DataStore(Protocol):
    """Facts with two times, results per strategy and book, strategy state, and the ledger."""

    def append(self, batch: Batch, ingested_at: datetime) -> int:
        """Keeps every row that is new or differs from its latest version; returns how many. Same rows again: 0.

        A later version of an existing key becomes known no earlier than `ingested_at`: nobody could act on it before.
        """
        ...

    def read(
        self,
        table: FactTable,
        *,
        as_of: datetime,
        start: date | None = None,
        end: date | None = None,
        ciks: Collection[int] | None = None,
    ) -> pl.DataFrame:
        """The latest version of each row with known_at <= as_of, ordered by key; start and end bound `session` or,
        where a table has none, the New York day of known_at (inclusive).

        `ciks` are the issuers that are wanted, of tables with a cik: all reported facts of a market do not fit in memory.
        What one group of issuers costs (model.issuers) does not grow with the number of the others.
        """
        ...

    def read_versions(
        self,
        table: FactTable,
        *,
        as_of: datetime,
        start: date | None = None,
        end: date | None = None,
        ciks: Collection[int] | None = None,
        without: Sequence[str] = (),
    ) -> pl.DataFrame:
        """All versions with known_at <= as_of, ordered by key, known_at and ingested_at; start, end and ciks as in `read`.

        `without` names columns that are not needed (null in the answer): the provenance of figures is most of their bytes.
        """
        ...

    def newest(self, table: FactTable, *, as_of: datetime, also: Sequence[str] = ()) -> pl.DataFrame:
        """One row for each issuer with versions known by `as_of`, in order of cik: cik, the latest known_at and the latest
        ingested_at among those versions, and the columns `also` of the version known last (of those, ingested last). Reads no
        other column, and never the whole table at once."""
        ...

    def quarantined(self) -> pl.DataFrame: ...

    def absent(self, table: FactTable) -> pl.DataFrame:
        """What batches of this table said their sources do not have (columns of ABSENT_COLUMNS)."""
        ...

    def events(self, start: date, end: date, types: Sequence[EventType]) -> Iterator[Event]:
        """Stored facts one by one in the order in which they became known, from `start` to the cut-off of `end`."""
        ...

    def write_results(
        self,
        table: ResultTable,
        strategy: str,
        book: str,
        sessions: Sequence[date],
        rows: pl.DataFrame,
        layer: str = "",
        made_by: str = "",
    ) -> None:
        """Replaces the rows of exactly these sessions (a session without rows is remembered as empty). `made_by` is a mark of what made
        them, which is kept with each session."""
        ...

    def read_results(
        self,
        table: ResultTable,
        strategy: str,
        book: str,
        start: date | None = None,
        end: date | None = None,
        layer: str = "",
    ) -> pl.DataFrame: ...

    def result_sessions(self, table: ResultTable, strategy: str, book: str, layer: str = "") -> Sequence[date]:
        """The sessions for which results were written, ascending."""
        ...

    def result_makers(self, table: ResultTable, strategy: str, book: str, layer: str = "") -> Mapping[date, str]:
        """Of each session for which results were written, what made them: `made_by` of the last write, "" where none was given."""
        ...

    def forget_results(self, table: ResultTable, strategy: str, book: str, sessions: Sequence[date], layer: str = "") -> None:
        """These sessions count as not written, until they are written again: what is about to be replaced step by step is missing when
        that breaks off, and not half old and half new."""
        ...

    def writing(self, strategy: str, book: str) -> AbstractContextManager[None]:
        """For writes to several tables of a book that belong together: one process at a time, the others wait. Readers do not."""
        ...

    def copy_results(self, table: ResultTable, layer: str, book: str, giver: str, taker: str) -> None:
        """Makes the rows, sessions and makers of the strategy `taker` those of the strategy `giver`, without a cost that grows with
        them. What is written for either afterwards does not change the other."""
        ...

    def data_version(self) -> str:
        """A digest of all stored facts: another one after any was added."""
        ...

    @property
    def trials(self) -> "Trials": ...

    @property
    def ledger(self) -> "Ledger": ...


class Trials(Protocol):
    """Every backtest that was ever completed. Nothing is changed or forgotten."""

    def record(self, run: TrialRun) -> bool:
        """False when the very same run (trial, data, code, sessions, returns) was recorded before; it is not recorded twice."""
        ...

    def runs(self, idea: str | None = None) -> Sequence[TrialRun]:
        """All runs, or those of one class of strategy, oldest first."""
        ...


class Purpose(StrEnum):
    DECIDE = "decide"  # seal decisions as live
    SUBMIT = "submit"  # send the orders of live decisions


@dataclass(frozen=True)
class Permit:
    """The right to do one thing for one session, issued only by the live path, claimed once per strategy by one run."""

    permit_id: str
    session: date
    purpose: Purpose
    expires_at: datetime


@dataclass(frozen=True)
class DecisionSet:
    """The decisions of one strategy and session as they were sealed: `live` only when made under a claimed permit."""

    strategy: str
    session: date
    digest: str
    live: bool
    run_id: str
    decided_at: datetime


@dataclass(frozen=True)
class Arm:
    """A person's word that an account may be traded (`armed`), or may not any more. `fingerprint`: part of the configuration ->
    digest of it; see trading/arming.py."""

    armed: bool
    account: str
    operator: str
    at: datetime
    expires_at: datetime
    fingerprint: Mapping[str, str]
    code_version: str


@dataclass(frozen=True)
class ExternalEntry:
    """A change of what the account holds beside the sleeves: shares of a listing, or cash (`con_id` None), USD."""

    con_id: int | None
    quantity: Decimal
    cash: Decimal
    reason: str
    at: datetime
    operator: str


@dataclass(frozen=True)
class Break:
    """A line of the account that differs, as it was found at `at`. `key` names the line from one comparison to the next."""

    key: str
    kind: str  # order | execution | position | cash
    what: str
    con_id: int | None  # of the one security concerned; None concerns the account
    ledger: str
    broker: str
    reason: str
    at: datetime


@dataclass(frozen=True)
class BreakRecord:
    """What is kept of one break: `first_seen` is when the line began to differ, `found.at` since when it differs as it does now.
    `ended` is None while it is open; then `by` (a person's name, or "tradebot") and `word` say how it ended."""

    found: Break
    first_seen: datetime
    ended: datetime | None = None
    by: str = ""
    word: str = ""


@dataclass(frozen=True)
class Settlement:
    """The effect of a corporate action was seen at the broker: shares, or cash of `amount` USD (0 for shares). `key` is the one of
    trading/account_dues.py; what was settled once can explain no later difference."""

    key: str
    amount: Decimal
    at: datetime
    note: str


@dataclass(frozen=True)
class BrokerCash:
    """What the account can pay at an open, USD; None when the broker did not say, which pays for nothing."""

    available: Decimal | None


@dataclass(frozen=True)
class OtherOrders:
    """What the account's other sleeves have had approved in the session: how many orders, and on which securities and sides. A
    sleeve of a backtest has the account to itself."""

    count: int = 0
    sides: frozenset[tuple[int, Side]] = frozenset()


class Journal(Protocol):
    """Orders, fills and entries of the sleeves. Append-only: a correction is a new entry. Commits before it returns."""

    def commit_orders(
        self, strategy: str, session: date, orders: Sequence[tuple[OrderIntent, RiskVerdict]], at: datetime
    ) -> bool:
        """All orders of a session's decisions, in one transaction, once: False when they were committed before."""
        ...

    def record_state(
        self,
        order_key: str,
        state: OrderState,
        at: datetime,
        detail: str = "",
        broker_order_id: str = "",
        own_fault: bool = False,
    ) -> bool:
        """True when the state is new, False when it is the present one. Raises ExecutionError on a transition that
        model.order.TRANSITIONS lacks."""
        ...

    def record_fill(self, strategy: str, fill: Fill) -> bool:
        """Enters the trade, and its commission where that is known. False when the execution is known already; a ledger enters a
        higher version of it, which has other terms, as its correction, and a commission that came later as a line of its own."""
        ...

    def post(self, strategy: str, entries: Sequence[Entry]) -> int:
        """Enters what has not been entered; returns how many lines were new."""
        ...

    def open_orders(self, strategy: str) -> Sequence[tuple[OrderIntent, OrderState]]:
        """Every order that is not in a terminal state, oldest first."""
        ...

    def book(self, strategy: str, until: date) -> Book:
        """The fold of the entries up to and including session `until`."""
        ...

    def unfilled(self, strategy: str, since: date, before: date) -> Mapping[tuple[int, Side], int]:
        """How many orders of each security and side, decided from `since` on and before `before`, went out and have no fill."""
        ...

    def state_of(self, order_key: str) -> OrderState:
        """Raises ExecutionError when there is no such order."""
        ...

    def record_check(self, order_key: str, verdict: RiskVerdict, at: datetime, detail: str) -> bool:
        """Keeps the gate's verdict on an order that is about to be sent; a refusal ends it (`refused`). False, and nothing is kept,
        when the order is not new any more: another process sends it."""
        ...


class Ledger(Journal, Protocol):
    """The journal of real (paper or live) sleeves, with the right to trade and the kill switch."""

    def require_venue(self, venue: str) -> None:
        """Ties the ledger, on first use, to where its orders go. Raises ConfigurationError when it belongs to another venue."""
        ...

    def issue_permit(
        self,
        session: date,
        issued_at: datetime,
        expires_at: datetime,
        purpose: Purpose = Purpose.DECIDE,
        *,
        renew: bool = False,
    ) -> Permit:
        """The session's permit for a purpose; the same one when asked again, a new one that replaces it with `renew`."""
        ...

    def claim_permit(
        self, permit_id: str, strategy: str, run_id: str, at: datetime, purpose: Purpose = Purpose.DECIDE
    ) -> Permit:
        """Raises NotPermitted when there is no such permit, it was replaced, has expired, or another run has claimed it."""
        ...

    def seal_decisions(self, decisions: DecisionSet) -> None:
        """A second live set for the same strategy and session is refused (NotPermitted)."""
        ...

    def live_decisions(self, strategy: str, session: date) -> DecisionSet | None: ...

    def is_planned(self, strategy: str, session: date) -> bool:
        """Whether the orders of the session's decisions were committed (there may have been none to place)."""
        ...

    def decision_sets(self, strategy: str) -> Sequence[DecisionSet]: ...

    def orders(self, strategy: str, start: date | None = None, end: date | None = None) -> pl.DataFrame:
        """Columns of ORDERS, `session` being the session of the decision."""
        ...

    def fills(self, strategy: str, start: date | None = None, end: date | None = None) -> pl.DataFrame:
        """Columns of FILLS, `session` being the session of the fill."""
        ...

    def entries(self, strategy: str, until: date | None = None) -> Sequence[Entry]: ...

    def commit_plan(
        self,
        strategy: str,
        session: date,
        plan: Callable[[OtherOrders], Sequence[tuple[OrderIntent, RiskVerdict]]],
        at: datetime,
    ) -> bool:
        """As `commit_orders`, of a plan that is told what the other sleeves have had approved. No other sleeve commits between."""
        ...

    def rejected(self, session: date) -> int:
        """How many orders decided in the session the broker has rejected, of all sleeves, but those of an `own_fault`."""
        ...

    def mark(self, strategy: str, session: date, equity: Decimal) -> None:
        """Keeps the sleeve's equity at a session's close; the first word on a session stands."""
        ...

    def peak(self, strategy: str, until: date) -> Decimal:
        """What was deposited until then, and the most that was ever above it at a close that was marked."""
        ...

    def halted(self) -> str | None:
        """The reason trading was halted by a person, in this ledger or by a file HALT beside it, or None."""
        ...

    def halt(self, reason: str, at: datetime) -> None: ...

    def resume(self, at: datetime) -> None:
        """Ends the ledger's halt. A file HALT holds until it is removed."""
        ...

    def strategies(self) -> Sequence[str]:
        """Every strategy that ever planned an order, configured today or not."""
        ...

    def external(self) -> Sequence[ExternalEntry]:
        """The account's part beside the sleeves, as it was entered, oldest first."""
        ...

    def record_external(self, entries: Sequence[ExternalEntry], *, first: bool = False) -> bool:
        """With `first`, only where nothing was entered before, by whatever process: False when something was."""
        ...

    def open_breaks(self) -> Sequence[BreakRecord]:
        """The breaks that stand, first seen first."""
        ...

    def breaks(self) -> Sequence[BreakRecord]:
        """All that ever were, first seen first."""
        ...

    def record_breaks(self, found: Sequence[Break], ended: Collection[str], at: datetime, by: str, word: str) -> None:
        """Enters what a comparison found: new breaks, those that differ otherwise than before, and the end of those whose keys
        are in `ended`. A key that is not open is not ended."""
        ...

    def settlements(self) -> Sequence[Settlement]: ...

    def record_settlements(self, settlements: Sequence[Settlement]) -> None:
        """The first word on a key stands."""
        ...

    def record_arm(self, arm: Arm) -> None: ...

    def last_arm(self) -> Arm | None:
        """The last word on arming, which may be that it ended."""
        ...

    def rejected_of(self, strategy: str, session: date) -> int:
        """How many orders of the sleeve decided in the session the broker has rejected, for whatever reason."""
        ...

    def checks(self, strategy: str, start: date | None = None, end: date | None = None) -> pl.DataFrame:
        """What `record_check` kept of orders decided from `start` to `end`, oldest first: order_key, at, approved, rule, value,
        limit, detail. `orders` shows the refusal of an order in place of the verdict it was planned with."""
        ...


class ExecutionEngine(Protocol):
    """Dumb on purpose: no judgement, no retry. Orders are known by `intent.key`, which travels as the order reference."""

    name: ClassVar[str]
    absence_is_proof: ClassVar[bool]  # an order it does not know was never received

    def submit(self, intent: OrderIntent) -> OrderStatus:
        """Raises OrderUnknown when no answer came; never sends the same key twice."""
        ...

    def cancel(self, order_key: str) -> OrderStatus: ...

    def get_order_status(self, order_key: str) -> OrderStatus: ...


class OpeningMarket(Protocol):
    """What the simulated engine may ask of the market."""

    def open_price(self, security_id: int, session: date) -> float | None:
        """The raw open, or None when the security has no bar in the session (or none is known yet)."""
        ...

    def traded_range(self, security_id: int, session: date) -> tuple[float, float] | None:
        """The raw low and high of a session that is over, or None as for `open_price`."""
        ...

    def close_price(self, security_id: int, session: date) -> float | None:
        """The raw close of a session that is over, or None as for `open_price`."""
        ...

    def traded_volume(self, security_id: int, session: date) -> float | None:
        """Shares that a session which is over traded, or None where that is not known."""
        ...

    def voids_orders(self, security_id: int, session: date) -> bool:
        """Whether a split or a delisting takes effect in the session: an order decided before it means other shares."""
        ...


@dataclass(frozen=True)
class Situation:
    """What the risk gate is told. Prices: raw close of the decision's session, USD by security_id."""

    book: Book  # with the orders approved so far counted as done
    equity: Decimal
    prices: Mapping[int, Decimal]
    median_dollar_volume: Mapping[int, float]  # of 20 sessions, USD by security_id
    orders_this_session: int
    # What is not told is not known: it refuses purchases.
    priced_on: Mapping[int, date] = field(default_factory=dict)  # the session each price is from
    previous_closes: Mapping[int, Decimal] = field(default_factory=dict)  # of the session before, in the present shares
    industries: Mapping[int, str | None] | None = None  # None of one: unknown; None of all: no source tells any industry
    peak: Decimal | None = None  # highest equity at a close since the sleeve was opened, deposits added
    unfilled: Mapping[tuple[int, Side], int] = field(default_factory=dict)  # sent in the last sessions, without any fill
    others: OtherOrders = OtherOrders()
    broker_cash: BrokerCash | None = None  # less what was approved so far; None: there is no account beside the ledger


class RiskGate(Protocol):
    """Between every strategy and every engine, in every mode."""

    def check(self, intent: OrderIntent, situation: Situation) -> RiskVerdict: ...

    def check_price(self, intent: OrderIntent, prices: Collection[Decimal]) -> RiskVerdict:
        """The last look before an order goes out: `prices` are what the market says a share is worth now, USD; none when it does
        not tell."""
        ...


@dataclass(frozen=True)
class Quote:
    """What the market says of a share now, USD. A price that is not told is None, never 0 or -1. `close` is the last close that the
    broker counts as the previous one, in the shares of today."""

    bid: Decimal | None
    ask: Decimal | None
    last: Decimal | None
    close: Decimal | None
    delayed: bool
    at: datetime  # when it came, UTC


@dataclass(frozen=True)
class NoQuote:
    reason: str


class QuoteSource(Protocol):
    def of(self, securities: Mapping[int, str]) -> Mapping[int, Quote | NoQuote]:
        """An answer for each security (symbol by security_id), asked afresh at each call. That there is none is an answer; that nobody
        can be asked is an ExecutionError, and nothing is sent before somebody can."""
        ...


@dataclass(frozen=True)
class BrokerPosition:
    con_id: int
    symbol: str
    quantity: Decimal
    average_cost: Decimal  # USD a share


@dataclass(frozen=True)
class BrokerOrderLine:
    """One order as the broker lists it. `quantity` and `filled` are None where the broker leaves them out."""

    perm_id: int
    reference: str  # orderRef; "" for an order placed by hand
    con_id: int
    symbol: str
    side: str  # BUY | SELL
    status: str  # in the broker's words
    is_open: bool
    quantity: Decimal | None
    filled: Decimal | None
    limit_price: Decimal | None = None  # None without one


@dataclass(frozen=True)
class BrokerExecutionLine:
    """One execution of the day in its latest correction."""

    execution_id: str
    reference: str
    con_id: int
    symbol: str
    side: str  # BOT | SLD
    quantity: Decimal
    price: Decimal
    at: datetime


@dataclass(frozen=True)
class BrokerAccount:
    """What the broker says of one account. USD; a value that the broker did not send is None, never 0.

    Orders and executions reach back to midnight, New York; two orders of one reference are both listed.
    """

    account: str
    at: datetime  # the broker's clock, UTC
    positions: Mapping[int, BrokerPosition]  # by con_id, without those that are closed
    cash: Decimal | None
    settled_cash: Decimal | None
    net_liquidation: Decimal | None
    orders: Sequence[BrokerOrderLine]
    executions: Sequence[BrokerExecutionLine]


class AccountReader(Protocol):
    def account(self) -> BrokerAccount:
        """Asked afresh at each call. Raises ExecutionError when the broker does not answer."""
        ...
