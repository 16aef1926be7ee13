"""The look-ahead gate: every planted leak is caught and named by layer, session and symbol; what is clean passes."""

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest

from tests import restated_market
from tests.markets import SESSIONS, XNYS, filing, fill_store, run_layers, security_of, tradebot
from tests.scripted import append, quote, scripted
from tradebot_core import wiring
from tradebot_core.errors import MissingData, UsageError
from tradebot_core.execution.simulated import SimulatedEngine
from tradebot_core.interfaces import Batch
from tradebot_core.model.order import Fill, OrderIntent, OrderState, OrderStatus
from tradebot_core.model.tables import ACTIONS, BARS, DECISIONS, ENTRIES, FACTS, FILLS, FUNDAMENTALS, LAYERS, ORDERS, SECURITIES
from tradebot_core.quant.costs import fill_price
from tradebot_core.trading.lookahead import LookAhead
from tradebot_core.trading.lookahead_sample import sample
from tradebot_core.trading.store_views import CutStore, KeptStore, NoisyStore
from tradebot_core.wiring import Tradebot

RANGE = SESSIONS[25:]
BEFORE_FILING = date(2024, 4, 30)  # FADE files its loss on 1 May
LEAKING = """\
mode: paper
data_store: {{{{backend: file, path: {{store}}}}}}
first_session: 2024-01-02
allowed_packages: [tests]
strategies:
  - name: planted
    class_path: tests.core.leaking_strategies.{name}
    allocated_capital: 50000
risk: {{{{max_order_notional: 20000, max_position_weight: 0.4}}}}
"""


def planted(folder: Path, name: str, sessions: Sequence[date] = RANGE, fill=fill_store) -> Tradebot:
    """The backtest of a strategy of tests.core.leaking_strategies over the small market."""
    bot = tradebot(folder, text=LEAKING.format(name=name))
    fill(bot)
    return backtested(bot, "planted", sessions)


def backtested(bot: Tradebot, name: str, sessions: Sequence[date]) -> Tradebot:
    run_layers(bot, name, sessions)
    bot.backtest(name, sessions)
    return bot


def named(found: LookAhead) -> set[tuple[str, date, str, str]]:
    return {(leak.layer, leak.session, leak.symbol, leak.column) for leak in found.leaks}


def layers_of(found: LookAhead) -> set[str]:
    return {leak.layer for leak in found.leaks}


def only_cause(found: LookAhead) -> str:
    (cause,) = {leak.cause for leak in found.leaks}
    return cause


# What is clean passes


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> Tradebot:
    bot = tradebot(tmp_path_factory.mktemp("market"))
    fill_store(bot)
    for name in ("value_investor", "quality_growth"):
        backtested(bot, name, RANGE)
    return bot


@pytest.mark.parametrize("name", ["value_investor", "quality_growth"])
def test_the_shipped_strategies_see_nothing_that_was_not_known(market: Tradebot, name: str) -> None:
    found = market.lookahead(name, most=16)
    assert found.leaks == () and len(found.sessions) == 16
    # What was compared is what is stored of these sessions: all of it.
    for layer in market.sleeve(name).strategy.layers():
        stored = market.store.read_results(LAYERS, name, "market", layer=layer.name)
        assert found.compared[f"layers.{layer.name}"] == len(stored.filter(pl.col("session").is_in([*found.sessions])))
    assert found.compared["equity"] == found.compared["books"] == 16
    assert found.compared["decisions"] > 0 and found.compared["orders"] > 0


def test_a_strategy_that_ranks_within_the_session_passes_in_every_session(tmp_path: Path) -> None:
    found = planted(tmp_path, "Clean", RANGE[:12]).lookahead("planted")
    assert found.leaks == () and list(found.sessions) == list(RANGE[:12])
    assert found.compared["layers.analyze"] == 12 * 4


def test_sessions_backtested_one_by_one_pass_as_a_range_does(tmp_path: Path) -> None:
    bot = tradebot(tmp_path, text=LEAKING.format(name="Clean"))
    fill_store(bot)
    for session in RANGE[:5]:
        backtested(bot, "planted", [session])
    assert bot.lookahead("planted").leaks == ()


def test_a_late_word_of_an_action_is_no_leak(tmp_path: Path) -> None:
    """A dividend heard of three sessions late is entered when the word comes: the cut store gives the same."""

    def late(bot: Tradebot) -> None:
        fill_store(bot)
        dividend = {"security_id": security_of("DEAR"), "session": SESSIONS[30], "type": "dividend", "value": 1.5}
        append(bot, ACTIONS, dividend | {"known_at": XNYS.opens_at(SESSIONS[33])})

    bot = planted(tmp_path, "Clean", RANGE[:15], fill=late)
    entries = bot.store.read_results(ENTRIES, "planted", "backtest").filter(kind="dividend")
    assert entries.select("session", "symbol").rows() == [(SESSIONS[33], "DEAR")]
    assert bot.lookahead("planted").leaks == ()


# Planted leaks, each caught


def test_a_shift_into_the_next_session_is_caught(tmp_path: Path) -> None:
    found = planted(tmp_path, "NextClose").lookahead("planted", most=6)
    assert layers_of(found) == {"analyze"}
    first = RANGE[0]
    assert {(leak.symbol, leak.column) for leak in found.leaks if leak.session == first} >= {
        ("GOOD", "passed"),
        ("FADE", "passed"),
    }
    good = next(leak for leak in found.leaks if (leak.session, leak.symbol) == (first, "GOOD"))
    assert (good.stored, good.recomputed) == ("True", "False")
    assert "later sessions" in only_cause(found)


def test_the_last_session_of_a_range_has_nothing_to_see_ahead(tmp_path: Path) -> None:
    bot = planted(tmp_path, "NextClose")
    leaking = {leak.session for leak in bot.lookahead("planted", start=RANGE[-2]).leaks}
    assert leaking == {RANGE[-2]}


def test_a_shift_is_caught_in_every_session_and_beside_noise_also_where_it_had_nothing_to_see(tmp_path: Path) -> None:
    """The last session was computed without a next one; beside noisy later ones it is another."""
    found = planted(tmp_path, "NextClose", RANGE[:10]).lookahead("planted")
    assert {leak.session for leak in found.leaks} == set(RANGE[:10])


def test_a_rank_over_the_whole_sample_is_caught(tmp_path: Path) -> None:
    found = planted(tmp_path, "WholeSampleRank").lookahead("planted", most=5)
    assert {(leak.layer, leak.column) for leak in found.leaks} == {("analyze", "value")}
    assert {leak.symbol for leak in found.leaks} == {"GOOD", "DEAR", "LOSS", "FADE"}
    # By itself a session has the ranks 1 to 4; GOOD stands third in it, and some two hundredth among all sessions.
    good = next(leak for leak in found.leaks if (leak.session, leak.symbol) == (RANGE[0], "GOOD"))
    assert good.recomputed == "3.0" and float(good.stored) > 100
    assert "later sessions" in only_cause(found)


def test_figures_joined_by_the_end_of_their_period_are_caught(tmp_path: Path) -> None:
    """FADE's quarter ended on 31 March and was filed on 1 May: in April nobody knew of its loss."""
    found = planted(tmp_path, "PeriodEndJoin").lookahead("planted", most=8)
    assert ("analyze", BEFORE_FILING, "FADE", "passed") in named(found)
    assert {(leak.layer, leak.symbol) for leak in found.leaks} == {("analyze", "FADE")}
    assert all(date(2024, 3, 31) <= leak.session < date(2024, 5, 1) for leak in found.leaks)
    assert "later sessions" in only_cause(found)


def test_a_restated_value_is_caught(tmp_path: Path) -> None:
    """GOOD's year is corrected on 10 May; the strategy has used the corrected figure since February."""

    def restated(bot: Tradebot) -> None:
        restated_market.fill(bot)
        restated_market.correct(bot, NetIncomeLoss=-5e8)

    found = planted(tmp_path, "LastWord", fill=restated).lookahead("planted", most=8)
    assert ("analyze", date(2024, 5, 9), "GOOD", "passed") in named(found)
    assert found.sessions[date(2024, 5, 9)] == "before a restatement"
    assert {(leak.layer, leak.symbol) for leak in found.leaks} == {("analyze", "GOOD")}
    assert max(leak.session for leak in found.leaks) < date(2024, 5, 10)


def test_a_restated_value_under_its_first_date_in_the_store_is_caught(tmp_path: Path) -> None:
    """Figures of February that are made of the correction of May: no layer is to blame, and the facts known in February deny it."""

    def overwritten(bot: Tradebot) -> None:
        restated_market.fill(bot)
        restated_market.correct(bot, NetIncomeLoss=-5e8)
        rows = bot.store.read(FUNDAMENTALS, as_of=restated_market.CORRECTED, ciks=[restated_market.CIK])
        restated = rows.filter(known_at=restated_market.FIRST_FILED).with_columns(net_income_ttm=pl.lit(-5e8))
        kept = restated.select([*FUNDAMENTALS.columns, "known_at"])
        bot.store.append(Batch(FUNDAMENTALS, kept, "normalised"), restated_market.CORRECTED)

    bot = planted(tmp_path, "Clean", fill=overwritten)
    found = bot.lookahead("planted", most=8)
    assert {(leak.layer, leak.symbol, leak.column) for leak in found.leaks} == {("fundamentals", "GOOD", "net_income_ttm")}
    assert {(leak.stored, leak.recomputed) for leak in found.leaks} == {("-500000000.0", "700000000.0")}
    # From the correction on it is true.
    assert {leak.session for leak in found.leaks} == {day for day in found.sessions if day < date(2024, 5, 10)}
    assert 0 < found.compared["figures"] <= 8


def test_a_restatement_that_is_kept_as_a_later_version_passes(tmp_path: Path) -> None:
    def restated(bot: Tradebot) -> None:
        restated_market.fill(bot)
        restated_market.correct(bot, NetIncomeLoss=-5e8)

    found = planted(tmp_path, "Clean", fill=restated).lookahead("planted", most=8)
    assert found.leaks == () and found.compared["figures"] == 8


class FillsAtOnce(SimulatedEngine):
    """Fills an order the moment it is decided, at the close that decided it."""

    def submit(self, intent: OrderIntent) -> OrderStatus:
        super().submit(intent)
        return self.get_order_status(intent.key)

    def _status_after_open(self, intent: OrderIntent) -> OrderStatus:
        at = self._calendar.closes_at(intent.session)
        return OrderStatus(OrderState.FILLED, (self._fill(intent, intent.session, intent.reference_price, at),))


class FillsAtLastClose(SimulatedEngine):
    """Fills at the next open, it says, at the close that decided the order."""

    def _fill(self, intent: OrderIntent, session: date, price: Decimal, at: datetime) -> Fill:
        paid = fill_price(float(intent.reference_price), intent.side, self._costs)
        return super()._fill(intent, session, paid, at)


def test_a_fill_in_the_session_of_its_decision_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wiring, "SimulatedEngine", FillsAtOnce)
    found = planted(tmp_path, "Clean").lookahead("planted", most=3)
    first = RANGE[0]
    assert named(found) == {("fills", first, symbol, "session") for symbol in ("GOOD", "DEAR", "LOSS", "FADE")}
    assert (
        only_cause(found) == f"An order decided at the cut-off of {first} can fill at the open of {RANGE[1]} at the earliest."
    )


def test_a_fill_at_the_close_of_its_decision_is_caught_though_it_is_dated_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wiring, "SimulatedEngine", FillsAtLastClose)
    found = planted(tmp_path, "Clean").lookahead("planted", most=3)
    assert named(found) == {("fills", RANGE[1], symbol, "price") for symbol in ("GOOD", "DEAR", "LOSS", "FADE")}
    assert only_cause(found).startswith("The price does not depend on the session of the fill")


def test_a_fill_at_a_price_that_was_not_to_be_had_is_caught(tmp_path: Path) -> None:
    bot = planted(tmp_path, "Clean", RANGE[:4])
    fills = bot.store.read_results(FILLS, "planted", "backtest", RANGE[1], RANGE[1])
    cheaper = fills.with_columns(price=pl.when(symbol="GOOD").then(pl.lit("30.0000")).otherwise("price"))
    bot.store.write_results(FILLS, "planted", "backtest", [RANGE[1]], cheaper)
    found = bot.lookahead("planted", start=RANGE[1], end=RANGE[1])
    assert named(found) == {("fills", RANGE[1], "GOOD", "price")}


def in_a_process_of_its_own(bot: Tradebot, *options: str) -> tuple[int, dict]:
    command = [sys.executable, "-c", "from tradebot_dagster.cli import main; main()", "lookahead", "planted", "--json"]
    done = subprocess.run(
        [*command, *options, "--config", str(bot.config_path)], capture_output=True, text=True, check=False, cwd=Path.cwd()
    )
    return done.returncode, json.loads(done.stdout)


def test_a_layer_that_looks_ahead_through_a_memory_of_its_module_is_caught(tmp_path: Path) -> None:
    """Only a process that has not made the backtest can tell: in this one the memory is full."""
    code, found = in_a_process_of_its_own(planted(tmp_path, "Remembering", RANGE[:20]), "--sessions", "3")
    first = [leak for leak in found["leaks"] if leak["session"] == str(RANGE[0])]
    assert code == 1
    assert {(leak["layer"], leak["symbol"], leak["column"]) for leak in first} == {
        ("analyze", symbol, "rise") for symbol in ("GOOD", "DEAR", "LOSS", "FADE")
    }
    assert {leak["recomputed"] for leak in first} == {"None"}


def test_a_decision_that_looks_ahead_through_a_memory_is_caught_while_its_layers_are_not_blamed(tmp_path: Path) -> None:
    bot = planted(tmp_path, "DecidesOnMemory", RANGE[:20])
    sold = bot.store.read_results(DECISIONS, "planted", "backtest").filter(action="sell")["session"].min()
    code, found = in_a_process_of_its_own(bot, "--start", str(sold), "--end", str(sold))
    assert code == 1
    assert {(leak["layer"], leak["session"], leak["column"]) for leak in found["leaks"]} == {("decisions", str(sold), "action")}


# What a source stamps too early


def test_figures_stamped_with_the_end_of_their_period_are_caught(tmp_path: Path) -> None:
    def stamped(bot: Tradebot) -> None:
        fill_store(bot)
        quarter = date(2024, 3, 31)
        append(bot, FUNDAMENTALS, filing("DEAR", quarter, datetime(2024, 3, 31, 22, tzinfo=UTC)))

    found = planted(tmp_path, "Clean", fill=stamped).lookahead("planted", most=8)
    assert {(leak.layer, leak.symbol, leak.column) for leak in found.leaks} == {("fundamentals", "DEAR", "known_at")}
    assert min(leak.session for leak in found.leaks) > date(2024, 3, 31)


def test_a_bar_known_before_its_session_closed_is_caught(tmp_path: Path) -> None:
    bot = scripted(tmp_path)
    quote(bot, "AAA", 10.0)
    early = {"security_id": 200, "session": SESSIONS[40], "open": 5.0, "high": 5.0, "low": 5.0, "close": 5.0, "volume": 1e6}
    append(bot, BARS, early | {"known_at": XNYS.opens_at(SESSIONS[40])})
    name = dict.fromkeys(SECURITIES.columns) | {"security_id": 200, "cik": 2, "symbol": "BBB", "name": "BBB"}
    dates = {"valid_from": date(2020, 1, 1), "valid_to": date.max, "known_at": datetime(2020, 1, 1, tzinfo=UTC)}
    append(bot, SECURITIES, name | {"exchange": "TEST"} | dates)
    found = backtested(bot, "scripted", [SESSIONS[40]]).lookahead("scripted")
    assert named(found) == {("bars", SESSIONS[40], "BBB", "known_at")}


# What is no look-ahead, and differs all the same


def test_a_layer_that_depends_on_where_the_range_began_is_told_as_that(tmp_path: Path) -> None:
    found = planted(tmp_path, "RollingMean", RANGE[:10]).lookahead("planted", start=RANGE[5])
    assert layers_of(found) == {"analyze"}
    assert "earlier sessions" in only_cause(found)


def test_a_stored_verdict_that_was_altered_is_told_as_not_reproduced(tmp_path: Path) -> None:
    bot = planted(tmp_path, "Clean", RANGE[:6])
    day = RANGE[3]
    stored = bot.store.read_results(LAYERS, "planted", "market", day, day, "screen")
    bot.store.write_results(LAYERS, "planted", "market", [day], stored.with_columns(value=pl.col("value") + 1e-9), "screen")
    found = bot.lookahead("planted", start=day, end=day)
    assert named(found) == {("screen", day, symbol, "value") for symbol in ("GOOD", "DEAR", "LOSS", "FADE")}
    assert "made from other data" in only_cause(found)


def test_an_altered_order_is_named(tmp_path: Path) -> None:
    bot = planted(tmp_path, "Clean", RANGE[:4])
    day = RANGE[0]
    orders = bot.store.read_results(ORDERS, "planted", "backtest", day, day)
    bot.store.write_results(ORDERS, "planted", "backtest", [day], orders.with_columns(quantity=pl.col("quantity") * 2))
    found = bot.lookahead("planted", end=RANGE[3], most=2)
    assert named(found) == {("orders", day, symbol, "quantity") for symbol in orders["symbol"]}


def test_without_a_backtest_or_with_other_parameters_it_says_what_to_run(tmp_path: Path) -> None:
    bot = tradebot(tmp_path, text=LEAKING.format(name="Clean"))
    fill_store(bot)
    with pytest.raises(MissingData, match=r"no backtest of planted there\. Run `tradebot backtest planted"):
        bot.lookahead("planted")
    backtested(bot, "planted", RANGE[:2])
    for changed, told in (({"settings": "another"}, "other parameters"), ({"code": "another"}, "other code of the strategy")):
        other = replace(bot, sleeves={"planted": replace(bot.sleeve("planted"), **changed)})
        with pytest.raises(UsageError, match=f"made with {told}"):
            other.lookahead("planted")


# The views of the store


def test_a_cut_store_knows_what_was_known_by_then_and_no_more(market: Tradebot) -> None:
    day = date(2024, 4, 30)
    cut = CutStore(market.store, day, XNYS.cutoff(day))
    ever = datetime.max.replace(tzinfo=UTC)
    for table in (BARS, ACTIONS, SECURITIES, FUNDAMENTALS, FACTS):
        whole = market.store.read_versions(table, as_of=XNYS.cutoff(day))
        assert cut.read_versions(table, as_of=ever).equals(whole)
        assert cut.read(table, as_of=ever).equals(market.store.read(table, as_of=XNYS.cutoff(day)))
    assert cut.newest(FUNDAMENTALS, as_of=ever).equals(market.store.newest(FUNDAMENTALS, as_of=XNYS.cutoff(day)))
    assert cut.read_results(DECISIONS, "value_investor", "backtest").is_empty()
    earlier = XNYS.cutoff(date(2024, 1, 10))
    assert cut.read_versions(BARS, as_of=earlier).equals(market.store.read_versions(BARS, as_of=earlier))


def test_a_cut_store_lets_nothing_through_that_the_store_below_gives_too_much(market: Tradebot) -> None:
    class Careless:
        def read_versions(self, table, *, as_of, **rest):
            return market.store.read_versions(table, as_of=datetime.max.replace(tzinfo=UTC), **rest)

    day = date(2024, 4, 30)
    cut = CutStore(Careless(), day, XNYS.cutoff(day))  # type: ignore[arg-type]
    for table in (BARS, FUNDAMENTALS):
        assert cut.read(table, as_of=XNYS.cutoff(SESSIONS[-1])).equals(market.store.read(table, as_of=XNYS.cutoff(day)))


def test_noise_changes_every_number_known_later_and_nothing_else(market: Tradebot) -> None:
    day, ever = date(2024, 4, 12), datetime.max.replace(tzinfo=UTC)
    cutoff = XNYS.cutoff(day)
    noisy = NoisyStore(market.store, cutoff)
    for table in (BARS, ACTIONS, FUNDAMENTALS):
        whole, made = market.store.read_versions(table, as_of=ever), noisy.read_versions(table, as_of=ever)
        numbers = [name for name, kind in table.schema.items() if kind == pl.Float64]
        others = [name for name in made.columns if name not in (*numbers, "accession", "company_name", "provenance")]
        assert made.select(others).equals(whole.select(others))
        before = pl.col("known_at") <= cutoff
        assert made.filter(before).equals(whole.filter(before))
        for name in numbers:
            then, now = whole.filter(~before)[name], made.filter(~before)[name]
            assert then.is_null().equals(now.is_null()) and len(then) > 0
            ratio = (now / then).drop_nulls().drop_nans()
            assert ratio.is_between(0.4, 2.5).all() and not ratio.is_between(0.75, 1.3, closed="none").any()
    bars = noisy.read_versions(BARS, as_of=ever)
    assert bars.select((pl.col("low") <= pl.min_horizontal("open", "close")).all()).item()
    assert bars.equals(NoisyStore(market.store, cutoff).read_versions(BARS, as_of=ever))
    assert not bars.equals(NoisyStore(market.store, cutoff, seed=1).read_versions(BARS, as_of=ever))


def test_a_kept_store_answers_as_the_store_does(market: Tradebot) -> None:
    kept = KeptStore(market.store, XNYS.cutoff(SESSIONS[-1]))
    for day in (SESSIONS[30], SESSIONS[80]):
        for table in (BARS, ACTIONS, SECURITIES, FUNDAMENTALS):
            for bounds in ({}, {"end": day}, {"start": SESSIONS[20], "end": day}):
                assert kept.read_versions(table, as_of=XNYS.cutoff(day), **bounds).equals(
                    market.store.read_versions(table, as_of=XNYS.cutoff(day), **bounds)
                )


# The sample


def test_the_sample_holds_both_ends_and_the_sessions_in_which_a_leak_is_likeliest(market: Tradebot) -> None:
    chosen = sample(market.store, XNYS, "value_investor", RANGE, 8)
    assert len(chosen) == 8 and list(chosen) == sorted(chosen)
    assert chosen[RANGE[0]] == "the first" and chosen[RANGE[-1]] == "the last"
    assert chosen[date(2024, 4, 12)] == "before a split" and chosen[BEFORE_FILING] == "before a filing"
    assert "before a trade" in chosen.values() and "at random" in chosen.values()
    assert chosen == sample(market.store, XNYS, "value_investor", RANGE, 8)
    assert chosen != sample(market.store, XNYS, "value_investor", RANGE, 8, seed=1)


@pytest.mark.parametrize(("most", "size"), [(1, 1), (2, 2), (99, 99), (500, 99), (None, 99)])
def test_a_sample_has_the_size_that_was_asked_for(market: Tradebot, most: int | None, size: int) -> None:
    chosen = sample(market.store, XNYS, "value_investor", RANGE, most)
    assert len(chosen) == size and set(chosen) <= set(RANGE) and RANGE[-1] in chosen
