"""`tradebot trials`: every variant of a strategy that was ever tested, and what their number leaves of the result."""

from dataclasses import asdict
from pathlib import Path

import click

from tradebot_core.errors import MissingData
from tradebot_core.quant.performance import SESSIONS_PER_YEAR
from tradebot_core.trading.trials import Selection, Trial
from tradebot_core.wiring import load
from tradebot_dagster.cli.output import emit


@click.command()
@click.argument("strategy")
@click.pass_obj
def trials(config_path: Path, strategy: str) -> int:
    """Every trial of the class of STRATEGY, under whatever name and wherever it was run: the UI, backtest, sweep.

    A trial is a set of parameters, limits and costs, and the code of the strategy; another range or other data is the same trial. With the
    latest backtest of STRATEGY stands what is left of its Sharpe ratio when all of them are counted.

    \b
    Example: tradebot trials value_investor --json
    """
    bot = load(config_path)
    found = bot.trials(strategy)
    if not found:
        raise MissingData(f"No trial of {strategy} was ever run.", f"Run `tradebot backtest {strategy} --start ... --end ...`.")
    chosen = bot.selection(strategy) if bot.backtest_sessions(strategy) else None
    usual = bot.sleeve(strategy).strategy.params.model_dump(mode="json")
    document = {
        "strategy": strategy,
        "trials": [_plain(trial) for trial in found],
        "selection": asdict(chosen) if chosen is not None else None,
    }
    lines = [f"{strategy}: {sum(trial.counts for trial in found)} trials, {sum(trial.runs for trial in found)} runs."]
    lines.append(f"  {'trial':<18}{'first run':<12}{'runs':>5}{'sessions':>10}{'Sharpe':>8}  parameters set otherwise than now")
    for trial in found:
        sharpe = _annual(trial)
        other = {name: value for name, value in trial.parameters.items() if usual.get(name) != value}
        words = ", ".join(f"{name}={value}" for name, value in other.items()) or "none"
        note = "" if trial.counts else "  (a stress, not counted)"
        lines.append(
            f"  {trial.trial:<18}{trial.first_run:%Y-%m-%d}  {trial.runs:>5}{len(trial.returns):>10,}"
            f"{'-' if sharpe is None else f'{sharpe:.2f}':>8}  {trial.strategy}: {words}{note}"
        )
    left = [*lines_of(chosen), *(f"  ! {note}" for note in chosen.notes)] if chosen is not None else []
    emit(document, "\n".join([*lines, *left]))
    return 0


def lines_of(chosen: Selection) -> list[str]:
    """What remains of a result, in the form of the summary of a backtest."""

    def share(value: float | None) -> str:
        return "not known" if value is None else f"{value:.1%}"

    lucky = "not known" if chosen.lucky_sharpe is None else f"{chosen.lucky_sharpe:.2f}"
    return [
        f"  trials          {chosen.trials:>20,} in {chosen.runs:,} runs; the best of so many without merit: Sharpe {lucky}",
        f"  deflated Sharpe {share(chosen.deflated_sharpe):>20} probability that there is merit",
        f"  overfitting     {share(chosen.overfitting):>20} probability, told from {chosen.compared:,} trials",
    ]


def _annual(trial: Trial) -> float | None:
    return trial.sharpe * SESSIONS_PER_YEAR**0.5 if trial.sharpe is not None else None


def _plain(trial: Trial) -> dict[str, object]:
    days = [*trial.returns]
    return {
        "trial": trial.trial,
        "strategy": trial.strategy,
        "counts": trial.counts,
        "parameters": trial.parameters,
        "runs": trial.runs,
        "first_run": trial.first_run,
        "last_run": trial.last_run,
        "first_session": days[0],
        "last_session": days[-1],
        "sessions": len(days),
        "sharpe": _annual(trial),
    }
