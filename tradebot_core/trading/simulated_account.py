"""What an account does of itself, where there is no broker to tell of it: tax on dividends, interest on cash, and shares that died.

At a broker these are seen and entered (trading/account_reconciliation.py); a backtest has them by rule, in the same kinds of entries.
"""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from tradebot_core.calendar import TradingCalendar
from tradebot_core.config import InterestRate
from tradebot_core.model.portfolio import Book, Entry, EntryKind, usd
from tradebot_core.trading.audit import QUIET_SESSIONS
from tradebot_core.trading.session import Close, LastPrice

_YEAR = 360  # days; IBKR counts actual/360 on US dollars


@dataclass(frozen=True)
class SimulatedAccount:
    """`withholding`: share of a dividend that is kept as tax; `interest`: yearly rates by date on the cash above `interest_free`, USD;
    `delisting_return`: what a share that stopped trading without a word is then worth, as a return on its last price (-0.3), or None: it is
    carried at that price. It is taken for dead after as many sessions without a bar as the audit calls quiet.

    Delisting returns that sources leave out average -30 % on NYSE and AMEX (Shumway, "The Delisting Bias in CRSP Data", Journal of
    Finance 52, 1997) and -55 % on Nasdaq (Shumway and Warther, Journal of Finance 54, 1999).
    """

    calendar: TradingCalendar
    withholding: Decimal = Decimal(0)
    interest: tuple[InterestRate, ...] = ()
    interest_free: Decimal = Decimal(0)
    delisting_return: float | None = None

    def entries(self, held: Book, actions: Sequence[Entry], close: Close) -> tuple[Entry, ...]:
        """Of a session: `held` is the book before its open, `actions` the entries of its corporate actions."""
        dead = self._dead(held.apply_all(actions), close.prices, close.session) if self.delisting_return is not None else ()
        return (*self._taxes(actions), *self._interest(held.cash, close.session), *dead)

    def _taxes(self, actions: Sequence[Entry]) -> list[Entry]:
        """Also of a dividend that is corrected: less dividend, less tax."""
        return [
            Entry(
                f"{EntryKind.WITHHOLDING}:{paid.key.partition(':')[2]}",
                paid.session,
                EntryKind.WITHHOLDING,
                usd(-paid.cash * self.withholding),
                0,
                paid.security_id,
                paid.symbol,
            )
            for paid in actions
            if paid.kind is EntryKind.DIVIDEND and self.withholding
        ]

    def _interest(self, cash: Decimal, session: date) -> list[Entry]:
        """For the days since the session before, at the rate of its day; nothing is charged on what is owed."""
        before = self.calendar.previous(session)
        at = bisect_right(self.interest, before, key=lambda row: row.since)
        bearing = cash - self.interest_free
        if not at or not bearing > 0:
            return []
        earned = usd(bearing * Decimal(str(self.interest[at - 1].rate)) * (session - before).days / _YEAR)
        return [Entry(f"{EntryKind.INTEREST}:{session}", session, EntryKind.INTEREST, earned)] if earned else []

    def _dead(self, held: Book, prices: Mapping[int, LastPrice], session: date) -> list[Entry]:
        assert self.delisting_return is not None
        quiet_since = self.calendar.offset(session, -QUIET_SESSIONS)
        left = 1 + Decimal(str(self.delisting_return))
        return [
            Entry(
                f"{EntryKind.DELISTING}:{security}:{session}",
                session,
                EntryKind.DELISTING,
                usd(position.quantity * prices[security].price * left),
                -position.quantity,
                security,
                position.symbol,
            )
            for security, position in sorted(held.positions.items())
            if security in prices and prices[security].session <= quiet_since
        ]
