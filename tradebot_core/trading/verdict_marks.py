"""What made stored verdicts: a mark beside each session of a layer, so that those of another making are not used.

A mark is of the layer and those before it (layer_identity.py), the strategy's code, the data checks, the universe and the cut-off. Facts
are no part of it, nor is Tradebot's own code: a new release goes on with what is stored.
"""

import hashlib
from collections.abc import Collection, Mapping, Sequence
from datetime import date, time
from weakref import WeakKeyDictionary

from tradebot_core.config import QualitySettings
from tradebot_core.errors import MissingData
from tradebot_core.strategy import Strategy
from tradebot_core.trading.code_version import code_of
from tradebot_core.trading.layer_identity import layer_digests
from tradebot_core.trading.universe import UniverseEntry
from tradebot_core.trading.variants import SEPARATOR

_DIGESTS: WeakKeyDictionary[Strategy, Mapping[str, str]] = WeakKeyDictionary()


def circumstances(quality: QualitySettings, universe: Sequence[UniverseEntry] | None, cutoff: time) -> str:
    """A digest of what is the same for all strategies."""
    named = "every security" if universe is None else "\n".join(["these", *map(str, universe)])
    return _digest(quality.model_dump_json(), named, str(cutoff))


def marks_of(strategy: Strategy, under: str) -> Mapping[str, str]:
    """By name of layer, `under` these circumstances. What a layer notes in itself while it works is no part of it: the digests are those
    of when it was first asked."""
    if strategy not in _DIGESTS:
        _DIGESTS[strategy] = layer_digests(strategy)
    return {layer: _digest(digest, code_of(strategy), under) for layer, digest in _DIGESTS[strategy].items()}


def require_made(strategy: Strategy, layer: str, sessions: Sequence[date], made: Mapping[date, str], mark: str) -> None:
    """Raises MissingData where a session has no verdicts (`made` has those that have, with their marks), or some of another mark. Of
    verdicts that are older than marks nobody can tell: they count as made by something else."""
    if missing := [session for session in sessions if session not in made]:
        raise MissingData(
            f"Layer {layer} of {strategy.name} has no verdicts for {len(missing)} sessions from {min(missing)} on.",
            f"Materialize {strategy.name}/{layer} for them first. {_how_to_judge(strategy, missing)}",
        )
    if others := [session for session in sessions if made[session] != mark]:
        raise MissingData(
            f"Layer {layer} of {strategy.name} was evaluated with other rules, parameters, code, data checks, universe or cut-off "
            f"than are in force (or by a release that did not note them) in {len(others)} sessions from {min(others)} on.",
            f"Materialize {strategy.name}/{layer} for them again first. {_how_to_judge(strategy, others)}",
        )


def _digest(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _how_to_judge(strategy: Strategy, sessions: Collection[date]) -> str:
    of, separator, _ = strategy.name.partition(SEPARATOR)
    command = f"sweep {of}" if separator else f"backtest {of}"
    return f"`tradebot {command} --start {min(sessions)} --end {max(sessions)}` does it for all layers."
