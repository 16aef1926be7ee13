"""The panel: what a decision of a session could know of each security, one row per session and security.

Columns: session, security_id, symbol, cik, open, high, low, close (raw USD), volume (shares), median_dollar_volume_20d (USD;
null unless each of the last 20 sessions
has a bar), period_end, fundamentals_known_at, fundamentals_age_days, form, accession, and every figure of model.fundamentals (USD)
as its filing states it; how the company has reported so far (REPORTING_COLUMNS of quant/reporting.py, for the data checks); then, on
the session's own share basis: split_factor (since the day on whose basis shares are stated), shares (all of the issuer), shares_rule
(which count that is; see SHARES_RULES), eps (eps_diluted_ttm), and market_cap (USD). The market value is the issuer's, whichever of
its share classes the row is about: shares x close / shares_per_listed.

Point in time: bars in the version known at their own session's cut-off, filings and actions as known at the row's cut-off.
A median is used for liquidity because, unlike a running mean, it is the same number bit for bit wherever a window begins.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict
from datetime import date
from typing import Any

import polars as pl

from tradebot_core.calendar import TradingCalendar
from tradebot_core.model.event import Event, EventType
from tradebot_core.model.fundamentals import FIGURES, Fundamentals
from tradebot_core.model.tables import ACTIONS, BARS, FUNDAMENTALS, INSTANT, SECURITIES
from tradebot_core.quant.reporting import REPORTING_COLUMNS, remembered, with_reporting
from tradebot_core.quant.share_counts import issuer_shares, shares_rule, split_factors

LIQUIDITY_WINDOW = 20  # sessions
_BASES = ("shares_basis_date", "diluted_basis_date", "eps_basis_date")
_FUNDAMENTAL_COLUMNS = ("period_end", "form", "accession", *_BASES)
_PER_SHARE = ("shares_outstanding", "shares_diluted", "eps_diluted_ttm")  # what is brought to the session's share basis
PANEL_COLUMNS = (
    *("session", "security_id", "open", "high", "low", "close", "volume", "median_dollar_volume_20d"),
    *("cik", "symbol", "period_end", "form", "accession", *FIGURES, "fundamentals_known_at", "fundamentals_age_days"),
    *REPORTING_COLUMNS,
    *("shares_per_listed", "split_factor", "shares", "shares_rule", "eps", "market_cap"),
)


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

    `figures` names those that will be looked at, REPORTING_COLUMNS among them (other names are ignored); without it the panel has
    all of them, which are most of its bytes. `bars` must reach back to `first_bar_needed`; all versions of every table may be given.
    """
    compared = [column for column in REPORTING_COLUMNS if figures is None or column in figures]
    wanted = [f for f in FIGURES if figures is None or f in figures or f in _PER_SHARE]
    return (
        _bars_with_liquidity(bars, sessions, calendar)
        .pipe(_with_identity, securities)
        .pipe(_with_fundamentals, fundamentals, wanted, compared)
        .pipe(_with_market_value, actions, securities)
        .drop("cutoff", *_BASES)
        .sort("session", "security_id")
    )


def first_bar_needed(session: date, calendar: TradingCalendar) -> date:
    """The session of the oldest bar that the panel of `session` looks at."""
    return calendar.offset(session, 1 - LIQUIDITY_WINDOW)


def _bars_with_liquidity(bars: pl.DataFrame, sessions: Sequence[date], calendar: TradingCalendar) -> pl.DataFrame:
    seen = calendar.sessions(first_bar_needed(sessions[0], calendar), sessions[-1])
    numbered = pl.LazyFrame(
        {"session": seen, "cutoff": [calendar.cutoff(s) for s in seen], "number": range(len(seen))},
        schema={"session": pl.Date, "cutoff": INSTANT, "number": pl.Int64},
    )
    # Of a bar that was corrected later, decisions keep seeing what stood at its own session's cut-off.
    known = bars.lazy().join(numbered, on="session").filter(pl.col("known_at") <= pl.col("cutoff"))
    unbroken = pl.col("number") - pl.col("number").shift(LIQUIDITY_WINDOW - 1).over("security_id") == LIQUIDITY_WINDOW - 1
    dollar_volume = (pl.col("close") * pl.col("volume")).rolling_median(LIQUIDITY_WINDOW).over("security_id")
    return (
        known.sort("security_id", "session", "known_at", "ingested_at")
        .unique(["security_id", "session"], keep="last", maintain_order=True)
        .with_columns(median_dollar_volume_20d=pl.when(unbroken).then(dollar_volume))
        .filter(pl.col("session") >= sessions[0])
        .select(*BARS.columns, "median_dollar_volume_20d", "cutoff")
        .collect()
    )


def _with_identity(rows: pl.DataFrame, securities: pl.DataFrame) -> pl.DataFrame:
    """The latest listing that had begun by the session, in the version known at its cut-off."""
    names = securities.select(
        "security_id", "cik", "symbol", "shares_per_listed", "valid_from", "valid_to", "known_at", "ingested_at"
    )
    return (
        rows.join(names, on="security_id")
        .filter(pl.col("known_at") <= pl.col("cutoff"), pl.col("valid_from") <= pl.col("session"))
        .sort("session", "security_id", "valid_from", "known_at", "ingested_at")
        .unique(["session", "security_id"], keep="last", maintain_order=True)
        .filter(pl.col("session") <= pl.col("valid_to"))
        .drop("valid_from", "valid_to", "known_at", "ingested_at")
    )


def _with_fundamentals(
    rows: pl.DataFrame, fundamentals: pl.DataFrame, figures: Sequence[str], compared: Sequence[str]
) -> pl.DataFrame:
    known = fundamentals.sort("known_at", "ingested_at").unique(["cik", "known_at"], keep="last", maintain_order=True)
    if compared:
        known = with_reporting(known)
    known = known.select("cik", "known_at", *_FUNDAMENTAL_COLUMNS, *figures, *compared, fundamentals_known_at="known_at")
    return (
        rows.sort("cutoff")
        .join_asof(known, left_on="cutoff", right_on="known_at", by="cik", check_sortedness=False)
        .drop("known_at")
        .with_columns(fundamentals_age_days=(pl.col("session") - pl.col("period_end")).dt.total_days())
    )


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
