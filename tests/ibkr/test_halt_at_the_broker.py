"""`tradebot halt` at the simulated TWS: Tradebot's own orders are cancelled over the socket, and no others."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from ib_async import IB, LimitOrder, Stock

from tests.ibkr.conftest import ACCOUNT, TUESDAY, WEDNESDAY, at, intent
from tradebot_core.calendar import xnys
from tradebot_core.config import IbkrSettings, Mode
from tradebot_core.execution.ibkr import IbkrEngine
from tradebot_core.ibkr.connection import Client, run
from tradebot_core.model.order import OrderState, RiskVerdict
from tradebot_core.stores.file_store import FileStore
from tradebot_core.trading.session import send
from tradebot_dagster.cli import main


class AtTheBroker:
    """Three orders of Tradebot's ledger at the simulated TWS, and one that its user placed by hand."""

    def __init__(self, folder: Path, settings: IbkrSettings, engine) -> None:
        self.store, self.settings = folder / "store", settings
        self.ledger = FileStore(self.store, xnys()).ledger
        self.intents = [intent(symbol, quantity=10) for symbol in ("AAA", "BBB", "CC.B")]
        self.ledger.commit_orders("value", TUESDAY, [(one, RiskVerdict(True, "ok")) for one in self.intents], at(TUESDAY, 18))
        for one in self.intents:
            send(self.ledger, engine, "value", one, OrderState.NEW, at(TUESDAY, 18))
        self.by_hand()
        self.config = folder / "config.yaml"
        self.config.write_text(
            f"mode: paper\ndata_store: {{path: {self.store}}}\nibkr: {{port: {settings.port}, account: {settings.account}}}\n"
        )

    def by_hand(self) -> None:
        async def work(ib: IB) -> None:
            order = LimitOrder("BUY", 7, 1.0, account=ACCOUNT, tif="OPG", orderRef="mine")
            ib.placeOrder(Stock("AAA", "SMART", "USD"), order)
            await ib.reqCurrentTimeAsync()

        run(self.settings, Mode.PAPER, work, client=Client.ORDERS)

    def working(self) -> set[str]:
        async def work(ib: IB) -> set[str]:
            return {trade.order.orderRef for trade in await ib.reqAllOpenOrdersAsync()}

        return run(self.settings, Mode.PAPER, work, client=Client.BARS)

    def halt(self):
        return CliRunner().invoke(main, ["halt", "odd prices", "--config", str(self.config), "--json"])

    def states(self) -> list[str]:
        return self.ledger.orders("value").sort("order_key")["state"].to_list()


@pytest.fixture
def broker(tmp_path, settings, engine) -> AtTheBroker:
    return AtTheBroker(tmp_path, settings, engine)


def test_at_the_broker_its_own_orders_are_cancelled_and_no_others(broker):
    assert broker.working() == {*(one.key for one in broker.intents), "mine"}
    result = broker.halt()
    assert result.exit_code == 0, result.output
    assert (broker.working(), broker.states()) == ({"mine"}, ["cancelled"] * 3)


def test_an_order_that_filled_before_the_halt_is_entered_as_filled(broker, gateway):
    gateway.clock.set(at(WEDNESDAY, 9, 31))
    result = broker.halt()
    assert result.exit_code == 0, result.output
    assert (broker.states(), broker.ledger.fills("value").height) == (["filled"] * 3, 3)


def test_orders_are_cancelled_with_the_rest_of_the_configuration_refused(broker):
    broker.config.write_text(broker.config.read_text() + "moode: paper\nstrategies: 5\n")
    result = broker.halt()
    assert result.exit_code == 0, result.output
    assert (broker.working(), broker.states()) == ({"mine"}, ["cancelled"] * 3)


def test_a_broker_that_is_away_leaves_the_halt_and_names_the_orders(tmp_path, gateway, monkeypatch):
    monkeypatch.setattr("tradebot_dagster.cli.halt.time.sleep", lambda seconds: None)
    with gateway.serving() as open_port:
        settings = IbkrSettings(port=open_port, account=ACCOUNT)
        broker = AtTheBroker(tmp_path, settings, IbkrEngine(settings, Mode.PAPER, acknowledge_timeout_s=5))
    result = broker.halt()
    document = json.loads(result.stdout)
    assert (result.exit_code, broker.ledger.halted(), broker.states()) == (1, "odd prices", ["working"] * 3)
    assert all("Nothing answers at" in order["problem"] for order in document["orders"])
    (problem,) = document["problems"]
    assert all(one.key in problem for one in broker.intents) and "Cancel in TWS" in problem


def test_an_account_that_cannot_be_read_is_said_and_the_halt_holds(broker):
    broker.config.write_text(broker.config.read_text().replace("mode: paper", "mode: papr"))
    result = broker.halt()
    assert (result.exit_code, broker.ledger.halted()) == (1, "odd prices")
    assert "does not say where its orders are" in json.loads(result.stdout)["problems"][0]
