"""The live book at the close of past sessions, valued at what was known then."""

from datetime import UTC, date, datetime

from tests.markets import SESSIONS, fill_store, security_of, tradebot
from tests.scripted import append
from tradebot_core.model.portfolio import Entry, EntryKind, usd
from tradebot_core.model.tables import ACTIONS
from tradebot_core.trading.holdings import live_equity, live_positions
from tradebot_core.wiring import Tradebot

BOUGHT, LAST_TRADED, SPLIT, AFTER = SESSIONS[30], SESSIONS[39], SESSIONS[40], SESSIONS[41]


def holder(folder) -> Tradebot:
    """Ten shares of FADE, whose bars end on LAST_TRADED; a 2:1 split the session after."""
    bot = tradebot(folder)
    fill_store(bot, SESSIONS[:40])
    fade, split = security_of("FADE"), {"session": SPLIT, "type": "split", "value": 2.0}
    append(bot, ACTIONS, {"security_id": fade, **split, "known_at": datetime(2024, 1, 10, tzinfo=UTC)})
    entries = [
        Entry("d", BOUGHT, EntryKind.DEPOSIT, usd(1000)),
        Entry("t", BOUGHT, EntryKind.TRADE, usd(-550), 10, fade, "FADE"),
        Entry("s", SPLIT, EntryKind.SPLIT, usd(0), 10, fade, "FADE"),
    ]
    bot.store.ledger.post("value_investor", entries)
    return bot


def test_a_holding_that_does_not_trade_keeps_its_last_price_in_the_shares_of_the_day(tmp_path):
    bot = holder(tmp_path)
    days = [LAST_TRADED, SPLIT, AFTER]
    rows = live_positions(bot.markets, "value_investor", days)
    price = float(rows["price"][0])
    assert rows["quantity"].to_list() == [10, 20, 20]
    assert [float(found) for found in rows["price"]] == [price, price / 2, price / 2]
    equity = live_equity(bot.markets, "value_investor", days)["equity"].to_list()
    assert [float(value) for value in equity] == [450 + 10 * price] * 3


def test_before_the_sleeve_was_opened_it_has_no_equity(tmp_path):
    assert live_equity(holder(tmp_path).markets, "value_investor", [date(2024, 2, 1)]).is_empty()
