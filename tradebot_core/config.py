"""Typed settings, read strictly: an unknown or repeated key, a wrong type or an absurd limit stops the start, named by line.

YAML 1.2 (ruamel.yaml), so that the tickers ON, NO and YES stay text. Secrets come from the environment only. Paths may be
written with ${VARIABLE} or ${VARIABLE:-default}; a relative path is relative to the configuration file.
"""

import os
import re
from collections.abc import Collection, Sequence
from datetime import date, time
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from tradebot_core.calendar import DEFAULT_CUTOFF
from tradebot_core.errors import ConfigurationError
from tradebot_core.model.order import OrderStyle


class Settings(BaseModel):
    """Base of every block of settings, and of a strategy's parameters: frozen, strict, nothing unknown."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def truth_is_no_number(cls, value: Any, info: ValidationInfo) -> Any:
        """pydantic would read `max_position_weight: true` as 1.0."""
        field = cls.model_fields.get(info.field_name or "")
        if isinstance(value, bool) and field is not None and field.annotation in (int, float, Decimal):
            raise ValueError("true and false are no numbers")
        return value


def _plain_name(name: str) -> str:
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,62}", name):
        raise ValueError("a name is lower-case letters, digits and underscores, and begins with a letter")
    return name


Name = Annotated[str, AfterValidator(_plain_name)]
Share = Annotated[float, Field(gt=0, le=1)]


SIMULATED_ACCOUNT = "DU0000001"  # of the simulated TWS; no broker has it


class Mode(StrEnum):
    PAPER = "paper"
    LIVE = "live"
    DRY_RUN = "dry_run"


class DataStoreSettings(Settings):
    backend: Literal["file"] = "file"
    path: Path = Path("./data")


class UniverseSettings(Settings):
    """`symbols`, or a text file with one symbol a line or with dated spells (header symbol,from,to), or (neither) every security
    known to the store."""

    symbols: tuple[str, ...] | None = None
    file: Path | None = None

    @model_validator(mode="after")
    def one_source(self) -> "UniverseSettings":
        if self.symbols is not None and self.file is not None:
            raise ValueError("give symbols or file, not both")
        return self


class CollectorSettings(Settings):
    name: Name
    class_path: str
    params: dict[str, Any] = {}


class StrategySettings(Settings):
    name: Name
    class_path: str
    allocated_capital: Annotated[Decimal, Field(gt=0)]
    enabled: bool = True
    orders: OrderStyle = OrderStyle.OPEN_AUCTION
    params: dict[str, Any] = {}
    variants: dict[Name, dict[str, Any]] = {}  # parameters set otherwise, by name: tested beside it, never traded


class IbkrSettings(Settings):
    host: str = "127.0.0.1"
    port: int = 4002
    client_id: Annotated[int, Field(ge=1, le=31)] = 1
    account: str
    account_type: Literal["cash", "margin"] = (
        "cash"  # cash: purchases need the broker's settled cash; margin: its cash, never a loan
    )
    dividend_withholding: Annotated[Decimal, Field(ge=0, lt=1)] = Decimal(0)  # share of a dividend that the broker keeps as tax
    gateway_restart: time | None = time(23, 45)  # New York, of its daily restart; nothing is sent around it


class SampleMarketSettings(Settings):
    """The fictional market: its own data and its own clock. Only with mode paper or dry_run."""

    path: Path = Path("./data/sample_market")


class FreshQuote(StrEnum):
    """Whether an order needs a quote of the moment at which it is sent."""

    REQUIRED = "required"
    WHEN_AVAILABLE = "when_available"  # without one, the close it was sized on stands


class RiskSettings(Settings):
    """Hard limits. An order is approved only when every one of them is provably satisfied. Money in USD."""

    max_order_notional: Annotated[Decimal, Field(gt=0)] = Decimal(10_000)
    max_order_volume_share: Share = 0.01  # of the 20-day median dollar volume
    max_position_weight: Share = 0.2  # of the sleeve's equity
    max_sector_weight: Share = 0.4  # of the sleeve's equity, in one industry
    max_gross_exposure: Share = 1.0  # of the sleeve's equity; margin is never used
    cash_buffer: Annotated[float, Field(ge=0, lt=1)] = 0.02  # share of equity that stays in cash
    max_open_gap: Annotated[float, Field(ge=0, le=0.2)] = 0.03  # a purchase is limited to this far above the last close
    max_orders_per_session: Annotated[int, Field(gt=0)] = 20
    max_unfilled_orders: Annotated[int, Field(gt=0)] = 3  # of one security and side in the last `unfilled_sessions`
    unfilled_sessions: Annotated[int, Field(gt=0, le=20)] = 5
    max_account_orders_per_day: Annotated[int, Field(gt=0)] = 50  # of all sleeves
    max_rejected_orders: Annotated[int, Field(gt=0)] = 3  # by the broker in a session; then the rest is not sent
    max_drawdown: Share = 0.25  # below the sleeve's highest equity; beyond it nothing is bought
    min_price: Annotated[Decimal, Field(ge=0)] = Decimal(1)
    max_price_jump: Annotated[float, Field(gt=0)] = 0.5  # up or down since the session before, splits apart
    restricted: tuple[str, ...] = ()  # symbols never to be bought
    # How far the price may be from the close that an order was sized on when it is sent, up or down.
    price_collar: Share = 0.1
    price_collar_sales: Share = 0.3
    fresh_quote: FreshQuote = FreshQuote.WHEN_AVAILABLE
    # Purchases may be paid from sales decided in the same session, and from sales that have not settled: margin accounts only.
    spend_proceeds: bool = False
    # What of an order that was filled in part did not fill is ordered again in the session after, unless the strategy decides otherwise.
    carry_unfilled: bool = False


def _number_or_off(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("write a number, or off")
    return value


Threshold = Annotated[Annotated[float, Field(ge=0)] | Literal["off"], BeforeValidator(_number_or_off)]


class QualitySettings(Settings):
    """Thresholds of the data checks (quant/quality.py), by rule; `off` switches a rule off. Those that block stop purchases of
    the company they find fault with, and of no other."""

    balance: Threshold = 1.005  # blocks: liabilities and equity over assets
    unaccounted_assets: Threshold = 0.3  # warns: share of assets that are neither liabilities nor equity
    current_assets: Threshold = 1.005  # blocks: over assets
    current_liabilities: Threshold = 1.005  # blocks: over liabilities
    cash: Threshold = 1.005  # blocks: over assets
    debt: Threshold = 1.005  # warns: over liabilities
    gross_profit: Threshold = 1.005  # blocks: over revenue
    revenue_sign: Threshold = 0.0  # blocks: least revenue of twelve months, USD
    revenue_scale: Threshold = 500.0  # blocks: times, against each of the last three periods
    assets_scale: Threshold = 500.0  # blocks
    shares_scale: Threshold = 500.0  # blocks
    share_counts: Threshold = 3.0  # blocks: shares outstanding over the diluted average
    earnings_yield: Threshold = 1.0  # blocks: a year's net income over the market value
    income_scale: Threshold = 3.0  # blocks: a year's operating or net income over the assets, times
    cash_flow_scale: Threshold = 3.0  # blocks: a year's operating cash flow over the assets, times
    repeated_figures: Threshold = 0.0  # blocks: revenue, net income and assets exactly as the period before
    stale: Threshold = 510.0  # blocks: days since the end of the last period reported
    overdue: Threshold = 10.0  # blocks: days after the last day allowed for the next report
    late: Threshold = 20.0  # warns: days later than the company's own last reports
    missing_figures: Threshold = 3.0  # warns: of six key figures
    # Over the whole universe, of the companies that have reported for a year.
    null_rate: Threshold = 0.3  # warns: share of companies without a key figure
    null_rate_of_revenue: Threshold = 0.5  # stops the session: with no revenue at most of them, the source is broken


DATA_CHECKS_ON = QualitySettings()


class LayerSettings(Settings):
    """Limits on a strategy's own code, and where it runs. None of them changes a verdict."""

    # Processes for layers in plain Python: 0 none beside the run's own, nothing given as many as are worth their start.
    workers: Annotated[int, Field(ge=0, le=64)] | None = None
    seconds_per_session: Annotated[float, Field(gt=0)] = 60.0  # for a layer in plain Python, and for a decision
    seconds_to_train: Annotated[float, Field(gt=0)] = 900.0  # for one training of a model
    worker_memory_mb: Annotated[int, Field(ge=64)] = 1024  # beyond what a worker starts with; where the system can limit it


LAYER_LIMITS = LayerSettings()


class CommissionPlan(StrEnum):
    FIXED = "fixed"
    TIERED = "tiered"


class Impact(StrEnum):
    """How the price moves against an order, by the share of the session's volume that it takes."""

    OFF = "off"
    SQUARE_ROOT = "square_root"
    LINEAR = "linear"


# What the tiered plan has in place of the fixed plan's terms; each may be set.
_TIERED_TERMS = {
    "commission_per_share": Decimal("0.0035"),
    "commission_minimum": Decimal("0.35"),
    "clearing_per_share": Decimal("0.0002"),
    "exchange_per_share": Decimal("0.003"),
    "pass_through_share": Decimal("0.000735"),
}

Money = Annotated[Decimal, Field(ge=0)]


class InterestRate(Settings):
    """A yearly rate on cash, from a day on."""

    since: date
    rate: Annotated[float, Field(ge=0, le=1)]


class CostSettings(Settings):
    """What a fill costs in the simulated engine, and how much of an order fills; sources in quant/costs.py."""

    commission_plan: CommissionPlan = CommissionPlan.FIXED
    commission_per_share: Money = Decimal("0.005")
    commission_minimum: Money = Decimal("1")
    commission_maximum_share: Share = 0.01  # of the trade's value
    clearing_per_share: Money = Decimal(0)
    exchange_per_share: Money = Decimal(0)
    pass_through_share: Annotated[Decimal, Field(ge=0, lt=1)] = Decimal(0)  # of the commission
    regulatory_fees: bool = True  # of the SEC and FINRA, on sales
    slippage_bps: Annotated[float, Field(ge=0)] = 5.0  # half the spread
    impact: Impact = Impact.OFF
    impact_bps: Annotated[float, Field(ge=0, le=2_000)] = 200.0  # of an order of the session's whole volume
    max_participation: Share | None = (
        None  # of the session's volume; the rest is not filled, and ends with it: see risk.carry_unfilled
    )

    # Of backtests, whose account nobody tells of (trading/simulated_account.py).
    dividend_withholding: Annotated[Decimal, Field(ge=0, lt=1)] | None = (
        None  # share of a dividend; None: ibkr.dividend_withholding
    )
    interest: tuple[InterestRate, ...] = ()  # on cash, by date; none: it earns nothing
    interest_free_cash: Money = Decimal(10_000)  # USD that earn nothing
    delisting_return: Annotated[float, Field(ge=-1, le=0)] | None = None  # of shares that stop trading without a word

    @field_validator("interest")
    @classmethod
    def in_order(cls, rates: tuple[InterestRate, ...]) -> tuple[InterestRate, ...]:
        days = [rate.since for rate in rates]
        if days != sorted(set(days)):
            raise ValueError("the rates of interest are given in the order of their days, one for each")
        return rates

    @model_validator(mode="before")
    @classmethod
    def terms_of_the_plan(cls, given: Any) -> Any:
        tiered = isinstance(given, dict) and given.get("commission_plan") == CommissionPlan.TIERED
        return _TIERED_TERMS | given if tiered else given


class Config(Settings):
    mode: Mode = Mode.PAPER
    data_store: DataStoreSettings = DataStoreSettings()
    first_session: date = date(2009, 1, 2)  # where the partitions begin
    # New York; not before the bars of the session can be known, a quarter of an hour after the close.
    decision_cutoff: Annotated[time, Field(ge=time(16, 15))] = DEFAULT_CUTOFF
    universe: UniverseSettings = UniverseSettings()
    collectors: tuple[CollectorSettings, ...] = ()
    ibkr: IbkrSettings | None = None
    sample_market: SampleMarketSettings | None = None
    strategies: tuple[StrategySettings, ...] = ()
    risk: RiskSettings = RiskSettings()
    quality: QualitySettings = DATA_CHECKS_ON
    costs: CostSettings = CostSettings()
    layers: LayerSettings = LAYER_LIMITS
    # The symbol that backtests are measured against, dividends reinvested; without it the universe in equal parts.
    benchmark: str | None = None
    allowed_packages: tuple[str, ...] = ("tradebot_core",)  # where class paths may point
    dagster_settings: Path | None = None  # a dagster.yaml in place of the project's own (docs/scale-out.md)

    @property
    def withholding(self) -> Decimal:
        """Share of a dividend that is kept as tax: what is expected of the broker, and what backtests take."""
        own, broker = self.costs.dividend_withholding, self.ibkr.dividend_withholding if self.ibkr is not None else None
        return own if own is not None else broker or Decimal(0)

    @field_validator("collectors", "strategies")
    @classmethod
    def distinct_names(cls, blocks: Sequence[CollectorSettings | StrategySettings]) -> Sequence[Any]:
        names = [block.name for block in blocks]
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise ValueError(f"the name {repeated[0]} is used twice; names are the asset prefixes and must differ")
        return blocks

    @model_validator(mode="after")
    def consistent(self) -> "Config":
        if self.mode is Mode.LIVE and self.ibkr is None:
            raise ValueError("mode live needs an ibkr block with the exact account")
        if self.mode is Mode.LIVE and self.sample_market is not None:
            raise ValueError("the sample market is fictional and cannot be traded in mode live")
        if self.sample_market is not None and self.ibkr is not None and self.ibkr.account != SIMULATED_ACCOUNT:
            raise ValueError(f"the sample market trades only with the simulated TWS, whose account is {SIMULATED_ACCOUNT}")
        own = self.costs.dividend_withholding
        if self.ibkr is not None and own not in (None, self.ibkr.dividend_withholding):
            raise ValueError("costs.dividend_withholding and ibkr.dividend_withholding differ; write the latter only")
        if self.ibkr is not None and self.ibkr.account_type == "cash":
            unlimited = [block.name for block in self.strategies if block.orders is OrderStyle.MARKET_OPEN]
            if self.risk.spend_proceeds:
                raise ValueError("risk.spend_proceeds needs ibkr.account_type margin: a cash account pays with settled cash")
            if unlimited:
                raise ValueError(
                    f"strategy {unlimited[0]} has orders market_open, whose purchases a gap may make dearer than the cash that is "
                    "there: they need ibkr.account_type margin"
                )
        return self


def load_config(path: Path, only: Collection[str] | None = None) -> Config:
    """Reads and checks a configuration file. Raises ConfigurationError naming file, line and key.

    With `only`, no other block of it is looked at: for what has to work while the rest is refused.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(
            f"The configuration {path} cannot be read ({error.strerror}).", "Give its path with --config or TRADEBOT_CONFIG."
        ) from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"The configuration {path} is not UTF-8 text.") from None
    try:
        document = YAML(typ="rt", pure=True).load(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f", line {mark.line + 1}" if mark else ""
        raise ConfigurationError(f"{path}{line}: {error.problem or error.context}.", "Correct the YAML there.") from None
    except YAMLError as error:
        raise ConfigurationError(f"{path}: not YAML: {error}") from None
    if not isinstance(document, CommentedMap):
        raise ConfigurationError(f"{path}: a configuration is a mapping of keys to values.", "See config.yaml for an example.")
    plain = _plain(document)
    if only is not None:
        plain = {key: value for key, value in plain.items() if key in only}
    try:
        config = Config.model_validate(plain)
    except ValidationError as error:
        raise ConfigurationError(_describe(error, path, document)) from None
    return _resolve_paths(config, path.resolve().parent)


def settings_error(
    error: ValidationError, path: Path, within: tuple[str | int, ...], known: Collection[str]
) -> ConfigurationError:
    """The ConfigurationError for parameters validated later (by a strategy or collector, which has the `known` ones), with the line in
    `path`."""
    document = YAML(typ="rt", pure=True).load(path.read_text(encoding="utf-8"))
    strange = any(problem["type"] == "extra_forbidden" for problem in error.errors())
    mend = f"There is {', '.join(known) or 'none'}." if strange else ""
    return ConfigurationError(_describe(error, path, document, within), mend)


def line_of(path: Path, location: tuple[str | int, ...]) -> int:
    """The line of a key in a configuration file (1 is the first)."""
    return _line(YAML(typ="rt", pure=True).load(path.read_text(encoding="utf-8")), location)


def _plain(node: Any) -> Any:
    if isinstance(node, CommentedMap):
        return {str(key): _plain(value) for key, value in node.items()}
    if isinstance(node, CommentedSeq):
        return [_plain(value) for value in node]
    return node


_OF_PYDANTIC = re.compile(r"function-|constrained-|literal\[")  # validators and members of unions: in no file


def _describe(error: ValidationError, path: Path, document: CommentedMap, within: tuple[str | int, ...] = ()) -> str:
    said: dict[tuple[str, str], list[str]] = {}  # of a setting of several types, pydantic says of each why it is not that
    for problem in error.errors():
        location = within + tuple(part for part in problem["loc"] if not _OF_PYDANTIC.match(str(part)))
        key = ".".join(map(str, location)) or "the file as a whole"
        message = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "extra_forbidden":
            message = "no such setting"
        elif problem["type"] == "missing":
            message = "is needed and not given"
        said.setdefault((f"{path}, line {_line(document, location)}", key), []).append(message)
    return "\n".join(f"{place}: {key}: {', or: '.join(messages)}." for (place, key), messages in said.items())


def _line(document: Any, location: tuple[str | int, ...]) -> int:
    node, line = document, 1
    for part in location:
        try:
            if isinstance(node, CommentedMap) and part in node:
                line = node.lc.key(part)[0] + 1
            elif isinstance(node, CommentedSeq) and isinstance(part, int):
                line = node.lc.item(part)[0] + 1
            else:
                break
            node = node[part]
        except (KeyError, IndexError, AttributeError):
            break
    return line


_VARIABLE = re.compile(r"\$\{(\w+)(?::-([^}]*))?\}")


def resolve_path(written: str | Path, base: Path) -> Path:
    """`written` with variables filled in, absolute, relative paths taken from `base`."""

    def value(match: re.Match[str]) -> str:
        name, default = match.groups()
        found = os.environ.get(name) or default
        if found is None:
            raise ConfigurationError(f"The path {written} needs the environment variable {name}.", f"Set {name}.")
        return found

    return (base / Path(_VARIABLE.sub(value, str(written))).expanduser()).resolve()


def _resolve_paths(config: Config, base: Path) -> Config:
    def block(settings: CollectorSettings) -> CollectorSettings:
        params = {
            key: resolve_path(value, base) if key == "path" or key.endswith("_path") else value
            for key, value in settings.params.items()
        }
        return settings.model_copy(update={"params": params})

    store = config.data_store.model_copy(update={"path": resolve_path(config.data_store.path, base)})
    universe = config.universe
    if universe.file is not None:
        universe = universe.model_copy(update={"file": resolve_path(universe.file, base)})
    sample = config.sample_market
    if sample is not None:
        sample = sample.model_copy(update={"path": resolve_path(sample.path, base)})
    dagster = config.dagster_settings
    if dagster is not None:
        dagster = resolve_path(dagster, base)
    return config.model_copy(
        update={
            "dagster_settings": dagster,
            "data_store": store,
            "universe": universe,
            "sample_market": sample,
            "collectors": tuple(map(block, config.collectors)),
        }
    )
