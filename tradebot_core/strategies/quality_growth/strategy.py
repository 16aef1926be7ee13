from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import polars as pl
from pydantic import Field

from tradebot_core.config import Settings, Share
from tradebot_core.model.decision import Decision, LayerResult, Verdict
from tradebot_core.quant.ratios import (
    EARNINGS_YIELD,
    OPERATING_MARGIN,
    RETURN_ON_ASSETS,
    RETURN_ON_EQUITY,
    REVENUE_GROWTH_1Y,
    REVENUE_GROWTH_3Y,
)
from tradebot_core.strategy import Layer, Rule, SessionView, Strategy, SymbolLayer, TableLayer, buy_best, keep_or_sell


class Params(Settings):
    max_positions: Annotated[int, Field(ge=1, le=100)] = 10
    min_price: Annotated[float, Field(ge=0)] = 5.0  # USD
    min_dollar_volume: Annotated[float, Field(ge=0)] = 1_000_000.0  # median of 20 sessions, USD
    max_report_age_days: Annotated[int, Field(ge=1)] = 200  # from the period's end
    min_revenue_growth: float = 0.06  # trailing twelve months against the year before
    min_revenue_growth_3y: float = 0.04  # a year, over three years
    min_operating_margin: float = 0.10
    min_earnings_yield: float = 0.02
    min_roe: float = 0.15
    min_return_on_assets: float = 0.07  # where equity is not reported, or is negative after buy-backs
    exit_revenue_growth: float = -0.02
    exit_roe: float = 0.08
    exit_return_on_assets: float = 0.04
    stop_loss: Share = 0.35  # below average cost
    rest_days: Annotated[int, Field(ge=0)] = 90  # after a sale


class QualityGrowth(Strategy):
    """Sustained growth, good margins and a high return on equity, bought at a price that is not absurd.

    Screen: no reason to sell (revenue growth or return below its exit threshold, each where it is known); liquid, priced above
    `min_price`, a recent report. Growth: revenue grew over one year and over three, with an operating margin and an earnings
    yield above their minimum. Quality: return on equity of at least `min_roe`; where equity is not reported or negative, return
    on assets stands in and the verdict says so. Decide: the fastest growing (revenue growth plus operating margin) first, equal
    weights; sell for one of the screen's reasons, or on a stop below cost.
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
            ),
        )
        growth = TableLayer(
            "growth",
            steps=(
                (
                    REVENUE_GROWTH_1Y.alias("revenue_growth"),
                    REVENUE_GROWTH_3Y.alias("revenue_growth_3y"),
                    OPERATING_MARGIN.alias("operating_margin"),
                    EARNINGS_YIELD.alias("earnings_yield"),
                ),
            ),
            rules=(
                Rule("min_revenue_growth", pl.col("revenue_growth"), ">=", p.min_revenue_growth),
                Rule("min_revenue_growth_3y", pl.col("revenue_growth_3y"), ">=", p.min_revenue_growth_3y),
                Rule("min_operating_margin", pl.col("operating_margin"), ">=", p.min_operating_margin),
                Rule("min_earnings_yield", pl.col("earnings_yield"), ">=", p.min_earnings_yield),
            ),
            features=("revenue_growth", "revenue_growth_3y", "operating_margin", "earnings_yield"),
        )
        return (screen, growth, Quality(p))

    def decide(self, view: SessionView) -> Sequence[Decision]:
        exits = self._exits()
        decisions = [keep_or_sell(view, holding, self.params.stop_loss, exits) for holding in view.holdings]
        free = self.params.max_positions - len(view.holdings)
        return decisions + buy_best(view, free, 1 / self.params.max_positions, self.params.rest_days)

    def _exits(self) -> tuple[Rule, ...]:
        p = self.params
        growth, on_equity = REVENUE_GROWTH_1Y.alias("revenue_growth"), RETURN_ON_EQUITY.alias("return_on_equity")
        on_assets = pl.when(RETURN_ON_EQUITY.is_null()).then(RETURN_ON_ASSETS).alias("return_on_assets")
        return (
            Rule("exit_revenue_growth", growth, ">=", p.exit_revenue_growth, if_missing="pass"),
            Rule("exit_roe", on_equity, ">=", p.exit_roe, if_missing="pass"),
            Rule("exit_return_on_assets", on_assets, ">=", p.exit_return_on_assets, if_missing="pass"),
        )


class Quality(SymbolLayer):
    """Return on equity where equity is known and positive, else return on assets."""

    name = "quality"
    features = ("return_on_equity", "return_on_assets", "rank")
    columns = ("net_income_ttm", "equity", "assets", "revenue_growth", "operating_margin")

    def __init__(self, params: Params) -> None:
        self._params = params

    def process(self, symbol: str, data: Mapping[str, Any]) -> LayerResult:
        income, equity, assets = data["net_income_ttm"], data["equity"], data["assets"]
        on_equity = income / equity if income is not None and equity is not None and equity > 0 else None
        on_assets = income / assets if income is not None and assets is not None and assets > 0 else None
        if on_equity is not None:
            rule, value, threshold = "min_roe", on_equity, self._params.min_roe
        else:
            rule, value, threshold = "min_return_on_assets", on_assets, self._params.min_return_on_assets
        passed = value is not None and value >= threshold
        # The smallest rank is bought first: fast growth with a good margin.
        rank = -(data["revenue_growth"] + data["operating_margin"])
        features = {"return_on_equity": on_equity, "return_on_assets": on_assets, "rank": rank}
        return LayerResult(Verdict(passed, rule, value, threshold), features)
