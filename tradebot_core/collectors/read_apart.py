"""Reading what comes next in other processes, while this one stores what came before."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import Any, TypeVar

from tradebot_core.errors import DataError

Item = TypeVar("Item")
Result = TypeVar("Result")


def read_apart(items: Iterable[Item], read: Callable[[Item], Result], processes: int) -> Iterator[tuple[Item, Result]]:
    """Each item with what was read for it, in order, as read_ahead.read_ahead gives them. At most `processes` + 1 results wait or
    are being made at any time; an error comes up where its item would have.

    `read` and the items go to other processes. Raises DataError when one of those ends without an answer.
    """
    waiting: deque[tuple[Item, Future[Any]]] = deque()
    # Spawned, not forked: polars has threads, and a fork of a process with threads can hang.
    with ProcessPoolExecutor(processes, get_context("spawn"), _prepare, (read,)) as pool:
        try:
            for item in items:
                waiting.append((item, pool.submit(_read, item)))
                if len(waiting) > processes:
                    first, future = waiting.popleft()
                    yield first, future.result()
            while waiting:
                first, future = waiting.popleft()
                yield first, future.result()
        except BrokenProcessPool:
            raise DataError(
                "A process that reads the SEC's files ended without an answer; the facts of the groups before are kept.",
                "Most often memory ran out: free some and collect again, which goes on where it stopped.",
            ) from None
        finally:
            for _, future in waiting:
                future.cancel()


_prepared: dict[str, Callable[[Any], Any]] = {}  # of a process that reads


def _prepare(read: Callable[[Any], Any]) -> None:
    _prepared["read"] = read


def _read(item: Any) -> Any:
    return _prepared["read"](item)
