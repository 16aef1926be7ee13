"""A tiny market behind a real socket: three shares, twelve sessions of November 2026, a clock that the test moves.

AAA    10.00 at the open of 9 November, a dollar more each session; closes 0.50 above its open
BBB    the same from 100.00, split two for one on 18 November
CC.B   the same from 50.00; a share class
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import date, datetime, time
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest

from tradebot_core.calendar import NEW_YORK, xnys
from tradebot_core.clock import SampleClock
from tradebot_core.config import IbkrSettings, Mode
from tradebot_core.execution.ibkr import IbkrEngine
from tradebot_core.model.order import OrderIntent, OrderType, Side, order_key
from tradebot_core.simulation.market_data import ACTIONS_FILE, BARS_FILE, SECURITIES_FILE, MarketData
from tradebot_core.simulation.tws import SimulatedTws, serving

ACCOUNT = "DU0000001"
TUESDAY, WEDNESDAY, THURSDAY = date(2026, 11, 17), date(2026, 11, 18), date(2026, 11, 19)
SESSIONS = xnys().sessions(date(2026, 11, 9), date(2026, 11, 24))
SPLIT = WEDNESDAY
SECURITY_IDS = {"AAA": 100_100, "BBB": 100_200, "CC.B": 100_301}


def at(session: date, hour: int, minute: int = 0) -> datetime:
    return datetime.combine(session, time(hour, minute), NEW_YORK)


def open_of(symbol: str, session: date) -> float:
    """Raw."""
    price = {"AAA": 10.0, "BBB": 100.0, "CC.B": 50.0}[symbol] + SESSIONS.index(session)
    return price / 2 if symbol == "BBB" and session >= SPLIT else price


def intent(symbol: str = "AAA", side: Side = Side.BUY, quantity: int = 100, limit: str | None = None) -> OrderIntent:
    """An order decided after Tuesday's close, for the open of Wednesday."""
    security = SECURITY_IDS.get(symbol, 999_900)
    return OrderIntent(
        order_key("value", TUESDAY, security, side),
        "value",
        TUESDAY,
        security,
        symbol,
        side,
        quantity,
        Decimal("16.5"),
        OrderType.LIMIT_ON_OPEN if limit else OrderType.MARKET_ON_OPEN,
        Decimal(limit) if limit else None,
    )


@dataclass
class Gateway:
    """The simulated TWS of a test, to be stopped and started."""

    folder: Path
    clock: SampleClock

    def tws(self, **options: object) -> SimulatedTws:
        market = MarketData.read(self.folder)
        options = {"account": ACCOUNT, "cash": Decimal(10_000), "state_path": self.folder / "account.json", **options}
        return SimulatedTws(market, self.clock, **options)

    def serving(self, **options: object) -> AbstractContextManager[int]:
        return serving(self.tws(**options))


@pytest.fixture(autouse=True)
def every_message_is_understood(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """ib_async logs a message that it cannot decode, and goes on."""
    yield
    assert [record.getMessage() for record in caplog.records if record.name == "ib_async.Decoder"] == []


@pytest.fixture
def gateway(tmp_path: Path) -> Gateway:
    bars = [
        {
            "symbol": symbol,
            "session": session,
            "open": (price := open_of(symbol, session)),
            "high": price + 1,
            "low": price - 0.25,
            "close": price + 0.5,
            "volume": 1000.0,
        }
        for symbol in SECURITY_IDS
        for session in SESSIONS
    ]
    pl.DataFrame(bars).write_parquet(tmp_path / BARS_FILE)
    (tmp_path / ACTIONS_FILE).write_text(f"symbol,session,type,value\nBBB,{SPLIT},split,2.0\nAAA,{THURSDAY},dividend,0.10\n")
    (tmp_path / SECURITIES_FILE).write_text(
        "symbol,cik,name,exchange,con_id,share_class,industry,category,valid_from,valid_to\n"
        "AAA,1001,Alpha Works,NYSE,101,0,Industrial,Machinery,2020-01-02,\n"
        "BBB,1002,Béta Brands,NASDAQ,102,0,Consumer,Apparel,2020-01-02,\n"
        "CC.B,1003,Gamma Class B,NYSE,103,1,Financial,Insurance,2020-01-02,\n"
    )
    clock = SampleClock(tmp_path / "clock")
    clock.set(at(TUESDAY, 18))
    return Gateway(tmp_path, clock)


@pytest.fixture
def port(gateway: Gateway) -> Iterator[int]:
    with gateway.serving() as port:
        yield port


@pytest.fixture
def settings(port: int) -> IbkrSettings:
    return IbkrSettings(port=port, account=ACCOUNT)


@pytest.fixture
def engine(settings: IbkrSettings) -> IbkrEngine:
    return IbkrEngine(settings, Mode.PAPER, acknowledge_timeout_s=5)
