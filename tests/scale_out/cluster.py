"""An instance of Dagster whose runs are executed by Celery workers, on this machine: real PostgreSQL, broker, webserver and worker
processes. What Dagster's daemon does in rounds of up to 30 s is done here without a pause: backfills, the queue of runs, monitoring."""

import logging
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import psutil
import uvicorn
from celery.result import AsyncResult
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import WorkspaceFileTarget
from dagster._daemon.backfill import execute_backfill_iteration
from dagster._daemon.monitoring import execute_run_monitoring_iteration
from dagster._daemon.run_coordinator.queued_run_coordinator_daemon import QueuedRunCoordinatorDaemon
from dagster_webserver.webserver import DagsterWebserver

from tests.scale_out.servers import free_port
from tradebot_core.config import Config
from tradebot_dagster.config_file import PROJECT_ROOT
from tradebot_dagster.instance import instance
from tradebot_dagster.queues import RESEARCH_QUEUE, TRADING_QUEUE
from tradebot_dagster.webserver import Webserver

_PATIENCE_S = 180


@dataclass(frozen=True)
class Worker:
    """`tradebot worker`, with all that it starts."""

    process: "subprocess.Popen[bytes]"
    log: Path

    def kill(self) -> None:
        """As when its machine is switched off: the worker and the process of its run, at once."""
        for each in (*psutil.Process(self.process.pid).children(recursive=True), self.process):
            with suppress(psutil.NoSuchProcess):
                each.kill()
        self.process.wait()


@dataclass(frozen=True)
class Cluster:
    records: dg.DagsterInstance
    server: Webserver
    workers: Mapping[str, Worker]

    def executed_by(self, run_id: str) -> str:
        """The name of the worker that executed the run."""
        return self._workers_of[self._result(run_id).worker]

    def being_executed_by(self, run_id: str) -> str:
        return self._workers_of[self._result(run_id).info["hostname"]]

    def _result(self, run_id: str) -> AsyncResult:
        return self.records.run_launcher.celery.AsyncResult(self.records.get_run_by_id(run_id).tags["dagster-celery/task_id"])

    @property
    def _workers_of(self) -> Mapping[str, str]:
        """By what Celery calls them."""
        queues = {"desk": TRADING_QUEUE}
        host = socket.gethostname()
        return {f"{queues.get(name, RESEARCH_QUEUE)}-{w.process.pid}@{host}": name for name, w in self.workers.items()}


@contextmanager
def cluster(
    config_path: Path, config: Config, folder: Path, names: Sequence[str] = ("one", "two", "desk")
) -> Iterator[Cluster]:
    """Of the configuration, whose `dagster_settings` are those of a folder of deploy/, with the environment set. Of the workers one is at
    the "desk", the others are for research. Their output is in `folder`."""
    with ExitStack() as stack:
        records = stack.enter_context(instance(config))
        options = {name: ["--trading"] if name == "desk" else [] for name in names}
        workers = {name: stack.enter_context(_worker(config_path, folder / f"{name}.log", *options[name])) for name in names}
        workspace = WorkspaceFileTarget([str(PROJECT_ROOT / "workspace.yaml")])
        context = stack.enter_context(WorkspaceProcessContext(records, workspace))
        url = stack.enter_context(_webserver(context))
        stack.enter_context(_daemon(context))
        if workers:
            inspect = records.run_launcher.celery.control.inspect(timeout=0.3)
            wait_until(lambda: len(inspect.ping() or {}) == len(workers), "workers")
        yield Cluster(records, Webserver(url), workers)


@contextmanager
def _worker(config_path: Path, log: Path, *options: str) -> Iterator[Worker]:
    command = [str(Path(sys.executable).with_name("tradebot")), "worker", *options, "--config", str(config_path)]
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, start_new_session=True)
    worker = Worker(process, log)
    try:
        yield worker
    finally:
        if process.poll() is None:
            worker.kill()


@contextmanager
def _webserver(context: WorkspaceProcessContext) -> Iterator[str]:
    port = free_port()
    app = DagsterWebserver(context).create_asgi_app()
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=port, log_level="error", lifespan="off"))
    with _thread(server.run, stop=lambda: setattr(server, "should_exit", True)):
        wait_until(lambda: server.started, "webserver")
        yield f"http://127.0.0.1:{port}"


@contextmanager
def _daemon(context: WorkspaceProcessContext) -> Iterator[None]:
    logger, ended = logging.getLogger("daemon"), threading.Event()
    logger.setLevel(logging.ERROR)
    queue = QueuedRunCoordinatorDaemon(interval_seconds=1)

    def rounds() -> None:
        while not ended.wait(0.1):
            for work in (
                execute_backfill_iteration(context, logger),
                queue.run_iteration(context),
                execute_run_monitoring_iteration(context, logger),
            ):
                for error in work:
                    if error is not None:
                        print(error.to_string())  # noqa: T201

    with _thread(rounds, stop=ended.set):
        yield


@contextmanager
def _thread(work: Callable[[], object], stop: Callable[[], object]) -> Iterator[None]:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop()
        thread.join(_PATIENCE_S)


def wait_until(holds: Callable[[], object], what: str, patience_s: float = _PATIENCE_S) -> None:
    deadline = time.monotonic() + patience_s
    while not holds():
        assert time.monotonic() < deadline, f"no {what} after {patience_s:.0f} s"
        time.sleep(0.1)
