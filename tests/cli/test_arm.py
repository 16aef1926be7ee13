"""Arming by the command line: what it shows, what it asks, and what it refuses."""

from datetime import UTC, datetime, timedelta

import pytest
from click.testing import CliRunner

from tests.markets import CONFIG, XNYS
from tradebot_core.trading.arming import default_expiry
from tradebot_dagster.cli import main

LIVE = CONFIG.replace("mode: paper", "mode: live\nibkr: {{port: 1, account: U1234567}}")


@pytest.fixture
def live(desk_with):
    return desk_with(LIVE)


def arm(desk, *arguments: str, typed: str = ""):
    return CliRunner().invoke(main, ["arm", *arguments, "--config", str(desk.folder / "config.yaml")], input=typed)


def until(desk) -> datetime | None:
    found = desk.json("status")["arming"]["armed_until"]
    return datetime.fromisoformat(found) if found else None


def test_it_shows_what_it_arms_and_asks_for_the_account(live):
    assert "never armed" in live.run("status").stdout
    before = datetime.now(UTC)
    result = arm(live, typed="U1234567\n")
    assert result.exit_code == 0, result.output
    for part in ("Account U1234567", "value_investor: 50,000 USD", "max_positions 4", "max_order_notional 20000", "code 0."):
        assert part in result.stderr
    assert result.stdout.startswith("Armed: U1234567 until")
    assert abs(until(live) - default_expiry(XNYS, before)) < timedelta(minutes=1)
    given = live.bot.store.ledger.last_arm()
    assert (given.account, given.armed, bool(given.operator)) == ("U1234567", True, True)
    assert "Armed: U1234567 until" in live.run("status").stdout


@pytest.mark.parametrize("typed", ["U1234568\n", "yes\n", "u1234567\n"])
def test_another_account_than_the_one_typed_is_not_armed(live, typed):
    result = arm(live, typed=typed)
    assert (result.exit_code, "nothing was armed" in result.stderr, until(live)) == (2, True, None)


def test_no_answer_arms_nothing(live):
    assert (arm(live).exit_code, until(live)) == (1, None)


@pytest.mark.parametrize("hours", ["0", "-1", "24.01", "25", "nan", "inf", "-inf", "two"])
def test_hours_out_of_reach_are_refused(live, hours):
    result = arm(live, "--yes", "--hours", hours)
    assert (result.exit_code, until(live)) == (2, None), result.output


def test_hours_are_counted_from_now(live):
    live.json("arm", "--yes", "--hours", "1.5")
    assert abs(until(live) - datetime.now(UTC) - timedelta(hours=1.5)) < timedelta(minutes=1)


def test_disarm_ends_it_even_with_a_configuration_that_is_refused(live):
    assert live.json("disarm") == {"disarmed": None}
    live.json("arm", "--yes")
    config = live.folder / "config.yaml"
    sound = config.read_text()
    config.write_text(sound + "moode: paper\n")
    assert live.json("disarm") == {"disarmed": "U1234567"}
    config.write_text(sound)
    assert "disarmed it" in live.json("status")["arming"]["why_not"]


def test_a_changed_limit_disarms(live):
    live.json("arm", "--yes")
    config = live.folder / "config.yaml"
    config.write_text(config.read_text().replace("max_order_notional: 20000", "max_order_notional: 25000"))
    document = live.json("status")["arming"]
    assert document["armed_until"] is None
    assert "changed: risk, strategy quality_growth, strategy value_investor" in document["why_not"]


def test_the_doctor_tells_it(live):
    def finding() -> dict:
        (found,) = [found for found in live.json("doctor", exit_code=1)["findings"] if found["what"] == "arming"]
        return found

    assert (finding()["level"], "never armed" in finding()["text"]) == ("warn", True)
    live.json("arm", "--yes")
    assert (finding()["level"], "U1234567 is armed until" in finding()["text"]) == ("ok", True)


def test_a_halt_is_told_when_arming(live):
    live.run("halt", "odd prices", "--keep-orders")
    assert "Trading is halted as well: odd prices" in arm(live, "--yes").stderr


def test_paper_needs_none(desk):
    assert desk.json("arm") == {"needed": False, "armed_until": None}
    assert "Mode is paper: no arming is needed" in desk.run("arm").stdout
    assert desk.bot.store.ledger.last_arm() is None
    assert desk.json("status")["arming"] == {"needed": False, "armed_until": None, "why_not": ""}
