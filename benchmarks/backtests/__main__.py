"""The reference strategy over the reference market, by the reference implementation and by us, in one run on one machine.

    .venv/bin/python -m benchmarks.backtests S M --reference FOLDER

FOLDER (default: TRADEBOT_REFERENCE_BENCH, else ../shared/bench) holds the reference: gen.py makes a market of a size, ref_polars.py
is the hand-tuned implementation, peer_NAME.py the same strategy in a library that people use, which --peer NAME=PYTHON runs with the
interpreter of an environment that has it. Ours is `tradebot backtest`: the Dagster backfill of every session, with its whole audit
trail. What is made is deleted at the end. See README.md in the folder above.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import polars as pl

from benchmarks.backtests.market import fill
from tradebot_core.config import QualitySettings

REFERENCE = Path(os.environ.get("TRADEBOT_REFERENCE_BENCH", Path(__file__).parents[3] / "shared" / "bench"))
WIDE = 1_000_000_000  # a limit that limits nothing, as in the reference


@dataclass(frozen=True)
class Taken:
    wall_s: float
    cpu_s: float  # of the process and those it started
    peak_mib: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("sizes", nargs="+", help="S, M, L, XL or NAMESxYEARS")
    parser.add_argument("--reference", type=Path, default=REFERENCE)
    parser.add_argument("--peer", action="append", default=[], metavar="NAME=PYTHON", help="beside it, as often as wanted")
    parser.add_argument("--folder", type=Path, help="where markets and stores are made  [default: a temporary folder]")
    args = parser.parse_args()
    if not (args.reference / "ref_polars.py").exists():
        parser.error(f"{args.reference} has no ref_polars.py: give --reference, the folder of the reference workload.")
    print("| size | | wall s | cpu s | peak MiB | cpu against the reference |\n|---|---|---|---|---|---|")
    for size in args.sizes:
        with tempfile.TemporaryDirectory(dir=args.folder, prefix="backtests_") as made:
            measure(size, Path(made), args.reference, [peer.split("=", 1) for peer in args.peer])


def measure(size: str, folder: Path, reference: Path, peers: Sequence[Sequence[str]]) -> None:
    market, store = folder / "market", folder / "store"
    run([sys.executable, str(reference / "gen.py"), size, str(market)])
    fill(store, market)
    sessions = pl.scan_parquet(market / "bars" / "*.parquet").select(first=pl.min("session"), last=pl.max("session")).collect()
    first, last = sessions.row(0)
    config = folder / "config.yaml"
    config.write_text(json.dumps(settings(store, first)))  # JSON is YAML
    theirs = run([sys.executable, str(reference / "ref_polars.py"), str(market), str(folder / "reference")])
    days = ["--start", first.isoformat(), "--end", last.isoformat()]
    ours = run([str(Path(sys.executable).with_name("tradebot")), "--config", str(config), "backtest", "qv20", *days], folder)
    # Zipline reads prices from a bundle of its own, which is made first.
    steps = [(name, python, step) for name, python in peers for step in (["ingest", "run"] if name == "zipline" else [""])]
    others = [
        (
            f"{name} {step}".strip(),
            run([python, str(reference / f"peer_{name}.py"), *filter(None, [step]), str(market)], cwd=folder),
        )
        for name, python, step in steps
    ]
    for name, taken in (("reference, polars", theirs), ("tradebot backtest", ours), *others):
        ratio = f"{taken.cpu_s / theirs.cpu_s:.1f}"
        print(f"| {size} | {name} | {taken.wall_s:.1f} | {taken.cpu_s:.1f} | {taken.peak_mib:.0f} | {ratio} |", flush=True)


def settings(store: Path, first: date) -> dict[str, object]:
    limits = ("max_order_volume_share", "max_position_weight", "max_sector_weight", "max_drawdown")
    orders = ("max_orders_per_session", "max_account_orders_per_day", "max_unfilled_orders")
    return {
        "data_store": {"path": str(store)},
        "first_session": first.isoformat(),
        "universe": {"file": str(store / "universe.csv")},
        "strategies": [
            {
                "name": "qv20",
                "class_path": "benchmarks.backtests.qv20.QV20",
                "allocated_capital": 1_000_000,
                "orders": "market_open",
            }
        ],
        "allowed_packages": ["tradebot_core", "benchmarks"],
        "risk": {
            "max_order_notional": WIDE,
            **dict.fromkeys(limits, 1.0),
            **dict.fromkeys(orders, 1000),
            "spend_proceeds": True,
            "max_price_jump": 100.0,
        },
        "quality": dict.fromkeys(QualitySettings.model_fields, "off"),
        "costs": {"commission_maximum_share": 1.0, "regulatory_fees": False},
    }


def run(command: list[str], home: Path | None = None, cwd: Path | None = None) -> Taken:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    if home is not None:
        environment["DAGSTER_HOME"] = str(home / "dagster")
        Path(environment["DAGSTER_HOME"]).mkdir()
    began = time.perf_counter()
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(command, env=environment, stdout=said, stderr=subprocess.STDOUT, cwd=cwd)
        _, status, used = os.wait4(process.pid, 0)  # of the process and those it waited for
        if status:
            said.seek(0)
            sys.exit(f"{' '.join(command)} ended with {status}:\n{said.read()}")
    return Taken(time.perf_counter() - began, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)


if __name__ == "__main__":
    main()
