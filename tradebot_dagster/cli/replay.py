"""`tradebot replay`: the stored events through the event bus must lead to the decisions that the tables hold."""

from datetime import date
from pathlib import Path

import click

from tradebot_core.errors import MissingData
from tradebot_core.model.tables import BOOKS
from tradebot_core.trading.parity import Parity, compare, events_for, stored_opening
from tradebot_core.trading.replay import replay as replay_events
from tradebot_core.wiring import BACKTEST, load
from tradebot_dagster.cli.arguments import DAY
from tradebot_dagster.cli.output import emit, progress

_SHOWN = 20


@click.command()
@click.option("--strategy", required=True)
@click.option("--start", type=DAY, required=True, help="First session.")
@click.option("--end", type=DAY, required=True, help="Last session.")
@click.pass_obj
def replay(config_path: Path, strategy: str, start: date, end: date) -> int:
    """Feed the stored events of a backtested range one by one through the event bus, and compare every verdict and decision.

    Exit code 1 on any difference.

    \b
    Example: tradebot replay --strategy value_investor --start 2025-06-02 --end 2025-06-30
    """
    bot = load(config_path)  # anew in each process: a strategy that has heard nothing yet
    sleeve, calendar = bot.sleeve(strategy), bot.calendar
    calendar.require_session(start)
    calendar.require_session(end)
    sessions = calendar.sessions(start, end)
    missing = set(sessions) - set(bot.store.result_sessions(BOOKS, strategy, BACKTEST))
    if missing:
        raise MissingData(
            f"{strategy} has no backtest of {len(missing)} of these sessions, the first being {min(missing)}.",
            f"Run `tradebot backtest {strategy} --start {start} --end {end}` first.",
        )
    opening, deposit = stored_opening(bot.store, calendar, strategy, sleeve.capital, start)
    progress(f"Replaying {len(sessions)} sessions of {strategy} ...")
    events = events_for(bot.store, calendar, sleeve.strategy.subscriptions, start, end)
    walk = bot.backtest_walk(sleeve, opening, deposit)
    replayed = replay_events(sleeve.strategy, walk, events, start, calendar, bot.markets.members(), bot.markets.quality)
    parity = compare(bot.store, sleeve.strategy, replayed, start, end)
    document = {
        "strategy": strategy,
        "start": start,
        "end": end,
        "sessions": len(sessions),
        "events": parity.events,
        "compared": parity.compared,
        "differences": parity.differences,
    }
    emit(document, _page(parity, len(sessions)))
    return 1 if parity.differences else 0


def _page(parity: Parity, sessions: int) -> str:
    rows = ", ".join(f"{count} rows of {table}" for table, count in parity.compared.items())
    lines = [f"{parity.events} events over {sessions} sessions; compared {rows}."]
    if not parity.differences:
        return "\n".join([*lines, "No difference."])
    lines.append(f"{len(parity.differences)} differences:")
    for found in parity.differences[:_SHOWN]:
        lines += [
            f"  {found.table} {found.session} {found.symbol}",
            f"    stored   {found.stored}",
            f"    replayed {found.replayed}",
        ]
    return "\n".join(lines)
