"""A backtest's book as the store has it: what a walk that goes on from it has to know."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import polars as pl

from tradebot_core.calendar import TradingCalendar
from tradebot_core.interfaces import DataStore
from tradebot_core.model.portfolio import Entry, EntryKind, Position
from tradebot_core.model.tables import BOOKS, ENTRIES
from tradebot_core.trading import rows
from tradebot_core.trading.book_state import BookState
from tradebot_core.trading.order_trail import BACKTEST


@dataclass(frozen=True)
class StoredBook:
    """Of the strategy, or variant, `name`."""

    store: DataStore
    calendar: TradingCalendar
    name: str

    def sessions(self, until: date | None = None) -> Sequence[date]:
        """Those of the latest unbroken book (up to `until`): each begins where the one before ended."""
        return self.chain(until)[0]

    def chain(self, until: date | None = None) -> tuple[Sequence[date], bool]:
        """The same, and whether the book was opened in the first of them: if not, what that one went on from is not there any more."""
        books = self._books(end=until).select("session", "before", "after")
        chain: list[date] = []
        expected: str | None = None
        for session, before, after in reversed(list(books.iter_rows())):
            if expected is not None and after != expected:
                break
            chain.append(session)
            expected = before
            if before == "":
                break
        return chain[::-1], expected == ""

    def digests(self, sessions: Sequence[date]) -> Mapping[date, str]:
        """Of the books that these consecutive sessions ended with, as far as they are there."""
        return dict(self._books(sessions[0], sessions[-1]).select("session", "after").iter_rows())

    def state(self, session: date) -> BookState | None:
        """At the session's close; None when no book was kept."""
        kept = self._books(session, session)
        return None if kept.is_empty() else BookState.from_json(kept["state"][0])

    def positions(self, session: date, first: date) -> Mapping[int, Position]:
        """At the close of a session, of the book that goes on in `first`; nothing before it was opened."""
        state = self.state(session) if session in self._before(first) else None
        return state.book.positions if state is not None else {}

    def splits(self, since: date, first: date) -> Sequence[Entry]:
        """Entered from a session on in the book that goes on in `first`."""
        sessions = [session for session in self._before(first) if session >= since]
        if not sessions:
            return ()
        entries = self.store.read_results(ENTRIES, self.name, BACKTEST, sessions[0], sessions[-1])
        return rows.to_entries(entries.filter(kind=str(EntryKind.SPLIT)))

    def _before(self, first: date) -> Sequence[date]:
        return self.sessions(self.calendar.previous(first))

    def _books(self, start: date | None = None, end: date | None = None) -> pl.DataFrame:
        return self.store.read_results(BOOKS, self.name, BACKTEST, start, end)
