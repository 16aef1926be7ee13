"""Evaluating a strategy's layers in order: each sees the rows that passed the one before, with its features added.

Before the first layer stand the data checks (quant/quality.py), for every strategy that reads filings. What they stop goes no
further: it carries the check as the first layer's verdict, and the others are judged and ranked without it.
"""

from collections.abc import Collection

import polars as pl

from tradebot_core.config import DATA_CHECKS_ON, QualitySettings
from tradebot_core.errors import StrategyError, TradebotError
from tradebot_core.judging import judged
from tradebot_core.model.keyed_rows import in_order
from tradebot_core.model.tables import VERDICT_COLUMNS
from tradebot_core.model_layer import ModelLayer
from tradebot_core.quant.quality import blocks, in_force, without_doubted
from tradebot_core.strategy import Layer, Strategy, is_checked
from tradebot_core.trading.symbol_workers import SymbolJudge, is_by_symbol

_KEY = ["session", "security_id"]


def evaluate_layers(
    strategy: Strategy, panel: pl.DataFrame, quality: QualitySettings = DATA_CHECKS_ON
) -> dict[str, pl.DataFrame]:
    """The verdict table of every layer, by name, each sorted by session and security."""
    verdicts: dict[str, pl.DataFrame] = {}
    rows = panel
    for n, layer in enumerate(strategy.layers()):
        verdicts[layer.name] = evaluate_next(strategy, layer, rows, n == 0, quality)
        rows = passed_by(verdicts[layer.name], rows)
    return verdicts


def reads_of(
    strategy: Strategy, quality: QualitySettings = DATA_CHECKS_ON, layers: Collection[str] | None = None
) -> frozenset[str] | None:
    """The panel's columns that the strategy's layers (or some of them, by name) and the data checks before the first look at: all of
    them when None."""
    found: frozenset[str] = frozenset()
    for n, layer in enumerate(strategy.layers()):
        if layers is not None and layer.name not in layers:
            continue
        own = layer.reads()
        if own is None:
            return None
        found |= own
        if n == 0 and is_checked(strategy):
            found |= {column for rule, _ in in_force(quality) for column in (*rule.columns, *rule.doubts)}
    return found


def evaluate_next(
    strategy: Strategy,
    layer: Layer,
    rows: pl.DataFrame,
    first: bool,
    quality: QualitySettings,
    judge: SymbolJudge | None = None,
) -> pl.DataFrame:
    """The verdicts of a layer on the rows it is shown: of the panel by the first one, with the data checks before it; of what passed
    all those before it (`passed_by`) by another. `judge` is one of the layer that outlives the call."""
    if not first or not is_checked(strategy):
        return evaluate_layer(strategy, layer, rows, judge)
    stopped = blocks(rows, quality)
    if stopped.is_empty():
        return evaluate_layer(strategy, layer, rows, judge)
    sound = rows.join(stopped, on=_KEY, how="anti", maintain_order="left")
    unsound = rows.join(stopped, on=_KEY, how="semi", maintain_order="left")
    own = evaluate_layer(strategy, layer, without_doubted(unsound, quality))
    return pl.concat([evaluate_layer(strategy, layer, sound, judge), _stopped(own, stopped)], how="vertical_relaxed").sort(_KEY)


def _stopped(own: pl.DataFrame, stopped: pl.DataFrame) -> pl.DataFrame:
    """The verdicts on companies that a data check stops.

    Where the layer itself rejected one, on a figure that is known and not in doubt, its own verdict stays: a strategy sells
    what it holds for such a reason. In every other case the check is the verdict.
    """
    found = own.join(stopped, on=_KEY, how="left", suffix="_of_check", maintain_order="left")
    stays = ~pl.col("passed") & pl.col("value").is_not_null()
    of_check = {name: pl.col(f"{name}_of_check") for name in ("rule", "value", "threshold")} | {"passed": pl.lit(False)}
    features = [name for name in own.columns if name not in (*_KEY, "symbol", *VERDICT_COLUMNS)]
    return found.with_columns(
        *(pl.when(stays).then(pl.col(name)).otherwise(check).alias(name) for name, check in of_check.items()),
        *(pl.lit(None, own.schema[name]).alias(name) for name in features),
    ).select(own.columns)


def passed_by(verdicts: pl.DataFrame, rows: pl.DataFrame) -> pl.DataFrame:
    """Of the rows that a layer was shown (or some of them) those that it passed, with the features it added."""
    found = verdicts.drop("symbol", *(c for c in VERDICT_COLUMNS if c != "passed"))
    if rows.select(_KEY).equals(found.select(_KEY)):
        return rows.hstack(found.drop(_KEY)).filter("passed").drop("passed")
    return rows.join(found.filter("passed").drop("passed"), on=_KEY, how="inner", maintain_order="left")


def evaluate_layer(strategy: Strategy, layer: Layer, rows: pl.DataFrame, judge: SymbolJudge | None = None) -> pl.DataFrame:
    """The layer's verdicts. Raises StrategyError when it fails or leaves a row without a verdict."""
    where = f"Layer {layer.name} of {strategy.name}"
    if isinstance(layer, ModelLayer):
        rows = _with_forecasts(strategy, layer, rows, judge)
    try:
        if judge is not None:
            verdicts = judge(rows)
        elif is_by_symbol(layer):
            verdicts = judged(layer, rows, where, strategy.limits.seconds_per_session)
        else:
            verdicts = layer.evaluate(rows)
    except TradebotError:
        raise
    except Exception as error:
        raise StrategyError(f"{where} failed: {type(error).__name__}: {error}", "The author's lines are above.") from error
    if len(verdicts) != len(rows) or verdicts["passed"].null_count() or verdicts["rule"].null_count():
        raise StrategyError(f"{where} gave {len(verdicts)} verdicts on {len(rows)} rows.", "Every row needs passed and rule.")
    if isinstance(layer, ModelLayer):
        verdicts = verdicts.with_columns(rows[name] for name in layer.adds() if name not in layer.features)
    # What is no finite number is not known.
    finite = [pl.when(pl.col(c).is_finite()).then(pl.col(c)) for c, kind in verdicts.schema.items() if kind == pl.Float64]
    return in_order(verdicts.with_columns(finite), _KEY)


def _with_forecasts(strategy: Strategy, layer: ModelLayer, rows: pl.DataFrame, judge: SymbolJudge | None) -> pl.DataFrame:
    forecaster = strategy.forecaster if judge is None or judge.forecaster is None else judge.forecaster
    if forecaster is None:
        raise StrategyError(f"Layer {layer.name} of {strategy.name} needs a store to train its model on, and has none.")
    return forecaster.with_forecasts(strategy, layer, rows)
