"""An event: one thing the market could know, and the instant from which it could."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from tradebot_core.model.fundamentals import Fundamentals
from tradebot_core.model.market import Bar, CorporateAction, SessionClose
from tradebot_core.model.security import Security


class EventType(StrEnum):
    SECURITY = "security"
    CORPORATE_ACTION = "corporate_action"
    FUNDAMENTALS = "fundamentals"
    PRICE_BAR = "price_bar"
    SESSION_CLOSE = "session_close"


Payload = Security | CorporateAction | Fundamentals | Bar | SessionClose


@dataclass(frozen=True, slots=True)
class Event:
    """`timestamp` is known_at (UTC): the first instant at which anyone could act on the payload."""

    type: EventType
    symbol: str
    timestamp: datetime
    ingested_at: datetime
    source: str
    payload: Payload
