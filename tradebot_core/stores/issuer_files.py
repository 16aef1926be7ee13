"""Which file holds an issuer: one for each group of issuers, named by its first CIK, so that names in order are CIKs in order."""

import polars as pl

from tradebot_core.errors import StoreError
from tradebot_core.model.issuers import CIKS_OF_A_GROUP, first_cik
from tradebot_core.model.tables import FactTable

_DIGITS = 19  # every Int64


def issuer_file_name(cik: int) -> str:
    return f"{first_cik(cik):0{_DIGITS}d}"


def file_of_issuer(cik: pl.Expr) -> pl.Expr:
    return (cik - cik % CIKS_OF_A_GROUP).fill_null(0).cast(pl.String).str.zfill(_DIGITS)


def require_issuers(table: FactTable) -> None:
    if "cik" not in table.columns:
        raise StoreError(f"The rows of {table.name} are not of issuers: they have no cik.")
