"""Starting the Dagster UI and daemon for a configuration: environment, command, and a running pair for as long as it is needed;
for the sample market its broker as well, the simulated TWS."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from tradebot_core.config import Config
from tradebot_core.errors import ExecutionError, UsageError
from tradebot_dagster.config_file import PROJECT_ROOT
from tradebot_dagster.home import dagster_home

LOOPBACK = "127.0.0.1"
_BROKER_PATIENCE_S = 60


def webserver_url(port: int) -> str:
    return f"http://{LOOPBACK}:{port}"


def dagster_environment(config: Config, config_path: Path) -> dict[str, str]:
    """The environment in which every Dagster process of this configuration runs."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return environment | {
        "DAGSTER_HOME": str(dagster_home(config)),
        "TRADEBOT_CONFIG": str(config_path.resolve()),
        "DAGSTER_EVENT_BATCH_SIZE": "1000",
        "PYTHONWARNINGS": "ignore",  # Dagster announces its beta features once per asset and process
    }


def dagster_command(port: int) -> list[str]:
    """`dagster dev` of the project, on loopback only: the webserver has no sign-in."""
    dagster = Path(sys.executable).with_name("dagster")
    workspace = PROJECT_ROOT / "workspace.yaml"
    return [str(dagster), "dev", "--workspace", str(workspace), "--host", LOOPBACK, "--port", str(port)]


def require_free(port: int) -> None:
    """Raises UsageError when something listens on the port already."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            raise UsageError(
                f"Port {port} of {LOOPBACK} is in use; perhaps Tradebot runs already.",
                f"Open {webserver_url(port)}, or choose another with --port (make run PORT={port + 1}); the port of the "
                "simulated TWS is ibkr.port in the configuration.",
            ) from None


@contextmanager
def serve(config: Config, config_path: Path, port: int, log: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """Dagster UI and daemon in the background, their output in `log`; stopped, children and all, on leaving."""
    require_free(port)
    with simulated_broker(config, config_path, log), _running(dagster_command(port), config, config_path, log) as process:
        yield process


@contextmanager
def simulated_broker(config: Config, config_path: Path, log: Path) -> Iterator[None]:
    """The simulated TWS for as long as it is needed, where the configuration trades with it; elsewhere nothing happens.

    Raises ExecutionError when it does not come up; why is in `log`.
    """
    if not trades_with_simulated_broker(config):
        yield
        return
    assert config.ibkr is not None
    require_free(config.ibkr.port)
    tradebot = str(Path(sys.executable).with_name("tradebot"))
    command = [tradebot, "simulate-tws", "--config", str(config_path.resolve())]
    with _running(command, config, config_path, log) as process:
        _wait_until_it_listens(config.ibkr.port, process, log)
        yield


def trades_with_simulated_broker(config: Config) -> bool:
    return config.sample_market is not None and config.ibkr is not None


def _wait_until_it_listens(port: int, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + _BROKER_PATIENCE_S
    while process.poll() is None and time.monotonic() < deadline:
        with suppress(OSError):
            socket.create_connection((LOOPBACK, port), timeout=1).close()
            return
        time.sleep(0.1)
    raise ExecutionError("The simulated TWS did not come up.", f"Its output is in {log}.")


@contextmanager
def _running(command: Sequence[str], config: Config, config_path: Path, log: Path) -> Iterator["subprocess.Popen[bytes]"]:
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            cwd=PROJECT_ROOT,
            env=dagster_environment(config, config_path),
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        _stop(process)


def _stop(process: "subprocess.Popen[bytes]") -> None:
    for end in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        if process.poll() is not None:
            break
        os.killpg(process.pid, end)
        try:
            process.wait(timeout=15)
        except subprocess.TimeoutExpired:
            continue
