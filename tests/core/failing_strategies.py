"""Strategies that break their contract, one way each."""

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from tradebot_core.model.decision import Action, Decision, LayerResult, Verdict
from tradebot_core.strategy import Layer, Rule, SessionView, Strategy, SymbolLayer, TableLayer

NAN = float("nan")
TOLD = Verdict(True, "told", 1.0, 1.0)


class Fine(Strategy):
    """Buys nothing and holds what it has."""

    def layers(self) -> Sequence[Layer]:
        return (TableLayer("screen", rules=(Rule("price", pl.col("close"), ">", 0),)),)

    def decide(self, view: SessionView) -> Sequence[Decision]:
        return [view.hold(holding, TOLD) for holding in view.holdings]


class Screen(SymbolLayer):
    name = "screen"
    features = ("score",)

    def process(self, symbol: str, data: Mapping[str, Any]) -> LayerResult:
        return LayerResult(TOLD, {"score": 1.0})


class RaisesInLayer(Fine):
    """Divides by nothing."""

    class Raising(Screen):
        def process(self, symbol: str, data: Mapping[str, Any]) -> LayerResult:
            return LayerResult(TOLD, {"score": data["close"] / 0})

    def layers(self) -> Sequence[Layer]:
        return (self.Raising(),)


class ReturnsNan(Fine):
    """Its figures are no numbers, and it calls them good."""

    class Nan(Screen):
        def process(self, symbol: str, data: Mapping[str, Any]) -> LayerResult:
            return LayerResult(Verdict(True, "told", NAN, 1.0), {"score": float("inf")})

    def layers(self) -> Sequence[Layer]:
        return (self.Nan(),)


class UndeclaredFeature(Fine):
    class Undeclared(Screen):
        def process(self, symbol: str, data: Mapping[str, Any]) -> LayerResult:
            return LayerResult(TOLD, {"scores": 1.0})

    def layers(self) -> Sequence[Layer]:
        return (self.Undeclared(),)


class UnknownColumn(Fine):
    def layers(self) -> Sequence[Layer]:
        return (TableLayer("screen", rules=(Rule("price", pl.col("closing_price"), ">", 0),)),)


class SilentLayer(Fine):
    """Leaves some rows without a verdict."""

    class Silent(Screen):
        def evaluate(self, rows: pl.DataFrame) -> pl.DataFrame:
            return super().evaluate(rows).head(1)

    def layers(self) -> Sequence[Layer]:
        return (self.Silent(),)


class RaisesInDecide(Fine):
    def decide(self, view: SessionView) -> Sequence[Decision]:
        raise KeyError("no such thing")


class TooMuch(Fine):
    def decide(self, view: SessionView) -> Sequence[Decision]:
        return [view.buy(candidate, 0.6, TOLD) for candidate in view.candidates]


class NanWeight(Fine):
    def decide(self, view: SessionView) -> Sequence[Decision]:
        return [view.buy(candidate, NAN, TOLD) for candidate in view.candidates]


class Twice(Fine):
    def decide(self, view: SessionView) -> Sequence[Decision]:
        return [view.skip(candidate, TOLD) for candidate in (*view.candidates, *view.candidates)]


class SellsWhatIsNotHeld(Fine):
    def decide(self, view: SessionView) -> Sequence[Decision]:
        c = view.candidates[0]
        return [Decision(view.session, c.security_id, c.symbol, Action.SELL, 0.0, "told", None, None)]


class BuysTheUnknown(Fine):
    def decide(self, view: SessionView) -> Sequence[Decision]:
        return [Decision(view.session, 987654321, "WHO", Action.BUY, 0.1, "told", None, None)]


class AnotherSession(Fine):
    def decide(self, view: SessionView) -> Sequence[Decision]:
        c = view.candidates[0]
        return [Decision(view.session.replace(year=2020), c.security_id, c.symbol, Action.BUY, 0.1, "told", None, None)]


class SaysNothing(Fine):
    """Buys once and forgets what it holds."""

    def decide(self, view: SessionView) -> Sequence[Decision]:
        return [] if view.holdings else [view.buy(view.candidates[0], 0.1, TOLD)]
