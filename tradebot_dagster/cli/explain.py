"""`tradebot explain`: one decision, from the fill back to the filings."""

from datetime import date
from pathlib import Path

import click

from tradebot_core.errors import UsageError
from tradebot_core.trading.explain import explain as explanation_of
from tradebot_core.trading.explain import render_text
from tradebot_core.trading.order_trail import subject_of
from tradebot_core.wiring import Tradebot, load
from tradebot_dagster.cli.arguments import DAY
from tradebot_dagster.cli.output import emit


@click.command()
@click.argument("subject", metavar="SYMBOL|ID")
@click.argument("session", type=DAY, required=False)
@click.option("--strategy", help="Needed when more than one strategy is enabled.")
@click.option("--book", type=click.Choice(["backtest", "live"]), help="Default: live where it decided the session.")
@click.pass_obj
def explain(config_path: Path, subject: str, session: date | None, strategy: str | None, book: str | None) -> None:
    """Why a security was bought, sold, held or left alone in a session, back to each fact and the filing it stands in.

    Give a SYMBOL and a SESSION, or the ID of an order or an execution. For a name that was not bought it says which rule
    stopped it and by how much.

    \b
    Examples:
      tradebot explain KO 2019-05-01 --strategy value_investor
      tradebot explain "value_investor|2019-05-01|2134400|buy" --json
    """
    bot = load(config_path)
    if session is None:
        found = subject_of(bot.store, [strategy] if strategy else list(bot.sleeves), subject, book)
        strategy, subject, session, book = found.strategy, found.symbol, found.session, found.book
    sleeve = bot.sleeve(strategy or _only_strategy(bot))
    explanation = explanation_of(bot.store, bot.calendar, sleeve.strategy, subject, session, book)
    emit(explanation, render_text(explanation))


def _only_strategy(bot: Tradebot) -> str:
    if len(bot.sleeves) != 1:
        raise UsageError(
            "Which strategy's decision?", f"Add --strategy with one of: {', '.join(bot.sleeves) or 'none is enabled'}."
        )
    return next(iter(bot.sleeves))
