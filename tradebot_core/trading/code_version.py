"""What code this process runs: the release and a digest of the sources, as they were when it was first asked; and what code a strategy
is, apart from Tradebot's."""

import ast
import hashlib
import inspect
import sys
from collections.abc import Iterable
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec, resolve_name
from pathlib import Path
from types import ModuleType

from tradebot_core.strategy import Strategy

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


def idea_of(strategy: Strategy) -> str:
    return f"{type(strategy).__module__}.{type(strategy).__qualname__}"


def code_of(strategy: Strategy) -> str:
    """Digest of the sources that a strategy is made of, of what they do and not what they say about it (comments, docstrings, layout): its
    folder, the classes that it is derived from, and the modules of its own package that any of these import. Tradebot's own modules are
    left out: a new release is the same strategy."""
    return _code_of(type(strategy))


@cache
def _code_of(kind: type[Strategy]) -> str:
    """Kept for the life of the process, which goes on running what it has loaded."""
    digest = hashlib.sha256()
    read: set[Path] = set()
    for made_of in (one for one in kind.__mro__ if issubclass(one, Strategy) and one is not Strategy):
        module = sys.modules[made_of.__module__]
        own = Path(inspect.getfile(made_of))
        # A strategy is a folder; a module without one stands for itself.
        is_folder = (own.parent / "strategy.py").exists()
        files = sorted(file for file in own.parent.rglob("*") if file.suffix in _KINDS) if is_folder else [own]
        for file in [*files, *_imported(module)]:
            if file not in read:
                read.add(file)
                digest.update(f"{_place(file, own.parent)}\n{_content(file)}\n".encode())
    return digest.hexdigest()[:16]


def _imported(module: ModuleType) -> list[Path]:
    """The files of all modules of the same package that it and they import. What Tradebot itself is made of is no part of a strategy."""
    top = module.__name__.partition(".")[0]
    if top == "tradebot_core":
        return []
    found: dict[str, Path] = {}
    waiting = [module]
    while waiting:
        one = waiting.pop()
        if one.__name__ in found or not (file := getattr(one, "__file__", None)):
            continue
        found[one.__name__] = Path(file)
        names = (name for name in _names_imported(Path(file), one.__package__ or "") if name.partition(".")[0] == top)
        waiting += [sys.modules[name] for name in names if name in sys.modules]
    return sorted(path for name, path in found.items() if name != module.__name__)


def _names_imported(file: Path, package: str) -> set[str]:
    """Of modules, and of what may be one."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            of = resolve_name("." * node.level + (node.module or ""), package) if node.level else node.module or ""
            names |= {of} | {f"{of}.{alias.name}" for alias in node.names}
    return names


def _place(file: Path, folder: Path) -> str:
    return str(file.relative_to(folder)) if file.is_relative_to(folder) else file.name


def _content(file: Path) -> str:
    return _meaning(file.read_text(encoding="utf-8")) if file.suffix == ".py" else hashlib.sha256(file.read_bytes()).hexdigest()


def _meaning(source: str) -> str:
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:]
    return ast.dump(tree)
