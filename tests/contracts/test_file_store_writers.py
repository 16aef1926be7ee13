"""Several processes write to one store: nothing is lost, nothing is read half, and nobody waits for ever."""

import multiprocessing
import os
import random
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from tests.contracts.test_store_contract import FOREVER, INGESTED, bar
from tests.core.test_trials import run_of
from tests.markets import SESSIONS, XNYS
from tradebot_core.interfaces import Batch, Rejected
from tradebot_core.model.tables import BARS, EQUITY, LAYERS
from tradebot_core.stores.file_store import FileStore

SPAWN = multiprocessing.get_context("spawn")
PATIENCE_S = 60
WRITERS = 2


def at_once(work: Callable[..., None], *arguments: Sequence[Any]) -> None:
    """`work` in a process for each of `arguments`; all begin together and have to end well."""
    start = SPAWN.Barrier(len(arguments))
    processes = [SPAWN.Process(target=_work, args=(start, work, each)) for each in arguments]
    for process in processes:
        process.start()
    for process in processes:
        process.join(PATIENCE_S)
    left = [process for process in processes if process.is_alive()]
    for process in left:
        process.kill()
    assert not left, "they wait for each other"
    assert [process.exitcode for process in processes] == [0] * len(processes)


def _work(start: Any, work: Callable[..., None], arguments: Sequence[Any]) -> None:
    start.wait(PATIENCE_S)
    work(*arguments)


def store_in(folder: Path) -> FileStore:
    return FileStore(folder, XNYS)


def equity(sessions: Sequence[Any], value: int) -> pl.DataFrame:
    """A row a session, all of one value."""
    rows = pl.DataFrame({"session": list(sessions)}, schema={"session": pl.Date})
    values = {name: pl.lit(value).cast(kind) for name, kind in EQUITY.schema.items() if name != "session"}
    return rows.with_columns(**values).select(EQUITY.schema.names())


# Facts


def _append_bars(folder: Path, writer: int) -> None:
    for n, session in enumerate(SESSIONS[:12]):
        rows = [bar(security, session) for security in (writer, 99)]  # one of its own, and one that all deliver
        frame = pl.DataFrame(rows, schema={**BARS.columns, "known_at": BARS.schema["known_at"]})
        refused = [Rejected({"writer": writer, "n": n}, "some_rule", "why")]
        store_in(folder).append(Batch(BARS, frame, f"source {writer}", rejected=refused), INGESTED)


def test_facts_appended_to_one_table_by_several_processes_are_all_there_once(tmp_path):
    at_once(_append_bars, *((tmp_path, writer) for writer in range(WRITERS)))
    store = store_in(tmp_path)
    found = store.read_versions(BARS, as_of=FOREVER)
    assert found.group_by("security_id").len().sort("security_id").rows() == [*((n, 12) for n in range(WRITERS)), (99, 12)]
    assert len(store.quarantined()) == WRITERS * 12


# Results


def _write_equity(folder: Path, writer: int) -> None:
    for n in range(writer, 60, WRITERS):
        store_in(folder).write_results(EQUITY, "s", "backtest", [SESSIONS[n]], equity([SESSIONS[n]], n + 1))


def test_sessions_written_to_one_table_by_several_processes_are_all_there(tmp_path):
    at_once(_write_equity, *((tmp_path, writer) for writer in range(WRITERS)))
    store = store_in(tmp_path)
    assert list(store.result_sessions(EQUITY, "s", "backtest")) == list(SESSIONS[:60])
    found = store.read_results(EQUITY, "s", "backtest")
    assert [int(value) for value in found["equity"]] == list(range(1, 61))


def _rewrite(folder: Path, ready: str) -> None:
    store, value = store_in(folder), 1
    while True:
        store.write_results(EQUITY, "s", "backtest", SESSIONS[:60], equity(SESSIONS[:60], value))
        Path(ready).touch()
        value += 1


def test_a_reader_beside_a_writer_sees_one_state_or_the_next_and_a_killed_writer_leaves_one(tmp_path):
    folder, ready = tmp_path / "store", tmp_path / "ready"
    chosen = random.Random(7)
    for _ in range(6):
        writer = SPAWN.Process(target=_rewrite, args=(folder, str(ready)))
        writer.start()
        try:
            deadline = time.monotonic() + PATIENCE_S
            while not ready.exists():
                assert time.monotonic() < deadline and writer.is_alive()
                time.sleep(0.01)
            until = time.monotonic() + 0.1 + chosen.random() / 10
            seen = set()
            while time.monotonic() < until:
                found = store_in(folder).read_results(EQUITY, "s", "backtest")
                assert len(found) == 60
                (state,) = found["equity"].unique()
                seen.add(state)
        finally:
            os.kill(writer.pid, signal.SIGKILL)
            writer.join()
            ready.unlink()
        assert seen
        store = store_in(folder)
        assert store.read_results(EQUITY, "s", "backtest")["equity"].n_unique() == 1
        store.write_results(EQUITY, "s", "backtest", SESSIONS[:60], equity(SESSIONS[:60], 0))  # nobody holds the lock


def _copy(folder: Path, giver: str, taker: str) -> None:
    for _ in range(150):
        store_in(folder).copy_results(LAYERS, "screen", "market", giver, taker)


def test_two_that_copy_to_each_other_do_not_wait_for_ever(tmp_path):
    rows = pl.DataFrame(schema=LAYERS.schema)
    for name in ("a", "b"):
        store_in(tmp_path).write_results(LAYERS, name, "market", SESSIONS[:3], rows, layer="screen")
    at_once(_copy, (tmp_path, "a", "b"), (tmp_path, "b", "a"))
    assert list(store_in(tmp_path).result_sessions(LAYERS, "b", "market", "screen")) == list(SESSIONS[:3])


# Trials


def _record_trials(folder: Path, writer: int) -> None:
    for n in range(15):
        run = run_of(f"t{n}", [n / 100 if n < 10 else writer + n])  # ten that all have in common
        store_in(folder).trials.record(run)


def test_trials_recorded_by_several_processes_are_all_there_and_equal_ones_once(tmp_path):
    at_once(_record_trials, *((tmp_path, writer) for writer in range(WRITERS)))
    runs = store_in(tmp_path).trials.runs()
    assert len(runs) == 10 + 5 * WRITERS
    assert len({(run.trial, run.returns) for run in runs}) == len(runs)


# Opening


def _open(folder: Path) -> None:
    for n in range(200):
        assert store_in(folder / str(n)).read(BARS, as_of=FOREVER).is_empty()


def test_several_processes_may_open_a_new_store_at_once(tmp_path):
    at_once(_open, *([(tmp_path,)] * WRITERS))
