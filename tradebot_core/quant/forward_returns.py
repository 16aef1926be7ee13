"""What a share bought at the close of a session had made by a later one: what models learn to foretell, and never what they see."""

import polars as pl

from tradebot_core.model.market import ActionType

_BY = ["security_id"]


def forward_returns(rows: pl.DataFrame, last_bars: pl.DataFrame, actions: pl.DataFrame) -> pl.Series:
    """For each row the return from its close to the end of a holding period, in the order of `rows`.

    (shares at the end x last close + cash) / close - 1. Splits change the shares, dividends are kept as cash, and a delisting pays its
    value in place of a last close. Null where there is neither.

    rows        security_id, close (raw USD) of one session
    last_bars   security_id, session, close: of each security its last bar of the period
    actions     columns of ACTIONS, one version of each, of the period: after the session, up to its end
    """
    # A dividend counts on the shares after a split of the same day, as in the ledger.
    order = pl.col("type") != ActionType.SPLIT
    ratio = pl.when(type=ActionType.SPLIT.value).then(pl.col("value")).otherwise(1.0)
    dated = actions.sort("security_id", "session", order).with_columns(shares=ratio.cum_prod().over("security_id"))
    of = {kind: dated.filter(pl.col("type") == kind) for kind in ActionType}
    paid = (pl.col("value") * pl.col("shares")).sum()
    cash = of[ActionType.DIVIDEND].group_by(_BY).agg(cash=paid)
    left = of[ActionType.DELISTING].group_by(_BY).agg(left=paid)
    splits = of[ActionType.SPLIT].select("security_id", "value", split="session")
    # Of the splits up to the last bar: a price from before a split is one of the shares before it.
    held = (
        last_bars.select("security_id", traded="session")
        .join(splits, on="security_id")
        .filter(pl.col("split") <= pl.col("traded"))
        .group_by(_BY)
        .agg(held=pl.col("value").product())
    )
    found = rows.select("security_id", "close")
    for table in (last_bars.select("security_id", last="close"), cash, left, held):
        found = found.join(table, on="security_id", how="left", maintain_order="left")
    at_end = pl.coalesce("left", pl.col("last") * pl.col("held").fill_null(1.0))
    made = (at_end + pl.col("cash").fill_null(0.0)) / pl.col("close") - 1
    return found.select(made.alias("forward_return")).to_series()
