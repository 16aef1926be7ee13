"""Which reported facts contradict themselves and may not enter, and since when the market could know the others."""

import math
from collections.abc import Mapping
from datetime import date, datetime, timedelta

import polars as pl

from tradebot_core.calendar import TradingCalendar
from tradebot_core.collectors.filing_times import public_from
from tradebot_core.interfaces import Rejected
from tradebot_core.model.keyed_rows import repeats
from tradebot_core.model.tables import FACTS, INSTANT
from tradebot_core.quant.concepts import concept_map

Accepted = Mapping[int, Mapping[str, datetime]]  # cik -> accession -> acceptance (UTC)

_REASONS = {
    "missing_accession": "the fact names no filing (accession number)",
    "missing_form": "the fact names no form",
    "not_finite": "the value is not a finite number",
    "end_before_start": "the period ends before it begins",
    "filed_outside_calendar": "the filing date is outside the trading calendar",
    "filed_before_period_end": "the figure was filed before its period ended",
    "filed_before_accession": "the accession number was given in a later year than the filing date",
    "filed_after_accession": "the filing date is more than a year after the accession number was given",
    "conflicting_versions": "one filing reports two values, or two filing dates, for the same tag, unit and period",
}
_OF_FILINGS = ("missing_accession", "filed_outside_calendar", "filed_before_accession", "filed_after_accession")


def judged(rows: pl.DataFrame, accepted: Accepted, calendar: TradingCalendar) -> tuple[pl.DataFrame, list[Rejected]]:
    """The facts that may enter, each once, with known_at; and those refused, with the first rule each breaks.

    `rows` as company_facts.facts_of gives them. What is true of a filing is judged once for the filing, not for each fact.
    """
    filings = rows.select("filing", "cik", "accession", "filed").unique("filing", maintain_order=True)
    filings = filings.select("cik", "accession", "filed", "filing", **_rules_of_filings(calendar))
    wrong = filings.filter(pl.any_horizontal(_OF_FILINGS))
    rows, repeated = _conflicts_marked(rows)
    rows = rows.with_columns(_early_figures(rows))
    rules = _rules_of_facts() | {
        rule: pl.col("filing").is_in(wrong.filter(pl.col(rule))["filing"].implode()) for rule in _OF_FILINGS
    }
    bad = rows.select(pl.any_horizontal(rules.values())).to_series()
    refused = []
    if bad.any():
        first_rule = pl.coalesce(pl.when(rules[rule]).then(pl.lit(rule)) for rule in _REASONS)
        broken = rows.filter(bad).with_columns(rule=first_rule)
        refused = [_rejected(row) for row in broken.select(*FACTS.columns, "rule").iter_rows(named=True)]
        rows = rows.filter(~bad)
    if repeated:
        rows = rows.filter(~repeats(FACTS.key))
    public = filings.join(wrong, on="filing", how="anti")
    known = [
        public_from(accepted.get(cik, {}).get(accession), filed, calendar)
        for cik, accession, filed in public.select("cik", "accession", "filed").iter_rows()
    ]
    public = public.select("filing", pl.Series("known_at", known, INSTANT))
    return rows.join(public, on="filing", how="left", maintain_order="left").select(*FACTS.columns, "known_at"), refused


def _rules_of_filings(calendar: TradingCalendar) -> dict[str, pl.Expr]:
    accession_year = pl.col("accession").str.slice(11, 2).cast(pl.Int32, strict=False)
    filed_year = pl.col("filed").dt.year() % 100
    rules = {
        "missing_accession": ~pl.col("accession").str.contains(r"^\d{10}-\d{2}-\d{6}$"),
        "filed_outside_calendar": ~pl.col("filed").is_between(calendar.first, calendar.last - timedelta(days=7)),
        # An accession number carries the year in which it was given. A filing cannot have been public before that; the SEC's
        # data has such facts (Salesforce, 0001108524-22-000008 "filed" 2021-03-17).
        "filed_before_accession": filed_year < accession_year,
        "filed_after_accession": filed_year > accession_year + 1,
    }
    return {rule: condition.fill_null(False) for rule, condition in rules.items()}


def _rules_of_facts() -> dict[str, pl.Expr]:
    return {
        "missing_form": pl.col("form") == "",
        "not_finite": ~pl.col("value").is_finite(),
        "end_before_start": (pl.col("period_end") < pl.col("period_start")).fill_null(False),
        "filed_before_period_end": pl.col("early_figure"),
        "conflicting_versions": pl.col("conflicting"),
    }


def _early_figures(rows: pl.DataFrame) -> pl.Series:
    """`early_figure`. Notes report coming years (debt falling due), statements do not: a balance of next December is a wrong date."""
    figures = [f"{tag}|{unit}" for tag, unit in concept_map().by_tag()]
    is_figure = pl.concat_str("taxonomy", pl.lit(":"), "tag", pl.lit("|"), "unit").is_in(figures)
    # The cheap question first: most facts were filed after their period, whatever their tag.
    early = rows.select(pl.arg_where(pl.col("filed") < pl.col("period_end"))).to_series()
    found = early.filter(rows[early].select(is_figure).to_series())
    return pl.int_range(len(rows), dtype=pl.UInt32, eager=True).is_in(found.implode()).alias("early_figure")


def _conflicts_marked(rows: pl.DataFrame) -> tuple[pl.DataFrame, bool]:
    """Without what is repeated alike, `conflicting` where one filing says two things of one period; and whether keys repeat."""
    again = rows.select(repeats(FACTS.key)).to_series()
    if not again.any():
        return rows.with_columns(conflicting=pl.lit(False)), False
    in_doubt = again | again.shift(-1, fill_value=False)
    several = rows.with_row_index("at").filter(in_doubt).unique(rows.columns, keep="first", maintain_order=True)
    conflicting = several.filter(pl.struct("value", "filed").n_unique().over(FACTS.key) > 1)
    at = pl.int_range(len(rows), eager=True)
    kept = ~in_doubt | at.is_in(several["at"].implode())
    return rows.with_columns(at.is_in(conflicting["at"].implode()).alias("conflicting")).filter(kept), True


def _rejected(row: dict[str, object]) -> Rejected:
    rule = str(row.pop("rule"))
    record = {"file": f"CIK{row['cik']:010d}.json", **{key: _plain(value) for key, value in row.items()}}
    return Rejected(record, rule, _REASONS[rule])


def _plain(value: object) -> object:
    if isinstance(value, date):
        return value.isoformat()
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
