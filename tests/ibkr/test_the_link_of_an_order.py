"""What stands before an order: a link that was proven, an API that may write. And nothing is sent where one is missing."""

import time

import pytest
from ib_async import IB

from tests.ibkr.conftest import ACCOUNT, intent
from tests.ibkr.wire import Answer, Fields, Wire, refused, through
from tradebot_core.config import IbkrSettings, Mode
from tradebot_core.errors import ConfigurationError, ExecutionError
from tradebot_core.execution.ibkr import IbkrEngine
from tradebot_core.ibkr.connection import Client, run
from tradebot_core.model.order import OrderState

OPEN_ORDERS, CURRENT_TIME = "16", "49"


def submit(port: int, on_request):
    with through(Wire(port, on_request)) as end:
        return IbkrEngine(IbkrSettings(port=end, account=ACCOUNT), Mode.PAPER, acknowledge_timeout_s=5).submit(intent())


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
