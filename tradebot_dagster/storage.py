"""Dagster's event log in SQLite, made for ranges of sessions (and what postgres_storage.py shares with it).

Dagster keeps two events for each asset and partition. Its own storage opens, commits and closes two databases for each of
them, some 20 ms; a backtest of twenty years would spend twelve minutes on it. Written together they cost half a millisecond.
And for each check it plans one row for each partition with the whole range in every one, 25 KB a row already at three years,
although a check that is not partitioned answers once: here it is planned once.
"""

import os
from collections.abc import Mapping, Sequence
from typing import Any

from dagster import DagsterEventType
from dagster._core.definitions.asset_checks.asset_check_evaluation import AssetCheckEvaluationPlanned
from dagster._core.events import ASSET_EVENTS
from dagster._core.events.log import EventLogEntry
from dagster._core.storage.event_log.schema import SqlEventLogStorageTable
from dagster._core.storage.event_log.sql_event_log import SqlEventLogStorage
from dagster._core.storage.event_log.sqlite.sqlite_event_log import SqliteEventLogStorage
from dagster._serdes import ConfigurableClassData

_EVENTS_AT_ONCE = "1000"


class Batched(SqlEventLogStorage):
    """A stock storage, except that the asset events of a batch are written together, and checks are planned once.

    Should a batch fail, Dagster writes its events again one by one.
    """

    def store_event(self, event: EventLogEntry) -> None:
        super().store_event(_planned_once(event))

    def store_event_batch(self, events: Sequence[EventLogEntry]) -> None:
        of_assets = [event for event in events if _is_of_asset(event)]
        for run_id in dict.fromkeys(event.run_id for event in of_assets):
            of_run = [event for event in of_assets if event.run_id == run_id]
            self._store_together(run_id, of_run, [self._event_to_row(event) for event in of_run])
        for event in events:
            if not _is_of_asset(event):
                self.store_event(event)

    def _store_together(self, run_id: str, events: Sequence[EventLogEntry], rows: Sequence[Mapping[str, Any]]) -> None:
        """`rows` of the events of one run."""
        numbered = SqlEventLogStorageTable.insert().returning(SqlEventLogStorageTable.c.id, sort_by_parameter_order=True)
        with self.index_transaction() as connection:
            ids = connection.execute(numbered, rows).scalars().all()
            self._store_asset_event_tags(connection, events, ids)
            # The table of assets holds the last event of each kind only.
            last = {(event.get_dagster_event().asset_key, event.dagster_event_type): n for n, event in enumerate(events)}
            for n in sorted(last.values()):
                self._store_asset_event(connection, events[n], ids[n])


class BatchedSqliteEventLogStorage(Batched, SqliteEventLogStorage):
    """A batch is one transaction in each of the two databases: the run's own, and the index of all."""

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        hand_out_batches()
        super().__init__(base_dir, inst_data)

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> "BatchedSqliteEventLogStorage":
        return cls(inst_data=inst_data, **config_value)

    def _store_together(self, run_id: str, events: Sequence[EventLogEntry], rows: Sequence[Mapping[str, Any]]) -> None:
        with self.run_connection(run_id) as connection:
            connection.execute(SqlEventLogStorageTable.insert(), rows)
        super()._store_together(run_id, events, rows)


def hand_out_batches() -> None:
    """Dagster does so only where it is told to, in every process that writes events."""
    os.environ.setdefault("DAGSTER_EVENT_BATCH_SIZE", _EVENTS_AT_ONCE)


def _is_of_asset(event: EventLogEntry) -> bool:
    return (
        event.is_dagster_event and event.dagster_event_type in ASSET_EVENTS and event.get_dagster_event().asset_key is not None
    )


def _planned_once(event: EventLogEntry) -> EventLogEntry:
    """The plan of a check for its run as a whole. No check of this project is partitioned."""
    if not event.is_dagster_event or event.dagster_event_type is not DagsterEventType.ASSET_CHECK_EVALUATION_PLANNED:
        return event
    planned = event.get_dagster_event().asset_check_planned_data
    whole = AssetCheckEvaluationPlanned(asset_key=planned.asset_key, check_name=planned.check_name)
    return event._replace(dagster_event=event.get_dagster_event()._replace(event_specific_data=whole))
