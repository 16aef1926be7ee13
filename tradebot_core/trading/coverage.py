"""How much of the universe a backtest could see: bars, filings, market values, and the dead.

A backtest on what survived earns what nobody could have earned (delisting returns average -30 % on NYSE and AMEX, -55 % on Nasdaq: Shumway
1997; Shumway and Warther 1999). So every report says how many securities ended in its range, and what data is missing.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import polars as pl

from tradebot_core.calendar import TradingCalendar
from tradebot_core.model.market import ActionType
from tradebot_core.model.tables import INSTANT, SECURITIES
from tradebot_core.trading.audit import QUIET_SESSIONS

_MANY_YEARS = 2.0  # about one in twenty listed companies leaves each year: none in two years is a choice of survivors
_NAMED = 10  # in words; all of them are in the figures


@dataclass(frozen=True)
class YearCoverage:
    """Shares of the security-sessions of a year: those of every security of the universe in every session in which it was listed."""

    year: int
    securities: int
    with_bars: float
    with_fundamentals: float
    with_market_value: float


@dataclass(frozen=True)
class Coverage:
    """Of a range of sessions; the shares are as in YearCoverage, null when no security was listed."""

    start: date
    end: date
    sessions: int
    securities: int  # listed in the range, the dead included
    with_bars: float | None
    with_fundamentals: float | None
    with_market_value: float | None
    ended: int  # whose listing ended in the range, or that were delisted
    ended_without_delisting: tuple[str, ...]  # whose bars stop, though nothing says that they were delisted
    without_bars: tuple[str, ...]  # not one bar in the range
    issuers_without_facts: tuple[str, ...]  # nothing known of them by the end of the range
    unknown_symbols: tuple[str, ...]  # of the universe, borne by no security of the store
    years: tuple[YearCoverage, ...]
    warnings: tuple[str, ...]
    caveats: tuple[str, ...]  # of the configured collectors


@dataclass(frozen=True)
class _Spell:
    """A security in the universe and listed, from one session to another."""

    security_id: int
    cik: int
    symbol: str
    first: date
    last: date


def coverage(
    sessions: Sequence[date],
    calendar: TradingCalendar,
    securities: pl.DataFrame,
    members: pl.DataFrame | None,
    bars: Iterable[pl.DataFrame],
    actions: pl.DataFrame,
    fundamentals: pl.DataFrame,
    unknown_symbols: Sequence[str] = (),
    caveats: Sequence[str] = (),
) -> Coverage:
    """Of consecutive sessions. All versions of the tables may be given, as known at the cut-off of the last session; of bars security_id,
    session and known_at are looked at, of fundamentals cik, known_at and the two share counts. The bars come in pieces, of which no two
    share a session: those of a whole market do not fit in memory."""
    clock = pl.DataFrame(
        [(session, calendar.cutoff(session), number) for number, session in enumerate(sessions)], schema=_CLOCK, orient="row"
    )
    spells = _spells(securities, members, sessions)
    bar_keys = pl.concat([pl.Series("key", [], pl.Int64), *(_keys(piece, clock) for piece in bars)]).sort()
    pieces = _with_bars(_by_year(spells, sessions), bar_keys)
    pieces = _with_facts(pieces, _facts_known(fundamentals, clock, _several_classes(securities)), bar_keys)
    listed = int(pieces["listed"].sum())
    symbols = {spell.security_id: spell.symbol for spell in spells}  # the last one
    ended = _ended(symbols, securities, actions, sessions)
    quiet = pieces.filter(pl.col("quiet") >= QUIET_SESSIONS).unique("security_id")["security_id"]
    known_issuers = set(fundamentals["cik"])
    nameless = sorted({spell.cik: spell.symbol for spell in spells if spell.cik not in known_issuers}.values())
    found = {
        "ended_without_delisting": tuple(sorted(symbols[security] for security in set(quiet) - ended)),
        "without_bars": tuple(sorted(symbols[security] for security in _never_seen(pieces))),
        "issuers_without_facts": tuple(nameless),
        "unknown_symbols": tuple(sorted(unknown_symbols)),
    }

    def share(column: str) -> float | None:
        return int(pieces[column].sum()) / listed if listed else None

    return Coverage(
        sessions[0],
        sessions[-1],
        len(sessions),
        len(symbols),
        share("bars"),
        share("with_facts"),
        share("with_value"),
        len(ended),
        **found,
        years=_years(pieces),
        warnings=(
            *_warnings(sessions, len(symbols), len(ended), found),
            *_nothing_known(share("with_facts"), share("with_value")),
        ),
        caveats=tuple(caveats),
    )


_CLOCK = {"session": pl.Date, "cutoff": INSTANT, "number": pl.Int64}
_ROOM = (
    1 << 16
)  # sessions are numbered below this: one number then stands for a security and a session, and sorted numbers are counted


def _spells(securities: pl.DataFrame, members: pl.DataFrame | None, sessions: Sequence[date]) -> list[_Spell]:
    """Disjoint spells of each security, in order: listed, known to be, in the universe and in the range."""
    versions = securities.sort("known_at", "ingested_at").with_columns(pl.col("known_at").min().over(SECURITIES.key))
    latest = versions.unique(SECURITIES.key, keep="last", maintain_order=True)  # known since the first version of it was
    rows = latest.select(
        "security_id",
        "cik",
        "symbol",
        pl.max_horizontal(
            pl.col("valid_from").fill_null(date.min), pl.col("known_at").dt.convert_time_zone("America/New_York").dt.date()
        ).alias("first"),
        pl.col("valid_to").fill_null(date.max).alias("last"),
    )
    if members is not None:
        rows = rows.join(members, on="security_id", suffix="_member").with_columns(
            pl.max_horizontal("first", "first_member").alias("first"), pl.min_horizontal("last", "last_member").alias("last")
        )
    within = rows.with_columns(
        pl.max_horizontal("first", pl.lit(sessions[0])).alias("first"),
        pl.min_horizontal("last", pl.lit(sessions[-1])).alias("last"),
    )
    spells: list[_Spell] = []
    for row in within.filter(pl.col("first") <= pl.col("last")).sort("security_id", "first", "last").iter_rows(named=True):
        spell = _Spell(row["security_id"], row["cik"], row["symbol"], row["first"], row["last"])
        before = spells[-1] if spells and spells[-1].security_id == spell.security_id else None
        if before is not None and spell.first <= before.last:
            spells[-1] = _Spell(spell.security_id, spell.cik, spell.symbol, before.first, max(before.last, spell.last))
        else:
            spells.append(spell)
    return spells


def _by_year(spells: Sequence[_Spell], sessions: Sequence[date]) -> pl.DataFrame:
    """The spells cut at the turn of the year, their ends as numbers of sessions; `last_piece`: where a security's last spell ends."""
    rows = []
    for number, spell in enumerate(spells):
        is_last = number + 1 == len(spells) or spells[number + 1].security_id != spell.security_id
        for year in range(spell.first.year, spell.last.year + 1):
            first = bisect_left(sessions, max(spell.first, date(year, 1, 1)))
            last = bisect_right(sessions, min(spell.last, date(year, 12, 31))) - 1
            if first <= last:
                rows.append((spell.security_id, spell.cik, year, first, last, is_last and year == spell.last.year))
    schema = {"security_id": pl.Int64, "cik": pl.Int64, "year": pl.Int32, "first": pl.Int64, "last": pl.Int64}
    pieces = pl.DataFrame(rows, schema={**schema, "last_piece": pl.Boolean}, orient="row")
    return pieces.with_columns(listed=pl.col("last") - pl.col("first") + 1)


def _keys(bars: pl.DataFrame, clock: pl.DataFrame) -> pl.Series:
    """The bars that a decision of their session could see, once each: security and session in one number."""
    known = bars.lazy().select("security_id", "session", "known_at").join(clock.lazy(), on="session")
    key = pl.col("security_id") * _ROOM + pl.col("number")
    return known.filter(pl.col("known_at") <= pl.col("cutoff")).select(key=key.cast(pl.Int64)).collect()["key"].unique()


def _count(keys: pl.Series, securities: pl.Series, first: pl.Series, last: pl.Series) -> pl.Series:
    """How many bars each security has from one session to another."""
    until, before = (
        keys.search_sorted(securities * _ROOM + last, "right"),
        keys.search_sorted(securities * _ROOM + first, "left"),
    )
    return until.cast(pl.Int64) - before.cast(pl.Int64)


def _with_bars(pieces: pl.DataFrame, keys: pl.Series) -> pl.DataFrame:
    """`bars`, and `quiet`: how many sessions before the end of the security's last spell its bars stopped (null for other pieces, and
    where it never had one)."""
    counted = pieces.with_columns(bars=_count(keys, pieces["security_id"], pieces["first"], pieces["last"]))
    nearest = keys.search_sorted(pieces["security_id"] * _ROOM + pieces["last"], "right").cast(pl.Int64) - 1
    last_bar = keys.extend_constant(None, 1).gather(
        pl.select(pl.when(nearest >= 0).then(nearest).otherwise(len(keys))).to_series()
    )
    return counted.with_columns(last_bar=last_bar).with_columns(
        quiet=pl.when(pl.col("last_piece") & (pl.col("last_bar") // _ROOM == pl.col("security_id"))).then(
            pl.col("last") - pl.col("last_bar") % _ROOM
        )
    )


def _never_seen(pieces: pl.DataFrame) -> list[int]:
    return pieces.group_by("security_id").agg(pl.col("bars").sum()).filter(pl.col("bars") == 0)["security_id"].to_list()


def _several_classes(securities: pl.DataFrame) -> list[int]:
    classes = securities.group_by("cik").agg(pl.col("security_id").n_unique())
    return classes.filter(pl.col("security_id") > 1)["cik"].to_list()


def _facts_known(fundamentals: pl.DataFrame, clock: pl.DataFrame, several: Sequence[int]) -> pl.DataFrame:
    """From session `since` to session `until`, an issuer's filings were known, and (`counted`) a share count that makes a market value
    (see quant.share_counts)."""
    outstanding, diluted = pl.col("shares_outstanding").is_not_null(), pl.col("shares_diluted").is_not_null()
    known = (
        fundamentals.select("cik", "known_at", counted=diluted | (outstanding & ~pl.col("cik").is_in(list(several))))
        .sort("known_at")
        .join_asof(clock.select("cutoff", since="number"), left_on="known_at", right_on="cutoff", strategy="forward")
        .filter(pl.col("since").is_not_null())
        .unique(["cik", "since"], keep="last", maintain_order=True)
        .sort("cik", "since")
    )
    news = known.filter((pl.col("counted") != pl.col("counted").shift(1).over("cik")).fill_null(True))
    until = pl.col("since").shift(-1).over("cik").fill_null(len(clock)) - 1
    return news.select("cik", "since", until.alias("until"), "counted")


def _with_facts(pieces: pl.DataFrame, known: pl.DataFrame, keys: pl.Series) -> pl.DataFrame:
    parts = (
        pieces.select("security_id", "cik", "first", "last")
        .join(known, on="cik")
        .with_columns(begins=pl.max_horizontal("first", "since"), ends=pl.min_horizontal("last", "until"))
    )
    parts = parts.filter(pl.col("begins") <= pl.col("ends"))
    seen = parts.with_columns(bars=_count(keys, parts["security_id"], parts["begins"], parts["ends"]))
    totals = seen.group_by("security_id", "first").agg(
        with_facts=pl.col("bars").sum(), with_value=pl.col("bars").filter("counted").sum()
    )
    return pieces.join(totals, on=["security_id", "first"], how="left").with_columns(
        pl.col("with_facts", "with_value").fill_null(0)
    )


def _years(pieces: pl.DataFrame) -> tuple[YearCoverage, ...]:
    totals = pieces.group_by("year").agg(
        pl.col("security_id").n_unique(),
        *((pl.col(name).sum() / pl.col("listed").sum()) for name in ("bars", "with_facts", "with_value")),
    )
    return tuple(YearCoverage(*row) for row in totals.sort("year").iter_rows())


def _ended(symbols: Mapping[int, str], securities: pl.DataFrame, actions: pl.DataFrame, sessions: Sequence[date]) -> set[int]:
    """Of these securities those that were delisted, or are no longer listed, by the end of the range. To leave a universe is no end."""
    latest = securities.sort("known_at", "ingested_at").unique(SECURITIES.key, keep="last", maintain_order=True)
    last_listed = latest.group_by("security_id").agg(pl.col("valid_to").fill_null(date.max).max())
    unlisted = {security for security, last in last_listed.iter_rows() if last < sessions[-1]}
    delisted = actions.filter(pl.col("type") == ActionType.DELISTING.value, pl.col("session") >= sessions[0])
    return (unlisted | set(delisted["security_id"])) & symbols.keys()


def _nothing_known(with_fundamentals: float | None, with_market_value: float | None) -> tuple[str, ...]:
    if with_fundamentals == 0:
        return ("No filing of any security was known in any session: no rule on figures was passed.",)
    if with_market_value == 0:
        return ("No market value was known in any session: no rule on price against figures was passed.",)
    return ()


def _warnings(sessions: Sequence[date], securities: int, ended: int, found: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    years = (sessions[-1] - sessions[0]).days / 365.25
    said = []
    if not securities:
        said.append("No security of the universe was known to be listed in the range.")
    elif not ended and years >= _MANY_YEARS:
        said.append(
            f"Survivorship: none of {securities} securities was delisted in {years:.0f} years. What died is missing, and the returns are "
            "those of survivors."
        )
    words = {  # of one, of several
        "ended_without_delisting": (
            "stops trading without a delisting, and is carried at its last price",
            "stop trading without a delisting, and are carried at their last price",
        ),
        "without_bars": ("has no bar in the range", "have no bar in the range"),
        "issuers_without_facts": ("has no known filing", "have no known filing"),
        "unknown_symbols": (
            "of the universe was borne by no security of the store",
            "of the universe were borne by no security of the store",
        ),
    }
    for name, (of_one, of_several) in words.items():
        if symbols := found[name]:
            more = f" and {len(symbols) - _NAMED} more" if len(symbols) > _NAMED else ""
            what = of_one if len(symbols) == 1 else of_several
            said.append(f"{len(symbols)} {what}: {', '.join(symbols[:_NAMED])}{more}.")
    return tuple(said)
