"""What the core says while it works (Python's logging, level INFO and above), passed on to whoever should hear it."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_CORE = logging.getLogger("tradebot_core")


class _Passing(logging.Handler):
    def __init__(self, say: Callable[[str], object]) -> None:
        super().__init__(logging.INFO)
        self._say = say

    def emit(self, record: logging.LogRecord) -> None:
        self._say(record.getMessage())


@contextmanager
def heard_by(say: Callable[[str], object]) -> Iterator[None]:
    """Within it, every word of the core goes to `say`: an asset's log, or a command's output."""
    handler, level = _Passing(say), _CORE.level
    _CORE.addHandler(handler)
    _CORE.setLevel(logging.INFO)
    try:
        yield
    finally:
        _CORE.removeHandler(handler)
        _CORE.setLevel(level)
