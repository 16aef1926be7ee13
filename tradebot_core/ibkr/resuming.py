"""Many questions of one kind, some at a time, through connections that break: what is answered is not asked again."""

import asyncio
import logging
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import TypeVar

from ib_async import IB

from tradebot_core.config import IbkrSettings, Mode
from tradebot_core.errors import DataError
from tradebot_core.ibkr.connection import Client, stream

T = TypeVar("T")
_log = logging.getLogger(__name__)
_LONGEST_WAIT_S = 60.0


class _Broken(DataError):
    """No connection."""


@dataclass
class Remaining:
    """What is still to be asked, by number, over all connections. `begun`: a gateway has answered something."""

    total: int
    begun: bool = False
    numbers: deque[int] = field(init=False)

    def __post_init__(self) -> None:
        self.numbers = deque(range(self.total))

    def only(self, wanted: Sequence[int]) -> None:
        """These, in this order, and none of the others; before anything is asked."""
        self.numbers = deque(wanted)
        self.total = len(self.numbers)

    def told(self) -> str:
        return f"{self.total - len(self.numbers)} of {self.total} requests were answered."


def resumed(
    settings: IbkrSettings,
    remaining: Remaining,
    work: Callable[[IB], AsyncIterator[tuple[int, T]]],
    client: Client,
    reconnects: int,
) -> Iterator[tuple[int, T]]:
    """Each answer with its number as soon as it is there. `work` asks on one connection for what remains.

    A connection that breaks is made again after 1 s, 2 s, 4 s ... 60 s. Raises DataError when none can be made at first, or when
    `reconnects` in a row brought nothing.
    """
    breaks = 0
    while remaining.numbers:
        try:
            with closing(stream(settings, Mode.DRY_RUN, work, client=client, failure=_Broken)) as answers:
                for number, found in answers:
                    breaks = 0
                    remaining.numbers.remove(number)
                    yield number, found
        except _Broken as error:
            if not remaining.begun:
                raise DataError(error.cause, error.mend) from error
            if breaks == reconnects:
                raise DataError(
                    f"{error.cause} {remaining.told()}",
                    "What came is kept. Look at the gateway; the next collection asks for the rest.",
                ) from error
            wait = min(_LONGEST_WAIT_S, 2.0**breaks)
            breaks += 1
            _log.warning("%s %s Next try in %.0f s.", error.cause, remaining.told(), wait)
            time.sleep(wait)


async def some_at_a_time(waiting: deque[int], most: int, ask: Callable[[int], Awaitable[T]]) -> AsyncIterator[tuple[int, T]]:
    """Answers as they come, `most` questions open at a time; a number that is put back into `waiting` is asked again."""
    asked: dict[asyncio.Future[T], int] = {}
    try:
        while waiting or asked:
            while waiting and len(asked) < most:
                number = waiting.popleft()
                asked[asyncio.ensure_future(ask(number))] = number
            done, _ = await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
            for question in done:
                yield asked.pop(question), question.result()
    finally:
        for question in asked:
            question.cancel()
        await asyncio.gather(*asked, return_exceptions=True)
