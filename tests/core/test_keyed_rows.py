"""Rows are put in the order of their key; whether they have it already is seen from neighbours."""

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from tradebot_core.model.keyed_rows import in_order

SCHEMA = {"cik": pl.Int64, "tag": pl.String, "start": pl.Date, "nth": pl.Int64}
KEY = ("cik", "tag", "start")
rows = st.lists(
    st.tuples(
        st.none() | st.integers(-2, 2),
        st.none() | st.sampled_from(["", "a", "aa", "b", "B", "é"]),
        st.none() | st.dates(),
    ),
    max_size=8,
)


def frame(keys):
    return pl.DataFrame([(*key, n) for n, key in enumerate(keys)], schema=SCHEMA, orient="row")


@settings(deadline=None)
@given(rows)
def test_rows_come_in_the_order_of_the_key_nulls_first_and_stay_as_they_came_where_it_is_the_same(keys):
    expected = frame(keys).sort(*KEY, maintain_order=True)
    assert in_order(frame(keys), KEY).equals(expected)
    assert in_order(expected, KEY) is expected


def test_one_row_before_the_one_above_it_is_seen():
    assert in_order(frame([(1, "a", None), (1, None, None)]), KEY)["nth"].to_list() == [1, 0]
    assert in_order(frame([(1, "b", None), (1, "a", None), (2, "a", None)]), KEY)["nth"].to_list() == [1, 0, 2]
