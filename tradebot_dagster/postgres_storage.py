"""Dagster's event log in PostgreSQL, made for ranges of sessions as that in SQLite is (storage.py)."""

from collections.abc import Mapping
from typing import Any

from dagster._serdes import ConfigurableClassData
from dagster_postgres import PostgresEventLogStorage
from dagster_postgres.utils import pg_url_from_config

from tradebot_dagster.storage import Batched, hand_out_batches


class BatchedPostgresEventLogStorage(Batched, PostgresEventLogStorage):
    """For runs on several workers: SQLite is for the processes of one machine, and few of them."""

    def __init__(
        self, postgres_url: str, should_autocreate_tables: bool = True, inst_data: ConfigurableClassData | None = None
    ) -> None:
        hand_out_batches()
        super().__init__(postgres_url, should_autocreate_tables, inst_data)

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> "BatchedPostgresEventLogStorage":
        return cls(pg_url_from_config(config_value), config_value.get("should_autocreate_tables", True), inst_data)
