"""Layers that ask a trained model: what it may learn from, who it is, and that it is the same wherever it is asked."""

import json
import os
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from tests.core import model_strategies
from tests.core.test_parity import make, replayed, result_files, run
from tests.markets import SESSIONS, XNYS, bar, fill_store, run_layers, security_of, tradebot
from tests.scripted import append
from tradebot_core.errors import ConfigurationError, StrategyError
from tradebot_core.model.tables import ACTIONS, BARS, FUNDAMENTALS, LAYERS, SECURITIES
from tradebot_core.quant.forward_returns import forward_returns
from tradebot_core.trading.explain import explain
from tradebot_core.trading.stored_markets import MARKET
from tradebot_core.trading.training import Models, known_by, sampled, trained_until
from tradebot_core.wiring import Tradebot

pytest.importorskip("sklearn", reason="the extra `models` is not installed")

ROOT = Path(__file__).parents[2]
RANGE = SESSIONS[25:]  # from February on; a model is first there in April
TRAINED = date(2024, 3, 28)  # the last session of the first quarter
APRIL = [session for session in RANGE if session.month == 4]
TEXT = "data_store: {{backend: file, path: {store}}}\nfirst_session: 2024-01-02\nallowed_packages: [tests]\n"


def text_of(*which: str, layers: str = "") -> str:
    blocks = [
        f"  - {{{{name: {name.lower()}, class_path: tests.core.model_strategies.{name}, allocated_capital: 20000}}}}\n"
        for name in which
    ]
    return TEXT + layers + "risk: {{max_order_notional: 20000, max_position_weight: 0.5}}\nstrategies:\n" + "".join(blocks)


def start(folder: Path, which: str = "Foretelling", layers: str = "") -> Tradebot:
    bot = tradebot(folder, text=text_of(which, layers=layers))
    fill_store(bot)
    return bot


def verdicts_of(bot: Tradebot, name: str = "foretelling") -> pl.DataFrame:
    return bot.store.read_results(LAYERS, name, MARKET, layer="foretold")


def training_rows(bot: Tradebot, until: date, name: str = "foretelling") -> pl.DataFrame:
    strategy = bot.sleeve(name).strategy
    return Models(bot.markets).training_rows(strategy, strategy.layers()[0], until)


# What a model may learn from


def test_a_model_is_trained_at_the_last_cut_off_before_its_year_or_quarter():
    layer = model_strategies.Foretold()
    assert trained_until(layer, date(2024, 4, 1), XNYS) == TRAINED
    assert trained_until(layer, date(2024, 6, 28), XNYS) == TRAINED
    assert trained_until(layer, TRAINED, XNYS) == date(2023, 12, 29)
    layer.retrained = "year"
    assert trained_until(layer, date(2024, 1, 2), XNYS) == trained_until(layer, date(2024, 12, 31), XNYS) == date(2023, 12, 29)


def test_training_rows_are_one_session_a_month_whose_return_had_ended():
    layer = model_strategies.Foretold()
    layer.years = 1
    assert sampled(layer, date(2024, 3, 28), XNYS)[-2:] == [date(2024, 2, 1), date(2024, 3, 1)]
    on, before = XNYS.offset(date(2024, 3, 1), 4), XNYS.offset(date(2024, 3, 1), 3)
    assert sampled(layer, on, XNYS)[-1] == date(2024, 3, 1)
    assert sampled(layer, before, XNYS)[-1] == date(2024, 2, 1)  # its return ends a session after the training


def test_training_rows_hold_what_the_layer_would_have_seen_and_what_came_of_it(tmp_path):
    bot = start(tmp_path)
    rows = training_rows(bot, TRAINED)
    assert set(rows["session"]) == {date(2024, 2, 1), date(2024, 3, 1)}  # in January nothing had been filed
    assert (rows["label_end"] <= TRAINED).all()
    found = rows.filter(security_id=security_of("GOOD"), session=date(2024, 3, 1)).row(0, named=True)
    n = SESSIONS.index(date(2024, 3, 1))
    then, later = (bar("GOOD", at, SESSIONS[at])["close"] for at in (n, n + 4))
    assert found["forward_return"] == pytest.approx(later / then - 1)
    assert found["cheapness"] == pytest.approx(7e8 / (1e8 * then))
    assert found["label_end"] == SESSIONS[n + 4]


def test_rows_that_end_after_the_training_are_refused():
    rows = pl.DataFrame({"label_end": [TRAINED, TRAINED + timedelta(days=1)]})
    assert known_by(TRAINED, rows[:1], "Layer x of y").height == 1
    with pytest.raises(StrategyError, match="Layer x of y: 1 training rows end after 2024-03-28"):
        known_by(TRAINED, rows, "Layer x of y")
    with pytest.raises(StrategyError, match="1 training rows end after"):
        known_by(
            TRAINED,
            pl.DataFrame({"label_end": [None]}, schema={"label_end": pl.Date}).with_columns(label_end=date(2025, 1, 1)),
            "x",
        )


@pytest.mark.parametrize("horizon", [0, -5])
def test_a_horizon_that_is_not_ahead_is_refused(tmp_path, horizon):
    layer = model_strategies.Foretold()
    layer.horizon = horizon
    with pytest.raises(StrategyError, match=f"foretells {horizon} sessions ahead"):
        sampled(layer, TRAINED, XNYS)


def test_what_became_known_after_the_training_changes_no_model(tmp_path):
    """Each label is as it was known at its own end, so that corrections later than that teach nothing either."""
    n = SESSIONS.index(date(2024, 3, 1))
    ends = SESSIONS[n + 4]
    one, later, in_time = (start(tmp_path / name) for name in ("one", "later", "in time"))
    for session in [*SESSIONS[n : n + 5], *APRIL]:
        known = max(XNYS.cutoff(ends), XNYS.cutoff(session)) + timedelta(hours=1)
        row = bar("GOOD", SESSIONS.index(session), session) | {"close": 99.0, "high": 99.5, "known_at": known}
        append(later, BARS, row, ingested=known)
    known = XNYS.cutoff(ends) - timedelta(hours=1)
    append(in_time, BARS, bar("GOOD", n + 4, ends) | {"close": 99.0, "high": 99.5, "known_at": known}, ingested=known)
    identities = []
    for bot in (one, later, in_time):
        run_layers(bot, "foretelling", APRIL[:2])
        identities.append(set(verdicts_of(bot)["model"]))
    assert identities[0] == identities[1] != identities[2]
    assert training_rows(one, TRAINED).equals(training_rows(later, TRAINED))


def test_an_input_that_looks_at_the_next_session_sees_none(tmp_path):
    """Training rows are made one session at a time, as they are when a day is decided: there is no next row."""
    bot = start(tmp_path, "LooksAhead")
    run_layers(bot, "looksahead", APRIL[:5])
    assert set(verdicts_of(bot, "looksahead")["forecast"]) == {1.0}  # the share of training rows without a tomorrow


def test_what_is_to_be_foretold_cannot_be_an_input(tmp_path):
    bot = start(tmp_path, "ShowsTheAnswer")
    with pytest.raises(StrategyError, match="inputs cannot be made: ColumnNotFoundError"):
        run_layers(bot, "showstheanswer", APRIL[:1])


def test_forward_returns_count_splits_dividends_and_what_a_delisting_leaves():
    day = [date(2024, 3, n) for n in (1, 4, 5, 6, 7)]
    rows = pl.DataFrame({"security_id": [1, 2, 3, 4, 5], "close": [100.0, 50.0, 10.0, 10.0, 40.0]})
    last = pl.DataFrame(
        {"security_id": [1, 2, 3, 5], "session": [day[4], day[4], day[1], day[1]], "close": [30.0, 60.0, 9.0, 44.0]},
    )
    actions = pl.DataFrame(
        [
            (1, day[1], "dividend", 2.0),  # on one share
            (1, day[2], "split", 4.0),
            (1, day[2], "dividend", 1.0),  # on four
            (3, day[2], "delisting", 4.0),
            (5, day[3], "split", 2.0),  # after its last bar: the last price is of shares before it
        ],
        schema=["security_id", "session", "type", "value"],
        orient="row",
    )
    found = forward_returns(rows, last, actions).to_list()
    assert found[:3] == pytest.approx([(4 * 30 + 2 + 4) / 100 - 1, 0.2, -0.6])
    assert found[3] is None  # neither a price nor a word
    assert found[4] == pytest.approx(0.1)


# Who the model is


def test_every_verdict_carries_its_model_its_figures_and_its_forecast(tmp_path):
    bot = start(tmp_path)
    run_layers(bot, "foretelling", RANGE)
    rows = verdicts_of(bot)
    before, after = rows.filter(pl.col("session") <= TRAINED), rows.filter(pl.col("session") > TRAINED)
    assert set(before["model"]) == set(before["forecast"]) == {None}  # too few rows: there is no model, and nothing passes
    assert not before["passed"].any()
    (model,) = set(after["model"])
    until, count, digest = model.split("/")
    assert (until, int(count)) == (str(TRAINED), len(training_rows(bot, TRAINED)))
    assert len(digest) == 16
    assert after.columns[-5:] == ["rank", "cheapness", "margin", "forecast", "model"]
    sound = after.filter(pl.col("rule") == "min_forecast")
    assert sound["value"].equals(sound["forecast"])
    # A straight line through these rows, found another way.
    train = training_rows(bot, TRAINED)
    x, y = train.select("cheapness", "margin").to_numpy(), train["forward_return"].to_numpy()
    a, b = x - x.mean(0), y - y.mean()
    weights = np.linalg.solve(a.T @ a + 1e-3 * np.eye(2), a.T @ b)
    row = sound.row(0, named=True)
    expected = y.mean() + (row["cheapness"] - x[:, 0].mean()) * weights[0] + (row["margin"] - x[:, 1].mean()) * weights[1]
    assert row["forecast"] == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("setting", [{"seed": 1}, {"horizon": 3}, {"least_rows": 5}, {"years": 2}])
def test_the_models_identity_changes_with_all_that_makes_it(tmp_path, setting, monkeypatch):
    bot = start(tmp_path)
    strategy = bot.sleeve("foretelling").strategy
    layer = strategy.layers()[0]
    one = Models(bot.markets).of(strategy, layer, APRIL[0])
    assert one.identity == Models(bot.markets).of(strategy, layer, APRIL[-1]).identity
    for name, value in setting.items():
        setattr(layer, name, value)
    other = Models(bot.markets).of(strategy, layer, APRIL[0])
    assert other.identity is not None
    assert other.identity != one.identity


def test_a_feature_of_the_models_name_is_refused_at_the_start(tmp_path, monkeypatch):
    monkeypatch.setattr(model_strategies.Foretold, "inputs", {"close": pl.col("close")})
    with pytest.raises(
        ConfigurationError, match="the feature close of layer foretold of foretelling is already a column of the panel"
    ):
        start(tmp_path)


def test_explain_follows_a_forecast_back_to_the_figures_it_was_made_of(tmp_path):
    bot = start(tmp_path)
    run(bot, RANGE[:60], ["foretelling"])
    strategy = bot.sleeve("foretelling").strategy
    found = explain(bot.store, bot.calendar, strategy, "GOOD", RANGE[59])
    assert {"net_income_ttm", "operating_income_ttm", "revenue_ttm"} <= {figure.figure for figure in found.figures}


# The same everywhere


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Tradebot:
    bot = make(tmp_path_factory.mktemp("whole"), text=text_of("Foretelling", "Forest"))
    run(bot, RANGE, ["foretelling", "forest"])
    return bot


def test_the_models_trade(whole):
    """Otherwise the next tests would prove little."""
    for name in ("foretelling", "forest"):
        assert verdicts_of(whole, name).filter("passed")["forecast"].n_unique() > 2
    assert "fills" in {Path(name).parts[2].split(".")[0] for name in result_files(whole)}


def test_session_by_session_is_the_range_byte_for_byte_with_a_model(tmp_path):
    first = RANGE.index(APRIL[0]) - 2
    one, other = (make(tmp_path / name, text=text_of("Foretelling", "Forest")) for name in ("range", "single"))
    sessions = RANGE[first : first + 6]
    for name in ("foretelling", "forest"):
        run(one, sessions, [name])
        for session in sessions:
            run(other, [session], [name])
    assert result_files(one) == result_files(other)


@pytest.mark.parametrize("name", ["foretelling", "forest"])
def test_replayed_events_lead_to_every_verdict_and_decision_of_a_model(whole, name):
    parity = replayed(whole, name, RANGE)
    assert parity.differences == ()
    assert parity.compared["layers.foretold"] == len(verdicts_of(whole, name)) > 0


IN_A_PROCESS = """
import json, sys
from pathlib import Path
from tests.core.test_model_layers import RANGE, make, result_files, run, text_of
bot = make(Path(sys.argv[1]), shuffled_by=int(sys.argv[2]), text=text_of("Foretelling", "Forest", layers=sys.argv[3]))
run(bot, RANGE, ["foretelling", "forest"])
print(json.dumps(result_files(bot)))
"""


@pytest.mark.parametrize(
    ("number", "threads", "zone", "layers"),
    [(1, "1", "Asia/Tokyo", "layers: {{workers: 0}}\n"), (2, "4", "America/Los_Angeles", "layers: {{workers: 2}}\n")],
)
def test_threads_hash_seed_time_zone_row_order_and_workers_do_not_matter_to_a_model(
    tmp_path, whole, number, threads, zone, layers
):
    changed = {"POLARS_MAX_THREADS": threads, "OMP_NUM_THREADS": threads, "PYTHONHASHSEED": str(number), "TZ": zone}
    done = subprocess.run(
        [sys.executable, "-c", IN_A_PROCESS, str(tmp_path), str(number), layers],
        cwd=ROOT,
        env={**os.environ, **changed},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == result_files(whole)


def test_a_model_is_the_same_whatever_became_known_later(tmp_path, whole):
    """The store cut at the cut-off of a session gives its verdicts, and the model of it."""
    last = APRIL[5]
    bot = tradebot(tmp_path, text=text_of("Foretelling"))
    for table in (SECURITIES, BARS, ACTIONS, FUNDAMENTALS):
        versions = whole.store.read_versions(table, as_of=datetime(2100, 1, 1, tzinfo=UTC))
        kept = versions.filter(pl.col("known_at") <= XNYS.cutoff(last))
        for (ingested,), rows in sorted(kept.partition_by("ingested_at", as_dict=True).items()):
            append(bot, table, *rows.select(*table.columns, "known_at").unique().to_dicts(), ingested=ingested)
    run_layers(bot, "foretelling", [last])
    of_whole = verdicts_of(whole).filter(session=last)
    assert verdicts_of(bot).equals(of_whole)
    assert of_whole["model"].null_count() == 0


# Containment

FAILING = {
    "RaisesInTraining": r"Layer foretold of raisesintraining failed to train on what was known in 2024-03-28: ValueError: no such solver "
    r"\(model_strategies\.py, line \d+: raise ValueError",
    "TrainsForever": r"Layer foretold of trainsforever failed to train on what was known in 2024-03-28: it took too long "
    r"\(model_strategies\.py, line \d+: ",
    "ForecastsTooFew": rf"Layer foretold of forecaststoofew failed to forecast in {APRIL[0]}: \(1,\) forecasts for \d rows",
    "EndsLater": "Layer foretold foretells -5 sessions ahead",
}


@pytest.mark.parametrize("which", FAILING)
def test_a_model_that_fails_is_named_and_nothing_of_it_is_stored(tmp_path, which):
    bot = start(tmp_path, which, layers="layers: {{seconds_to_train: 0.5}}\n")
    with pytest.raises(StrategyError, match=FAILING[which]):
        run_layers(bot, which.lower(), APRIL[:3])
    assert verdicts_of(bot, which.lower()).is_empty()


def test_a_forecast_that_is_no_number_is_missing_and_passes_nothing(tmp_path):
    bot = start(tmp_path, "ForecastsNan")
    run_layers(bot, "forecastsnan", APRIL[:3])
    rows = verdicts_of(bot, "forecastsnan")
    assert set(rows["forecast"]) == {None}
    assert not rows["passed"].any()


def test_without_the_extra_the_mend_is_named(tmp_path, monkeypatch):
    bot = start(tmp_path)

    def absent(self, rows):
        raise ModuleNotFoundError("No module named 'sklearn'", name="sklearn")

    monkeypatch.setattr(model_strategies.Foretold, "train", absent)
    with pytest.raises(StrategyError, match="Run `make setup`, which installs scikit-learn"):
        run_layers(bot, "foretelling", APRIL[:1])


def test_the_look_ahead_gate_trains_again_on_the_cut_store_and_finds_the_same_model(whole):
    for name in ("foretelling", "forest"):
        seen = whole.lookahead(name, most=4)
        assert seen.leaks == ()
        assert sum(seen.compared.values()) > 0
