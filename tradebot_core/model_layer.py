"""A layer whose figure is the forecast of a trained model: a per-symbol layer with a training set that cannot see the future.

The layer says which figures the model is shown, how far ahead it looks and when it is trained anew. The training rows are not made by
the layer: trading/training.py makes them, of earlier sessions only, with returns that were known at the training. A model is never
stored (a file that holds one is a program that runs when it is read); it is trained again from the same rows, and its identity,
which stands beside every verdict, tells whether it is the same.
"""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import polars as pl

from tradebot_core.strategy import SymbolLayer

FORECAST, MODEL = "forecast", "model"


class ModelLayer(SymbolLayer):
    """`process` finds the model's forecast in data["forecast"], None where there is no model yet or a figure is missing.

    The inputs, the forecast and the model (last session known to the training, number of rows, digest) are columns of its verdicts,
    beside its features.
    """

    inputs: Mapping[str, pl.Expr]  # what the model is shown: expressions over one session of the panel, by name
    horizon: ClassVar[int] = (
        252  # sessions ahead: the forecast is of the return from the row's close to the close that much later
    )
    retrained: ClassVar[Literal["year", "quarter"]] = "year"  # on what was known at the last cut-off before it begins
    years: ClassVar[int] = 10  # of training rows, one session a month
    least_rows: ClassVar[int] = 500  # with fewer there is no model
    all_inputs: ClassVar[bool] = True  # a row with a missing figure is not learnt from and has no forecast
    seed: ClassVar[int] = 0

    @abstractmethod
    def train(self, rows: pl.DataFrame) -> Any:
        """The model. `rows`: session, security_id, symbol, the inputs, forward_return (a share of the close) and label_end (the
        session that return reaches to), sorted by session and security.

        Set random_state to `self.seed` and n_jobs to 1: the same rows must give the same model.
        """

    def predict(self, model: Any, rows: pl.DataFrame) -> Sequence[float]:
        """One forecast for each row (the inputs are its columns), without a look at the other rows."""
        return model.predict(self.matrix(rows))

    def matrix(self, rows: pl.DataFrame) -> np.ndarray:
        """The inputs as rows x figures; NaN where one is missing."""
        return rows.select(pl.col(name).cast(pl.Float64).fill_null(float("nan")) for name in self.inputs).to_numpy()

    def shown(self) -> tuple[str, ...] | None:
        named = super().shown()
        return None if named is None else tuple(dict.fromkeys((*named, *self.inputs, FORECAST, MODEL)))

    def reads(self) -> frozenset[str] | None:
        named = super().reads()
        if named is None or any(value.meta.has_multiple_outputs() for value in self.inputs.values()):
            return None
        return named.union(name for value in self.inputs.values() for name in value.meta.root_names())

    def adds(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((*self.features, *self.inputs, FORECAST, MODEL)))
