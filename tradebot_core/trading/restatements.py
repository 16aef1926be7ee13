"""The restatement report: which stored decisions read a figure that a filing changed, and what they would be now.

Nothing that is stored changes. The layers are evaluated again on the whole panel of each session in question, with the issuer's
figures as the later filing has them and all else as it stood: the ranks of the session follow. The decision is made again on the
book that the session had. The same is done with the figures as they stood; where that does not give what is stored, the report
says so (`reproduced`): other parameters or other data made it.
"""

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from functools import cached_property
from itertools import groupby
from typing import Any

import polars as pl

from tradebot_core.calendar import NEW_YORK, TradingCalendar
from tradebot_core.config import RiskSettings
from tradebot_core.interfaces import DataStore
from tradebot_core.model.decision import Decision, Verdict
from tradebot_core.model.issuers import issuer_groups
from tradebot_core.model.market import ActionType
from tradebot_core.model.portfolio import Book
from tradebot_core.model.tables import ACTIONS, BOOKS, DECISIONS, FACTS, FUNDAMENTALS, LAYERS, SECURITIES, FactTable
from tradebot_core.quant.corrections import (
    FactChange,
    FigureChange,
    Filing,
    Splits,
    changes_by,
    changing_filings,
    corrected,
    figure_changes,
    rests_on,
)
from tradebot_core.quant.statements import normalise
from tradebot_core.strategy import Strategy, TableLayer
from tradebot_core.trading import rows
from tradebot_core.trading.book_state import BookState
from tradebot_core.trading.evidence import figures_among, readings
from tradebot_core.trading.layers import evaluate_layers
from tradebot_core.trading.live import LIVE
from tradebot_core.trading.markets import MarketHistory, SessionRows, volumes_in
from tradebot_core.trading.order_trail import BACKTEST
from tradebot_core.trading.session import LastPrice, decide
from tradebot_core.trading.stored_markets import MARKET, StoredMarkets


@dataclass(frozen=True)
class VerdictChange:
    """The last word of one layer on one security. `now` is None when the layer would not have been shown it."""

    layer: str
    symbol: str
    then: Verdict
    now: Verdict | None
    flipped: bool  # passed then and not now, or the other way round


@dataclass(frozen=True)
class DecisionChange:
    """None where there was, or would be, no decision about the security."""

    symbol: str
    then: Decision | None
    now: Decision | None


@dataclass(frozen=True)
class Affected:
    """One session of one strategy and book that read changed figures of an issuer.

    `verdicts`: of the layers that read them, on the issuer's security, and whatever flipped of other securities with it.
    `decisions`: those that would be others. `reproduced`: the figures as they stood give the stored verdicts again, and the stored
    decisions where these had to be made again.
    """

    strategy: str
    book: str
    session: date
    symbol: str
    figures: tuple[FigureChange, ...]
    verdicts: tuple[VerdictChange, ...]
    decisions: tuple[DecisionChange, ...]
    reproduced: bool


@dataclass(frozen=True)
class Restatement:
    """What one filing changed, and the stored sessions before it that had read it."""

    cik: int
    company: str
    filing: Filing
    changes: tuple[FactChange, ...]
    affected: tuple[Affected, ...]


@dataclass(frozen=True)
class Issuer:
    """All that the store has on one issuer: its facts, its figures with their origin, and its splits."""

    cik: int
    company: str
    facts: pl.DataFrame
    fundamentals: pl.DataFrame
    splits: Splits

    @cached_property
    def as_filed(self) -> pl.DataFrame:
        """Its figures made again of the facts."""
        return normalise(self.facts, self.company)

    @cached_property
    def instants(self) -> list[datetime]:
        """From when each row of its figures counts, ascending."""
        return self.fundamentals["known_at"].unique().sort().to_list()


def issuers(store: DataStore, as_of: datetime, ciks: Sequence[int] | None = None) -> Iterator[Issuer]:
    """Those that have figures, or the ones named of them, in order of CIK. A group of them is in memory at a time."""
    wanted = store.newest(FUNDAMENTALS, as_of=as_of)["cik"] if ciks is None else ciks
    listings = store.read_versions(SECURITIES, as_of=as_of)
    splits = store.read(ACTIONS, as_of=as_of).filter(pl.col("type") == ActionType.SPLIT)
    for group in issuer_groups(wanted):
        facts, figures = (
            store.read_versions(table, as_of=as_of, ciks=group).partition_by("cik", as_dict=True)
            for table in (FACTS, FUNDAMENTALS)
        )
        for key in sorted(facts.keys() & figures.keys()):
            rows_of = figures[key].sort("known_at", "ingested_at")
            listed = listings.filter(pl.col("cik") == key[0])["security_id"].unique()
            own = splits.filter(pl.col("security_id").is_in(listed.implode())).select("session", "value")
            splits_of = tuple(own.unique().sort("session").iter_rows())
            yield Issuer(key[0], rows_of["company_name"][-1], facts[key], rows_of, splits_of)


@dataclass(frozen=True)
class Correction:
    """The rows of FUNDAMENTALS that rested on what a filing changed, with the figures that they would have had."""

    filing: Filing
    changes: tuple[FactChange, ...]
    of_row: Mapping[datetime, tuple[FigureChange, ...]]  # by known_at


def corrections(issuer: Issuer, since: date | None = None, accession: str | None = None) -> Iterator[Correction]:
    """Of the filings known from the New York day `since` on, or of one, those that changed something; in order of knowledge."""
    for filing in changing_filings(issuer.facts):
        late_enough = since is None or filing.known_at.astimezone(NEW_YORK).date() >= since
        if late_enough and accession in (None, filing.accession):
            changes = changes_by(issuer.facts, filing, issuer.splits)
            if changes:
                yield Correction(filing, tuple(changes), _corrected_rows(issuer, filing, changes))


def _corrected_rows(issuer: Issuer, filing: Filing, changes: Sequence[FactChange]) -> dict[datetime, tuple[FigureChange, ...]]:
    mentioned = sorted({change.accession_then for change in changes})
    before = issuer.fundamentals.filter(
        pl.col("known_at") < filing.known_at, pl.col("provenance").str.contains_any(mentioned)
    ).unique("known_at", keep="last", maintain_order=True)
    resting = [row for row in before.iter_rows(named=True) if rests_on(row, changes)]
    if not resting:
        return {}
    known = issuer.facts.filter(pl.col("known_at") < filing.known_at)
    as_corrected = _Rows(corrected(known, changes, issuer.company))
    as_filed = _Rows(issuer.as_filed)
    found = {}
    for row in resting:
        one, other = as_filed.at(row["known_at"]), as_corrected.at(row["known_at"])
        if one is not None and other is not None and (figures := figure_changes(row, one, other, changes)):
            found[row["known_at"]] = figures
    return found


class _Rows:
    """Rows of one issuer by the instant from which each counts."""

    def __init__(self, frame: pl.DataFrame) -> None:
        self._frame = frame
        self._instants = frame["known_at"].to_list()

    def at(self, instant: datetime) -> dict[str, Any] | None:
        place = bisect_right(self._instants, instant)
        return self._frame.row(place - 1, named=True) if place else None


@dataclass(frozen=True)
class _Seen:
    """The store as a decision saw it: with other figures in some rows, and without what came into the store after it."""

    store: DataStore
    figures: Mapping[tuple[int, datetime], tuple[FigureChange, ...]]  # by cik and known_at
    ingested_by: datetime | None = None

    def read(self, table: FactTable, **asked: Any) -> pl.DataFrame:
        return self.store.read(table, **asked)

    def read_versions(self, table: FactTable, **asked: Any) -> pl.DataFrame:
        found = self.store.read_versions(table, **asked)
        if self.ingested_by is not None:
            found = found.filter(pl.col("ingested_at") <= self.ingested_by)
        return _with_figures(found, self.figures) if table is FUNDAMENTALS and self.figures else found


def _with_figures(found: pl.DataFrame, figures: Mapping[tuple[int, datetime], tuple[FigureChange, ...]]) -> pl.DataFrame:
    news: dict[str, dict[tuple[int, datetime], float | None]] = {}
    for row, changes in figures.items():
        for change in changes:
            news.setdefault(change.figure, {})[row] = change.value_now
    places = {key: at for at, key in enumerate(found.select("cik", "known_at").iter_rows())}  # the last version of each
    columns = {}
    for figure, values in news.items():
        column = found[figure].to_list()
        for key, value in values.items():
            if key in places:
                column[places[key]] = value
        columns[figure] = pl.Series(figure, column, pl.Float64)
    return found.with_columns(**columns)


@dataclass(frozen=True)
class Reviewer:
    """Looks for what one strategy decided on changed figures."""

    markets: StoredMarkets
    limits: RiskSettings
    strategy: Strategy

    @property
    def store(self) -> DataStore:
        return self.markets.store

    @property
    def calendar(self) -> TradingCalendar:
        return self.markets.calendar

    def review(self, issuer: Issuer, correction: Correction) -> tuple[Affected, ...]:
        """The sessions before the filing that read what it changed, of the backtest and of the live book."""
        found: list[Affected] = []
        if not self._may_read(correction):
            return ()
        for book in (BACKTEST, LIVE):
            for sessions in self._runs(issuer, correction, book):
                found += self._of_run(issuer, correction, book, sessions)
        return tuple(found)

    def _may_read(self, correction: Correction) -> bool:
        """Expressions say what they read; what a layer in plain Python looks at depends on the row."""
        layers = self.strategy.layers()
        if not all(isinstance(layer, TableLayer) for layer in layers):
            return True
        read = {figure for reading in readings(layers, {}).values() for figure in figures_among(reading.columns)}
        return any(change.figure in read for figures in correction.of_row.values() for change in figures)

    def _runs(self, issuer: Issuer, correction: Correction, book: str) -> Iterator[list[date]]:
        """The judged sessions whose row of figures was one of those corrected, as runs of consecutive sessions.

        A live session stands alone: each saw the store as it was when it was decided.
        """
        first = self.strategy.layers()[0].name
        judged = self.store.result_sessions(LAYERS, self.strategy.name, _verdicts_of(book), first)
        wanted = [s for s in judged if self._row_behind(issuer, correction, s) in correction.of_row]
        if book == LIVE:
            yield from ([session] for session in wanted)
            return
        places = {session: at for at, session in enumerate(self.calendar.all_sessions)}
        for _, run in groupby(enumerate(wanted), key=lambda numbered: places[numbered[1]] - numbered[0]):
            yield [session for _, session in run]

    def _row_behind(self, issuer: Issuer, correction: Correction, session: date) -> datetime | None:
        """From when the row of figures counts that the session's panel showed; None for sessions after the filing."""
        cutoff = self.calendar.cutoff(session)
        place = bisect_right(issuer.instants, cutoff)
        return issuer.instants[place - 1] if place and cutoff < correction.filing.known_at else None

    def _of_run(self, issuer: Issuer, correction: Correction, book: str, sessions: list[date]) -> Iterator[Affected]:
        stored = self._kept(book, sessions[0], sessions[-1])
        then, now = (self._judged(figures, book, sessions) for figures in ({}, _by_row(issuer, correction)))
        own_rows = SessionRows(then.panel.filter(pl.col("cik") == issuer.cik))
        for session in sessions:
            row = self._row_behind(issuer, correction, session)
            assert row is not None
            figures = correction.of_row[row]
            kept, before, after = (_verdicts_at(layers, session) for layers in (stored.layers, then.layers, now.layers))
            own = own_rows.of(session)
            read = self._layers_that_read(own, before, kept, {change.figure for change in figures})
            if not read:
                continue
            made = self._decisions(stored, book, session, (then, before), (now, after))
            yield Affected(
                self.strategy.name,
                book,
                session,
                own["symbol"][0],
                figures,
                tuple(_verdict_changes(kept, before, after, read)),
                tuple(made.changes()),
                reproduced=kept == before and made.stored == made.then,
            )

    def _kept(self, book: str, start: date, end: date) -> "_Kept":
        name, source = self.strategy.name, _verdicts_of(book)
        return _Kept(
            {
                layer.name: SessionRows(self.store.read_results(LAYERS, name, source, start, end, layer.name))
                for layer in self.strategy.layers()
            },
            frozenset(self.store.result_sessions(DECISIONS, name, book)),
            SessionRows(self.store.read_results(DECISIONS, name, book, start, end)),
            SessionRows(self.store.read_results(BOOKS, name, book, start, end)),
        )

    def _judged(
        self, figures: Mapping[tuple[int, datetime], tuple[FigureChange, ...]], book: str, sessions: Sequence[date]
    ) -> "_Judged":
        decided_at = self._decided_at(sessions[0]) if book == LIVE else None
        seen = replace(self.markets, store=_Seen(self.store, figures, decided_at))  # type: ignore[arg-type]
        panel = seen.panel(sessions)
        layers = evaluate_layers(self.strategy, panel, self.markets.quality)
        history = MarketHistory(panel, pl.DataFrame(schema=ACTIONS.schema), layers, volume_of=volumes_in(panel))
        return _Judged(panel, {name: SessionRows(frame) for name, frame in layers.items()}, history)

    def _decided_at(self, session: date) -> datetime | None:
        made = [s for s in self.store.ledger.decision_sets(self.strategy.name) if s.session == session and s.live]
        return made[-1].decided_at if made else None

    def _layers_that_read(
        self, own: pl.DataFrame, then: "_Verdicts", kept: "_Verdicts", changed: set[str]
    ) -> set[tuple[str, int]]:
        """Layer and security of the stored verdicts on the issuer that were made with a look at a changed figure."""
        found = set()
        for row in own.iter_rows(named=True):
            security = row["security_id"]
            judged = [layer for layer in self.strategy.layers() if security in kept[layer.name]]
            features: dict[str, Any] = {}
            if not all(isinstance(layer, TableLayer) for layer in judged):
                features = {
                    k: v for layer in judged if security in then[layer.name] for k, v in then[layer.name][security].features
                }
            seen = readings(judged, row | features)
            found |= {(layer, security) for layer, reading in seen.items() if changed & set(figures_among(reading.columns))}
        return found

    def _decisions(
        self, stored: "_Kept", book: str, session: date, then: tuple["_Judged", "_Verdicts"], now: tuple["_Judged", "_Verdicts"]
    ) -> "_Decisions":
        """None where the strategy would be shown the same: the same candidates, and the same verdicts on what is held."""
        if session not in stored.decided:
            return _Decisions((), (), ())
        held, prices = self._book(stored, book, session)
        if _shown(then[1], held) == _shown(now[1], held):
            return _Decisions((), (), ())
        one, other = (self._decide(judged, session, held, prices) for judged, _ in (then, now))
        return _Decisions(rows.to_decisions(stored.decisions.of(session)), one, other)

    def _book(self, stored: "_Kept", book: str, session: date) -> tuple[Book, Mapping[int, LastPrice]]:
        """The sleeve as the decision found it: what is decided fills in the next session at the earliest."""
        if book == LIVE:
            held = self.store.ledger.book(self.strategy.name, session)
            return held, self.markets.last_prices(sorted(held.positions), session)
        state = BookState.from_json(stored.books.of(session)["state"][0])
        return state.book, state.prices

    def _decide(self, judged: "_Judged", session: date, held: Book, prices: Mapping[int, LastPrice]) -> tuple[Decision, ...]:
        judged.history.close(session)
        judged.history.warm_up(prices)  # of what is held, whether or not it traded
        return decide(self.strategy, judged.history.market(session, sorted(held.positions)), held, self.limits)


def _verdicts_of(book: str) -> str:
    """Where the verdicts lie that the book's decisions rest on."""
    return MARKET if book == BACKTEST else book


def _by_row(issuer: Issuer, correction: Correction) -> dict[tuple[int, datetime], tuple[FigureChange, ...]]:
    return {(issuer.cik, known_at): figures for known_at, figures in correction.of_row.items()}


@dataclass(frozen=True)
class _Judgement:
    symbol: str
    verdict: Verdict
    features: tuple[tuple[str, Any], ...]


_Verdicts = dict[str, dict[int, _Judgement]]  # by layer and security


_NO_FEATURES = frozenset(LAYERS.schema)


def _verdicts(frame: pl.DataFrame) -> dict[int, _Judgement]:
    features = sorted(set(frame.columns) - _NO_FEATURES)
    return {
        row["security_id"]: _Judgement(
            row["symbol"],
            Verdict(row["passed"], row["rule"], row["value"], row["threshold"]),
            tuple((name, row[name]) for name in features),
        )
        for row in frame.iter_rows(named=True)
    }


def _verdicts_at(layers: Mapping[str, SessionRows], session: date) -> _Verdicts:
    return {name: _verdicts(frame.of(session)) for name, frame in layers.items()}


@dataclass(frozen=True)
class _Judged:
    panel: pl.DataFrame
    layers: Mapping[str, SessionRows]
    history: MarketHistory  # to be asked in order of the sessions


@dataclass(frozen=True)
class _Kept:
    """What is stored of a run of sessions: verdicts by layer, decisions, and the books that they were made on."""

    layers: Mapping[str, SessionRows]
    decided: frozenset[date]
    decisions: SessionRows
    books: SessionRows


def _shown(verdicts: _Verdicts, held: Book) -> tuple[Any, ...]:
    """What of the verdicts a strategy.SessionView holds."""
    *_, last = verdicts.values()
    candidates = {security: judgement for security, judgement in last.items() if judgement.verdict.passed}
    on_held = {
        security: [seen[security].verdict for seen in verdicts.values() if security in seen][-1:] for security in held.positions
    }
    return candidates, on_held


@dataclass(frozen=True)
class _Decisions:
    """As stored, as made again, and as made with the corrected figures."""

    stored: tuple[Decision, ...]
    then: tuple[Decision, ...]
    now: tuple[Decision, ...]

    def changes(self) -> Iterator[DecisionChange]:
        kept, then, now = ({d.security_id: d for d in made} for made in (self.stored, self.then, self.now))
        for security in sorted(then.keys() | now.keys()):
            one, other = then.get(security), now.get(security)
            if _what(one) != _what(other):
                symbol = (one or other).symbol  # type: ignore[union-attr]
                yield DecisionChange(symbol, kept.get(security, one), other)


def _what(decision: Decision | None) -> tuple[Any, ...] | None:
    return None if decision is None else (decision.action, decision.target_weight, decision.rule)


def _verdict_changes(kept: _Verdicts, then: _Verdicts, now: _Verdicts, read: set[tuple[str, int]]) -> Iterator[VerdictChange]:
    """Of the verdicts that read a changed figure, all; of others, those that would be another now."""
    for layer, stored in kept.items():
        for security, judgement in sorted(stored.items()):
            found, made_again = now[layer].get(security), then[layer].get(security)
            verdict = found.verdict if found is not None else None
            before = made_again.verdict.passed if made_again is not None else None
            flipped = (verdict.passed if verdict is not None else None) != before
            if (layer, security) in read or flipped:
                yield VerdictChange(layer, judgement.symbol, judgement.verdict, verdict, flipped)
