"""`tradebot explain`: one decision, from the fill back to the filings."""

import difflib
from datetime import date
from pathlib import Path

import click

from tradebot_core.errors import UsageError
from tradebot_core.model.tables import SECURITIES
from tradebot_core.trading.explain import explain as explanation_of
from tradebot_core.trading.explain import render_text
from tradebot_core.trading.live import LIVE, REVIEW
from tradebot_core.trading.order_trail import Subject, subject_of
from tradebot_core.wiring import BACKTEST, Tradebot, load
from tradebot_dagster.cli.arguments import DAY, sleeve_of
from tradebot_dagster.cli.output import emit


@click.command()
@click.argument("subject", metavar="SYMBOL|ID")
@click.argument("session", type=DAY, required=False)
@click.option("--strategy", help="Needed when more than one strategy is enabled.")
@click.option(
    "--book",
    type=click.Choice([BACKTEST, LIVE, REVIEW]),
    help="Whose decision.  [default: live where it decided the session, else backtest, else review]",
)
@click.pass_obj
def explain(config_path: Path, subject: str, session: date | None, strategy: str | None, book: str | None) -> None:
    """Why a security was bought, sold, held or left alone in a session, back to each fact and the filing it stands in.

    Give a SYMBOL and a SESSION, or the ID of an order or an execution. For a name that was not bought it says which rule
    stopped it and by how much.

    \b
    Examples:
      tradebot explain ZFADE 2026-02-20 --strategy value_investor
      tradebot explain "value_investor|2026-02-20|990000000700|sell" --json
    """
    bot = load(config_path)
    if session is None:
        found = _subject(bot, strategy, subject, book)
        strategy, subject, session, book = found.strategy, found.symbol, found.session, found.book
    sleeve = sleeve_of(bot, strategy)
    explanation = explanation_of(bot.store, bot.calendar, sleeve.strategy, subject, session, book, bot.config.quality)
    emit(explanation, render_text(explanation))


def _subject(bot: Tradebot, strategy: str | None, identifier: str, book: str | None) -> Subject:
    """The decision behind an order or execution. Who names a symbol without its session is told so."""
    names = [bot.tested(strategy).name] if strategy else list(bot.sleeves)
    now = bot.clock.now()
    symbols = bot.store.read(SECURITIES, as_of=now)["symbol"].unique().sort().to_list()
    alike = difflib.get_close_matches(identifier.upper(), symbols, n=3)
    if identifier.upper() in alike:
        session = max((bot.backtest_sessions(name)[-1:] for name in names), default=[])
        example = session[0] if session else bot.calendar.last_cut_off(now)
        raise UsageError(
            f"{identifier} needs a SESSION: the day whose decision is to be explained.",
            f"For example: tradebot explain {identifier} {example} --strategy {names[0] if names else '...'}",
        )
    try:
        return subject_of(bot.store, names, identifier, book)
    except UsageError as unknown:
        if not alike:
            raise
        hint = f"For the symbol {' or '.join(alike)}, add a SESSION."
        raise UsageError(unknown.cause, f"{unknown.mend} {hint}") from None
