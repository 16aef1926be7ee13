"""A limit on how long a strategy's own code may run, wherever it runs: a loop without an end must not hold up a session.

In the main thread a timer signal interrupts, which ends sleeps and blocking reads as well; in any other thread the exception is raised
at the next instruction of Python. Compiled code that never returns is beyond both: see trading/symbol_workers.py.
"""

import ctypes
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_AGAIN = 1.0  # seconds until it is raised once more, where the code caught it and went on


class OutOfTime(BaseException):
    """Not an Exception, so that `except Exception` in a loop does not swallow it."""


@contextmanager
def stopped_after(seconds: float) -> Iterator[None]:
    """Raises OutOfTime in the block when it has run for `seconds`."""
    if threading.current_thread() is threading.main_thread() and signal.getitimer(signal.ITIMER_REAL)[0] == 0:
        yield from _by_signal(seconds)
    else:
        yield from _by_thread(seconds)


def _by_signal(seconds: float) -> Iterator[None]:
    def stop(number: int, frame: FrameType | None) -> None:
        raise OutOfTime

    before = signal.signal(signal.SIGALRM, stop)
    try:
        signal.setitimer(signal.ITIMER_REAL, seconds, _AGAIN)
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _by_thread(seconds: float) -> Iterator[None]:
    watched, lock, ended = ctypes.c_ulong(threading.get_ident()), threading.Lock(), threading.Event()

    def raise_in_thread(error: type[BaseException] | None) -> None:
        ctypes.pythonapi.PyThreadState_SetAsyncExc(watched, None if error is None else ctypes.py_object(error))

    def watch() -> None:
        wait = seconds
        while not ended.wait(wait):
            with lock:
                if not ended.is_set():
                    raise_in_thread(OutOfTime)
            wait = _AGAIN

    threading.Thread(target=watch, name="time limit", daemon=True).start()
    try:
        yield
    finally:
        with lock:
            ended.set()
            raise_in_thread(None)  # what was raised and has not arrived is taken back
