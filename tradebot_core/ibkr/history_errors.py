"""What IBKR means when it refuses a request for history. Code 162 says five different things, told apart by its text alone."""

from enum import StrEnum

from tradebot_core.ibkr.connection import BrokerError

_HMDS = 162
_PACING_CODES = frozenset({100, 420})
_NO_PERMISSION_CODES = frozenset({354, 10089, 10090, 10167, 10168, 10186, 10187, 10189})
_OTHER_SESSION_CODES = frozenset({10197})
NO_ANSWER = -1  # ours: the gateway never answered


class Refusal(StrEnum):
    NO_DATA = "no_data"  # of this share in these days
    PACING = "pacing"  # ask again, later
    NO_PERMISSION = "no_permission"  # the login has no market data of this exchange
    CANCELLED = "cancelled"  # by the gateway: ask again
    OTHER_SESSION = "other_session"  # somebody else is signed in with the login's market data: all requests end so
    OTHER = "other"


# In this order: "no permissions" messages may mention data.
_OF_TEXT = (
    ("pacing violation", Refusal.PACING),
    ("different ip", Refusal.OTHER_SESSION),
    ("permission", Refusal.NO_PERMISSION),
    ("not subscribed", Refusal.NO_PERMISSION),
    ("no data", Refusal.NO_DATA),
    ("cancel", Refusal.CANCELLED),
)


def refusal(error: BrokerError) -> Refusal:
    if error.code in _PACING_CODES:
        return Refusal.PACING
    if error.code in _NO_PERMISSION_CODES:
        return Refusal.NO_PERMISSION
    if error.code in _OTHER_SESSION_CODES:
        return Refusal.OTHER_SESSION
    if error.code == NO_ANSWER:
        return Refusal.PACING
    if error.code != _HMDS:
        return Refusal.OTHER
    text = error.text.lower()
    return next((meaning for words, meaning in _OF_TEXT if words in text), Refusal.OTHER)


def rule(error: BrokerError) -> str:
    """The name of the rule under which a security is quarantined that has no bars for this reason."""
    meant = refusal(error)
    return f"ibkr_{error.code}" if meant is Refusal.OTHER else f"ibkr_{meant}"
