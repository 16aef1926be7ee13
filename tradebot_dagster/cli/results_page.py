"""The report of a backtest in the terminal. The tear sheet has the tables."""

from dataclasses import asdict

from tradebot_core.trading.coverage import Coverage
from tradebot_core.trading.report import Report

_SHARES = {
    "total_return",
    "cagr",
    "volatility",
    "max_drawdown",
    "exposure",
    "benchmark_return",
    "alpha",
    "hit_rate",
    "mean_win",
    "mean_loss",
}
_MONEY = {"initial_capital", "final_equity", "commission", "dividends"}
_APART = ("sharpe_low", "sharpe_high", "against")  # shown in words
_OF_TRIPS = ("closed", "open", "hit_rate", "mean_win", "mean_loss", "median_holding")


def page(results: Report) -> str:
    found = results.performance
    figures = {name: value for name, value in asdict(found).items() if name not in _APART}
    trips = {name: getattr(results.trades, name) for name in _OF_TRIPS}
    interval = "" if found.sharpe_low is None else f"  ({found.sharpe_low:.2f} to {found.sharpe_high:.2f} with 95 % confidence)"
    return "\n".join(
        [
            *(_line(name, value) + (interval if name == "sharpe" else "") for name, value in figures.items()),
            *([f"  against {found.against}"] if found.against else []),
            *(_line(f"round trips {name}" if name in ("closed", "open") else name, value) for name, value in trips.items()),
            _line("cost of trading", results.costs.trading, money=True),
            *_layers(results),
            *_coverage(results.coverage),
            *(f"  ! {doubt}" for doubt in results.doubts),
        ]
    )


def _line(name: str, value: float | None, money: bool = False) -> str:
    if value is None:
        text = "not known"
    elif name in _SHARES:
        text = f"{round(value, 4) + 0.0:+.2%}"
    elif money or name in _MONEY:
        text = f"{round(value, 2) + 0.0:,.2f} USD"
    else:
        text = f"{round(value, 2) + 0.0:,.2f}" if isinstance(value, float) else f"{value:,}"
    return f"  {name.replace('_', ' '):<18}{text:>20}"


def _layers(results: Report) -> list[str]:
    """What each passed against what it rejected, at the longest horizon that has samples."""
    lines = []
    for layer in dict.fromkeys(value.layer for value in results.layers):
        known = [value for value in results.layers if value.layer == layer and value.spread is not None]
        if not known:
            lines.append(f"  layer {layer:<12}{'not known':>20} passed against rejected: no sample has both")
            continue
        best = known[-1]
        t = "t not known" if best.t is None else f"t {best.t:.2f}"
        lines.append(
            f"  layer {layer:<12}{best.spread:>+20.2%} passed against rejected over {best.horizon} sessions "
            f"({t}, {best.samples} samples, {best.windows} apart)"
        )
    return lines


def _coverage(seen: Coverage) -> list[str]:
    """What the figures rest on."""

    def share(value: float | None) -> str:
        return "not known" if value is None else f"{value:.1%}"

    return [
        f"  coverage          {seen.securities:>20,} securities, of which {seen.ended:,} ended",
        *(
            f"  {name.replace('_', ' '):<23}{share(getattr(seen, name)):>15} of the sessions in which they were listed"
            for name in ("with_bars", "with_fundamentals", "with_market_value")
        ),
    ]
