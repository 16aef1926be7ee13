"""Companies that keep growing and keep earning well on their capital, at a price that is not absurd."""

from tradebot_core.strategies.quality_growth.strategy import QualityGrowth

__all__ = ["QualityGrowth"]
