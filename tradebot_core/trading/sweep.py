"""Several variants of a strategy over the same sessions: what they have in common is computed once.

A layer that two of them share (trading/layer_identity.py) is evaluated for the first, and its verdicts stand under the name of the
other as well. Variants whose layers are all the same are walked through one market, laid out once: a further variant of the decide
step costs its walk and its tables. Every variant gets the rows that it would get alone.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date
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


def share_layers(
    markets: StoredMarkets,
    store: DataStore,
    strategies: Sequence[Strategy],
    sessions: Sequence[date],
    stored: Sequence[Strategy] = (),
    progress: Callable[[str], None] = lambda _: None,
) -> Mapping[str, int]:
    """Stores the verdicts of all layers of `strategies`; returns how many layers were evaluated and how many were shared.

    `stored` are strategies whose verdicts are in the store already, of these sessions, by their present definitions.
    """
    owners: dict[str, str] = {}
    for strategy in stored:
        for digest in layer_digests(strategy).values():
            owners.setdefault(digest, strategy.name)
    counts = {"evaluated": 0, "shared": 0}
    for strategy in strategies:
        for layer, digest in layer_digests(strategy).items():
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
