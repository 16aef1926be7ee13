"""The price grid of a share: which prices an order may have.

IBKR gives it as a market rule, bands of prices each with its increment. It is never assumed to be a cent: shares below a dollar
trade in finer steps, and half-cent ticks above it come and go with each half-year (Regulation NMS, Rule 612).
"""

from collections.abc import Sequence
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal

from ib_async import IB, ContractDetails

from tradebot_core.ibkr.connection import answer
from tradebot_core.model.order import Side

PriceSteps = Sequence[tuple[Decimal, Decimal]]  # from which price on, and the increment there

_ATTEMPTS = 3  # ib_async gives up on each after a second


async def price_steps(ib: IB, details: ContractDetails) -> PriceSteps:
    """The bands of the share's market rule on SMART, lowest first. Raises ConnectionError when IBKR does not tell it."""
    rules = dict(zip(details.validExchanges.split(","), details.marketRuleIds.split(","), strict=False))
    rule = rules.get("SMART", "")
    if not rule.isdigit():
        raise ConnectionError(f"IBKR names no market rule for {details.contract and details.contract.symbol} on SMART")
    for _ in range(_ATTEMPTS):
        bands = await answer(ib, ib.reqMarketRuleAsync(int(rule)))
        if bands:
            return sorted((Decimal(str(band.lowEdge)), Decimal(str(band.increment))) for band in bands)
    raise ConnectionError(f"IBKR does not tell the price increments of market rule {rule}")


def on_grid(price: Decimal, side: Side, steps: PriceSteps) -> Decimal:
    """The nearest price on the grid that is no worse for us than `price`: purchases down, sales up."""
    increment = next((step for edge, step in reversed(steps) if price >= edge), None)
    if increment is None or not increment > 0:
        raise ValueError(f"no price increment for {price} in {steps}")
    rounding = ROUND_FLOOR if side is Side.BUY else ROUND_CEILING
    return (price / increment).to_integral_value(rounding) * increment
