"""`tradebot arm` and `tradebot disarm`: in mode live nothing is sent until a person has said so, and for a day at the most."""

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import click

from tradebot_core.calendar import NEW_YORK, xnys
from tradebot_core.clock import SystemClock
from tradebot_core.errors import UsageError
from tradebot_core.stores.file_store import FileStore
from tradebot_core.trading.arming import default_expiry, next_deadline
from tradebot_core.trading.arming import disarm as end_arm
from tradebot_core.wiring import Tradebot, load
from tradebot_dagster.cli.emergency import usable
from tradebot_dagster.cli.halt import operator
from tradebot_dagster.cli.output import emit

_MOST_HOURS = 24


@click.command()
@click.option(
    "--hours", type=float, help="How long, 24 at the most.  [default: until the next time of submission ends, 24 at the most]"
)
@click.option("--yes", is_flag=True, help="Do not ask for the account to be typed.")
@click.pass_obj
def arm(config_path: Path, hours: float | None, yes: bool) -> None:
    """Allow orders to be sent in mode live, with this account, these strategies and limits, for some hours.

    Any change of the configuration, of the account or of Tradebot's code ends it, and so does `tradebot disarm`. Paper trading
    and the dry run need no arming.

    \b
    Example: tradebot arm --config my.yaml
    """
    if hours is not None and not (0 < hours <= _MOST_HOURS):
        raise UsageError(f"--hours {hours:g} is not more than 0 and at most {_MOST_HOURS}.", "Arm again tomorrow.")
    bot = load(config_path)
    arming, now = bot.arming, bot.clock.now()
    if not arming.needed:
        text = f"Mode is {bot.config.mode}: no arming is needed; it is for mode live only."
        emit({"needed": False, "armed_until": None}, text)
        return
    until = now + timedelta(hours=hours) if hours is not None else default_expiry(bot.calendar, now)
    click.echo(_what(bot, now, until), err=True)
    if not yes:
        typed = click.prompt("Type the account to arm it", err=True, type=str)
        if typed.strip() != arming.account:
            raise UsageError(f"{typed.strip()} is not the account; nothing was armed.", "Run `tradebot arm` again.")
    given = arming.arm(operator(), now, until)
    document = {"needed": True, "armed_until": until, "account": given.account, "operator": given.operator}
    emit(document, f"Armed: {given.account} until {_local(until)}. `tradebot disarm` ends it.")


@click.command()
@click.pass_obj
def disarm(config_path: Path) -> None:
    """End what `tradebot arm` allowed: no further order is sent in mode live. Orders at the broker stay; `halt` cancels them.

    \b
    Example: tradebot disarm
    """
    found = usable(config_path)
    ledger = FileStore(found.store, xnys(), found.config.sample_market is not None).ledger
    last = ledger.last_arm()
    if last is not None and last.armed:
        end_arm(ledger, last.account, operator(), SystemClock().now())
        emit({"disarmed": last.account}, f"Disarmed: {last.account}. Nothing is sent in mode live until `tradebot arm`.")
    else:
        emit({"disarmed": None}, "Nothing was armed.")


def _what(bot: Tradebot, now: datetime, until: datetime) -> str:
    ibkr = bot.config.ibkr
    assert ibkr is not None  # mode live has it
    halted, deadline = bot.store.ledger.halted(), next_deadline(bot.calendar, now)
    orders = {block.name: block.orders for block in bot.config.strategies}
    lines = [
        f"Account {ibkr.account} at {ibkr.host}:{ibkr.port}, with real money, until {_local(until)}.",
        *(
            f"  {sleeve.name}: {sleeve.capital:,} USD, orders {orders[sleeve.name]}, parameters {_listed(sleeve.strategy.params)}"
            for sleeve in bot.sleeves.values()
        ),
        f"  limits: {_listed(bot.config.risk)}",
        f"  code {bot.arming.code_version}",
    ]
    if until < deadline:
        lines.append(f"Orders may be sent until {_local(deadline)}; the order sensor sends from 08:00 New York of that day.")
    if halted is not None:
        lines.append(f"Trading is halted as well: {halted}. `tradebot resume` ends the halt.")
    return "\n".join(lines)


def _listed(settings: Any) -> str:
    return ", ".join(f"{name} {value}" for name, value in settings.model_dump(mode="json").items()) or "none"


def _local(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M} UTC ({at.astimezone(NEW_YORK):%H:%M} New York)"
