"""Pictures for the metadata of assets, as markdown with the image inside."""

import base64
from collections.abc import Sequence

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


def picture(name: str, png: bytes) -> dg.MetadataValue:
    return _image(name, "image/png", png)


def _image(name: str, kind: str, content: bytes) -> dg.MetadataValue:
    return dg.MetadataValue.md(f"![{name}](data:{kind};base64,{base64.b64encode(content).decode()})")
