"""What each request of a client is answered with. Orders and times are the exchange's; nothing here knows of sockets."""

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, InvalidOperation

from tradebot_core.calendar import NEW_YORK, TradingCalendar
from tradebot_core.errors import TradebotError
from tradebot_core.simulation import tws_market_messages as market
from tradebot_core.simulation import tws_messages as messages
from tradebot_core.simulation.account import OrderTicket, SimulatedOrder
from tradebot_core.simulation.exchange import Progress, SimulatedExchange
from tradebot_core.simulation.market_data import Listing
from tradebot_core.simulation.order_rules import OrderRefused
from tradebot_core.simulation.tws_account import AccountDesk
from tradebot_core.simulation.tws_live_bars import LiveBars
from tradebot_core.simulation.tws_messages import Message, error
from tradebot_core.simulation.tws_protocol import Reply, Request, read_contract, read_order
from tradebot_core.simulation.tws_quotes import MarketDataAccess, QuoteDesk
from tradebot_core.simulation.tws_session import Session

_ID_IN_USE = 326
_READ_ONLY = "The API interface is currently in Read-Only mode."
_NO_DEFINITION = "No security definition has been found for the request"
_NOT_ALLOWED, _NO_REPORT = 10358, 430
_REPORT_ERRORS = {
    _NOT_ALLOWED: "Fundamentals data is not allowed.",
    _NO_REPORT: "The fundamentals data for the security specified is not available.",
}

_REPORT_CONTRACT = ("conId", "symbol", "secType", "exchange", "primaryExchange", "currency", "localSymbol")
# By symbol and report type: the XML, the code of an error, or None for no answer at all. What is not there is error 430.
Reports = Mapping[tuple[str, str], str | int | None]


class Desk:
    """Answers the clients of one account. `read_only` refuses orders as the gateway's setting does; `ledger_prefix` sends
    `$LEDGER-CashBalance` instead of `CashBalance`, the default of new gateways; `market_data` is what the login may see of prices."""

    def __init__(
        self,
        exchange: SimulatedExchange,
        *,
        read_only: bool,
        ledger_prefix: bool,
        reports: Reports | None = None,
        market_data: MarketDataAccess = MarketDataAccess.DELAYED,
    ) -> None:
        self.exchange = exchange
        self._read_only = read_only
        self._accounts = AccountDesk(exchange, ledger_prefix=ledger_prefix)
        self.live_bars = LiveBars(exchange)
        self._reports = reports
        self._sessions: dict[int, Session] = {}
        self._answers: dict[int, Callable[[Session, list[str]], None]] = {
            **self._accounts.answers,
            **QuoteDesk(exchange, self._listing, market_data).answers,
            Request.PLACE_ORDER: self._place_order,
            Request.CANCEL_ORDER: self._cancel_order,
            Request.GLOBAL_CANCEL: self._global_cancel,
            Request.OPEN_ORDERS: self._open_orders,
            Request.ALL_OPEN_ORDERS: self._open_orders,
            Request.COMPLETED_ORDERS: self._completed_orders,
            Request.EXECUTIONS: self._executions,
            Request.NEXT_ID: self._next_id,
            Request.CONTRACT_DETAILS: self._contract_details,
            Request.MARKET_RULE: self._market_rule,
            Request.HISTORICAL_DATA: self._historical_data,
            Request.CANCEL_HISTORICAL_DATA: self.live_bars.cancel,
            Request.HEAD_TIMESTAMP: self._head_timestamp,
            Request.FUNDAMENTAL_DATA: self._fundamental_data,
            **dict.fromkeys(
                (
                    Request.AUTO_OPEN_ORDERS,
                    Request.SERVER_LOG_LEVEL,
                    Request.CANCEL_MARKET_DATA,
                    Request.CANCEL_FUNDAMENTAL_DATA,
                    Request.CANCEL_ACCOUNT_SUMMARY,
                    Request.CANCEL_ACCOUNT_UPDATES_MULTI,
                    Request.CANCEL_HEAD_TIMESTAMP,
                ),
                self._nothing,
            ),
        }

    # Clients.

    def admit(self, session: Session, client_id: int) -> bool:
        """Begins a client's session, unless another has its id."""
        if client_id in self._sessions:
            self.refuse_id(session)
            return False
        session.client_id = client_id
        self._sessions[client_id] = session
        self._accounts.managed_accounts(session, [])
        self._next_id(session, [])
        session.send(error(2104, "Market data farm connection is OK:usfarm"))
        session.send(error(2106, "HMDS data farm connection is OK:ushmds"))
        session.send(error(2158, "Sec-def data farm connection is OK:secdefil"))
        return True

    @staticmethod
    def refuse_id(session: Session) -> None:
        session.send(error(_ID_IN_USE, "Unable to connect as the client id is already in use. Retry with a unique client id."))

    def dismiss(self, session: Session) -> None:
        self.live_bars.forget(session)
        if self._sessions.get(session.client_id) is session:
            del self._sessions[session.client_id]

    def broadcast(self, message: Message) -> None:
        for session in self._sessions.values():
            session.send(message)

    def answer(self, session: Session, fields: list[str]) -> None:
        answer = self._answers.get(int(fields[0]))
        if answer is None:
            session.send(error(505, f"Fatal Error: Unknown message id {fields[0]}."))
            return
        self.advance()
        try:
            answer(session, fields)
        except (ValueError, IndexError, InvalidOperation, TradebotError) as problem:
            session.send(error(320, f"Error reading request. {problem}"))
        self.advance()

    def _nothing(self, session: Session, fields: list[str]) -> None:
        """A request that needs no answer here."""

    # Orders.

    def advance(self) -> None:
        before = self.exchange.opened
        progress = self.exchange.advance()
        self.tell(progress, changed=any(step.execution for step in progress) or self.exchange.opened != before)

    def tell(self, progress: Iterable[Progress], *, changed: bool) -> None:
        """What happened to orders, to their clients; `changed` accounts, to those who follow them; and the bars."""
        for step in progress:
            self._report(step)
        for session in self._sessions.values() if changed else ():
            self._accounts.update(session)
        self.live_bars.update()

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

    def _place_order(self, session: Session, fields: list[str]) -> None:
        order_id = int(fields[1])
        asked, algorithm_terms = read_order(fields)
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
                algorithm=asked["algoStrategy"],
                algorithm_terms=algorithm_terms,
            )
            if what_if:
                self._preview(session, ticket, listing)
                return
            order = self._take(ticket)
        except OrderRefused as refusal:
            session.send(error(refusal.code, refusal.text, order_id))
            return
        self._acknowledge(session, order)

    def _take(self, ticket: OrderTicket) -> SimulatedOrder:
        return self.exchange.place(ticket)

    def _acknowledge(self, session: Session, order: SimulatedOrder) -> None:
        session.send(messages.open_order(order))
        session.send(messages.order_status(order))

    def _preview(self, session: Session, ticket: OrderTicket, listing: Listing) -> None:
        commission = self.exchange.preview(ticket)
        price = ticket.limit_price or self.exchange.price(ticket.con_id)
        invested = self.exchange.invested(ticket.account)
        session.send(
            messages.previewed_order(
                listing.con_id,
                listing.symbol,
                ticket.order_id,
                session.client_id,
                invested=invested,
                change=ticket.quantity * price * (1 if ticket.action == "BUY" else -1),
                commission=commission,
                equity=self.exchange.book(ticket.account).cash + invested,
            )
        )

    def _cancel_order(self, session: Session, fields: list[str]) -> None:
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

    def _global_cancel(self, session: Session, fields: list[str]) -> None:
        for order in self.exchange.open_orders():
            self._report(Progress(self.exchange.cancel(order.client_id, order.order_id)))

    def _open_orders(self, session: Session, fields: list[str]) -> None:
        own = int(fields[0]) == Request.OPEN_ORDERS
        for order in self.exchange.open_orders(session.client_id if own else None):
            session.send(messages.open_order(order))
            session.send(messages.order_status(order))
        session.send([Reply.OPEN_ORDERS_END, 1])

    def _completed_orders(self, session: Session, fields: list[str]) -> None:
        for order in self.exchange.completed_orders():
            session.send(messages.completed_order(order))
        session.send([Reply.COMPLETED_ORDERS_END])

    def _executions(self, session: Session, fields: list[str]) -> None:
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

    def _next_id(self, session: Session, fields: list[str]) -> None:
        session.send([Reply.NEXT_ID, 1, self.exchange.next_order_id(session.client_id)])

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

    def _contract_details(self, session: Session, fields: list[str]) -> None:
        request_id = int(fields[2])
        listing = self._listing(read_contract(fields, 3))
        if listing is None:
            session.send(error(200, _NO_DEFINITION, request_id))
            return
        session.send(market.contract_details(request_id, listing, self.exchange.calendar, self.exchange.today))
        session.send([Reply.CONTRACT_DETAILS_END, 1, request_id])

    def _market_rule(self, session: Session, fields: list[str]) -> None:
        session.send(market.market_rule(int(fields[1])))

    def _historical_data(self, session: Session, fields: list[str]) -> None:
        request_id = int(fields[1])
        listing = self._listing(read_contract(fields, 2))
        end, size, duration, _rth, what, _format, updating = fields[15:22]
        if listing is None:
            session.send(error(200, _NO_DEFINITION, request_id))
            return
        if what == "SCHEDULE" and re.fullmatch(r"\d+ D", duration):
            last = _end_day(end, self.exchange.today)
            first = _first_day(duration, last, self.exchange.calendar)
            session.send(market.schedule(request_id, self.exchange.calendar, self.exchange.calendar.sessions(first, last)))
            return
        if size != "1 day" or what != "TRADES":
            session.send(error(321, f"Error validating request.-'bA' : cause - {size} {what} is not simulated", request_id))
            return
        if updating == "1" and (refusal := self.live_bars.refusal(request_id, end)) is not None:
            session.send(refusal)
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
        session.send(market.daily_bars(request_id, bars))
        if updating == "1":
            self.live_bars.follow(session, request_id, listing.con_id, bars[-1])

    def _head_timestamp(self, session: Session, fields: list[str]) -> None:
        request_id = int(fields[1])
        listing = self._listing(read_contract(fields, 2))
        first = self.exchange.market.first_session(listing.con_id) if listing else None
        if first is None:
            session.send(error(200, _NO_DEFINITION, request_id))
            return
        opens = self.exchange.calendar.opens_at(first)
        session.send([Reply.HEAD_TIMESTAMP, request_id, f"{opens:%Y%m%d-%H:%M:%S}"])

    def _fundamental_data(self, session: Session, fields: list[str]) -> None:
        """A login without reports is told 10358, as most are since IBKR took them out of its API (10.47)."""
        request_id, report = int(fields[2]), fields[10]
        named = dict(zip(_REPORT_CONTRACT, fields[3:10], strict=True))
        listing = self._listing(named)
        if listing is None:
            session.send(error(200, _NO_DEFINITION, request_id))
            return
        found = _NOT_ALLOWED if self._reports is None else self._reports.get((listing.symbol, report), _NO_REPORT)
        if isinstance(found, str):
            session.send([Reply.FUNDAMENTAL_DATA, 1, request_id, found])
        elif found is not None:
            session.send(error(found, _REPORT_ERRORS.get(found, "Error validating request."), request_id))


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
