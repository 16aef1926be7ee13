"""What all commands share: the options --config, --json and --debug, exit codes, and errors that name their cause and mend.

The options may stand before the command or after it; what stands after it counts.

Exit codes: 0 done, 1 the work found a problem, 2 usage or configuration. An error goes to stderr in words; with --json, stdout
carries {"error": ..., "mend": ...} as well, so that stdout is one JSON document whatever happens. A command returns its exit
code, or None for 0.
"""

import json
import sys
import tempfile
import traceback
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from tradebot_core.config import load_config
from tradebot_core.errors import TradebotError, UsageError
from tradebot_dagster.config_file import default_config

CONFIG, JSON = "tradebot.config", "tradebot.json"

# Modules are imported when their command is used: Dagster takes a second, and most commands do without.
_COMMANDS = {
    "demo": ("demo", "The sample market: backtests, then live paper sessions, each explained."),
    "up": ("up", "Start the Dagster UI and daemon on 127.0.0.1."),
    "worker": ("worker", "Execute runs of the instance, beside other workers."),
    "backtest": ("backtest", "Backtest a strategy over a range of sessions."),
    "sweep": ("sweep", "Backtest variants of a strategy side by side."),
    "compare": ("compare", "Where the decisions of two backtests differ, and why."),
    "trials": ("trials", "Every variant of a strategy that was ever tested, and what luck explains."),
    "run-session": ("run_session", "Collect, decide and submit the current session now."),
    "explain": ("explain", "Why something was bought, sold or left alone, back to the filings."),
    "facts": ("facts", "What was known about a company at an instant, and which filing said so."),
    "export": ("export", "Write a table of the store to a file."),
    "replay": ("replay", "Feed stored events through the event bus and compare the decisions."),
    "lookahead": ("lookahead", "Whether a backtest saw what was not known yet."),
    "restatements": ("restatements", "Which decisions read a figure that a later filing changed."),
    "status": ("status", "Where things stand: session, sleeves, open orders, halt."),
    "doctor": ("doctor", "Examine the set-up and say how to mend what is wrong."),
    "watch": ("watch", "Follow daily bars at IBKR; an event for each as its session ends."),
    "reconcile": ("reconcile", "Compare open orders of the ledger with the broker."),
    "halt": ("halt", "Stop all sending of orders at once, and cancel the open ones."),
    "resume": ("halt", "End a halt."),
    "arm": ("arm", "Allow orders in mode live, for a day at the most."),
    "disarm": ("arm", "End what `arm` allowed."),
    "simulate-tws": ("simulate_tws", "Serve the sample market as a simulated TWS on a socket."),
}
_FOR_PEOPLE_ONLY = {"demo"}  # a story told while it happens: no document at its end


class Unforeseen(TradebotError):
    """A defect of Tradebot itself."""


class CommandLine(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return _load(cmd_name) if cmd_name in _COMMANDS else None

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        found = super().resolve_command(ctx, args)
        if JSON in ctx.meta and found[0] in _FOR_PEOPLE_ONLY:
            raise UsageError(
                f"{found[0]} has no --json.", "Its words are for people; `tradebot status --json` says what came of it."
            )
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, about) for name, (_, about) in _COMMANDS.items()])

    def main(self, args: Sequence[str] | None = None, *positional: Any, **extra: Any) -> Any:
        arguments = list(sys.argv[1:] if args is None else args)
        sys.exit(self._exit_code(arguments, {**extra, "standalone_mode": False}))

    def _exit_code(self, arguments: list[str], extra: dict[str, Any]) -> int:
        try:
            outcome = super().main(arguments, **extra)
        except TradebotError as error:
            _report(error.cause, error.mend, arguments)
            return error.exit_code
        except click.ClickException as error:
            error.show()
            if "--json" in arguments:
                click.echo(_error_document(error.format_message(), "See --help."))
            return error.exit_code
        except (click.Abort, KeyboardInterrupt):
            _report("Interrupted.", "", arguments)
            return 1
        return outcome if isinstance(outcome, int) else 0

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (TradebotError, click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except Exception as error:
            if "tradebot.debug" in ctx.meta:
                raise
            log = _keep_traceback(error, ctx.meta.get(CONFIG))
            raise Unforeseen(
                f"Tradebot itself failed: {type(error).__name__}: {error}", f"The traceback is in {log}; --debug shows it here."
            ) from error


@cache
def _load(name: str) -> click.Command:
    module, _ = _COMMANDS[name]
    command: click.Command = getattr(import_module(f"tradebot_dagster.cli.{module}"), name.replace("-", "_"))
    command.params += _shared_options(json=name not in _FOR_PEOPLE_ONLY)
    return command


def _shared_options(json: bool = True) -> list[click.Parameter]:
    def remember_config(ctx: click.Context, option: click.Parameter, path: Path) -> None:
        """Named before the command, it is not undone by the default after it."""
        named_here = ctx.get_parameter_source(option.name or "") is ParameterSource.COMMANDLINE
        ctx.obj = ctx.meta[CONFIG] = path if named_here else ctx.meta.get(CONFIG, path)

    def remember(key: str):
        def callback(ctx: click.Context, _: click.Parameter, given: bool) -> None:
            if given:
                ctx.meta[key] = True

        return callback

    shared = [
        click.Option(
            ["--config"],
            type=click.Path(path_type=Path),
            envvar="TRADEBOT_CONFIG",
            default=default_config,
            show_default="config.yaml of this folder, else the project's",
            show_envvar=True,
            expose_value=False,
            is_eager=True,
            callback=remember_config,
            help="The configuration file.",
        ),
        click.Option(
            ["--debug"],
            is_flag=True,
            expose_value=False,
            is_eager=True,
            callback=remember("tradebot.debug"),
            help="Show the traceback of an unforeseen error.",
        ),
    ]
    if json:
        help_text = "One JSON document on standard output."
        shared.insert(1, click.Option(["--json"], is_flag=True, expose_value=False, callback=remember(JSON), help=help_text))
    return shared


def _report(cause: str, mend: str, arguments: Sequence[str]) -> None:
    click.echo(f"Error: {cause}" + (f"\n{mend}" if mend else ""), err=True)
    if "--json" in arguments:
        click.echo(_error_document(cause, mend))


def _error_document(cause: str, mend: str) -> str:
    return json.dumps({"error": cause, "mend": mend})


def _keep_traceback(error: Exception, config_path: Path | None) -> Path:
    """In the store's logs, where there is a store; else among the temporary files."""
    text = "".join(traceback.format_exception(error))
    name = f"tradebot-{datetime.now(UTC):%Y%m%dT%H%M%S%f}.log"
    try:
        folder = load_config(config_path or default_config()).data_store.path / "logs"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    except (TradebotError, OSError):
        folder = Path(tempfile.gettempdir())
        (folder / name).write_text(text, encoding="utf-8")
    return folder / name


@click.command(cls=CommandLine, name="tradebot", params=_shared_options())
@click.version_option(package_name="tradebot")
def main() -> None:
    """A fundamentals-driven trading robot for US equities.

    \b
    tradebot demo                                     see everything work on a fictional market
    tradebot backtest value_investor --start 2024-01-02 --end 2025-12-31
    tradebot explain ZFADE 2026-02-20 --strategy value_investor

    Exit codes: 0 done, 1 the work found a problem, 2 usage or configuration.
    """
