"""What a share is worth at the moment its order is sent, beside the close that the order was sized on.

It is the last price or, without one, the middle of bid and ask (where they are not far apart, as they often are before the open).
Live and delayed prices count alike. On the day of the open the broker's previous close must agree as well, and stands where there
is nothing else: it is that of the session decided on, in the shares of the day, so that a split overnight shows itself before
anything has traded ("for US equities we use corporate action processing",
https://interactivebrokers.github.io/tws-api/tick_types.html, Close Price). In the evening before, it is of an older session.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal

from tradebot_core.calendar import NEW_YORK, TradingCalendar
from tradebot_core.interfaces import Clock, NoQuote, Quote, QuoteSource
from tradebot_core.model.order import OrderIntent

_WIDEST_SPREAD = Decimal("0.1")  # of the middle, beyond which it says nothing
_FRESH_FOR = timedelta(minutes=2)  # between the quote and the sending of its order


@dataclass(frozen=True)
class FreshPrice:
    """`prices`, USD a share, each of which must be near the one the order was sized on; none when nothing could be learned. `words`
    say where they are from."""

    prices: tuple[Decimal, ...]
    words: str


def as_sized(intent: OrderIntent) -> FreshPrice:
    """Where the market is known only as far as the decision knew it (a backtest, the simulated engine): its own close."""
    return FreshPrice((intent.reference_price,), "the close it was sized on")


def fresh_price(quote: Quote | NoQuote, intent: OrderIntent, calendar: TradingCalendar) -> FreshPrice:
    stands = f"the close it was sized on, {_plain(intent.reference_price)}, is all there is"
    if isinstance(quote, NoQuote):
        return FreshPrice((), f"no quote ({quote.reason}): {stands}")
    told = {"last": quote.last} if quote.last is not None else {"mid": _mid(quote)}
    if quote.at.astimezone(NEW_YORK).date() == calendar.next(intent.session):
        told["previous close"] = quote.close
    known = {name: price for name, price in told.items() if price is not None}
    if not known:
        return FreshPrice((), f"a quote without a price that counts: {stands}")
    words = ", ".join(f"{name} {_plain(price)}" for name, price in known.items())
    kind = "delayed" if quote.delayed else "live"
    return FreshPrice(tuple(known.values()), f"{words} ({kind}, {quote.at:%Y-%m-%d %H:%M:%S} UTC)")


def _plain(price: Decimal) -> str:
    return f"{price.normalize():f}"


def _mid(quote: Quote) -> Decimal | None:
    if quote.bid is None or quote.ask is None:
        return None
    middle = (quote.bid + quote.ask) / 2
    return middle if 0 <= quote.ask - quote.bid <= middle * _WIDEST_SPREAD else None


@dataclass
class FreshPrices:
    """The prices of orders that are about to be sent, one after the other. Quotes are asked for together, and again when those at
    hand have become old. Without a `source` the close each was sized on is all that is known."""

    source: QuoteSource | None
    calendar: TradingCalendar
    clock: Clock
    orders: Sequence[OrderIntent]
    _quotes: Mapping[int, Quote | NoQuote] = field(default_factory=dict)
    _asked_at: datetime | None = None

    def of(self, intent: OrderIntent) -> FreshPrice:
        if self.source is None:
            return as_sized(intent)
        if self._asked_at is None or not (self.clock.now() - self._asked_at <= _FRESH_FOR):
            left = self.orders[self.orders.index(intent) :]
            self._quotes = self.source.of({order.security_id: order.symbol for order in left})
            self._asked_at = self.clock.now()
        return fresh_price(self._quotes[intent.security_id], intent, self.calendar)
