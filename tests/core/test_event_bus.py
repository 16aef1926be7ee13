"""The event bus: in order, to those who asked, and it stops when a handler fails."""

from datetime import UTC, date, datetime

import pytest

from tradebot_core.errors import StrategyError
from tradebot_core.model.event import Event, EventType
from tradebot_core.model.market import Bar, SessionClose
from tradebot_core.trading.event_bus import EventBus

AT = datetime(2024, 6, 28, 20, 15, tzinfo=UTC)


def bar_event(symbol: str) -> Event:
    return Event(EventType.PRICE_BAR, symbol, AT, AT, "test", Bar(1, date(2024, 6, 28), 10.0, 11.0, 9.0, 10.5, 1000.0))


def close_event() -> Event:
    return Event(EventType.SESSION_CLOSE, "", AT, AT, "test", SessionClose(date(2024, 6, 28)))


def test_an_event_goes_to_the_subscribers_of_its_type_only():
    bus, bars, closes = EventBus(), [], []
    bus.subscribe("bars", (EventType.PRICE_BAR,), bars.append)
    bus.subscribe("closes", (EventType.SESSION_CLOSE,), closes.append)
    bus.publish(bar_event("AAA"))
    bus.publish(close_event())
    assert ([event.symbol for event in bars], len(closes)) == (["AAA"], 1)


def test_handlers_are_called_in_the_order_in_which_they_subscribed():
    bus, heard = EventBus(), []
    for name in ("first", "second", "third"):
        bus.subscribe(name, (EventType.PRICE_BAR,), lambda event, name=name: heard.append((name, event.symbol)))
    bus.publish(bar_event("AAA"))
    bus.publish(bar_event("BBB"))
    assert heard == [(name, symbol) for symbol in ("AAA", "BBB") for name in ("first", "second", "third")]


def test_a_failing_handler_stops_the_session_and_is_named():
    bus, heard = EventBus(), []

    def fail(event: Event) -> None:
        raise ZeroDivisionError("no earnings")

    bus.subscribe("value_investor", (EventType.PRICE_BAR,), fail)
    bus.subscribe("after it", (EventType.PRICE_BAR,), heard.append)
    with pytest.raises(StrategyError) as stop:
        bus.publish(bar_event("AAA"))
    assert "value_investor failed on price_bar AAA known at 2024-06-28 20:15 UTC: ZeroDivisionError: no earnings" in str(
        stop.value
    )
    assert isinstance(stop.value.__cause__, ZeroDivisionError)
    assert heard == []


def test_an_event_nobody_asked_for_is_no_error():
    EventBus().publish(close_event())
