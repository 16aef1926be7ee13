"""What the layers looked at when they judged one security: the figures, the filings they came from, and why one is missing."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import polars as pl

from tradebot_core.calendar import TradingCalendar
from tradebot_core.config import QualitySettings
from tradebot_core.interfaces import DataStore
from tradebot_core.model.fundamentals import FIGURES, Fact, Provenance
from tradebot_core.model.tables import ACTIONS, BARS, FUNDAMENTALS, INSTANT, SECURITIES
from tradebot_core.model_layer import FORECAST, ModelLayer
from tradebot_core.quant.panel import build_panel, first_bar_needed
from tradebot_core.quant.quality import RULES_BY_NAME, findings, in_words
from tradebot_core.quant.reporting import COMPARED
from tradebot_core.quant.share_counts import COVER_PAGE, SHARES_RULES, UNKNOWN_CLASSES
from tradebot_core.quant.statements import provenance_of
from tradebot_core.strategy import Layer, SymbolLayer, TableLayer
from tradebot_core.trading.reasoning import number

Row = Mapping[str, Any]

_FICTIONAL_CIKS_FROM = 9_900_000_000  # the sample market's companies; the SEC has given out no number so high
_SEC_ACCESSION = re.compile(r"\d{10}-\d{2}-\d{6}")
_VENDORS = {  # by taxonomy
    "ibkr": "IBKR fundamental report, latest version of the period",
    "simfin": "SimFin annual statements, last version of the year",
}
_SHARES = ("shares_outstanding", "shares_diluted")  # which of them counts, shares_rule says
# Columns of the panel that are made of others.
_MADE_OF = {"shares": _SHARES, "market_cap": ("close", *_SHARES), "eps": ("eps_diluted_ttm",), **COMPARED}
_WHY_MISSING = {
    "mean_dollar_volume_20d": "not every one of the last 20 sessions has a bar",
    "median_dollar_volume_20d": "not every one of the last 20 sessions has a bar",
    "fundamentals_age_days": "no filing was known at the cut-off",
    "split_factor": "no share count was reported, so its split basis is not known",
}


@dataclass(frozen=True)
class SourceFact:
    """One number and where it was published. `used_for` are the figures that were made of it."""

    concept: str
    value: float
    unit: str
    period_start: date | None
    period_end: date
    form: str | None
    filed: date | None
    known_at: datetime
    accession: str | None
    source: str
    link: str | None
    used_for: tuple[str, ...]


@dataclass(frozen=True)
class FigureUsed:
    """A figure that a layer looked at: how it was made, or (when `value` is None) why it is missing."""

    figure: str
    value: float | None
    rule: str | None
    reason: str | None


@dataclass(frozen=True)
class DataFinding:
    """A data check that a company does not meet (quant/quality.py), and the filing that its figures were last changed by."""

    check: str
    blocks: bool
    value: float
    threshold: float
    reasoning: str
    period_end: date
    form: str
    accession: str
    link: str | None


@dataclass(frozen=True)
class Knowledge:
    """One security as its panel row shows it at the cut-off of a session, and the filings row behind it. `rows`: that row as a table."""

    panel: Row
    rows: pl.DataFrame
    fundamentals: Row | None
    bar: Row | None

    @property
    def filing(self) -> str:
        """The filing that the figures were last changed by, in words."""
        return f"{self.panel['form']} {self.panel['accession']}, period to {self.panel['period_end']}"

    def provenance(self, figure: str) -> Provenance:
        if self.fundamentals is None:
            return Provenance(None, reason="no filing was known at the cut-off")
        try:
            return provenance_of(self.fundamentals, figure)
        except KeyError:
            return Provenance(None, reason="its origin was not recorded")

    def why_missing(self, columns: Sequence[str]) -> str:
        """The reasons for those of the panel's columns that are null; their values when none is."""
        missing = [column for column in _leaves(columns) if self.panel.get(column) is None]
        valued = bool({"shares", "market_cap"} & set(columns))
        if valued and self.panel.get("shares_rule") == UNKNOWN_CLASSES:
            return f"shares: {SHARES_RULES[UNKNOWN_CLASSES]}"
        if valued and self.panel.get("shares") is not None:
            missing = [column for column in missing if column not in _SHARES]
        if missing:
            return "; ".join(f"{column}: {self._reason(column)}" for column in missing)
        parts = ", ".join(f"{column} {self.panel[column]:,.6g}" for column in columns if _is_number(self.panel.get(column)))
        return f"it cannot be computed from {parts}" if parts else "it cannot be computed"

    def _reason(self, column: str) -> str:
        if column in FIGURES:
            return self.provenance(column).reason or "not reported"
        return _WHY_MISSING.get(column, "not known")


def knowledge_of(
    store: DataStore,
    calendar: TradingCalendar,
    security_id: int,
    cik: int,
    session: date,
    ingested_by: datetime | None,
) -> Knowledge | None:
    """None when the security has no bar in the session. `ingested_by` leaves out what came into the store after the decision."""
    cutoff = calendar.cutoff(session)

    def versions(table, key: str, value: int, start: date | None = None) -> pl.DataFrame:
        end = session if start is not None else None
        of_issuer = [value] if key == "cik" else None
        rows = store.read_versions(table, as_of=cutoff, start=start, end=end, ciks=of_issuer).filter(pl.col(key) == value)
        return rows if ingested_by is None else rows.filter(pl.col("ingested_at") <= ingested_by)

    bars = versions(BARS, "security_id", security_id, first_bar_needed(session, calendar))
    filings = versions(FUNDAMENTALS, "cik", cik)
    actions = versions(ACTIONS, "security_id", security_id)
    securities = versions(SECURITIES, "cik", cik)  # of all its classes: how many there are decides which share count stands
    panel = build_panel(bars, actions, securities, filings, [session], calendar)
    if panel.is_empty():
        return None
    row = panel.row(0, named=True)
    last_known = pl.lit(row["fundamentals_known_at"], INSTANT)  # null where nothing was filed: then no row equals it
    behind = filings.filter(pl.col("known_at") == last_known).sort("ingested_at").tail(1).to_dicts()
    bar = bars.filter(pl.col("session") == session).sort("known_at", "ingested_at").tail(1).to_dicts()
    return Knowledge(row, panel, behind[0] if behind else None, bar[0] if bar else None)


def data_findings(knowledge: Knowledge, settings: QualitySettings) -> tuple[DataFinding, ...]:
    """What the data checks find in the row; those that block come first."""
    found = findings(knowledge.rows, settings).sort("blocks", descending=True, maintain_order=True)
    return tuple(
        DataFinding(
            row["rule"],
            row["blocks"],
            row["value"],
            row["threshold"],
            in_words(RULES_BY_NAME[row["rule"]], number(row["value"]), number(row["threshold"])),
            row["period_end"],
            row["form"],
            row["accession"],
            filing_link(row["cik"], row["accession"]),
        )
        for row in found.iter_rows(named=True)
    )


@dataclass(frozen=True)
class Reading:
    """The panel's columns that a layer looked at, in all and for each of its rules."""

    columns: tuple[str, ...]
    of_rule: Mapping[str, tuple[str, ...]]


def readings(layers: Sequence[Layer], row: Row) -> dict[str, Reading]:
    """What each layer looked at, by name; the features of earlier layers are followed back to the panel's columns.

    Expressions say which columns they read; a layer in plain Python is run once more on the row and watched.
    """
    origins: dict[str, tuple[str, ...]] = {}

    def followed(names: Sequence[str]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(origin for name in names for origin in origins.get(name, (name,))))

    found: dict[str, Reading] = {}
    for layer in layers:
        if isinstance(layer, TableLayer):
            for expression in (e for step in layer.steps for e in step):
                origins[expression.meta.output_name()] = followed(expression.meta.root_names())
            of_rule = {rule.name: followed(rule.value.meta.root_names()) for rule in layer.rules}
            features = followed(layer.features)
            found[layer.name] = Reading(tuple(dict.fromkeys([*sum(of_rule.values(), ()), *features])), of_rule)
        elif isinstance(layer, SymbolLayer):
            if isinstance(layer, ModelLayer):
                shown = followed([name for value in layer.inputs.values() for name in value.meta.root_names()])
                origins |= dict.fromkeys((FORECAST, *layer.inputs), shown)
            watched = _Watched(row)
            layer.process(row["symbol"], watched)
            origins.update(dict.fromkeys(layer.features, followed(list(watched.seen))))
            found[layer.name] = Reading(followed(list(watched.seen)), {})
        else:
            found[layer.name] = Reading(tuple(row), {})
    return found


def figures_used(knowledge: Knowledge, columns: Sequence[str]) -> tuple[FigureUsed, ...]:
    """The figures among the columns, and those that the market value is made of."""
    leaves = _leaves(columns)
    if knowledge.panel.get("shares_rule") == COVER_PAGE and "shares_diluted" not in columns:
        leaves = tuple(name for name in leaves if name != "shares_diluted")
    found = []
    for figure in FIGURES:
        if figure in leaves:
            value, origin = knowledge.panel.get(figure), knowledge.provenance(figure)
            reason = None if value is not None else origin.reason or "not reported"
            found.append(FigureUsed(figure, value, origin.rule, reason))
    return tuple(found)


def figures_among(columns: Sequence[str]) -> tuple[str, ...]:
    """The figures that a look at these columns of the panel is a look at."""
    leaves = _leaves(columns)
    return tuple(figure for figure in FIGURES if figure in leaves)


def facts_used(knowledge: Knowledge, figures: Sequence[FigureUsed], columns: Sequence[str]) -> tuple[SourceFact, ...]:
    """Every reported number behind the figures, once each; then the price, and the market value where it was looked at."""
    used: dict[Fact, list[str]] = {}
    for figure in figures:
        for fact in knowledge.provenance(figure.figure).inputs:
            used.setdefault(fact, []).append(figure.figure)
    return tuple([source_fact(fact, names) for fact, names in used.items()] + list(_market_facts(knowledge, columns)))


def filing_link(cik: int, accession: str) -> str | None:
    """The filing in the SEC's archive; None for a fictional company, and where a vendor's report gives no SEC number."""
    if cik >= _FICTIONAL_CIKS_FROM or not _SEC_ACCESSION.fullmatch(accession):
        return None
    return f"https://www.sec.gov/Archives/edgar/data/{cik}/{accession.replace('-', '')}/"


def source_fact(fact: Fact, used_for: Sequence[str]) -> SourceFact:
    """A reported number with its filing and, for a real company, the filing's address."""
    link = filing_link(fact.cik, fact.accession)
    return SourceFact(
        f"{fact.taxonomy}:{fact.tag}",
        fact.value,
        fact.unit,
        fact.period_start,
        fact.period_end,
        fact.form,
        fact.filed,
        fact.known_at,
        fact.accession,
        _VENDORS.get(fact.taxonomy) or ("SEC EDGAR companyfacts" if link else "sample market (fictional)"),
        link,
        tuple(used_for),
    )


def _market_facts(knowledge: Knowledge, columns: Sequence[str]) -> Iterator[SourceFact]:
    row, bar = knowledge.panel, knowledge.bar
    if bar is None:
        return

    def market(concept: str, value: float, unit: str, source: str, used_for: tuple[str, ...]) -> SourceFact:
        session, known = bar["session"], bar["known_at"]
        return SourceFact(concept, value, unit, None, session, None, None, known, None, source, None, used_for)

    values_company = "market_cap" in columns and row["market_cap"] is not None
    yield market("close", bar["close"], "USD/share", bar["source"], ("market_cap",) if values_company else ())
    if values_company:
        ratio = row["shares_per_listed"]
        divided = "" if ratio in (None, 1) else f" / {ratio:.6g} shares of the issuer in one listed share"
        which = "" if row["shares_rule"] == COVER_PAGE else f"; shares: {SHARES_RULES[row['shares_rule']]}"
        made = f"computed: {row['shares']:,.0f} shares x close{divided}{which}"
        yield market("market_cap", row["market_cap"], "USD", made, ())


def _leaves(columns: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(leaf for column in columns for leaf in _MADE_OF.get(column, (column,))))


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


class _Watched(Mapping[str, Any]):
    """A row that remembers which of its columns were read."""

    def __init__(self, row: Row) -> None:
        self._row = row
        self.seen: dict[str, None] = {}

    def __getitem__(self, name: str) -> Any:
        value = self._row[name]
        self.seen[name] = None
        return value

    def __iter__(self) -> Iterator[str]:
        return iter(self._row)

    def __len__(self) -> int:
        return len(self._row)
