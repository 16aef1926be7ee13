"""What trading cost, and what else moved the cash of a book beside its trades."""

from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from tradebot_core.model.portfolio import EntryKind
from tradebot_core.quant.performance import SESSIONS_PER_YEAR

# Principal, and shares that came for shares: neither a cost nor an income.
_PRINCIPAL = {str(kind) for kind in (EntryKind.TRADE, EntryKind.CORRECTION, EntryKind.DEPOSIT, EntryKind.SPLIT)}
_PRINCIPAL |= {str(EntryKind.CASH_IN_LIEU), str(EntryKind.DELISTING)}


@dataclass(frozen=True)
class CostSplit:
    """USD. `slippage` is what fills paid beyond the raw open of their session (the close, in the closing auction): it is in their prices,
    not in `entries`. Costs are positive, but in `entries`, which has the signs of the ledger."""

    entries: Mapping[str, float]  # by kind of entry: signed cash (commission -12.0, dividend 80.0)
    slippage: float | None  # None when that price is not known of a fill
    fills_without_reference: int
    trading: float | None  # commissions, fees and slippage
    trading_per_year: float | None  # of mean equity
    traded: float  # purchases and sales
    trading_of_traded: float | None


def cost_split(entries: pl.DataFrame, fills: pl.DataFrame, equity: pl.DataFrame) -> CostSplit:
    """`fills`: side, quantity, price, reference (what slippage is measured from: raw USD, null when unknown)."""
    moved = (
        entries.filter(~pl.col("kind").is_in(_PRINCIPAL))
        .group_by("kind")
        .agg(pl.col("cash").cast(pl.Float64).sum())
        .sort("kind")
    )
    by_kind = dict(moved.iter_rows())
    sign = pl.when(pl.col("side") == "buy").then(1).otherwise(-1)
    priced = fills.select(
        value=pl.col("quantity") * pl.col("price").cast(pl.Float64),
        slipped=sign * pl.col("quantity") * (pl.col("price").cast(pl.Float64) - pl.col("reference")),
    )
    unknown = priced["slipped"].null_count()
    slippage = float(priced["slipped"].sum()) if not unknown else None
    paid = -sum(cash for kind, cash in by_kind.items() if kind == EntryKind.COMMISSION or kind.endswith("fee"))
    trading = slippage + paid if slippage is not None else None
    traded = float(priced["value"].sum())
    mean, years = equity["equity"].cast(pl.Float64).mean(), len(equity) / SESSIONS_PER_YEAR
    return CostSplit(
        by_kind,
        slippage,
        unknown,
        trading,
        trading / mean / years if trading is not None and mean and mean > 0 else None,
        traded,
        trading / traded if trading is not None and traded else None,
    )
