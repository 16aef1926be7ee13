"""Backtests: the strategy's decisions on a simulated book, carried from session to session, and what came of it."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import date

import dagster as dg
import polars as pl

from tradebot_core.model.tables import ACTIONS, BARS, EQUITY
from tradebot_core.quant.performance import drawdowns
from tradebot_core.trading.coverage import Coverage
from tradebot_core.wiring import BACKTEST, Sleeve, Tradebot
from tradebot_dagster.charts import equity_chart, sparkline
from tradebot_dagster.defs import checks
from tradebot_dagster.defs.collect import collectors_of
from tradebot_dagster.defs.selection import of_selection
from tradebot_dagster.defs.strategies import layer_keys
from tradebot_dagster.factories import Report, range_of, session_asset, table
from tradebot_dagster.partitions import SESSION_BEFORE
from tradebot_dagster.resources import Research


class BacktestSettings(dg.Config):
    """`restart` opens a new book in the first session instead of continuing that of the session before."""

    restart: bool = False


def backtest_key(sleeve: Sleeve) -> dg.AssetKey:
    return dg.AssetKey([sleeve.name, "backtest"])


def performance_key(sleeve: Sleeve) -> dg.AssetKey:
    return dg.AssetKey([sleeve.name, "performance"])


def backtest_assets(sleeve: Sleeve, tradebot: Tradebot, partitions: dg.PartitionsDefinition) -> list[dg.AssetsDefinition]:
    return [_backtest_asset(sleeve, tradebot, partitions), _performance_asset(sleeve, partitions)]


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


def _performance_asset(sleeve: Sleeve, partitions: dg.PartitionsDefinition) -> dg.AssetsDefinition:
    name = sleeve.name

    def performance(context: dg.AssetExecutionContext, research: Research, sessions: Sequence[date]) -> Report:
        figures = asdict(research.performance(name, sessions[-1]))
        book = research.backtest_sessions(name, sessions[-1])
        rows = research.store.read_results(EQUITY, name, BACKTEST, book[0], book[-1])
        equity = rows["equity"].cast(pl.Float64)
        title = f"{name}, {book[0]} to {book[-1]}"
        chart = equity_chart(title, rows["session"].to_list(), equity.to_list(), drawdowns(equity).to_list())
        rounded = {figure: round(value, 4) for figure, value in figures.items() if value is not None}
        seen = _coverage(research.coverage(book)) | of_selection(research.selection(name, book))
        return Report({"book": range_of(book), "equity_curve": sparkline(equity.to_list()), "chart": chart, **rounded, **seen})

    return session_asset(
        performance_key(sleeve).path,
        performance,
        Research,
        partitions,
        group=name,
        description=f"What the backtest of {name} earned, what it risked and what it cost, from the first session of its book. "
        "Returns, volatility and drawdown are fractions; money is USD. The figures of coverage say how much of the universe there was to "
        "see: shares of all sessions in which its securities, the dead included, were listed.",
        deps=[backtest_key(sleeve)],
        kinds={"polars"},
        owner="research",
        code_version=sleeve.fingerprint,
    )


def _coverage(found: Coverage) -> dict[str, object]:
    """What the results rest on, and what a reader must know of it first."""
    shares = {
        f"coverage_{name}": round(value, 4)
        for name in ("with_bars", "with_fundamentals", "with_market_value")
        if (value := getattr(found, name)) is not None
    }
    doubts = "\n".join(f"- {sentence}" for sentence in (*found.warnings, *found.caveats))
    years = pl.DataFrame([asdict(year) for year in found.years])
    return {
        **({"doubts": dg.MetadataValue.md(doubts)} if doubts else {}),
        "coverage_securities": found.securities,
        "coverage_ended": found.ended,
        **shares,
        **({"coverage_by_year": table(years)} if len(years) else {}),
    }


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
