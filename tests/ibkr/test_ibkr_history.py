"""History of many shares over a socket, with the unmodified client: what is interrupted, refused or broken, and what is asked again."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime
from itertools import islice
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.ibkr.conftest import ACCOUNT, Gateway, at
from tests.ibkr.wire import HISTORY, Cut, Wire, refused, through
from tests.markets import XNYS
from tradebot_core.clock import SampleClock
from tradebot_core.collectors.ibkr_bars import IbkrBars
from tradebot_core.errors import DataError
from tradebot_core.ibkr.connection import BrokerError
from tradebot_core.ibkr.history_errors import Refusal, refusal, rule
from tradebot_core.interfaces import Batch, Held
from tradebot_core.model.tables import ACTIONS, BARS
from tradebot_core.simulation.market_data import ACTIONS_FILE, BARS_FILE, SECURITIES_FILE
from tradebot_core.stores.file_store import FileStore

SYMBOLS = [f"S{n:02d}" for n in range(40)]
SESSIONS = list(XNYS.sessions(date(2026, 9, 1), date(2026, 11, 17)))
LATE = SYMBOLS[7]  # began to trade half way
HALTED = SYMBOLS[9]  # without bars for six sessions
BEGAN = SESSIONS[25]
HALT = SESSIONS[30:36]
EVENING = at(SESSIONS[-1], 18)
FAST = {"per_second": 1000, "pause_s": 0.2, "repeat_after_s": 0, "reconnects": 1}


def traded(symbol: str) -> list[date]:
    return [s for s in SESSIONS if not (symbol == LATE and s < BEGAN) and not (symbol == HALTED and s in HALT)]


@pytest.fixture(scope="module")
def market(tmp_path_factory) -> Gateway:
    folder = tmp_path_factory.mktemp("forty")
    rows = [
        {
            "symbol": symbol,
            "session": session,
            "open": 10.0 + n,
            "high": 11.0 + n,
            "low": 9.0 + n,
            "close": 10.5 + n,
            "volume": 1e3,
        }
        for symbol in SYMBOLS
        for n, session in enumerate(SESSIONS)
        if session in set(traded(symbol))
    ]
    pl.DataFrame(rows).write_parquet(folder / BARS_FILE)
    (folder / ACTIONS_FILE).write_text("symbol,session,type,value\n")
    listed = "".join(f"{s},{1000 + n},{s} Works,NYSE,{100 + n},0,,,2020-01-02,\n" for n, s in enumerate(SYMBOLS))
    header = "symbol,cik,name,exchange,con_id,share_class,industry,category,valid_from,valid_to\n"
    (folder / SECURITIES_FILE).write_text(header + listed)
    clock = SampleClock(folder / "clock")
    clock.set(EVENING)
    return Gateway(folder, clock)


@pytest.fixture
def wire(market: Gateway) -> Iterator[Wire]:
    market.clock.set(EVENING)
    with market.serving(state_path=None) as port:
        yield Wire(port)


def shares(symbols=SYMBOLS) -> pl.DataFrame:
    rows = [(1000 + SYMBOLS.index(s), s, 100 + SYMBOLS.index(s), date(2020, 1, 2), date.max) for s in symbols]
    names = {"security_id": pl.Int64, "symbol": pl.String, "con_id": pl.Int64, "valid_from": pl.Date, "valid_to": pl.Date}
    return pl.DataFrame(rows, schema=names, orient="row")


def store_in(folder: Path) -> FileStore:
    return FileStore(folder, XNYS)


def held(store: FileStore) -> Held:
    now = datetime(2030, 1, 1, tzinfo=UTC)
    return Held(store.read(BARS, as_of=now), store.read(ACTIONS, as_of=now), store.absent(BARS))


def collecting(
    store: FileStore, folder: Path, port: int, *, sessions=SESSIONS, symbols=SYMBOLS, pace=FAST, **more
) -> Iterator[Batch]:
    """What a collection brings, each batch kept before the next is asked for."""
    params = {"port": port, "account": ACCOUNT, "actions_path": folder / ACTIONS_FILE, "pace": pace, **more}
    collector = IbkrBars(IbkrBars.Params(**params), XNYS).against(held(store))
    for batch in collector.collect(shares(symbols), sessions[0], sessions[-1]):
        store.append(batch, EVENING.astimezone(UTC))
        yield batch


def kept(store: FileStore) -> dict[int, list[date]]:
    rows = held(store).bars.group_by("security_id", maintain_order=True).agg("session")
    return {security: sorted(days) for security, days in rows.iter_rows()}


EVERYTHING = {1000 + n: traded(symbol) for n, symbol in enumerate(SYMBOLS)}


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(k=st.integers(0, 40), in_flight=st.integers(1, 5))
def test_a_collection_that_ended_after_k_shares_asks_for_the_other_ones_alone(market, wire, tmp_path_factory, k, in_flight):
    store = store_in(tmp_path_factory.mktemp("store"))
    with through(wire) as port:
        had = list(islice(collecting(store, market.folder, port, requests_in_flight=in_flight), k))
        done = {batch.rows["security_id"][0] for batch in had}
        assert len(done) == k and set(kept(store)) == done
        wire.history.clear()
        rest = list(collecting(store, market.folder, port))
        assert sorted(wire.history) == sorted(s for n, s in enumerate(SYMBOLS) if 1000 + n not in done)
        assert len(rest) == 40 - k and kept(store) == EVERYTHING
        wire.history.clear()
        connections = wire.connections
        assert list(collecting(store, market.folder, port)) == []
        assert (wire.history, wire.connections) == ([], connections)  # late and halted shares are not asked for again either


def test_what_was_stored_when_the_process_was_killed_is_not_asked_for_again(market, wire, tmp_path):
    script = f"""
from pathlib import Path
from tests.ibkr.test_ibkr_history import collecting, store_in
for batch in collecting(store_in(Path({str(tmp_path / "store")!r})), Path({str(market.folder)!r}), PORT, pace={{"per_second": 20}}):
    print(batch.rows["security_id"][0], flush=True)
"""
    with through(wire) as port:
        command = [sys.executable, "-c", script.replace("PORT", str(port))]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2])
        assert process.stdout is not None
        told = [int(process.stdout.readline()) for _ in range(9)]
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        store = store_in(tmp_path / "store")
        done = set(kept(store))
        assert set(told) <= done and len(done) < 40
        wire.history.clear()
        list(collecting(store, market.folder, port))
        assert sorted(wire.history) == sorted(s for n, s in enumerate(SYMBOLS) if 1000 + n not in done)
        assert kept(store) == EVERYTHING


def test_increments_ask_for_few_days(market, wire, tmp_path):
    store = store_in(tmp_path)
    with through(wire) as port:
        list(collecting(store, market.folder, port, sessions=SESSIONS[:-2], symbols=SYMBOLS[:3]))
        assert set(wire.durations) == {f"{len(SESSIONS) - 1} D"}
        wire.durations.clear()
        list(collecting(store, market.folder, port, sessions=SESSIONS, symbols=SYMBOLS[:3]))
    assert wire.durations == ["8 D"] * 3  # two new sessions, five stored ones to compare with, and one to spare
    assert kept(store) == {1000 + n: traded(SYMBOLS[n]) for n in range(3)}


def test_a_session_whose_bar_has_not_come_yet_is_asked_for_again(market, wire, tmp_path):
    store = store_in(tmp_path)
    with through(wire) as port:
        market.clock.set(at(SESSIONS[-1], 15, 59))
        list(collecting(store, market.folder, port, symbols=SYMBOLS[:1]))
        assert kept(store) == {1000: SESSIONS[:-1]}  # the bar of the running session is dropped
        market.clock.set(EVENING)
        list(collecting(store, market.folder, port, symbols=SYMBOLS[:1]))
    assert kept(store) == {1000: SESSIONS}
    assert store.absent(BARS).is_empty()


def test_a_connection_that_breaks_on_the_way_is_made_again_and_only_the_rest_is_asked_for(market, wire, tmp_path):
    store = store_in(tmp_path)

    def cut_at_the_fifteenth(fields):
        if fields[0] == HISTORY and len(wire.history) == 15:
            raise Cut

    wire.on_request = cut_at_the_fifteenth
    with through(wire) as port:
        list(collecting(store, market.folder, port, requests_in_flight=1))
    assert wire.connections == 2
    assert len(wire.history) == 41 and len(set(wire.history)) == 40
    assert kept(store) == EVERYTHING


def test_a_gateway_that_stays_away_ends_the_collection_with_what_came_and_how_much(market, wire, tmp_path):
    store = store_in(tmp_path)

    def gone(fields):
        if fields[0] == HISTORY and len(wire.history) > 5:
            raise Cut

    wire.on_request = gone
    with through(wire) as port, pytest.raises(DataError, match=r"broke.*5 of 40 requests were answered\. What came is kept"):
        list(collecting(store, market.folder, port, requests_in_flight=1))
    assert len(kept(store)) == 5


def test_the_identical_request_waits_its_time_after_a_break(market, wire, tmp_path):
    def cut_once(fields):
        if fields[0] == HISTORY and len(wire.history) == 1:
            raise Cut

    wire.on_request = cut_once
    began = time.monotonic()
    with through(wire) as port:
        list(collecting(store_in(tmp_path), market.folder, port, symbols=SYMBOLS[:1], pace={"repeat_after_s": 2.5}))
    assert wire.history == [SYMBOLS[0]] * 2
    assert time.monotonic() - began >= 2.5


def test_requests_are_spread_over_time(market, wire, tmp_path):
    began = time.monotonic()
    with through(wire) as port:
        list(collecting(store_in(tmp_path), market.folder, port, symbols=SYMBOLS[:11], pace={"per_second": 10}))
    assert time.monotonic() - began >= 1.0


@pytest.mark.parametrize("code", [162, 420])
def test_after_a_pacing_violation_everybody_waits_and_the_request_is_made_again(market, wire, tmp_path, code, caplog):
    moments = []

    def violated_once(fields):
        if fields[0] != HISTORY:
            return None
        moments.append(time.monotonic())
        text = "Historical Market Data Service error message:Historical data request pacing violation"
        return refused(fields[1], code, text) if len(moments) == 1 else None

    wire.on_request = violated_once
    with through(wire) as port:
        pace = FAST | {"pause_s": 0.6}
        list(collecting(store_in(tmp_path), market.folder, port, symbols=SYMBOLS[:2], pace=pace, requests_in_flight=1))
    assert wire.history == [SYMBOLS[0], SYMBOLS[1], SYMBOLS[0]]
    assert moments[1] - moments[0] >= 0.5
    assert "wants fewer requests" in caplog.text


def test_a_pacing_violation_without_end_is_a_failure_that_keeps_what_came(market, wire, tmp_path):
    store = store_in(tmp_path)

    def violated(fields):
        text = "Historical Market Data Service error message:Historical data request pacing violation"
        return refused(fields[1], 162, text) if fields[0] == HISTORY and fields[3] == SYMBOLS[1] else None

    wire.on_request = violated
    pace = FAST | {"pause_s": 0, "attempts": 3}
    with through(wire) as port, pytest.raises(DataError, match=r"refused S01 3 times .* 1 of 2 requests were answered"):
        list(collecting(store, market.folder, port, symbols=SYMBOLS[:2], pace=pace, requests_in_flight=1))
    assert wire.history.count(SYMBOLS[1]) == 3
    assert kept(store) == {1000: SESSIONS}


REFUSALS = [
    (162, "Historical Market Data Service error message:HMDS query returned no data: S00@SMART Trades", "ibkr_no_data"),
    (162, "Historical Market Data Service error message:No market data permissions for NYSE STK", "ibkr_no_permission"),
    (354, "Requested market data is not subscribed.", "ibkr_no_permission"),
    (162, "Historical Market Data Service error message:something new", "ibkr_162"),
    (200, "No security definition has been found for the request", "ibkr_200"),
]


@pytest.mark.parametrize(("code", "text", "named"), REFUSALS)
def test_a_share_that_is_refused_is_quarantined_with_the_reason_and_the_others_go_on(market, wire, tmp_path, code, text, named):
    store = store_in(tmp_path)
    wire.on_request = lambda fields: (
        refused(fields[1], code, text) if fields[0] == HISTORY and fields[3] == SYMBOLS[0] else None
    )
    with through(wire) as port:
        list(collecting(store, market.folder, port, symbols=SYMBOLS[:3]))
    assert store.quarantined().select("rule", "reason").rows() == [(named, text)]
    assert set(kept(store)) == {1001, 1002}
    assert store.absent(BARS).is_empty()  # a refusal is no answer: it is asked for again


def test_a_second_session_of_the_login_ends_the_collection(market, wire, tmp_path):
    text = "Historical Market Data Service error message:Trading TWS session is connected from a different IP address"
    wire.on_request = lambda fields: refused(fields[1], 162, text) if fields[0] == HISTORY else None
    with through(wire) as port, pytest.raises(DataError, match="signed in somewhere else as well"):
        list(collecting(store_in(tmp_path), market.folder, port, requests_in_flight=1))
    assert len(wire.history) == 1


def test_a_query_that_the_gateway_cancelled_is_made_again():
    error = BrokerError(162, "Historical Market Data Service error message:API historical data query cancelled: 7")
    assert refusal(error) is Refusal.CANCELLED
    assert rule(error) == "ibkr_cancelled"


def test_progress_is_told(market, wire, tmp_path, caplog):
    caplog.set_level("INFO", "tradebot_core")
    with through(wire) as port:
        list(collecting(store_in(tmp_path), market.folder, port, symbols=SYMBOLS[:3]))
    told = [record.getMessage() for record in caplog.records if record.name.startswith("tradebot_core.collectors")]
    assert told == [
        "IBKR: bars of 3 of 3 shares are asked for; the others are complete.",
        f"IBKR: 3 of 3 shares, {3 * len(SESSIONS)} daily bars.",
    ]
