"""Pictures for the metadata of assets, as markdown with the image inside."""

import base64
import io
from collections.abc import Sequence
from datetime import date

import dagster as dg

_POINTS = 60  # Dagster shows markdown in place only below 1,000 characters
_WIDTH, _HEIGHT = 240, 40


def sparkline(values: Sequence[float]) -> dg.MetadataValue:
    """The course of a value in a line small enough to be shown in place."""
    picked = [values[n * (len(values) - 1) // (_POINTS - 1)] for n in range(_POINTS)] if len(values) > _POINTS else list(values)
    low, high = min(picked), max(picked)
    across = _WIDTH / max(len(picked) - 1, 1)
    points = " ".join(
        f"{n * across:.0f},{_HEIGHT - _HEIGHT * (v - low) / ((high - low) or 1):.0f}" for n, v in enumerate(picked)
    )
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{_HEIGHT}">'
        f'<polyline points="{points}" fill="none" stroke="#3b82f6"/></svg>'
    )
    return _image("sparkline", "image/svg+xml", svg.encode())


def equity_chart(title: str, sessions: Sequence[date], equity: Sequence[float], drawdown: Sequence[float]) -> dg.MetadataValue:
    """Equity above, the fall from its peak below."""
    from matplotlib.figure import Figure  # noqa: PLC0415  half a second of every process that draws nothing

    figure = Figure(figsize=(8, 4.5), dpi=80, layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    above.plot(sessions, equity, linewidth=1)
    above.set_title(title, fontsize=10)
    above.set_ylabel("USD")
    above.grid(alpha=0.3)
    below.fill_between(sessions, drawdown, 0, color="tab:red", alpha=0.4, linewidth=0)
    below.yaxis.set_major_formatter("{x:.0%}")
    below.set_ylabel("below peak")
    below.grid(alpha=0.3)
    figure.autofmt_xdate()
    target = io.BytesIO()
    figure.savefig(target, format="png")
    return _image(title, "image/png", target.getvalue())


def _image(name: str, kind: str, content: bytes) -> dg.MetadataValue:
    return dg.MetadataValue.md(f"![{name}](data:{kind};base64,{base64.b64encode(content).decode()})")
