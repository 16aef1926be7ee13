from datetime import date, datetime

import dagster as dg
import pytest

from tests.dagster_project.project import Project, new_york
from tradebot_core.calendar import xnys
from tradebot_dagster.defs import definitions_of
from tradebot_dagster.partitions import SESSION_BEFORE, session_partitions

XNYS = xnys()
NOW = new_york(date(2026, 11, 2), 12)


def keys(first: date, until: datetime = NOW) -> list[str]:
    return list(session_partitions(XNYS, first).get_partition_keys(current_time=until))


def test_partitions_are_the_sessions_of_the_calendar() -> None:
    assert keys(date(2009, 1, 2)) == [str(s) for s in XNYS.sessions(date(2009, 1, 2), date(2026, 10, 30))]


def test_a_first_session_that_is_a_holiday_begins_with_the_next_one() -> None:
    assert keys(date(2021, 1, 1))[0] == "2021-01-04"


@pytest.mark.parametrize(
    ("now", "last"),
    [
        (new_york(date(2026, 7, 2), 23, 59), "2026-07-01"),  # a session exists once its day is over in New York
        (new_york(date(2026, 7, 3), 0, 1), "2026-07-02"),
        (new_york(date(2026, 7, 3), 23), "2026-07-02"),  # the holiday never becomes one
        (new_york(date(2026, 7, 5), 12), "2026-07-02"),
    ],
)
def test_the_last_partition_is_the_last_finished_session(now: datetime, last: str) -> None:
    assert keys(date(2026, 6, 1), now)[-1] == last


@pytest.mark.parametrize(
    ("session", "before"), [("2012-10-31", "2012-10-26"), ("2026-09-08", "2026-09-04"), ("2024-01-03", "2024-01-02")]
)
def test_the_session_before_steps_over_weekends_storms_and_holidays(session: str, before: str) -> None:
    partitions = session_partitions(XNYS, date(2012, 1, 3))
    mapped = SESSION_BEFORE.get_upstream_mapped_partitions_result_for_partitions(
        partitions.subset_with_partition_keys([session]), partitions, partitions, current_time=NOW
    )
    assert list(mapped.partitions_subset.get_partition_keys()) == [before]


def test_one_calendar_for_all_assets(small: Project) -> None:
    graph = definitions_of(small.bot).resolve_asset_graph()
    of_sessions = {key for key in graph.materializable_asset_keys if key.path[-1] != "variants"}  # which are of a whole book
    assert {graph.get(key).partitions_def for key in of_sessions} == {session_partitions(XNYS, small.bot.config.first_session)}
    assert all(graph.get(key).backfill_policy == dg.BackfillPolicy.single_run() for key in of_sessions)
