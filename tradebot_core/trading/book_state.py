"""A sleeve between two sessions, as JSON: what a backtest is continued from, and what chains its sessions together."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from functools import cached_property
from types import MappingProxyType

from tradebot_core.model.order import OrderIntent, Side
from tradebot_core.model.portfolio import Book, Position
from tradebot_core.trading.session import LastPrice
from tradebot_core.trading.settlement import Sales


@dataclass(frozen=True)
class BookState:
    """`prices` are the last known of what is held; `working` are orders that wait for the next open; `fingerprint` names the
    strategy, its code, parameters, limits and costs that made it."""

    book: Book
    prices: Mapping[int, LastPrice]
    working: tuple[OrderIntent, ...]
    fingerprint: str
    unfilled: tuple[tuple[date, int, Side], ...] = ()  # orders of the last sessions that ended without a fill
    peak: Decimal | None = None  # highest equity so far; None in books made before it was kept
    unsettled: Sales = ()  # of the last sessions

    @classmethod
    def empty(cls, fingerprint: str) -> "BookState":
        """A sleeve before its first session; its capital is deposited there."""
        return cls(Book(), {}, (), fingerprint)

    def to_json(self) -> str:
        """Canonical: the same state is the same text."""
        positions = [
            [p.security_id, p.symbol, p.quantity, str(p.cost), p.opened.isoformat()]
            for _, p in sorted(self.book.positions.items())
        ]
        state = (
            {
                "cash": str(self.book.cash),
                "positions": positions,
                "prices": [
                    [held, str(self.prices[held].price), str(self.prices[held].session)] for held in sorted(self.book.positions)
                ],
                "last_sold": [[security, on.isoformat()] for security, on in sorted(self.book.last_sold.items())],
                "working": [intent.to_dict() for intent in sorted(self.working, key=lambda i: i.key)],
                "fingerprint": self.fingerprint,
            }
            # Left out where there is nothing to say, so that older states keep their text and digest.
            | (
                {"unfilled": [[on.isoformat(), security, str(side)] for on, security, side in self.unfilled]}
                if self.unfilled
                else {}
            )
            | ({"peak": str(self.peak)} if self.peak is not None else {})
            | ({"unsettled": [[on.isoformat(), str(cash)] for on, cash in self.unsettled]} if self.unsettled else {})
        )
        return json.dumps(state, sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> "BookState":
        state = json.loads(text)
        positions = {
            row[0]: Position(row[0], row[1], row[2], Decimal(row[3]), date.fromisoformat(row[4])) for row in state["positions"]
        }
        sold = {security: date.fromisoformat(on) for security, on in state["last_sold"]}
        book = Book(Decimal(state["cash"]), MappingProxyType(positions), MappingProxyType(sold))
        prices = {row[0]: LastPrice(Decimal(row[1]), date.fromisoformat(row[2])) for row in state["prices"]}
        working = tuple(map(OrderIntent.from_dict, state["working"]))
        unfilled = tuple((date.fromisoformat(on), security, Side(side)) for on, security, side in state.get("unfilled", ()))
        peak = Decimal(state["peak"]) if "peak" in state else None
        pending = tuple((date.fromisoformat(on), Decimal(cash)) for on, cash in state.get("unsettled", ()))
        return cls(book, prices, working, state["fingerprint"], unfilled, peak, pending)

    @cached_property
    def json(self) -> str:
        return self.to_json()

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.json.encode()).hexdigest()
