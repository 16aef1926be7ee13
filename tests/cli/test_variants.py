"""`tradebot sweep`, `compare` and `trials` on the small market."""

from datetime import date

import pytest

from tests.cli.conftest import WITH_CLOCK, make_desk
from tests.markets import SESSIONS

RANGE = SESSIONS[25:91]
BLOCK = "    params: {{max_positions: 4, min_score: 0.3}}\n"
TEXT = WITH_CLOCK.replace(BLOCK, BLOCK + "    variants: {{few: {{max_positions: 1}}}}\n")
DAYS = ("--start", RANGE[0], "--end", RANGE[-1])


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    return make_desk(tmp_path_factory.mktemp("desk"), TEXT)


@pytest.fixture(scope="module")
def swept(desk):
    return desk.json("sweep", "value_investor", *DAYS, "--param", "max_positions=2,3", "--param", "stop_loss=0.2")


def test_a_sweep_shows_the_strategy_its_stresses_and_all_variants(swept):
    assert [row["variant"] for row in swept["variants"]] == [
        "as_is",
        "delayed",
        "costs_doubled",
        "few",
        "max_positions=2,stop_loss=0.2",
        "max_positions=3,stop_loss=0.2",
    ]
    assert swept["layers"] == {"evaluated": 2, "shared": 10}
    rows = {row["variant"]: row for row in swept["variants"]}
    assert rows["as_is"]["different_decisions"] == 0
    assert rows["costs_doubled"]["commission"] == pytest.approx(2 * rows["as_is"]["commission"])
    assert rows["costs_doubled"]["final_equity"] < rows["as_is"]["final_equity"]
    assert rows["few"]["first_difference"] == str(RANGE[0])
    assert {row["selection"]["trials"] for row in swept["variants"]} == {4}
    assert 0 <= rows["as_is"]["selection"]["overfitting"] <= 1


def test_a_sweep_leaves_the_strategys_own_backtest_alone(desk, swept):
    assert desk.bot.backtest_sessions("value_investor") == []


def test_two_variants_side_by_side(desk, swept):
    found = desk.json("compare", "value_investor@as_is", "value_investor@few")
    assert (found["start"], found["end"]) == (str(RANGE[0]), str(RANGE[-1]))
    assert found["first_difference"] == str(RANGE[0])
    assert {row["cause"]: row["decisions"] for row in found["causes"]} == {"book": found["different"] - 2, "decide": 2}
    assert found["sample"][0]["rule_b"] == "max_positions"
    assert set(found["figures"]) == {"value_investor@as_is", "value_investor@few"}
    page = desk.run("compare", "value_investor@as_is", "value_investor@few").output
    assert f"{RANGE[0]} GOOD     buy (best_candidates 2 | 4)" in page


def test_a_comparison_of_some_sessions(desk, swept):
    found = desk.json("compare", "value_investor@as_is", "value_investor@few", "--start", RANGE[1], "--end", RANGE[5])
    assert (found["start"], found["end"], found["figures"]["value_investor@few"]["sessions"]) == (
        str(RANGE[1]),
        str(RANGE[5]),
        5,
    )
    assert {row["cause"] for row in found["causes"]} == {"book"}


def test_trials_are_listed_with_what_they_set_otherwise(desk, swept):
    found = desk.json("trials", "value_investor")
    assert [trial["counts"] for trial in found["trials"]] == [True, False, False, True, True, True]
    assert found["trials"][3]["parameters"]["max_positions"] == 1
    page = desk.run("trials", "value_investor").output
    assert "value_investor: 4 trials, 6 runs." in page
    assert "(a stress, not counted)" in page
    assert "value_investor@few: max_positions=1" in page


def test_results_of_a_variant_can_be_exported_like_any(desk, swept):
    out = desk.folder / "equity.csv"
    result = desk.run(
        "export", "equity", "--strategy", "value_investor@few", "--book", "backtest", "-o", out, "--format", "csv"
    )
    assert result.exit_code == 0, result.output
    assert len(out.read_text().splitlines()) == len(RANGE) + 1


def test_a_decision_of_a_variant_is_explained_like_any(desk, swept):
    found = desk.run("explain", "GOOD", RANGE[0], "--strategy", "value_investor@few")
    assert found.exit_code == 0, found.output
    assert "max_positions" in found.output


@pytest.mark.parametrize(
    ("arguments", "exit_code", "said"),
    [
        (("sweep", "value_investor", *DAYS, "--param", "max_positons=2"), 2, "max_positons: no such parameter"),
        (("sweep", "value_investor", *DAYS, "--param", "max_positions=0"), 2, "greater than or equal to 1"),
        (("sweep", "value_investor", *DAYS, "--param", "max_positions"), 2, "is not understood"),
        (("sweep", "nobody", *DAYS), 2, "There is no strategy nobody"),
        (("sweep", "value_investor", "--start", "2024-02-10", "--end", "2024-03-01"), 2, "2024-02-10"),
        (("sweep", "value_investor", *DAYS, "--walk-forward", "1,1"), 2, "within the first training window"),
        (("sweep", "value_investor", *DAYS, "--walk-forward", "1"), 2, "is not two numbers of years"),
        (("sweep", "value_investor", *DAYS, "--by", "luck"), 2, "luck"),
        (("compare", "value_investor@as_is", "value_investor@max_positions=9"), 1, "There is no backtest of"),
        (("compare", "value_investor@as_is", "value_investor@nothing"), 2, "is no variant"),
        (("compare", "value_investor@as_is", "value_investor@few", "--start", "2026-01-02"), 1, "no session in common"),
        (("trials", "quality_growth"), 1, "No trial of quality_growth was ever run"),
    ],
)
def test_what_cannot_be_done_is_said_and_mended(desk, swept, arguments, exit_code, said):
    result = desk.run(*arguments)
    assert result.exit_code == exit_code, result.output
    assert said in result.output
    assert "Traceback" not in result.output


def test_a_sweep_over_years_is_walked_forward(tmp_path):
    from tests.cli.conftest import make_desk
    from tests.markets import XNYS

    sessions = tuple(XNYS.sessions(date(2024, 1, 2), date(2025, 6, 30)))
    desk = make_desk(tmp_path, TEXT, sessions)
    desk.after_close_of(sessions[-1])
    days = ("--start", sessions[25], "--end", sessions[-1])
    found = desk.json("sweep", "value_investor", *days, "--walk-forward", "1,1", "--by", "total_return")["walk_forward"]
    (window,) = found["windows"]
    assert (window["train_end"], window["test_start"], window["test_end"]) == ("2025-02-06", "2025-02-07", "2025-06-30")
    assert window["chosen"] in ("value_investor@as_is", "value_investor@few")
    assert len(found["returns"]) == len(found["sessions"]) == len([day for day in sessions if day >= date(2025, 2, 7)])
