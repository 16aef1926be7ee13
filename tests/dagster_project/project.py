"""A Tradebot seen through its Dagster definitions, run in this process."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from zoneinfo import ZoneInfo

import dagster as dg

from tests import markets
from tradebot_core.wiring import Tradebot
from tradebot_dagster.defs import definitions_of

SAMPLE = """\
mode: paper
data_store: {{path: {store}}}
first_session: 2021-01-04
collectors:
  - name: contract_details
    class_path: tradebot_core.collectors.file_securities.FileSecurities
    params: {{path: {market}/securities.csv}}
  - name: price_bars
    class_path: tradebot_core.collectors.file_bars.FileBars
    params: {{path: {market}/bars.parquet}}
  - name: corporate_actions
    class_path: tradebot_core.collectors.file_actions.FileActions
    params: {{path: {market}/actions.csv}}
  - name: fundamentals
    class_path: tradebot_core.collectors.edgar.EdgarFacts
    params: {{path: {market}/companyfacts.zip, submissions_path: {market}/submissions.zip}}
strategies:
  - name: value_investor
    class_path: tradebot_core.strategies.value_investor.ValueInvestor
    allocated_capital: 50000
"""


def new_york(day: date, hour: int, minute: int = 0) -> datetime:
    return datetime(day.year, day.month, day.day, hour, minute, tzinfo=ZoneInfo("America/New_York")).astimezone(UTC)


def on_sample_market(folder: Path, market: Path, name: str = "store") -> tuple[Path, Tradebot]:
    """A Tradebot on an empty store, with collectors of the sample market's files and the time of November 2026."""
    path = folder / f"{name}.yaml"
    path.write_text(SAMPLE.format(store=folder / name, market=market))
    bot = markets.build(markets.load_config(path), path)
    return path, markets.at(bot, new_york(date(2026, 11, 2), 9))


@dataclass
class Project:
    """The definitions of a Tradebot, with Dagster's records in a folder of their own."""

    bot: Tradebot
    instance: dg.DagsterInstance

    def run(
        self,
        *keys: str,
        first: date,
        last: date | None = None,
        tags: Mapping[str, str] | None = None,
        config: Mapping[str, object] | None = None,
    ) -> dg.ExecuteInProcessResult:
        """Materializes the assets of `keys` ("strategy/layer") over the sessions, in one run."""
        job = definitions_of(self.bot).resolve_implicit_global_asset_job_def()
        sessions = {
            "dagster/asset_partition_range_start": first.isoformat(),
            "dagster/asset_partition_range_end": (last or first).isoformat(),
        }
        return job.execute_in_process(
            dict(config or {}),
            instance=self.instance,
            asset_selection=[dg.AssetKey(key.split("/")) for key in keys],
            tags={**sessions, **(tags or {})},
            raise_on_error=False,
        )

    def metadata(self, key: str, session: date) -> Mapping[str, object]:
        """The metadata of the latest materialization of a session."""
        wanted = dg.AssetRecordsFilter(dg.AssetKey(key.split("/")), asset_partitions=[session.isoformat()])
        event = self.instance.fetch_materializations(wanted, limit=1).records[0]
        return {name: value.value for name, value in event.asset_materialization.metadata.items()}

    def at(self, now: datetime) -> "Project":
        return Project(markets.at(self.bot, now), self.instance)


@contextmanager
def project(bot: Tradebot) -> Iterator[Project]:
    with TemporaryDirectory() as folder:
        events = {"module": "tradebot_dagster.storage", "class": "BatchedSqliteEventLogStorage", "config": {"base_dir": folder}}
        with dg.instance_for_test(overrides={"event_log_storage": events}) as instance:
            yield Project(bot, instance)


def live_keys(strategy: str = "value_investor") -> Sequence[str]:
    return [f"{strategy}/{step}" for step in ("screen", "analyze", "decisions", "orders", "positions")]
