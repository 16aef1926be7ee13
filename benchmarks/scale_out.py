"""A sweep in one process, by one Celery worker and by two, on this machine: wall seconds, and that the results are the same.

    .venv/bin/python -m benchmarks.scale_out --variants 12 --start 2016-01-04

Needs the test environment: PostgreSQL and the broker are those of tests/scale_out.
"""

import argparse
import os
import shutil
import tempfile
import time
import warnings
from datetime import date
from pathlib import Path

warnings.simplefilter("ignore")

from tests.dagster_project.project import SAMPLE  # noqa: E402  Dagster announces its beta features when it is loaded
from tests.scale_out import servers  # noqa: E402
from tests.scale_out.cluster import cluster  # noqa: E402
from tradebot_core.simulation.sample_market import prepare  # noqa: E402
from tradebot_core.wiring import Tradebot, load  # noqa: E402
from tradebot_dagster.config_file import PROJECT_ROOT  # noqa: E402
from tradebot_dagster.defs.sweeps import launched  # noqa: E402

END = date(2024, 12, 31)
PATIENCE_S = 1800


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--variants", type=int, default=12)
    asked.add_argument("--start", type=date.fromisoformat, default=date(2021, 1, 4))
    given = asked.parse_args()
    names = [f"value_investor@max_positions={n + 2}" for n in range(given.variants)]
    with tempfile.TemporaryDirectory() as name, servers.postgres() as database, servers.broker() as broker:
        folder = Path(name)
        market = prepare(folder / "market").path
        here = _bot(folder, "here", market)
        for collector in here.collectors:
            here.collect(collector, given.start, END)
        sessions = here.calendar.sessions(given.start, END)
        for workers in (("one",), ("one", "two")):
            shutil.copytree(folder / "here", folder / f"by{len(workers)}")
        began = time.monotonic()
        here.sweep(names, sessions)
        print(f"{len(names)} variants, {len(sessions)} sessions; load {os.getloadavg()[0]:.1f}")
        print(f"in this process: {time.monotonic() - began:.1f} s")
        os.environ["TRADEBOT_CELERY_BROKER"] = broker
        for workers in (("one",), ("one", "two")):
            bot = _bot(folder, f"by{len(workers)}", market)
            os.environ["TRADEBOT_CONFIG"] = str(bot.config_path)
            os.environ["TRADEBOT_DAGSTER_POSTGRES"] = servers.new_database(database, f"by{len(workers)}")
            with cluster(bot.config_path, bot.config, folder, workers) as running:
                server, began = running.server, time.monotonic()
                launched(
                    names, sessions, len(workers), server.launch_run, lambda ids, s=server: s.wait_for_runs(ids, PATIENCE_S)
                )
                print(f"{len(workers)} workers: {time.monotonic() - began:.1f} s; load {os.getloadavg()[0]:.1f}")
            assert _results(bot) == _results(here), "the results differ"


def _bot(folder: Path, name: str, market: Path) -> Tradebot:
    path = folder / f"{name}.yaml"
    settings = f"dagster_settings: {PROJECT_ROOT}/deploy/celery/dagster.yaml\n"
    path.write_text(SAMPLE.format(store=folder / name, market=market).replace("2021-01-04", "2009-01-02") + settings)
    return load(path)


def _results(bot: Tradebot) -> dict[str, bytes]:
    results = bot.config.data_store.path / "results"
    return {str(path.relative_to(results)): path.read_bytes() for path in results.rglob("*") if path.is_file()}


if __name__ == "__main__":
    main()
