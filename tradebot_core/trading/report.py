"""The whole report of a backtest: its figures, where they came from, what they rest on, and what they do not show."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import polars as pl

from tradebot_core.calendar import TradingCalendar
from tradebot_core.interfaces import DataStore
from tradebot_core.model.tables import ENTRIES, EQUITY, FILLS, ORDERS, POSITIONS, SECURITIES, ResultTable
from tradebot_core.quant.capacity import Capacity, capacity
from tradebot_core.quant.cost_split import CostSplit, cost_split
from tradebot_core.quant.layer_value import HORIZONS, LayerValue, layer_value
from tradebot_core.quant.performance import Benchmark, Performance, PeriodReturn, by_period, drawdowns, summarise
from tradebot_core.quant.trades import Attribution, TradeFigures, attribute, figures_of
from tradebot_core.trading.coverage import Coverage
from tradebot_core.trading.market_review import review, verdicts_at
from tradebot_core.trading.order_trail import BACKTEST
from tradebot_core.trading.trials import Selection

_TWO_SIDED = 1.96  # a t beyond which 95 % confidence speaks
UNIVERSE = "the universe, equal-weighted"


@dataclass(frozen=True)
class Report:
    """Of one unbroken book. `curve`: session, equity, drawdown, exposure, and benchmark (USD, from the same capital; null where
    unknown). `doubts` are sentences that a reader should know before the figures."""

    strategy: str
    start: date
    end: date
    performance: Performance
    trades: TradeFigures
    attribution: Attribution
    costs: CostSplit
    years: tuple[PeriodReturn, ...]
    months: tuple[PeriodReturn, ...]
    layers: tuple[LayerValue, ...]
    capacity: Capacity
    coverage: Coverage
    selection: Selection
    doubts: tuple[str, ...]
    curve: pl.DataFrame


def make_report(
    store: DataStore,
    calendar: TradingCalendar,
    strategy: str,
    layers: Sequence[str],
    sessions: Sequence[date],
    capital: float,
    members: pl.DataFrame | None,
    benchmark: str | None,
    coverage: Coverage,
    selection: Selection,
) -> Report:
    """`sessions` are those of the book, from its opening on. `benchmark` is a symbol, or None for the universe. `selection` is of all
    trials of the strategy's idea."""

    def rows(table: ResultTable, start: date = sessions[0]) -> pl.DataFrame:
        return store.read_results(table, strategy, BACKTEST, start, sessions[-1])

    equity, entries = rows(EQUITY), rows(ENTRIES)
    security = None if benchmark is None else _security(store, calendar, benchmark, sessions)
    market = review(store, calendar, sessions, members, security, rows(FILLS))
    fills = _with_reference(_with_equity_before(market.fills, equity, capital), rows(ORDERS))
    against, doubts = _benchmark(benchmark, security, market.benchmark, market.benchmark_gaps, market.universe)
    performance = summarise(equity, fills, entries, capital, against)
    attribution = attribute(entries, rows(POSITIONS, sessions[-1]), sessions)
    sampled = [snapshot.session for snapshot in market.snapshots]
    judged = {layer: verdicts_at(store, strategy, layer, sampled) for layer in layers}
    months = by_period(equity, capital, True, against)
    costs = cost_split(entries, fills, equity)
    return Report(
        strategy,
        sessions[0],
        sessions[-1],
        performance,
        figures_of(attribution.round_trips),
        attribution,
        costs,
        by_period(equity, capital, False, against),
        months,
        tuple(layer_value(layer, horizon, market.snapshots, judged[layer]) for layer in layers for horizon in HORIZONS),
        capacity(fills),
        coverage,
        selection,
        (*_power(performance, fills), *selection.notes, *doubts, *_of_costs(costs), *coverage.warnings, *coverage.caveats),
        _curve(equity, capital, against),
    )


def _security(store: DataStore, calendar: TradingCalendar, symbol: str, sessions: Sequence[date]) -> int | None:
    """The security that bore the symbol in the range; the one of the latest listing where several did."""
    known = store.read(SECURITIES, as_of=calendar.cutoff(sessions[-1])).filter(symbol=symbol)
    listed = known.filter(
        pl.col("valid_from").fill_null(date.min) <= sessions[-1], pl.col("valid_to").fill_null(date.max) >= sessions[0]
    )
    return listed.sort("valid_from", "security_id")["security_id"][-1] if len(listed) else None


def _benchmark(
    symbol: str | None,
    security: int | None,
    of_symbol: Sequence[float | None],
    gaps: int,
    of_universe: Sequence[float | None],
) -> tuple[Benchmark | None, list[str]]:
    """What the book is measured against, and what there is to say of it."""
    if symbol is not None and any(value is not None for value in of_symbol):
        carried = (
            f"The benchmark {symbol} has no bar in {gaps} of {len(of_symbol)} sessions and stands at its last price in them."
        )
        missing = sum(value is None for value in of_symbol)
        without = f"The benchmark {symbol} has no return in {missing} sessions: its return over the range is not known."
        return Benchmark(f"{symbol}, dividends reinvested", of_symbol), [
            *([carried] if gaps else []),
            *([without] if missing else []),
        ]
    why = []
    if symbol is not None:
        what = "has no bar in the range" if security is not None else "is the symbol of no security of the store in the range"
        why.append(f"The benchmark {symbol} {what}: the book is measured against {UNIVERSE}.")
    if any(value is not None for value in of_universe):
        return Benchmark(f"{UNIVERSE}, dividends reinvested", of_universe), why
    return None, [*why, "There is no bar to measure a benchmark from: alpha and beta are not known."]


def _power(found: Performance, fills: pl.DataFrame) -> list[str]:
    """How much the run can prove."""
    days = fills["session"].n_unique()
    years = found.sessions / 252
    if found.sharpe is None or found.sharpe_low is None or found.sharpe_high is None:
        return ["Nothing moved: there is no Sharpe ratio, and nothing to conclude."]
    within = f"between {found.sharpe_low:.2f} and {found.sharpe_high:.2f}"
    said = [
        f"{years:.1f} years put the Sharpe ratio of {found.sharpe:.2f} {within} with 95 % confidence (Lo 2002): "
        f"{_apart(not found.sharpe_low <= 0 <= found.sharpe_high)}. It traded in {days} {'session' if days == 1 else 'sessions'}: "
        "so many decisions are judged here, and one history."
    ]
    if found.alpha is not None and found.alpha_t is not None:
        apart = _apart(abs(found.alpha_t) > _TWO_SIDED)
        said.append(f"Against {found.against}, alpha is {found.alpha:.1%} a year with a t of {found.alpha_t:.2f}: {apart}.")
    return said


def _apart(differs: bool) -> str:
    return "it differs from 0" if differs else "it cannot be told from 0"


def _of_costs(costs: CostSplit) -> list[str]:
    if not costs.fills_without_reference:
        return []
    return [f"{costs.fills_without_reference} fills are of sessions whose bar is not known: what slippage cost is not known."]


def _with_equity_before(fills: pl.DataFrame, equity: pl.DataFrame, capital: float) -> pl.DataFrame:
    before = equity.select("session", pl.col("equity").cast(pl.Float64).shift(1, fill_value=capital))
    return fills.join(before, on="session", how="left", maintain_order="left")


def _with_reference(fills: pl.DataFrame, orders: pl.DataFrame) -> pl.DataFrame:
    """What slippage is measured from: the open, or the close of orders for the closing auction."""
    at_close = pl.col("order_type").str.ends_with("_on_close").fill_null(False)
    of_type = fills.join(orders.select("order_key", "order_type"), on="order_key", how="left", maintain_order="left")
    return of_type.with_columns(reference=pl.when(at_close).then("close").otherwise("open"))


def _curve(equity: pl.DataFrame, capital: float, against: Benchmark | None) -> pl.DataFrame:
    values = equity["equity"].cast(pl.Float64)
    invested = equity["invested"].cast(pl.Float64)
    other: list[float | None] = []
    value: float | None = capital
    for change in against.returns if against else [None] * len(values):
        value = None if value is None or change is None else value * (1 + change)
        other.append(value)
    return pl.DataFrame(
        {
            "session": equity["session"],
            "equity": values,
            "drawdown": drawdowns(pl.concat([pl.Series([capital], dtype=pl.Float64), values]))[1:],
            "exposure": pl.select(pl.when(values > 0).then(invested / values)).to_series(),
            "benchmark": pl.Series(other, dtype=pl.Float64),
        }
    )
