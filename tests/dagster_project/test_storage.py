"""The batched event log answers every question as the stock one does."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import pytest

from tradebot_dagster.storage import BatchedSqliteEventLogStorage

DAYS = dg.DailyPartitionsDefinition("2024-01-01", end_date="2024-02-10")  # 40
TAGS = {"dagster/asset_partition_range_start": "2024-01-01", "dagster/asset_partition_range_end": "2024-02-09"}
STOCK = {"module": "dagster._core.storage.event_log", "class": "SqliteEventLogStorage"}
BATCHED = {"module": "tradebot_dagster.storage", "class": "BatchedSqliteEventLogStorage"}


@dg.asset(partitions_def=DAYS, backfill_policy=dg.BackfillPolicy.single_run())
def prices(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
    for n, key in enumerate(context.partition_keys):
        context.add_asset_metadata({"equity": float(n)}, partition_key=key)
    return dg.MaterializeResult(data_version=dg.DataVersion("v1"))


@dg.asset(
    partitions_def=DAYS,
    backfill_policy=dg.BackfillPolicy.single_run(),
    deps=[prices],
    check_specs=[dg.AssetCheckSpec("sound", asset="verdicts"), dg.AssetCheckSpec("complete", asset="verdicts")],
)
def verdicts() -> dg.MaterializeResult:
    return dg.MaterializeResult(
        check_results=[
            dg.AssetCheckResult(passed=True, check_name="sound"),
            dg.AssetCheckResult(passed=False, check_name="complete", severity=dg.AssetCheckSeverity.WARN),
        ]
    )


@contextmanager
def materialized(folder: Path, storage: dict[str, str]) -> Iterator[dg.DagsterInstance]:
    overrides = {"event_log_storage": {**storage, "config": {"base_dir": str(folder / "events")}}}
    with dg.instance_for_test(overrides=overrides) as instance:
        assert dg.materialize([prices, verdicts], instance=instance, tags=TAGS).success
        yield instance


def answers(instance: dg.DagsterInstance) -> dict[str, object]:
    """What the UI asks of the event log."""
    (run,) = instance.get_runs()
    log = instance.event_log_storage
    found: dict[str, object] = {"kinds": sorted(str(entry.dagster_event_type) for entry in instance.all_logs(run.run_id))}
    for asset in ("prices", "verdicts"):
        key = dg.AssetKey(asset)
        records = instance.fetch_materializations(key, limit=100).records
        found[asset] = {
            "events": [
                (r.partition_key, sorted((n, str(m.value)) for n, m in r.asset_materialization.metadata.items()))
                for r in records
            ],
            "tags": [sorted(r.asset_materialization.tags) for r in records],
            "partitions": sorted(instance.get_materialized_partitions(key)),
            "latest": instance.get_latest_materialization_event(key).asset_materialization.partition,
            "planned": len(
                log.get_event_records(dg.EventRecordsFilter(dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED, key))
            ),
            "run": [record.asset_entry.last_run_id == run.run_id for record in instance.get_asset_records([key])],
            "known_from_records": [
                record.asset_entry.last_materialization is not None for record in instance.get_asset_records([key])
            ],
            "by_tag": len(log.get_event_tags_for_asset(key)),
        }
    return found


@pytest.fixture
def batch_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAGSTER_EVENT_BATCH_SIZE", "7")  # 40 partitions: full batches and a last one that is not


def test_batched_answers_equal_stock_answers(tmp_path: Path, batch_size: None) -> None:
    with materialized(tmp_path / "stock", STOCK) as stock, materialized(tmp_path / "batched", BATCHED) as batched:
        assert isinstance(batched.event_log_storage, BatchedSqliteEventLogStorage)
        expected = answers(stock)
        assert answers(batched) == expected
        assert len(expected["prices"]["events"]) == 40


def test_batches_are_written_together(tmp_path: Path, batch_size: None, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    write = BatchedSqliteEventLogStorage._store_together
    monkeypatch.setattr(
        BatchedSqliteEventLogStorage,
        "_store_together",
        lambda s, run, events, rows: (sizes.append(len(events)), write(s, run, events, rows)),
    )
    with materialized(tmp_path, BATCHED):
        assert sum(sizes) == 2 * 2 * 40  # planned and materialized, two assets
        assert max(sizes) == 7


def test_an_unpartitioned_check_is_planned_once_and_then_answered(tmp_path: Path) -> None:
    with materialized(tmp_path, BATCHED) as instance:
        for name, status in (("sound", "SUCCEEDED"), ("complete", "FAILED")):
            key = dg.AssetCheckKey(dg.AssetKey("verdicts"), name)
            history = instance.event_log_storage.get_asset_check_execution_history(key, limit=100)
            assert [(record.status.value, record.partition) for record in history] == [(status, None)]


def test_a_batch_that_fails_is_written_one_by_one(tmp_path: Path, batch_size: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def disk_trouble(*_: object) -> None:
        raise OSError("disk trouble")

    monkeypatch.setattr(BatchedSqliteEventLogStorage, "_store_together", disk_trouble)
    with materialized(tmp_path, BATCHED) as instance:
        assert len(instance.get_materialized_partitions(dg.AssetKey("prices"))) == 40


def test_making_the_storage_turns_batching_on_unless_it_was_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    monkeypatch.setenv("DAGSTER_EVENT_BATCH_SIZE", "50")
    BatchedSqliteEventLogStorage(str(tmp_path / "set"))
    assert os.environ["DAGSTER_EVENT_BATCH_SIZE"] == "50"
    monkeypatch.delenv("DAGSTER_EVENT_BATCH_SIZE")
    BatchedSqliteEventLogStorage(str(tmp_path / "unset"))
    assert os.environ["DAGSTER_EVENT_BATCH_SIZE"] == "1000"
