"""One connected client, as the desks see it."""

import asyncio
from contextlib import suppress

from tradebot_core.simulation.tws_messages import Message
from tradebot_core.simulation.tws_protocol import frame


class Session:
    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self.client_id = -1
        self.positions: set[tuple[str, int]] | None = None  # what it was told, once it follows them
        self.account = ""  # whose values it follows
        self.data_type = 1  # of market data that it asked for; as it comes, live

    def send(self, message: Message) -> None:
        self._writer.write(frame(message))

    async def close(self) -> None:
        with suppress(OSError):
            await self._writer.drain()
            self._writer.close()
