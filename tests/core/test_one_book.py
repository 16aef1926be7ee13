"""The tables of a backtest are of one run: what broke off while it was stored, or is being stored, is refused and never told."""

import multiprocessing
import threading
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path

import pytest

from tests.markets import CONFIG, SESSIONS, fill_store, run_layers, tradebot
from tradebot_core.errors import MissingData
from tradebot_core.model.tables import BOOKS, DECISIONS, EQUITY, FILLS
from tradebot_core.stores.file_store import FileStore
from tradebot_core.trading.order_trail import BACKTEST
from tradebot_core.wiring import Tradebot

NAME = "value_investor"
RANGE = SESSIONS[25:55]
OTHER = CONFIG.replace("max_positions: 4", "max_positions: 2")  # of which the layers know nothing
SPAWN = multiprocessing.get_context("spawn")
PATIENCE_S = 120


@pytest.fixture
def bot(tmp_path: Path) -> Tradebot:
    bot = tradebot(tmp_path)
    fill_store(bot)
    run_layers(bot, NAME, RANGE)
    return bot


def break_off(bot: Tradebot, sessions: Sequence, table: str, monkeypatch: pytest.MonkeyPatch, restart: bool = True) -> None:
    """The process is killed when it comes to write this table."""
    write = FileStore.write_results

    def killed(store, written, *rest, **named):
        if written.name == table:
            raise KeyboardInterrupt
        write(store, written, *rest, **named)

    with monkeypatch.context() as until_then, pytest.raises(KeyboardInterrupt):
        until_then.setattr(FileStore, "write_results", killed)
        bot.backtest(NAME, sessions, restart)


def told(bot: Tradebot) -> dict[str, object]:
    return {
        "performance": lambda: bot.performance(NAME),
        "of a range": lambda: bot.performance(NAME, RANGE[0], RANGE[19]),
        "returns": lambda: bot.returns(NAME, RANGE[0], RANGE[19]),
        "report": lambda: bot.report(NAME),
        "selection": lambda: bot.selection(NAME),
        "compare": lambda: bot.compare(NAME, NAME),
        "variants": lambda: bot.side_by_side(NAME),
    }


@pytest.mark.parametrize("table", ["decisions", "fills", "equity", "books"])
def test_a_backtest_that_was_not_stored_whole_has_no_figures_and_is_not_continued(bot, tmp_path, monkeypatch, table) -> None:
    bot.backtest(NAME, RANGE[:20])
    other = tradebot(tmp_path, text=OTHER)
    break_off(other, RANGE[:20], table, monkeypatch)
    for ask in told(other).values():
        with pytest.raises(MissingData, match=f"The backtest of {NAME} was not stored whole"):
            ask()
    with pytest.raises(MissingData, match=f"{NAME} up to {RANGE[19]} was not stored whole .* and is not continued") as refused:
        other.backtest(NAME, RANGE[20:])
    assert f"`tradebot backtest {NAME} --start ... --end ...`" in refused.value.mend
    assert list(other.store.result_sessions(BOOKS, NAME, BACKTEST)) == []
    other.backtest(NAME, RANGE[:20])
    other.backtest(NAME, RANGE[20:])
    assert other.performance(NAME).sessions == len(RANGE)


@pytest.mark.parametrize("table", ["decisions", "equity", "books"])
def test_a_continuation_that_breaks_off_while_it_is_stored_leaves_the_book_before_it(bot, monkeypatch, table) -> None:
    bot.backtest(NAME, RANGE)
    break_off(bot, RANGE[10:], table, monkeypatch, restart=False)
    assert list(bot.backtest_sessions(NAME)) == list(RANGE[:10])
    bot.backtest(NAME, RANGE[10:])
    assert list(bot.backtest_sessions(NAME)) == list(RANGE)
    assert len(bot.store.read_results(EQUITY, NAME, BACKTEST)) == len(RANGE)


def test_sessions_that_went_on_from_a_book_that_is_gone_have_no_figures(bot, tmp_path, monkeypatch) -> None:
    """Of their first session nobody knows what it began with."""
    bot.backtest(NAME, RANGE)
    break_off(bot, RANGE[5:10], "equity", monkeypatch)
    said = f"The sessions of {NAME} from {RANGE[10]} to {RANGE[-1]} went on from a book that was replaced since, or not stored whole"
    for what, ask in told(bot).items():
        with pytest.raises(MissingData, match=said if "range" not in what and what != "returns" else "went on from a book"):
            ask()
    assert bot.performance(NAME, end=RANGE[4]).sessions == 5  # the part before it is whole
    bot.backtest(NAME, RANGE[5:])
    assert bot.performance(NAME).sessions == len(RANGE)


def test_figures_of_a_range_are_of_the_latest_book_alone(bot, tmp_path) -> None:
    bot.backtest(NAME, RANGE[:10])
    bot.backtest(NAME, RANGE[10:], restart=True)
    assert bot.performance(NAME, RANGE[0], RANGE[-1]).sessions == len(RANGE) - 10
    assert bot.returns(NAME, RANGE[0], RANGE[-1])[0] == list(RANGE[10:])
    with pytest.raises(MissingData, match=f"no backtest of {NAME} from {RANGE[9]} on"):
        bot.performance(NAME, RANGE[9], RANGE[8])


def test_a_book_that_is_stored_anew_while_it_is_read_is_not_told(bot, tmp_path, monkeypatch) -> None:
    bot.backtest(NAME, RANGE)
    other, read, done = tradebot(tmp_path, text=OTHER), FileStore.read_results, []

    def slowly(store, table, *rest, **named):
        if table is FILLS and not done:
            done.append(True)
            other.backtest(NAME, RANGE, restart=True)
        return read(store, table, *rest, **named)

    monkeypatch.setattr(FileStore, "read_results", slowly)
    with pytest.raises(MissingData, match=f"The backtest of {NAME} was stored anew while it was read"):
        bot.performance(NAME)
    assert bot.performance(NAME).sessions == len(RANGE)


def test_one_writer_waits_until_the_other_has_stored_all_its_tables(bot, tmp_path, monkeypatch) -> None:
    other, write, order = tradebot(tmp_path, text=OTHER), FileStore.write_results, []
    second = threading.Thread(target=lambda: other.backtest(NAME, RANGE, restart=True), name="second")

    def noted(store, table, *rest, **named):
        order.append((threading.current_thread().name == "second", table.name))
        if table is DECISIONS and not second.ident:
            second.start()
            second.join(0.5)  # it comes as far as it can
        write(store, table, *rest, **named)

    monkeypatch.setattr(FileStore, "write_results", noted)
    bot.backtest(NAME, RANGE, restart=True)
    second.join(PATIENCE_S)
    assert len(order) == 16
    assert [by for by, _ in order] == sorted(by for by, _ in order)


def _write(folder: Path, text: str) -> None:
    bot = tradebot(folder, text=text)
    for _ in range(4):
        bot.backtest(NAME, RANGE, restart=True)


def test_of_two_processes_that_write_one_backtest_and_a_reader_nobody_sees_a_mixture(bot, tmp_path) -> None:
    bot.backtest(NAME, RANGE)
    expected = {str(bot.performance(NAME))}
    other = tradebot(tmp_path, text=OTHER)
    other.backtest(NAME, RANGE, restart=True)
    expected.add(str(other.performance(NAME)))
    assert len(expected) == 2
    writers = [SPAWN.Process(target=_write, args=(tmp_path, text)) for text in (CONFIG, OTHER)]
    for writer in writers:
        writer.start()
    seen = set()
    while any(writer.is_alive() for writer in writers):
        try:
            seen.add(str(bot.performance(NAME)))
        except MissingData:
            continue  # it is being stored
    for writer in writers:
        writer.join(PATIENCE_S)
    assert [writer.exitcode for writer in writers] == [0, 0]
    assert seen and seen <= expected
    assert str(bot.performance(NAME)) in expected
    last = bot.store.read_results(EQUITY, NAME, BACKTEST)["cash"][-1]
    assert Decimal(last) == bot._book(NAME).state(RANGE[-1]).book.cash
