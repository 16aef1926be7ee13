"""What of a configuration can still be used when the rest of it is refused: its store, and its place of trading."""

from dataclasses import dataclass
from pathlib import Path

import click

from tradebot_core.config import Config, load_config
from tradebot_core.errors import ConfigurationError

_STORE = ("data_store", "sample_market")
_TRADING = ("mode", "data_store", "sample_market", "ibkr", "costs")


@dataclass(frozen=True)
class Usable:
    config: Config
    can_trade: bool  # its mode and account can be read as well as its store

    @property
    def store(self) -> Path:
        return self.config.data_store.path


def usable(config_path: Path) -> Usable:
    """Says on stderr what is refused. Raises the ConfigurationError when not even an existing store is named."""
    try:
        return Usable(load_config(config_path), True)
    except ConfigurationError as error:
        refusal = error
    for blocks in (_TRADING, _STORE):
        try:
            config = load_config(config_path, blocks)
        except ConfigurationError:
            continue
        if (config.data_store.path / "holds").is_file():
            click.echo(f"{refusal}\nThe configuration is refused; the switch is that of {config.data_store.path}.", err=True)
            return Usable(config, blocks is _TRADING)
    raise refusal
