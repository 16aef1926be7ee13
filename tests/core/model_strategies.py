"""Strategies whose layer asks a model, and some that try to teach it the future."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from tradebot_core.model.decision import Decision, LayerResult, Verdict
from tradebot_core.model_layer import ModelLayer
from tradebot_core.quant.ratios import EARNINGS_YIELD, OPERATING_MARGIN
from tradebot_core.strategy import SessionView, Strategy, buy_best

KEEP = Verdict(True, "keep", None, None)


class Foretold(ModelLayer):
    """What four sessions bring: a straight line through valuation and margin."""

    name = "foretold"
    features = ("rank",)
    inputs: Mapping[str, pl.Expr] = {"cheapness": EARNINGS_YIELD, "margin": OPERATING_MARGIN}
    horizon, retrained, years, least_rows = 4, "quarter", 1, 4

    def train(self, rows: pl.DataFrame) -> Any:
        from sklearn.linear_model import Ridge

        return Ridge(alpha=1e-3).fit(self.matrix(rows), rows["forward_return"].to_numpy())

    def process(self, symbol: str, data: Mapping[str, Any]) -> LayerResult:
        forecast = data["forecast"]
        passed = forecast is not None and forecast > -1
        return LayerResult(Verdict(passed, "min_forecast", forecast, -1.0), {"rank": None if forecast is None else -forecast})


class Trees(Foretold):
    """A forest that forgets to say which random numbers it is made of."""

    def train(self, rows: pl.DataFrame) -> Any:
        from sklearn.ensemble import RandomForestRegressor

        return RandomForestRegressor(n_estimators=5).fit(self.matrix(rows), rows["forward_return"].to_numpy())


class Foretelling(Strategy):
    Layer: type[ModelLayer] = Foretold

    def layers(self) -> Sequence[Layer]:
        return (self.Layer(),)

    def decide(self, view: SessionView) -> Sequence[Decision]:
        return [view.hold(h, KEEP) for h in view.holdings] + buy_best(view, 2 - len(view.holdings), 0.4, 30)


class Forest(Foretelling):
    Layer = Trees


class LooksAhead(Foretelling):
    """Shows the model the next row of the security."""

    class Layer(Foretold):
        inputs: Mapping[str, pl.Expr] = {
            "tomorrow": pl.col("close").shift(-1).over("security_id"),
            "price": pl.col("close") * 1,
        }
        all_inputs = False

        def train(self, rows: pl.DataFrame) -> Any:
            return rows["tomorrow"].null_count() / len(rows)

        def predict(self, model: Any, rows: pl.DataFrame) -> Sequence[float]:
            return [model] * len(rows)


class ShowsTheAnswer(Foretelling):
    """Shows the model what it is to foretell."""

    class Layer(Foretold):
        inputs: Mapping[str, pl.Expr] = {"answer": pl.col("forward_return")}


class EndsLater(Foretelling):
    class Layer(Foretold):
        horizon = -5


class RaisesInTraining(Foretelling):
    class Layer(Foretold):
        def train(self, rows: pl.DataFrame) -> Any:
            raise ValueError("no such solver")


class TrainsForever(Foretelling):
    class Layer(Foretold):
        def train(self, rows: pl.DataFrame) -> Any:
            while True:
                time.sleep(0.01)


class ForecastsTooFew(Foretelling):
    class Layer(Foretold):
        def predict(self, model: Any, rows: pl.DataFrame) -> Sequence[float]:
            return [0.0]


class ForecastsNan(Foretelling):
    class Layer(Foretold):
        def predict(self, model: Any, rows: pl.DataFrame) -> Sequence[float]:
            return np.where(np.arange(len(rows)) == 0, np.nan, np.inf)  # type: ignore[return-value]
