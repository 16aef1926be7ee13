"""The last look before an order goes out: which price of a quote counts, and what a refusal leaves behind."""

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from tests.core.test_live import Desk, FakeEngine, a_desk, day, evening, morning_after
from tests.markets import XNYS
from tests.scripted import quote as bars_of
from tests.scripted import scripted, security_of, walk
from tradebot_core.clock import FixedClock
from tradebot_core.errors import ExecutionError
from tradebot_core.interfaces import NoQuote, Purpose, Quote
from tradebot_core.model.order import OrderIntent, OrderState, Side, order_key
from tradebot_core.stores.sqlite_ledger import SqliteLedger
from tradebot_core.trading.explain import explain, render_text
from tradebot_core.trading.fresh_prices import FreshPrice, FreshPrices, fresh_price
from tradebot_core.trading.live import LiveDesk, Outcome, Submission, issue_permit, submit_deadline

D = Decimal
AAA, BBB = security_of("AAA"), security_of("BBB")
EVENING, MORNING = evening(day(0)), morning_after(day(0))
BUYS = (f"{day(0)} buy AAA 0.3", f"{day(0)} buy BBB 0.3")


def told(
    last: str | None = None,
    close: str | None = None,
    bid: str | None = None,
    ask: str | None = None,
    at: datetime = EVENING,
    *,
    delayed: bool = True,
) -> Quote:
    prices = (D(price) if price is not None else None for price in (bid, ask, last, close))
    return Quote(*prices, delayed, at)


def sized_at(price: str, symbol: str = "AAA", side: Side = Side.BUY) -> OrderIntent:
    security = security_of(symbol)
    return OrderIntent(order_key("s", day(0), security, side), "s", day(0), security, symbol, side, 10, D(price))


def prices(quote: Quote | NoQuote) -> tuple[Decimal, ...]:
    return fresh_price(quote, sized_at("10"), XNYS).prices


# Which price counts


def test_the_last_price_counts_else_the_middle_of_the_book():
    assert prices(told("10.1", None, "10", "10.4")) == (D("10.1"),)
    assert prices(told(None, None, "10", "10.4")) == (D("10.2"),)
    assert prices(told()) == ()
    assert prices(NoQuote("354")) == ()


@pytest.mark.parametrize(
    ("bid", "ask", "counts"),
    [
        ("10", "11.05", True),
        ("10", "11.06", False),
        ("5", "200", False),
        ("10.5", "10", False),
        ("10", None, False),
        (None, "10", False),
    ],
)
def test_the_middle_of_a_wide_or_crossed_or_half_book_says_nothing(bid, ask, counts):
    assert prices(told(None, None, bid, ask)) == (((D(bid) + D(ask)) / 2,) if counts else ())


def test_the_previous_close_counts_beside_it_on_the_day_of_the_open_alone():
    """In the evening it is the close of the session before the one decided on, which may well be far off."""
    assert prices(told("10", "8", at=EVENING)) == (D("10"),)
    assert prices(told(None, "8", at=EVENING)) == ()
    assert prices(told("10", "5", at=MORNING)) == (D("10"), D("5"))
    assert prices(told(None, "5", at=MORNING)) == (D("5"),)
    over_the_weekend = datetime.combine(day(0) + timedelta(days=2), EVENING.time(), EVENING.tzinfo)
    assert day(0) == date(2024, 3, 1)  # a Friday
    assert prices(told("10", "8", at=over_the_weekend)) == (D("10"),)


def test_the_words_name_the_prices_and_where_they_are_from():
    assert fresh_price(told("10.1", "5", at=MORNING), sized_at("10"), XNYS).words == (
        f"last 10.1, previous close 5 (delayed, {MORNING:%Y-%m-%d %H:%M:%S} UTC)"
    )
    assert fresh_price(NoQuote("IBKR 354: not subscribed"), sized_at("10"), XNYS) == FreshPrice(
        (), "no quote (IBKR 354: not subscribed): the close it was sized on, 10, is all there is"
    )


# When quotes are asked for


@dataclass
class Quotes:
    """Answers with what a test gives; `asked` are the symbols of each question."""

    answers: Mapping[int, Quote | NoQuote]
    asked: list[list[str]] = field(default_factory=list)

    def of(self, securities: Mapping[int, str]) -> Mapping[int, Quote | NoQuote]:
        self.asked.append(list(securities.values()))
        return {security: self.answers.get(security, NoQuote("not given")) for security in securities}


@dataclass
class Moved:
    """A clock that a test moves."""

    at: datetime

    def now(self) -> datetime:
        return self.at


def test_quotes_are_asked_for_together_and_again_for_what_is_left_when_they_are_old():
    orders = [sized_at("10", symbol) for symbol in ("AAA", "BBB", "CCC")]
    source, clock = Quotes({AAA: told("10"), BBB: told("10")}), Moved(EVENING)
    fresh = FreshPrices(source, XNYS, clock, orders)
    fresh.of(orders[0])
    clock.at += timedelta(minutes=2)
    fresh.of(orders[1])
    assert source.asked == [["AAA", "BBB", "CCC"]]
    clock.at += timedelta(seconds=1)
    fresh.of(orders[2])
    assert source.asked == [["AAA", "BBB", "CCC"], ["CCC"]]


def test_where_nobody_can_be_asked_the_close_an_order_was_sized_on_is_the_price():
    order = sized_at("10")
    assert FreshPrices(None, XNYS, FixedClock(EVENING), [order]).of(order) == FreshPrice(
        (D("10"),), "the close it was sized on"
    )


# At the live desk


@dataclass
class Story:
    desk: Desk
    quotes: Quotes
    engine: FakeEngine

    def live_desk(self, now: datetime) -> LiveDesk:
        return replace(self.desk.desk(now), quotes=lambda: self.quotes)

    def submit(self, now: datetime = EVENING) -> Submission:
        permit = issue_permit(self.desk.ledger, XNYS, now, Purpose.SUBMIT)
        return self.live_desk(now).submit(self.desk.strategy, day(0), permit and permit.permit_id, "submit", now)

    def orders(self) -> list[tuple]:
        columns = ("symbol", "state", "approved", "rule", "value", "limit")
        return self.desk.ledger.orders("scripted").sort("symbol").select(columns).rows()

    def checks(self) -> list[tuple]:
        return self.desk.ledger.checks("scripted").select("approved", "rule", "value", "limit", "detail").rows()

    @property
    def sent(self) -> list[str]:
        return [key.split("|", 2)[2] for key in self.engine.received]


def story(folder: Path, answers: Mapping[int, Quote | NoQuote], script: tuple[str, ...] = BUYS, **settings) -> Story:
    engine = FakeEngine()
    desk = a_desk(folder, *script, engine=lambda: engine, **settings)
    desk.decide(day(0))
    return Story(desk, Quotes(answers), engine)


def test_an_order_far_from_its_price_is_refused_and_the_other_goes_out(tmp_path):
    """AAA was sized at 10 and BBB at 20; AAA is split two for one overnight."""
    at_hand = story(tmp_path, {AAA: told("5", "5", at=MORNING), BBB: told("20.4", "20", at=MORNING, delayed=False)})
    submission = at_hand.submit(MORNING)
    assert submission.outcome is Outcome.SUBMITTED
    assert (
        submission.note
        == f"1 orders of {day(0)} went to the engine. The risk gate's last look refused 1; `tradebot explain` says why."
    )
    assert at_hand.sent == [f"{BBB}|buy"]
    refused, sent = at_hand.orders()
    assert refused == ("AAA", "refused", False, "price_collar", 0.5, 0.1)
    assert sent[:4] == ("BBB", "working", True, "within_limits")
    moment = f"{MORNING:%Y-%m-%d %H:%M:%S} UTC"
    assert at_hand.checks() == [
        (False, "price_collar", 0.5, 0.1, f"last 5, previous close 5 (delayed, {moment})"),
        (True, "price_collar", 0.02, 0.1, f"last 20.4, previous close 20 (live, {moment})"),
    ]


def test_what_was_refused_stays_so_though_the_price_comes_back(tmp_path):
    at_hand = story(tmp_path, {AAA: told("5"), BBB: told("20")})
    at_hand.submit()
    at_hand.quotes.answers = {AAA: told("10"), BBB: told("20")}
    assert at_hand.submit(MORNING).note == f"0 orders of {day(0)} went to the engine."
    assert at_hand.sent == [f"{BBB}|buy"]
    assert at_hand.orders()[0][:4] == ("AAA", "refused", False, "price_collar")


def test_a_stale_last_price_does_not_hide_a_split(tmp_path):
    at_hand = story(tmp_path, {AAA: told("10", "5", at=MORNING), BBB: told("20", "20", at=MORNING)})
    at_hand.submit(MORNING)
    assert at_hand.orders()[0] == ("AAA", "refused", False, "price_collar", 0.5, 0.1)


@pytest.mark.parametrize(
    ("price", "state", "value"),
    [("7.2", "working", 0.28), ("6.9", "refused", 0.31), ("100", "refused", 9.0), ("20", "refused", 1.0)],
)
def test_a_sale_goes_out_in_a_fall_and_not_at_a_price_that_is_nonsense(tmp_path, price, state, value):
    engine = FakeEngine()
    desk = a_desk(tmp_path, f"{day(0)} buy AAA 0.5", f"{day(1)} sell AAA")
    desk.night(day(0))
    desk.decide(day(1))
    desk.engine = lambda: engine
    now = evening(day(1))
    permit = issue_permit(desk.ledger, XNYS, now, Purpose.SUBMIT)
    quotes = Quotes({AAA: told(price, at=now)})
    live = replace(desk.desk(now), quotes=lambda: quotes)
    live.submit(desk.strategy, day(1), permit.permit_id, "submit", now)
    (sale,) = desk.ledger.orders("scripted", day(1)).select("side", "state").rows()
    assert sale == ("sell", state)
    (check,) = desk.ledger.checks("scripted", day(1)).select("rule", "value", "limit").rows()
    assert check == ("price_collar", value, 0.3)
    assert desk.holding(day(1)) == 500


def test_without_a_quote_the_close_stands_and_the_record_says_so(tmp_path):
    at_hand = story(tmp_path, {AAA: NoQuote("IBKR 354: not subscribed"), BBB: told()})
    assert at_hand.submit().outcome is Outcome.SUBMITTED
    assert at_hand.sent == [f"{AAA}|buy", f"{BBB}|buy"]
    assert at_hand.checks() == [
        (
            True,
            "fresh_quote",
            None,
            None,
            "no quote (IBKR 354: not subscribed): the close it was sized on, 10, is all there is",
        ),
        (
            True,
            "fresh_quote",
            None,
            None,
            "a quote without a price that counts: the close it was sized on, 20, is all there is",
        ),
    ]


def test_where_a_quote_is_required_nothing_goes_out_without_one(tmp_path):
    at_hand = story(tmp_path, {BBB: told("20")}, limits={"fresh_quote": "required"})
    at_hand.submit()
    assert at_hand.sent == [f"{BBB}|buy"]
    assert at_hand.orders()[0] == ("AAA", "refused", False, "fresh_quote", None, None)


def test_explain_names_the_refusal_and_the_price_that_was_looked_at(tmp_path):
    at_hand = story(tmp_path, {AAA: told("5"), BBB: NoQuote("IBKR 354: not subscribed")})
    at_hand.submit()
    bot = at_hand.desk.bot

    def page(symbol: str) -> str:
        return render_text(explain(bot.store, bot.calendar, at_hand.desk.strategy, symbol, day(0), "live"))

    assert "Not bought: refused by the risk gate: price_collar, 0.5 is over 0.1 by 0.4." in page("AAA")
    assert "before sending: refused, price_collar 0.5 against 0.1: last 5 (delayed," in page("AAA")
    assert "before sending: approved by fresh_quote: no quote (IBKR 354: not subscribed): the close" in page("BBB")


def test_the_deadline_counts_from_when_the_quotes_have_come(tmp_path):
    at_hand = story(tmp_path, {AAA: told("10"), BBB: told("20")})
    deadline = submit_deadline(XNYS, day(0))
    clock = Moved(deadline - timedelta(seconds=5))
    slow = at_hand.quotes.of

    def of(securities):
        clock.at += timedelta(seconds=15)
        return slow(securities)

    at_hand.quotes.of = of
    permit = issue_permit(at_hand.desk.ledger, XNYS, clock.now(), Purpose.SUBMIT)
    live = replace(at_hand.live_desk(clock.now()), clock=clock)
    assert live.submit(at_hand.desk.strategy, day(0), permit.permit_id, "submit", clock.now()).outcome is Outcome.EXPIRED
    assert at_hand.sent == []


def test_while_nobody_can_be_asked_nothing_is_sent_and_the_next_run_sends_it(tmp_path):
    at_hand = story(tmp_path, {AAA: told("10"), BBB: told("20")}, limits={"fresh_quote": "required"})
    answering = at_hand.quotes.of

    def of(_):
        raise ExecutionError("Nothing answers at 127.0.0.1:4002.")

    at_hand.quotes.of = of
    with pytest.raises(ExecutionError, match="Nothing answers"):
        at_hand.submit()
    assert [state for _, state, *_ in at_hand.orders()] == ["new", "new"]
    at_hand.quotes.of = answering
    assert at_hand.submit().outcome is Outcome.SUBMITTED
    assert at_hand.sent == [f"{AAA}|buy", f"{BBB}|buy"]


def test_nobody_is_asked_for_a_quote_while_trading_is_halted(tmp_path):
    at_hand = story(tmp_path, {})
    at_hand.desk.ledger.halt("a person said so", EVENING)
    assert at_hand.submit().outcome is Outcome.HALTED
    assert at_hand.quotes.asked == []


def test_an_order_in_doubt_is_asked_about_and_not_looked_at(tmp_path):
    at_hand = story(tmp_path, {AAA: told("10"), BBB: told("20")})
    at_hand.submit()
    checks = at_hand.checks()
    at_hand.quotes.answers = {AAA: told("5"), BBB: told("5")}
    at_hand.submit(MORNING)
    assert at_hand.checks() == checks
    assert len(at_hand.quotes.asked) == 1


# Backtests and older ledgers


def test_a_backtest_knows_no_other_price_and_does_not_change(tmp_path):
    def made(name: str, **limits) -> dict[str, pl.DataFrame]:
        bot = scripted(tmp_path / name, *BUYS, f"{day(2)} sell AAA", limits=limits)
        bars_of(bot, "AAA", 10.0, {day(1): 14.0})
        bars_of(bot, "BBB", 20.0)
        return walk(bot, [day(n) for n in range(4)])

    plain = made("plain")
    strict = made("strict", fresh_quote="required", price_collar=0.0001, price_collar_sales=0.0001)
    for table in ("decisions", "orders", "order_states", "fills", "entries", "equity", "positions"):
        assert_frame_equal(plain[table], strict[table])
    assert plain["orders"]["approved"].all()


def test_a_ledger_from_before_there_were_looks_gains_the_table_and_keeps_its_orders(tmp_path):
    at_hand = story(tmp_path, {AAA: told("10"), BBB: told("20")})
    at_hand.submit()
    path = next(tmp_path.rglob("ledger.sqlite"))
    with sqlite3.connect(path) as database:
        database.execute("DROP TABLE checks")
    older = SqliteLedger(path)
    assert older.checks("scripted").is_empty()
    assert older.orders("scripted")["state"].to_list() == [OrderState.WORKING, OrderState.WORKING]
