"""Strategies that see what they cannot know, one way each; and one that does not. All buy what passes, and hold it."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import polars as pl

from tradebot_core.model.decision import Decision, LayerResult, Verdict
from tradebot_core.strategy import Layer, Rule, SessionView, Strategy, SymbolLayer, TableLayer, buy_best

TOLD = Verdict(True, "told", 1.0, 1.0)


class Clean(Strategy):
    """Buys what rises and earns; ranks within the session."""

    def layers(self) -> Sequence[Layer]:
        return (TableLayer("screen", rules=(Rule("price", pl.col("close"), ">", 0),)), *self.second())

    def second(self) -> Sequence[Layer]:
        rank = pl.col("market_cap").rank("ordinal").over("session").cast(pl.Float64)
        return (TableLayer("analyze", steps=([rank.alias("rank")],), rules=(Rule("rank", rank, "<=", 4),), features=("rank",)),)

    def decide(self, view: SessionView) -> Sequence[Decision]:
        keeping = [view.hold(holding, TOLD) for holding in view.holdings]
        return keeping + buy_best(view, places=4 - len(keeping), weight=0.2, rest_days=0)


class NextClose(Clean):
    """Buys what closes higher in the next session."""

    def second(self) -> Sequence[Layer]:
        rise = pl.col("close").shift(-1).over("security_id") / pl.col("close") - 1
        return (TableLayer("analyze", rules=(Rule("rises", rise, ">", 0),)),)


class WholeSampleRank(Clean):
    """Ranks over all sessions at once."""

    def second(self) -> Sequence[Layer]:
        rank = pl.col("market_cap").rank("ordinal").cast(pl.Float64)
        return (TableLayer("analyze", steps=([rank.alias("rank")],), rules=(Rule("rank", rank, ">", 0),), features=("rank",)),)


class LastWord(Clean):
    """Of a period takes the figures as they were stated last."""

    def second(self) -> Sequence[Layer]:
        income = pl.col("net_income_ttm").last().over("security_id", "period_end")
        return (TableLayer("analyze", rules=(Rule("net_income", income, ">", 0),)),)


class PeriodEndJoin(Clean):
    """Uses a quarter's figures from the day the quarter ended, not from the day they were filed."""

    class Joined(TableLayer):
        def evaluate(self, rows: pl.DataFrame) -> pl.DataFrame:
            by_period = rows.select("security_id", "period_end", income="net_income_ttm").drop_nulls().sort("period_end")
            of_period = by_period.unique(["security_id", "period_end"], keep="first", maintain_order=True)
            joined = rows.sort("session").join_asof(
                of_period, left_on="session", right_on="period_end", by="security_id", check_sortedness=False
            )
            return super().evaluate(joined.sort("session", "security_id"))

    def second(self) -> Sequence[Layer]:
        return (self.Joined("analyze", rules=(Rule("net_income", pl.col("income"), ">", 0),)),)


class RollingMean(Clean):
    """No look-ahead, but an answer that depends on where the range began."""

    def second(self) -> Sequence[Layer]:
        mean = pl.col("close").rolling_mean(3).over("security_id")
        return (TableLayer("analyze", rules=(Rule("mean", mean, ">", 0),)),)


CLOSES: dict[tuple[str, object], float] = {}  # a memory beside the layers: the leak
ORDER: dict[object, object] = {}  # the session after each


class Remembering(Clean):
    """A layer, symbol by symbol, that looks up the next close in a cache of the module."""

    class Remember(SymbolLayer):
        name = "analyze"
        features = ("rise",)

        def evaluate(self, rows: pl.DataFrame) -> pl.DataFrame:
            sessions = rows["session"].unique().sort().to_list()
            ORDER.update(pairwise(sessions))
            for symbol, session, close in rows.select("symbol", "session", "close").iter_rows():
                CLOSES.setdefault((symbol, session), close)
            return super().evaluate(rows)

        def process(self, symbol: str, data: Mapping[str, Any]) -> LayerResult:
            later = CLOSES.get((symbol, ORDER.get(data["session"])))
            rise = later / data["close"] - 1 if later is not None else None
            return LayerResult(TOLD, {"rise": rise})

    def second(self) -> Sequence[Layer]:
        return (self.Remember(),)


class DecidesOnMemory(Remembering):
    """Layers that say nothing of the future, and a decision that looks it up."""

    class Silent(Remembering.Remember):
        features = ()

        def process(self, symbol: str, data: Mapping[str, Any]) -> LayerResult:
            return LayerResult(TOLD, {})

    def second(self) -> Sequence[Layer]:
        return (self.Silent(),)

    def decide(self, view: SessionView) -> Sequence[Decision]:
        after = ORDER.get(view.session)
        falling = {h.symbol for h in view.holdings if CLOSES.get((h.symbol, after), h.price) < h.price}
        keeping = [(view.sell if h.symbol in falling else view.hold)(h, TOLD) for h in view.holdings]
        return keeping + buy_best(view, places=4 - len(keeping), weight=0.2, rest_days=0)
