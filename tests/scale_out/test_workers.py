"""Backfills and sweeps by two Celery workers, with a real broker and a real database, leave what one process leaves."""

import json
from collections.abc import Iterator
from datetime import date

import dagster as dg
import pytest
from click.testing import CliRunner

from tests.scale_out.cluster import Cluster, cluster, wait_until
from tests.scale_out.conftest import Twins
from tests.scale_out.servers import new_database
from tradebot_core.errors import ExecutionError
from tradebot_core.wiring import Tradebot
from tradebot_dagster.cli import main
from tradebot_dagster.defs.fills import RECORD_FILLS
from tradebot_dagster.defs.jobs import shadow_keys
from tradebot_dagster.defs.sweeps import SWEEP, settings_of_parts

STRATEGIES = ("value_investor", "quality_growth")
FIRST, LAST = date(2024, 5, 14), date(2024, 5, 24)
LONG = (date(2023, 5, 15), date(2024, 5, 24))  # of the run that is killed
SWEPT = ("--start", FIRST, "--end", LAST, "--param", "max_positions=2,3", "--param", "min_return_on_capital=0.1,0.2")


@pytest.fixture(scope="module")
def facts_from() -> tuple[date, date]:
    return LONG


@pytest.fixture(scope="module")
def running(twins: Twins, postgres: str, broker: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("TRADEBOT_DAGSTER_POSTGRES", new_database(postgres, "workers"))
        environment.setenv("TRADEBOT_CELERY_BROKER", broker)
        environment.setenv("TRADEBOT_CONFIG", str(twins.there.config_path))
        with cluster(twins.there.config_path, twins.there.config, tmp_path_factory.mktemp("logs")) as made:
            yield made


def results_of(bot: Tradebot, *strategies: str) -> dict[str, bytes]:
    results = bot.config.data_store.path / "results"
    files = (path for path in sorted(results.rglob("*")) if path.is_file())
    found = {str(path.relative_to(results)): path.read_bytes() for path in files}
    return {name: content for name, content in found.items() if name.partition("/")[0] in strategies}


def command(bot: Tradebot, *arguments: object) -> dict:
    ended = CliRunner().invoke(main, [*map(str, arguments), "--json", "--config", str(bot.config_path)])
    assert ended.exit_code == 0, ended.output
    return json.loads(ended.stdout)


def test_backfills_of_two_strategies_are_done_by_both_workers_to_the_byte(twins: Twins, running: Cluster) -> None:
    sessions = twins.here.calendar.sessions(FIRST, LAST)
    keys = {name: [list(key.path) for key in shadow_keys(twins.there.sleeve(name))] for name in STRATEGIES}
    titled = [running.server.launch_backfill(keys[name], [f"{day}" for day in sessions], name) for name in STRATEGIES]
    for name in STRATEGIES:
        for layer in twins.here.sleeve(name).strategy.layers():
            twins.here.markets.run_layer(twins.here.sleeve(name).strategy, layer.name, sessions)
        twins.here.backtest(name, sessions)
    for backfill in titled:
        running.server.wait_for_backfill(backfill, 300)
    found = results_of(twins.there, *STRATEGIES)
    assert "value_investor/backtest/books/2024.parquet" in found
    assert found == results_of(twins.here, *STRATEGIES)
    assert {running.executed_by(run.run_id) for run in running.records.get_runs()} == {"one", "two"}
    kept = running.records.get_materialized_partitions(dg.AssetKey(["value_investor", "backtest"]))
    assert set(kept) == {f"{day}" for day in sessions}


def test_a_sweep_in_two_runs_is_the_sweep_in_one_process(twins: Twins, running: Cluster) -> None:
    here = command(twins.here, "sweep", "value_investor", *SWEPT)
    before = {run.run_id for run in running.records.get_runs()}
    there = command(twins.there, "sweep", "value_investor", *SWEPT, "--remote", "--url", running.server.url)
    assert there == here and len(there["variants"]) == 7
    names = [f"value_investor@{row['variant']}" for row in there["variants"]]
    found = results_of(twins.there, *names)
    assert len({name.partition("/")[0] for name in found}) == 7
    assert found == results_of(twins.here, *names)
    recorded, expected = (
        sorted((run.strategy, run.trial, run.counts, run.returns, run.data_version) for run in bot.store.trials.runs())
        for bot in (twins.there, twins.here)
    )
    assert recorded == expected
    runs = [run for run in running.records.get_runs() if run.run_id not in before]
    assert [run.job_name for run in runs] == [SWEEP] * 3
    assert {running.executed_by(run.run_id) for run in runs[:2]} == {"one", "two"}


def test_what_stands_at_the_trading_desk_is_executed_by_the_worker_beside_the_ledger(running: Cluster) -> None:
    run = running.server.launch_run(RECORD_FILLS, {})
    running.server.wait_for_runs([run], 180)
    assert running.executed_by(run) == "desk"


def test_a_run_whose_worker_is_killed_fails_leaves_no_half_book_and_can_be_run_again(twins: Twins, running: Cluster) -> None:
    """The last one: a worker is gone afterwards."""
    sessions = twins.here.calendar.sessions(*LONG)
    names = ["quality_growth@as_is", "quality_growth@max_positions=2"]
    _, (only,) = settings_of_parts(names, sessions, 1)
    run = running.server.launch_run(SWEEP, only.run_config)
    at_work = twins.there.config.data_store.path / "results" / names[0]
    wait_until(at_work.exists, "work of the run")  # its first layer is being stored
    running.workers[running.being_executed_by(run)].kill()
    with pytest.raises(ExecutionError, match=f"run {run} ended as FAILURE"):
        running.server.wait_for_runs([run], 180)
    told = [entry.message for entry in running.records.all_logs(run, of_type=dg.DagsterEventType.RUN_FAILURE)]
    assert any("was killed, or cannot be reached" in message for message in told)
    assert not any(twins.there.backtest_sessions(name) for name in names)

    again = running.server.launch_run(SWEEP, only.run_config)
    twins.here.sweep(names, sessions)
    running.server.wait_for_runs([again], 300)
    assert results_of(twins.there, *names) == results_of(twins.here, *names)
