"""What the SEC and FINRA charge on a sale of shares, by date: Section 31 of the Exchange Act and the Trading Activity Fee.

Brokers pass both on; IBKR reports them within the commission of an execution. The rates with their sources, and which of them were
checked, are in `regulatory_fees.toml`. Left out: the fee for the Consolidated Audit Trail (some USD 0.00001 a share since 2024).
"""

import tomllib
from bisect import bisect_right
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from functools import cache
from importlib.resources import files

from tradebot_core.errors import MissingData

_MILLION = Decimal(1_000_000)


@dataclass(frozen=True, slots=True)
class FeeRates:
    """`section_31`: share of a sale's proceeds; `per_share` USD with the most for one trade."""

    section_31: Decimal
    per_share: Decimal
    maximum: Decimal


def regulatory_fees(quantity: int, price: Decimal, day: date) -> Decimal:
    """USD on a sale, not rounded. Raises MissingData before the first day of which rates are known."""
    rates = rates_on(day)
    return rates.section_31 * quantity * price + min(rates.per_share * quantity, rates.maximum)


@cache
def rates_on(day: date) -> FeeRates:
    tables = _tables()
    section_31, activity = (_row(tables[name], day) for name in ("section_31", "trading_activity"))
    return FeeRates(Decimal(section_31["per_million"]) / _MILLION, Decimal(activity["per_share"]), Decimal(activity["maximum"]))


def _row(rows: list[dict], day: date) -> dict:
    at = bisect_right(rows, day, key=lambda row: row["since"])
    if not at:
        raise MissingData(
            f"The fees of the SEC and FINRA are not known on {day}; the table begins on {rows[0]['since']}.",
            "Begin later, set costs.regulatory_fees to false, or add the rates to tradebot_core/quant/regulatory_fees.toml.",
        )
    return rows[at - 1]


@cache
def _tables() -> dict[str, list[dict]]:
    return tomllib.loads(files("tradebot_core.quant").joinpath("regulatory_fees.toml").read_text(encoding="utf-8"))
