"""From a target weight to whole shares."""

from decimal import ROUND_FLOOR, Decimal


def whole_shares(notional: Decimal, price: Decimal) -> int:
    """The most whole shares that cost no more than `notional`; 0 when the price is not above zero."""
    if not (price > 0 and notional > 0):
        return 0
    return int((notional / price).to_integral_value(ROUND_FLOOR))
