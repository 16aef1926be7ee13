"""`tradebot restatements`: what later filings changed under stored decisions, and what these would be now."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from itertools import groupby
from pathlib import Path

import click
import polars as pl

from tradebot_core.errors import UsageError
from tradebot_core.model.decision import Decision, Verdict
from tradebot_core.model.issuers import issuer_groups
from tradebot_core.model.tables import FACTS, SECURITIES
from tradebot_core.trading.company import symbols_alike
from tradebot_core.trading.reasoning import number
from tradebot_core.trading.restatements import (
    Affected,
    Correction,
    Issuer,
    Restatement,
    Reviewer,
    VerdictChange,
    corrections,
    issuers,
)
from tradebot_core.wiring import Tradebot, load
from tradebot_dagster.cli.arguments import DAY
from tradebot_dagster.cli.output import emit


@click.command()
@click.argument("symbol", required=False)
@click.option("--cik", type=click.IntRange(min=1), help="The issuer, by its number at the SEC.")
@click.option("--accession", metavar="NUMBER", help="Only what this filing changed.")
@click.option("--since", type=DAY, help="Only filings known from this day on.")
@click.option("--strategy", help="Only decisions of this strategy.  [default: all that are enabled]")
@click.pass_obj
def restatements(
    config_path: Path, symbol: str | None, cik: int | None, accession: str | None, since: date | None, strategy: str | None
) -> None:
    """Which stored decisions read a figure that a later filing changed, and what they would be with the figure as it is now.

    For each filing that reports a number otherwise than a filing before it: the sessions of backtests and live books that had read
    the earlier number, each figure then and now, and every verdict and decision made again on the session's own data with only
    those figures replaced. Nothing that is stored is changed. Without an issuer or a filing, all are looked at.

    \b
    Examples:
      tradebot restatements XOM --since 2018-01-01
      tradebot restatements --accession 0000034088-18-000015 --strategy quality_growth --json
    """
    bot = load(config_path)
    now = bot.clock.now()
    if symbol is not None and cik is not None:
        raise UsageError("Both a symbol and a CIK were given.", "Name the issuer once.")
    ciks = [cik] if cik is not None else None if symbol is None else _issuers_named(bot, symbol, now)
    if accession is not None:
        ciks = _issuers_of(bot, accession, ciks, now)
    found = [
        restatement
        for issuer in issuers(bot.store, now, ciks)
        for correction in corrections(issuer, since, accession)
        if (restatement := _restatement(bot, issuer, correction, strategy)) is not None
    ]
    emit({"restatements": found}, _page(found))


def _restatement(bot: Tradebot, issuer: Issuer, correction: Correction, strategy: str | None) -> Restatement | None:
    """None when no decision had read what the filing changed."""
    sleeves = [bot.sleeve(strategy)] if strategy is not None else list(bot.sleeves.values())
    if not correction.of_row:
        return None
    affected = tuple(
        affected
        for sleeve in sleeves
        for affected in Reviewer(bot.markets, bot.config.risk, sleeve.strategy).review(issuer, correction)
    )
    if not affected:
        return None
    return Restatement(issuer.cik, issuer.company, correction.filing, correction.changes, affected)


def _issuers_named(bot: Tradebot, symbol: str, now: datetime) -> list[int]:
    listings = bot.store.read_versions(SECURITIES, as_of=now)
    named = listings.filter(pl.col("symbol").str.to_uppercase() == symbol.upper())["cik"].unique().sort().to_list()
    if not named:
        raise UsageError(f"The store knows no security {symbol}.", symbols_alike(listings, symbol))
    if len(named) > 1:
        raise UsageError(f"{symbol} was the symbol of several issuers.", f"Add --cik with one of {', '.join(map(str, named))}.")
    return named


def _issuers_of(bot: Tradebot, accession: str, ciks: Sequence[int] | None, now: datetime) -> list[int]:
    named: list[int] = []
    for group in issuer_groups(bot.store.newest(FACTS, as_of=now)["cik"] if ciks is None else ciks):
        facts = bot.store.read_versions(FACTS, as_of=now, ciks=group)
        named += facts.filter(pl.col("accession") == accession)["cik"].unique().sort().to_list()
    if not named:
        of_issuer = "" if ciks is None else " of that issuer"
        raise UsageError(
            f"The store has no facts{of_issuer} from a filing {accession}.",
            "`tradebot export facts` lists the filings under accession; they look like 0000034088-18-000015.",
        )
    return named


def _page(found: Sequence[Restatement]) -> str:
    if not found:
        return "No stored decision had read a figure that a later filing changed."
    return "\n\n".join("\n".join(_lines(restatement)) for restatement in found)


def _lines(restatement: Restatement) -> Iterator[str]:
    filing = restatement.filing
    yield (
        f"{restatement.company} (CIK {restatement.cik}): {filing.form} {filing.accession}, "
        f"known {filing.known_at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
    )
    for change in restatement.changes:
        period = f"{change.period_start} to {change.period_end}" if change.period_start else f"{change.period_end}"
        then, now = number(change.value_then), number(change.value_now)
        yield f"  {change.taxonomy}:{change.tag}  {period}  {then} -> {now} {change.unit}  (was {change.accession_then})"
    for alike, group in groupby(restatement.affected, key=_what_is_told):
        sessions = [affected.session for affected in group]
        yield ""
        yield from _affected_lines(alike, sessions)


def _what_is_told(affected: Affected) -> Affected:
    """Sessions that differ only in amounts that move with the price are told as one range."""

    def told(verdict: Verdict | None) -> Verdict | None:
        return None if verdict is None else replace(verdict, value=None)

    def decided(decision: Decision | None) -> Decision | None:
        return None if decision is None else replace(decision, session=date.min, value=None)

    return replace(
        affected,
        session=date.min,
        verdicts=tuple(replace(v, then=told(v.then), now=told(v.now)) for v in affected.verdicts),  # type: ignore[arg-type]
        decisions=tuple(replace(d, then=decided(d.then), now=decided(d.now)) for d in affected.decisions),
    )


def _affected_lines(affected: Affected, sessions: Sequence[date]) -> Iterator[str]:
    span = f"{sessions[0]}" if len(sessions) == 1 else f"{sessions[0]} to {sessions[-1]} ({len(sessions)} sessions)"
    yield f"  {affected.strategy}, {affected.book}, {affected.symbol}, {span}"
    for figure in affected.figures:
        yield f"    {figure.figure:<26}{_value(figure.value_then):>20} -> {_value(figure.value_now)}"
    for verdict in affected.verdicts:
        yield f"    {_verdict_line(verdict)}"
    for change in affected.decisions:
        yield f"    decision on {change.symbol}: {_decision(change.then)} -> {_decision(change.now)}"
    if not affected.decisions:
        yield "    no decision would be another"
    if not affected.reproduced:
        yield "    (what is stored was made with other data or parameters: made again as it stood, it differs as well)"


def _verdict_line(change: VerdictChange) -> str:
    now = "would not be shown it" if change.now is None else _verdict(change.now)
    then = _verdict(change.then)
    return f"{change.layer} on {change.symbol}: {then}" + (f" -> {now}" if change.flipped or now != then else ", the same now")


def _verdict(verdict: Verdict) -> str:
    return f"{'passed' if verdict.passed else 'FAILED'} ({verdict.rule})"


def _decision(decision: Decision | None) -> str:
    if decision is None:
        return "none"
    weight = f" {decision.target_weight:.1%}" if decision.target_weight else ""
    return f"{decision.action.upper()}{weight} ({decision.rule})"


def _value(value: float | None) -> str:
    return "missing" if value is None else number(value)
