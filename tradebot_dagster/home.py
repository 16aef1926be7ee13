"""The DAGSTER_HOME of a configuration. Nothing here loads Dagster."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from tradebot_core.config import Config
from tradebot_core.errors import ConfigurationError
from tradebot_dagster.config_file import PROJECT_ROOT

_SETTINGS = PROJECT_ROOT / "dagster.yaml"
_WRITTEN_BASE = Path("data/dagster")  # what the base_dirs in dagster.yaml begin with


def dagster_home(config: Config) -> Path:
    """The DAGSTER_HOME of a configuration: a folder of its store, with its dagster.yaml made to point into it.

    That is the project's, or the one that `dagster_settings` names. Raises ConfigurationError when it needs environment variables that
    are not set.
    """
    home = config.data_store.path / "dagster"
    written = config.dagster_settings or _SETTINGS
    yaml = YAML()
    try:
        settings = yaml.load(written.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(
            f"dagster_settings: {written} cannot be read ({error.strerror}).", "Correct the path, or leave the key out."
        ) from error
    if missing := sorted(_variables_in(settings) - os.environ.keys()):
        raise ConfigurationError(
            f"{written} needs environment variables that are not set: {', '.join(missing)}.",
            "docs/scale-out.md says what they hold.",
        )
    for block in settings.values():
        given = block.get("config", {})
        if "base_dir" in given:
            given["base_dir"] = str(home / Path(given["base_dir"]).relative_to(_WRITTEN_BASE))
    home.mkdir(parents=True, exist_ok=True)
    fresh = home / f"dagster.yaml.{os.getpid()}"  # several workers may begin at once
    with fresh.open("w", encoding="utf-8") as file:
        yaml.dump(settings, file)
    fresh.replace(home / "dagster.yaml")
    return home


def _variables_in(settings: Any) -> set[str]:
    """Those that are taken from the environment, written as {env: NAME}."""
    if isinstance(settings, list):
        return set().union(*map(_variables_in, settings))
    if not isinstance(settings, Mapping):
        return set()
    if list(settings) == ["env"] and isinstance(settings["env"], str):
        return {settings["env"]}
    return set().union(*map(_variables_in, settings.values()))
