"""The simulated TWS of a story, with a hand on the wire: it loses, repeats and holds back messages, and ends the trader."""

import asyncio
import copy
import os
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from tradebot_core.clock import FixedClock
from tradebot_core.simulation.account import Slices
from tradebot_core.simulation.exchange import SimulatedExchange
from tradebot_core.simulation.order_rules import OrderRefused
from tradebot_core.simulation.tws import SimulatedTws
from tradebot_core.simulation.tws_messages import error
from tradebot_core.simulation.tws_protocol import Reply, Request

# What happens at the n-th order, request or reply of an errand.
AT_ORDER = (
    "kill before the order", "kill after the order", "lose the order", "cut before the order", "cut after the order",
    "no word of the order", "10349", "refuse 201", "refuse 110", "answer twice", "in three parts", "in parts till the close",
    "roll back ids",
)  # fmt: skip
AT_REQUEST = (
    "kill at the request", "cut at the request", "no answer", "mute from the request on", "hide open orders twice",
    "link lost", "link lost for a moment 1101", "link lost for a moment 1102",
)  # fmt: skip
AT_REPLY = (
    "kill before the reply", "kill after the reply", "say it twice", "swap with the next", "commissions later", "fills last to first",
)  # fmt: skip
KILLS = (
    "kill before the order",
    "kill after the order",
    "kill at the request",
    "kill before the reply",
    "kill after the reply",
)


@dataclass
class Trouble:
    what: str
    nth: int = 1


@dataclass
class Down:
    """The gateway has lost IBKR. What it answers it knew at that moment; `until` is the request at which it finds IBKR again,
    which it says with `word`."""

    remembered: SimulatedExchange
    until: int = 0
    word: int = 1102
    held: list[tuple[Any, list[str]]] = field(default_factory=list)  # orders for when it is back


@dataclass
class Hand:
    """Between the desk and its clients. `victim` is the trader's process; counts begin anew with each errand."""

    desk: Any
    troubles: Sequence[Trouble] = ()
    victim: int = 0
    orders: int = 0
    requests: int = 0
    replies: int = 0
    happened: list[str] = field(default_factory=list)
    down: Down | None = None
    _hidden: int = 0
    loop: asyncio.AbstractEventLoop | None = None

    def do(self, what: Callable[[], Any]) -> Any:
        """What happens at the broker of itself, done in the thread of its server."""
        assert self.loop is not None

        async def done() -> Any:
            return what()

        return asyncio.run_coroutine_threadsafe(done(), self.loop).result(10)

    def begin(self, troubles: Sequence[Trouble] = ()) -> None:
        """For the next errand. A link that was lost is back by then, unless "the link is down" is its trouble."""
        if self.down is not None and not any(trouble.what == "the link is down" for trouble in troubles):
            self.do(self.restore_link)
        self.troubles, self.victim, self.orders, self.requests, self.replies = troubles, 0, 0, 0, 0
        self._hidden, self.happened = 0, []

    # The desk's own methods, for the server.

    def advance(self) -> None:
        if self.down is None:
            self.desk.advance()
        else:
            self.desk.exchange.advance()  # nobody is told

    def dismiss(self, session: Any) -> None:
        self.desk.dismiss(session)

    def admit(self, session: Any, client_id: int) -> bool:
        if self._due("roll back ids", 1):
            self.desk.exchange.roll_back_ids(client_id)
        session.send = _Replies(self, session, session.send)
        admitted = self.desk.admit(session, client_id)
        if self.down is not None:
            session.send(error(2110, "Connectivity between TWS and server is broken. It will be restored automatically."))
        return admitted

    def answer(self, session: Any, fields: list[str]) -> None:
        self.requests += 1
        kind = int(fields[0])
        if self._due("kill at the request", self.requests):
            self._kill()
            return
        if self._due("cut at the request", self.requests):
            _cut(session)
            return
        if self._due("no answer", self.requests):
            return
        if self._due("mute from the request on", self.requests):
            session.send.muted = True
        for of_link in ("link lost", "link lost for a moment 1101", "link lost for a moment 1102"):
            if self.down is None and self._due(of_link, self.requests):
                word = int(of_link.split()[-1]) if of_link.endswith(("1", "2")) else 1102
                self.lose_link(until=self.requests + 2 if "moment" in of_link else 0, word=word)
        if self.down is not None and self.down.until and self.requests >= self.down.until:
            self.restore_link()
        if self.down is not None:
            self._from_memory(self.down, session, kind, fields)
            return
        if kind == Request.PLACE_ORDER:
            self._order(session, fields)
            return
        if kind == Request.ALL_OPEN_ORDERS and self.orders:
            hiding = {"hide open orders twice": 2, "hide open orders": 99}
            if self._hidden < max((hiding.get(trouble.what, 0) for trouble in self.troubles), default=0):
                self._hidden += 1
                self.happened.append("hide open orders")
                session.send([Reply.OPEN_ORDERS_END, 1])
                return
        if kind == Request.EXECUTIONS and any(trouble.what == "fills last to first" for trouble in self.troubles):
            session.send.hold = []
        self.desk.answer(session, fields)
        session.send.release()

    def lose_link(self, until: int = 0, word: int = 1102) -> None:
        exchange = self.desk.exchange
        remembered = copy.copy(exchange)
        remembered._state, remembered.clock, remembered._path = exchange.truth(), FixedClock(exchange.now), None
        self.down = Down(remembered, until, word)
        self._tell_all(1100, "Connectivity between IBKR and Trader Workstation has been lost.")

    def restore_link(self) -> None:
        """IBKR is there again; what was held back goes out, whether or not its client is still there."""
        down, self.down = self.down, None
        if down is None:
            return
        kept = "lost" if down.word == 1101 else "maintained"
        self._tell_all(down.word, f"Connectivity between IBKR and Trader Workstation has been restored - data {kept}.")
        for session, fields in down.held:
            self.desk.answer(session, fields)

    def _tell_all(self, code: int, text: str) -> None:
        for session in self.desk._sessions.values():
            session.send(error(code, text))

    def _from_memory(self, down: Down, session: Any, kind: int, fields: list[str]) -> None:
        if kind == Request.PLACE_ORDER:
            self.orders += 1
            if self.orders % 2:  # some are held until the link is back, some are gone
                down.held.append((session, fields))
            return
        if kind in (Request.CURRENT_TIME, Request.CONTRACT_DETAILS, Request.MARKET_RULE):
            return  # IBKR itself would have to answer
        real, self.desk.exchange = self.desk.exchange, down.remembered
        try:
            self.desk.answer(session, fields)
        finally:
            self.desk.exchange = real

    def _order(self, session: Any, fields: list[str]) -> None:
        self.orders += 1
        due = {trouble.what for trouble in self.troubles if trouble.what in AT_ORDER and trouble.nth == self.orders}
        self.happened += sorted(due - {"roll back ids"})
        if "kill before the order" in due:
            self._kill()
        elif "cut before the order" in due:
            _cut(session)
        elif "lose the order" not in due:
            self._take(session, fields, due)

    def _take(self, session: Any, fields: list[str], due: set[str]) -> None:
        order_id, exchange = int(fields[1]), self.desk.exchange
        if "10349" in due:
            session.send(error(10349, "Order TIF was set to DAY based on order preset.", order_id))
        session.send.muted |= bool(due & {"cut after the order", "no word of the order", "kill after the order"})
        refused = next((int(what.split()[1]) for what in due if what.startswith("refuse")), 0)
        place = exchange.place
        if refused:
            exchange.place = _refusing(place, refused)
        try:
            self.desk.answer(session, fields)
        finally:
            exchange.place = place
        order = exchange.find(session.client_id, order_id)
        slices = {"in three parts": Slices(3, 1800.0), "in parts till the close": Slices(3, 4 * 3600.0)}
        for what in due & slices.keys():
            if order is not None:
                order.slices = slices[what]
        if "answer twice" in due:
            session.send.again()
        if "kill after the order" in due:
            self._kill()
        if "cut after the order" in due:
            _cut(session)
        if "no word of the order" in due:
            session.send.muted = False  # it is the answer that was lost, not the line

    def _due(self, what: str, count: int) -> bool:
        due = any(trouble.what == what and trouble.nth == count for trouble in self.troubles)
        if due and what not in self.happened:
            self.happened.append(what)
        return due

    def _kill(self) -> None:
        while not self.victim:  # it may be faster than the word of its birth
            time.sleep(0.001)
        with suppress(ProcessLookupError):
            os.kill(self.victim, signal.SIGKILL)


class _Replies:
    """What a session sends, one message after the other."""

    def __init__(self, hand: Hand, session: Any, send: Callable[[Any], None]) -> None:
        self._hand = hand
        self._session = session
        self._send = send
        self._last: list[Any] = []
        self._late: list[Any] = []
        self.muted = False
        self.hold: list[Any] | None = None

    def __call__(self, message: Any) -> None:
        hand = self._hand
        hand.replies += 1
        if hand._due("kill before the reply", hand.replies):
            hand._kill()
            return
        if self.muted:
            return
        if message[0] == Reply.COMMISSION and any(trouble.what == "commissions later" for trouble in hand.troubles):
            hand.happened.append("commissions later")
            return
        if self.hold is not None:
            self.hold.append(message)
            return
        if hand._due("swap with the next", hand.replies):
            self._late.append(message)
            return
        self._pass_on(message)
        while self._late:
            self._pass_on(self._late.pop())
        if hand._due("say it twice", hand.replies):
            self._pass_on(message)
        if hand._due("kill after the reply", hand.replies):
            hand._kill()

    def _pass_on(self, message: Any) -> None:
        self._last = [*self._last[-1:], message]
        self._send(message)

    def again(self) -> None:
        for message in self._last:
            self._send(message)

    def release(self) -> None:
        """Executions and commissions in reverse; the end of the list where it was."""
        held, self.hold = self.hold, None
        if held is None:
            return
        ends = [message for message in held if message[0] == Reply.EXECUTIONS_END]
        rest = [message for message in held if message[0] != Reply.EXECUTIONS_END]
        before = [message for message in reversed(rest) if message[0] == Reply.EXECUTION]
        after = [message for message in reversed(rest) if message[0] != Reply.EXECUTION]
        for message in (*before, *ends, *after):
            self._pass_on(message)


class TroubledTws(SimulatedTws):
    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.hand = Hand(self._desk)
        self._desk = self.hand  # type: ignore[assignment]

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> int:
        self.hand.loop = asyncio.get_running_loop()
        return await super().start(host, port)


def _cut(session: Any) -> None:
    session.send.muted = True
    session._writer.transport.abort()


def _refusing(place: Callable[..., Any], code: int) -> Callable[..., Any]:
    def refuse(ticket: Any, *slices: Any) -> Any:
        return place(ticket, *slices[:1], refusal=OrderRefused(code, "Order rejected - reason: a story's."))

    return refuse


def bust(exchange: SimulatedExchange, execution_id: str) -> None:
    """The exchange declares a trade void: shares and cash go back, and the execution is shown no more."""
    state = exchange._state
    (done,) = [e for e in state.executions if e.execution_id == execution_id]
    (order,) = [o for o in state.orders if o.perm_id == done.perm_id]
    state.executions.remove(done)
    exchange.book(done.account).trade(
        done.con_id, -order.sign, done.quantity, done.price, -done.commission, settles=exchange.today
    )
    order.filled -= done.quantity
