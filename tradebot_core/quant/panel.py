"""The panel: what a decision of a session could know of each security, one row per session and security.

Columns: session, security_id, symbol, cik, open, high, low, close (raw USD), volume (shares), median_dollar_volume_20d and
mean_dollar_volume_20d (USD; null unless each of the last 20 sessions has a bar), period_end, fundamentals_known_at,
fundamentals_age_days, form, accession, and every figure of model.fundamentals (USD) as its filing states it; how the company
has reported so far (REPORTING_COLUMNS of quant/reporting.py, for the data checks); then, on the session's own share basis:
split_factor (since the day on whose basis shares are stated), shares (all of the issuer), shares_rule (which count that is; see
SHARES_RULES), eps (eps_diluted_ttm), and market_cap (USD). The market value is the issuer's, whichever of its share classes the
row is about: shares x close / shares_per_listed.

Point in time: bars in the version known at their own session's cut-off, filings and actions as known at the row's cut-off.
A median of dollar volumes is the same number bit for bit wherever a window begins; a running sum of floats is not, so the mean is
that of whole 1/10,000 dollars.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict
from datetime import date
from typing import Any

import numpy as np
import polars as pl

from tradebot_core.calendar import TradingCalendar
from tradebot_core.model.event import Event, EventType
from tradebot_core.model.fundamentals import FIGURES, Fundamentals
from tradebot_core.model.keyed_rows import in_order, is_last_of, spans
from tradebot_core.model.tables import ACTIONS, BARS, FUNDAMENTALS, INSTANT, SECURITIES
from tradebot_core.quant.asof import last_places
from tradebot_core.quant.reporting import REPORTING_COLUMNS, REPORTING_READS, remembered, with_reporting
from tradebot_core.quant.share_counts import issuer_shares, shares_rule, split_factors

LIQUIDITY_WINDOW = 20  # sessions
_PARTS_OF_A_DOLLAR = 10_000  # no US share is quoted in smaller ones
_MOST_PARTS = 9e18 / LIQUIDITY_WINDOW  # so that a window's sum is a number of 64 bits
_BASES = ("shares_basis_date", "diluted_basis_date", "eps_basis_date")
_FILED = ("period_end", "form", "accession", *_BASES, *FIGURES)
_PER_SHARE = ("shares_outstanding", "shares_diluted", "eps_diluted_ttm")  # what is brought to the session's share basis
PANEL_COLUMNS = (
    *("session", "security_id", "open", "high", "low", "close", "volume", "median_dollar_volume_20d", "mean_dollar_volume_20d"),
    *("cik", "symbol", "period_end", "form", "accession", *FIGURES, "fundamentals_known_at", "fundamentals_age_days"),
    *REPORTING_COLUMNS,
    *("shares_per_listed", "split_factor", "shares", "shares_rule", "eps", "market_cap"),
)


_VALUED = ("shares_per_listed", "split_factor", "shares", "shares_rule", "eps", "market_cap")


def build_panel(
    bars: pl.DataFrame,
    actions: pl.DataFrame,
    securities: pl.DataFrame,
    fundamentals: pl.DataFrame,
    sessions: Sequence[date],
    calendar: TradingCalendar,
    figures: Collection[str] | None = None,
) -> pl.DataFrame:
    """The panel of `sessions` (consecutive), sorted by session and security_id.

    `figures` names the columns that will be looked at (other names are ignored); without it the panel has all of them. Those that
    only cost time or bytes are then left out. `bars` must reach back to `first_bar_needed`; all versions of every table may be given.
    """
    return Panels(actions, securities, fundamentals, calendar, figures).of(bars, sessions)


_SHOWN = ("session", "security_id", "symbol", "fundamentals_known_at")  # with whatever is looked at


def filings_read(figures: Collection[str] | None) -> frozenset[str]:
    """All columns of FUNDAMENTALS that the panel with these columns is made of."""
    compared = REPORTING_READS if _any_of(figures, REPORTING_COLUMNS) else ()
    return frozenset({"cik", "known_at", "ingested_at", *_filed(figures), *compared})


def _filed(figures: Collection[str] | None) -> list[str]:
    """Those of them that stand in its rows until all of its columns are made."""
    read = set(_FILED if figures is None else figures)
    if _any_of(figures, ("fundamentals_age_days",)):
        read.add("period_end")
    if _any_of(figures, _VALUED):
        read |= {*_PER_SHARE, *_BASES}
    return [column for column in _FILED if column in read]


def _any_of(figures: Collection[str] | None, columns: Iterable[str]) -> bool:
    return figures is None or any(column in figures for column in columns)


class Panels:
    """Panels of one range of sessions after another, from tables that hold what was known by the last of them."""

    def __init__(
        self,
        actions: pl.DataFrame,
        securities: pl.DataFrame,
        fundamentals: pl.DataFrame,
        calendar: TradingCalendar,
        figures: Collection[str] | None = None,
    ) -> None:
        def looked_at(columns: Iterable[str]) -> list[str]:
            return [column for column in columns if figures is None or column in figures]

        self._calendar = calendar
        self.columns = [column for column in PANEL_COLUMNS if column in _SHOWN or figures is None or column in figures]
        self._liquidity = [column for column in _LIQUIDITY if column in self.columns]
        self._valued = bool(looked_at(_VALUED))
        self._filings = _as_reported(fundamentals, _filed(figures), looked_at(REPORTING_COLUMNS))
        self._securities, self._actions = securities, actions
        prices = {"close", "volume"} if self._liquidity or self._valued else set()
        self.unread = [c for c in BARS.content if c not in self.columns and c not in prices]  # of BARS

    def first_bar(self, session: date) -> date:
        """The session of the oldest bar that the panel of `session` looks at."""
        return first_bar_needed(session, self._calendar) if self._liquidity else session

    def of(self, bars: pl.DataFrame, sessions: Sequence[date], among: pl.DataFrame | None = None) -> pl.DataFrame:
        """The panel of consecutive sessions; see build_panel. Of those rows only whose session and security_id are `among`."""
        rows = _known_bars(bars, sessions, self._calendar, self._liquidity)
        if among is not None:
            rows = rows.join(among, on=["session", "security_id"], how="semi", maintain_order="left")
        rows = _with_identity(rows, self._securities).pipe(_with_fundamentals, self._filings)
        if self._valued:
            rows = _with_market_value(rows, self._actions, self._securities)
        return by_session(rows.select(self.columns))


def by_session(rows: pl.DataFrame) -> pl.DataFrame:
    """Rows in the order of their security, in the order of their session: by counting, which costs a tenth of a sort."""
    days = rows["session"].to_physical().to_numpy()
    if rows.is_empty() or days.max() - days.min() > np.iinfo(np.int16).max:  # of ninety years: beyond what is counted
        return rows.sort("session", maintain_order=True)
    order = np.argsort((days - days.min()).astype(np.int16), kind="stable")
    return rows if (order[1:] > order[:-1]).all() else rows[order]


def first_bar_needed(session: date, calendar: TradingCalendar) -> date:
    """The session of the oldest bar that the panel of `session` looks at."""
    return calendar.offset(session, 1 - LIQUIDITY_WINDOW)


def known_bars(bars: pl.DataFrame, sessions: Sequence[date], calendar: TradingCalendar) -> pl.DataFrame:
    """Of every bar of these consecutive sessions the version that stood at its own session's cut-off, which decisions keep seeing
    when it is corrected later; sorted by security and session, with `cutoff` and `number`, the session's place among them."""
    numbered = _numbered(sessions, calendar)
    inside = pl.col("session").is_between(sessions[0], sessions[-1])
    place = (pl.col("session") - sessions[0]).dt.total_days().cast(pl.UInt32)
    rows = bars.filter(inside).with_columns(
        *(pl.lit(numbered[name]).gather(place).alias(name) for name in ("cutoff", "number"))
    )
    rows = rows.filter(pl.col("known_at") <= pl.col("cutoff"))  # of a day that is no session there is no cut-off
    if not _each_once_in_order(rows):
        rows = rows.sort("security_id", "session", "known_at", "ingested_at")
        rows = rows.filter(is_last_of(["security_id", "session"]))
    return rows


def _each_once_in_order(rows: pl.DataFrame) -> bool:
    key = rows["security_id"].to_numpy() * 100_000 + rows["number"].to_numpy()  # more than there are sessions
    return bool((key[1:] > key[:-1]).all())


def _numbered(sessions: Sequence[date], calendar: TradingCalendar) -> pl.DataFrame:
    """One row for each day from the first session to the last."""
    table = pl.DataFrame(
        {"session": sessions, "cutoff": [calendar.cutoff(s) for s in sessions], "number": range(len(sessions))},
        schema={"session": pl.Date, "cutoff": INSTANT, "number": pl.Int32},
    )
    days = pl.DataFrame({"session": pl.date_range(sessions[0], sessions[-1], eager=True)})
    return days.join(table, on="session", how="left", maintain_order="left")


def median_dollar_volume() -> pl.Expr:
    """Of rows in the order of security and session with `number`; null unless each of the last 20 sessions has a bar."""
    return _unbroken((pl.col("close") * pl.col("volume")).rolling_median(LIQUIDITY_WINDOW))


def mean_dollar_volume() -> pl.Expr:
    """The same of the mean. Null where a session's dollar volume is beyond what can be counted in whole 1/10,000 dollars (4.5e13)."""
    value = pl.col("close") * pl.col("volume") * _PARTS_OF_A_DOLLAR
    parts = pl.when(value.abs() < _MOST_PARTS).then(value).round().cast(pl.Int64)
    return _unbroken(parts.rolling_sum(LIQUIDITY_WINDOW) / (LIQUIDITY_WINDOW * _PARTS_OF_A_DOLLAR))


def _unbroken(of_window: pl.Expr) -> pl.Expr:
    """Computed over all rows at once: a window that reaches into another security is not unbroken."""
    back = LIQUIDITY_WINDOW - 1
    same = pl.col("security_id") == pl.col("security_id").shift(back)
    return pl.when(same & (pl.col("number") - pl.col("number").shift(back) == back)).then(of_window)


_LIQUIDITY = {"median_dollar_volume_20d": median_dollar_volume, "mean_dollar_volume_20d": mean_dollar_volume}


class MedianVolumes:
    """median_dollar_volume_20d (USD) of the securities that are asked for, from what `known_bars` gives."""

    def __init__(self, bars: pl.DataFrame) -> None:
        self._bars = bars.select("security_id", "session", "number", "close", "volume")
        self._spans = spans(bars["security_id"])
        self._made: dict[int, dict[date, float | None]] = {}

    def of(self, security_id: int, session: date) -> float | None:
        if security_id not in self._made:
            start, stop = self._spans.get(security_id, (0, 0))
            own = self._bars.slice(start, stop - start)
            self._made[security_id] = dict(own.select("session", median=median_dollar_volume()).iter_rows())
        return self._made[security_id].get(session)


def _known_bars(
    bars: pl.DataFrame, sessions: Sequence[date], calendar: TradingCalendar, liquidity: Sequence[str]
) -> pl.DataFrame:
    first = first_bar_needed(sessions[0], calendar) if liquidity else sessions[0]
    rows = known_bars(bars, calendar.sessions(first, sessions[-1]), calendar)
    added = {column: _LIQUIDITY[column]() for column in liquidity}
    unused = ("number", "known_at", "ingested_at", "source")
    return rows.with_columns(**added).filter(pl.col("session") >= sessions[0]).drop(unused, strict=False)


def _with_identity(rows: pl.DataFrame, securities: pl.DataFrame) -> pl.DataFrame:
    """The latest listing that had begun by the session, in the version known at its cut-off; in the order of the rows."""
    names = securities.select(
        "security_id", "cik", "symbol", "shares_per_listed", "valid_from", "valid_to", "known_at", "ingested_at"
    )
    times = ("valid_from", "valid_to", "known_at", "ingested_at")
    begun = (pl.col("known_at") <= pl.col("cutoff")) & (pl.col("valid_from") <= pl.col("session"))
    ended = pl.col("session") > pl.col("valid_to")
    renamed = names.filter(pl.len().over("security_id") > 1)
    once = names.join(renamed, on="security_id", how="anti") if len(renamed) else names
    found = rows.join(once, on="security_id", maintain_order="left").filter(begun, ~ended).drop(times)
    if renamed.is_empty():
        return found
    others = (
        rows.join(renamed, on="security_id")
        .filter(begun)
        .sort("security_id", "session", "valid_from", "known_at", "ingested_at")
        .filter(is_last_of(["security_id", "session"]))
        .filter(~ended)
        .drop(times)
    )
    return pl.concat([found, others.select(found.columns)]).sort("security_id", "session")


def _as_reported(fundamentals: pl.DataFrame, columns: Sequence[str], compared: Sequence[str]) -> pl.DataFrame:
    """Sorted by issuer and by when it became known."""
    read = {"cik", "known_at", "ingested_at", *columns, *(REPORTING_READS if compared else ())}
    rows = fundamentals.select(column for column in fundamentals.columns if column in read)
    known = in_order(rows, ["cik", "known_at", "ingested_at"]).filter(is_last_of(["cik", "known_at"]))
    if compared:
        known = with_reporting(known)
    return known.select("cik", "known_at", *columns, *compared, fundamentals_known_at="known_at")


def _with_fundamentals(rows: pl.DataFrame, known: pl.DataFrame) -> pl.DataFrame:
    """To each row the last of its issuer's that was known at its cut-off."""
    places = last_places(known["cik"], known["known_at"], rows["cik"], rows["cutoff"])
    filed = known.drop("cik", "known_at")
    rows = rows.with_columns(filed[name].gather(places).alias(name) for name in filed.columns)
    if "period_end" not in filed.columns:
        return rows
    return rows.with_columns(fundamentals_age_days=(pl.col("session") - pl.col("period_end")).dt.total_days())


def _with_market_value(rows: pl.DataFrame, actions: pl.DataFrame, securities: pl.DataFrame) -> pl.DataFrame:
    since_outstanding, since_diluted, since_earnings = split_factors(rows, actions, _BASES)
    counted = rows.with_columns(
        split_factor=since_outstanding,
        _outstanding=pl.col("shares_outstanding") * since_outstanding,
        _diluted=pl.col("shares_diluted") * since_diluted.fill_null(since_outstanding),
        eps=pl.col("eps_diluted_ttm") / since_earnings.fill_null(since_outstanding),
        _classes=_listed_classes(rows, securities),
    ).with_columns(shares_rule=shares_rule("_outstanding", "_diluted", "_classes"))
    valued = counted.with_columns(shares=issuer_shares("_outstanding", "_diluted"))
    return valued.with_columns(market_cap=pl.col("shares") * pl.col("close") / pl.col("shares_per_listed").fill_null(1.0)).drop(
        "_outstanding", "_diluted", "_classes"
    )


def _listed_classes(rows: pl.DataFrame, securities: pl.DataFrame) -> pl.Series:
    """For each row, how many share classes of its issuer are listed in the session, as far as it is known at the cut-off."""
    several = securities.filter(pl.col("security_id").n_unique().over("cik") > 1)
    if several.is_empty():
        return pl.repeat(1, len(rows), dtype=pl.UInt32, eager=True)
    row = ["session", "cik"]
    listed = (
        rows.select(*row, "cutoff")
        .unique(row)
        .join(several.select("security_id", *SECURITIES.key[1:], "cik", "valid_to", "known_at", "ingested_at"), on="cik")
        .filter(pl.col("known_at") <= pl.col("cutoff"))
        .sort("known_at", "ingested_at")
        .unique([*row, *SECURITIES.key], keep="last", maintain_order=True)
        .filter(pl.col("session").is_between("valid_from", "valid_to"))
        .group_by(row)
        .agg(classes=pl.col("security_id").n_unique())
    )
    return rows.join(listed, on=row, how="left", maintain_order="left")["classes"].fill_null(1)


class MarketMemory:
    """What a strategy has heard from the event bus, as much of it as the panel of the next session needs."""

    def __init__(self) -> None:
        self._bars: dict[int, dict[date, list[dict[str, Any]]]] = {}  # by security and session, every version heard
        self._rows: dict[EventType, dict[Any, dict[str, Any]]] = {EventType.SECURITY: {}, EventType.CORPORATE_ACTION: {}}
        self._filings: dict[int, list[dict[str, Any]]] = {}  # by issuer, in order of knowledge, as many as the panel looks at

    def remember(self, event: Event) -> None:
        payload = event.payload
        times = {"source": event.source, "known_at": event.timestamp, "ingested_at": event.ingested_at}
        if event.type is EventType.PRICE_BAR:
            self._remember_bar(asdict(payload) | times)
        elif event.type is EventType.FUNDAMENTALS:
            assert isinstance(payload, Fundamentals)
            self._remember_filing(_fundamentals_row(payload) | times)
        elif event.type in self._rows:
            row = asdict(payload) | times
            # Of actions every version is kept: a late word is entered as the difference from the one before.
            of = SECURITIES.key if event.type is EventType.SECURITY else (*ACTIONS.key, "known_at")
            key = tuple(row[c] for c in of)
            self._rows[event.type][key] = row

    def _remember_bar(self, row: dict[str, Any]) -> None:
        """Of a corrected bar the earlier version is kept: the panel shows what stood at its own session's cut-off."""
        sessions = self._bars.setdefault(row["security_id"], {})
        if row["session"] in sessions:
            sessions[row["session"]].append(row)
        elif not sessions or row["session"] > next(reversed(sessions)):
            sessions[row["session"]] = [row]
            if len(sessions) > LIQUIDITY_WINDOW:
                del sessions[next(iter(sessions))]

    def _remember_filing(self, row: dict[str, Any]) -> None:
        """A row known at the same instant as the last one is a new version of it."""
        rows = self._filings.get(row["cik"], [])
        if rows and rows[-1]["known_at"] == row["known_at"]:
            rows = rows[:-1]
        self._filings[row["cik"]] = remembered([*rows, row])

    @property
    def bars(self) -> pl.DataFrame:
        """The last bars heard of each security, every version in the order in which they were heard."""
        rows = [row for sessions in self._bars.values() for versions in sessions.values() for row in versions]
        return pl.DataFrame(rows, schema=BARS.schema)

    @property
    def actions(self) -> pl.DataFrame:
        return self._frame(EventType.CORPORATE_ACTION, ACTIONS.schema)

    @property
    def securities(self) -> pl.DataFrame:
        return self._frame(EventType.SECURITY, SECURITIES.schema)

    def panel(self, session: date, calendar: TradingCalendar) -> pl.DataFrame:
        """The panel of one session from what was heard."""
        return build_panel(
            self.bars,
            self.actions,
            self.securities,
            _framed((row for rows in self._filings.values() for row in rows), FUNDAMENTALS.schema),
            [session],
            calendar,
        )

    def _frame(self, kind: EventType, schema: pl.Schema) -> pl.DataFrame:
        return _framed(self._rows[kind].values(), schema)


def _framed(rows: Iterable[dict[str, Any]], schema: pl.Schema) -> pl.DataFrame:
    return pl.DataFrame([{c: row.get(c) for c in schema} for row in rows], schema=schema)


def _fundamentals_row(payload: Fundamentals) -> dict[str, Any]:
    row = {c: getattr(payload, c, None) for c in FUNDAMENTALS.columns if c != "provenance"}
    return row | dict(payload.figures)
