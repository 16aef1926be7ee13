"""Strategies whose layers depend on some parameters, on none, or nobody knows on which."""

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from tradebot_core.config import Settings
from tradebot_core.model.decision import Decision, LayerResult, Verdict
from tradebot_core.strategy import Layer, Rule, SessionView, Strategy, SymbolLayer, TableLayer


class Params(Settings):
    places: int = 3
    least_price: float = 5.0
    least_volume: float = 1.0


class Named(SymbolLayer):
    name = "named"
    features = ()

    def __init__(self, longest: int) -> None:
        self.longest = longest

    def process(self, symbol: str, data: Mapping[str, Any]) -> LayerResult:
        return LayerResult(Verdict(len(symbol) <= self.longest, "longest", len(symbol), self.longest))


class Cautious(Strategy):
    Params = Params
    params: Params

    def layers(self) -> Sequence[Layer]:
        p = self.params
        volume = pl.col("median_dollar_volume_20d").rank().over("session")
        return (
            TableLayer("price", rules=(Rule("least_price", pl.col("close"), ">=", p.least_price),)),
            Named(4),
            TableLayer(
                "volume",
                rules=(Rule("least_volume", pl.col("ranked"), ">=", p.least_volume),),
                steps=((volume.alias("ranked"),),),
            ),
        )

    def decide(self, view: SessionView) -> Sequence[Decision]:
        return []


class Closing(Cautious):
    def layers(self) -> Sequence[Layer]:
        places = self.params.places
        value = pl.col("close").map_batches(lambda close: close * places, pl.Float64)
        return (TableLayer("price", rules=(Rule("price", value, ">", 0),)),)
