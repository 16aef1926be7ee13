"""Each kind of break between ledger and account is one line that names it, and its likely cause."""

import re
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tradebot_core.interfaces import BrokerAccount, BrokerExecutionLine, BrokerOrderLine, BrokerPosition
from tradebot_core.model.market import ActionType
from tradebot_core.model.portfolio import EntryKind
from tradebot_core.trading.account_comparison import compare
from tradebot_core.trading.account_dues import CashDue, ShareDue
from tradebot_core.trading.account_sides import KnownAction, LedgerExecution, LedgerSide

D = Decimal
AT = datetime(2026, 11, 18, 21, 30, tzinfo=UTC)
TODAY = date(2026, 11, 18)
KEY = "value|1"
HELD = BrokerPosition(101, "AAA", D(7), D(10))
ORDER = BrokerOrderLine(1, KEY, 101, "AAA", "BUY", "Filled", False, D(7), D(7))
DONE = BrokerExecutionLine("e.01", KEY, 101, "AAA", "BOT", D(7), D(10), AT)
BY_HAND = BrokerExecutionLine("h.01", "", 101, "AAA", "SLD", D(3), D(10), AT)
ACCOUNT = BrokerAccount("DU1", AT, {101: HELD}, D("29.50"), None, None, (ORDER,), (DONE,))
LEDGER = LedgerSide(
    {101: 5},
    D("9.5004"),
    frozenset(),
    frozenset({KEY}),
    {"e.01": LedgerExecution("BOT", D(7), D(10))},
    ("value|",),
    TODAY,
    {101: D(2)},
    D(20),
)
SPLIT = ShareDue("shares:split:1:x", EntryKind.SPLIT, 1, "AAA", TODAY, entered=0, missing=5)
DIVIDEND = KnownAction(101, "AAA", TODAY, ActionType.DIVIDEND, D("0.30"))
DUES = [
    CashDue(f"cash:dividend:{n}:x", EntryKind.DIVIDEND, n, symbol, TODAY - timedelta(days=age), D(cash))
    for n, (symbol, age, cash) in enumerate([("OLD", 9, "4"), ("MID", 5, "1.25"), ("NEW", 1, "3")])
]


def breaks(ledger=LEDGER, account=ACCOUNT):
    return [(str(line.kind), line.reason) for line in compare(ledger, account) if not line.passed]


def cash_line(ledger, cash):
    line = compare(ledger, replace(ACCOUNT, cash=D(cash)))[-1]
    return line.passed, line.reason


def held(quantity):
    return replace(ACCOUNT, positions={101: replace(HELD, quantity=D(quantity))} if quantity else {})


def position_line(ledger, account):
    (line,) = [line for line in compare(ledger, account) if line.kind == "position"]
    return line.passed, line.waits, line.reason


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
        ({"executions": {}}, {}, ("execution", "the broker executed it and the ledger lacks it")),
        ({}, {"executions": (replace(DONE, price=D("9.99")),)}, ("execution", "the ledger has other terms")),
        ({}, {"executions": (replace(DONE, quantity=D(6)),)}, ("execution", "the ledger has other terms")),
        ({}, {"executions": ()}, ("execution", "the broker does not show it")),
        ({}, {"positions": {}}, ("position", "the broker holds -7 shares against the ledger; all of it is gone")),
        (
            {"external_positions": {}},
            {},
            ("position", "the broker holds +2 shares against the ledger; probably a split, 3 for 2"),
        ),
        ({}, {"cash": D("29.52")}, ("cash", "the broker has +0.0196 USD against the ledger; paid in, taken out, a fee")),
        ({}, {"cash": None}, ("cash", "the broker sent no cash balance")),
    ],
)
def test_each_break_is_the_only_one_and_says_what_differs(ledger, account, expected):
    ((kind, reason),) = breaks(replace(LEDGER, **ledger), replace(ACCOUNT, **account))
    assert (kind, reason[: len(expected[1])]) == expected


def test_an_order_placed_by_hand_is_none_of_ours():
    by_hand = (ORDER, replace(ORDER, reference="", perm_id=9), replace(ORDER, reference="", perm_id=10, is_open=True))
    assert breaks(account=replace(ACCOUNT, orders=by_hand)) == []


# Corporate actions on shares


@pytest.mark.parametrize(
    ("quantity", "expected"),
    [
        (7, (True, True, "the broker has yet to apply split of AAA (2026-11-18) +5 shares")),
        (12, (True, True, "split of AAA (2026-11-18) +5 shares: at the broker, and entered when its session is recorded")),
        (11, (False, False, "the broker holds -1 shares against the ledger; a trade by hand")),
    ],
)
def test_a_split_that_the_ledger_has_yet_to_enter_passes_on_either_side_of_it_and_nowhere_between(quantity, expected):
    ledger = replace(LEDGER, positions={101: 10}, share_dues={101: [SPLIT]})
    passed, waits, reason = position_line(ledger, held(quantity))
    assert (passed, waits, reason[: len(expected[2])]) == expected


def test_a_split_that_was_seen_at_the_broker_explains_nothing_any_more():
    entered = replace(SPLIT, entered=5, missing=0)
    ledger = replace(LEDGER, positions={101: 10}, share_dues={101: [entered]})
    assert position_line(ledger, held(12)) == (True, False, "the same")
    assert position_line(ledger, held(7))[:2] == (True, True)
    assert position_line(replace(ledger, settled={entered.key}), held(7))[0] is False
    assert position_line(replace(ledger, today=TODAY + timedelta(days=8)), held(7))[0] is False


def test_two_splits_are_applied_in_their_order():
    second = replace(SPLIT, key="shares:split:1:y", ex_date=TODAY + timedelta(days=1), missing=20)
    ledger = replace(LEDGER, positions={101: 30}, share_dues={101: [SPLIT, second]})
    assert [position_line(ledger, held(n))[0] for n in (32, 12, 7, 27)] == [True, True, True, False]


@pytest.mark.parametrize(
    ("ledger", "account", "cause"),
    [
        ({}, held(14), "probably a split, 2 for 1, that the corporate actions lack"),
        ({}, held(3), "probably a split, 1 for 2, that the corporate actions lack"),
        ({}, replace(held(4), executions=(DONE, BY_HAND)), "traded by hand today: SLD 3 AAA at 10"),
        ({"executions": {}}, held(14), "executions of ours that no run has entered yet"),
        ({"actions": (KnownAction(101, "AAA", TODAY, ActionType.SPLIT, D(3)),)}, held(11), "the split of 2026-11-18 also changed the 2"),
        ({"actions": (KnownAction(101, "AAA", TODAY, ActionType.DELISTING, D(1)),), "positions": {}}, held(0), "the delisting of"),
        ({}, replace(ACCOUNT, positions={900: replace(HELD, con_id=900, symbol="AAB")}), "the same number of shares of 900 differs"),
        ({}, replace(ACCOUNT, positions={101: HELD, 900: replace(HELD, con_id=900)}), "nothing of it was held: a spin-off"),
    ],
)  # fmt: skip
def test_a_position_that_breaks_names_its_likely_cause(ledger, account, cause):
    reasons = [reason for kind, reason in breaks(replace(LEDGER, **ledger), account) if kind == "position"]
    assert cause in reasons[0]


def test_shares_under_the_former_listing_of_a_security_are_its_own():
    renamed = replace(ACCOUNT, positions={55: replace(HELD, con_id=55, symbol="OLD")})
    assert breaks(replace(LEDGER, former={55: 101}), renamed) == []
    assert len(breaks(LEDGER, renamed)) == 2


def test_shares_of_a_sleeve_that_were_sold_by_hand_cannot_be_made_external():
    ledger = replace(LEDGER, external_positions={101: D(-3)})
    assert breaks(ledger, held(2)) == [("position", "shares of the sleeves were sold by hand: they have 5; buy 3 back")]


# Cash that is due


def test_what_is_due_and_not_paid_is_named_with_its_sum():
    ledger = replace(LEDGER, cash_dues=DUES)
    assert cash_line(ledger, "21.25") == (
        True,
        "not paid yet, 8.25 in all: dividend of OLD (2026-11-09) 4, dividend of MID (2026-11-13) 1.25, "
        "dividend of NEW (2026-11-17) 3",
    )
    passed, reason = cash_line(ledger, "25.25")
    assert passed and reason.startswith("not paid yet, 4.25 in all: dividend of MID (2026-11-13) 1.25, dividend of NEW")
    assert reason.endswith("paid: dividend of OLD (2026-11-09) 4 gross")


@pytest.mark.parametrize("cash", ["25.27", "25.23", "29.53", "24.00", "21.20"])
def test_a_sum_that_is_not_due_to_the_cent_is_a_break(cash):
    assert cash_line(replace(LEDGER, cash_dues=DUES), cash)[0] is False


def test_a_dividend_may_come_net_of_the_configured_tax_and_of_no_other():
    ledger = replace(LEDGER, cash_dues=DUES[:1], withholding=D("0.15"))
    assert cash_line(ledger, "28.90") == (
        True,
        "explained by what was paid; paid: dividend of OLD (2026-11-09) 4 net of withholding",
    )
    assert cash_line(ledger, "28.70")[0] is False
    assert cash_line(replace(ledger, withholding=D(0)), "28.90")[0] is False


def test_an_overdue_dividend_explains_nothing_and_is_named_as_the_cause():
    ledger = replace(LEDGER, cash_dues=[replace(DUES[0], ex_date=TODAY - timedelta(days=61))])
    passed, reason = cash_line(ledger, "25.50")
    assert not passed and "(2026-09-18) 4 was expected by 2026-11-17 and has not come" in reason


def test_cash_of_many_dues_is_not_matched_by_any_sum_of_them():
    """Twenty dividends have a million sums; a real break would find its own among them."""
    dues = [replace(DUES[0], key=f"cash:{n}", ex_date=TODAY - timedelta(days=30 - n), cash=D(2) ** n / 100) for n in range(20)]
    ledger = replace(LEDGER, cash_dues=dues, cash=D("9.50") + D(20000))
    total = sum(due.cash for due in dues)
    for some in ([], [3], [3, 7, 11], range(9)):
        paid = sum((dues[n].cash for n in some), D(0))
        assert cash_line(replace(ledger, cash=D("9.50") + total), f"{29.50 + float(paid):.2f}")[0] is True
    four = sum(dues[n].cash for n in (9, 11, 13, 15))
    assert cash_line(replace(ledger, cash=D("9.50") + total), f"{29.50 + float(four):.2f}")[0] is False


def test_two_choices_of_the_same_sum_settle_only_what_both_have():
    dues = [*DUES, replace(DUES[0], key="cash:dividend:9:x", symbol="SUM", cash=D("4.25"))]
    passed, reason = cash_line(replace(LEDGER, cash_dues=dues), "21.25")  # 4.25 paid: SUM, or MID and NEW
    assert passed and "1 other choices make the same sum" in reason and "paid:" not in reason


@pytest.mark.parametrize(
    ("ledger", "cash", "cause"),
    [
        ({"actions": (DIVIDEND,)}, "30.10", "dividend of AAA (2026-11-18) on 2 shares"),
        ({"executions": {}}, "20", "executions of ours that no run has entered yet"),
        ({"cash_dues": DUES[:1]}, "20", "no choice of what is due makes that sum (dividend of OLD"),
    ],
)  # fmt: skip
def test_cash_that_breaks_names_its_likely_cause(ledger, cash, cause):
    passed, reason = cash_line(replace(LEDGER, **ledger), cash)
    assert not passed and cause in reason


def test_cash_of_a_trade_by_hand_names_the_trade_and_its_commission():
    account = replace(held(4), executions=(DONE, BY_HAND), cash=D("58.50"))
    reason = compare(LEDGER, account)[-1].reason
    assert reason.endswith("traded by hand today: SLD 3 AAA at 10, and 1.0004 USD of commission")


cents = st.integers(-100_000, 100_000).map(lambda n: D(n) / 100)
dividends = st.lists(st.tuples(st.integers(1, 9_999).map(lambda n: D(n) / 100), st.booleans()), max_size=5)


@given(
    sleeves=st.dictionaries(st.integers(1, 4), st.integers(1, 500), max_size=3),
    external=st.dictionaries(st.integers(1, 5), st.integers(1, 50).map(D), max_size=3),
    cash=st.tuples(cents, cents),
    dues=dividends,
    splits=st.dictionaries(st.integers(1, 4), st.tuples(st.integers(1, 500), st.booleans(), st.booleans()), max_size=3),
    traded=st.dictionaries(st.integers(1, 6), st.integers(-30, 30), max_size=3),
    moved=cents,
)
def test_no_difference_is_ever_absorbed(sleeves, external, cash, dues, splits, traded, moved):
    """Sleeves, external part and the dues that the line names make the account, or the line is a BREAK; and what only dues explain
    is none."""
    # The account as it truly is: a split is applied or not, a dividend paid or not, and a person traded.
    applied = {con_id: of for con_id, of in splits.items() if con_id in sleeves}
    positions = {con_id: shares + (applied[con_id][0] if con_id in applied else 0) for con_id, shares in sleeves.items()}
    share_dues = {
        con_id: [ShareDue(f"s{con_id}", EntryKind.SPLIT, con_id, "S", TODAY, *((n, 0) if entered else (0, n)))]
        for con_id, (n, entered, _) in applied.items()
    }
    cash_dues = [CashDue(f"c{n}", EntryKind.DIVIDEND, n, "S", TODAY - timedelta(days=n), of) for n, (of, _) in enumerate(dues)]
    truth = {
        con_id: positions.get(con_id, 0)
        - (applied[con_id][0] if con_id in applied and not applied[con_id][2] else 0)
        + external.get(con_id, D(0))
        + traded.get(con_id, 0)
        for con_id in range(1, 7)
    }
    unpaid = sum((of for of, paid in dues if not paid), D(0))
    side = replace(
        LEDGER,
        positions=positions,
        cash=cash[0],
        external_positions=external,
        external_cash=cash[1],
        ended_orders=frozenset(),
        executions={},
        share_dues=share_dues,
        cash_dues=cash_dues,
    )
    account = replace(
        ACCOUNT,
        positions={con_id: BrokerPosition(con_id, "S", D(n), D(1)) for con_id, n in truth.items() if n},
        cash=sum(cash, D(0)) - unpaid + moved,
        orders=(),
        executions=(),
    )
    lines = compare(side, account)
    for line in lines:
        if line.kind == "position" and line.passed:
            named = sum(map(int, re.findall(r"([+-]\d+) shares", line.reason))) if "yet to apply" in line.reason else 0
            due = sum(one.missing for one in share_dues.get(line.con_id, ()))
            assert D(line.broker) == D(line.ledger) + due - named
        if line.kind == "cash" and line.passed:
            named = D(match[1]) if (match := re.search(r"not paid yet, ([\d.]+) in all", line.reason)) else D(0)
            assert abs(account.cash - (sum(cash, D(0)) - named)) <= D("0.01")
    by_con_id = {line.con_id: line for line in lines if line.kind == "position"}
    for con_id in range(1, 7):
        if not traded.get(con_id) and con_id in by_con_id:
            assert by_con_id[con_id].passed
    if not moved and sum(paid for _, paid in dues) <= 3:
        assert lines[-1].passed
