"""Fresh processes at a hundredth of the price: one that has imported everything, and done nothing, forks each of the traders.

A trader is a process of its own: its memory, connections and locks are nobody else's, and SIGKILL ends it between any two
instructions as it does a run of Dagster. What it is spared is the second of Python's start and of the imports. The zygote has
one thread and has opened neither ledger nor store nor connection, so that there is nothing to be shared.
"""

import atexit
import gc
import os
import pickle
import queue
import select
import signal
import subprocess
import sys
import threading
from collections import defaultdict
from concurrent.futures import Future
from contextlib import suppress
from functools import cache
from typing import Any


class Child:
    """`exitcode` is None while it lives, and negative when a signal ended it."""

    def __init__(self, pid: int, ended: Future[int]) -> None:
        self.pid = pid
        self._ended = ended

    @property
    def exitcode(self) -> int | None:
        return self._ended.result() if self._ended.done() else None

    def join(self, timeout_s: float) -> int | None:
        with suppress(TimeoutError):
            return self._ended.result(timeout_s)
        return None

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)


class Zygote:
    """`start` takes what trader.work is to do. Several threads may ask."""

    def __init__(self) -> None:
        environment = os.environ | {
            "POLARS_MAX_THREADS": "1"
        }  # threads are dear to start, and a story's tables have three rows
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
        )
        self._one_birth = threading.Lock()
        self._born: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._ended: defaultdict[int, Future[int]] = defaultdict(Future)
        threading.Thread(target=self._listen, name="zygote", daemon=True).start()
        atexit.register(self.close)

    def start(self, errand: Any) -> Child:
        assert self._process.stdin is not None
        with self._one_birth:
            pickle.dump(errand, self._process.stdin)
            self._process.stdin.flush()
            pid = self._born.get(timeout=60)
        return Child(pid, self._ended[pid])

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            what, pid, *code = line.split()
            if what == b"born":
                self._ended[int(pid)] = Future()  # the system may give a number again
                self._born.put(int(pid))
            else:
                self._ended[int(pid)].set_result(int(code[0]))

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


@cache
def zygote() -> Zygote:
    """This process's own."""
    return Zygote()


def main() -> None:
    from tests.faults import trader
    from tradebot_core.calendar import xnys

    xnys()
    trader.hurry()
    gc.collect()
    gc.freeze()  # or the first collection of each child copies every page
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    alive: set[int] = set()
    while True:
        readable, _, _ = select.select([0, woken], [], [])
        if woken in readable:
            os.read(woken, 512)
        for pid in [*alive]:
            found, status = os.waitpid(pid, os.WNOHANG)
            if found:
                alive.discard(pid)
                _say(f"ended {pid} {os.waitstatus_to_exitcode(status)}")
        if 0 in readable:
            try:
                errand = pickle.load(sys.stdin.buffer)
            except EOFError:
                break
            pid = os.fork()
            if pid == 0:
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                nothing = os.open(os.devnull, os.O_RDWR)
                for of_zygote in (0, 1, woken, wake):
                    os.dup2(nothing, of_zygote)
                trader.work(errand)
            alive.add(pid)
            _say(f"born {pid}")
    for pid in alive:
        os.kill(pid, signal.SIGKILL)


def _say(line: str) -> None:
    os.write(1, line.encode() + b"\n")


if __name__ == "__main__":
    main()
