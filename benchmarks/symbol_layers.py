"""What layers in plain Python cost: rows a second here, in one worker and in two; what a model's training and forecasts take.

    python benchmarks/symbol_layers.py --sessions 60 --securities 3000

Rows of the panel with all its columns, made up. CPU seconds are of this process and of the workers it waited for.
"""

import argparse
import os
import resource
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from typing import Any

import numpy as np
import polars as pl

from tradebot_core.calendar import xnys
from tradebot_core.config import LayerSettings, Settings
from tradebot_core.model.decision import Decision, LayerResult, Verdict
from tradebot_core.model_layer import FORECAST, MODEL, ModelLayer
from tradebot_core.quant.panel import PANEL_COLUMNS
from tradebot_core.quant.ratios import EARNINGS_YIELD, OPERATING_MARGIN, RETURN_ON_ASSETS
from tradebot_core.strategies.quality_growth import QualityGrowth
from tradebot_core.strategy import Layer, SessionView, Strategy, SymbolLayer
from tradebot_core.trading.symbol_workers import SymbolJudge
from tradebot_core.trading.training import Models, Trained, one_thread

TEXTS = {"symbol", "form", "accession", "shares_rule"}
DATES = {"session", "period_end"}


class Slow(SymbolLayer):
    """A tenth of a millisecond of the author's own work a row."""

    name, features = "slow", ()

    def process(self, symbol: str, data: Mapping[str, Any]) -> LayerResult:
        until = time.perf_counter() + 1e-4
        while time.perf_counter() < until:
            pass
        return LayerResult(Verdict(True, "slow", 1.0, 1.0))


class Foretold(ModelLayer):
    name, features = "foretold", ()
    inputs: Mapping[str, pl.Expr] = {"cheapness": EARNINGS_YIELD, "margin": OPERATING_MARGIN, "on_assets": RETURN_ON_ASSETS}

    def train(self, rows: pl.DataFrame) -> Any:
        from sklearn.ensemble import HistGradientBoostingRegressor  # noqa: PLC0415

        model = HistGradientBoostingRegressor(max_iter=100, early_stopping=False, random_state=self.seed)
        return model.fit(self.matrix(rows), rows["forward_return"].to_numpy())

    def process(self, symbol: str, data: Mapping[str, Any]) -> LayerResult:
        return LayerResult(Verdict(data[FORECAST] is not None, "forecast", data[FORECAST], None))


class Measured(Strategy):
    Params = Settings

    def layers(self) -> Sequence[Layer]:
        return (Slow(), Foretold())

    def decide(self, view: SessionView) -> Sequence[Decision]:
        return []


def rows_of(sessions: Sequence[date], securities: int) -> pl.DataFrame:
    n, random = len(sessions) * securities, np.random.default_rng(0)
    columns: dict[str, pl.Series] = {}
    for name in PANEL_COLUMNS:
        if name == "session":
            columns[name] = pl.Series(sessions).repeat_by(securities).explode()
        elif name in {"security_id", "cik"}:
            columns[name] = pl.Series(np.tile(np.arange(1, securities + 1), len(sessions)))
        elif name in DATES:
            columns[name] = pl.repeat(sessions[0], n, dtype=pl.Date, eager=True)
        elif name in TEXTS:
            columns[name] = pl.Series(np.tile([f"{name}{k}" for k in range(securities)], len(sessions)))
        else:
            columns[name] = pl.Series(random.uniform(1, 2, n))
    return pl.DataFrame(columns).with_columns(revenue_growth=0.1, operating_margin=0.2)


def cpu() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def timed(what: str, rows: int, work: Callable[[], Any]) -> Any:
    began, used = time.perf_counter(), cpu()
    made = work()
    wall = time.perf_counter() - began
    print(f"{what:<44}{wall:>8.2f} s{cpu() - used:>8.2f} cpu s{rows / wall:>12,.0f} rows/s")
    return made


def alone(work: Callable[[], Any]) -> Any:
    with one_thread():
        return work()


def judge(strategy: Strategy, layer: SymbolLayer, rows: pl.DataFrame, workers: int | None) -> pl.DataFrame:
    strategy.limits = LayerSettings(workers=workers)
    with SymbolJudge(strategy, layer) as by_symbol:
        return by_symbol(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sessions", type=int, default=60)
    parser.add_argument("--securities", type=int, default=3000)
    given = parser.parse_args()
    sessions = xnys().sessions(date(2020, 1, 2), date(2024, 12, 31))[: given.sessions]
    rows = rows_of(sessions, given.securities)
    print(f"{len(rows):,} rows of {rows.width} columns; {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    quality, measured = QualityGrowth("quality_growth", QualityGrowth.Params()), Measured("measured", Settings())
    for what, strategy, layer in (
        ("quality (shipped)", quality, quality.layers()[2]),
        ("0.1 ms of own work", measured, Slow()),
    ):
        first = None
        for workers in (0, 1, 2, None):
            where = {0: "here", None: "as found worth it"}.get(workers, f"{workers} workers")
            found = timed(f"{what}, {where}", len(rows), lambda s=strategy, y=layer, w=workers: judge(s, y, rows, w))
            assert first is None or found.equals(first)
            first = found
    layer = Foretold()
    learnt = rows.head(120 * given.securities).select(
        "session", "security_id", "symbol", *(value.alias(name) for name, value in layer.inputs.items())
    )
    learnt = learnt.with_columns(forward_return=pl.col("cheapness") - 1)
    model = timed("gradient boosting, training", len(learnt), lambda: alone(lambda: layer.train(learnt)))
    models = Models.__new__(Models)  # only what forecasts need: a model that is there
    models.of = lambda *_: Trained(model, "measured")  # type: ignore[method-assign]
    shown = timed("gradient boosting, forecasts by session", len(rows), lambda: models.with_forecasts(measured, layer, rows))
    assert shown[MODEL].null_count() == 0
    one = learnt.head(300)
    timed(
        "the same a row at a time",
        len(one),
        lambda: alone(lambda: [layer.predict(model, one.slice(n, 1)) for n in range(len(one))]),
    )


if __name__ == "__main__":
    main()
