"""Which report to ask the gateway for next, and when to stop: the source is probed by its first answers, and no longer than that.

IBKR took fundamental data out of its API in version 10.47 (2026). Older gateways still answer, some logins for some reports only,
others refuse each request, and some stay silent. What a gateway shows it does not have today is not asked for again today.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from tradebot_core.ibkr.reports.record import ReportType

WINDOW = timedelta(minutes=10)
MOST_IN_WINDOW = 60  # https://github.com/alexpung/IB_fundamentals: 60 requests for fundamental data in ten minutes
PROOF = 3  # as many shares without a report of a type, and none with one: the login does not have the type


class Refusal(StrEnum):
    """How a request can end without a report. The values are the rules under which it is quarantined."""

    NOT_ALLOWED = "ibkr_10358"
    NO_REPORT = "ibkr_430"
    NOT_VALID = "ibkr_321"
    SILENCE = "no_answer"
    TOO_LARGE = "too_large"
    NO_TEXT = "not_a_document"
    OTHER = "ibkr_error"  # an unknown contract, for one


_SPEAKS_OF_THE_SOURCE = frozenset({Refusal.NO_REPORT, Refusal.NOT_VALID, Refusal.SILENCE, Refusal.NO_TEXT})


@dataclass(frozen=True, slots=True)
class Wanted:
    cik: int
    symbol: str
    con_id: int | None
    report: ReportType


@dataclass(frozen=True, slots=True)
class Refused:
    wanted: Wanted
    why: Refusal
    text: str


def pause(asked: Sequence[datetime], now: datetime) -> timedelta:
    """How long to wait, so that no ten minutes hold more than 60 requests."""
    recent = sorted(at for at in asked if now - at < WINDOW)
    return timedelta(0) if len(recent) < MOST_IN_WINDOW else recent[-MOST_IN_WINDOW] + WINDOW - now


@dataclass
class ReportPlan:
    """One round of requests. `off` holds why a type is not to be had today, at first what an earlier round of the day found."""

    wanted: Sequence[Wanted]
    off: dict[ReportType, str]
    refused: list[Refused] = field(default_factory=list)
    _next: int = 0
    _answered: set[ReportType] = field(default_factory=set)
    _stopped: bool = False

    def next(self) -> Wanted | None:
        """None when the round is over."""
        while not self._stopped and self._next < len(self.wanted):
            wanted = self.wanted[self._next]
            self._next += 1
            if wanted.report not in self.off:
                return wanted
        return None

    def answered(self, wanted: Wanted) -> None:
        self._answered.add(wanted.report)

    def heard(self, refused: Refused) -> None:
        self.refused.append(refused)
        if refused.why is Refusal.NOT_ALLOWED:  # it is the login that may not, whatever the report, unless it had another
            denied = {refused.wanted.report} if self._answered else {wanted.report for wanted in self.wanted}
            self.off.update(dict.fromkeys(denied, refused.text))
        elif refused.why is Refusal.TOO_LARGE:  # the connection had to be cut
            self._stopped = True
        elif len(against := self._against(refused.wanted.report)) >= PROOF:
            self.off[refused.wanted.report] = against[-1].text

    def close(self) -> None:
        """A round that ends without any report proves as much as three shares do, however few it asked for."""
        if self._stopped or self._answered or not self.refused:
            return
        for report in {refused.wanted.report for refused in self.refused}:
            if against := self._against(report):
                self.off[report] = against[-1].text

    def single_refusals(self) -> list[Refused]:
        """Those that say something of one share. The others are the source's, which is said once."""
        return [refused for refused in self.refused if refused.wanted.report not in self.off]

    def _against(self, report: ReportType) -> list[Refused]:
        if report in self._answered:
            return []
        return [r for r in self.refused if r.wanted.report is report and r.why in _SPEAKS_OF_THE_SOURCE]


def reasons(off: Mapping[ReportType, str]) -> str:
    """The types that are off, each with what the gateway said; said once where it is the same."""
    if len(set(off.values())) == 1:
        return f"{', '.join(sorted(off))}: {next(iter(off.values()))}"
    return "; ".join(f"{report}: {text}" for report, text in sorted(off.items()))
