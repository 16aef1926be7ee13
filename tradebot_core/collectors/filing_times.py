"""When the market could read a filing: acceptance times from SEC submissions, and what EDGAR makes of them (17 CFR 232.13)."""

from collections.abc import Iterable, Set
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import NamedTuple

import msgspec

from tradebot_core.calendar import NEW_YORK, TradingCalendar
from tradebot_core.collectors.sec_files import SecFiles, Unreadable, whole_file
from tradebot_core.interfaces import Rejected

_DISSEMINATION = timedelta(minutes=15)  # from acceptance to public view, at the outside
_FILING_DEADLINE = time(17, 30)  # 17 CFR 232.13(a)(2): later filings are dated the next business day
_EDGAR_OPENS, _EDGAR_CLOSES = time(6, 0), time(22, 0)  # New York; EDGAR Filer Manual, Volume II
_DATED_BY_DEADLINE = frozenset({"10-K", "10-Q", "8-K", "10-KT", "10-QT", "20-F", "40-F", "6-K", "S-3", "S-8", "DEF 14A"})


class _Filings(msgspec.Struct):
    accessionNumber: list[str]
    filingDate: list[date]
    acceptanceDateTime: list[str]  # empty for some old filings
    form: list[str]


class _Submissions(msgspec.Struct):
    class Recent(msgspec.Struct):
        recent: _Filings

    filings: Recent


class _Acceptance(NamedTuple):
    by_deadline: bool  # whether the form gets its filing date by the 17:30 rule
    filed: date
    clock: datetime  # as written, its zone ignored


def acceptances(cik: int, submissions: SecFiles | None, wanted: Set[str]) -> tuple[dict[str, datetime], list[Rejected]]:
    """Accession -> acceptance (UTC), of the filings wanted. A submissions file that cannot be read costs the times in it, not
    the facts."""
    if submissions is None:
        return {}, []
    read: dict[str, _Acceptance] = {}
    rejected = []
    for name in submissions.of_issuer(cik):
        try:
            content = submissions.read(name)
            filings = (
                msgspec.json.decode(content, type=_Filings)
                if "-submissions-" in name
                else msgspec.json.decode(content, type=_Submissions).filings.recent
            )
            by_deadline = {form for form in set(filings.form) if _is_dated_by_deadline(form)}
            columns = (filings.accessionNumber, filings.filingDate, filings.acceptanceDateTime, filings.form)
            for accession, filed, accepted, form in zip(*columns, strict=True):
                # Most filings of a company are its insiders' trades: they report no facts, and say nothing of the clock.
                if accepted and (form in by_deadline or accession in wanted):
                    clock = datetime.fromisoformat(accepted).replace(tzinfo=None)
                    read[accession] = _Acceptance(form in by_deadline, filed, clock)
        except Unreadable as unreadable:
            rejected.append(unreadable.rejected)
        except (ValueError, UnicodeDecodeError) as error:  # msgspec.DecodeError, and columns of unequal length
            rejected.append(whole_file(name, content, "corrupt_submissions", f"acceptance times are not used: {error}"))
    zone = _zone(read.values())
    zoned = {name: read[name].clock.replace(tzinfo=zone).astimezone(UTC) for name in wanted if name in read}
    return zoned, rejected


def _is_dated_by_deadline(form: str) -> bool:
    return form in _DATED_BY_DEADLINE or form.split("/", maxsplit=1)[0] in _DATED_BY_DEADLINE


def _zone(filings: Iterable[_Acceptance]) -> tzinfo:
    """The zone of an issuer's acceptance times, settled by its own filing dates.

    The `Z` that ends every acceptanceDateTime is true for most issuers, and false for others, whose times are New York's: in
    the SEC's data of 2026, Apple's run from 06:00 to 19:29 and are New York's, those of seven other large companies are UTC
    from 2010 on. The zone belongs to the issuer and not to the filing or the year (measured for 805 of 808 members of the
    S&P 500 against the SGML headers, https://github.com/theOGognf/finagg/issues/64). The right zone is the one in which
    filings fall in EDGAR's hours and got their filing date by the 17:30 rule. In doubt it is New York, the later of the two.
    """
    votes_utc = 0
    for acceptance in filings:
        if acceptance.by_deadline:
            votes_utc += _agrees(_new_york(acceptance, UTC), acceptance.filed)
            votes_utc -= _agrees(_new_york(acceptance, NEW_YORK), acceptance.filed)
    return UTC if votes_utc > 0 else NEW_YORK


def _new_york(acceptance: _Acceptance, zone: tzinfo) -> datetime:
    return acceptance.clock.replace(tzinfo=zone).astimezone(NEW_YORK)


def _agrees(accepted: datetime, filed: date) -> bool:
    """Whether an acceptance at that New York time would have been given that filing date."""
    if not _EDGAR_OPENS <= accepted.time() <= _EDGAR_CLOSES:
        return False
    late = accepted.time() > _FILING_DEADLINE
    return late == (accepted.date() < filed) and accepted.date() <= filed


def public_from(accepted: datetime | None, filed: date, calendar: TradingCalendar) -> datetime:
    """When the market could know a filing (17 CFR 232.13): 15 minutes after an acceptance by 17:30 New York of its filing date;
    otherwise from 06:00 of the filing date, or of the first session after the acceptance when that is later."""
    if accepted is None:
        return calendar.date_only_known_at(filed)
    local = accepted.astimezone(NEW_YORK)
    if local.date() > filed:  # contradicts itself: only the date is believed, the later of the two
        return calendar.date_only_known_at(local.date())
    if local.date() == filed and local.time() <= _FILING_DEADLINE and calendar.is_session(filed):
        return accepted + _DISSEMINATION
    first_session = calendar.first_after(max(local.date(), filed - timedelta(days=1)))
    return datetime.combine(first_session, _EDGAR_OPENS, NEW_YORK).astimezone(UTC)
