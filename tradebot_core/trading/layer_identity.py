"""Which layers of two variants of a strategy give the same verdicts, so that they are computed once.

A layer's verdicts follow from what it is, from all layers before it, and from the facts. What a layer is can be told in two cases: a
TableLayer is its rules and its serialised expressions; an object of a class of some module, with nothing but plain values in it, is its
class and these. Of any other (a class made within `layers`, a function in an expression) it is only known that it follows from the
strategy's class and parameters: it is shared where all of these are the same.

The code of the classes is no part of a digest: within one process the same digest is the same layer, and beyond it with the same code
(trading/verdict_marks.py). Another digest may still be the same layer: another version of polars may write an expression otherwise.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

import polars as pl

from tradebot_core.config import Settings
from tradebot_core.strategy import Layer, Strategy


def layer_digests(strategy: Strategy) -> Mapping[str, str]:
    """By name of layer, in order: a digest of it and of all before it."""
    digests: dict[str, str] = {}
    so_far = f"{_name(type(strategy))} {sorted(map(str, strategy.subscriptions))}"
    for layer in strategy.layers():
        so_far = hashlib.sha256(f"{so_far}\n{layer.name}\n{_identity(strategy, layer)}".encode()).hexdigest()
        digests[layer.name] = so_far
    return digests


def _identity(strategy: Strategy, layer: Layer) -> str:
    kind = type(layer)
    state = _plain(_state(layer)) if "<locals>" not in kind.__qualname__ and kind.__module__ != "__main__" else None
    if state is None:
        state = ["of", _name(type(strategy)), strategy.params.model_dump(mode="json"), layer.name]
    return json.dumps([_name(kind), state], sort_keys=True)


def _state(layer: Layer) -> Any:
    if is_dataclass(layer):
        return {field.name: getattr(layer, field.name) for field in fields(layer)} | vars(layer)
    slots = [name for kind in type(layer).__mro__ for name in getattr(kind, "__slots__", ()) if hasattr(layer, name)]
    return {name: getattr(layer, name) for name in slots} | vars(layer)


def _plain(value: Any) -> Any:
    """As JSON can hold it, or None where it holds what cannot be told."""
    if isinstance(value, pl.Expr):
        try:
            return ["expression", value.meta.serialize().hex()]
        except pl.exceptions.PolarsError:
            return None  # it calls a function of Python
    if isinstance(value, Settings):
        return [_name(type(value)), value.model_dump(mode="json")]
    if isinstance(value, (bool, int, float, str)):
        return [type(value).__name__, repr(value)]
    if isinstance(value, Mapping):
        return _all_plain([part for item in value.items() for part in item])
    if isinstance(value, Sequence):
        return _all_plain(value)
    if is_dataclass(value) and not isinstance(value, type):
        inner = _plain({field.name: getattr(value, field.name) for field in fields(value)})
        return inner and [_name(type(value)), inner]
    return ["none"] if value is None else None


def _all_plain(values: Sequence[Any]) -> list[Any] | None:
    found = [_plain(value) for value in values]
    return None if None in found else [len(found), found]


def _name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"
