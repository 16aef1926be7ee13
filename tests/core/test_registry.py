"""From class paths to objects: what is wrong stops the start and names its line; adding and removing is configuration alone."""

from pathlib import Path

import pytest

from tests.markets import CONFIG, write_config
from tradebot_core.collectors.ibkr_fundamentals import IbkrFundamentals
from tradebot_core.config import load_config
from tradebot_core.errors import ConfigurationError
from tradebot_core.strategies.value_investor import ValueInvestor
from tradebot_core.trading.universe import UniverseEntry
from tradebot_core.wiring import Tradebot, build

HEAD = "data_store: {{backend: file, path: {store}}}\n"
VALUE = """\
strategies:
  - name: value_investor
    class_path: tradebot_core.strategies.value_investor.ValueInvestor
    allocated_capital: 50000
    params: {{max_positions: 4}}
"""
BARS = """\
collectors:
  - name: price_bars
    class_path: tradebot_core.collectors.file_bars.FileBars
    params: {{path: ./bars.csv}}
"""


def start(folder: Path, text: str) -> Tradebot:
    path = write_config(folder, HEAD + text)
    return build(load_config(path), path)


def refusal(folder: Path, text: str) -> str:
    with pytest.raises(ConfigurationError) as refused:
        start(folder, text)
    return str(refused.value)


def test_a_block_becomes_a_strategy_with_its_name_and_parameters(tmp_path):
    sleeve = start(tmp_path, VALUE.replace("name: value_investor", "name: patient")).sleeve("patient")
    assert isinstance(sleeve.strategy, ValueInvestor)
    assert (sleeve.name, sleeve.strategy.params.max_positions, sleeve.capital) == ("patient", 4, 50_000)


@pytest.mark.parametrize(
    ("class_path", "said"),
    [
        ("tradebot_core.strategies.valu_investor.ValueInvestor", "there is no module tradebot_core.strategies.valu_investor"),
        ("tradebot_core.strategies.value_investor.ValueInvester", "value_investor has no class ValueInvester"),
        ("os.path.join", r"os.path.join is outside allowed_packages (tradebot_core)"),
        ("tradebot_core_evil.strategy.Thief", "tradebot_core_evil.strategy.Thief is outside allowed_packages"),
        ("ValueInvestor", "ValueInvestor is outside allowed_packages"),
        ("tradebot_core.collectors.file_bars.FileBars", "FileBars is not a Strategy"),
        ("tradebot_core.errors.DataError", "DataError is not a Strategy"),
        ("tradebot_core.config.load_config", "load_config is not a Strategy"),
        (
            "tradebot_core.strategy.Strategy",
            "tradebot_core.strategy.Strategy is not a Strategy",
        ),  # the pattern, not one of them
    ],
)
def test_a_wrong_class_path_stops_the_start_and_names_its_line(tmp_path, class_path, said):
    message = refusal(tmp_path, VALUE.replace("tradebot_core.strategies.value_investor.ValueInvestor", class_path))
    assert f"{tmp_path / 'config.yaml'}, line 4: " in message
    assert said in message


def test_an_unknown_parameter_of_a_strategy_names_its_line(tmp_path):
    message = refusal(
        tmp_path, VALUE.replace("params: {{max_positions: 4}}", "params:\n      max_positions: 4\n      min_roe: 1")
    )
    assert f"{tmp_path / 'config.yaml'}, line 8: strategies.0.params.min_roe: no such setting" in message
    assert "There is max_positions, " in message


@pytest.mark.parametrize("value", ["0", "many", ".nan", "true", "2.5"])
def test_a_wrong_parameter_of_a_strategy_names_its_line(tmp_path, value):
    message = refusal(tmp_path, VALUE.replace("max_positions: 4", f"max_positions: {value}"))
    assert f"{tmp_path / 'config.yaml'}, line 6: strategies.0.params.max_positions: " in message


def test_a_wrong_class_path_of_a_collector_names_its_line(tmp_path):
    message = refusal(tmp_path, BARS.replace("FileBars", "FileBar"))
    assert f"{tmp_path / 'config.yaml'}, line 4: module tradebot_core.collectors.file_bars has no class FileBar" in message
    message = refusal(tmp_path, BARS.replace("collectors.file_bars.FileBars", "errors.DataError"))
    assert "line 4: tradebot_core.errors.DataError is not a Collector" in message


def test_a_threshold_of_a_data_check_that_is_neither_a_number_nor_off_is_named_once_and_in_our_words(tmp_path):
    message = refusal(tmp_path, BARS + "quality: {{overdue: maybe}}\n")
    assert (
        ": quality.overdue: Input should be a valid number, unable to parse string as a number, or: Input should be 'off'."
        in message
    )
    assert len(message.splitlines()) == 1
    assert "quality.nonsense: no such setting" in refusal(tmp_path, BARS + "quality: {{nonsense: off}}\n")


def test_a_parameter_of_a_collector_that_is_unknown_or_missing_names_its_line(tmp_path):
    message = refusal(tmp_path, BARS.replace("path: ./bars.csv", "path: ./bars.csv, pat: 1"))
    assert f"{tmp_path / 'config.yaml'}, line 5: collectors.0.params.pat: no such setting" in message
    message = refusal(tmp_path, BARS.replace("path: ./bars.csv", ""))
    assert "line 5: collectors.0.params.path: is needed and not given" in message


def test_code_that_fails_when_it_is_loaded_stops_the_start_and_names_its_line(tmp_path, monkeypatch):
    package = tmp_path / "strategies_that_fail_to_load"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "broken.py").write_text("class Broken(:\n")
    (package / "raising.py").write_text("raise RuntimeError('no luck')\n")
    (package / "missing.py").write_text("import a_library_nobody_installed\n")
    monkeypatch.syspath_prepend(tmp_path)
    allowed = "allowed_packages: [strategies_that_fail_to_load]\n"
    reasons = {"broken": "SyntaxError", "raising": "RuntimeError: no luck", "missing": "a_library_nobody_installed"}
    for module, reason in reasons.items():
        class_path = f"{package.name}.{module}.Some"
        message = refusal(
            tmp_path, allowed + VALUE.replace("tradebot_core.strategies.value_investor.ValueInvestor", class_path)
        )
        assert f"{tmp_path / 'config.yaml'}, line 5: " in message
        assert reason in message


def test_disabling_or_removing_a_strategy_is_configuration_alone(tmp_path):
    both = CONFIG
    assert list(build_text(tmp_path, both).sleeves) == ["value_investor", "quality_growth"]
    disabled = both.replace("allocated_capital: 50000", "allocated_capital: 50000\n    enabled: false")
    assert list(build_text(tmp_path, disabled).sleeves) == ["quality_growth"]
    head, value, growth = both.split("  - name: ")
    assert list(build_text(tmp_path, head + "  - name: " + growth).sleeves) == ["quality_growth"]
    assert list(build_text(tmp_path, head + "  - name: " + value).sleeves) == ["value_investor"]
    assert build_text(tmp_path, "data_store: {{path: {store}}}\n").sleeves == {}


def build_text(folder: Path, text: str) -> Tradebot:
    path = write_config(folder, text)
    return build(load_config(path), path)


def test_one_strategy_may_run_twice_under_two_names(tmp_path):
    twice = VALUE + VALUE.replace("strategies:\n", "").replace("value_investor\n", "bolder\n", 1).replace(": 4", ": 2")
    bot = start(tmp_path, twice)
    assert [sleeve.strategy.params.max_positions for sleeve in bot.sleeves.values()] == [4, 2]
    assert bot.sleeve("value_investor").fingerprint != bot.sleeve("bolder").fingerprint


def test_an_unknown_strategy_is_named_with_those_that_exist(tmp_path):
    with pytest.raises(ConfigurationError, match=r"no strategy growth\. Configured strategies: value_investor"):
        start(tmp_path, VALUE).sleeve("growth")


def test_a_universe_file_is_read_line_by_line_and_a_missing_one_is_named(tmp_path):
    (tmp_path / "universe.txt").write_text("# large\nON\n\nBRK B\n")
    assert start(tmp_path, "universe: {{file: universe.txt}}\n").markets.universe == (
        UniverseEntry("ON"),
        UniverseEntry("BRK B"),
    )
    with pytest.raises(ConfigurationError, match=r"nothing\.txt cannot be read"):
        start(tmp_path, "universe: {{file: nothing.txt}}\n")


def test_the_collector_of_fundamental_reports_is_made_from_its_block(tmp_path):
    block = """\
collectors:
  - name: ibkr_reports
    class_path: tradebot_core.collectors.ibkr_fundamentals.IbkrFundamentals
    params: {{path: ./reports, account: DU1234567, reports: [ReportSnapshot]}}
"""
    collector = start(tmp_path, block).collectors["ibkr_reports"]
    assert isinstance(collector, IbkrFundamentals)
    with pytest.raises(ConfigurationError, match="requests_per_run"):
        start(tmp_path, block.replace("[ReportSnapshot]", "[ReportSnapshot], requests_per_run: 0"))
    with pytest.raises(ConfigurationError, match="reports"):
        start(tmp_path, block.replace("ReportSnapshot", "RESC"))
