"""The gateway examined as far as a client can, without sending anything that is or looks like an order."""

import asyncio
from collections.abc import Iterable, Iterator
from datetime import timedelta
from enum import StrEnum

from ib_async import IB

from tradebot_core.config import IbkrSettings, Mode
from tradebot_core.errors import ConfigurationError, ExecutionError, TradebotError
from tradebot_core.ibkr.connection import BrokerError, Client, Link, answer, broker_time, run
from tradebot_core.ibkr.contracts import Named, details_of
from tradebot_core.ibkr.history_errors import Refusal, refusal
from tradebot_core.ibkr.hours import why_restarting
from tradebot_core.interfaces import Clock
from tradebot_core.model.finding import Finding, Level

_CONNECT_TIMEOUT_S = 8.0
_ANSWER_TIMEOUT_S = 10.0
_SKEW_WARN, _SKEW_FAIL = timedelta(seconds=2), timedelta(seconds=30)
_BROKER_CLOCK_STEP = timedelta(seconds=1)  # the broker tells whole seconds
_HEARD_WITHIN_S = 0.3  # a gateway tells of its own connections right after it has let a client in
_SIGN_IN = (
    "Look at its window or its container's log: it may wait for a login or the second factor (each week's sign-in ends on Sunday at "
    "01:00 New York), be restarting, or not trust this address (API settings, Trusted IPs)."
)


class What(StrEnum):
    GATEWAY = "ibkr gateway"
    ACCOUNT = "ibkr account"
    LINK = "ibkr link"
    HOURS = "ibkr hours"
    CLOCK = "clock"
    ORDERS = "ibkr orders"
    DATA = "ibkr data"
    WRITER = "ibkr client id"


class _NotServed(ExecutionError):
    """No connection."""


def diagnose(
    settings: IbkrSettings, mode: Mode, clock: Clock, share: Named | None, *, same_time: bool = True
) -> Iterator[Finding]:
    """Findings, the most basic first; after one that makes the others pointless, no more. `share` is what bars are asked of; without
    `same_time` (the sample market) clocks are not compared."""
    if same_time and (why := why_restarting(clock.now(), settings.gateway_restart)):
        yield Finding(Level.WARN, What.HOURS, f"{why}: what is found now may be different later.", "Look again afterwards.")

    async def examine(ib: IB) -> list[Finding]:
        findings = [_account(ib, settings)]
        link = Link(ib)
        await asyncio.sleep(_HEARD_WITHIN_S)
        findings += await _clock(ib, link, clock if same_time else None)
        if not _is_cut_off(findings):
            findings.append(await _orders(ib, mode))
            findings += await _data(ib, share)
        return findings

    try:
        found = run(settings, mode, examine, client=Client.DOCTOR, failure=_NotServed, connect_timeout_s=_CONNECT_TIMEOUT_S)
    except ConfigurationError as error:
        yield Finding(Level.FAIL, What.ACCOUNT, error.cause, error.mend)
        return
    except _NotServed as error:
        clear = "Nothing answers" in error.cause or "in use" in error.cause
        yield Finding(Level.FAIL, What.GATEWAY, error.cause, error.mend if clear else _SIGN_IN)
        return
    yield from found
    if not _is_cut_off(found):
        yield _writer(settings, mode)


def _is_cut_off(found: Iterable[Finding]) -> bool:
    """Whether what else the gateway says means nothing now."""
    return any(finding.what is What.LINK and finding.level is Level.FAIL for finding in found)


def _account(ib: IB, settings: IbkrSettings) -> Finding:
    where = f"{settings.host}:{settings.port}"
    kind = "paper" if settings.account.startswith("D") else "LIVE"
    others = len(ib.managedAccounts()) - 1
    beside = f"; the login's other accounts ({others}) are left alone" if others else ""
    return Finding(Level.OK, What.ACCOUNT, f"{where} serves the API and is logged in to {settings.account} ({kind}){beside}")


async def _clock(ib: IB, link: Link, clock: Clock | None) -> list[Finding]:
    before = clock.now() if clock else None
    try:
        theirs = await broker_time(ib)
    except ConnectionError as error:
        lost = link.lost or str(error)
        return [Finding(Level.FAIL, What.LINK, f"The gateway does not reach IBKR ({lost}).", _of_link())]
    if link.lost:
        return [Finding(Level.FAIL, What.LINK, f"The gateway has lost IBKR ({link.lost}).", _of_link())]
    reached = Finding(Level.OK, What.LINK, "the gateway reaches IBKR, as far as it says")
    if clock is None or before is None:
        return [reached]
    ours = before + (clock.now() - before) / 2
    skew = max(abs(theirs + _BROKER_CLOCK_STEP / 2 - ours) - _BROKER_CLOCK_STEP / 2, timedelta(0))
    text = f"our clock and IBKR's differ by {skew.total_seconds():.1f} s"
    if skew <= _SKEW_WARN:
        return [reached, Finding(Level.OK, What.CLOCK, text)]
    level = Level.WARN if skew <= _SKEW_FAIL else Level.FAIL
    mend = "Let this machine keep its time by NTP (timedatectl set-ntp true): sessions, deadlines and known_at depend on it."
    return [reached, Finding(level, What.CLOCK, text, mend)]


def _of_link() -> str:
    return "Wait until it has reconnected (1102 in its log); if it lasts, look at this machine's network and IBKR's system status page."


async def _orders(ib: IB, mode: Mode) -> Finding:
    """A read-only gateway does not tell of open orders either; no order has to be sent to learn it."""
    try:
        await answer(ib, ib.reqOpenOrdersAsync(), timeout_s=_ANSWER_TIMEOUT_S)
    except ConfigurationError as error:
        if mode is Mode.DRY_RUN:
            return Finding(Level.OK, What.ORDERS, "the API is read-only, and a dry run sends no order")
        return Finding(Level.FAIL, What.ORDERS, error.cause, error.mend)
    except (BrokerError, ConnectionError) as error:
        return Finding(
            Level.WARN, What.ORDERS, f"The question for open orders was not answered ({error}).", "Restart the gateway."
        )
    return Finding(Level.OK, What.ORDERS, "open orders can be asked for; the API does not seem to be read-only")


async def _data(ib: IB, share: Named | None) -> list[Finding]:
    if share is None:
        return [
            Finding(Level.WARN, What.DATA, "No security is known to ask about.", "Collect the securities, then run this again.")
        ]
    try:
        details = await details_of(ib, share)
    except (BrokerError, ConnectionError) as error:
        mend = "Correct the symbol or its con_id in the list of securities."
        return [Finding(Level.FAIL, What.DATA, f"IBKR does not tell which share {share.symbol} is ({error}).", mend)]
    contract = details.contract
    assert contract is not None
    resolved = Finding(Level.OK, What.DATA, f"{share.symbol} is contract {contract.conId} ({contract.primaryExchange})")
    bars = ib.reqHistoricalDataAsync(contract, "", "5 D", "1 day", "TRADES", useRTH=True, formatDate=2, timeout=0)
    try:
        found = await answer(ib, bars, timeout_s=_ANSWER_TIMEOUT_S)
    except ConnectionError as error:
        mend = "Run this again; IBKR answers slowly when it was asked for much."
        return [resolved, Finding(Level.WARN, What.DATA, f"No daily bars of {share.symbol} came ({error}).", mend)]
    except BrokerError as error:
        return [resolved, _of_refusal(share, error)]
    return [resolved, Finding(Level.OK, What.DATA, f"daily bars of {share.symbol} come ({len(found)} of the last sessions)")]


def _of_refusal(share: Named, error: BrokerError) -> Finding:
    refused = f"IBKR gave no daily bars of {share.symbol} ({error})."
    mends: dict[Refusal, tuple[Level, str]] = {
        Refusal.NO_PERMISSION: (
            Level.FAIL,
            "In Client Portal subscribe to US stock quotes for this login and acknowledge the market data API; a paper login needs "
            "the sharing of the live login's data. See docs/ibkr.md.",
        ),
        Refusal.OTHER_SESSION: (Level.FAIL, "The login is in use elsewhere with its market data: end that session."),
        Refusal.PACING: (Level.WARN, "Wait some minutes: IBKR was asked for too much."),
    }
    level, mend = mends.get(refusal(error), (Level.WARN, "Look the code up in docs/ibkr.md."))
    return Finding(level, What.DATA, refused, mend)


def _writer(settings: IbkrSettings, mode: Mode) -> Finding:
    """Whether the one client id that may order is free."""

    async def nothing(_: IB) -> None:
        return None

    number = settings.client_id + Client.ORDERS
    try:
        run(settings, mode, nothing, client=Client.ORDERS, failure=_NotServed, connect_timeout_s=_CONNECT_TIMEOUT_S)
    except TradebotError as error:
        mend = "Right while a run sends orders. At other times find the program that is connected with it, and stop it."
        return Finding(Level.WARN, What.WRITER, error.cause, mend)
    return Finding(Level.OK, What.WRITER, f"client id {number}, which orders are sent with, is free")
