"""The code location: what `dagster dev` loads. TRADEBOT_CONFIG names the configuration; without it, config.yaml beside the package."""

import os
from pathlib import Path

import dagster as dg

from tradebot_dagster.defs import definitions_of
from tradebot_dagster.resources import tradebot_of


@dg.definitions
def defs() -> dg.Definitions:
    beside = Path(__file__).resolve().parent.parent / "config.yaml"
    return definitions_of(tradebot_of(Path(os.environ.get("TRADEBOT_CONFIG") or beside)))
