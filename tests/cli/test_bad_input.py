"""Wrong usage and configuration: exit code 2, the cause and what to do next, never a traceback."""

import json
import subprocess
import sys

import pytest
from click.testing import CliRunner

from tests.markets import CONFIG, SESSIONS, START
from tradebot_dagster.cli import main
from tradebot_dagster.cli.command_line import _load
from tradebot_dagster.config_file import PROJECT_ROOT, default_config

ON_A_STRATEGY = ("--strategy", "value_investor")


@pytest.mark.parametrize(
    ("arguments", "exit_code", "words"),
    [
        (("explain", "GOOD", "2024-02-19", *ON_A_STRATEGY), 2, ("2024-02-19 (Monday)", "2024-02-16", "2024-02-20")),
        (("explain", "GODO", START, *ON_A_STRATEGY), 2, ("no security GODO", "Did you mean GOOD")),
        (("explain", "GOOD", START, "--strategy", "no_such"), 2, ("no strategy no_such", "value_investor, quality_growth")),
        (("explain", "GOOD", START), 2, ("Which strategy", "value_investor")),
        (("explain", "GOOD", START, *ON_A_STRATEGY), 1, ("no live or backtest decisions", "tradebot backtest value_investor")),
        (("explain", "good"), 2, ("good needs a SESSION", f"tradebot explain good {SESSIONS[-1]} --strategy value_investor")),
        (("explain", "GODO"), 2, ("no order or execution GODO", "For the symbol GOOD, add a SESSION")),
        (("explain", "GODO", "--strategy", "no_such"), 2, ("no strategy no_such",)),
        (("explain", "no-such-order"), 2, ("no order or execution no-such-order", "tradebot export orders")),
        (("explain", "GOOD", "yesterday"), 2, ("not a day", "2024-03-28")),
        (("backtest", "no_such", "--start", START, "--end", START), 2, ("no strategy no_such", "quality_growth")),
        (("backtest", "value_investor", "--start", "2024-02-08", "--end", "2024-02-07"), 2, ("no trading session",)),
        (("backtest", "value_investor", "--start", "2024-02-19", "--end", "2024-02-21"), 2, ("2024-02-16 and 2024-02-20",)),
        (("backtest", "value_investor", "--start", START, "--end", "2024-05-27"), 2, ("2024-05-24 and 2024-05-28",)),
        (("backtest", "value_investor", "--start", START, "--end", "2024-07-01"), 2, ("not over", "2024-06-28")),
        (("backtest", "value_investor", "--start", "2023-12-29", "--end", START), 2, ("before first_session 2024-01-02",)),
        (("backtest", "value_investor", "--start", START), 2, ("--end",)),
        (("replay", *ON_A_STRATEGY, "--start", START, "--end", START), 1, ("no backtest", "tradebot backtest")),
        (("export", "prices", "--format", "csv", "-o", "-"), 2, ("'prices'", "bars", "quarantine")),
        (("export", "bars", "--format", "xlsx", "-o", "-"), 2, ("xlsx", "parquet")),
        (("export", "bars", "--format", "parquet", "-o", "-"), 2, ("Parquet", "--format csv")),
        (("export", "bars", "--format", "csv", "-o", "/no/such/folder/bars.csv"), 2, ("no folder /no/such/folder", "-o")),
        (("export", "bars", *ON_A_STRATEGY, "--format", "csv", "-o", "-"), 2, ("--strategy means nothing for bars", "--as-of")),
        (("export", "layers", *ON_A_STRATEGY, "--layer", "x", "--format", "csv", "-o", "-"), 2, ("no layer x", "analyze")),
        (("export", "bars", "--start", "2024-03-02", "--end", "2024-03-01", "--format", "csv", "-o", "-"), 2, ("empty",)),
        (("export", "bars", "--as-of", "2024-03-01T12:00", "--format", "csv", "-o", "-"), 2, ("no time zone", "+00:00")),
        (("run-session", "--session", START), 2, ("cannot be run live", "2024-06-28")),
        (("halt", " "), 2, ("reason",)),
        (("no-such-command",), 2, ("No such command",)),
    ],
)
def test_a_mistake_is_named_with_its_mend(desk, arguments, exit_code, words):
    result = desk.run(*arguments)
    assert result.exit_code == exit_code
    assert all(word in result.stderr for word in words), result.stderr
    assert "Traceback" not in result.output
    assert result.stdout == ""


def test_with_json_an_error_is_a_document_on_standard_output(desk):
    document = desk.json("explain", "GODO", START, *ON_A_STRATEGY, exit_code=2)
    assert document == {"error": f"The store knows no security GODO at {START}.", "mend": "Did you mean GOOD?"}


def test_with_json_a_wrong_option_is_a_document_too(desk):
    document = desk.json("export", "prices", "--format", "csv", "-o", "-", exit_code=2)
    assert "'prices'" in document["error"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("mode: paper\n  broken: [", ("line 2",)),
        ("mode: paper\nmode: paper\n", ("line 2", "mode")),
        ("mode: paper\ncolour: red\n", ("line 2", "colour", "no such setting")),
        (CONFIG.replace("max_positions: 4", "max_positions: many"), ("line 8", "max_positions")),
        (CONFIG.replace("value_investor.ValueInvestor", "value_investor.Nothing"), ("line 6", "no class Nothing")),
    ],
)
def test_a_broken_configuration_is_named_by_its_line(tmp_path, text, words):
    path = tmp_path / "config.yaml"
    path.write_text(text.format(store=tmp_path / "store"))
    result = CliRunner().invoke(main, ["status", "--config", str(path)])
    assert result.exit_code == 2
    assert all(word in result.stderr for word in (str(path), *words)), result.stderr


def test_a_missing_configuration_is_named(tmp_path):
    result = CliRunner().invoke(main, ["status", "--config", str(tmp_path / "none.yaml")])
    assert result.exit_code == 2
    assert "none.yaml cannot be read" in result.stderr and "--config or TRADEBOT_CONFIG" in result.stderr


def test_options_may_stand_before_the_command(desk):
    config = str(desk.folder / "config.yaml")
    before = CliRunner().invoke(main, ["--config", config, "--json", "status"])
    assert before.exit_code == 0 and json.loads(before.stdout)["config"] == config
    after = CliRunner().invoke(
        main, ["--config", "none.yaml", "status", "--config", config], env={"TRADEBOT_CONFIG": "nor.yaml"}
    )
    assert after.exit_code == 0, after.output


def test_the_configuration_of_the_folder_comes_before_the_projects(desk, monkeypatch):
    monkeypatch.delenv("TRADEBOT_CONFIG", raising=False)
    monkeypatch.chdir(desk.folder)
    found = CliRunner().invoke(main, ["status", "--json"])
    assert json.loads(found.stdout)["store"] == str(desk.folder / "store")
    (desk.folder / "elsewhere").mkdir()
    monkeypatch.chdir(desk.folder / "elsewhere")
    assert default_config() == PROJECT_ROOT / "config.yaml"


@pytest.mark.parametrize("arguments", [("--json", "demo"), ("demo", "--json")])
def test_the_demonstration_has_no_document(arguments):
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 2 and "--json" in json.loads(result.stdout)["error"]


def test_a_sample_market_that_was_never_prepared_is_named(desk):
    desk.clock.path.unlink()
    result = desk.run("status")
    assert result.exit_code == 1
    assert "not prepared yet" in result.stderr and "make run" in result.stderr


def test_the_configuration_may_come_from_the_environment(desk):
    result = CliRunner().invoke(main, ["status"], env={"TRADEBOT_CONFIG": str(desk.folder / "config.yaml")})
    assert result.exit_code == 0, result.output


def test_an_unforeseen_error_leaves_its_traceback_in_a_log(desk, monkeypatch):
    def explode(config_path):
        raise ZeroDivisionError("the sky fell")

    monkeypatch.setattr(_load("status"), "callback", lambda: explode(None))
    result = desk.run("status")
    assert result.exit_code == 1
    assert "ZeroDivisionError: the sky fell" in result.stderr and "Traceback" not in result.stderr
    (log,) = (desk.folder / "store" / "logs").glob("*.log")
    assert str(log) in result.stderr
    assert "Traceback" in log.read_text()


def test_a_backtest_by_a_running_instance_says_when_there_is_none(desk):
    remote = ("--remote", "--url", "http://127.0.0.1:9")
    result = desk.run("backtest", "value_investor", "--start", START, "--end", START, *remote)
    assert result.exit_code == 2
    assert "No Dagster webserver answers at http://127.0.0.1:9" in result.stderr and "tradebot up" in result.stderr


def test_the_process_exits_as_the_contract_says(tmp_path):
    command = [sys.executable, "-c", "from tradebot_dagster.cli import main; main()", "status", "--json", "--config"]
    done = subprocess.run([*command, str(tmp_path / "none.yaml")], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert json.loads(done.stdout)["mend"] == "Give its path with --config or TRADEBOT_CONFIG."


@pytest.mark.parametrize("command", [c for c in main.list_commands(None) if c != "demo"])
def test_every_command_explains_itself_with_an_example(command):
    result = CliRunner().invoke(main, [command, "--help"])
    assert result.exit_code == 0
    assert f"tradebot {command}" in result.stdout and "Example" in result.stdout
    assert "--config" in result.stdout and "--json" in result.stdout
