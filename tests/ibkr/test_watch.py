"""The live watchlist over a socket, with the unmodified client, against the bars that the simulated TWS keeps up to date."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from ib_async import IB, Stock

from tests.ibkr.conftest import ACCOUNT, SECURITY_IDS, SESSIONS, THURSDAY, TUESDAY, WEDNESDAY, Gateway, at, open_of
from tests.markets import XNYS, tradebot
from tradebot_core.collectors.final_bars import FinalBars
from tradebot_core.collectors.ibkr_watch import watch
from tradebot_core.config import IbkrSettings, Mode
from tradebot_core.errors import ConfigurationError, UsageError
from tradebot_core.ibkr.connection import Client, run
from tradebot_core.ibkr.history import TradesBar
from tradebot_core.ibkr.pace import Pace
from tradebot_core.ibkr.subscription import LiveBar
from tradebot_core.interfaces import Batch
from tradebot_core.model.event import Event, EventType
from tradebot_core.model.market import Bar
from tradebot_core.model.tables import BARS, SECURITIES
from tradebot_core.simulation.tws import serving
from tradebot_core.trading.event_bus import EventBus

AAA, BBB = SECURITY_IDS["AAA"], SECURITY_IDS["BBB"]
CON_IDS = {"AAA": 101, "BBB": 102, "CC.B": 103}
MONDAY, FRIDAY = date(2026, 11, 16), date(2026, 11, 20)


def listed(*symbols: str) -> pl.DataFrame:
    rows = [(SECURITY_IDS[s], s, CON_IDS[s], date(2020, 1, 2), date.max) for s in symbols]
    names = {"security_id": pl.Int64, "symbol": pl.String, "con_id": pl.Int64, "valid_from": pl.Date, "valid_to": pl.Date}
    return pl.DataFrame(rows, schema=names, orient="row")


class Live:
    """A gateway that is stopped and started on one port, and a watch of it in a thread."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway
        self.port = 0
        self.events: list[Event] = []
        self.running: list[tuple[str, TradesBar]] = []
        self._stop, self._up = threading.Event(), ExitStack()
        self.start()

    def start(self) -> None:
        self.tws = self.gateway.tws()
        self.port = self._up.enter_context(serving(self.tws, port=self.port))

    def stop(self) -> None:
        self._up.close()

    def watch(self, *symbols: str) -> None:
        bus = EventBus()
        bus.subscribe("test", [EventType.PRICE_BAR], self.events.append)
        shown = {
            "running": lambda symbol, bar: self.running.append((symbol, bar.bar)),
            "pace": Pace(per_second=100, repeat_after_s=0),
        }
        settings = IbkrSettings(port=self.port, account=ACCOUNT)
        self.thread = threading.Thread(
            target=watch, args=(settings, listed(*symbols), XNYS, bus.publish, self._stop), kwargs=shown
        )
        self.thread.start()
        self.until(lambda: self.tws.by_hand.subscriptions == len(symbols))

    def end(self) -> None:
        self._stop.set()
        self.thread.join(10)
        self.stop()
        assert not self.thread.is_alive()

    def told(self) -> list[tuple[str, date, float]]:
        return sorted((e.symbol, e.payload.session, e.payload.close) for e in self.events if isinstance(e.payload, Bar))

    def until(self, condition, within_s: float = 15.0) -> None:
        end = time.monotonic() + within_s
        while not condition():
            assert time.monotonic() < end, (self.told(), self.running)
            time.sleep(0.05)


@pytest.fixture
def live(gateway: Gateway) -> Iterator[Live]:
    gateway.clock.set(at(WEDNESDAY, 9))
    live = Live(gateway)
    yield live
    live.end()


# What the simulated TWS sends.


def test_bars_that_are_kept_up_to_date_begin_with_the_open_and_are_whole_at_the_close(gateway, settings):
    async def work(ib: IB):
        stock = Stock("AAA", "SMART", "USD")
        bars = await ib.reqHistoricalDataAsync(
            stock, "", "3 D", "1 day", "TRADES", useRTH=True, formatDate=2, keepUpToDate=True
        )
        told = []
        bars.updateEvent += lambda all_bars, is_new: told.append((all_bars[-1].date, all_bars[-1].close, is_new))
        asked = [(bar.date, bar.close) for bar in bars]
        for hour in (10, 11, 17):
            gateway.clock.set(at(WEDNESDAY, hour))
            await ib.reqCurrentTimeAsync()
        first, told[:] = list(told), []
        gateway.clock.set(at(FRIDAY, 18))
        await ib.reqCurrentTimeAsync()
        followed, told[:] = list(told), []
        ib.cancelHistoricalData(bars)
        gateway.clock.set(at(SESSIONS[-2], 18))
        await ib.reqCurrentTimeAsync()
        return asked, first, followed, told

    asked, first, followed, after = run(settings, Mode.DRY_RUN, work, client=Client.WATCH)
    assert asked == [(SESSIONS[4], 14.5), (MONDAY, 15.5), (TUESDAY, 16.5)]
    assert first == [(WEDNESDAY, 17.0, True), (WEDNESDAY, 17.5, False)]
    assert followed == [(THURSDAY, 18.5, True), (FRIDAY, 19.5, True)]  # a clock that jumps leaves nothing out
    assert after == []


@pytest.mark.parametrize(("count", "end", "code"), [(51, "", 322), (1, "20261117 16:00:00 UTC", 321)])
def test_more_than_fifty_or_with_an_end_they_are_refused(settings, count, end, code):
    async def work(ib: IB):
        ib.RaiseRequestErrors = False
        codes = []
        ib.errorEvent += lambda _request, code, *_: codes.append(code) if code < 2000 else None
        stock = Stock("AAA", "SMART", "USD")
        for _ in range(count):
            request = ib.client.getReqId()
            ib.client.reqHistoricalData(request, stock, end, "3 D", "1 day", "TRADES", True, 2, True, [])
        await ib.reqCurrentTimeAsync()
        return codes

    assert run(settings, Mode.DRY_RUN, work, client=Client.WATCH) == [code]


# The watchlist.


def test_a_bar_becomes_an_event_once_its_session_is_over_and_not_before(live):
    live.watch("AAA", "CC.B")
    live.gateway.clock.set(at(WEDNESDAY, 12))
    live.until(lambda: len(live.running) == 2)
    assert sorted((symbol, bar.session, bar.close) for symbol, bar in live.running) == [
        ("AAA", WEDNESDAY, 17.0),
        ("CC.B", WEDNESDAY, 57.0),
    ]
    live.gateway.clock.set(at(WEDNESDAY, 16))  # closed, but the closing auction may not be in the bar yet
    time.sleep(2.5)
    assert live.events == []
    live.gateway.clock.set(at(WEDNESDAY, 16, 1))
    live.until(lambda: len(live.events) == 2)
    assert live.told() == [("AAA", WEDNESDAY, 17.5), ("CC.B", WEDNESDAY, 57.5)]
    event = next(event for event in live.events if event.symbol == "AAA")
    assert (event.type, event.source, event.timestamp) == (EventType.PRICE_BAR, "ibkr_watch", at(WEDNESDAY, 16))
    assert event.ingested_at == at(WEDNESDAY, 16, 1)
    assert event.payload == Bar(AAA, WEDNESDAY, 17.0, 18.0, 16.75, 17.5, 1000.0)
    live.gateway.clock.set(at(WEDNESDAY, 16, 9))
    time.sleep(2.5)
    assert len(live.events) == 2


def test_subscriptions_that_1101_ended_are_made_anew(live):
    live.watch("AAA", "CC.B")
    live.tws.by_hand.lose_link()
    live.tws.by_hand.restore_link(data_lost=True)
    assert live.tws.by_hand.subscriptions == 0
    live.until(lambda: live.tws.by_hand.subscriptions == 2)
    live.gateway.clock.set(at(WEDNESDAY, 12))
    live.until(lambda: sorted(symbol for symbol, _ in live.running) == ["AAA", "CC.B"])
    live.gateway.clock.set(at(WEDNESDAY, 16, 1))
    live.until(lambda: len(live.events) == 2)


def test_after_1102_they_are_made_anew_as_well_and_nothing_is_told_twice(live):
    live.watch("AAA")
    live.gateway.clock.set(at(WEDNESDAY, 16, 1))
    live.until(lambda: len(live.events) == 1)
    live.tws.by_hand.restore_link(data_lost=False)
    live.gateway.clock.set(at(THURSDAY, 16, 1))
    live.until(lambda: len(live.events) == 2)
    assert live.tws.by_hand.subscriptions == 1
    assert live.told() == [("AAA", WEDNESDAY, 17.5), ("AAA", THURSDAY, 18.5)]


def test_a_session_that_closed_while_the_gateway_was_down_is_told_after_the_new_connection_and_once(live):
    live.watch("AAA", "CC.B")
    live.stop()
    live.gateway.clock.set(at(WEDNESDAY, 17))
    live.start()
    live.until(lambda: len(live.events) == 2)
    assert live.told() == [("AAA", WEDNESDAY, 17.5), ("CC.B", WEDNESDAY, 57.5)]
    live.stop()
    live.start()
    live.until(lambda: live.tws.by_hand.subscriptions == 2)
    live.gateway.clock.set(at(THURSDAY, 12))
    live.until(lambda: len(live.running) == 2)  # the new subscriptions live
    assert len(live.events) == 2


def test_every_session_that_an_outage_hid_is_told_in_order_as_it_traded(live):
    """AAA pays a dividend on Thursday, which IBKR's bars do not show; nothing splits since Wednesday."""
    live.gateway.clock.set(at(WEDNESDAY, 12))
    live.watch("AAA", "BBB")
    live.stop()
    live.gateway.clock.set(at(SESSIONS[SESSIONS.index(FRIDAY) + 1], 10))  # Monday
    live.start()
    live.until(lambda: len(live.events) == 6)
    days = (WEDNESDAY, THURSDAY, FRIDAY)
    assert live.told() == [(symbol, day, open_of(symbol, day) + 0.5) for symbol in ("AAA", "BBB") for day in days]
    assert [event.payload.session for event in live.events] == [day for day in days for _ in "AB"]
    assert {event.timestamp for event in live.events} == {at(day, 16) for day in days}


def test_a_missed_session_before_a_split_is_never_told_on_the_new_shares_but_left_to_the_collector(live, caplog):
    """BBB splits on Wednesday. Tuesday is missed; on Wednesday its bar, 106.5 at the close, is stated as 53.25."""
    live.gateway.clock.set(at(TUESDAY, 12))
    live.watch("BBB")
    live.stop()
    live.gateway.clock.set(at(WEDNESDAY, 10))
    live.start()
    live.until(lambda: live.tws.by_hand.subscriptions == 1)
    live.gateway.clock.set(at(WEDNESDAY, 16, 1))
    live.until(lambda: live.events)
    assert live.told() == [("BBB", WEDNESDAY, 54.0)]
    assert f"{TUESDAY} of BBB is left to the collector of bars: a split with a ratio of 2" in caplog.text


# Which bars are final.


def final(*symbols: str) -> FinalBars:
    return FinalBars([SECURITY_IDS[s] for s in symbols], list(symbols), XNYS)


def heard(session: date, now: datetime, *, answered: bool = True, number: int = 0, close: float = 10.5) -> LiveBar:
    bar = TradesBar(session, close - 0.5, close + 0.5, close - 1.5, close, 1000.0)
    return LiveBar(number, now.astimezone(UTC), bar, answered)


def test_an_update_alone_is_never_final():
    bars = final("AAA")
    bars.start(at(WEDNESDAY, 12))
    assert bars.events([heard(WEDNESDAY, at(WEDNESDAY, 16, 5), answered=False)]) == []
    assert len(bars.events([heard(WEDNESDAY, at(WEDNESDAY, 16, 5))])) == 1


def test_what_was_final_at_the_start_is_no_news():
    bars = final("AAA")
    bars.start(at(TUESDAY, 18))
    assert bars.events([heard(TUESDAY, at(TUESDAY, 18))]) == []
    assert len(bars.events([heard(FRIDAY, at(date(2026, 11, 21), 9))])) == 1  # Friday's bar on Saturday


def test_an_older_session_that_can_be_compared_with_nothing_is_left_to_the_collector(caplog):
    bars = final("AAA")
    bars.start(at(TUESDAY, 18))
    later = at(FRIDAY, 18)
    (event,) = bars.events([heard(THURSDAY, later), heard(FRIDAY, later)])
    assert event.payload.session == FRIDAY
    assert f"{THURSDAY} of AAA is left to the collector of bars: no session that was heard before" in caplog.text
    assert bars.events([heard(THURSDAY, later), heard(FRIDAY, later)]) == []


def test_a_half_day_ends_at_one():
    day = date(2026, 11, 27)  # after Thanksgiving
    bars = final("AAA")
    bars.start(at(day, 12))
    assert not bars.is_due(at(day, 13)) and bars.is_due(at(day, 13, 1))


def test_a_bar_that_does_not_come_is_asked_for_now_and_then_and_given_up_after_half_an_hour(caplog):
    bars = final("AAA", "CC.B")
    bars.start(at(WEDNESDAY, 12))
    close = at(WEDNESDAY, 16)
    asked = []
    for minute in range(60):
        now = close + timedelta(minutes=minute)
        if bars.is_due(now):
            asked.append(minute)
            bars.events([heard(WEDNESDAY, now)])
    assert asked == list(range(1, 31, 2))
    assert f"IBKR has no bar of {WEDNESDAY} for CC.B." in caplog.text
    assert bars.is_due(at(THURSDAY, 16, 1))


def test_too_many_shares_or_none_are_refused():
    settings, stop = IbkrSettings(port=1, account=ACCOUNT), threading.Event()
    many = pl.concat(listed("AAA").with_columns(security_id=pl.lit(n, pl.Int64)) for n in range(41))
    with pytest.raises(UsageError, match="at most 40"):
        watch(settings, many, XNYS, print, stop)
    with pytest.raises(UsageError, match="nothing to watch"):
        watch(settings, listed(), XNYS, print, stop)


def test_another_account_ends_it(port):
    with pytest.raises(ConfigurationError, match="not to DU0000002"):
        watch(IbkrSettings(port=port, account="DU0000002"), listed("AAA"), XNYS, print, threading.Event())


CONFIG = "mode: paper\ndata_store: {{{{backend: file, path: {{store}}}}}}\nibkr: {{{{port: {port}, account: {account}}}}}\n"


def test_the_command_prints_a_line_for_each_event_stores_nothing_and_ends_on_sigterm(gateway, tmp_path):
    gateway.clock.set(at(WEDNESDAY, 12))
    live = Live(gateway)
    try:
        bot = tradebot(tmp_path / "bot", text=CONFIG.format(port=live.port, account=ACCOUNT))
        row = dict.fromkeys(SECURITIES.columns) | {"security_id": AAA, "cik": 1001, "symbol": "AAA", "name": "A", "con_id": 101}
        row |= {"valid_from": date(2020, 1, 2), "valid_to": date.max, "known_at": datetime(2020, 1, 2, tzinfo=UTC)}
        schema = {**SECURITIES.columns, "known_at": SECURITIES.schema["known_at"]}
        bot.store.append(Batch(SECURITIES, pl.DataFrame([row], schema=schema), "test"), datetime(2020, 1, 2, tzinfo=UTC))
        code = "from tradebot_dagster.cli import main; main()"
        command = [sys.executable, "-c", code, "watch", "AAA", "--json", "--config", str(bot.config_path)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2])
        assert process.stdout is not None
        live.until(lambda: live.tws.by_hand.subscriptions == 1, 30)
        gateway.clock.set(at(WEDNESDAY, 16, 2))
        line = json.loads(process.stdout.readline())
        assert (line["event"], line["symbol"], line["session"], line["close"]) == ("price_bar", "AAA", "2026-11-18", 17.5)
        os.kill(process.pid, signal.SIGTERM)
        assert process.wait(15) == 0
        assert process.stdout.read() == ""
    finally:
        live.stop()
    assert bot.store.read(BARS, as_of=datetime(2100, 1, 1, tzinfo=UTC)).is_empty()
