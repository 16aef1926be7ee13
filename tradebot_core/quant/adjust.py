"""Adjusted views of raw bars, made for a reader and never stored.

split   Prices in the shares of the reader's session: each split with a later ex-date divides them by its ratio, and multiplies
        volume by it.
total   Prices whose ratios are total returns. Each dividend with a later ex-date multiplies them as well, by
        1 - dividend / last raw close before the ex-date; volume is that of `split`.

Source of the dividend factor: Yahoo Finance Help, "What is the adjusted close?", and the factor to adjust prices (FACPR) of the
CRSP data description guide. It reinvests at the close before the ex-date, so that the return of the ex-date is
close / (previous close - dividend). A dividend counts on the shares after a split of the same day, as in the ledger.

Only actions of the given rows with an ex-date up to the reader's session take part: whoever reads as of an instant hands in
what was known then. Raw prices of a session, and the ratio of any two adjusted prices, do not depend on the reader's session.
"""

from datetime import date
from enum import StrEnum

import polars as pl

from tradebot_core.errors import DataError
from tradebot_core.model.market import ActionType
from tradebot_core.model.tables import BARS

_PRICES = ("open", "high", "low", "close")
_BY_DAY = ["security_id", "session"]


class Adjustment(StrEnum):
    SPLIT = "split"
    TOTAL = "total"


def adjusted(bars: pl.DataFrame, actions: pl.DataFrame, session: date, adjustment: Adjustment) -> pl.DataFrame:
    """Columns of BARS, price_factor and volume_factor (adjusted = raw x factor), sorted by security_id and session.

    `bars` and `actions` (columns of BARS and ACTIONS) hold one version of each row; the bars reach up to the reader's
    `session`, or dividends since the last of them have no close to stand on. Raises DataError when a dividend is not less
    than the close before it: total returns across it do not exist.
    """
    bars = bars.filter(pl.col("session") <= session).select(*BARS.columns).sort(_BY_DAY)
    effective = actions.filter(pl.col("session") <= session).select(*_BY_DAY, "type", "value").sort(_BY_DAY)
    splits = effective.filter(pl.col("type") == ActionType.SPLIT).select(
        *_BY_DAY, price_factor=1 / pl.col("value"), volume_factor=pl.col("value")
    )
    factors = splits
    if adjustment is Adjustment.TOTAL:
        dividends = effective.filter(pl.col("type") == ActionType.DIVIDEND)
        factors = pl.concat([splits, _dividend_factors(dividends, bars, splits)])
    return (
        bars.join_asof(
            _since(factors),
            on="session",
            by="security_id",
            strategy="forward",
            allow_exact_matches=False,
            check_sortedness=False,
        )
        .with_columns(pl.col("price_factor", "volume_factor").fill_null(1.0))
        .with_columns(pl.col(*_PRICES) * pl.col("price_factor"), pl.col("volume") * pl.col("volume_factor"))
        .select(*BARS.columns, "price_factor", "volume_factor")
    )


def _dividend_factors(dividends: pl.DataFrame, bars: pl.DataFrame, splits: pl.DataFrame) -> pl.DataFrame:
    """By ex-date; of a dividend without a bar before it there is nothing to adjust, and no row."""
    before = bars.select(*_BY_DAY, "close", traded="session")
    held = dividends.join_asof(
        before, on="session", by="security_id", strategy="backward", allow_exact_matches=False, check_sortedness=False
    ).filter(pl.col("close").is_not_null())
    split_since = (
        held.select(*_BY_DAY, "traded")
        .join(splits.select("security_id", split="session", ratio="volume_factor"), on="security_id")
        .filter(pl.col("split") > pl.col("traded"), pl.col("split") <= pl.col("session"))
        .group_by(_BY_DAY)
        .agg(ratio=pl.col("ratio").product())
    )
    held = held.join(split_since, on=_BY_DAY, how="left", maintain_order="left").with_columns(
        close=pl.col("close") / pl.col("ratio").fill_null(1.0)  # in the shares on which the dividend was paid
    )
    impossible = held.filter((pl.col("value") < pl.col("close")).not_())
    if not impossible.is_empty():
        row = impossible.row(0, named=True)
        raise DataError(
            f"Security {row['security_id']} paid {row['value']} USD on {row['session']}, which is not less than its close "
            f"before, {row['close']}: there is no total return across it.",
            "Correct the dividend (its amount is in USD a share of that day), or ask for split-adjusted prices.",
        )
    return held.select(*_BY_DAY, price_factor=1 - pl.col("value") / pl.col("close"), volume_factor=pl.lit(1.0))


def _since(factors: pl.DataFrame) -> pl.DataFrame:
    """For each ex-date the product of its factors and those of every later one."""
    return (
        factors.group_by(_BY_DAY)
        .agg(pl.col("price_factor", "volume_factor").product())
        .sort(_BY_DAY)
        .with_columns(pl.col("price_factor", "volume_factor").cum_prod(reverse=True).over("security_id"))
    )
