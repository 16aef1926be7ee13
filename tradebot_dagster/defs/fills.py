"""What happens after the open: the engine is asked about the orders that were sent.

It is asked the same day, for a broker shows executions only until midnight. Asking sends nothing, so it needs no permit.
"""

import dagster as dg

from tradebot_core.errors import MissingData
from tradebot_core.wiring import Tradebot
from tradebot_dagster.defs.jobs import AT_THE_DESK
from tradebot_dagster.resources import Execution

RECORD_FILLS = "record_fills"


@dg.op(pool="broker", description="Asks the engine about every order whose open has passed, and enters fills and final states.")
def ask_for_fills(context: dg.OpExecutionContext, execution: dg.ResourceParam[Execution]) -> None:
    for strategy, fills in execution.record_fills().items():
        context.log.info(f"{strategy}: {fills} orders reached a final state")


@dg.job(name=RECORD_FILLS, tags=AT_THE_DESK, description="After the open: asks the engine for fills. It sends nothing.")
def record_fills() -> None:
    ask_for_fills()


def fills_sensor(tradebot: Tradebot) -> dg.SensorDefinition:
    sample = tradebot.config.sample_market is not None

    @dg.sensor(
        name="record_fills_after_the_open",
        job_name=RECORD_FILLS,
        minimum_interval_seconds=5 if sample else 60,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="While orders whose open has passed have no final state, or a fill of the day has no commission, has the engine "
        "asked about them once an hour.",
    )
    def record_fills_after_the_open(context: dg.SensorEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        try:
            now = tradebot.clock.now()
        except MissingData as absent:
            return dg.SkipReason(str(absent))
        desk = tradebot.desk
        due = {
            name: len(desk.orders_past_their_open(name, now)) + len(desk.orders_without_commission(name, now))
            for name in tradebot.sleeves
        }
        if not any(due.values()):
            return dg.SkipReason("No order waits for its fill.")
        waiting = ", ".join(f"{orders} of {name}" for name, orders in due.items() if orders)
        context.log.info(f"Orders without a final state, or without their commission: {waiting}")
        return dg.RunRequest(run_key=f"{RECORD_FILLS}:{now:%Y-%m-%dT%H}")

    return record_fills_after_the_open
