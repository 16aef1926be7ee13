"""The live path: decisions, orders and positions of the real (paper or live) sleeves.

These assets are the only ones with the trading desk, and the desk is what decides whether anything happens: a run without the
permit of the current session makes reviews, sends nothing and reads the ledger.
"""

from collections.abc import Sequence
from datetime import date

import dagster as dg
import polars as pl
from dagster._core.storage.tags import BACKFILL_ID_TAG, PARENT_RUN_ID_TAG, ROOT_RUN_ID_TAG

from tradebot_core.model.tables import ACTIONS, BARS, DECISIONS
from tradebot_core.trading import rows
from tradebot_core.wiring import Sleeve, Tradebot
from tradebot_dagster.defs import checks
from tradebot_dagster.defs.collect import collectors_of
from tradebot_dagster.defs.strategies import layer_keys
from tradebot_dagster.factories import Report, range_of, session_asset, table
from tradebot_dagster.partitions import SESSION_BEFORE
from tradebot_dagster.resources import Execution

PERMIT_TAG = "tradebot/permit"


def decisions_key(strategy: str) -> dg.AssetKey:
    return dg.AssetKey([strategy, "decisions"])


def orders_key(strategy: str) -> dg.AssetKey:
    return dg.AssetKey([strategy, "orders"])


def positions_key(strategy: str) -> dg.AssetKey:
    return dg.AssetKey([strategy, "positions"])


def live_assets(sleeve: Sleeve, tradebot: Tradebot, partitions: dg.PartitionsDefinition) -> list[dg.AssetsDefinition]:
    return [
        _decisions_asset(sleeve, tradebot, partitions),
        _orders_asset(sleeve, partitions),
        _positions_asset(sleeve, tradebot, partitions),
    ]


def _decisions_asset(sleeve: Sleeve, tradebot: Tradebot, partitions: dg.PartitionsDefinition) -> dg.AssetsDefinition:
    name, key = sleeve.name, decisions_key(sleeve.name)
    soundness = checks.of_decisions(key, tradebot.config.risk.max_position_weight)

    def decide(context: dg.AssetExecutionContext, execution: Execution, sessions: Sequence[date]) -> Report:
        permit = permit_of(context, sessions)
        sets = {session: execution.decide(name, session, permit, context.run_id) for session in sessions}
        made = rows.frame(DECISIONS, rows.of_decisions([decision for found in sets.values() for decision in found.decisions]))
        last = sets[sessions[-1]]
        summary = {
            "sessions": range_of(sessions),
            "live": last.live,
            "note": last.note,
            "digest": last.digest,
            "decisions": table(made.filter(pl.col("session") == sessions[-1]).drop("session")),
            "actions": table(made.group_by("action").agg(decisions=pl.len()).sort("action")),
        }
        counts = {session: {"decisions_in_session": len(found.decisions)} for session, found in sets.items()}
        return Report(summary, counts, soundness.results(made, sessions))

    return session_asset(
        key.path,
        decide,
        Execution,
        partitions,
        group=name,
        description=f"What {name} wants done about each holding and candidate, and why. Live when the schedule made it for the "
        "current session; in any other run a review of what would be decided now, which no engine will ever see.",
        deps=[layer_keys(sleeve)[-1], *collectors_of(tradebot, BARS, ACTIONS)],
        kinds={"python"},
        owner="trading",
        checks=soundness.specs,
        code_version=sleeve.fingerprint,
    )


def _orders_asset(sleeve: Sleeve, partitions: dg.PartitionsDefinition) -> dg.AssetsDefinition:
    name, key = sleeve.name, orders_key(sleeve.name)
    soundness = checks.of_orders(key, name)

    def submit(context: dg.AssetExecutionContext, execution: Execution, sessions: Sequence[date]) -> Report:
        permit = permit_of(context, sessions)
        outcomes = {session: execution.submit(name, session, permit, context.run_id) for session in sessions}
        placed = execution.ledger.orders(name, sessions[0], sessions[-1])
        summary = {
            "sessions": range_of(sessions),
            "outcome": str(outcomes[sessions[-1]].outcome),
            "note": outcomes[sessions[-1]].note,
            "dagster/row_count": len(placed),
            "orders": table(placed.drop("order_key", "security_id")),
        }
        return Report(summary, checks=soundness.results(execution, sessions))

    return session_asset(
        key.path,
        submit,
        Execution,
        partitions,
        group=name,
        description="The orders that carry out the live decisions of the session, with the risk gate's verdict on each and what "
        "became of it. An order is written down before it is sent and sent at most once. Only the run that the order sensor asked "
        "for sends; every other reads.",
        deps=[decisions_key(name)],
        kinds={"python", "sqlite"},
        owner="trading",
        checks=soundness.specs,
    )


def _positions_asset(sleeve: Sleeve, tradebot: Tradebot, partitions: dg.PartitionsDefinition) -> dg.AssetsDefinition:
    name, key = sleeve.name, positions_key(sleeve.name)
    soundness = checks.of_positions(key, name)

    def record(context: dg.AssetExecutionContext, execution: Execution, sessions: Sequence[date]) -> Report:
        session = sessions[-1]
        recorded = execution.record(name, session, permit_of(context, sessions), context.run_id)
        held = execution.holdings(name, session)
        summary = {
            "sessions": range_of(sessions),
            "source": _source(recorded, is_open=bool(execution.ledger.entries(name, session))),
            "positions": table(held.positions),
            "cash": held.cash,
            "equity": held.equity,
            "fills": table(execution.ledger.fills(name, sessions[0], session).drop("execution_id", "order_key")),
        }
        return Report(summary, checks=soundness.results(execution, sessions))

    return session_asset(
        key.path,
        record,
        Execution,
        partitions,
        group=name,
        description="What the sleeve holds at the close, and the fills of the session: those of the orders decided the session "
        "before. Positions and cash are the sum of the ledger's entries.",
        deps=[dg.AssetDep(orders_key(name), partition_mapping=SESSION_BEFORE), *collectors_of(tradebot, BARS, ACTIONS)],
        kinds={"sqlite"},
        owner="trading",
        checks=soundness.specs,
    )


def _source(recorded: bool, is_open: bool) -> str:
    if not is_open:
        return "The sleeve is not open yet: its capital is entered with its first live decisions."
    return "The engine was asked for fills." if recorded else "The ledger as it stands; no engine was asked."


def permit_of(context: dg.AssetExecutionContext, sessions: Sequence[date]) -> str | None:
    """A permit is for one session and one run: a range, a backfill and a re-execution have none, whatever tags they copied."""
    run = context.run
    if len(sessions) > 1 or {BACKFILL_ID_TAG, PARENT_RUN_ID_TAG, ROOT_RUN_ID_TAG} & run.tags.keys():
        return None
    return run.tags.get(PERMIT_TAG)
