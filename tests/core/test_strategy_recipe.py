"""A new strategy is one folder and one block of configuration; this test follows the recipe of docs/new-strategy.md to the letter,
and shows what happens to those who break the contract."""

import re
import sys
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import polars as pl
import polars.selectors as cs
import pytest

from tests.markets import SESSIONS, fill_store, run_layers, tradebot
from tests.statements_of import rows as statements
from tradebot_core.config import LAYER_LIMITS
from tradebot_core.errors import ConfigurationError, StrategyError
from tradebot_core.model.decision import LayerResult, Verdict
from tradebot_core.model.tables import DECISIONS, LAYERS
from tradebot_core.strategy import Rule, SymbolLayer, TableLayer, rank_in_session
from tradebot_core.trading import stored_markets
from tradebot_core.trading.layers import evaluate_layer, passed_by
from tradebot_core.wiring import Tradebot

ROOT = Path(__file__).parents[2]
RANGE = SESSIONS[25:60]
STORE = "data_store: {{backend: file, path: {store}}}\nfirst_session: 2024-01-02\n"


@pytest.fixture
def package(tmp_path, monkeypatch) -> Iterator[Path]:
    """An empty package outside the project, which the configuration may name."""
    folder = tmp_path / "code" / "my_strategies"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(folder.parent)
    yield folder
    for module in [name for name in sys.modules if name.split(".")[0] == "my_strategies"]:
        del sys.modules[module]


def start(folder: Path, blocks: str) -> Tradebot:
    bot = tradebot(folder, text=STORE + "allowed_packages: [my_strategies, tests]\nstrategies:\n" + blocks)
    fill_store(bot)
    return bot


def backtest(bot: Tradebot, name: str) -> dict[str, pl.DataFrame]:
    run_layers(bot, name, RANGE)
    return bot.backtest(name, RANGE)


def recipe() -> tuple[str, str]:
    """The code and the block of configuration that docs/new-strategy.md shows."""
    text = (ROOT / "docs" / "new-strategy.md").read_text()
    code, block, *_ = (textwrap.dedent(found[1]) for found in re.finditer(r"```(?:python|yaml)\n(.*?)```", text, re.DOTALL))
    return code, block


def test_the_recipe_of_the_documentation_works_as_written(tmp_path, package):
    code, block = recipe()
    (package / "low_leverage").mkdir()
    (package / "low_leverage" / "__init__.py").write_text(code)
    block = block.replace("tradebot_core.strategies", "my_strategies").replace("{", "{{").replace("}", "}}")
    bot = start(tmp_path, textwrap.indent(block, "  "))
    assert bot.sleeve("low_leverage").strategy.params.max_debt_to_assets == 0.25
    tables = backtest(bot, "low_leverage")
    assert set(tables["fills"]["symbol"]) == {"GOOD", "DEAR", "FADE"}  # LOSS loses money
    screen = bot.store.read_results(LAYERS, "low_leverage", "market", RANGE[0], RANGE[0], "screen")
    assert screen.select("symbol", "passed", "rule", "value", "threshold").rows() == [
        ("GOOD", True, "max_debt_to_assets", 1 / 6, 0.25),
        ("DEAR", True, "max_debt_to_assets", 1 / 6, 0.25),
        ("LOSS", False, "positive_net_income", -2e8, 0.0),
        ("FADE", True, "max_debt_to_assets", 1 / 6, 0.25),
    ]


TWO_KINDS = '''\
"""The same thesis twice: once as a table, once as plain Python."""

import polars as pl

from tradebot_core.config import Settings
from tradebot_core.model.decision import LayerResult, Verdict
from tradebot_core.strategy import Rule, Strategy, SymbolLayer, TableLayer, buy_best


class Params(Settings):
    min_margin: float = 0.1
    max_price: float = 100.0


class AsTable(Strategy):
    Params = Params

    def layers(self):
        p = self.params
        liquid = TableLayer("liquid", rules=(Rule("volume", pl.col("median_dollar_volume_20d"), ">=", 1e6),))
        return (liquid, self.margins(p))

    def margins(self, p):
        margin = pl.when(pl.col("revenue_ttm") > 0).then(pl.col("net_income_ttm") / pl.col("revenue_ttm"))
        return TableLayer(
            "margins",
            steps=((margin.alias("margin"),), ((-pl.col("margin")).alias("rank"),)),
            rules=(
                Rule("min_margin", pl.col("margin"), ">=", p.min_margin),
                Rule("max_price", pl.col("close"), "<=", p.max_price),
            ),
            features=("margin", "rank"),
        )

    def decide(self, view):
        keep = Verdict(True, "keep", None, None)
        return [view.hold(h, keep) for h in view.holdings] + buy_best(view, 2 - len(view.holdings), 0.4, 30)


class AsSymbols(AsTable):
    def margins(self, p):
        return Margins(p)


class Margins(SymbolLayer):
    name = "margins"
    features = ("margin", "rank")

    def __init__(self, params):
        self.p = params

    def process(self, symbol, data):
        revenue, income, close = data["revenue_ttm"], data["net_income_ttm"], data["close"]
        margin = income / revenue if revenue is not None and revenue > 0 and income is not None else None
        rank = None if margin is None else -margin
        if margin is None or margin < self.p.min_margin:
            verdict = Verdict(False, "min_margin", margin, self.p.min_margin)
        else:
            verdict = Verdict(close <= self.p.max_price, "max_price", close, self.p.max_price)
        return LayerResult(verdict, {"margin": margin, "rank": rank})
'''

BLOCKS = """\
  - {{name: as_table, class_path: my_strategies.margins.AsTable, allocated_capital: 20000}}
  - {{name: as_symbols, class_path: my_strategies.margins.AsSymbols, allocated_capital: 20000}}
"""


def test_the_same_rule_as_a_table_and_as_plain_python_gives_the_same_rows(tmp_path, package):
    (package / "margins.py").write_text(TWO_KINDS)
    bot = start(tmp_path, BLOCKS)
    one, other = (backtest(bot, name) for name in ("as_table", "as_symbols"))
    for layer in ("liquid", "margins"):
        first, second = (bot.store.read_results(LAYERS, name, "market", layer=layer) for name in ("as_table", "as_symbols"))
        assert first.schema == second.schema
        assert first.equals(second)
    assert {row["rule"] for row in first.iter_rows(named=True)} == {"min_margin", "max_price"}
    assert one["decisions"].equals(other["decisions"])
    assert one["equity"].equals(other["equity"])
    assert one["fills"]["symbol"].to_list() == ["GOOD", "FADE"]


def test_taking_the_block_away_takes_the_strategy_away_and_leaves_the_other_alone(tmp_path, package):
    (package / "margins.py").write_text(TWO_KINDS)
    bot = start(tmp_path, BLOCKS)
    kept = backtest(bot, "as_symbols")["decisions"]
    alone = start(tmp_path, BLOCKS.splitlines()[1] + "\n")
    assert list(alone.sleeves) == ["as_symbols"]
    assert alone.store.read_results(DECISIONS, "as_symbols", "backtest").equals(kept)
    assert backtest(alone, "as_symbols")["decisions"].equals(kept)


@pytest.mark.parametrize(
    ("features", "said"),
    [
        ((("close",), ()), r"the feature close of layer one of odd is already a column of the panel"),
        ((("rule",), ()), r"the feature rule of layer one of odd is already a part of every verdict"),
        ((("score",), ("score",)), r"the feature score of layer two of odd is already a feature of layer one"),
    ],
)
def test_a_feature_whose_name_is_taken_stops_the_start(tmp_path, package, features, said):
    made = ", ".join(f'TableLayer("{n}", rules=(), features={f})' for n, f in zip(("one", "two"), features, strict=True))
    code = f"from tradebot_core.strategy import *\nclass Odd(Strategy):\n    def layers(self):\n        return [{made}]\n"
    (package / "odd.py").write_text(code + "    def decide(self, view):\n        return []\n")
    with pytest.raises(ConfigurationError, match=rf"config\.yaml, line 5: {said}"):
        start(tmp_path, "  - {{name: odd, class_path: my_strategies.odd.Odd, allocated_capital: 1}}\n")


@pytest.mark.parametrize("method", ["__init__(self, name, params)", "layers(self)"])
def test_a_strategy_that_cannot_be_made_is_named_with_its_line(tmp_path, package, method):
    code = "from tradebot_core.strategy import *\nclass Odd(Strategy):\n    def layers(self):\n        return []\n"
    code += f"    def decide(self, view):\n        return []\n    def {method}:\n        return 1 / 0\n"
    (package / "odd.py").write_text(code)
    said = r"config\.yaml, line 5: the strategy odd cannot be made: ZeroDivisionError: division by zero\."
    with pytest.raises(ConfigurationError, match=said):
        start(tmp_path, "  - {{name: odd, class_path: my_strategies.odd.Odd, allocated_capital: 1}}\n")


@pytest.mark.parametrize("names", [("screen", "screen"), ("decisions",), ("orders",), ()])
def test_layers_that_share_a_name_or_take_a_reserved_one_stop_the_start(tmp_path, package, names):
    made = ", ".join(f'TableLayer("{name}", rules=())' for name in names)
    code = f"from tradebot_core.strategy import *\nclass Odd(Strategy):\n    def layers(self):\n        return [{made}]\n"
    (package / "odd.py").write_text(code + "    def decide(self, view):\n        return []\n")
    with pytest.raises(ConfigurationError, match=r"config\.yaml, line 5: the layers .* of odd must be one or more, differ"):
        start(tmp_path, "  - {{name: odd, class_path: my_strategies.odd.Odd, allocated_capital: 1}}\n")


# Ratios and scores

GOOD_YEAR = {
    **{"net_income_ttm": 12.0, "net_income_ttm_1y": 9.0, "operating_cash_flow_ttm": 15.0, "operating_income_ttm": 16.0},
    **{"revenue_ttm": 120.0, "revenue_ttm_1y": 100.0, "gross_profit_ttm": 50.0, "gross_profit_ttm_1y": 40.0},
    **{"assets": 105.0, "assets_1y": 100.0, "assets_2y": 95.0, "cash": 10.0, "debt": 20.0, "short_term_debt": 5.0},
    **{"long_term_borrowings": 20.0, "long_term_borrowings_1y": 25.0, "shares_basic": 9.0, "shares_basic_1y": 9.0},
    **{"current_assets": 40.0, "current_assets_1y": 36.0, "current_liabilities": 20.0, "current_liabilities_1y": 20.0},
    **{"liabilities": 50.0, "retained_earnings": 30.0, "property_plant_equipment": 45.0, "market_cap": 150.0},
}


def test_the_layer_of_scores_of_the_documentation_works_as_written():
    names: dict[str, Any] = {}
    exec(shown_with("sound = TableLayer("), names)
    dear, unknown = {"market_cap": 300.0}, {"assets_2y": None}
    weak = {"shares_basic": 10.0, "gross_profit_ttm": 45.0, "operating_cash_flow_ttm": 11.0}
    of = statements([GOOD_YEAR, *(GOOD_YEAR | changed for changed in (dear, weak, unknown))])
    panel = rows_of(symbol=["A"] * len(of)).hstack(of)
    found = names["sound"].evaluate(panel).select("passed", "rule", "value", "f_score", "rank").rows()
    assert found == [
        (True, "has_a_rank", 2.0, 9.0, 2.0),
        (True, "has_a_rank", 5.0, 9.0, 5.0),
        (False, "min_f_score", 6.0, 6.0, 2.0),
        (False, "min_f_score", None, None, 2.0),
    ]


def shown_with(part: str) -> str:
    """The Python that docs/new-strategy.md shows and that has `part` in it."""
    text = (ROOT / "docs" / "new-strategy.md").read_text()
    (code,) = [code for code in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if part in code]
    return code


def test_the_layer_in_plain_python_of_the_documentation_works_as_written():
    names: dict[str, Any] = {}
    exec(shown_with("class Solvent"), names)
    rows = rows_of(operating_income_ttm=[30.0, 10.0, None, 10.0], debt=[100.0, 100.0, 100.0, 0.0])
    found = names["Solvent"]().evaluate(rows).select("passed", "rule", "value", "coverage", "rank").rows()
    assert found == [
        (True, "min_coverage", 0.3, 0.3, -0.3),
        (False, "min_coverage", 0.1, 0.1, -0.1),
        (False, "min_coverage", None, None, None),
        (False, "min_coverage", None, None, None),
    ]


def test_the_strategy_with_a_model_of_the_documentation_works_as_written(tmp_path, package):
    """As written it needs ten years; here its returns are those of four sessions."""
    pytest.importorskip("sklearn", reason="the extra `models` is not installed")
    short = {"horizon = 252": "horizon = 4", '"year"': '"quarter"', "least_rows = 2_000": "least_rows = 4"}
    code = shown_with("class ForetoldReturns")
    for long, instead in short.items():
        assert long in code
        code = code.replace(long, instead)
    (package / "foretold.py").write_text(code)
    params = "params: {{min_forecast: -0.5, max_positions: 2}}"
    block = (
        f"  - {{{{name: foretold, class_path: my_strategies.foretold.ForetoldReturns, allocated_capital: 20000, {params}}}}}\n"
    )
    bot = start(tmp_path, block)
    spring = [session for session in SESSIONS if session.month in (3, 4)]
    run_layers(bot, "foretold", spring)
    tables = bot.backtest("foretold", spring)
    assert len(tables["fills"]) > 0
    assert tables["fills"]["session"].min() > spring[0].replace(day=28)  # in the first quarter there was no model
    rows = bot.store.read_results(LAYERS, "foretold", "market", layer="foretold")
    assert rows.columns[-6:] == ["rank", "cheapness", "gross", "on_assets", "forecast", "model"]
    assert {model.split("/")[0] for model in rows["model"] if model} == {"2024-03-28"}


# What a layer reads


def test_a_layer_of_expressions_says_which_columns_it_reads():
    steps = (
        (pl.col("debt").truediv("assets").alias("leverage"),),
        (rank_in_session(pl.col("leverage"), best="low").alias("rank"),),
    )
    layer = TableLayer("screen", (Rule("max_leverage", pl.col("leverage"), "<=", 0.5),), steps, ("rank", "cash"))
    assert layer.reads() == {"debt", "assets", "leverage", "session", "rank", "cash"}


@pytest.mark.parametrize(
    "value",
    [
        pl.sum_horizontal(pl.all()),
        pl.sum_horizontal(cs.float()),
        pl.col("^.*_ttm$").sum(),
        pl.max_horizontal(pl.col("debt", "cash")),
    ],
    ids=["all", "floats", "pattern", "several"],
)
def test_a_layer_that_selects_columns_reads_all_of_them(value):
    assert TableLayer("screen", (Rule("x", value, ">", 0),)).reads() is None
    assert TableLayer("screen", (), steps=((value.alias("x"),),)).reads() is None


def test_a_layer_in_plain_python_may_read_anything():
    class Own(TableLayer):
        def evaluate(self, rows: pl.DataFrame) -> pl.DataFrame:
            return super().evaluate(rows.with_columns(pl.col("debt") + 1))

    assert Broken().reads() is None
    assert Own("screen", (Rule("x", pl.col("close"), ">", 0),)).reads() is None


@pytest.mark.parametrize("name", ["value_investor", "quality_growth"])
def test_carrying_only_what_a_layer_reads_changes_no_byte_of_its_verdicts(tmp_path, name):
    bot = tradebot(tmp_path)
    fill_store(bot)
    strategy, rows = bot.sleeve(name).strategy, bot.markets.panel(RANGE)
    for layer in strategy.layers():
        stored = bot.markets.run_layer(strategy, layer.name, RANGE)
        verdicts = evaluate_layer(strategy, layer, rows)
        assert repr(stored.rows()) == repr(verdicts.rows())
        rows = passed_by(verdicts, rows)
    assert "retained_earnings" not in bot.markets.panel(RANGE, strategy.layers()[0].reads()).columns


@pytest.mark.parametrize("name", ["value_investor", "quality_growth"])
def test_layers_made_together_one_by_one_or_in_part_give_the_same_bytes(tmp_path, name, monkeypatch):
    bot = tradebot(tmp_path)
    fill_store(bot)
    strategy = bot.sleeve(name).strategy
    names = [layer.name for layer in strategy.layers()]
    alone = {layer: repr(bot.markets.run_layer(strategy, layer, RANGE).rows()) for layer in names}
    half = len(RANGE) // 2
    monkeypatch.setattr(stored_markets, "by_year", lambda sessions: [sessions[:half], sessions[half:]])
    for some in (names, names[-1:], names[:1]):
        parts = [*bot.markets.layers_by_year(strategy, some, RANGE)]
        assert [part.layer for part in parts] == [*some, *some]
        for layer in some:
            made = pl.concat([part.verdicts for part in parts if part.layer == layer])
            assert repr(made.rows()) == alone[layer]


# Breaking the contract


def breaking(folder: Path, which: str) -> Tradebot:
    block = f"  - {{{{name: hostile, class_path: tests.core.failing_strategies.{which}, allocated_capital: 20000}}}}\n"
    return start(folder, block + "layers: {{seconds_per_session: 0.5}}\n")


IN_LAYER = {
    "RaisesInLayer": r"Layer screen of hostile failed at GOOD in 2024-02-07: ZeroDivisionError: .* \(failing_strategies\.py, line \d+: "
    r'return LayerResult\(TOLD, \{"score": data\["close"\] / 0\}\)\)',
    "UndeclaredFeature": r"Layer screen of hostile returned the features \['scores'\] for GOOD",
    "UnknownColumn": "Layer screen of hostile failed: ColumnNotFoundError: .*closing_price",
    "SilentLayer": "Layer screen of hostile gave 1 verdicts on 140 rows",
}


@pytest.mark.parametrize("which", IN_LAYER)
def test_a_layer_that_breaks_is_named_and_nothing_of_it_is_stored(tmp_path, which):
    bot = breaking(tmp_path, which)
    with pytest.raises(StrategyError, match=IN_LAYER[which]):
        run_layers(bot, "hostile", RANGE)
    assert list(bot.store.result_sessions(LAYERS, "hostile", "market", "screen")) == []


IN_DECISION = {
    "RaisesInDecide": "Strategy hostile failed to decide session 2024-02-07: KeyError: 'no such thing'",
    "TooMuch": r"Strategy hostile, session 2024-02-07: the target weights add up to 2\.4000 of the sleeve",
    "NanWeight": "Strategy hostile, session 2024-02-07: weight nan for GOOD is not within 0 and 1",
    "Twice": "Strategy hostile, session 2024-02-07: two decisions about one security",
    "SellsWhatIsNotHeld": "Strategy hostile, session 2024-02-07: sell of .*, which is not held",
    "BuysTheUnknown": "Strategy hostile, session 2024-02-07: buy of WHO, which is neither held nor a candidate",
    "AnotherSession": "Strategy hostile, session 2024-02-07: the decision about .* is dated 2020-02-07",
    "DecidesForever": r"Strategy hostile, session 2024-02-07: its decision was stopped after 0\.5 s \(failing_strategies\.py, line \d+: ",
    "DecidesWithoutEnd": r"Strategy hostile, session 2024-02-07: more decisions than holdings and candidates \(4\)",
    "DecidesAMillionTimes": r"Strategy hostile, session 2024-02-07: more decisions than holdings and candidates \(4\)",
    "DecidesInWords": "Strategy hostile, session 2024-02-07: decide gave a str",
    "SaysNothing": "Strategy hostile, session 2024-02-08: nothing decided about held securities",
}


@pytest.mark.parametrize("which", IN_DECISION)
def test_a_decision_that_breaks_the_contract_is_named_with_its_session_and_nothing_of_it_is_stored(tmp_path, which):
    bot = breaking(tmp_path, which)
    with pytest.raises(StrategyError, match=IN_DECISION[which]):
        backtest(bot, "hostile")
    assert list(bot.store.result_sessions(DECISIONS, "hostile", "backtest")) == []


def test_what_is_no_finite_number_in_a_layers_answer_is_missing(tmp_path):
    bot = breaking(tmp_path, "ReturnsNan")
    run_layers(bot, "hostile", RANGE[:1])
    rows = bot.store.read_results(LAYERS, "hostile", "market", layer="screen")
    assert set(rows["value"]) == {None}
    assert set(rows["passed"]) == {False}  # the layer said they passed; a value that is not known passes nothing
    assert set(rows["score"]) == {None}


# Rules


def rows_of(**columns: list[Any]) -> pl.DataFrame:
    n = len(next(iter(columns.values())))
    key = {"session": [RANGE[0]] * n, "security_id": list(range(1, n + 1)), "symbol": [f"S{i}" for i in range(1, n + 1)]}
    return pl.DataFrame({**key, **columns}, strict=False)


def judged(rules: tuple[Rule, ...], rows: pl.DataFrame) -> list[tuple]:
    return TableLayer("screen", rules=rules).evaluate(rows).select("passed", "rule", "value", "threshold").rows()


@pytest.mark.parametrize(("comparison", "passing"), [(">=", [2.0, 3.0]), (">", [3.0]), ("<=", [1.0, 2.0]), ("<", [1.0])])
def test_a_rule_compares_at_its_boundary_as_written(comparison, passing):
    rows = rows_of(x=[1.0, 2.0, 3.0])
    found = judged((Rule("x", pl.col("x"), comparison, 2.0),), rows)
    assert [value for passed, _, value, _ in found if passed] == passing


@pytest.mark.parametrize("comparison", [">=", ">", "<=", "<"])
def test_a_missing_value_passes_no_rule(comparison):
    rows = rows_of(x=[None, float("nan"), float("inf"), float("-inf")])
    assert judged((Rule("x", pl.col("x"), comparison, 0.0),), rows) == [(False, "x", None, 0.0)] * 4


def test_a_rule_that_looks_for_deterioration_lets_a_missing_value_pass_and_the_next_rule_judge_it():
    rules = (Rule("exit", pl.col("x"), ">", 0, if_missing="pass"), Rule("entry", pl.col("x"), ">", 0))
    assert judged(rules, rows_of(x=[None, float("nan"), -1.0, 1.0])) == [
        (False, "entry", None, 0.0),
        (False, "entry", None, 0.0),
        (False, "exit", -1.0, 0.0),
        (True, "entry", 1.0, 0.0),
    ]


def test_the_first_rule_that_fails_is_the_verdict_and_the_last_one_when_all_hold():
    rows = rows_of(a=[1.0, 0.0, 1.0, 0.0], b=[1.0, 1.0, 0.0, None])
    rules = (Rule("a", pl.col("a"), ">", 0), Rule("b", pl.col("b"), ">", 0.5))
    assert judged(rules, rows) == [
        (True, "b", 1.0, 0.5),
        (False, "a", 0.0, 0.0),
        (False, "b", 0.0, 0.5),
        (False, "a", 0.0, 0.0),
    ]


def test_a_rank_is_of_the_session_and_missing_values_have_none():
    rows = pl.DataFrame({"session": [1, 1, 1, 1, 2], "x": [5.0, 7.0, float("nan"), 5.0, 1.0]})
    high = rows.select(rank_in_session(pl.col("x"), best="high"))["x"].to_list()
    low = rows.select(rank_in_session(pl.col("x"), best="low"))["x"].to_list()
    assert (high, low) == ([2, 1, None, 2, 1], [1, 3, None, 1, 1])


class Broken(SymbolLayer):
    name = "screen"
    features = ()

    def process(self, symbol: str, data: Mapping[str, Any]) -> LayerResult:
        return LayerResult(Verdict(None, "rule", 1.0, 1.0))  # neither passed nor failed


def test_a_verdict_that_neither_passes_nor_fails_is_refused():
    class Named:
        name = "hostile"
        limits = LAYER_LIMITS

    with pytest.raises(StrategyError, match="Every row needs passed and rule"):
        evaluate_layer(Named(), Broken(), rows_of(x=[1.0]))
