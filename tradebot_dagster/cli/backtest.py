"""`tradebot backtest`: the backfill of a strategy's assets over past sessions, in process or by the running instance."""

import warnings
from dataclasses import asdict
from datetime import date
from pathlib import Path

import click

from tradebot_core.errors import ExecutionError
from tradebot_core.model.tables import BOOKS
from tradebot_core.quant.performance import Performance
from tradebot_core.trading.audit import broken_links
from tradebot_core.trading.report import Report
from tradebot_core.wiring import BACKTEST, Tradebot, load
from tradebot_dagster.cli.arguments import DAY, past_sessions
from tradebot_dagster.cli.output import emit, progress
from tradebot_dagster.cli.results_page import page
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
@click.option(
    "--report", "sheet", type=click.Path(path_type=Path, dir_okay=False), help="Write the tear sheet (HTML) there as well."
)
@click.option("--url", default="http://127.0.0.1:3000", show_default=True, help="The running instance, for --remote.")
@click.pass_obj
def backtest(
    config_path: Path, strategy: str, start: date, end: date, continued: bool, remote: bool, sheet: Path | None, url: str
) -> int:
    """Backtest STRATEGY from one session to another, and print what came of it.

    Money is USD; returns, volatility and drawdown are fractions; docs/backtests.md defines every figure. The tear sheet is
    reports/STRATEGY.html in the store's folder. Exit code 0 only when every session was done.

    \b
    Examples:
      tradebot backtest value_investor --start 2024-01-02 --end 2025-12-31 --json
      tradebot backtest value_investor --start 2024-01-02 --end 2025-12-31 --report value.html
    """
    bot = load(config_path)
    bot.sleeve(strategy)
    sessions = past_sessions(bot, start, end)
    progress(f"Backtest of {strategy} over {len(sessions)} sessions from {start} to {end} ...")
    if remote:
        run_id, made = _backfill(bot, strategy, sessions, Webserver(url.rstrip("/"))), None
    else:
        with heard_by(progress):
            run_id, made = _run_in_process(config_path, strategy, start, end, restart=not continued)
    book = bot.backtest_sessions(strategy, end)
    if not set(sessions) <= set(book):
        missing = sorted(set(sessions) - set(book))
        raise ExecutionError(
            f"The book of {strategy} does not reach over {len(missing)} of the sessions, the first being {missing[0]}.",
            f"Look at run {run_id} in the Dagster UI, or run it again without --continue and --remote.",
        )
    results = made or bot.report(strategy, end)
    written = [bot.tear_sheet(strategy) if made else bot.write_tear_sheet(results)]
    written += [bot.write_tear_sheet(results, sheet)] if sheet else []
    note = _replaced(bot, strategy, end)
    document = {
        "strategy": strategy,
        "start": results.start,
        "end": end,
        **_figures(results.performance),
        "coverage": asdict(results.coverage),
        "selection": asdict(results.selection),
        "run_id": run_id,
        "note": note,
        "round_trips": results.trades,
        "costs": results.costs,
        "years": results.years,
        "months": results.months,
        "positions": [{**asdict(trip), "total_return": trip.total_return} for trip in results.attribution.round_trips],
        "unattributed": results.attribution.unattributed,
        "layers": results.layers,
        "capacity": results.capacity,
        "doubts": results.doubts,
        "tear_sheet": written[-1],
    }
    shown = [page(results), *lines_of(results.selection), f"  run {run_id}", f"  tear sheet {written[-1]}", note]
    emit(document, "\n".join(filter(None, shown)))
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


def _run_in_process(config_path: Path, strategy: str, start: date, end: date, restart: bool) -> tuple[str, Report | None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Dagster announces its beta features once per asset
        from tradebot_dagster.instance import run_backtest_in_process  # noqa: PLC0415  loads Dagster

        done = run_backtest_in_process(config_path.resolve(), strategy, start, end, restart)
        return done.run_id, done.report


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


def _figures(found: Performance) -> dict[str, object]:
    return {name: value + 0.0 if isinstance(value, float) else value for name, value in asdict(found).items()}  # -0.0 is 0.0
