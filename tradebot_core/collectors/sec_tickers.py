"""The security master from the SEC's list of tickers (https://www.sec.gov/files/company_tickers.json): who is listed now.

The list has no dates and no dead: it is known from its own day onwards. A newer list renames and ends what an older one named. Of an issuer
with several tickers the first is taken for its common share (the SEC sorts by size); the others are preferred shares, notes and further
classes, which the list does not tell apart, and enter only when `classes_path` or another source of securities names them.
"""

import json
from collections.abc import Iterator, Mapping
from datetime import date, timedelta
from pathlib import Path
from typing import Any, ClassVar

import polars as pl

from tradebot_core.calendar import TradingCalendar
from tradebot_core.collectors import tabular
from tradebot_core.collectors.issuer_list import Issuer, read_issuers
from tradebot_core.config import Settings
from tradebot_core.errors import CorruptInput, DataError
from tradebot_core.interfaces import Batch, Rejected
from tradebot_core.model.security import security_id_of
from tradebot_core.model.tables import INSTANT, SECURITIES, FactTable
from tradebot_core.quant.listings import OPEN, continued

_SOURCE = "sec:company_tickers"
_SCHEMA = pl.Schema({**SECURITIES.columns, "known_at": INSTANT})
_MOST_LOST = 10  # a list that lost more than one in ten of the one before was cut off, and ends nobody's listing


class Params(Settings):
    """`path`: the list as downloaded; `list_date`: the day it was. `known_since`: take its tickers as known since then, for backtests
    over the years before it; what was delisted meanwhile, or had another ticker, is then missing or wrong. `classes_path`: a CSV with the
    columns symbol, cik, share_class and, where needed, shares_per_listed (see FileSecurities), of issuers with several shares."""

    path: Path
    list_date: date
    known_since: date | None = None
    classes_path: Path | None = None


class SecTickers:
    table: ClassVar[FactTable] = SECURITIES
    Params: ClassVar[type[Params]] = Params
    caveat: ClassVar[str] = (
        "SecTickers: the SEC's list names only what is listed on its day; taken for earlier years it leaves out every company that died."
    )

    def __init__(self, params: Params, calendar: TradingCalendar) -> None:
        self._params = params
        self._calendar = calendar

    def collect(self, securities: pl.DataFrame, start: date, end: date) -> Iterator[Batch]:
        """One batch, empty when the list is younger than `end`. `securities`: all that the master holds so far."""
        since = self._params.known_since or self._params.list_date
        listed, rejected = self._listed()
        known = securities if securities.width else pl.DataFrame(schema=SECURITIES.schema)
        named = self._params.classes_path
        classes = {} if named is None else read_issuers(named, "symbol", "params.classes_path")
        rows, refused = _identified(listed, known, classes)
        found = pl.DataFrame(rows, schema=_SCHEMA, orient="row").with_columns(valid_from=pl.lit(since), valid_to=pl.lit(OPEN))
        found = found.with_columns(known_at=tabular.morning_in_new_york("valid_from"))
        mine = known.filter(pl.col("source").str.starts_with(_SOURCE))
        current = continued(found, mine)
        everything = pl.concat([current, self._ended(current, mine)])
        in_time = everything.filter(pl.col("known_at") <= self._calendar.cutoff(end))
        yield Batch(SECURITIES, in_time.sort(SECURITIES.key), _SOURCE, (*rejected, *refused))

    def _ended(self, current: pl.DataFrame, mine: pl.DataFrame) -> pl.DataFrame:
        """What an earlier list named and this one does not, ended the day before it."""
        day = self._params.list_date
        before = mine.filter(pl.col("valid_to") == OPEN, pl.col("valid_from") < day)
        gone = before.join(current, on=["security_id", "symbol"], how="anti")
        lost = len(gone.join(current, on="security_id", how="anti"))  # the others have another ticker now
        if lost * _MOST_LOST > max(len(before), _MOST_LOST):
            raise CorruptInput(
                f"{self._params.path} lacks {lost} of the {len(before)} tickers of the list before.", "Download it again."
            )
        ended = gone.with_columns(valid_to=pl.lit(day)).with_columns(known_at=tabular.morning_in_new_york("valid_to"))
        return ended.with_columns(valid_to=pl.lit(day - timedelta(days=1))).select(_SCHEMA.names())

    def _listed(self) -> tuple[dict[int, list[tuple[str, str]]], list[Rejected]]:
        """By CIK, the tickers (share classes after a point) and names in the order of the list."""
        path = self._params.path
        try:
            document = json.loads(path.read_bytes())
        except FileNotFoundError:
            raise DataError(
                f"{path} does not exist.", "Download it from https://www.sec.gov/files/company_tickers.json."
            ) from None
        except (OSError, ValueError) as error:
            raise CorruptInput(f"{path} is not the SEC's list of tickers ({error}).", "Download it again.") from None
        if not isinstance(document, dict) or not document:
            raise CorruptInput(
                f"{path} is not the SEC's list of tickers: it is no object of numbered entries.", "Download it again."
            )
        listed: dict[int, list[tuple[str, str]]] = {}
        owner: dict[str, int] = {}
        rejected: list[Rejected] = []
        for entry in document.values():
            reason = _problem(entry)
            if reason:
                rejected.append(Rejected({"entry": str(entry)[:200]}, "bad_entry", reason))
                continue
            ticker = entry["ticker"].strip().upper().replace("-", ".")
            if owner.setdefault(ticker, entry["cik_str"]) != entry["cik_str"]:
                rejected.append(
                    Rejected(dict(entry), "symbol_of_two_securities", f"CIK {owner[ticker]} has the ticker as well")
                )
                continue
            listed.setdefault(entry["cik_str"], []).append((ticker, entry["title"]))
        return listed, rejected


def _problem(entry: Any) -> str:
    if not isinstance(entry, dict) or not {"cik_str", "ticker", "title"} <= set(entry):
        return "it is no object with cik_str, ticker and title"
    if type(entry["cik_str"]) is not int or entry["cik_str"] <= 0:
        return "cik_str is not a positive whole number"
    if not isinstance(entry["ticker"], str) or not entry["ticker"].strip() or not isinstance(entry["title"], str):
        return "ticker and title must be text"
    return ""


def _identified(
    listed: Mapping[int, list[tuple[str, str]]], known: pl.DataFrame, classes: Mapping[str, Issuer]
) -> tuple[list[dict[str, Any]], list[Rejected]]:
    """Each ticker with its security: by the list of classes; as the master knows it; as the new name of the one that went; or, where the
    issuer is new, the first as its common share."""
    open_now: dict[int, dict[str, int]] = {}
    for cik, symbol, security in known.filter(pl.col("valid_to") == OPEN).select("cik", "symbol", "security_id").iter_rows():
        open_now.setdefault(cik, {})[symbol] = security
    rows: list[dict[str, Any]] = []
    refused: list[Rejected] = []
    for cik, tickers in listed.items():
        before = open_now.get(cik, {})
        still = {ticker for ticker, _ in tickers}
        gone = [security for symbol, security in before.items() if symbol not in still]
        for place, (ticker, name) in enumerate(tickers):
            named = classes.get(ticker.lower())
            if named is not None and named.cik == cik:
                security = security_id_of(cik, named.share_class)
            elif ticker in before:
                security = before[ticker]
            elif len(gone) == 1:
                security = gone.pop()
            elif not before and place == 0:
                security = security_id_of(cik)
            else:
                reason = "it is a further ticker of the issuer: a preferred share, a note or another class, which the list does not say"
                refused.append(Rejected({"cik": cik, "ticker": ticker}, "further_ticker", reason))
                continue
            rows.append(
                {
                    **dict.fromkeys(_SCHEMA),
                    "security_id": security,
                    "cik": cik,
                    "symbol": ticker,
                    "name": name,
                    "shares_per_listed": named.shares_per_listed if named is not None else None,
                }
            )
    return rows, refused
