"""Stored rows as events."""

from collections.abc import Mapping
from typing import Any

from tradebot_core.model.event import Event, EventType, Payload
from tradebot_core.model.fundamentals import FIGURES, Fundamentals
from tradebot_core.model.market import ActionType, Bar, CorporateAction
from tradebot_core.model.security import Security
from tradebot_core.model.tables import BARS


def event_of(kind: EventType, row: Mapping[str, Any], symbols: Mapping[int, str]) -> Event:
    """The event that a stored row records. An issuer's fundamentals carry its CIK as the symbol."""
    if kind is EventType.FUNDAMENTALS:
        symbol = f"CIK{row['cik']:010d}"
    elif kind is EventType.SECURITY:
        symbol = row["symbol"]
    else:
        symbol = symbols.get(row["security_id"], str(row["security_id"]))
    return Event(kind, symbol, row["known_at"], row["ingested_at"], row["source"], _payload(kind, row))


def _payload(kind: EventType, row: Mapping[str, Any]) -> Payload:
    if kind is EventType.PRICE_BAR:
        return Bar(**{column: row[column] for column in BARS.columns})
    if kind is EventType.CORPORATE_ACTION:
        return CorporateAction(row["security_id"], row["session"], ActionType(row["type"]), row["value"])
    if kind is EventType.SECURITY:
        names = ("security_id", "cik", "symbol", "name", "exchange", "con_id", "shares_per_listed", "valid_from", "valid_to")
        return Security(**{name: row[name] for name in names})
    return Fundamentals(
        row["cik"],
        row["company_name"],
        row["known_at"],
        row["period_end"],
        row["form"],
        row["accession"],
        {figure: row[figure] for figure in FIGURES},
        row["shares_basis_date"],
        row["diluted_basis_date"],
        row["eps_basis_date"],
    )
