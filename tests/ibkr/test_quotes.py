"""Quotes: what an unmodified client is told of a price by a gateway with live, delayed or no market data, and by one that is wrong."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal

import pytest
from ib_async import IB, Contract, RequestError

from tests.ibkr.conftest import ACCOUNT, SECURITY_IDS, THURSDAY, TUESDAY, WEDNESDAY, Gateway, at
from tests.ibkr.wire import Cut, Fields, Wire, refused, through
from tradebot_core.clock import SampleClock
from tradebot_core.config import IbkrSettings, Mode
from tradebot_core.errors import ConfigurationError, ExecutionError
from tradebot_core.ibkr.quotes import Quotes
from tradebot_core.interfaces import NoQuote, Quote
from tradebot_core.simulation.tws_quotes import MarketDataAccess

AAA, BBB = SECURITY_IDS["AAA"], SECURITY_IDS["BBB"]
CON_IDS = {AAA: 101, BBB: 102}
D = Decimal
CONTRACT = Contract(conId=101, exchange="SMART")
MARKET_DATA, DATA_TYPE, CONTRACT_DETAILS = "1", "59", "9"
BID, ASK, LAST, CLOSE = "1", "2", "4", "9"


def quotes(port: int, clock: SampleClock, mode: Mode = Mode.PAPER, **options) -> Quotes:
    options = {"con_ids": lambda: CON_IDS, "timeout_s": 2.0, **options}
    return Quotes(IbkrSettings(port=port, account=ACCOUNT), mode, clock, **options)


def of(gateway: Gateway, access: MarketDataAccess, symbol: str = "AAA") -> Quote | NoQuote:
    security = SECURITY_IDS[symbol]
    with gateway.serving(market_data=access) as port:
        return quotes(port, gateway.clock).of({security: symbol})[security]


# What the login may see


@pytest.mark.parametrize(("access", "delayed"), [(MarketDataAccess.LIVE, False), (MarketDataAccess.DELAYED, True)])
def test_in_the_evening_the_last_price_is_the_sessions_close_and_there_is_no_book(gateway, access, delayed):
    """Tuesday closed at 16.50 and Monday at 15.50; -1 for bid and ask is no price."""
    assert of(gateway, access) == Quote(None, None, D("16.5"), D("15.5"), delayed, at(TUESDAY, 18))


def test_before_the_open_last_and_previous_close_are_the_close_before(gateway):
    gateway.clock.set(at(WEDNESDAY, 8))
    assert of(gateway, MarketDataAccess.DELAYED) == Quote(None, None, D("16.5"), D("16.5"), True, at(WEDNESDAY, 8))


def test_in_the_session_the_last_price_is_its_own_with_a_book_around_it(gateway):
    gateway.clock.set(at(WEDNESDAY, 11))
    expected = Quote(D("16.99"), D("17.01"), D("17"), D("16.5"), False, at(WEDNESDAY, 11))
    assert of(gateway, MarketDataAccess.LIVE) == expected


def test_a_split_shows_on_the_morning_of_its_day_before_the_open(gateway):
    """BBB closed at 106.50 on Tuesday and is split two for one on Wednesday."""
    assert of(gateway, MarketDataAccess.LIVE, "BBB").last == D("106.5")
    gateway.clock.set(at(WEDNESDAY, 8))
    assert of(gateway, MarketDataAccess.LIVE, "BBB") == Quote(None, None, D("53.25"), D("53.25"), False, at(WEDNESDAY, 8))


def test_a_login_without_market_data_has_no_quote_and_the_reason_is_354(gateway):
    found = of(gateway, MarketDataAccess.NONE)
    assert found == NoQuote("IBKR 354: Requested market data is not subscribed.")


def test_a_client_that_asks_for_live_prices_alone_is_told_that_there_are_delayed_ones(gateway):
    async def work() -> str:
        ib = IB()
        ib.RaiseRequestErrors = True
        with gateway.serving() as port:
            await ib.connectAsync("127.0.0.1", port, 5, timeout=5)
            try:
                with pytest.raises(RequestError) as caught:
                    await ib.reqTickersAsync(CONTRACT)
                return caught.value.message
            finally:
                ib.disconnect()

    assert "Delayed market data is available" in asyncio.run(work())


def test_delayed_prices_come_with_the_notice_10167(gateway):
    heard: list[int] = []

    async def work(port: int) -> tuple[int, float]:
        ib = IB()
        await ib.connectAsync("127.0.0.1", port, 5, timeout=5)
        ib.errorEvent += lambda _request, code, *_: heard.append(code)
        try:
            ib.reqMarketDataType(3)
            (ticker,) = await asyncio.wait_for(ib.reqTickersAsync(CONTRACT), 5)
            return ticker.marketDataType, ticker.last
        finally:
            ib.disconnect()

    with gateway.serving() as port:
        assert asyncio.run(work(port)) == (3, 16.5)
    assert heard == [10167]


@pytest.mark.parametrize(("generic", "snapshot", "cause"), [("", False, "streaming"), ("233", True, "generic ticks")])
def test_what_is_not_simulated_is_refused_with_321(gateway, generic, snapshot, cause):
    async def work(port: int) -> list[str]:
        heard: list[str] = []
        ib = IB()
        await ib.connectAsync("127.0.0.1", port, 5, timeout=5)
        ib.errorEvent += lambda _request, code, text, _contract: heard.append(f"{code} {text}")
        try:
            ib.reqMarketDataType(3)
            ib.reqMktData(CONTRACT, generic, snapshot)
            await asyncio.wait_for(ib.reqCurrentTimeAsync(), 5)
            return heard
        finally:
            ib.disconnect()

    with gateway.serving() as port:
        (only,) = asyncio.run(work(port))
    assert only.startswith("321 ")
    assert cause in only


# Several at once


def test_each_security_has_its_own_answer_on_one_connection(gateway):
    with gateway.serving() as port, through(wire := Wire(port)) as before:
        nothing = 999_900
        found = quotes(before, gateway.clock).of({AAA: "AAA", nothing: "NOPE", BBB: "BBB", SECURITY_IDS["CC.B"]: "CC.B"})
        connections = wire.connections
    assert (found[AAA].last, found[BBB].last, found[SECURITY_IDS["CC.B"]].last) == (D("16.5"), D("106.5"), D("56.5"))
    assert found[nothing] == NoQuote("IBKR 200: No security definition has been found for the request")
    assert connections == 1


def test_delayed_prices_are_asked_for_once_and_each_security_by_one_snapshot_of_the_listing_that_is_known(gateway):
    asked: list[Fields] = []

    def see(fields: Fields) -> None:
        if fields[0] in (MARKET_DATA, DATA_TYPE, CONTRACT_DETAILS):
            asked.append(fields)

    with gateway.serving() as port, through(Wire(port, see)) as before:
        quotes(before, gateway.clock).of({AAA: "AAA", BBB: "BBB"})
    assert [fields for fields in asked if fields[0] == DATA_TYPE] == [["59", "1", "3"]]
    snapshots = [fields for fields in asked if fields[0] == MARKET_DATA]
    assert [(fields[3], fields[16], fields[17], fields[18]) for fields in snapshots] == [
        ("101", "", "1", "0"),
        ("102", "", "1", "0"),
    ]
    assert [fields for fields in asked if fields[0] == CONTRACT_DETAILS] == []  # no need to ask which share is meant


def test_no_more_than_ten_are_open_at_once(gateway):
    arrived: list[float] = []

    def hold(fields: Fields) -> list[Fields] | None:
        if fields[0] != MARKET_DATA:
            return None
        arrived.append(time.monotonic())
        return []  # never answered: it is given up after the time limit

    with gateway.serving() as port, through(Wire(port, hold)) as before:
        con_ids = {security: 101 + security for security in range(12)}
        found = quotes(before, gateway.clock, con_ids=lambda: con_ids, timeout_s=2.0).of(dict.fromkeys(con_ids, "AAA"))
    assert ["no answer in 2 s" in answer.reason for answer in found.values()] == [True] * 12
    assert len(arrived) == 12
    assert arrived[9] - arrived[0] < 1.8 <= arrived[10] - arrived[0]  # eight a second; the eleventh waits for the first


# What is no price, and gateways that are wrong


def said(request: str, *ticks: tuple[str, str, str], kind: str = "1", ended: bool = True) -> list[Fields]:
    """A gateway's answer in the fields of the wire: (tick, price, size)."""
    answer = [["58", "1", request, kind], *([["1", "6", request, *tick, "0"] for tick in ticks])]
    return [*answer, *([["57", "1", request]] if ended else [])]


@contextmanager
def answering(gateway: Gateway, *ticks: tuple[str, str, str], **options) -> Iterator[Quotes]:
    def answer(fields: Fields) -> list[Fields] | None:
        return said(fields[2], *ticks, **options) if fields[0] == MARKET_DATA else None

    with gateway.serving() as port, through(Wire(port, answer)) as before:
        yield quotes(before, gateway.clock, timeout_s=0.5)


@pytest.mark.parametrize("worthless", ["-1", "-1.0", "0", "0.0", "", "nan", "inf", "1.7976931348623157E308"])
def test_a_price_that_is_none_is_missing_and_the_others_stand(gateway, worthless):
    ticks = ((BID, worthless, "0"), (ASK, worthless, "100"), (LAST, worthless, "100"), (CLOSE, "16.5", "0"))
    with answering(gateway, *ticks) as asked:
        assert asked.of({AAA: "AAA"}) == {AAA: Quote(None, None, None, D("16.5"), False, at(TUESDAY, 18))}


def test_a_share_of_which_nothing_is_known_has_no_quote(gateway):
    with answering(gateway, (BID, "-1", "0"), (LAST, "0", "0"), (CLOSE, "-1", "0")) as asked:
        assert asked.of({AAA: "AAA"}) == {AAA: NoQuote("IBKR knows no price of it now")}


def test_a_quote_that_never_comes_is_given_up_after_the_time_limit(gateway):
    with answering(gateway, ended=False) as asked:
        (answer,) = asked.of({AAA: "AAA"}).values()
    assert isinstance(answer, NoQuote)
    assert "no answer in 0 s" in answer.reason


def test_prices_count_though_the_snapshot_never_ends(gateway):
    with answering(gateway, ("68", "16.2", "100"), ("75", "16.5", "0"), kind="3", ended=False) as asked:
        assert asked.of({AAA: "AAA"}) == {AAA: Quote(None, None, D("16.2"), D("16.5"), True, at(TUESDAY, 18))}


@pytest.mark.parametrize("code", [10089, 10168, 10186, 10197, 420])
def test_every_refusal_of_market_data_is_a_reason_and_no_error(gateway, code):
    def refuse(fields: Fields) -> list[Fields] | None:
        return refused(fields[2], code, "no prices") if fields[0] == MARKET_DATA else None

    with gateway.serving() as port, through(Wire(port, refuse)) as before:
        assert quotes(before, gateway.clock).of({AAA: "AAA"}) == {AAA: NoQuote(f"IBKR {code}: no prices")}


def test_without_a_gateway_nobody_can_be_asked(gateway):
    with gateway.serving() as port:
        pass
    with pytest.raises(ExecutionError, match="Nothing answers at"):
        quotes(port, gateway.clock).of({AAA: "AAA", BBB: "BBB"})


def test_a_connection_that_breaks_is_no_answer(gateway):
    def break_off(fields: Fields) -> None:
        if fields[0] == MARKET_DATA:
            raise Cut

    with (
        gateway.serving() as port,
        through(Wire(port, break_off)) as before,
        pytest.raises(ExecutionError, match="broke"),
    ):
        quotes(before, gateway.clock).of({AAA: "AAA", BBB: "BBB"})


def test_a_gateway_of_another_account_is_an_error_and_not_a_missing_quote(gateway):
    with gateway.serving(account="DU7654321") as port, pytest.raises(ConfigurationError, match="logged in to DU7654321"):
        quotes(port, gateway.clock).of({AAA: "AAA"})


def test_a_dry_run_may_look(gateway):
    with gateway.serving() as port:
        assert quotes(port, gateway.clock, Mode.DRY_RUN).of({AAA: "AAA"})[AAA].last == D("16.5")


def test_the_day_after_a_dividend_the_price_is_the_markets(gateway):
    """AAA pays 0.10 on Thursday; its prices are raw."""
    gateway.clock.set(at(THURSDAY, 18))
    assert of(gateway, MarketDataAccess.LIVE).last == D("18.5")
