"""What happens by the clock: the live decision after each session, and the shadow backtest after it.

A schedule asks the project's clock, not Dagster's, which session is to be decided: the sample market has a time of its own.
"""

from datetime import date

import dagster as dg

from tradebot_core.config import Mode
from tradebot_core.errors import MissingData
from tradebot_core.model.tables import BOOKS
from tradebot_core.trading.live import current_session, issue_permit
from tradebot_core.wiring import BACKTEST, Sleeve, Tradebot
from tradebot_dagster.defs.jobs import DECIDE, SHADOW_BACKTEST, shadow_keys
from tradebot_dagster.defs.live import PERMIT_TAG

SHADOW_TAG = "tradebot/shadow"
_EVERY_MINUTE = "* * * * *"
_MOST_SHADOW_SESSIONS = 20  # a longer gap has no facts collected for it: that is a backtest, for a person to run


def session_schedules(tradebot: Tradebot, partitions: dg.PartitionsDefinition) -> list[dg.ScheduleDefinition]:
    if not tradebot.sleeves:
        return []
    return [_decide_schedule(tradebot, partitions), _shadow_schedule(tradebot, partitions)]


def _decide_schedule(tradebot: Tradebot, partitions: dg.PartitionsDefinition) -> dg.ScheduleDefinition:
    live = tradebot.config.mode is Mode.LIVE

    @dg.schedule(
        name="decide_after_the_close",
        job_name=DECIDE,
        cron_schedule=_EVERY_MINUTE if tradebot.config.sample_market else "0 6 * * *",
        execution_timezone="America/New_York",
        # With real money, starting it is a human act.
        default_status=dg.DefaultScheduleStatus.STOPPED if live else dg.DefaultScheduleStatus.RUNNING,
        description="Decides the last session whose cut-off has passed, once. It issues the permit without which no run can "
        "decide for an engine. A run that failed is left to a person: `tradebot run-session`.",
    )
    def decide_after_the_close(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        try:
            now = tradebot.clock.now()
        except MissingData as absent:
            return dg.SkipReason(str(absent))
        ledger, session = tradebot.store.ledger, current_session(tradebot.calendar, now)
        if not partitions.has_partition_key(session.isoformat()):
            return dg.SkipReason(f"{session} is not among the partitions, which begin on {tradebot.config.first_session}.")
        if all(ledger.live_decisions(name, session) for name in tradebot.sleeves):
            return dg.SkipReason(f"{session} is decided.")
        permit = issue_permit(ledger, tradebot.calendar, now)
        if permit is None:
            return dg.SkipReason(f"The time to submit orders of {session} has passed.")
        tags = {PERMIT_TAG: permit.permit_id}
        earlier = context.instance.get_runs(dg.RunsFilter(job_name=DECIDE, tags=tags), limit=1)
        if earlier:
            return dg.SkipReason(
                f"Run {earlier[0].run_id} of {session} is {earlier[0].status.value}. "
                "If it failed, mend the cause and decide with `tradebot run-session`."
            )
        return dg.RunRequest(partition_key=session.isoformat(), run_key=f"{DECIDE}:{session}:{permit.permit_id}", tags=tags)

    return decide_after_the_close


def _shadow_schedule(tradebot: Tradebot, partitions: dg.PartitionsDefinition) -> dg.ScheduleDefinition:
    @dg.schedule(
        name="shadow_backtest_after_decisions",
        job_name=SHADOW_BACKTEST,
        cron_schedule=_EVERY_MINUTE if tradebot.config.sample_market else "0 7 * * *",
        execution_timezone="America/New_York",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Carries each strategy's backtest on to the session it has just decided live, so that the two books can be "
        "compared. It comes after the decisions and in its own run: it can neither delay nor stop them.",
    )
    def shadow_backtest_after_decisions(context: dg.ScheduleEvaluationContext) -> list[dg.RunRequest] | dg.SkipReason:
        try:
            session = current_session(tradebot.calendar, tradebot.clock.now())
        except MissingData as absent:
            return dg.SkipReason(str(absent))
        answers = [_shadow_of(sleeve, session, tradebot, context.instance) for sleeve in tradebot.sleeves.values()]
        requests = [answer for answer in answers if isinstance(answer, dg.RunRequest)]
        return requests or dg.SkipReason(" ".join(answer for answer in answers if isinstance(answer, str)))

    return shadow_backtest_after_decisions


def _shadow_of(sleeve: Sleeve, session: date, tradebot: Tradebot, instance: dg.DagsterInstance) -> dg.RunRequest | str:
    """The run that carries a backtest on to `session`, or why there is none to make."""
    name, calendar = sleeve.name, tradebot.calendar
    if tradebot.store.ledger.live_decisions(name, session) is None:
        return f"{name} has not decided {session} live."
    walked = tradebot.store.result_sessions(BOOKS, name, BACKTEST)
    if walked and walked[-1] >= session:
        return f"The backtest of {name} has reached {session}."
    missing = calendar.sessions(calendar.next(walked[-1]), session) if walked else [session]
    if len(missing) > _MOST_SHADOW_SESSIONS:
        ended = f"The backtest of {name} ends on {walked[-1]}, {len(missing)} sessions ago."
        return f"{ended} Backtest it up to {session} to have it carried on."
    tags = {SHADOW_TAG: f"{name}:{session}"}
    if instance.get_runs(dg.RunsFilter(job_name=SHADOW_BACKTEST, tags=tags), limit=1):
        return f"The shadow backtest of {name} for {session} was started; look at its run."
    first_to_last = {
        "dagster/asset_partition_range_start": missing[0].isoformat(),
        "dagster/asset_partition_range_end": session.isoformat(),
    }
    return dg.RunRequest(run_key=f"shadow:{name}:{session}", tags=tags | first_to_last, asset_selection=shadow_keys(sleeve))
