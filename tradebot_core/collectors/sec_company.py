"""The SEC's files of one company: its facts, and the lists of its filings with their acceptance times."""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path

import msgspec

from tradebot_core.calendar import NEW_YORK
from tradebot_core.collectors.kept_files import Kept, Record, is_kept, replace_file, write_record
from tradebot_core.collectors.sec_http import Absent, Fetched, SecClient, Unchanged
from tradebot_core.interfaces import Clock, Rejected

FACTS_FOLDER, SUBMISSIONS_FOLDER = "companyfacts", "submissions"
_FIRST_XBRL = date(2009, 1, 1)  # earlier filings have no facts; their acceptance times are not needed
_PATIENCE = timedelta(days=3)  # for facts of a filing to appear; the SEC says a minute, longer in peak times
_PERIODIC = frozenset({"10-K", "10-Q", "10-KT", "10-QT", "20-F", "40-F"})


@dataclass(frozen=True)
class Place:
    """Where the files of companies are kept, and where they come from (`data_url`: https://data.sec.gov)."""

    folder: Path
    client: SecClient
    data_url: str
    clock: Clock

    def record_path(self, cik: int) -> Path:
        return self.folder / "records" / f"CIK{cik:010d}.json"


class _Filings(msgspec.Struct):
    accessionNumber: list[str]
    filingDate: list[date]
    form: list[str]
    isXBRL: list[int | bool] | None = None

    def with_xbrl(self) -> Iterable[tuple[str, date, str]]:
        """Accession, day and form of the filings whose figures the SEC can read."""
        flags = self.isXBRL if self.isXBRL is not None else [1] * len(self.form)
        rows = zip(self.accessionNumber, self.filingDate, self.form, flags, strict=True)
        return [(accession, filed, form) for accession, filed, form, flag in rows if flag]


class _Page(msgspec.Struct):
    name: str
    filingTo: date
    filingFrom: date | None = None
    filingCount: int = 0


class _Company(msgspec.Struct):
    cik: int | str


class _Facts(_Company):
    facts: msgspec.Raw


class _Submissions(_Company):
    class Filings(msgspec.Struct):
        recent: _Filings
        files: list[_Page] = []

    filings: Filings


class Visit:
    """One company, asked once. Its files are replaced in an order that lets an interruption lose nothing: the list of its
    filings last, since facts are fetched when that list has grown."""

    def __init__(self, place: Place, cik: int, record: Record) -> None:
        self._place, self._cik, self._record = place, cik, record
        self._stem = f"CIK{cik:010d}"
        self._facts = f"{FACTS_FOLDER}/{self._stem}.json"
        self._submissions = f"{SUBMISSIONS_FOLDER}/{self._stem}.json"
        self._rejected: list[Rejected] = []

    def make(self) -> list[Rejected]:
        """Returns what could not be had although the SEC answered; raises SecUnavailable when it did not."""
        asked_at = self._place.clock.now()
        answer = self._get(f"submissions/{self._stem}.json", self._submissions, self._about_company(_Submissions))
        if isinstance(answer, Absent):
            self._fetch_facts(self._is_kept(self._facts))
            if self._record.without_facts:
                self._reject("unknown_cik", f"the SEC knows no company {self._stem}; correct the cik of the security")
            return self._done(asked_at)
        before = self._with_xbrl_on_disk()
        if isinstance(answer, Fetched):
            filings = _submissions(answer.content)
            now = filings.recent.with_xbrl()
        else:
            filings, now = None, before
        recent_day = asked_at.astimezone(NEW_YORK).date() - _PATIENCE
        awaited = {key: day for key, day, form in now if day >= recent_day and form.partition("/")[0] in _PERIODIC}
        has_facts = self._is_kept(self._facts)
        if self._record.waiting or set(now) - set(before) or not (has_facts or self._record.without_facts):
            self._fetch_facts(has_facts)
        self._record.waiting = self._still_awaited(awaited)
        if filings is not None and isinstance(answer, Fetched):
            for page in filings.files:
                self._fetch_page(page)
            self._keep(self._submissions, answer)
        return self._done(asked_at)

    def _fetch_facts(self, has_facts: bool) -> None:
        answer = self._get(f"api/xbrl/companyfacts/{self._stem}.json", self._facts, self._about_company(_Facts))
        if isinstance(answer, Fetched):
            self._keep(self._facts, answer)
        elif isinstance(answer, Absent) and has_facts:
            self._reject("facts_gone", "the SEC no longer has facts of this company; those of before are kept")
        self._record.without_facts = isinstance(answer, Absent) and not has_facts

    def _still_awaited(self, awaited: Mapping[str, date]) -> date | None:
        """The day of the first filing that is listed and whose facts are not in the file of facts."""
        if not awaited:
            return None
        facts = (self._place.folder / self._facts).read_bytes() if self._is_kept(self._facts) else b""
        missing = {accession: day for accession, day in awaited.items() if accession.encode() not in facts}
        for accession in missing:
            self._reject("facts_not_published", f"the facts of filing {accession} are not out yet; they are asked for again")
        return min(missing.values(), default=None)

    def _fetch_page(self, page: _Page) -> None:
        """Older filings. A page changes only when filings move to it from the list of the recent ones."""
        name, mark = f"{SUBMISSIONS_FOLDER}/{page.name}", f"{page.filingCount} {page.filingFrom} {page.filingTo}"
        if not page.name.startswith(f"{self._stem}-submissions-") or "/" in page.name:
            self._reject("foreign_page", f"its filings are said to go on in {page.name[:80]}, which is no page of this company")
            return
        if page.filingTo < _FIRST_XBRL or (self._is_kept(name) and self._record.files[name].mark == mark):
            return
        answer = self._get(f"submissions/{page.name}", name, lambda content: msgspec.json.decode(content, type=_Filings))
        if isinstance(answer, Fetched):
            self._keep(name, answer, mark)
        elif isinstance(answer, Unchanged):
            self._record.files[name] = msgspec.structs.replace(self._record.files[name], mark=mark)
        else:
            self._reject(
                "page_absent", f"{page.name} is listed and not there; its filings count from the session after their day"
            )

    def _get(self, path: str, name: str, check: Callable[[bytes], object]) -> Fetched | Unchanged | Absent:
        shown = self._record.files[name].validators if self._is_kept(name) else None
        return self._place.client.get(f"{self._place.data_url}/{path}", check, shown)

    def _keep(self, name: str, fetched: Fetched, mark: str = "") -> None:
        replace_file(self._place.folder / name, fetched.content)
        shown = fetched.validators
        self._record.files[name] = Kept(len(fetched.content), shown.etag, shown.last_modified, mark)
        self._save()

    def _is_kept(self, name: str) -> bool:
        return is_kept(self._place.folder / name, self._record.files.get(name))

    def _with_xbrl_on_disk(self) -> Iterable[tuple[str, date, str]]:
        if not self._is_kept(self._submissions):
            return ()
        content = (self._place.folder / self._submissions).read_bytes()
        return _submissions(content).recent.with_xbrl()

    def _about_company(self, shape: type[_Company]) -> Callable[[bytes], object]:
        def check(content: bytes) -> None:
            try:
                about = msgspec.json.decode(content, type=shape)
            except msgspec.ValidationError:
                raise
            except msgspec.DecodeError:  # NaN and Infinity, which JSON does not know: a matter of single facts
                about = msgspec.convert(json.loads(content), _Company)
            if int(about.cik) != self._cik:
                raise ValueError(f"it is about CIK {about.cik}")
            if isinstance(about, _Submissions):
                about.filings.recent.with_xbrl()

        return check

    def _reject(self, rule: str, reason: str) -> None:
        self._rejected.append(Rejected({"cik": self._cik}, rule, reason))

    def _done(self, asked_at: datetime) -> list[Rejected]:
        self._record.checked = asked_at
        self._save()
        return self._rejected

    def _save(self) -> None:
        write_record(self._place.record_path(self._cik), self._record)


def _submissions(content: bytes) -> _Submissions.Filings:
    return msgspec.json.decode(content, type=_Submissions).filings
