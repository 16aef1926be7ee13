"""Dagster's own records for one configuration, and backtests run in this process on them."""

from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg

from tradebot_core.config import Config, load_config
from tradebot_core.errors import TradebotError
from tradebot_core.trading.report import Report
from tradebot_dagster.defs import definitions_of
from tradebot_dagster.defs.jobs import backtest_job_name
from tradebot_dagster.defs.sensors import why_failed
from tradebot_dagster.home import dagster_home
from tradebot_dagster.resources import Research, tradebot_of


def instance(config: Config) -> dg.DagsterInstance:
    """To be closed by the caller (`with`)."""
    return dg.DagsterInstance.from_config(str(dagster_home(config)))


@dataclass(frozen=True)
class Done:
    """`report` is that of the run; a run of one session makes none."""

    run_id: str
    report: Report | None


def run_backtest_in_process(config_path: Path, strategy: str, start: date, end: date, restart: bool = True) -> Done:
    """Collects, screens, backtests and sums up in one run over the sessions from `start` to `end`.

    Raises UsageError when there is no such strategy or session, TradebotError with the failing step's words when it fails.
    """
    tradebot = tradebot_of(config_path)
    tradebot.sleeve(strategy)
    sessions = tradebot.calendar.sessions(start, end)
    research = Research(tradebot)
    job = definitions_of(tradebot, research).resolve_job_def(backtest_job_name(strategy))
    settings: dict[str, Any] = {
        "ops": {f"{strategy}__backtest": {"config": {"restart": restart}}},
        "loggers": {
            "console": {"config": {"log_level": "CRITICAL"}}
        },  # what failed is raised, in our words; the rest is in the run
    }
    tags = {
        "dagster/asset_partition_range_start": sessions[0].isoformat(),
        "dagster/asset_partition_range_end": sessions[-1].isoformat(),
    }
    with instance(load_config(config_path)) as records:
        result = job.execute_in_process(settings, instance=records, tags=tags, raise_on_error=False)
        if not result.success:
            failures = [event for event in result.all_events if event.is_step_failure]
            said, mend = f"The backtest of {strategy} failed. {why_failed(failures)}", f"Its run is {result.run_id}."
            if found := _blocking_findings(result):
                said = "\n".join([said, *found])
                mend += " `tradebot export quarantine --format csv -o -` lists what was refused of the data."
            raise TradebotError(said, mend)
        return Done(result.run_id, research.reports.get(strategy))


def _blocking_findings(result: dg.ExecuteInProcessResult) -> list[str]:
    """What each blocking check that failed found: Dagster's own words name the check alone."""
    judged = [event for event in result.all_events if event.event_type == dg.DagsterEventType.ASSET_CHECK_EVALUATION]
    evaluations = [event.asset_check_evaluation_data for event in judged]
    return [f"  {each.check_name}: {each.description}" for each in evaluations if each.blocking and not each.passed]
