"""One use of the IBKR API: connect, check the account, do the work, disconnect.

An IB object lives inside one event loop and one thread, and no longer than one piece of work: kept open it would have to live
through the gateway's nightly restart, after which ib_async's memory of orders is not to be trusted. Client ids are fixed:

    settings.client_id        ORDERS: the only writer. Only it can cancel its orders and see their commissions, so it also
                              asks for their state. One process at a time may use it; a second one is told 326.
    settings.client_id + 9..  readers, one id for each collector, so that they do not stand in the writer's way
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager, suppress
from datetime import datetime
from enum import IntEnum
from typing import TypeVar
from weakref import WeakKeyDictionary

from ib_async import IB, RequestError, StartupFetchNONE

from tradebot_core.config import SIMULATED_ACCOUNT, IbkrSettings, Mode
from tradebot_core.errors import ConfigurationError, ExecutionError, TradebotError, UsageError

T = TypeVar("T")

CONNECT_TIMEOUT_S = 20.0
ANSWER_TIMEOUT_S = 30.0
_ID_IN_USE = 326
_ID_RELEASE_S = 1.0  # a gateway may take a moment to see that the last use of the id is over
_ID_ATTEMPTS = 3
_LINK_LOST = frozenset({1100, 2110})
_LINK_RESTORED = frozenset({1101, 1102})
# IBKR takes 50 messages a second of all clients together and cuts off who sends more; ib_async counts each client by itself, up to 45.
_READER_MESSAGES_PER_S = 8
_CLOCK_TIMEOUTS_S = (2.0, 5.0)
_NOT_VALID = 321


def is_read_only(code: int, text: str) -> bool:
    """Whether the gateway refuses because its API may not write."""
    return code == _NOT_VALID and "read-only" in text.lower()


def read_only(said: str) -> ConfigurationError:
    return ConfigurationError(
        f"The gateway's API is in read-only mode ({said}).",
        "In TWS or IB Gateway: Configuration, API, Settings: clear Read-Only API. Until then nothing can be ordered.",
    )


class Client(IntEnum):
    """Who connects: what is added to settings.client_id."""

    ORDERS = 0
    BARS = 9
    CONTRACTS = 10
    REPORTS = 11
    SPLITS = 12
    WATCH = 13
    DOCTOR = 14
    ACCOUNT = 15
    QUOTES = 16


# The others ask the broker's clock, which is the proof that somebody is there, as their first question; the doctor finds out by itself.
_PROBE_THEMSELVES = frozenset({Client.BARS, Client.CONTRACTS, Client.SPLITS, Client.WATCH, Client.DOCTOR, Client.ACCOUNT})


class BrokerError(Exception):
    """The broker's own error about one request."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"IBKR {code}: {text}")
        self.code = code
        self.text = text


class _IdInUse(TradebotError):
    pass


def run(
    settings: IbkrSettings,
    mode: Mode,
    work: Callable[[IB], Awaitable[T]],
    *,
    client: Client,
    failure: type[TradebotError] = ExecutionError,
    connect_timeout_s: float = CONNECT_TIMEOUT_S,
) -> T:
    """Does `work` on a fresh connection and returns its result. To be called from plain, synchronous code.

    Raises ConfigurationError when the account is not the one that is configured or does not fit the mode, and `failure` (what
    a dead connection means to the caller) when the gateway cannot be reached or goes away.
    """
    _prepare()

    async def use() -> T:
        async with connected(settings, mode, client, failure, connect_timeout_s) as ib:
            return await work(ib)

    return asyncio.run(use())


def stream(
    settings: IbkrSettings,
    mode: Mode,
    work: Callable[[IB], AsyncIterator[T]],
    *,
    client: Client,
    failure: type[TradebotError] = ExecutionError,
) -> Iterator[T]:
    """As `run`, for work whose results are wanted one by one. Between two of them the event loop stands still: what arrives waits in
    the socket, so a caller may store a result before it asks for the next, but should not sleep."""
    _prepare()

    async def results() -> AsyncIterator[T]:
        async with connected(settings, mode, client, failure) as ib, aclosing(work(ib)) as found:
            async for result in found:
                yield result

    async def following() -> T | _End:
        return await anext(each, _END)

    async def closed() -> None:
        await each.aclose()

    with asyncio.Runner() as runner:
        each = results()
        try:
            while not isinstance(result := runner.run(following()), _End):
                yield result
        finally:
            runner.run(closed())


class _End:
    """No further result."""


_END = _End()


def _prepare() -> None:
    with suppress(RuntimeError):
        asyncio.get_running_loop()
        raise UsageError("The IBKR connection was asked for inside a running event loop.", "Call it from a plain function.")
    # What ib_async logs is raised as well; without a handler Python would also print it to standard error.
    logging.getLogger("ib_async").addHandler(logging.NullHandler())


@asynccontextmanager
async def connected(
    settings: IbkrSettings,
    mode: Mode,
    client: Client,
    failure: type[TradebotError],
    connect_timeout_s: float = CONNECT_TIMEOUT_S,
) -> AsyncIterator[IB]:
    """A fresh connection to the right account. Errors as of `run`."""
    ib = IB()
    ib.RaiseRequestErrors = True  # or a refused request looks like an empty answer
    if client is not Client.ORDERS:
        ib.client.MaxRequests = _READER_MESSAGES_PER_S
    _LINKS[ib] = Link(ib)
    try:
        for attempt in range(1, _ID_ATTEMPTS + 1):
            try:
                await _connect(ib, settings, client, failure, connect_timeout_s)
                break
            except _IdInUse as error:
                if attempt == _ID_ATTEMPTS:
                    raise failure(error.cause, error.mend) from None
                await asyncio.sleep(_ID_RELEASE_S)
        check_account(ib.managedAccounts(), settings, mode)
        if client not in _PROBE_THEMSELVES:
            await broker_time(ib)
        yield ib
    except ConnectionError as error:
        raise failure(
            f"The connection to the IBKR gateway at {settings.host}:{settings.port} broke ({error}).",
            "Look at the gateway, then run the step again.",
        ) from error
    except BrokerError as error:
        raise failure(f"The IBKR gateway refused a request ({error}).", "Look the code up in IBKR's message codes.") from error
    finally:
        ib.disconnect()


class Link:
    """Whether the gateway has its own connection to IBKR, as far as it has told us, and how often it has lost it."""

    def __init__(self, ib: IB) -> None:
        self.lost = ""
        self.losses = 0
        ib.errorEvent += self._on_error

    def _on_error(self, _request: int, code: int, text: str, _contract: object) -> None:
        if code in _LINK_LOST:
            self.lost = f"IBKR {code}: {text}"
            self.losses += 1
        elif code in _LINK_RESTORED:
            self.lost = ""


_LINKS: WeakKeyDictionary[IB, Link] = WeakKeyDictionary()


@contextmanager
def one_link(ib: IB) -> Iterator[None]:
    """Questions whose answers belong together, of a connection made by `run`. Raises ConnectionError when the gateway lost IBKR on the
    way, come back (1101, 1102) or not: part of what it said may be from memory, and lacks what happened in the gap."""
    require_link(ib)
    before = _LINKS[ib].losses
    yield
    if _LINKS[ib].losses != before:
        raise ConnectionError("the gateway lost IBKR while it was asked")


def require_link(ib: IB) -> None:
    """Raises ConnectionError when the gateway has told, on this connection, that it has lost IBKR."""
    if _LINKS[ib].lost:
        raise ConnectionError(f"the gateway has lost IBKR ({_LINKS[ib].lost})")


async def broker_time(ib: IB) -> datetime:
    """The broker's clock, and a proof that somebody is there: a gateway may accept and answer nothing, or answer from memory while it has
    lost IBKR, which itself answers this question. Raises ConnectionError then.

    A gateway ignores the question when it answered it less than a second ago, so it is asked twice.
    """
    for timeout in _CLOCK_TIMEOUTS_S:
        try:
            now = await answer(ib, ib.reqCurrentTimeAsync(), timeout_s=timeout)
            require_link(ib)
            return now
        except ConnectionError:
            if timeout == _CLOCK_TIMEOUTS_S[-1] or not ib.isConnected() or _LINKS[ib].lost:
                raise
    raise AssertionError


async def _connect(ib: IB, settings: IbkrSettings, client: Client, failure: type[TradebotError], timeout_s: float) -> None:
    """ib_async waits out its timeout after a refusal: this listens for the reason and leaves at once."""
    where = f"{settings.host}:{settings.port}"
    client_id = settings.client_id + client
    refused: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def on_error(_request: int, code: int, text: str, _contract: object) -> None:
        if code == _ID_IN_USE and not refused.done():
            refused.set_result(f"{code}")

    until = asyncio.get_running_loop().time() + timeout_s

    def on_end(text: str) -> None:
        late = asyncio.get_running_loop().time() >= until  # ib_async closes the connection itself when its time is up
        if not refused.done():
            refused.set_result(f"no answer in {timeout_s:.0f} s" if late else text or "it closed the connection")

    ib.errorEvent += on_error
    ib.client.conn.disconnected += on_end  # apiError is silent about an end before the handshake
    connecting = asyncio.ensure_future(
        ib.connectAsync(
            settings.host,
            settings.port,
            client_id,
            timeout=timeout_s,
            account=settings.account,
            raiseSyncErrors=True,
            fetchFields=StartupFetchNONE,  # each question asks afresh for what it needs
        )
    )
    await asyncio.wait({connecting, refused}, return_when=asyncio.FIRST_COMPLETED)
    ib.errorEvent -= on_error
    ib.client.conn.disconnected -= on_end
    if connecting.done() and connecting.exception() is None:
        return
    connecting.cancel()
    problem = (await asyncio.gather(connecting, return_exceptions=True))[0]
    if refused.done() and refused.result() == f"{_ID_IN_USE}":
        raise _IdInUse(
            f"Client id {client_id} is in use at the IBKR gateway {where}: another process is connected with it.",
            "Let it finish or stop it. Do not choose another id: two writers could send the same order.",
        )
    if isinstance(problem, OSError) and type(problem) not in (ConnectionError, ConnectionResetError, TimeoutError):
        mend = (
            "`make run`, `tradebot up` and `tradebot simulate-tws` start the simulated TWS of the sample market."
            if settings.account == SIMULATED_ACCOUNT
            else "Start TWS or IB Gateway, enable its API socket, and compare the port with ibkr.port "
            "(gateway 4001 live, 4002 paper; TWS 7496 live, 7497 paper)."
        )
        raise failure(f"Nothing answers at {where} ({problem.strerror or problem}).", mend) from problem
    reason = refused.result() if refused.done() else str(problem) or f"no answer in {timeout_s:.0f} s"
    raise failure(
        f"The IBKR gateway at {where} does not serve the API ({reason}).",
        "Look at its window: it may wait for a login, be restarting, or not trust this address.",
    ) from problem


def check_account(managed: list[str], settings: IbkrSettings, mode: Mode) -> None:
    """The login must hold exactly the configured account, and be of the kind the mode says (paper accounts begin with D)."""
    if settings.account not in managed:
        raise ConfigurationError(
            f"The gateway at {settings.host}:{settings.port} is logged in to {', '.join(managed) or 'no account'}, "
            f"not to {settings.account}.",
            "Correct ibkr.account or ibkr.port, or log the gateway in to the right account.",
        )
    live = [account for account in managed if not account.startswith("D")]
    if mode is Mode.PAPER and live:
        raise ConfigurationError(
            f"Mode is paper, but the gateway is logged in to the live account {live[0]}.",
            "Log the gateway in to the paper account, or set mode: live by name.",
        )
    if mode is Mode.LIVE and settings.account not in live:
        raise ConfigurationError(
            f"Mode is live, but {settings.account} is a paper account.", "Set mode: paper, or the live account and its port."
        )


async def answer(ib: IB, question: Awaitable[T], *, timeout_s: float = ANSWER_TIMEOUT_S) -> T:
    """The answer to one request. Raises BrokerError when the broker refuses it, ConnectionError when none comes.

    Some gateways never end some requests, and ib_async takes error 321 (a request that is not valid) for a warning and waits
    on: the last error heard is quoted.
    """
    heard: list[str] = []
    refused: list[str] = []
    answering = asyncio.ensure_future(question)

    def on_error(_request: int, code: int, text: str, _contract: object) -> None:
        heard.append(f"IBKR {code}: {text}")
        if is_read_only(code, text):
            refused.append(heard[-1])
            answering.cancel()  # or it would be waited for in vain

    ib.errorEvent += on_error
    try:
        return await asyncio.wait_for(answering, timeout_s)
    except asyncio.CancelledError:
        if not refused:
            raise
        raise read_only(refused[-1]) from None
    except RequestError as error:
        raise BrokerError(error.code, error.message) from None
    except TimeoutError:
        said = f"; last heard: {heard[-1]}" if heard else ""
        raise ConnectionError(f"no answer in {timeout_s:.0f} s{said}") from None
    finally:
        ib.errorEvent -= on_error
