"""What all assets of the project have in common: sessions as partitions, ranges in one run, and how they report."""

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import dagster as dg
import polars as pl
from dagster._core.execution.context.metadata_logging import AssetMetadataHandle, OutputMetadataAccumulator

from tradebot_core.calendar import TradingCalendar
from tradebot_dagster.resources import Execution, Research

BROKER_POOL = "broker"  # one run at a time stands at the desk
_ROWS_SHOWN = 50


@dataclass(frozen=True)
class Report:
    """What an asset has to say for itself.

    `summary` is about the whole range, `sessions` holds a few numbers of each session, for Dagster to plot.
    """

    summary: Mapping[str, Any]
    sessions: Mapping[date, Mapping[str, float | int]] = field(default_factory=dict)
    checks: Sequence[dg.AssetCheckResult] = ()


Work = Callable[[dg.AssetExecutionContext, Any, Sequence[date]], Report]


def session_asset(
    key: Sequence[str],
    work: Work,
    resource: type[Research] | type[Execution],
    partitions: dg.PartitionsDefinition,
    *,
    group: str,
    description: str,
    deps: Iterable[dg.AssetDep | dg.AssetKey],
    kinds: set[str],
    owner: str,
    checks: Sequence[dg.AssetCheckSpec] = (),
    config: type[dg.Config] | None = None,
    code_version: str | None = None,
) -> dg.AssetsDefinition:
    """An asset that does `work` for all sessions of a run at once."""
    name = resource.__name__.lower()

    @dg.asset(
        key=dg.AssetKey(key),
        partitions_def=partitions,
        backfill_policy=dg.BackfillPolicy.single_run(),
        required_resource_keys={name},
        group_name=group,
        description=description,
        deps=list(deps),
        kinds=kinds,
        owners=[f"team:{owner}"],
        check_specs=checks,
        config_schema=config.to_config_schema() if config else None,
        code_version=code_version,
        pool=BROKER_POOL if resource is Execution else None,
    )
    def asset(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        given = getattr(context.resources, name)
        report = work(context, given, sessions_of(context, given.calendar))
        _attach(context, report)
        return dg.MaterializeResult(check_results=report.checks)

    return asset


def session_assets(
    name: str,
    specs: Sequence[dg.AssetSpec],
    work: Callable[[dg.AssetExecutionContext, Research, Sequence[date], Sequence[dg.AssetKey]], Mapping[dg.AssetKey, Report]],
    partitions: dg.PartitionsDefinition,
    checks: Sequence[dg.AssetCheckSpec] = (),
) -> dg.AssetsDefinition:
    """Assets of which any are made together: `work` makes those that a run asks for, for all its sessions at once, in one step. It may
    leave out some, which count as not made. Only research is done so: at the desk stands one asset at a time (session_asset)."""

    @dg.multi_asset(
        name=name,
        specs=specs,
        check_specs=checks,
        partitions_def=partitions,
        backfill_policy=dg.BackfillPolicy.single_run(),
        required_resource_keys={"research"},
        can_subset=True,
    )
    def assets(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult]:
        given = context.resources.research
        wanted = [spec.key for spec in specs if spec.key in context.selected_asset_keys]
        reports = work(context, given, sessions_of(context, given.calendar), wanted)
        for key in (key for key in wanted if key in reports):
            _attach(context, reports[key], key)
            asked = {check.name for check in context.selected_asset_check_keys if check.asset_key == key}
            results = [result for result in reports[key].checks if result.check_name in asked]
            yield dg.MaterializeResult(asset_key=key, check_results=results)

    return assets


def sessions_of(context: dg.AssetExecutionContext, calendar: TradingCalendar) -> Sequence[date]:
    """The sessions this run is about, ascending."""
    wanted = context.partition_key_range
    return calendar.sessions(date.fromisoformat(wanted.start), date.fromisoformat(wanted.end))


def _attach(context: dg.AssetExecutionContext, report: Report, key: dg.AssetKey | None = None) -> None:
    """The summary goes to the last session only: Dagster would copy it, pictures and all, into the events of every one.

    What `add_asset_metadata` does for one session is done here for all of them: it makes the list of the run's partitions and a copy of
    what it was given before at each call, nine seconds of CPU for three assets and twenty years.
    """
    last = context.partition_key_range.end
    step = context.op_execution_context.get_step_execution_context()
    given = {session.isoformat(): dict(numbers) for session, numbers in report.sessions.items()}
    given[last] = {**given.get(last, {}), **report.summary}
    of = key or context.asset_key
    attached = {AssetMetadataHandle(asset_key=of, partition_key=session): values for session, values in given.items()}
    before = step._metadata_accumulator.per_output_metadata
    step._metadata_accumulator = OutputMetadataAccumulator(per_output_metadata={**before, **attached})


def table(rows: pl.DataFrame) -> dg.MetadataValue:
    """The first rows as a table of the UI."""
    plain = rows.head(_ROWS_SHOWN).with_columns(
        pl.selectors.temporal().cast(pl.String), pl.selectors.float().round(4), pl.selectors.decimal().cast(pl.String)
    )
    columns = [dg.TableColumn(name, str(kind).lower()) for name, kind in plain.schema.items()]
    return dg.MetadataValue.table([dg.TableRecord(row) for row in plain.iter_rows(named=True)], dg.TableSchema(columns))


def range_of(sessions: Sequence[date]) -> str:
    return str(sessions[0]) if len(sessions) == 1 else f"{sessions[0]} to {sessions[-1]} ({len(sessions)} sessions)"


def text_of(described: type) -> str:
    """The docstring as the text of the UI."""
    return inspect.getdoc(described) or ""
