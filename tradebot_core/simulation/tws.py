"""A simulated TWS: a server on a socket that an unmodified IBKR client (ib_async, server version 178) connects to.

It is the broker of the sample market and of the tests. Times come from a clock, prices from daily bars, the rules of trading
from `exchange`. What it leaves out it refuses with the error that a gateway would send.
"""

import asyncio
import logging
import re
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path

from tradebot_core.calendar import NEW_YORK, TradingCalendar, xnys
from tradebot_core.interfaces import Clock
from tradebot_core.simulation.exchange import SimulatedExchange
from tradebot_core.simulation.faults import Fault, FaultKind, FaultScript, Place
from tradebot_core.simulation.faulty_desk import FaultyDesk
from tradebot_core.simulation.market_data import MarketData
from tradebot_core.simulation.tws_by_hand import ByHand
from tradebot_core.simulation.tws_desk import Reports
from tradebot_core.simulation.tws_protocol import SERVER_VERSION, Request, read_fields, read_payload
from tradebot_core.simulation.tws_quotes import MarketDataAccess
from tradebot_core.simulation.tws_session import Session

_log = logging.getLogger(__name__)
_HANDSHAKE_TIMEOUT_S = 10.0
_CLOCK_CHECK_S = 0.1


class SimulatedTws:
    """One login, of `account` and, where `others` are given, of several accounts, each with `cash` when it is opened. `state_path`
    keeps orders and holdings between processes; `read_only` and `ledger_prefix` are the gateway's settings; without `reports` its
    login may not have fundamental data; `market_data` is what it may see of prices, as it comes what a newcomer's paper account
    does. `by_hand` is what happens without a client, and safe from any thread. `faults` are what goes wrong; `tws.faults.add` takes
    more while it runs, from any thread."""

    def __init__(
        self,
        market: MarketData,
        clock: Clock,
        account: str = "DU0000001",
        cash: Decimal = Decimal(100_000),
        state_path: Path | None = None,
        *,
        others: Sequence[str] = (),
        calendar: TradingCalendar | None = None,
        read_only: bool = False,
        ledger_prefix: bool = True,
        reports: Reports | None = None,
        market_data: MarketDataAccess = MarketDataAccess.DELAYED,
        faults: Iterable[Fault] = (),
    ) -> None:
        self.exchange = SimulatedExchange(market, clock, calendar or xnys(), [account, *others], cash, state_path)
        self.faults = FaultScript(faults)
        self._desk = FaultyDesk(
            self.exchange,
            self.faults,
            read_only=read_only,
            ledger_prefix=ledger_prefix,
            reports=reports,
            market_data=market_data,
        )
        self.by_hand = ByHand(self._desk, self.faults)
        self._connections: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._ticker: asyncio.Task[None] | None = None

    # The life of the server.

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> int:
        """Listens; returns the port (a free one, when asked for 0)."""
        self._server = await asyncio.start_server(self._connected, host, port)
        self._ticker = asyncio.create_task(self._follow_clock())
        self.by_hand.loop = asyncio.get_running_loop()
        return self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Drops every client and stops listening. The account's state is kept already."""
        self.by_hand.loop = None
        if self._ticker is not None:
            self._ticker.cancel()
        if self._server is not None:
            self._server.close()
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _follow_clock(self) -> None:
        while True:
            try:
                self._desk.advance()
            except Exception:
                _log.exception("the simulated exchange could not follow the clock")
            await asyncio.sleep(_CLOCK_CHECK_S)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        session = Session(writer, self.faults.at(Place.CONNECTION))
        try:
            if FaultKind.ACCEPT_THEN_CLOSE in session.faults:
                return
            if FaultKind.SILENCE in session.faults:
                while await reader.read(1 << 16):
                    pass
                return
            async with asyncio.timeout(_HANDSHAKE_TIMEOUT_S):
                accepted = await self._shake_hands(reader, session)
            while accepted:
                self._desk.answer(session, await read_fields(reader))
        except (asyncio.IncompleteReadError, ConnectionError, TimeoutError, asyncio.CancelledError):
            pass  # the client has gone, or the server stops
        except ValueError as problem:
            _log.warning("client %s dropped: %s", session.client_id, problem)
        finally:
            self._desk.dismiss(session)
            self._connections.discard(task)
            await session.close()

    async def _shake_hands(self, reader: asyncio.StreamReader, session: Session) -> bool:
        if await reader.readexactly(4) != b"API\0":
            raise ValueError("not an API client")
        versions = re.match(rb"v(\d+)\.\.(\d+)", await read_payload(reader))
        if versions is None or not int(versions[1]) <= SERVER_VERSION <= int(versions[2]):
            raise ValueError("a client of another protocol version")
        session.send([SERVER_VERSION, f"{self.exchange.now.astimezone(NEW_YORK):%Y%m%d %H:%M:%S EST}"])
        start, _, client_id, *_ = await read_fields(reader)
        if int(start) != Request.START_API:
            raise ValueError("a client that does not start")
        return self._desk.admit(session, int(client_id))


# Running it.


def serve(tws: SimulatedTws, host: str = "127.0.0.1", port: int = 7497, beside: Callable[[], None] | None = None) -> None:
    """Serves until the process is told to stop; `beside` runs in a thread of its own from when clients may connect."""

    async def main() -> None:
        stopped = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stopped.set)
        await tws.start(host, port)
        if beside is not None:
            threading.Thread(target=beside, name="beside-the-simulated-tws", daemon=True).start()
        await stopped.wait()
        await tws.stop()

    asyncio.run(main())


@contextmanager
def serving(tws: SimulatedTws, host: str = "127.0.0.1", port: int = 0) -> Iterator[int]:
    """Serves from a thread of its own while the block runs; yields the port."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="simulated-tws", daemon=True)
    thread.start()
    try:
        yield asyncio.run_coroutine_threadsafe(tws.start(host, port), loop).result()
    finally:
        asyncio.run_coroutine_threadsafe(tws.stop(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
