"""What is held and no longer in the universe: it may be kept or sold, and never bought.

The layers' stored verdicts are about the universe and know no book, so they say nothing about such a holding. It is judged here, when
the decision is made, by the same layers on its own row of the panel. Alone: its figures meet every rule as they would in the universe,
exits above all, and it takes no place in the ranks of those that can be bought.
"""

from collections.abc import Callable, Sequence
from datetime import date

import polars as pl

from tradebot_core.config import DATA_CHECKS_ON, QualitySettings
from tradebot_core.model.decision import Verdict
from tradebot_core.strategy import Strategy
from tradebot_core.trading.layers import evaluate_layers


class Outsiders:
    """`rows_of` gives the rows of the panel of one security, as far as it is outside the universe."""

    def __init__(
        self, strategy: Strategy, rows_of: Callable[[int], pl.DataFrame], quality: QualitySettings = DATA_CHECKS_ON
    ) -> None:
        self._strategy = strategy
        self._rows_of = rows_of
        self._quality = quality

    def verdicts(self, session: date, held: Sequence[int]) -> dict[int, Verdict]:
        """Of each held security outside the universe that traded in the session, the verdict of the last layer that saw it."""
        shown = {security: self._rows_of(security).filter(session=session) for security in sorted(held)}
        return {security: self._verdict(row) for security, row in shown.items() if not row.is_empty()}

    def _verdict(self, row: pl.DataFrame) -> Verdict:
        seen = [
            verdicts for verdicts in evaluate_layers(self._strategy, row, self._quality).values() if not verdicts.is_empty()
        ]
        return Verdict(*seen[-1].select("passed", "rule", "value", "threshold").row(0))
