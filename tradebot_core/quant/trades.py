"""What each position earned: round trips, made of the book's own entries, so that their sum is the change of equity to the cent.

A round trip is from the first share of a security to the last, however it was built up and reduced: no rule is needed for which
share was sold first. What it earned is all the cash its entries moved (trades, commissions, dividends, taxes, cash in lieu,
delistings) plus, while it is open, the value of its shares at the last price of the book. A dividend that is entered after the
last share was sold belongs to the round trip that ended.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

import polars as pl

from tradebot_core.model.portfolio import EntryKind

_NOTHING = Decimal(0)


@dataclass(frozen=True)
class RoundTrip:
    """USD. `closed` is None while shares are held; `sessions` counts from the first fill's to the last one's (or the book's end)."""

    security_id: int
    symbol: str
    opened: date
    closed: date | None
    sessions: int
    bought: Decimal
    sold: Decimal  # and what was paid at a delisting, or in lieu of fractions
    dividends: Decimal  # less tax withheld
    commission: Decimal  # a cost is positive
    other: Decimal  # entries of any other kind
    value: Decimal  # of the shares still held
    profit: Decimal

    @property
    def total_return(self) -> float | None:
        """Of the money that bought it, costs and dividends included."""
        return float(self.profit / self.bought) if self.bought else None


@dataclass(frozen=True)
class Attribution:
    """Where the change of equity came from: deposits + profits + what belongs to no position (interest) = equity at the end."""

    round_trips: tuple[RoundTrip, ...]
    deposits: Decimal
    unattributed: Mapping[str, Decimal]  # by kind of entry

    @property
    def profit(self) -> Decimal:
        return sum((trip.profit for trip in self.round_trips), _NOTHING) + sum(self.unattributed.values(), _NOTHING)


@dataclass(frozen=True)
class TradeFigures:
    """Of round trips that are closed; None without any."""

    closed: int
    open: int
    hit_rate: float | None  # share that earned more than it cost, dividends and costs counted
    mean_return: float | None  # each counted alike
    mean_win: float | None
    mean_loss: float | None
    median_holding: float | None  # sessions
    mean_holding: float | None


def attribute(entries: pl.DataFrame, positions: pl.DataFrame, sessions: Sequence[date]) -> Attribution:
    """`entries` of a book from its opening to the last of `sessions`, `positions` at the close of that (the tables' columns)."""
    held = {row["security_id"]: row["quantity"] * Decimal(row["price"]) for row in positions.iter_rows(named=True)}
    by_security: dict[int, dict[date, list[dict]]] = defaultdict(lambda: defaultdict(list))
    deposits, unattributed = _NOTHING, defaultdict(lambda: _NOTHING)
    for row in entries.sort("session", maintain_order=True).iter_rows(named=True):
        cash = Decimal(row["cash"])
        if row["security_id"] is not None:
            by_security[row["security_id"]][row["session"]].append({**row, "cash": cash})
        elif row["kind"] == EntryKind.DEPOSIT:
            deposits += cash
        else:
            unattributed[row["kind"]] += cash
    number = {session: n for n, session in enumerate(sessions)}
    trips = [
        trip
        for security, days in by_security.items()
        for trip in _round_trips(security, days, held.get(security, _NOTHING), number)
    ]
    trips.sort(key=lambda trip: (trip.opened, trip.symbol, trip.security_id))
    return Attribution(tuple(trips), deposits, dict(sorted(unattributed.items())))


def figures_of(trips: Sequence[RoundTrip]) -> TradeFigures:
    closed = [trip for trip in trips if trip.closed is not None]
    returns = pl.Series([trip.total_return for trip in closed], dtype=pl.Float64)
    holding = pl.Series([trip.sessions for trip in closed], dtype=pl.Float64)
    won = pl.Series([trip.profit > 0 for trip in closed], dtype=pl.Boolean)
    return TradeFigures(
        closed=len(closed),
        open=len(trips) - len(closed),
        hit_rate=won.mean(),
        mean_return=returns.mean(),
        mean_win=returns.filter(won).mean(),
        mean_loss=returns.filter(~won).mean(),
        median_holding=holding.median(),
        mean_holding=holding.mean(),
    )


def _round_trips(
    security: int, days: Mapping[date, Sequence[dict]], value: Decimal, number: Mapping[date, int]
) -> list[RoundTrip]:
    """The entries of one security, cut where a session ends without a share of it."""
    pieces: list[tuple[list[dict], bool]] = []  # entries, and whether shares are left after them
    shares, open_piece = 0, False
    for rows in days.values():
        if open_piece or not pieces or any(row["kind"] == EntryKind.TRADE for row in rows):
            current = pieces[-1][0] if open_piece else []
            if not open_piece:
                pieces.append((current, True))
        else:
            current = pieces[-1][0]  # a late word on a position that was sold
        current += rows
        shares += sum(row["quantity"] for row in rows)
        open_piece = shares != 0
        pieces[-1] = (current, open_piece)
    last = len(pieces) - 1
    return [_trip(security, rows, left, value if n == last else _NOTHING, number) for n, (rows, left) in enumerate(pieces)]


def _trip(security: int, rows: Sequence[dict], is_open: bool, value: Decimal, number: Mapping[date, int]) -> RoundTrip:
    def cash(*kinds: EntryKind) -> Decimal:
        return sum((row["cash"] for row in rows if row["kind"] in kinds), _NOTHING)

    trades = [row["cash"] for row in rows if row["kind"] in (EntryKind.TRADE, EntryKind.CORRECTION)]
    moved = [row["session"] for row in rows if row["quantity"]]
    opened, last = rows[0]["session"], (moved or [rows[-1]["session"]])[-1]
    bought = -sum((amount for amount in trades if amount < 0), _NOTHING)
    sold = sum((amount for amount in trades if amount > 0), _NOTHING) + cash(EntryKind.DELISTING, EntryKind.CASH_IN_LIEU)
    dividends, commission = cash(EntryKind.DIVIDEND, EntryKind.WITHHOLDING), -cash(EntryKind.COMMISSION)
    total = sum((row["cash"] for row in rows), _NOTHING)
    end = max(number.values()) if is_open else number[last]
    return RoundTrip(
        security_id=security,
        symbol=rows[-1]["symbol"],
        opened=opened,
        closed=None if is_open else last,
        sessions=end - number[opened],
        bought=bought,
        sold=sold,
        dividends=dividends,
        commission=commission,
        other=total - (sold - bought + dividends - commission),
        value=value,
        profit=total + value,
    )
