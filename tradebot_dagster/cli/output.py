"""What commands print: a JSON document with --json, words without."""

import json
from dataclasses import asdict, is_dataclass
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from typing import Any

import click

from tradebot_dagster.cli.command_line import JSON


def emit(document: Any, text: str) -> None:
    """Prints one of the two, as the caller of the command wanted."""
    click.echo(json_text(document) if wants_json() else text.rstrip("\n"))


def progress(text: str) -> None:
    """A word on what is going on; silent with --json."""
    if not wants_json():
        click.echo(text)


def wants_json() -> bool:
    return JSON in click.get_current_context().meta


def json_text(document: Any) -> str:
    """Dates in ISO form, money as numbers, NaN refused."""
    return json.dumps(document, default=plain, indent=2, allow_nan=False)


def plain(value: Any) -> Any:
    """What JSON has no word for."""
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, (date, datetime)):
        return value.isoformat()
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, (StrEnum, Path)):
        return str(value)
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")
