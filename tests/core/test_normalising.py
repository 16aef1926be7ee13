"""Figures are computed a group of issuers at a time; how the work is divided changes nothing."""

import os
import weakref
from datetime import UTC, date, datetime

import polars as pl
import pytest

from tradebot_core.errors import DataError
from tradebot_core.model.issuers import CIKS_OF_A_GROUP, issuer_groups
from tradebot_core.model.tables import FACTS, INSTANT
from tradebot_core.quant.statements import normalise_many
from tradebot_core.trading.normalising import normalised

CIKS = [*range(7, 7 + 60), *range(CIKS_OF_A_GROUP, CIKS_OF_A_GROUP + 55)]
NAMES = {cik: f"Company {cik}" for cik in CIKS}


def facts_of(ciks: list[int]) -> pl.DataFrame:
    rows = [
        (
            *(
                cik,
                "us-gaap",
                "Revenues",
                "USD",
                date(year, 1, 1),
                date(year, 12, 31),
                f"{cik:010d}-{year % 100 + 1:02d}-000001",
            ),
            *(float(cik + year), "10-K", None, None, date(year + 1, 2, 1), datetime(year + 1, 2, 2, 11, tzinfo=UTC)),
        )
        for cik in ciks
        for year in (2021, 2022, 2023)
    ]
    return pl.DataFrame(rows, schema={**FACTS.columns, "known_at": INSTANT}, orient="row")


def test_processes_give_the_same_groups_in_the_same_order():
    groups = issuer_groups(CIKS)
    alone = list(normalised(groups, facts_of, normalise_many, NAMES))
    together = list(normalised(groups, facts_of, normalise_many, NAMES, processes=2))
    assert [rows["cik"].unique().to_list() for rows in together] == groups
    assert [rows["company_name"][0] for rows in together] == ["Company 7", f"Company {CIKS_OF_A_GROUP}"]
    assert all(one.equals(other) for one, other in zip(alone, together, strict=True))
    assert pl.concat(together).height == 3 * len(CIKS)


def killed(_facts, _names):
    os._exit(9)


def test_a_process_that_is_killed_is_said_so():
    with pytest.raises(DataError, match=r"ended without an answer.*collect again"):
        list(normalised(issuer_groups(CIKS), facts_of, killed, NAMES, processes=2))


def test_facts_of_one_group_are_in_memory_at_a_time():
    alive = weakref.WeakSet()
    most = []

    class Watched(pl.DataFrame):
        __hash__ = object.__hash__

    def watched(ciks: list[int]) -> pl.DataFrame:
        facts = Watched(facts_of(ciks))
        alive.add(facts)
        most.append(len(alive))
        return facts

    groups = [[n * CIKS_OF_A_GROUP] for n in range(1, 30)]
    names = {group[0]: "x" for group in groups}
    assert sum(rows.height for rows in normalised(groups, watched, normalise_many, names)) == 3 * len(groups)
    assert max(most) <= 2
