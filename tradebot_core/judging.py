"""Plain Python on the rows of a table, one security and session at a time: the author's code is run here, and held to its contract.

A layer object lives for one session: what it keeps in itself is gone in the next, so that a range, a single session and the workers of
a range give the same verdicts.
"""

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, redirect_stderr, redirect_stdout
from copy import deepcopy
from datetime import date
from io import TextIOBase
from math import isfinite
from numbers import Real
from pathlib import Path
from traceback import extract_tb
from typing import Any, Protocol, TextIO

import polars as pl

from tradebot_core.errors import StrategyError, TradebotError
from tradebot_core.model.decision import LayerResult
from tradebot_core.model.tables import LAYERS
from tradebot_core.time_limit import OutOfTime, stopped_after

MOST_PRINTED = 20_000  # characters


class Judge(Protocol):
    name: str
    features: tuple[str, ...]

    def shown(self) -> tuple[str, ...] | None: ...

    def process(self, symbol: str, data: Mapping[str, Any]) -> LayerResult: ...


def judged(
    layer: Judge,
    rows: pl.DataFrame,
    where: str,
    seconds: float | None = None,
    at: Callable[[int, int], None] | None = None,
) -> pl.DataFrame:
    """The verdicts of `layer` on `rows` (whole sessions, in order), as Layer.evaluate gives them.

    `seconds` limits each session; `at` is told the number of the session and of the row before each. Raises StrategyError naming
    symbol, session and the author's line where the layer raises, takes too long, or gives what is no LayerResult.
    """
    found: list[tuple[Any, ...]] = []
    if (shown := layer.shown()) is not None:
        if unknown := set(shown) - set(rows.columns):
            raise StrategyError(
                f"{where} asks for {', '.join(sorted(unknown))}, which its rows do not have.",
                "Its `columns` are of the panel (quant/panel.py), or features of the layers before it.",
            )
        rows = rows.select(shown)
    with printing_little(where):
        for number, of_session in enumerate(_sessions(rows)):
            session: date = of_session["session"][0]
            fresh, data = _for_one_session(layer, where), {}
            try:
                with _limited(seconds):
                    for data in of_session.iter_rows(named=True):
                        if at is not None:
                            at(number, len(found))
                        found.append(_row(layer, data, fresh.process(data["symbol"], data), where))
            except TradebotError:
                raise
            except OutOfTime as error:
                raise StrategyError(
                    f"{where} was stopped at {data.get('symbol')} in {session}: the session took longer than {seconds:g} s "
                    f"{authors_line(error, layer)}.",
                    "See whether it loops; give slow work more time with layers.seconds_per_session.",
                ) from None
            except Exception as error:
                raise StrategyError(
                    f"{where} failed at {data.get('symbol')} in {session}: {type(error).__name__}: {error} "
                    f"{authors_line(error, layer)}.",
                    "Nothing of these sessions is stored. Correct the layer and run it again.",
                ) from error
    return pl.DataFrame(found, schema={**LAYERS.schema, **dict.fromkeys(layer.features, pl.Float64)}, orient="row")


def authors_line(error: BaseException, layer: object) -> str:
    """The last line of the layer's own file that the error came through."""
    frames = extract_tb(error.__traceback__)
    own = getattr(sys.modules.get(type(layer).__module__), "__file__", None)
    frame = next((f for f in reversed(frames) if f.filename == own), frames[-1])
    return f"({Path(frame.filename).name}, line {frame.lineno}: {frame.line})"


def _sessions(rows: pl.DataFrame) -> Iterator[pl.DataFrame]:
    lengths = rows["session"].rle().struct.field("len").to_list() if len(rows) else []
    start = 0
    for length in lengths:
        yield rows.slice(start, length)
        start += length


def _for_one_session(layer: Judge, where: str) -> Judge:
    try:
        return deepcopy(layer)
    except Exception as error:
        raise StrategyError(
            f"{where} cannot be copied: {type(error).__name__}: {error}.",
            "A layer keeps its parameters and nothing open: no connection, file, lock or generator.",
        ) from error


@contextmanager
def _limited(seconds: float | None) -> Iterator[None]:
    if seconds is None:
        yield
    else:
        with stopped_after(seconds):
            yield


def _row(layer: Judge, data: Mapping[str, Any], result: Any, where: str) -> tuple[Any, ...]:
    if not isinstance(result, LayerResult):
        raise StrategyError(
            f"{where} returned a {type(result).__name__} for {data['symbol']} in {data['session']}.",
            "process returns LayerResult(Verdict(passed, rule, value, threshold), features).",
        )
    if set(result.features) - set(layer.features):
        raise StrategyError(
            f"{where} returned the features {sorted(result.features)} for {data['symbol']}.",
            f"Declare all of them in its `features` ({', '.join(layer.features) or 'now empty'}).",
        )

    def number(name: str, value: Any) -> float | None:
        if value is None or type(value) is float:
            return value
        if isinstance(value, Real):
            return float(value)
        raise StrategyError(
            f"{where} returned a {type(value).__name__} as {name} of {data['symbol']} in {data['session']}.",
            "Give a number, or None where it is not known.",
        )

    verdict = result.verdict
    value, passed = number("value", verdict.value), verdict.passed
    if value is not None and not isfinite(value):
        value, passed = None, False  # as in a Rule: what is no number is not known, and what is not known never passes
    if passed is not None:
        passed = bool(passed)  # a numpy bool as well
    features = (number(name, result.features.get(name)) for name in layer.features)
    key = (data["session"], data["security_id"], data["symbol"])
    return (*key, passed, verdict.rule, value, number("threshold", verdict.threshold), *features)


class _Capped(TextIOBase):
    def __init__(self, to: TextIO, where: str) -> None:
        self._to, self._where, self._left = to, where, MOST_PRINTED

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        if self._left > 0:
            self._to.write(text[: self._left])
            if len(text) >= self._left:
                self._to.write(f"\n{self._where} prints more than {MOST_PRINTED} characters; the rest is dropped.\n")
            self._left -= len(text)
        return len(text)

    def flush(self) -> None:
        self._to.flush()


def printing_little(where: str) -> AbstractContextManager[Any]:
    """What is printed in the block goes to stderr, and not all of it: stdout is the answer of a command, and disks fill."""
    return _redirected(_Capped(sys.stderr, where))


@contextmanager
def _redirected(capped: _Capped) -> Iterator[None]:
    with redirect_stdout(capped), redirect_stderr(capped):
        yield
