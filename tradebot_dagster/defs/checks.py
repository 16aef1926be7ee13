"""Asset checks. They run inside the asset's own step, so that they judge exactly the sessions it was run for, and a blocking
one stops what comes after before it can cost money."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import dagster as dg
import polars as pl

from tradebot_core.errors import DataError
from tradebot_core.model.issuers import issuer_groups
from tradebot_core.model.order import OrderState
from tradebot_core.model.tables import ACTIONS, BARS, BOOKS, ENTRIES, EQUITY, FACTS, FUNDAMENTALS, FactTable
from tradebot_core.quant.quality import Kind
from tradebot_core.trading import audit
from tradebot_core.wiring import BACKTEST
from tradebot_dagster.factories import table
from tradebot_dagster.resources import Execution, Research


@dataclass(frozen=True)
class Check:
    """A question about sessions whose right answer is an empty table; it is put to a resource, or to a table.

    Findings of a blocking check are errors; of the others, warnings.
    """

    name: str
    description: str
    blocking: bool
    ask: Callable[[Any, Sequence[date]], pl.DataFrame]


@dataclass(frozen=True)
class Checks:
    """The checks of one asset."""

    asset: dg.AssetKey
    checks: Sequence[Check]

    @property
    def specs(self) -> list[dg.AssetCheckSpec]:
        return [
            dg.AssetCheckSpec(check.name, asset=self.asset, description=check.description, blocking=check.blocking)
            for check in self.checks
        ]

    def require(self, asked: Any, sessions: Sequence[date]) -> None:
        """For runs outside Dagster: raises DataError on the first blocking check that finds something."""
        for check in self.checks:
            if check.blocking and not (found := check.ask(asked, sessions)).is_empty():
                raise DataError(
                    f"{self.asset.to_user_string()}: {check.name} found {len(found)}, the first {found.row(0, named=True)}.",
                    f"It should hold that: {check.description}",
                )

    def results(self, asked: Any, sessions: Sequence[date]) -> list[dg.AssetCheckResult]:
        return [self._result(check, check.ask(asked, sessions)) for check in self.checks]

    def _result(self, check: Check, findings: pl.DataFrame) -> dg.AssetCheckResult:
        return dg.AssetCheckResult(
            passed=findings.is_empty(),
            check_name=check.name,
            asset_key=self.asset,
            severity=dg.AssetCheckSeverity.ERROR if check.blocking else dg.AssetCheckSeverity.WARN,
            description=f"{len(findings)} found, the first: {_in_words(findings)}." if len(findings) else "None found.",
            metadata={"findings": table(findings)} if len(findings) else {},
        )


def _in_words(findings: pl.DataFrame) -> str:
    return ", ".join(f"{name} {value}" for name, value in findings.row(0, named=True).items() if value is not None)


# Facts


def of_collector(asset: dg.AssetKey, collected: FactTable) -> Checks:
    filled = (FACTS, FUNDAMENTALS) if collected is FACTS else (collected,)
    schemas = [_schema(stored) for stored in filled]
    return Checks(asset, [*schemas, *_SOUNDNESS.get(collected.name, ())])


def _schema(stored: FactTable) -> Check:
    def violations(research: Research, sessions: Sequence[date]) -> pl.DataFrame:
        from tradebot_core.schemas import validate  # noqa: PLC0415  pandera costs 0.6 s where nothing is checked

        found = [wrong for rows in _in_parts(research, stored, sessions) for wrong in validate(stored.name, rows)]
        return pl.DataFrame([{name: str(value) for name, value in violation.items()} for violation in found])

    return Check(
        f"{stored.name}_schema", f"Every row of {stored.name} has the types and bounds of its schema.", True, violations
    )


def _in_parts(research: Research, stored: FactTable, sessions: Sequence[date]) -> Iterator[pl.DataFrame]:
    """All versions that are to be judged: of the sessions, or of a group of issuers at a time, for all do not fit in memory."""
    store, until = research.store, research.calendar.cutoff(sessions[-1])
    if "session" in stored.columns:
        yield store.read_versions(stored, as_of=until, start=sessions[0], end=sessions[-1])
    elif stored in (FACTS, FUNDAMENTALS):
        for issuers in issuer_groups(store.newest(stored, as_of=until)["cik"]):
            yield store.read_versions(stored, as_of=until, ciks=issuers)
    else:
        yield store.read_versions(stored, as_of=until)


def _bars(research: Research, sessions: Sequence[date]) -> pl.DataFrame:
    until = research.calendar.cutoff(sessions[-1])
    return research.store.read(BARS, as_of=until, start=sessions[0], end=sessions[-1])


def _unexplained_moves(research: Research, sessions: Sequence[date]) -> pl.DataFrame:
    before_too = [research.calendar.previous(sessions[0]), *sessions]
    actions = research.store.read(ACTIONS, as_of=research.calendar.cutoff(sessions[-1]), start=sessions[0], end=sessions[-1])
    return audit.unexplained_moves(_bars(research, before_too), actions)


def _ended_without_delisting(research: Research, sessions: Sequence[date]) -> pl.DataFrame:
    seen = research.calendar.sessions(research.calendar.offset(sessions[0], -2 * audit.QUIET_SESSIONS), sessions[-1])
    actions = research.store.read(ACTIONS, as_of=research.calendar.cutoff(sessions[-1]), start=seen[0], end=sessions[-1])
    return audit.ended_without_delisting(_bars(research, seen), actions, research.securities(sessions[-1]), seen)


_BARS_ARE_SOUND = (
    Check(
        "every_session_has_bars",
        "No session is without any bar: nothing is decided on prices that never came.",
        True,
        lambda research, sessions: audit.sessions_without_bars(_bars(research, sessions), sessions),
    ),
    Check(
        "every_listed_security_has_bars",
        "Every security of the universe has a bar in every session in which it is listed.",
        False,
        lambda research, sessions: audit.missing_bars(_bars(research, sessions), research.securities(sessions[-1]), sessions),
    ),
    Check(
        "no_unexplained_moves",
        "No close moved by more than half, and no open stands at the ratio of a usual split, without a recorded split.",
        False,
        _unexplained_moves,
    ),
    Check(
        "no_end_without_delisting",
        f"No security stopped trading for {audit.QUIET_SESSIONS} sessions without a delisting or the end of its listing: what is "
        "held of it would be carried at its last price for ever.",
        False,
        _ended_without_delisting,
    ),
)

# What is wrong with one company stops purchases of that company, before the first layer (trading/layers.py); here it is listed.
_FIGURES_ARE_SOUND = (
    Check(
        "accounting_identities_hold",
        "In no filing of these sessions a part is larger than its whole, or a figure below zero that cannot be.",
        False,
        lambda research, sessions: research.data_checks.of_filings(sessions, Kind.IDENTITY),
    ),
    Check(
        "figures_keep_their_scale",
        "No figure of these sessions' filings is of another scale than the company's own before, or than its other figures.",
        False,
        lambda research, sessions: research.data_checks.of_filings(sessions, Kind.SCALE),
    ),
    Check(
        "no_report_is_overdue",
        "Every company has reported when it should have, by the SEC's terms and by its own habit.",
        False,
        lambda research, sessions: research.data_checks.of_session(sessions[-1], Kind.TIMELINESS),
    ),
    Check(
        "every_company_has_figures",
        "Every security listed in the last session has an issuer whose figures are known.",
        False,
        lambda research, sessions: research.data_checks.without_facts(sessions[-1]),
    ),
    Check(
        "key_figures_are_known",
        "No key figure is missing at more companies than quality.null_rate allows.",
        False,
        lambda research, sessions: research.data_checks.null_rates(sessions[-1], research.data_checks.quality.null_rate),
    ),
    Check(
        "revenue_is_known",
        "Revenue is known of most companies (quality.null_rate_of_revenue); if not, the source or its reading is broken.",
        True,
        lambda research, sessions: research.data_checks.null_rates(
            sessions[-1], research.data_checks.quality.null_rate_of_revenue, ["revenue_ttm"]
        ),
    ),
)
_SOUNDNESS = {BARS.name: _BARS_ARE_SOUND, FACTS.name: _FIGURES_ARE_SOUND}

# Layers


def of_first_layer(asset: dg.AssetKey) -> Checks:
    """They are put to what the layer was shown (strategies.Told)."""
    description = "Every filing a session rests on was public at the session's cut-off."
    return Checks(asset, [Check("no_look_ahead", description, True, lambda told, _: pl.concat(told.known_too_late))])


# Live


def of_decisions(asset: dg.AssetKey, max_position_weight: float) -> Checks:
    return Checks(
        asset,
        [
            Check(
                "weights_fit_the_sleeve",
                "The target weights of a session add up to at most the sleeve.",
                True,
                lambda decisions, _: audit.overcommitted_sessions(decisions),
            ),
            Check(
                "purchases_within_position_limit",
                f"No purchase is of more than {max_position_weight:.0%} of the sleeve, the limit of one position.",
                False,
                lambda decisions, _: audit.overweight_decisions(decisions, max_position_weight),
            ),
        ],
    )


def of_orders(asset: dg.AssetKey, strategy: str) -> Checks:
    def unanswered(execution: Execution, sessions: Sequence[date]) -> pl.DataFrame:
        orders = execution.ledger.orders(strategy, sessions[0], sessions[-1])
        in_doubt = [str(OrderState.SENDING), str(OrderState.UNKNOWN)]
        return orders.filter(pl.col("state").is_in(in_doubt)).select("session", "order_key", "state", "detail")

    description = "The broker has answered about every order that was sent. `tradebot reconcile` asks again about the others."
    return Checks(asset, [Check("every_order_answered", description, True, unanswered)])


def of_positions(asset: dg.AssetKey, strategy: str) -> Checks:
    def differing(execution: Execution, sessions: Sequence[date]) -> pl.DataFrame:
        entries = execution.ledger.entries(strategy, sessions[-1])
        return audit.trades_without_their_fill(execution.ledger.fills(strategy, end=sessions[-1]), entries)

    description = "Every execution is entered in the ledger once, with its shares and its money."
    return Checks(asset, [Check("ledger_matches_fills", description, True, differing)])


def of_account(asset: dg.AssetKey) -> Checks:
    description = (
        "Orders, executions, positions and cash are at the broker as in the ledger. `tradebot reconcile` shows each line and what to "
        "do; while one differs, the order run sends nothing of that security, or nothing at all."
    )

    def differing(lines: pl.DataFrame, _: Sequence[date]) -> pl.DataFrame:
        return lines.filter(~pl.col("passed"))

    return Checks(asset, [Check("account_agrees", description, True, differing)])


# Backtest


def of_backtest(asset: dg.AssetKey, strategy: str) -> Checks:
    def broken_links(research: Research, sessions: Sequence[date]) -> pl.DataFrame:
        links = audit.broken_links(research.store.read_results(BOOKS, strategy, BACKTEST, end=sessions[-1]))
        return links.filter(pl.col("session") >= sessions[0])

    def links_broken_later(research: Research, sessions: Sequence[date]) -> pl.DataFrame:
        books = research.store.read_results(BOOKS, strategy, BACKTEST, start=sessions[-1])
        return audit.broken_links(books)

    def unbalanced(research: Research, sessions: Sequence[date]) -> pl.DataFrame:
        book = research.backtest_sessions(strategy, sessions[-1])
        read = research.store.read_results
        equity = read(EQUITY, strategy, BACKTEST, book[0], book[-1])
        return audit.unbalanced_sessions(equity, read(ENTRIES, strategy, BACKTEST, book[0], book[-1]))

    return Checks(
        asset,
        [
            Check(
                "one_unbroken_book", "Every session begins with the book that the one before ended with.", True, broken_links
            ),
            Check(
                "nothing_stale_after",
                "No later session was continued from a book that has since been replaced; extend the backtest to renew them.",
                False,
                links_broken_later,
            ),
            Check("cash_balances", "Cash is the sum of all entries of the book, to the last digit.", True, unbalanced),
            Check(
                "look_ahead_gate",
                "Sessions made again from what was known at their cut-off, and beside noise in place of what came later, give the same "
                "verdicts, decisions, orders and fills to the last bit. `tradebot lookahead` looks at more of them.",
                True,
                lambda research, sessions: research.leaks(strategy, sessions),
            ),
        ],
    )
