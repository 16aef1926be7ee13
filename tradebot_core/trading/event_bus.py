"""Routes published events to whoever subscribed to their type. A handler that fails stops the session: nobody trades on half
of what happened."""

from collections import defaultdict
from collections.abc import Callable, Sequence

from tradebot_core.errors import StrategyError
from tradebot_core.model.event import Event, EventType

Handler = Callable[[Event], None]


class EventBus:
    def __init__(self) -> None:
        self._handlers: dict[EventType, list[tuple[str, Handler]]] = defaultdict(list)

    def subscribe(self, name: str, types: Sequence[EventType], handler: Handler) -> None:
        """Handlers of one type are called in the order in which they subscribed."""
        for kind in types:
            self._handlers[kind].append((name, handler))

    def publish(self, event: Event) -> None:
        for name, handler in self._handlers[event.type]:
            try:
                handler(event)
            except Exception as error:
                raise StrategyError(
                    f"{name} failed on {event.type} {event.symbol} known at {event.timestamp:%Y-%m-%d %H:%M} UTC: "
                    f"{type(error).__name__}: {error}",
                    "Nothing after this event was handled; correct the handler and run the session again.",
                ) from error
