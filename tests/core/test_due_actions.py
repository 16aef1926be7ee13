"""What the store knows of corporate actions and a sleeve's ledger has not entered yet."""

from dataclasses import replace
from decimal import Decimal

from tests.markets import XNYS
from tests.scripted import SESSIONS, act, quote, scripted, security_of
from tradebot_core.model.portfolio import Entry, EntryKind
from tradebot_core.trading.due_actions import due_entries

D = Decimal
BOUGHT, EX, NEXT = SESSIONS[20], SESSIONS[22], SESSIONS[23]


def test_what_is_due_is_what_will_be_entered_and_then_is_due_no_more(tmp_path):
    bot = scripted(tmp_path)
    quote(bot, "AAA", 10.0, sessions=SESSIONS[:22])  # no bar of the ex-date yet: fractions at cost
    aaa = security_of("AAA")
    held = [
        Entry("deposit:opening", BOUGHT, EntryKind.DEPOSIT, D(10_000)),
        Entry("fill:1", BOUGHT, EntryKind.TRADE, D(-110), 11, aaa, "AAA"),
    ]
    assert due_entries(bot.markets, XNYS, held, NEXT) == ()
    act(bot, "AAA", EX, "split", 1.5)
    act(bot, "AAA", EX, "dividend", 0.25)
    assert due_entries(bot.markets, XNYS, held, BOUGHT) == ()
    due = due_entries(bot.markets, XNYS, held, NEXT)
    assert [(entry.kind, entry.session, entry.quantity, entry.cash) for entry in due] == [
        (EntryKind.SPLIT, EX, 5, D(0)),
        (EntryKind.CASH_IN_LIEU, EX, 0, D("3.3333")),
        (EntryKind.DIVIDEND, EX, 0, D(4)),
    ]
    assert due_entries(bot.markets, XNYS, [*held, *due[:1]], NEXT) == due[1:]
    assert due_entries(bot.markets, XNYS, [*held, *due], NEXT) == ()
    gone = replace(held[1], key="fill:2", session=SESSIONS[21], quantity=-11, cash=D(110))
    assert due_entries(bot.markets, XNYS, [*held, gone], NEXT) == ()
