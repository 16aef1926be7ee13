"""How much of the market the trades took, and how much capital could have traded so.

The share of a fill is its quantity over the volume of its session. Were the sleeve k times as large, every share would be k times as
large, so a fill allows equity x limit / share of capital within a limit. Prices do not move in this sum: it says where the simulated
fills stop being believable, not what the market would have charged.
"""

from dataclasses import dataclass

import polars as pl

LIMITS = (0.01, 0.05, 0.10)  # of a session's volume


@dataclass(frozen=True)
class CapitalAt:
    """USD at which a share of the orders' value stays within `limit` of the session's volume."""

    limit: float
    all_fills: float | None
    nine_tenths: float | None  # of the traded value


@dataclass(frozen=True)
class Capacity:
    """Shares of the session's volume; None without fills of known volume."""

    fills: int
    without_volume: int  # fills in sessions whose volume is not known, or 0
    median_share: float | None
    share_95: float | None  # quantile over fills
    largest_share: float | None
    largest_symbol: str | None
    capital: tuple[CapitalAt, ...]


def capacity(fills: pl.DataFrame) -> Capacity:
    """`fills`: symbol, quantity, price, volume (shares, null when unknown), equity (USD before the session)."""
    known = fills.filter((pl.col("volume") > 0) & (pl.col("equity") > 0)).with_columns(
        share=pl.col("quantity") / pl.col("volume"), value=pl.col("quantity") * pl.col("price").cast(pl.Float64)
    )
    if known.is_empty():
        nothing = tuple(CapitalAt(limit, None, None) for limit in LIMITS)
        return Capacity(0, len(fills), None, None, None, None, nothing)
    largest = known.row(known["share"].arg_max(), named=True)
    per_limit = known.with_columns(capital=pl.col("equity") / pl.col("share")).sort(
        "capital"
    )  # for a limit of the whole volume
    beyond = per_limit["value"].cum_sum() - per_limit["value"]  # the value of orders that allow less
    ninth = per_limit.filter(beyond <= 0.1 * per_limit["value"].sum())["capital"][-1]
    return Capacity(
        len(known),
        len(fills) - len(known),
        known["share"].median(),
        known["share"].quantile(0.95, "linear"),
        largest["share"],
        largest["symbol"],
        tuple(CapitalAt(limit, per_limit["capital"][0] * limit, ninth * limit) for limit in LIMITS),
    )
