"""Piotroski's nine signals, Altman's Z and Greenblatt's ranks, each worked by hand."""

import polars as pl
import pytest

from tests.statements_of import row, rows, value
from tradebot_core.quant import scores
from tradebot_core.strategy import Rule, TableLayer

# Piotroski ----------------------------------------------------------------------------------------------------------------

# Apple, 10-K of 2020-10-30 (accession 0000320193-20-000096), USD million and thousand shares, worked by hand:
# return 57,411 / 338,516 = 0.170 after 55,256 / 365,725 = 0.151: rises. Cash flow 80,674 is positive and more than income.
# Debt 107,440 / 331,202 = 0.324 after 102,067 / 352,120.5 = 0.290: does not fall. Current ratio 1.364 after 1.540: does not rise.
# Shares 17,352,119 after 18,471,336: none issued. Gross margin 38.2 % after 37.8 %; turnover 0.811 after 0.711: both rise. Seven.
APPLE_2020 = {
    "net_income_ttm": 57_411.0,
    "net_income_ttm_1y": 55_256.0,
    "operating_cash_flow_ttm": 80_674.0,
    "assets": 323_888.0,
    "assets_1y": 338_516.0,
    "assets_2y": 365_725.0,
    "long_term_borrowings": 107_440.0,
    "long_term_borrowings_1y": 102_067.0,
    "current_assets": 143_713.0,
    "current_assets_1y": 162_819.0,
    "current_liabilities": 105_392.0,
    "current_liabilities_1y": 105_718.0,
    "shares_basic": 17_352_119.0,
    "shares_basic_1y": 18_471_336.0,
    "gross_profit_ttm": 104_956.0,
    "gross_profit_ttm_1y": 98_392.0,
    "revenue_ttm": 274_515.0,
    "revenue_ttm_1y": 260_174.0,
}


def signals(**changed: float | None) -> dict[str, bool | None]:
    return row(**{**APPLE_2020, **changed}).select(e.alias(name) for name, e in scores.F_SIGNALS.items()).row(0, named=True)


def score(expression: pl.Expr, **changed: float | None):
    return value(expression, row(**{**APPLE_2020, **changed}))


def test_apples_nine_signals_of_2020_worked_by_hand():
    assert signals() == {
        "f_positive_return": True,
        "f_positive_cash_flow": True,
        "f_rising_return": True,
        "f_cash_exceeds_earnings": True,
        "f_falling_debt": False,
        "f_rising_liquidity": False,
        "f_no_new_shares": True,
        "f_rising_margin": True,
        "f_rising_turnover": True,
    }
    assert (score(scores.F_SCORE), score(scores.F_SCORE_AT_LEAST), score(scores.F_UNKNOWN)) == (7, 7, "")


# What turns each signal over and leaves the other eight alone.
TURNS = {
    "f_positive_return": {"net_income_ttm": -1.0, "net_income_ttm_1y": -100_000.0},
    "f_positive_cash_flow": {"operating_cash_flow_ttm": -1.0, "net_income_ttm": -2.0, "net_income_ttm_1y": -100_000.0},
    "f_rising_return": {"net_income_ttm_1y": 80_000.0},
    "f_cash_exceeds_earnings": {"operating_cash_flow_ttm": 57_410.0},
    "f_falling_debt": {"long_term_borrowings_1y": 120_000.0},
    "f_rising_liquidity": {"current_assets": 170_000.0},
    "f_no_new_shares": {"shares_basic": 18_471_337.0},
    "f_rising_margin": {"gross_profit_ttm_1y": 105_000.0},
    "f_rising_turnover": {"revenue_ttm_1y": 310_000.0},
}


@pytest.mark.parametrize("name", TURNS)
def test_each_signal_turns_on_its_own_figures(name):
    before, after = signals(), signals(**TURNS[name])
    assert after[name] is not before[name]
    if name != "f_positive_cash_flow":  # cash cannot flow out and exceed a profit, so the loss turns another with it
        assert {other for other in after if after[other] is not before[other]} == {name}


@pytest.mark.parametrize(
    ("name", "same"),
    [
        ("f_rising_return", {"net_income_ttm_1y": 57_411.0, "assets_2y": 338_516.0}),
        ("f_falling_debt", {"long_term_borrowings_1y": 107_440.0, "assets": 338_516.0, "assets_2y": 338_516.0}),
        ("f_rising_liquidity", {"current_assets_1y": 143_713.0, "current_liabilities_1y": 105_392.0}),
        ("f_rising_margin", {"gross_profit_ttm_1y": 104_956.0, "revenue_ttm_1y": 274_515.0}),
        ("f_rising_turnover", {"revenue_ttm_1y": 274_515.0, "assets_2y": 338_516.0}),
        ("f_positive_return", {"net_income_ttm": 0.0}),
        ("f_positive_cash_flow", {"operating_cash_flow_ttm": 0.0}),
    ],
)
def test_an_unchanged_figure_is_no_improvement(name, same):
    assert signals(**same)[name] is False


def test_an_unchanged_number_of_shares_is_no_issue():
    assert signals(shares_basic_1y=17_352_119.0)["f_no_new_shares"] is True


def test_an_unknown_signal_makes_the_score_missing_and_is_named():
    unknown = {"long_term_borrowings": None, "current_liabilities_1y": None}
    assert score(scores.F_SCORE, **unknown) is None
    assert score(scores.F_SCORE_AT_LEAST, **unknown) == 7  # both were failures; as unknown they count no more
    assert score(scores.F_UNKNOWN, **unknown) == "f_falling_debt, f_rising_liquidity"
    assert score(scores.F_SCORE_AT_LEAST, shares_basic_1y=None) == 6


def test_a_company_of_which_nothing_is_known_scores_nothing_and_not_zero():
    of = row()
    assert value(scores.F_SCORE, of) is None
    assert value(scores.F_SCORE_AT_LEAST, of) == 0
    assert value(scores.F_UNKNOWN, of).split(", ") == list(scores.F_SIGNALS)


# Altman -------------------------------------------------------------------------------------------------------------------

# Working capital 0.1, retained earnings 0.2, EBIT 0.15, market equity 1.5, book equity 0.8, sales 1.1 (over liabilities: the equities)
SOUND = {
    "assets": 1000.0,
    "liabilities": 500.0,
    "current_assets": 300.0,
    "current_liabilities": 200.0,
    "retained_earnings": 200.0,
    "operating_income_ttm": 150.0,
    "revenue_ttm": 1100.0,
    "market_cap": 750.0,
    "equity": 400.0,
}


def test_the_three_z_scores_worked_by_hand():
    assert value(scores.ALTMAN_Z, row(**SOUND)) == pytest.approx(0.12 + 0.28 + 0.495 + 0.9 + 1.0989)
    assert value(scores.ALTMAN_Z_PRIVATE, row(**SOUND)) == pytest.approx(0.0717 + 0.1694 + 0.46605 + 0.336 + 1.0978)
    assert value(scores.ALTMAN_Z_SERVICES, row(**SOUND)) == pytest.approx(0.656 + 0.652 + 1.008 + 0.84)


@pytest.mark.parametrize(
    ("zone", "market_cap", "expected"),
    [
        (scores.ALTMAN_Z_ZONE, 750.0, "grey"),  # 2.8939
        (scores.ALTMAN_Z_ZONE, 850.0, "safe"),  # 3.0139
        (scores.ALTMAN_Z_ZONE, -160.0, "distress"),  # 1.8019
        (scores.ALTMAN_Z_PRIVATE_ZONE, None, "grey"),  # 2.14
        (scores.ALTMAN_Z_SERVICES_ZONE, None, "safe"),  # 3.16
    ],
)
def test_zones(zone, market_cap, expected):
    assert value(zone, row(**{**SOUND, "market_cap": market_cap})) == expected


def test_the_bounds_of_the_zones_are_grey():
    bounds = [(scores.ALTMAN_Z_PRIVATE, 1.23, 2.90), (scores.ALTMAN_Z_SERVICES, 1.10, 2.60), (scores.ALTMAN_Z, 1.81, 2.99)]
    for _, low, high in bounds:
        zones = pl.DataFrame({"z": [low - 1e-9, low, high, high + 1e-9, None]}).select(scores._zone(pl.col("z"), low, high))
        assert zones.to_series().to_list() == ["distress", "grey", "grey", "safe", None]


def test_a_company_in_deficit_has_a_negative_part_and_a_score():
    assert value(scores.ALTMAN_Z, row(**{**SOUND, "retained_earnings": -900.0})) == pytest.approx(2.8939 - 0.28 - 1.26)


def test_a_bank_without_current_assets_has_no_score_and_no_zone():
    bank = row(**{**SOUND, "current_assets": None, "current_liabilities": None})
    for expression in (scores.ALTMAN_Z, scores.ALTMAN_Z_PRIVATE, scores.ALTMAN_Z_SERVICES, scores.ALTMAN_Z_ZONE):
        assert value(expression, bank) is None


# Greenblatt ---------------------------------------------------------------------------------------------------------------


def company(ebit: float, **changed: float | None) -> dict[str, float | None]:
    """Tangible capital (300 - 100) - (200 - 50) + 450 = 500, enterprise value 900 + 200 - 100 = 1,000."""
    return {
        "operating_income_ttm": ebit,
        "current_assets": 300.0,
        "cash": 100.0,
        "current_liabilities": 200.0,
        "short_term_debt": 50.0,
        "debt": 200.0,
        "property_plant_equipment": 450.0,
        "market_cap": 900.0,
    } | changed


def ranked(*companies: dict[str, float | None], sessions: list[int] | None = None) -> list[tuple]:
    of = rows(list(companies)).with_columns(session=pl.Series(sessions or [1] * len(companies)))
    return of.select(
        scores.GREENBLATT_YIELD_RANK.alias("yield"),
        scores.GREENBLATT_RETURN_RANK.alias("return"),
        scores.GREENBLATT_RANK.alias("both"),
    ).rows()


def test_the_two_ranks_of_the_magic_formula():
    cheap, good, poor = company(100.0, market_cap=400.0), company(150.0, property_plant_equipment=100.0), company(20.0)
    # yields 0.2, 0.15, 0.02; returns on tangible capital 0.2, 1.0, 0.04
    assert ranked(cheap, good, poor) == [(1, 2, 3), (2, 1, 3), (3, 3, 6)]


def test_debt_due_within_a_year_finances_no_working_capital():
    assert value(scores.RETURN_ON_TANGIBLE_CAPITAL, rows([company(100.0)])) == 100 / 500
    assert value(scores.RETURN_ON_TANGIBLE_CAPITAL, rows([company(100.0, short_term_debt=None)])) == 100 / 450
    assert value(scores.RETURN_ON_TANGIBLE_CAPITAL, rows([company(100.0, short_term_debt=None, debt=None)])) is None


def test_a_company_with_one_measure_missing_takes_no_place_from_the_others():
    no_capital = company(500.0, property_plant_equipment=None)
    assert ranked(no_capital, company(100.0), company(50.0)) == [(None, None, None), (1, 1, 2), (2, 2, 4)]


def test_ranks_are_of_the_session():
    assert ranked(company(100.0), company(50.0), company(10.0), sessions=[1, 2, 2]) == [(1, 1, 2), (1, 1, 2), (2, 2, 4)]


# In a strategy ------------------------------------------------------------------------------------------------------------


def test_scores_work_in_the_steps_and_rules_of_a_layer():
    layer = TableLayer(
        "scores",
        steps=((scores.F_SCORE.alias("f_score"), scores.ALTMAN_Z.alias("altman_z")),),
        rules=(Rule("min_f_score", pl.col("f_score"), ">=", 7), Rule("min_altman_z", pl.col("altman_z"), ">", 2.99)),
        features=("f_score", "altman_z"),
    )
    panel = rows([APPLE_2020, APPLE_2020 | {"shares_basic_1y": None}]).with_columns(
        session=pl.lit(1), security_id=pl.Series([1, 2]), symbol=pl.lit("A")
    )
    verdicts = layer.evaluate(panel).select("passed", "rule", "value", "threshold").rows()
    assert verdicts == [(False, "min_altman_z", None, 2.99), (False, "min_f_score", None, 7.0)]
    assert {"shares_basic_1y", "retained_earnings", "market_cap"} <= (layer.reads() or set())
