"""Corporate actions whose word came after the cut-off of their own session: a late announcement, or a correction of one.

Nothing that was entered is changed. In the session in which the word became known the sleeve gets what is still due to it: the
effect of the action on the shares that it held before the ex-date, less the effect of the word that was entered before. So a
session's entries depend on what was known by it, in a backtest as they do live, wherever a range of sessions begins.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import ROUND_FLOOR, Decimal

import polars as pl

from tradebot_core.calendar import TradingCalendar
from tradebot_core.model.market import ActionType
from tradebot_core.model.portfolio import Book, Entry, EntryKind, action_day, is_given_back, usd
from tradebot_core.model.tables import ACTIONS, INSTANT

_DUST = Decimal("1e-9")  # of a share: what floats leave of a ratio
OF_COST = ":cost"  # ends the key of the line that balances the cost which a split's own line names


@dataclass(frozen=True, slots=True)
class LateWord:
    """`value` of an action became known in `session`, after its ex-date; `before` is the value known until then, None if none."""

    session: date
    security_id: int
    ex_date: date
    type: ActionType
    value: float
    before: float | None


def late_words(versions: pl.DataFrame, sessions: Sequence[date], calendar: TradingCalendar) -> list[LateWord]:
    """The words that became known late in these consecutive sessions, of all `versions` (columns of ACTIONS, known_at,
    ingested_at) known by the last of them. Of several in one session the last counts."""
    cutoffs = pl.DataFrame(
        {"heard": sessions, "cutoff": [calendar.cutoff(session) for session in sessions]},
        schema={"heard": pl.Date, "cutoff": INSTANT},
    )
    since = calendar.cutoff(calendar.previous(sessions[0]))
    key = list(ACTIONS.key)
    late = (
        versions.filter(pl.col("known_at") > since, pl.col("session") < sessions[-1])
        .sort("known_at", "ingested_at")
        .join_asof(cutoffs, left_on="known_at", right_on="cutoff", strategy="forward", check_sortedness=False)
        .filter(pl.col("heard") > pl.col("session"))
        .unique([*key, "heard"], keep="last", maintain_order=True)
        .sort("heard", *key)
    )
    words = []
    for security, ex_date, kind, value, heard in late.select(*key, "value", "heard").iter_rows():
        earlier = versions.filter(
            pl.col("security_id") == security,
            pl.col("session") == ex_date,
            pl.col("type") == kind,
            pl.col("known_at") <= calendar.cutoff(calendar.previous(heard)),
        ).sort("known_at", "ingested_at")
        before = earlier["value"][-1] if len(earlier) else None
        if value != before:
            words.append(LateWord(heard, security, ex_date, ActionType(kind), value, before))
    return words


@dataclass(frozen=True)
class Earlier:
    """A sleeve in sessions gone by: the book `before` the open of one, and the splits entered in a session or later."""

    before: Callable[[date], Book]
    splits_since: Callable[[date], Sequence[Entry]]


def late_entries(
    words: Sequence[LateWord], earlier: Earlier, now: Book, price_of: Callable[[int], Decimal | None]
) -> tuple[Entry, ...]:
    """What is due on words of one session. `now` is the book at this session's open; `price_of` gives the close at which fractions
    are settled, and shares that were sold though a reverse split had taken them."""
    entries: list[Entry] = []
    splits: list[tuple[LateWord, int]] = []
    for word in sorted(words, key=lambda w: (w.security_id, w.type is not ActionType.SPLIT, w.ex_date, w.type)):
        then = earlier.before(word.ex_date).positions.get(word.security_id)
        if then is None:
            continue
        owned = now.apply_all(entries).positions.get(word.security_id)
        price = price_of(word.security_id)
        # What the book before that day's open lacks: shares of splits of the days up to it. Some have their word in this session too,
        # others were entered on that day or between then and now.
        of_splits = sum(
            made for split, made in splits if split.security_id == word.security_id and split.ex_date <= word.ex_date
        ) + sum(split.quantity for split in earlier.splits_since(word.ex_date) if _comes_before(split, word))
        held_then, held_now = then.quantity + of_splits, owned.quantity if owned else 0
        shares, cash, kind, fraction = _due(word, held_then, held_now)
        if kind is EntryKind.SPLIT and shares > 0:  # first those that were bought back because of the word before, at the close
            undone = min(shares, _given_back(earlier, word))
            shares, fraction = shares - undone, fraction + undone
        value = Decimal(str(word.value))
        cash += fraction * (price if price is not None else then.cost / (then.quantity * value))
        key = f"{word.security_id}:{word.ex_date}" + ("" if word.before is None else f":{word.session}")

        def entry(
            of: EntryKind, amount: Decimal, quantity: int, key: str = key, word: LateWord = word, symbol: str = then.symbol
        ):
            return Entry(f"{of}:{key}", word.session, of, usd(amount), quantity, word.security_id, symbol)

        if kind is EntryKind.SPLIT:
            splits.append((word, shares))
            cost = _cost_brought(word, held_then, held_now, then.cost) if shares > 0 else Decimal(0)
            entries += [entry(kind, -cost, shares)] if shares else []
            entries += [entry(kind, cost, 0, f"{key}{OF_COST}")] if usd(cost) else []
            entries += [entry(EntryKind.CASH_IN_LIEU, cash, 0)] if cash else []
        elif shares or cash:
            entries.append(entry(kind, cash, shares))
    return tuple(entries)


def _given_back(earlier: Earlier, word: LateWord) -> int:
    """Shares that this very action gave back, for they had been sold (trading/oversold.py)."""
    return sum(
        split.quantity
        for split in earlier.splits_since(word.ex_date)
        if is_given_back(split) and (split.security_id, action_day(split)) == (word.security_id, word.ex_date)
    )


def _comes_before(split: Entry, word: LateWord) -> bool:
    """Splits come before what else has their ex-date."""
    ex_date = action_day(split)
    of_the_day = ex_date == word.ex_date and word.type is not ActionType.SPLIT
    return not is_given_back(split) and split.security_id == word.security_id and (ex_date < word.ex_date or of_the_day)


def _due(word: LateWord, then: int, owned: int) -> tuple[int, Decimal, EntryKind, Decimal]:
    """Shares, cash, the kind of the entry, and fractions of shares to be settled at the close."""
    value = Decimal(str(word.value))
    before = None if word.before is None else Decimal(str(word.before))
    if word.type is ActionType.DIVIDEND:
        return 0, then * (value - (before or 0)), EntryKind.DIVIDEND, Decimal(0)
    if word.type is ActionType.DELISTING:
        if before is not None:
            return 0, then * (value - before), EntryKind.DELISTING, Decimal(0)
        gone = min(then, owned)
        return -gone, gone * value, EntryKind.DELISTING, Decimal(0)
    whole, fraction = _split(then, value)
    entered, paid = _split(then, before if before is not None else Decimal(1))
    shares = whole - entered
    missing = max(0, -shares - owned)
    return shares + missing, Decimal(0), EntryKind.SPLIT, fraction - paid - missing


def _cost_brought(word: LateWord, then: int, owned: int, cost: Decimal) -> Decimal:
    """What the shares that a split adds bring of the cost, USD: sales since the ex-date took it away by the number of shares
    that the book had, and would have taken less of it by the number that there were.

    Shares bought since are taken for some of those that were not sold.
    """
    had, were = (_split(then, ratio)[0] for ratio in (Decimal(str(word.before or 1)), Decimal(str(word.value))))
    sold = max(0, had - owned)
    return sold * (cost / had - cost / were) if sold and were else Decimal(0)


def _split(shares: int, ratio: Decimal) -> tuple[int, Decimal]:
    """Whole shares and the fraction that a split leaves."""
    made = shares * ratio
    whole = int((made + _DUST).to_integral_value(ROUND_FLOOR))
    fraction = made - whole
    return whole, fraction if fraction > _DUST else Decimal(0)
