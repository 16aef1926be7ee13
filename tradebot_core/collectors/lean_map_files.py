"""The security master from map files in the layout of QuantConnect's LEAN: the symbols of each share, from its listing to its end.

One CSV a share, named after its permanent ticker (`twx.1.csv` is the first share that was called TWX), with a row `yyyymmdd,symbol` and,
where it is known, an exchange code. The first row is the day of listing; each row's symbol was borne until its day, inclusive. The year
2050 means that the share is still listed; an earlier last day is that of its delisting.
"""

import csv
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import polars as pl

from tradebot_core.calendar import TradingCalendar
from tradebot_core.collectors import tabular
from tradebot_core.collectors.issuer_list import Issuer, read_issuers
from tradebot_core.config import Settings
from tradebot_core.errors import DataError
from tradebot_core.interfaces import Batch, Rejected
from tradebot_core.model.security import security_id_of
from tradebot_core.model.tables import INSTANT, SECURITIES, FactTable
from tradebot_core.quant.listings import OPEN, two_at_once

_SCHEMA = pl.Schema({**SECURITIES.columns, "known_at": INSTANT})
_STILL_LISTED = 2050
# Lean/Common/Exchange.cs and the Trade Reporting Facility's participant codes.
_EXCHANGES = {"N": "NYSE", "Q": "NASDAQ", "P": "ARCA", "A": "AMEX", "Z": "BATS"}


class Params(Settings):
    """`path`: the folder of map files. They know no issuer: `issuers_path` is a CSV with the columns permtick, cik and, where needed,
    share_class (0 for the first), name, shares_per_listed (see FileSecurities)."""

    path: Path
    issuers_path: Path


class LeanMapFiles:
    table: ClassVar[FactTable] = SECURITIES
    Params: ClassVar[type[Params]] = Params

    def __init__(self, params: Params, calendar: TradingCalendar) -> None:
        self._params = params
        self._calendar = calendar

    def collect(self, securities: pl.DataFrame, start: date, end: date) -> Iterator[Batch]:
        """Every listing that has begun by the cut-off of `end`. An unreadable file, and listings that contradict one another, are
        refused whole."""
        folder = self._params.path
        if not folder.is_dir():
            raise DataError(f"{folder} is no folder of map files.", "Correct params.path.")
        issuers = read_issuers(self._params.issuers_path, "permtick", "params.issuers_path")
        rows: list[dict[str, Any]] = []
        rejected: list[Rejected] = []
        for file in sorted(folder.glob("*.csv")):
            issuer = issuers.get(file.stem.lower())
            try:
                if issuer is None:
                    raise _Refused("no_issuer", "the issuer list does not name its permanent ticker")
                rows += _listings(file, issuer)
            except _Refused as refusal:
                rejected.append(Rejected({"file": file.name}, refusal.rule, refusal.reason))
        listings = pl.DataFrame(rows, schema=_SCHEMA, orient="row").with_columns(
            known_at=tabular.morning_in_new_york("valid_from")
        )
        sound, contradictory = _without_contradictions(listings)
        yield Batch(
            SECURITIES,
            sound.filter(pl.col("known_at") <= self._calendar.cutoff(end)).sort(SECURITIES.key),
            f"lean:{folder.name}",
            (*rejected, *contradictory),
        )


class _Refused(Exception):
    def __init__(self, rule: str, reason: str) -> None:
        super().__init__(reason)
        self.rule, self.reason = rule, reason


def _listings(file: Path, issuer: Issuer) -> list[dict[str, Any]]:
    entries = _entries(file)
    begins, found = entries[0][0], []
    for number, (until, symbol, exchange) in enumerate(entries):
        if number == 0 and len(entries) > 1 and entries[1][1] == symbol:
            continue  # the day of listing, whose symbol the next row bears on
        last = OPEN if until.year >= _STILL_LISTED else until
        found.append((symbol, exchange, begins, last))
        begins = until + timedelta(days=1)
    return [
        {
            **dict.fromkeys(SECURITIES.columns),
            "security_id": security_id_of(issuer.cik, issuer.share_class),
            "cik": issuer.cik,
            "symbol": symbol,
            "name": issuer.name or file.stem.upper(),
            "exchange": _EXCHANGES.get(exchange),
            "shares_per_listed": issuer.shares_per_listed,
            "valid_from": first,
            "valid_to": last,
        }
        for symbol, exchange, first, last in found
    ]


def _entries(file: Path) -> list[tuple[date, str, str]]:
    """Day, symbol and exchange code of each row, days ascending."""
    try:
        lines = [line for line in csv.reader(file.read_text(encoding="utf-8").splitlines()) if line]
        entries = [
            (
                datetime.strptime(line[0], "%Y%m%d").replace(tzinfo=UTC).date(),
                line[1].strip().upper(),
                line[2] if line[2:] else "",
            )
            for line in lines
        ]
    except (ValueError, IndexError, OSError, csv.Error) as error:
        raise _Refused("unreadable_map", f"its rows are not yyyymmdd,symbol,exchange: {error}") from None
    days: Sequence[date] = [entry[0] for entry in entries]
    if not entries or any(later <= earlier for earlier, later in pairwise(days)) or not all(e[1] for e in entries):
        raise _Refused("unreadable_map", "its days must ascend, and each needs a symbol")
    return entries


def _without_contradictions(listings: pl.DataFrame) -> tuple[pl.DataFrame, list[Rejected]]:
    pairs = two_at_once(listings)
    rejected = [
        Rejected(
            {"security_id": row["security_id"], "symbol": row["symbol"], "valid_from": str(row["valid_from"])},
            "two_symbols_at_once" if row["shared"] == "security_id" else "symbol_of_two_securities",
            f"{row['symbol_other']} of security {row['security_id_other']} is listed on the same days: a share_class may be missing",
        )
        for row in pairs.iter_rows(named=True)
    ]
    wrong = pl.concat([pairs.select("security_id"), pairs.select(security_id="security_id_other")]).unique()
    return listings.join(wrong, on="security_id", how="anti"), rejected
