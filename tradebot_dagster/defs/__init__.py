"""The project's definitions, by part of the day."""

import dagster as dg

from tradebot_core.wiring import Tradebot
from tradebot_dagster.defs.account import account_assets
from tradebot_dagster.defs.backtests import backtest_assets
from tradebot_dagster.defs.collect import collector_assets
from tradebot_dagster.defs.fills import fills_sensor, record_fills
from tradebot_dagster.defs.jobs import session_jobs
from tradebot_dagster.defs.live import live_assets
from tradebot_dagster.defs.schedules import session_schedules
from tradebot_dagster.defs.sensors import failure_sensor, order_sensor
from tradebot_dagster.defs.strategies import layer_assets
from tradebot_dagster.defs.sweeps import sweep
from tradebot_dagster.defs.variants import variants_asset
from tradebot_dagster.partitions import session_partitions
from tradebot_dagster.resources import Execution, Research


def definitions_of(tradebot: Tradebot, research: Research | None = None) -> dg.Definitions:
    """Everything Dagster shows and runs for one configuration. Nothing here is edited for a new strategy or collector."""
    partitions = session_partitions(tradebot.calendar, tradebot.config.first_session)
    assets = collector_assets(tradebot, partitions)
    for sleeve in tradebot.sleeves.values():
        for assets_of in (layer_assets, live_assets, backtest_assets):
            assets += assets_of(sleeve, tradebot, partitions)
        assets.append(variants_asset(sleeve))
    assets += account_assets(tradebot, partitions)
    sensors = [failure_sensor(tradebot.config.data_store.path / "alerts.jsonl")]
    if tradebot.sleeves:
        sensors.append(order_sensor(tradebot, partitions))
    if tradebot.sleeves and tradebot.config.ibkr is not None:  # the simulated engine learns the open with the session's bars
        sensors.append(fills_sensor(tradebot))
    return dg.Definitions(
        assets=assets,
        jobs=[*session_jobs(tradebot, partitions), record_fills, sweep],
        schedules=session_schedules(tradebot, partitions),
        sensors=sensors,
        resources={"research": research or Research(tradebot), "execution": Execution(tradebot)},
        # A process for each step would cost two seconds each and save nothing: the steps of a run follow one another.
        executor=dg.in_process_executor,
    )
