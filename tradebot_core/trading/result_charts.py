"""Pictures of a report, drawn with matplotlib. The same report gives the same bytes."""

import io
from datetime import timedelta
from typing import TYPE_CHECKING

import polars as pl

if TYPE_CHECKING:  # half a second of every process that draws nothing
    from matplotlib.figure import Figure

_OWN, _OTHER, _FALL = "#1f4e79", "#9a9a9a", "#a33b2f"
_STYLE = {
    "svg.hashsalt": "tradebot",
    "svg.fonttype": "none",  # text stays text: small, and searchable
    "font.family": ["Helvetica", "Arial", "Liberation Sans", "DejaVu Sans", "sans-serif"],
    "font.size": 8,
    "axes.linewidth": 0.5,
    "axes.edgecolor": "#888888",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.5,
    "xtick.color": "#555555",
    "ytick.color": "#555555",
    "xtick.major.width": 0.5,
    "ytick.major.width": 0.5,
    "path.simplify_threshold": 0.4,
}
_FEW = 4  # sessions that need a dot to be seen
_MANY_TIMES = 3.0  # a curve that grew so often is drawn on a logarithmic scale


def curve_svg(curve: pl.DataFrame, strategy: str, against: str | None) -> str:
    return _drawn(curve, strategy, against, "svg", (7.4, 4.3)).decode()


def curve_png(curve: pl.DataFrame, strategy: str, against: str | None) -> bytes:
    return _drawn(curve, strategy, against, "png", (8.0, 5.0))


def _drawn(curve: pl.DataFrame, strategy: str, against: str | None, kind: str, size: tuple[float, float]) -> bytes:
    import matplotlib as mpl  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415

    target = io.BytesIO()
    with mpl.rc_context(_known(_STYLE)):
        figure = Figure(figsize=size, dpi=90, layout="constrained")
        _draw(figure, curve, strategy, against)
        figure.savefig(target, format=kind, metadata={"Date": None} if kind == "svg" else {"Software": None})
    return target.getvalue()


def _draw(figure: "Figure", curve: pl.DataFrame, strategy: str, against: str | None) -> None:
    """Equity beside the benchmark, the fall from its peak, and how much was invested."""
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter  # noqa: PLC0415
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter  # noqa: PLC0415

    days = curve["session"].to_list()
    marker = "." if len(days) < _FEW else None
    equity, falls, invested = figure.subplots(3, 1, sharex=True, height_ratios=(5, 2, 1.3))
    if against is not None and curve["benchmark"].is_not_null().any():
        equity.plot(days, curve["benchmark"].to_list(), color=_OTHER, linewidth=0.9, marker=marker, label=against)
    equity.plot(days, curve["equity"].to_list(), color=_OWN, linewidth=1.1, marker=marker, label=strategy)
    low, high = curve["equity"].min(), curve["equity"].max()
    if low > 0 and high / low > _MANY_TIMES:
        equity.set_yscale("log")
        equity.yaxis.set_minor_formatter(NullFormatter())
        equity.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    equity.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    equity.set_ylabel("equity, USD")
    equity.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, frameon=False, fontsize=8, borderaxespad=0.2)
    falls.fill_between(days, curve["drawdown"].to_list(), 0, color=_FALL, alpha=0.55, linewidth=0)
    falls.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0%}"))
    falls.yaxis.set_major_locator(MaxNLocator(3))
    falls.set_ylabel("below peak")
    shares = [float("nan") if share is None else share for share in curve["exposure"].to_list()]
    invested.fill_between(days, shares, 0, color=_OWN, alpha=0.35, linewidth=0)
    invested.set_ylim(0, max(1.0, curve["exposure"].max() or 0.0))
    invested.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0%}"))
    invested.set_yticks([0, 0.5, 1])
    invested.set_ylabel("invested")
    if len(days) == 1:
        invested.set_xlim(days[0] - timedelta(days=2), days[0] + timedelta(days=2))
    locator = AutoDateLocator(maxticks=9)
    invested.xaxis.set_major_locator(locator)
    invested.xaxis.set_major_formatter(ConciseDateFormatter(locator))
    figure.align_ylabels()


def _known(style: dict[str, object]) -> dict[str, object]:
    """matplotlib warns of each family that is not installed: only those that are."""
    from matplotlib.font_manager import fontManager  # noqa: PLC0415

    there = {font.name for font in fontManager.ttflist}
    return {**style, "font.family": [name for name in style["font.family"] if name in there] or ["sans-serif"]}
