"""Reading what comes next in other processes, while this one stores what came before.

Rows travel as an Arrow stream that keeps strings as polars has them: a third of the time of pickling the frame, which converts them.
"""

import io
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import Any, TypeVar

import polars as pl

from tradebot_core.errors import DataError

Item = TypeVar("Item")
Rest = TypeVar("Rest")
Read = Callable[[Item], tuple[pl.DataFrame, Rest]]


def read_apart(
    items: Iterable[Item], read: Read[Item, Rest], processes: int, ahead: int
) -> Iterator[tuple[Item, tuple[pl.DataFrame, Rest]]]:
    """Each item with the rows that were read for it, and the rest, in order, as read_ahead.read_ahead gives them.

    At most `ahead` results wait or are being made at any time, enough that the processes have work while this one stores; an
    error comes up where its item would have.
    `read` and the items go to other processes. Raises DataError when one of those ends without an answer.
    """
    waiting: deque[tuple[Item, Future[Any]]] = deque()
    # Spawned, not forked: polars has threads, and a fork of a process with threads can hang.
    with ProcessPoolExecutor(processes, get_context("spawn"), _prepare, (read,)) as pool:
        try:
            for item in items:
                waiting.append((item, pool.submit(_read, item)))
                if len(waiting) >= ahead:
                    first, future = waiting.popleft()
                    yield first, _unpacked(*future.result())
            while waiting:
                first, future = waiting.popleft()
                yield first, _unpacked(*future.result())
        except BrokenProcessPool:
            raise DataError(
                "A process that reads the SEC's files ended without an answer; the facts of the groups before are kept.",
                "Most often memory ran out: free some and collect again, which goes on where it stopped.",
            ) from None
        finally:
            for _, future in waiting:
                future.cancel()


def _unpacked(rows: bytes, rest: Rest) -> tuple[pl.DataFrame, Rest]:
    return pl.read_ipc_stream(io.BytesIO(rows)), rest


_prepared: dict[str, Read[Any, Any]] = {}  # of a process that reads


def _prepare(read: Read[Any, Any]) -> None:
    _prepared["read"] = read


def _read(item: Any) -> tuple[bytes, Any]:
    rows, rest = _prepared["read"](item)
    packed = io.BytesIO()
    rows.write_ipc_stream(packed, compression="uncompressed", compat_level=pl.CompatLevel.newest())
    return packed.getvalue(), rest
