"""Layers in plain Python over many sessions, judged by several processes where that is worth their start.

Each table that a worker is sent holds whole sessions, and the answers are put together in order: how many workers there are changes no
verdict. Workers are programs of their own, not forks (polars has threads, and a fork of a process with threads can hang), and
do not load the main module of whoever starts them. One that does not come forward is killed, and the layer, session and symbol at
which it stood are named.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from mmap import mmap
from multiprocessing.connection import Connection, wait
from pathlib import Path
from socket import socketpair
from types import TracebackType
from typing import TypeGuard

import polars as pl

from tradebot_core.errors import StrategyError
from tradebot_core.judging import judged
from tradebot_core.strategy import Forecaster, Layer, Strategy, SymbolLayer
from tradebot_core.trading.symbol_worker import PROGRESS, STARTING

_WORTH_START = 4.0  # CPU seconds of work left; a worker takes about one to start
_TRIED = 0.25  # CPU seconds of work after which the rest is estimated
_ROWS_AT_ONCE = 20_000
_MOST_WORKERS = 4  # where the configuration names no number
_GRACE = 5.0  # seconds in which a worker may stop by itself
_START = 60.0  # seconds to load the strategy


class SymbolJudge:
    """Judges the rows of one layer, here or in workers, which it starts when they are first worth it and ends when it is closed."""

    def __init__(self, strategy: Strategy, layer: SymbolLayer, forecaster: Forecaster | None = None) -> None:
        self._strategy, self._layer, self.forecaster = strategy, layer, forecaster
        self._where = f"Layer {layer.name} of {strategy.name}"
        self._workers: list[_Worker] = []
        self.workers_used = 0

    def __enter__(self) -> "SymbolJudge":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        for worker in self._workers:
            worker.end()
        self._workers.clear()

    def __call__(self, rows: pl.DataFrame) -> pl.DataFrame:
        """The verdicts on `rows`, whole sessions in order. Raises StrategyError of the first session at which the layer fails."""
        limits = self._strategy.limits
        here: list[pl.DataFrame] = []
        done = 0
        if not self._workers and limits.workers is None and len(rows):
            done, spent = 0, 0.0
            for part in in_sessions(rows, 1):
                began = time.thread_time()  # of this thread alone: on a busy machine the clock on the wall tells little
                here.append(judged(self._layer, part, self._where, limits.seconds_per_session))
                spent, done = spent + time.thread_time() - began, done + len(part)
                if spent >= _TRIED:
                    break
            left = spent / done * (len(rows) - done)
            wanted = min(os.cpu_count() or 1, _MOST_WORKERS) if left >= _WORTH_START else 0
        else:
            wanted = len(self._workers) or limits.workers or 0
        rest = rows.slice(done)
        if len(rest) or not here:
            made = description(self._strategy, self._layer) if wanted else None
            if made is None:
                here.append(judged(self._layer, rest, self._where, limits.seconds_per_session))
            else:
                shown = self._layer.shown()
                sent = rest.select(name for name in rest.columns if shown is None or name in shown)
                here += self._in_workers(made, list(in_sessions(sent, _ROWS_AT_ONCE)), wanted)
        return pl.concat(here)

    def _in_workers(self, made: str, parts: Sequence[pl.DataFrame], wanted: int) -> list[pl.DataFrame]:
        while len(self._workers) < min(wanted, len(parts)):
            self._workers.append(_Worker.started(made, self._where, self._strategy.limits.seconds_per_session))
        self.workers_used = max(self.workers_used, len(self._workers))
        answers: dict[int, pl.DataFrame] = {}
        failures: dict[int, StrategyError] = {}
        waiting = iter(range(len(parts)))
        try:
            while any(number not in answers for number in range(min(failures, default=len(parts)))):
                for worker in self._workers:
                    number = next(waiting, None) if worker.idle and not worker.lost and not failures else None
                    if number is not None:
                        worker.send(number, parts[number])
                first = min(failures, default=len(parts))
                awaited = [worker for worker in self._workers if not worker.ready or (worker.task or 0) < first]
                ready = wait([worker.connection for worker in awaited if not worker.idle], timeout=0.5)
                for worker in awaited:
                    if worker.idle:
                        continue
                    try:
                        answer = worker.answer(worker.connection in ready)
                    except StrategyError as error:
                        if worker.task is None:  # it could not even start
                            raise
                        failures[worker.task], worker.task, worker.lost = error, None, True
                    else:
                        if answer is not None:
                            assert worker.task is not None
                            answers[worker.task], worker.task = answer, None
        except BaseException:
            self.close()
            raise
        if failures:
            self.close()
            raise failures[min(failures)]
        return [answers[number] for number in range(len(parts))]


def is_by_symbol(layer: Layer) -> TypeGuard[SymbolLayer]:
    """Whether each row is judged by `process` alone: one that evaluates tables itself is left to do so."""
    return isinstance(layer, SymbolLayer) and type(layer).evaluate is SymbolLayer.evaluate


@contextmanager
def judge_of(strategy: Strategy, layer: Layer, forecaster: Forecaster | None = None) -> Iterator[SymbolJudge | None]:
    """A judge of the layer that ends with the block; None where it is not judged by symbol."""
    if is_by_symbol(layer):
        with SymbolJudge(strategy, layer, forecaster) as judge:
            yield judge
    else:
        yield None


def in_sessions(rows: pl.DataFrame, at_least: int) -> Iterator[pl.DataFrame]:
    """The rows in parts of whole sessions, each of at least so many rows but the last; one empty part of no rows."""
    if rows.is_empty():
        yield rows
        return
    start = stop = 0
    for length in rows["session"].rle().struct.field("len").to_list():
        stop += length
        if stop - start >= at_least:
            yield rows.slice(start, stop - start)
            start = stop
    if stop > start:
        yield rows.slice(start, stop - start)


def description(strategy: Strategy, layer: SymbolLayer) -> str | None:
    """From which another process can make the layer; None where it cannot: of a class in no module, or with parameters that are not
    the same when they are written down and read."""
    kind, params = type(strategy), strategy.params
    if kind.__module__ == "__main__" or "<locals>" in kind.__qualname__ or not isinstance(params, kind.Params):
        return None
    written = params.model_dump_json()
    if type(params) is not kind.Params or kind.Params.model_validate_json(written) != params:
        return None
    return json.dumps(
        {
            "sys_path": sys.path,
            "module": kind.__module__,
            "class": kind.__qualname__,
            "strategy": strategy.name,
            "params": written,
            "layer": layer.name,
            "where": f"Layer {layer.name} of {strategy.name}",
            "seconds": strategy.limits.seconds_per_session,
            "memory_mb": strategy.limits.worker_memory_mb,
        }
    )


@dataclass
class _Worker:
    process: subprocess.Popen[bytes]
    connection: Connection
    progress: mmap
    where: str
    seconds: float
    task: int | None = None
    ready: bool = False  # it has loaded the strategy
    lost: bool = False
    rows: pl.DataFrame = field(default_factory=pl.DataFrame)
    _seen: tuple[int, float] = field(
        default_factory=lambda: (STARTING, time.monotonic())
    )  # the session it is at, and since when

    @classmethod
    def started(cls, made: str, where: str, seconds: float) -> "_Worker":
        ours, theirs = socketpair()
        with theirs, tempfile.TemporaryFile() as shared:
            shared.write(PROGRESS.pack(STARTING, 0))
            shared.flush()
            root = str(Path(__file__).parents[2])  # where tradebot_core is, installed or not
            process = subprocess.Popen(
                [sys.executable, "-m", "tradebot_core.trading.symbol_worker", str(theirs.fileno()), str(shared.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(), shared.fileno()),
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))},
            )
            progress = mmap(shared.fileno(), PROGRESS.size)
        worker = cls(process, Connection(ours.detach()), progress, where, seconds)
        worker.connection.send_bytes(made.encode())
        return worker

    @property
    def idle(self) -> bool:
        return self.lost or (self.ready and self.task is None)

    def send(self, task: int, rows: pl.DataFrame) -> None:
        table = BytesIO()
        rows.write_ipc(table)
        self.task, self.rows, self._seen = task, rows, (STARTING, time.monotonic())
        try:
            self.connection.send_bytes(table.getbuffer())
        except ConnectionError:
            raise self._ended() from None

    def answer(self, is_there: bool) -> pl.DataFrame | None:
        """The verdicts once they are there. Raises StrategyError when the layer failed, the process ended, or it had to be killed."""
        if is_there:
            try:
                told = json.loads(self.connection.recv_bytes())
                if told["cause"]:
                    raise StrategyError(told["cause"], told["mend"])
                if not self.ready:
                    self.ready, self._seen = True, (STARTING, time.monotonic())
                    return None
                verdicts = pl.read_ipc(BytesIO(self.connection.recv_bytes()))
            except (EOFError, ConnectionError):
                raise self._ended() from None
            return verdicts
        session, _ = PROGRESS.unpack_from(self.progress)
        now = time.monotonic()
        if session != self._seen[0]:
            self._seen = session, now
        if now - self._seen[1] > (self.seconds if self.ready else _START) + _GRACE:
            self.process.kill()
            raise StrategyError(
                f"{self.where} was stopped {self._place()}: the session took longer than {self.seconds:g} s, in code that cannot be "
                "interrupted.",
                "See whether it loops or waits for something; give slow work more time with layers.seconds_per_session.",
            )
        return None

    def _ended(self) -> StrategyError:
        code = self.process.wait()
        how = f"by signal {-code}" if code < 0 else f"with exit code {code}"
        return StrategyError(
            f"{self.where} ended its process {self._place()}, {how}.",
            "Most often memory ran out (layers.worker_memory_mb), or compiled code crashed.",
        )

    def _place(self) -> str:
        session, row = PROGRESS.unpack_from(self.progress)
        if session == STARTING or row >= len(self.rows):
            return "before its first row"
        at = self.rows.row(row, named=True)
        return f"at {at['symbol']} in {at['session']}"

    def end(self) -> None:
        self.connection.close()
        if self.task is not None or not self.ready:
            self.process.kill()
        try:
            self.process.wait(timeout=_GRACE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.progress.close()
