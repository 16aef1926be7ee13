"""The simulated engine: orders fill in full in the next session, with slippage and commission.

It serves backtests and paper trading without a broker. It knows the market only through `OpeningMarket` and the time only
through its clock: an order fills at the open once the clock has passed it and the open is known. A day order whose limit the
open is beyond fills at its limit when the session traded through it (touched is not enough: others stood before us), and what
of it did not fill ends with the session. An adaptive order is taken to cost what an order at the open costs.
"""

import json
import os
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, ClassVar

from tradebot_core.calendar import TradingCalendar
from tradebot_core.config import CostSettings
from tradebot_core.errors import ExecutionError
from tradebot_core.interfaces import Clock, OpeningMarket
from tradebot_core.model.order import Fill, OrderIntent, OrderState, OrderStatus, Side
from tradebot_core.model.portfolio import usd
from tradebot_core.quant.costs import commission, fill_price


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
        now = self._clock.now()
        if now < self._calendar.opens_at(session):
            return OrderStatus(OrderState.WORKING)
        if self._market.voids_orders(intent.security_id, session):
            detail = f"A split or delisting took effect on {session}; the decision is made anew."
            return OrderStatus(OrderState.CANCELLED, detail=detail)
        price = self._market.open_price(intent.security_id, session)
        if price is None:
            if now < self._calendar.cutoff(session):
                return OrderStatus(OrderState.WORKING)
            return OrderStatus(OrderState.EXPIRED, detail=f"{intent.symbol} did not trade on {session}.")
        paid = fill_price(price, intent.side, self._costs)
        if intent.limit_price is None or (paid - intent.limit_price) * intent.side.sign <= 0:
            return OrderStatus(OrderState.FILLED, (self._fill(intent, session, paid, self._calendar.opens_at(session)),))
        beyond = f"It opened at {price}, beyond the limit of {intent.limit_price}"
        if intent.order_type.ends_at_open:
            return OrderStatus(OrderState.EXPIRED, detail=f"{beyond}.")
        if now < self._calendar.cutoff(session):
            return OrderStatus(OrderState.WORKING)
        if self._traded_through(intent, session):
            at = self._calendar.closes_at(session)
            return OrderStatus(OrderState.FILLED, (self._fill(intent, session, intent.limit_price, at),))
        return OrderStatus(OrderState.EXPIRED, detail=f"{beyond}, and did not trade through it in the session.")

    def _traded_through(self, intent: OrderIntent, session: date) -> bool:
        traded = self._market.traded_range(intent.security_id, session)
        assert traded is not None and intent.limit_price is not None  # the session has an open
        best = traded[0] if intent.side is Side.BUY else traded[1]
        return (usd(best) - intent.limit_price) * intent.side.sign < 0

    def _fill(self, intent: OrderIntent, session: date, price: Decimal, at: datetime) -> Fill:
        return Fill(
            f"sim:{intent.key}",
            intent.key,
            session,
            intent.security_id,
            intent.symbol,
            intent.side,
            intent.quantity,
            price,
            commission(intent.quantity, price, self._costs),
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
