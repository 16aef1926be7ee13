"""What a further variant costs: `python -m benchmarks.backtests.variants MARKET`, a folder of the reference market's Parquet files.

A strategy alone (its layers and its walk), then the same beside five and ten variants of its decide step, each in a process of
its own; CPU seconds of all threads, from the stored facts to the stored tables. Of two strategies: one that looks at the best twenty,
and the value investor, which gives a reason for each candidate that it does not buy.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

CONFIG = """\
data_store: {{path: {store}}}
first_session: {first}
universe: {{file: {store}/universe.csv}}
allowed_packages: [tradebot_core, benchmarks]
strategies:
  - name: best_ranked
    class_path: benchmarks.backtests.best_ranked.BestRanked
    allocated_capital: 1000000
  - name: value_investor
    class_path: tradebot_core.strategies.value_investor.ValueInvestor
    allocated_capital: 1000000
    params: {{max_positions: 20, min_dollar_volume: 1000000}}
"""
PARAMETER = {"best_ranked": "places", "value_investor": "max_positions"}
PLACES = (6, 8, 10, 12, 14, 16, 18, 22, 24, 26)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("market", type=Path)
    arguments.add_argument("--run", type=int, help=argparse.SUPPRESS)
    arguments.add_argument("--strategy", help=argparse.SUPPRESS)
    arguments.add_argument("--config", type=Path, help=argparse.SUPPRESS)
    given = arguments.parse_args()
    if given.run is not None:
        print(json.dumps(_swept(given.config, given.strategy, given.run)))
        return
    from benchmarks.backtests.market import fill  # noqa: PLC0415

    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "store"
        fill(store, given.market)
        config = Path(folder) / "config.yaml"
        config.write_text(CONFIG.format(store=store, first="2005-01-03"))
        for strategy in PARAMETER:
            for further in (0, 5, 10):
                command = [sys.executable, "-m", "benchmarks.backtests.variants", str(given.market), "--strategy", strategy]
                command += ["--run", str(further), "--config", str(config)]
                print(subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip(), flush=True)


def _swept(config: Path, strategy: str, further: int) -> dict[str, object]:
    from tradebot_core.model.tables import BARS  # noqa: PLC0415
    from tradebot_core.wiring import load  # noqa: PLC0415

    bot = load(config)
    days = bot.store.read_versions(BARS, as_of=bot.clock.now(), without=("open", "high", "low", "close", "volume"))["session"]
    sessions = bot.calendar.sessions(days.unique().sort()[25], days.max())
    variants = ["as_is", *(f"{PARAMETER[strategy]}={places}" for places in PLACES[:further])]
    names = [f"{strategy}@{variant}" for variant in variants]
    began, clock = time.process_time(), time.perf_counter()
    layers = bot.sweep(names, sessions)
    return {
        "strategy": strategy,
        "variants": len(names),
        "sessions": len(sessions),
        "cpu_s": round(time.process_time() - began, 1),
        "wall_s": round(time.perf_counter() - clock, 1),
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "fills": sum(bot.performance(name).trades for name in names),
        **layers,
    }


if __name__ == "__main__":
    main()
