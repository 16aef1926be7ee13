"""A wire between a client and a (simulated) TWS that counts what goes over it, and can be cut or made to answer otherwise."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

HISTORY = "20"
Fields = list[str]
Answer = list[Fields] | None  # None: the TWS answers


class Cut(Exception):
    """The wire is cut: both ends see a closed connection."""


class Wire:
    """`on_request` sees each request (its fields) before the TWS does: it answers in its place, lets it pass (None) or raises Cut.
    Messages of the kind `without` never reach the client."""

    def __init__(
        self, port: int, on_request: Callable[[Fields], Answer] = lambda fields: None, without: str | None = None
    ) -> None:
        self.port = port
        self.on_request = on_request
        self.without = without
        self.history: list[str] = []  # symbols, in the order of the requests
        self.durations: list[str] = []
        self.connections = 0
        self._server: asyncio.Server | None = None
        self._clients: list[asyncio.StreamWriter] = []
        self._loop: asyncio.AbstractEventLoop | None = None

    async def start(self, port: int = 0) -> int:
        self._loop = asyncio.get_running_loop()
        self._server = await asyncio.start_server(self._joined, "127.0.0.1", port)
        return self._server.sockets[0].getsockname()[1]

    def stop(self) -> None:
        assert self._server is not None
        self._server.close()

    async def _joined(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            tws_reader, tws_writer = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError:
            writer.close()  # as socat does in front of a gateway that is down
            return
        self._clients.append(writer)
        back = asyncio.create_task(self._back(tws_reader, writer))
        with suppress(asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError, Cut):
            tws_writer.write(await reader.readexactly(4))
            begun = False
            while True:
                size = await reader.readexactly(4)
                payload = await reader.readexactly(int.from_bytes(size))
                fields = payload.decode().split("\0")[:-1]
                if begun and (answer := self._asked(fields)) is not None:
                    for reply in answer:
                        writer.write(_frame(reply))
                    continue
                begun = True  # the first frame is the handshake
                tws_writer.write(size + payload)
        back.cancel()
        for end in (writer, tws_writer):
            end.close()

    def _asked(self, fields: Fields) -> Answer:
        if fields[0] == HISTORY:
            self.history.append(fields[3])
            self.durations.append(fields[17])
        return self.on_request(fields)

    def push(self, fields: Fields) -> None:
        """Says something to the client that joined last."""
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._clients[-1].write, _frame(fields))

    def cut(self) -> None:
        """Closes the connection of the client that joined last."""
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._clients[-1].close)

    async def _back(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                size = await reader.readexactly(4)
                payload = await reader.readexactly(int.from_bytes(size))
                if payload.split(b"\0")[0].decode() != self.without:
                    writer.write(size + payload)
        writer.close()


def _frame(fields: Fields) -> bytes:
    payload = "".join(f"{field}\0" for field in fields).encode()
    return len(payload).to_bytes(4) + payload


def refused(request: str, code: int, text: str) -> list[Fields]:
    return [["4", "2", request, str(code), text, ""]]


@contextmanager
def through(wire: Wire) -> Iterator[int]:
    """The port at which the wire begins."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="wire", daemon=True)
    thread.start()
    try:
        yield asyncio.run_coroutine_threadsafe(wire.start(), loop).result()
    finally:

        async def end() -> None:
            wire.stop()
            others = asyncio.all_tasks() - {asyncio.current_task()}
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)

        asyncio.run_coroutine_threadsafe(end(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
