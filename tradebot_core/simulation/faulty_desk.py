"""The desk with the faults of a script. What happens to an order it remembers as long as the server runs."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any

import msgspec

from tradebot_core.simulation import tws_messages as messages
from tradebot_core.simulation.account import WHOLE, OrderTicket, SimulatedOrder, Slices
from tradebot_core.simulation.exchange import Progress, SimulatedExchange, not_cancellable
from tradebot_core.simulation.faults import FaultKind, FaultScript, Place
from tradebot_core.simulation.order_rules import OrderRefused
from tradebot_core.simulation.tws_desk import Desk
from tradebot_core.simulation.tws_messages import Message, error
from tradebot_core.simulation.tws_protocol import Reply, Request, read_order
from tradebot_core.simulation.tws_session import Session

_PLACES: Mapping[int, Place] = {
    Request.CANCEL_ORDER: Place.CANCEL,
    Request.OPEN_ORDERS: Place.OPEN_ORDERS,
    Request.ALL_OPEN_ORDERS: Place.OPEN_ORDERS,
    Request.COMPLETED_ORDERS: Place.COMPLETED,
    Request.EXECUTIONS: Place.EXECUTIONS,
    Request.POSITIONS: Place.POSITIONS,
    Request.CONTRACT_DETAILS: Place.CONTRACT,
    Request.HISTORICAL_DATA: Place.HISTORY,
    Request.MARKET_DATA: Place.QUOTE,
    Request.FUNDAMENTAL_DATA: Place.FUNDAMENTALS,
    Request.CURRENT_TIME: Place.TIME,
}
# Where a request has its number; a request for a list has none.
_ID_FIELDS: Mapping[Place, int] = {
    Place.ORDER: 1,
    Place.HISTORY: 1,
    Place.CONTRACT: 2,
    Place.EXECUTIONS: 2,
    Place.QUOTE: 2,
    Place.FUNDAMENTALS: 2,
}
_ENDS = (Reply.COMPLETED_ORDERS_END, Reply.EXECUTIONS_END, Reply.OPEN_ORDERS_END, Reply.POSITIONS_END)
_KEY_FIELDS: Mapping[Any, int] = {Reply.ACCOUNT_VALUE: 2, Reply.ACCOUNT_SUMMARY: 4, Reply.ACCOUNT_VALUE_MULTI: 5}
_PARTS = Slices(parts=3, seconds=600.0)
_OUTAGE = timedelta(minutes=10)
_CENT = Decimal("0.01")
_LOST = error(1100, "Connectivity between IB and Trader Workstation has been lost.")
_RESTORED = error(1102, "Connectivity between IB and Trader Workstation has been restored - data maintained.")


class FaultyDesk(Desk):
    """`settings` are those of Desk."""

    def __init__(self, exchange: SimulatedExchange, faults: FaultScript, **settings: Any) -> None:
        super().__init__(exchange, **settings)
        self._faults = faults
        self._due: frozenset[FaultKind] = frozenset()  # at the request that is being answered
        self._of_order: dict[int, frozenset[FaultKind]] = {}  # by permId
        self._lost_at: datetime | None = None  # since when TWS has no IBKR

    # Clients.

    def admit(self, session: Session, client_id: int) -> bool:
        if FaultKind.ERROR_326 in session.faults:
            self.refuse_id(session)
            return False
        if FaultKind.ID_ROLLBACK in session.faults:
            self.exchange.roll_back_ids(client_id)
        if FaultKind.PLAIN_LEDGER_KEYS in session.faults:
            session.edits.append(_plain_key)
        if not super().admit(session, client_id):
            return False
        if self._lost_at is not None:
            session.send(_LOST)
        elif FaultKind.LINK_LOST in session.faults:
            self._lose_link()
        return True

    def answer(self, session: Session, fields: list[str]) -> None:
        if session.silent:
            return
        place = _place(fields)
        due = self._faults.at(*(Place.REQUEST, place) if place else (Place.REQUEST,))
        if FaultKind.SILENCE in due:
            session.silent = True
        elif FaultKind.DROP in due:
            session.drop()
        elif FaultKind.ERROR_321 in due and place is not None:
            text = "Error validating request.-'bR' : cause - a scripted fault."
            session.send(error(321, text, _request_id(place, fields)))
        elif FaultKind.ERROR_10358 in due:
            session.send(error(10358, "Fundamentals data is not allowed.", _request_id(Place.FUNDAMENTALS, fields)))
        elif FaultKind.UNANSWERED not in due:
            self._answer(session, fields, place, due)

    def _answer(self, session: Session, fields: list[str], place: Place | None, due: frozenset[FaultKind]) -> None:
        if FaultKind.LINK_LOST in due and place is not Place.ORDER:
            self._lose_link()
        self.advance()
        if self._lost_at is not None and place in (Place.ORDER, Place.CANCEL):
            return
        if FaultKind.HANG in due:
            session.edits.append(_without_end)
        self._due = due
        try:
            super().answer(session, fields)
        finally:
            self._due = frozenset()
            if FaultKind.HANG in due:
                session.edits.remove(_without_end)

    # Orders.

    def _take(self, ticket: OrderTicket) -> SimulatedOrder:
        refusal = None
        if FaultKind.ERROR_201 in self._due:
            refusal = OrderRefused(201, "Order rejected - reason:a scripted fault.")
        order = self.exchange.place(ticket, _PARTS if FaultKind.IN_PARTS in self._due else WHOLE, refusal)
        if self._due:
            self._of_order[order.perm_id] = self._due
        return order

    def _acknowledge(self, session: Session, order: SimulatedOrder) -> None:
        if FaultKind.TAKEN_THEN_DROP in self._due:
            session.drop()
        if FaultKind.ERROR_10349 in self._due:
            session.send(error(10349, "Order TIF was set to DAY based on order preset.", order.order_id))
        if not self._due & {FaultKind.NO_ACK, FaultKind.FILL_BEFORE_STATUS}:
            super()._acknowledge(session, order)
        if FaultKind.TOLD_TWICE in self._due:
            super()._acknowledge(session, order)
        if FaultKind.TWO_PERM_IDS in self._due:
            super()._acknowledge(session, self.exchange.twin(order))
        if FaultKind.ACK_THEN_DROP in self._due:
            session.drop()
        if FaultKind.LINK_LOST in self._due:
            self._lose_link()

    def _report(self, step: Progress) -> None:
        of_order = self._of_order.get(step.order.perm_id, frozenset())
        session = self._sessions.get(step.order.client_id) if self._lost_at is None else None
        if session is not None and not self._is_unsaid(step, of_order):
            super()._report(step)
            if FaultKind.TOLD_TWICE in of_order:
                super()._report(step)
        if FaultKind.CORRECTION in of_order and step.execution is not None:
            self._of_order[step.order.perm_id] = of_order - {FaultKind.CORRECTION}
            corrected = self.exchange.correct(step.execution.execution_id, step.execution.price + _CENT)
            if session is not None:
                session.send(messages.execution(corrected))
                session.send(messages.commission_report(corrected))
        if FaultKind.LATE_SUBMITTED in of_order and step.order.status == "Filled" and session is not None:
            older = msgspec.structs.replace(step.order, status="Submitted", filled=0, average_price=Decimal(0))
            session.send(messages.order_status(older))

    @staticmethod
    def _is_unsaid(step: Progress, of_order: frozenset[FaultKind]) -> bool:
        if FaultKind.FILL_BEFORE_STATUS in of_order:
            return step.order.is_open and step.order.filled == 0
        return FaultKind.NO_ACK in of_order

    def _cancel_order(self, session: Session, fields: list[str]) -> None:
        order = self.exchange.find(session.client_id, int(fields[2]))
        if FaultKind.ERROR_10148 in self._due and order is not None and order.is_open:
            step = self.exchange.fill_now(order)
            refused = not_cancellable(order)
            session.send(error(refused.code, refused.text, order.order_id))
            self.tell([step], changed=True)
            return
        super()._cancel_order(session, fields)

    # The link between TWS and IBKR. While it is lost the exchange is not looked at: lists stay as they were.

    def advance(self) -> None:
        if self._lost_at is None:
            super().advance()
        elif self.exchange.now - self._lost_at >= _OUTAGE:
            super().advance()  # with nothing said of the orders
            self._lost_at = None
            self.broadcast(_RESTORED)

    def _lose_link(self) -> None:
        self._lost_at = self.exchange.now
        self.broadcast(_LOST)


def _place(fields: list[str]) -> Place | None:
    request = int(fields[0])
    if request != Request.PLACE_ORDER:
        return _PLACES.get(request)
    try:
        return Place.WHAT_IF if read_order(fields)[0]["whatIf"] == "1" else Place.ORDER
    except (ValueError, IndexError, InvalidOperation):
        return Place.ORDER  # of a kind that is not simulated


def _request_id(place: Place, fields: list[str]) -> int:
    return int(fields[_ID_FIELDS[place]]) if place in _ID_FIELDS else -1


def _without_end(message: Message) -> Message | None:
    return None if message[0] in _ENDS else message


def _plain_key(message: Message) -> Message:
    at = _KEY_FIELDS.get(message[0])
    if at is None:
        return message
    return [*message[:at], str(message[at]).removeprefix("$LEDGER-"), *message[at + 1 :]]
