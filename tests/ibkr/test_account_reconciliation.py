"""The ledger of a sleeve against the account of the simulated TWS, through the unmodified client."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path

import pytest
from ib_async import IB, MarketOrder, Stock

from tests.ibkr.conftest import ACCOUNT, SECURITY_IDS, TUESDAY, WEDNESDAY, Gateway, at, intent
from tradebot_core.calendar import xnys
from tradebot_core.config import IbkrSettings, Mode
from tradebot_core.errors import ReconciliationError
from tradebot_core.execution.ibkr import IbkrEngine
from tradebot_core.ibkr.account import IbkrAccountReader
from tradebot_core.ibkr.connection import Client, run
from tradebot_core.ibkr.orders import order_reference
from tradebot_core.model.order import OrderState, RiskVerdict, Side
from tradebot_core.model.portfolio import Entry, EntryKind
from tradebot_core.stores.sqlite_ledger import SqliteLedger
from tradebot_core.trading.account_comparison import Line
from tradebot_core.trading.account_reconciliation import BASELINE, AccountReconciler, broken, of_account
from tradebot_core.trading.session import send, take_status

D = Decimal
CON_IDS = {SECURITY_IDS["AAA"]: 101, SECURITY_IDS["BBB"]: 102, SECURITY_IDS["CC.B"]: 103}
EVENING = at(TUESDAY, 18)


@dataclass
class Desk:
    gateway: Gateway
    settings: IbkrSettings
    ledger: SqliteLedger

    @property
    def reconciler(self) -> AccountReconciler:
        reader = IbkrAccountReader(self.settings, Mode.PAPER)
        return AccountReconciler(self.ledger, xnys(), ["value"], reader, lambda: CON_IDS, order_reference)

    @property
    def engine(self) -> IbkrEngine:
        return IbkrEngine(self.settings, Mode.PAPER, acknowledge_timeout_s=5)

    def lines(self) -> tuple[Line, ...]:
        return self.reconciler.lines(self.gateway.clock.now())

    def breaks(self) -> list[tuple[str, str]]:
        return [(str(line.kind), line.reason) for line in broken(self.lines())]

    def buy(self, quantity: int = 100, capital: str = "5000") -> None:
        """Opens the sleeve and sends its first order."""
        order = intent(quantity=quantity)
        self.ledger.post("value", [Entry("deposit:opening", TUESDAY, EntryKind.DEPOSIT, D(capital))])
        self.ledger.commit_orders("value", TUESDAY, [(order, RiskVerdict(True, "within_limits"))], EVENING)
        send(self.ledger, self.engine, "value", order, OrderState.NEW, EVENING)

    def record(self) -> None:
        self.gateway.clock.set(at(WEDNESDAY, 10))
        take_status(self.ledger, "value", intent(), self.engine.get_order_status(intent().key), at(WEDNESDAY, 10))

    def by_hand(self, side: str, quantity: int, symbol: str = "AAA", reference: str = "") -> None:
        async def work(ib: IB) -> None:
            order = MarketOrder(side, quantity, tif="DAY", account=ACCOUNT, orderRef=reference)
            ib.placeOrder(Stock(symbol, "SMART", "USD"), order)
            await ib.reqCurrentTimeAsync()

        run(self.settings, Mode.PAPER, work, client=Client.BARS)


@pytest.fixture
def desk(gateway: Gateway, settings: IbkrSettings, tmp_path: Path) -> Iterator[Desk]:
    return Desk(gateway, settings, SqliteLedger(tmp_path / "ledger.sqlite"))


def test_before_the_bot_has_traded_what_the_account_holds_is_external(desk):
    assert desk.breaks() == []
    (entry,) = desk.ledger.external()
    assert (entry.con_id, entry.cash, entry.reason) == (None, D(10_000), BASELINE)


def test_a_session_passes_from_the_order_to_the_fill(desk):
    desk.lines()
    desk.buy()
    assert desk.breaks() == []
    desk.record()
    lines = desk.lines()
    assert broken(lines) == ()
    assert [(str(line.kind), line.ledger, line.broker) for line in lines] == [
        ("order", "ended", "Filled"),
        ("execution", "BOT 100 AAA", "BOT 100 AAA"),
        ("position", "100", "100"),
        ("cash", "8299.0000", "8299.0000"),
    ]


def test_a_fill_that_was_not_entered_breaks_the_account_until_it_is(desk):
    desk.lines()
    desk.buy()
    desk.gateway.clock.set(at(WEDNESDAY, 10))
    lines = desk.lines()
    assert {(str(line.kind), line.reason) for line in of_account(lines)} == {
        ("execution", "the broker executed it and the ledger lacks it"),
        ("cash", "the broker has -1701.0000 USD against the ledger"),
    }
    desk.record()
    assert desk.breaks() == []


def test_shares_bought_by_hand_are_a_break_until_a_person_says_that_they_are_theirs(desk):
    desk.lines()
    desk.buy()
    desk.record()
    desk.by_hand("BUY", 7, "CC.B")
    breaks = broken(desk.lines())
    assert {(str(line.kind), line.con_id) for line in breaks} == {("position", 103), ("cash", None)}
    assert {line.command for line in breaks} == {'tradebot reconcile --accept-external "reason"'}
    left = desk.reconciler.accept("seven for my daughter", "anna", desk.gateway.clock.now())
    assert broken(left) == ()
    assert desk.breaks() == []
    bought = desk.ledger.external()[1:]
    assert [(e.con_id, e.quantity, e.reason, e.operator) for e in bought] == [
        (103, D(7), "seven for my daughter", "anna"),
        (None, D(0), "seven for my daughter", "anna"),
    ]


def test_a_dividend_that_is_not_paid_yet_is_not_entered_when_something_else_is_accepted(desk):
    """Else it would be counted twice on the day it is paid."""
    desk.lines()
    desk.buy()
    desk.record()
    desk.ledger.post("value", [Entry("dividend:x", WEDNESDAY, EntryKind.DIVIDEND, D("12.34"), 0, SECURITY_IDS["AAA"], "AAA")])
    assert broken(desk.reconciler.accept("looked at it", "anna", desk.gateway.clock.now())) == ()
    assert [entry.reason for entry in desk.ledger.external()] == [BASELINE]
    (cash,) = [line for line in desk.lines() if line.what == "USD"]
    assert (cash.passed, cash.reason) == (True, "dividends not paid yet: 12.34")


def test_a_fill_of_ours_that_is_not_entered_yet_cannot_be_taken_for_external(desk):
    desk.lines()
    desk.buy()
    desk.gateway.clock.set(at(WEDNESDAY, 10))
    with pytest.raises(ReconciliationError, match=r"is not external.*Fills are entered by a run after the open"):
        desk.reconciler.accept("no idea", "anna", desk.gateway.clock.now())
    desk.record()
    assert desk.breaks() == []


def test_two_processes_that_compare_first_at_the_same_time_enter_the_beginning_once(desk):
    desk.lines()
    beginning = desk.ledger.external()
    assert not desk.ledger.record_external(beginning, first=True)
    assert desk.ledger.external() == beginning


def test_our_shares_sold_by_hand_stop_that_security(desk):
    desk.lines()
    desk.buy()
    desk.record()
    desk.by_hand("SELL", 40)
    position = next(line for line in broken(desk.lines()) if line.con_id == 101)
    assert (position.ledger, position.broker, position.reason) == (
        "100",
        "60",
        "the broker holds -40 shares against the ledger",
    )


def test_an_order_of_ours_that_the_ledger_never_saw_breaks_the_account(desk):
    desk.lines()
    desk.by_hand("BUY", 1, reference="value|2026-11-16|100100|buy")
    assert ("order", "the broker has an order of ours that the ledger lacks") in desk.breaks()


def test_an_order_that_the_ledger_holds_and_the_broker_does_not_breaks_the_account(desk):
    desk.lines()
    desk.buy()
    other = replace(intent("BBB"), key="value|2026-11-17|100200|buy")
    desk.ledger.commit_orders("value", WEDNESDAY, [(other, RiskVerdict(True, "within_limits"))], EVENING)
    for state in (OrderState.SENDING, OrderState.WORKING):
        desk.ledger.record_state(other.key, state, EVENING)
    assert desk.breaks() == [("order", "the broker does not know it")]


def test_sleeves_with_more_capital_than_the_account_are_not_traded(desk):
    desk.lines()
    desk.buy(capital="10000.01")
    ((kind, reason),) = desk.breaks()
    assert (kind, "more capital than the account has" in reason) == ("cash", True)


def test_a_held_share_without_the_brokers_number_is_named(desk):
    desk.lines()
    desk.buy()
    desk.record()
    blind = replace(desk.reconciler, con_ids=dict)
    reasons = [line.reason for line in broken(blind.lines(desk.gateway.clock.now()))]
    assert any("knows no con_id" in reason for reason in reasons)


def test_an_order_in_doubt_is_no_break_its_recovery_comes_first(desk):
    desk.lines()
    desk.buy()
    desk.ledger.record_state(intent().key, OrderState.UNKNOWN, EVENING)
    assert desk.breaks() == []


def test_a_sale_of_the_sleeve_brings_its_cash_back(desk):
    desk.lines()
    desk.buy()
    desk.record()
    sale = replace(intent("AAA", Side.SELL), session=WEDNESDAY, key="value|2026-11-18|100100|sell")
    now = at(WEDNESDAY, 18)
    desk.gateway.clock.set(now)
    desk.ledger.commit_orders("value", WEDNESDAY, [(sale, RiskVerdict(True, "within_limits"))], now)
    send(desk.ledger, desk.engine, "value", sale, OrderState.NEW, now)
    assert desk.breaks() == []
