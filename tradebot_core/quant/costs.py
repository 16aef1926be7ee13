"""What a trade costs: IBKR Pro fixed pricing for US shares, and slippage from the opening price.

Source: interactivebrokers.com, Commissions Stocks, "IBKR Pro Fixed": USD 0.005 a share, minimum 1.00, maximum 1 % of the
trade's value. Regulatory fees are not included.
"""

from decimal import Decimal

from tradebot_core.config import CostSettings
from tradebot_core.model.order import Side
from tradebot_core.model.portfolio import usd

_BPS = Decimal(10_000)


def fill_price(open_price: float, side: Side, costs: CostSettings) -> Decimal:
    """USD a share: the open, worse by the slippage."""
    return usd(usd(open_price) * (1 + side.sign * Decimal(str(costs.slippage_bps)) / _BPS))


def commission(quantity: int, price: Decimal, costs: CostSettings) -> Decimal:
    """USD for one order."""
    by_share = max(costs.commission_minimum, quantity * costs.commission_per_share)
    return usd(min(by_share, Decimal(str(costs.commission_maximum_share)) * quantity * price))
