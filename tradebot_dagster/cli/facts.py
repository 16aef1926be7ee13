"""`tradebot facts`: what was known about a company at an instant, with the filing that said it."""

from collections.abc import Sequence
from datetime import date, datetime
from pathlib import Path

import click
import polars as pl

from tradebot_core.model.fundamentals import FIGURES
from tradebot_core.trading.company import CompanyAsKnown, Reports, company_as_known, find_company, reported_numbers
from tradebot_core.trading.evidence import SourceFact, filing_link
from tradebot_core.trading.reasoning import number
from tradebot_core.wiring import load
from tradebot_dagster.cli.arguments import DAY, INSTANT, instant_of
from tradebot_dagster.cli.output import emit

_INDENT = " " * 6


@click.command()
@click.argument("company", metavar="SYMBOL|CIK")
@click.argument("names", metavar="[FIGURE|TAG]...", nargs=-1)
@click.option("--as-of", type=INSTANT, help="The instant (a day: its cut-off).  [default: now]")
@click.option(
    "--reports",
    type=click.Choice([str(which) for which in Reports]),
    default=str(Reports.KNOWN),
    show_default=True,
    help="For tags: each number as the last filing public then has it, as the first filing had it, or every report of it.",
)
@click.option("--period-end", type=DAY, help="For tags: only periods that end on this day.")
@click.pass_obj
def facts(
    config_path: Path,
    company: str,
    names: Sequence[str],
    as_of: date | datetime | None,
    reports: str,
    period_end: date | None,
) -> None:
    """What was known about a company at an instant, and which filing said so.

    Without names: every figure, with its rule and the facts it was made of. A name is a figure (revenue_ttm) or a tag that
    the company reports (EarningsPerShareDiluted): then each of its numbers is shown.

    \b
    Examples:
      tradebot facts KO --as-of 2016-02-25
      tradebot facts AAPL revenue_ttm free_cash_flow_ttm --as-of 2014-01-31T15:00:00-05:00
      tradebot facts AAPL EarningsPerShareDiluted --period-end 2013-09-28 --as-of 2014-01-31
      tradebot facts XOM Revenues --period-end 2015-12-31 --reports all --json
    """
    bot = load(config_path)
    instant = instant_of(as_of, bot)
    found = find_company(bot.store, company, instant)
    figures = [name for name in names if name in FIGURES]
    tags = [name for name in names if name not in FIGURES]
    document: dict[str, object] = {"company": found, "as_of": instant}
    text = [f"{found.symbol}  {found.name}  CIK {found.cik}, as known at {instant:%Y-%m-%d %H:%M} UTC"]
    if figures or not names:
        known = company_as_known(bot.store, found, instant, figures)
        document["known"] = known
        text.append(_figures_text(known))
    if tags:
        numbers = reported_numbers(bot.store, found, instant, tags, Reports(reports), period_end)
        rows = [{**row, "link": filing_link(row["cik"], row["accession"])} for row in numbers.iter_rows(named=True)]
        document["reports"] = rows
        text.append(_reports_text(numbers))
    emit(document, "\n\n".join(text))


def _figures_text(known: CompanyAsKnown) -> str:
    lines = [
        f"Figures for the period to {known.period_end}, last changed by {known.form} {known.accession}, "
        f"known {known.known_at:%Y-%m-%d %H:%M} UTC",
        *([f"{known.link}"] if known.link else []),
        "",
    ]
    for figure in known.figures:
        if figure.value is None:
            lines.append(f"{figure.figure:<28}{'missing':>20}  {figure.reason or 'not reported'}")
            continue
        lines.append(f"{figure.figure:<28}{number(figure.value):>20}  {figure.rule or ''}")
        lines += [_fact_text(fact) for fact in figure.facts]
    return "\n".join(lines)


def _fact_text(fact: SourceFact) -> str:
    period = f"{fact.period_start} to {fact.period_end}" if fact.period_start else f"{fact.period_end}"
    return f"{_INDENT}{number(fact.value)} {fact.unit}, {period}, {fact.concept}, {fact.form} {fact.accession} of {fact.filed}"


def _reports_text(numbers: pl.DataFrame) -> str:
    if numbers.is_empty():
        return "No report of it was known by then for that period."
    lines = []
    for (taxonomy, tag, unit), rows in numbers.group_by("taxonomy", "tag", "unit", maintain_order=True):
        lines.append(f"{taxonomy}:{tag} in {unit}")
        for row in rows.iter_rows(named=True):
            period = f"{row['period_start']} to {row['period_end']}" if row["period_start"] else f"{row['period_end']}"
            known = f"known {row['known_at']:%Y-%m-%d %H:%M} UTC"
            lines.append(f"{_INDENT}{period:<26}{number(row['value']):>20}  {row['form']:<8}{row['accession']}  {known}")
    return "\n".join(lines)
