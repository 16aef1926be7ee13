"""`tradebot sweep`: variants of a strategy over the same sessions, what they have in common computed once."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import date
from pathlib import Path

import click

from tradebot_core.errors import UsageError
from tradebot_core.quant.walk_forward import FIGURES, WalkForward
from tradebot_core.trading.trials import Selection
from tradebot_core.trading.variants import AS_IS, grid, in_words, variant_name
from tradebot_core.wiring import Tradebot, load
from tradebot_dagster.cli.arguments import DAY, past_sessions
from tradebot_dagster.cli.output import emit, progress
from tradebot_dagster.cli.trials import lines_of
from tradebot_dagster.webserver import Webserver

_MOST = 500  # variants of one sweep
_RUNS = 4  # of an instance without a limit
_REMOTE_PATIENCE_S = 6 * 3600


class _Windows(click.ParamType):
    name = "TRAIN_YEARS,TEST_YEARS"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        if isinstance(value, tuple):
            return value
        train, comma, test = str(value).partition(",")
        if not (comma and train.isdecimal() and test.isdecimal() and int(train) and int(test)):
            self.fail(f"{value!r} is not two numbers of years. Write it as 3,1.", param, ctx)
        return int(train), int(test)


@click.command()
@click.argument("strategy")
@click.option("--start", type=DAY, required=True, help="First session.")
@click.option("--end", type=DAY, required=True, help="Last session.")
@click.option(
    "--param", "params", multiple=True, metavar="NAME=A,B,...", help="Values of a parameter; all combinations are run."
)
@click.option("--walk-forward", "windows", type=_Windows(), help="Choose in each training window, join the windows after them.")
@click.option(
    "--by", "figure", type=click.Choice(sorted(FIGURES)), default="sharpe", show_default=True, help="What the choice is by."
)
@click.option("--remote", is_flag=True, help="Let the running instance do it, in several runs side by side.")
@click.option("--runs", type=click.IntRange(min=1), help="How many, for --remote.  [default: as many as it executes at a time]")
@click.option("--url", default="http://127.0.0.1:3000", show_default=True, help="The running instance, for --remote.")
@click.pass_obj
def sweep(
    config_path: Path,
    strategy: str,
    start: date,
    end: date,
    params: tuple[str, ...],
    windows: tuple[int, int] | None,
    figure: str,
    remote: bool,
    runs: int | None,
    url: str,
) -> int:
    """Backtest variants of STRATEGY side by side, on the facts that are in the store.

    The variants are: the strategy as it is; with the layers' verdicts a session late (delayed); with twice the costs (costs_doubled);
    those of the configuration; and all combinations of --param. Each has its own book under strategy@variant, and each counts as a trial.
    Nothing is traded, and the strategy's own backtest stays as it is.

    \b
    Example: tradebot sweep value_investor --start 2016-01-04 --end 2025-12-31 \\
               --param max_positions=5,10,20 --param stop_loss=0.2,0.3 --walk-forward 3,1
    """
    bot = load(config_path)
    names = _names(bot, strategy, params)
    sessions = past_sessions(bot, start, end)
    if windows is not None:
        bot.require_windows(sessions, *windows)
    progress(f"{len(names)} variants of {strategy} over {len(sessions)} sessions from {start} to {end} ...")
    if remote:
        layers = _by_instance(bot, names, sessions, runs, Webserver(url.rstrip("/")))
    else:
        layers = bot.sweep(names, sessions, progress=progress)
    rows = [_row(bot, name, start, end) for name in names]
    forward = bot.walk_forward(names, start, end, *windows, figure) if windows is not None else None
    document = {"strategy": strategy, "start": start, "end": end, "layers": layers, "variants": rows}
    document["walk_forward"] = asdict(forward) if forward is not None else None
    emit(document, "\n".join(_page(rows, layers, forward, figure)))
    return 0


def _by_instance(
    bot: Tradebot, names: Sequence[str], sessions: Sequence[date], runs: int | None, server: Webserver
) -> Mapping[str, int]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from tradebot_dagster.defs.sweeps import launched  # noqa: PLC0415  loads Dagster

    division = bot.divide_sweep(names, runs or server.runs_at_a_time() or _RUNS)
    progress(f"{len(division.parts)} runs, after one for what they have in common: {server.url}/runs")
    launched(names, sessions, len(division.parts), server.launch_run, lambda ids: server.wait_for_runs(ids, _REMOTE_PATIENCE_S))
    return division.counts


def _names(bot: Tradebot, strategy: str, params: Sequence[str]) -> list[str]:
    combinations = grid(params)
    if len(combinations) > _MOST:
        raise UsageError(f"{len(combinations)} combinations are more than the {_MOST} of one sweep.", "Give fewer values.")
    asked = [variant_name(strategy, in_words(overrides)) for overrides in combinations]
    names = [variant_name(strategy, AS_IS), *bot.variants(strategy), *asked]
    return [bot.tested(name).name for name in names]  # all of them are made before any is run


def _row(bot: Tradebot, name: str, start: date, end: date) -> dict[str, object]:
    found = asdict(bot.performance(name, start, end))
    figures = {figure: value + 0.0 if isinstance(value, float) else value for figure, value in found.items()}  # -0.0 is 0.0
    as_is = name.partition("@")[0] + f"@{AS_IS}"
    against = bot.compare(as_is, name, start, end)
    return {
        "variant": name.partition("@")[2],
        **figures,
        "first_difference": against.first,
        "different_decisions": len(against.differences),
        "selection": asdict(bot.selection(name, start, end)),
    }


def _page(
    rows: Sequence[Mapping[str, object]], layers: Mapping[str, int], forward: WalkForward | None, figure: str
) -> list[str]:
    def share(value: object) -> str:
        return "-" if value is None else f"{value:.1%}"

    def number(value: object) -> str:
        return "-" if value is None else f"{value:.2f}"

    wide = max(len(str(row["variant"])) for row in rows) + 2
    lines = [f"Layers: {layers['evaluated']} evaluated, {layers['shared']} shared."]
    lines.append(
        f"  {'variant':<{wide}}{'CAGR':>8}{'vol.':>8}{'Sharpe':>8}{'drawdown':>10}{'trades':>8}{'commission':>12}{'deflated':>10}"
        "  other decisions than as_is, since"
    )
    for row in rows:
        chosen: Mapping[str, object] = row["selection"]  # type: ignore[assignment]
        since = f"{row['different_decisions']:,}, {row['first_difference']}" if row["different_decisions"] else "none"
        lines.append(
            f"  {row['variant']:<{wide}}{share(row['cagr']):>8}{share(row['volatility']):>8}{number(row['sharpe']):>8}"
            f"{share(row['max_drawdown']):>10}{row['trades']:>8,}{row['commission']:>12,.2f}{share(chosen['deflated_sharpe']):>10}"
            f"  {since}"
        )
    own: Mapping[str, object] = rows[0]["selection"]  # type: ignore[assignment]
    lines += ["Of the strategy as it is, when everything tried is counted:", *lines_of(Selection(**own))]  # type: ignore[arg-type]
    if forward is not None:
        lines += _forward(forward, figure)
    return lines


def _forward(forward: WalkForward, figure: str) -> list[str]:
    def number(value: float | None) -> str:
        return "-" if value is None else f"{value:.2f}"

    lines = [f"Walk-forward by {figure}: chosen in training, followed after it."]
    lines += [
        f"  {w.train_start} to {w.train_end}: {w.chosen.partition('@')[2]} ({number(w.figure)}); "
        f"then {w.test_start} to {w.test_end}: {number(w.out_of_sample)}"
        for w in forward.windows
    ]
    total = forward.equity[-1] - 1
    lines.append(
        f"  joined out of sample: {total:+.2%} in {len(forward.sessions):,} sessions; to change books costs nothing here."
    )
    return lines
