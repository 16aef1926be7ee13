"""The account beside the ledger: after each session's decisions, once its corporate actions and fills are entered, before orders go out."""

from collections.abc import Sequence
from datetime import date, datetime

import dagster as dg
import polars as pl

from tradebot_core.config import Mode
from tradebot_core.trading.account_comparison import Line
from tradebot_core.wiring import Tradebot
from tradebot_dagster.defs import checks
from tradebot_dagster.defs.live import permit_of, positions_key
from tradebot_dagster.factories import Report, range_of, session_asset, table
from tradebot_dagster.resources import Execution

ACCOUNT = dg.AssetKey("account")
_COLUMNS = ("passed", "kind", "what", "ledger", "broker", "reason", "command", "since")


def account_assets(tradebot: Tradebot, partitions: dg.PartitionsDefinition) -> list[dg.AssetsDefinition]:
    """None where there is no account beside the ledger: the simulated engine, the dry run."""
    if not has_account(tradebot):
        return []
    soundness = checks.of_account(ACCOUNT)

    def reconcile(context: dg.AssetExecutionContext, execution: Execution, sessions: Sequence[date]) -> Report:
        lines = execution.account_lines(sessions[-1], permit_of(context, sessions), context.run_id)
        compared = _frame(lines or ())
        summary = {
            "sessions": range_of(sessions),
            "source": "The broker was asked."
            if lines is not None
            else "Nobody was asked: only the live run of the session asks.",
            "breaks": len(compared.filter(~pl.col("passed"))),
            "lines": table(compared),
        }
        return Report(summary, checks=soundness.results(compared, sessions))

    return [
        session_asset(
            ACCOUNT.path,
            reconcile,
            Execution,
            partitions,
            group="broker",
            description="The broker's account against the ledger: orders, executions, positions, cash. The account is the sleeves and "
            "an external part, which the bot never touches. `tradebot reconcile` shows the same at any time.",
            deps=[positions_key(name) for name in tradebot.sleeves],
            kinds={"sqlite"},
            owner="trading",
            checks=soundness.specs,
        )
    ]


def _frame(lines: Sequence[Line]) -> pl.DataFrame:
    schema = {name: pl.Boolean if name == "passed" else pl.String for name in _COLUMNS}
    rows = [{name: _cell(name, getattr(line, name)) for name in _COLUMNS} for line in lines]
    return pl.DataFrame(rows, schema=schema)


def _cell(name: str, value: object) -> object:
    if name == "passed":
        return value
    return f"{value:%Y-%m-%d %H:%M} UTC" if isinstance(value, datetime) else "" if value is None else str(value)


def has_account(tradebot: Tradebot) -> bool:
    return tradebot.config.ibkr is not None and tradebot.config.mode is not Mode.DRY_RUN and bool(tradebot.sleeves)
