"""What the real sleeves held at the close of past sessions: the ledger's entries, valued at the last prices known then."""

from collections.abc import Sequence
from datetime import date

import polars as pl

from tradebot_core.calendar import TradingCalendar
from tradebot_core.interfaces import DataStore
from tradebot_core.model.portfolio import usd
from tradebot_core.model.tables import BARS, EQUITY, POSITIONS
from tradebot_core.trading import rows
from tradebot_core.trading.session import LastPrice, sleeve_equity


def live_positions(store: DataStore, calendar: TradingCalendar, strategy: str, sessions: Sequence[date]) -> pl.DataFrame:
    """Rows of POSITIONS at the close of each session."""
    found = [
        row for session in sessions for row in rows.of_positions(session, *_book_and_prices(store, calendar, strategy, session))
    ]
    return rows.frame(POSITIONS, found)


def live_equity(store: DataStore, calendar: TradingCalendar, strategy: str, sessions: Sequence[date]) -> pl.DataFrame:
    """Rows of EQUITY at the close of each session since the sleeve was opened. Raises ExecutionError for a holding without a
    price."""
    found = []
    for session in sessions:
        if store.ledger.entries(strategy, session):
            book, prices = _book_and_prices(store, calendar, strategy, session)
            sleeve_equity(book, prices)
            found.append(rows.of_equity(session, book, prices))
    return rows.frame(EQUITY, found)


def _book_and_prices(store: DataStore, calendar: TradingCalendar, strategy: str, session: date):
    book = store.ledger.book(strategy, session)
    if not book.positions:
        return book, {}
    bars = store.read(BARS, as_of=calendar.cutoff(session), end=session)
    last = bars.filter(pl.col("security_id").is_in(list(book.positions))).sort("session").unique("security_id", keep="last")
    closes = last.select("security_id", "close", "session").iter_rows()
    return book, {security: LastPrice(usd(close), on) for security, close, on in closes}
