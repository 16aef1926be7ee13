"""The batched event log in PostgreSQL answers every question as the stock one in SQLite does."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import pytest

from tests.dagster_project.test_storage import STOCK, TAGS, answers, materialized, prices, verdicts
from tests.scale_out.servers import new_database
from tradebot_dagster.postgres_storage import BatchedPostgresEventLogStorage


@pytest.fixture
def database(postgres: str, request: pytest.FixtureRequest) -> str:
    return new_database(postgres, f"events_{request.node.name[:40]}")


@contextmanager
def in_postgres(url: str) -> Iterator[dg.DagsterInstance]:
    block = {
        "module": "tradebot_dagster.postgres_storage",
        "class": "BatchedPostgresEventLogStorage",
        "config": {"postgres_url": url},
    }
    with dg.instance_for_test(overrides={"event_log_storage": block}) as instance:
        assert dg.materialize([prices, verdicts], instance=instance, tags=TAGS).success
        yield instance


def test_batched_answers_equal_stock_answers(tmp_path: Path, database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAGSTER_EVENT_BATCH_SIZE", "7")
    sizes = []
    write = BatchedPostgresEventLogStorage._store_together
    monkeypatch.setattr(
        BatchedPostgresEventLogStorage,
        "_store_together",
        lambda storage, run, events, rows: (sizes.append(len(events)), write(storage, run, events, rows)),
    )
    with materialized(tmp_path / "stock", STOCK) as stock, in_postgres(database) as batched:
        assert isinstance(batched.event_log_storage, BatchedPostgresEventLogStorage)
        assert answers(batched) == answers(stock)
    assert sum(sizes) == 2 * 2 * 40 and max(sizes) == 7  # planned and materialized, two assets


def test_an_unpartitioned_check_is_planned_once_and_then_answered(database: str) -> None:
    with in_postgres(database) as instance:
        for name, status in (("sound", "SUCCEEDED"), ("complete", "FAILED")):
            key = dg.AssetCheckKey(dg.AssetKey("verdicts"), name)
            history = instance.event_log_storage.get_asset_check_execution_history(key, limit=100)
            assert [(record.status.value, record.partition) for record in history] == [(status, None)]
