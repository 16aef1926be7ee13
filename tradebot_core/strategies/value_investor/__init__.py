"""Good companies at low prices, held until they are no longer good, no longer cheap, or a loss has gone too far."""

from tradebot_core.strategies.value_investor.strategy import ValueInvestor

__all__ = ["ValueInvestor"]
