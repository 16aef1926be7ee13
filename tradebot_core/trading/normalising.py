"""Figures of many issuers from their facts: group by group, in several processes when there is much to do.

Normalising is plain Python, some 70 ms for a large company, and would keep one core busy for half an hour on a whole market.
Each issuer is computed by itself, so the rows do not depend on how the work is divided.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context

import polars as pl

from tradebot_core.errors import DataError

Normalise = Callable[[pl.DataFrame, Mapping[int, str]], pl.DataFrame]

_WORTH_PROCESSES = 100  # issuers; starting a process costs as much as some twenty of them
_ISSUERS_OF_A_TASK = 10  # some ten megabytes of provenance: what a process holds is little more than the interpreter


def normalised(
    groups: Sequence[Sequence[int]],
    facts_of: Callable[[Sequence[int]], pl.DataFrame],
    normalise: Normalise,
    names: Mapping[int, str],
    processes: int = 1,
) -> Iterator[pl.DataFrame]:
    """The rows of FUNDAMENTALS of each group, in order. No more groups are in memory than there are processes, and one more.

    With several processes `normalise` must be a function of a module.
    """
    if processes < 2 or sum(map(len, groups)) < _WORTH_PROCESSES:
        return (normalise(facts_of(group), names) for group in groups)
    return _in_processes(groups, facts_of, normalise, names, processes)


def _in_processes(
    groups: Sequence[Sequence[int]],
    facts_of: Callable[[Sequence[int]], pl.DataFrame],
    normalise: Normalise,
    names: Mapping[int, str],
    processes: int,
) -> Iterator[pl.DataFrame]:
    waiting: deque[tuple[Future[pl.DataFrame], bool]] = deque()
    # Spawned, not forked: polars has threads, and a fork of a process with threads can hang.
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        try:
            done: list[pl.DataFrame] = []
            for facts, issuers, ends_group in _tasks(groups, facts_of):
                waiting.append((pool.submit(normalise, facts, {cik: names[cik] for cik in issuers}), ends_group))
                if len(waiting) > processes:
                    done = yield from _taken(waiting, done)
            while waiting:
                done = yield from _taken(waiting, done)
        except BrokenProcessPool:
            raise DataError(
                "A process that computes figures ended without an answer; the figures of the groups before are kept.",
                "Most often memory ran out: free some and collect again, which goes on where it stopped.",
            ) from None
        finally:
            for future, _ in waiting:
                future.cancel()


def _tasks(
    groups: Sequence[Sequence[int]], facts_of: Callable[[Sequence[int]], pl.DataFrame]
) -> Iterator[tuple[pl.DataFrame, Sequence[int], bool]]:
    """The facts of a few issuers of a group, those issuers, and whether they are its last."""
    for group in groups:
        facts = facts_of(group)
        for at in range(0, len(group), _ISSUERS_OF_A_TASK):
            issuers = group[at : at + _ISSUERS_OF_A_TASK]
            yield facts.filter(pl.col("cik").is_in(issuers)), issuers, at + _ISSUERS_OF_A_TASK >= len(group)


def _taken(
    waiting: deque[tuple[Future[pl.DataFrame], bool]], done: list[pl.DataFrame]
) -> Generator[pl.DataFrame, None, list[pl.DataFrame]]:
    """Takes the task that waits longest; yields its group when it is complete. Returns what is done of a group that is not."""
    future, ends_group = waiting.popleft()
    done = [*done, future.result()]
    if not ends_group:
        return done
    yield pl.concat(done)
    return []
