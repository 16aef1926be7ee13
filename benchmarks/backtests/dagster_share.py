"""What Dagster takes of a whole backtest: `python -m benchmarks.backtests.dagster_share [--years 20]`.

The backfill of the reference strategy's graph over every session of so many years, in one run, with ops that do nothing
(empty_graph.py): process, imports, code location, run, checks, and two events in the log for each asset and session.
"""

import argparse
import json
import tempfile
from datetime import date
from pathlib import Path

from benchmarks.backtests.__main__ import settings
from benchmarks.backtests.empty_graph import run_apart
from tradebot_core.calendar import xnys

LAST = date(2024, 12, 31)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--years", type=int, default=20)
    sessions = xnys().sessions(date(LAST.year - parser.parse_args().years + 1, 1, 1), LAST)
    with tempfile.TemporaryDirectory(prefix="dagster_share_") as made:
        store, config = Path(made) / "store", Path(made) / "config.yaml"
        store.mkdir()
        (store / "universe.csv").write_text("symbol,from,to\nA,2005-01-03,\n")
        config.write_text(json.dumps(settings(store, sessions[0])))
        cost = run_apart(config, sessions[0].isoformat(), sessions[-1].isoformat(), empty=True)
        log = sum(file.stat().st_size for file in (store / "dagster").rglob("*") if file.is_file()) / 2**20
    print("| sessions | wall s | cpu s | peak MiB | MiB of event log |\n|---|---|---|---|---|")
    print(f"| {len(sessions):,} | {cost.wall_s:.1f} | {cost.cpu_s:.1f} | {cost.peak_mib:.0f} | {log:.0f} |")


if __name__ == "__main__":
    main()
