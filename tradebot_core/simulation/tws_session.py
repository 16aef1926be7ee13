"""One connected client, as the desks see it."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from tradebot_core.simulation.tws_messages import Message
from tradebot_core.simulation.tws_protocol import Field, frame


@dataclass
class Stream:
    """A subscription to bars or quotes; `sent` is what the client was told last."""

    con_id: int
    sent: Any
    data_type: int | None = None  # of quotes; None for bars


class Session:
    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self.client_id = -1
        self.positions: set[tuple[str, int]] | None = None  # what it was told, once it follows them
        self.account = ""  # whose values it follows
        self.data_type = 1  # of the quotes it asks for
        self.streams: dict[int, Stream] = {}
        self.silent = False
        self.dropped = False
        self._withheld: frozenset[Field] = frozenset()

    def send(self, message: Message) -> None:
        if not (self.dropped or self.silent or message[0] in self._withheld):
            self._writer.write(frame(message))

    def drop(self) -> None:
        """Ends the connection; what was sent arrives still."""
        self.dropped = True
        self._writer.close()

    @contextmanager
    def withholding(self, replies: frozenset[Field]) -> Iterator[None]:
        """Sends no message of these kinds meanwhile."""
        self._withheld = replies
        try:
            yield
        finally:
            self._withheld = frozenset()

    async def close(self) -> None:
        with suppress(OSError):
            await self._writer.drain()
            self._writer.close()
