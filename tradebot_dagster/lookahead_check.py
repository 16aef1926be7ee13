"""The look-ahead gate as an asset check asks for it: in a process of its own.

A layer may keep what it saw in its module, or in a process of its pool, and the process that made a backtest has seen all of it. So
the sessions are computed again where nothing was: by `tradebot lookahead`. A run of one session has seen none after it and is
looked at on the spot, for a process costs more than the session.
"""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from datetime import date
from pathlib import Path

import polars as pl

from tradebot_core.errors import StrategyError, TradebotError
from tradebot_core.wiring import Tradebot

SESSIONS_LOOKED_AT = 6  # of a run
_COLUMNS = ("session", "layer", "symbol", "column", "stored", "recomputed", "cause")
_SCHEMA = dict.fromkeys(_COLUMNS, pl.String)


def leaks_of(tradebot: Tradebot, strategy: str, sessions: Sequence[date]) -> pl.DataFrame:
    """What the backtest of consecutive `sessions` saw and could not know: columns of trading.leaks.Leak, as text."""
    start, end = sessions[0], sessions[-1]
    if len(sessions) == 1:
        found = [asdict(leak) for leak in tradebot.lookahead(strategy, start, end).leaks]
    else:
        found = _looked_at_apart(tradebot.config_path, strategy, start, end)
    return pl.DataFrame([{name: str(leak[name]) for name in _COLUMNS} for leak in found], schema=_SCHEMA)


def _looked_at_apart(config_path: Path, strategy: str, start: date, end: date) -> list[dict[str, str]]:
    """Raises TradebotError with the cause and mend of the other process, when it could not look."""
    code = "from tradebot_dagster.cli import main; main()"
    days = ["--start", str(start), "--end", str(end), "--sessions", str(SESSIONS_LOOKED_AT)]
    command = [sys.executable, "-c", code, "lookahead", strategy, *days, "--json", "--config", str(config_path.resolve())]
    here = {**os.environ, "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path)}  # strategies lie on it
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=here)
    try:
        document = json.loads(done.stdout)
    except ValueError:
        raise StrategyError(
            f"The process that looks for look-ahead in {strategy} ended with code {done.returncode}: {done.stderr[-500:]}",
            f"Run `tradebot lookahead {strategy} --start {start} --end {end}` to see why.",
        ) from None
    if "error" in document:
        raise TradebotError(document["error"], document["mend"])
    leaks: list[dict[str, str]] = document["leaks"]
    return leaks
