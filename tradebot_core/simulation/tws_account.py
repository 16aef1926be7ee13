"""Accounts, positions and account values, as a client asks for them and follows them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal

from tradebot_core.calendar import NEW_YORK
from tradebot_core.simulation import tws_account_messages as messages
from tradebot_core.simulation.account import Holding
from tradebot_core.simulation.exchange import SimulatedExchange
from tradebot_core.simulation.tws_protocol import Field, Reply, Request
from tradebot_core.simulation.tws_session import Session

_GONE = Holding(0, Decimal(0))


class AccountDesk:
    """`ledger_prefix` sends `$LEDGER-CashBalance` instead of `CashBalance`, the default of new gateways."""

    def __init__(self, exchange: SimulatedExchange, *, ledger_prefix: bool) -> None:
        self._exchange = exchange
        self._prefix = "$LEDGER-" if ledger_prefix else ""
        self.answers: Mapping[Request, Callable[[Session, list[str]], None]] = {
            Request.MANAGED_ACCOUNTS: self.managed_accounts,
            Request.CURRENT_TIME: self._current_time,
            Request.POSITIONS: self._positions,
            Request.CANCEL_POSITIONS: self._cancel_positions,
            Request.ACCOUNT_UPDATES: self._account_updates,
            Request.ACCOUNT_UPDATES_MULTI: self._account_updates_multi,
            Request.ACCOUNT_SUMMARY: self._account_summary,
        }

    def managed_accounts(self, session: Session, fields: list[str]) -> None:
        session.send([Reply.MANAGED_ACCOUNTS, 1, ",".join(self._exchange.accounts)])

    def update(self, session: Session) -> None:
        """After trades and movements of cash, to a client that follows them."""
        if session.positions is not None:
            self._send_positions(session)
        if session.account:
            self._send_values(session)

    def _current_time(self, session: Session, fields: list[str]) -> None:
        session.send([Reply.CURRENT_TIME, 1, int(self._exchange.now.timestamp())])

    def _positions(self, session: Session, fields: list[str]) -> None:
        session.positions = session.positions or set()
        self._send_positions(session)
        session.send([Reply.POSITIONS_END, 1])

    def _cancel_positions(self, session: Session, fields: list[str]) -> None:
        session.positions = None

    def _send_positions(self, session: Session) -> None:
        """All that is held, and 0 of what the client was told of and is gone."""
        held = {
            (account, con_id): holding
            for account in self._exchange.accounts
            for con_id, holding in self._exchange.book(account).holdings.items()
        }
        assert session.positions is not None
        for account, con_id in (*held, *sorted(session.positions - held.keys())):
            holding = held.get((account, con_id), _GONE)
            session.send(messages.position(account, con_id, self._symbol(con_id), holding))
        session.positions = set(held)

    def _values(self, account: str) -> Iterator[tuple[str, Field, str]]:
        yield from messages.account_values(self._exchange, account)
        yield from messages.ledger_values(self._exchange, account, self._prefix)

    def _account_updates(self, session: Session, fields: list[str]) -> None:
        """The account that is named, else the first; from then on after each change."""
        if fields[2] != "1":
            session.account = ""
            return
        session.account = self._named(fields[3])[0]
        self._send_values(session)
        session.send([Reply.ACCOUNT_END, 1, session.account])

    def _send_values(self, session: Session) -> None:
        account, exchange = session.account, self._exchange
        for tag, value, currency in self._values(account):
            session.send([Reply.ACCOUNT_VALUE, 2, tag, value, currency, account])
        for con_id, holding in exchange.book(account).holdings.items():
            listing, price = exchange.listing(con_id=con_id), exchange.price(con_id)
            session.send(messages.portfolio_item(account, con_id, listing, self._symbol(con_id), holding, price))
        session.send([Reply.ACCOUNT_TIME, 1, f"{exchange.now.astimezone(NEW_YORK):%H:%M}"])

    def _account_updates_multi(self, session: Session, fields: list[str]) -> None:
        request_id = int(fields[2])
        for account in self._named(fields[3]):
            for tag, value, currency in self._values(account):
                session.send([Reply.ACCOUNT_VALUE_MULTI, 1, request_id, account, "", tag, value, currency])
        session.send([Reply.ACCOUNT_MULTI_END, 1, request_id])

    def _account_summary(self, session: Session, fields: list[str]) -> None:
        request_id, tags = int(fields[2]), fields[4].split(",")
        for account in self._exchange.accounts:
            values = [row for row in messages.account_values(self._exchange, account) if row[0] in tags]
            if "$LEDGER:ALL" in tags:
                values += messages.ledger_values(self._exchange, account, self._prefix)
            for tag, value, currency in values:
                session.send([Reply.ACCOUNT_SUMMARY, 1, request_id, account, tag, value, currency])
        session.send([Reply.ACCOUNT_SUMMARY_END, 1, request_id])

    def _named(self, account: str) -> Sequence[str]:
        """Raises ValueError for an account that the login does not have."""
        if not account:
            return self._exchange.accounts
        if account not in self._exchange.accounts:
            raise ValueError(f"The account code {account} is not of this login.")
        return (account,)

    def _symbol(self, con_id: int) -> str:
        listing = self._exchange.listing(con_id=con_id)
        return listing.symbol if listing else str(con_id)
