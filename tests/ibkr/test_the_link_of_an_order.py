"""What stands before an order: a link that was proven, an API that may write. And nothing is sent where one is missing."""

import time

import pytest
from ib_async import IB, MarketOrder, Stock

from tests.ibkr.conftest import ACCOUNT, intent
from tests.ibkr.wire import Answer, Cut, Fields, Wire, refused, through
from tradebot_core.config import IbkrSettings, Mode
from tradebot_core.errors import ConfigurationError, ExecutionError, OrderUnknown
from tradebot_core.execution.ibkr import IbkrEngine
from tradebot_core.ibkr.account import IbkrAccountReader
from tradebot_core.ibkr.connection import Client, run
from tradebot_core.model.order import OrderState

PLACE_ORDER, CONTRACT_DETAILS, OPEN_ORDERS, CURRENT_TIME = "3", "9", "16", "49"


def submit(port: int, on_request, acknowledge_timeout_s: float = 5):
    with through(Wire(port, on_request)) as end:
        return IbkrEngine(
            IbkrSettings(port=end, account=ACCOUNT), Mode.PAPER, acknowledge_timeout_s=acknowledge_timeout_s
        ).submit(intent())


def orders_at_the_broker(settings: IbkrSettings) -> list[str]:
    async def work(ib: IB) -> list[str]:
        return [trade.order.orderRef for trade in await ib.reqAllOpenOrdersAsync()]

    return run(settings, Mode.PAPER, work, client=Client.BARS)


@pytest.mark.parametrize("code", [1100, 2110])
def test_a_gateway_that_has_lost_the_broker_is_sent_nothing(settings, code):
    """It answers its lists from memory, and what is sent to it may be placed hours later, or never."""

    def lost(fields: Fields) -> Answer:
        if fields[0] == CURRENT_TIME:
            return [
                ["4", "2", "-1", str(code), "Connectivity between IB and TWS has been lost.", ""],
                ["49", "1", "1795000000"],
            ]
        return None

    with pytest.raises(ExecutionError, match=rf"the gateway has lost IBKR \(IBKR {code}: Connectivity"):
        submit(settings.port, lost)
    assert orders_at_the_broker(settings) == []


@pytest.mark.parametrize("code", [1101, 1102])
def test_once_the_link_is_back_orders_go_out_again(settings, code):
    def restored(fields: Fields) -> Answer:
        if fields[0] == CURRENT_TIME:
            return [
                ["4", "2", "-1", "1100", "Connectivity between IB and TWS has been lost.", ""],
                ["4", "2", "-1", str(code), "Connectivity between IB and TWS has been restored.", ""],
                ["49", "1", "1795000000"],
            ]
        return None

    assert submit(settings.port, restored).state is OrderState.WORKING


def test_a_gateway_that_accepts_and_answers_nothing_is_found_out_in_seconds_and_sent_nothing(settings):
    began = time.monotonic()
    with pytest.raises(ExecutionError, match=r"broke \(no answer in 5 s"):
        submit(settings.port, lambda fields: [] if fields[0] == CURRENT_TIME else None)
    assert time.monotonic() - began < 12
    assert orders_at_the_broker(settings) == []


def test_an_api_in_read_only_mode_stops_before_the_order_and_says_what_to_change(settings):
    """The gateway then refuses the lists of orders as well, with an error that ib_async takes for a warning."""

    def read_only(fields: Fields) -> Answer:
        text = "Error validating request.-'bw' : cause - The API interface is currently in Read-Only mode."
        return refused("-1", 321, text) if fields[0] == OPEN_ORDERS else None

    began = time.monotonic()
    with pytest.raises(ConfigurationError, match=r"read-only mode.*clear Read-Only API"):
        submit(settings.port, read_only)
    assert time.monotonic() - began < 5
    assert orders_at_the_broker(settings) == []


def test_a_gateway_that_swallows_an_order_leaves_it_unknown(settings):
    with pytest.raises(OrderUnknown, match="did not acknowledge"):
        submit(settings.port, lambda fields: [] if fields[0] == PLACE_ORDER else None, 0.5)
    assert orders_at_the_broker(settings) == []


def test_a_line_that_is_cut_before_the_order_arrives_leaves_it_unknown(settings):
    def cut(fields: Fields) -> Answer:
        if fields[0] == PLACE_ORDER:
            raise Cut
        return None

    with pytest.raises(OrderUnknown, match="connection broke"):
        submit(settings.port, cut)
    assert orders_at_the_broker(settings) == []


LOST = ["4", "2", "-1", "1100", "Connectivity between IB and TWS has been lost.", ""]
RESTORED = ["4", "2", "-1", "1102", "Connectivity between IB and TWS has been restored - data maintained.", ""]
COMPLETED_ORDERS, COMPLETED_END, OPEN_END = "99", ["102"], ["53", "1"]


@pytest.mark.parametrize("words", [[LOST], [LOST, RESTORED]], ids=["lost", "lost and back"])
def test_a_list_given_while_the_link_was_lost_proves_no_absence(settings, words):
    """The gateway's lists are from memory then, and lack what happened meanwhile: an order would be taken for lost."""
    IbkrEngine(settings, Mode.PAPER, acknowledge_timeout_s=5).submit(intent())

    def forgets(fields: Fields) -> Answer:
        if fields[0] == OPEN_ORDERS:
            return [*words, OPEN_END]
        return [COMPLETED_END] if fields[0] == COMPLETED_ORDERS else None

    with (
        through(Wire(settings.port, forgets)) as port,
        pytest.raises(ExecutionError, match="the gateway lost IBKR while it was asked"),
    ):
        IbkrEngine(IbkrSettings(port=port, account=ACCOUNT), Mode.PAPER).get_order_status(intent().key)
    assert IbkrEngine(settings, Mode.PAPER).get_order_status(intent().key).state is OrderState.WORKING


def test_an_order_after_which_the_link_was_lost_is_unknown(settings):
    sent = []

    def lost_after(fields: Fields) -> Answer:
        if fields[0] == PLACE_ORDER:
            sent.append(fields)
        return [LOST, OPEN_END] if sent and fields[0] == OPEN_ORDERS else None

    with pytest.raises(OrderUnknown, match="was sent, and then: the gateway lost IBKR"):
        submit(settings.port, lost_after)
    assert orders_at_the_broker(settings) == [intent().key]


def test_a_link_that_is_lost_between_the_questions_and_the_order_stops_the_order(settings):
    def lost_before(fields: Fields) -> Answer:
        if fields[0] == CONTRACT_DETAILS:
            return [LOST, ["4", "2", fields[2], "200", "No security definition has been found for the request", ""]]
        return None

    with pytest.raises(ExecutionError, match="the gateway has lost IBKR"):
        submit(settings.port, lost_before)
    assert orders_at_the_broker(settings) == []


def test_the_account_is_not_read_from_a_gateway_that_has_lost_the_broker(settings):
    def lost(fields: Fields) -> Answer:
        return [LOST, ["49", "1", "1795000000"]] if fields[0] == CURRENT_TIME else None

    with (
        through(Wire(settings.port, lost)) as port,
        pytest.raises(ExecutionError, match=r"the gateway has lost IBKR \(IBKR 1100"),
    ):
        IbkrAccountReader(IbkrSettings(port=port, account=ACCOUNT), Mode.PAPER).account()


def test_two_orders_of_one_reference_seen_after_the_order_leave_it_unknown_not_unsent(settings):
    """Seen after a change during an outage: the order is there, twice. To take it for unsent would be the third."""
    engine = IbkrEngine(settings, Mode.PAPER, acknowledge_timeout_s=5)

    async def twice(ib: IB) -> None:
        for _ in range(2):
            order = MarketOrder("BUY", 100, tif="OPG", account=ACCOUNT, orderRef=intent().key)
            ib.placeOrder(Stock("AAA", "SMART", "USD", primaryExchange="NYSE"), order)
        await ib.reqAllOpenOrdersAsync()

    class Second:
        asked = 0

        def __call__(self, fields: Fields) -> Answer:
            if fields[0] == OPEN_ORDERS:
                self.asked += 1
                if self.asked == 1:
                    return [OPEN_END]
            return None

    run(settings, Mode.PAPER, twice, client=Client.BARS)
    with pytest.raises(OrderUnknown, match="with the reference"):
        submit(settings.port, Second())
    with pytest.raises(ExecutionError, match="with the reference"):
        engine.submit(intent())
