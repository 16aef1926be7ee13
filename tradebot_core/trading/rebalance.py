"""From decisions to order intents: order = target - position, in whole shares, within the limits that sizing can respect.

Sales come first, then purchases in the order of their weight and security. Purchases are paid from cash that is there: the
proceeds of sales decided in the same session are not spent, since they have not settled when the order goes out (T+1), but where
`risk.spend_proceeds` says so. They have a limit, so that a gap at the open cannot cost more than there is; in the style that has none
(`market_open`), gaps and commissions are paid from the cash buffer. How orders are placed is the strategy's style
(model.order.OrderStyle).
"""

from collections.abc import Iterable, Mapping, Sequence
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from types import MappingProxyType

from tradebot_core.config import RiskSettings
from tradebot_core.model.decision import Action, Decision
from tradebot_core.model.order import OrderIntent, OrderStyle, Side, order_key
from tradebot_core.model.portfolio import Book
from tradebot_core.quant.sizing import whole_shares

_COMMISSION = Decimal("0.01")  # at most this share of the trade's value, by IBKR's fixed pricing
_CENT = Decimal("0.01")  # fits every tick of shares above one dollar


Carried = Mapping[int, tuple[Side, int]]  # shares that are still to be traded, by security_id


def carried(orders: Iterable[tuple[int, Side, int, int]]) -> Carried:
    """What orders left of which a part was filled; of each security_id, side, shares ordered and shares filled."""
    return {security: (side, ordered - filled) for security, side, ordered, filled in orders if 0 < filled < ordered}


def spendable(cash: Decimal, equity: Decimal, limits: RiskSettings, style: OrderStyle = OrderStyle.OPEN_AUCTION) -> Decimal:
    """What purchases may cost at their reference prices, so that cash suffices when they all open at their limit; where they have none,
    what is there beside the buffer."""
    free = cash - equity * Decimal(str(limits.cash_buffer))
    if not style.order_type(Side.BUY).has_limit:
        return max(Decimal(0), free)
    return max(Decimal(0), free / ((1 + Decimal(str(limits.max_open_gap))) * (1 + _COMMISSION)))


def plan_orders(
    strategy: str,
    decisions: Sequence[Decision],
    book: Book,
    equity: Decimal,
    prices: Mapping[int, Decimal],
    volumes: Mapping[int, float],
    limits: RiskSettings,
    style: OrderStyle = OrderStyle.OPEN_AUCTION,
    left: Carried = MappingProxyType({}),
) -> tuple[OrderIntent, ...]:
    """The orders that bring the book to its targets. `prices` USD, `volumes` median dollar volume, by security_id; `left` is what the
    last session's orders left, and is ordered where the decision is to hold."""
    gap = Decimal(str(limits.max_open_gap))
    sold = Decimal(0)
    if limits.spend_proceeds:
        held = [book.positions.get(decision.security_id) for decision in decisions if decision.action is Action.SELL]
        sold = sum((p.quantity * prices[p.security_id] for p in held if p is not None), sold)
    cash = spendable(book.cash + sold, equity, limits, style)
    orders = []

    def sells(decision: Decision) -> bool:
        again = decision.action is Action.HOLD and left.get(decision.security_id, (Side.BUY,))[0] is Side.SELL
        return decision.action is Action.SELL or again

    for decision in sorted(decisions, key=lambda d: (not sells(d), -d.target_weight, d.security_id)):
        held = book.positions.get(decision.security_id)
        rest = left.get(decision.security_id) if decision.action is Action.HOLD else None
        if sells(decision) and held is not None:
            quantity = min(held.quantity, rest[1]) if rest is not None else held.quantity
            orders.append(_intent(strategy, decision, Side.SELL, quantity, prices, style, gap))
        elif decision.action is Action.BUY or rest is not None:
            price = prices[decision.security_id]
            volume = Decimal(str(volumes.get(decision.security_id) or 0.0))
            weight = limits.max_position_weight if rest is not None else min(decision.target_weight, limits.max_position_weight)
            most = min(
                limits.max_order_notional,
                equity * Decimal(str(weight)) - (held.quantity * price if held else 0),
                volume * Decimal(str(limits.max_order_volume_share)),
                cash,
            )
            quantity = whole_shares(most, price)
            if rest is not None:
                quantity = min(quantity, rest[1])
            if quantity:
                cash -= quantity * price
                orders.append(_intent(strategy, decision, Side.BUY, quantity, prices, style, gap))
    return tuple(orders)


def _intent(
    strategy: str,
    decision: Decision,
    side: Side,
    quantity: int,
    prices: Mapping[int, Decimal],
    style: OrderStyle,
    gap: Decimal,
) -> OrderIntent:
    key = order_key(strategy, decision.session, decision.security_id, side)
    price, order_type = prices[decision.security_id], style.order_type(side)
    limit = _limit(price, side, gap) if order_type.has_limit else None
    return OrderIntent(
        key, strategy, decision.session, decision.security_id, decision.symbol, side, quantity, price, order_type, limit
    )


def _limit(price: Decimal, side: Side, gap: Decimal) -> Decimal:
    """As far from the last close as an open may be; never beyond it for the sake of the cent."""
    return (price * (1 + side.sign * gap)).quantize(_CENT, ROUND_FLOOR if side is Side.BUY else ROUND_CEILING)
