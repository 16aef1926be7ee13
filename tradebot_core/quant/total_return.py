"""What one dollar in each security became, dividends reinvested, piece by piece of time so that memory does not grow with the years.

Source of the formula: CRSP data description guide, holding period total return: (price x split + dividend) / price before - 1, the
dividend reinvested at the close of its ex-date. Unlike the factors of quant/adjust.py it exists for a dividend above the price
before. A dividend counts on the shares after a split of the same day, as in the ledger; what falls on days without a bar counts
in the next bar.

A delisted security is worth what it paid from then on, as cash; one whose bars stop without a word stays at its last price, as in
the book: who compares returns must say how many these were.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property

import numpy as np
import polars as pl

from tradebot_core.model.keyed_rows import in_order
from tradebot_core.model.market import ActionType

_ACTION = {"security_id": pl.Int64, "session": pl.Date, "type": pl.String, "value": pl.Float64}
_STATE = {"security_id": pl.Int64, "units": pl.Float64, "level": pl.Float64}


@dataclass(frozen=True)
class Levels:
    """Matrices of sessions x securities. `level` at the close, on a base of its own for each security, the last one known where a
    session has no bar, NaN before the first; `opening` what one open price is on that base (NaN without a bar)."""

    sessions: Sequence[date]
    securities: np.ndarray  # ascending ids
    level: np.ndarray
    opening: np.ndarray

    @cached_property
    def traded(self) -> np.ndarray:
        return ~np.isnan(self.opening)


class TotalReturns:
    """Goes through consecutive pieces of sessions; levels of a later piece continue those of the one before."""

    def __init__(self) -> None:
        self._state = pl.DataFrame(schema=_STATE)
        self._ended: set[int] = set()
        self._pending: pl.DataFrame | None = None  # actions after the last bar of their securities

    def advance(self, bars: pl.DataFrame, actions: pl.DataFrame, sessions: Sequence[date]) -> Levels:
        """`bars` (security_id, session, open, close: raw, above 0) and `actions` (security_id, session, type, value) of these sessions,
        one version of each row."""
        alive = ~pl.col("security_id").is_in(list(self._ended))
        actions = actions.select(_ACTION.keys()).filter(alive)
        rows = _with_ends(bars.filter(alive), actions)
        if self._pending is not None:
            actions = pl.concat([self._pending, actions])
        rows = _with_units(rows, actions, self._state)
        levels = self._matrices(rows, sessions)
        last = rows.group_by("security_id", maintain_order=True).agg(pl.col("session", "units", "level").last())
        self._state = pl.concat([self._state.join(last, on="security_id", how="anti"), last.select(_STATE.keys())])
        self._ended |= set(rows.filter("ends")["security_id"])
        heard = last.select("security_id", bar="session")
        later = pl.col("bar").is_null() | (pl.col("session") > pl.col("bar"))
        self._pending = actions.join(heard, on="security_id", how="left").filter(later).drop("bar")
        return levels

    def _matrices(self, rows: pl.DataFrame, sessions: Sequence[date]) -> Levels:
        before = self._state.select("security_id", "level")
        ids = np.unique(np.concatenate([before["security_id"].to_numpy(), rows["security_id"].to_numpy()]))
        days = pl.DataFrame(
            {"session": list(sessions), "row": range(len(sessions))}, schema={"session": pl.Date, "row": pl.Int64}
        )
        placed = rows.join(days, on="session", maintain_order="left")
        at = placed["row"].to_numpy(), np.searchsorted(ids, placed["security_id"].to_numpy())
        level, opening = (np.full((len(sessions), len(ids)), np.nan) for _ in range(2))
        level[at] = placed["level"].to_numpy()
        traded = (placed["units"] * placed["open"]).set(placed["ends"], None).cast(pl.Float64)
        opening[at] = traded.fill_null(float("nan")).to_numpy()
        carried = np.full(len(ids), np.nan)
        carried[np.searchsorted(ids, before["security_id"].to_numpy())] = before["level"].to_numpy()
        for line in level:
            np.copyto(line, carried, where=np.isnan(line))
            carried = line
        return Levels(sessions, ids, level, opening)


def _with_ends(bars: pl.DataFrame, actions: pl.DataFrame) -> pl.DataFrame:
    """The bars, and for each delisting a last row at what it paid; later bars are of nobody."""
    paid = pl.col("value").alias("open"), pl.col("value").alias("close")
    ends = actions.filter(type=str(ActionType.DELISTING)).select("security_id", "session", *paid, ends=True)
    ends = ends.sort("session").unique("security_id", keep="first")
    kept = bars.select("security_id", "session", "open", "close", ends=False)
    if ends.is_empty():
        return in_order(kept, ["security_id", "session"])
    kept = kept.join(ends.select("security_id", end="session"), on="security_id", how="left")
    kept = kept.filter(pl.col("end").is_null() | (pl.col("session") < pl.col("end"))).drop("end")
    return pl.concat([kept, ends]).sort("security_id", "session")


def _with_units(rows: pl.DataFrame, actions: pl.DataFrame, state: pl.DataFrame) -> pl.DataFrame:
    """`units`: the shares that one share of the base has become; `level`: their value at the close."""
    by_day = ["security_id", "session"]
    due = (
        actions.filter(pl.col("type") != ActionType.DELISTING)
        .sort("session")
        .join_asof(
            rows.select("security_id", bar="session"),  # in order within each security
            left_on="session",
            right_on="bar",
            by="security_id",
            strategy="forward",
            check_sortedness=False,
        )
        .filter(pl.col("bar").is_not_null())
        # Splits before dividends of a day; what a dividend of an earlier day paid was paid on fewer shares.
        .sort("security_id", "session", pl.col("type") != ActionType.SPLIT)
        .with_columns(
            ratio=pl.when(pl.col("type") == ActionType.SPLIT).then("value").otherwise(1.0),
            paid=pl.when(pl.col("type") == ActionType.DIVIDEND).then("value").otherwise(0.0),
        )
        .with_columns(so_far=pl.col("ratio").cum_prod().over("security_id", "bar"))
        .group_by("security_id", session="bar")
        .agg(ratio=pl.col("ratio").product(), paid=(pl.col("paid") * pl.col("so_far")).sum() / pl.col("ratio").product())
    )
    growth = pl.col("ratio").fill_null(1.0) * (1 + pl.col("paid").fill_null(0.0) / pl.col("close"))
    return (
        rows.join(due, on=by_day, how="left", maintain_order="left")
        .join(state.select("security_id", "units"), on="security_id", how="left", maintain_order="left")
        .with_columns(
            before=pl.col("units").fill_null(1.0),
            ratio=pl.col("ratio").fill_null(1.0),
            paid=pl.col("paid").fill_null(0.0),
            # Of a security that ended worthless nothing can be reinvested.
            growth=pl.when(pl.col("close") > 0).then(growth).otherwise(1.0),
        )
        .with_columns(units=pl.col("before") * pl.col("growth").cum_prod().over("security_id"))
        .with_columns(level=pl.col("units") * pl.col("close"))
        .select(*by_day, "open", "units", "level", "ends")
    )
