"""Sweeps in several runs: one for what their variants have in common, then one for each part, side by side wherever runs are executed."""

from collections.abc import Callable, Sequence
from datetime import date

import dagster as dg

from tradebot_dagster.resources import Research

SWEEP = "sweep"
_OP = "backtest_variants"


class SweepSettings(dg.Config):
    """`variants` are all of the sweep (strategy@variant). Without `part` the run makes what its `parts` have in common, with it one of
    them, from 0 on. The sessions are those from `start` to `end`."""

    variants: list[str]
    start: str
    end: str
    parts: int
    part: int | None = None

    @property
    def run_config(self) -> dict[str, object]:
        """Of a run of the job."""
        return {"ops": {_OP: {"config": self.model_dump(exclude_none=True)}}}


@dg.op(
    name=_OP,
    description="Walks variants of a strategy through the same sessions, on the facts in the store, each on a new book under its own "
    "name. Layers that several parts have in common are computed by the run before them.",
)
def backtest_variants(context: dg.OpExecutionContext, config: SweepSettings, research: dg.ResourceParam[Research]) -> None:
    sessions = research.calendar.sessions(date.fromisoformat(config.start), date.fromisoformat(config.end))
    research.sweep(config.variants, sessions, config.parts, config.part, context.log.info)


@dg.job(name=SWEEP, description="A part of a sweep. `tradebot sweep --remote` launches all of them and prints what came of it.")
def sweep() -> None:
    backtest_variants()


def settings_of_parts(
    variants: Sequence[str], sessions: Sequence[date], parts: int
) -> tuple[SweepSettings, list[SweepSettings]]:
    """Of the run that comes first, and of those that follow it."""

    def settings(part: int | None) -> SweepSettings:
        first, last = sessions[0].isoformat(), sessions[-1].isoformat()
        return SweepSettings(variants=list(variants), start=first, end=last, parts=parts, part=part)

    return settings(None), [settings(part) for part in range(parts)]


def launched(
    variants: Sequence[str],
    sessions: Sequence[date],
    parts: int,
    launch: Callable[[str, dict[str, object]], str],
    wait: Callable[[Sequence[str]], None],
) -> None:
    """Has the runs of a sweep executed: `launch` (job, run config) gives a run's id, `wait` returns when runs have succeeded."""
    common, own = settings_of_parts(variants, sessions, parts)
    if parts > 1:
        wait([launch(SWEEP, common.run_config)])
    wait([launch(SWEEP, settings.run_config) for settings in own])
