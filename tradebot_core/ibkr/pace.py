"""How fast IBKR is asked for history.

Daily bars have no hard limit but 50 open requests (https://interactivebrokers.github.io/tws-api/historical_limitations.html): there is "a
soft slow", and who asks too much is throttled and in the end disconnected. So requests are spread, answers that come slowly are taken for a
sign to wait, and a "pacing violation" pauses everything for longer each time.
"""

import asyncio
import logging
import time
from collections.abc import Hashable
from typing import Annotated

from pydantic import Field

from tradebot_core.config import Settings

_log = logging.getLogger(__name__)
_SLOW_S = 60.0  # an answer that took longer is IBKR's way of throttling
_LONGEST_PAUSE_S = 600.0


class Pace(Settings):
    """`per_second` requests, sustained; `pause_s` seconds after a pacing violation or a very slow answer, doubled each time up to
    ten minutes; the identical request again after `repeat_after_s` at the earliest; `attempts` at one request, and `reconnects` in a row
    when the connection breaks (after 1 s, 2 s, 4 s ... 60 s)."""

    per_second: Annotated[float, Field(gt=0, le=1000)] = 2.0
    pause_s: Annotated[float, Field(ge=0, le=600)] = 60.0
    repeat_after_s: Annotated[float, Field(ge=0, le=60)] = 15.0
    attempts: Annotated[int, Field(ge=1, le=20)] = 5
    reconnects: Annotated[int, Field(ge=0, le=20)] = 6


class Pacer:
    """The turns of one collection, over all its connections."""

    def __init__(self, pace: Pace) -> None:
        self._pace = pace
        self._next = 0.0
        self._paused_until = 0.0
        self._pauses = 0
        self._asked: dict[Hashable, float] = {}

    @property
    def per_second(self) -> float:
        return self._pace.per_second

    async def turn(self, request: Hashable) -> None:
        """Returns when the request may go out."""
        again = self._asked.get(request)
        if again is not None:
            await asyncio.sleep(max(0.0, again + self._pace.repeat_after_s - time.monotonic()))
        at = self._next = max(time.monotonic(), self._next + 1 / self._pace.per_second)
        while (wait := max(at, self._paused_until) - time.monotonic()) > 0:
            await asyncio.sleep(wait)
        self._asked[request] = time.monotonic()

    def answered(self, after_s: float) -> None:
        """An answer came: quickly, and the next pause is a first one again; slowly, and there is a pause."""
        if after_s > _SLOW_S:
            self.pause(f"an answer took {after_s:.0f} s")
        elif time.monotonic() > self._paused_until:
            self._pauses = 0

    def pause(self, why: str) -> None:
        """Nobody asks for a while. Several requests refused together are one reason."""
        now = time.monotonic()
        if now < self._paused_until:
            return
        length = min(_LONGEST_PAUSE_S, self._pace.pause_s * 2**self._pauses)
        self._pauses += 1
        self._paused_until = now + length
        _log.warning("IBKR wants fewer requests (%s): the next in %.0f s.", why, length)
