"""Two backtests of the same sessions side by side: which decisions differ, and why.

A decision differs where one book decided another action about a security than the other (or nothing), or bought another weight of it. The
cause is the first of these that holds:

    book     one held the security at the close and the other did not: an earlier decision, or its fill, differed
    verdict  the layers passed it for one and not for the other: the layer and rule that rejected it, its value and threshold
    rank     both passed it, in another place
    cash     one had the cash for it, the other not
    places   the books hold another number of positions, so that another number of places is free
    decide   none of these: the decide step itself decides otherwise (rule and threshold of both are shown)
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import polars as pl

from tradebot_core.interfaces import DataStore
from tradebot_core.model.tables import DECISIONS, LAYERS, POSITIONS
from tradebot_core.strategy import Strategy
from tradebot_core.trading.order_trail import BACKTEST
from tradebot_core.trading.stored_markets import MARKET, by_year

_KEY = ["session", "security_id"]
_SAID = ("action", "target_weight", "rule", "value", "threshold")
DIFFERENCES = {
    "session": pl.Date,
    "security_id": pl.Int64,
    "symbol": pl.String,
    "cause": pl.String,
    "detail": pl.String,  # of a verdict: the layer and rule that rejected it; else ""
    "detail_value": pl.Float64,
    "detail_threshold": pl.Float64,
    **{f"{name}_{side}": kind for side in ("a", "b") for name, kind in DECISIONS.columns.items() if name in _SAID},
}


@dataclass(frozen=True)
class Comparison:
    """`differences` in order of session and security, columns of DIFFERENCES; `decisions` are all that at least one book made."""

    sessions: Sequence[date]
    decisions: int
    differences: pl.DataFrame

    @property
    def first(self) -> date | None:
        return self.differences["session"].min()  # type: ignore[return-value]

    @property
    def causes(self) -> pl.DataFrame:
        """How often each cause was at work (cause, detail, decisions, first), the most frequent first; verdicts by layer and rule."""
        counted = self.differences.group_by("cause", "detail").agg(decisions=pl.len(), first=pl.col("session").min())
        return counted.sort("decisions", "cause", "detail", descending=[True, False, False])


def compare(store: DataStore, a: Strategy, b: Strategy, sessions: Sequence[date]) -> Comparison:
    """The stored backtests of `a` and `b` over consecutive sessions, which both have."""
    decisions, found = 0, []
    for part in by_year(sessions):
        joined = _decisions(store, a.name, part).join(
            _decisions(store, b.name, part), on=_KEY, how="full", suffix="_b", coalesce=True
        )
        joined = joined.with_columns(pl.coalesce("symbol", "symbol_b").alias("symbol")).drop("symbol_b")
        joined = joined.rename({name: f"{name}_a" for name in _SAID})
        decisions += len(joined)
        different = joined.filter(_DIFFER)
        if not different.is_empty():
            found.append(_explained(store, a, b, different))
    rows = pl.concat(found) if found else pl.DataFrame(schema=DIFFERENCES)
    return Comparison(sessions, decisions, rows.sort(_KEY))


# What is held weighs what it weighs: two holds are the same. A skip says the same as no decision: it was not bought.
_ACTION = {side: pl.col(f"action_{side}").fill_null("skip") for side in ("a", "b")}
_DIFFER = (_ACTION["a"] != _ACTION["b"]) | (
    (_ACTION["a"] == "buy") & ((pl.col("target_weight_a") - pl.col("target_weight_b")).abs() > 1e-9)
)


def _decisions(store: DataStore, name: str, sessions: Sequence[date]) -> pl.DataFrame:
    return store.read_results(DECISIONS, name, BACKTEST, sessions[0], sessions[-1]).select(*_KEY, "symbol", *_SAID)


def _explained(store: DataStore, a: Strategy, b: Strategy, different: pl.DataFrame) -> pl.DataFrame:
    wanted = different.select(_KEY)
    for side, strategy in (("a", a), ("b", b)):
        held, places = _held(store, strategy.name, wanted)
        different = different.join(held.with_columns(pl.lit(True).alias(f"held_{side}")), on=_KEY, how="left")
        different = different.join(places.rename({"places": f"places_{side}"}), on="session", how="left")
        verdicts = _verdicts(store, strategy, wanted)
        different = different.join(verdicts.rename({c: f"{c}_{side}" for c in _OF_VERDICT}), on=_KEY, how="left")
    held = [pl.col(f"held_{side}").fill_null(False) for side in ("a", "b")]
    passed = [pl.col(f"passed_{side}").fill_null(False) for side in ("a", "b")]
    ranked = [pl.col(f"rank_{side}") for side in ("a", "b")]
    cash = [(pl.col(f"rule_{side}") == "cash").fill_null(False) for side in ("a", "b")]
    places = [pl.col(f"places_{side}").fill_null(0) for side in ("a", "b")]
    cause = (
        pl.when(held[0] != held[1])
        .then(pl.lit("book"))
        .when(passed[0] != passed[1])
        .then(pl.lit("verdict"))
        .when((ranked[0] != ranked[1]).fill_null(False))
        .then(pl.lit("rank"))
        .when(cash[0] != cash[1])
        .then(pl.lit("cash"))
        .when(places[0] != places[1])
        .then(pl.lit("places"))
        .otherwise(pl.lit("decide"))
    )
    of_verdict = pl.col("cause") == "verdict"
    rejecting = {c: pl.when(passed[0]).then(pl.col(f"{c}_b")).otherwise(pl.col(f"{c}_a")) for c in _OF_VERDICT[:4]}
    return (
        different.with_columns(cause=cause)
        .with_columns(
            pl.when(of_verdict)
            .then(
                pl.concat_str(
                    rejecting["layer"].fill_null("no layer"), rejecting["by"].fill_null("did not see it"), separator=": "
                )
            )
            .otherwise(pl.lit(""))
            .alias("detail"),
            pl.when(of_verdict).then(rejecting["of"]).alias("detail_value"),
            pl.when(of_verdict).then(rejecting["against"]).alias("detail_threshold"),
        )
        .select(pl.col(name).cast(kind) for name, kind in DIFFERENCES.items())
    )


def _held(store: DataStore, name: str, wanted: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Which of the wanted were held when it was decided, and how many positions there were in each session."""
    first, last = wanted["session"].min(), wanted["session"].max()
    rows = store.read_results(POSITIONS, name, BACKTEST, first, last).select(_KEY)  # type: ignore[arg-type]
    return rows.join(wanted, on=_KEY, how="semi"), rows.group_by("session").agg(places=pl.len())


_OF_VERDICT = ("layer", "by", "of", "against", "passed", "rank")


def _verdicts(store: DataStore, strategy: Strategy, wanted: pl.DataFrame) -> pl.DataFrame:
    """Of each wanted security the verdict of the last layer that saw it: its layer, rule, value and threshold; whether it passed all of
    them; its rank where the last layer gives one."""
    first, last = wanted["session"].min(), wanted["session"].max()
    names = [layer.name for layer in strategy.layers()]
    found = []
    for n, layer in enumerate(names):
        rows = store.read_results(LAYERS, strategy.name, MARKET, first, last, layer)  # type: ignore[arg-type]
        seen = rows.join(wanted, on=_KEY, how="semi")
        rank = pl.col("rank").cast(pl.Float64) if "rank" in seen.columns else pl.lit(None, pl.Float64)
        found.append(
            seen.select(
                *_KEY,
                layer=pl.lit(layer),
                by="rule",
                of="value",
                against="threshold",
                passed=pl.col("passed") & pl.lit(n == len(names) - 1),
                rank=rank,
                place=pl.lit(n),
            )
        )
    return pl.concat(found).sort(*_KEY, "place").unique(_KEY, keep="last", maintain_order=True).drop("place")
