"""On whose shares a re-based price series stands: a vendor's split-adjusted bars against the raw bars that were stored of the same
sessions.

A vendor that keeps one adjusted series states all of it anew when a share splits. Fetched again, sessions that were stored as they
traded then come back divided by the ratio, every one of them, up to the session before the ex-date. So

    stored / fetched = the product of the splits with a later ex-date

and a quotient that the recorded splits do not explain, constant over the sessions before some session and 1 from there on, is a
split that nobody recorded, with that session as its ex-date. Whatever differs otherwise is no split, and is refused.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from fractions import Fraction
from math import isfinite, prod
from statistics import median

Prices = tuple[float, float, float, float]  # open, high, low, close
_CORRECTED = 0.005  # vendors correct a bar after the close; this share of a price is no split
_ROUNDED = 0.005  # adjusted prices come rounded to the cent
_FEWEST = 3  # sessions that must show the same ratio
_RATIOS = {Fraction(a, b) for a in range(1, 11) for b in range(1, 5)} | {Fraction(a) for a in range(1, 101)}
# Three for two and more, and their inverses. Closer to one lie stock dividends and what spin-offs leave: a person says which.
SPLIT_RATIOS = tuple(sorted(r for ratio in _RATIOS if ratio >= Fraction(3, 2) for r in (ratio, 1 / ratio)))


@dataclass(frozen=True)
class Overlap:
    """One session as it was stored (raw) and as it is fetched now (re-based)."""

    session: date
    stored: Prices
    fetched: Prices


@dataclass(frozen=True)
class Basis:
    """The splits (ex-date to ratio) to undo in the series; `found` is one of them that was not recorded so, if any.

    With a `problem` the series cannot be told, and no bar of it may be used.
    """

    splits: Mapping[date, float] = field(default_factory=dict)
    found: tuple[date, float] | None = None
    problem: str = ""

    def ratio(self, session: date) -> float:
        """What raw prices of a session are of the re-based ones."""
        return _since(self.splits, session)


def nearest_split(ratio: float, tolerance: float) -> float | None:
    """The usual split ratio within `tolerance` (a share of it) of a ratio, or None."""
    if not (isfinite(ratio) and ratio > 0):
        return None
    nearest = min(SPLIT_RATIOS, key=lambda split: abs(float(split) / ratio - 1))
    return float(nearest) if abs(float(nearest) / ratio - 1) <= tolerance else None


def basis_of(overlaps: Sequence[Overlap], recorded: Mapping[date, float], sessions: Sequence[date]) -> Basis:
    """`overlaps` ascend; `recorded` are the splits in effect on the day of the fetch; `sessions` are those from the first
    overlap to that day."""
    strange = [o.session for o in overlaps if not all(isfinite(p) and p > 0 for p in (*o.stored, *o.fetched))]
    if strange:
        return Basis(problem=f"stored and fetched closes differ: a price of {strange[0]} is not a positive number")
    if all(_agrees(overlap, _since(recorded, overlap.session)) for overlap in overlaps):
        return Basis(recorded)
    if all(_agrees(overlap, 1.0) for overlap in overlaps):
        return Basis()  # recorded, but the vendor has not stated its series anew yet
    agreeing = 0
    for overlap in reversed(overlaps):
        if not _agrees(overlap, _since(recorded, overlap.session)):
            break
        agreeing += 1
    before = overlaps[: len(overlaps) - agreeing]
    quotients = [overlap.stored[3] / (overlap.fetched[3] * _since(recorded, overlap.session)) for overlap in before]
    shown = ", ".join(f"{overlap.session} {quotient:.4f}" for overlap, quotient in zip(before, quotients, strict=True))
    ratio = nearest_split(median(quotients), _CORRECTED + _ROUNDED / median(overlap.fetched[3] for overlap in before))
    if ratio is None or not all(_agrees(o, ratio * _since(recorded, o.session)) for o in before):
        return Basis(problem=f"stored and fetched closes differ, and not by the constant ratio of a split: {shown}")
    if len(before) < _FEWEST:
        return Basis(
            problem=f"only {len(before)} stored sessions show a ratio of {ratio:g}, too few to call it a split: {shown}"
        )
    first_agreeing = overlaps[len(before)].session if agreeing else None
    days = list(_between(sessions, before[-1].session, first_agreeing))
    if len(days) != 1:
        where = f"one of {', '.join(map(str, days))}" if days else "no session that has begun"
        return Basis(problem=f"a split with a ratio of {ratio:g} took effect on {where}: record it in a file of actions")
    ex_date = days[0]
    total = recorded.get(ex_date, 1.0) * ratio
    return Basis({**recorded, ex_date: total}, (ex_date, total))


def _since(splits: Mapping[date, float], session: date) -> float:
    return prod(ratio for ex_date, ratio in splits.items() if ex_date > session)


def _agrees(overlap: Overlap, ratio: float) -> bool:
    """Whether the close, and two of the other three prices, are `ratio` times the fetched ones: a wick may be corrected by more."""
    same = [_same(stored, fetched, ratio) for stored, fetched in zip(overlap.stored, overlap.fetched, strict=True)]
    return same[3] and sum(same) >= 3


def _same(stored: float, fetched: float, ratio: float) -> bool:
    return abs(stored - fetched * ratio) <= _CORRECTED * stored + _ROUNDED * ratio


def _between(sessions: Sequence[date], after: date, until: date | None) -> Iterator[date]:
    return (session for session in sessions if session > after and (until is None or session <= until))
