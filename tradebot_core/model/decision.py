"""Verdicts and decisions: what each layer said of each security, and what is to be done about it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum


class Action(StrEnum):
    BUY = "buy"
    HOLD = "hold"
    SELL = "sell"
    SKIP = "skip"  # good enough, not bought: no free place, no cash


@dataclass(frozen=True, slots=True)
class Verdict:
    """The rule that settled the matter: `value` was compared with `threshold`. A missing value never passes."""

    passed: bool
    rule: str
    value: float | None
    threshold: float | None


@dataclass(frozen=True, slots=True)
class LayerResult:
    """What a per-symbol layer returns for one security and session."""

    verdict: Verdict
    features: Mapping[str, float | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A security that passed every layer before the last, with its price (raw close, USD) and the layers' features."""

    security_id: int
    symbol: str
    price: float
    features: Mapping[str, float | None]


@dataclass(frozen=True, slots=True)
class Decision:
    """`target_weight` is the share of the sleeve's equity to hold after the order (0 for a sale)."""

    session: date
    security_id: int
    symbol: str
    action: Action
    target_weight: float
    rule: str
    value: float | None
    threshold: float | None
