"""What came of a backtest: its figures after every session, and the whole report with its tear sheet after a range."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import date

import dagster as dg
import polars as pl

from tradebot_core.model.tables import EQUITY
from tradebot_core.quant.performance import PeriodReturn
from tradebot_core.trading.coverage import Coverage
from tradebot_core.trading.report import Report as Results
from tradebot_core.wiring import BACKTEST, Sleeve
from tradebot_dagster.charts import picture, sparkline
from tradebot_dagster.defs.selection import of_selection
from tradebot_dagster.factories import Report, range_of, session_asset, table
from tradebot_dagster.resources import Research

_TRIPS_SHOWN = 40


def performance_key(sleeve: Sleeve) -> dg.AssetKey:
    return dg.AssetKey([sleeve.name, "performance"])


def performance_asset(sleeve: Sleeve, backtest: dg.AssetKey, partitions: dg.PartitionsDefinition) -> dg.AssetsDefinition:
    name = sleeve.name

    def performance(context: dg.AssetExecutionContext, research: Research, sessions: Sequence[date]) -> Report:
        book = research.whole_book(name, sessions[-1])
        equity = research.store.read_results(EQUITY, name, BACKTEST, book[0], book[-1])["equity"].cast(pl.Float64)
        shown: dict[str, object] = {"book": range_of(book), "equity_curve": sparkline(equity.to_list())}
        shown |= of_selection(research.selection(name, book))
        if len(sessions) == 1:  # the report reads the whole range: not for every session of a book that is carried on
            figures = _rounded(asdict(research.performance(name, sessions[-1])))
            return Report({**shown, **figures, "report": "Made when a range is materialized; see docs/backtests.md."})
        return Report({**shown, **_metadata(research, research.report(name, sessions[-1]))})

    return session_asset(
        performance_key(sleeve).path,
        performance,
        Research,
        partitions,
        group=name,
        description=f"What the backtest of {name} earned, what it risked and what it cost, from the first session of its book; of a range "
        "also what each layer added, where the profit came from and what there was to see, with a tear sheet. Returns, volatility and "
        "drawdown are fractions; money is USD; every figure is defined in docs/backtests.md. Coverage is in shares of all "
        "sessions in which the universe's securities, the dead included, were listed.",
        deps=[backtest],
        kinds={"polars"},
        owner="research",
        code_version=sleeve.fingerprint,
    )


def _metadata(research: Research, results: Results) -> dict[str, object]:
    from tradebot_core.trading.result_charts import curve_png  # noqa: PLC0415  matplotlib is loaded where it draws

    title = f"{results.strategy}, {results.start} to {results.end}"
    chart = curve_png(results.curve, results.strategy, results.performance.against)
    doubts = "\n".join(f"- {sentence}" for sentence in results.doubts)
    sheet = research.write_tear_sheet(results)
    return {
        **({"doubts": dg.MetadataValue.md(doubts)} if doubts else {}),
        "tear_sheet": dg.MetadataValue.path(str(sheet)),
        "chart": picture(title, chart),
        **_rounded(asdict(results.performance)),
        **_rounded(asdict(results.trades), prefix="round_trips_"),
        "returns_by_year": table(_periods(results.years)),
        "returns_by_month": table(_by_month(results.months)),
        **({"layers_added": table(pl.DataFrame([asdict(value) for value in results.layers]))} if results.layers else {}),
        "costs": table(_costs(results)),
        "capacity": table(pl.DataFrame([asdict(at) for at in results.capacity.capital])),
        "positions": table(_positions(results)),
        **_coverage(results.coverage),
    }


def _rounded(figures: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    """Figures that are known."""
    known = {name: value for name, value in figures.items() if value is not None}
    return {f"{prefix}{name}": round(value, 4) if isinstance(value, float) else value for name, value in known.items()}


def _periods(periods: Sequence[PeriodReturn]) -> pl.DataFrame:
    return pl.DataFrame([asdict(period) for period in periods]).drop("month")


def _by_month(months: Sequence[PeriodReturn]) -> pl.DataFrame:
    rows = pl.DataFrame([(m.year, m.month, m.total_return) for m in months], schema=["year", "month", "return"], orient="row")
    wide = rows.pivot("month", index="year", values="return").sort("year")
    return wide.select("year", *(str(month) for month in range(1, 13) if str(month) in wide.columns))


def _costs(results: Results) -> pl.DataFrame:
    costs = results.costs
    rows = [*costs.entries.items(), ("slippage", None if costs.slippage is None else -costs.slippage)]
    rows.append(("cost of trading", None if costs.trading is None else -costs.trading))
    return pl.DataFrame(rows, schema={"what": pl.String, "usd": pl.Float64}, orient="row")


def _positions(results: Results) -> pl.DataFrame:
    """The round trips that moved the result most."""
    trips = sorted(results.attribution.round_trips, key=lambda trip: -abs(trip.profit))[:_TRIPS_SHOWN]
    rows = [
        (t.symbol, t.opened, t.closed, t.sessions, *map(float, (t.bought, t.dividends, t.commission, t.profit)), t.total_return)
        for t in trips
    ]
    schema = {
        **{"symbol": pl.String, "opened": pl.Date, "closed": pl.Date, "sessions": pl.Int64},
        **dict.fromkeys(("bought", "dividends", "commission", "profit", "return"), pl.Float64),
    }
    return pl.DataFrame(rows, schema=schema, orient="row")


def _coverage(found: Coverage) -> dict[str, object]:
    """What the results rest on."""
    shares = {
        f"coverage_{name}": round(value, 4)
        for name in ("with_bars", "with_fundamentals", "with_market_value")
        if (value := getattr(found, name)) is not None
    }
    years = pl.DataFrame([asdict(year) for year in found.years])
    return {
        "coverage_securities": found.securities,
        "coverage_ended": found.ended,
        **shares,
        **({"coverage_by_year": table(years)} if len(years) else {}),
    }
