"""QV20, the reference strategy, as an ordinary strategy: two layers of expressions and a decision."""

from collections.abc import Sequence

import polars as pl

from tradebot_core.config import Settings
from tradebot_core.model.decision import Decision, Verdict
from tradebot_core.strategy import Layer, Rule, SessionView, Strategy, TableLayer

PLACES, LAST_RANK, STOP, WEIGHT, LEAST = 20, 60, 0.75, 0.05, 0.01


class Params(Settings):
    pass


class QV20(Strategy):
    """Quality and value: the sum of four ranks among what is liquid, profitable and solvent; twenty places."""

    Params = Params

    def layers(self) -> Sequence[Layer]:
        screen = TableLayer(
            "screen",
            rules=(
                Rule("min_price", pl.col("close"), ">", 5.0),
                Rule("min_market_value", pl.col("market_cap"), ">", 300e6),
                Rule("min_dollar_volume", pl.col("mean_dollar_volume_20d"), ">", 2e6),
                Rule("positive_net_income", pl.col("net_income_ttm"), ">", 0.0),
                Rule("positive_equity", pl.col("equity"), ">", 0.0),
            ),
        )
        in_session = {"return_on_equity": True, "leverage": False, "earnings_yield": True, "free_cash_flow_yield": True}
        ranks = [pl.col(c).rank("min", descending=high).over("session").alias(f"{c}_rank") for c, high in in_session.items()]
        total = pl.sum_horizontal(f"{c}_rank" for c in in_session)
        analyze = TableLayer(
            "analyze",
            steps=(
                (
                    (pl.col("net_income_ttm") / pl.col("equity")).alias("return_on_equity"),
                    (pl.col("debt") / pl.col("equity")).alias("leverage"),
                    (pl.col("net_income_ttm") / pl.col("market_cap")).alias("earnings_yield"),
                    (pl.col("free_cash_flow_ttm") / pl.col("market_cap")).alias("free_cash_flow_yield"),
                ),
                tuple(ranks),
                (
                    (1 - total / (4 * pl.len().over("session"))).alias("score"),
                    total.rank("ordinal").over("session").cast(pl.Float64).alias("rank"),
                ),
            ),
            rules=(Rule("ranked", pl.col("rank"), ">=", 1.0),),
            features=(*in_session, "score", "rank"),
        )
        return (screen, analyze)

    def decide(self, view: SessionView) -> Sequence[Decision]:
        decisions = []
        cash, held = view.cash_weight, len(view.holdings)
        for holding in view.holdings:
            rank = holding.candidate.features["rank"] if holding.candidate is not None else None
            if rank is None:
                verdict = Verdict(False, "not_screened", None, LAST_RANK)
            elif rank > LAST_RANK:
                verdict = Verdict(False, "rank", rank, LAST_RANK)
            else:
                kept = holding.price > STOP * holding.average_cost
                verdict = Verdict(kept, "stop_loss", holding.price / holding.average_cost, STOP)
            if verdict.passed:
                decisions.append(view.hold(holding, verdict))
            else:
                decisions.append(view.sell(holding, verdict))
                held, cash = held - 1, cash + holding.weight
        ours = {holding.security_id for holding in view.holdings}
        for candidate in view.candidates[:PLACES]:
            if held >= PLACES:
                break
            if candidate.security_id in ours:
                continue
            weight = min(WEIGHT, cash)
            if weight < LEAST:
                break
            rank = candidate.features["rank"]
            decisions.append(view.buy(candidate, weight, Verdict(True, "rank", rank, PLACES)))
            cash, held = cash - view.weight_in_shares(candidate, weight), held + 1
        return decisions
