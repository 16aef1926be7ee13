"""Strategies that break their contract, one way each."""

import itertools
import os
import signal
import sys
import threading
import time
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
        return [view.skip(candidate, TOLD) for candidate in (*view.candidates[:1], *view.candidates[:1])]


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


class OneLayer(Fine):
    """Its layer is the class `Layer`."""

    Layer: type[SymbolLayer] = Screen

    def layers(self) -> Sequence[Layer]:
        return (self.Layer(),)


LAST = "FADE"  # of the test market's symbols the last one to be judged


class RaisesLate(OneLayer):
    """Fails on one symbol of the sessions of even days: the first of those is the one to be named."""

    class Layer(Screen):
        def process(self, symbol: str, data: Mapping[str, Any]) -> LayerResult:
            if symbol == LAST and data["session"].day % 2 == 0:
                raise KeyError("no such thing")
            return super().process(symbol, data)


class Loops(OneLayer):
    class Layer(Screen):
        def process(self, symbol: str, data: Mapping[str, Any]) -> LayerResult:
            while symbol == LAST:
                pass
            return super().process(symbol, data)


class LoopsOnErrors(OneLayer):
    """Tries again whatever happens, but for what ends a program."""

    class Layer(Screen):
        def process(self, symbol: str, data: Mapping[str, Any]) -> LayerResult:
            while symbol == LAST:
                try:
                    raise ValueError
                except Exception:
                    continue
            return super().process(symbol, data)


class Sleeps(OneLayer):
    class Layer(Screen):
        def process(self, symbol: str, data: Mapping[str, Any]) -> LayerResult:
            time.sleep(3600 if symbol == LAST else 0)
            return super().process(symbol, data)


class CannotBeInterrupted(OneLayer):
    """As compiled code that never returns: no signal reaches it."""

    class Layer(Screen):
        def process(self, symbol: str, data: Mapping[str, Any]) -> LayerResult:
            if symbol == LAST:
                signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM})
                time.sleep(3600)
            return super().process(symbol, data)


class EndsItsProcess(OneLayer):
    class Layer(Screen):
        def process(self, symbol: str, data: Mapping[str, Any]) -> LayerResult:
            if symbol == LAST:
                os._exit(3)
            return super().process(symbol, data)


class TakesAllMemory(OneLayer):
    class Layer(Screen):
        def process(self, symbol: str, data: Mapping[str, Any]) -> LayerResult:
            kept = [bytearray(2**26) for _ in range(1000 if symbol == LAST else 0)]
            return LayerResult(TOLD, {"score": float(len(kept))})


class Prints(OneLayer):
    class Layer(Screen):
        def process(self, symbol: str, data: Mapping[str, Any]) -> LayerResult:
            sys.stdout.write("x" * 10_000)
            return super().process(symbol, data)


class ReturnsNothing(OneLayer):
    class Layer(Screen):
        def process(self, symbol: str, data: Mapping[str, Any]) -> LayerResult:
            return None if symbol == LAST else super().process(symbol, data)  # type: ignore[return-value]


class ReturnsText(OneLayer):
    class Layer(Screen):
        def process(self, symbol: str, data: Mapping[str, Any]) -> LayerResult:
            return LayerResult(TOLD, {"score": "high"})  # type: ignore[dict-item]


class Counts(OneLayer):
    """Keeps a count in itself: how many rows it has seen, and a table that it makes once."""

    class Layer(Screen):
        def __init__(self) -> None:
            self.seen: list[str] = []

        def process(self, symbol: str, data: Mapping[str, Any]) -> LayerResult:
            self.seen.append(symbol)
            return LayerResult(TOLD, {"score": float(len(self.seen))})


class Names(OneLayer):
    """Names what it reads, and gives how many keys it is shown."""

    class Layer(Screen):
        columns = ("close",)

        def process(self, symbol: str, data: Mapping[str, Any]) -> LayerResult:
            return LayerResult(TOLD, {"score": float(len(data))})


class ReadsWhatItDidNotName(OneLayer):
    class Layer(Screen):
        columns = ("close",)

        def process(self, symbol: str, data: Mapping[str, Any]) -> LayerResult:
            return LayerResult(TOLD, {"score": data["volume"]})


class NamesWhatIsNotThere(OneLayer):
    class Layer(Screen):
        columns = ("close", "closing_price")


class KeepsALock(OneLayer):
    class Layer(Screen):
        def __init__(self) -> None:
            self.lock = threading.Lock()


class DecidesForever(Fine):
    def decide(self, view: SessionView) -> Sequence[Decision]:
        while True:
            pass


class DecidesWithoutEnd(Fine):
    """Gives decisions one after another and never ends."""

    def decide(self, view: SessionView) -> Sequence[Decision]:
        return (view.skip(view.candidates[0], TOLD) for _ in itertools.count())  # type: ignore[return-value]


class DecidesAMillionTimes(Fine):
    def decide(self, view: SessionView) -> Sequence[Decision]:
        return [view.skip(view.candidates[0], TOLD)] * 1_000_000


class DecidesInWords(Fine):
    def decide(self, view: SessionView) -> Sequence[Decision]:
        return ["buy everything"]  # type: ignore[list-item]
