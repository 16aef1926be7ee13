"""The gateway examined as far as a client can, without sending anything that is or looks like an order, unless a person asks for a
preview of one."""

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
from tradebot_core.ibkr.quotes import ask_for_delayed, quote_of
from tradebot_core.ibkr.what_if import preview
from tradebot_core.interfaces import Clock, NoQuote
from tradebot_core.model.finding import Finding, Level

_CONNECT_TIMEOUT_S = 8.0
_ANSWER_TIMEOUT_S = 10.0
_SNAPSHOT_TIMEOUT_S = 15.0
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
    PRICES = "ibkr prices"
    PREVIEW = "ibkr preview"
    WRITER = "ibkr client id"


class _NotServed(ExecutionError):
    """No connection."""


def diagnose(
    settings: IbkrSettings,
    mode: Mode,
    clock: Clock,
    share: Named | None,
    *,
    same_time: bool = True,
    what_if: bool = False,
) -> Iterator[Finding]:
    """Findings, the most basic first; after one that makes the others pointless, no more. `share` is what bars and prices are asked
    of; without `same_time` (the sample market) clocks are not compared; with `what_if` an order for one share is previewed."""
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
            if share is not None:
                findings.append(await _prices(ib, share, clock))
            if share is not None and what_if:
                findings.append(await _preview(ib, share, settings.account))
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


async def _prices(ib: IB, share: Named, clock: Clock) -> Finding:
    ask_for_delayed(ib)
    found = await quote_of(ib, share, clock, _SNAPSHOT_TIMEOUT_S)
    if isinstance(found, NoQuote):
        mend = (
            "Orders go out on the close they were sized on, or with risk.fresh_quote: required not at all. For prices of the moment "
            "subscribe to US stock quotes in Client Portal; see docs/ibkr.md."
        )
        return Finding(Level.WARN, What.PRICES, f"There is no price of {share.symbol} at this moment ({found.reason}).", mend)
    told = {"last": found.last, "bid": found.bid, "ask": found.ask, "previous close": found.close}
    words = ", ".join(f"{name} {price.normalize():f}" for name, price in told.items() if price is not None)
    return Finding(Level.OK, What.PRICES, f"{'delayed' if found.delayed else 'live'} prices of {share.symbol} come ({words})")


async def _preview(ib: IB, share: Named, account: str) -> Finding:
    """Whether the account may buy the share, by the broker's word on an order for one that is not placed."""
    asked = f"an order for one share of {share.symbol}, previewed and not placed,"
    try:
        details = await details_of(ib, share)
        assert details.contract is not None
        seen = await preview(ib, details.contract, account, "BUY", 1, timeout_s=_ANSWER_TIMEOUT_S)
    except ConfigurationError as error:
        return Finding(Level.FAIL, What.PREVIEW, error.cause, error.mend)
    except BrokerError as error:
        mend = "The text says why: trading permissions and cash are in Client Portal. See docs/ibkr.md for the codes."
        return Finding(Level.FAIL, What.PREVIEW, f"IBKR would refuse {asked} ({error}).", mend)
    except ConnectionError as error:
        mend = "That proves nothing: with a warning about the order, none comes. The gateway's window may show it."
        return Finding(Level.WARN, What.PREVIEW, f"Of {asked} nothing was heard ({error}).", mend)
    told = {
        "initial margin": seen.initial_margin_change,
        "commission": seen.commission,
        "equity with loan after": seen.equity_with_loan_after,
    }
    words = ", ".join(f"{name} {value.normalize():f}" for name, value in told.items() if value is not None)
    return Finding(Level.OK, What.PREVIEW, f"{asked} would be taken ({words}){f'; {seen.warning}' if seen.warning else ''}")


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
