"""Several variants of a strategy over the same sessions: what they have in common is computed once.

A layer that two of them share (trading/layer_identity.py) is evaluated for the first, and its verdicts stand under the name of the
other as well. Variants whose layers are all the same are walked through one market, laid out once: a further variant of the decide
step costs its walk and its tables. Every variant gets the rows that it would get alone.

A sweep can be divided into parts for processes of their own: what several parts have in common is evaluated before them, once, and
each part does the rest of its variants.
"""

from collections.abc import Callable, Container, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import date
from itertools import pairwise
from typing import Protocol

from tradebot_core.interfaces import DataStore
from tradebot_core.model.tables import LAYERS
from tradebot_core.strategy import Strategy
from tradebot_core.trading.backtest import Backtest, BacktestWalk
from tradebot_core.trading.delayed import DelayedHistory
from tradebot_core.trading.layer_identity import layer_digests
from tradebot_core.trading.stored_markets import MARKET, StoredMarkets, by_year
from tradebot_core.trading.variants import Stress

_AT_ONCE = 4  # walks that keep their rows in memory together


class Tested(Protocol):
    """A strategy, and what is made harder for it."""

    @property
    def name(self) -> str: ...
    @property
    def strategy(self) -> Strategy: ...
    @property
    def stress(self) -> Stress: ...


@dataclass(frozen=True)
class Division:
    """Variants in parts. `common` are the digests of layers that variants of several parts share."""

    parts: Sequence[Sequence[Tested]]
    common: Set[str]

    @property
    def own(self) -> Sequence[Set[str]]:
        """By part: the digests of the layers that no other part has."""
        return [_digests(part) - self.common for part in self.parts]

    @property
    def counts(self) -> Mapping[str, int]:
        """How many layers are evaluated and how many are shared when all parts are done: as many as in one process."""
        layers = [digest for part in self.parts for one in part for digest in layer_digests(one.strategy).values()]
        return {"evaluated": len(set(layers)), "shared": len(layers) - len(set(layers))}


def divided(tested: Sequence[Tested], parts: int) -> Division:
    """At most `parts` parts of as equal numbers as there can be; variants of one market stay together as far as that allows."""
    in_order = [one for together in _of_one_market(tested) for one in together]
    parts = min(parts, len(in_order))
    ends = [len(in_order) * n // parts for n in range(parts + 1)]
    made = [in_order[start:end] for start, end in pairwise(ends)]
    seen = [_digests(part) for part in made]
    common = {digest for digests in seen for digest in digests if sum(digest in others for others in seen) > 1}
    return Division(made, common)


def _digests(tested: Sequence[Tested]) -> set[str]:
    return {digest for one in tested for digest in layer_digests(one.strategy).values()}


def share_layers(
    markets: StoredMarkets,
    store: DataStore,
    strategies: Sequence[Strategy],
    sessions: Sequence[date],
    stored: Sequence[Strategy] = (),
    progress: Callable[[str], None] = lambda _: None,
    wanted: Container[str] | None = None,
) -> Mapping[str, int]:
    """Stores the verdicts of all layers of `strategies`; returns how many layers were evaluated and how many were shared.

    `stored` are strategies whose verdicts are in the store already, of these sessions, by their present definitions: MissingData where they
    are not. With `wanted`, layers of other digests are left alone: a part of a sweep has them in the store already, or they are the
    parts' own.
    """
    owners: dict[str, str] = {}
    for strategy in stored:
        markets.require_verdicts(strategy, layer_digests(strategy), sessions)
        for digest in layer_digests(strategy).values():
            owners.setdefault(digest, strategy.name)
    counts = {"evaluated": 0, "shared": 0}
    for strategy in strategies:
        for layer, digest in layer_digests(strategy).items():
            if wanted is not None and digest not in wanted:
                continue
            owner = owners.setdefault(digest, strategy.name)
            if owner != strategy.name:
                store.copy_results(LAYERS, layer, MARKET, owner, strategy.name)
                counts["shared"] += 1
            elif strategy not in stored:
                made = sum(len(part.verdicts) for part in markets.layers_by_year(strategy, [layer], sessions))
                progress(f"{strategy.name}/{layer}: {made:,} verdicts.")
                counts["evaluated"] += 1
    return counts


def walk_together(
    markets: StoredMarkets, tested: Sequence[Tested], sessions: Sequence[date], walk_of: Callable[[Tested], BacktestWalk]
) -> Iterator[tuple[Tested, Backtest]]:
    """The backtest of each over the sessions, from a new book; the verdicts of their layers are in the store."""
    for together in _of_one_market(tested):
        for some in (together[n : n + _AT_ONCE] for n in range(0, len(together), _AT_ONCE)):
            walks = [walk_of(one) for one in some]
            late: dict[int, DelayedHistory | None] = {}
            strategy = some[0].strategy
            known = markets.decided(strategy, sessions)
            for part in by_year(sessions):
                history = known.history(strategy, part)
                for n, (one, walk) in enumerate(zip(some, walks, strict=True)):
                    market = history.again()
                    if one.stress.delayed:
                        market = late[n] = DelayedHistory(market, late.get(n))
                    walk.through(part, market)
            for one, walk in zip(some, walks, strict=True):
                yield one, walk.result()


def _of_one_market(tested: Sequence[Tested]) -> list[list[Tested]]:
    """Those whose layers are all the same, together, in order."""
    groups: dict[str, list[Tested]] = {}
    for one in tested:
        groups.setdefault([*layer_digests(one.strategy).values()][-1], []).append(one)
    return list(groups.values())
