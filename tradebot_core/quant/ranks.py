"""Ranks among the securities of one session."""

from typing import Literal

import polars as pl


def rank_in_session(value: pl.Expr, *, best: Literal["high", "low"]) -> pl.Expr:
    """1 for the best of its session; equal values share a rank; null (and NaN) have none."""
    measured = pl.when(value.is_finite()).then(value)
    return measured.rank("min", descending=best == "high").over("session")
