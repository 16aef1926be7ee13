"""`tradebot backtest`: the backfill of a strategy's assets over past sessions, in process or by the running instance."""

import warnings
from dataclasses import asdict
from datetime import date
from pathlib import Path

import click

from tradebot_core.errors import ExecutionError
from tradebot_core.model.tables import BOOKS
from tradebot_core.trading.audit import broken_links
from tradebot_core.trading.coverage import Coverage
from tradebot_core.wiring import BACKTEST, Tradebot, load
from tradebot_dagster.cli.arguments import DAY, past_sessions
from tradebot_dagster.cli.output import emit, progress
from tradebot_dagster.cli.trials import lines_of
from tradebot_dagster.telling import heard_by
from tradebot_dagster.webserver import Webserver

_REMOTE_PATIENCE_S = 6 * 3600


@click.command()
@click.argument("strategy")
@click.option("--start", type=DAY, required=True, help="First session.")
@click.option("--end", type=DAY, required=True, help="Last session.")
@click.option("--continue", "continued", is_flag=True, help="Go on with the book of the session before instead of a new one.")
@click.option("--remote", is_flag=True, help="Let the running instance do it, as a backfill that continues a stored book.")
@click.option("--url", default="http://127.0.0.1:3000", show_default=True, help="The running instance, for --remote.")
@click.pass_obj
def backtest(config_path: Path, strategy: str, start: date, end: date, continued: bool, remote: bool, url: str) -> int:
    """Backtest STRATEGY from one session to another, and print what came of it.

    Money is USD; returns, volatility and drawdown are fractions. Exit code 0 only when every session was done.

    \b
    Example: tradebot backtest value_investor --start 2024-01-02 --end 2025-12-31 --json
    """
    bot = load(config_path)
    bot.sleeve(strategy)
    sessions = past_sessions(bot, start, end)
    progress(f"Backtest of {strategy} over {len(sessions)} sessions from {start} to {end} ...")
    if remote:
        run_id = _backfill(bot, strategy, sessions, Webserver(url.rstrip("/")))
    else:
        with heard_by(progress):
            run_id = _run_in_process(config_path, strategy, start, end, restart=not continued)
    book = bot.backtest_sessions(strategy, end)
    if not set(sessions) <= set(book):
        missing = sorted(set(sessions) - set(book))
        raise ExecutionError(
            f"The book of {strategy} does not reach over {len(missing)} of the sessions, the first being {missing[0]}.",
            f"Look at run {run_id} in the Dagster UI, or run it again without --continue and --remote.",
        )
    found = asdict(bot.performance(strategy, book[0], end))
    figures = {name: value + 0.0 if isinstance(value, float) else value for name, value in found.items()}  # -0.0 is 0.0
    seen = bot.coverage([session for session in book if session <= end])
    note = _replaced(bot, strategy, end)
    chosen = bot.selection(strategy, book[0], end)
    document = {
        "strategy": strategy,
        "start": book[0],
        "end": end,
        **figures,
        "coverage": asdict(seen),
        "selection": asdict(chosen),
        "run_id": run_id,
        "note": note,
    }
    emit(document, "\n".join(filter(None, [_page(figures, seen, run_id), *lines_of(chosen), note])))
    return 0


def _replaced(bot: Tradebot, strategy: str, end: date) -> str:
    """What to know of stored sessions after the range: they went on from the book that this backtest has replaced."""
    broken = broken_links(bot.store.read_results(BOOKS, strategy, BACKTEST, start=end))
    if broken.is_empty():
        return ""
    first, last = broken["session"][0], bot.store.result_sessions(BOOKS, strategy, BACKTEST)[-1]
    return (
        f"  ! The stored sessions from {first} to {last} went on from another book than this one. To go on from this one:\n"
        f"    tradebot backtest {strategy} --continue --start {first} --end {last}"
    )


def _run_in_process(config_path: Path, strategy: str, start: date, end: date, restart: bool) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Dagster announces its beta features once per asset
        from tradebot_dagster.instance import run_backtest_in_process  # noqa: PLC0415  loads Dagster

        return run_backtest_in_process(config_path.resolve(), strategy, start, end, restart)


def _backfill(bot: Tradebot, strategy: str, sessions: list[date], server: Webserver) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from tradebot_dagster.defs.jobs import shadow_keys  # noqa: PLC0415  loads Dagster

    assets = [[name] for name in bot.collectors] + [list(key.path) for key in shadow_keys(bot.sleeve(strategy))]
    keys = [session.isoformat() for session in sessions]
    backfill = server.launch_backfill(assets, keys, f"{strategy} {keys[0]} to {keys[-1]}")
    progress(f"Backfill {backfill}: {server.url}/runs/b/{backfill}")
    server.wait_for_backfill(backfill, _REMOTE_PATIENCE_S)
    return backfill


def _page(figures: dict[str, float | None], seen: Coverage, run_id: str) -> str:
    def line(name: str, value: float | None) -> str:
        if value is None:
            text = "not known"
        elif name in ("total_return", "cagr", "volatility", "max_drawdown"):
            text = f"{round(value, 4) + 0.0:+.2%}"
        elif name in ("initial_capital", "final_equity", "commission", "dividends"):
            text = f"{round(value, 2) + 0.0:,.2f} USD"
        else:
            text = f"{round(value, 2) + 0.0:,.2f}" if isinstance(value, float) else f"{value:,}"
        return f"  {name.replace('_', ' '):<16}{text:>20}"

    return "\n".join([*(line(name, value) for name, value in figures.items()), *_coverage(seen), f"  run {run_id}"])


def _coverage(seen: Coverage) -> list[str]:
    """What the figures rest on; every doubt about it in words."""

    def share(value: float | None) -> str:
        return "not known" if value is None else f"{value:.1%}"

    return [
        f"  coverage        {seen.securities:>20,} securities, of which {seen.ended:,} ended",
        *(
            f"  {name.replace('_', ' '):<23}{share(getattr(seen, name)):>13} of the sessions in which they were listed"
            for name in ("with_bars", "with_fundamentals", "with_market_value")
        ),
        *(f"  ! {doubt}" for doubt in (*seen.warnings, *seen.caveats)),
    ]
