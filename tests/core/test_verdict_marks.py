"""Verdicts say what made them: a backtest, a sweep or a live session runs on those of the strategy as it is, or is refused."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.markets import CONFIG, SESSIONS, fill_store, run_layers, tradebot
from tradebot_core.errors import MissingData, StrategyError
from tradebot_core.model.tables import LAYERS
from tradebot_core.trading import stored_markets
from tradebot_core.trading.stored_markets import MARKET
from tradebot_core.wiring import Tradebot

RANGE = SESSIONS[25:35]
CHANGES = {
    "parameter": ("min_score: 0.3", "min_score: 0.3, min_price: 58"),
    "data check": ("risk:", "quality: {{stale: 300}}\nrisk:"),
    "universe": ("risk:", "universe: {{symbols: [GOOD, FADE]}}\nrisk:"),
    "cut-off": ("risk:", "decision_cutoff: '21:00'\nrisk:"),
}


def judged(folder: Path, sessions: Sequence = RANGE) -> Tradebot:
    bot = tradebot(folder)
    fill_store(bot)
    run_layers(bot, "value_investor", sessions)
    return bot


def changed(folder: Path, what: str = "parameter") -> Tradebot:
    before, after = CHANGES[what]
    assert before in CONFIG
    return tradebot(folder, text=CONFIG.replace(before, after))


@pytest.mark.parametrize("what", CHANGES)
def test_a_backtest_on_verdicts_that_something_else_made_is_refused_and_is_no_trial(tmp_path: Path, what: str) -> None:
    judged(tmp_path).backtest("value_investor", RANGE[:5])
    bot = changed(tmp_path, what)
    with pytest.raises(MissingData) as refused:
        bot.backtest("value_investor", RANGE, restart=True)
    assert refused.value.cause.startswith(
        "Layer screen of value_investor was evaluated with other rules, parameters, code, data checks"
    )
    assert refused.value.cause.endswith(f"in 10 sessions from {RANGE[0]} on.")
    assert f"`tradebot backtest value_investor --start {RANGE[0]} --end {RANGE[-1]}`" in refused.value.mend
    assert len(bot.trials("value_investor")) == 1  # that of before
    run_layers(bot, "value_investor", RANGE)
    assert len(bot.backtest("value_investor", RANGE, restart=True)["equity"]) == 10


def test_only_the_layers_behind_a_change_are_asked_for_again(tmp_path: Path) -> None:
    judged(tmp_path)
    bot = tradebot(tmp_path, text=CONFIG.replace("min_score: 0.3", "min_score: 0.35"))
    strategy = bot.sleeve("value_investor").strategy
    with pytest.raises(MissingData, match="Layer analyze of value_investor was evaluated with other rules"):
        bot.backtest("value_investor", RANGE)
    bot.markets.run_layer(strategy, "analyze", RANGE)
    bot.backtest("value_investor", RANGE)


def test_what_the_decide_step_alone_looks_at_leaves_the_verdicts_valid(tmp_path: Path) -> None:
    judged(tmp_path)
    tradebot(tmp_path, text=CONFIG.replace("max_positions: 4", "max_positions: 2")).backtest("value_investor", RANGE)


def test_a_part_that_was_judged_again_is_not_mixed_with_the_rest(tmp_path: Path) -> None:
    judged(tmp_path)
    bot = changed(tmp_path)
    run_layers(bot, "value_investor", RANGE[:4])
    with pytest.raises(MissingData, match=f"Layer screen of value_investor was evaluated .* in 6 sessions from {RANGE[4]} on"):
        bot.backtest("value_investor", RANGE)


def test_verdicts_that_are_older_than_marks_are_evaluated_again(tmp_path: Path) -> None:
    bot = judged(tmp_path)
    (written,) = (tmp_path / "store").glob("results/value_investor/market/*.screen/sessions.json")
    (days,) = json.loads(written.read_text()).values()
    written.write_text(json.dumps(days))  # as it was
    with pytest.raises(MissingData, match=r"by a release that did not note them\) in 10 sessions"):
        bot.backtest("value_investor", RANGE)
    run_layers(bot, "value_investor", RANGE)
    bot.backtest("value_investor", RANGE)


def test_another_layer_is_not_evaluated_on_verdicts_that_something_else_made(tmp_path: Path) -> None:
    judged(tmp_path)
    bot = changed(tmp_path)
    with pytest.raises(MissingData, match="Layer screen of value_investor was evaluated with other rules"):
        bot.markets.run_layer(bot.sleeve("value_investor").strategy, "analyze", RANGE)


def test_a_sweep_on_stored_verdicts_asks_for_those_of_the_present_definition(tmp_path: Path) -> None:
    judged(tmp_path)
    bot = changed(tmp_path)
    with pytest.raises(MissingData, match="Layer screen of value_investor was evaluated with other rules"):
        bot.sweep(["value_investor@as_is"], RANGE, stored="value_investor")
    assert bot.trials("value_investor") == []
    run_layers(bot, "value_investor", RANGE)
    assert bot.sweep(["value_investor@as_is"], RANGE, stored="value_investor") == {"evaluated": 0, "shared": 2}


def test_verdicts_that_are_replaced_while_they_are_read_are_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bot, other = judged(tmp_path), changed(tmp_path)
    read, done = type(bot.store).read_results, []

    def slowly(store, table, *rest, **named):
        found = read(store, table, *rest, **named)
        if table is LAYERS and not done:
            done.append(True)
            run_layers(other, "value_investor", RANGE)
        return found

    monkeypatch.setattr(type(bot.store), "read_results", slowly)
    with pytest.raises(MissingData, match="was evaluated with other rules"):
        bot.backtest("value_investor", RANGE)


@pytest.mark.parametrize("fails_in", ["screen", "analyze"])
def test_a_second_layer_that_fails_leaves_nothing_old_beside_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails_in: str
) -> None:
    """Within one year, and in a part of what is stored. Where the first fails nothing was replaced, and nothing is lost."""
    bot = judged(tmp_path)
    strategy, evaluate = bot.sleeve("value_investor").strategy, stored_markets.evaluate_next

    def fails(strategy, layer, *rest):
        if layer.name == fails_in:
            raise StrategyError("It fails.")
        return evaluate(strategy, layer, *rest)

    monkeypatch.setattr(stored_markets, "evaluate_next", fails)
    with pytest.raises(StrategyError, match="It fails"):
        list(bot.markets.layers_by_year(strategy, ["screen", "analyze"], RANGE[4:]))
    there = {name: list(bot.store.result_sessions(LAYERS, "value_investor", MARKET, name)) for name in ("screen", "analyze")}
    assert there == {"screen": list(RANGE), "analyze": list(RANGE[:4] if fails_in == "analyze" else RANGE)}
    if fails_in == "analyze":
        with pytest.raises(
            MissingData, match=f"Layer analyze of value_investor has no verdicts for 6 sessions from {RANGE[4]} on"
        ):
            bot.backtest("value_investor", RANGE)


def test_a_layer_that_notes_what_it_saw_has_one_mark(tmp_path: Path) -> None:
    """A mark is of what a layer is before it has done anything."""
    bot = judged(tmp_path)
    strategy = bot.sleeve("value_investor").strategy
    layers = strategy.layers()
    strategy.layers = lambda: layers  # the same objects each time
    marks = bot.markets.marks(strategy)
    object.__setattr__(layers[0], "seen", 1)
    assert bot.markets.marks(strategy) == marks
