"""The code location: what `dagster dev` loads. TRADEBOT_CONFIG names the configuration; without it, see config_file."""

import gc
import os
from functools import cache
from pathlib import Path

import dagster as dg

from tradebot_dagster.config_file import default_config


@dg.definitions
def defs() -> dg.Definitions:
    return _of(Path(os.environ.get("TRADEBOT_CONFIG") or default_config()))


@cache  # Dagster asks twice while it loads
def _of(config: Path) -> dg.Definitions:
    # Modules and definitions stay for the life of the process: the garbage collector need not go through them again and again, which
    # takes a sixth of the time of loading.
    gc.freeze()
    from tradebot_dagster.defs import definitions_of  # noqa: PLC0415  after Dagster's own modules are frozen
    from tradebot_dagster.resources import tradebot_of  # noqa: PLC0415

    made = definitions_of(tradebot_of(config))
    gc.freeze()
    return made
