"""Identity. History hangs on `security_id`; a ticker is an attribute with dates."""

from dataclasses import dataclass
from datetime import date

_SHARE_CLASSES = 100


@dataclass(frozen=True, slots=True)
class Security:
    security_id: int
    cik: int
    symbol: str
    name: str
    exchange: str
    con_id: int | None = None  # the broker's number of the listing, where it is known
    shares_per_listed: float | None = None  # of the shares its issuer counts, one listed share stands for so many; None: one
    valid_from: date = date.min
    valid_to: date = date.max


def security_id_of(cik: int, share_class: int = 0) -> int:
    """The stable number of one listed share class of an issuer: 100 x CIK + class (0 for the only or first one)."""
    if cik <= 0 or not 0 <= share_class < _SHARE_CLASSES:
        raise ValueError(f"CIK {cik} with share class {share_class} names no security")
    return cik * _SHARE_CLASSES + share_class


def issuer_of(security_id: int) -> int:
    """The CIK in a security's number."""
    return security_id // _SHARE_CLASSES
