"""Each kind of break between ledger and account is one line that names it."""

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from tradebot_core.interfaces import BrokerAccount, BrokerExecutionLine, BrokerOrderLine, BrokerPosition
from tradebot_core.trading.account_comparison import LedgerSide, compare

AT = datetime(2026, 11, 18, 21, 30, tzinfo=UTC)
KEY = "value|1"
HELD = BrokerPosition(101, "AAA", Decimal(7), Decimal(10))
ORDER = BrokerOrderLine(1, KEY, 101, "AAA", "BUY", "Filled", False, Decimal(7), Decimal(7))
DONE = BrokerExecutionLine("e.01", KEY, 101, "AAA", "BOT", Decimal(7), Decimal(10), AT)
ACCOUNT = BrokerAccount("DU1", AT, {101: HELD}, Decimal("29.50"), None, None, (ORDER,), (DONE,))
LEDGER = LedgerSide(
    {101: 5}, Decimal("9.5004"), frozenset(), frozenset({KEY}), frozenset({"e.01"}), ("value|",), {101: Decimal(2)}, Decimal(20)
)


def breaks(ledger=LEDGER, account=ACCOUNT):
    return [(str(line.kind), line.reason) for line in compare(ledger, account) if not line.passed]


def test_sleeves_and_external_part_together_are_the_account():
    assert [str(line.kind) for line in compare(LEDGER, ACCOUNT)] == ["order", "execution", "position", "cash"]
    assert breaks() == []


@pytest.mark.parametrize(
    ("ledger", "account", "expected"),
    [
        ({"ended_orders": frozenset()}, {}, ("order", "the broker has an order of ours that the ledger lacks")),
        (
            {},
            {"orders": (replace(ORDER, is_open=True),)},
            ("order", "the order has ended in the ledger and lives at the broker"),
        ),
        ({}, {"orders": (ORDER, replace(ORDER, perm_id=2))}, ("order", "the broker has 2 orders of one reference")),
        ({"open_orders": frozenset({"value|2"})}, {}, ("order", "the broker does not know it")),
        ({"executions": frozenset()}, {}, ("execution", "the broker executed it and the ledger lacks it")),
        ({}, {"executions": ()}, ("execution", "the broker does not show it")),
        ({}, {"positions": {}}, ("position", "the broker holds -7 shares against the ledger")),
        ({"external_positions": {}}, {}, ("position", "the broker holds +2 shares against the ledger")),
        ({}, {"cash": Decimal("29.52")}, ("cash", "the broker has +0.0196 USD against the ledger")),
        ({}, {"cash": None}, ("cash", "the broker sent no cash balance")),
    ],
)
def test_each_break_is_the_only_one_and_says_what_differs(ledger, account, expected):
    assert breaks(replace(LEDGER, **ledger), replace(ACCOUNT, **account)) == [expected]


def test_an_order_placed_by_hand_is_none_of_ours():
    by_hand = (ORDER, replace(ORDER, reference="", perm_id=9), replace(ORDER, reference="", perm_id=10, is_open=True))
    assert breaks(account=replace(ACCOUNT, orders=by_hand)) == []


def test_cash_that_lacks_only_unpaid_dividends_is_explained_by_them():
    ledger = replace(LEDGER, pending_dividends=(Decimal("3"), Decimal("1.25"), Decimal("4")))
    cash = compare(ledger, replace(ACCOUNT, cash=Decimal("24.25")))[-1]
    assert (cash.passed, cash.reason) == (True, "dividends not paid yet: 1.25, 4")
    assert breaks(ledger, replace(ACCOUNT, cash=Decimal("24.00")))[0][0] == "cash"
