"""`tradebot worker`: a Celery worker that executes runs of the instance (docs/scale-out.md)."""

import os
import sys
from pathlib import Path

import click
from ruamel.yaml import YAML

from tradebot_core.config import load_config
from tradebot_core.errors import ConfigurationError
from tradebot_dagster.cli.output import progress
from tradebot_dagster.config_file import PROJECT_ROOT
from tradebot_dagster.queues import RESEARCH_QUEUE, TRADING_QUEUE
from tradebot_dagster.serving import dagster_environment


@click.command()
@click.option(
    "--trading", is_flag=True, help="Execute decisions and orders, and nothing else: one such worker, beside the ledger."
)
@click.option("--processes", type=click.IntRange(1, 64), default=1, show_default=True, help="Runs at a time.")
@click.pass_obj
def worker(config_path: Path, trading: bool, processes: int) -> None:
    """Execute runs of the instance until Ctrl-C, which lets the runs at hand end first.

    Start as many as you like, on every machine that sees the store under the same path. Needs an instance whose runs go to Celery.

    \b
    Example: tradebot worker --config my.yaml --processes 2
    """
    environment = dagster_environment(load_config(config_path), config_path)
    settings = YAML(typ="safe").load(Path(environment["DAGSTER_HOME"], "dagster.yaml").read_text(encoding="utf-8"))
    if "Celery" not in settings.get("run_launcher", {}).get("class", ""):
        raise ConfigurationError(
            "This configuration's runs do not go to Celery: there is nothing for a worker to do.",
            "Set dagster_settings: deploy/celery/dagster.yaml (docs/scale-out.md).",
        )
    queue = TRADING_QUEUE if trading else RESEARCH_QUEUE
    progress(f"Worker for the queue {queue}, runs at a time: {processes}  (Ctrl-C ends it)")
    os.chdir(PROJECT_ROOT)
    os.execve(sys.executable, worker_command(queue, processes), environment)


def worker_command(queue: str, processes: int) -> list[str]:
    """A process for each run, as Dagster has it: the configuration, the code and the memory of the run before are gone. And no run is
    taken before there is a process for it: it would wait here while another worker is idle."""
    celery = [sys.executable, "-m", "celery", "-A", "tradebot_dagster.celery_app", "worker"]
    name = f"{queue}-{os.getpid()}@%h"
    fixed = ["--pool", "prefork", "--max-tasks-per-child", "1", "--disable-prefetch", "--loglevel", "WARNING"]
    return [*celery, *fixed, "--queues", queue, "--concurrency", str(processes), "--hostname", name]
