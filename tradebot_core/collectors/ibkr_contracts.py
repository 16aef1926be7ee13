"""The security master from IBKR's contract details: name, exchange, industry, category and contract id of each listed share.

IBKR knows no CIK: a CSV says which symbol is which issuer. It also says nothing of the past. What it answers is true of the session that
last opened, and is dated from there: a backtest over earlier years does not find it unless `known_since` says so by name. Names and
contract ids hardly change; a classification may have, and shares that were delisted since are not there at all.
"""

from collections.abc import Iterator
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, ClassVar

import polars as pl
from pydantic import Field

from tradebot_core.calendar import NEW_YORK, TradingCalendar
from tradebot_core.collectors import tabular
from tradebot_core.collectors.issuer_list import Issuer, read_issuers
from tradebot_core.config import IbkrSettings, Settings
from tradebot_core.ibkr.connection import BrokerError
from tradebot_core.ibkr.contracts import ContractFacts, Named, contract_facts
from tradebot_core.interfaces import Batch, Rejected
from tradebot_core.model.security import security_id_of
from tradebot_core.model.tables import INSTANT, SECURITIES, FactTable
from tradebot_core.quant.listings import OPEN, continued

_SOURCE = "ibkr"
_SCHEMA = pl.Schema({**SECURITIES.columns, "known_at": INSTANT})


class Params(Settings):
    """The gateway; `client_id` as in the ibkr block (this reader connects as client_id + 10). `ciks_path`: a CSV with the
    columns symbol, cik and, where needed, share_class (0 for the first) and shares_per_listed (see FileSecurities). `known_since`: take
    the answers as known since that day, for backtests over the years before; what was delisted or renamed meanwhile is then missing."""

    host: str = "127.0.0.1"
    port: int = 4002
    client_id: Annotated[int, Field(ge=1, le=31)] = 1
    account: str
    ciks_path: Path
    known_since: date | None = None
    requests_in_flight: Annotated[int, Field(ge=1, le=5)] = 3


class IbkrContracts:
    table: ClassVar[FactTable] = SECURITIES
    Params: ClassVar[type[Params]] = Params
    caveat: ClassVar[str] = "IbkrContracts: IBKR knows only shares that are listed now, under their present symbols."

    def __init__(self, params: Params, calendar: TradingCalendar) -> None:
        self._params = params
        self._calendar = calendar

    def collect(self, securities: pl.DataFrame, start: date, end: date) -> Iterator[Batch]:
        """One batch: every symbol of the CSV that IBKR knows as one US share. `securities`: all that the master holds so far."""
        issuers = list(read_issuers(self._params.ciks_path, "symbol", "params.ciks_path").values())
        settings = IbkrSettings(**self._params.model_dump(include={"host", "port", "client_id", "account"}))
        shares = [Named(issuer.named) for issuer in issuers]
        asked_at, answers = contract_facts(settings, shares, self._params.requests_in_flight)
        since = self._params.known_since or self._last_opened(asked_at)
        rows: list[dict[str, Any]] = []
        rejected: list[Rejected] = []
        for issuer, found in zip(issuers, answers, strict=True):
            if isinstance(found, BrokerError):
                rejected.append(Rejected({"symbol": issuer.named, "cik": issuer.cik}, f"ibkr_{found.code}", found.text))
            else:
                rows.append(_row(issuer, found, since))
        listed = pl.DataFrame(rows, schema=_SCHEMA, orient="row").with_columns(
            known_at=tabular.morning_in_new_york("valid_from")
        )
        mine = securities.filter(pl.col("source").str.starts_with(_SOURCE)) if securities.width else listed.clear()
        yield Batch(SECURITIES, continued(listed, mine), _SOURCE, tuple(rejected))

    def _last_opened(self, at: datetime) -> date:
        """The latest session that had opened: what the broker says at night or at the weekend was true of it."""
        day = at.astimezone(NEW_YORK).date()
        session = self._calendar.sessions(day - timedelta(days=10), day)[-1]
        return session if self._calendar.opens_at(session) <= at else self._calendar.previous(session)


def _row(issuer: Issuer, found: ContractFacts, since: date) -> dict[str, Any]:
    return {
        **dict.fromkeys(_SCHEMA),
        "security_id": security_id_of(issuer.cik, issuer.share_class),
        "cik": issuer.cik,
        "symbol": issuer.named,
        "name": found.name,
        "exchange": found.exchange,
        "con_id": found.con_id,
        "industry": found.industry or None,
        "category": found.category or None,
        "shares_per_listed": issuer.shares_per_listed,
        "valid_from": since,
        "valid_to": OPEN,
    }
