"""`tradebot halt` and `tradebot resume`: the kill switch.

It needs the ledger and the machine's time, and nothing that may be broken when it is wanted: no strategy, collector or sample
clock is made, and of a configuration that is refused only the place of the store is read.
"""

from pathlib import Path

import click
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from tradebot_core.calendar import xnys
from tradebot_core.clock import SystemClock
from tradebot_core.config import DataStoreSettings, load_config, resolve_path
from tradebot_core.errors import ConfigurationError, UsageError
from tradebot_core.interfaces import Ledger
from tradebot_core.stores.file_store import FileStore
from tradebot_dagster.cli.output import emit


@click.command()
@click.argument("reason")
@click.pass_obj
def halt(config_path: Path, reason: str) -> None:
    """Stop all sending of orders at once, for every strategy, until `tradebot resume`.

    Orders that are at the broker already stay there; decisions and records go on.

    \b
    Example: tradebot halt "the prices of today look wrong"
    """
    if not reason.strip():
        raise UsageError("A halt needs its reason.", 'Write it in quotes: tradebot halt "prices look wrong".')
    _ledger(config_path).halt(reason.strip(), SystemClock().now())
    emit({"halted": reason.strip()}, f"Halted: {reason.strip()}. No order is sent until `tradebot resume`.")


@click.command()
@click.pass_obj
def resume(config_path: Path) -> None:
    """End a halt. Orders of sessions that have passed meanwhile are not sent.

    \b
    Example: tradebot resume
    """
    ledger = _ledger(config_path)
    before = ledger.halted()
    if before is not None:
        ledger.resume(SystemClock().now())
    text = f"Trading goes on; it was halted: {before}." if before is not None else "Trading was not halted."
    emit({"halted": None, "was_halted": before}, text)


def _ledger(config_path: Path) -> Ledger:
    try:
        config = load_config(config_path)
        path, fictional = config.data_store.path, config.sample_market is not None
    except ConfigurationError as refusal:
        found = _place_of_store(config_path)
        if found is None:
            raise
        path, fictional = found
        click.echo(f"{refusal}\nThe configuration is refused; the switch is that of the store {path}.", err=True)
    return FileStore(path, xnys(), fictional).ledger


def _place_of_store(config_path: Path) -> tuple[Path, bool] | None:
    """From a configuration that is refused: where its store is, if there is one, and whether it is the sample market's."""
    try:
        document = YAML(typ="safe", pure=True).load(config_path.read_text(encoding="utf-8"))
        written = (document.get("data_store") or {}).get("path", DataStoreSettings().path)
        path = resolve_path(written, config_path.resolve().parent)
        return (path, document.get("sample_market") is not None) if (path / "holds").is_file() else None
    except (OSError, ValueError, AttributeError, YAMLError, ConfigurationError):
        return None
