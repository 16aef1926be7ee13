"""Training sets, models and forecasts for model layers, each from what was known when the model was trained.

A model of a year (or quarter) is trained on what was known at the last cut-off before it begins. Its rows are those that the layer
would have been shown in the first session of each month before; the return that is to be learnt from a row ends, and was known,
at that cut-off. Both are of the row's own time: figures as known at its session's cut-off, the return at that of its last session.
"""

import hashlib
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from itertools import groupby
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import polars as pl

from tradebot_core.calendar import TradingCalendar
from tradebot_core.config import QualitySettings
from tradebot_core.errors import MissingData, StrategyError, TradebotError
from tradebot_core.interfaces import DataStore
from tradebot_core.judging import authors_line, printing_little
from tradebot_core.model.tables import ACTIONS, BARS
from tradebot_core.model_layer import FORECAST, MODEL, ModelLayer
from tradebot_core.quant.forward_returns import forward_returns
from tradebot_core.quant.quality import blocks, in_force
from tradebot_core.strategy import Strategy, is_checked
from tradebot_core.time_limit import OutOfTime, stopped_after

_KEY = ["session", "security_id"]
_STALE = 20  # sessions after which a last price is none


class Range(Protocol):
    def inside(self, sessions: Sequence[date]) -> pl.DataFrame: ...


class Markets(Protocol):
    """StoredMarkets."""

    @property
    def store(self) -> DataStore: ...
    @property
    def calendar(self) -> TradingCalendar: ...
    @property
    def quality(self) -> QualitySettings: ...
    def up_to(self, sessions: Sequence[date], figures: frozenset[str] | None) -> Range: ...


@dataclass(frozen=True)
class Trained:
    """`model` is None where there were too few rows."""

    model: Any
    identity: str | None


class Models:
    """Trains when it is first asked for a model, and keeps it and its rows in memory. Of one strategy's layers."""

    def __init__(self, markets: Markets) -> None:
        self._markets = markets
        self._trained: dict[tuple[str, date], Trained] = {}
        self._rows: dict[tuple[str, date], pl.DataFrame] = {}

    def with_forecasts(self, strategy: Strategy, layer: ModelLayer, rows: pl.DataFrame) -> pl.DataFrame:
        """`rows` with the inputs, FORECAST and MODEL. Raises StrategyError when the layer fails to train or to forecast."""
        found = []
        for part in rows.partition_by("session", maintain_order=True):
            trained = self.of(strategy, layer, part["session"][0])
            shown = _shown(strategy, layer, part)
            forecast = self._forecasts(strategy, layer, trained, shown)
            found.append(
                part.with_columns(
                    *(shown[name] for name in layer.inputs if name not in part.columns),
                    forecast.alias(FORECAST),
                    pl.lit(trained.identity, pl.String).alias(MODEL),
                )
            )
        if not found:
            return rows.with_columns(
                *(pl.lit(None, pl.Float64).alias(name) for name in (*layer.inputs, FORECAST) if name not in rows.columns),
                pl.lit(None, pl.String).alias(MODEL),
            )
        return pl.concat(found)

    def of(self, strategy: Strategy, layer: ModelLayer, session: date) -> Trained:
        """The model that judges `session`."""
        until = trained_until(layer, session, self._markets.calendar)
        key = layer.name, until
        if key not in self._trained:
            self._trained[key] = self._train(strategy, layer, until)
        return self._trained[key]

    def training_rows(self, strategy: Strategy, layer: ModelLayer, until: date) -> pl.DataFrame:
        """What a model may learn from when nothing is known but what was at the cut-off of `until`. See ModelLayer.train."""
        wanted = sampled(layer, until, self._markets.calendar)
        if missing := [session for session in wanted if (layer.name, session) not in self._rows]:
            figures = {name for value in layer.inputs.values() for name in value.meta.root_names()} | {"close"}
            if checked := is_checked(strategy):
                figures |= {name for rule, _ in in_force(self._markets.quality) for name in rule.columns}
            known = self._markets.up_to([until], frozenset(figures))
            for session in missing:
                self._rows[layer.name, session] = self._made(strategy, layer, session, known, checked)
        parts = [self._rows[layer.name, session] for session in wanted]
        return known_by(until, pl.concat([nothing_of(layer), *parts]), _where(strategy, layer))

    def _made(self, strategy: Strategy, layer: ModelLayer, session: date, known: Range, checked: bool) -> pl.DataFrame:
        """The training rows of one session, which do not depend on when they are learnt from."""
        store, calendar = self._markets.store, self._markets.calendar
        end, begins = calendar.offset(session, layer.horizon), calendar.next(session)
        try:
            panel = known.inside([session])
        except MissingData:  # before the data begin
            return nothing_of(layer)
        if checked:  # what a data check stops is judged by no layer, and learnt by none
            panel = panel.join(blocks(panel, self._markets.quality), on=_KEY, how="anti", maintain_order="left")
        at_end = {"as_of": calendar.cutoff(end), "end": end}
        bars = store.read(BARS, start=max(begins, calendar.offset(end, 1 - _STALE)), **at_end)
        last = bars.sort(_KEY[::-1]).unique("security_id", keep="last", maintain_order=True)
        actions = store.read(ACTIONS, start=begins, **at_end)
        label = forward_returns(panel, last.select("security_id", "session", "close"), actions)
        shown = _shown(strategy, layer, panel).with_columns(label, pl.lit(end, pl.Date).alias("label_end"))
        needed = [*(layer.inputs if layer.all_inputs else ()), "forward_return"]
        return shown.filter(pl.all_horizontal(pl.col(name).is_finite().fill_null(False) for name in needed))

    def _train(self, strategy: Strategy, layer: ModelLayer, until: date) -> Trained:
        where = f"{_where(strategy, layer)} failed to train on what was known in {until}"
        rows = self.training_rows(strategy, layer, until)
        if len(rows) < layer.least_rows:
            return Trained(None, None)
        with _named(where, layer), stopped_after(strategy.limits.seconds_to_train), one_thread(), seeded(layer.seed):
            model = layer.train(rows)
        return Trained(model, f"{until}/{len(rows)}/{identity_of(strategy, layer, rows)}")

    def _forecasts(self, strategy: Strategy, layer: ModelLayer, trained: Trained, shown: pl.DataFrame) -> pl.Series:
        whole = pl.all_horizontal(pl.col(name).is_not_null() for name in layer.inputs) if layer.all_inputs else pl.lit(True)
        asked = shown.with_row_index("_row").filter(whole)
        none = pl.repeat(None, len(shown), dtype=pl.Float64, eager=True)
        if trained.model is None or asked.is_empty():
            return none
        where = f"{_where(strategy, layer)} failed to forecast in {shown['session'][0]}"
        with _named(where, layer), stopped_after(strategy.limits.seconds_per_session), one_thread(), seeded(layer.seed):
            values = np.asarray(layer.predict(trained.model, asked.drop("_row")), dtype=np.float64)
        if values.shape != (len(asked),):
            raise StrategyError(f"{where}: {values.shape} forecasts for {len(asked)} rows.", "predict gives one for each row.")
        values = np.where(np.isfinite(values), values, np.nan)
        return none.scatter(asked["_row"], pl.Series(values).fill_nan(None))


def nothing_of(layer: ModelLayer) -> pl.DataFrame:
    schema = {"session": pl.Date, "security_id": pl.Int64, "symbol": pl.String, **dict.fromkeys(layer.inputs, pl.Float64)}
    return pl.DataFrame(schema={**schema, "forward_return": pl.Float64, "label_end": pl.Date})


def trained_until(layer: ModelLayer, session: date, calendar: TradingCalendar) -> date:
    """The session at whose cut-off the model that judges `session` was trained: the last one before the year or quarter."""
    month = 1 if layer.retrained == "year" else (session.month - 1) // 3 * 3 + 1
    return calendar.previous(calendar.sessions(date(session.year, month, 1), session)[0])


def sampled(layer: ModelLayer, until: date, calendar: TradingCalendar) -> list[date]:
    """The first session of each month of the last years whose return over the horizon ends at `until` or before."""
    if not layer.horizon >= 1:
        raise StrategyError(f"Layer {layer.name} foretells {layer.horizon} sessions ahead.", "Its horizon must be 1 or more.")
    first = max(calendar.all_sessions[0], date(until.year - layer.years, until.month, 1))
    before = calendar.sessions(first, until)[: -layer.horizon]
    return [next(sessions) for _, sessions in groupby(before, key=lambda day: (day.year, day.month))]


def known_by(until: date, rows: pl.DataFrame, where: str) -> pl.DataFrame:
    """`rows`, all of which end at `until` or before. A row of a later return would teach the future: StrategyError."""
    if (late := rows.filter(~(pl.col("label_end") <= until))).height:
        raise StrategyError(
            f"{where}: {late.height} training rows end after {until}, when the model was trained.",
            "A model may learn only from returns that were known then.",
        )
    return rows


def identity_of(strategy: Strategy, layer: ModelLayer, rows: pl.DataFrame) -> str:
    """Sixteen letters that change with the training rows, the layer's code, its parameters and seed, and the libraries."""
    made_of = {
        "layer": [type(layer).__module__, type(layer).__qualname__, layer.name, _code(type(layer).__module__)],
        "params": strategy.params.model_dump(mode="json"),
        "inputs": {name: str(value) for name, value in layer.inputs.items()},
        "settings": [layer.horizon, layer.retrained, layer.years, layer.least_rows, layer.all_inputs, layer.seed],
        "libraries": {name: _version(name) for name in ("numpy", "scipy", "scikit-learn")},
    }
    digest = hashlib.sha256(json.dumps(made_of, sort_keys=True).encode())
    for column in rows.iter_columns():
        digest.update(f"{column.name} {column.dtype}".encode())
        if column.dtype == pl.Float64:
            digest.update(column.is_null().to_numpy().tobytes() + column.fill_null(0.0).to_numpy().astype("<f8").tobytes())
        else:
            digest.update("\x1f".join(map(str, column)).encode())
    return digest.hexdigest()[:16]


def _shown(strategy: Strategy, layer: ModelLayer, rows: pl.DataFrame) -> pl.DataFrame:
    """Key and inputs of rows of one session; what is no finite number is missing."""
    values = [value.cast(pl.Float64).alias(name) for name, value in layer.inputs.items()]
    try:
        found = rows.select(*_KEY, "symbol", *values)
    except Exception as error:
        raise StrategyError(
            f"{_where(strategy, layer)}: its inputs cannot be made: {type(error).__name__}: {error}",
            "They may read the columns of the panel; what a model is to foretell is none.",
        ) from error
    return found.with_columns(pl.when(pl.col(name).is_finite()).then(pl.col(name)) for name in layer.inputs)


def _where(strategy: Strategy, layer: ModelLayer) -> str:
    return f"Layer {layer.name} of {strategy.name}"


@contextmanager
def _named(where: str, layer: ModelLayer) -> Iterator[None]:
    try:
        with printing_little(where):
            yield
    except TradebotError:
        raise
    except OutOfTime as error:
        raise StrategyError(
            f"{where}: it took too long {authors_line(error, layer)}.", "See layers.seconds_to_train and seconds_per_session."
        ) from None
    except ModuleNotFoundError as error:
        mend = "Run `make setup`, which installs scikit-learn." if error.name == "sklearn" else ""
        raise StrategyError(f"{where}: {error}.", mend) from error
    except Exception as error:
        raise StrategyError(f"{where}: {type(error).__name__}: {error} {authors_line(error, layer)}.") from error


@contextmanager
def one_thread() -> Iterator[None]:
    """One thread for linear algebra and trees: with several, sums are made in another order and their last bits differ."""
    if find_spec("sklearn") is None:
        yield
        return
    import sklearn.linear_model  # noqa: F401, PLC0415  loads the libraries whose threads are to be limited
    from threadpoolctl import threadpool_limits  # noqa: PLC0415

    with threadpool_limits(1):
        yield


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """numpy's global generator, which an estimator without a random_state draws from, begins anew and is put back."""
    before = np.random.get_state()
    np.random.seed(seed)
    try:
        yield
    finally:
        np.random.set_state(before)


@cache
def _code(module: str) -> str:
    file = getattr(sys.modules.get(module), "__file__", None)
    return hashlib.sha256(Path(file).read_bytes()).hexdigest() if file else ""


@cache
def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
