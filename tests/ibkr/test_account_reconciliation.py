"""The ledger of a sleeve against the account of the simulated TWS, through the unmodified client."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest
from ib_async import IB, LimitOrder, MarketOrder, Stock

from tests.ibkr.conftest import ACCOUNT, SECURITY_IDS, THURSDAY, TUESDAY, WEDNESDAY, Gateway, at, intent
from tradebot_core.calendar import xnys
from tradebot_core.config import IbkrSettings, Mode
from tradebot_core.errors import ReconciliationError, UsageError
from tradebot_core.execution.ibkr import IbkrEngine
from tradebot_core.ibkr.account import IbkrAccountReader
from tradebot_core.ibkr.connection import Client, run
from tradebot_core.ibkr.orders import order_reference
from tradebot_core.interfaces import BrokerCash, ExternalEntry
from tradebot_core.model.order import OrderState, RiskVerdict, Side
from tradebot_core.model.portfolio import Entry, EntryKind
from tradebot_core.stores.sqlite_ledger import SqliteLedger
from tradebot_core.trading.account_comparison import Line
from tradebot_core.trading.account_reconciliation import BASELINE, AccountReconciler, broken, of_account
from tradebot_core.trading.expiring import expire
from tradebot_core.trading.oversold import given_back
from tradebot_core.trading.session import send, take_status

D = Decimal
CON_IDS = {SECURITY_IDS["AAA"]: 101, SECURITY_IDS["BBB"]: 102, SECURITY_IDS["CC.B"]: 103}
EVENING = at(TUESDAY, 18)


@dataclass
class Desk:
    gateway: Gateway
    settings: IbkrSettings
    ledger: SqliteLedger
    actions: list[Entry] = field(
        default_factory=list
    )  # what corporate actions do to the sleeve, as trading/due_actions.py says
    withholding: Decimal = Decimal(0)

    @property
    def reconciler(self) -> AccountReconciler:
        reader, fixed = IbkrAccountReader(self.settings, Mode.PAPER), (lambda: CON_IDS, order_reference)
        return AccountReconciler(self.ledger, xnys(), ["value"], reader, *fixed, due=self.due, withholding=self.withholding)

    def due(self, entries: Sequence[Entry], until: date) -> Sequence[Entry]:
        entered = {entry.key for entry in entries}
        return [action for action in self.actions if action.session <= until and action.key not in entered]

    def hold(self, symbol: str, quantity: int) -> None:
        """The sleeve has bought the shares at Wednesday's open, and it is Wednesday morning."""
        self.lines()
        order = intent(symbol, quantity=quantity)
        self.ledger.post("value", [Entry("deposit:opening", TUESDAY, EntryKind.DEPOSIT, D(9000))])
        self.ledger.commit_orders("value", TUESDAY, [(order, RiskVerdict(True, "within_limits"))], EVENING)
        send(self.ledger, self.engine, "value", order, OrderState.NEW, EVENING)
        self.gateway.clock.set(at(WEDNESDAY, 10))
        take_status(self.ledger, "value", order, self.engine.get_order_status(order.key), at(WEDNESDAY, 10))

    def line(self, what: str) -> tuple[bool, str]:
        (line,) = [line for line in self.lines() if what in line.what]
        return line.passed, line.reason

    def history(self) -> list[tuple[str, str, str]]:
        """Of each break that ended: its line, by whom, with what word."""
        return [(record.found.key, record.by, record.word) for record in self.ledger.breaks() if record.ended is not None]

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

    def by_hand(self, side: str, quantity: int, symbol: str = "AAA", reference: str = "", limit: float | None = None) -> None:
        async def work(ib: IB) -> None:
            terms = {"tif": "DAY", "account": ACCOUNT, "orderRef": reference}
            order = LimitOrder(side, quantity, limit, **terms) if limit else MarketOrder(side, quantity, **terms)
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
        ("execution", "BOT 100 AAA at 17.0000", "BOT 100 AAA at 17.0000"),
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
        ("cash", "the broker has -1701.0000 USD against the ledger; executions of ours that no run has entered yet"),
    }
    desk.record()
    assert desk.breaks() == []
    assert {by for _, by, _ in desk.history()} == {"tradebot"}


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
    desk.by_hand("BUY", 7, "CC.B")
    desk.lines()
    assert broken(desk.reconciler.accept("looked at it", "anna", desk.gateway.clock.now())) == ()
    assert [(entry.reason, entry.quantity, entry.cash) for entry in desk.ledger.external()] == [
        (BASELINE, D(0), D(10_000)),
        ("looked at it", D(7), D(0)),
        ("looked at it", D(0), -7 * D(57) - 1),
    ]
    assert desk.line("USD") == (True, "not paid yet, 12.34 in all: dividend of AAA (2026-11-18) 12.34")


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
        "the broker holds -40 shares against the ledger; traded by hand today: SLD 40 AAA at 17.0000",
    )


def test_our_shares_sold_by_hand_are_not_made_external_by_a_word_but_their_cash_is(desk):
    desk.lines()
    desk.buy()
    desk.record()
    desk.by_hand("SELL", 40)
    desk.lines()
    left = broken(desk.reconciler.accept("a mistake", "anna", desk.gateway.clock.now()))
    assert [(line.con_id, line.reason) for line in left] == [
        (101, "shares of the sleeves were sold by hand: they have 100; buy 40 back")
    ]
    desk.by_hand("BUY", 40)
    desk.lines()
    desk.reconciler.accept("bought back", "anna", desk.gateway.clock.now())
    assert desk.breaks() == []


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


# Corporate actions at the broker


def shares(kind: EntryKind, session: date, symbol: str, quantity: int) -> Entry:
    return Entry(f"{kind}:{SECURITY_IDS[symbol]}:{session}", session, kind, D(0), quantity, SECURITY_IDS[symbol], symbol)


def money(kind: EntryKind, session: date, symbol: str, cash: str) -> Entry:
    return Entry(f"{kind}:{SECURITY_IDS[symbol]}:{session}", session, kind, D(cash), 0, SECURITY_IDS[symbol], symbol)


def test_a_split_between_the_orders_of_the_morning_and_the_record_of_the_evening_is_no_break(gateway, tmp_path):
    """BBB splits two for one on the 18th: the broker has the new shares at the open, the ledger in the evening."""
    monday = date(2026, 11, 16)
    gateway.clock.set(at(monday, 18))
    with gateway.serving() as port:
        desk = Desk(gateway, IbkrSettings(port=port, account=ACCOUNT), SqliteLedger(tmp_path / "ledger.sqlite"))
        desk.lines()
        order = replace(intent("BBB", quantity=11), session=monday, key="value|2026-11-16|100200|buy")
        desk.ledger.post("value", [Entry("deposit:opening", TUESDAY, EntryKind.DEPOSIT, D(9000))])
        desk.ledger.commit_orders("value", monday, [(order, RiskVerdict(True, "within_limits"))], at(monday, 18))
        send(desk.ledger, desk.engine, "value", order, OrderState.NEW, at(monday, 18))
        gateway.clock.set(at(TUESDAY, 10))
        take_status(desk.ledger, "value", order, desk.engine.get_order_status(order.key), at(TUESDAY, 10))
        assert desk.breaks() == []

        gateway.clock.set(at(WEDNESDAY, 10))
        assert desk.line("BBB") == (
            False,
            "the broker holds +11 shares against the ledger; probably a split, 2 for 1, that the corporate actions lack "
            "(collect them again)",
        )
        desk.actions.append(shares(EntryKind.SPLIT, WEDNESDAY, "BBB", 11))
        (line,) = [line for line in desk.lines() if line.con_id == 102]
        assert (line.ledger, line.broker, line.passed, line.waits) == ("11", "22", True, True)
        assert line.reason == "split of BBB (2026-11-18) +11 shares: at the broker, and entered when its session is recorded"
        desk.ledger.post("value", desk.actions)
        (line,) = [line for line in desk.lines() if line.con_id == 102]
        assert (line.ledger, line.broker, line.passed, line.waits) == ("22", "22", True, False)

        desk.by_hand("SELL", 11, "BBB")  # as if the split had not been applied: that time is over
        assert desk.line("BBB")[0] is False


def test_a_dividend_that_the_broker_pays_before_it_is_entered_is_due_and_settles_once(desk):
    """AAA pays 0.10 on the 19th; the simulated broker pays at the open, the ledger enters it after the close."""
    desk.hold("AAA", 100)
    dividend = money(EntryKind.DIVIDEND, THURSDAY, "AAA", "10")
    desk.gateway.clock.set(at(THURSDAY, 10))
    assert desk.line("USD")[0] is False  # nobody has told of the dividend
    desk.actions.append(dividend)
    assert desk.line("USD") == (True, "the same; paid: dividend of AAA (2026-11-19) 10 gross")
    desk.ledger.post("value", [dividend])
    assert desk.line("USD") == (True, "the same")
    assert [(s.key, s.amount) for s in desk.ledger.settlements()] == [
        (f"cash:dividend:{SECURITY_IDS['AAA']}:2026-11-19", D(10))
    ]
    assert desk.history() == [("cash:USD", "tradebot", "the next comparison agrees")]


def test_a_loss_of_the_amount_of_a_dividend_that_was_paid_cannot_hide_behind_it(desk):
    desk.hold("AAA", 100)
    desk.actions.append(money(EntryKind.DIVIDEND, THURSDAY, "AAA", "10"))
    desk.gateway.clock.set(at(THURSDAY, 10))
    assert desk.line("USD")[0] is True
    desk.ledger.record_external([ExternalEntry(None, D(0), D(10), "as if ten dollars were gone", at(THURSDAY, 10), "test")])
    passed, reason = desk.line("USD")
    assert (passed, reason.startswith("the broker has -10.0000 USD against the ledger; paid in, taken out")) == (False, True)


def test_a_dividend_paid_net_of_the_configured_tax_costs_the_sleeve_the_tax(desk):
    """The broker pays 10; entered was 12.50, of which a fifth is kept."""
    desk.withholding = D("0.20")
    desk.hold("AAA", 100)
    desk.ledger.post("value", [dividend := money(EntryKind.DIVIDEND, THURSDAY, "AAA", "12.50")])
    desk.gateway.clock.set(at(THURSDAY, 10))
    assert desk.line("USD")[0] is True
    assert desk.line("USD") == (True, "the same")
    (tax,) = [entry for entry in desk.ledger.entries("value") if entry.kind is EntryKind.WITHHOLDING]
    assert (tax.cash, tax.security_id, tax.session) == (D("-2.50"), dividend.security_id, THURSDAY)


# The history


def test_a_break_is_kept_from_when_it_was_first_seen_to_the_word_that_ended_it(desk):
    desk.lines()
    desk.by_hand("BUY", 7, "CC.B")
    desk.gateway.clock.set(at(WEDNESDAY, 10))
    first = at(WEDNESDAY, 10)
    desk.lines()
    desk.gateway.clock.set(at(WEDNESDAY, 12))
    assert {line.since for line in broken(desk.lines())} == {first}
    assert {(r.found.key, r.found.ledger, r.found.broker, r.first_seen) for r in desk.ledger.open_breaks()} == {
        ("position:103", "0", "7", first),
        ("cash:USD", "10000", "9600.0000", first),
    }
    desk.reconciler.accept("seven for my daughter", "anna", at(WEDNESDAY, 12))
    assert desk.ledger.open_breaks() == []
    assert sorted(desk.history()) == [
        ("cash:USD", "anna", "seven for my daughter"),
        ("position:103", "anna", "seven for my daughter"),
    ]
    assert {record.ended for record in desk.ledger.breaks()} == {at(WEDNESDAY, 12)}


def test_what_nobody_has_shown_is_not_accepted(desk):
    """Between looking and accepting something else happened: it is shown first."""
    desk.lines()
    desk.gateway.clock.set(at(WEDNESDAY, 10))
    desk.by_hand("BUY", 7, "CC.B")
    with pytest.raises(ReconciliationError, match="was not shown to you"):
        desk.reconciler.accept("seven", "anna", at(WEDNESDAY, 10))
    assert [entry.reason for entry in desk.ledger.external()] == [BASELINE]
    assert desk.reconciler.accept("seven", "anna", at(WEDNESDAY, 10))
    assert desk.breaks() == []


def test_an_account_in_which_the_bot_has_an_order_is_not_the_beginning(desk):
    """A new, empty ledger beside an account that an older one has traded in: nothing is taken for a person's own."""
    desk.by_hand("BUY", 1, reference="value|2026-11-16|100100|buy")
    assert {kind for kind, _ in desk.breaks()} == {"order", "cash"}
    assert desk.ledger.external() == []


# What the account can pay


def test_settled_cash_of_the_broker_less_open_purchases_is_what_can_be_bought(desk):
    desk.lines()
    desk.buy()  # 100 at a reference of 16.50
    compared = desk.reconciler.compare(desk.gateway.clock.now())
    assert compared.cash(TUESDAY) == BrokerCash(D(10_000) - 100 * D("16.5"))
    margin = replace(desk.reconciler, margin=True).compare(desk.gateway.clock.now())
    assert margin.cash(TUESDAY) == compared.cash(TUESDAY)


def test_a_sale_pays_for_what_is_bought_when_it_has_settled(desk):
    desk.hold("AAA", 100)
    sale = replace(intent("AAA", Side.SELL), session=WEDNESDAY, key="value|2026-11-18|100100|sell")
    desk.gateway.clock.set(at(WEDNESDAY, 18))
    desk.ledger.commit_orders("value", WEDNESDAY, [(sale, RiskVerdict(True, "within_limits"))], at(WEDNESDAY, 18))
    send(desk.ledger, desk.engine, "value", sale, OrderState.NEW, at(WEDNESDAY, 18))
    desk.gateway.clock.set(at(THURSDAY, 18))
    take_status(desk.ledger, "value", sale, desk.engine.get_order_status(sale.key), at(THURSDAY, 18))
    desk.actions.append(money(EntryKind.DIVIDEND, THURSDAY, "AAA", "10"))
    account = desk.reconciler.reader.account()
    assert account.settled_cash is not None and account.cash is not None
    # Of Thursday's sale, less its commission and the fees of the SEC (20.60 a million) and FINRA (0.000195 a share).
    assert account.cash - account.settled_cash == 100 * 18 - Decimal("1.0566")
    assert desk.reconciler.compare(at(THURSDAY, 18)).cash(THURSDAY) == BrokerCash(account.cash)


def test_a_purchase_by_hand_that_is_open_is_not_there_to_be_spent_and_one_without_a_limit_leaves_nothing_known(desk):
    desk.lines()
    compared = desk.reconciler.compare(desk.gateway.clock.now())
    assert compared.cash(TUESDAY) == BrokerCash(D(10_000))
    desk.by_hand("BUY", 7, "CC.B", limit=50.0)
    assert desk.reconciler.compare(desk.gateway.clock.now()).cash(TUESDAY) == BrokerCash(D(9_650))
    desk.by_hand("BUY", 7, "CC.B")
    assert desk.reconciler.compare(desk.gateway.clock.now()).cash(TUESDAY) == BrokerCash(None)


# Giving up an order


def expire_it(desk: Desk, unasked: str = "") -> None:
    expire(desk.ledger, desk.engine, desk.reconciler, intent(), desk.gateway.clock.now(), "anna", unasked)


def state_of(desk: Desk) -> str:
    return desk.ledger.orders("value")["state"].item()


def test_an_order_that_the_broker_knows_is_not_expired_whatever_a_person_says(desk):
    desk.lines()
    desk.buy()
    desk.gateway.clock.set(at(WEDNESDAY, 10))
    for word in ("", "I am sure"):
        with pytest.raises(ReconciliationError, match="the broker knows it as filled, 100 shares executed"):
            expire_it(desk, word)
    assert state_of(desk) == "working"


def test_an_order_of_an_earlier_day_whose_shares_are_there_is_not_expired_but_on_an_explicit_word(desk):
    desk.lines()
    desk.buy()
    desk.gateway.clock.set(at(THURSDAY, 10))  # the broker shows the fill no more
    with pytest.raises(ReconciliationError, match=r"differs as if it had traded \(ledger 0, broker 100\)"):
        expire_it(desk)
    assert state_of(desk) == "working"
    expire_it(desk, "the shares are a gift")
    assert state_of(desk) == "expired"
    assert "By hand, anna" in desk.ledger.orders("value")["detail"].item()


def test_an_order_is_not_expired_while_the_broker_cannot_be_asked_but_on_an_explicit_word(desk):
    desk.lines()
    desk.buy()
    desk.settings = desk.settings.model_copy(update={"port": 1})
    with pytest.raises(UsageError, match="the broker cannot be asked about it"):
        expire_it(desk)
    assert state_of(desk) == "working"
    expire_it(desk, "looked it up in TWS")
    assert state_of(desk) == "expired"
    assert "could not be asked" in desk.ledger.orders("value")["detail"].item()


def test_an_order_that_the_broker_has_no_trace_of_is_expired_with_who_said_so(desk):
    desk.lines()
    desk.ledger.post("value", [Entry("deposit:opening", TUESDAY, EntryKind.DEPOSIT, D(5000))])
    desk.ledger.commit_orders("value", TUESDAY, [(intent(), RiskVerdict(True, "within_limits"))], EVENING)
    for state in (OrderState.SENDING, OrderState.UNKNOWN):
        desk.ledger.record_state(intent().key, state, EVENING)
    expire_it(desk)
    assert state_of(desk) == "expired"
    assert desk.ledger.orders("value")["detail"].item() == (
        "By hand, anna: it never traded. The broker, asked, shows nothing of it today."
    )


def test_shares_sold_before_a_reverse_split_was_heard_of_break_their_security_alone_and_no_sleeve_is_in_the_way(desk):
    """Its ledger makes no book until what the split took is given back; the account is compared all the same."""
    desk.hold("AAA", 100)
    of = SECURITY_IDS["AAA"]
    split = Entry(f"split:{of}:{THURSDAY}", THURSDAY, EntryKind.SPLIT, D(0), -90, of, "AAA")
    sale = Entry("fill:sale", THURSDAY, EntryKind.TRADE, D(1700), -100, of, "AAA")
    desk.ledger.post("value", [split, sale])
    desk.gateway.clock.set(at(THURSDAY, 10))
    with pytest.raises(ReconciliationError, match="-100 shares of AAA with 10 held"):
        desk.ledger.book("value", THURSDAY)
    desk.actions += given_back(desk.ledger.entries("value"), lambda security, session: D(17))
    for entered in (False, True):
        if entered:
            desk.ledger.post("value", desk.actions)
        (line,) = [line for line in desk.lines() if line.con_id == 101]
        assert (line.ledger, line.broker, line.passed, line.waits) == ("0", "100", False, False)
    assert desk.ledger.book("value", THURSDAY).positions == {}
