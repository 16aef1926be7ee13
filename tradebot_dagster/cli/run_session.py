"""`tradebot run-session`: the live path without the daemon; what the schedule and the sensor do, one after the other."""

from dataclasses import dataclass
from datetime import date
from pathlib import Path

import click
import dagster as dg
import polars as pl

from tradebot_core.errors import MissingData, TradebotError, UsageError
from tradebot_core.interfaces import Permit, Purpose
from tradebot_core.model.tables import BARS, FACT_TABLES
from tradebot_core.trading.audit import sessions_without_bars
from tradebot_core.trading.live import current_session, issue_permit
from tradebot_core.wiring import Sleeve, Tradebot, load
from tradebot_dagster.cli.arguments import DAY
from tradebot_dagster.cli.output import emit, progress
from tradebot_dagster.defs import checks
from tradebot_dagster.defs.live import positions_key
from tradebot_dagster.defs.strategies import layer_keys, told_by
from tradebot_dagster.resources import Execution, Research
from tradebot_dagster.telling import heard_by


@dataclass(frozen=True)
class SleeveOutcome:
    """What became of one strategy. `error` is set when it failed; the others went on."""

    strategy: str
    live: bool
    note: str
    decisions: dict[str, int]  # by action
    outcome: str
    submission: str
    orders: list[dict[str, object]]
    error: str | None = None


@click.command("run-session")
@click.option("--session", type=DAY, help="Must be the current session, which is the default: the last one to be cut off.")
@click.pass_obj
def run_session(config_path: Path, session: date | None) -> int:
    """Collect, check, decide and submit the current session now, as the schedule and the sensor do.

    Running it again places nothing twice: decisions are sealed once, and every order is sent at most once.

    \b
    Example: tradebot run-session --config my.yaml
    """
    bot = load(config_path)
    current = current_session(bot.calendar, bot.clock.now())
    if session is not None and bot.calendar.require_session(session) != current:
        raise UsageError(
            f"{session} cannot be run live: the current session is {current}.",
            f"For past sessions use `tradebot backtest`; without --session, {current} is run.",
        )
    # A person's own permits: they replace those of a run that failed with them in hand.
    ledger, now = bot.store.ledger, bot.clock.now()
    permit = issue_permit(ledger, bot.calendar, now, Purpose.DECIDE, renew=True)
    to_submit = issue_permit(ledger, bot.calendar, now, Purpose.SUBMIT, renew=True)
    if permit is None or to_submit is None:
        after = bot.calendar.next(current)
        note = (
            f"The time to submit orders of {current} has passed; {after} can be run after its cut-off, {_cutoff(bot, after)}."
        )
        emit({"session": current, "note": note, "strategies": []}, note)
        return 1
    _collect(bot, current)
    outcomes = [_run_sleeve(bot, sleeve, current, permit, to_submit) for sleeve in bot.sleeves.values()]
    document = {"session": current, "note": "", "strategies": outcomes}
    emit(document, "\n".join(map(_paragraph, outcomes)) or "No strategy is enabled.")
    return 1 if any(outcome.error or not outcome.live for outcome in outcomes) else 0


def _cutoff(bot: Tradebot, session: date) -> str:
    return f"{bot.calendar.cutoff(session):%Y-%m-%d %H:%M} UTC"


def _collect(bot: Tradebot, session: date) -> None:
    """All sources, securities first: the others are asked about those."""
    order = list(FACT_TABLES)
    for name in sorted(bot.collectors, key=lambda name: order.index(bot.collectors[name].table.name)):
        with heard_by(progress):
            collected = bot.collect(name, session, session)
        progress(f"{name}: {collected.new_rows} new rows, {collected.refused} refused")
    bars = bot.store.read(BARS, as_of=bot.calendar.cutoff(session), start=session, end=session)
    if not sessions_without_bars(bars, [session]).is_empty():
        raise MissingData(
            f"No bar of {session} has arrived; nothing was decided.", "Run it again when the source of bars has the session."
        )
    for name, collector in bot.collectors.items():
        checks.of_collector(dg.AssetKey(name), collector.table).require(Research(bot), [session])


def _run_sleeve(bot: Tradebot, sleeve: Sleeve, session: date, permit: Permit, to_submit: Permit) -> SleeveOutcome:
    name, strategy, desk = sleeve.name, sleeve.strategy, bot.desk
    try:
        first, *_ = keys = layer_keys(sleeve)
        layers = [key.path[-1] for key in keys]
        told = told_by(bot.markets.layers_by_year(strategy, layers[:1], [session]), bot.calendar)
        checks.of_first_layer(first).require(told[layers[0]], [session])
        if layers[1:]:
            told_by(bot.markets.layers_by_year(strategy, layers[1:], [session]), bot.calendar)
        run_id = f"run-session:{permit.permit_id}"
        decided = desk.decide(strategy, sleeve.capital, session, permit.permit_id, run_id, bot.clock.now())
        checks.of_positions(positions_key(name), name).require(Execution(bot), [session])
        submission = desk.submit(strategy, session, to_submit.permit_id, run_id, bot.clock.now())
    except TradebotError as error:  # of one strategy; the others go on
        return SleeveOutcome(name, False, "", {}, "", "", [], str(error))
    actions = [str(decision.action) for decision in decided.decisions]
    orders = bot.store.ledger.orders(name, session, session)
    return SleeveOutcome(
        name,
        decided.live,
        decided.note,
        {action: actions.count(action) for action in sorted(set(actions))},
        str(submission.outcome),
        submission.note,
        orders.with_columns(pl.col("session").cast(pl.String)).to_dicts(),
    )


def _paragraph(outcome: SleeveOutcome) -> str:
    if outcome.error:
        return f"{outcome.strategy}: FAILED. {outcome.error}"
    counts = ", ".join(f"{count} {action}" for action, count in outcome.decisions.items()) or "nothing to decide"
    lines = [f"{outcome.strategy}: {counts}. {outcome.note}", f"  {outcome.submission}"]
    lines += [
        f"  {order['side']} {order['quantity']} {order['symbol']} at about {order['reference_price']}: {order['state']}"
        + ("" if order["approved"] else f" by the risk gate ({order['rule']})")
        for order in outcome.orders
    ]
    return "\n".join(lines)
