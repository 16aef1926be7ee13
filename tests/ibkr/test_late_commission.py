"""A commission that IBKR reports late, or never, through the socket: the fill is entered, and what is missing is named."""

from decimal import Decimal
from pathlib import Path

import pytest

from tests.ibkr.conftest import ACCOUNT, SECURITY_IDS, THURSDAY, TUESDAY, WEDNESDAY, Gateway, at, intent
from tests.ibkr.wire import Wire, through
from tradebot_core.calendar import xnys
from tradebot_core.config import IbkrSettings, Mode
from tradebot_core.execution.ibkr import IbkrEngine
from tradebot_core.ibkr.account import IbkrAccountReader
from tradebot_core.ibkr.orders import order_reference
from tradebot_core.model.order import OrderState, OrderStatus, RiskVerdict
from tradebot_core.model.portfolio import Entry, EntryKind
from tradebot_core.stores.sqlite_ledger import SqliteLedger
from tradebot_core.trading.account_comparison import Line, LineKind
from tradebot_core.trading.account_reconciliation import AccountReconciler, broken
from tradebot_core.trading.session import send, take_late, take_status

COMMISSION_REPORT = "59"
MORNING = at(WEDNESDAY, 10)


@pytest.fixture
def ledger(tmp_path: Path) -> SqliteLedger:
    return SqliteLedger(tmp_path / "ledger.sqlite")


def asked(settings: IbkrSettings, without: str | None = None) -> OrderStatus:
    with through(Wire(settings.port, without=without)) as port:
        return IbkrEngine(IbkrSettings(port=port, account=ACCOUNT), Mode.PAPER).get_order_status(intent().key)


def reconciled(gateway: Gateway, settings: IbkrSettings, ledger: SqliteLedger) -> tuple[Line, ...]:
    con_ids = {SECURITY_IDS["AAA"]: 101}
    reader = IbkrAccountReader(settings, Mode.PAPER)
    reconciler = AccountReconciler(ledger, xnys(), ["value"], reader, lambda: con_ids, order_reference)
    return reconciler.lines(gateway.clock.now())


@pytest.fixture
def filled(gateway: Gateway, settings: IbkrSettings, ledger: SqliteLedger) -> None:
    """Bought, filled and entered without a word about the commission."""
    reconciled(gateway, settings, ledger)
    ledger.post("value", [Entry("deposit:opening", TUESDAY, EntryKind.DEPOSIT, Decimal(5000))])
    ledger.commit_orders("value", TUESDAY, [(intent(), RiskVerdict(True, "within_limits"))], at(TUESDAY, 18))
    send(ledger, IbkrEngine(settings, Mode.PAPER), "value", intent(), OrderState.NEW, at(TUESDAY, 18))
    gateway.clock.set(MORNING)
    take_status(ledger, "value", intent(), asked(settings, COMMISSION_REPORT), MORNING)


@pytest.mark.usefixtures("filled")
def test_the_fill_is_entered_and_the_reconciliation_names_what_is_missing(gateway, settings, ledger):
    assert ledger.state_of(intent().key) is OrderState.FILLED
    book = ledger.book("value", WEDNESDAY)
    assert (book.cash, book.positions[SECURITY_IDS["AAA"]].quantity) == (Decimal("3300"), 100)
    lines = reconciled(gateway, settings, ledger)
    (named,) = [line for line in lines if "commission" in line.reason and line.kind is LineKind.EXECUTION]
    assert (named.what, named.passed) == ("0000e0d5.00000001.01", True)
    assert [(line.kind, line.reason) for line in broken(lines)] == [
        (
            LineKind.CASH,
            f"the broker has -1.0000 USD against the ledger; the commission of {named.what}, which the broker has not reported",
        )
    ]


@pytest.mark.usefixtures("filled")
def test_a_report_that_comes_the_same_day_is_entered_and_everything_agrees(gateway, settings, ledger):
    evening = at(WEDNESDAY, 20)
    gateway.clock.set(evening)
    assert take_late(ledger, "value", intent().key, asked(settings), evening) == ""
    assert ledger.fills("value")["commission"].to_list() == ["1.0000"]
    assert broken(reconciled(gateway, settings, ledger)) == ()


@pytest.mark.usefixtures("filled")
def test_a_day_later_ibkr_shows_nothing_and_what_is_missing_stays_named(gateway, settings, ledger):
    gateway.clock.set(at(THURSDAY, 7))
    status = asked(settings)
    assert status.state is None
    take_late(ledger, "value", intent().key, status, at(THURSDAY, 7))
    assert ledger.state_of(intent().key) is OrderState.FILLED
    assert any("commission is not reported" in line.reason for line in reconciled(gateway, settings, ledger))
