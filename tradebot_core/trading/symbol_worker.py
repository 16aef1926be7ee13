"""A process that judges rows for symbol_workers.py: `python -m tradebot_core.trading.symbol_worker CONNECTION PROGRESS`.

It makes the strategy anew from its class and parameters, so that no object travels, and answers each table of rows with one of
verdicts. How far it has come it writes into shared memory, for the one who has to stop it.
"""

import json
import os
import sys
from importlib import import_module
from io import BytesIO
from mmap import mmap
from multiprocessing.connection import Connection
from struct import Struct
from typing import Any

PROGRESS = Struct("<qq")  # number of the session and of the row in the table that is being judged
STARTING = -1


def main(connection_fd: int, progress_fd: int) -> None:
    # One thread of polars is enough for a table that plain Python walks through; it reads this when it is loaded.
    os.environ["POLARS_MAX_THREADS"] = "1"
    connection, progress = Connection(connection_fd), mmap(progress_fd, PROGRESS.size)
    work = json.loads(connection.recv_bytes())
    sys.path[:] = work["sys_path"]
    import polars as pl  # noqa: PLC0415

    from tradebot_core.errors import StrategyError, TradebotError  # noqa: PLC0415
    from tradebot_core.judging import judged, printing_little  # noqa: PLC0415

    def at(session: int, row: int) -> None:
        PROGRESS.pack_into(progress, 0, session, row)

    def answer(rows: bytes) -> bytes:
        verdicts = BytesIO()
        judged(layer, pl.read_ipc(BytesIO(rows)), work["where"], work["seconds"], at).write_ipc(verdicts)
        return verdicts.getvalue()

    def told(cause: str, mend: str) -> None:
        connection.send_bytes(json.dumps({"cause": cause, "mend": mend}).encode())

    layer: Any = None
    try:
        with printing_little(work["where"]):
            layer = _layer(work)
        _limit_memory(work["memory_mb"])
        told("", "")
        while True:
            rows = connection.recv_bytes()
            found = answer(rows)
            told("", "")
            connection.send_bytes(found)
            PROGRESS.pack_into(progress, 0, STARTING, 0)
    except EOFError:
        return  # no more work, or nobody left to do it for
    except TradebotError as error:
        told(error.cause, error.mend)
    except Exception as error:
        failed = StrategyError(f"{work['where']} cannot be made in a worker: {type(error).__name__}: {error}.")
        told(failed.cause, "Set layers.workers to 0 to judge in the run's own process.")


def _layer(work: dict[str, Any]) -> Any:
    kind: Any = import_module(work["module"])
    for name in work["class"].split("."):
        kind = getattr(kind, name)
    strategy = kind(work["strategy"], kind.Params.model_validate_json(work["params"]))
    return next(layer for layer in strategy.layers() if layer.name == work["layer"])


def _limit_memory(megabytes: int) -> None:
    """Of address space beyond what is taken already; where the system cannot tell that (it is read from Linux' /proc), none."""
    import resource  # noqa: PLC0415

    try:
        with open("/proc/self/statm") as pages:
            taken = int(pages.read().split()[0]) * resource.getpagesize()
    except OSError:
        return
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (taken + megabytes * 2**20, hard))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
