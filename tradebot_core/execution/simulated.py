"""The simulated engine: orders fill in the next session, with slippage, commission and fees.

It serves backtests and paper trading without a broker. It knows the market only through `OpeningMarket` and the time only
through its clock: an order fills at the open, or one for the closing auction at the close, once the clock has passed it and the price is
known. A day order whose limit the open is beyond fills at its limit when the session traded through it (touched is not enough: others
stood before us). An adaptive order is taken to cost what an order at the open costs. With `costs.max_participation` an order fills up to
that share of the session's volume. What of an order did not fill ends with its auction or session, as at the broker.
"""

import json
import os
from dataclasses import replace
from datetime import date, datetime
from decimal import Decimal
from math import floor, inf, isfinite
from pathlib import Path
from typing import Any, ClassVar

from tradebot_core.calendar import TradingCalendar
from tradebot_core.config import CostSettings, Impact
from tradebot_core.errors import ExecutionError
from tradebot_core.interfaces import Clock, OpeningMarket
from tradebot_core.model.order import Fill, OrderIntent, OrderState, OrderStatus, Side
from tradebot_core.model.portfolio import usd
from tradebot_core.quant.costs import charges, fill_price


class SimulatedEngine:
    """With a `path`, orders are kept there (one JSON line each), so that they outlive the process."""

    name: ClassVar[str] = "simulated"
    absence_is_proof: ClassVar[bool] = True

    def __init__(
        self,
        market: OpeningMarket,
        calendar: TradingCalendar,
        clock: Clock,
        costs: CostSettings,
        path: Path | None = None,
    ) -> None:
        self._market = market
        self._calendar = calendar
        self._clock = clock
        self._costs = costs
        self._path = path
        self._orders: dict[str, OrderIntent] = {}
        self._cancelled: set[str] = set()
        if path is not None and path.exists():
            try:
                for line in path.read_text(encoding="utf-8").splitlines():
                    self._replay(json.loads(line))
            except (ValueError, KeyError) as error:
                raise ExecutionError(
                    f"The simulated engine's record {path} cannot be read ({error}).", "Remove its damaged line, or the file."
                ) from error

    def submit(self, intent: OrderIntent) -> OrderStatus:
        if intent.key not in self._orders:
            self._keep({"submit": intent.to_dict()})
            self._orders[intent.key] = intent
        return self.get_order_status(intent.key)

    def cancel(self, order_key: str) -> OrderStatus:
        status = self.get_order_status(order_key)
        if status.state is OrderState.WORKING:
            self._keep({"cancel": order_key})
            self._cancelled.add(order_key)
            return self.get_order_status(order_key)
        return status

    def get_order_status(self, order_key: str) -> OrderStatus:
        intent = self._orders.get(order_key)
        if intent is None:
            return OrderStatus(None)
        if order_key in self._cancelled:
            return OrderStatus(OrderState.CANCELLED, detail="Cancelled on request.")
        return self._status_after_open(intent)

    def _status_after_open(self, intent: OrderIntent) -> OrderStatus:
        session = self._calendar.next(intent.session)
        now, over = self._clock.now(), self._clock.now() >= self._calendar.cutoff(session)
        if now < self._calendar.opens_at(session):
            return OrderStatus(OrderState.WORKING)
        if self._market.voids_orders(intent.security_id, session):
            detail = f"A split or delisting took effect on {session}; the decision is made anew."
            return OrderStatus(OrderState.CANCELLED, detail=detail)
        at_close = intent.order_type.at_close
        begins = self._calendar.closes_at(session) if at_close else self._calendar.opens_at(session)
        if now < begins:
            return OrderStatus(OrderState.WORKING)
        price = (self._market.close_price if at_close else self._market.open_price)(intent.security_id, session)
        volume = self._volume(intent, session)
        why = self._why_unfilled(intent, session, price, volume)
        if why or price is None or volume is None:
            return OrderStatus(OrderState.EXPIRED, detail=why) if over else OrderStatus(OrderState.WORKING)
        quantity = self._most(intent.quantity, volume)
        paid = fill_price(price, intent.side, self._costs, quantity / volume)
        if intent.limit_price is None or (paid - intent.limit_price) * intent.side.sign <= 0:
            return self._filled(intent, session, quantity, paid, begins)
        beyond = f"It {'closed' if at_close else 'opened'} at {price}, beyond the limit of {intent.limit_price}"
        if intent.order_type.ends_at_open or at_close:
            return OrderStatus(OrderState.EXPIRED, detail=f"{beyond}.")
        if not over:
            return OrderStatus(OrderState.WORKING)
        if self._traded_through(intent, session):
            return self._filled(intent, session, quantity, intent.limit_price, self._calendar.closes_at(session))
        return OrderStatus(OrderState.EXPIRED, detail=f"{beyond}, and did not trade through it in the session.")

    def _why_unfilled(self, intent: OrderIntent, session: date, price: float | None, volume: float | None) -> str:
        """Why there is nothing to fill it with; empty when there is."""
        if price is None:
            return f"{intent.symbol} did not trade on {session}."
        if volume is None:
            return f"What {intent.symbol} traded on {session} is not known, and an order may take no more than its share of it."
        if not self._most(intent.quantity, volume):
            return f"{intent.symbol} traded {volume:.0f} shares on {session}: too few to take one of them."
        return ""

    def _volume(self, intent: OrderIntent, session: date) -> float | None:
        """Shares that the session traded; without end where neither cap nor impact asks for it."""
        if self._costs.max_participation is None and self._costs.impact is Impact.OFF:
            return inf
        volume = self._market.traded_volume(intent.security_id, session)
        return volume if volume is not None and isfinite(volume) else None

    def _most(self, quantity: int, volume: float) -> int:
        """Never more than was traded, whatever the settings."""
        if volume == inf:
            return quantity
        return min(quantity, floor(volume * (self._costs.max_participation or 1.0)))

    def _traded_through(self, intent: OrderIntent, session: date) -> bool:
        traded = self._market.traded_range(intent.security_id, session)
        assert traded is not None and intent.limit_price is not None  # the session has an open
        best = traded[0] if intent.side is Side.BUY else traded[1]
        return (usd(best) - intent.limit_price) * intent.side.sign < 0

    def _filled(self, intent: OrderIntent, session: date, quantity: int, price: Decimal, at: datetime) -> OrderStatus:
        fill = self._fill(replace(intent, quantity=quantity), session, price, at)
        if quantity == intent.quantity:
            return OrderStatus(OrderState.FILLED, (fill,))
        if self._clock.now() < self._calendar.closes_at(session) and not intent.order_type.ends_at_open:
            return OrderStatus(OrderState.PARTIAL, (fill,))
        share = self._costs.max_participation or 1.0
        detail = f"{quantity} of {intent.quantity} filled: no more than {share:.1%} of the session's volume. The rest ended."
        return OrderStatus(OrderState.EXPIRED, (fill,), detail=detail)

    def _fill(self, intent: OrderIntent, session: date, price: Decimal, at: datetime) -> Fill:
        cost = charges(intent.side, intent.quantity, price, session, self._costs).total
        return Fill(
            f"sim:{intent.key}",
            intent.key,
            session,
            intent.security_id,
            intent.symbol,
            intent.side,
            intent.quantity,
            price,
            cost,
            at,
        )

    def _keep(self, record: dict[str, Any]) -> None:
        if self._path is None:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record, sort_keys=True) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def _replay(self, record: dict[str, Any]) -> None:
        if "cancel" in record:
            self._cancelled.add(str(record["cancel"]))
            return
        intent = OrderIntent.from_dict(record["submit"])
        self._orders[intent.key] = intent
