"""The report as one HTML file that needs nothing else: no script, no network, readable on paper."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from html import escape
from pathlib import Path

from tradebot_core.errors import StoreError
from tradebot_core.quant.performance import PeriodReturn
from tradebot_core.quant.trades import RoundTrip
from tradebot_core.trading.report import Report
from tradebot_core.trading.result_charts import curve_svg
from tradebot_core.trading.tear_sheet_style import STYLE

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_SHOWN = 12  # positions at either end
_NONE = "–"


def write(report: Report, path: Path) -> None:
    """Whole or not at all. Raises StoreError when it cannot be written."""
    fresh = path.with_name(path.name + ".new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh.write_text(page(report), encoding="utf-8")
        fresh.replace(path)
    except OSError as error:
        with suppress(OSError):  # of what could not be written there may be nothing to remove
            fresh.unlink()
        raise StoreError(f"The tear sheet {path} could not be written: {error.strerror or error}.") from error


def page(report: Report) -> str:
    title = f"{report.strategy}, {report.start} to {report.end}"
    chart = curve_svg(report.curve, report.strategy, report.performance.against)
    chart = chart[chart.index("<svg") :]  # without the prologue of a file of its own
    body = "".join(
        (
            _header(report),
            _doubts(report),
            f'<div class="top">{_figures(report)}<section>{chart}</section></div>',
            _returns(report),
            _layers(report),
            _positions(report),
            f'<div class="pair"><div>{_costs(report)}{_capacity(report)}</div>{_coverage(report)}</div>',
            _footer(report),
        )
    )
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head>\n<body>\n{body}</body></html>\n"
    )


# Numbers


def _share(value: float | None, digits: int = 1) -> str:
    return _NONE if value is None else f"{_clean(value * 100, digits):,.{digits}f} %".replace("-", "−")


def _number(value: float | None, digits: int = 2) -> str:
    return _NONE if value is None else f"{_clean(value, digits):,.{digits}f}".replace("-", "−")


def _usd(value: float | None, digits: int = 0) -> str:
    return _number(None if value is None else float(value), digits)


def _capital(value: float | None) -> str:
    """To three figures: it is an estimate."""
    if value is None:
        return _NONE
    scale, unit = next(((s, u) for s, u in ((1e9, " bn"), (1e6, " m"), (1e3, " k")) if value >= s), (1.0, ""))
    return f"{float(f'{value / scale:.3g}'):g}{unit}"


def _clean(value: float, digits: int) -> float:
    return round(value, digits) + 0.0  # -0.0 is 0


# Parts


def _rows(rows: Iterable[Sequence[str]], head: Sequence[str], kind: str = "", total: Sequence[str] | None = None) -> str:
    """Cells are HTML already."""
    lines = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    if total is not None:
        lines += f'<tr class="sum">{"".join(f"<td>{cell}</td>" for cell in total)}</tr>'
    return f'<table class="{kind}"><tr>{"".join(f"<th>{name}</th>" for name in head)}</tr>{lines}</table>'


def _header(report: Report) -> str:
    found = report.performance
    against = f" · against {escape(found.against)}" if found.against else ""
    sessions = "1 session" if found.sessions == 1 else f"{found.sessions:,} sessions"
    return (
        f"<header><h1>{escape(report.strategy)}</h1><p>Backtest on a simulated book · {report.start} to {report.end} · "
        f"{sessions} · {_usd(found.initial_capital)} USD at the start{against}</p></header>"
    )


def _doubts(report: Report) -> str:
    said = "".join(f"<li>{escape(sentence)}</li>" for sentence in report.doubts)
    return f'<section class="doubts"><h2>Read this first</h2><ul>{said}</ul></section>' if said else ""


def _figures(report: Report) -> str:
    p, trades, luck = report.performance, report.trades, report.selection
    interval = _NONE if p.sharpe_low is None else f"{_number(p.sharpe_low)} to {_number(p.sharpe_high)}"
    groups = (
        (
            ("Final equity, USD", _usd(p.final_equity)),
            ("Total return", _share(p.total_return)),
            ("Return of the benchmark", _share(p.benchmark_return)),
            ("CAGR", _share(p.cagr, 2)),
        ),
        (
            ("Volatility, a year", _share(p.volatility)),
            ("Sharpe", _number(p.sharpe)),
            ("95 % interval of it", interval),
            ("Sortino", _number(p.sortino)),
            ("Calmar", _number(p.calmar)),
            ("Deepest drawdown", _share(p.max_drawdown)),
            ("Longest drawdown, sessions", f"{p.longest_drawdown:,}"),
        ),
        (
            ("Alpha, a year", _share(p.alpha, 2)),
            ("t of alpha (Newey-West)", _number(p.alpha_t)),
            ("Beta", _number(p.beta)),
        ),
        (
            ("Trials of the idea / runs", f"{luck.trials:,} / {luck.runs:,}"),
            ("Sharpe of the luckiest without merit", _number(luck.lucky_sharpe)),
            ("Probability of merit (deflated Sharpe)", _share(luck.deflated_sharpe)),
            ("Probability of overfitting", _share(luck.overfitting)),
        ),
        (
            ("Invested, mean", _share(p.exposure)),
            ("Turnover, a year", _share(p.turnover, 0)),
            ("Fills", f"{p.trades:,}"),
            ("Round trips, closed / open", f"{trades.closed:,} / {trades.open:,}"),
            ("Hit rate", _share(trades.hit_rate)),
            ("Mean gain / mean loss", f"{_share(trades.mean_win)} / {_share(trades.mean_loss)}"),
            ("Holding, median sessions", _number(trades.median_holding, 0)),
        ),
    )
    lines = ""
    for group in groups:
        for n, (name, value) in enumerate(group):
            gap = ' class="gap"' if n == len(group) - 1 else ""
            lines += f"<tr{gap}><td>{name}</td><td>{value}</td></tr>"
    return f'<section><h2>Figures</h2><table class="figures">{lines}</table></section>'


def _returns(report: Report) -> str:
    """Months across, years down; the shade is the return's."""
    months: Mapping[tuple[int, int | None], PeriodReturn] = {(m.year, m.month): m for m in report.months}
    lines = ""
    for year in report.years:
        cells = "".join(_month(months.get((year.year, number))) for number in range(1, 13))
        lines += (
            f"<tr><td>{year.year}</td>{cells}<td><b>{_share(year.total_return)}</b></td><td>{_share(year.benchmark_return)}</td>"
            f"<td>{_share(year.max_drawdown)}</td><td>{_share(year.exposure, 0)}</td></tr>"
        )
    head = "".join(f"<th>{name}</th>" for name in ("", *_MONTHS, "Year", "Bench.", "Drawdown", "Invested"))
    return f'<section><h2>Returns by month and year, %</h2><table class="months"><tr>{head}</tr>{lines}</table></section>'


def _month(found: PeriodReturn | None) -> str:
    if found is None or found.total_return is None:
        return "<td></td>"
    strength = min(abs(found.total_return) / 0.08, 1) * 0.55
    colour = "31,110,79" if found.total_return > 0 else "163,59,47"
    return f'<td style="background:rgba({colour},{strength:.2f})">{_number(found.total_return * 100, 1)}</td>'


def _layers(report: Report) -> str:
    if not report.layers:
        return ""
    rows = [
        (
            escape(v.layer),
            str(v.horizon),
            _share(v.passed_return, 2),
            _share(v.rejected_return, 2),
            _share(v.spread, 2),
            _number(v.t),
            _share(v.positive, 0),
            f"{v.samples:,}",
            f"{v.windows:,}",
            f"{v.passed:,}",
            f"{v.rejected:,}",
            _share(v.carried),
        )
        for v in report.layers
    ]
    head = ("Layer", "Sessions ahead", "Passed", "Rejected", "Spread", "t", "Spread > 0", "Samples", "Apart")
    head += ("n passed", "n rejected", "No bar at end")
    note = (
        "Mean total return from the open after a session on, sampled every 21st session, each security alike. Samples of the longer "
        "horizons overlap: t is Newey and West's, and there is none where fewer than five horizons fit beside one another (Apart)."
    )
    return f'<section><h2>What each layer added</h2>{_rows(rows, head)}<p class="note">{note}</p></section>'


def _costs(report: Report) -> str:
    costs = report.costs
    rows = [(escape(kind.replace("_", " ")).capitalize(), _usd(cash, 2)) for kind, cash in costs.entries.items()]
    rows.append(("Slippage, in the prices of fills", _usd(None if costs.slippage is None else -costs.slippage, 2)))
    total = ("Cost of trading: commission, fees, slippage", _usd(None if costs.trading is None else -costs.trading, 2))
    note = (
        f"{_share(costs.trading_per_year, 2)} of mean equity a year, {_share(costs.trading_of_traded, 3)} of {_usd(costs.traded)} USD "
        "traded. Slippage is against the session's raw open, or its close in the closing auction."
    )
    return f'<section><h2>Costs and income, USD</h2>{_rows(rows, ("", "USD"), total=total)}<p class="note">{note}</p></section>'


def _capacity(report: Report) -> str:
    found = report.capacity
    rows = [(_share(at.limit, 0), _capital(at.all_fills), _capital(at.nine_tenths)) for at in found.capital]
    largest = f" ({escape(found.largest_symbol)})" if found.largest_symbol else ""
    note = (
        f"Share of the session's volume: median {_share(found.median_share, 3)}, 95th percentile {_share(found.share_95, 3)}, largest "
        f"{_share(found.largest_share, 3)}{largest}. Prices are not moved in this sum."
    )
    head = ("Of a session's volume", "All fills, USD", "90 % of value, USD")
    return f'<section><h2>Capital at which fills stay within</h2>{_rows(rows, head)}<p class="note">{note}</p></section>'


def _positions(report: Report) -> str:
    trips = sorted(report.attribution.round_trips, key=lambda trip: (-trip.profit, trip.opened, trip.symbol))
    shown = trips if len(trips) <= 2 * _SHOWN else [*trips[:_SHOWN], *trips[-_SHOWN:]]
    rest = trips[_SHOWN:-_SHOWN] if len(shown) < len(trips) else []
    rows = [_trip(trip) for trip in shown]
    if rest:
        rows.insert(_SHOWN, (f"{len(rest):,} more between", *_sums(rest)))
    head = (
        "Position",
        "From",
        "To",
        "Sessions",
        "Bought",
        "Sold",
        "Dividends",
        "Commission",
        "Other",
        "Held",
        "Profit",
        "Return",
    )
    other = sum(report.attribution.unattributed.values())
    total = (f"{len(trips):,} positions", *_sums(trips)[:-2], _usd(report.attribution.profit, 2), "")
    if other:
        rows.append(("Of no position", *[""] * 9, _usd(other, 2), ""))
    note = (
        "A position is from the first share to the last. USD; the sum of profits is the change of equity. Best and worst are shown."
        if rest
        else "A position is from the first share to the last. USD; the sum of profits is the change of equity."
    )
    return f'<section><h2>Where it came from</h2>{_rows(rows, head, "wide", total)}<p class="note">{note}</p></section>'


def _trip(trip: RoundTrip) -> tuple[str, ...]:
    until = "held" if trip.closed is None else str(trip.closed)
    return (escape(trip.symbol), str(trip.opened), until, f"{trip.sessions:,}", *_money([trip]), _share(trip.total_return))


def _sums(trips: Sequence[RoundTrip]) -> tuple[str, ...]:
    return ("", "", "", *_money(trips), "")


def _money(trips: Sequence[RoundTrip]) -> tuple[str, ...]:
    columns = ("bought", "sold", "dividends", "commission", "other", "value", "profit")
    return tuple(
        _usd(sum(getattr(trip, name) for trip in trips), 2 if name in ("commission", "profit") else 0) for name in columns
    )


def _coverage(report: Report) -> str:
    seen = report.coverage
    rows = [
        (
            str(year.year),
            f"{year.securities:,}",
            *(_share(share) for share in (year.with_bars, year.with_fundamentals, year.with_market_value)),
        )
        for year in seen.years
    ]
    whole = (_share(share) for share in (seen.with_bars, seen.with_fundamentals, seen.with_market_value))
    head = ("Year", "Securities", "Bars", "Fundamentals", "Market value")
    note = f"Shares of the sessions in which the universe's securities were listed, the dead included; {seen.ended:,} ended in the range."
    table = _rows(rows, head, total=("All", f"{seen.securities:,}", *whole))
    return f'<section><h2>What there was to see</h2>{table}<p class="note">{note}</p></section>'


def _footer(report: Report) -> str:
    return (
        "<footer>Every figure is defined in docs/backtests.md. Risk-free rate 0, 252 sessions a year. One run is one trial: how many were "
        "made, and what another delay or other costs would have left, is not in this page. Not advice; a simulated book earns no money."
        "</footer>"
    )
