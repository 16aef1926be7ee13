"""Layers in plain Python: the same verdicts wherever they are judged, and whatever a layer does, it is stopped and named."""

import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from datetime import date
from pathlib import Path

import polars as pl
import pytest

from tests.core import failing_strategies
from tests.markets import SESSIONS, SYMBOLS, fill_store, run_layers, security_of, tradebot
from tradebot_core.config import LayerSettings
from tradebot_core.errors import StrategyError
from tradebot_core.judging import MOST_PRINTED
from tradebot_core.model.tables import DECISIONS, LAYERS
from tradebot_core.strategies.quality_growth import QualityGrowth
from tradebot_core.strategy import Strategy
from tradebot_core.time_limit import OutOfTime, stopped_after
from tradebot_core.trading.layers import evaluate_layer
from tradebot_core.trading.stored_markets import MARKET
from tradebot_core.trading.symbol_workers import SymbolJudge, description, in_sessions
from tradebot_core.wiring import Tradebot

RANGE = SESSIONS[25:35]
HERE, TWO = LayerSettings(workers=0, seconds_per_session=0.5), LayerSettings(workers=2, seconds_per_session=0.5)


def rows_of(sessions: Sequence[date] = RANGE) -> pl.DataFrame:
    found = [
        {"session": session, "security_id": security_of(symbol), "symbol": symbol, "close": 10.0 + n}
        for session in sessions
        for n, symbol in enumerate(SYMBOLS)
    ]
    return pl.DataFrame(found)


def strategy(which: str, limits: LayerSettings) -> Strategy:
    kind = getattr(failing_strategies, which)
    made = kind("hostile", kind.Params())
    made.limits = limits
    return made


def judged(which: str, limits: LayerSettings, rows: pl.DataFrame | None = None) -> pl.DataFrame:
    made = strategy(which, limits)
    layer = made.layers()[0]
    with SymbolJudge(made, layer) as judge:
        return evaluate_layer(made, layer, rows_of() if rows is None else rows, judge)


@pytest.fixture(autouse=True)
def small_parts(monkeypatch):
    """Two sessions to a part, so that the workers have something to share."""
    monkeypatch.setattr("tradebot_core.trading.symbol_workers._ROWS_AT_ONCE", 2 * len(SYMBOLS))


# The same verdicts


def test_workers_give_the_verdicts_of_one_process_in_order():
    one = judged("Counts", HERE)
    for workers in (1, 2, 3):
        assert judged("Counts", LayerSettings(workers=workers)).equals(one)
    assert one["security_id"].to_list() == [security_of(symbol) for symbol in SYMBOLS] * len(RANGE)


@pytest.mark.parametrize("limits", [HERE, TWO], ids=["here", "workers"])
def test_what_a_layer_keeps_in_itself_is_gone_in_the_next_session(limits):
    assert judged("Counts", limits)["score"].to_list() == [1.0, 2.0, 3.0, 4.0] * len(RANGE)


@pytest.mark.parametrize("limits", [HERE, TWO], ids=["here", "workers"])
def test_a_layer_that_names_its_columns_is_shown_those_and_the_key(limits):
    rows = rows_of().with_columns(volume=pl.lit(1.0), assets=pl.lit(2.0))
    assert set(judged("Names", limits, rows)["score"]) == {4.0}
    assert strategy("Names", limits).layers()[0].reads() == {"close"}
    assert strategy("Counts", limits).layers()[0].reads() is None


def test_rows_are_parted_between_sessions_and_never_within_one():
    parts = list(in_sessions(rows_of(), 5))
    assert [len(part) for part in parts] == [8, 8, 8, 8, 8]
    assert pl.concat(parts).equals(rows_of())
    assert [part["session"].n_unique() for part in in_sessions(rows_of(), 1)] == [1] * len(RANGE)
    assert [len(part) for part in in_sessions(rows_of(RANGE[:3]), 5)] == [8, 4]
    assert [len(part) for part in in_sessions(rows_of().clear(), 5)] == [0]


def test_no_rows_are_no_verdicts_wherever_they_are_judged():
    for limits in (HERE, TWO, LayerSettings()):
        assert len(judged("Counts", limits, rows_of().clear())) == 0


def test_without_a_word_in_the_configuration_workers_are_started_when_they_are_worth_it(monkeypatch):
    made = strategy("Counts", LayerSettings())
    with SymbolJudge(made, made.layers()[0]) as judge:
        one = judge(rows_of())
        assert judge.workers_used == 0  # a few rows are judged before a worker has started
        monkeypatch.setattr("tradebot_core.trading.symbol_workers._WORTH_START", 0.0)
        monkeypatch.setattr("tradebot_core.trading.symbol_workers._TRIED", 0.0)
        monkeypatch.setattr("os.cpu_count", lambda: 2)
        assert judge(rows_of()).equals(one)
        assert judge.workers_used == 2


def test_workers_go_on_from_one_table_to_the_next_and_end_with_the_judge():
    made = strategy("Counts", TWO)
    with SymbolJudge(made, made.layers()[0]) as judge:
        judge(rows_of())
        first = [worker.process for worker in judge._workers]
        judge(rows_of())
        assert [worker.process for worker in judge._workers] == first
    assert all(process.returncode is not None for process in first)


def test_a_strategy_that_another_process_cannot_make_is_judged_in_its_own():
    class Local(failing_strategies.Counts):
        pass

    made = Local("hostile", Local.Params())
    made.limits = TWO
    assert description(made, made.layers()[0]) is None
    with SymbolJudge(made, made.layers()[0]) as judge:
        assert judge(rows_of()).equals(judged("Counts", HERE))
        assert judge.workers_used == 0


def test_a_shipped_strategys_parameters_reach_the_workers(tmp_path):
    bots = [tradebot(tmp_path / name) for name in ("here", "workers")]
    for bot, limits in zip(bots, (HERE, TWO), strict=True):
        fill_store(bot)
        bot.sleeve("quality_growth").strategy.limits = limits
        run_layers(bot, "quality_growth", RANGE)
    one, other = (bot.store.read_results(LAYERS, "quality_growth", MARKET, layer="quality") for bot in bots)
    assert len(one) > 0
    assert one.equals(other)
    made = QualityGrowth("other", QualityGrowth.Params(min_roe=0.5))
    assert '"min_roe":0.5' in description(made, made.layers()[2]).replace("\\", "")


def test_the_limits_of_the_configuration_are_the_strategys(tmp_path):
    text = "data_store: {{backend: file, path: {store}}}\nlayers: {{workers: 3, seconds_per_session: 7}}\nallowed_packages: [tests]\n"
    text += "strategies: [{{name: one, class_path: tests.core.failing_strategies.Fine, allocated_capital: 1000}}]\n"
    limits = tradebot(tmp_path, text=text).sleeve("one").strategy.limits
    assert (limits.workers, limits.seconds_per_session) == (3, 7.0)


# Containment

FIRST_EVEN = next(session for session in RANGE if session.day % 2 == 0)
EVERYWHERE = {
    "RaisesLate": rf"Layer screen of hostile failed at FADE in {FIRST_EVEN}: KeyError: 'no such thing' "
    r"\(failing_strategies\.py, line \d+: ",
    "Loops": rf"Layer screen of hostile was stopped at FADE in {RANGE[0]}: the session took longer than 0\.5 s \(failing_strategies",
    "LoopsOnErrors": rf"was stopped at FADE in {RANGE[0]}: the session took longer than 0\.5 s \(failing_strategies\.py, line \d+: ",
    "Sleeps": rf"was stopped at FADE in {RANGE[0]}: the session took longer than 0\.5 s \(failing_strategies\.py, line \d+: time\.sleep",
    "ReadsWhatItDidNotName": rf"Layer screen of hostile failed at GOOD in {RANGE[0]}: KeyError: 'volume'",
    "NamesWhatIsNotThere": "Layer screen of hostile asks for closing_price, which its rows do not have",
    "ReturnsNothing": rf"Layer screen of hostile returned a NoneType for FADE in {RANGE[0]}",
    "ReturnsText": rf"Layer screen of hostile returned a str as score of GOOD in {RANGE[0]}",
    "KeepsALock": r"Layer screen of hostile cannot be copied: TypeError: cannot pickle '_thread\.lock'",
    "UndeclaredFeature": r"Layer screen of hostile returned the features \['scores'\] for GOOD",
}
IN_WORKERS = {
    "CannotBeInterrupted": rf"Layer screen of hostile was stopped at FADE in {RANGE[0]}: .* in code that cannot be interrupted",
    "EndsItsProcess": rf"Layer screen of hostile ended its process at FADE in {RANGE[0]}, with exit code 3",
    "TakesAllMemory": rf"Layer screen of hostile failed at FADE in {RANGE[0]}: MemoryError",
}


@pytest.mark.parametrize("limits", [HERE, TWO], ids=["here", "workers"])
@pytest.mark.parametrize("which", EVERYWHERE)
def test_a_layer_that_fails_is_named_with_its_symbol_its_session_and_its_line(which, limits):
    with pytest.raises(StrategyError, match=EVERYWHERE[which]):
        judged(which, limits)


@pytest.mark.parametrize("which", IN_WORKERS)
def test_what_no_exception_ends_is_ended_with_its_process_and_named(which, monkeypatch):
    monkeypatch.setattr("tradebot_core.trading.symbol_workers._GRACE", 0.5)
    with pytest.raises(StrategyError, match=IN_WORKERS[which]):
        judged(which, TWO if which != "TakesAllMemory" else LayerSettings(workers=2, worker_memory_mb=256))


def test_of_several_failures_the_one_of_the_first_session_is_told_however_many_workers_there_are():
    causes = set()
    for workers in (0, 1, 2, 3):
        with pytest.raises(StrategyError) as failure:
            judged("RaisesLate", LayerSettings(workers=workers))
        causes.add(failure.value.cause)
    assert len(causes) == 1


def test_a_strategy_that_a_worker_cannot_load_is_named(monkeypatch):
    made = strategy("Counts", TWO)
    monkeypatch.setattr(
        "tradebot_core.trading.symbol_workers.description",
        lambda *of: description(*of).replace("tests.core.failing_strategies", "tests.core.gone"),
    )
    with (
        SymbolJudge(made, made.layers()[0]) as judge,
        pytest.raises(StrategyError, match=r"hostile cannot be made in a worker: .*gone"),
    ):
        judge(rows_of())


@pytest.mark.parametrize("limits", [HERE, TWO], ids=["here", "workers"])
def test_no_more_is_printed_than_can_be_read_and_nothing_on_stdout(limits, capfd):
    judged("Prints", limits)
    told = capfd.readouterr()
    assert told.out == ""
    assert MOST_PRINTED <= len(told.err) <= 6 * MOST_PRINTED  # of each of the tables a worker was sent
    assert "Layer screen of hostile prints more than 20000 characters; the rest is dropped." in told.err


def two_strategies(folder: Path, which: str) -> Tradebot:
    text = "data_store: {{backend: file, path: {store}}}\nfirst_session: 2024-01-02\nlayers: {{workers: 2, seconds_per_session: 0.5}}\n"
    text += "allowed_packages: [tests]\nstrategies:\n"
    for name, kind in (("hostile", which), ("sound", "Fine")):
        text += f"  - {{{{name: {name}, class_path: tests.core.failing_strategies.{kind}, allocated_capital: 9000}}}}\n"
    bot = tradebot(folder, text=text)
    fill_store(bot)
    return bot


@pytest.mark.parametrize("which", ["RaisesLate", "Loops", "EndsItsProcess"])
def test_a_strategy_that_fails_stops_itself_with_nothing_stored_and_no_other(tmp_path, which):
    bot = two_strategies(tmp_path, which)
    with pytest.raises(StrategyError, match="hostile"):
        run_layers(bot, "hostile", RANGE)
    assert list(bot.store.result_sessions(LAYERS, "hostile", MARKET, "screen")) == []
    run_layers(bot, "sound", RANGE)
    bot.backtest("sound", RANGE)
    assert list(bot.store.result_sessions(DECISIONS, "sound", "backtest")) == list(RANGE)


# The limit of time


def test_a_loop_in_another_thread_is_stopped_as_well():
    found: list[BaseException] = []

    def loop() -> None:
        try:
            with stopped_after(0.2):
                while True:
                    pass
        except OutOfTime as error:
            found.append(error)

    thread = threading.Thread(target=loop)
    thread.start()
    thread.join(10)
    assert len(found) == 1


def test_what_ends_in_time_is_left_alone_and_the_limit_ends_with_it():
    with stopped_after(0.05):
        pass
    time.sleep(0.1)

    def quick() -> None:
        for _ in range(50):
            with stopped_after(0.001):
                sum(range(100))

    quick_thread = threading.Thread(target=quick)
    quick_thread.start()
    quick_thread.join()


def test_a_worker_loads_no_main_module_and_ends_when_nobody_is_left_to_work_for():
    """The program that asks may be anything: it is not run again in the workers."""
    code = (
        "import os, sys\n"
        "print('main', flush=True)\n"
        "from tests.core.test_symbol_workers import strategy, rows_of, TWO\n"
        "from tradebot_core.trading.symbol_workers import SymbolJudge\n"
        "made = strategy('Counts', TWO)\n"
        "judge = SymbolJudge(made, made.layers()[0])\n"
        "judge(rows_of())\n"
        "print(*[worker.process.pid for worker in judge._workers], flush=True)\n"
        "os._exit(0)\n"
    )
    told = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2]
    )
    first, pids = told.stdout.splitlines()
    assert first == "main"
    deadline = time.monotonic() + 10
    while any(running(int(pid)) for pid in pids.split()):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def running(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False
