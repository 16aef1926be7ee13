"""Variants of a strategy: the same class under other parameters, or under harder circumstances. They are tested and never traded.

A variant is named strategy@variant, and its results are kept under that name, beside the strategy's own. The variant is

* a name of the block's `variants` in the configuration;
* a stress: `delayed` (the layers' verdicts reach the decision a session late) or `costs_doubled`;
* `as_is`: the strategy unchanged, its results apart from the book that its daily sessions continue;
* or the parameters that are set otherwise, `max_positions=5,stop_loss=0.2`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import product
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from tradebot_core.errors import UsageError

SEPARATOR = "@"
_LONGEST = 120  # of a name, which is a folder's


@dataclass(frozen=True)
class Stress:
    """What is made harder than the strategy's own backtest has it."""

    delayed: bool = False  # the layers' verdicts reach the decision a session late
    costs_times: float = 1.0


STRESSES: Mapping[str, Stress] = {"delayed": Stress(delayed=True), "costs_doubled": Stress(costs_times=2.0)}
NO_STRESS = Stress()
AS_IS = "as_is"
RESERVED = frozenset({*STRESSES, AS_IS})


def variant_name(strategy: str, variant: str) -> str:
    return f"{strategy}{SEPARATOR}{variant}"


def overrides_of(variant: str) -> dict[str, Any]:
    """The parameters in `max_positions=5,stop_loss=0.2`, values as YAML reads them."""
    found: dict[str, Any] = {}
    for part in variant.split(","):
        name, equals, value = part.partition("=")
        if not equals or not name.isidentifier() or name in found:
            raise UsageError(
                f"{variant!r} is no variant: it names neither one of the configuration nor parameters.",
                "Write parameters as max_positions=5,stop_loss=0.2, each once.",
            )
        found[name] = _value(name, value)
    return found


def in_words(overrides: Mapping[str, Any]) -> str:
    """The variant that sets these parameters: the same ones, the same text."""
    text = ",".join(f"{name}={_text(overrides[name])}" for name in sorted(overrides))
    unfit = len(text) > _LONGEST or set(text) & set("/\\\0") or text.startswith(".")
    if unfit:
        raise UsageError(
            f"The variant {text[:60]}... cannot be a name (at most {_LONGEST} characters, without slashes).",
            f"Give it a name under `variants` in the configuration (as v{sha256(text.encode()).hexdigest()[:8]}).",
        )
    return text


def grid(given: Sequence[str]) -> list[dict[str, Any]]:
    """All combinations of `max_positions=5,10,20`, `stop_loss=0.2,0.3`: the first changes slowest."""
    axes: dict[str, list[Any]] = {}
    for axis in given:
        name, equals, values = axis.partition("=")
        if not equals or not name.isidentifier() or name in axes:
            raise UsageError(
                f"--param {axis!r} is not understood.", "Write --param max_positions=5,10,20, each parameter once."
            )
        axes[name] = [_value(name, value) for value in values.split(",")]
        if len({_text(value) for value in axes[name]}) < len(axes[name]):
            raise UsageError(f"--param {axis!r} names a value twice.")
    return [dict(zip(axes, values, strict=True)) for values in product(*axes.values())] if axes else []


def _value(name: str, text: str) -> Any:
    try:
        value = YAML(typ="safe", pure=True).load(text)
    except YAMLError:
        value = None
    if value is None or isinstance(value, (dict, list)):
        raise UsageError(f"{name}={text} gives {name} no value.", "Write numbers, words, true or false.")
    return value


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
