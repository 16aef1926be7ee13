"""As first filed, as known at an instant, and the latest: three questions with three answers."""

from datetime import UTC, date, datetime, timedelta

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from tradebot_core.model.tables import FACTS, INSTANT
from tradebot_core.quant.fact_versions import NUMBER, as_first_filed, as_known_at, latest

SCHEMA = pl.Schema({**FACTS.columns, "known_at": INSTANT})
FIRST_DAY = datetime(2020, 1, 1, 21, tzinfo=UTC)


def report(value: float, day: int, tag: str = "Revenues", accession: str | None = None) -> tuple:
    known_at = FIRST_DAY + timedelta(days=day)
    accession = accession or f"0000000042-20-{day:06d}"
    period = (date(2019, 1, 1), date(2019, 12, 31))
    return (42, "us-gaap", tag, "USD", *period, accession, value, "10-K", None, None, known_at.date(), known_at)


def table(*reports: tuple) -> pl.DataFrame:
    return pl.DataFrame(reports, schema=SCHEMA, orient="row")


def values(reports: pl.DataFrame) -> list[float]:
    return reports["value"].to_list()


RESTATED = table(report(100, 0), report(100, 90), report(94, 365))


def test_as_first_filed_is_the_first_report_whatever_came_after():
    assert values(as_first_filed(RESTATED)) == [100]
    assert as_first_filed(RESTATED)["known_at"].item() == FIRST_DAY


def test_as_known_at_an_instant_is_the_last_report_that_was_public():
    assert values(as_known_at(RESTATED, FIRST_DAY + timedelta(days=365, microseconds=-1))) == [100]
    assert values(as_known_at(RESTATED, FIRST_DAY + timedelta(days=365))) == [94]
    assert as_known_at(RESTATED, FIRST_DAY - timedelta(microseconds=1)).is_empty()


def test_a_report_that_repeats_a_number_is_the_one_known():
    known = as_known_at(RESTATED, FIRST_DAY + timedelta(days=100))
    assert known["accession"].to_list() == ["0000000042-20-000090"]


def test_the_latest_is_the_last_report_of_all():
    assert values(latest(RESTATED)) == [94]


def test_each_number_is_asked_about_by_itself():
    both = table(report(100, 0), report(94, 365), report(7, 10, tag="NetIncomeLoss"))
    assert as_first_filed(both).select("tag", "value").rows() == [("NetIncomeLoss", 7), ("Revenues", 100)]
    assert latest(both).select("tag", "value").rows() == [("NetIncomeLoss", 7), ("Revenues", 94)]


def test_balances_have_no_start_and_are_numbers_like_others():
    balances = RESTATED.with_columns(period_start=pl.lit(None, pl.Date))
    assert values(latest(balances)) == [94]
    assert latest(pl.concat([RESTATED, balances])).height == 2


REPORTS = st.lists(st.tuples(st.integers(1, 9), st.integers(0, 30), st.sampled_from(["Assets", "Revenues"])), max_size=12)


@given(REPORTS, st.integers(0, 30), st.randoms(use_true_random=False))
def test_what_was_known_at_an_instant_does_not_depend_on_what_came_later_nor_on_the_order(reports, day, random):
    rows = [report(float(value), at, tag, f"0000000042-20-{n:06d}") for n, (value, at, tag) in enumerate(reports)]
    instant = FIRST_DAY + timedelta(days=day)
    shuffled = rows.copy()
    random.shuffle(shuffled)
    known_then = table(*(row for row in rows if row[-1] <= instant))
    assert as_known_at(table(*shuffled), instant).equals(latest(known_then))
    assert as_first_filed(known_then).equals(
        as_first_filed(table(*shuffled)).join(known_then.select("accession"), on="accession", how="semi", maintain_order="left")
    )
    assert latest(table(*shuffled)).select(NUMBER).is_unique().all()
