"""Prices and what companies do to their shares. Prices are raw, in USD, as traded that day."""

from dataclasses import dataclass
from datetime import date
from enum import StrEnum


class ActionType(StrEnum):
    SPLIT = "split"  # value: new shares for one old share
    DIVIDEND = "dividend"  # value: USD a share, on the share count before any later split
    DELISTING = "delisting"  # value: USD paid or left a share when trading ended


@dataclass(frozen=True, slots=True)
class Bar:
    security_id: int
    session: date
    open: float
    high: float
    low: float
    close: float
    volume: float


@dataclass(frozen=True, slots=True)
class CorporateAction:
    """Takes effect before the open of `session`, the ex-date."""

    security_id: int
    session: date
    type: ActionType
    value: float


@dataclass(frozen=True, slots=True)
class SessionClose:
    """The decision cut-off of a session has passed: nothing later may be looked at for it."""

    session: date
