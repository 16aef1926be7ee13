"""Daily bars from Interactive Brokers.

IBKR's TRADES bars are on today's share count: every split since is applied to them, dividends are not. The store keeps prices as
they were traded. A bar that is fetched before the day of any later split is both; that is how a day-by-day collection works.

Every fetch reads again some sessions that are stored. Where they agree, no split lies between then and now. Where they differ by
the ratio of a split, the series has been stated anew: the split is undone in what is older than it, and `IbkrSplits` records it.
Where they differ otherwise, no bar of the symbol is taken and the difference is quarantined. History older than what is stored has
nothing to be compared with: give `actions_path`, or it is refused.

Each share is one request for what is missing (`ibkr_plan`), stored as soon as it is there: what is interrupted goes on where it stood.

IBKR has no bars of delisted shares. A backtest over a history that was fetched here has seen survivors only.
"""

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any, ClassVar

import polars as pl

from tradebot_core.calendar import TradingCalendar
from tradebot_core.collectors.ibkr_plan import Span, gaps, lacking, wanted
from tradebot_core.collectors.ibkr_series import OVERLAP, Gateway, Request, Series, Splits, by_security, fetch, listings
from tradebot_core.collectors.tabular import listing_periods, with_security
from tradebot_core.errors import CorruptInput, DataError
from tradebot_core.ibkr.connection import Client
from tradebot_core.ibkr.history import TradesBar
from tradebot_core.ibkr.history_errors import rule
from tradebot_core.interfaces import Absent, Batch, Held, Rejected
from tradebot_core.model.market import ActionType
from tradebot_core.model.tables import BARS, INSTANT, FactTable

_log = logging.getLogger(__name__)
_SOURCE = "ibkr"
_ACTION_COLUMNS = {"symbol": pl.String, "session": pl.Date, "type": pl.String, "value": pl.Float64}
_SCHEMA = pl.Schema({**BARS.columns, "known_at": INSTANT})


class Params(Gateway):
    """The gateway. `actions_path`: a CSV with the columns symbol, session (ex-date), type, value; a header alone says that there
    was no split."""

    actions_path: Path | None = None


class IbkrBars:
    table: ClassVar[FactTable] = BARS
    Params: ClassVar[type[Params]] = Params
    caveat: ClassVar[str] = "IbkrBars: IBKR has no bars of delisted shares, so history fetched from it is of survivors only."
    overlap: ClassVar[int] = OVERLAP

    def __init__(self, params: Params, calendar: TradingCalendar, held: Held | None = None) -> None:
        self._params = params
        self._calendar = calendar
        self._held = held or Held.nothing()

    def against(self, held: Held) -> "IbkrBars":
        return IbkrBars(self._params, self._calendar, held)

    def collect(self, securities: pl.DataFrame, start: date, end: date) -> Iterator[Batch]:
        """A batch for each security that lacks bars, as soon as they are there. A session that is not over, by the broker's clock, has
        no bar yet."""
        sessions = self._calendar.sessions(start, end)
        splits = self._splits_of_file(securities)
        rows, stored = listings(securities), by_security(self._held.bars)
        requests, older = [], []
        for row in rows:
            held = stored[row["security_id"]]["session"].to_list() if row["security_id"] in stored else []
            missing = lacking(sessions, set(held), self._absent(row["security_id"]), row["valid_to"])
            if self._params.actions_path is None and held and missing and missing[0] < held[0]:
                older.append(_splits_unknown(_named(row), missing[0], held[0]))
                missing = [session for session in missing if session > held[0]]
            if missing:
                requests.append(Request(row, wanted(missing, held, OVERLAP)))
        if older:
            yield Batch(BARS, _SCHEMA.to_frame(), _SOURCE, tuple(older))
        _log.info("IBKR: bars of %d of %d shares are asked for; the others are complete.", len(requests), len(rows))
        comparable = any(request.wanted.held for request in requests)
        for series in fetch(self._params, self._calendar, requests, self._held, splits, Client.BARS):
            closed = [session for session in sessions if self._calendar.closes_at(session) <= series.asked_at]
            # A bar of the day itself stands on no later split.
            last = self._calendar.previous(self._calendar.first_after(series.today))
            if self._params.actions_path is None and closed and closed[0] < last and not comparable:
                raise DataError(
                    f"IBKR's bars since {closed[0]} are adjusted for splits up to today, and the store keeps prices as traded.",
                    "Give params.actions_path: a CSV of symbol, session, type, value with the splits (a header alone, when there "
                    "was none), or collect each session on its own day.",
                )
            yield self._batch(series, closed, last)

    def _absent(self, security_id: int) -> list[Span]:
        """Where IBKR was asked and had nothing."""
        rows = self._held.absent.filter(pl.col("security_id") == security_id, pl.col("source") == _SOURCE)
        return list(rows.select("start", "end").iter_rows())

    def _splits_of_file(self, securities: pl.DataFrame) -> Splits:
        """The splits of the file, by security. Raises DataError when it is not there, CorruptInput when it cannot be read."""
        path = self._params.actions_path
        if path is None:
            return {}
        try:
            actions = pl.read_csv(path, schema_overrides=_ACTION_COLUMNS).select(*_ACTION_COLUMNS)
        except FileNotFoundError:
            raise DataError(f"{path} does not exist.", "Correct params.actions_path.") from None
        except pl.exceptions.PolarsError as error:
            raise CorruptInput(f"{path} cannot be read: {error}", "Its columns are symbol, session, type, value.") from None
        splits = actions.filter(pl.col("type") == ActionType.SPLIT)
        if splits.filter(pl.any_horizontal(pl.all().is_null()) | ~(pl.col("value") > 0)).height:
            raise CorruptInput(f"{path} has a split without symbol, session or ratio.", "Complete or remove the row.")
        listed, _ = with_security(splits, listing_periods(securities))
        found: dict[int, dict[date, float]] = {}
        for security_id, session, ratio in listed.select("security_id", "session", "value").iter_rows():
            found.setdefault(security_id, {})[session] = ratio
        return found

    def _batch(self, series: Series, closed: Sequence[date], last: date) -> Batch:
        named = _named(series.listing)
        if series.error is not None:
            return _refused(Rejected(named, rule(series.error), series.error.text))
        if series.basis.problem:
            return _refused(Rejected(named | series.compared_days, "stored_bars_differ", series.basis.problem))
        # What is older than anything stored was compared with nothing.
        since = date.min if self._params.actions_path else series.compared or last
        certain = [session for session in closed if session >= since]
        refused = []
        if len(certain) < len(closed) and not series.held:
            refused.append(_splits_unknown(named, closed[0], series.compared or last))
        had = {bar.session for bar in series.bars}
        certain_days = set(certain)
        bars = [bar for bar in series.bars if bar.session in certain_days and not self._stands(series, bar.session)]
        records = [self._record(series, bar) for bar in bars]
        refused += [Rejected(record, "not_a_bar", problem) for record in records if (problem := _problem(record))]
        sound = [record for record in records if not _problem(record)]
        rows = pl.DataFrame(sound, schema=_SCHEMA, orient="row")
        return Batch(BARS, rows, _SOURCE, tuple(refused), self._gaps(series, certain, had))

    def _gaps(self, series: Series, certain: Sequence[date], had: set[date]) -> tuple[Absent, ...]:
        """What was asked for and is not there. What is later than the last bar may come yet, and is no answer."""
        security_id = series.listing["security_id"]
        asked = [session for session in certain if series.wanted.first <= session <= series.wanted.last]
        return tuple(Absent(security_id, *span) for span in gaps(asked, had, max(had, default=date.min)))

    def _stands(self, series: Series, session: date) -> bool:
        """Whether the bar is stored as it traded: made from a re-based one it would differ by the rounding of the latter."""
        return session in series.held and series.basis.ratio(session) != 1

    def _record(self, series: Series, bar: TradesBar) -> dict[str, Any]:
        ratio = series.basis.ratio(bar.session)
        return {
            "security_id": series.listing["security_id"],
            "session": bar.session,
            "open": bar.open * ratio,
            "high": bar.high * ratio,
            "low": bar.low * ratio,
            "close": bar.close * ratio,
            "volume": bar.volume / ratio,
            "known_at": self._calendar.closes_at(bar.session),
        }


def _named(listing: Mapping[str, Any]) -> dict[str, Any]:
    return {"symbol": listing["symbol"], "con_id": listing["con_id"]}


def _splits_unknown(named: dict[str, Any], first: date, before: date) -> Rejected:
    why = f"nothing is stored to show the splits since {first}; give params.actions_path, a header alone when there was none"
    return Rejected(named | {"before": str(before)}, "splits_unknown", why)


def _refused(reason: Rejected) -> Batch:
    return Batch(BARS, _SCHEMA.to_frame(), _SOURCE, (reason,))


def _problem(record: dict[str, Any]) -> str:
    prices = [record[name] for name in ("open", "high", "low", "close")]
    if not all(math.isfinite(price) and price > 0 for price in prices):
        return "a price is not a positive number"
    if not (record["low"] <= min(prices) and max(prices) <= record["high"]):
        return "open or close is outside the day's range"
    if not (math.isfinite(record["volume"]) and record["volume"] >= 0):
        return "the volume is not known"  # IBKR sends -1
    return ""
