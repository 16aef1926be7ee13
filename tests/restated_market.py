"""The small market of tests.markets in which GOOD files its year with the numbers a test is about, and corrects it later."""

from datetime import UTC, date, datetime

import polars as pl

from tests.markets import SESSIONS, cik_of, fill_store
from tradebot_core.interfaces import Batch
from tradebot_core.model.tables import FACTS, FUNDAMENTALS
from tradebot_core.quant.statements import normalise_many
from tradebot_core.wiring import Tradebot

CIK = cik_of("GOOD")
FIRST_FILED = datetime(2024, 2, 5, 12, tzinfo=UTC)
CORRECTED = datetime(2024, 5, 10, 12, tzinfo=UTC)
ANNUAL_REPORT, AMENDMENT = "9900000001-24-000001", "9900000001-24-000009"
DECIDED = SESSIONS[25:60]  # 2024-02-07 to 2024-03-27
YEAR = {
    "Revenues": 5e9,
    "NetIncomeLoss": 7e8,
    "OperatingIncomeLoss": 1e9,
    "NetCashProvidedByUsedInOperatingActivities": 1e9,
    "PaymentsToAcquirePropertyPlantAndEquipment": 2e8,
}
YEAR_END = {
    "Assets": 6e9,
    "AssetsCurrent": 2e9,
    "Liabilities": 3e9,
    "LiabilitiesCurrent": 1e9,
    "AccountsPayableCurrent": 1e9,  # all of them: no debt falls due within a year
    "StockholdersEquity": 3e9,
    "CashAndCashEquivalentsAtCarryingValue": 5e8,
    "LongTermDebtNoncurrent": 1e9,
}


def report(accession: str, form: str, known_at: datetime, shares: float, **changed: float) -> pl.DataFrame:
    """The facts of a report of the year 2023. Keywords are tags; those that are not named are as in the first report."""
    values = YEAR | YEAR_END | changed
    rows = [
        ("us-gaap", tag, "USD", date(2023, 1, 1) if tag in YEAR else None, date(2023, 12, 31), value)
        for tag, value in values.items()
    ]
    rows.append(("dei", "EntityCommonStockSharesOutstanding", "shares", None, date(2024, 1, 31), shares))
    schema = {**FACTS.columns, "known_at": FACTS.schema["known_at"]}
    facts = [(CIK, *number[:5], accession, number[5], form, 2023, "FY", known_at.date(), known_at) for number in rows]
    return pl.DataFrame(facts, schema=schema, orient="row")


def file(bot: Tradebot, facts: pl.DataFrame) -> None:
    """Into the store when it became known, and normalised with all that was filed before."""
    known_at = facts["known_at"].max()
    bot.store.append(Batch(FACTS, facts, "test"), known_at)
    known = bot.store.read_versions(FACTS, as_of=known_at)
    bot.store.append(Batch(FUNDAMENTALS, normalise_many(known, {CIK: "GOOD (test)"}), "normalised"), known_at)


def fill(bot: Tradebot) -> None:
    """The market, and GOOD's report of 2024-02-05 on shares before the split of April."""
    fill_store(bot)
    file(bot, report(ANNUAL_REPORT, "10-K", FIRST_FILED, 1e8))


def correct(bot: Tradebot, **changed: float) -> None:
    """The amendment of 2024-05-10, which counts shares after the split."""
    file(bot, report(AMENDMENT, "10-K/A", CORRECTED, 2e8, **changed))
