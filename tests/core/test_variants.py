"""Variants of a strategy: names, configuration, shared layers, stresses, sweeps, comparisons."""

from datetime import UTC, date, datetime
from decimal import Decimal

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests import markets
from tests.core.layers_to_share import Cautious, Closing
from tests.markets import CONFIG, SESSIONS, fill_store, run_layers
from tests.scripted import DAY, quote, scripted
from tests.scripted import SESSIONS as STORY
from tradebot_core.config import load_config
from tradebot_core.errors import ConfigurationError, MissingData, UsageError
from tradebot_core.execution.costlier import CostlierEngine
from tradebot_core.model.order import Fill, OrderState, OrderStatus, Side
from tradebot_core.model.tables import DECISIONS, EQUITY, LAYERS
from tradebot_core.strategies.value_investor import ValueInvestor
from tradebot_core.trading.backtest import BACKTEST_TABLES
from tradebot_core.trading.layer_identity import layer_digests
from tradebot_core.trading.layers import evaluate_layers
from tradebot_core.trading.order_trail import BACKTEST
from tradebot_core.trading.stored_markets import MARKET
from tradebot_core.trading.variants import grid, in_words, overrides_of
from tradebot_core.wiring import build

RANGE = SESSIONS[25:]
BLOCK = "    params: {{max_positions: 4, min_score: 0.3}}\n"
WITH_VARIANTS = CONFIG.replace(
    BLOCK, BLOCK + "    variants:\n      few: {{max_positions: 1}}\n      strict: {{min_return_on_capital: 0.9}}\n"
)
D = Decimal


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """The base backtest, and its variants beside it on its stored verdicts."""
    bot = markets.tradebot(tmp_path_factory.mktemp("swept"), text=WITH_VARIANTS)
    fill_store(bot)
    run_layers(bot, "value_investor", RANGE)
    bot.backtest("value_investor", RANGE)
    names = [*bot.variants("value_investor"), "value_investor@as_is", "value_investor@max_positions=2"]
    return bot, bot.sweep(names, RANGE, stored="value_investor")


# Names


def test_a_variant_is_named_by_what_it_sets_otherwise():
    assert overrides_of("max_positions=5,stop_loss=0.2") == {"max_positions": 5, "stop_loss": 0.2}
    assert in_words({"stop_loss": 0.2, "max_positions": 5}) == "max_positions=5,stop_loss=0.2"


@given(
    st.dictionaries(
        st.from_regex(r"[a-z][a-z_]{0,8}", fullmatch=True),
        st.integers() | st.booleans() | st.floats(1e-3, 1e3),
        min_size=1,
        max_size=4,
    )
)
def test_the_name_says_all_and_only_that(overrides):
    assert overrides_of(in_words(overrides)) == overrides


def test_a_grid_is_every_combination():
    assert grid(["a=1,2", "b=x,0.5"]) == [{"a": 1, "b": "x"}, {"a": 1, "b": 0.5}, {"a": 2, "b": "x"}, {"a": 2, "b": 0.5}]
    assert grid([]) == []


@pytest.mark.parametrize("wrong", [["a"], ["a="], ["a=1,1"], ["a=1,1.0,"], ["a=1", "a=2"], ["=1"], ["a b=1"], ["a=[1"]])
def test_a_grid_that_cannot_be_meant_is_refused(wrong):
    with pytest.raises(UsageError):
        grid(wrong)


@pytest.mark.parametrize("wrong", ["", "few", "a=1,a=2", "a=", "a=b/../c", "../x=1", "a=" + "9" * 200])
def test_a_name_that_is_no_variant_is_refused(swept, wrong):
    bot, _ = swept
    if wrong != "few":
        with pytest.raises(UsageError):
            bot.tested(f"value_investor@{wrong}")
    with pytest.raises(UsageError):
        bot.tested(f"quality_growth@{wrong}")  # its block has no variant few


def test_an_unknown_parameter_is_named_with_those_there_are(swept):
    bot, _ = swept
    with pytest.raises(UsageError, match="max_positons: no such parameter") as refused:
        bot.tested("value_investor@max_positons=3")
    assert "max_positions" in refused.value.mend


# Configuration


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("{{max_positons: 1}}", "max_positons: no such setting"),
        ("{{max_positions: many}}", "max_positions"),
        ("{{max_positions: 4}}", "changes nothing"),
        ("{{}}", "changes nothing"),
    ],
)
def test_a_wrong_variant_stops_the_start_and_names_its_line(tmp_path, written, said):
    path = markets.write_config(tmp_path, CONFIG.replace(BLOCK, BLOCK + f"    variants:\n      few: {written}\n"))
    line = next(n for n, text in enumerate(path.read_text().splitlines(), 1) if "few:" in text)
    with pytest.raises(ConfigurationError, match=f"line {line}: .*{said}"):
        build(load_config(path), path)


@pytest.mark.parametrize("name", ["delayed", "costs_doubled", "as_is", "Few", "a@b"])
def test_a_variant_may_not_take_a_name_that_has_another_meaning(tmp_path, name):
    text = CONFIG.replace(BLOCK, BLOCK + f'    variants: {{{{"{name}": {{{{max_positions: 1}}}}}}}}\n')
    path = markets.write_config(tmp_path, text)
    with pytest.raises(ConfigurationError):
        build(load_config(path), path)


def test_a_variant_is_no_sleeve(swept):
    """What is live goes by the sleeves: a variant has no capital in the account and no assets."""
    bot, _ = swept
    assert set(bot.sleeves) == {"value_investor", "quality_growth"}
    with pytest.raises(UsageError, match="There is no strategy value_investor@few"):
        bot.sleeve("value_investor@few")
    with pytest.raises(UsageError, match="is no variant"):
        bot.sweep(["value_investor"], RANGE)


# What is shared


def test_only_the_layer_that_differs_is_computed(swept):
    _, counts = swept
    # Six variants of two layers each: all but the second layer of `strict` are those of the strategy.
    assert counts == {"evaluated": 1, "shared": 11}


def test_shared_verdicts_stand_under_every_name_and_stay_when_the_strategys_are_made_anew(swept):
    bot, _ = swept
    own = bot.store.read_results(LAYERS, "value_investor", MARKET, layer="analyze")
    assert bot.store.read_results(LAYERS, "value_investor@few", MARKET, layer="analyze").equals(own)
    other = bot.store.read_results(LAYERS, "value_investor@strict", MARKET, layer="analyze")
    assert other["rule"].unique().to_list() == ["min_return_on_capital"]
    before = bot.store.read_results(LAYERS, "value_investor@few", MARKET, RANGE[0], RANGE[0], "screen")
    bot.store.write_results(LAYERS, "value_investor", MARKET, RANGE[:1], before.clear(), "screen")
    assert bot.store.read_results(LAYERS, "value_investor", MARKET, RANGE[0], RANGE[0], "screen").is_empty()
    assert bot.store.read_results(LAYERS, "value_investor@few", MARKET, RANGE[0], RANGE[0], "screen").equals(before)
    bot.store.write_results(LAYERS, "value_investor", MARKET, RANGE[:1], before, "screen")


def test_a_variant_gets_the_rows_that_it_would_get_alone(tmp_path, swept):
    """Swept with others, or configured as the strategy itself."""
    bot, _ = swept
    alone = markets.tradebot(
        tmp_path, text=CONFIG.replace("max_positions: 4, min_score: 0.3", "max_positions: 1, min_score: 0.3")
    )
    fill_store(alone)
    run_layers(alone, "value_investor", RANGE)
    tables = alone.backtest("value_investor", RANGE)
    for table in BACKTEST_TABLES:
        ours = bot.store.read_results(table, "value_investor@few", BACKTEST)
        named = ours.with_columns(pl.col(pl.String).str.replace_all("value_investor@few", "value_investor", literal=True))
        if table.name != "books":  # whose digests are of the order keys, which carry the name
            assert named.sort("session", *table.key).equals(tables[table.name].sort("session", *table.key)), table.name
    states = bot.store.read_results(BACKTEST_TABLES[-1], "value_investor@few", BACKTEST)["state"]
    assert [text.replace("value_investor@few", "value_investor") for text in states] == tables["books"]["state"].to_list()


def test_as_is_is_the_strategy(swept):
    bot, _ = swept
    for table in (DECISIONS, EQUITY):
        own, other = (bot.store.read_results(table, name, BACKTEST) for name in ("value_investor", "value_investor@as_is"))
        assert own.equals(other)
    assert bot.compare("value_investor", "value_investor@as_is").first is None
    assert bot.tested("value_investor@as_is").fingerprint == bot.sleeve("value_investor").fingerprint


def test_layers_are_the_same_when_their_expressions_and_all_before_them_are():
    def digests(**params: float):
        return list(layer_digests(Cautious("x", Cautious.Params(**params))).values())

    usual = digests()
    assert digests(places=7) == usual  # no layer knows of it, not even the one in plain Python
    first, second, third = digests(least_price=6.0)
    assert first != usual[0] and second != usual[1] and third != usual[2]  # what follows on it is another layer
    first, second, third = digests(least_volume=2.0)
    assert (first, second) == (usual[0], usual[0 + 1]) and third != usual[2]


def test_a_layer_that_hides_what_it_depends_on_is_shared_only_where_all_parameters_are_the_same():
    def digests(places: int):
        return list(layer_digests(Closing("x", Closing.Params(places=places))).values())

    assert digests(3) == digests(3)
    assert digests(3)[0] != digests(4)[0]  # a function in its expression: who knows


PARAMETERS = st.fixed_dictionaries(
    {},
    optional={
        "max_positions": st.sampled_from([1, 4]),
        "min_price": st.sampled_from([5.0, 58.0]),
        "min_score": st.sampled_from([0.3, 0.7]),
        "exit_earnings_yield": st.sampled_from([0.025, 0.2]),
        "min_dollar_volume": st.sampled_from([1e6, 1e9]),
    },
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(PARAMETERS, PARAMETERS)
def test_layers_of_the_same_digest_give_the_same_verdicts(swept, one, other):
    bot, _ = swept
    panel = bot.markets.panel(RANGE[:5])
    strategies = [ValueInvestor("x", ValueInvestor.Params(**params)) for params in (one, other)]
    digests, verdicts = [layer_digests(strategy) for strategy in strategies], [evaluate_layers(s, panel) for s in strategies]
    for layer in ("screen", "analyze"):
        same = verdicts[0][layer].equals(verdicts[1][layer])
        assert same or digests[0][layer] != digests[1][layer]
    decide_only = {key: value for key, value in one.items() if key != "max_positions"}
    assert (digests[0] == digests[1]) or decide_only != {key: value for key, value in other.items() if key != "max_positions"}


# Stresses, on a story in round numbers: AAA opens and closes at 10, 20 in the session after the next.


def story(tmp_path, *script: str, **costs: float):
    bot = scripted(tmp_path, *script, costs=costs)
    prices = {STORY[21]: (10.0, 20.0), **dict.fromkeys(STORY[22:], 20.0)}
    quote(bot, "AAA", 10.0, prices)
    return bot


def test_costs_doubled_are_twice_the_commission_and_twice_as_far_from_the_open(tmp_path):
    costs = {"slippage_bps": 100, "commission_per_share": 0, "commission_minimum": 3}
    bot = story(tmp_path, f"{DAY} buy AAA 0.5", **costs)
    sessions = STORY[20:24]
    bot.sweep(["scripted@as_is", "scripted@costs_doubled"], sessions)

    def fill(name: str):
        return bot.store.read_results(BACKTEST_TABLES[3], name, BACKTEST).row(0, named=True)

    usual, dearer = fill("scripted@as_is"), fill("scripted@costs_doubled")
    assert (usual["price"], usual["commission"]) == ("10.1000", "3.0000")
    assert (dearer["price"], dearer["commission"]) == ("10.2000", "6.0000")
    assert usual["quantity"] == dearer["quantity"]
    paid = [bot.performance(name).final_equity for name in ("scripted@as_is", "scripted@costs_doubled")]
    assert paid[0] - paid[1] == pytest.approx(usual["quantity"] * 0.1 + 3)


@pytest.mark.parametrize(
    ("side", "price", "dearer"),
    [("buy", "10.10", "10.20"), ("sell", "9.90", "9.80"), ("buy", "9.50", "9.50"), ("sell", "10.50", "10.50")],
)
def test_a_fill_gets_as_much_worse_again_as_it_was_worse_than_the_open_and_never_better(side, price, dearer):
    class Within:
        def get_order_status(self, order_key: str) -> OrderStatus:
            at = datetime(2024, 3, 1, 14, 30, tzinfo=UTC)
            fill = Fill("1", order_key, DAY, 1, "AAA", Side(side), 7, D(price), D("1.25"), at)
            return OrderStatus(OrderState.FILLED, (fill,))

    class Market:
        def open_price(self, security_id: int, session: date) -> float:
            return 10.0

    (fill,) = CostlierEngine(Within(), Market(), 2.0).get_order_status("k").fills
    assert (fill.price, fill.commission, fill.quantity) == (D(dearer), D("2.50"), 7)


def test_delayed_decides_on_the_verdicts_of_the_session_before(swept):
    bot, _ = swept
    name = "value_investor@delayed"
    own, late = (
        bot.store.read_results(DECISIONS, of, BACKTEST).filter(action="buy").select("session", "symbol").rows()
        for of in ("value_investor", name)
    )
    assert own == [(RANGE[0], "GOOD"), (RANGE[0], "FADE")]
    assert late == [(RANGE[1], "GOOD"), (RANGE[1], "FADE")]
    # FADE's loss is filed before the close of 1 May: sold a session later, too.
    sold = bot.store.read_results(DECISIONS, name, BACKTEST).filter(action="sell").select("session", "symbol", "rule").rows()
    assert sold == [(date(2024, 5, 2), "FADE", "exit_net_income")]
    fills = bot.store.read_results(BACKTEST_TABLES[3], name, BACKTEST)["session"].to_list()
    assert fills == [RANGE[2], RANGE[2], date(2024, 5, 3)]


def test_delayed_over_the_turn_of_a_year_sees_the_last_session_of_the_old_one(tmp_path):
    sessions = tuple(markets.XNYS.sessions(date(2024, 11, 1), date(2025, 1, 10)))
    bot = scripted(tmp_path, "2025-01-02 buy AAA 0.4", "2025-01-02 buy BBB 0.4")
    quote(bot, "AAA", 10.0, {date(2025, 1, 2): None}, sessions=sessions)
    quote(bot, "BBB", 10.0, {date(2024, 12, 31): None}, sessions=sessions)
    around = [session for session in sessions if session >= date(2024, 12, 27)]
    bot.sweep(["scripted@as_is", "scripted@delayed"], around)
    for name, seen in (("scripted@as_is", "BBB"), ("scripted@delayed", "AAA")):
        bought = bot.store.read_results(DECISIONS, name, BACKTEST).filter(action="buy")
        assert bought.select("session", "symbol").rows() == [(date(2025, 1, 2), seen)]


# Comparison


def test_where_decisions_differ_and_why(swept):
    bot, _ = swept
    found = bot.compare("value_investor", "value_investor@few")
    assert found.first == RANGE[0]
    first = found.differences.filter(session=RANGE[0]).select(
        "symbol", "cause", "action_a", "action_b", "rule_b", "threshold_b"
    )
    assert first.rows() == [
        ("GOOD", "decide", "buy", "skip", "max_positions", 1.0),
        ("FADE", "decide", "buy", "buy", "best_candidates", 1.0),
    ]
    after = found.differences.filter(session=RANGE[1]).select("symbol", "cause", "action_a", "action_b").rows()
    assert after == [("GOOD", "book", "hold", "skip")]
    assert sum(found.causes["decisions"]) == len(found.differences)


def test_a_rule_that_rejects_for_one_is_named_with_value_and_threshold(swept):
    bot, _ = swept
    found = bot.compare("value_investor@strict", "value_investor").differences.filter(session=RANGE[0])
    assert found.select("symbol", "cause", "detail", "detail_threshold", "action_a", "action_b").rows() == [
        ("GOOD", "verdict", "analyze: min_return_on_capital", 0.9, None, "buy"),
        ("FADE", "verdict", "analyze: min_return_on_capital", 0.9, None, "buy"),
    ]
    assert found["detail_value"].to_list() == pytest.approx([1e9 / 4.5e9] * 2)


def test_what_has_no_results_or_other_sessions_is_said(swept, tmp_path):
    bot, _ = swept
    with pytest.raises(MissingData, match="no backtest of value_investor@max_positions=3") as missing:
        bot.compare("value_investor", "value_investor@max_positions=3")
    assert "tradebot sweep value_investor --param max_positions=3" in missing.value.mend
    with pytest.raises(MissingData, match="no session in common"):
        bot.compare("value_investor", "value_investor@few", start=date(2026, 1, 2))


def test_a_variant_of_old_parameters_is_not_compared_as_if_it_were_the_new_one(tmp_path):
    bot = markets.tradebot(tmp_path, text=WITH_VARIANTS)
    fill_store(bot)
    bot.sweep(["value_investor@as_is", "value_investor@few"], RANGE)
    changed = markets.tradebot(tmp_path, text=WITH_VARIANTS.replace("few: {{max_positions: 1}}", "few: {{max_positions: 2}}"))
    with pytest.raises(UsageError, match="value_investor@few was made with other parameters"):
        changed.compare("value_investor@as_is", "value_investor@few")
