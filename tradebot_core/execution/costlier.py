"""An engine that charges a multiple of what the engine within does: what a backtest is worth when its costs were guessed too low.

Commission is multiplied, and so is what a fill was worse than the open. A fill that was better than the open stays as it is. Whether an
order fills is decided by the engine within; a purchase may so cost a little more than its limit.
"""

from dataclasses import replace
from decimal import Decimal
from typing import ClassVar

from tradebot_core.interfaces import ExecutionEngine, OpeningMarket
from tradebot_core.model.order import Fill, OrderIntent, OrderStatus
from tradebot_core.model.portfolio import usd


class CostlierEngine:
    name: ClassVar[str] = "costlier"
    absence_is_proof: ClassVar[bool] = True  # as of the simulated engine, the only one that is put in it

    def __init__(self, within: ExecutionEngine, market: OpeningMarket, times: float) -> None:
        self._within = within
        self._market = market
        self._times = Decimal(str(times))

    def submit(self, intent: OrderIntent) -> OrderStatus:
        return self._dearer(self._within.submit(intent))

    def cancel(self, order_key: str) -> OrderStatus:
        return self._dearer(self._within.cancel(order_key))

    def get_order_status(self, order_key: str) -> OrderStatus:
        return self._dearer(self._within.get_order_status(order_key))

    def _dearer(self, status: OrderStatus) -> OrderStatus:
        return replace(status, fills=tuple(map(self._charged, status.fills))) if status.fills else status

    def _charged(self, fill: Fill) -> Fill:
        opened = self._market.open_price(fill.security_id, fill.session)
        worse = (fill.price - usd(opened)) * fill.side.sign if opened is not None else Decimal(0)
        price = usd(fill.price + (self._times - 1) * max(Decimal(0), worse) * fill.side.sign)
        commission = usd(fill.commission * self._times) if fill.commission is not None else None
        return replace(fill, price=price, commission=commission)
