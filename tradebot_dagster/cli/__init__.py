"""The command line. Each module is one command, or two that belong together; `command_line` holds what they share."""

from tradebot_dagster.cli.command_line import main

__all__ = ["main"]
