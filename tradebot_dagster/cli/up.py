"""`tradebot up`: the Dagster UI and daemon of this configuration, in the foreground."""

import os
import subprocess
from pathlib import Path

import click

from tradebot_core.errors import ConfigurationError
from tradebot_core.wiring import load
from tradebot_dagster.cli.doctor import ACCOUNT, FAIL, examine
from tradebot_dagster.cli.output import progress
from tradebot_dagster.config_file import PROJECT_ROOT
from tradebot_dagster.serving import (
    dagster_command,
    dagster_environment,
    require_free,
    simulated_broker,
    trades_with_simulated_broker,
    webserver_url,
)


@click.command()
@click.option(
    "--port", type=click.IntRange(0, 65535), default=3000, show_default=True, help="Port of the Dagster UI on 127.0.0.1."
)
@click.pass_obj
def up(config_path: Path, port: int) -> None:
    """Check the set-up, then start the Dagster UI and daemon on 127.0.0.1 and stay until Ctrl-C.

    \b
    Example: tradebot up --config my.yaml --port 3001
    """
    bot = load(config_path)
    require_free(port)
    failed = [finding for finding in examine(config_path) if finding.level == FAIL]
    for finding in failed:
        if finding.what == ACCOUNT or not finding.what.startswith("ibkr "):  # a gateway may be started and mended later
            raise ConfigurationError(finding.text, finding.mend)
        progress(f"{finding.text} {finding.mend}")
    progress(f"Dagster UI and daemon: {webserver_url(port)}  (Ctrl-C ends them)")
    command, environment = dagster_command(port), dagster_environment(bot.config, config_path)
    if trades_with_simulated_broker(bot.config):
        with simulated_broker(bot.config, config_path, bot.config.data_store.path / "dagster.log"):
            subprocess.run(command, cwd=PROJECT_ROOT, env=environment, check=False)
        return
    os.chdir(PROJECT_ROOT)
    os.execve(command[0], command, environment)
