"""The risk gate: the hard limits of the configuration. An order passes only when every limit is provably kept."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from math import isfinite

from tradebot_core.config import FreshQuote, RiskSettings
from tradebot_core.interfaces import Situation
from tradebot_core.model.order import OrderIntent, RiskVerdict, Side


@dataclass(frozen=True)
class _Limit:
    rule: str
    value: float | Decimal | None
    limit: float | Decimal
    kept: bool


@dataclass(frozen=True)
class LimitGate:
    """Checks the limits in a fixed order; the first that is not kept is the reason. Selling what is held is held to less."""

    limits: RiskSettings

    def check(self, intent: OrderIntent, situation: Situation) -> RiskVerdict:
        tested = None
        for tested in self._limits(intent, situation):
            if not tested.kept:
                return RiskVerdict(False, tested.rule, _number(tested.value), _number(tested.limit))
        assert tested is not None
        return RiskVerdict(True, "within_limits", _number(tested.value), _number(tested.limit))

    def check_price(self, intent: OrderIntent, prices: Collection[Decimal]) -> RiskVerdict:
        """Each of the prices must be near the one the order was sized on; the farthest is the value. A sale is held to less: it must
        still go out in a fall, and must not when the shares are not what they were (a split)."""
        if not prices:
            return RiskVerdict(self.limits.fresh_quote is FreshQuote.WHEN_AVAILABLE, "fresh_quote")
        collar = self.limits.price_collar if intent.side is Side.BUY else self.limits.price_collar_sales
        most = Decimal(str(collar))
        moves = [_jump(price, intent.reference_price) if price.is_finite() and price > 0 else None for price in prices]
        known = [move for move in moves if move is not None]
        farthest = max(known) if len(known) == len(moves) else None
        return RiskVerdict(farthest is not None and farthest <= most, "price_collar", _number(farthest), float(most))

    def _limits(self, intent: OrderIntent, situation: Situation) -> Iterator[_Limit]:
        settings = self.limits
        price = situation.prices.get(intent.security_id)
        # `type() is int`: true is no quantity.
        yield _Limit("whole_quantity", intent.quantity, 1, type(intent.quantity) is int and intent.quantity >= 1)
        yield _Limit("known_price", price, settings.min_price, price is not None and price.is_finite() and price > 0)
        orders = situation.orders_this_session + 1
        yield _Limit(
            "max_orders_per_session", orders, settings.max_orders_per_session, orders <= settings.max_orders_per_session
        )
        orders += situation.others.count
        yield _Limit(
            "max_account_orders_per_day",
            orders,
            settings.max_account_orders_per_day,
            orders <= settings.max_account_orders_per_day,
        )
        opposite = Side.SELL if intent.side is Side.BUY else Side.BUY
        against = int((intent.security_id, opposite) in situation.others.sides)
        yield _Limit("opposite_order", against, 0, against <= 0)
        repeated = situation.unfilled.get((intent.security_id, intent.side), 0) + 1
        yield _Limit("repeat_orders", repeated, settings.max_unfilled_orders, repeated <= settings.max_unfilled_orders)
        held = situation.book.positions.get(intent.security_id)
        if intent.side is Side.SELL:
            shares = held.quantity if held else 0
            yield _Limit("no_short_sale", intent.quantity, shares, intent.quantity <= shares)
            return
        assert price is not None
        notional = intent.quantity * price
        yield _Limit("restricted", None, 0, intent.symbol not in settings.restricted)
        yield _Limit("min_price", price, settings.min_price, price >= settings.min_price)
        yield _Limit("max_order_notional", notional, settings.max_order_notional, notional <= settings.max_order_notional)
        volume = situation.median_dollar_volume.get(intent.security_id)
        allowed = volume * settings.max_order_volume_share if volume is not None else 0.0
        yield _Limit("max_order_volume_share", notional, allowed, isfinite(allowed) and float(notional) <= allowed)
        age = _days_between(situation.priced_on.get(intent.security_id), intent.session)
        yield _Limit("stale_price", age, 0, age == 0)
        jump = _jump(price, situation.previous_closes.get(intent.security_id))
        most = Decimal(str(settings.max_price_jump))
        yield _Limit("price_jump", jump, most, jump is not None and jump <= most)
        equity, cash = situation.equity, situation.book.cash
        yield _Limit("known_equity", equity, 0, equity.is_finite() and equity > 0)
        yield _Limit("known_cash", cash, 0, cash.is_finite() and cash > 0)
        fallen = _drawdown(equity, situation.peak)
        most = Decimal(str(settings.max_drawdown))
        yield _Limit("drawdown_stop", fallen, most, fallen is not None and fallen <= most)
        position = notional + (held.quantity * price if held else 0)
        most = equity * Decimal(str(settings.max_position_weight))
        yield _Limit("max_position_weight", position, most, position <= most)
        if situation.industries is not None:
            beside = _held_beside(intent.security_id, situation, situation.industries)
            sector = notional + beside if beside is not None else None
            most = equity * Decimal(str(settings.max_sector_weight))
            yield _Limit("max_sector_weight", sector, most, sector is not None and sector <= most)
        invested = equity - cash + notional
        most = equity * Decimal(str(settings.max_gross_exposure))
        yield _Limit("max_gross_exposure", invested, most, invested <= most)
        yield from _means(intent.quantity * (intent.limit_price or price), situation, settings)


def _means(worst: Decimal, situation: Situation, settings: RiskSettings) -> Iterator[_Limit]:
    """The sleeve must be able to pay, and the account where there is one beside the ledger; what the broker did not say pays for
    nothing."""
    spendable = situation.book.cash - situation.equity * Decimal(str(settings.cash_buffer))
    yield _Limit("cash", worst, spendable, worst <= spendable)
    if situation.broker_cash is not None:
        most = situation.broker_cash.available
        if most is None or not most.is_finite():
            yield _Limit("broker_settled_cash", None, 0, False)
        else:
            yield _Limit("broker_settled_cash", worst, most, worst <= most)


def _days_between(priced_on: date | None, session: date) -> int | None:
    return (session - priced_on).days if priced_on is not None else None


def _jump(price: Decimal, before: Decimal | None) -> Decimal | None:
    """The change since the session before, as a share of its close; None where that is not known."""
    return abs(price / before - 1) if before is not None and before.is_finite() and before > 0 else None


def _drawdown(equity: Decimal, peak: Decimal | None) -> Decimal | None:
    """How far below its peak, as a share of it; None where the peak is not known."""
    return 1 - equity / peak if peak is not None and peak.is_finite() and peak > 0 else None


def _held_beside(security: int, situation: Situation, industries: Mapping[int, str | None]) -> Decimal | None:
    """What is held of the security's industry, USD; all whose industry is unknown count as one. None when a price is not known."""
    held = [p for other, p in situation.book.positions.items() if industries.get(other) == industries.get(security)]
    prices = [situation.prices.get(position.security_id) for position in held]
    if not all(price is not None and price.is_finite() for price in prices):
        return None
    return sum((p.quantity * situation.prices[p.security_id] for p in held), Decimal(0))


def _number(value: float | Decimal | None) -> float | None:
    """For the record: null where it is no finite number."""
    try:
        number = float(value) if value is not None else None
    except (TypeError, ValueError):  # a quantity that is no number at all, or a signalling NaN
        return None
    return number if number is not None and isfinite(number) else None
