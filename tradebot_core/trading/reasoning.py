"""Verdicts in words. Reasons are stored as data (rule, value, threshold); the sentences are made when someone reads them."""

from collections.abc import Mapping
from typing import Any

from tradebot_core.model.decision import Verdict
from tradebot_core.quant.quality import PREFIX, RULES_BY_NAME, in_words
from tradebot_core.strategy import Layer, Rule, TableLayer

# What value and threshold mean in the rules of strategy.buy_best, and in the stop that both strategies keep.
_DECISIONS = {
    "best_candidates": "number {value} of the candidates that are not held, with {threshold} free places",
    "max_positions": "max_positions: number {value} of the candidates that are not held, with {threshold} free places ({gap} too far back)",
    "cash": "cash: {value} of the equity is free, and a purchase needs at least {threshold} (short by {gap})",
    "rest_days": "rest_days: sold {value} days ago, and it rests for {threshold} days ({gap} more)",
    "more_liquid_class": "another share class of the issuer trades more: median dollar volume {value} against {threshold}",
    "stop_loss": "the price against average cost is {value:+}, the stop is at {threshold:+}",
}

_WITHOUT_NUMBERS = {
    "stop_loss": "what its shares cost is not known, so the stop is not judged, and it is held",
    "other_class_held": "another share class of the issuer is held",
    "more_liquid_class": "another share class of the issuer was chosen, and the volume of one of them is not known",
}


def number(value: float) -> str:
    """Large numbers in full, small ones to six digits."""
    return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.6g}"


def of_layer(layer: Layer, verdict: Verdict, why_missing: str) -> str:
    """`why_missing` is said when the rule had no value to judge."""
    if verdict.rule.startswith(PREFIX):
        return of_data_check(verdict)
    rule = next((r for r in layer.rules if r.name == verdict.rule), None) if isinstance(layer, TableLayer) else None
    measure = _measure(rule, verdict.rule)
    if verdict.value is None or verdict.threshold is None:
        if verdict.passed:
            return f"{verdict.rule} holds"
        return f"missing: {measure} is not known, and {verdict.rule} needs it ({why_missing})"
    comparison = rule.comparison if rule else _compared(verdict)
    value, gap = number(verdict.value), number(abs(verdict.value - verdict.threshold))
    named = verdict.rule.startswith(("min_", "max_"))
    bound = f"{verdict.rule} {number(verdict.threshold)}" if named else number(verdict.threshold)
    asked = "" if named else f", as {verdict.rule} asks"
    if verdict.passed:
        words = {">=": "at least", ">": "above", "<=": "at most", "<": "below"}[comparison]
        passed = f"passed all {len(layer.rules)} rules, the last: " if isinstance(layer, TableLayer) else ""
        return f"{passed}{measure} {value} is {words} {bound}{asked} (by {gap})"
    words = {">=": "below", ">": "not above", "<=": "above", "<": "not below"}[comparison]
    distance = "short" if comparison in (">=", ">") else "over"
    return f"{measure} {value} is {words} {bound}{asked} ({distance} by {gap})"


def of_data_check(verdict: Verdict) -> str:
    """A finding of the data checks; its verdict always has a value and a threshold."""
    rule = RULES_BY_NAME.get(verdict.rule.removeprefix(PREFIX))
    if rule is None or verdict.value is None or verdict.threshold is None:  # stored by another version
        return f"the data check {verdict.rule} stops it"
    return f"the data check {rule.name} stops it: {in_words(rule, number(verdict.value), number(verdict.threshold))}"


def of_decision(verdict: Verdict) -> str:
    if verdict.rule.startswith(PREFIX):
        return of_data_check(verdict)
    if verdict.value is None or verdict.threshold is None:
        return _WITHOUT_NUMBERS.get(verdict.rule, verdict.rule)
    words = _DECISIONS.get(verdict.rule, "{rule}: {value} against {threshold} (a difference of {gap})")
    signed = verdict.rule == "stop_loss"
    figures: Mapping[str, Any] = {
        "value": _Signed(verdict.value) if signed else number(verdict.value),
        "threshold": _Signed(verdict.threshold) if signed else number(verdict.threshold),
        "gap": number(abs(verdict.value - verdict.threshold)),
    }
    return words.format(rule=verdict.rule, **figures)


def of_order(approved: bool, rule: str, value: float | None, limit: float | None) -> str:
    """The risk gate's verdict."""
    if approved:
        return "approved by the risk gate: every limit is kept"
    if value is None or limit is None:
        return f"refused: {rule}"
    side = "over" if value > limit else "short of"
    return f"refused by the risk gate: {rule}, {number(value)} is {side} {number(limit)} by {number(abs(value - limit))}"


def of_check(approved: bool, rule: str, value: float | None, limit: float | None) -> str:
    """The gate's look at an order that is about to be sent."""
    word = "approved" if approved else "refused"
    if value is None or limit is None:
        return f"{word} by {rule}"
    return f"{word}, {rule} {number(value)} against {number(limit)}"


def _measure(rule: Rule | None, name: str) -> str:
    """What the rule measures: the name of its expression, else the rule's name without its bound."""
    if rule is not None and not rule.value.meta.has_multiple_outputs():
        return rule.value.meta.output_name()
    return name.removeprefix("min_").removeprefix("max_")


def _compared(verdict: Verdict) -> str:
    """How a layer in plain Python must have compared: from which side the value lies on."""
    assert verdict.value is not None and verdict.threshold is not None
    above = verdict.value >= verdict.threshold
    return ">=" if above is verdict.passed else "<="


class _Signed(float):
    """A share in percent with its sign: {:+} gives +12.3 %."""

    def __format__(self, spec: str) -> str:
        return f"{float(self) * 100:{spec}.1f} %"
