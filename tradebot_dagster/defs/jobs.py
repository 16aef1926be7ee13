"""What is run together: the live decision, its orders, backtests."""

from collections.abc import Iterable, Mapping

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from tradebot_core.wiring import Sleeve, Tradebot
from tradebot_dagster.defs.account import ACCOUNT, has_account
from tradebot_dagster.defs.backtests import backtest_key
from tradebot_dagster.defs.live import decisions_key, orders_key, positions_key
from tradebot_dagster.defs.performance import performance_key
from tradebot_dagster.defs.strategies import layer_keys
from tradebot_dagster.queues import QUEUE_TAG, TRADING_QUEUE

DECIDE = "decide"
SUBMIT_ORDERS = "submit_orders"
SHADOW_BACKTEST = "shadow_backtest"

# Where runs are executed by Celery workers (docs/scale-out.md), those that read or write the ledger have a queue and a worker of their own,
# and everywhere they come before backtests that wait.
AT_THE_DESK = {QUEUE_TAG: TRADING_QUEUE, "dagster/priority": "1"}


def backtest_job_name(strategy: str) -> str:
    return f"backtest_{strategy}"


def shadow_keys(sleeve: Sleeve) -> list[dg.AssetKey]:
    return [*layer_keys(sleeve), backtest_key(sleeve), performance_key(sleeve)]


def session_jobs(tradebot: Tradebot, partitions: dg.PartitionsDefinition) -> list[UnresolvedAssetJobDefinition]:
    sleeves = tradebot.sleeves.values()
    facts = [dg.AssetKey(name) for name in tradebot.collectors]

    def job(
        name: str, keys: Iterable[dg.AssetKey], description: str, tags: Mapping[str, str] | None = None
    ) -> UnresolvedAssetJobDefinition:
        selection = dg.AssetSelection.assets(*keys)
        return dg.define_asset_job(name, selection, partitions_def=partitions, description=description, tags=tags)

    live = [key for s in sleeves for key in (*layer_keys(s), decisions_key(s.name), positions_key(s.name))]
    if has_account(tradebot):
        live.append(ACCOUNT)
    backtests = [
        job(
            backtest_job_name(s.name),
            [*facts, *shadow_keys(s)],
            f"{s.name} over a range of sessions, from facts to figures, in one run. Choose the sessions with Materialize "
            "(“Show all partitions” for the old ones).",
        )
        for s in sleeves
    ]
    if not sleeves:
        return []
    return [
        job(
            DECIDE,
            [*facts, *live],
            "After the close: collect the session's facts, run the layers, decide, record fills.",
            AT_THE_DESK,
        ),
        job(
            SUBMIT_ORDERS,
            [orders_key(s.name) for s in sleeves],
            "Before the open: send the orders of the live decisions.",
            AT_THE_DESK,
        ),
        job(
            SHADOW_BACKTEST,
            [key for s in sleeves for key in shadow_keys(s)],
            "Carries each backtest on to the session just decided, beside the live book.",
        ),
        *backtests,
    ]
