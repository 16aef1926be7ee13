"""What a store of daily bars lacks, and the one request for each share that brings it.

A session needs no request when its bar is stored, when the source was asked and had nothing (Held.absent: the share did not trade yet,
or not that day), or when the listing had ended. So an interrupted collection goes on where it stood, and a share that began to trade
later than the range is not asked for its past for ever.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date

Span = tuple[date, date]  # first and last session


@dataclass(frozen=True)
class Wanted:
    """Sessions to ask for, first to last, and those of them that are stored: they are compared."""

    first: date
    last: date
    held: frozenset[date]


def lacking(sessions: Sequence[date], held: Collection[date], absent: Sequence[Span], listed_to: date | None) -> list[date]:
    """The sessions, of those given, of which nothing is known."""
    return [
        session
        for session in sessions
        if session not in held
        and (listed_to is None or session <= listed_to)
        and not any(first <= session <= last for first, last in absent)
    ]


def wanted(missing: Sequence[date], held: Sequence[date], overlap: int) -> Wanted:
    """The request that brings all `missing` sessions and repeats `overlap` stored ones (both ascend): those before, or where there is
    nothing before, those after."""
    before = [session for session in held if session < missing[0]][-overlap:]
    after = [] if before else [session for session in held if session > missing[-1]][:overlap]
    first, last = min([missing[0], *before]), max([missing[-1], *after])
    return Wanted(first, last, frozenset(session for session in held if first <= session <= last))


def gaps(missing: Sequence[date], received: Collection[date], until: date) -> list[Span]:
    """The runs of missing sessions up to `until` that did not come, as spans."""
    spans: list[Span] = []
    run: list[date] = []
    for session in missing:
        if session not in received and session <= until:
            run.append(session)
        elif run:
            spans.append((run[0], run[-1]))
            run = []
    return [*spans, (run[0], run[-1])] if run else spans
