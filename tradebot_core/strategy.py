"""The kit a strategy author works with: rules, layers, the view of a session, the Strategy itself.

A strategy is a list of layers and a decision. Layers before the decision are pure functions of a table: they are shown the
panel (quant/panel.py lists its columns), pass some rows on with features added, and leave a verdict on every row they saw.
The decision sees what passed, and the sleeve's book.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import reduce
from typing import Any, ClassVar, Literal, Protocol

import polars as pl

from tradebot_core.config import LAYER_LIMITS, LayerSettings, Settings
from tradebot_core.errors import StrategyError
from tradebot_core.judging import judged
from tradebot_core.model.candidates import finder
from tradebot_core.model.decision import Action, Candidate, Decision, LayerResult, Verdict
from tradebot_core.model.event import Event, EventType
from tradebot_core.model.order import OrderStyle
from tradebot_core.quant.panel import MarketMemory
from tradebot_core.quant.quality import PREFIX
from tradebot_core.quant.ranks import rank_in_session  # noqa: F401  a part of the kit

Comparison = Literal[">=", ">", "<=", "<"]


@dataclass(frozen=True)
class Rule:
    """One test a security must pass: `value` compared with `threshold`. A missing value fails.

    `if_missing="pass"` is for rules that look for a known deterioration (see keep_or_sell) and for nothing else. An entry rule
    on the same figure follows, so that what is not known is never bought.
    """

    name: str
    value: pl.Expr
    comparison: Comparison
    threshold: float
    if_missing: Literal["fail", "pass"] = "fail"

    @property
    def measured(self) -> pl.Expr:
        """The value, or null where it is not a finite number (polars would call NaN greater than everything)."""
        value = self.value.cast(pl.Float64)
        return pl.when(value.is_finite()).then(value)

    @property
    def holds(self) -> pl.Expr:
        value, threshold = self.measured, pl.lit(self.threshold, pl.Float64)
        test = {">=": value >= threshold, ">": value > threshold, "<=": value <= threshold, "<": value < threshold}
        return test[self.comparison].fill_null(self.if_missing == "pass")


class Layer(ABC):
    """`features` are the columns it adds for the layers after it."""

    name: str
    features: tuple[str, ...]

    @abstractmethod
    def evaluate(self, rows: pl.DataFrame) -> pl.DataFrame:
        """The verdict on every row: session, security_id, symbol, passed, rule, value, threshold, then the features."""

    def adds(self) -> tuple[str, ...]:
        """All columns that it adds."""
        return tuple(self.features)

    def reads(self) -> frozenset[str] | None:
        """The columns it looks at, so that the others need not be carried; None when that cannot be told before it runs."""
        return None


@dataclass(frozen=True)
class TableLayer(Layer):
    """A layer of polars expressions over all securities and sessions at once.

    `steps` are evaluated one group after another, each seeing the columns of those before; `rules` last. The first rule that
    fails is the verdict; a row that passes them all carries the last rule.
    """

    name: str
    rules: Sequence[Rule]
    steps: Sequence[Sequence[pl.Expr]] = ()
    features: tuple[str, ...] = ()

    def evaluate(self, rows: pl.DataFrame) -> pl.DataFrame:
        frame = reduce(lambda lazy, step: lazy.with_columns(*step), self.steps, rows.lazy())
        failed = [rule.holds.not_() for rule in self.rules[:-1]]

        def of_deciding_rule(parts: Sequence[pl.Expr]) -> pl.Expr:
            chosen = parts[-1]
            for fails, expression in zip(reversed(failed), reversed(parts[:-1]), strict=True):
                chosen = pl.when(fails).then(expression).otherwise(chosen)
            return chosen

        # Which rule decides is worked out once, as a number: its name and threshold are looked up.
        deciding = of_deciding_rule([pl.lit(n, pl.UInt32) for n in range(len(self.rules))])
        verdict = {
            "passed": pl.all_horizontal(rule.holds for rule in self.rules),
            "rule": pl.lit(pl.Series([rule.name for rule in self.rules])).gather(deciding),
            "value": of_deciding_rule([rule.measured for rule in self.rules]),
            "threshold": pl.lit(pl.Series([float(rule.threshold) for rule in self.rules])).gather(deciding),
        }
        columns = [expression.alias(name) for name, expression in verdict.items()]
        return frame.select("session", "security_id", "symbol", *columns, *self.features).collect()

    def reads(self) -> frozenset[str] | None:
        expressions = [expression for step in self.steps for expression in step] + [rule.value for rule in self.rules]
        if type(self).evaluate is not TableLayer.evaluate or any(e.meta.has_multiple_outputs() for e in expressions):
            return None  # selectors and wildcards name no columns before they meet a table
        return frozenset([*self.features, *(name for expression in expressions for name in expression.meta.root_names())])


class SymbolLayer(Layer):
    """A layer in plain Python, one security and session at a time. It is copied for each session: it can keep nothing from one to
    the next, and sessions may be judged by several processes.

    `columns` names what `data` holds beside session, security_id and symbol; without it all columns of the panel and all earlier
    features, which takes several times the time and memory.
    """

    columns: ClassVar[tuple[str, ...] | None] = None

    @abstractmethod
    def process(self, symbol: str, data: Mapping[str, Any]) -> LayerResult:
        """`data` maps the panel's columns and the earlier layers' features to this security's values (None when missing)."""

    def evaluate(self, rows: pl.DataFrame) -> pl.DataFrame:
        return judged(self, rows, f"Layer {self.name}")

    def shown(self) -> tuple[str, ...] | None:
        """The keys of `data`; None for whatever there is."""
        return None if self.columns is None else tuple(dict.fromkeys(("session", "security_id", "symbol", *self.columns)))

    def reads(self) -> frozenset[str] | None:
        own = type(self).evaluate is SymbolLayer.evaluate
        return frozenset(self.columns) if self.columns is not None and own else None


@dataclass(frozen=True, slots=True)
class Holding:
    """A position at the close, with what the layers said of it. USD; `average_cost` is on today's split basis."""

    security_id: int
    symbol: str
    quantity: int
    price: float
    average_cost: float
    weight: float  # of the sleeve's equity
    opened: date
    candidate: Candidate | None  # when it passed every layer
    verdict: Verdict | None  # the verdict that stopped it, or the last one; None when no layer saw it (it did not trade)

    @property
    def gain(self) -> float | None:
        """Price over average cost, minus one; None where the book knows no cost of the shares."""
        return self.price / self.average_cost - 1 if self.average_cost > 0 else None

    @property
    def blocked(self) -> bool:
        """Whether a data check stopped it: what its filings seem to say is no reason to buy more of it, nor to sell it."""
        return self.verdict is not None and self.verdict.rule.startswith(PREFIX)


@dataclass(frozen=True)
class SessionView:
    """All that a decision may look at. Candidates come in the order of the last layer's `rank` feature, else by symbol."""

    session: date
    candidates: Sequence[Candidate]
    holdings: Sequence[Holding]
    cash_weight: float  # cash as a share of equity, after the configured buffer; never negative
    last_sold: Mapping[int, date]  # when a security was last sold out, by security_id
    equity: float = 0.0  # of the sleeve, USD

    def weight_in_shares(self, candidate: Candidate, weight: float) -> float:
        """What whole shares take of a weight: orders are for whole shares, and the rest of the money is there for the next."""
        return math.floor(weight * self.equity / candidate.price) * candidate.price / self.equity

    def buy(self, candidate: Candidate, weight: float, verdict: Verdict) -> Decision:
        return self._decision(candidate, Action.BUY, weight, verdict)

    def skip(self, candidate: Candidate, verdict: Verdict) -> Decision:
        return self._decision(candidate, Action.SKIP, 0.0, verdict)

    def hold(self, holding: Holding, verdict: Verdict) -> Decision:
        return self._decision(holding, Action.HOLD, holding.weight, verdict)

    def sell(self, holding: Holding, verdict: Verdict) -> Decision:
        return self._decision(holding, Action.SELL, 0.0, verdict)

    def _decision(self, about: Candidate | Holding, action: Action, weight: float, verdict: Verdict) -> Decision:
        return Decision(
            self.session, about.security_id, about.symbol, action, weight, verdict.rule, verdict.value, verdict.threshold
        )


def keep_or_sell(view: SessionView, holding: Holding, stop_loss: float, exits: Sequence[Rule]) -> Decision:
    """Sells when one of `exits` failed on a figure that is known, or at `stop_loss` below average cost; holds otherwise, and where no
    cost is known.

    Put the exits first in the first layer, with if_missing="pass": of the rules that fail only the first is the verdict, so an
    exit after a rule on price, liquidity or the age of the report would be hidden whenever that rule fails too.
    """
    names, verdict = {rule.name for rule in exits}, holding.verdict
    if verdict is not None and not verdict.passed and verdict.rule in names and verdict.value is not None:
        return view.sell(holding, verdict)
    gain = holding.gain
    if gain is None:
        return view.hold(holding, Verdict(False, "stop_loss", None, -stop_loss))
    stop = Verdict(gain > -stop_loss, "stop_loss", gain, -stop_loss)
    return view.hold(holding, stop) if stop.passed else view.sell(holding, stop)


def buy_best(view: SessionView, places: int, weight: float, rest_days: int) -> list[Decision]:
    """Fills free places with the best candidates not held, at `weight` each, while there is cash; says why not for the others.

    A security that was sold rests for `rest_days` calendar days, so that a stop is not bought back the next morning.
    """
    held = {holding.security_id for holding in view.holdings}
    free, cash = places, view.cash_weight
    decisions = []
    for place, candidate in enumerate((c for c in view.candidates if c.security_id not in held), start=1):
        sold = view.last_sold.get(candidate.security_id)
        rested = (view.session - sold).days if sold else None
        if rested is not None and rested < rest_days:
            decisions.append(view.skip(candidate, Verdict(False, "rest_days", rested, rest_days)))
        elif free <= 0:
            decisions.append(view.skip(candidate, Verdict(False, "max_positions", place, places)))
        elif cash < weight / 2:  # a position too small to matter waits for more cash
            decisions.append(view.skip(candidate, Verdict(False, "cash", cash, weight / 2)))
        else:
            size = min(weight, cash)
            decisions.append(view.buy(candidate, size, Verdict(True, "best_candidates", place, places)))
            free, cash = free - 1, cash - size
    return decisions


class Forecaster(Protocol):
    def with_forecasts(self, strategy: "Strategy", layer: Any, rows: pl.DataFrame) -> pl.DataFrame:
        """The rows that a model layer is shown, with what its model says of them (trading/training.py)."""
        ...


class Strategy(ABC):
    """A thesis in a folder: typed `Params`, layers, a decision. The first paragraph of its docstring is the text in the UI.

    Subclasses set `Params` and implement `layers` and `decide`; both must be pure: same input, same answer.
    """

    Params: ClassVar[type[Settings]] = Settings
    subscriptions: ClassVar[tuple[EventType, ...]] = (
        EventType.SECURITY,
        EventType.CORPORATE_ACTION,
        EventType.FUNDAMENTALS,
        EventType.PRICE_BAR,
    )

    orders: OrderStyle = OrderStyle.OPEN_AUCTION  # how its orders are placed; set by its block in the configuration
    limits: LayerSettings = LAYER_LIMITS  # on what its own code may take; set by the configuration
    forecaster: "Forecaster | None" = None  # trains the models of its layers; set where there is a store to train on

    def __init__(self, name: str, params: Settings) -> None:
        self.name = name
        self.params = params
        self.memory = MarketMemory()

    @abstractmethod
    def layers(self) -> Sequence[Layer]:
        """In order; names must differ and may not be `decisions`, `orders`, `positions`, `backtest`, `performance` or `variants`."""

    @abstractmethod
    def decide(self, view: SessionView) -> Sequence[Decision]:
        """One decision for every holding, and for every candidate that was considered. Weights may not exceed the sleeve."""

    def on_event(self, event: Event) -> None:
        """Called by the event bus for each subscribed event, in the order in which events became known."""
        self.memory.remember(event)


def is_checked(strategy: Strategy) -> bool:
    """The data checks are about filings: a strategy that reads none is not stopped by them."""
    return EventType.FUNDAMENTALS in strategy.subscriptions


def hold_where_blocked(view: SessionView, decisions: Iterable[Decision]) -> list[Decision]:
    """The decisions, with holdings that a data check stopped neither bought more nor sold for that reason: they are held, and
    the check is the reason. A sale for another one (a stop on the price) stands."""
    blocked = {holding.security_id: holding for holding in view.holdings if holding.blocked}

    def respected(decision: Decision) -> Decision:
        holding = blocked.get(decision.security_id)
        if holding is None or holding.verdict is None:
            return decision
        for_that = decision.action is Action.SELL and decision.rule.startswith(PREFIX)
        return view.hold(holding, holding.verdict) if for_that or decision.action is Action.BUY else decision

    return [respected(decision) for decision in decisions]


def check_decisions(strategy: Strategy, view: SessionView, decisions: Iterable[Decision]) -> tuple[Decision, ...]:
    """The decisions, sorted by security. Raises StrategyError when the strategy broke its contract."""
    made = tuple(sorted(decisions, key=lambda decision: decision.security_id))
    where = f"Strategy {strategy.name}, session {view.session}"
    ids = [decision.security_id for decision in made]
    if len(set(ids)) < len(ids):
        raise StrategyError(f"{where}: two decisions about one security.", "Decide once for each holding and candidate.")
    undecided = {holding.security_id for holding in view.holdings} - set(ids)
    if undecided:
        raise StrategyError(f"{where}: nothing decided about held securities {sorted(undecided)}.", "Return hold or sell.")
    held = {holding.security_id for holding in view.holdings}
    shown = finder(view.candidates)
    for decision in made:
        # False for NaN as well. What is held weighs what it weighs: after a gap a little more than the sleeve is possible.
        if not 0 <= decision.target_weight <= (1 if decision.action is not Action.HOLD else math.inf):
            raise StrategyError(f"{where}: weight {decision.target_weight} for {decision.symbol} is not within 0 and 1.")
        if decision.action in (Action.HOLD, Action.SELL) and decision.security_id not in held:
            raise StrategyError(f"{where}: {decision.action} of {decision.symbol}, which is not held.")
        if decision.security_id not in held and shown(decision.security_id) is None:
            raise StrategyError(f"{where}: {decision.action} of {decision.symbol}, which is neither held nor a candidate.")
        if decision.session != view.session:
            raise StrategyError(f"{where}: the decision about {decision.symbol} is dated {decision.session}.")
    kept = sum(decision.target_weight for decision in made if decision.action is Action.HOLD)
    total = sum(decision.target_weight for decision in made)
    if not total <= max(1, kept) + 1e-9:
        raise StrategyError(f"{where}: the target weights add up to {total:.4f} of the sleeve.", "Keep the sum at most 1.")
    return made
