"""A sweep divided into parts for several processes leaves what one process leaves."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests import markets
from tests.core.test_variants import WITH_VARIANTS
from tests.markets import SESSIONS, fill_store
from tradebot_core.trading.layer_identity import layer_digests
from tradebot_core.trading.stored_markets import StoredMarkets
from tradebot_core.wiring import Tradebot

RANGE = SESSIONS[25:60]
NAMES = [
    f"value_investor@{variant}"
    for variant in (
        *("as_is", "delayed", "costs_doubled", "few", "strict", "max_positions=2"),
        *(
            "max_positions=2,min_return_on_capital=0.9",
            "min_return_on_capital=0.5",
            "max_positions=1,min_return_on_capital=0.5",
        ),
    )
]


def bot_in(folder: Path) -> Tradebot:
    bot = markets.tradebot(folder, text=WITH_VARIANTS)
    fill_store(bot)
    return bot


def results_of(folder: Path) -> dict[str, bytes]:
    results = folder / "store" / "results"
    return {str(path.relative_to(results)): path.read_bytes() for path in sorted(results.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def in_one(tmp_path_factory):
    """The sweep in one process: its folder, and how many layers it evaluated and shared."""
    folder = tmp_path_factory.mktemp("one")
    bot = bot_in(folder)
    return folder, bot, bot.sweep(NAMES, RANGE)


@given(st.lists(st.sampled_from(NAMES), min_size=1, unique=True), st.integers(1, 12))
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_each_variant_is_in_one_part_and_what_parts_share_is_no_parts_own(in_one, names, number):
    _, bot, _ = in_one
    division = bot.divide_sweep(names, number)
    assert sorted(one.name for part in division.parts for one in part) == sorted(names)
    sizes = [len(part) for part in division.parts]
    assert len(sizes) == min(number, len(names)) and max(sizes) - min(sizes) <= 1
    needed = [{digest for one in part for digest in layer_digests(one.strategy).values()} for part in division.parts]
    for n, own in enumerate(division.own):
        others = set().union(*(digests for m, digests in enumerate(needed) if m != n))
        assert own == needed[n] - others and needed[n] <= own | division.common


def test_variants_of_one_market_stay_together(in_one):
    _, bot, _ = in_one
    parts = bot.divide_sweep(["value_investor@as_is", "value_investor@strict", "value_investor@max_positions=2"], 2).parts
    assert [[one.name.partition("@")[2] for one in part] for part in parts] == [["as_is"], ["max_positions=2", "strict"]]


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
def test_the_parts_in_any_order_leave_the_bytes_of_the_sweep_and_evaluate_each_layer_once(tmp_path, monkeypatch, in_one, order):
    folder, whole, counts = in_one
    bot, evaluated = bot_in(tmp_path), []
    evaluate = StoredMarkets.layers_by_year

    def counted(markets, strategy, layers, sessions):
        evaluated.extend((strategy.name, layer) for layer in layers)
        return evaluate(markets, strategy, layers, sessions)

    monkeypatch.setattr(StoredMarkets, "layers_by_year", counted)
    bot.sweep_common(NAMES, RANGE, 3)
    for part in order:
        bot.sweep_part(NAMES, RANGE, 3, part)
    assert results_of(tmp_path) == results_of(folder)
    assert len(evaluated) == counts["evaluated"] == 4
    assert bot.divide_sweep(NAMES, 3).counts == counts
    recorded, expected = (
        sorted((run.strategy, run.trial, run.counts, run.returns) for run in each.store.trials.runs()) for each in (bot, whole)
    )
    assert recorded == expected and len(recorded) == len(NAMES)
    assert [bot.selection(name) for name in NAMES] == [whole.selection(name) for name in NAMES]


def test_a_part_without_what_comes_before_it_says_what_is_missing(tmp_path):
    from tradebot_core.errors import MissingData

    with pytest.raises(MissingData, match="has no verdicts"):
        bot_in(tmp_path).sweep_part(NAMES, RANGE, 3, 0)
