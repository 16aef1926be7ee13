"""Why a layer's stored verdicts are not what was known gives: it is evaluated in other company until it changes its word."""

from datetime import date

import polars as pl

from tradebot_core.errors import TradebotError
from tradebot_core.strategy import Strategy
from tradebot_core.trading.lookahead_worlds import SeenMarkets, Worlds

KNOWN_LATER = (
    "It reads facts that became known after the cut-off: the whole store gives another answer than the store as it was then."
)
OF_LATER_SESSIONS = (
    "It depends on later sessions that were computed with it, as with shift(-n), bfill, or ranks and sums over all rows "
    'instead of .over("session").'
)
OF_EARLIER_SESSIONS = (
    "It depends on earlier sessions that were computed with it, so that it is another in another range; a layer may look at the rows "
    "of its own session only."
)
NOT_REPRODUCED = (
    "Neither the cut nor the whole store gives it again: it was made from other data, by other code, or from what is kept between "
    "calls or lies outside of the store. Make it anew, and if it stays so, look for such a memory."
)
CHANGES_WITH_NOISE = "It changes when what became known after the cut-off is replaced by noise."

_LATER = (2, 25, 260)  # sessions, one after the other until the layer changes its word
_EARLIER = 2


class Causes:
    """What was found so far, by layer: the fault of one session is taken to be that of the others."""

    def __init__(self, strategy: Strategy) -> None:
        self._strategy = strategy
        self._known: dict[str, str] = {}
        self._looked_for: set[tuple[str, date]] = set()

    def of(self, layer: str, worlds: Worlds) -> str:
        asked = layer, worlds.session
        if self._known.get(layer, NOT_REPRODUCED) == NOT_REPRODUCED and asked not in self._looked_for:
            self._looked_for.add(asked)
            self._known[layer] = self._find(layer, worlds)
        return self._known[layer]

    def known(self, layer: str) -> str | None:
        return self._known.get(layer)

    def _find(self, layer: str, worlds: Worlds) -> str:
        alone = self._answer(worlds.cut(), worlds, layer)
        if self._answer(worlds.whole(), worlds, layer) != alone:
            return KNOWN_LATER
        for most in _LATER:
            if self._answer(worlds.whole(), worlds, layer, after=most) != alone:
                return OF_LATER_SESSIONS
        if self._answer(worlds.cut(), worlds, layer, before=_EARLIER) != alone:
            return OF_EARLIER_SESSIONS
        return NOT_REPRODUCED

    def _answer(self, markets: SeenMarkets, worlds: Worlds, layer: str, before: int = 0, after: int = 0) -> str:
        """What the layer says of the session when it is evaluated, after those before it, with some of its neighbours."""
        earlier, later = worlds.earlier(before) if before else (), worlds.later(after) if after else ()
        said = ""
        for each in self._strategy.layers():
            try:
                made = markets.run_layer(self._strategy, each.name, [*earlier, worlds.session, *later])
            except TradebotError as error:
                return error.cause
            said = repr(made.filter(pl.col("session") == worlds.session).rows())
            if each.name == layer:
                break
        return said
