"""A sleeve: a strategy with its capital, and the fingerprint of all that its decisions and their cost depend on."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from decimal import Decimal
from typing import Any

from tradebot_core.config import Config
from tradebot_core.model.order import OrderStyle
from tradebot_core.strategy import Strategy
from tradebot_core.trading.code_version import code_of, idea_of
from tradebot_core.trading.universe import UniverseEntry
from tradebot_core.trading.variants import NO_STRESS, Stress

# Limits that books exist without; part of a fingerprint only where they are not at this, what they come as.
_YOUNGER_LIMITS = {
    "max_price_jump": 0.5,
    "max_sector_weight": 0.4,
    "max_unfilled_orders": 3,
    "unfilled_sessions": 5,
    "max_drawdown": 0.25,
    "max_account_orders_per_day": 50,
    "max_rejected_orders": 3,
    "price_collar": 0.1,
    "price_collar_sales": 0.3,
    "fresh_quote": "when_available",
    "spend_proceeds": False,
    "carry_unfilled": False,
}
# The same of costs: what they were before there were such settings.
_YOUNGER_COSTS = {
    "commission_plan": "fixed",
    "clearing_per_share": "0",
    "exchange_per_share": "0",
    "pass_through_share": "0",
    "regulatory_fees": False,
    "impact": "off",
    "impact_bps": 200.0,
    "max_participation": None,
    "dividend_withholding": None,
    "interest": [],
    "interest_free_cash": "10000",
    "delisting_return": None,
}


@dataclass(frozen=True)
class Sleeve:
    """A strategy and its share of the account. `settings` is a digest of parameters, limits, data checks, costs, universe, cut-off and
    capital; `code` one of the strategy's sources."""

    strategy: Strategy
    capital: Decimal
    settings: str
    code: str
    stress: Stress = NO_STRESS

    @property
    def name(self) -> str:
        return self.strategy.name

    @property
    def fingerprint(self) -> str:
        """Changes with anything that changes its decisions or their cost, but for Tradebot's own code: a book outlives a new release."""
        return f"{self.settings}.{self.code}"

    def made_otherwise(self, fingerprint: str) -> str | None:
        """What was another when a book with this fingerprint was made, in words; None when nothing was."""
        settings, _, code = fingerprint.partition(".")
        if settings != self.settings:
            return "other parameters, limits, data checks, costs or capital"
        if not code:  # books that are older than the digest of the code
            return "a release that did not note the strategy's code"
        return "other code of the strategy" if code != self.code else None


def sleeve_of(
    config: Config,
    universe: Sequence[UniverseEntry] | None,
    strategy: Strategy,
    capital: Decimal,
    stress: Stress = NO_STRESS,
) -> Sleeve:
    made_of = {
        "strategy": idea_of(strategy),
        "params": strategy.params.model_dump(mode="json"),
        "risk": _older(config.risk.model_dump(mode="json"), _YOUNGER_LIMITS),
        "quality": config.quality.model_dump(mode="json"),
        "costs": _older(config.costs.model_dump(mode="json"), _YOUNGER_COSTS),
        "cutoff": config.decision_cutoff.isoformat(),
        "universe": universe and [str(entry) for entry in universe],
        "capital": str(capital),
    }
    if strategy.orders is not OrderStyle.OPEN_AUCTION:  # books made before there was another style go on
        made_of["orders"] = str(strategy.orders)
    if config.withholding:
        made_of["withholding"] = str(config.withholding)
    if stress != NO_STRESS:
        made_of["stress"] = asdict(stress)
    settings = hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()[:16]
    return Sleeve(strategy, capital, settings, code_of(strategy), stress)


def _older(made: dict[str, Any], younger: Mapping[str, Any]) -> dict[str, Any]:
    """The settings in force; the younger ones only where they are set, so that books made before there were any go on."""
    return {name: value for name, value in made.items() if name not in younger or value != younger[name]}
