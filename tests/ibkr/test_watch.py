"""The live watchlist over a socket, with the unmodified client. The simulated TWS keeps the clock, the contracts and the account; the
subscription (a historical request with keepUpToDate) is answered on the wire from the same prices."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from tests.ibkr.conftest import ACCOUNT, SECURITY_IDS, SESSIONS, THURSDAY, TUESDAY, WEDNESDAY, Gateway, at, open_of
from tests.ibkr.wire import HISTORY, Wire, refused, through
from tests.markets import XNYS, tradebot
from tradebot_core.collectors.ibkr_watch import FinalBars, watch
from tradebot_core.config import IbkrSettings
from tradebot_core.errors import ConfigurationError, UsageError
from tradebot_core.ibkr.history import TradesBar
from tradebot_core.ibkr.pace import Pace
from tradebot_core.ibkr.subscription import LiveBar
from tradebot_core.interfaces import Batch
from tradebot_core.model.event import Event, EventType
from tradebot_core.model.market import Bar
from tradebot_core.model.tables import BARS, SECURITIES
from tradebot_core.trading.event_bus import EventBus

AAA, CC = SECURITY_IDS["AAA"], SECURITY_IDS["CC.B"]
CON_IDS = {"AAA": "101", "CC.B": "103"}
SYMBOLS = {con_id: symbol for symbol, con_id in CON_IDS.items()}


def listed(*symbols: str) -> pl.DataFrame:
    rows = [(SECURITY_IDS[s], s, int(CON_IDS[s]), date(2020, 1, 2), date.max) for s in symbols]
    names = {"security_id": pl.Int64, "symbol": pl.String, "con_id": pl.Int64, "valid_from": pl.Date, "valid_to": pl.Date}
    return pl.DataFrame(rows, schema=names, orient="row")


class Live:
    """A gateway with subscriptions, and a watch of it in a thread."""

    def __init__(self, gateway: Gateway, port: int) -> None:
        self.gateway = gateway
        self.wire = Wire(port, self._answer)
        self.requests: list[str] = []  # con ids of live subscriptions, in order
        self.open: dict[str, str] = {}  # request by con id
        self.events: list[Event] = []
        self.running: list[tuple[str, TradesBar]] = []

    def _answer(self, fields: list[str]):
        if fields[0] != HISTORY or fields[21] != "1":
            return None
        request, con_id = fields[1], fields[2]
        symbol, now = SYMBOLS[con_id], self.gateway.clock.now()
        self.requests.append(con_id)
        self.open[con_id] = request
        days = [s for s in SESSIONS if XNYS.opens_at(s) <= now][-5:]
        bars = [value for day in days for value in self._bar(symbol, day, 0.5 if XNYS.closes_at(day) <= now else 0.01)]
        return [["17", request, "", "", str(len(days)), *bars]]

    def _bar(self, symbol: str, day: date, gained: float) -> list[str]:
        price = open_of(symbol, day)
        return [f"{day:%Y%m%d}", f"{price}", f"{price + 1}", f"{price - 0.25}", f"{price + gained}", "1000", f"{price}", "10"]

    def update(self, symbol: str, day: date, close: float) -> None:
        price = open_of(symbol, day)
        fields = [
            "90",
            self.open[CON_IDS[symbol]],
            "11",
            f"{day:%Y%m%d}",
            f"{price}",
            f"{close}",
            f"{price + 1}",
            f"{price - 0.25}",
        ]
        self.wire.push([*fields, f"{price}", "500"])

    def told(self) -> list[tuple[str, date, float]]:
        return [(e.symbol, e.payload.session, e.payload.close) for e in self.events if isinstance(e.payload, Bar)]

    def until(self, condition, within_s: float = 12.0) -> None:
        end = time.monotonic() + within_s
        while not condition():
            assert time.monotonic() < end, (self.requests, self.told(), self.running)
            time.sleep(0.05)


@pytest.fixture
def live(gateway: Gateway) -> Iterator[Live]:
    """Watching AAA and CC.B since Wednesday noon."""
    gateway.clock.set(at(WEDNESDAY, 12))
    with gateway.serving() as tws:
        live = Live(gateway, tws)
        bus, stop = EventBus(), threading.Event()
        bus.subscribe("test", [EventType.PRICE_BAR], live.events.append)
        with through(live.wire) as port:
            thread = threading.Thread(
                target=watch,
                args=(IbkrSettings(port=port, account=ACCOUNT), listed("AAA", "CC.B"), XNYS, bus.publish, stop),
                kwargs={
                    "running": lambda symbol, bar: live.running.append((symbol, bar.bar)),
                    "pace": Pace(per_second=100, repeat_after_s=0),
                },
            )
            thread.start()
            try:
                live.until(lambda: len(live.requests) == 2)
                yield live
            finally:
                stop.set()
                thread.join(10)
            assert not thread.is_alive()


def test_a_bar_becomes_an_event_once_its_session_is_over_and_not_before(live):
    live.update("AAA", WEDNESDAY, 17.2)
    live.until(lambda: live.running)
    assert [(symbol, bar.session, bar.close) for symbol, bar in live.running] == [("AAA", WEDNESDAY, 17.2)]
    live.gateway.clock.set(at(WEDNESDAY, 16))  # closed, but the closing auction may not be in the bar yet
    time.sleep(2.5)
    assert live.events == []
    live.gateway.clock.set(at(WEDNESDAY, 16, 1))
    live.until(lambda: len(live.events) == 2)
    assert live.told() == [("AAA", WEDNESDAY, 17.5), ("CC.B", WEDNESDAY, 57.5)]  # of the answer, not of the last update
    event = live.events[0]
    assert (event.type, event.source, event.timestamp) == (EventType.PRICE_BAR, "ibkr_watch", at(WEDNESDAY, 16))
    assert event.ingested_at == at(WEDNESDAY, 16, 1)
    assert event.payload == Bar(AAA, WEDNESDAY, 17.0, 18.0, 16.75, 17.5, 1000.0)
    live.gateway.clock.set(at(WEDNESDAY, 16, 9))
    time.sleep(2.5)
    assert len(live.events) == 2 and len(live.requests) == 4


def test_after_the_loss_of_data_everything_is_subscribed_to_anew(live):
    live.wire.push(refused("-1", 1101, "Connectivity between IB and TWS has been restored - data lost")[0])
    live.until(lambda: live.requests == ["101", "103"] * 2)
    live.update("CC.B", WEDNESDAY, 57.1)
    live.until(lambda: [symbol for symbol, _ in live.running] == ["CC.B"])


def test_a_session_that_closed_while_the_connection_was_gone_is_told_after_the_new_one_and_once(live):
    live.wire.cut()
    live.gateway.clock.set(at(WEDNESDAY, 17))
    live.until(lambda: len(live.events) == 2)
    assert live.told() == [("AAA", WEDNESDAY, 17.5), ("CC.B", WEDNESDAY, 57.5)]
    live.wire.cut()
    live.until(lambda: len(live.requests) == 6)
    time.sleep(0.5)
    assert len(live.events) == 2
    assert live.wire.connections == 3


def final(*symbols: str) -> FinalBars:
    return FinalBars([SECURITY_IDS[s] for s in symbols], list(symbols), XNYS)


def heard(session: date, now: datetime, *, answered: bool = True, number: int = 0) -> LiveBar:
    return LiveBar(number, now.astimezone(UTC), TradesBar(session, 10.0, 11.0, 9.0, 10.5, 1000.0), answered)


def test_an_update_alone_is_never_final():
    bars = final("AAA")
    bars.start(at(WEDNESDAY, 12))
    assert bars.event(heard(WEDNESDAY, at(WEDNESDAY, 16, 5), answered=False)) is None
    assert bars.event(heard(WEDNESDAY, at(WEDNESDAY, 16, 5))) is not None


def test_what_was_final_at_the_start_is_no_news_and_older_sessions_are_left_to_the_collector():
    bars = final("AAA")
    bars.start(at(TUESDAY, 18))
    assert bars.event(heard(TUESDAY, at(TUESDAY, 18))) is None
    friday = at(date(2026, 11, 20), 18)
    assert bars.event(heard(THURSDAY, friday)) is None  # on whose share count it stands cannot be told
    assert bars.event(heard(date(2026, 11, 20), at(date(2026, 11, 21), 9))) is not None  # Friday's bar on Saturday


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
            bars.event(heard(WEDNESDAY, now))
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
    with gateway.serving() as tws:
        live = Live(gateway, tws)
        with through(live.wire) as port:
            bot = tradebot(tmp_path / "bot", text=CONFIG.format(port=port, account=ACCOUNT))
            row = dict.fromkeys(SECURITIES.columns) | {
                "security_id": AAA,
                "cik": 1001,
                "symbol": "AAA",
                "name": "A",
                "con_id": 101,
            }
            row |= {"valid_from": date(2020, 1, 2), "valid_to": date.max, "known_at": datetime(2020, 1, 2, tzinfo=UTC)}
            schema = {**SECURITIES.columns, "known_at": SECURITIES.schema["known_at"]}
            bot.store.append(Batch(SECURITIES, pl.DataFrame([row], schema=schema), "test"), datetime(2020, 1, 2, tzinfo=UTC))
            code = "from tradebot_dagster.cli import main; main()"
            command = [sys.executable, "-c", code, "watch", "AAA", "--json", "--config", str(bot.config_path)]
            process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2])
            assert process.stdout is not None
            live.until(lambda: len(live.requests) == 1, 30)
            gateway.clock.set(at(WEDNESDAY, 16, 2))
            line = json.loads(process.stdout.readline())
            assert (line["event"], line["symbol"], line["session"], line["close"]) == ("price_bar", "AAA", "2026-11-18", 17.5)
            os.kill(process.pid, signal.SIGTERM)
            assert process.wait(15) == 0
            assert process.stdout.read() == ""
        assert bot.store.read(BARS, as_of=datetime(2100, 1, 1, tzinfo=UTC)).is_empty()
