"""Daily bars of many shares from the simulated TWS, over a socket, into a store: the time of our side and of the simulator; then the same
again (nothing is asked), one more session of each, and what it costs to know what is held.

    .venv/bin/python benchmarks/ibkr_bars.py --shares 500 --years 10 --per-second 1000
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import polars as pl

from tradebot_core.calendar import xnys
from tradebot_core.clock import FixedClock
from tradebot_core.collectors.ibkr_bars import IbkrBars
from tradebot_core.interfaces import Held
from tradebot_core.model.tables import ACTIONS, BARS
from tradebot_core.simulation.market_data import ACTIONS_FILE, BARS_FILE, SECURITIES_FILE, MarketData
from tradebot_core.simulation.tws import SimulatedTws, serve
from tradebot_core.stores.file_store import FileStore

XNYS = xnys()
LAST = date(2026, 11, 20)
NOW = XNYS.closes_at(LAST) + timedelta(hours=2)
ACCOUNT = "DU0000001"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--shares", type=int, default=500)
    parser.add_argument("--years", type=int, default=10)
    parser.add_argument("--per-second", type=float, default=1000, help="the pace; 2 is the default of the collector")
    parser.add_argument("--port", type=int, default=17497)
    parser.add_argument("--serve", type=Path)
    given = parser.parse_args()
    if given.serve:
        serve(SimulatedTws(MarketData.read(given.serve), FixedClock(NOW), ACCOUNT), port=given.port)
        return
    sessions = list(XNYS.sessions(date(LAST.year - given.years, LAST.month, LAST.day), LAST))
    with tempfile.TemporaryDirectory() as folder:
        measure(Path(folder), sessions, given)


def measure(folder: Path, sessions: list[date], given: argparse.Namespace) -> None:
    make_market(folder, given.shares, sessions)
    command = [sys.executable, __file__, "--serve", str(folder), "--port", str(given.port)]
    server = subprocess.Popen(command)
    try:
        wait_for(given.port)
        store = FileStore(folder / "store", XNYS)
        print(f"{given.shares} shares x {len(sessions)} sessions, at most {given.per_second:g} requests a second")
        collect("all but the last session", store, folder, sessions[:-1], given)
        collect("the same again", store, folder, sessions[:-1], given)
        collect("one more session, of ten years", store, folder, sessions, given)
    finally:
        server.terminate()
        server.wait()


def collect(what: str, store: FileStore, folder: Path, sessions: list[date], given: argparse.Namespace) -> None:
    before, began = peak(), time.monotonic()
    held = read_held(store, sessions)
    read = time.monotonic() - began
    params = {"port": given.port, "account": ACCOUNT, "actions_path": folder / ACTIONS_FILE}
    collector = IbkrBars(IbkrBars.Params(**params, pace={"per_second": given.per_second}), XNYS).against(held)
    batches = rows = 0
    storing = 0.0
    cpu = time.process_time()
    for batch in collector.collect(shares(given.shares), sessions[0], sessions[-1]):
        at = time.monotonic()
        rows += store.append(batch, NOW)
        storing += time.monotonic() - at
        batches += 1
    print(
        f"{what}: {time.monotonic() - began:.1f} s ({time.process_time() - cpu:.1f} s of CPU), {storing:.1f} s of it in the store; "
        f"{batches} requests, {rows:,} new bars; held {held.bars.height:,} bars, {held.bars.estimated_size() / 2**20:.0f} MiB, "
        f"read in {read:.2f} s; peak memory {peak():.0f} MiB (before: {before:.0f})"
    )


def read_held(store: FileStore, sessions: list[date]) -> Held:
    bars = store.read(BARS, as_of=NOW, start=XNYS.offset(sessions[0], -IbkrBars.overlap), end=sessions[-1])
    return Held(bars, store.read(ACTIONS, as_of=NOW), store.absent(BARS))


def shares(count: int) -> pl.DataFrame:
    rows = [(1000 + n, f"S{n:04d}", 100 + n, date(2000, 1, 3), date.max) for n in range(count)]
    names = {"security_id": pl.Int64, "symbol": pl.String, "con_id": pl.Int64, "valid_from": pl.Date, "valid_to": pl.Date}
    return pl.DataFrame(rows, schema=names, orient="row")


def make_market(folder: Path, count: int, sessions: list[date]) -> None:
    listed = shares(count)
    walk = np.random.default_rng(1).normal(0.0003, 0.01, (count, len(sessions))).cumsum(axis=1)
    close = (50 * np.exp(walk)).round(2).ravel()
    bars = (
        listed.select("symbol")
        .join(pl.DataFrame({"session": sessions}), how="cross")
        .with_columns(
            open=pl.Series(close), high=pl.Series(close) + 0.5, low=pl.Series(close) - 0.01, close=pl.Series(close), volume=1e6
        )
    )
    bars.write_parquet(folder / BARS_FILE)
    (folder / ACTIONS_FILE).write_text("symbol,session,type,value\n")
    lines = [
        f"{row['symbol']},{row['security_id']},{row['symbol']},NYSE,{row['con_id']},0,,,2000-01-03,"
        for row in listed.to_dicts()
    ]
    header = "symbol,cik,name,exchange,con_id,share_class,industry,category,valid_from,valid_to"
    (folder / SECURITIES_FILE).write_text("\n".join([header, *lines]) + "\n")


def wait_for(port: int) -> None:
    import socket  # noqa: PLC0415

    until = time.monotonic() + 120
    while time.monotonic() < until:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.2)
    raise SystemExit("the simulated TWS did not start")


def peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
