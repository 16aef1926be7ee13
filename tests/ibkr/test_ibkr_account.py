"""The account as read over the socket of the simulated TWS."""

from decimal import Decimal

import pytest
from ib_async import AccountValue

from tests.ibkr.conftest import ACCOUNT, WEDNESDAY, at, intent
from tradebot_core.config import IbkrSettings, Mode
from tradebot_core.errors import ConfigurationError, ExecutionError
from tradebot_core.execution.ibkr import IbkrEngine
from tradebot_core.ibkr.account import IbkrAccountReader, account_value, checked


@pytest.mark.parametrize("prefix", [False, True])
def test_a_filled_order_shows_as_position_cash_order_and_execution(gateway, prefix):
    with gateway.serving(ledger_prefix=prefix) as port:
        settings = IbkrSettings(port=port, account=ACCOUNT)
        engine, reader = IbkrEngine(settings, Mode.PAPER, acknowledge_timeout_s=5), IbkrAccountReader(settings, Mode.PAPER)
        engine.submit(intent(quantity=300))
        before = reader.account()
        gateway.clock.set(at(WEDNESDAY, 18))
        after = reader.account()
    assert (before.account, before.positions, before.cash, before.executions) == (ACCOUNT, {}, Decimal(10_000), [])
    assert [(o.reference, o.con_id, o.is_open, o.quantity, o.filled) for o in before.orders] == [
        (intent().key, 101, True, 300, 0)
    ]
    held = after.positions[101]
    assert (list(after.positions), held.symbol, held.quantity) == ([101], "AAA", 300)
    assert after.cash == Decimal("10000") - 300 * 17 - Decimal("1.5")
    assert after.net_liquidation == after.cash + 300 * Decimal("17.5")
    assert [(o.reference, o.is_open, o.status, o.filled) for o in after.orders] == [(intent().key, False, "Filled", 300)]
    (done,) = after.executions
    assert (done.reference, done.con_id, done.side, done.quantity, done.price) == (intent().key, 101, "BOT", 300, 17)
    assert done.at == at(WEDNESDAY, 9, 30)


def test_a_value_that_is_missing_is_none_and_never_zero():
    euros = AccountValue(ACCOUNT, "CashBalance", "7", "EUR", "")
    empty = AccountValue(ACCOUNT, "CashBalance", "", "USD", "")
    assert account_value([euros, empty], "CashBalance") is None


@pytest.mark.parametrize("tag", ["SettledCash", "$LEDGER-SettledCash"])
def test_settled_cash_is_read_in_both_forms(tag):
    assert account_value([AccountValue(ACCOUNT, tag, "12.34", "USD", "")], "SettledCash") == Decimal("12.34")


@pytest.mark.parametrize("text", ["NaN", "Infinity", "many"])
def test_what_is_no_amount_is_refused(text):
    with pytest.raises(ExecutionError, match="no amount"):
        account_value([AccountValue(ACCOUNT, "CashBalance", text, "USD", "")], "CashBalance")


def value(tag: str, amount: str, currency: str = "USD", model: str = "") -> AccountValue:
    return AccountValue(ACCOUNT, tag, amount, currency, model)


@pytest.mark.parametrize(
    ("values", "stated"),
    [
        ([value("NetLiquidation", "9000", "EUR")], "is EUR"),
        ([value("SettledCash", "9000", "CHF")], "is CHF"),
        ([value("CashBalance", "9000"), value("$LEDGER-ExchangeRate", "0.92")], "is one in which a USD is worth 0.92"),
        ([value("ExchangeRate", "1.31")], "is one in which a USD is worth 1.31"),
    ],
)
def test_an_account_whose_base_currency_is_not_the_dollar_is_refused(values, stated):
    with pytest.raises(ConfigurationError, match=f"The base currency of account {ACCOUNT} {stated}.*counts in USD"):
        checked(values, ACCOUNT)


def test_a_dollar_account_may_hold_other_money_beside():
    values = [
        value("NetLiquidation", "9000"),
        value("$LEDGER-CashBalance", "9000", "BASE"),
        value("$LEDGER-CashBalance", "8500"),
        value("$LEDGER-CashBalance", "460", "EUR"),
        value("$LEDGER-ExchangeRate", "1.00"),
        value("$LEDGER-ExchangeRate", "1.087", "EUR"),
        value("$LEDGER-CashBalance", "77", model="Growth"),
    ]
    assert account_value(checked(values, ACCOUNT), "CashBalance") == Decimal(8500)


def test_values_that_the_gateway_calls_not_ready_are_not_used():
    with pytest.raises(ExecutionError, match="are not ready"):
        checked([value("AccountReady", "false", ""), value("CashBalance", "0")], ACCOUNT)


def test_two_different_amounts_of_one_tag_are_refused():
    with pytest.raises(ExecutionError, match="CashBalance as 1 and as 2 USD"):
        account_value([value("CashBalance", "1"), value("$LEDGER-CashBalance", "2")], "CashBalance")
    assert account_value([value("CashBalance", "1"), value("$LEDGER-CashBalance", "1.00")], "CashBalance") == 1
