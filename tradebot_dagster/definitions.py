"""The code location: what `dagster dev` loads. TRADEBOT_CONFIG names the configuration; without it, see config_file."""

import os
from pathlib import Path

import dagster as dg

from tradebot_dagster.config_file import default_config
from tradebot_dagster.defs import definitions_of
from tradebot_dagster.resources import tradebot_of


@dg.definitions
def defs() -> dg.Definitions:
    return definitions_of(tradebot_of(Path(os.environ.get("TRADEBOT_CONFIG") or default_config())))
