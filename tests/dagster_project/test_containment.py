"""A strategy that fails stops its own assets, and those of no other strategy of the same run."""

from pathlib import Path

import dagster as dg
import pytest

from tests import markets
from tests.core.test_symbol_workers import two_strategies
from tests.dagster_project.project import project
from tradebot_core.model.tables import DECISIONS, LAYERS

FIRST, LAST = markets.SESSIONS[25], markets.SESSIONS[28]
STEPS = ("screen", "backtest", "performance")


@pytest.mark.parametrize(
    ("which", "told"),
    [
        (
            "RaisesLate",
            "Layer screen of hostile failed at FADE in 2024-02-08: KeyError: 'no such thing' (failing_strategies.py, line ",
        ),
        ("Loops", "Layer screen of hostile was stopped at FADE in 2024-02-07: the session took longer than 0.5 s"),
        ("EndsItsProcess", "Layer screen of hostile ended its process at FADE in 2024-02-07, with exit code 3"),
        ("TooMuch", "Strategy hostile, session 2024-02-07: the target weights add up to 2.4000 of the sleeve"),
        ("DecidesForever", "Strategy hostile, session 2024-02-07: its decision was stopped after 0.5 s"),
    ],
)
def test_what_a_strategy_does_stops_it_and_no_other(tmp_path: Path, which: str, told: str) -> None:
    with project(two_strategies(tmp_path, which)) as both:
        result = both.run(*(f"{name}/{step}" for name in ("hostile", "sound") for step in STEPS), first=FIRST, last=LAST)
        assert not result.success
        materialized = {key: both.instance.get_materialized_partitions(dg.AssetKey(key.split("/"))) for key in of_both()}
    (failure,) = result.get_step_failure_events()
    assert told in failure.step_failure_data.error.to_string()
    in_decision = which in ("TooMuch", "DecidesForever")
    assert failure.step_key == ("hostile__backtest" if in_decision else "hostile__layers")
    # All sessions of the other strategy, and of this one none from the asset that failed on.
    assert {key: len(found) for key, found in materialized.items()} == {
        "hostile/screen": 4 if in_decision else 0,
        "hostile/backtest": 0,
        "sound/screen": 4,
        "sound/backtest": 4,
    }
    assert list(both.bot.store.result_sessions(DECISIONS, "hostile", "backtest")) == []
    assert len(both.bot.store.result_sessions(LAYERS, "hostile", "market", "screen")) == (4 if in_decision else 0)


def of_both() -> list[str]:
    return [f"{name}/{step}" for name in ("hostile", "sound") for step in STEPS[:2]]
