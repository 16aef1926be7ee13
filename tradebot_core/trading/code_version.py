"""What code this process runs: the release and a digest of the sources, as they were when it was first asked."""

import hashlib
from collections.abc import Iterable
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

_KINDS = frozenset({".py", ".toml", ".json"})  # rules and calendars are code as well


@cache
def code_version(packages: tuple[str, ...]) -> str:
    """Of Tradebot and of the packages where strategies may be. Kept for the life of the process: it goes on running what it has
    loaded, whatever is installed meanwhile."""
    try:
        release = version("tradebot")
    except PackageNotFoundError:
        release = "unknown"
    return f"{release}+{digest_of_sources(_folders(packages))}"


def digest_of_sources(places: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for place in sorted(places):
        files = [place] if place.is_file() else sorted(file for file in place.rglob("*") if file.suffix in _KINDS)
        for file in files:
            content = hashlib.sha256(file.read_bytes()).hexdigest()
            digest.update(f"{file.relative_to(place.parent)} {content}\n".encode())
    return digest.hexdigest()[:12]


def _folders(packages: Iterable[str]) -> set[Path]:
    found: set[Path] = set()
    for package in {"tradebot_core", "tradebot_dagster", *packages}:
        spec = find_spec(package)
        if spec is None:
            continue  # strategies of it cannot be made either
        places = spec.submodule_search_locations
        found |= {Path(place) for place in places} if places else {Path(spec.origin)} if spec.origin else set()
    return found
