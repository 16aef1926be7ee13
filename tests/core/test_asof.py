"""The last row known at an instant, against a look through all rows."""

from datetime import date, timedelta

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tradebot_core.quant import asof
from tradebot_core.quant.asof import last_places

DAYS = st.integers(0, 12).map(lambda n: date(2024, 1, 1) + timedelta(n))
ROWS = st.lists(st.tuples(st.integers(1, 4), DAYS), max_size=12)
SCHEMA = {"group": pl.Int64, "on": pl.Date}


@pytest.mark.parametrize("most", [2**62, 0])  # the second: as for what is too large to number by the microsecond
@given(known=ROWS, asked=ROWS)
def test_it_is_the_last_row_of_the_group_that_is_not_after_the_instant(most, known, asked):
    known = sorted(known)
    rows, of = (pl.DataFrame(given, schema=SCHEMA, orient="row") for given in (known, asked))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(asof, "_MOST", most)
        found = last_places(rows["group"], rows["on"], of["group"], of["on"]).to_list()
    there = [[n for n, (other, on) in enumerate(known) if other == group and on <= at] for group, at in asked]
    assert found == [places[-1] if places else None for places in there]


def test_twenty_years_of_twenty_thousand_issuers_to_the_microsecond_fit():
    """20,000 groups by 6e14 microseconds are more than 64 bits can number."""
    groups = pl.Series(range(20_000), dtype=pl.Int64)
    early, late = pl.Series([date(2004, 1, 2)]).cast(pl.Datetime("us")), pl.Series([date(2024, 1, 2)]).cast(pl.Datetime("us"))
    known = early.new_from_index(0, len(groups))
    at = pl.concat([early.new_from_index(0, 10_000), late.new_from_index(0, 10_000)])
    assert last_places(groups, known, groups, at).to_list() == groups.to_list()
