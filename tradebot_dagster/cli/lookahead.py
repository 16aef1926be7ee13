"""`tradebot lookahead`: sessions of a backtest made again from what was known at their cut-off, and beside noise."""

from collections import Counter
from datetime import date
from pathlib import Path

import click

from tradebot_core.errors import UsageError
from tradebot_core.trading.lookahead import LookAhead
from tradebot_core.wiring import load
from tradebot_dagster.cli.arguments import DAY
from tradebot_dagster.cli.output import emit

SESSIONS_LOOKED_AT = 12
_SHOWN = 20
_LONGEST = 60  # characters of a value


@click.command()
@click.argument("strategy")
@click.option("--start", type=DAY, help="First session.  [default: of the backtest]")
@click.option("--end", type=DAY, help="Last session.  [default: of the backtest]")
@click.option(
    "--sessions", type=click.IntRange(min=1), default=SESSIONS_LOOKED_AT, show_default=True, help="How many to look at."
)
@click.option("--all", "everything", is_flag=True, help="Look at all sessions.")
@click.option("--seed", type=click.IntRange(min=0), default=0, help="Another one looks at other sessions.")
@click.pass_obj
def lookahead(
    config_path: Path, strategy: str, start: date | None, end: date | None, sessions: int, everything: bool, seed: int
) -> int:
    """Look whether the stored backtest of STRATEGY saw what was not known yet.

    Sessions before filings, restatements, splits and trades first, then any: each layer, decision, order, fill and the book is made
    again from a store cut at the session's cut-off, and from one in which everything known later is noise. All must be what is
    stored, bit for bit. Exit code 1 when a row is not.

    \b
    Examples:
      tradebot lookahead value_investor
      tradebot lookahead value_investor --start 2024-01-02 --end 2024-12-31 --all --json
    """
    if start is not None and end is not None and start > end:
        raise UsageError(f"{start} is after {end}.", "Give a start that is not after the end.")
    bot = load(config_path)  # anew in each process: what a strategy remembers of the backtest would hide what it saw
    for day in filter(None, (start, end)):
        bot.calendar.require_session(day)
    found = bot.lookahead(strategy, start, end, None if everything else sessions, seed)
    looked_at = [{"session": session, "why": why} for session, why in found.sessions.items()]
    document = {"strategy": strategy, "sessions": looked_at, "compared": found.compared, "leaks": found.leaks}
    emit(document, _page(strategy, found))
    return 1 if found.leaks else 0


def _page(strategy: str, found: LookAhead) -> str:
    reasons = ", ".join(f"{count} {why}" for why, count in Counter(found.sessions.values()).most_common())
    rows = ", ".join(f"{count} of {table}" for table, count in found.compared.items() if count)
    days = [*found.sessions]
    lines = [
        f"{strategy}: {len(days)} sessions from {days[0]} to {days[-1]} ({reasons}) made again as of their cut-offs and beside noise.",
        f"Rows compared: {rows}.",
    ]
    if not found.leaks:
        return "\n".join([*lines, "No look-ahead: every row is what was known then gives."])
    lines.append(f"{len(found.leaks)} rows are not what was known then gives:")
    lines.append(f"  {'session':<12}{'layer':<16}{'symbol':<10}{'column':<16}")
    told: set[str] = set()
    for leak in found.leaks[:_SHOWN]:
        lines.append(f"  {leak.session!s:<12}{leak.layer:<16}{leak.symbol:<10}{leak.column:<16}".rstrip())
        lines.append(f"    stored {_short(leak.stored)}, then {_short(leak.recomputed)}")
        if leak.cause not in told:
            lines.append(f"    {leak.cause}")
            told.add(leak.cause)
    if len(found.leaks) > _SHOWN:
        lines.append(f"  and {len(found.leaks) - _SHOWN} more; --json has all.")
    return "\n".join(lines)


def _short(value: str) -> str:
    return value if len(value) <= _LONGEST else f"{value[:_LONGEST]}..."
