"""What the look-ahead gate finds, and the rules by which rows alone tell of a look-ahead."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

import polars as pl

from tradebot_core.calendar import NEW_YORK, TradingCalendar
from tradebot_core.model.tables import ResultTable

_NO_ROW = "no row"


@dataclass(frozen=True)
class Leak:
    """A value that what was known at the cut-off does not give.

    `layer` is the name of a layer, or of the table: decisions, orders, fills and the others of a backtest, bars, fundamentals.
    `column` is "" where the whole row is there in one of them only.
    """

    layer: str
    session: date
    symbol: str
    column: str
    stored: str
    recomputed: str
    cause: str


def differences(
    table: ResultTable, layer: str, session: date, stored: pl.DataFrame, made: pl.DataFrame, cause: Callable[[], str]
) -> list[Leak]:
    """Of each row that differs the first column that does: floats bit for bit. `cause` is asked when there is one."""
    if _same(stored, made):
        return []
    columns = [*dict.fromkeys(["session", *table.columns, *stored.columns, *made.columns])]
    theirs, ours = _rows(table, stored, columns), _rows(table, made, columns)
    return [
        Leak(layer, session, symbol, column, before, after, cause())
        for key in sorted(theirs.keys() | ours.keys(), key=str)
        for symbol, column, before, after in _difference(theirs.get(key), ours.get(key), columns)
    ]


def _same(one: pl.DataFrame, other: pl.DataFrame) -> bool:
    """Whether they are the same to the last bit, which polars does not ask of -0.0 and 0.0."""
    if one.schema != other.schema or not one.equals(other):
        return False
    floats = [name for name, kind in one.schema.items() if kind == pl.Float64]
    return all(_bits(one[name]) == _bits(other[name]) for name in floats)


def _bits(numbers: pl.Series) -> bytes:
    return numbers.fill_null(0.0).to_numpy().tobytes()


def _rows(table: ResultTable, rows: pl.DataFrame, columns: Sequence[str]) -> dict[tuple[Any, ...], dict[str, Any]]:
    missing = [pl.lit(None).alias(name) for name in columns if name not in rows.columns]
    full = rows.with_columns(missing).select(columns)
    return {tuple(row[name] for name in table.key): row for row in full.iter_rows(named=True)}


def _difference(
    stored: Mapping[str, Any] | None, made: Mapping[str, Any] | None, columns: Sequence[str]
) -> Sequence[tuple[str, str, str, str]]:
    row = stored if stored is not None else made
    assert row is not None
    about = row.get("symbol") or row.get("order_key") or ""
    if stored is None or made is None:
        return [(about, "", _of(stored), _of(made))]
    for name in columns:
        if repr(stored[name]) != repr(made[name]):  # tells -0.0 from 0.0, and every other float by all its digits
            return [(about, name, str(stored[name]), str(made[name]))]
    return []


def _of(row: Mapping[str, Any] | None) -> str:
    return _NO_ROW if row is None else ", ".join(f"{name} {value}" for name, value in row.items() if value is not None)


def fills_out_of_time(orders: pl.DataFrame, fills: pl.DataFrame, calendar: TradingCalendar) -> list[Leak]:
    """Fills that are not after the cut-off of their decision, or belong to no decision. Rows of ORDERS and FILLS."""
    decided = dict(orders.select("order_key", "session").iter_rows())
    found = []
    for row in fills.iter_rows(named=True):
        on, session, at = decided.get(row["order_key"]), row["session"], row["filled_at"]
        if on is None:
            found.append(Leak("fills", session, row["symbol"], "order_key", row["order_key"], _NO_ROW, "No order led to it."))
            continue
        earliest = calendar.opens_at(calendar.next(on))
        if session <= on or at < earliest:
            column, told = ("session", session) if session <= on else ("filled_at", at)
            what = f"An order decided at the cut-off of {on} can fill at the open of {calendar.next(on)} at the earliest."
            found.append(Leak("fills", session, row["symbol"], column, str(told), str(earliest), what))
    return found


def fills_out_of_reach(fills: pl.DataFrame, bars: pl.DataFrame, slack: float) -> list[Leak]:
    """Fills of a session at prices that its bars did not see, costs of `slack` (a share of the price) allowed for."""
    ranges = {security: (low, high) for security, low, high in bars.select("security_id", "low", "high").iter_rows()}
    found = []
    for row in fills.iter_rows(named=True):
        low, high = ranges.get(row["security_id"], (None, None))
        price = float(row["price"])
        if low is None or high is None or not low * (1 - slack) <= price <= high * (1 + slack):
            seen = "no bar" if low is None else f"{low} to {high}"
            cause = "The price was not to be had in the session of the fill."
            found.append(Leak("fills", row["session"], row["symbol"], "price", row["price"], seen, cause))
    return found


def fills_at_known_prices(stored: pl.DataFrame, noisy: pl.DataFrame, limits: Mapping[str, Decimal | None]) -> list[Leak]:
    """Fills whose price stays what it was when the bars of their session are others: it comes from before. `limits` of the orders
    by key; at its limit an order fills in either."""
    pairs = stored.join(noisy.select("order_key", "price"), on=["order_key", "price"], how="semi")
    cause = "The price does not depend on the session of the fill: it was known when the order was decided."
    return [
        Leak("fills", row["session"], row["symbol"], "price", row["price"], "the same with other bars", cause)
        for row in pairs.iter_rows(named=True)
        if limits.get(row["order_key"]) != Decimal(row["price"])
    ]


def bars_before_their_close(bars: pl.DataFrame, names: Mapping[int, str], calendar: TradingCalendar) -> list[Leak]:
    """Versions of bars that say that they were known before their session closed. `names`: symbols by security."""
    cause = "A bar cannot be known before its session closes; its source stamps it too early."
    return [
        Leak(
            "bars", on, names.get(security, str(security)), "known_at", str(known_at), f"after {calendar.closes_at(on)}", cause
        )
        for security, on, known_at in bars.select("security_id", "session", "known_at").iter_rows()
        if known_at < calendar.closes_at(on)
    ]


def known_before_period_end(rows: pl.DataFrame, known_at: str = "known_at") -> pl.DataFrame:
    """The rows whose figures say that they were known on the last day of their period, New York, or before it."""
    return rows.filter(pl.col(known_at).dt.convert_time_zone(str(NEW_YORK)).dt.date() <= pl.col("period_end"))


def figures_before_their_period_ends(panel: pl.DataFrame) -> list[Leak]:
    """Rows of a panel whose figures say that they were known before their period had ended."""
    cause = "Figures of a period cannot be known before it has ended; their source stamps them with the period, not with the filing."
    early = known_before_period_end(panel, "fundamentals_known_at")
    columns = ("session", "symbol", "fundamentals_known_at", "period_end")
    return [
        Leak("fundamentals", on, symbol, "known_at", str(known_at), f"after {period_end}", cause)
        for on, symbol, known_at, period_end in early.select(columns).iter_rows()
    ]
