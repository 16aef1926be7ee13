"""One connected client, as the desks see it."""

import asyncio
from collections.abc import Callable
from contextlib import suppress

from tradebot_core.simulation.faults import FaultKind
from tradebot_core.simulation.tws_messages import Message
from tradebot_core.simulation.tws_protocol import frame


class Session:
    def __init__(self, writer: asyncio.StreamWriter, faults: frozenset[FaultKind] = frozenset()) -> None:
        self._writer = writer
        self.faults = faults  # that its connection has
        self.silent = False  # open, and nothing gets through
        self.edits: list[Callable[[Message], Message | None]] = []  # what becomes of its messages; None: not sent
        self.client_id = -1
        self.positions: set[tuple[str, int]] | None = None  # what it was told, once it follows them
        self.account = ""  # whose values it follows
        self.data_type = 1  # of market data that it asked for; as it comes, live

    def send(self, message: Message) -> None:
        if self.silent:
            return
        for edit in self.edits:
            edited = edit(message)
            if edited is None:
                return
            message = edited
        self._writer.write(frame(message))

    def drop(self) -> None:
        """Closes the connection after what was sent; nothing more gets through."""
        self.silent = True
        self._writer.close()

    async def close(self) -> None:
        with suppress(OSError):
            await self._writer.drain()
            self._writer.close()
