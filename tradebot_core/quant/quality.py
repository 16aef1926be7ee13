"""Data checks: what the figures of a company cannot be if its filings, and our reading of them, are right.

Each rule measures a row of the panel (quant/panel.py), which holds what was known at the session's cut-off and nothing later.
A blocking rule stops purchases of the company in that session (trading/layers.py); the others only warn. What cannot be
measured because a figure is missing is no finding: strategies do not buy on missing figures anyway.

Sources: the XBRL US Data Quality Committee's approved rules (DQC_...), https://xbrl.us/data-quality/rules-guidance/; deadlines
of Forms 10-K (60, 75 or 90 days, by size of the filer) and 10-Q (40 or 45), Form 20-F (four months), and the extension of 15 or
5 days by Form 12b-25 (NT 10-K, NT 10-Q; 17 CFR 240.12b-25). The class of a filer is not in its facts: the longest term counts.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

import polars as pl

from tradebot_core.config import QualitySettings
from tradebot_core.model.fundamentals import FIGURES

PREFIX = "data_quality."  # of the rule in a verdict

_COUNTS = ("shares_outstanding", "shares_diluted")
SHARES = (*_COUNTS, "shares", "market_cap")
FLOWS = tuple(figure for figure in FIGURES if "_ttm" in figure)
BALANCE = tuple(figure for figure in FIGURES if figure not in (*FLOWS, *_COUNTS))
KEY_FIGURES = ("revenue_ttm", "net_income_ttm", "operating_cash_flow_ttm", "assets", "equity", "shares_diluted")

_TERM_10K, _TERM_10Q, _TERM_20F = 90 + 15, 45 + 5, 122 + 15  # days, with the extension of Form 12b-25
_ANNUAL_FROM = 300  # days between period ends of a company that reports once a year
_QUARTER = 92


class Kind(StrEnum):
    IDENTITY = "identity"  # what accounting forbids
    SCALE = "scale"  # thousands for units, and the like
    TIMELINESS = "timeliness"
    COMPLETENESS = "completeness"


@dataclass(frozen=True)
class QualityRule:
    """`value` must be on the right side of the threshold, which is the setting of the rule's name (config.QualitySettings).

    `doubts` are the columns that can no longer be relied on when it is not: a finding does not say which of them is wrong.
    """

    name: str
    kind: Kind
    value: pl.Expr
    words: str  # of a finding; {value} and {threshold} are filled in
    source: str
    doubts: tuple[str, ...] = ()
    blocks: bool = True
    comparison: Literal["<=", ">="] = "<="

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns it reads."""
        return tuple(dict.fromkeys(self.value.meta.root_names()))

    def broken(self, threshold: float) -> pl.Expr:
        """True where the value is known and not within the threshold."""
        kept = self.value <= threshold if self.comparison == "<=" else self.value >= threshold
        return (self.value.is_not_null() & kept.not_()).fill_null(False)


def _share(part: pl.Expr, whole: str) -> pl.Expr:
    return pl.when(pl.col(whole) > 0).then(part / pl.col(whole))


def _c(name: str) -> pl.Expr:
    return pl.col(name)


def _days_overdue() -> pl.Expr:
    """Days since the last day on which the next periodic report could be filed in time. Null before a second report is known:
    how often the company reports is not known then."""
    spacing = pl.max_horizontal("report_spacing_days", pl.when(_c("report_spacing_days").is_not_null()).then(_QUARTER))
    form = _c("form").cast(pl.String)
    annual = (spacing >= _ANNUAL_FROM) | form.str.starts_with("20-F") | form.str.starts_with("40-F")
    # After an annual report comes a quarterly one. After a quarterly one either may: the longer term counts.
    term = pl.when(annual).then(_TERM_20F).when(form.is_in(["10-K", "10-KT"])).then(_TERM_10Q).otherwise(_TERM_10K)
    return (_c("fundamentals_age_days") - spacing - term).cast(pl.Float64)


_DQC_4, _DQC_9, _DQC_15 = "XBRL US DQC_0004", "XBRL US DQC_0009", "XBRL US DQC_0015"

RULES: Sequence[QualityRule] = (
    # Minorities and redeemable shares stand beside `equity`: the two together may be less than the assets, not more.
    QualityRule(
        "balance",
        Kind.IDENTITY,
        _share(_c("liabilities") + _c("equity"), "assets"),
        "liabilities and equity are {value} times the assets, which they cannot exceed ({threshold} with the tolerance)",
        _DQC_4,
        BALANCE,
    ),
    QualityRule(
        "unaccounted_assets",
        Kind.IDENTITY,
        _share(_c("assets") - _c("liabilities") - _c("equity"), "assets"),
        "{value} of the assets are neither liabilities nor equity; minorities rarely hold more than {threshold}",
        _DQC_4,
        BALANCE,
        blocks=False,
    ),
    QualityRule(
        "current_assets",
        Kind.IDENTITY,
        _share(_c("current_assets"), "assets"),
        "current assets are {value} times all assets, of which they are a part ({threshold} with the tolerance)",
        _DQC_9,
        BALANCE,
    ),
    QualityRule(
        "current_liabilities",
        Kind.IDENTITY,
        _share(_c("current_liabilities"), "liabilities"),
        "current liabilities are {value} times all liabilities, of which they are a part ({threshold} with the tolerance)",
        _DQC_9,
        BALANCE,
    ),
    QualityRule(
        "cash",
        Kind.IDENTITY,
        _share(_c("cash"), "assets"),
        "cash is {value} times all assets, of which it is a part ({threshold} with the tolerance)",
        _DQC_9,
        BALANCE,
    ),
    QualityRule(
        "debt",
        Kind.IDENTITY,
        _share(_c("debt"), "liabilities"),
        "debt is {value} times all liabilities, of which it is a part ({threshold} with the tolerance)",
        _DQC_9,
        ("debt",),
        blocks=False,
    ),
    QualityRule(
        "gross_profit",
        Kind.IDENTITY,
        _share(_c("gross_profit_ttm"), "revenue_ttm"),
        "gross profit is {value} times the revenue, of which it is a part ({threshold} with the tolerance)",
        _DQC_9,
        FLOWS,
    ),
    QualityRule(
        "revenue_sign",
        Kind.IDENTITY,
        _c("revenue_ttm"),
        "revenue of twelve months is {value}, below {threshold}",
        _DQC_15,
        FLOWS,
        comparison=">=",
    ),
    QualityRule(
        "revenue_scale",
        Kind.SCALE,
        _c("revenue_scale"),
        "revenue changed {value} times against each of the last three periods; beyond {threshold} times it is another scale",
        "scale errors: 8-12 % of filing errors in 2014 (Calcbench)",
        FLOWS,
    ),
    QualityRule(
        "assets_scale",
        Kind.SCALE,
        _c("assets_scale"),
        "assets changed {value} times against each of the last three periods; beyond {threshold} times it is another scale",
        "scale errors: 8-12 % of filing errors in 2014 (Calcbench)",
        BALANCE,
    ),
    QualityRule(
        "shares_scale",
        Kind.SCALE,
        _c("shares_scale"),
        "shares changed {value} times against each of the last three periods; beyond {threshold} times it is another scale",
        "scale errors: 8-12 % of filing errors in 2014 (Calcbench)",
        SHARES,
    ),
    QualityRule(
        "share_counts",
        Kind.SCALE,
        # A count far below the average is that of one class, and not the one that is used (quant/share_counts.py): Mastercard's.
        _share(_c("shares_outstanding"), "shares_diluted"),
        "shares outstanding are {value} times the diluted average, more than {threshold} times: one of them is in another scale",
        "the diluted average counts all share classes (ASC 260-10-45)",
        SHARES,
    ),
    QualityRule(
        "earnings_yield",
        Kind.SCALE,
        _share(_c("net_income_ttm"), "market_cap"),
        "a year's net income is {value} times the market value, more than {threshold} times: shares or income in another scale",
        "no company is sold for a year's profit",
        (*SHARES, *FLOWS),
    ),
    # Against the same filing: they change sign and size too much to be told by a jump. A loss may exceed what is left of the assets
    # (94 of 19,894 small companies' years lost three times theirs), and is a reason to sell, not to doubt.
    QualityRule(
        "income_scale",
        Kind.SCALE,
        _share(pl.max_horizontal("operating_income_ttm", "net_income_ttm"), "assets"),
        "a year's income is {value} times the assets, more than {threshold} times: income or assets in another scale",
        "scale errors: 8-12 % of filing errors in 2014 (Calcbench)",
        (*FLOWS, *BALANCE),
    ),
    QualityRule(
        "cash_flow_scale",
        Kind.SCALE,
        _share(_c("operating_cash_flow_ttm"), "assets"),
        "a year's operating cash flow is {value} times the assets, more than {threshold} times: one of them in another scale",
        "scale errors: 8-12 % of filing errors in 2014 (Calcbench)",
        (*FLOWS, *BALANCE),
    ),
    QualityRule(
        "repeated_figures",
        Kind.SCALE,
        _c("repeated_figures"),
        "revenue, net income and assets are to the dollar those of the period before",
        "figures copied from the period before",
        (*FLOWS, *BALANCE),
    ),
    QualityRule(
        "stale",
        Kind.TIMELINESS,
        _c("fundamentals_age_days").cast(pl.Float64),
        "the last period reported ended {value} days ago; an annual report is never older than {threshold} days",
        "Form 20-F: four months after the year, 15 days more by Form 12b-25",
    ),
    QualityRule(
        "overdue",
        Kind.TIMELINESS,
        _days_overdue(),
        "the next report has been overdue for {value} days, its extension included; {threshold} are allowed for",
        "Forms 10-K (90 days), 10-Q (45 days), 20-F (four months); 17 CFR 240.12b-25 (15 or 5 days more)",
    ),
    QualityRule(
        "late",
        Kind.TIMELINESS,
        (_c("fundamentals_age_days") - _c("report_spacing_days") - _c("report_lag_days")).cast(pl.Float64),
        "the next report is {value} days later than the company's last ones were; {threshold} are usual",
        "the company's own last four reports",
        blocks=False,
    ),
    QualityRule(
        "missing_figures",
        Kind.COMPLETENESS,
        pl.when(_c("period_end").is_not_null()).then(
            pl.sum_horizontal(_c(figure).is_null().cast(pl.Float64) for figure in KEY_FIGURES)
        ),
        f"{{value}} of the {len(KEY_FIGURES)} key figures are missing, more than {{threshold}}",
        f"key figures: {', '.join(KEY_FIGURES)}",
        blocks=False,
    ),
)
RULES_BY_NAME = {rule.name: rule for rule in RULES}


def in_force(settings: QualitySettings, *kinds: Kind) -> list[tuple[QualityRule, float]]:
    """The rules that are not switched off (of these kinds; of all when none is given), each with its threshold."""
    found = ((rule, getattr(settings, rule.name)) for rule in RULES if not kinds or rule.kind in kinds)
    return [(rule, float(threshold)) for rule, threshold in found if threshold != "off"]


_FINDINGS = {"rule": pl.String, "blocks": pl.Boolean, "value": pl.Float64, "threshold": pl.Float64}
_ABOUT = ("session", "symbol", "cik", "period_end", "form", "accession")


def findings(rows: pl.DataFrame, settings: QualitySettings, *kinds: Kind) -> pl.DataFrame:
    """Every rule that a row breaks, in the order of the rows and then of RULES. Rules on columns that `rows` lack are left out.

    Columns: session, symbol, cik, period_end, form and accession as far as the rows have them, rule, blocks, value, threshold.
    """
    about = [column for column in _ABOUT if column in rows.columns]
    schema = {**{column: rows.schema[column] for column in about}, **_FINDINGS}
    numbered, frames = rows.with_row_index("_row"), []
    for rule, threshold in in_force(settings, *kinds):
        if set(rule.columns) <= set(rows.columns):
            verdict = {"rule": pl.lit(rule.name), "blocks": pl.lit(rule.blocks), "value": rule.value, "threshold": threshold}
            found = [pl.lit(made).alias(name) if name == "threshold" else made.alias(name) for name, made in verdict.items()]
            frames.append(numbered.filter(rule.broken(threshold)).select("_row", *about, *found))
    if not frames:
        return pl.DataFrame(schema=schema)
    return pl.concat(frames).sort("_row", maintain_order=True).drop("_row").cast(schema)


def blocks(panel: pl.DataFrame, settings: QualitySettings) -> pl.DataFrame:
    """The rows of the panel that a blocking rule stops, each with the first one: session, security_id, rule, value, threshold."""
    verdict = {"rule": pl.lit(None, pl.String), "value": pl.lit(None, pl.Float64), "threshold": pl.lit(None, pl.Float64)}
    for rule, threshold in reversed(_blocking(settings)):
        broken = rule.broken(threshold)
        found = {"rule": pl.lit(PREFIX + rule.name), "value": rule.value.cast(pl.Float64), "threshold": pl.lit(threshold)}
        verdict = {name: pl.when(broken).then(found[name]).otherwise(before) for name, before in verdict.items()}
    judged = panel.select("session", "security_id", *(made.alias(name) for name, made in verdict.items()))
    return judged.filter(pl.col("rule").is_not_null())


def without_doubted(panel: pl.DataFrame, settings: QualitySettings) -> pl.DataFrame:
    """The panel with null in place of every figure that a blocking finding on its row puts in doubt."""
    doubted: dict[str, list[pl.Expr]] = {}
    for rule, threshold in _blocking(settings):
        for column in rule.doubts:
            doubted.setdefault(column, []).append(rule.broken(threshold))
    return panel.with_columns(
        pl.when(pl.any_horizontal(broken).not_()).then(pl.col(column)).alias(column)
        for column, broken in doubted.items()
        if column in panel.columns
    )


def in_words(rule: QualityRule, value: str, threshold: str) -> str:
    """A finding as a sentence, with its source."""
    return f"{rule.words.format(value=value, threshold=threshold)} ({rule.source})"


def _blocking(settings: QualitySettings) -> list[tuple[QualityRule, float]]:
    return [(rule, threshold) for rule, threshold in in_force(settings) if rule.blocks]
