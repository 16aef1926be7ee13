"""What a company's filings say, and which filing said it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime

# A suffix says how many years earlier; such a figure is what was known of that time at the instant of the row, not what was
# known then. docs/figures.md has the definition and the unit of each.
# Flows over the trailing twelve months.
FLOW_FIGURES = (
    "revenue_ttm",
    "gross_profit_ttm",
    "operating_income_ttm",
    "net_income_ttm",
    "eps_diluted_ttm",
    "operating_cash_flow_ttm",
    "capital_expenditure_ttm",
    "free_cash_flow_ttm",
    "pretax_income_ttm",
    "income_tax_ttm",
    "interest_expense_ttm",
    "depreciation_and_amortisation_ttm",
    "revenue_ttm_1y",
    "revenue_ttm_3y",
    "gross_profit_ttm_1y",
    "operating_income_ttm_1y",
    "net_income_ttm_1y",
    "net_income_ttm_3y",
)
# Amounts on a day: the last one reported, and those of the same day one or two years before it.
INSTANT_FIGURES = (
    "assets",
    "current_assets",
    "liabilities",
    "current_liabilities",
    "equity",
    "cash",
    "debt",
    "shares_outstanding",
    "shares_diluted",
    "shares_basic",
    "float_shares",
    "employees",
    "retained_earnings",
    "property_plant_equipment",
    "long_term_borrowings",
    "short_term_debt",
    "taxes_payable",
    "minority_interest",
    "preferred_equity",
    "assets_1y",
    "assets_2y",
    "current_assets_1y",
    "current_liabilities_1y",
    "cash_1y",
    "short_term_debt_1y",
    "taxes_payable_1y",
    "long_term_borrowings_1y",
    "shares_basic_1y",
)
FIGURES = FLOW_FIGURES + INSTANT_FIGURES


@dataclass(frozen=True, slots=True)
class Fact:
    """One reported number of one filing. USD, shares or USD/shares as `unit` says; `period_start` is None for an instant."""

    cik: int
    taxonomy: str
    tag: str
    unit: str
    period_start: date | None
    period_end: date
    accession: str
    value: float
    form: str
    filed: date
    known_at: datetime


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where a figure came from, or why it is missing. `inputs` are the facts it was computed from, `rule` how."""

    rule: str | None
    inputs: tuple[Fact, ...] = ()
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Fundamentals:
    """All figures of one issuer as known right after one filing. A missing figure is None and its provenance says why."""

    cik: int
    company_name: str
    known_at: datetime
    period_end: date
    form: str
    accession: str
    figures: Mapping[str, float | None]
    shares_basis_date: date | None  # share counts are stated on the split basis of this day
    diluted_basis_date: date | None = None  # that of shares_diluted, where the two come from different filings
    eps_basis_date: date | None = None  # that of eps_diluted_ttm
    provenance: Mapping[str, Provenance] = field(default_factory=dict, repr=False)
