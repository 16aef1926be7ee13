"""Variants of a strategy beside its backtest."""

from dataclasses import asdict

import dagster as dg
import polars as pl

from tradebot_core.wiring import Sleeve
from tradebot_dagster.defs.backtests import backtest_key
from tradebot_dagster.defs.selection import of_selection
from tradebot_dagster.factories import range_of, table
from tradebot_dagster.resources import Research


def variants_key(sleeve: Sleeve) -> dg.AssetKey:
    return dg.AssetKey([sleeve.name, "variants"])


def variants_asset(sleeve: Sleeve) -> dg.AssetsDefinition:
    """One table, without partitions: it is made when somebody asks for it, of all sessions of the latest book."""
    name = sleeve.name

    @dg.asset(
        key=variants_key(sleeve),
        required_resource_keys={"research"},
        group_name=name,
        description=f"{name} beside its variants, over the sessions of its latest backtest: with verdicts a session late, at twice "
        "the costs, and those of its block in the configuration. Shared layers are not computed again. Each variant of the "
        "configuration counts as a trial. With each stand the decisions that differ, by cause; `tradebot compare` shows them one by one.",
        deps=[backtest_key(sleeve)],
        kinds={"polars", "parquet"},
        owners=["team:research"],
        code_version=sleeve.fingerprint,
    )
    def variants(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        research: Research = context.resources.research
        found = research.side_by_side(name, context.log.info)
        rows = pl.DataFrame([{"variant": variant, **asdict(figures)} for variant, figures in found.figures.items()])
        return dg.MaterializeResult(
            metadata={
                "sessions": range_of(found.sessions),
                "figures": table(rows),
                **{f"decisions_of_{variant}": table(causes) for variant, causes in found.causes.items() if len(causes)},
                **of_selection(found.selection),
            }
        )

    return variants
