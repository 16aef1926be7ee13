"""The last row known at an instant, by bisection: of sorted rows and without a hash, in any order of what asks."""

import polars as pl

_MOST = 2**62  # of a number of 64 bits


def last_places(group: pl.Series, time: pl.Series, of: pl.Series, at: pl.Series) -> pl.Series:
    """For each group `of` and instant `at`, the place among the known rows (`group` and `time`, sorted by both) of the last one of that
    group whose time is not after it; null where there is none."""
    if group.is_empty():
        return pl.repeat(None, len(of), dtype=pl.UInt32, eager=True)
    groups, instants, moments = (
        group.unique().sort(),
        time.cast(at.dtype).to_physical().cast(pl.Int64),
        at.to_physical().cast(pl.Int64),
    )
    first, last_asked = moments.min(), moments.max()
    if first is None:
        return pl.repeat(None, len(of), dtype=pl.UInt32, eager=True)
    # Group and time as one number. What was known before the first instant that is asked for counts from then on.
    step = last_asked - first + 2
    if step * len(groups) > _MOST:  # decades of a whole market to the microsecond: then instants are numbered
        distinct = moments.unique().sort()
        instants, moments = _place(instants, distinct), _place(moments, distinct)
        first, last_asked, step = 0, len(distinct) - 1, len(distinct) + 1
    known = _place(group, groups) * step + (instants.clip(first, last_asked + 1) - first)
    asked = _place_of_runs(of, groups) * step + (moments - first)
    last = known.search_sorted(asked, side="right").cast(pl.Int64) - 1
    found = pl.DataFrame({"last": last, "of": of, "group": group.gather(last.clip(0))})
    own = (pl.col("last") >= 0) & (pl.col("group") == pl.col("of"))
    return found.select(pl.when(own).then(pl.col("last")).cast(pl.UInt32)).to_series()


def _place_of_runs(values: pl.Series, among: pl.Series) -> pl.Series:
    """The same, of values that stand beside their like."""
    runs = values.rle().struct.field("value")
    return _place(runs, among).gather(values.rle_id())


def _place(values: pl.Series, among: pl.Series) -> pl.Series:
    return among.search_sorted(values).cast(pl.Int64)
