"""Fundamentals do not depend on how often, in which steps or at which instants facts were collected."""

import hashlib
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from tests import markets
from tests.markets import XNYS
from tradebot_core.collectors.edgar import EdgarFacts
from tradebot_core.interfaces import Batch
from tradebot_core.model.tables import FACTS, FUNDAMENTALS, INSTANT
from tradebot_core.quant.statements import NORMALISATION, normalise_many
from tradebot_core.simulation.sample_market import prepare
from tradebot_core.stores.file_store import FileStore
from tradebot_core.trading.collection import refresh_fundamentals
from tradebot_core.wiring import Tradebot

CONFIG = """\
data_store: {{path: {store}}}
first_session: 2021-01-04
collectors:
  - name: contract_details
    class_path: tradebot_core.collectors.file_securities.FileSecurities
    params: {{path: MARKET/securities.csv}}
  - name: fundamentals
    class_path: tradebot_core.collectors.edgar.EdgarFacts
    params: {{path: MARKET/companyfacts.zip, submissions_path: MARKET/submissions.zip}}
"""
NOW = datetime(2026, 11, 2, 14, tzinfo=UTC)
T1, T2 = datetime(2024, 3, 1, tzinfo=UTC), datetime(2024, 6, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepare(tmp_path_factory.mktemp("market")).path


def collected(folder: Path, market: Path, *ranges: tuple[date, date]) -> Tradebot:
    """A Tradebot whose clock stands still while it collects the ranges one after another."""
    bot = markets.tradebot(folder, NOW, CONFIG.replace("MARKET", str(market)))
    for start, end in ranges:
        for name in bot.collectors:
            bot.collect(name, start, end)
    return bot


def figures(bot: Tradebot, session: date) -> pl.DataFrame:
    return bot.store.read_versions(FUNDAMENTALS, as_of=XNYS.cutoff(session)).drop("source", "ingested_at")


def test_one_collection_and_two_give_the_same_fundamentals(tmp_path, sample):
    first, middle, last = date(2026, 1, 2), date(2026, 2, 13), date(2026, 3, 31)
    whole = collected(tmp_path / "whole", sample, (first, last))
    parts = collected(tmp_path / "parts", sample, (first, middle), (XNYS.next(middle), last))
    assert len(figures(whole, last)) > 100
    key = ["cik", "known_at"]
    assert figures(parts, last).sort(key).equals(figures(whole, last).sort(key))


def test_a_later_range_at_the_same_instant_has_figures_of_its_own_time(tmp_path, sample):
    early, late = (date(2023, 7, 3), date(2023, 12, 29)), (date(2026, 6, 1), date(2026, 6, 30))
    bot = collected(tmp_path, sample, early, late)
    newest = figures(bot, late[1]).group_by("cik").agg(pl.col("period_end").max())["period_end"]
    recent = newest.filter(newest > late[1] - timedelta(days=200))
    assert len(recent) > 0.8 * len(newest)


def fact(value: float, filed: date, known_at: datetime) -> dict[str, object]:
    row = {"cik": 7, "taxonomy": "us-gaap", "tag": "Revenues", "unit": "USD", "value": value, "form": "10-K", "filed": filed}
    year = {"period_start": date(2023, 1, 1), "period_end": date(2023, 12, 31), "fiscal_year": None, "fiscal_period": None}
    return {**row, **year, "accession": f"0000000007-24-{filed:%m%d}00", "known_at": known_at}


@pytest.fixture
def store(tmp_path: Path) -> FileStore:
    return FileStore(tmp_path / "store", XNYS)


def put(store: FileStore, *facts: dict[str, object], at: datetime) -> None:
    rows = pl.DataFrame(list(facts), schema={**FACTS.columns, "known_at": INSTANT})
    store.append(Batch(FACTS, rows, "test"), at)


def refreshed(store: FileStore, as_of: datetime, at: datetime) -> int:
    names = pl.DataFrame({"cik": [7], "name": ["Seven"]})
    return refresh_fundamentals(store, normalise_many, names, as_of, at)


def test_facts_collected_at_the_instant_of_the_figures_are_not_missed(store):
    put(store, fact(100, date(2024, 2, 1), T1 - timedelta(days=20)), at=T1)
    assert refreshed(store, T1, T1) == 1
    put(store, fact(110, date(2024, 2, 10), T1 - timedelta(days=10)), at=T1)
    assert refreshed(store, T1, T1) == 1


def test_a_fact_that_was_in_the_store_before_it_was_known_is_taken_up_once_it_is(store):
    put(store, fact(100, date(2024, 2, 1), T1 - timedelta(days=20)), fact(110, date(2024, 5, 1), T2), at=T1)
    assert refreshed(store, T1, T1) == 1
    assert refreshed(store, T2 - timedelta(seconds=1), T1 + timedelta(days=1)) == 0
    assert refreshed(store, T2, T2) == 1
    assert refreshed(store, T2 + timedelta(days=1), T2 + timedelta(days=1)) == 0


def test_an_issuer_without_news_is_not_normalised_again(store):
    put(store, fact(100, date(2024, 2, 1), T1 - timedelta(days=20)), at=T1)
    refreshed(store, T1, T1)
    seen = []

    def normalise(facts, names):
        seen.extend(facts["cik"])
        return normalise_many(facts, names)

    refresh_fundamentals(store, normalise, pl.DataFrame({"cik": [7], "name": ["Seven"]}), T2, T2)
    assert seen == []


# Figures that other rules made ------------------------------------------------------------------------------------------------

CIK = 42
MARCH, MAY, JULY = (datetime(2024, month, 1, 12, tzinfo=UTC) for month in (3, 5, 7))
UPGRADE = datetime(2024, 9, 1, tzinfo=UTC)


def a_store_of_older_rules(folder: Path) -> FileStore:
    """Facts of two reports; figures of an older version of the program, which saw a change in May as well."""
    store = FileStore(folder, XNYS)
    store.append(Batch(FACTS, pl.concat([reported(100.0, MARCH), reported(130.0, JULY)]), "sec_edgar"), JULY)
    figures = normalise_many(store.read_versions(FACTS, as_of=JULY), {CIK: "Sample Corp"})
    phantom = figures.head(1).with_columns(known_at=pl.lit(MAY, INSTANT), revenue_ttm=pl.lit(1.0))
    old = pl.concat([figures, phantom]).with_columns(revenue_ttm=pl.col("revenue_ttm") * 1000, normalised_by=pl.lit("1-old"))
    store.append(Batch(FUNDAMENTALS, old, "normalised"), JULY)
    return store


def reported(value: float, at: datetime) -> pl.DataFrame:
    period = (date(at.year - 1, 1, 1), date(at.year - 1, 12, 31)) if at is MARCH else (date(2023, 7, 1), date(2024, 6, 30))
    row = (CIK, "us-gaap", "Revenues", "USD", *period, f"0000000042-24-{at:%m}0001", value, "10-K", None, None, at.date(), at)
    return pl.DataFrame([row], schema={**FACTS.columns, "known_at": INSTANT}, orient="row")


def revenue_by_instant(store: FileStore) -> dict[datetime, float | None]:
    rows = store.read(FUNDAMENTALS, as_of=UPGRADE)
    return dict(rows.select("known_at", "revenue_ttm").iter_rows())


SAMPLE_CORP = pl.DataFrame({"cik": [CIK], "name": ["Sample Corp"]})


def test_figures_that_other_rules_made_are_made_again_and_what_those_saw_alone_is_set_right(tmp_path):
    store = a_store_of_older_rules(tmp_path)
    assert revenue_by_instant(store) == {MARCH: 100_000, MAY: 1000, JULY: 130_000}
    refresh_fundamentals(store, normalise_many, SAMPLE_CORP, UPGRADE, UPGRADE)
    assert revenue_by_instant(store) == {MARCH: 100, MAY: 100, JULY: 130}
    assert set(store.read(FUNDAMENTALS, as_of=UPGRADE)["normalised_by"]) == {NORMALISATION}


def test_what_a_decision_of_before_looked_at_can_still_be_read(tmp_path):
    store = a_store_of_older_rules(tmp_path)
    refresh_fundamentals(store, normalise_many, SAMPLE_CORP, UPGRADE, UPGRADE)
    then = store.read_versions(FUNDAMENTALS, as_of=UPGRADE).filter(pl.col("ingested_at") < UPGRADE)
    assert then["revenue_ttm"].to_list() == [100_000, 1000, 130_000]


def test_figures_of_the_same_rules_are_not_made_again(tmp_path):
    store = a_store_of_older_rules(tmp_path)
    assert refresh_fundamentals(store, normalise_many, SAMPLE_CORP, UPGRADE, UPGRADE) == 3
    asked: list[int] = []

    def normalise(facts, names):
        asked.append(len(facts))
        return normalise_many(facts, names)

    assert refresh_fundamentals(store, normalise, SAMPLE_CORP, UPGRADE, UPGRADE + timedelta(days=1)) == 0
    assert asked == []


def test_an_instant_before_any_row_of_the_present_rules_has_no_figures(tmp_path):
    store = a_store_of_older_rules(tmp_path)
    early = store.read(FUNDAMENTALS, as_of=MARCH).with_columns(known_at=pl.lit(MARCH - timedelta(days=30), INSTANT))
    store.append(Batch(FUNDAMENTALS, early.drop("source", "ingested_at"), "normalised"), JULY)
    refresh_fundamentals(store, normalise_many, SAMPLE_CORP, UPGRADE, UPGRADE)
    assert revenue_by_instant(store)[MARCH - timedelta(days=30)] is None


def test_the_rules_are_named_anew_when_the_sample_markets_figures_change(sample):
    """Raise statements._RULES when this fails without a change of the concept map, and pin what the new rules make."""
    params = EdgarFacts.Params(path=sample / "companyfacts.zip", submissions_path=sample / "submissions.zip")
    companies = pl.read_csv(sample / "securities.csv").select("cik").unique().sort("cik").head(12)
    batches = EdgarFacts(params, XNYS).collect(companies, date(2021, 1, 4), date(2026, 10, 30))
    rows = normalise_many(pl.concat([batch.rows for batch in batches]), {}).drop("provenance", "normalised_by")
    made = hashlib.sha256(rows.write_csv(float_precision=6).encode()).hexdigest()[:16]
    assert f"{NORMALISATION} {made}" == "2-2c9b2ea8 b3bf86eafa90ecf5"


def test_what_a_fact_collected_late_makes_no_news_of_is_not_read_on_from_the_store(store):
    original = fact(100, date(2024, 2, 1), T1 - timedelta(days=20))
    repeated = fact(120, date(2024, 2, 20), T1 - timedelta(days=2)) | {"form": "8-K"}
    put(store, original, repeated, at=T1)
    assert refreshed(store, T1, T1) == 2

    amended = fact(120, date(2024, 2, 10), T1 - timedelta(days=10)) | {"form": "10-K/A"}
    equity = amended | {"tag": "StockholdersEquity", "value": 50.0, "period_start": None}
    put(store, amended, equity, at=T2)
    refreshed(store, T2, T2)

    stored = store.read(FUNDAMENTALS, as_of=T2).sort("known_at")
    assert stored.select("revenue_ttm", "equity").rows() == [(100, None), (120, 50), (120, 50)]
    assert stored["accession"][2] == amended["accession"]
    assert refreshed(store, T2, T2 + timedelta(days=1)) == 0
    before = store.read(FUNDAMENTALS, as_of=T1 - timedelta(days=5)).sort("known_at")
    assert before["equity"].to_list() == [None, 50]
