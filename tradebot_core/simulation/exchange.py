"""The broker behind the simulated TWS: one cash account, its orders and executions, filled from daily bars.

What fills, and when (the clock decides; daily bars know no more than this):

    MKT or LMT, tif OPG   the opening auction of the session that follows (orders from 09:28 wait for the next one): at the
                          raw open, or cancelled when the limit is not reached or the share does not open that day
    MKT, tif DAY          at the open of the session, at once when it is open already
    LMT, tif DAY          at the open when it is within the limit, else at the limit at the close when the day's range
                          reached it, else cancelled at the close

Corporate actions take effect at the open: splits and cash in lieu, dividends (gross), delistings.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from decimal import ROUND_FLOOR, Decimal
from pathlib import Path

from tradebot_core.calendar import NEW_YORK, TradingCalendar
from tradebot_core.config import CostSettings
from tradebot_core.interfaces import Clock
from tradebot_core.model.market import ActionType
from tradebot_core.model.portfolio import usd
from tradebot_core.quant.costs import commission
from tradebot_core.simulation.account import AccountState, Holding, OrderTicket, SimulatedExecution, SimulatedOrder
from tradebot_core.simulation.market_data import Action, DailyBar, Listing, MarketData

_AUCTION_CUT_OFF = timedelta(minutes=2)
_COSTS = CostSettings()

# Price bands of the one market rule that is served: (from this price, step).
PRICE_STEPS = ((Decimal(0), Decimal("0.0001")), (Decimal(1), Decimal("0.01")))


class OrderRefused(Exception):
    """The broker's error code and text. Of these only 201 is remembered, as a completed order; the others were never taken."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"{code}: {text}")
        self.code = code
        self.text = text


@dataclass(frozen=True, slots=True)
class Progress:
    """What happened to one order: its new state, and the execution when there was one."""

    order: SimulatedOrder
    execution: SimulatedExecution | None = None


class SimulatedExchange:
    """Keeps its state in `state_path` (JSON, replaced whole) and therefore survives its process."""

    def __init__(
        self, market: MarketData, clock: Clock, calendar: TradingCalendar, account: str, cash: Decimal, state_path: Path | None
    ) -> None:
        self.market = market
        self.clock = clock
        self.calendar = calendar
        self.account = account
        self._path = state_path
        if state_path is not None and state_path.exists():
            self._state = AccountState.load(state_path)
            if self._state.account != account:
                raise ValueError(f"{state_path} belongs to account {self._state.account}, not {account}")
        else:
            self._state = AccountState(account=account, cash=cash, opened=self._last_open(clock.now()))

    # What clients may ask.

    @property
    def now(self) -> datetime:
        return self.clock.now()

    @property
    def today(self) -> date:
        return self.now.astimezone(NEW_YORK).date()

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
        """Those since midnight, New York."""
        return [e for e in self._state.executions if self._is_today(e.at)]

    @property
    def cash(self) -> Decimal:
        return self._state.cash

    @property
    def holdings(self) -> dict[int, Holding]:
        return self._state.holdings

    def price(self, con_id: int) -> Decimal:
        """The last price: the open during the session, the close after it."""
        opened = self._state.opened
        bar = self.market.last_bar(con_id, opened)
        if bar is None:
            return Decimal(0)
        trading = bar.session == opened and self.now < self.calendar.closes_at(opened)
        return usd(bar.open if trading else bar.close)

    @property
    def invested(self) -> Decimal:
        return sum((self.price(con_id) * held.quantity for con_id, held in self.holdings.items()), Decimal(0))

    @property
    def available_funds(self) -> Decimal:
        """Cash that no open purchase has claimed."""
        claimed = sum((self._value(o) for o in self.open_orders() if o.action == "BUY"), Decimal(0))
        return self.cash - claimed

    def history(self, con_id: int, first: date, last: date) -> Sequence[DailyBar]:
        """Split-adjusted daily bars; that of a session still open holds no more than its open."""
        opened = self._state.opened
        bars = list(self.market.split_adjusted_bars(con_id, first, min(last, opened), self.today))
        if bars and bars[-1].session == opened and self.now < self.calendar.closes_at(opened):
            at = bars[-1].open
            bars[-1] = replace(bars[-1], high=at, low=at, close=at, volume=0.0)
        return bars

    # What clients may do.

    def place(self, ticket: OrderTicket) -> SimulatedOrder:
        """Takes an order. Raises OrderRefused; `advance` then fills what is due at once."""
        listing = self._check(ticket)
        self._state.next_order_id[ticket.client_id] = ticket.order_id + 1
        order = self._order(ticket, listing)
        self._state.orders.append(order)
        try:
            self._check_means(order)
        except OrderRefused as refusal:
            self._complete(order, "Inactive", self.now, f"Rejected: {refusal.text}")
            raise
        finally:
            self._save()
        return order

    def preview(self, ticket: OrderTicket) -> Decimal:
        """The commission (USD) of an order that is not placed; it uses up the order id."""
        listing = self._check(ticket)
        self._state.next_order_id[ticket.client_id] = ticket.order_id + 1
        order = self._order(ticket, listing)
        self._check_means(order)
        return commission(order.quantity, order.limit_price or self.price(order.con_id), _COSTS)

    def cancel(self, client_id: int, order_id: int) -> SimulatedOrder:
        order = next((o for o in reversed(self._state.orders) if (o.client_id, o.order_id) == (client_id, order_id)), None)
        if order is None:
            raise OrderRefused(10147, f"OrderId {order_id} that needs to be cancelled is not found.")
        if not order.is_open:
            raise OrderRefused(
                10148, f"OrderId {order_id} that needs to be cancelled cannot be cancelled, state: {order.status}."
            )
        self._complete(order, "Cancelled", self.now, "Cancelled by Trader")
        self._save()
        return order

    def advance(self) -> Sequence[Progress]:
        """Brings the account up to the clock: every open that has passed, every order that is due."""
        before, now = self._state.opened, self.now
        progress: list[Progress] = []
        while now >= self.calendar.opens_at(following := self.calendar.next(self._state.opened)):
            self._state.opened = following
            for action in self.market.actions_on(following):
                self._apply(action)
            progress += self._match(now)
        progress += self._match(now)
        if progress or self._state.opened != before:
            self._save()
        return progress

    # Checks.

    def _check(self, ticket: OrderTicket) -> Listing:
        listing = self.listing(con_id=ticket.con_id)
        limit = ticket.limit_price
        if listing is None:
            raise OrderRefused(200, "No security definition has been found for the request")
        if ticket.order_id < self.next_order_id(ticket.client_id):
            raise OrderRefused(103, "Duplicate order id")
        if ticket.account != self.account:
            raise OrderRefused(435, "You must specify an account.")
        if ticket.action not in ("BUY", "SELL") or ticket.order_type not in ("MKT", "LMT"):
            raise OrderRefused(387, "Unsupported order type for this exchange and security type.")
        if ticket.tif not in ("DAY", "OPG"):
            raise OrderRefused(111, f"The TIF (Tif) value {ticket.tif!r} is incorrect for this order type.")
        if ticket.quantity != ticket.quantity.to_integral_value():
            raise OrderRefused(10243, "Fractional-sized order cannot be placed via API.")
        if ticket.quantity <= 0:
            raise OrderRefused(434, "The order size cannot be zero.")
        if (limit is None) != (ticket.order_type == "MKT") or (limit is not None and not self._on_grid(limit)):
            raise OrderRefused(110, "The price does not conform to the minimum price variation for this contract.")
        return listing

    @staticmethod
    def _on_grid(price: Decimal) -> bool:
        step = next((step for edge, step in reversed(PRICE_STEPS) if price >= edge), None)
        return step is not None and price > 0 and price % step == 0

    def _check_means(self, order: SimulatedOrder) -> None:
        """A cash account: purchases within the cash, sales within the position. The order itself may be in the book already."""
        if order.action == "BUY":
            own = self._value(order) if order in self._state.orders else Decimal(0)
            if self._value(order) > self.available_funds + own:
                raise OrderRefused(201, "Order rejected - reason:Available Funds are insufficient to cover the order.")
            return
        held = self.holdings.get(order.con_id)
        selling = sum(
            o.quantity for o in self.open_orders() if o is not order and (o.con_id, o.action) == (order.con_id, "SELL")
        )
        if order.quantity + selling > (held.quantity if held else 0):
            raise OrderRefused(201, "Order rejected - reason:A cash account cannot hold a short position.")

    def _value(self, order: SimulatedOrder) -> Decimal:
        return order.quantity * (order.limit_price or self.price(order.con_id))

    # The life of an order.

    def _order(self, ticket: OrderTicket, listing: Listing) -> SimulatedOrder:
        now = self.now
        session = self._session_for(ticket.tif, now)
        return SimulatedOrder(
            client_id=ticket.client_id,
            order_id=ticket.order_id,
            perm_id=1_000_000_001 + len(self._state.orders),
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
            status="PreSubmitted" if now < self.calendar.opens_at(session) else "Submitted",
        )

    def _session_for(self, tif: str, now: datetime) -> date:
        session = self._state.opened
        if tif == "DAY":
            return session if now < self.calendar.closes_at(session) else self.calendar.next(session)
        while now >= self.calendar.opens_at(session) - _AUCTION_CUT_OFF:
            session = self.calendar.next(session)
        return session

    def _match(self, now: datetime) -> list[Progress]:
        due = [o for o in self._state.orders if o.is_open and o.session <= self._state.opened]
        return [step for order in due if (step := self._work(order, now)) is not None]

    def _work(self, order: SimulatedOrder, now: datetime) -> Progress | None:
        """Fills or ends an order whose session has opened; None while it goes on working."""
        opens, closes = self.calendar.opens_at(order.session), self.calendar.closes_at(order.session)
        bar = self.market.bar(order.con_id, order.session)
        if bar is not None and self._within(order, bar.open):
            return self._fill(order, usd(bar.open), max(opens, order.placed_at))
        if order.tif == "OPG":
            return self._complete(order, "Cancelled", opens, "Cancelled: not filled in the opening auction")
        if now < closes:
            if order.status == "Submitted":
                return None
            order.status = "Submitted"
            return Progress(order)
        if bar is not None and order.limit_price is not None and self._within(order, bar.low if order.sign > 0 else bar.high):
            return self._fill(order, usd(order.limit_price), closes)
        return self._complete(order, "Cancelled", closes, "Cancelled: day order expired")

    @staticmethod
    def _within(order: SimulatedOrder, price: float) -> bool:
        return order.limit_price is None or order.sign * (order.limit_price - usd(price)) >= 0

    def _fill(self, order: SimulatedOrder, price: Decimal, at: datetime) -> Progress:
        cost = commission(order.quantity, price, _COSTS)
        value = order.quantity * price
        holding = self.holdings.setdefault(order.con_id, Holding(0, Decimal(0)))
        realized = None
        if order.sign > 0:
            holding.cost += value + cost
        else:
            share = usd(holding.cost * order.quantity / holding.quantity) if holding.quantity else Decimal(0)
            realized = value - cost - share
            holding.cost -= share
        holding.quantity += order.sign * order.quantity
        if holding.quantity == 0:
            del self.holdings[order.con_id]
        self._state.cash -= order.sign * value + cost
        order.filled, order.average_price = order.quantity, price
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
            quantity=order.quantity,
            price=price,
            commission=cost,
            realized_pnl=realized,
            at=at,
        )
        self._state.executions.append(execution)
        self._complete(order, "Filled", at, f"Filled Size: {order.quantity}")
        return Progress(order, execution)

    @staticmethod
    def _complete(order: SimulatedOrder, status: str, at: datetime, reason: str) -> Progress:
        order.status, order.completed_at, order.completed_status = status, at, reason
        return Progress(order)

    def _apply(self, action: Action) -> None:
        held = self.holdings.get(action.con_id)
        if held is None:
            return
        value = Decimal(str(action.value))
        if action.type is ActionType.DIVIDEND:
            self._state.cash += usd(held.quantity * value)
        elif action.type is ActionType.DELISTING:
            self._state.cash += usd(held.quantity * value)
            del self.holdings[action.con_id]
        else:
            shares = held.quantity * value
            whole = int((shares + Decimal("1e-9")).to_integral_value(ROUND_FLOOR))
            bar = self.market.bar(action.con_id, action.session)
            if bar is not None:  # the fraction is sold at the close of the day, as in the ledger
                self._state.cash += usd((shares - whole) * usd(bar.close))
            held.quantity = whole
            if whole == 0:
                del self.holdings[action.con_id]

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
