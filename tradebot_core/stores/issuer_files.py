"""Which file holds an issuer: one for each group of issuers, named by its first CIK, so that names in order are CIKs in order."""

from tradebot_core.errors import StoreError
from tradebot_core.model.tables import FACTS, FUNDAMENTALS, FactTable

BY_ISSUER = frozenset({FACTS.name, FUNDAMENTALS.name})
_DIGITS = 19  # every Int64


def file_name(table: FactTable, number: int) -> str:
    """`number`: the year, or the first CIK of the group."""
    return f"{number:0{_DIGITS}d}" if table.name in BY_ISSUER else str(number)


def require_issuers(table: FactTable) -> None:
    if "cik" not in table.columns:
        raise StoreError(f"The rows of {table.name} are not of issuers: they have no cik.")
