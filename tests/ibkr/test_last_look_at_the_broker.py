"""A session's orders on their way to the simulated TWS, with the whole wiring: the price of the morning against the evening's close.

In the store AAA closes at 10 and BBB at 20 in every session. At the broker the same, but BBB is split two for one overnight, and
no collector has heard of it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest

from tests.core.test_live import day, evening
from tests.ibkr.conftest import ACCOUNT
from tests.ibkr.wire import Wire, through
from tests.markets import XNYS, at, tradebot
from tests.scripted import CONFIG, SESSIONS, quote
from tradebot_core.clock import SampleClock
from tradebot_core.interfaces import Purpose
from tradebot_core.simulation.market_data import MarketData
from tradebot_core.simulation.tws import SimulatedTws, serving
from tradebot_core.simulation.tws_quotes import MarketDataAccess
from tradebot_core.trading.explain import explain, render_text
from tradebot_core.trading.live import Outcome, Submission, issue_permit
from tradebot_core.wiring import Tradebot

DECIDED, SPLIT = day(0), day(1)
MORNING = XNYS.opens_at(SPLIT) - timedelta(minutes=30)


def broker_market() -> MarketData:
    def bar(symbol: str, session: date) -> dict[str, object]:
        price = 10.0 if symbol == "AAA" else 10.0 if session >= SPLIT else 20.0
        prices = dict.fromkeys(("open", "high", "low", "close"), price)
        return {"symbol": symbol, "session": session, **prices, "volume": 1e6}

    def listing(symbol: str, number: int) -> dict[str, object]:
        words = {"name": symbol, "exchange": "NYSE", "industry": "", "category": ""}
        return {
            "symbol": symbol,
            "cik": number,
            "con_id": 100 + number,
            "valid_from": date(2020, 1, 2),
            "valid_to": None,
            **words,
        }

    return MarketData(
        pl.DataFrame([bar(symbol, session) for symbol in ("AAA", "BBB") for session in SESSIONS]),
        pl.DataFrame({"symbol": ["BBB"], "session": [SPLIT], "type": ["split"], "value": [2.0]}),
        pl.DataFrame([listing("AAA", 1), listing("BBB", 2)], schema_overrides={"valid_to": pl.Date, "con_id": pl.Int64}),
    )


@dataclass
class Story:
    bot: Tradebot
    clock: SampleClock
    wire: Wire

    def move(self, now: datetime) -> Tradebot:
        self.clock.set(now)
        self.bot = at(self.bot, now)
        return self.bot

    def decide(self) -> None:
        now = evening(DECIDED)
        bot = self.move(now)
        sleeve = bot.sleeve("scripted")
        bot.markets.run_layer(sleeve.strategy, "trades", [DECIDED])
        permit = issue_permit(bot.store.ledger, XNYS, now)
        assert permit is not None
        assert bot.desk.decide(sleeve.strategy, sleeve.capital, DECIDED, permit.permit_id, "decide", now).live

    def submit(self, now: datetime) -> Submission:
        bot = self.move(now)
        permit = issue_permit(bot.store.ledger, XNYS, now, Purpose.SUBMIT)
        assert permit is not None
        return bot.desk.submit(bot.sleeve("scripted").strategy, DECIDED, permit.permit_id, "submit", now)

    def orders(self) -> list[tuple]:
        columns = ("symbol", "state", "rule", "value", "limit")
        return self.bot.store.ledger.orders("scripted").sort("symbol").select(columns).rows()

    def checks(self) -> list[tuple]:
        """In the order of the symbols."""
        keys = self.bot.store.ledger.orders("scripted").select("order_key", "symbol")
        checks = self.bot.store.ledger.checks("scripted").join(keys, on="order_key").sort("symbol")
        return checks.select("approved", "rule", "value", "detail").rows()


@contextmanager
def story(folder: Path, access: MarketDataAccess, limits: str = "", on_request=lambda fields: None) -> Iterator[Story]:
    clock = SampleClock(folder / "clock")
    clock.set(evening(DECIDED))
    tws = SimulatedTws(broker_market(), clock, ACCOUNT, Decimal(20_000), market_data=access)
    with serving(tws) as port, through(wire := Wire(port, on_request)) as before:
        text = CONFIG.format(
            script=f'["{DECIDED} buy AAA 0.3", "{DECIDED} buy BBB 0.3"]',
            capital=10_000,
            limits=f"max_order_notional: 1000000, max_position_weight: 1.0{limits}",
            costs="slippage_bps: 0",
        )
        text = text.replace("costs:", f"ibkr: {{{{port: {before}, account: {ACCOUNT}}}}}\ncosts:")
        bot = tradebot(folder, text=text)
        quote(bot, "AAA", 10.0)
        quote(bot, "BBB", 20.0)
        made = Story(bot, clock, wire)
        made.decide()
        yield made


@pytest.mark.parametrize(("access", "kind"), [(MarketDataAccess.LIVE, "live"), (MarketDataAccess.DELAYED, "delayed")])
def test_in_the_evening_both_orders_go_out_at_the_close_they_were_sized_on(tmp_path, access, kind):
    with story(tmp_path, access) as told:
        assert told.submit(evening(DECIDED)).outcome is Outcome.SUBMITTED
        assert [(symbol, state, rule) for symbol, state, rule, *_ in told.orders()] == [
            ("AAA", "working", "within_limits"),
            ("BBB", "working", "within_limits"),
        ]
        moment = f"{evening(DECIDED):%Y-%m-%d %H:%M:%S} UTC"
        assert told.checks() == [
            (True, "price_collar", 0.0, f"last 10 ({kind}, {moment})"),
            (True, "price_collar", 0.0, f"last 20 ({kind}, {moment})"),
        ]


@pytest.mark.parametrize("access", [MarketDataAccess.LIVE, MarketDataAccess.DELAYED])
def test_a_split_overnight_is_refused_on_the_morning_and_the_other_order_goes_out(tmp_path, access):
    with story(tmp_path, access) as told:
        submission = told.submit(MORNING)
        assert submission.outcome is Outcome.SUBMITTED
        assert "refused 1" in submission.note
        whole, split = told.orders()
        assert whole[:3] == ("AAA", "working", "within_limits")
        assert split == ("BBB", "refused", "price_collar", 0.5, 0.1)
        strategy = told.bot.sleeve("scripted").strategy
        page = render_text(explain(told.bot.store, XNYS, strategy, "BBB", DECIDED, "live"))
        assert "Not bought: refused by the risk gate: price_collar, 0.5 is over 0.1 by 0.4." in page
        assert "last 10, previous close 10" in page


def test_without_market_data_the_orders_go_out_on_the_close_and_the_record_says_so(tmp_path):
    with story(tmp_path, MarketDataAccess.NONE) as told:
        assert told.submit(MORNING).outcome is Outcome.SUBMITTED
        assert [state for _, state, *_ in told.orders()] == ["working", "working"]
        reason = "no quote (IBKR 354: Requested market data is not subscribed.)"
        assert told.checks() == [
            (True, "fresh_quote", None, f"{reason}: the close it was sized on, 10, is all there is"),
            (True, "fresh_quote", None, f"{reason}: the close it was sized on, 20, is all there is"),
        ]


def test_where_a_quote_is_required_and_there_is_none_nothing_reaches_the_broker(tmp_path):
    sent: list[str] = []
    with story(tmp_path, MarketDataAccess.NONE, ", fresh_quote: required", lambda fields: sent.append(fields[0])) as told:
        assert told.submit(MORNING).note.startswith(f"0 orders of {DECIDED} went to the engine.")
        assert told.orders() == [("AAA", "refused", "fresh_quote", None, None), ("BBB", "refused", "fresh_quote", None, None)]
    place_order, market_data = "3", "1"
    assert sent.count(market_data) == 2
    assert place_order not in sent


def test_the_quotes_of_a_session_take_one_connection_and_no_order_is_previewed(tmp_path):
    placed: list[list[str]] = []
    clients: list[str] = []

    def see(fields: list[str]) -> None:
        if fields[0] == "3":
            placed.append(fields)
        if fields[0] == "71":
            clients.append(fields[2])

    with story(tmp_path, MarketDataAccess.DELAYED, on_request=see) as told:
        told.submit(evening(DECIDED))
    assert len(placed) == 2
    assert clients.count("17") == 1  # client_id 1 and Client.QUOTES
