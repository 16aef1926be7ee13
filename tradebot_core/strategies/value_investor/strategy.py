from collections.abc import Sequence
from typing import Annotated

import polars as pl
from pydantic import Field

from tradebot_core.config import Settings, Share
from tradebot_core.model.decision import Decision
from tradebot_core.quant.ratios import EARNINGS_YIELD, FREE_CASH_FLOW_YIELD, LEVERAGE, RETURN_ON_CAPITAL
from tradebot_core.strategy import Layer, Rule, SessionView, Strategy, TableLayer, buy_best, keep_or_sell, rank_in_session


class Params(Settings):
    max_positions: Annotated[int, Field(ge=1, le=100)] = 10
    min_price: Annotated[float, Field(ge=0)] = 5.0  # USD
    min_dollar_volume: Annotated[float, Field(ge=0)] = 1_000_000.0  # median of 20 sessions, USD
    max_report_age_days: Annotated[int, Field(ge=1)] = 200  # from the period's end
    min_earnings_yield: float = 0.05
    min_return_on_capital: float = 0.10
    min_score: Share = 0.5
    exit_return_on_capital: float = 0.06  # held names are sold when they earn less
    exit_earnings_yield: float = 0.025  # or yield less: far overvalued
    stop_loss: Share = 0.30  # below average cost
    rest_days: Annotated[int, Field(ge=0)] = 90  # after a sale


class ValueInvestor(Strategy):
    """Quality and cheapness: profitable, cash-generating companies bought at a high yield on their market value.

    Screen: no reason to sell (a loss, cash flowing out, return on capital or earnings yield below its exit threshold, each where
    it is known); liquid, priced above `min_price`, a recent report, net income and free cash flow (trailing twelve months) known
    and positive. Analyze: the score is the mean of four percentile ranks among the screened of the session: earnings yield,
    free cash flow yield, return on capital (of equity or of assets where capital is not reported), and low leverage. A component
    that is not known counts as the worst. Decide: hold the best up to `max_positions`, equal weights, cash when nothing
    qualifies; sell for one of the screen's reasons, or on a stop below cost.
    """

    Params = Params
    params: Params

    def layers(self) -> Sequence[Layer]:
        p = self.params
        screen = TableLayer(
            "screen",
            rules=(
                *self._exits(),
                Rule("min_price", pl.col("close"), ">=", p.min_price),
                Rule("min_dollar_volume", pl.col("median_dollar_volume_20d"), ">=", p.min_dollar_volume),
                Rule("max_report_age_days", pl.col("fundamentals_age_days"), "<=", p.max_report_age_days),
                Rule("positive_net_income", pl.col("net_income_ttm"), ">", 0),
                Rule("positive_free_cash_flow", pl.col("free_cash_flow_ttm"), ">", 0),
            ),
        )
        components = ("earnings_yield", "free_cash_flow_yield", "return_on_capital", "leverage")
        analyze = TableLayer(
            "analyze",
            steps=(
                (
                    EARNINGS_YIELD.alias("earnings_yield"),
                    FREE_CASH_FLOW_YIELD.alias("free_cash_flow_yield"),
                    RETURN_ON_CAPITAL.alias("return_on_capital"),
                    LEVERAGE.alias("leverage"),
                ),
                (pl.sum_horizontal(_percentile(name) for name in components).truediv(len(components)).alias("score"),),
                (_ordinal_rank("score").alias("rank"),),
            ),
            rules=(
                Rule("min_earnings_yield", pl.col("earnings_yield"), ">=", p.min_earnings_yield),
                Rule("min_return_on_capital", pl.col("return_on_capital"), ">=", p.min_return_on_capital),
                Rule("min_score", pl.col("score"), ">=", p.min_score),
            ),
            features=(*components, "score", "rank"),
        )
        return (screen, analyze)

    def decide(self, view: SessionView) -> Sequence[Decision]:
        exits = self._exits()
        decisions = [keep_or_sell(view, holding, self.params.stop_loss, exits) for holding in view.holdings]
        free = self.params.max_positions - len(view.holdings)
        return decisions + buy_best(view, free, 1 / self.params.max_positions, self.params.rest_days)

    def _exits(self) -> tuple[Rule, ...]:
        p = self.params
        return (
            Rule("exit_net_income", pl.col("net_income_ttm"), ">", 0, if_missing="pass"),
            Rule("exit_free_cash_flow", pl.col("free_cash_flow_ttm"), ">", 0, if_missing="pass"),
            Rule(
                "exit_return_on_capital",
                RETURN_ON_CAPITAL.alias("return_on_capital"),
                ">=",
                p.exit_return_on_capital,
                if_missing="pass",
            ),
            Rule("exit_earnings_yield", EARNINGS_YIELD.alias("earnings_yield"), ">=", p.exit_earnings_yield, if_missing="pass"),
        )


def _percentile(component: str) -> pl.Expr:
    """1 for the best of the session, towards 0 for the worst; 0 when it is not known."""
    rank = rank_in_session(pl.col(component), best="low" if component == "leverage" else "high")
    return (1 - (rank - 1) / pl.len().over("session")).fill_null(0.0)


def _ordinal_rank(score: str) -> pl.Expr:
    """1, 2, 3 ... by score, ties by security."""
    return pl.struct(-pl.col(score), pl.col("security_id")).rank("ordinal").over("session").cast(pl.Float64)
