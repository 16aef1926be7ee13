"""The security master from IBKR's contract details: name, exchange, industry, category and contract id of each listed share.

IBKR knows no CIK: a CSV says which symbol is which issuer. It also says nothing of the past: what it answers today is taken to
have been known at the open of the first session asked for. Names and contract ids hardly change; a classification may have, and
shares that were delisted since are not there at all.
"""

from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Annotated, Any, ClassVar

import polars as pl
from pydantic import Field

from tradebot_core.calendar import TradingCalendar
from tradebot_core.config import IbkrSettings, Settings
from tradebot_core.errors import CorruptInput, DataError
from tradebot_core.ibkr.connection import BrokerError
from tradebot_core.ibkr.contracts import Named, contract_facts
from tradebot_core.interfaces import Batch, Rejected
from tradebot_core.model.security import security_id_of
from tradebot_core.model.tables import INSTANT, SECURITIES, FactTable

_SOURCE = "ibkr"
_SCHEMA = pl.Schema({**SECURITIES.columns, "known_at": INSTANT})
_ISSUER_COLUMNS = {"symbol": pl.String, "cik": pl.Int64, "share_class": pl.Int64}


class Params(Settings):
    """The gateway; `client_id` as in the ibkr block (this reader connects as client_id + 10). `ciks_path`: a CSV with the
    columns symbol, cik and, where an issuer has several listed share classes, share_class (0 for the first)."""

    host: str = "127.0.0.1"
    port: int = 4002
    client_id: Annotated[int, Field(ge=1, le=31)] = 1
    account: str
    ciks_path: Path
    requests_in_flight: Annotated[int, Field(ge=1, le=5)] = 3


class IbkrContracts:
    table: ClassVar[FactTable] = SECURITIES
    Params: ClassVar[type[Params]] = Params

    def __init__(self, params: Params, calendar: TradingCalendar) -> None:
        self._params = params
        self._calendar = calendar

    def collect(self, securities: pl.DataFrame, start: date, end: date) -> Iterator[Batch]:
        """One batch: every symbol of the CSV that IBKR knows as one US share."""
        issuers = self._issuers()
        settings = IbkrSettings(**self._params.model_dump(include={"host", "port", "client_id", "account"}))
        shares = [Named(issuer["symbol"]) for issuer in issuers]
        _, answers = contract_facts(settings, shares, self._params.requests_in_flight)
        known_at = self._calendar.opens_at(self._calendar.sessions(start, end)[0])
        rows: list[dict[str, Any]] = []
        rejected: list[Rejected] = []
        for issuer, found in zip(issuers, answers, strict=True):
            if isinstance(found, BrokerError):
                rejected.append(Rejected(issuer, f"ibkr_{found.code}", found.text))
                continue
            rows.append(
                {
                    "security_id": security_id_of(issuer["cik"], issuer["share_class"] or 0),
                    "cik": issuer["cik"],
                    "symbol": issuer["symbol"],
                    "name": found.name,
                    "exchange": found.exchange,
                    "con_id": found.con_id,
                    "industry": found.industry or None,
                    "category": found.category or None,
                    "valid_from": date.min,
                    "valid_to": date.max,
                    "known_at": known_at,
                }
            )
        yield Batch(SECURITIES, pl.DataFrame(rows, schema=_SCHEMA, orient="row"), _SOURCE, tuple(rejected))

    def _issuers(self) -> list[dict[str, Any]]:
        path = self._params.ciks_path
        try:
            issuers = pl.read_csv(path, schema_overrides=_ISSUER_COLUMNS)
        except FileNotFoundError:
            raise DataError(f"{path} does not exist.", "Correct params.ciks_path.") from None
        except pl.exceptions.PolarsError as error:
            raise CorruptInput(f"{path} cannot be read: {error}", "Its columns are symbol, cik and share_class.") from None
        if missing := {"symbol", "cik"} - set(issuers.columns):
            raise CorruptInput(
                f"{path} has no column {', '.join(sorted(missing))}.", "Its columns are symbol, cik, share_class."
            )
        if "share_class" not in issuers.columns:
            issuers = issuers.with_columns(share_class=pl.lit(0, pl.Int64))
        return issuers.select(*_ISSUER_COLUMNS).to_dicts()
