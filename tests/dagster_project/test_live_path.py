"""No run but the live one reaches an engine, however it is launched; the live one reaches it once."""

from datetime import timedelta

import pytest

from tests.dagster_project.project import Project, live_keys
from tests.markets import SESSIONS, XNYS
from tradebot_core.interfaces import Purpose
from tradebot_core.trading.live import issue_permit
from tradebot_dagster.defs.live import PERMIT_TAG

SESSION = SESSIONS[40]
BEFORE, AFTER = SESSIONS[39], SESSIONS[41]
EVENING = XNYS.cutoff(SESSION) + timedelta(hours=1)
NEXT_EVENING = XNYS.cutoff(AFTER) + timedelta(hours=1)
LAYERS = ("value_investor/screen", "value_investor/analyze")


def permit_of(project: Project, purpose: Purpose = Purpose.DECIDE) -> dict[str, str]:
    permit = issue_permit(project.bot.store.ledger, XNYS, project.bot.clock.now(), purpose)
    assert permit is not None
    return {PERMIT_TAG: permit.permit_id}


def decide(project: Project, tags: dict[str, str]):
    return project.run(*LAYERS, "value_investor/decisions", "value_investor/positions", first=SESSION, tags=tags)


def submit(project: Project, tags: dict[str, str] | None = None):
    """As the order sensor does, with its permit, unless told otherwise."""
    tags = permit_of(project, Purpose.SUBMIT) if tags is None else tags
    return project.run("value_investor/orders", first=SESSION, tags=tags)


@pytest.fixture
def evening(small: Project) -> Project:
    """The evening after SESSION: it is the current session, and its orders may be submitted until the next morning."""
    return small.at(EVENING)


def orders_of(project: Project) -> int:
    return len(project.bot.store.ledger.orders("value_investor"))


def test_a_run_with_the_permit_decides_live_and_its_orders_reach_the_engine(evening: Project, engines: list[str]) -> None:
    assert decide(evening, permit_of(evening)).success
    decided = evening.metadata("value_investor/decisions", SESSION)
    assert (decided["live"], decided["note"]) == (True, "Sealed for the order run.")
    assert engines == []  # nothing to record yet, and deciding sends nothing
    assert submit(evening).success
    assert evening.metadata("value_investor/orders", SESSION)["outcome"] == "submitted"
    assert len(engines) == 1
    assert set(evening.bot.store.ledger.orders("value_investor")["state"]) == {"working"}


def test_the_next_session_records_the_fills(evening: Project) -> None:
    decide(evening, permit_of(evening))
    submit(evening)
    bought = orders_of(evening)
    later = evening.at(NEXT_EVENING)
    tags = permit_of(later)
    assert later.run(*LAYERS, "value_investor/decisions", "value_investor/positions", first=AFTER, tags=tags).success
    held = later.metadata("value_investor/positions", AFTER)
    assert held["source"] == "The engine was asked for fills."
    assert len(held["positions"].records) == bought == len(held["fills"].records)
    assert held["equity"] == pytest.approx(50_000, rel=0.01)


@pytest.mark.parametrize(
    ("first", "last", "tags"),
    [
        (BEFORE, BEFORE, {}),  # an old partition by hand
        (SESSIONS[30], SESSIONS[35], {"dagster/backfill": "abcdefgh"}),
        (SESSIONS[38], SESSION, {"dagster/backfill": "abcdefgh"}),  # up to the current session
        (SESSION, SESSION, {}),  # the current session by hand
        (SESSION, SESSION, {PERMIT_TAG: "2024-02-29@made-up"}),
        (SESSION, SESSION, {"dagster/schedule_name": "decide_after_the_close"}),  # looks like the schedule, is not
    ],
)
def test_any_other_run_of_the_whole_live_path_makes_reviews_and_no_engine(evening, engines, first, last, tags) -> None:
    result = evening.run(*live_keys(), first=first, last=last, tags=tags)
    assert result.success
    assert evening.metadata("value_investor/decisions", last)["live"] is False
    assert evening.metadata("value_investor/orders", last)["outcome"] == "nothing_live"
    assert (engines, orders_of(evening)) == ([], 0)
    assert evening.bot.store.ledger.live_decisions("value_investor", last) is None


def test_a_range_with_a_stolen_permit_is_a_review(evening: Project, engines: list[str]) -> None:
    assert evening.run(*live_keys(), first=BEFORE, last=SESSION, tags=permit_of(evening)).success
    assert evening.metadata("value_investor/decisions", SESSION)["live"] is False
    assert engines == []


def test_an_old_partition_with_the_permit_of_the_current_session_is_a_review(evening: Project, engines: list[str]) -> None:
    assert evening.run(*live_keys(), first=BEFORE, tags=permit_of(evening)).success
    decided = evening.metadata("value_investor/decisions", BEFORE)
    assert decided["live"] is False
    assert f"Only {SESSION} may be decided now, not {BEFORE}." in decided["note"]
    assert engines == []


@pytest.mark.parametrize(
    "tags",
    [{}, {"dagster/backfill": "abcdefgh"}, {"dagster/parent_run_id": "x", "dagster/root_run_id": "x"}, {PERMIT_TAG: "made up"}],
)
def test_live_decisions_are_sent_by_the_order_run_alone(evening: Project, engines: list[str], tags: dict[str, str]) -> None:
    decide(evening, permit_of(evening))
    copied = permit_of(evening, Purpose.SUBMIT) if "dagster/root_run_id" in tags or "dagster/backfill" in tags else {}
    assert submit(evening, {**copied, **tags}).success
    assert evening.metadata("value_investor/orders", SESSION)["outcome"] == "not_permitted"
    assert (engines, orders_of(evening)) == ([], 0)


def test_a_re_execution_of_a_run_that_failed_before_its_claim_does_not_become_live(
    evening: Project, engines: list[str]
) -> None:
    again = {**permit_of(evening), "dagster/parent_run_id": "x", "dagster/root_run_id": "x"}
    assert decide(evening, again).success
    assert evening.metadata("value_investor/decisions", SESSION)["live"] is False


def test_a_re_execution_of_the_live_run_is_a_review_and_sends_nothing_again(evening: Project) -> None:
    tags = permit_of(evening)
    decide(evening, tags)
    submit(evening)
    sent, digest = orders_of(evening), evening.metadata("value_investor/decisions", SESSION)["digest"]
    again = {**tags, "dagster/parent_run_id": "x", "dagster/root_run_id": "x"}
    assert evening.run(*live_keys(), first=SESSION, tags=again).success
    decided = evening.metadata("value_investor/decisions", SESSION)
    assert decided["live"] is False
    assert "holds no permit" in decided["note"]
    assert evening.bot.store.ledger.live_decisions("value_investor", SESSION).digest == digest
    received = (evening.bot.config.data_store.path / "simulated_engine.jsonl").read_text().splitlines()
    assert (orders_of(evening), len(received)) == (sent, sent)


def test_orders_of_a_session_that_has_passed_are_expired_unsent(evening: Project, engines: list[str]) -> None:
    decide(evening, permit_of(evening))
    late = evening.at(XNYS.opens_at(AFTER))
    assert late.run("value_investor/orders", first=SESSION).success
    assert late.metadata("value_investor/orders", SESSION)["outcome"] == "expired"
    assert set(late.bot.store.ledger.orders("value_investor")["state"]) == {"refused"}
    assert engines == []


def test_looking_at_positions_asks_no_engine(evening: Project, engines: list[str]) -> None:
    decide(evening, permit_of(evening))
    submit(evening)
    engines.clear()
    later = evening.at(NEXT_EVENING)
    assert later.run("value_investor/positions", first=SESSION, last=AFTER).success
    assert later.metadata("value_investor/positions", AFTER)["source"] == "The ledger as it stands; no engine was asked."
    assert engines == []


def test_a_sleeve_that_was_never_opened_says_so(evening: Project) -> None:
    evening.run("value_investor/positions", first=SESSION)
    assert evening.metadata("value_investor/positions", SESSION)["source"].startswith("The sleeve is not open yet")
