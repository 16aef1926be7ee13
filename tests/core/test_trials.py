"""The record of trials: what is one, what is not forgotten, and what their number leaves of a result."""

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import markets
from tests.markets import CONFIG, SESSIONS, fill_store, run_layers
from tradebot_core.errors import StoreError
from tradebot_core.model.trial import TrialRun
from tradebot_core.stores.trial_file import TrialFile
from tradebot_core.trading import code_version as code_module
from tradebot_core.trading.trials import selection, trials_of

RANGE = SESSIONS[25:]
AT = datetime(2026, 11, 24, 12, tzinfo=UTC)


def run_of(trial: str, returns, first: date = date(2020, 1, 1), **changed) -> TrialRun:
    sessions = tuple(first + timedelta(days=n) for n in range(len(returns)))
    usual = TrialRun(
        trial, "idea", "s", True, {"a": 1}, "f", sessions, tuple(returns), "d", "c", "k", None, None, None, None, None, AT
    )
    return replace(usual, **changed)


def noise(seed: int, sessions: int = 640, mean: float = 0.0):
    return np.random.default_rng(seed).normal(mean, 0.01, sessions).tolist()


@pytest.fixture
def bot(tmp_path):
    bot = markets.tradebot(tmp_path)
    fill_store(bot)
    run_layers(bot, "value_investor", RANGE)
    return bot


# The record


def test_what_is_recorded_is_read_back_as_it_was(tmp_path):
    record = TrialFile(tmp_path / "trials.sqlite")
    assert record.runs() == []
    run = run_of("t", [0.1, -0.2], parameters={"b": [1, "x"], "a": None}, sharpe=0.5, counts=False)
    assert record.record(run)
    assert record.runs() == [run] == record.runs("idea")
    assert record.runs("another idea") == []


@settings(deadline=None)
@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=50))
def test_returns_lose_no_digit(tmp_path_factory, returns):
    record = TrialFile(tmp_path_factory.mktemp("trials") / "trials.sqlite")
    record.record(run_of("t", returns))
    assert list(record.runs()[0].returns) == returns


def test_the_very_same_run_is_recorded_once_and_one_on_other_data_again(tmp_path):
    record = TrialFile(tmp_path / "trials.sqlite")
    run = run_of("t", [0.1])
    assert record.record(run) and not record.record(replace(run, at=AT + timedelta(days=1)))
    for changed in ({"data_version": "d2"}, {"code_version": "c2"}, {"returns": (0.2,)}, {"strategy": "s@as_is"}):
        assert record.record(replace(run, **changed))
    assert len(record.runs()) == 5


def test_nothing_is_changed_or_forgotten(tmp_path):
    path = tmp_path / "trials.sqlite"
    TrialFile(path).record(run_of("t", [0.1]))
    with sqlite3.connect(path) as database:
        for statement in ("DELETE FROM runs", "UPDATE runs SET sharpe = 9"):
            with pytest.raises(sqlite3.IntegrityError):
                database.execute(statement)


def test_several_writers_lose_nothing(tmp_path):
    path = tmp_path / "trials.sqlite"
    with ThreadPoolExecutor(8) as pool:
        done = list(pool.map(lambda n: TrialFile(path).record(run_of(f"t{n}", [n / 100])), range(40)))
    assert all(done)
    assert {run.trial for run in TrialFile(path).runs()} == {f"t{n}" for n in range(40)}


@pytest.mark.parametrize("content", [b"", b"no database at all, certainly not one" * 100])
def test_a_damaged_or_emptied_record_is_named_and_not_begun_anew(tmp_path, content):
    path = tmp_path / "trials.sqlite"
    path.write_bytes(content)
    for use in (lambda: TrialFile(path).runs(), lambda: TrialFile(path).record(run_of("t", [0.1]))):
        with pytest.raises(StoreError, match=r"trials\.sqlite"):
            use()


# What is a trial


def test_every_backtest_is_recorded_with_what_it_was_made_of(bot):
    bot.backtest("value_investor", RANGE)
    (run,) = bot.store.trials.runs()
    assert run.strategy == "value_investor"
    assert run.idea == "tradebot_core.strategies.value_investor.strategy.ValueInvestor"
    assert (run.parameters["max_positions"], run.parameters["stop_loss"]) == (4, 0.3)
    assert run.settings == bot.sleeve("value_investor").settings
    assert run.sessions == tuple(RANGE)
    assert run.data_version == bot.store.data_version()
    assert run.code_version.startswith("0.1.0+")
    assert run.at == bot.clock.now()
    growth = np.prod(1 + np.array(run.returns))
    assert 50_000 * growth == pytest.approx(bot.performance("value_investor").final_equity, abs=1e-6)
    assert run.sharpe * 252**0.5 == pytest.approx(bot.performance("value_investor").sharpe)


def test_to_extend_a_range_or_to_run_it_again_is_no_new_trial(bot):
    whole = bot.backtest("value_investor", RANGE)
    returns = bot.store.trials.runs()[0].returns
    bot.backtest("value_investor", RANGE[:40], restart=True)
    bot.backtest("value_investor", RANGE[40:41])
    bot.backtest("value_investor", RANGE[41:])
    (trial,) = bot.trials("value_investor")
    assert (trial.runs, tuple(trial.returns)) == (4, tuple(RANGE))
    assert tuple(trial.returns.values()) == pytest.approx(returns, abs=1e-15)
    assert len(whole["equity"]) == len(returns)
    bot.backtest("value_investor", RANGE, restart=True)
    assert bot.trials("value_investor")[0].runs == 4  # the very same run


def test_other_parameters_limits_or_costs_are_other_trials_under_whatever_name(tmp_path):
    for written, instead in (
        ("max_positions: 4", "max_positions: 4"),
        ("max_positions: 4", "max_positions: 2"),
        ("max_order_notional: 20000", "max_order_notional: 10000"),
        ("name: value_investor", "name: renamed"),
    ):
        bot = markets.tradebot(tmp_path, text=CONFIG.replace(written, instead))
        name = next(iter(bot.sleeves))
        fill_store(bot)
        run_layers(bot, name, RANGE[:30])
        bot.backtest(name, RANGE[:30], restart=True)
    assert [trial.runs for trial in bot.trials("renamed")] == [2, 1, 1]  # the first ran under two names


def test_an_edited_rule_is_another_trial_and_a_comment_is_none(tmp_path):
    texts = {
        "usual": 'class S:\n    """Buys."""\n    def decide(self):\n        return 1\n',
        "said otherwise": 'class S:\n    """Buys low."""\n\n    def decide(self):  # why\n        return (1)\n',
        "edited": 'class S:\n    """Buys."""\n    def decide(self):\n        return 2\n',
        "annotated": "class S:\n    def decide(self) -> int:\n        return 1\n",
    }
    meaning = {name: code_module._meaning(text) for name, text in texts.items()}
    assert meaning["usual"] == meaning["said otherwise"]
    assert len(set(meaning.values())) == 3


def test_a_stress_is_recorded_and_not_counted(bot):
    bot.sweep(["value_investor@as_is", "value_investor@delayed", "value_investor@costs_doubled"], RANGE)
    assert [(trial.strategy, trial.counts) for trial in bot.trials("value_investor")] == [
        ("value_investor@as_is", True),
        ("value_investor@delayed", False),
        ("value_investor@costs_doubled", False),
    ]
    assert bot.selection("value_investor@as_is").trials == 1


def test_the_version_of_the_data_changes_with_any_fact_and_with_no_result(bot):
    before = bot.store.data_version()
    bot.backtest("value_investor", RANGE[:5])
    assert bot.store.data_version() == before
    fill_store(bot)  # the same facts
    assert bot.store.data_version() == before
    late = markets.filing("GOOD", date(2024, 3, 31), datetime(2024, 6, 1, 12, tzinfo=UTC))
    markets._append(bot, markets.FUNDAMENTALS, [late], datetime(2024, 6, 2, tzinfo=UTC))
    assert bot.store.data_version() != before


# What remains


def test_of_a_single_trial_nothing_is_taken_off():
    returns = noise(1, mean=0.001)
    run = run_of("t", returns)
    found = selection([run], run.sessions, returns)
    assert (found.trials, found.lucky_sharpe, found.overfitting) == (1, 0.0, None)
    assert found.deflated_sharpe > 0.95 and found.passed


def test_the_same_result_among_many_trials_is_worth_less():
    returns = noise(1, mean=0.001)
    runs = [run_of("t", returns), *(run_of(f"n{n}", noise(n)) for n in range(2, 40))]
    found = selection(runs, runs[0].sessions, returns)
    alone = selection(runs[:1], runs[0].sessions, returns)
    assert (found.trials, found.compared, found.sharpe) == (39, 39, alone.sharpe)
    assert found.deflated_sharpe < alone.deflated_sharpe
    assert found.lucky_sharpe > 1
    assert 0 <= found.overfitting <= 1


def test_trials_of_other_sessions_count_and_are_not_compared():
    mine = run_of("t", noise(1))
    elsewhere = run_of("u", noise(2), first=date(2010, 1, 1))
    longer = run_of("v", noise(3, 1000), first=date(2019, 12, 1))
    found = selection([mine, elsewhere, longer], mine.sessions, mine.returns)
    assert (found.trials, found.compared) == (3, 2)
    assert found.overfitting is not None
    found = selection([mine, elsewhere], mine.sessions, mine.returns)
    assert found.overfitting is None
    assert "Of 2 trials, 1 were run on every session of this book" in " ".join(found.notes)
    assert not found.passed  # what is not known does not pass


def test_a_flat_book_has_nothing_to_deflate():
    run = run_of("t", [0.0] * 100)
    found = selection([run], run.sessions, run.returns)
    assert (found.sharpe, found.deflated_sharpe, found.passed) == (None, None, False)
    assert "no Sharpe ratio to deflate" in found.notes[0]


def test_of_a_session_run_twice_the_last_word_counts():
    first, second = run_of("t", [0.01, 0.02, 0.03]), run_of("t", [0.05], first=date(2020, 1, 2))
    (trial,) = trials_of([first, second])
    assert list(trial.returns.values()) == [0.01, 0.05, 0.03]


def test_a_book_older_than_the_record_counts_as_one_trial(bot):
    tables = bot.backtest("value_investor", RANGE)
    returns = tables["equity"]["equity"].cast(pl.Float64).pct_change().drop_nulls().to_list()
    assert selection([], RANGE[1:], returns).trials == 1
