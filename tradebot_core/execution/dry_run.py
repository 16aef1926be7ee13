"""The dry run: everything as in earnest, and the orders go into a file instead of to the broker."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from tradebot_core.calendar import TradingCalendar
from tradebot_core.errors import ExecutionError
from tradebot_core.interfaces import Clock, ExecutionEngine
from tradebot_core.model.order import OrderIntent, OrderState, OrderStatus

_DETAIL = "Dry run: recorded, not sent."


class DryRunEngine:
    """Wraps an engine, which is asked about orders it may have from before and is never told to do anything.

    A recorded order expires at its open, unfilled: the sleeve of a dry run stays in cash and decides anew each session.
    Each line of the file is one thing that would have been done: {"action": "submit", ...intent} or {"action": "cancel", "key"}.
    """

    name: ClassVar[str] = "dry_run"
    absence_is_proof: ClassVar[bool] = True  # an order that is not in the file was never recorded

    def __init__(self, engine: ExecutionEngine | None, path: Path, calendar: TradingCalendar, clock: Clock) -> None:
        self._engine = engine
        self._path = path
        self._calendar = calendar
        self._clock = clock

    def submit(self, intent: OrderIntent) -> OrderStatus:
        known = self.get_order_status(intent.key)
        if known.state is not None:
            return known
        self._append({"action": "submit", **intent.to_dict()})
        return OrderStatus(OrderState.WORKING, detail=_DETAIL)

    def cancel(self, order_key: str) -> OrderStatus:
        known = self.get_order_status(order_key)
        if known.state is not OrderState.WORKING:
            return known
        self._append({"action": "cancel", "key": order_key})
        return OrderStatus(OrderState.CANCELLED, detail=_DETAIL)

    def get_order_status(self, order_key: str) -> OrderStatus:
        lines = [line for line in self._lines() if line["key"] == order_key]
        if any(line["action"] == "cancel" for line in lines):
            return OrderStatus(OrderState.CANCELLED, detail=_DETAIL)
        if lines:
            opened = self._clock.now() >= self._calendar.opens_at(self._calendar.next(OrderIntent.from_dict(lines[0]).session))
            return OrderStatus(OrderState.EXPIRED if opened else OrderState.WORKING, detail=_DETAIL)
        return self._engine.get_order_status(order_key) if self._engine is not None else OrderStatus(None)

    def _append(self, line: Mapping[str, Any]) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def _lines(self) -> list[dict[str, Any]]:
        if not self._path.exists():
            return []
        try:
            return [json.loads(line) for line in self._path.read_text(encoding="utf-8").splitlines()]
        except ValueError as error:
            raise ExecutionError(
                f"The record of the dry run {self._path} cannot be read ({error}).", "Remove its damaged line, or the file."
            ) from error
