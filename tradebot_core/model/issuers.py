"""Issuers in groups: what a store keeps together, and what is read, computed and written at a time.

A whole market's facts are some 130 million rows, far more than memory; a group is at most some fifty companies. Groups are
ranges of CIKs, so that group after group is the order of the CIKs, and a company never moves.
"""

from collections.abc import Iterable
from itertools import groupby
from typing import TypeVar

import polars as pl

CIKS_OF_A_GROUP = 2048


Cik = TypeVar("Cik", int, pl.Expr)


def first_cik(cik: Cik) -> Cik:
    """The first CIK of the group, which names it."""
    return cik - cik % CIKS_OF_A_GROUP


def issuer_groups(ciks: Iterable[int]) -> list[list[int]]:
    """The issuers by group, once each, ascending."""
    return [list(group) for _, group in groupby(sorted(set(ciks)), key=first_cik)]
