"""The broker behind the simulated TWS: cash accounts, their orders and executions, filled from daily bars (see `matching`).

Corporate actions take effect at the open: splits and cash in lieu, dividends (gross), delistings. Sales settle on the session
that follows. What a person would do by hand in TWS, and what the broker does of itself, are methods here; from another
thread than the server's they are called through `SimulatedTws.by_hand`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from decimal import ROUND_FLOOR, Decimal
from pathlib import Path

import msgspec

from tradebot_core.calendar import NEW_YORK, TradingCalendar
from tradebot_core.config import CostSettings
from tradebot_core.interfaces import Clock
from tradebot_core.model.market import ActionType
from tradebot_core.model.order import Side
from tradebot_core.model.portfolio import usd
from tradebot_core.quant.costs import charges
from tradebot_core.simulation.account import (
    WHOLE,
    AccountState,
    Announced,
    Book,
    Holding,
    OrderTicket,
    SimulatedExecution,
    SimulatedOrder,
    Slices,
    latest,
)
from tradebot_core.simulation.market_data import Action, DailyBar, Listing, MarketData
from tradebot_core.simulation.matching import Expiry, Trade, due
from tradebot_core.simulation.order_rules import OrderRefused, check_terms, session_for

_COSTS = CostSettings()
_BY_HAND = 0  # the client id that TWS itself trades under


@dataclass(frozen=True, slots=True)
class Progress:
    """What happened to one order: its new state, and the execution when there was one."""

    order: SimulatedOrder
    execution: SimulatedExecution | None = None


class SimulatedExchange:
    """Keeps its state in `state_path` (JSON, replaced whole) and therefore survives its process. Each of `accounts` opens with
    `cash`; the first is the one that is meant where none is named."""

    def __init__(
        self,
        market: MarketData,
        clock: Clock,
        calendar: TradingCalendar,
        accounts: Sequence[str],
        cash: Decimal,
        state_path: Path | None,
        *,
        settled_funds_only: bool = False,
    ) -> None:
        self.market = market
        self.clock = clock
        self.calendar = calendar
        self.accounts = tuple(accounts)
        self._settled_funds_only = settled_funds_only
        self._path = state_path
        if state_path is not None and state_path.exists():
            self._state = AccountState.load(state_path)
            if tuple(self._state.accounts) != self.accounts:
                raise ValueError(
                    f"{state_path} belongs to account {', '.join(self._state.accounts)}, not {', '.join(accounts)}"
                )
            for said in self._state.announced:
                self.market = self.market.with_action(said.symbol, said.session, said.type, said.value)
        else:
            self._state = AccountState(
                accounts={account: Book(cash=Decimal(0)) for account in accounts}, opened=self._last_open(clock.now())
            )
            for book in self._state.accounts.values():
                book.receive(self.today, "opening", cash)
            self._save()

    # What clients may ask.

    @property
    def now(self) -> datetime:
        return self.clock.now()

    @property
    def today(self) -> date:
        return self.now.astimezone(NEW_YORK).date()

    @property
    def opened(self) -> date:
        """The latest session that has opened."""
        return self._state.opened

    @property
    def is_open(self) -> bool:
        return self.now < self.calendar.closes_at(self._state.opened)

    def listing(self, *, con_id: int = 0, symbol: str = "") -> Listing | None:
        return self.market.listing(self.today, con_id=con_id, symbol=symbol)

    def next_order_id(self, client_id: int) -> int:
        return self._state.next_order_id.get(client_id, 1)

    def open_orders(self, client_id: int | None = None) -> Sequence[SimulatedOrder]:
        return [o for o in self._state.orders if o.is_open and client_id in (None, o.client_id)]

    def completed_orders(self) -> Sequence[SimulatedOrder]:
        """Those of the current day: a gateway looks back no further."""
        return [o for o in self._state.orders if o.completed_at is not None and self._is_today(o.completed_at)]

    def executions(self) -> Sequence[SimulatedExecution]:
        """Those since midnight, New York, and corrections beside what they correct."""
        return [e for e in self._state.executions if self._is_today(e.at)]

    @property
    def cash(self) -> Decimal:
        return self.book().cash

    @property
    def holdings(self) -> dict[int, Holding]:
        return self.book().holdings

    def book(self, account: str = "") -> Book:
        return self._state.accounts[account or self.accounts[0]]

    def price(self, con_id: int) -> Decimal:
        """The last price: the open during the session, the close after it."""
        bar = self.market.last_bar(con_id, self._state.opened)
        if bar is None:
            return Decimal(0)
        trading = bar.session == self._state.opened and self.is_open
        return usd(bar.open if trading else bar.close)

    def invested(self, account: str = "") -> Decimal:
        held = self.book(account).holdings.items()
        return sum((self.price(con_id) * holding.quantity for con_id, holding in held), Decimal(0))

    def available_funds(self, account: str = "") -> Decimal:
        """Cash, or settled cash, that no open purchase has claimed."""
        book = self.book(account)
        owner = account or self.accounts[0]
        claimed = sum((self._value(o) for o in self.open_orders() if (o.action, o.account) == ("BUY", owner)), Decimal(0))
        return (book.settled_cash(self.today) if self._settled_funds_only else book.cash) - claimed

    def history(self, con_id: int, first: date, last: date) -> Sequence[DailyBar]:
        """Split-adjusted daily bars; that of a session still open holds no more than its open."""
        opened = self._state.opened
        bars = list(self.market.split_adjusted_bars(con_id, first, min(last, opened), self.today))
        if bars and bars[-1].session == opened and self.is_open:
            at = bars[-1].open
            bars[-1] = replace(bars[-1], high=at, low=at, close=at, volume=0.0)
        return bars

    def truth(self) -> AccountState:
        """All that really happened, on all days: a copy."""
        return AccountState.read(msgspec.json.encode(self._state))

    # What clients may do.

    def place(self, ticket: OrderTicket, slices: Slices = WHOLE, refusal: OrderRefused | None = None) -> SimulatedOrder:
        """Takes an order, or refuses it with `refusal`. Raises OrderRefused; `advance` then fills what is due at once."""
        order = self._new_order(ticket, slices)
        if refusal is not None and refusal.code != 201:
            raise refusal
        self._state.orders.append(order)
        try:
            if refusal is not None:
                raise refusal
            self._check_means(order)
        except OrderRefused as refused:
            self._complete(order, "Inactive", self.now, f"Rejected: {refused.text}")
            raise
        finally:
            self._save()
        return order

    def preview(self, ticket: OrderTicket) -> Decimal:
        """The commission (USD) of an order that is not placed; it uses up the order id."""
        order = self._new_order(ticket, WHOLE)
        self._check_means(order)
        self._save()
        return charges(_side(order), order.quantity, order.limit_price or self.price(order.con_id), self.today, _COSTS).total

    def find(self, client_id: int, order_id: int) -> SimulatedOrder | None:
        """The latest order of that id: ids may be issued twice."""
        return next((o for o in reversed(self._state.orders) if (o.client_id, o.order_id) == (client_id, order_id)), None)

    def cancel(self, client_id: int, order_id: int) -> SimulatedOrder:
        order = self.find(client_id, order_id)
        if order is None:
            raise OrderRefused(10147, f"OrderId {order_id} that needs to be cancelled is not found.")
        if not order.is_open:
            raise not_cancellable(order)
        return self.end(order, "Cancelled by Trader")

    def advance(self) -> Sequence[Progress]:
        """Brings the accounts up to the clock: every open that has passed, every order that is due."""
        before, now = self._state.opened, self.now
        progress = self._match(now)  # the closes of what has opened, before the next day's actions
        while now >= self.calendar.opens_at(following := self.calendar.next(self._state.opened)):
            self._state.opened = following
            for action in self.market.actions_on(following):
                for book in self._state.accounts.values():
                    self._apply(action, book)
            progress += self._match(now)
        if progress or self._state.opened != before:
            self._save()
        return progress

    # What a person does in TWS, and what the broker does of itself.

    def by_hand(
        self, symbol: str, action: str, quantity: int, limit_price: Decimal | None = None, tif: str = "DAY", account: str = ""
    ) -> SimulatedOrder:
        """An order that no client placed: client id 0, a negative order id, no reference. Raises OrderRefused."""
        listing = self.listing(symbol=symbol)
        if listing is None:
            raise OrderRefused(200, "No security definition has been found for the request")
        ticket = OrderTicket(
            client_id=_BY_HAND,
            order_id=-1 - sum(o.order_id < 0 for o in self._state.orders),
            con_id=listing.con_id,
            action=action,
            quantity=Decimal(quantity),
            order_type="LMT" if limit_price is not None else "MKT",
            limit_price=limit_price,
            tif=tif,
            account=account or self.accounts[0],
        )
        return self.place(ticket)

    def by_perm_id(self, perm_id: int) -> SimulatedOrder:
        """Raises OrderRefused."""
        found = next((o for o in self._state.orders if o.perm_id == perm_id), None)
        if found is None:
            raise OrderRefused(10147, f"No order has the permId {perm_id}.")
        return found

    def cancel_by_hand(self, perm_id: int) -> SimulatedOrder:
        """Whoever placed it. Raises OrderRefused."""
        order = self.by_perm_id(perm_id)
        if not order.is_open:
            raise not_cancellable(order)
        return self.end(order, "Cancelled by Trader")

    def announce(self, symbol: str, kind: ActionType, value: float) -> date:
        """A corporate action that is not in the market's files, in effect at the next open, which is returned. Raises OrderRefused
        for a share that is not listed, ValueError for a value that is not positive."""
        session = self.calendar.next(self._state.opened)
        if self.market.listing(session, symbol=symbol) is None:
            raise OrderRefused(200, "No security definition has been found for the request")
        if not (math.isfinite(value) and value > 0):
            raise ValueError(f"a {kind} of {value} is none")
        self._state.announced.append(Announced(symbol, session, kind, value))
        self.market = self.market.with_action(symbol, session, kind, value)
        self._save()
        return session

    def move_cash(self, kind: str, amount: Decimal, account: str = "") -> None:
        """A deposit, withdrawal (negative), interest or fee."""
        self.book(account).receive(self.today, kind, amount)
        self._save()

    def end(self, order: SimulatedOrder, reason: str) -> SimulatedOrder:
        self._complete(order, "Cancelled", self.now, reason)
        self._save()
        return order

    def fill_now(self, order: SimulatedOrder) -> Progress:
        """What is left of an open order, at the last price."""
        progress = self._trade(order, Trade(order.remaining, self.price(order.con_id), self.now))
        self._save()
        return progress

    def twin(self, order: SimulatedOrder) -> SimulatedOrder:
        """A second order that the broker takes the first for: the same ids and reference, another permId."""
        second = msgspec.structs.replace(order, perm_id=self._next_perm_id)
        self._state.orders.append(second)
        self._save()
        return second

    def correct(self, execution_id: str, price: Decimal) -> SimulatedExecution:
        """The exchange corrects the price of an execution: the same id with a higher last part. The commission stays.

        Raises KeyError for an execution that is not there."""
        base = execution_id.rpartition(".")[0]
        old = next((e for e in reversed(self._state.executions) if e.execution_id.rpartition(".")[0] == base), None)
        if old is None:
            raise KeyError(f"no execution {execution_id}")
        order = self.by_perm_id(old.perm_id)
        version = int(old.execution_id.rpartition(".")[2]) + 1
        value = old.quantity * (price - old.price)
        book = self.book(old.account)
        realized = old.realized_pnl
        if order.sign > 0:
            if old.con_id in book.holdings:
                book.holdings[old.con_id].cost += value
        else:
            realized = (realized or Decimal(0)) + value
        book.cash -= order.sign * value
        order.average_price += value / order.filled
        new = msgspec.structs.replace(
            old,
            execution_id=f"{base}.{version:02d}",
            price=price,
            realized_pnl=realized,
            average_price=old.average_price + value / old.cumulative,
        )
        self._state.executions.append(new)
        self._save()
        return new

    def roll_back_ids(self, client_id: int) -> None:
        """The next order id is 1 again, as after some restarts of a gateway."""
        self._state.next_order_id[client_id] = 1
        self._save()

    # Checks.

    def _new_order(self, ticket: OrderTicket, slices: Slices) -> SimulatedOrder:
        """Checks all but the means and uses up the order id."""
        listing = self.listing(con_id=ticket.con_id)
        if listing is None:
            raise OrderRefused(200, "No security definition has been found for the request")
        self._check_id(ticket)
        # Stricter than a login of one account, which takes an order that names none for its own: ours always name theirs.
        if ticket.account not in self.accounts:
            raise OrderRefused(435, "You must specify an account.")
        check_terms(ticket)
        now = self.now
        session = session_for(ticket, self._state.opened, now, self.calendar)
        if ticket.order_id > 0:
            self._state.next_order_id[ticket.client_id] = ticket.order_id + 1
        return SimulatedOrder(
            client_id=ticket.client_id,
            order_id=ticket.order_id,
            perm_id=self._next_perm_id,
            con_id=ticket.con_id,
            symbol=listing.symbol,
            action=ticket.action,
            quantity=int(ticket.quantity),
            order_type=ticket.order_type,
            limit_price=ticket.limit_price,
            tif=ticket.tif,
            account=ticket.account,
            order_ref=ticket.order_ref,
            session=session,
            placed_at=now,
            algorithm=ticket.algorithm,
            algorithm_terms=ticket.algorithm_terms,
            slices=slices,
            status="PreSubmitted" if now < self.calendar.opens_at(session) else "Submitted",
        )

    def _check_id(self, ticket: OrderTicket) -> None:
        if ticket.order_id < 0 or ticket.order_id >= self.next_order_id(ticket.client_id):
            return
        known = self.find(ticket.client_id, ticket.order_id)
        if known is not None and known.is_open:
            raise OrderRefused(105, "Order being modified does not match original order: changes are not simulated.")
        if known is not None and known.status == "Filled":
            raise OrderRefused(104, "Cannot modify a filled order.")
        raise OrderRefused(103, "Duplicate order id")

    def _check_means(self, order: SimulatedOrder) -> None:
        """A cash account: purchases within the cash, sales within the position. The order itself may be in the book already."""
        if order.action == "BUY":
            own = self._value(order) if order in self._state.orders else Decimal(0)
            if not self._value(order) <= self.available_funds(order.account) + own:
                raise OrderRefused(201, "Order rejected - reason:Available Funds are insufficient to cover the order.")
            return
        held = self.book(order.account).holdings.get(order.con_id)
        same = (order.con_id, order.account, "SELL")
        selling = sum(o.remaining for o in self.open_orders() if o is not order and (o.con_id, o.account, o.action) == same)
        if order.quantity + selling > (held.quantity if held else 0):
            raise OrderRefused(201, "Order rejected - reason:A cash account cannot hold a short position.")

    def _value(self, order: SimulatedOrder) -> Decimal:
        return order.remaining * (order.limit_price or self.price(order.con_id))

    @property
    def _next_perm_id(self) -> int:
        return 1_000_000_001 + len(self._state.orders)

    # The life of an order.

    def _match(self, now: datetime) -> list[Progress]:
        working = [o for o in self._state.orders if o.is_open and o.session <= self._state.opened]
        return [step for order in working for step in self._work(order, now)]

    def _work(self, order: SimulatedOrder, now: datetime) -> list[Progress]:
        opens, closes = self.calendar.opens_at(order.session), self.calendar.closes_at(order.session)
        bar = self.market.bar(order.con_id, order.session)
        steps = [
            self._trade(order, step) if isinstance(step, Trade) else self._expire(order, step)
            for step in due(order, bar, opens, closes, now)
        ]
        if not steps and order.status == "PreSubmitted":
            order.status = "Submitted"
            return [Progress(order)]
        return steps

    def _expire(self, order: SimulatedOrder, expiry: Expiry) -> Progress:
        self._complete(order, "Cancelled", expiry.at, expiry.reason)
        return _moment(order)

    def _trade(self, order: SimulatedOrder, trade: Trade) -> Progress:
        value = order.average_price * order.filled + trade.quantity * trade.price
        filled = order.filled + trade.quantity
        average = value / filled
        # One commission for the order, minimum and fees included, however many its executions.
        paid = sum((e.commission for e in latest(self._state.executions) if e.perm_id == order.perm_id), Decimal(0))
        day = trade.at.astimezone(NEW_YORK).date()
        cost = max(charges(_side(order), filled, average, day, _COSTS).total - paid, Decimal(0))
        settles = self.calendar.first_after(day)
        book = self.book(order.account)
        realized = book.trade(order.con_id, order.sign, trade.quantity, trade.price, cost, settles=settles)
        order.filled, order.average_price = filled, average
        execution = SimulatedExecution(
            execution_id=f"0000e0d5.{len(self._state.executions) + 1:08x}.01.01",
            order_id=order.order_id,
            client_id=order.client_id,
            perm_id=order.perm_id,
            con_id=order.con_id,
            symbol=order.symbol,
            account=order.account,
            order_ref=order.order_ref,
            action=order.action,
            quantity=trade.quantity,
            price=trade.price,
            commission=cost,
            realized_pnl=realized,
            at=trade.at,
            cumulative=filled,
            average_price=average,
        )
        self._state.executions.append(execution)
        order.status = "Submitted"
        if order.remaining == 0:
            self._complete(order, "Filled", trade.at, f"Filled Size: {order.quantity}")
        return _moment(order, execution)

    @staticmethod
    def _complete(order: SimulatedOrder, status: str, at: datetime, reason: str) -> None:
        order.status, order.completed_at, order.completed_status = status, at, reason

    def _apply(self, action: Action, book: Book) -> None:
        held = book.holdings.get(action.con_id)
        if held is None:
            return
        value, day = Decimal(str(action.value)), action.session
        if action.type is ActionType.DIVIDEND:
            book.receive(day, "dividend", usd(held.quantity * value))
        elif action.type is ActionType.DELISTING:
            book.receive(day, "delisting", usd(held.quantity * value))
            del book.holdings[action.con_id]
        else:
            shares = held.quantity * value
            whole = int((shares + Decimal("1e-9")).to_integral_value(ROUND_FLOOR))
            bar = self.market.bar(action.con_id, action.session)
            fraction = shares - whole
            if bar is not None and usd(fraction * usd(bar.close)):  # sold at the close of the day, as in the ledger
                book.receive(day, "cash in lieu", usd(fraction * usd(bar.close)))
            held.quantity = whole
            if whole == 0:
                del book.holdings[action.con_id]

    # Time and keeping.

    def _is_today(self, at: datetime) -> bool:
        return at.astimezone(NEW_YORK).date() == self.today

    def _last_open(self, now: datetime) -> date:
        day = now.astimezone(NEW_YORK).date()
        if self.calendar.is_session(day) and now >= self.calendar.opens_at(day):
            return day
        return self.calendar.previous(self.calendar.first_after(day - timedelta(days=1)))

    def _save(self) -> None:
        if self._path is not None:
            self._state.save(self._path)


def not_cancellable(order: SimulatedOrder, state: str = "") -> OrderRefused:
    text = f"OrderId {order.order_id} that needs to be cancelled cannot be cancelled, state: {state or order.status}."
    return OrderRefused(10148, text)


def _side(order: SimulatedOrder) -> Side:
    return Side.BUY if order.sign > 0 else Side.SELL


def _moment(order: SimulatedOrder, execution: SimulatedExecution | None = None) -> Progress:
    """With the order as it is now: the next execution of the same instant changes it again."""
    return Progress(msgspec.structs.replace(order), execution)
