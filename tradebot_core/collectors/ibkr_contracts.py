"""The security master from IBKR's contract details: name, exchange, industry, category and contract id of each listed share.

IBKR knows no CIK: a CSV says which symbol is which issuer. It also says nothing of the past. What it answers is true of the session that
last opened, and is dated from there: a backtest over earlier years does not find it unless `known_since` says so by name. Names and
contract ids hardly change; a classification may have, and shares that were delisted since are not there at all.
"""

import logging
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, ClassVar

import polars as pl
from pydantic import Field

from tradebot_core.calendar import NEW_YORK, TradingCalendar
from tradebot_core.collectors import tabular
from tradebot_core.collectors.issuer_list import Issuer, read_issuers
from tradebot_core.config import IbkrSettings, Settings
from tradebot_core.errors import DataError
from tradebot_core.ibkr.connection import BrokerError
from tradebot_core.ibkr.contract_facts import ContractAnswered, contract_facts
from tradebot_core.ibkr.contracts import ContractFacts, Named
from tradebot_core.interfaces import Batch, Rejected
from tradebot_core.model.security import security_id_of
from tradebot_core.model.tables import INSTANT, SECURITIES, FactTable
from tradebot_core.quant.listings import OPEN, SOURCES_JOINED_BY, continued

_log = logging.getLogger(__name__)
_SOURCE = "ibkr"
_BATCH = 20  # answers: what a collection that is killed may lose
_SCHEMA = pl.Schema({**SECURITIES.columns, "known_at": INSTANT})


class Params(Settings):
    """The gateway; `client_id` as in the ibkr block (this reader connects as client_id + 10). `ciks_path`: a CSV with the
    columns symbol, cik and, where needed, share_class (0 for the first) and shares_per_listed (see FileSecurities). `known_since`: take
    the answers as known since that day, for backtests over the years before; what was delisted or renamed meanwhile is then missing. A
    connection that breaks is made again up to `reconnects` times in a row."""

    host: str = "127.0.0.1"
    port: int = 4002
    client_id: Annotated[int, Field(ge=1, le=31)] = 1
    account: str
    ciks_path: Path
    known_since: date | None = None
    requests_in_flight: Annotated[int, Field(ge=1, le=5)] = 3
    reconnects: Annotated[int, Field(ge=0, le=20)] = 6


class IbkrContracts:
    table: ClassVar[FactTable] = SECURITIES
    Params: ClassVar[type[Params]] = Params
    caveat: ClassVar[str] = "IbkrContracts: IBKR knows only shares that are listed now, under their present symbols."

    def __init__(self, params: Params, calendar: TradingCalendar) -> None:
        self._params = params
        self._calendar = calendar

    def collect(self, securities: pl.DataFrame, start: date, end: date) -> Iterator[Batch]:
        """Every symbol of the CSV that IBKR knows as one US share, some to a batch, as they come. `securities`: all that the master
        holds so far; what was stored since the last open is not asked for again, so what is interrupted goes on where it stood."""
        issuers = list(read_issuers(self._params.ciks_path, "symbol", "params.ciks_path").values())
        settings = IbkrSettings(**self._params.model_dump(include={"host", "port", "client_id", "account"}))
        shares = [Named(issuer.named) for issuer in issuers]
        mine = securities.filter(pl.col("source").str.starts_with(_SOURCE)) if securities.width else _SCHEMA.to_frame()

        def wanted(now: datetime) -> Sequence[int]:
            """Shares that the master lacks come first."""
            fresh, known = self._stored(securities, now), set(mine["security_id"])
            asked = [number for number, issuer in enumerate(issuers) if _identity(issuer) not in fresh]
            _log.info("IBKR: details of %d of %d shares are asked for; the others are stored.", len(asked), len(issuers))
            return sorted(asked, key=lambda number: _identity(issuers[number])[0] in known)

        answered: list[ContractAnswered] = []
        answers = contract_facts(settings, shares, wanted, self._params.requests_in_flight, self._params.reconnects)
        with closing(answers):
            try:
                for answer in answers:
                    answered.append(answer)
                    if len(answered) == _BATCH:
                        yield self._batch(issuers, answered, mine)
                        answered = []
            except DataError:
                if answered:
                    yield self._batch(issuers, answered, mine)
                raise
        if answered:
            yield self._batch(issuers, answered, mine)

    def _batch(self, issuers: Sequence[Issuer], answered: Sequence[ContractAnswered], mine: pl.DataFrame) -> Batch:
        rows: list[dict[str, Any]] = []
        rejected: list[Rejected] = []
        for answer in sorted(answered, key=lambda answer: answer.number):
            issuer, found = issuers[answer.number], answer.facts
            if isinstance(found, BrokerError):
                rejected.append(Rejected({"symbol": issuer.named, "cik": issuer.cik}, f"ibkr_{found.code}", found.text))
            else:
                rows.append(_row(issuer, found, self._since(answer.asked_at)))
        listed = pl.DataFrame(rows, schema=_SCHEMA, orient="row").with_columns(
            known_at=tabular.morning_in_new_york("valid_from")
        )
        return Batch(SECURITIES, continued(listed, mine), _SOURCE, tuple(rejected))

    def _stored(self, securities: pl.DataFrame, now: datetime) -> frozenset[tuple[Any, ...]]:
        """What the master has from IBKR of today, by `_identity`: stored since the last open, and valid for as long as is wanted now."""
        if "ingested_at" not in securities.columns:
            return frozenset()
        opened = self._calendar.opens_at(self._last_opened(now))
        fresh = securities.filter(
            pl.col("source").str.split(SOURCES_JOINED_BY).list.contains(_SOURCE),
            pl.col("con_id").is_not_null(),
            pl.col("valid_to") == OPEN,
            pl.col("valid_from") <= self._since(now),
            pl.col("ingested_at").is_between(opened, now),
        )
        return frozenset(fresh.select("security_id", "cik", "symbol", "shares_per_listed").iter_rows())

    def _since(self, asked_at: datetime) -> date:
        return self._params.known_since or self._last_opened(asked_at)

    def _last_opened(self, at: datetime) -> date:
        """The latest session that had opened: what the broker says at night or at the weekend was true of it."""
        day = at.astimezone(NEW_YORK).date()
        session = self._calendar.sessions(day - timedelta(days=10), day)[-1]
        return session if self._calendar.opens_at(session) <= at else self._calendar.previous(session)


def _identity(issuer: Issuer) -> tuple[Any, ...]:
    return security_id_of(issuer.cik, issuer.share_class), issuer.cik, issuer.named, issuer.shares_per_listed


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
