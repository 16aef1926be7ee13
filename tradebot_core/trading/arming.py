"""Arming: in mode live a person says, for a day at the most, that this account may be traded with this configuration and code.

An arm is of what was there when it was given. Another account, any other setting or other code ends it, and so does its time.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from tradebot_core.calendar import TradingCalendar
from tradebot_core.config import Config, Mode
from tradebot_core.errors import UsageError
from tradebot_core.interfaces import Arm, Ledger
from tradebot_core.trading.live import current_session, submit_deadline

LONGEST = timedelta(hours=24)
_MEND = "`tradebot arm` arms it."


@dataclass(frozen=True)
class Arming:
    """Of one configuration. `fingerprint`: part of the configuration -> digest; `needed` in mode live only."""

    ledger: Ledger
    needed: bool
    account: str
    fingerprint: Mapping[str, str]
    code_version: str

    def why_not(self, now: datetime) -> str:
        """Why no order may be sent now, with the mend; empty when one may. Reads the ledger each time."""
        if not self.needed:
            return ""
        arm = self.ledger.last_arm()
        reason = "it was never armed" if arm is None else self._why_not(arm, now)
        return f"Live trading of {self.account} is not armed: {reason}. {_MEND}" if reason else ""

    def armed_until(self, now: datetime) -> datetime | None:
        """None when it is not armed, or need not be."""
        arm = self.ledger.last_arm() if self.needed else None
        return arm.expires_at if arm is not None and not self._why_not(arm, now) else None

    def arm(self, operator: str, now: datetime, expires_at: datetime) -> Arm:
        if not self.needed:
            raise UsageError("Only mode live is armed.")
        if not (timedelta(0) < expires_at - now <= LONGEST):
            raise UsageError(f"An arm until {expires_at} cannot be given at {now}.", "It lasts 24 hours at the most.")
        given = Arm(True, self.account, operator, now, expires_at, dict(self.fingerprint), self.code_version)
        self.ledger.record_arm(given)
        return given

    def _why_not(self, arm: Arm, now: datetime) -> str:
        if not arm.armed:
            return f"{arm.operator} disarmed it at {arm.at:%Y-%m-%d %H:%M} UTC"
        if arm.account != self.account:
            return f"the account that was armed is {arm.account}"
        changed = [
            part for part in {**arm.fingerprint, **self.fingerprint} if arm.fingerprint.get(part) != self.fingerprint.get(part)
        ]
        if changed:
            return f"the configuration is not the one that was armed (changed: {', '.join(sorted(changed))})"
        if arm.code_version != self.code_version:
            return f"the code is not the one that was armed ({arm.code_version} then, {self.code_version} here)"
        if not (arm.at <= now):
            return f"it was armed at {arm.at:%Y-%m-%d %H:%M} UTC, and the clock says {now:%Y-%m-%d %H:%M} UTC"
        if not (now < arm.expires_at):
            return f"it was armed until {arm.expires_at:%Y-%m-%d %H:%M} UTC"
        return ""


def disarm(ledger: Ledger, account: str, operator: str, now: datetime) -> None:
    """Whatever is armed there."""
    ledger.record_arm(Arm(False, account, operator, now, now, {}, ""))


def arming_of(config: Config, ledger: Ledger, strategies: Mapping[str, str], code_version: str) -> Arming:
    """`strategies`: by name, the fingerprint of what decides."""
    parts = {name: _digest(value) for name, value in config.model_dump(mode="json").items()}
    parts |= {f"strategy {name}": fingerprint for name, fingerprint in strategies.items()}
    account = config.ibkr.account if config.ibkr is not None else ""
    return Arming(ledger, config.mode is Mode.LIVE, account, parts, code_version)


def default_expiry(calendar: TradingCalendar, now: datetime) -> datetime:
    """The end of the next time of submission, a day ahead at the most."""
    return min(next_deadline(calendar, now), now + LONGEST)


def next_deadline(calendar: TradingCalendar, now: datetime) -> datetime:
    """Until when the next orders may be sent: those of the current session, or of the one after when its time is over."""
    session = current_session(calendar, now)
    deadline = submit_deadline(calendar, session)
    return deadline if now < deadline else submit_deadline(calendar, calendar.next(session))


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]
