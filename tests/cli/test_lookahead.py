"""`tradebot lookahead`: what it prints and returns for a sound backtest, for a leaking one, and to a question without an answer."""

from datetime import date

import pytest

from tests.cli.conftest import WITH_CLOCK
from tests.core.test_lookahead import LEAKING
from tests.markets import SESSIONS, START, run_layers

END = SESSIONS[54]


@pytest.fixture
def leaking_desk(desk_with):
    market = WITH_CLOCK[WITH_CLOCK.index("sample_market:") : WITH_CLOCK.index("strategies:")]
    desk = desk_with(text=LEAKING.format(name="NextClose").replace("strategies:", f"{market}strategies:", 1))
    run_layers(desk.bot, "planted", SESSIONS[25:55])
    desk.bot.backtest("planted", SESSIONS[25:55])
    return desk


def test_a_sound_backtest_is_told_with_what_was_looked_at(desk):
    desk.backtest("value_investor")
    document = desk.json("lookahead", "value_investor", "--sessions", "4")
    assert list(document) == ["strategy", "sessions", "compared", "leaks"]
    assert [document["sessions"][n] for n in (0, -1)] == [
        {"session": str(START), "why": "the first"},
        {"session": str(END), "why": "the last"},
    ]
    assert len(document["sessions"]) == 4 and document["leaks"] == []
    assert document["compared"]["layers.screen"] == 4 * 4 and document["compared"]["books"] == 4
    page = desk.run("lookahead", "value_investor", "--sessions", "4").stdout
    assert page.startswith(f"value_investor: 4 sessions from {START} to {END} (2 at random, 1 the first, 1 the last)")
    assert "16 of layers.screen" in page and page.rstrip().endswith("No look-ahead: every row is what was known then gives.")


def test_all_sessions_of_a_part_can_be_looked_at(desk):
    desk.backtest("quality_growth")
    part = ("--start", SESSIONS[30], "--end", SESSIONS[33], "--all")
    document = desk.json("lookahead", "quality_growth", *part)
    assert [each["session"] for each in document["sessions"]] == [str(day) for day in SESSIONS[30:34]]


def test_another_seed_looks_at_other_sessions(desk):
    desk.backtest("value_investor")
    one, same, other = (desk.json("lookahead", "value_investor", "--sessions", "8", "--seed", seed) for seed in (1, 1, 2))
    assert one == same and one["sessions"] != other["sessions"]


def test_a_leak_is_an_exit_code_and_a_table_of_session_layer_and_symbol(leaking_desk):
    result = leaking_desk.run("lookahead", "planted", "--start", START, "--end", START)
    assert result.exit_code == 1
    lines = result.stdout.splitlines()
    assert lines[2].endswith("rows are not what was known then gives:")
    assert lines[3].split() == ["session", "layer", "symbol", "column"]
    assert lines[4].split() == [str(START), "analyze", "GOOD", "passed"]
    assert lines[5].strip() == "stored True, then False"
    assert "depends on later sessions" in lines[6]
    leaks = leaking_desk.json("lookahead", "planted", "--start", START, "--end", START, exit_code=1)["leaks"]
    assert list(leaks[0]) == ["layer", "session", "symbol", "column", "stored", "recomputed", "cause"]
    assert {(leak["layer"], leak["session"]) for leak in leaks} == {("analyze", str(START))}


def test_of_many_leaks_the_first_are_shown_and_the_others_counted(leaking_desk):
    printed = leaking_desk.run("lookahead", "planted", "--all").stdout
    total = len(leaking_desk.json("lookahead", "planted", "--all", exit_code=1)["leaks"])
    assert total > 20 and f"{total} rows are not" in printed and f"and {total - 20} more; --json has all." in printed
    assert printed.count("depends on later sessions") == 1


@pytest.mark.parametrize(
    ("options", "code", "told"),
    [
        (("value_investor",), 1, "There is no backtest of value_investor there. Run `tradebot backtest value_investor"),
        (("nobody",), 2, "There is no strategy nobody."),
        (("value_investor", "--start", date(2024, 3, 30)), 2, "is not a trading session"),
        (("value_investor", "--start", END, "--end", START), 2, f"{END} is after {START}."),
        (("value_investor", "--sessions", "0"), 2, "0 is not in the range x>=1"),
    ],
)
def test_a_question_without_an_answer_says_what_to_do(desk, options, code, told):
    result = desk.run("lookahead", *options)
    assert result.exit_code == code and told in " ".join(result.stderr.split())
