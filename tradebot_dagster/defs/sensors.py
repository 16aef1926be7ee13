"""What happens on an event: live decisions are submitted, failures are told.

The order sensor keeps no cursor and looks at no materialization: a backfill or re-execution makes those as well. It asks the
ledger one question, whether the current session's decisions were sealed live and not yet planned.
"""

import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time
from pathlib import Path

import dagster as dg

from tradebot_core.calendar import NEW_YORK
from tradebot_core.clock import SystemClock
from tradebot_core.errors import MissingData
from tradebot_core.interfaces import Ledger, Purpose
from tradebot_core.model.order import OrderState
from tradebot_core.trading.live import current_session, issue_permit, submit_deadline
from tradebot_core.wiring import Tradebot
from tradebot_dagster.defs.jobs import SUBMIT_ORDERS
from tradebot_dagster.defs.live import PERMIT_TAG, orders_key

ORDERS_TAG = "tradebot/orders"  # strategy and session: by it the runs that were asked for before are found
_FIRST_WAIT_S, _LONGEST_WAIT_S = 60.0, 900.0
_MOST_RUNS = 12  # of one strategy in a session: with the waits between, the time until the open
_SUBMIT_FROM = time(8, 0)  # New York, on the day of the open: the evening before is left for a look at the decisions


def order_sensor(tradebot: Tradebot, partitions: dg.PartitionsDefinition) -> dg.SensorDefinition:
    sample = tradebot.config.sample_market is not None

    @dg.sensor(
        name="submit_live_decisions",
        job_name=SUBMIT_ORDERS,
        minimum_interval_seconds=5,
        # Arming it is a human act; on the sample market there is nothing to lose.
        default_status=dg.DefaultSensorStatus.RUNNING if sample else dg.DefaultSensorStatus.STOPPED,
        description="Requests the order run for live decisions of the current session, from 08:00 New York until five minutes "
        "before the open. Decisions made by backfills, re-executions and launches by hand are not live. While this sensor is "
        "stopped, only `tradebot run-session` sends: it is this sensor that issues the permit to submit.",
    )
    def submit_live_decisions(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        try:
            now = tradebot.clock.now()
        except MissingData as absent:
            return dg.SkipReason(str(absent))
        session, ledger = current_session(tradebot.calendar, now), tradebot.store.ledger
        closed = _why_closed(tradebot, partitions, session, now)
        if closed:
            return dg.SkipReason(closed)
        sealed = {name: ledger.live_decisions(name, session) for name in tradebot.sleeves}
        waiting = {name: of.digest for name, of in sealed.items() if of is not None and _unsent(ledger, name, session)}
        if not waiting:
            undecided = ", ".join(name for name, decisions in sealed.items() if decisions is None)
            return dg.SkipReason(
                f"No live decisions of {session} by {undecided}." if undecided else f"Orders of {session} are planned and sent."
            )
        runs = {name: _runs(context.instance, name, session) for name in tradebot.sleeves}
        due = [name for name in waiting if not runs[name]]
        again = not due
        if again:  # only when no run is at it: the new permit replaces the one that it holds
            why_wait = {name: _why_wait(name, runs) for name in waiting}
            due = [name for name, why in why_wait.items() if not why]
            if not due:
                return dg.SkipReason(" ".join(sorted(set(why_wait.values()))))
        permit = issue_permit(ledger, tradebot.calendar, now, Purpose.SUBMIT, renew=again)
        assert permit is not None  # the deadline is ahead
        return dg.SensorResult(
            run_requests=[
                dg.RunRequest(
                    run_key=f"{name}:{session}:{waiting[name]}:{len(runs[name])}",
                    partition_key=session.isoformat(),
                    asset_selection=[orders_key(name)],
                    tags={PERMIT_TAG: permit.permit_id, ORDERS_TAG: f"{name}:{session}"},
                )
                for name in due
            ]
        )

    return submit_live_decisions


def _unsent(ledger: Ledger, strategy: str, session: date) -> bool:
    """Whether orders of the session's decisions still have to go out, or nobody knows whether they did."""
    on_their_way = (OrderState.NEW, OrderState.SENDING, OrderState.UNKNOWN)
    return not ledger.is_planned(strategy, session) or any(
        intent.session == session and state in on_their_way for intent, state in ledger.open_orders(strategy)
    )


def _runs(instance: dg.DagsterInstance, strategy: str, session: date) -> Sequence[dg.RunRecord]:
    return instance.get_run_records(dg.RunsFilter(job_name=SUBMIT_ORDERS, tags={ORDERS_TAG: f"{strategy}:{session}"}))


def _why_wait(strategy: str, runs: Mapping[str, Sequence[dg.RunRecord]]) -> str:
    """Why no further run is asked for now; empty when one is. Each comes later than the one before: a gateway that restarts needs
    minutes. Dagster's own retries would come at once, and with a permit that is used."""
    at_it = [run.dagster_run.run_id for of_one in runs.values() for run in of_one if not run.dagster_run.is_finished]
    if at_it:
        return f"Run {at_it[0]} submits orders."
    earlier = runs[strategy]
    if len(earlier) >= _MOST_RUNS:
        return f"{len(earlier)} runs could not submit every order of {strategy}. Mend the cause, then `tradebot run-session`."
    wait = min(_FIRST_WAIT_S * 2 ** (len(earlier) - 1), _LONGEST_WAIT_S)
    left = max(run.end_time or 0.0 for run in earlier) + wait - SystemClock().now().timestamp()
    return f"Orders of {strategy} are left to submit; the next run comes in {left:.0f} s." if left > 0 else ""


def _why_closed(tradebot: Tradebot, partitions: dg.PartitionsDefinition, session: date, now: datetime) -> str:
    """Why no orders of the session may be submitted now; empty when they may."""
    deadline, opens_on = submit_deadline(tradebot.calendar, session), tradebot.calendar.next(session)
    halt = tradebot.store.ledger.halted()
    if now >= deadline:
        return f"The time to submit orders of {session} ended at {deadline:%Y-%m-%d %H:%M} UTC."
    if tradebot.config.sample_market is None and now < datetime.combine(opens_on, _SUBMIT_FROM, NEW_YORK):
        return f"Orders of {session} are submitted from {_SUBMIT_FROM:%H:%M} New York on {opens_on}."
    if halt is not None:
        return f"Trading is halted: {halt}. `tradebot resume` ends the halt."
    not_armed = tradebot.arming.why_not(now)
    if not_armed:  # no run is asked for that would use up one of its few attempts
        return f"{not_armed} Until then nothing is sent."
    if not partitions.has_partition_key(session.isoformat()):
        return f"{session} is not among the partitions, which begin on {tradebot.config.first_session}."
    return ""


def failure_sensor(alerts: Path) -> dg.SensorDefinition:
    """Appends a line to `alerts` for each run that failed."""

    @dg.run_failure_sensor(
        name="tell_of_failures",
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"Writes a line to {alerts} for every failed run: what, which session, why.",
    )
    def tell_of_failures(context: dg.RunFailureSensorContext) -> None:
        run = context.dagster_run
        record = context.instance.get_run_record_by_id(run.run_id)
        ended = datetime.fromtimestamp(record.end_time, UTC) if record and record.end_time else None
        line = {
            "at": ended.isoformat(timespec="seconds") if ended else None,
            "job": run.job_name,
            "run_id": run.run_id,
            "session": run.tags.get("dagster/partition") or run.tags.get("dagster/asset_partition_range_end"),
            "failed": [event.step_key for event in context.get_step_failure_events()],
            "why": why_failed(context.get_step_failure_events()) or context.failure_event.message,
        }
        alerts.parent.mkdir(parents=True, exist_ok=True)
        with alerts.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    return tell_of_failures


def why_failed(failures: list[dg.DagsterEvent]) -> str:
    """What the failed steps said themselves, without Dagster's words around it."""
    reasons = []
    for failure in failures:
        error = failure.step_failure_data.error
        while error is not None and error.cause is not None:
            error = error.cause
        said = re.sub(rf"^([\w.]+\.)?{error.cls_name}: ", "", error.message.strip()) if error else failure.message
        reasons.append(f"{failure.step_key}: {said}")
    return "\n".join(reasons)
