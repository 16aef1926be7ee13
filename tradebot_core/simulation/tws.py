"""A simulated TWS: a server on a socket that an unmodified IBKR client (ib_async, server version 178) connects to.

It is the broker of the sample market and of the tests. Times come from a clock, prices from daily bars, the rules of trading
from `exchange`. What it leaves out it refuses with the error that a gateway would send.
"""

import asyncio
import logging
import re
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from pathlib import Path

from tradebot_core.calendar import NEW_YORK, TradingCalendar, xnys
from tradebot_core.interfaces import Clock
from tradebot_core.simulation import tws_messages as messages
from tradebot_core.simulation.account import OrderTicket
from tradebot_core.simulation.exchange import OrderRefused, Progress, SimulatedExchange
from tradebot_core.simulation.market_data import Listing, MarketData
from tradebot_core.simulation.tws_messages import Message, error
from tradebot_core.simulation.tws_protocol import (
    SERVER_VERSION,
    Field,
    Reply,
    Request,
    frame,
    read_contract,
    read_fields,
    read_order,
    read_payload,
)

_log = logging.getLogger(__name__)
_HANDSHAKE_TIMEOUT_S = 10.0
_CLOCK_CHECK_S = 0.1
_ID_IN_USE = 326
_READ_ONLY = "The API interface is currently in Read-Only mode."
_NO_DEFINITION = "No security definition has been found for the request"


class _Session:
    """One connected client."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self.client_id = -1
        self.follows_positions = False

    def send(self, message: Message) -> None:
        self._writer.write(frame(message))

    def greet(self, at: datetime) -> None:
        self.send([SERVER_VERSION, f"{at.astimezone(NEW_YORK):%Y%m%d %H:%M:%S EST}"])

    async def close(self) -> None:
        with suppress(OSError):
            await self._writer.drain()
            self._writer.close()


class SimulatedTws:
    """One account. `state_path` keeps orders and holdings between processes; `read_only` refuses orders as the gateway's
    setting does; `ledger_prefix` sends `$LEDGER-CashBalance` instead of `CashBalance`, the default of new gateways."""

    def __init__(
        self,
        market: MarketData,
        clock: Clock,
        account: str = "DU0000001",
        cash: Decimal = Decimal(100_000),
        state_path: Path | None = None,
        *,
        calendar: TradingCalendar | None = None,
        read_only: bool = False,
        ledger_prefix: bool = True,
    ) -> None:
        self.account = account
        self.exchange = SimulatedExchange(market, clock, calendar or xnys(), account, cash, state_path)
        self._read_only = read_only
        self._ledger_prefix = "$LEDGER-" if ledger_prefix else ""
        self._sessions: dict[int, _Session] = {}
        self._connections: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._ticker: asyncio.Task[None] | None = None
        self._answers: dict[int, Callable[[_Session, list[str]], None]] = {
            Request.PLACE_ORDER: self._place_order,
            Request.CANCEL_ORDER: self._cancel_order,
            Request.GLOBAL_CANCEL: self._global_cancel,
            Request.OPEN_ORDERS: self._open_orders,
            Request.ALL_OPEN_ORDERS: self._open_orders,
            Request.COMPLETED_ORDERS: self._completed_orders,
            Request.EXECUTIONS: self._executions,
            Request.NEXT_ID: self._next_id,
            Request.MANAGED_ACCOUNTS: self._managed_accounts,
            Request.CURRENT_TIME: self._current_time,
            Request.POSITIONS: self._positions,
            Request.CANCEL_POSITIONS: self._cancel_positions,
            Request.ACCOUNT_UPDATES: self._account_updates,
            Request.ACCOUNT_UPDATES_MULTI: self._account_updates_multi,
            Request.ACCOUNT_SUMMARY: self._account_summary,
            Request.CONTRACT_DETAILS: self._contract_details,
            Request.MARKET_RULE: self._market_rule,
            Request.HISTORICAL_DATA: self._historical_data,
            Request.HEAD_TIMESTAMP: self._head_timestamp,
            Request.MARKET_DATA: self._no_market_data,
            Request.FUNDAMENTAL_DATA: self._no_fundamentals,
            **dict.fromkeys(
                (
                    Request.AUTO_OPEN_ORDERS,
                    Request.SERVER_LOG_LEVEL,
                    Request.MARKET_DATA_TYPE,
                    Request.CANCEL_MARKET_DATA,
                    Request.CANCEL_HISTORICAL_DATA,
                    Request.CANCEL_FUNDAMENTAL_DATA,
                    Request.CANCEL_ACCOUNT_SUMMARY,
                    Request.CANCEL_ACCOUNT_UPDATES_MULTI,
                    Request.CANCEL_HEAD_TIMESTAMP,
                ),
                self._nothing,
            ),
        }

    # The life of the server.

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> int:
        """Listens; returns the port (a free one, when asked for 0)."""
        self._server = await asyncio.start_server(self._connected, host, port)
        self._ticker = asyncio.create_task(self._follow_clock())
        return self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Drops every client and stops listening. The account's state is kept already."""
        if self._ticker is not None:
            self._ticker.cancel()
        if self._server is not None:
            self._server.close()
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _follow_clock(self) -> None:
        while True:
            try:
                self._advance()
            except Exception:
                _log.exception("the simulated exchange could not follow the clock")
            await asyncio.sleep(_CLOCK_CHECK_S)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        session = _Session(writer)
        try:
            async with asyncio.timeout(_HANDSHAKE_TIMEOUT_S):
                accepted = await self._shake_hands(reader, session)
            while accepted:
                self._answer(session, await read_fields(reader))
        except (asyncio.IncompleteReadError, ConnectionError, TimeoutError, asyncio.CancelledError):
            pass  # the client has gone, or the server stops
        except ValueError as problem:
            _log.warning("client %s dropped: %s", session.client_id, problem)
        finally:
            if self._sessions.get(session.client_id) is session:
                del self._sessions[session.client_id]
            self._connections.discard(task)
            await session.close()

    async def _shake_hands(self, reader: asyncio.StreamReader, session: _Session) -> bool:
        if await reader.readexactly(4) != b"API\0":
            raise ValueError("not an API client")
        versions = re.match(rb"v(\d+)\.\.(\d+)", await read_payload(reader))
        if versions is None or not int(versions[1]) <= SERVER_VERSION <= int(versions[2]):
            raise ValueError("a client of another protocol version")
        session.greet(self.exchange.now)
        start, _, client_id, *_ = await read_fields(reader)
        if int(start) != Request.START_API:
            raise ValueError("a client that does not start")
        if int(client_id) in self._sessions:
            session.send(
                error(_ID_IN_USE, "Unable to connect as the client id is already in use. Retry with a unique client id.")
            )
            return False
        session.client_id = int(client_id)
        self._sessions[session.client_id] = session
        self._managed_accounts(session, [])
        self._next_id(session, [])
        session.send(error(2104, "Market data farm connection is OK:usfarm"))
        session.send(error(2106, "HMDS data farm connection is OK:ushmds"))
        session.send(error(2158, "Sec-def data farm connection is OK:secdefil"))
        return True

    def _answer(self, session: _Session, fields: list[str]) -> None:
        answer = self._answers.get(int(fields[0]))
        if answer is None:
            session.send(error(505, f"Fatal Error: Unknown message id {fields[0]}."))
            return
        self._advance()
        try:
            answer(session, fields)
        except (ValueError, IndexError, InvalidOperation) as problem:
            session.send(error(320, f"Error reading request. {problem}"))
        self._advance()

    def _nothing(self, session: _Session, fields: list[str]) -> None:
        """A request that needs no answer here."""

    # Orders.

    def _advance(self) -> None:
        progress = self.exchange.advance()
        for step in progress:
            self._report(step)
        if any(step.execution for step in progress):
            for session in self._sessions.values():
                if session.follows_positions:
                    self._send_positions(session)

    def _report(self, step: Progress) -> None:
        """Tells the client that placed the order, and only that one."""
        session = self._sessions.get(step.order.client_id)
        if session is None:
            return
        if step.execution is not None:
            session.send(messages.execution(step.execution))
        session.send(messages.open_order(step.order))
        session.send(messages.order_status(step.order))
        if step.execution is not None:
            session.send(messages.commission_report(step.execution))
        if step.order.status == "Cancelled":
            session.send(error(202, f"Order Canceled - reason:{step.order.completed_status}", step.order.order_id))

    def _place_order(self, session: _Session, fields: list[str]) -> None:
        order_id = int(fields[1])
        asked = read_order(fields)
        listing = self._listing(read_contract(fields, 2))
        what_if = asked["whatIf"] == "1"
        try:
            if self._read_only and not what_if:
                raise OrderRefused(321, f"Error validating request.-'bS' : cause - {_READ_ONLY}")
            if listing is None:
                raise OrderRefused(200, _NO_DEFINITION)
            ticket = OrderTicket(
                client_id=session.client_id,
                order_id=order_id,
                con_id=listing.con_id,
                action=asked["action"],
                quantity=Decimal(asked["totalQuantity"]),
                order_type=asked["orderType"],
                limit_price=Decimal(asked["lmtPrice"]) if asked["lmtPrice"] else None,
                tif=asked["tif"],
                account=asked["account"],
                order_ref=asked["orderRef"],
            )
            if what_if:
                self._preview(session, ticket, listing)
                return
            order = self.exchange.place(ticket)
        except OrderRefused as refusal:
            session.send(error(refusal.code, refusal.text, order_id))
            return
        session.send(messages.open_order(order))
        session.send(messages.order_status(order))

    def _preview(self, session: _Session, ticket: OrderTicket, listing: Listing) -> None:
        commission = self.exchange.preview(ticket)
        price = ticket.limit_price or self.exchange.price(ticket.con_id)
        session.send(
            messages.previewed_order(
                listing.con_id,
                listing.symbol,
                ticket.order_id,
                session.client_id,
                cost=ticket.quantity * price if ticket.action == "BUY" else Decimal(0),
                commission=commission,
                equity=self.exchange.cash + self.exchange.invested,
            )
        )

    def _cancel_order(self, session: _Session, fields: list[str]) -> None:
        order_id = int(fields[2])
        if self._read_only:
            session.send(error(321, f"Error validating request.-'bT' : cause - {_READ_ONLY}", order_id))
            return
        try:
            order = self.exchange.cancel(session.client_id, order_id)
        except OrderRefused as refusal:
            session.send(error(refusal.code, refusal.text, order_id))
            return
        self._report(Progress(order))

    def _global_cancel(self, session: _Session, fields: list[str]) -> None:
        for order in self.exchange.open_orders():
            self._report(Progress(self.exchange.cancel(order.client_id, order.order_id)))

    def _open_orders(self, session: _Session, fields: list[str]) -> None:
        own = int(fields[0]) == Request.OPEN_ORDERS
        for order in self.exchange.open_orders(session.client_id if own else None):
            session.send(messages.open_order(order))
            session.send(messages.order_status(order))
        session.send([Reply.OPEN_ORDERS_END, 1])

    def _completed_orders(self, session: _Session, fields: list[str]) -> None:
        for order in self.exchange.completed_orders():
            session.send(messages.completed_order(order))
        session.send([Reply.COMPLETED_ORDERS_END])

    def _executions(self, session: _Session, fields: list[str]) -> None:
        """Filters by client, account and symbol. Commissions come after the list, and only for the client's own orders."""
        request_id, client_id, account, _time, symbol = int(fields[2]), int(fields[3] or 0), *fields[4:7]
        found = [
            done
            for done in self.exchange.executions()
            if client_id in (0, done.client_id)
            and account in ("", done.account)
            and symbol in ("", messages.wire_symbol(done.symbol))
        ]
        for done in found:
            session.send(messages.execution(done, request_id))
        session.send([Reply.EXECUTIONS_END, 1, request_id])
        for done in found:
            if done.client_id == session.client_id:
                session.send(messages.commission_report(done))

    def _next_id(self, session: _Session, fields: list[str]) -> None:
        session.send([Reply.NEXT_ID, 1, self.exchange.next_order_id(session.client_id)])

    # The account.

    def _managed_accounts(self, session: _Session, fields: list[str]) -> None:
        session.send([Reply.MANAGED_ACCOUNTS, 1, self.account])

    def _current_time(self, session: _Session, fields: list[str]) -> None:
        session.send([Reply.CURRENT_TIME, 1, int(self.exchange.now.timestamp())])

    def _positions(self, session: _Session, fields: list[str]) -> None:
        session.follows_positions = True
        self._send_positions(session)
        session.send([Reply.POSITIONS_END, 1])

    def _cancel_positions(self, session: _Session, fields: list[str]) -> None:
        session.follows_positions = False

    def _send_positions(self, session: _Session) -> None:
        for con_id, holding in self.exchange.holdings.items():
            session.send(messages.position(self.account, con_id, self._symbol(con_id), holding))

    def _values(self) -> Iterator[tuple[str, Field, str]]:
        yield from messages.account_values(self.exchange)
        yield from messages.ledger_values(self.exchange, self._ledger_prefix)

    def _account_updates(self, session: _Session, fields: list[str]) -> None:
        """A snapshot, where a gateway would go on sending changes."""
        if fields[2] != "1":
            return
        for tag, value, currency in self._values():
            session.send([Reply.ACCOUNT_VALUE, 2, tag, value, currency, self.account])
        for con_id, holding in self.exchange.holdings.items():
            listing = self.exchange.listing(con_id=con_id)
            price = self.exchange.price(con_id)
            session.send(messages.portfolio_item(self.account, con_id, listing, self._symbol(con_id), holding, price))
        session.send([Reply.ACCOUNT_TIME, 1, f"{self.exchange.now.astimezone(NEW_YORK):%H:%M}"])
        session.send([Reply.ACCOUNT_END, 1, self.account])

    def _account_updates_multi(self, session: _Session, fields: list[str]) -> None:
        request_id = int(fields[2])
        for tag, value, currency in self._values():
            session.send([Reply.ACCOUNT_VALUE_MULTI, 1, request_id, self.account, "", tag, value, currency])
        session.send([Reply.ACCOUNT_MULTI_END, 1, request_id])

    def _account_summary(self, session: _Session, fields: list[str]) -> None:
        request_id, tags = int(fields[2]), fields[4].split(",")
        values = [row for row in messages.account_values(self.exchange) if row[0] in tags]
        if "$LEDGER:ALL" in tags:
            values += messages.ledger_values(self.exchange, self._ledger_prefix)
        for tag, value, currency in values:
            session.send([Reply.ACCOUNT_SUMMARY, 1, request_id, self.account, tag, value, currency])
        session.send([Reply.ACCOUNT_SUMMARY_END, 1, request_id])

    # The market.

    def _listing(self, contract: dict[str, str]) -> Listing | None:
        """What a client's contract names, by contract id or by symbol."""
        if contract["secType"] not in ("", "STK") or contract["currency"] not in ("", "USD"):
            return None
        if con_id := int(contract["conId"] or 0):
            return self.exchange.listing(con_id=con_id)
        wire = contract["symbol"] or contract["localSymbol"]
        candidates = (self.exchange.listing(symbol=spelling) for spelling in dict.fromkeys((wire, *_spellings(wire))))
        return next((listing for listing in candidates if listing is not None), None)

    def _symbol(self, con_id: int) -> str:
        listing = self.exchange.listing(con_id=con_id)
        return listing.symbol if listing else str(con_id)

    def _contract_details(self, session: _Session, fields: list[str]) -> None:
        request_id = int(fields[2])
        listing = self._listing(read_contract(fields, 3))
        if listing is None:
            session.send(error(200, _NO_DEFINITION, request_id))
            return
        session.send(messages.contract_details(request_id, listing, self.exchange.calendar, self.exchange.today))
        session.send([Reply.CONTRACT_DETAILS_END, 1, request_id])

    def _market_rule(self, session: _Session, fields: list[str]) -> None:
        session.send(messages.market_rule(int(fields[1])))

    def _historical_data(self, session: _Session, fields: list[str]) -> None:
        request_id = int(fields[1])
        listing = self._listing(read_contract(fields, 2))
        end, size, duration, _rth, what, _format, updating = fields[15:22]
        if listing is None:
            session.send(error(200, _NO_DEFINITION, request_id))
            return
        if size != "1 day" or what != "TRADES" or updating == "1":
            session.send(error(321, f"Error validating request.-'bA' : cause - {size} {what} is not simulated", request_id))
            return
        last = _end_day(end, self.exchange.today)
        try:
            first = _first_day(duration, last, self.exchange.calendar)
        except ValueError as problem:
            session.send(error(321, f"Error validating request.-'bA' : cause - {problem}", request_id))
            return
        bars = self.exchange.history(listing.con_id, first, last)
        if not bars:
            text = f"Historical Market Data Service error message:HMDS query returned no data: {listing.symbol}@SMART Trades"
            session.send(error(162, text, request_id))
            return
        session.send(messages.daily_bars(request_id, bars))

    def _head_timestamp(self, session: _Session, fields: list[str]) -> None:
        request_id = int(fields[1])
        listing = self._listing(read_contract(fields, 2))
        first = self.exchange.market.first_session(listing.con_id) if listing else None
        if first is None:
            session.send(error(200, _NO_DEFINITION, request_id))
            return
        opens = self.exchange.calendar.opens_at(first)
        session.send([Reply.HEAD_TIMESTAMP, request_id, f"{opens:%Y%m%d-%H:%M:%S}"])

    def _no_market_data(self, session: _Session, fields: list[str]) -> None:
        session.send(error(354, "Requested market data is not subscribed.", int(fields[2])))

    def _no_fundamentals(self, session: _Session, fields: list[str]) -> None:
        session.send(error(10358, "Fundamentals data is not allowed.", int(fields[2])))


def _spellings(wire: str) -> tuple[str, ...]:
    return (wire.replace(" ", "."), wire.replace(" ", "-"))


def _end_day(end: str, today: date) -> date:
    """The New York day of an endDateTime: empty, `yyyyMMdd-HH:mm:ss` (UTC) or `yyyyMMdd HH:mm:ss UTC`."""
    if not end:
        return today
    at = datetime.strptime(end.removesuffix(" UTC").replace("-", " "), "%Y%m%d %H:%M:%S").replace(tzinfo=UTC)
    return at.astimezone(NEW_YORK).date()


def _first_day(duration: str, last: date, calendar: TradingCalendar) -> date:
    """Where a duration begins: days are sessions, weeks, months and years are of the calendar."""
    match = re.fullmatch(r"(\d+) ([DWMY])", duration)
    if match is None:
        raise ValueError(f"invalid duration {duration!r}")
    count, unit = int(match[1]), match[2]
    if unit == "D":
        if count > 365:
            raise ValueError("Historical data requests for durations longer than 365 days must be made in years.")
        return calendar.offset(calendar.previous(calendar.first_after(last)), 1 - count)
    days = {"W": 7, "M": 30.5, "Y": 365.25}[unit] * count
    return last - timedelta(days=int(days))


# Running it.


def serve(tws: SimulatedTws, host: str = "127.0.0.1", port: int = 7497) -> None:
    """Serves until the process is told to stop."""

    async def main() -> None:
        stopped = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stopped.set)
        await tws.start(host, port)
        await stopped.wait()
        await tws.stop()

    asyncio.run(main())


@contextmanager
def serving(tws: SimulatedTws, host: str = "127.0.0.1", port: int = 0) -> Iterator[int]:
    """Serves from a thread of its own while the block runs; yields the port."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="simulated-tws", daemon=True)
    thread.start()
    try:
        yield asyncio.run_coroutine_threadsafe(tws.start(host, port), loop).result()
    finally:
        asyncio.run_coroutine_threadsafe(tws.stop(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
