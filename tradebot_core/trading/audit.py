"""Questions put to stored tables whose right answer is nothing. Each returns its findings, one row for each; empty is well."""

from collections.abc import Iterable, Sequence
from datetime import date
from decimal import Decimal

import polars as pl

from tradebot_core.calendar import TradingCalendar
from tradebot_core.model.market import ActionType
from tradebot_core.model.portfolio import Entry, EntryKind
from tradebot_core.model.tables import INSTANT
from tradebot_core.quant.adjust import Adjustment, adjusted

QUIET_SESSIONS = 10  # two weeks without a bar: halts are shorter, with rare exceptions
_LARGE_MOVE = 0.5  # of the price of the session before; rarer than once a year in large companies, mostly a missed split
# What the price may move besides, in the night and in the day of a split. Bad news moves it by a third, too, and goes on moving.
_ORDINARY_NIGHT, _ORDINARY_DAY = 0.04, 0.06
_MOVE_COLUMNS = {"session": pl.Date, "security_id": pl.Int64, "close": pl.Float64, "move": pl.Float64}


def sessions_without_bars(bars: pl.DataFrame, sessions: Sequence[date]) -> pl.DataFrame:
    """Sessions in which not one security has a bar."""
    asked = pl.DataFrame({"session": sessions}, schema={"session": pl.Date})
    return asked.join(bars, on="session", how="anti")


def missing_bars(bars: pl.DataFrame, securities: pl.DataFrame, sessions: Sequence[date]) -> pl.DataFrame:
    """Securities without a bar in sessions in which they are listed: how many, the first and the last of them.

    On the last day of its listing a security need not trade.
    """
    asked = pl.LazyFrame({"session": sessions}, schema={"session": pl.Date})
    listed = securities.lazy().select("security_id", "symbol", "valid_from", "valid_to").join(asked, how="cross")
    return (
        listed.filter(pl.col("session").is_between("valid_from", "valid_to", closed="left"))
        .join(bars.lazy(), on=["session", "security_id"], how="anti")
        .group_by("symbol")
        .agg(missing=pl.len(), first=pl.col("session").min(), last=pl.col("session").max())
        .sort("missing", "symbol", descending=[True, False])
        .collect()
    )


def ended_without_delisting(
    bars: pl.DataFrame, actions: pl.DataFrame, securities: pl.DataFrame, sessions: Sequence[date]
) -> pl.DataFrame:
    """Securities whose bars stopped QUIET_SESSIONS or more before the end, which no action and no end of listing explains.

    A holding of such a one is carried at its last price for ever: somebody must find out what became of it.
    """
    delisted = actions.filter(pl.col("type") == ActionType.DELISTING.value).select("security_id")
    listed = securities.filter(pl.col("valid_to").fill_null(date.max) >= sessions[-1]).unique("security_id", keep="last")
    last = bars.sort("session").unique("security_id", keep="last", maintain_order=True)
    quiet_since = sessions[-QUIET_SESSIONS] if len(sessions) > QUIET_SESSIONS else sessions[0]
    return (
        last.filter(pl.col("session") < quiet_since)
        .join(delisted, on="security_id", how="anti")
        .join(listed.select("security_id", "symbol"), on="security_id")
        .select("symbol", "security_id", last_session="session", last_close="close")
        .sort("symbol")
    )


def unexplained_moves(bars: pl.DataFrame, actions: pl.DataFrame) -> pl.DataFrame:
    """Moves from one bar to the next that no recorded split explains: closes that moved by more than half, and opens and
    closes that stand at the ratio of a usual split to the close before.

    `likely_split` is that ratio (new shares for one old), and null where there is none: 2.0 where a split of two for one is
    probably missing; 0.5 where one was recorded that the prices do not show, or a reverse one is missing.
    """
    if bars.is_empty():
        return pl.DataFrame(schema={**_MOVE_COLUMNS, "likely_split": pl.Float64})
    by_security = pl.col("security_id")
    before = pl.col("close").shift(1).over(by_security)
    return (
        adjusted(bars, actions, bars["session"].max(), Adjustment.SPLIT)
        .with_columns(
            move=pl.col("close") / before - 1, likely_split=_usual_split(before / pl.col("open"), before / pl.col("close"))
        )
        .filter((pl.col("move").abs() > _LARGE_MOVE) | pl.col("likely_split").is_not_null())
        .select("session", "security_id", pl.col("close") / pl.col("price_factor"), "move", "likely_split")
        .sort("session", "security_id")
    )


def _usual_split(at_open: pl.Expr, at_close: pl.Expr) -> pl.Expr:
    """The usual split (n for one or three for two, or the inverse) that both ratios are but for ordinary moves; null if none."""
    size = pl.max_horizontal(at_open, 1 / at_open)
    usual = pl.when(size < 1.75).then(1.5).otherwise(size.round())
    split = pl.when(at_open > 1).then(usual).otherwise(1 / usual)
    is_split = ((at_open / split - 1).abs() <= _ORDINARY_NIGHT) & ((at_close / split - 1).abs() <= _ORDINARY_DAY)
    return pl.when(is_split).then(split)


def known_too_late(panel: pl.DataFrame, sessions: Sequence[date], calendar: TradingCalendar) -> pl.DataFrame:
    """Rows that rest on a filing which was not public at the cut-off of their session."""
    cutoffs = pl.DataFrame(
        {"session": sessions, "cutoff": [calendar.cutoff(session) for session in sessions]},
        schema={"session": pl.Date, "cutoff": INSTANT},
    )
    rows = panel.select("session", "symbol", "fundamentals_known_at").join(cutoffs, on="session", how="left")
    return rows.filter((pl.col("fundamentals_known_at") <= pl.col("cutoff")).not_())


def overcommitted_sessions(decisions: pl.DataFrame) -> pl.DataFrame:
    """Sessions whose purchases bring the target weights above the sleeve, or above what is held already."""
    kept = pl.col("target_weight").filter(pl.col("action") == "hold").sum()
    total = decisions.group_by("session").agg(total_weight=pl.col("target_weight").sum(), held_weight=kept)
    most = pl.max_horizontal(pl.lit(1.0), "held_weight")
    return total.filter((pl.col("total_weight") <= most + 1e-9).not_()).sort("session")


def overweight_decisions(decisions: pl.DataFrame, max_position_weight: float) -> pl.DataFrame:
    """Purchases of more than the risk limits let one position weigh: the gate refuses their orders."""
    bought = decisions.filter(pl.col("action") == "buy").select("session", "symbol", "target_weight")
    return bought.filter((pl.col("target_weight") <= max_position_weight + 1e-9).not_())


def broken_links(books: pl.DataFrame) -> pl.DataFrame:
    """Sessions whose book does not begin where the stored session before it ended, and is not a new one either."""
    return (
        books.sort("session")
        .select("session", "before", previous=pl.col("after").shift(1))
        .filter((pl.col("before") != "") & pl.col("previous").is_not_null() & (pl.col("before") != pl.col("previous")))
    )


def unbalanced_sessions(equity: pl.DataFrame, entries: pl.DataFrame) -> pl.DataFrame:
    """Sessions whose cash is not the sum of all entries of the book up to them, to the last digit."""
    money = pl.Decimal(38, 4)
    by_session = entries.group_by("session").agg(entered=pl.col("cash").cast(money).sum()).sort("session")
    return (
        equity.sort("session")
        .select("session", cash=pl.col("cash").cast(money))
        .join(by_session, on="session", how="full", coalesce=True)
        .sort("session")
        .with_columns(entered=pl.col("entered").fill_null(0).cum_sum())
        .filter(pl.col("cash").is_not_null() & (pl.col("cash") != pl.col("entered")))
        .with_columns(pl.col("cash", "entered").cast(pl.String))
    )


def trades_without_their_fill(fills: pl.DataFrame, entries: Iterable[Entry]) -> pl.DataFrame:
    """Trades of the ledger that differ, with their corrections, from the execution they name, and executions not entered."""
    entered: dict[str, tuple[int, Decimal]] = {}
    for entry in entries:
        if entry.kind in (EntryKind.TRADE, EntryKind.CORRECTION):
            # A correction is keyed reversal:EXECUTION:VERSION and so on (model.portfolio.correction_entries).
            key = entry.key if entry.kind is EntryKind.TRADE else f"fill:{entry.key.partition(':')[2].rpartition(':')[0]}"
            quantity, cash = entered.get(key, (0, Decimal(0)))
            entered[key] = (quantity + entry.quantity, cash + entry.cash)
    executed = {}
    for row in fills.iter_rows(named=True):
        signed = row["quantity"] if row["side"] == "buy" else -row["quantity"]
        executed[f"fill:{row['execution_id']}"] = (signed, -signed * Decimal(row["price"]))
    wrong = sorted(key for key in entered.keys() | executed.keys() if entered.get(key) != executed.get(key))
    return pl.DataFrame(
        [(key, str(entered.get(key)), str(executed.get(key))) for key in wrong],
        schema={"entry_key": pl.String, "entered": pl.String, "executed": pl.String},
        orient="row",
    )
