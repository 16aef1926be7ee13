"""One code path: session by session, as a range, in any process and from events one by one, the same bytes."""

import hashlib
import json
import os
import random
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from tests.core.failing_strategies import TOLD, Fine
from tests.markets import CONFIG, SESSIONS, XNYS, bar, cik_of, filing, fill_store, run_layers, security_of, tradebot
from tests.scripted import append
from tradebot_core.errors import StrategyError
from tradebot_core.model.event import EventType
from tradebot_core.model.tables import ACTIONS, BARS, DECISIONS, FUNDAMENTALS, LAYERS, RESULT_TABLES, SECURITIES
from tradebot_core.strategy import Rule, TableLayer
from tradebot_core.trading.parity import Parity, compare, events_for, stored_opening
from tradebot_core.trading.replay import replay
from tradebot_core.wiring import Tradebot, load

ROOT = Path(__file__).parents[2]
STRATEGIES = ("value_investor", "quality_growth")
RANGE = SESSIONS[25:]
HOUR = timedelta(hours=1)


def trouble(bot: Tradebot) -> None:
    """All that makes a history hard: gaps, corrections before and after a cut-off, restatements, late words, new names."""
    good, fade, dear = map(security_of, ("GOOD", "FADE", "DEAR"))

    def corrected(symbol: str, n: int, ingested: datetime, **changed: float) -> None:
        append(bot, BARS, bar(symbol, n, SESSIONS[n]) | changed | {"known_at": ingested}, ingested=ingested)

    corrected("GOOD", 40, XNYS.cutoff(SESSIONS[40]) - HOUR, close=61.5)  # in time: decisions see it
    corrected("GOOD", 45, XNYS.cutoff(SESSIONS[45]) + HOUR, close=30.0, open=30.0)  # the same evening, too late
    corrected("FADE", 50, XNYS.cutoff(SESSIONS[57]), close=99.0)  # a week late
    corrected("DEAR", 60, XNYS.cutoff(SESSIONS[60]) + HOUR, volume=1.0)

    def act(security: int, n: int, kind: str, value: float, known_at: datetime) -> None:
        row = {"security_id": security, "session": SESSIONS[n], "type": kind, "value": value, "known_at": known_at}
        append(bot, ACTIONS, row)

    act(fade, 55, "dividend", 0.25, XNYS.cutoff(SESSIONS[56]))  # a word that came a day late
    act(good, 70, "dividend", 0.75, XNYS.opens_at(SESSIONS[60]))
    act(dear, 95, "split", 3.0, XNYS.opens_at(SESSIONS[90]))
    known = {"security_id": dear, "cik": cik_of("DEAR"), "name": "DEAR", "exchange": "TEST", "valid_to": date.max}
    known = dict.fromkeys(SECURITIES.columns) | known | {"symbol": "DEER", "valid_from": SESSIONS[80]}
    append(bot, SECURITIES, known | {"known_at": XNYS.cutoff(SESSIONS[83])})
    restated = filing("GOOD", date(2023, 12, 31), XNYS.opens_at(SESSIONS[65]), net_income_ttm=6.5e8, shares_outstanding=1.1e8)
    quarter = filing("DEAR", date(2024, 3, 31), XNYS.cutoff(SESSIONS[85]), revenue_ttm=5.4e9)
    append(bot, FUNDAMENTALS, restated, quarter)


def without_gaps(rows: list[dict]) -> list[dict]:
    """GOOD does not trade in three sessions while it is held."""
    silent = {SESSIONS[n] for n in (75, 76, 90)}
    return [row for row in rows if not (row["security_id"] == security_of("GOOD") and row["session"] in silent)]


def make(folder: Path, shuffled_by: int | None = None, text: str = CONFIG) -> Tradebot:
    """The small market with all its trouble; the rows may be delivered in another order."""
    bot = tradebot(folder, text=text)
    deliver = bot.store.append

    def append_changed(batch, ingested_at):
        rows = batch.rows
        if batch.table is BARS:
            rows = pl.DataFrame(without_gaps(rows.to_dicts()), schema=rows.schema)
        if shuffled_by is not None:
            order = list(range(len(rows)))
            random.Random(shuffled_by).shuffle(order)
            rows = rows[order]
        return deliver(type(batch)(batch.table, rows, batch.source, batch.rejected), ingested_at)

    bot.store.append = append_changed
    fill_store(bot)
    trouble(bot)
    bot.store.append = deliver
    return bot


def run(bot: Tradebot, sessions: Sequence[date], strategies: Sequence[str] = STRATEGIES) -> None:
    for strategy in strategies:
        run_layers(bot, strategy, sessions)
        bot.backtest(strategy, sessions)


def result_files(bot: Tradebot) -> dict[str, str]:
    """Every file of results, by the digest of its bytes."""
    folder = bot.config.data_store.path / "results"
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != ".lock"]
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Tradebot:
    """The whole half-year as one range."""
    bot = make(tmp_path_factory.mktemp("whole"))
    run(bot, RANGE)
    return bot


def test_the_hard_market_is_hard_enough(whole):
    """Otherwise the rest of this file would prove little."""
    for strategy in STRATEGIES:
        fills = whole.store.read_results(RESULT_TABLES["fills"], strategy, "backtest")
        entries = whole.store.read_results(RESULT_TABLES["entries"], strategy, "backtest")
        positions = whole.store.read_results(RESULT_TABLES["positions"], strategy, "backtest")
        assert {"buy"} <= set(fills["side"])
        assert {"dividend", "split", "deposit", "trade"} <= set(entries["kind"])
        assert not positions.filter(pl.col("price_session") < pl.col("session")).is_empty()  # held without trading
    assert "sell" in set(whole.store.read_results(RESULT_TABLES["fills"], "value_investor", "backtest")["side"])


def test_the_results_cover_every_table(whole):
    tables = {Path(name).parts[2].split(".")[0] for name in result_files(whole)}
    assert tables == set(RESULT_TABLES)


# Over quiet days, the days an order is on its way, a split, late corrections and words, and days on which GOOD does not trade.
TRIPLES = {
    "the first sessions": 0,
    "a late correction": 19,
    "a split": 46,
    "a missing bar": 49,
    "a late name": 56,
    "a split of DEAR": 69,
}


@pytest.mark.parametrize("where", TRIPLES)
def test_three_single_sessions_are_one_range_of_three_byte_for_byte(tmp_path, where):
    three = RANGE[TRIPLES[where] : TRIPLES[where] + 3]
    one, other = make(tmp_path / "range"), make(tmp_path / "single")
    for bot in (one, other):
        if three[0] > RANGE[0]:
            run(bot, [session for session in RANGE if session < three[0]])
    run(one, three)
    for session in three:
        run(other, [session])
    assert result_files(one) == result_files(other)


def test_twelve_sessions_one_by_one_are_the_range_byte_for_byte(tmp_path):
    one, other = make(tmp_path / "range"), make(tmp_path / "single")
    run(one, RANGE[:12])
    for session in RANGE[:12]:
        run(other, [session])
    assert result_files(one) == result_files(other)


def test_doing_a_range_again_changes_no_byte(tmp_path):
    bot = make(tmp_path)
    run(bot, RANGE[:40])
    before = result_files(bot)
    run(bot, RANGE[:40])
    run(bot, RANGE[10:40])
    assert result_files(bot) == before


@pytest.mark.parametrize("seed", [1, 2])
def test_the_order_in_which_rows_were_delivered_does_not_matter(tmp_path, whole, seed):
    bot = make(tmp_path, shuffled_by=seed)
    run(bot, RANGE)
    assert result_files(bot) == result_files(whole)


def test_a_backtest_is_the_same_whatever_became_known_after_it(tmp_path, whole):
    """The metamorphic proof that no decision saw the future: facts known later change no byte of the sessions before."""
    early = RANGE[:60]
    bot, same = tradebot(tmp_path / "early"), tradebot(tmp_path / "same")
    last = XNYS.cutoff(early[-1])
    for table in (SECURITIES, BARS, ACTIONS, FUNDAMENTALS):
        versions = whole.store.read_versions(table, as_of=datetime(2100, 1, 1, tzinfo=UTC))
        for target, kept in ((bot, versions.filter(pl.col("known_at") <= last)), (same, versions)):
            for (ingested,), rows in sorted(kept.partition_by("ingested_at", as_dict=True).items()):
                append(target, table, *rows.select(*table.columns, "known_at").unique().to_dicts(), ingested=ingested)
        assert same.store.read_versions(table, as_of=datetime(2100, 1, 1, tzinfo=UTC)).height == versions.height
    for one in (bot, same):
        run(one, early)
    assert result_files(bot) == result_files(same)


IN_A_PROCESS = """
import json, sys
from pathlib import Path
from tests.core.test_parity import RANGE, make, result_files, run
bot = make(Path(sys.argv[1]), shuffled_by=int(sys.argv[2]))
run(bot, RANGE)
print(json.dumps(result_files(bot)))
"""


def test_threads_hash_seed_time_zone_and_locale_do_not_matter(tmp_path, whole):
    surroundings = [
        {"POLARS_MAX_THREADS": "1", "PYTHONHASHSEED": "1", "TZ": "Asia/Tokyo", "LC_ALL": "C"},
        {"POLARS_MAX_THREADS": "4", "PYTHONHASHSEED": "4242", "TZ": "America/Los_Angeles", "PYTHONUTF8": "0"},
    ]
    expected = result_files(whole)
    for n, changed in enumerate(surroundings):
        done = subprocess.run(
            [sys.executable, "-c", IN_A_PROCESS, str(tmp_path / str(n)), str(n)],
            cwd=ROOT,
            env={**os.environ, **changed},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout) == expected


# Replay


def replayed(bot: Tradebot, name: str, sessions: Sequence[date], strategy=None) -> Parity:
    """As `tradebot replay` does it: a fresh process has a strategy that has heard nothing."""
    fresh = load(bot.config_path)
    sleeve = fresh.sleeve(name)
    start, end = sessions[0], sessions[-1]
    opening, deposit = stored_opening(fresh.store, fresh.calendar, name, sleeve.capital, start)
    walk = fresh.backtest_walk(sleeve, opening, deposit)
    events = events_for(fresh.store, fresh.calendar, sleeve.strategy.subscriptions, start, end)
    found = replay(strategy or sleeve.strategy, walk, events, start, fresh.calendar, fresh.markets.members())
    return compare(fresh.store, sleeve.strategy, found, start, end)


@pytest.mark.parametrize("name", STRATEGIES)
def test_the_stored_events_one_by_one_lead_to_every_stored_verdict_and_decision(whole, name):
    parity = replayed(whole, name, RANGE)
    assert parity.differences == ()
    stored = whole.store.read_results(DECISIONS, name, "backtest")
    assert parity.compared["decisions"] == len(stored) > 0
    assert parity.compared["layers.screen"] == len(whole.store.read_results(LAYERS, name, "market", layer="screen")) > 0
    assert parity.events > 4 * 124


@pytest.mark.parametrize("first", [0, 1, 19, 50, 52, 57, 70])
def test_a_replay_may_begin_anywhere(whole, first):
    for name in STRATEGIES:
        assert replayed(whole, name, RANGE[first : first + 12]).differences == ()


def altered(tmp_path: Path, change) -> Parity:
    bot = make(tmp_path)
    part = RANGE[:12]
    run(bot, part, ["value_investor"])
    change(bot, part)
    return replayed(bot, "value_investor", part)


def test_a_stored_verdict_that_knew_more_than_it_could_is_noticed(tmp_path):
    def change(bot, part):
        rows = bot.store.read_results(LAYERS, "value_investor", "market", layer="screen")
        planted = (pl.col("session") == part[5]) & (pl.col("symbol") == "FADE")
        rows = rows.with_columns(passed=pl.col("passed") & ~planted, value=pl.when(planted).then(-1e8).otherwise("value"))
        bot.store.write_results(LAYERS, "value_investor", "market", part, rows, layer="screen")

    found = altered(tmp_path, change).differences
    assert [(d.table, d.session, d.symbol) for d in found] == [("layers.screen", RANGE[5], "FADE")]
    assert "'passed': False" in found[0].stored
    assert "'passed': True" in found[0].replayed


def test_the_smallest_change_of_a_number_is_noticed(tmp_path):
    def change(bot, part):
        rows = bot.store.read_results(LAYERS, "value_investor", "market", layer="analyze")
        rows = rows.with_columns(
            earnings_yield=pl.when((pl.col("session") == part[2]) & (pl.col("symbol") == "GOOD"))
            .then(pl.col("earnings_yield") * (1 + 2.3e-16))
            .otherwise("earnings_yield")
        )
        bot.store.write_results(LAYERS, "value_investor", "market", part, rows, layer="analyze")

    found = altered(tmp_path, change).differences
    assert [(d.table, d.session, d.symbol) for d in found] == [("layers.analyze", RANGE[2], "GOOD")]


@pytest.mark.parametrize("change", ["removed", "added"])
def test_a_decision_that_only_one_side_has_is_noticed(tmp_path, change):
    def alter(bot, part):
        rows = bot.store.read_results(DECISIONS, "value_investor", "backtest")
        extra = (
            rows.filter(session=part[3]).head(1).with_columns(security_id=pl.lit(security_of("LOSS")), symbol=pl.lit("LOSS"))
        )
        changed = pl.concat([rows, extra]) if change == "added" else rows.filter(~pl.struct("session").eq({"session": part[3]}))
        bot.store.write_results(DECISIONS, "value_investor", "backtest", part, changed)

    found = altered(tmp_path, alter).differences
    assert {d.session for d in found} == {RANGE[3]}
    assert [(d.stored == "None", d.replayed == "None") for d in found] == (
        [(False, True)] if change == "added" else [(True, False)] * len(found)
    )


class Clairvoyant(Fine):
    """Buys what will rise tomorrow."""

    def layers(self):
        tomorrow = pl.col("close").shift(-1).over("security_id") / pl.col("close")
        rule = Rule("rises", pl.col("rise"), ">", 1.0)
        return (TableLayer("tomorrow", steps=((tomorrow.alias("rise"),),), rules=(rule,), features=("rise",)),)

    def decide(self, view):
        held = {h.security_id for h in view.holdings}
        new = [c for c in view.candidates if c.security_id not in held][: 1 if not held else 0]
        return [view.hold(h, TOLD) for h in view.holdings] + [view.buy(c, 0.2, TOLD) for c in new]


def test_a_layer_that_looks_ahead_over_the_table_is_noticed(tmp_path):
    """The planted look-ahead: tomorrow's close, which a range of sessions holds and an event has not told yet."""
    text = CONFIG.replace(
        "tradebot_core.strategies.value_investor.ValueInvestor", "tests.core.test_parity.Clairvoyant"
    ).replace("params: {{max_positions: 4, min_score: 0.3}}", "params: {{}}")
    bot = tradebot(tmp_path, text="allowed_packages: [tradebot_core, tests]\n" + text)
    fill_store(bot)
    run(bot, RANGE[:12], ["value_investor"])
    found = replayed(bot, "value_investor", RANGE[:12]).differences
    assert {d.table for d in found} >= {"layers.tomorrow"}
    assert len(found) >= 11


def test_a_strategy_that_fails_on_an_event_stops_the_replay(whole):
    strategy = load(whole.config_path).sleeve("value_investor").strategy

    def fail(event):
        raise RuntimeError("deaf")

    strategy.on_event = fail
    with pytest.raises(StrategyError, match=r"value_investor failed on .*RuntimeError: deaf"):
        replayed(whole, "value_investor", RANGE[:3], strategy)


def test_the_events_of_a_replay_end_with_the_last_close_and_hold_nothing_later(whole):
    fresh = load(whole.config_path)
    wanted = fresh.sleeve("value_investor").strategy.subscriptions
    events = list(events_for(fresh.store, XNYS, wanted, RANGE[0], RANGE[20]))
    assert events[-1].type is EventType.SESSION_CLOSE
    assert events[-1].timestamp == XNYS.cutoff(RANGE[20])
    assert [e.timestamp for e in events] == sorted(e.timestamp for e in events)
