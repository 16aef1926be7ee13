"""Settings are read strictly: whatever is wrong is named by file, line and key before anything starts."""

from datetime import date, time
from decimal import Decimal
from pathlib import Path

import pytest

from tradebot_core.config import Config, Mode, load_config
from tradebot_core.errors import ConfigurationError

STRATEGIES = """\
strategies:
  - name: value_investor
    class_path: tradebot_core.strategies.value_investor.ValueInvestor
    allocated_capital: 50000
"""


def read(folder: Path, text: str) -> Config:
    path = folder / "config.yaml"
    path.write_text(text, encoding="utf-8")
    return load_config(path)


def refusal(folder: Path, text: str) -> str:
    with pytest.raises(ConfigurationError) as refused:
        read(folder, text)
    assert refused.value.exit_code == 2
    return str(refused.value)


WRONG = {
    "unknown key": ("mode: paper\nmoode: live\n", 2, "moode: no such setting"),
    "unknown key in a block": (
        "risk:\n  max_order_notional: 5\n  max_order_size: 3\n",
        3,
        "risk.max_order_size: no such setting",
    ),
    "unknown key in a list": (STRATEGIES + "    capital: 1\n", 5, "strategies.0.capital: no such setting"),
    "not a number": ("risk:\n  max_order_notional: ten\n", 2, "risk.max_order_notional"),
    "a truth for a share": ("risk:\n  max_position_weight: true\n", 2, "risk.max_position_weight"),
    "a truth for an amount": ("risk:\n  max_order_notional: true\n", 2, "risk.max_order_notional"),
    "a truth for a count": ("risk:\n  max_orders_per_session: true\n", 2, "risk.max_orders_per_session"),
    "a truth for a port": ("ibkr:\n  account: DU1\n  port: true\n", 3, "ibkr.port"),
    "a number for a text": ("ibkr:\n  account: 1234567\n", 2, "ibkr.account"),
    "half an order": ("risk:\n  max_orders_per_session: 2.5\n", 2, "risk.max_orders_per_session"),
    "negative limit": ("risk:\n  max_order_notional: -1\n", 2, "risk.max_order_notional"),
    "zero limit": ("risk:\n\n  max_order_notional: 0\n", 3, "risk.max_order_notional"),
    "a weight above one": ("risk:\n  max_position_weight: 1.01\n", 2, "risk.max_position_weight"),
    "NaN share": ("risk:\n  max_position_weight: .nan\n", 2, "risk.max_position_weight"),
    "NaN as text": ("risk:\n  max_position_weight: nan\n", 2, "risk.max_position_weight"),
    "NaN amount": ("risk:\n  max_order_notional: .nan\n", 2, "risk.max_order_notional"),
    "infinite amount": ("risk:\n  max_order_notional: .inf\n", 2, "risk.max_order_notional"),
    "infinite slippage": ("costs:\n  slippage_bps: .inf\n", 2, "costs.slippage_bps"),
    "unknown mode": ("mode: real\n", 1, "mode"),
    "not a date": ("first_session: soon\n", 1, "first_session"),
    "a cut-off before the close": ("decision_cutoff: 12:00\n", 1, "decision_cutoff"),
    "no capital": (STRATEGIES.replace("50000", "0"), 4, "strategies.0.allocated_capital"),
    "capital missing": (STRATEGIES.replace("    allocated_capital: 50000\n", ""), 2, "strategies.0.allocated_capital"),
    "a name that is no folder": (STRATEGIES.replace("name: value_investor", "name: ../x"), 2, "strategies.0.name"),
    "a block for a list": ("strategies: {name: x}\n", 1, "strategies"),
    "symbols and file": ("universe: {symbols: [A], file: ./x}\n", 1, "universe: give symbols or file, not both"),
    "client id of the master": ("ibkr:\n  account: DU1\n  client_id: 0\n", 3, "ibkr.client_id"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_a_wrong_setting_is_refused_by_file_line_and_key(tmp_path, kind):
    text, line, key = WRONG[kind]
    assert f"{tmp_path / 'config.yaml'}, line {line}: {key}" in refusal(tmp_path, text)


def test_every_mistake_is_reported_and_not_only_the_first(tmp_path):
    said = refusal(tmp_path, "moode: live\nrisk:\n  max_order_notional: -1\n  cash_buffer: 2\n").splitlines()
    assert [line.split(": ")[1] for line in said] == ["risk.max_order_notional", "risk.cash_buffer", "moode"]


def test_a_key_given_twice_is_refused_with_its_line(tmp_path):
    said = refusal(tmp_path, "mode: paper\nrisk:\n  max_order_notional: 5\n  max_order_notional: 500000\n")
    assert f"{tmp_path / 'config.yaml'}, line 4" in said
    assert "duplicate key" in said
    assert "max_order_notional" in said


@pytest.mark.parametrize("block", ["strategies", "collectors"])
def test_two_blocks_of_one_name_are_refused(tmp_path, block):
    item = "  - {name: twin, class_path: tradebot_core.x.X, allocated_capital: 1}\n"
    if block == "collectors":
        item = item.replace(", allocated_capital: 1", "")
    said = refusal(tmp_path, f"mode: paper\n{block}:\n{item}{item}")
    assert f"{tmp_path / 'config.yaml'}, line 2: {block}: the name twin is used twice" in said


def test_the_tickers_on_no_and_yes_stay_text(tmp_path):
    config = read(tmp_path, "universe: {symbols: [ON, NO, YES, Y, OFF, TRUE]}\n".replace(", TRUE", ', "TRUE"'))
    assert config.universe.symbols == ("ON", "NO", "YES", "Y", "OFF", "TRUE")


def test_a_ticker_that_yaml_reads_as_a_truth_is_refused_and_not_guessed(tmp_path):
    assert "line 1: universe.symbols.1: " in refusal(tmp_path, "universe: {symbols: [AAPL, true]}\n")


def test_a_file_that_is_not_there_is_refused_with_what_to_do(tmp_path):
    with pytest.raises(ConfigurationError, match=r"nowhere\.yaml cannot be read .No such file or directory.*--config"):
        load_config(tmp_path / "nowhere.yaml")


def test_a_folder_is_no_configuration(tmp_path):
    with pytest.raises(ConfigurationError, match="cannot be read"):
        load_config(tmp_path)


def test_a_file_that_is_not_utf_8_is_refused(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_bytes("# Zürich\nmode: paper\n".encode("latin-1"))
    with pytest.raises(ConfigurationError, match=r"config\.yaml is not UTF-8 text"):
        load_config(path)


@pytest.mark.parametrize("text", ["", "- a\n- b\n", "only words\n", "null\n"])
def test_what_is_no_mapping_is_refused(tmp_path, text):
    assert "a configuration is a mapping of keys to values" in refusal(tmp_path, text)


@pytest.mark.parametrize(
    ("text", "line"),
    [("mode: [paper\n", 2), ("mode: paper\n\trisk: {}\n", 2), ("a: b: c\n", 1), ("mode: &x paper\nrisk: *y\n", 2)],
)
def test_broken_yaml_is_refused_with_its_line(tmp_path, text, line):
    assert f"config.yaml, line {line}: " in refusal(tmp_path, text)


def test_yaml_cannot_make_objects(tmp_path):
    said = refusal(tmp_path, "mode: !!python/object/apply:os.system ['true']\n")
    assert "line 1: mode" in said


def test_live_needs_the_account_by_name(tmp_path):
    assert "mode live needs an ibkr block" in refusal(tmp_path, "mode: live\n")
    live = read(tmp_path, "mode: live\nibkr: {account: U1234567}\n")
    assert (live.mode, live.ibkr.account) == (Mode.LIVE, "U1234567")


def test_the_sample_market_cannot_be_traded_live(tmp_path):
    said = refusal(tmp_path, "mode: live\nibkr: {account: U1}\nsample_market: {path: ./s}\n")
    assert "fictional and cannot be traded in mode live" in said


def test_without_a_word_everything_is_safe(tmp_path):
    config = read(tmp_path, "mode: paper\n")
    assert config.mode is Mode.PAPER
    assert config.ibkr is None
    assert config.decision_cutoff == time(18)
    assert config.risk.max_order_notional == Decimal(10_000)
    assert (config.risk.max_position_weight, config.risk.max_gross_exposure, config.risk.cash_buffer) == (0.2, 1.0, 0.02)
    assert config.allowed_packages == ("tradebot_core",)


def test_numbers_and_days_arrive_as_what_they_are(tmp_path):
    text = "first_session: 2024-01-02\ndecision_cutoff: 18:30\nrisk: {max_order_notional: 2500.50}\n"
    config = read(tmp_path, text + STRATEGIES.replace("50000", "5e4"))
    assert (config.first_session, config.decision_cutoff) == (date(2024, 1, 2), time(18, 30))
    assert config.risk.max_order_notional == Decimal("2500.5")
    assert config.strategies[0].allocated_capital == Decimal(50_000)


PATHS = """\
data_store: {path: "${TRADEBOT_TEST_DATA:-./here}"}
universe: {file: lists/universe.txt}
collectors:
  - {name: bars, class_path: tradebot_core.x.X, params: {path: "${TRADEBOT_TEST_DATA}/bars", other_path: /fixed, note: "${A}"}}
sample_market: {path: ./sample}
"""


def test_paths_are_relative_to_the_file_and_may_name_variables(tmp_path, monkeypatch):
    monkeypatch.setenv("TRADEBOT_TEST_DATA", "/srv/data")
    config = read(tmp_path, PATHS)
    assert config.data_store.path == Path("/srv/data")
    assert config.universe.file == tmp_path / "lists/universe.txt"
    assert config.collectors[0].params == {"path": Path("/srv/data/bars"), "other_path": Path("/fixed"), "note": "${A}"}
    assert config.sample_market.path == tmp_path / "sample"


def test_a_variable_that_is_not_set_takes_its_default_or_is_named(tmp_path, monkeypatch):
    monkeypatch.delenv("TRADEBOT_TEST_DATA", raising=False)
    assert read(tmp_path, PATHS.splitlines()[0]).data_store.path == tmp_path / "here"
    assert "needs the environment variable TRADEBOT_TEST_DATA" in refusal(tmp_path, PATHS)


def test_settings_cannot_be_changed_after_the_start(tmp_path):
    config = read(tmp_path, "mode: paper\n")
    with pytest.raises(ValueError, match="frozen"):
        config.mode = Mode.LIVE
