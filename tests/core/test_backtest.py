"""A backtest to the cent: on the small market with the shipped strategies, and on single stories with a scripted one."""

import gc
import weakref
from datetime import date, timedelta
from decimal import Decimal

import polars as pl
import pytest

from tests.markets import CONFIG, START, XNYS, fill_store, run_layers, security_of, tradebot
from tests.markets import SESSIONS as HALF_YEAR
from tests.scripted import SESSIONS, act, append, quote, scripted, walk
from tests.scripted import security_of as scripted_id
from tradebot_core.errors import MissingData, StrategyError, UsageError
from tradebot_core.model.tables import BARS, BOOKS, DECISIONS, EQUITY, LAYERS
from tradebot_core.trading import stored_markets
from tradebot_core.trading.book_state import BookState
from tradebot_core.trading.markets import MarketHistory

RANGE = HALF_YEAR[25:]
D = Decimal


def day(n: int) -> date:
    """The n-th session of a scripted story; 0 is the first."""
    return SESSIONS[20 + n]


def days(n: int) -> tuple[date, ...]:
    return SESSIONS[20 : 20 + n]


def equity_of(tables: dict[str, pl.DataFrame]) -> list[Decimal]:
    return [D(value) for value in tables["equity"]["equity"]]


def states_of(tables: dict[str, pl.DataFrame]) -> list[tuple[str, str]]:
    return tables["order_states"].select("state", "detail").rows()


# The shipped strategies on the small market


@pytest.fixture(scope="module")
def market(tmp_path_factory):
    bot = tradebot(tmp_path_factory.mktemp("market"))
    fill_store(bot)
    for strategy in ("value_investor", "quality_growth"):
        run_layers(bot, strategy, RANGE)
    return bot


@pytest.fixture(scope="module")
def value(market):
    return market.backtest("value_investor", RANGE)


def test_orders_fill_at_the_open_of_the_next_session_with_slippage_and_commission(value):
    # GOOD opens on 8 February at 60.00 and FADE at 55.00: five basis points more, half a cent a share, at least a dollar.
    first = value["fills"].filter(session=date(2024, 2, 8)).select("symbol", "side", "quantity", "price", "commission").rows()
    assert first == [("GOOD", "buy", 211, "60.0300", "1.0550"), ("FADE", "buy", 230, "55.0275", "1.1500")]
    assert value["fills"]["filled_at"][0] == XNYS.opens_at(date(2024, 2, 8))
    decided = value["orders"].select("session", "symbol", "quantity", "reference_price", "approved").rows()[:2]
    assert decided == [(START, "GOOD", 211, "59.0500", True), (START, "FADE", 230, "54.1500", True)]


def test_the_equity_of_a_session_is_cash_and_positions_at_its_close(value):
    # 8 February: GOOD closes at 60.25, FADE at 55.25.
    second = value["equity"].row(1, named=True)
    cash = D(50_000) - 211 * D("60.03") - D("1.055") - 230 * D("55.0275") - D("1.15")
    invested = 211 * D("60.25") + 230 * D("55.25")
    assert (D(second["cash"]), D(second["invested"]), D(second["equity"])) == (cash, invested, cash + invested)


def test_a_dividend_is_paid_on_what_was_held_before_the_open(value):
    paid = value["entries"].filter(kind="dividend").select("session", "symbol", "quantity", "cash").rows()
    assert paid == [(date(2024, 3, 15), "GOOD", 0, "105.5000")]  # 211 x 0.50


def test_a_split_doubles_the_shares_and_changes_neither_cost_nor_value(value):
    held = value["positions"].filter(symbol="GOOD")
    before, after = (held.filter(session=s).row(0, named=True) for s in (date(2024, 4, 12), date(2024, 4, 15)))
    assert (before["quantity"], after["quantity"]) == (211, 422)
    assert before["cost"] == after["cost"] == "12666.3300"
    entered = value["entries"].filter(kind="split").select("session", "quantity", "cash").rows()
    assert entered == [(date(2024, 4, 15), 211, "0.0000")]
    equity = dict(value["equity"].select("session", "equity").iter_rows())
    assert abs(D(equity[date(2024, 4, 15)]) / D(equity[date(2024, 4, 12)]) - 1) < D("0.02")


def test_a_company_is_sold_in_the_session_whose_filing_shows_the_loss(value):
    sold = value["decisions"].filter(action="sell").select("session", "symbol", "rule", "value", "threshold").rows()
    assert sold == [(date(2024, 5, 1), "FADE", "exit_net_income", -1e8, 0.0)]
    fill = value["fills"].filter(side="sell").select("session", "quantity", "price").rows()
    assert fill == [(date(2024, 5, 2), 230, "55.5222")]  # opens at 55.55
    assert "FADE" not in value["positions"].filter(pl.col("session") > date(2024, 5, 1))["symbol"].to_list()


def test_the_rejected_have_their_rule_value_and_threshold_too(market, value):
    seen = market.store.read_results(LAYERS, "value_investor", "market", START, START, "screen")
    assert seen.select("symbol", "passed", "rule", "value", "threshold").rows() == [
        ("GOOD", True, "positive_free_cash_flow", 8e8, 0.0),
        ("DEAR", False, "exit_earnings_yield", pytest.approx(7e8 / (1e8 * 294.25)), 0.025),
        ("LOSS", False, "exit_net_income", -2e8, 0.0),
        ("FADE", True, "positive_free_cash_flow", 8e8, 0.0),
    ]
    analyzed = market.store.read_results(LAYERS, "value_investor", "market", START, START, "analyze")
    assert analyzed["symbol"].to_list() == ["GOOD", "FADE"]
    assert set(value["decisions"].filter(session=START)["symbol"]) == {"GOOD", "FADE"}


def test_everything_held_has_a_decision_in_every_session(value):
    held = value["positions"].select("session", "security_id")
    assert held.join(value["decisions"], on=["session", "security_id"], how="anti").is_empty()


@pytest.mark.parametrize("most", [1, 2, 3])
def test_no_more_positions_than_allowed_and_no_more_weight_than_the_sleeve(tmp_path, most):
    text = CONFIG.replace("max_positions: 3", f"max_positions: {most}").replace("max_positions: 4", f"max_positions: {most}")
    bot = tradebot(tmp_path, text=text)
    fill_store(bot)
    for strategy in ("value_investor", "quality_growth"):
        run_layers(bot, strategy, RANGE)
        tables = bot.backtest(strategy, RANGE)
        assert tables["equity"]["positions"].max() <= most
        weights = tables["decisions"].group_by("session").agg(pl.col("target_weight").sum())["target_weight"]
        assert weights.max() <= 1
        assert min(D(cash) for cash in tables["equity"]["cash"]) >= 0
        assert tables["decisions"].filter(action="skip")["rule"].unique().to_list() in ([], ["max_positions"], ["cash"])


def test_cash_stays_when_nothing_qualifies(tmp_path):
    text = CONFIG.replace("min_score: 0.3", "min_score: 0.3, min_return_on_capital: 99.0")
    bot = tradebot(tmp_path, text=text)
    fill_store(bot)
    run_layers(bot, "value_investor", RANGE)
    tables = bot.backtest("value_investor", RANGE)
    assert tables["fills"].is_empty()
    assert set(tables["equity"]["equity"]) == {"50000.0000"}


# Single stories


def test_a_purchase_and_a_sale_by_hand(tmp_path):
    bot = scripted(
        tmp_path, f"{day(0)} buy AAA 0.5", f"{day(2)} sell AAA", costs={"slippage_bps": 10, "commission_minimum": 1}
    )  # fmt: skip
    quote(bot, "AAA", 10.0, {day(1): (10.2, 12.0), day(3): (20.0, 21.0)})
    tables = walk(bot, days(5))
    # 500 shares at 10.00 decided; bought at 10.20 + 0.1 % and sold at 20 - 0.1 %, a dollar each.
    assert tables["fills"].select("session", "side", "quantity", "price", "commission").rows() == [
        (day(1), "buy", 500, "10.2102", "1.0000"),
        (day(3), "sell", 500, "19.9800", "1.0000"),
    ]
    bought = D(10_000) - 500 * D("10.2102") - 1
    sold = bought + 500 * D("19.98") - 1
    assert equity_of(tables) == [D(10_000), bought + 500 * 12, bought + 500 * 10, sold, sold]
    assert [state for state, _ in states_of(tables)] == ["new", "sending", "working", "filled"] * 2


def test_a_purchase_that_opens_beyond_its_limit_expires_and_cash_never_goes_below_zero(tmp_path):
    bot = scripted(tmp_path, f"{day(0)} buy AAA 0.9", f"{day(2)} buy AAA 0.9")
    quote(bot, "AAA", 10.0, {day(1): (10.31, 10.0), day(3): (10.29, 10.0)})
    tables = walk(bot, days(5))
    assert states_of(tables)[3] == ("expired", "It opened at 10.31, beyond the limit of 10.30.")
    assert tables["fills"].select("session", "price").rows() == [(day(3), "10.2900")]
    assert all(D(cash) >= 0 for cash in tables["equity"]["cash"])


def test_an_order_decided_before_a_split_is_void(tmp_path):
    bot = scripted(tmp_path, f"{day(0)} buy AAA 0.5", f"{day(4)} buy AAA 0.5")
    quote(bot, "AAA", 10.0, {session: 5.0 for session in SESSIONS if session >= day(1)})
    act(bot, "AAA", day(1), "split", 2.0)
    tables = walk(bot, days(7))
    assert states_of(tables)[3] == ("cancelled", f"A split or delisting took effect on {day(1)}; the decision is made anew.")
    assert tables["fills"].select("session", "quantity").rows() == [(day(5), 1000)]
    assert equity_of(tables) == [D(10_000)] * 7


def test_a_sale_decided_before_a_split_is_void_and_decided_anew_on_the_new_shares(tmp_path):
    bot = scripted(tmp_path, f"{day(0)} buy AAA 0.5", f"{day(2)} sell AAA", f"{day(3)} sell AAA")
    quote(bot, "AAA", 10.0, {session: 5.0 for session in SESSIONS if session >= day(3)})
    act(bot, "AAA", day(3), "split", 2.0)
    tables = walk(bot, days(6))
    assert tables["fills"].select("session", "side", "quantity").rows() == [(day(1), "buy", 500), (day(4), "sell", 1000)]
    assert equity_of(tables) == [D(10_000)] * 6


def test_an_uneven_split_pays_cash_in_lieu_at_the_close(tmp_path):
    bot = scripted(tmp_path, f"{day(0)} buy AAA 0.55")  # 544 shares of 10.00, with room for fees
    quote(bot, "AAA", 10.0, {session: 100.0 for session in SESSIONS if session >= day(3)})
    act(bot, "AAA", day(3), "split", 0.1)
    tables = walk(bot, days(5))
    bought = tables["fills"]["quantity"][0]
    assert bought == 550
    assert tables["positions"].filter(session=day(3))["quantity"].to_list() == [55]
    assert tables["entries"].filter(kind="cash_in_lieu").is_empty()

    odd = scripted(tmp_path / "odd", f"{day(0)} buy AAA 0.5555")
    quote(odd, "AAA", 10.0, {session: 100.0 for session in SESSIONS if session >= day(3)})
    act(odd, "AAA", day(3), "split", 0.1)
    tables = walk(odd, days(5))
    assert tables["fills"]["quantity"].to_list() == [555]
    assert tables["positions"].filter(session=day(3))["quantity"].to_list() == [55]
    assert tables["entries"].filter(kind="cash_in_lieu").select("session", "cash").rows() == [(day(3), "50.0000")]
    assert equity_of(tables) == [D(10_000)] * 5


def test_an_order_for_a_security_that_does_not_trade_expires(tmp_path):
    bot = scripted(tmp_path, f"{day(0)} buy AAA 0.5")
    quote(bot, "AAA", 10.0, {day(1): None})
    quote(bot, "BBB", 20.0)
    tables = walk(bot, days(3))
    assert states_of(tables)[3] == ("expired", f"AAA did not trade on {day(1)}.")
    assert tables["fills"].is_empty()


def test_a_security_that_stops_trading_is_valued_at_its_last_price_which_says_its_age(tmp_path):
    bot = scripted(tmp_path, f"{day(0)} buy AAA 0.5")
    quote(bot, "AAA", 10.0, {day(2): 12.0} | {session: None for session in SESSIONS if session > day(2)})
    quote(bot, "BBB", 20.0)
    tables = walk(bot, days(6))
    assert tables["positions"].select("session", "price", "price_session").rows() == [
        (day(1), "10.0000", day(1)),
        *((session, "12.0000", day(2)) for session in days(6)[2:]),
    ]
    assert equity_of(tables)[2:] == [D(11_000)] * 4
    decided = tables["decisions"].filter(session=day(5)).select("symbol", "action").rows()
    assert decided == [("AAA", "hold")]


def test_a_delisting_pays_and_ends_the_position(tmp_path):
    bot = scripted(tmp_path, f"{day(0)} buy AAA 0.5")
    quote(bot, "AAA", 10.0, {session: None for session in SESSIONS if session > day(2)})
    quote(bot, "BBB", 20.0)
    act(bot, "AAA", day(4), "delisting", 7.5)
    tables = walk(bot, days(6))
    assert tables["entries"].filter(kind="delisting").select("session", "quantity", "cash").rows() == [
        (day(4), -500, "3750.0000")
    ]
    assert equity_of(tables) == [D(10_000)] * 4 + [D(8_750)] * 2
    assert tables["equity"]["positions"].to_list() == [0, 1, 1, 1, 0, 0]


def test_an_action_that_became_known_after_its_session_is_not_used_in_it(tmp_path):
    bot = scripted(tmp_path, f"{day(0)} buy AAA 0.5")
    quote(bot, "AAA", 10.0)
    act(bot, "AAA", day(3), "dividend", 1.0, known_at=XNYS.cutoff(day(3)) + timedelta(hours=1))
    act(bot, "AAA", day(4), "dividend", 2.0, known_at=XNYS.cutoff(day(4)))
    entered = walk(bot, days(6))["entries"].filter(kind="dividend").select("session", "cash").rows()
    assert (day(3), "500.0000") not in entered
    assert (day(4), "1000.0000") in entered


def test_prices_are_those_that_stood_at_the_cut_off_of_their_session(tmp_path):
    bot = scripted(tmp_path, f"{day(0)} buy AAA 0.5")
    quote(bot, "AAA", 10.0)
    corrected = {"security_id": scripted_id("AAA"), "session": day(1), "open": 9.0, "high": 9.0, "low": 9.0, "close": 9.0}
    append(
        bot,
        BARS,
        corrected | {"volume": 1e6, "known_at": XNYS.cutoff(day(1))},
        ingested=XNYS.cutoff(day(1)) + timedelta(hours=2),
    )
    tables = walk(bot, days(4))
    assert tables["fills"]["price"].to_list() == ["10.0000"]
    assert equity_of(tables) == [D(10_000)] * 4


def test_the_gates_refusal_is_kept_with_its_reason_and_nothing_is_sent(tmp_path):
    bot = scripted(tmp_path, f"{day(0)} buy AAA 0.5", limits={"restricted": "[AAA]"})
    quote(bot, "AAA", 10.0)
    tables = walk(bot, days(3))
    assert tables["orders"].select("symbol", "quantity", "approved", "rule").rows() == [("AAA", 500, False, "restricted")]
    assert [state for state, _ in states_of(tables)] == ["refused"]
    assert tables["fills"].is_empty()


# Books that follow one another


def test_each_session_begins_where_the_one_before_ended(market, value):
    chain = value["books"].select("before", "after").rows()
    assert chain[0][0] == ""
    assert [before for before, _ in chain[1:]] == [after for _, after in chain[:-1]]
    assert list(market.backtest_sessions("value_investor")) == list(RANGE)


def test_a_range_continues_the_book_of_the_session_before_it(tmp_path):
    whole, parts = (scripted(tmp_path / name, f"{day(0)} buy AAA 0.5", f"{day(3)} sell AAA") for name in ("whole", "parts"))
    for bot in (whole, parts):
        quote(bot, "AAA", 10.0, {day(1): (11.0, 12.0), day(4): 13.0})
    walk(whole, days(8))
    for n, m in ((0, 1), (1, 4), (4, 8)):  # an order is on its way over each of the cuts
        walk(parts, days(8)[n:m])
    for table in (DECISIONS, EQUITY, BOOKS):
        one, other = (bot.store.read_results(table, "scripted", "backtest") for bot in (whole, parts))
        assert one.equals(other)
    assert list(parts.backtest_sessions("scripted")) == list(days(8))


def test_a_restart_opens_a_new_book_with_the_whole_capital(tmp_path):
    bot = scripted(tmp_path, f"{day(0)} buy AAA 0.5")
    quote(bot, "AAA", 10.0, {session: 20.0 for session in SESSIONS if session > day(1)})
    walk(bot, days(3))
    tables = walk(bot, days(6)[3:], restart=True)
    assert tables["entries"].select("session", "kind", "cash").rows() == [(day(3), "deposit", "10000.0000")]
    assert equity_of(tables) == [D(10_000)] * 3
    assert list(bot.backtest_sessions("scripted")) == list(days(6)[3:])
    assert list(bot.backtest_sessions("scripted", day(2))) == list(days(3))


def test_a_range_after_a_hole_opens_a_new_book(tmp_path):
    bot = scripted(tmp_path)
    quote(bot, "AAA", 10.0)
    walk(bot, days(2))
    walk(bot, days(6)[4:])
    assert list(bot.backtest_sessions("scripted")) == list(days(6)[4:])


def test_redoing_a_session_with_another_result_breaks_the_chain_after_it(tmp_path):
    bot = scripted(tmp_path, f"{day(1)} buy AAA 0.5")
    quote(bot, "AAA", 10.0)
    walk(bot, days(6))
    assert list(bot.backtest_sessions("scripted")) == list(days(6))
    walk(bot, [day(1)])
    assert list(bot.backtest_sessions("scripted")) == list(days(6))  # the same inputs, the same book
    walk(bot, [day(3)], restart=True)
    assert list(bot.backtest_sessions("scripted")) == list(days(6)[4:])


@pytest.mark.parametrize(
    "change", ["capital", "params", "limits", "costs", "proceeds", "fees", "plan", "cap", "tax", "interest"]
)
def test_a_book_made_with_other_settings_is_not_continued(tmp_path, change):
    script = f"{day(0)} buy AAA 0.5"
    bot = scripted(tmp_path, script)
    quote(bot, "AAA", 10.0)
    walk(bot, days(2))
    changed = {
        "capital": lambda: scripted(tmp_path, script, capital=10_001),
        "params": lambda: scripted(tmp_path, script, f"{day(4)} sell AAA"),
        "limits": lambda: scripted(tmp_path, script, limits={"max_orders_per_session": 19}),
        "costs": lambda: scripted(tmp_path, script, costs={"slippage_bps": 1}),
        "proceeds": lambda: scripted(tmp_path, script, limits={"spend_proceeds": "true"}),
        "fees": lambda: scripted(tmp_path, script, costs={"regulatory_fees": "true"}),
        "plan": lambda: scripted(tmp_path, script, costs={"commission_plan": "tiered"}),
        "cap": lambda: scripted(tmp_path, script, costs={"max_participation": 0.1}),
        "tax": lambda: scripted(tmp_path, script, costs={"dividend_withholding": 0.15}),
        "interest": lambda: scripted(tmp_path, script, costs={"interest": "[{{since: 2024-01-01, rate: 0.01}}]"}),
    }[change]()
    with pytest.raises(UsageError, match=f"scripted up to {day(1)} was made with other parameters"):
        walk(changed, [day(2)])
    assert list(changed.store.result_sessions(EQUITY, "scripted", "backtest")) == list(days(2))
    walk(changed, [day(2)], restart=True)
    assert list(changed.backtest_sessions("scripted")) == [day(2)]


def test_the_layers_must_have_been_evaluated(tmp_path):
    bot = scripted(tmp_path)
    quote(bot, "AAA", 10.0)
    with pytest.raises(MissingData, match=rf"Layer trades of scripted has no verdicts for 2 sessions from {day(0)} on"):
        bot.backtest("scripted", days(2))


def test_a_session_without_any_bar_is_refused_and_not_taken_for_a_quiet_day(tmp_path):
    bot = scripted(tmp_path)
    quote(bot, "AAA", 10.0, {day(1): None})
    with pytest.raises(MissingData, match=f"no bar of 1 of 3 sessions, the first of them {day(1)}"):
        walk(bot, days(3))


def test_candidates_come_by_rank_then_security_and_those_without_a_rank_last():
    ranks = {"AAA": None, "BBB": 2.0, "CCC": 1.0, "DDD": 2.0}
    layer = pl.DataFrame(
        [(day(0), scripted_id(symbol), symbol, True, "r", 1.0, 1.0, rank) for symbol, rank in ranks.items()],
        schema={**LAYERS.schema, "rank": pl.Float64},
        orient="row",
    )
    prices = {"session": [day(0)] * 4, "security_id": [scripted_id(s) for s in ranks], "close": [1.0] * 4}
    bars = pl.DataFrame(prices).with_columns(open=1.0, low=1.0, high=1.0, volume=1e6)
    actions = pl.DataFrame(schema={"session": pl.Date, "security_id": pl.Int64, "type": pl.String, "value": pl.Float64})

    def candidates(rows: pl.DataFrame) -> list[str]:
        history = MarketHistory(bars, actions, {"last": rows})
        history.close(day(0))
        return [candidate.symbol for candidate in history.market(day(0), []).candidates]

    assert candidates(layer) == ["CCC", "BBB", "DDD", "AAA"]
    assert candidates(layer.drop("rank")) == ["AAA", "BBB", "CCC", "DDD"]


# Figures


def test_the_figures_of_a_backtest_by_hand(tmp_path):
    bot = scripted(tmp_path, f"{day(0)} buy AAA 0.5", costs={"commission_minimum": 2})
    quote(bot, "AAA", 10.0, {day(2): 12.0, day(3): 6.0, day(4): 14.0})
    act(bot, "AAA", day(3), "dividend", 0.1)
    walk(bot, days(5))
    figures = bot.performance("scripted")
    assert (figures.sessions, figures.trades) == (5, 1)
    assert (figures.initial_capital, figures.commission, figures.dividends) == (10_000, 2, 50)
    assert figures.final_equity == 10_000 - 2 + 50 + 500 * 4
    assert figures.total_return == pytest.approx(0.2048)
    assert figures.max_drawdown == pytest.approx(8_048 / 10_998 - 1)
    assert figures.turnover == 0  # nothing was sold


def test_the_figures_of_a_part_start_from_the_equity_it_began_with(tmp_path):
    bot = scripted(tmp_path, f"{day(0)} buy AAA 0.5")
    quote(bot, "AAA", 10.0, {day(2): 12.0, day(3): 15.0, day(4): 18.0})
    walk(bot, days(5))
    part = bot.performance("scripted", day(3), day(4))
    assert (part.sessions, part.initial_capital, part.final_equity) == (2, 11_000, 14_000)
    assert part.total_return == pytest.approx(14 / 11 - 1)


def test_figures_without_a_backtest_are_refused_with_the_command_to_run(tmp_path):
    with pytest.raises(MissingData, match=r"no backtest of scripted\. Run `tradebot backtest scripted"):
        scripted(tmp_path).performance("scripted")


# Strategies that break


def test_one_failing_strategy_does_not_change_the_other(tmp_path, market):
    text = CONFIG.replace(
        "tradebot_core.strategies.quality_growth.QualityGrowth", "tests.core.failing_strategies.RaisesInLayer"
    ).replace("params: {{max_positions: 3}}", "params: {{}}")
    bot = tradebot(tmp_path, text="allowed_packages: [tradebot_core, tests]\n" + text)
    fill_store(bot)
    with pytest.raises(
        StrategyError,
        match=r"Layer screen of quality_growth failed at GOOD in 2024-02-07: ZeroDivisionError: float division by zero",
    ):
        run_layers(bot, "quality_growth", RANGE)
    run_layers(bot, "value_investor", RANGE)
    bot.backtest("value_investor", RANGE)
    for table in (DECISIONS, EQUITY):
        one, other = (b.store.read_results(table, "value_investor", "backtest") for b in (bot, market))
        assert one.equals(other)
    assert security_of("GOOD") in bot.store.read_results(DECISIONS, "value_investor", "backtest")["security_id"]


def test_a_year_that_was_walked_through_is_let_go_at_once(tmp_path):
    """Twenty years of a market are some five gigabytes when they wait for the garbage collector."""
    bot = scripted(tmp_path, f"{day(0)} buy AAA 0.5")
    quote(bot, "AAA", 10.0)
    sleeve, sessions = bot.sleeve("scripted"), days(4)
    bot.markets.run_layer(sleeve.strategy, "trades", sessions)
    walk_on = bot.backtest_walk(sleeve, BookState.empty(sleeve.fingerprint), D(100_000))
    history = bot.markets.history(sleeve.strategy, sessions)
    seen = weakref.ref(history)
    gc.disable()
    try:
        walk_on.through(sessions, history)
        assert walk_on.result().tables["fills"]["symbol"].to_list() == ["AAA"]
        del history
        assert seen() is None
    finally:
        gc.enable()


def test_a_layer_that_breaks_off_in_a_later_year_leaves_nothing_old_beside_the_new(tmp_path, monkeypatch):
    """A backtest on half a layer of before would be a strategy that never was."""
    bot = scripted(tmp_path)
    quote(bot, "AAA", 10.0)
    strategy, sessions = bot.sleeve("scripted").strategy, days(6)
    bot.markets.run_layer(strategy, "trades", sessions)
    evaluate, calls = stored_markets.evaluate_next, []

    def breaks_off(*args: object) -> pl.DataFrame:
        calls.append(args)
        if len(calls) == 2:
            raise StrategyError("It fails in the second year.")
        return evaluate(*args)

    monkeypatch.setattr(stored_markets, "by_year", lambda of: [of[:3], of[3:]])
    monkeypatch.setattr(stored_markets, "evaluate_next", breaks_off)
    with pytest.raises(StrategyError, match="in the second year"):
        bot.markets.run_layer(strategy, "trades", sessions)
    with pytest.raises(MissingData, match=f"no verdicts for 3 sessions from {day(3)} on"):
        bot.backtest("scripted", sessions)
    bot.markets.run_layer(strategy, "trades", sessions)
    assert len(bot.backtest("scripted", sessions)["equity"]) == 6
