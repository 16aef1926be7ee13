"""The simulated TWS as the unmodified ib_async client sees it, and the connection's refusals."""

import asyncio
import socket
import subprocess
import sys
import time
from datetime import UTC, date, datetime
from decimal import Decimal

import pytest
from ib_async import IB, Contract, ExecutionFilter, LimitOrder, MarketOrder, Order, RequestError, Stock, TagValue

from tests.ibkr.conftest import ACCOUNT, SESSIONS, THURSDAY, TUESDAY, WEDNESDAY, at
from tradebot_core.config import IbkrSettings, Mode
from tradebot_core.errors import ConfigurationError, DataError, ExecutionError, UsageError
from tradebot_core.ibkr.connection import Client, run

AAA = Stock("AAA", "SMART", "USD")


def ask(settings: IbkrSettings, work, client_id: int = 5, timeout_s: float = 5):
    """A client's whole life with everything ib_async fetches on connecting."""

    async def main():
        ib = IB()
        ib.RaiseRequestErrors = True
        await ib.connectAsync(settings.host, settings.port, client_id, timeout=timeout_s, raiseSyncErrors=True)
        try:
            return await work(ib)
        finally:
            ib.disconnect()

    return asyncio.run(main())


async def settle(ib: IB) -> None:
    """Waits for what is on its way: a request's answer comes after it."""
    await asyncio.wait_for(ib.reqCurrentTimeAsync(), 5)


async def until(ib: IB, reached) -> None:
    async with asyncio.timeout(5):
        while not reached():
            await ib.updateEvent


def order(side: str, quantity: int, **terms) -> MarketOrder:
    return MarketOrder(side, quantity, account=ACCOUNT, tif=terms.pop("tif", "OPG"), **terms)


# The client's view.


def test_the_client_connects_and_knows_account_time_and_next_id(settings):
    async def work(ib):
        return ib.client.serverVersion(), ib.managedAccounts(), await ib.reqCurrentTimeAsync(), ib.positions(), ib.trades()

    assert ask(settings, work) == (178, [ACCOUNT], at(TUESDAY, 18).astimezone(UTC), [], [])


@pytest.mark.parametrize(
    ("prefixed", "tag", "absent"), [(True, "$LEDGER-CashBalance", "CashBalance"), (False, "CashBalance", "$LEDGER-")]
)
def test_account_values_come_with_or_without_the_ledger_prefix(gateway, prefixed, tag, absent):
    async def work(ib):
        return {(v.tag, v.currency): v.value for v in ib.accountValues(ACCOUNT)}

    with gateway.serving(ledger_prefix=prefixed) as port:
        values = ask(IbkrSettings(port=port, account=ACCOUNT), work)
    assert values[tag, "USD"] == values["NetLiquidation", "USD"] == "10000"
    assert not any(name == absent for name, _ in values)


def test_the_account_summary_carries_the_tags_asked_for(settings):
    async def work(ib):
        return {v.tag: v.value for v in await ib.accountSummaryAsync() if v.currency in ("USD", "")}

    summary = ask(settings, work)
    assert summary["SettledCash"] == summary["AvailableFunds"] == "10000"
    assert summary["AccountType"] == "INDIVIDUAL"


def test_contract_details_describe_the_share(settings):
    async def work(ib):
        (found,) = await ib.reqContractDetailsAsync(Stock("BBB", "SMART", "USD"))
        return found

    found = ask(settings, work)
    assert (found.contract.conId, found.contract.primaryExchange, found.longName) == (102, "NASDAQ", "Béta Brands")
    assert (found.industry, found.category, found.stockType) == ("Consumer", "Apparel", "COMMON")
    assert len(found.marketRuleIds.split(",")) == len(found.validExchanges.split(","))
    assert "OPG" in found.orderTypes.split(",")
    first = found.liquidSessions()[1]
    assert (first.start, first.end) == (at(WEDNESDAY, 9, 30), at(WEDNESDAY, 16))


def test_a_share_class_is_found_under_the_brokers_spelling(settings):
    async def work(ib):
        return await ib.qualifyContractsAsync(Stock("CC B", "SMART", "USD"), Contract(conId=103, exchange="SMART"))

    assert [contract.symbol for contract in ask(settings, work)] == ["CC B", "CC B"]


def test_an_unknown_contract_is_error_200(settings):
    async def work(ib):
        with pytest.raises(RequestError) as caught:
            await ib.reqContractDetailsAsync(Stock("ZZZ", "SMART", "USD"))
        return caught.value.code

    assert ask(settings, work) == 200


def test_the_market_rule_has_price_bands(settings):
    async def work(ib):
        return [(band.lowEdge, band.increment) for band in await ib.reqMarketRuleAsync(26)]

    assert ask(settings, work) == [(0.0, 0.0001), (1.0, 0.01)]


def test_daily_bars_are_those_of_the_market_and_end_with_the_last_session(settings):
    async def work(ib):
        return await ib.reqHistoricalDataAsync(AAA, "", "3 D", "1 day", "TRADES", useRTH=True, formatDate=2)

    bars = ask(settings, work)
    assert [(bar.date, bar.open, bar.high, bar.low, bar.close, bar.volume) for bar in bars] == [
        (date(2026, 11, 13), 14.0, 15.0, 13.75, 14.5, 1000.0),
        (date(2026, 11, 16), 15.0, 16.0, 14.75, 15.5, 1000.0),
        (TUESDAY, 16.0, 17.0, 15.75, 16.5, 1000.0),
    ]


def test_bars_before_a_split_are_adjusted_once_it_has_happened(gateway, settings):
    async def work(ib):
        request = ib.reqHistoricalDataAsync(Stock("BBB", "SMART", "USD"), "", "2 D", "1 day", "TRADES", useRTH=True)
        return [(bar.date, bar.open, bar.volume) for bar in await request]

    assert ask(settings, work)[-1] == (TUESDAY, 106.0, 1000.0)
    gateway.clock.set(at(WEDNESDAY, 18))
    assert ask(settings, work) == [(TUESDAY, 53.0, 2000.0), (WEDNESDAY, 53.5, 1000.0)]


def test_the_bar_of_an_open_session_shows_nothing_of_its_future(gateway, settings):
    async def work(ib):
        request = ib.reqHistoricalDataAsync(AAA, "", "1 D", "1 day", "TRADES", useRTH=True)
        return [(bar.date, bar.open, bar.high, bar.close) for bar in await request]

    gateway.clock.set(at(WEDNESDAY, 11))
    assert ask(settings, work) == [(WEDNESDAY, 17.0, 17.0, 17.0)]


def test_no_data_is_error_162_and_fundamentals_are_error_10358(settings):
    async def work(ib):
        codes = []
        end = datetime(2025, 1, 2, tzinfo=UTC)
        for request in (
            ib.reqHistoricalDataAsync(AAA, end, "5 D", "1 day", "TRADES", useRTH=True),
            ib.reqFundamentalDataAsync(AAA, "ReportSnapshot"),
        ):
            with pytest.raises(RequestError) as caught:
                await request
            codes.append(caught.value.code)
        return codes

    assert ask(settings, work) == [162, 10358]


def test_an_order_for_the_open_fills_at_the_open_with_its_commission(gateway, settings):
    async def work(ib):
        trade = ib.placeOrder(AAA, order("BUY", 100, orderRef="one"))
        await until(ib, lambda: trade.orderStatus.permId)
        waiting = trade.orderStatus.status
        gateway.clock.set(at(WEDNESDAY, 9, 29))
        await settle(ib)
        early = len(trade.fills)
        gateway.clock.set(at(WEDNESDAY, 9, 30))
        await until(ib, lambda: trade.fills and trade.fills[0].commissionReport.execId)
        (fill,) = trade.fills
        await until(ib, ib.positions)
        return waiting, early, trade.orderStatus, fill, ib.positions()[0]

    waiting, early, status, fill, position = ask(settings, work)
    assert (waiting, early, status.status, status.filled, status.remaining) == ("PreSubmitted", 0, "Filled", 100.0, 0.0)
    assert (fill.execution.price, fill.execution.time) == (17.0, at(WEDNESDAY, 9, 30))
    assert fill.commissionReport.commission == 1.0
    assert (position.position, position.avgCost) == (100.0, 17.01)


def test_after_reconnecting_the_filled_order_is_completed_and_its_execution_listed(gateway, settings):
    async def place(ib):
        trade = ib.placeOrder(AAA, order("BUY", 100, orderRef="one"))
        await until(ib, lambda: trade.orderStatus.permId)

    async def look(ib):
        completed = await ib.reqCompletedOrdersAsync(False)
        fills = await ib.reqExecutionsAsync(ExecutionFilter(acctCode=ACCOUNT))
        await settle(ib)
        return await ib.reqAllOpenOrdersAsync(), completed, fills

    ask(settings, place)
    gateway.clock.set(at(WEDNESDAY, 18))
    still_open, (completed,), (fill,) = ask(settings, look)
    assert still_open == []
    assert (completed.order.orderRef, completed.order.orderId, completed.order.filledQuantity) == ("one", 0, 100.0)
    assert (fill.execution.orderRef, fill.execution.shares) == ("one", 100.0)
    gateway.clock.set(at(THURSDAY, 18))
    assert ask(settings, look) == ([], [], []), "a gateway shows the current day only"


def test_commissions_are_reported_to_the_client_that_traded_and_to_no_other(gateway, settings):
    async def place(ib):
        trade = ib.placeOrder(AAA, order("BUY", 100))
        await until(ib, lambda: trade.orderStatus.permId)

    async def reports(ib):
        await settle(ib)
        return [fill.commissionReport.commission for fill in ib.fills()]

    ask(settings, place, client_id=1)
    gateway.clock.set(at(WEDNESDAY, 18))
    assert (ask(settings, reports, client_id=1), ask(settings, reports, client_id=2)) == ([1.0], [0.0])


@pytest.mark.parametrize(
    ("placed", "code"),
    [
        (order("BUY", 1000), 201),  # 16 500 USD with 10 000
        (order("SELL", 1), 201),
        (order("BUY", 1, tif="GTC"), 111),
        (LimitOrder("BUY", 1, 16.123, account=ACCOUNT, tif="DAY"), 110),
        (MarketOrder("BUY", 1, tif="OPG"), 435),
        (order("BUY", 1.5), 10243),
    ],
)
def test_an_order_that_cannot_be_taken_is_refused_with_its_code(settings, placed, code):
    async def work(ib):
        codes = []
        ib.errorEvent += lambda order_id, code, *_: codes.append(code) if order_id > 0 else None
        ib.placeOrder(AAA, placed)
        await settle(ib)
        return codes, await ib.reqAllOpenOrdersAsync()

    codes, still_open = ask(settings, work)
    assert codes == [code]
    assert [trade for trade in still_open if trade.order.permId] == []


def test_a_read_only_gateway_takes_no_order(gateway):
    async def work(ib):
        codes = []
        ib.errorEvent += lambda order_id, code, *_: codes.append(code) if order_id > 0 else None
        ib.placeOrder(AAA, order("BUY", 1))
        await settle(ib)
        return codes

    with gateway.serving(read_only=True) as port:
        assert ask(IbkrSettings(port=port, account=ACCOUNT), work) == [321]


def test_a_what_if_names_cost_and_commission_and_places_nothing(settings):
    async def work(ib):
        state = await ib.whatIfOrderAsync(AAA, order("BUY", 300))
        return float(state.initMarginChange), state.commission, await ib.reqAllOpenOrdersAsync()

    assert ask(settings, work) == (300 * 16.5, 1.5, [])


def test_a_what_if_counts_what_is_held_and_a_sale_gives_its_margin_back(gateway, settings):
    """A hundred at 17.00 on Wednesday; the account began with 10,000 and paid 1.00 of commission; a sale of 850 also
    pays the fees of the SEC (0.0175) and FINRA (0.0098)."""

    async def work(ib):
        ib.placeOrder(AAA, order("BUY", 100))
        await settle(ib)
        gateway.clock.set(at(WEDNESDAY, 10))
        await asyncio.sleep(0.2)
        previews = [await ib.whatIfOrderAsync(AAA, order(side, 50, tif="DAY")) for side in ("BUY", "SELL")]
        return [
            tuple(float(p) for p in (s.initMarginBefore, s.initMarginChange, s.initMarginAfter, s.equityWithLoanAfter))
            for s in previews
        ]

    assert ask(settings, work) == [(1700.0, 850.0, 2550.0, 9998.0), (1700.0, -850.0, 850.0, 9997.9727)]


@pytest.mark.parametrize("placed", [order("BUY", 607), order("SELL", 1)])
def test_a_what_if_of_an_order_that_would_be_refused_is_refused_and_leaves_no_order(settings, placed):
    """607 at 16.50 are 10,015.50; nothing is held."""

    async def work(ib):
        with pytest.raises(RequestError) as caught:
            await ib.whatIfOrderAsync(AAA, placed)
        return caught.value.code, await ib.reqCompletedOrdersAsync(False)

    assert ask(settings, work) == (201, [])


@pytest.mark.parametrize(
    ("limit", "state", "price"), [(17.5, "Filled", 17.0), (16.8, "Filled", 16.8), (16.5, "Cancelled", 0.0)]
)
def test_a_limit_order_for_the_day_fills_at_the_open_in_the_range_or_not_at_all(gateway, settings, limit, state, price):
    """Wednesday opens at 17.00 and trades down to 16.75."""

    async def work(ib):
        trade = ib.placeOrder(AAA, LimitOrder("BUY", 10, limit, account=ACCOUNT, tif="DAY"))
        await until(ib, lambda: trade.orderStatus.permId)
        gateway.clock.set(at(WEDNESDAY, 18))
        await until(ib, trade.isDone)
        return trade.orderStatus.status, trade.orderStatus.avgFillPrice

    assert ask(settings, work) == (state, price)


def test_corporate_actions_reach_the_holdings(gateway, settings):
    async def place(ib):
        trades = [ib.placeOrder(Stock(symbol, "SMART", "USD"), order("BUY", 11)) for symbol in ("AAA", "BBB")]
        await until(ib, lambda: all(trade.orderStatus.permId for trade in trades))

    async def look(ib):
        cash = next(v.value for v in ib.accountValues() if v.tag == "TotalCashValue")
        return {p.contract.symbol: p.position for p in ib.positions()}, Decimal(cash)

    gateway.clock.set(at(SESSIONS[4], 18))
    ask(settings, place)
    gateway.clock.set(at(TUESDAY, 18))
    held, before = ask(settings, look)
    gateway.clock.set(at(THURSDAY, 18))
    assert held == {"AAA": 11.0, "BBB": 11.0}
    assert ask(settings, look) == ({"AAA": 11.0, "BBB": 22.0}, before + Decimal("1.10"))


def test_holdings_and_orders_survive_the_server(gateway):
    async def place(ib):
        trade = ib.placeOrder(AAA, order("BUY", 100, orderRef="one"))
        await until(ib, lambda: trade.orderStatus.permId)
        return trade.order.orderId

    async def look(ib):
        return [p.position for p in ib.positions()], [t.order.orderRef for t in ib.trades()], ib.client.getReqId()

    with gateway.serving() as port:
        first_id = ask(IbkrSettings(port=port, account=ACCOUNT), place)
    gateway.clock.set(at(WEDNESDAY, 18))
    with gateway.serving() as port:
        positions, references, next_id = ask(IbkrSettings(port=port, account=ACCOUNT), look)
    assert (positions, references) == ([100.0], ["one"])
    assert next_id > first_id


_SERVE = """
import sys
from pathlib import Path
from tradebot_core.clock import SampleClock
from tradebot_core.simulation.market_data import MarketData
from tradebot_core.simulation.tws import SimulatedTws, serve

folder = Path(sys.argv[1])
serve(SimulatedTws(MarketData.read(folder), SampleClock(folder / "clock")), port=int(sys.argv[2]))
"""


def test_it_serves_as_a_process_of_its_own_until_it_is_told_to_stop(gateway):
    port = free_port()
    with subprocess.Popen([sys.executable, "-c", _SERVE, str(gateway.folder), str(port)]) as server:
        try:
            deadline = time.monotonic() + 20
            while socket.socket().connect_ex(("127.0.0.1", port)) and time.monotonic() < deadline:
                time.sleep(0.05)
            assert use(port) == "done"
        finally:
            server.terminate()
    assert server.returncode == 0


# The connection's refusals.


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


async def nothing(ib: IB) -> str:
    return "done"


def use(port: int, *, account: str = ACCOUNT, mode: Mode = Mode.PAPER, **options):
    return run(IbkrSettings(port=port, account=account), mode, nothing, client=Client.ORDERS, **options)


def test_the_work_is_done_when_account_and_mode_agree(port):
    assert [use(port), use(port), use(port, mode=Mode.DRY_RUN)] == ["done"] * 3


def test_another_account_is_refused(port):
    with pytest.raises(ConfigurationError, match="logged in to DU0000001, not to DU0000002"):
        use(port, account="DU0000002")


def test_a_live_account_is_refused_in_paper_mode_and_a_paper_account_in_live_mode(gateway, port):
    with pytest.raises(ConfigurationError, match="DU0000001 is a paper account"):
        use(port, mode=Mode.LIVE)
    with gateway.serving(account="U7654321", state_path=None) as live:
        with pytest.raises(ConfigurationError, match="live account U7654321"):
            use(live, account="U7654321")
        assert use(live, account="U7654321", mode=Mode.LIVE) == "done"


def test_a_client_id_in_use_is_named_at_once(settings):
    async def second(ib):
        with pytest.raises(ExecutionError, match="Client id 1 is in use") as caught:
            await asyncio.to_thread(use, settings.port)
        return caught.value.mend

    assert asyncio.run(_timed(second, settings)) < 4, "seconds; the connection's own time-out is 20"


async def _timed(work, settings: IbkrSettings) -> float:
    loop = asyncio.get_running_loop()
    ib, began = IB(), loop.time()
    await ib.connectAsync(settings.host, settings.port, 1, timeout=5)
    try:
        await work(ib)
    finally:
        ib.disconnect()
    return loop.time() - began


def test_a_closed_port_says_what_to_start_and_is_the_callers_kind_of_error():
    with pytest.raises(DataError, match="Nothing answers at"):
        use(free_port(), failure=DataError)


@pytest.mark.parametrize(("account", "mend"), [("DU1234567", "Start TWS or IB Gateway"), (ACCOUNT, "`tradebot simulate-tws`")])
def test_what_to_start_depends_on_whose_account_it_is(account, mend):
    with pytest.raises(ExecutionError, match=mend):
        run(IbkrSettings(port=free_port(), account=account), Mode.PAPER, nothing, client=Client.BARS)


def test_a_gateway_that_accepts_and_closes_is_not_serving():
    """What a container's relay does while the gateway behind it is down."""
    with socket.create_server(("127.0.0.1", 0)) as relay:

        async def main():
            asking = asyncio.create_task(asyncio.to_thread(use, relay.getsockname()[1]))
            accepted, _ = await asyncio.get_running_loop().run_in_executor(None, relay.accept)
            accepted.close()
            with pytest.raises(ExecutionError, match="does not serve the API"):
                await asking

        asyncio.run(main())


def test_a_connection_inside_a_running_loop_is_refused(port):
    async def main():
        with pytest.raises(UsageError, match="running event loop"):
            use(port)

    asyncio.run(main())


# Order types, settlement, and what a person does in TWS.


def test_a_market_on_close_order_fills_at_the_close(gateway, settings):
    async def work(ib):
        trade = ib.placeOrder(AAA, Order(action="BUY", totalQuantity=10, orderType="MOC", tif="DAY", account=ACCOUNT))
        await until(ib, lambda: trade.orderStatus.permId)
        gateway.clock.set(at(WEDNESDAY, 15, 59))
        await settle(ib)
        early = len(trade.fills)
        gateway.clock.set(at(WEDNESDAY, 16))
        await until(ib, trade.isDone)
        return early, trade.orderStatus.status, trade.orderStatus.avgFillPrice

    assert ask(settings, work) == (0, "Filled", 17.5)


def test_an_adaptive_order_keeps_its_algorithm_and_another_algorithm_is_refused(settings):
    async def work(ib):
        codes = []
        ib.errorEvent += lambda order_id, code, *_: codes.append(code) if order_id > 0 else None
        patient = [TagValue("adaptivePriority", "Patient")]
        ib.placeOrder(AAA, order("BUY", 1, tif="DAY", algoStrategy="Adaptive", algoParams=patient))
        ib.placeOrder(AAA, order("BUY", 1, tif="DAY", algoStrategy="Vwap", algoParams=[TagValue("maxPctVol", "0.1")]))
        await settle(ib)
        return codes

    async def look(ib):
        return [(t.order.algoStrategy, [(p.tag, p.value) for p in t.order.algoParams]) for t in ib.openTrades()]

    assert ask(settings, work) == [439]
    assert ask(settings, look) == [("Adaptive", [("adaptivePriority", "Patient")])]


def test_the_cash_of_a_sale_settles_on_the_next_session(gateway, settings):
    def trade(side):
        async def work(ib):
            placed = ib.placeOrder(AAA, order(side, 100))
            await until(ib, lambda: placed.orderStatus.permId)

        return work

    async def cash(ib):
        values = {v.tag: Decimal(v.value) for v in ib.accountValues() if v.tag in ("SettledCash", "TotalCashValue")}
        return values["SettledCash"], values["TotalCashValue"]

    ask(settings, trade("BUY"))
    gateway.clock.set(at(WEDNESDAY, 18))
    ask(settings, trade("SELL"))
    gateway.clock.set(at(THURSDAY, 18))
    assert ask(settings, cash) == (Decimal(8309), Decimal("10107.9434")), (
        "1 700 and 1 paid, 10 of dividend; 1 800 less 1 and 0.0566 of fees not settled"
    )
    gateway.clock.set(at(SESSIONS[SESSIONS.index(THURSDAY) + 1], 10))
    assert ask(settings, cash) == (Decimal("10107.9434"), Decimal("10107.9434"))


def test_hours_and_schedule_know_of_an_early_close(gateway, settings):
    """The day after Thanksgiving ends at 13:00, and trading after hours at 17:00."""
    friday = date(2026, 11, 27)

    async def work(ib):
        (details,) = await ib.reqContractDetailsAsync(AAA)
        schedule = await ib.reqHistoricalScheduleAsync(AAA, 2)
        return details, schedule

    gateway.clock.set(at(friday, 8))
    details, schedule = ask(settings, work)
    assert (details.liquidSessions()[0].start, details.liquidSessions()[0].end) == (at(friday, 9, 30), at(friday, 13))
    assert (details.tradingSessions()[0].start, details.tradingSessions()[0].end) == (at(friday, 4), at(friday, 17))
    assert [(s.refDate, s.endDateTime) for s in schedule.sessions] == [
        ("20261125", "20261125-16:00:00"),
        ("20261127", "20261127-13:00:00"),
    ]
