"""What a fictional company of the sample market is made of: its business, and what happens to it.

Rates are per year, shares of revenue are fractions, dates of acceptance are New York time.
"""

from dataclasses import dataclass, field
from datetime import date, datetime

FIRST_CIK = 9_900_000_001  # far above any number that the SEC has given out
FIRST_CON_ID = 900_000_001


@dataclass(frozen=True, slots=True)
class Industry:
    """`industry` and `category` in the words of IBKR's contract details; `seasons` weigh the four fiscal quarters."""

    industry: str
    category: str
    sic: str
    sic_description: str
    seasons: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 1.0)


@dataclass(frozen=True, slots=True)
class Style:
    """Where a company's slow latent processes tend to, and how far they stray (a swing is a standard deviation)."""

    growth: float
    growth_swing: float
    margin: float  # operating income of revenue
    margin_swing: float
    gross_margin: float
    capital: float  # plant, goodwill and working capital of a year's revenue
    leverage: float  # debt of capital
    mispricing_swing: float  # of price around fundamental value
    beta: float


@dataclass(frozen=True, slots=True)
class Regime:
    """In quarters that end from `start` on, growth and margin tend elsewhere. When it is sudden, they are there at once,
    and `step` of the business is won or lost with the first quarter."""

    start: date
    growth: float
    margin: float
    sudden: bool = False
    step: float = 0.0


@dataclass(frozen=True, slots=True)
class Charge:
    """A provision that one quarter bears (a recall, a lawsuit), as a share of its revenue; paid beyond the horizon."""

    quarter_end: date
    share: float


@dataclass(frozen=True, slots=True)
class Overstatement:
    """The last quarter of a fiscal year was reported too high, by a share of its revenue, until a 10-K/A said so."""

    fiscal_year: int
    share: float
    amended: datetime


@dataclass(frozen=True, slots=True)
class Sentiment:
    """Between two days the price is drawn quickly to `level` times fundamental value."""

    start: date
    end: date
    level: float


@dataclass(frozen=True, slots=True)
class Takeover:
    """Bought for cash at a premium: announced before the open of one session, no longer listed at the open of another."""

    announced: date
    delisted: date
    premium: float


@dataclass(frozen=True, slots=True)
class Company:
    symbol: str
    plain_name: str
    industry: Industry
    style: Style
    revenue_musd: float  # in 2016
    price: float  # USD a share near the beginning of 2021
    number: int = 0  # place in the roster
    exchange: str = "NYSE"
    year_end: int = 12  # the last month of the fiscal year
    weekly: bool = False  # years of 52 or 53 weeks that end on the Saturday nearest the end of that month
    payout: float = 0.0  # dividends, as a share of last year's earnings
    turnover: float = 0.004  # share of the company that changes hands on an ordinary day
    loans: float = 0.0  # a bank's loans, funded by deposits: share of a year's revenue
    revenue_tag: str = "RevenueFromContractWithCustomerExcludingAssessedTax"
    retagged: date | None = None  # filings before this day use `Revenues`
    unreported: frozenset[str] = frozenset()  # tags the company does not use
    has_facts: bool = True
    has_submissions: bool = True  # its acceptance times are published
    older_page_until: date | None = None  # filings up to this day stand on a second page of its submissions
    regimes: tuple[Regime, ...] = ()
    charges: tuple[Charge, ...] = ()
    overstatement: Overstatement | None = None
    accepted: dict[date, datetime] = field(default_factory=dict)  # period end -> when its filing was, where it matters
    splits: dict[date, float] = field(default_factory=dict)  # ex-date -> new shares for one old
    sentiments: tuple[Sentiment, ...] = ()
    shocks: dict[date, float] = field(default_factory=dict)  # session -> sudden relative change of price
    takeover: Takeover | None = None

    @property
    def name(self) -> str:
        return f"{self.plain_name} (sample)"

    @property
    def cik(self) -> int:
        return FIRST_CIK + self.number

    @property
    def con_id(self) -> int:
        return FIRST_CON_ID + self.number

    def split_multiple(self, day: date) -> float:
        """How many shares of `day` one share of the beginning has become."""
        multiple = 1.0
        for ex_date, ratio in self.splits.items():
            if ex_date <= day:
                multiple *= ratio
        return multiple
