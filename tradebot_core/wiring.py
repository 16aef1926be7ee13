"""The composition root: from a configuration to a working Tradebot. Here, and only here, the mode, the clock, the store and
the execution engine are chosen."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from difflib import get_close_matches
from functools import partial
from itertools import pairwise
from pathlib import Path

import polars as pl

from tradebot_core.calendar import TradingCalendar, xnys
from tradebot_core.clock import SampleClock, SystemClock
from tradebot_core.config import Config, Mode, UniverseSettings, load_config
from tradebot_core.errors import ConfigurationError, MissingData, UsageError
from tradebot_core.execution.costlier import CostlierEngine
from tradebot_core.execution.simulated import SimulatedEngine
from tradebot_core.interfaces import (
    Clock,
    Collector,
    ComparingCollector,
    DataStore,
    ExecutionEngine,
    Held,
    OpeningMarket,
    QuoteSource,
    RiskGate,
)
from tradebot_core.model.market import ActionType
from tradebot_core.model.portfolio import usd
from tradebot_core.model.tables import (
    ACTIONS,
    BARS,
    BOOKS,
    EQUITY,
    FACTS,
    FUNDAMENTALS,
    RESULT_TABLES,
    SECURITIES,
    FactTable,
)
from tradebot_core.quant.panel import first_bar_needed
from tradebot_core.quant.performance import Performance, summarise
from tradebot_core.quant.statements import normalise_many
from tradebot_core.quant.walk_forward import WalkForward, require_windows, walk_forward
from tradebot_core.registry import make_collector, make_strategy, make_variant, require_variants
from tradebot_core.simulation.sample_market import SampleMarket
from tradebot_core.stores.file_store import FileStore
from tradebot_core.trading.account_reconciliation import AccountReconciler
from tradebot_core.trading.account_sides import KnownAction
from tradebot_core.trading.arming import Arming, arming_of
from tradebot_core.trading.backtest import BACKTEST_TABLES, Backtest, BacktestWalk
from tradebot_core.trading.book_state import BookState
from tradebot_core.trading.code_version import code_version, idea_of
from tradebot_core.trading.collection import Collected, collect, refresh_fundamentals
from tradebot_core.trading.comparison import Comparison, compare
from tradebot_core.trading.coverage import Coverage, coverage
from tradebot_core.trading.data_checks import DataChecks
from tradebot_core.trading.due_actions import due_entries
from tradebot_core.trading.live import LiveDesk
from tradebot_core.trading.lookahead import LookAhead, LookAheadGate
from tradebot_core.trading.lookahead_sample import sample
from tradebot_core.trading.order_trail import BACKTEST
from tradebot_core.trading.report import Report, make_report
from tradebot_core.trading.risk import LimitGate
from tradebot_core.trading.security_master import OneOfSeveral
from tradebot_core.trading.session import sleeve_equity
from tradebot_core.trading.simulated_account import SimulatedAccount
from tradebot_core.trading.sleeves import Sleeve, sleeve_of
from tradebot_core.trading.stored_book import StoredBook, how_to_test
from tradebot_core.trading.stored_markets import StoredMarkets, by_year
from tradebot_core.trading.sweep import Division, divided, share_layers, walk_together
from tradebot_core.trading.training import Models
from tradebot_core.trading.trials import Selection, Trial, selection, trial_run, trials_of
from tradebot_core.trading.universe import UniverseEntry, read_universe, unresolved
from tradebot_core.trading.variants import AS_IS, NO_STRESS, SEPARATOR, STRESSES, variant_name

# What coverage looks at.
_OF_BARS = ("security_id", "session", "known_at", "ingested_at")
_OF_FIGURES = ("cik", "known_at", "ingested_at", "shares_outstanding", "shares_diluted")

_NO_INDUSTRY = "No industry was known when the first session was decided: risk.max_sector_weight limits nothing until one is."
_MOST_PROCESSES = 3  # for figures; each takes up to 400 MB, and all together stay below 2 GiB


@dataclass(frozen=True)
class SideBySide:
    """A strategy and its variants over the same sessions. `causes` are those of trading/comparison.py, by variant."""

    sessions: Sequence[date]
    figures: Mapping[str, Performance]
    causes: Mapping[str, pl.DataFrame]
    selection: Selection


@dataclass(frozen=True)
class Tradebot:
    """Everything wired. The Dagster assets and the command line call these methods and nothing deeper."""

    config: Config
    config_path: Path
    calendar: TradingCalendar
    clock: Clock
    store: DataStore
    collectors: Mapping[str, Collector]
    sleeves: Mapping[str, Sleeve]
    markets: StoredMarkets
    gate: RiskGate

    def sleeve(self, name: str) -> Sleeve:
        try:
            return self.sleeves[name]
        except KeyError:
            known = ", ".join(self.sleeves) or "none is enabled"
            raise UsageError(f"There is no strategy {name}.", f"Configured strategies: {known}.") from None

    def tested(self, name: str) -> Sleeve:
        """A sleeve, or a variant of one, strategy@variant (trading/variants.py). A variant has results and nothing else: no assets, no
        live book, no way to an order."""
        of, separator, variant = name.partition(SEPARATOR)
        sleeve = self.sleeve(of)
        if not separator:
            return sleeve
        index = next(n for n, block in enumerate(self.config.strategies) if block.name == of)
        strategy = make_variant(self.config, self.config_path, index, variant)
        strategy.forecaster = Models(self.markets)
        return sleeve_of(self.config, self.markets.universe, strategy, sleeve.capital, STRESSES.get(variant, NO_STRESS))

    def variants(self, name: str) -> list[str]:
        """Those that every strategy has, and those of its block."""
        block = next(block for block in self.config.strategies if block.name == self.sleeve(name).name)
        return [variant_name(name, variant) for variant in (*STRESSES, *block.variants)]

    # Facts

    def collect(self, name: str, start: date, end: date) -> Collected:
        """Collects the sessions from `start` to `end` of one source. Bars reach back as far as the first session needs."""
        collector = self.collectors[name]
        now = self.clock.now()
        if collector.table is ACTIONS:
            end = self.calendar.next(end)  # what takes effect at the next open voids the orders for it
        if collector.table is BARS and not self._has_bars(self.calendar.previous(start)):
            start = first_bar_needed(start, self.calendar)
        if isinstance(collector, ComparingCollector):
            collector = collector.against(self._held(self.calendar.offset(start, -collector.overlap), end, now))
        if collector.table is SECURITIES:
            securities = self.store.read(SECURITIES, as_of=datetime.max.replace(tzinfo=UTC))
            collector = OneOfSeveral(collector, self.store)
        else:
            securities = self.securities(end)
        collected = collect(self.store, collector, securities, start, end, now)
        if collector.table is FACTS:
            refresh_fundamentals(
                self.store,
                normalise_many,
                securities,
                self.calendar.cutoff(end),
                now,
                min(os.cpu_count() or 1, _MOST_PROCESSES),
            )
        return collected

    def securities(self, session: date) -> pl.DataFrame:
        """The security master's rows, as known at the session's cut-off, of what is in the universe at any time and of what the
        live sleeves hold: what was bought must stay visible, wherever the universe goes."""
        known = self.store.read(SECURITIES, as_of=self.calendar.cutoff(session))
        if known.is_empty():
            raise MissingData(
                f"The store knows no security at {session}.",
                "Materialize contract_details first, with a collector of securities. One that answers for today only (IbkrContracts, "
                "SecTickers) is known from its own day: its params.known_since takes it as known earlier.",
            )
        members = self.markets.members()
        if members is None:
            return known
        self._refuse_unknown_symbols()
        held = {security for name in self.sleeves for security in self.store.ledger.book(name, session).positions}
        return known.filter(pl.col("security_id").is_in([*members["security_id"], *held]))

    def _refuse_unknown_symbols(self) -> None:
        """A symbol written in the configuration that never was is a mistake; a spell of membership long ago may lack its company."""
        ever = self.store.read(SECURITIES, as_of=datetime.max.replace(tzinfo=UTC))
        unknown = [entry.symbol for entry in unresolved(self.markets.universe or (), ever) if not entry.dated]
        if unknown:
            raise UsageError(
                f"The universe names what no security of the store was ever called: {', '.join(unknown)}.",
                " ".join(_like(symbol, set(ever["symbol"])) for symbol in unknown),
            )

    def _held(self, start: date, end: date, now: datetime) -> Held:
        """What the store holds of these sessions at this instant, and every action."""
        bars = self.store.read(BARS, as_of=now, start=start, end=end)
        return Held(bars, self.store.read(ACTIONS, as_of=now), self.store.absent(BARS))

    @property
    def data_checks(self) -> DataChecks:
        return DataChecks(self.store, self.calendar, self.config.quality, self.markets.members())

    def _has_bars(self, session: date) -> bool:
        return not self.store.read_versions(BARS, as_of=self.calendar.cutoff(session), start=session, end=session).is_empty()

    # Backtest

    def backtest(self, name: str, sessions: Sequence[date], restart: bool = False) -> dict[str, pl.DataFrame]:
        """Walks the sleeve's simulated book through `sessions` and stores the result tables, which it returns.

        It continues the book of the session before; where there is none, or with `restart`, a new book is opened with the
        allocated capital. A book made with other settings, or by other code of the strategy, is not continued: UsageError.
        """
        sleeve = self.sleeve(name)
        opening, deposit = self._opening(sleeve, sessions[0], restart)
        walk = self.backtest_walk(sleeve, opening, deposit)
        known = self.markets.decided(sleeve.strategy, sessions)
        for part in by_year(sessions):
            walk.through(part, known.history(sleeve.strategy, part))
        result = walk.result()
        self._keep(name, sessions, result)
        self._remember_trial(sleeve, result, opening, deposit)
        return result.tables

    def sweep(
        self,
        names: Sequence[str],
        sessions: Sequence[date],
        stored: str | None = None,
        progress: Callable[[str], None] = lambda _: None,
    ) -> Mapping[str, int]:
        """Backtests of several variants (strategy@variant) over the same sessions, each on a new book; what they have in common is computed
        once. Stores their results and records them as trials; returns how many layers were evaluated and how many shared.

        `stored` names a strategy whose verdicts of these sessions are in the store and are those of its present definition.
        """
        tested = self._variants_of(names)
        base = [self.sleeve(stored).strategy] if stored is not None else []
        strategies = [*base, *(one.strategy for one in tested)]
        counts = share_layers(self.markets, self.store, strategies, sessions, base, progress)
        self._walk(tested, sessions, progress)
        return counts

    def divide_sweep(self, names: Sequence[str], parts: int) -> Division:
        """How a sweep of these variants is divided into at most so many parts: for the same names and code always in the same way."""
        return divided(self._variants_of(names), parts)

    def sweep_common(
        self, names: Sequence[str], sessions: Sequence[date], parts: int, progress: Callable[[str], None] = lambda _: None
    ) -> None:
        """What comes before the parts of a sweep: the layers that several parts have in common, each computed once."""
        division = self.divide_sweep(names, parts)
        strategies = [one.strategy for part in division.parts for one in part]
        share_layers(self.markets, self.store, strategies, sessions, progress=progress, wanted=division.common)

    def sweep_part(
        self,
        names: Sequence[str],
        sessions: Sequence[date],
        parts: int,
        part: int,
        progress: Callable[[str], None] = lambda _: None,
    ) -> None:
        """One part (from 0 on) of a sweep of all these variants, after `sweep_common`: its own layers, its backtests and their trials.
        Parts write nothing in common but the record of trials and may run at the same time. After all of them the store holds what
        `sweep` leaves; only the order of the trials is that in which they ended."""
        division = self.divide_sweep(names, parts)
        strategies = [one.strategy for one in division.parts[part]]
        share_layers(self.markets, self.store, strategies, sessions, progress=progress, wanted=division.own[part])
        self._walk(division.parts[part], sessions, progress)

    def _variants_of(self, names: Sequence[str]) -> list[Sleeve]:
        for name in names:
            if SEPARATOR not in name:
                raise UsageError(f"{name} is no variant.", f"{variant_name(name, AS_IS)} is the strategy unchanged.")
        return list({one.name: one for one in map(self.tested, names)}.values())

    def _walk(self, tested: Sequence[Sleeve], sessions: Sequence[date], progress: Callable[[str], None]) -> None:
        def walk_of(one: Sleeve) -> BacktestWalk:
            return self.backtest_walk(one, BookState.empty(one.fingerprint), usd(one.capital))

        for one, result in walk_together(self.markets, tested, sessions, walk_of):
            self._keep(one.name, sessions, result)
            self._remember_trial(one, result, BookState.empty(one.fingerprint), usd(one.capital))
            progress(f"{one.name}: {len(result.tables['fills']):,} fills.")

    def _keep(self, name: str, sessions: Sequence[date], result: Backtest) -> None:
        """The book goes first and comes last: while it is there, the tables beside it are those it was made with. A process that is
        killed in between leaves no book; another that writes one of the same name waits."""
        with self.store.writing(name, BACKTEST):
            self.store.forget_results(BOOKS, name, BACKTEST, sessions)
            for table in BACKTEST_TABLES:
                self.store.write_results(table, name, BACKTEST, sessions, result.table(table))

    def side_by_side(self, name: str, progress: Callable[[str], None] = lambda _: None) -> SideBySide:
        """The latest book of the strategy beside its variants, which are run over its sessions, on its stored verdicts."""
        book = self._present_book(name, None)
        names = self.variants(name)
        self.sweep(names, book, name, progress)
        figures = {variant: self.performance(variant, book[0], book[-1]) for variant in (name, *names)}
        short = {variant: variant.partition(SEPARATOR)[2] for variant in names}
        causes = {short[variant]: self.compare(name, variant, book[0], book[-1]).causes for variant in names}
        by_short = {short.get(variant, variant): found for variant, found in figures.items()}
        return SideBySide(book, by_short, causes, self.selection(name, book[0], book[-1]))

    def _remember_trial(self, sleeve: Sleeve, result: Backtest, opening: BookState, deposit: Decimal | None) -> None:
        before = deposit if deposit is not None else sleeve_equity(opening.book, opening.prices)
        run = trial_run(
            sleeve.strategy,
            sleeve.settings,
            sleeve.stress == NO_STRESS,
            result.tables["equity"],
            float(before),
            self.store.data_version(),
            code_version(self.config.allowed_packages),
            self.clock.now(),
        )
        self.store.trials.record(run)

    def trials(self, name: str) -> list[Trial]:
        """All trials of the strategy's class, under whatever name, in the order in which they were first run."""
        return trials_of(self.store.trials.runs(idea_of(self.tested(name).strategy)))

    def selection(self, name: str, start: date | None = None, end: date | None = None) -> Selection:
        """What the number of trials leaves of a backtest's result; `start` and `end` as in `performance`."""
        sessions, returns = self.returns(name, start, end)
        return selection(self.store.trials.runs(idea_of(self.tested(name).strategy)), sessions, returns)

    def returns(self, name: str, start: date | None = None, end: date | None = None) -> tuple[list[date], list[float]]:
        """Of the backtest, per session; `start` and `end` as in `performance`."""
        with self._book(name).read_as_one(start, end) as book:
            equity = self.store.read_results(EQUITY, name, BACKTEST, book[0], book[-1])
            path = [self._equity_before(name, book[0]), *equity["equity"].cast(pl.Float64)]
        return equity["session"].to_list(), [after / before - 1 for before, after in pairwise(path)]

    def whole_book(self, name: str, until: date | None = None) -> Sequence[date]:
        return self._book(name).whole(until)

    def walk_forward(
        self, names: Sequence[str], start: date, end: date, train_years: int, test_years: int, figure: str
    ) -> WalkForward:
        """Of these backtests (stresses of others are left out), the best of each training window, followed in the window after it."""
        choices = [name for name in names if self.tested(name).stress == NO_STRESS]
        found = {name: self.returns(name, start, end) for name in choices}
        sessions = found[choices[0]][0]
        self.require_windows(sessions, train_years, test_years)
        return walk_forward(sessions, {name: values for name, (_, values) in found.items()}, train_years, test_years, figure)

    def require_windows(self, sessions: Sequence[date], train_years: int, test_years: int) -> None:
        try:
            require_windows(sessions, train_years, test_years)
        except ValueError as error:
            raise UsageError(
                f"There is no walk-forward of {train_years} and {test_years} years: {error}.",
                "Take a longer range or shorter windows.",
            ) from error

    def compare(self, one: str, other: str, start: date | None = None, end: date | None = None) -> Comparison:
        """Where the decisions of two backtests differ and why, over the sessions that both have (trading/comparison.py)."""
        books = [set(self._present_book(name, end)) for name in (one, other)]
        common = [session for session in sorted(books[0] & books[1]) if start is None or session >= start]
        if not common:
            raise MissingData(
                f"The backtests of {one} and {other} have no session in common there.",
                "Run both over the same sessions: `tradebot sweep` does, with as_is as the strategy unchanged.",
            )
        with self._book(one).read_as_one(start, end), self._book(other).read_as_one(start, end):
            return compare(self.store, self.tested(one).strategy, self.tested(other).strategy, common)

    def _present_book(self, name: str, end: date | None) -> Sequence[date]:
        """The sessions of its latest unbroken book. Raises where there is none, or where it was made with other settings."""
        sleeve = self.tested(name)
        book = self.whole_book(sleeve.name, end)
        self._require_made_as_it_is(sleeve, book, how_to_test(name))
        return book

    def _require_made_as_it_is(self, sleeve: Sleeve, book: Sequence[date], mend: str) -> None:
        made = self._book(sleeve.name).state(book[-1])
        assert made is not None
        if otherwise := sleeve.made_otherwise(made.fingerprint):
            raise UsageError(f"The backtest of {sleeve.name} was made with {otherwise}: not with what is in force.", mend)

    def backtest_walk(self, sleeve: Sleeve, opening: BookState, deposit: Decimal | None) -> BacktestWalk:
        def engine_at(clock: Clock, market: OpeningMarket) -> ExecutionEngine:
            engine = SimulatedEngine(market, self.calendar, clock, self.config.costs)
            times = sleeve.stress.costs_times
            return engine if times == 1 else CostlierEngine(engine, market, times)

        return BacktestWalk(
            sleeve.strategy,
            opening,
            deposit,
            self.calendar,
            self.gate,
            self.config.risk,
            engine_at,
            self._book(sleeve.name),
            self._simulated_account.entries,
        )

    @property
    def _simulated_account(self) -> SimulatedAccount:
        costs = self.config.costs
        return SimulatedAccount(
            self.calendar, self.config.withholding, costs.interest, costs.interest_free_cash, costs.delisting_return
        )

    def _opening(self, sleeve: Sleeve, first: date, restart: bool) -> tuple[BookState, Decimal | None]:
        before = self.calendar.previous(first)
        state = None if restart else self._book(sleeve.name).state(before)
        if state is None:
            if not restart and any(before in self.store.result_sessions(t, sleeve.name, BACKTEST) for t in BACKTEST_TABLES):
                raise MissingData(
                    f"The backtest of {sleeve.name} up to {before} was not stored whole (its run broke off, or is storing it now), "
                    "and is not continued.",
                    f"Run it again from its first session, `tradebot backtest {sleeve.name} --start ... --end ...`, "
                    f"or start a new book on {first} (restart; on the command line, without --continue).",
                )
            return BookState.empty(sleeve.fingerprint), usd(sleeve.capital)
        if otherwise := sleeve.made_otherwise(state.fingerprint):
            opened = (self.backtest_sessions(sleeve.name, before) or [before])[0]
            raise UsageError(
                f"The backtest of {sleeve.name} up to {before} was made with {otherwise}, and is not continued.",
                f"Run it again from its first session, `tradebot backtest {sleeve.name} --start {opened} --end ...`, "
                f"or start a new book on {first} (restart; on the command line, without --continue).",
            )
        return state, None

    def backtest_sessions(self, name: str, until: date | None = None) -> Sequence[date]:
        """The sessions of the latest unbroken book (up to `until`): each begins where the one before ended."""
        return self._book(name).sessions(until)

    def _book(self, name: str) -> StoredBook:
        return StoredBook(self.store, self.calendar, name)

    def performance(self, name: str, start: date | None = None, end: date | None = None) -> Performance:
        """Figures of the backtest from `start` to `end`; both default to the latest unbroken book's."""
        with self._book(name).read_as_one(start, end) as book:
            tables = {
                table: self.store.read_results(RESULT_TABLES[table], name, BACKTEST, book[0], book[-1])
                for table in ("equity", "fills", "entries")
            }
            before = self._equity_before(name, book[0])
        return summarise(tables["equity"], tables["fills"], tables["entries"], before)

    def lookahead(
        self, name: str, start: date | None = None, end: date | None = None, most: int | None = None, seed: int = 0
    ) -> LookAhead:
        """Whether the backtest from `start` to `end` (default: the latest unbroken book) saw what was not known yet: at most `most` of its
        sessions are looked at (trading/lookahead_sample.py says which), all when None.

        Raises MissingData where there is no backtest, and UsageError where it was made with other settings than those in force.
        """
        sleeve = self.sleeve(name)
        book = self.backtest_sessions(name, end)
        sessions = [session for session in book if start is None or session >= start]
        if not sessions:
            raise MissingData(
                f"There is no backtest of {name} there.", f"Run `tradebot backtest {name} --start ... --end ...`."
            )
        self._require_made_as_it_is(sleeve, book, f"{how_to_test(name)} Then look at what it saw.")
        chosen = sample(self.store, self.calendar, name, sessions, most, seed)
        gate = LookAheadGate(sleeve.strategy, self.markets, usd(sleeve.capital), partial(self.backtest_walk, sleeve))
        return gate.check(chosen, sessions)

    def report(self, name: str, end: date | None = None) -> Report:
        """Everything there is to say of the latest unbroken book up to `end`, from its opening on. Reads all bars and verdicts of the
        range, year by year."""
        with self._book(name).read_as_one(end=end) as book:
            return make_report(
                self.store,
                self.calendar,
                name,
                [layer.name for layer in self.sleeve(name).strategy.layers()],
                book,
                self._equity_before(name, book[0]),
                self.markets.members(),
                self.config.benchmark,
                self.coverage(book),
                self.selection(name, book[0], book[-1]),
            )

    def write_tear_sheet(self, report: Report, path: Path | None = None) -> Path:
        """One HTML file; without a `path` it is at `tear_sheet`. Returns where it is."""
        from tradebot_core.trading.tear_sheet import write  # noqa: PLC0415  draws with matplotlib, half a second to load

        path = path or self.tear_sheet(report.strategy)
        write(report, path)
        return path

    def tear_sheet(self, name: str) -> Path:
        """Where that of the strategy's last report is."""
        return self.config.data_store.path / "reports" / f"{name}.html"

    def coverage(self, sessions: Sequence[date]) -> Coverage:
        """How much of the universe there was to see in consecutive sessions."""
        until, ever = self.calendar.cutoff(sessions[-1]), datetime.max.replace(tzinfo=UTC)
        unknown = unresolved(self.markets.universe or (), self.store.read(SECURITIES, as_of=ever))
        securities = self.store.read_versions(SECURITIES, as_of=until)
        caveats = [caveat for collector in self.collectors.values() if (caveat := getattr(collector, "caveat", ""))]
        told = securities.filter(pl.col("industry").is_not_null())["known_at"].min()
        if told is None or told > self.calendar.cutoff(sessions[0]):
            caveats.append(_NO_INDUSTRY)
        return coverage(
            sessions,
            self.calendar,
            securities,
            self.markets.members(),
            _year_by_year(self.store, sessions, until),
            self.store.read(ACTIONS, as_of=until, end=sessions[-1]),
            self.store.read_versions(FUNDAMENTALS, as_of=until, without=_all_but(FUNDAMENTALS, _OF_FIGURES)),
            [entry.symbol for entry in unknown],
            caveats,
        )

    def _equity_before(self, name: str, start: date) -> float:
        """What a range began with: the equity of the session before, or the capital where the book was opened in it."""
        opened = self.store.read_results(BOOKS, name, BACKTEST, start, start)
        before = self.calendar.previous(start)
        equity = self.store.read_results(EQUITY, name, BACKTEST, before, before)
        if equity.is_empty() or (not opened.is_empty() and opened["before"][0] == ""):
            return float(self.tested(name).capital)
        return float(equity["equity"][0])

    # Live

    @property
    def desk(self) -> LiveDesk:
        return LiveDesk(
            self.store,
            self.calendar,
            self.markets,
            self.config.risk,
            self.gate,
            self._engine,
            self.clock,
            self._venue,
            reconciler=None if self.config.ibkr is None or self.config.mode is Mode.DRY_RUN else self.account_reconciler,
            quotes=None if self.config.ibkr is None else self._quotes,
            why_not_armed=self.arming.why_not,
        )

    def _quotes(self) -> QuoteSource:
        """Who is asked for the price of the moment at which an order is sent."""
        assert self.config.ibkr is not None
        from tradebot_core.ibkr.quotes import Quotes  # noqa: PLC0415  ib_async is only loaded where it is used

        return Quotes(self.config.ibkr, self.config.mode, self.clock, self._con_ids)

    def account_reconciler(self) -> AccountReconciler:
        """Of the account of the ibkr block. Raises UsageError when there is none."""
        if self.config.ibkr is None:
            raise UsageError("There is no ibkr block, so there is no account to compare the ledger with.")
        from tradebot_core.ibkr.account import IbkrAccountReader  # noqa: PLC0415  ib_async is only loaded where it is used
        from tradebot_core.ibkr.orders import order_reference  # noqa: PLC0415

        reader = IbkrAccountReader(self.config.ibkr, self.config.mode)
        return AccountReconciler(
            self.store.ledger,
            self.calendar,
            self.sleeves,
            reader,
            self._con_ids,
            order_reference,
            due=partial(due_entries, self.markets, self.calendar),
            former=self._former_con_ids,
            actions=self._known_actions,
            withholding=self.config.ibkr.dividend_withholding,
            margin=self.config.ibkr.account_type == "margin",
        )

    @property
    def arming(self) -> Arming:
        settings = {name: sleeve.settings for name, sleeve in self.sleeves.items()}  # the code is that of all
        return arming_of(self.config, self.store.ledger, settings, code_version(self.config.allowed_packages))

    @property
    def _venue(self) -> str:
        """Where orders of real sleeves go, in words; see `_engine`."""
        ibkr, mode = self.config.ibkr, self.config.mode
        place = f"account {ibkr.account} at Interactive Brokers" if ibkr is not None else "the simulated engine"
        return f"a dry run beside {place}" if mode is Mode.DRY_RUN else f"{place} ({mode})"

    def _con_ids(self) -> dict[int, int]:
        """The broker's contract numbers by security_id, where they are known: a ticker may be another company's tomorrow."""
        known = self.store.read(SECURITIES, as_of=self.clock.now()).sort("valid_from")
        return dict(known.filter(pl.col("con_id").is_not_null()).select("security_id", "con_id").iter_rows())

    def _former_con_ids(self) -> dict[int, int]:
        """The broker's present contract number by an earlier one of the same security; one that another security has now is none."""
        known = self.store.read(SECURITIES, as_of=self.clock.now()).filter(pl.col("con_id").is_not_null())
        present = self._con_ids()
        return {
            con_id: present[security]
            for security, con_id in known.select("security_id", "con_id").iter_rows()
            if con_id != present[security] and con_id not in present.values()
        }

    def _known_actions(self, start: date, end: date) -> list[KnownAction]:
        """Corporate actions of these days, on the listings that the security master knows."""
        now, con_ids = self.clock.now(), self._con_ids()
        symbols = dict(self.store.read(SECURITIES, as_of=now).sort("valid_from").select("security_id", "symbol").iter_rows())
        found = self.store.read(ACTIONS, as_of=now, start=start, end=end).select("security_id", "session", "type", "value")
        return [
            KnownAction(con_ids[security], symbols[security], on, ActionType(kind), Decimal(str(value)))
            for security, on, kind, value in found.iter_rows()
            if security in con_ids
        ]

    def _engine(self) -> ExecutionEngine:
        """The one place where an engine for real sleeves is made."""
        folder = self.config.data_store.path
        if self.config.ibkr is not None:
            from tradebot_core.execution.ibkr import IbkrEngine  # noqa: PLC0415  ib_async is only loaded where it is used

            engine: ExecutionEngine = IbkrEngine(self.config.ibkr, self.config.mode, self._con_ids(), clock=self.clock)
        elif self.config.mode is Mode.LIVE:
            raise ConfigurationError("Mode live needs an ibkr block.")
        else:
            path = folder / "simulated_engine.jsonl"
            engine = SimulatedEngine(self.markets, self.calendar, self.clock, self.config.costs, path)
        if self.config.mode is Mode.DRY_RUN:
            from tradebot_core.execution.dry_run import DryRunEngine  # noqa: PLC0415

            return DryRunEngine(engine, folder / "dry_run.jsonl", self.calendar, self.clock)
        return engine


def build(config: Config, config_path: Path) -> Tradebot:
    """Raises ConfigurationError naming file and line when a block cannot be made."""
    calendar = xnys(config.decision_cutoff)
    clock: Clock = SampleClock(SampleMarket(config.sample_market.path).clock_path) if config.sample_market else SystemClock()
    store = FileStore(config.data_store.path, calendar, fictional=config.sample_market is not None)
    collectors = {block.name: make_collector(config, config_path, n, calendar) for n, block in enumerate(config.collectors)}
    universe = _universe(config)
    sleeves = {
        block.name: sleeve_of(config, universe, make_strategy(config, config_path, n), block.allocated_capital)
        for n, block in enumerate(config.strategies)
        if block.enabled
    }
    for n, block in enumerate(config.strategies):
        if block.enabled:
            require_variants(config, config_path, n)
    markets = StoredMarkets(store, calendar, universe, config.quality)
    for sleeve in sleeves.values():
        sleeve.strategy.forecaster = Models(markets)
    return Tradebot(config, config_path, calendar, clock, store, collectors, sleeves, markets, LimitGate(config.risk))


def load(path: Path) -> Tradebot:
    return build(load_config(path), path)


def build_for_orders(config: Config) -> Tradebot:
    """Ledger and engine, and nothing that may be broken when orders have to be cancelled: no strategy, collector or universe."""
    bare = {"strategies": (), "collectors": (), "universe": UniverseSettings()}
    return build(config.model_copy(update=bare), Path())


def _year_by_year(store: DataStore, sessions: Sequence[date], as_of: datetime) -> Iterator[pl.DataFrame]:
    """What coverage looks at of the bars."""
    for part in by_year(sessions):
        yield store.read_versions(BARS, as_of=as_of, start=part[0], end=part[-1], without=_all_but(BARS, _OF_BARS))


def _all_but(table: FactTable, needed: Sequence[str]) -> list[str]:
    return [name for name in table.schema if name not in needed]


def _like(symbol: str, known: Set[str]) -> str:
    """What may have been meant by a symbol that is not known."""
    if symbol.upper() in known:
        return f"{symbol}: symbols are written in capitals, {symbol.upper()}."
    close = get_close_matches(symbol.upper(), sorted(known))
    return (
        f"{symbol}: did you mean {' or '.join(close)}?" if close else f"{symbol}: correct it, or collect the securities anew."
    )


def _universe(config: Config) -> tuple[UniverseEntry, ...] | None:
    universe = config.universe
    if universe.file is not None:
        return read_universe(universe.file)
    return None if universe.symbols is None else tuple(map(UniverseEntry, universe.symbols))
