"""How long the code location takes to load: `python -m benchmarks.backtests.loading [--strategies 20]`.

A process as Dagster starts one: imports, the definitions with every asset, job, schedule and sensor resolved, and the answer that the
webserver asks for (dagster._grpc.server). Beside it the same of a project that is empty. Each is started afresh so many times, in
turns; the best counts, for what else runs on the machine only adds.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
FIRST_SESSION = "2005-01-03"
CONFIG = """\
mode: paper
data_store: {{path: {folder}/store}}
first_session: {first}
ibkr: {{host: 127.0.0.1, port: 4002, client_id: 1, account: DU0000001}}
collectors:
  - name: contract_details
    class_path: tradebot_core.collectors.ibkr_contracts.IbkrContracts
    params: {{account: DU0000001, ciks_path: {folder}/ciks.csv}}
  - name: price_bars
    class_path: tradebot_core.collectors.ibkr_bars.IbkrBars
    params: {{account: DU0000001}}
  - name: corporate_actions
    class_path: tradebot_core.collectors.file_actions.FileActions
    params: {{path: {folder}/actions.csv}}
  - name: fundamentals
    class_path: tradebot_core.collectors.edgar.EdgarFacts
    params: {{path: {folder}/companyfacts.zip}}
strategies:
"""
STRATEGY = """\
  - name: strategy_{n}
    class_path: tradebot_core.strategies.{module}
    allocated_capital: 50000
"""
KINDS = ("value_investor.ValueInvestor", "quality_growth.QualityGrowth")
# What the code server does, from dagster._grpc.server: LoadedRepositories when it starts, the rest for the webserver.
LOAD = """\
import sys
from dagster._core.remote_representation.external_data import RepositorySnap
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster._grpc.server import LoadedRepositories
from dagster._serdes import serialize_value
loaded = LoadedRepositories(LoadableTargetOrigin(module_name=sys.argv[1]), None, [], None)
(repository,) = loaded.definitions_by_name.values()
answer = serialize_value(RepositorySnap.from_def(repository, defer_snapshots=True))
print(len(list(repository.asset_graph.get_all_asset_keys())), len(repository.get_all_jobs()), len(answer))
"""


@dataclass(frozen=True)
class Loaded:
    wall_s: float
    cpu_s: float
    peak_mib: float
    holds: str


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--strategies", type=int, default=20)
    parser.add_argument("--times", type=int, default=7)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="loading_") as made:
        folder = Path(made)
        config = folder / "config.yaml"
        blocks = [STRATEGY.format(n=n, module=KINDS[n % len(KINDS)]) for n in range(given.strategies)]
        config.write_text(CONFIG.format(folder=folder, first=FIRST_SESSION) + "".join(blocks))
        (folder / "empty_project.py").write_text("import dagster as dg\n\ndefs = dg.Definitions()\n")
        turns = [(load("empty_project", config), load("tradebot_dagster.definitions", config)) for _ in range(given.times)]
    print("| | wall s | cpu s | peak MiB | assets, jobs, bytes of the answer |\n|---|---|---|---|---|")
    for name, rounds in zip(("an empty project", f"{given.strategies} strategies"), zip(*turns, strict=True), strict=True):
        best = min(rounds, key=lambda loaded: loaded.wall_s)
        cpu = min(loaded.cpu_s for loaded in rounds)
        print(f"| {name} | {best.wall_s:.2f} | {cpu:.2f} | {best.peak_mib:.0f} | {best.holds} |")


def load(module: str, config: Path) -> Loaded:
    environment = {
        **os.environ,
        "TRADEBOT_CONFIG": str(config),
        "PYTHONPATH": f"{config.parent}:{ROOT}",
        "PYTHONWARNINGS": "ignore",
    }
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # without compiled files Dagster alone takes two seconds more
    began = time.perf_counter()
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen([sys.executable, "-c", LOAD, module], env=environment, stdout=said, stderr=subprocess.STDOUT)
        _, status, used = os.wait4(process.pid, 0)
        wall_s = time.perf_counter() - began
        said.seek(0)
        answer = said.read().strip()
    if status:
        sys.exit(f"{module} did not load:\n{answer}")
    return Loaded(wall_s, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024, answer)


if __name__ == "__main__":
    main()
