"""Fresh processes at a hundredth of the price: one that has imported everything, and done nothing, forks each of the traders.

A trader is a process of its own: its memory, connections and locks are nobody else's, and SIGKILL ends it between any two
instructions as it does a run of Dagster. What it is spared is the second of Python's start and of the imports. The zygote has
one thread and has opened neither ledger nor store nor connection, so that there is nothing to be shared.
"""

import atexit
import gc
import os
import pickle
import select
import signal
import subprocess
import sys
import time
from contextlib import suppress
from functools import cache
from typing import Any


class Child:
    """`exitcode` is None while it lives, and negative when a signal ended it."""

    def __init__(self, zygote: "Zygote", pid: int) -> None:
        self._zygote = zygote
        self.pid = pid

    @property
    def exitcode(self) -> int | None:
        self._zygote.listen(0.0)
        return self._zygote.ended.get(self.pid)

    def join(self, timeout_s: float) -> int | None:
        until = time.monotonic() + timeout_s
        while (code := self._zygote.ended.get(self.pid)) is None and (left := until - time.monotonic()) > 0:
            self._zygote.listen(left)
        return code

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)


class Zygote:
    """Of one thread's use. `start` takes what trader.work is to do."""

    def __init__(self) -> None:
        self._process = subprocess.Popen([sys.executable, "-m", __name__], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._heard = b""
        self._born: list[int] = []
        self.ended: dict[int, int] = {}
        atexit.register(self.close)

    def start(self, errand: Any) -> Child:
        assert self._process.stdin is not None
        pickle.dump(errand, self._process.stdin)
        self._process.stdin.flush()
        while not self._born:
            self.listen(60.0)
        return Child(self, self._born.pop())

    def listen(self, timeout_s: float) -> None:
        """Takes in what the zygote says within that time."""
        assert self._process.stdout is not None
        readable, _, _ = select.select([self._process.stdout], [], [], timeout_s)
        if not readable:
            return
        said = os.read(self._process.stdout.fileno(), 4096)
        if not said:
            raise RuntimeError("the zygote has died")
        *lines, self._heard = (self._heard + said).split(b"\n")
        for line in lines:
            what, pid, *code = line.split()
            if what == b"born":
                self._born.append(int(pid))
            else:
                self.ended[int(pid)] = int(code[0])

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
            if not pid:
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
