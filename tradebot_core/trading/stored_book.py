"""A backtest's book as the store has it: what a walk that goes on from it has to know, and how its tables are read as one."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date

import polars as pl

from tradebot_core.calendar import TradingCalendar
from tradebot_core.errors import MissingData
from tradebot_core.interfaces import DataStore
from tradebot_core.model.portfolio import Entry, EntryKind, Position
from tradebot_core.model.tables import BOOKS, ENTRIES, EQUITY
from tradebot_core.trading import rows
from tradebot_core.trading.book_state import BookState
from tradebot_core.trading.order_trail import BACKTEST
from tradebot_core.trading.variants import SEPARATOR


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

    def whole(self, until: date | None = None) -> Sequence[date]:
        """`sessions`, from the one in which the book was opened. Raises MissingData where there is none, or where it went on from a book
        that was replaced, or of which not all tables were stored."""
        book, opened = self.chain(until)
        if not book:
            written = self.store.result_sessions
            if written(EQUITY, self.name, BACKTEST) and not written(BOOKS, self.name, BACKTEST):
                raise MissingData(
                    f"The backtest of {self.name} was not stored whole: its run broke off, or is storing it now.",
                    how_to_test(self.name),
                )
            raise MissingData(f"There is no backtest of {self.name}.", how_to_test(self.name))
        if not opened:
            went_on = f"`tradebot backtest {self.name} --continue --start {book[0]} --end {book[-1]}`"
            raise MissingData(
                f"The sessions of {self.name} from {book[0]} to {book[-1]} went on from a book that was replaced since, or not stored "
                "whole.",
                f"Go on from the one that is there, {went_on}, or run it again from its first session.",
            )
        return book

    @contextmanager
    def read_as_one(self, start: date | None = None, end: date | None = None) -> Iterator[Sequence[date]]:
        """The sessions from `start` to `end` of `whole`, for reading the tables. Raises MissingData as well where they were stored anew
        meanwhile: what was read may be half of the one and half of the other."""
        book = [session for session in self.whole(end) if start is None or session >= start]
        if not book:
            raise MissingData(f"There is no backtest of {self.name} from {start} on.", how_to_test(self.name))
        made = self.digests(book)

        def require_the_same() -> None:
            if len(made) < len(book) or self.digests(book) != made:
                raise MissingData(
                    f"The backtest of {self.name} was stored anew while it was read.", "Ask again when its run has ended."
                )

        try:
            yield book
        except Exception:
            require_the_same()  # which explains whatever went wrong
            raise
        require_the_same()

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


def how_to_test(name: str) -> str:
    of, separator, variant = name.partition(SEPARATOR)
    if not separator:
        return f"Run `tradebot backtest {name} --start ... --end ...`."
    how = f" --param {variant.replace(',', ' --param ')}" if "=" in variant else ""
    return f"Run `tradebot sweep {of}{how} --start ... --end ...`."
