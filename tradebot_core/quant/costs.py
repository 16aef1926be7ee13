"""What a trade costs: IBKR Pro pricing of US shares, the fees on sales, half the spread and the order's own impact.

Fixed: USD 0.005 a share, at least 1.00 an order, at most 1 % of the trade's value (interactivebrokers.com, Commissions Stocks, "IBKR Pro
Fixed"). Tiered: USD 0.0035 a share (up to 300,000 shares a month; the cheaper tiers above it are not used), at least 0.35, at most 1 %;
on top clearing of 0.0002 a share, the exchange's fee (0.003 a share to one who takes liquidity, the most that 17 CFR 242.610(c)
allows; auctions cost less), and 0.000175 (NYSE) with 0.00056 (FINRA) of the commission (same page, "Tiered"). When 1 % of the
value is below the minimum, IBKR takes the 1 %. On sales come the fees of quant/regulatory_fees.py under either plan.

Impact: the price moves against an order with the share of the session's volume that it takes. By the square root of it, as measured for
large orders over many markets (Torre, BARRA Market Impact Model Handbook, 1997; Almgren, Thum, Hauptmann and Li, "Direct Estimation of
Equity Market Impact", 2005, found a power of 0.6), or in proportion to it (Kyle, Econometrica 53, 1985). `impact_bps` is what an order of
the whole volume would pay; by the square-root rule about one day's volatility, some 200 for a US share.
"""

from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from math import sqrt

from tradebot_core.config import CostSettings, Impact
from tradebot_core.model.order import Side
from tradebot_core.model.portfolio import usd
from tradebot_core.quant.regulatory_fees import regulatory_fees

_BPS = Decimal(10_000)


@dataclass(frozen=True, slots=True)
class Charges:
    """USD of one order's executions in a session. The broker reports the sum as their commission."""

    commission: Decimal
    third_parties: Decimal  # clearing, exchange and what they charge on the commission; 0 under the fixed plan
    regulatory: Decimal  # on sales

    @property
    def total(self) -> Decimal:
        return usd(self.commission + self.third_parties + self.regulatory)


def fill_price(open_price: float, side: Side, costs: CostSettings, participation: float = 0.0) -> Decimal:
    """USD a share: the price of the market, worse by half the spread and by the impact of taking `participation` of the volume."""
    worse = costs.slippage_bps + impact_bps(participation, costs)
    return usd(usd(open_price) * (1 + side.sign * Decimal(str(worse)) / _BPS))


def impact_bps(participation: float, costs: CostSettings) -> float:
    if costs.impact is Impact.OFF:
        return 0.0
    return costs.impact_bps * (sqrt(participation) if costs.impact is Impact.SQUARE_ROOT else participation)


def charges(side: Side, quantity: int, price: Decimal, day: date, costs: CostSettings) -> Charges:
    """Of an order that traded `quantity` shares at `price` (on average) on `day`."""
    own = commission(quantity, price, costs)
    others = quantity * (costs.clearing_per_share + costs.exchange_per_share) + own * costs.pass_through_share
    on_sale = costs.regulatory_fees and side is Side.SELL
    return Charges(own, others, regulatory_fees(quantity, price, day) if on_sale else Decimal(0))


def commission(quantity: int, price: Decimal, costs: CostSettings) -> Decimal:
    """USD for one order: the broker's own part."""
    by_share = max(costs.commission_minimum, quantity * costs.commission_per_share)
    return usd(min(by_share, Decimal(str(costs.commission_maximum_share)) * quantity * price))
