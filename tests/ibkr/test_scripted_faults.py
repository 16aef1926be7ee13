"""Each scripted fault of the simulated TWS: as the unmodified ib_async client sees it, and what our engine makes of it."""

import asyncio
import dataclasses
import logging
import socket
import threading
from contextlib import suppress
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ib_async import ExecutionFilter, RequestError, Stock

from tests.ibkr.conftest import ACCOUNT, WEDNESDAY, at, intent
from tests.ibkr.test_simulated_tws import AAA, ask, order, settle, until
from tradebot_core.config import IbkrSettings, Mode
from tradebot_core.errors import ExecutionError, OrderUnknown, UsageError
from tradebot_core.execution.ibkr import IbkrEngine
from tradebot_core.ibkr import connection
from tradebot_core.model.order import OrderState, OrderType
from tradebot_core.simulation.faults import CATALOGUE, Fault, FaultKind, FaultScript, Place, parse_fault
from tradebot_core.simulation.market_data import MarketData
from tradebot_core.simulation.tws import SimulatedTws, serving

DURING_WEDNESDAY = at(WEDNESDAY, 11)  # a market order for the day fills at once, at 17.00
OPEN, DONE = OrderState.WORKING, OrderState.FILLED


@pytest.fixture
def tws(gateway):
    return SimulatedTws(MarketData.read(gateway.folder), gateway.clock, ACCOUNT, Decimal(10_000))


@pytest.fixture
def settings(tws):
    with serving(tws) as port:
        yield IbkrSettings(port=port, account=ACCOUNT)


@pytest.fixture
def engine(settings):
    return IbkrEngine(settings, Mode.PAPER, acknowledge_timeout_s=2)


def script(tws, *faults: str) -> None:
    tws.faults.add(*map(parse_fault, faults))


def placed(tws) -> list[tuple[str, str]]:
    """(reference, status) of all that the broker really has."""
    return [(order.order_ref, order.status) for order in tws.exchange.truth().orders]


def at_once(**terms):
    """An order that fills as soon as it is taken."""
    return dataclasses.replace(intent(**terms), order_type=OrderType.ADAPTIVE_MARKET)


def heard(ib) -> list[int]:
    codes: list[int] = []
    ib.errorEvent += lambda _request, code, *_: codes.append(code)
    return codes


# Orders, as the client sees them.


def test_no_ack_takes_the_order_and_says_nothing_on_this_connection(tws, settings):
    async def work(ib):
        trade = ib.placeOrder(AAA, order("BUY", 100, orderRef="one"))
        await settle(ib)
        return trade.orderStatus.permId, trade.orderStatus.status

    async def look(ib):
        return [trade.order.orderRef for trade in await ib.reqAllOpenOrdersAsync()]

    script(tws, "no_ack")
    assert ask(settings, work) == (0, "PendingSubmit")
    assert ask(settings, look) == ["one"]


@pytest.mark.parametrize(("fault", "acknowledged"), [("ack_then_drop", True), ("taken_then_drop", False)])
def test_the_connection_closes_after_or_before_the_acknowledgement(tws, settings, fault, acknowledged):
    async def work(ib):
        trade = ib.placeOrder(AAA, order("BUY", 100, orderRef="one"))
        async with asyncio.timeout(5):
            while ib.isConnected():
                await asyncio.sleep(0.01)
        return trade.orderStatus.permId > 0

    script(tws, fault)
    assert ask(settings, work) is acknowledged
    assert placed(tws) == [("one", "PreSubmitted")]


def test_a_remark_makes_the_client_say_cancelled_of_an_order_that_lives(tws, settings):
    async def work(ib):
        trade = ib.placeOrder(AAA, order("BUY", 100))
        seen = []
        trade.statusEvent += lambda trade: seen.append(trade.orderStatus.status)
        trade.cancelledEvent += lambda trade: seen.append("cancelledEvent")
        await settle(ib)
        return seen

    script(tws, "error_10349")
    assert ask(settings, work) == ["Cancelled", "cancelledEvent", "PreSubmitted"]


def test_the_execution_comes_before_any_status(gateway, tws, settings):
    async def work(ib):
        trade = ib.placeOrder(AAA, order("BUY", 100))
        seen = []
        trade.fillEvent += lambda trade, fill: seen.append(("fill", trade.orderStatus.status, fill.execution.shares))
        trade.statusEvent += lambda trade: seen.append(("status", trade.orderStatus.status))
        await settle(ib)
        before = list(seen)
        gateway.clock.set(at(WEDNESDAY, 9, 30))
        await until(ib, trade.isDone)
        return before, seen

    script(tws, "fill_before_status")
    before, seen = ask(settings, work)
    assert (before, seen) == ([], [("fill", "PendingSubmit", 100.0), ("status", "Filled")])


def test_a_late_status_takes_filled_back_in_the_client(gateway, tws, settings):
    async def work(ib):
        trade = ib.placeOrder(AAA, order("BUY", 100, tif="DAY"))
        await until(ib, lambda: trade.fills)
        await settle(ib)
        return trade.orderStatus.status, trade.orderStatus.filled, len(trade.fills)

    gateway.clock.set(DURING_WEDNESDAY)
    script(tws, "late_submitted")
    assert ask(settings, work) == ("Submitted", 0.0, 1)
    assert placed(tws) == [("", "Filled")]


def test_messages_that_come_twice_are_one_execution_of_one_order(gateway, tws, settings):
    async def work(ib):
        trade = ib.placeOrder(AAA, order("BUY", 100, tif="DAY"))
        messages = []
        ib.execDetailsEvent += lambda *_: messages.append("execution")
        ib.openOrderEvent += lambda *_: messages.append("openOrder")
        await until(ib, trade.isDone)
        await settle(ib)
        return len(trade.fills), messages.count("openOrder")

    gateway.clock.set(DURING_WEDNESDAY)
    script(tws, "told_twice")
    assert ask(settings, work) == (1, 4)


def test_a_correction_comes_as_one_more_execution_of_the_same_shares(gateway, tws, settings):
    async def work(ib):
        trade = ib.placeOrder(AAA, order("BUY", 100, tif="DAY"))
        await until(ib, lambda: len(trade.fills) == 2)
        return [(fill.execution.execId[-3:], fill.execution.price, fill.execution.shares) for fill in trade.fills]

    gateway.clock.set(DURING_WEDNESDAY)
    script(tws, "correction")
    assert ask(settings, work) == [(".01", 17.0, 100.0), (".02", 17.01, 100.0)]


def test_an_order_in_parts_fills_in_three(gateway, tws, settings):
    async def work(ib):
        trade = ib.placeOrder(AAA, order("BUY", 100, tif="DAY"))
        await until(ib, lambda: trade.fills)
        await settle(ib)
        first = (trade.orderStatus.status, trade.orderStatus.filled)
        gateway.clock.set(at(WEDNESDAY, 11, 20))
        await until(ib, trade.isDone)
        return first, [fill.execution.shares for fill in trade.fills]

    gateway.clock.set(DURING_WEDNESDAY)
    script(tws, "in_parts")
    assert ask(settings, work) == (("Submitted", 34.0), [34.0, 33.0, 33.0])


def test_one_order_is_placed_twice_under_two_perm_ids_and_the_client_shows_one(tws, settings):
    async def work(ib):
        perm_ids = []
        ib.orderStatusEvent += lambda trade: perm_ids.append(trade.orderStatus.permId)
        ib.placeOrder(AAA, order("BUY", 100, orderRef="one"))
        await settle(ib)
        return perm_ids, len(ib.trades())

    script(tws, "two_perm_ids")
    assert ask(settings, work) == ([1_000_000_001, 1_000_000_002], 1)
    assert placed(tws) == [("one", "PreSubmitted")] * 2


@pytest.mark.parametrize(("fault", "kept"), [("error_201", [("one", "Inactive")]), ("error_321@order", [])])
def test_an_order_is_refused(tws, settings, fault, kept):
    async def work(ib):
        codes = heard(ib)
        ib.placeOrder(AAA, order("BUY", 100, orderRef="one"))
        await settle(ib)
        return codes

    script(tws, fault)
    assert ask(settings, work) == [int(fault[6:9])]
    assert placed(tws) == kept


def test_a_cancellation_comes_too_late(tws, settings):
    async def work(ib):
        codes = heard(ib)
        trade = ib.placeOrder(AAA, order("BUY", 100))
        await until(ib, lambda: trade.orderStatus.permId)
        ib.cancelOrder(trade.order)
        await until(ib, lambda: trade.orderStatus.status == "Filled")
        return codes, len(trade.fills), trade.log[-2].message or trade.log[-3].message

    script(tws, "error_10148")
    codes, fills, _ = ask(settings, work)
    assert (codes, fills) == ([10148], 1)
    assert placed(tws) == [("", "Filled")]


# Connections and requests, as the client sees them.


def test_a_client_id_is_in_use(tws, settings):
    script(tws, "error_326")
    with pytest.raises(TimeoutError):
        ask(settings, settle, timeout_s=1)
    ask(settings, settle)


def test_a_connection_that_is_accepted_closes_at_once(tws, settings):
    """At once: the client itself waits out its time."""
    script(tws, "accept_then_close")
    with socket.create_connection((settings.host, settings.port), timeout=5) as peer:
        assert peer.recv(1) == b""
    ask(settings, settle)


@pytest.mark.parametrize("where", ["connection", "request:2"])
def test_a_silent_gateway_stays_connected(tws, settings, where, caplog):
    script(tws, f"silence@{where}")
    with pytest.raises((TimeoutError, ConnectionError)), caplog.at_level(logging.ERROR):
        ask(settings, settle, timeout_s=1)
    assert any("timed out" in text or "TimeoutError" in text for text in caplog.messages)


def test_the_next_order_id_is_1_again(tws, settings):
    async def place(ib):
        trade = ib.placeOrder(AAA, order("BUY", 1, orderRef="one"))
        await settle(ib)
        ib.cancelOrder(trade.order)
        await until(ib, trade.isDone)
        return trade.order.orderId

    first, second = ask(settings, place), None
    script(tws, "id_rollback")
    second = ask(settings, place)
    assert [o.order_id for o in tws.exchange.truth().orders] == [first, second]
    assert ask(settings, place) > second


def test_an_older_gateway_spells_the_keys_of_currencies_plainly(tws, settings):
    async def keys(ib):
        summary = {value.tag for value in await ib.accountSummaryAsync()}
        return {value.tag for value in ib.accountValues()} | summary

    script(tws, "plain_ledger_keys")
    plain, prefixed = ask(settings, keys), ask(settings, keys)
    assert ("CashBalance" in plain, any("$" in key for key in plain)) == (True, False)
    assert ("CashBalance" in prefixed, "$LEDGER-CashBalance" in prefixed) == (False, True)


def test_what_fills_while_the_link_is_lost_is_not_told_and_is_on_the_lists_afterwards(gateway, tws, settings):
    async def work(ib):
        codes = heard(ib)
        trade = ib.placeOrder(AAA, order("BUY", 100, orderRef="one"))
        await until(ib, lambda: 1100 in codes)
        ib.placeOrder(AAA, order("BUY", 1, orderRef="vanishes"))
        await settle(ib)
        gateway.clock.set(at(WEDNESDAY, 10))
        await until(ib, lambda: 1102 in codes)
        told = len(trade.fills)
        fills = await ib.reqExecutionsAsync(ExecutionFilter())
        return told, [(fill.execution.orderRef, fill.execution.time) for fill in fills]

    script(tws, "link_lost")
    assert ask(settings, work) == (0, [("one", at(WEDNESDAY, 9, 30))])
    assert placed(tws) == [("one", "Filled")]


def test_lists_stay_as_they_were_while_the_link_is_lost(gateway, tws, settings):
    async def work(ib):
        ib.placeOrder(AAA, order("BUY", 100, tif="DAY", orderRef="one"))
        await settle(ib)
        during = [trade.orderStatus.status for trade in await ib.reqAllOpenOrdersAsync()], ib.positions()
        gateway.clock.set(at(WEDNESDAY, 11, 10))
        await until(ib, ib.positions)
        return during, await ib.reqAllOpenOrdersAsync(), [position.position for position in ib.positions()]

    gateway.clock.set(DURING_WEDNESDAY)
    script(tws, "link_lost")
    (statuses, held), _, after = ask(settings, work)
    assert (statuses, held, after) == (["Submitted"], [], [100.0])


@pytest.mark.parametrize("where", ["completed", "executions"])
def test_a_list_has_no_end_and_the_next_one_has(tws, settings, where):
    script(tws, f"hang@{where}")
    with pytest.raises((TimeoutError, ConnectionError)):
        ask(settings, settle, timeout_s=1)
    ask(settings, settle)


HISTORY = {"endDateTime": "", "durationStr": "2 D", "barSizeSetting": "1 day", "whatToShow": "TRADES", "useRTH": True}


@pytest.mark.parametrize("fault", ["error_321@history", "unanswered@history"])
def test_a_request_for_history_is_waited_for_in_vain_and_the_next_is_answered(tws, settings, fault):
    async def work(ib):
        codes = heard(ib)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(ib.reqHistoricalDataAsync(AAA, **HISTORY), 0.5)
        return codes, len(await ib.reqHistoricalDataAsync(AAA, **HISTORY))

    script(tws, fault)
    assert ask(settings, work) == ([321] if "321" in fault else [], 2)


@pytest.mark.parametrize(
    ("where", "ask_it"),
    [
        ("contract", lambda ib: ib.reqContractDetailsAsync(AAA)),
        ("executions", lambda ib: ib.reqExecutionsAsync()),
        ("quote", lambda ib: ib.reqTickersAsync(Stock("AAA", "SMART", "USD", conId=101))),
        ("fundamentals", lambda ib: ib.reqFundamentalDataAsync(AAA, "ReportSnapshot")),
    ],
)
def test_a_request_that_is_not_valid_is_told_so_under_its_number(tws, settings, where, ask_it):
    async def work(ib):
        tws.faults.add(parse_fault(f"error_321@{where}"))
        heard = []
        ib.errorEvent += lambda request, code, *_: heard.append((request, code))
        waiting = asyncio.ensure_future(ask_it(ib))
        await until(ib, lambda: heard)
        waiting.cancel()
        return heard, ib.client.getReqId()

    ((request, code),), following = ask(settings, work)
    assert (code, request) == (321, following - 1)


def test_a_connection_drops_instead_of_an_answer(tws, settings):
    async def work(ib):
        with pytest.raises(ConnectionError):
            await asyncio.wait_for(ib.reqHistoricalDataAsync(AAA, **HISTORY), 5)

    script(tws, "drop@history")
    ask(settings, work)


def test_fundamentals_are_not_allowed_to_a_login_that_has_them(gateway):
    async def work(ib):
        with pytest.raises(RequestError) as caught:
            await ib.reqFundamentalDataAsync(AAA, "ReportSnapshot")
        return caught.value.code, await ib.reqFundamentalDataAsync(AAA, "ReportSnapshot")

    reports = {("AAA", "ReportSnapshot"): "<ReportSnapshot/>"}
    with gateway.serving(reports=reports, faults=[Fault.of(FaultKind.ERROR_10358)]) as port:
        assert ask(IbkrSettings(port=port, account=ACCOUNT), work) == (10358, "<ReportSnapshot/>")


# What our engine makes of it. Whatever happens, the broker has one order of one key.


@pytest.mark.parametrize(
    ("fault", "when", "first", "then"),
    [
        ("no_ack", "evening", "did not acknowledge", OPEN),
        ("unanswered@order", "evening", "did not acknowledge", None),
        ("silence@order", "evening", "did not acknowledge", None),
        ("taken_then_drop", "evening", "connection broke", OPEN),
        ("drop@order", "evening", "connection broke", None),
        ("ack_then_drop", "evening", "was sent, and then:", OPEN),
        ("error_10349", "evening", OPEN, OPEN),
        ("told_twice", "evening", OPEN, OPEN),
        ("id_rollback", "evening", OPEN, OPEN),
        ("plain_ledger_keys", "evening", OPEN, OPEN),
        ("error_201", "evening", OrderState.REJECTED, OrderState.REJECTED),
        ("error_321@order", "evening", OrderState.REJECTED, None),
        ("fill_before_status", "evening", "did not acknowledge", OPEN),
        ("fill_before_status", "session", DONE, DONE),
        ("no_ack", "session", "did not acknowledge", DONE),
        ("late_submitted", "session", DONE, DONE),
        ("told_twice", "session", DONE, DONE),
        ("correction", "session", DONE, DONE),
        ("in_parts", "session", OrderState.PARTIAL, OrderState.PARTIAL),
    ],
)
def test_an_order_is_acknowledged_refused_or_unknown_and_found_again_but_never_sent_twice(
    gateway, tws, engine, fault, when, first, then
):
    sent = intent()
    if when == "session":
        gateway.clock.set(DURING_WEDNESDAY)
        sent = at_once()
    script(tws, fault)
    if isinstance(first, OrderState):
        assert engine.submit(sent).state is first
    else:
        with pytest.raises(OrderUnknown, match=first):
            engine.submit(sent)
    assert engine.get_order_status(sent.key).state is then
    assert tws.faults.happened == (parse_fault(fault),)
    if then is None:
        assert placed(tws) == []
    else:
        assert engine.submit(sent).state is then
        assert len(placed(tws)) == 1


@pytest.fixture
def short_patience(monkeypatch):
    monkeypatch.setitem(connection.answer.__kwdefaults__, "timeout_s", 1.0)


LISTS_THAT_FAIL = ["hang@open_orders", "hang@completed", "hang@executions", "error_321@open_orders", "drop@completed"]


@pytest.mark.parametrize("fault", LISTS_THAT_FAIL)
def test_without_the_lists_before_an_order_it_is_not_sent(tws, engine, short_patience, fault):
    script(tws, fault)
    with pytest.raises(ExecutionError, match="connection to the IBKR gateway") as caught:
        engine.submit(intent())
    assert (placed(tws), caught.type) == ([], ExecutionError)


@pytest.mark.parametrize("fault", LISTS_THAT_FAIL)
def test_without_the_lists_after_an_order_it_is_unknown_and_found_when_they_come(tws, engine, short_patience, fault):
    script(tws, f"{fault}:2")
    with pytest.raises(OrderUnknown, match="was sent, and then: "):
        engine.submit(intent())
    assert engine.submit(intent()).state is OPEN
    assert len(placed(tws)) == 1


def test_a_correction_replaces_the_execution(gateway, tws, engine):
    gateway.clock.set(DURING_WEDNESDAY)
    script(tws, "correction")
    engine.submit(at_once())
    (fill,) = engine.get_order_status(at_once().key).fills
    assert (fill.quantity, fill.price, fill.version) == (100, Decimal("17.01"), 2)


def test_a_cancellation_that_comes_too_late_brings_the_fill(tws, engine):
    engine.submit(intent())
    script(tws, "error_10148")
    status = engine.cancel(intent().key)
    assert (status.state, [fill.quantity for fill in status.fills]) == (DONE, [100])


@pytest.mark.parametrize(
    ("fault", "cause"),
    [
        ("error_326@connection:1-3", "Client id 1 is in use"),
        ("accept_then_close", "does not serve the API"),
        ("silence@time", "no answer"),
        ("drop@time", "broke"),
        ("link_lost@connection", "has lost IBKR"),
        ("drop@contract", "broke"),
    ],
)
def test_nothing_is_sent_over_a_connection_that_is_not_sound(tws, engine, fault, cause):
    script(tws, fault)
    with pytest.raises(ExecutionError, match=cause) as caught:
        engine.submit(intent())
    assert (placed(tws), caught.type) == ([], ExecutionError)


def test_an_id_in_use_for_a_moment_is_waited_for(tws, engine):
    script(tws, "error_326")
    assert engine.submit(intent()).state is OPEN


@pytest.mark.parametrize("order_type", [OrderType.MARKET_ON_OPEN, OrderType.ADAPTIVE_MARKET])
def test_two_orders_of_one_reference_are_for_a_person_and_nothing_more_is_sent(gateway, tws, engine, order_type):
    """ib_async shows them as one: they have the same client and order id."""
    if order_type is OrderType.ADAPTIVE_MARKET:
        gateway.clock.set(DURING_WEDNESDAY)
    sent = dataclasses.replace(intent(quantity=10), order_type=order_type)
    script(tws, "two_perm_ids")
    with pytest.raises(OrderUnknown, match="2 orders with the reference"):
        engine.submit(sent)
    for ask_again in (lambda: engine.submit(sent), lambda: engine.get_order_status(sent.key), lambda: engine.cancel(sent.key)):
        with pytest.raises(ExecutionError, match="2 orders with the reference"):
            ask_again()
    assert len(placed(tws)) == 2


def test_fills_of_an_outage_are_found_when_it_is_over(gateway, tws, engine):
    script(tws, "link_lost")
    with pytest.raises(OrderUnknown, match=r"was sent, and then: the gateway (has )?lost IBKR"):
        engine.submit(intent())
    with pytest.raises(ExecutionError, match="has lost IBKR"):
        engine.get_order_status(intent().key)
    gateway.clock.set(at(WEDNESDAY, 10))
    status = engine.get_order_status(intent().key)
    assert (status.state, [fill.quantity for fill in status.fills]) == (DONE, [100])


# The script.


def test_every_kind_of_fault_has_an_entry():
    assert list(CATALOGUE) == list(FaultKind)
    assert all(entry.places and entry.says.endswith(".") for entry in CATALOGUE.values())


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("no_ack", Fault(FaultKind.NO_ACK, Place.ORDER, 1, 1)),
        ("no_ack@order:3", Fault(FaultKind.NO_ACK, Place.ORDER, 3, 3)),
        ("drop@history:2-4", Fault(FaultKind.DROP, Place.HISTORY, 2, 4)),
        ("hang@executions:5-", Fault(FaultKind.HANG, Place.EXECUTIONS, 5, None)),
    ],
)
def test_the_form_of_the_command_line(text, fault):
    assert parse_fault(text) == fault


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("nope", r"'nope' is not a fault\. Known are no_ack, .*, drop\."),
        ("no_ack@moon", r"'moon' is not a place of faults\. no_ack happens at order\."),
        ("no_ack@history", r"no_ack does not happen at history\. It happens at order\."),
        ("no_ack@order:0", "Count from 1"),
        ("no_ack@order:3-2", "Count from 1"),
        ("no_ack@order:1-0", "Count from 1"),
        ("no_ack@order:³", "Write kind@place:number"),
        ("no_ack@order:", "Write kind@place:number"),
        ("", "Write kind@place:number"),
    ],
)
def test_a_fault_that_does_not_exist_is_refused_with_those_that_do(text, problem):
    with pytest.raises(UsageError, match=problem):
        parse_fault(text)


faults = st.sampled_from([(kind, place) for kind, entry in CATALOGUE.items() for place in entry.places]).flatmap(
    lambda where: st.builds(
        lambda first, more: Fault(*where, first, None if more is None else first + more),
        st.integers(1, 10**6),
        st.none() | st.integers(0, 1000),
    )
)


@given(faults)
def test_a_fault_is_read_as_it_is_written(fault):
    assert parse_fault(str(fault)) == fault


@given(st.text(max_size=30))
def test_any_text_is_a_fault_or_refused(text):
    with suppress(UsageError):
        assert isinstance(parse_fault(text), Fault)


@given(st.integers(1, 5), st.none() | st.integers(0, 5), st.integers(0, 12))
def test_a_fault_happens_from_its_first_to_its_last(first, more, orders):
    last = None if more is None else first + more
    script = FaultScript([Fault(FaultKind.NO_ACK, Place.ORDER, first, last)])
    happened = [n for n in range(1, orders + 1) if script.at(Place.REQUEST, Place.ORDER)]
    assert happened == [n for n in range(1, orders + 1) if first <= n and (last is None or n <= last)]
    assert len(script.happened) == len(happened)


def test_a_fault_counts_from_when_it_was_added_and_is_gone_when_the_script_is_cleared():
    script = FaultScript()
    script.at(Place.ORDER)
    script.add(Fault.of(FaultKind.NO_ACK, 2))
    assert [script.at(Place.ORDER), script.at(Place.ORDER)] == [frozenset(), {FaultKind.NO_ACK}]
    script.add(Fault.of(FaultKind.NO_ACK))
    script.clear()
    assert script.at(Place.ORDER) == frozenset()


def test_faults_may_be_added_from_any_thread():
    script, seen = FaultScript(), []

    def add() -> None:
        for _ in range(500):
            script.add(Fault.of(FaultKind.NO_ACK))

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        seen.append(script.at(Place.ORDER))
    script.at(Place.ORDER)
    assert len(script.happened) == 2000


def test_what_happens_is_logged(caplog):
    with caplog.at_level(logging.WARNING):
        FaultScript([Fault.of(FaultKind.NO_ACK)]).at(Place.ORDER)
    assert caplog.messages == ["scripted fault: no_ack@order:1"]


def test_a_what_if_is_not_counted_as_an_order(tws, settings):
    async def work(ib):
        state = await ib.whatIfOrderAsync(AAA, order("BUY", 300))
        return float(state.initMarginChange)

    script(tws, "unanswered@order")
    assert ask(settings, work) == 300 * 16.5
    assert tws.faults.happened == ()
