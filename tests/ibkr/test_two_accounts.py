"""A login of two accounts: what is ours is the configured account's, and nothing else is looked at. Unmodified client."""

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal

import pytest
from ib_async import IB, ExecutionFilter, LimitOrder, MarketOrder, Stock

from tests.ibkr.conftest import ACCOUNT, SECURITY_IDS, TUESDAY, WEDNESDAY, Gateway, at, intent
from tests.ibkr.test_simulated_tws import ask, settle, until
from tradebot_core.calendar import xnys
from tradebot_core.config import IbkrSettings, Mode
from tradebot_core.execution.ibkr import IbkrEngine
from tradebot_core.ibkr.account import IbkrAccountReader
from tradebot_core.ibkr.diagnosis import What, diagnose
from tradebot_core.ibkr.orders import order_reference
from tradebot_core.model.order import OrderState, RiskVerdict
from tradebot_core.model.portfolio import Entry, EntryKind
from tradebot_core.simulation.tws import SimulatedTws, serving
from tradebot_core.stores.sqlite_ledger import SqliteLedger
from tradebot_core.trading.account_reconciliation import AccountReconciler, broken
from tradebot_core.trading.session import send, take_status

D = Decimal
OTHER = "DU0000002"
AAA = Stock("AAA", "SMART", "USD")


@dataclass
class Login:
    gateway: Gateway
    tws: SimulatedTws
    port: int

    def settings(self, account: str) -> IbkrSettings:
        return IbkrSettings(port=self.port, account=account)

    def engine(self, account: str = ACCOUNT) -> IbkrEngine:
        return IbkrEngine(self.settings(account), Mode.PAPER, acknowledge_timeout_s=5)

    def account(self, account: str = ACCOUNT):
        return IbkrAccountReader(self.settings(account), Mode.PAPER).account()


@pytest.fixture
def login(gateway: Gateway) -> Iterator[Login]:
    tws = gateway.tws(others=[OTHER])
    with serving(tws) as port:
        yield Login(gateway, tws, port)


def twins(login: Login) -> None:
    """Orders of one reference in both accounts, the other's by another program, and more in the other one; all filled on Wednesday."""
    key = intent().key
    login.engine().submit(intent(quantity=100))

    async def place(ib: IB) -> None:
        for quantity, reference in ((60, key), (7, "")):
            placed = ib.placeOrder(AAA, MarketOrder("BUY", quantity, account=OTHER, tif="OPG", orderRef=reference))
            await until(ib, lambda placed=placed: placed.orderStatus.permId)

    ask(login.settings(ACCOUNT), place, client_id=7)
    login.tws.by_hand.buy("CC.B", 5, account=OTHER)
    login.tws.by_hand.move_cash(D(-2000), account=OTHER)


# The simulated TWS.


def test_a_client_is_told_both_accounts_and_each_has_its_own_values(login):
    login.tws.by_hand.move_cash(D(500), account=OTHER)

    async def look(ib: IB):
        summary = {(v.account, v.tag): v.value for v in await ib.accountSummaryAsync() if v.tag == "TotalCashValue"}
        updates = {}
        for account in (ACCOUNT, OTHER):
            await ib.reqAccountUpdatesAsync(account)
            updates[account] = {v.value for v in ib.accountValues(account) if v.tag == "TotalCashValue"}
            ib.client.reqAccountUpdates(False, account)
        return ib.managedAccounts(), summary, updates

    managed, summary, updates = ask(login.settings(ACCOUNT), look)
    assert managed == [ACCOUNT, OTHER]
    assert summary == {(ACCOUNT, "TotalCashValue"): "10000", (OTHER, "TotalCashValue"): "10500"}
    assert updates == {ACCOUNT: {"10000"}, OTHER: {"10500"}}


def test_positions_orders_and_executions_name_their_account(login):
    twins(login)

    async def orders(ib: IB):
        return sorted((t.order.account, t.order.totalQuantity) for t in await ib.reqAllOpenOrdersAsync())

    async def after(ib: IB):
        completed = sorted((t.order.account, t.order.filledQuantity) for t in await ib.reqCompletedOrdersAsync(False))
        fills = await ib.reqExecutionsAsync(ExecutionFilter(acctCode=OTHER))
        return (
            sorted((p.account, p.contract.symbol, p.position) for p in ib.positions()),
            completed,
            {(fill.execution.acctNumber, fill.execution.shares) for fill in fills},
        )

    assert ask(login.settings(ACCOUNT), orders) == [(ACCOUNT, 100), (OTHER, 5), (OTHER, 7), (OTHER, 60)]
    login.gateway.clock.set(at(WEDNESDAY, 18))
    positions, completed, fills = ask(login.settings(ACCOUNT), after)
    assert positions == [(ACCOUNT, "AAA", 100), (OTHER, "AAA", 67), (OTHER, "CC B", 5)]
    assert completed == [(ACCOUNT, 100), (OTHER, 5), (OTHER, 7), (OTHER, 60)]
    assert fills == {(OTHER, 5), (OTHER, 7), (OTHER, 60)}


@pytest.mark.parametrize("account", ["", "DU0000009"])
def test_an_order_that_names_no_account_of_the_login_is_refused(login, account):
    async def work(ib: IB):
        codes = []
        ib.errorEvent += lambda order_id, code, *_: codes.append(code) if order_id > 0 else None
        ib.placeOrder(AAA, LimitOrder("BUY", 1, 10, account=account, tif="DAY"))
        await settle(ib)
        return codes

    assert ask(login.settings(ACCOUNT), work) == [435]
    assert login.tws.by_hand.truth().orders == []


def test_each_account_pays_with_its_own_cash_and_sells_its_own_shares(login):
    login.tws.by_hand.move_cash(D(-9990), account=OTHER)

    async def work(ib: IB):
        codes = []
        ib.errorEvent += lambda order_id, code, *_: codes.append(code) if order_id > 0 else None
        for account in (OTHER, ACCOUNT):
            ib.placeOrder(AAA, MarketOrder("BUY", 10, account=account, tif="OPG"))
        await settle(ib)
        return codes, [t.order.account for t in await ib.reqAllOpenOrdersAsync() if t.order.permId]

    assert ask(login.settings(ACCOUNT), work) == ([201], [ACCOUNT])


# Ours.


def test_an_order_is_judged_by_the_executions_of_its_own_account(login):
    twins(login)
    login.gateway.clock.set(at(WEDNESDAY, 18))
    status = login.engine().get_order_status(intent().key)
    assert (status.state, [fill.quantity for fill in status.fills]) == (OrderState.FILLED, [100])


def test_the_doctor_says_which_account_is_used(login):
    found = diagnose(login.settings(OTHER), Mode.PAPER, login.gateway.clock, None)
    (text,) = [finding.text for finding in found if finding.what is What.ACCOUNT]
    assert text.endswith(f"is logged in to {OTHER} (paper); the login's other accounts (1) are left alone")


def test_an_order_of_another_account_is_neither_found_nor_cancelled(login):
    login.engine(OTHER).submit(intent(quantity=60))
    assert login.engine().get_order_status(intent().key).state is None
    assert login.engine().cancel(intent().key).state is None
    (order,) = login.tws.by_hand.truth().orders
    assert (order.account, order.is_open) == (OTHER, True)
    assert login.engine().submit(intent(quantity=30)).state is OrderState.WORKING  # no double of the other's
    assert [(o.account, o.quantity) for o in login.tws.by_hand.truth().orders] == [(OTHER, 60), (ACCOUNT, 30)]


def test_positions_cash_orders_and_executions_are_the_configured_account_s_alone(login):
    twins(login)
    login.gateway.clock.set(at(WEDNESDAY, 18))
    ours, other = login.account(), login.account(OTHER)
    assert {con_id: held.quantity for con_id, held in ours.positions.items()} == {101: 100}
    assert {con_id: held.quantity for con_id, held in other.positions.items()} == {101: 67, 103: 5}
    assert (ours.cash, other.cash) == (D(10_000) - 1701, D(8_000) - 60 * 17 - 7 * 17 - 5 * 57 - 3)
    assert [(o.reference, o.filled) for o in ours.orders] == [(intent().key, 100)]
    assert [(e.reference, e.quantity) for e in ours.executions] == [(intent().key, 100)]
    assert sorted(e.quantity for e in other.executions) == [5, 7, 60]


def test_what_another_account_holds_is_no_break_and_no_external_part(login, tmp_path):
    ledger = SqliteLedger(tmp_path / "ledger.db")
    con_ids = {SECURITY_IDS["AAA"]: 101, SECURITY_IDS["CC.B"]: 103}
    reader = IbkrAccountReader(login.settings(ACCOUNT), Mode.PAPER)
    reconciler = AccountReconciler(ledger, xnys(), ["value"], reader, lambda: con_ids, order_reference)
    evening = at(TUESDAY, 18)
    login.tws.by_hand.move_cash(D(900), account=OTHER)
    ledger.post("value", [Entry("deposit:opening", TUESDAY, EntryKind.DEPOSIT, D(5000))])
    assert broken(reconciler.lines(evening)) == ()
    ledger.commit_orders("value", TUESDAY, [(intent(), RiskVerdict(True, "within_limits"))], evening)
    send(ledger, login.engine(), "value", intent(), OrderState.NEW, evening)
    login.tws.by_hand.buy("CC.B", 5, account=OTHER)
    login.tws.by_hand.buy("AAA", 20, account=OTHER)
    login.gateway.clock.set(at(WEDNESDAY, 18))
    after = at(WEDNESDAY, 18)
    take_status(ledger, "value", intent(), login.engine().get_order_status(intent().key), after)
    assert broken(reconciler.lines(after)) == ()
    external = [(entry.con_id, entry.quantity, entry.cash) for entry in ledger.external()]
    assert external == [(None, 0, 10_000)], "what ours held at the beginning, and nothing of the 10 900 of the other"
