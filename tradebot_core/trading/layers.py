"""Evaluating a strategy's layers in order: each sees the rows that passed the one before, with its features added."""

from collections.abc import Mapping

import polars as pl

from tradebot_core.errors import StrategyError, TradebotError
from tradebot_core.model.tables import VERDICT_COLUMNS
from tradebot_core.strategy import Layer, Strategy

_KEY = ["session", "security_id"]


def evaluate_layers(strategy: Strategy, panel: pl.DataFrame) -> dict[str, pl.DataFrame]:
    """The verdict table of every layer, by name, each sorted by session and security."""
    verdicts: dict[str, pl.DataFrame] = {}
    for layer in strategy.layers():
        verdicts[layer.name] = evaluate_layer(strategy, layer, layer_input(panel, verdicts))
    return verdicts


def layer_input(panel: pl.DataFrame, before: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    """The panel rows that passed every layer in `before` (in order), with the features those added."""
    rows = panel
    for verdicts in before.values():
        passed = verdicts.filter("passed").drop("symbol", *VERDICT_COLUMNS)
        rows = rows.join(passed, on=_KEY, how="inner", maintain_order="left")
    return rows


def evaluate_layer(strategy: Strategy, layer: Layer, rows: pl.DataFrame) -> pl.DataFrame:
    """The layer's verdicts. Raises StrategyError when it fails or leaves a row without a verdict."""
    where = f"Layer {layer.name} of {strategy.name}"
    try:
        verdicts = layer.evaluate(rows)
    except TradebotError:
        raise
    except Exception as error:
        raise StrategyError(f"{where} failed: {type(error).__name__}: {error}", "The author's lines are above.") from error
    if len(verdicts) != len(rows) or verdicts["passed"].null_count() or verdicts["rule"].null_count():
        raise StrategyError(f"{where} gave {len(verdicts)} verdicts on {len(rows)} rows.", "Every row needs passed and rule.")
    # What is no finite number is not known.
    finite = [pl.when(pl.col(c).is_finite()).then(pl.col(c)) for c, kind in verdicts.schema.items() if kind == pl.Float64]
    return verdicts.with_columns(finite).sort(_KEY)
