"""What the real sleeves held at the close of past sessions: the ledger's entries, valued at the last prices known then."""

from collections.abc import Sequence
from datetime import date

import polars as pl

from tradebot_core.model.portfolio import Book
from tradebot_core.model.tables import EQUITY, POSITIONS
from tradebot_core.trading import rows
from tradebot_core.trading.session import LastPrice, sleeve_equity
from tradebot_core.trading.stored_markets import StoredMarkets


def live_positions(markets: StoredMarkets, strategy: str, sessions: Sequence[date]) -> pl.DataFrame:
    """Rows of POSITIONS at the close of each session."""
    found = [row for session in sessions for row in rows.of_positions(session, *valued_book(markets, strategy, session))]
    return rows.frame(POSITIONS, found)


def live_equity(markets: StoredMarkets, strategy: str, sessions: Sequence[date]) -> pl.DataFrame:
    """Rows of EQUITY at the close of each session since the sleeve was opened. Raises ExecutionError for a holding without a
    price."""
    found = []
    for session in sessions:
        if markets.store.ledger.entries(strategy, session):
            book, prices = valued_book(markets, strategy, session)
            sleeve_equity(book, prices)
            found.append(rows.of_equity(session, book, prices))
    return rows.frame(EQUITY, found)


def valued_book(markets: StoredMarkets, strategy: str, session: date) -> tuple[Book, dict[int, LastPrice]]:
    """The sleeve at the session's close, and for each holding the last price known then, in shares of that day."""
    book = markets.store.ledger.book(strategy, session)
    return book, markets.last_prices(sorted(book.positions), session)
