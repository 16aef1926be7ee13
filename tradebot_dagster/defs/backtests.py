"""Backtests: the strategy's decisions on a simulated book, carried from session to session. What came of it: defs/performance.py."""

from collections.abc import Sequence
from datetime import date

import dagster as dg
import polars as pl

from tradebot_core.model.tables import ACTIONS, BARS
from tradebot_core.wiring import Sleeve, Tradebot
from tradebot_dagster.charts import sparkline
from tradebot_dagster.defs import checks
from tradebot_dagster.defs.collect import collectors_of
from tradebot_dagster.defs.performance import performance_asset
from tradebot_dagster.defs.strategies import layer_keys
from tradebot_dagster.factories import Report, range_of, session_asset, table
from tradebot_dagster.partitions import SESSION_BEFORE
from tradebot_dagster.resources import Research


class BacktestSettings(dg.Config):
    """`restart` opens a new book in the first session instead of continuing that of the session before."""

    restart: bool = False


def backtest_key(sleeve: Sleeve) -> dg.AssetKey:
    return dg.AssetKey([sleeve.name, "backtest"])


def backtest_assets(sleeve: Sleeve, tradebot: Tradebot, partitions: dg.PartitionsDefinition) -> list[dg.AssetsDefinition]:
    return [_backtest_asset(sleeve, tradebot, partitions), performance_asset(sleeve, backtest_key(sleeve), partitions)]


def _backtest_asset(sleeve: Sleeve, tradebot: Tradebot, partitions: dg.PartitionsDefinition) -> dg.AssetsDefinition:
    name, key = sleeve.name, backtest_key(sleeve)
    soundness = checks.of_backtest(key, name)

    def backtest(context: dg.AssetExecutionContext, research: Research, sessions: Sequence[date]) -> Report:
        tables = research.backtest(name, sessions, context.op_execution_context.op_config["restart"])
        equity = dict(tables["equity"].select("session", pl.col("equity").cast(pl.Float64)).iter_rows())
        daily = {session: {"equity": value} for session, value in equity.items()}
        return Report(_summary(tables, equity, sessions), daily, soundness.results(research, sessions))

    return session_asset(
        key.path,
        backtest,
        Research,
        partitions,
        group=name,
        description=f"{name} on a simulated book that begins with {sleeve.capital} USD: decisions, orders, fills at the next "
        "open with slippage and commission, dividends and splits. Each session continues the book of the one before; "
        "`restart` begins a new one.",
        deps=[
            layer_keys(sleeve)[-1],
            *collectors_of(tradebot, BARS, ACTIONS),
            dg.AssetDep(key, partition_mapping=SESSION_BEFORE),
        ],
        kinds={"python", "parquet"},
        owner="research",
        checks=soundness.specs,
        config=BacktestSettings,
        code_version=sleeve.fingerprint,
    )


def _summary(tables: dict[str, pl.DataFrame], equity: dict[date, float], sessions: Sequence[date]) -> dict[str, object]:
    orders, fills, positions = tables["orders"], tables["fills"], tables["positions"]
    refused = orders.filter(~pl.col("approved")).group_by("rule").agg(orders=pl.len()).sort("rule")
    return {
        "sessions": range_of(sessions),
        "equity_curve": sparkline(list(equity.values())),
        "dagster/row_count": len(tables["equity"]),
        "orders": len(orders),
        **({"refused_orders": table(refused)} if len(refused) else {}),
        "fills": len(fills),
        "last_fills": table(fills.tail(20).select("session", "symbol", "side", "quantity", "price", "commission")),
        "positions_at_end": table(positions.filter(pl.col("session") == sessions[-1]).drop("session")),
    }
