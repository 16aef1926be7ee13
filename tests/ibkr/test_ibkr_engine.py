"""The IBKR engine against the simulated TWS."""

import dataclasses
from decimal import Decimal

import pytest
from ib_async import IB, MarketOrder, Stock

from tests.ibkr.conftest import ACCOUNT, SECURITY_IDS, THURSDAY, WEDNESDAY, at, intent
from tests.ibkr.wire import Wire, through
from tradebot_core.clock import FixedClock
from tradebot_core.config import IbkrSettings, Mode
from tradebot_core.errors import ConfigurationError, ExecutionError, NotPermitted
from tradebot_core.execution.ibkr import IbkrEngine, _status
from tradebot_core.ibkr.connection import Client, run
from tradebot_core.ibkr.orders import BrokerExecution, BrokerOrder, order_reference
from tradebot_core.model.order import Fill, OrderIntent, OrderState, OrderType, Side


def orders_at_the_broker(settings: IbkrSettings) -> list[str]:
    async def work(ib: IB) -> list[str]:
        trades = [*await ib.reqAllOpenOrdersAsync(), *await ib.reqCompletedOrdersAsync(False)]
        return [trade.order.orderRef for trade in trades]

    return run(settings, Mode.PAPER, work, client=Client.BARS)


def test_an_order_for_the_open_works_and_then_fills_there_with_its_commission(gateway, engine):
    sent = intent(quantity=300)
    status = engine.submit(sent)
    assert (status.state, status.fills) == (OrderState.WORKING, ())
    assert status.broker_order_id == "1000000001"
    gateway.clock.set(at(WEDNESDAY, 18))
    done = engine.get_order_status(sent.key)
    assert done.state is OrderState.FILLED
    assert done.fills == (
        Fill(
            execution_id="0000e0d5.00000001.01",
            order_key=sent.key,
            session=WEDNESDAY,
            security_id=SECURITY_IDS["AAA"],
            symbol="AAA",
            side=Side.BUY,
            quantity=300,
            price=Decimal("17.0000"),
            commission=Decimal("1.5000"),
            filled_at=at(WEDNESDAY, 9, 30),
        ),
    )


def test_the_same_key_is_sent_once(gateway, engine, settings):
    first, second = engine.submit(intent()), engine.submit(intent())
    assert (first.state, second) == (OrderState.WORKING, first)
    assert orders_at_the_broker(settings) == [intent().key]


def test_the_same_key_after_the_fill_returns_the_fill(gateway, engine, settings):
    engine.submit(intent())
    gateway.clock.set(at(WEDNESDAY, 18))
    again = engine.submit(intent())
    assert (again.state, len(again.fills)) == (OrderState.FILLED, 1)
    assert orders_at_the_broker(settings) == [intent().key]


def test_an_order_carries_tif_account_and_route(gateway, engine, settings):
    async def work(ib: IB):
        (trade,) = await ib.reqAllOpenOrdersAsync()
        return trade

    engine.submit(intent(limit="17.25"))
    trade = run(settings, Mode.PAPER, work, client=Client.BARS)
    assert (trade.order.orderType, trade.order.tif, trade.order.lmtPrice) == ("LMT", "OPG", 17.25)
    assert (trade.order.account, trade.contract.exchange, trade.order.totalQuantity) == (ACCOUNT, "SMART", 100.0)


@pytest.mark.parametrize(("limit", "state"), [("17", OrderState.FILLED), ("16.99", OrderState.CANCELLED)])
def test_a_limit_on_open_fills_within_its_limit_or_not_at_all(gateway, engine, limit, state):
    engine.submit(intent(limit=limit))
    gateway.clock.set(at(WEDNESDAY, 18))
    assert engine.get_order_status(intent().key).state is state


@pytest.mark.parametrize(
    ("limit", "state", "price"),
    [("17", OrderState.FILLED, "17"), ("16.80", OrderState.FILLED, "16.80"), ("16.74", OrderState.CANCELLED, None)],
)
def test_a_day_limit_fills_at_the_open_or_within_the_session_or_ends_with_it(gateway, engine, limit, state, price):
    sent = dataclasses.replace(intent(limit=limit), order_type=OrderType.LIMIT)
    assert engine.submit(sent).state is OrderState.WORKING
    gateway.clock.set(at(WEDNESDAY, 18))
    status = engine.get_order_status(sent.key)
    assert (status.state, [fill.price for fill in status.fills]) == (state, [Decimal(price)] if price else [])


def test_a_limit_between_two_ticks_goes_to_the_broker_on_the_grid(gateway, engine, settings):
    async def work(ib: IB) -> list[float]:
        return sorted(trade.order.lmtPrice for trade in await ib.reqAllOpenOrdersAsync())

    engine.submit(intent(limit="17.129"))
    gateway.clock.set(at(WEDNESDAY, 18))
    sale = dataclasses.replace(
        intent("AAA", Side.SELL, limit="18.121"), key="sale", session=WEDNESDAY, order_type=OrderType.LIMIT
    )
    engine.submit(sale)
    assert run(settings, Mode.PAPER, work, client=Client.BARS) == [18.13]


def test_a_sale_brings_back_what_was_bought(gateway, engine):
    engine.submit(intent("CC.B", quantity=10))
    gateway.clock.set(at(WEDNESDAY, 18))
    sale = dataclasses.replace(intent("CC.B", Side.SELL, quantity=10), session=WEDNESDAY)
    engine.submit(sale)
    gateway.clock.set(at(THURSDAY, 18))
    (fill,) = engine.get_order_status(sale.key).fills
    assert (fill.side, fill.symbol, fill.quantity, fill.price) == (Side.SELL, "CC.B", 10, Decimal("58.0000"))


def test_a_share_is_named_by_its_contract_id_where_it_is_known(gateway, settings):
    engine = IbkrEngine(settings, Mode.PAPER, con_ids={SECURITY_IDS["BBB"]: 102})
    sent = dataclasses.replace(intent("BBB", quantity=10), symbol="OLDNAME")
    engine.submit(sent)
    gateway.clock.set(at(WEDNESDAY, 18))
    assert [fill.symbol for fill in engine.get_order_status(sent.key).fills] == ["BBB"]


def test_an_unknown_symbol_is_rejected_and_nothing_is_sent(engine, settings):
    status = engine.submit(intent("ZZZ"))
    assert (status.state, status.detail[:8]) == (OrderState.REJECTED, "IBKR 200")
    assert orders_at_the_broker(settings) == []


def test_an_order_beyond_the_cash_is_rejected_with_the_brokers_words_and_stays_so(engine):
    status = engine.submit(intent(quantity=1000))
    assert (status.state, status.fills) == (OrderState.REJECTED, ())
    assert "IBKR 201: Order rejected - reason:Available Funds are insufficient" in status.detail
    assert engine.submit(intent(quantity=1000)).state is OrderState.REJECTED


def test_a_read_only_gateway_is_no_rejection_of_the_order_and_says_what_to_change(gateway):
    with (
        gateway.serving(read_only=True, state_path=None) as port,
        pytest.raises(ConfigurationError, match=r"read-only mode.*clear Read-Only API"),
    ):
        IbkrEngine(IbkrSettings(port=port, account=ACCOUNT), Mode.PAPER).submit(intent())


def test_a_read_only_gateway_cancels_nothing_and_says_what_to_change(gateway):
    with gateway.serving() as port:
        IbkrEngine(IbkrSettings(port=port, account=ACCOUNT), Mode.PAPER).submit(intent())
    with gateway.serving(read_only=True) as port:
        engine = IbkrEngine(IbkrSettings(port=port, account=ACCOUNT), Mode.PAPER)
        with pytest.raises(ConfigurationError, match=r"read-only mode.*clear Read-Only API"):
            engine.cancel(intent().key)
        assert engine.get_order_status(intent().key).state is OrderState.WORKING


def test_a_refusal_of_the_order_itself_says_nothing_about_the_account(gateway, engine):
    unknown = engine.submit(intent("ZZZ"))
    assert (unknown.state, unknown.own_fault, "IBKR 200" in unknown.detail) == (OrderState.REJECTED, True, True)
    dear = engine.submit(intent("BBB", quantity=10_000))
    assert (dear.state, dear.own_fault, "IBKR 201" in dear.detail) == (OrderState.REJECTED, False, True)


def test_a_cancelled_order_does_not_fill(gateway, engine):
    engine.submit(intent())
    assert engine.cancel(intent().key).state is OrderState.CANCELLED
    gateway.clock.set(at(WEDNESDAY, 18))
    engine.submit(intent("CC.B"))
    assert engine.get_order_status(intent().key).state is None, "a day later the gateway no longer shows it"


def test_cancelling_what_has_filled_returns_the_fill(gateway, engine):
    engine.submit(intent())
    gateway.clock.set(at(WEDNESDAY, 18))
    assert engine.cancel(intent().key).state is OrderState.FILLED


def test_an_order_that_was_never_sent_has_no_state(engine):
    assert engine.get_order_status(intent().key).state is None
    assert engine.cancel(intent().key).state is None


def test_an_order_survives_the_gateways_restart(gateway):
    def engine_at(port: int) -> IbkrEngine:
        return IbkrEngine(IbkrSettings(port=port, account=ACCOUNT), Mode.PAPER)

    with gateway.serving() as port:
        engine_at(port).submit(intent())
    with gateway.serving() as port:
        assert engine_at(port).submit(intent()).state is OrderState.WORKING
        assert engine_at(port).submit(intent("CC.B", quantity=10)).broker_order_id == "1000000002"
    gateway.clock.set(at(WEDNESDAY, 18))
    with gateway.serving() as port:
        assert engine_at(port).get_order_status(intent().key).state is OrderState.FILLED


def test_another_clients_order_of_the_same_reference_is_adopted(gateway, engine, settings):
    """The order of a writer that was set up with another client id."""

    async def place(ib: IB) -> None:
        order = MarketOrder("BUY", 100, tif="OPG", account=ACCOUNT, orderRef=intent().key)
        ib.placeOrder(Stock("AAA", "SMART", "USD"), order)
        await ib.reqCurrentTimeAsync()

    run(settings, Mode.PAPER, place, client=Client.BARS)
    assert engine.submit(intent()).state is OrderState.WORKING
    assert orders_at_the_broker(settings) == [intent().key]
    with pytest.raises(ExecutionError, match="placed by client 10"):
        engine.cancel(intent().key)


def test_a_fill_whose_commission_is_not_reported_is_a_fill_without_one():
    execution = BrokerExecution("e.1", "BOT", "AAA", 100, Decimal(17), None, at(WEDNESDAY, 9, 30))
    status = _status(intent().key, BrokerOrder(1, "Filled", False, None, 100, (execution,)))
    assert (status.state, [fill.commission for fill in status.fills]) == (OrderState.FILLED, [None])


def test_a_commission_that_is_reported_after_the_answer_comes_with_a_later_one(gateway, settings):
    IbkrEngine(settings, Mode.PAPER).submit(intent())
    gateway.clock.set(at(WEDNESDAY, 18))
    with through(Wire(settings.port, without="59")) as port:  # COMMISSION_REPORT
        early = IbkrEngine(IbkrSettings(port=port, account=ACCOUNT), Mode.PAPER).get_order_status(intent().key)
    assert (early.state, [fill.commission for fill in early.fills]) == (OrderState.FILLED, [None])
    late = IbkrEngine(settings, Mode.PAPER).get_order_status(intent().key)
    assert (late.state, [fill.commission for fill in late.fills]) == (OrderState.FILLED, [Decimal("1.0000")])
    assert late.fills == tuple(dataclasses.replace(fill, commission=Decimal("1.0000")) for fill in early.fills)


FORTY = (BrokerExecution("e.1", "BOT", "AAA", 40, Decimal(17), Decimal(1), at(WEDNESDAY, 10)),)


@pytest.mark.parametrize(
    ("order", "state"),
    [
        (BrokerOrder(1, "Cancelled", True, 100, 0), OrderState.WORKING),  # ib_async says so of an order that lives (10349)
        (BrokerOrder(1, "Inactive", True, 100, 0), OrderState.WORKING),  # may be revived
        (BrokerOrder(1, "Filled", False, None, 100), OrderState.UNKNOWN),  # no executions shown
        (BrokerOrder(1, "Cancelled", False, None, 0), OrderState.CANCELLED),
        (BrokerOrder(1, "Inactive", False, None, 0), OrderState.REJECTED),
        (BrokerOrder(1, "Submitted", True, 100, 40, FORTY), OrderState.PARTIAL),
        (BrokerOrder(1, "Submitted", True, 40, 0, FORTY), OrderState.FILLED),  # a late status never takes a fill back
        (BrokerOrder(1, "Cancelled", False, None, 40, FORTY), OrderState.CANCELLED),
        (BrokerOrder(0, "", False, None, 0, FORTY), OrderState.PARTIAL),  # listed nowhere yet
    ],
)
def test_executions_decide_before_the_brokers_word(order, state):
    assert _status(intent().key, order).state is state


def test_a_dry_run_may_look_and_may_not_send(settings):
    engine = IbkrEngine(settings, Mode.DRY_RUN)
    assert engine.get_order_status(intent().key).state is None
    with pytest.raises(NotPermitted, match="dry_run"):
        engine.submit(intent())


@pytest.mark.parametrize(("moment", "sent"), [((9, 27), True), ((9, 28), False), ((10, 0), False)])
def test_an_order_is_not_sent_when_its_open_is_over_or_its_book_is_closed(settings, moment, sent):
    """It would wait for an open that was not in the decision."""
    late = IbkrEngine(settings, Mode.PAPER, clock=FixedClock(at(WEDNESDAY, *moment)))
    if sent:
        assert late.submit(intent()).state is OrderState.WORKING
    else:
        with pytest.raises(ExecutionError, match="the open it was meant for was on 2026-11-18 at 09:30 New York"):
            late.submit(intent())
    assert len(orders_at_the_broker(settings)) == sent


def test_a_reference_is_the_key_or_its_hash():
    assert order_reference("value|2026-11-17|100100|buy") == "value|2026-11-17|100100|buy"
    long = "a_strategy_with_a_very_long_name|2026-11-17|100100|buy"
    assert order_reference(long) == order_reference(long) == "tb1-wfyoypy3fsme6dkzawsn"
    assert order_reference("é|2026-11-17|1|buy").startswith("tb1-")


def test_a_long_key_is_found_again_under_its_hash(gateway, engine):
    sent = dataclasses.replace(intent(), key="a_strategy_with_a_very_long_name|2026-11-17|100100|buy")
    engine.submit(sent)
    gateway.clock.set(at(WEDNESDAY, 18))
    status = engine.get_order_status(sent.key)
    assert (status.state, status.fills[0].order_key) == (OrderState.FILLED, sent.key)


# The closing auction


def on_close(side: Side = Side.BUY, limit: str | None = None) -> OrderIntent:
    kind = OrderType.LIMIT_ON_CLOSE if limit else OrderType.MARKET_ON_CLOSE
    return dataclasses.replace(intent(side=side, limit=limit), order_type=kind)


def test_an_order_for_the_closing_auction_is_sent_before_the_open_and_fills_at_the_close(gateway, engine, settings):
    sent = on_close(limit="17.80")
    assert engine.submit(sent).state is OrderState.WORKING

    async def work(ib: IB) -> list[tuple]:
        return [(trade.order.orderType, trade.order.tif, trade.order.lmtPrice) for trade in await ib.reqAllOpenOrdersAsync()]

    assert run(settings, Mode.PAPER, work, client=Client.BARS) == [("LOC", "DAY", 17.8)]
    gateway.clock.set(at(WEDNESDAY, 15))
    assert engine.get_order_status(sent.key).state is OrderState.WORKING
    gateway.clock.set(at(WEDNESDAY, 18))
    (fill,) = engine.get_order_status(sent.key).fills
    assert (fill.session, fill.filled_at) == (WEDNESDAY, at(WEDNESDAY, 16))
    assert fill.price <= Decimal("17.80")


def test_one_whose_limit_the_close_is_beyond_ends_with_the_auction(gateway, engine):
    sent = on_close(limit="1.00")
    engine.submit(sent)
    gateway.clock.set(at(WEDNESDAY, 18))
    status = engine.get_order_status(sent.key)
    assert (status.state, status.fills) == (OrderState.CANCELLED, ())


def test_a_sale_market_on_close_is_filled_there(gateway, engine):
    engine.submit(intent())
    gateway.clock.set(at(WEDNESDAY, 18))
    sale = dataclasses.replace(on_close(Side.SELL), session=WEDNESDAY, key=on_close(Side.SELL).key.replace("17", "18"))
    engine.submit(sale)
    gateway.clock.set(at(THURSDAY, 18))
    status = engine.get_order_status(sale.key)
    assert (status.state, status.fills[0].filled_at) == (OrderState.FILLED, at(THURSDAY, 16))
