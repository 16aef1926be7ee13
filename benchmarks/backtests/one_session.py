"""What one more session costs: `python -m benchmarks.backtests.one_session 3000x2 3000x20 --reference FOLDER [--folder MADE]`.

For each size (names x years) a market of the reference and a backtest of all but its last session; then the run that a schedule makes of
that session every evening (layers, backtest with its look-ahead gate, figures), and the same graph with ops that do nothing
(empty_graph.py) on the same event log. Each so many times, in turns; the least counts. `--folder` keeps what was made, for another time.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

import polars as pl

from benchmarks.backtests.__main__ import REFERENCE, run, settings
from benchmarks.backtests.empty_graph import STRATEGY, run_apart
from benchmarks.backtests.market import fill


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sizes", nargs="+")
    parser.add_argument("--reference", type=Path, default=REFERENCE)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--times", type=int, default=3)
    given = parser.parse_args()
    print("| names x years in the store | | wall s | cpu s | peak MiB | cpu s beyond |\n|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory(prefix="one_session_") as made:
        for size in given.sizes:
            measure(size, (given.folder or Path(made)) / size, given.reference, given.times)


def measure(size: str, folder: Path, reference: Path, times: int) -> None:
    config, last = prepared(size, folder, reference)
    turns = [(run_apart(config, last, last, empty=True), run_apart(config, last, last, empty=False)) for _ in range(times)]
    empty, ours = (min(costs, key=lambda cost: cost.cpu_s) for costs in zip(*turns, strict=True))
    for name, cost, beyond in (("empty", empty, 0.0), ("one more session", ours, ours.cpu_s - empty.cpu_s)):
        print(f"| {size} | {name} | {cost.wall_s:.1f} | {cost.cpu_s:.1f} | {cost.peak_mib:.0f} | {beyond:.1f} |", flush=True)


def prepared(size: str, folder: Path, reference: Path) -> tuple[Path, str]:
    """The configuration, and the session that is left to do."""
    config, market, store = folder / "config.yaml", folder / "market", folder / "store"
    days = pl.scan_parquet(market / "bars" / "*.parquet").select("session").unique().sort("session")
    if not config.exists():
        run([sys.executable, str(reference / "gen.py"), size, str(market)])
        fill(store, market)
        sessions = days.collect()["session"].to_list()
        written = json.dumps(settings(store, sessions[0]))
        (folder / "unfinished.yaml").write_text(written)
        range_of = ["--start", sessions[0].isoformat(), "--end", sessions[-2].isoformat()]
        tradebot = str(Path(sys.executable).with_name("tradebot"))
        run([tradebot, "--config", str(folder / "unfinished.yaml"), "backtest", STRATEGY, *range_of], folder)
        (folder / "unfinished.yaml").rename(config)
    return config, days.collect()["session"].to_list()[-1].isoformat()


if __name__ == "__main__":
    main()
