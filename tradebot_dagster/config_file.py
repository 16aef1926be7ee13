"""Which configuration is used when none is named: config.yaml of the current folder, else the one beside the package."""

from pathlib import Path

PROJECT_ROOT = Path(__file__).resolve().parent.parent
_NAME = "config.yaml"


def default_config() -> Path:
    here, beside = Path(_NAME), PROJECT_ROOT / _NAME
    return beside if beside.is_file() and not here.is_file() else here
