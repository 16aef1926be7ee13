"""Company facts from SEC EDGAR files: companyfacts (bulk zip, folder, or one company's JSON), with acceptance times where given.

https://www.sec.gov/search-filings/edgar-application-programming-interfaces describes both layouts.
"""

import json
import math
import re
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import polars as pl

from tradebot_core.calendar import NEW_YORK, TradingCalendar
from tradebot_core.config import Settings
from tradebot_core.errors import CorruptInput, DataError
from tradebot_core.interfaces import Batch, Rejected
from tradebot_core.model.tables import FACTS, INSTANT, FactTable
from tradebot_core.quant.concepts import concept_map

_SOURCE = "sec_edgar"
_MAX_FILE_BYTES = 1 << 29  # the largest companyfacts file of the SEC is below 100 MB
_DISSEMINATION = timedelta(minutes=15)  # from acceptance to public view, at the outside
_FILING_DEADLINE = time(17, 30)  # 17 CFR 232.13(a)(2): later filings are dated the next business day
_EDGAR_OPENS, _EDGAR_CLOSES = time(6, 0), time(22, 0)  # New York; EDGAR Filer Manual, Volume II, 2.2.1
_DATED_BY_DEADLINE = frozenset({"10-K", "10-Q", "8-K", "10-KT", "10-QT", "20-F", "40-F", "6-K", "S-3", "S-8", "DEF 14A"})
_SCHEMA = pl.Schema({**FACTS.columns, "known_at": INSTANT})


class Params(Settings):
    """`path`: companyfacts as zip, folder of CIK##########.json, or one such file. `submissions_path`: the same for submissions.

    `tags` keeps only these tags (without taxonomy); by default every reported fact is kept.
    """

    path: Path
    submissions_path: Path | None = None
    taxonomies: tuple[str, ...] = ("us-gaap", "dei", "ifrs-full")
    tags: tuple[str, ...] | None = None


class EdgarFacts:
    table: ClassVar[FactTable] = FACTS
    Params: ClassVar[type[Params]] = Params

    def __init__(self, params: Params, calendar: TradingCalendar) -> None:
        self._params = params
        self._calendar = calendar

    def collect(self, securities: pl.DataFrame, start: date, end: date) -> Iterator[Batch]:
        """One batch per issuer with every fact known by the cut-off of `end`, those known before `start` as well."""
        company_files = _Files.at(self._params.path, "params.path")
        submissions = (
            _Files.at(self._params.submissions_path, "params.submissions_path") if self._params.submissions_path else None
        )
        cutoff = self._calendar.cutoff(end)
        with company_files, submissions or _Files({}):
            for cik in sorted(set(securities["cik"].drop_nulls())):
                yield self._issuer(cik, company_files, submissions, cutoff)

    def _issuer(self, cik: int, company_files: "_Files", submissions: "_Files | None", cutoff: datetime) -> Batch:
        name = f"CIK{cik:010d}.json"
        if name not in company_files:
            return _nothing(Rejected({"cik": cik}, "no_facts", f"{self._params.path} has no {name}; the issuer has no facts"))
        try:
            content = company_files.read(name)
            company, rejected = _parse(content, name, self._params)
        except _Unreadable as unreadable:
            return _nothing(unreadable.rejected)
        if company.cik != cik:
            return _nothing(_whole_file(name, content, "cik_mismatch", f"the file is about CIK {company.cik}"))
        acceptances, unread = _acceptances(cik, submissions)
        rows = _Columns.of(company, self._params)
        if not rows.height and not rejected:
            return _nothing(_whole_file(name, content, "no_facts", "the file holds no facts of the taxonomies asked for"))
        rows, refused = _refuse(rows, name, self._calendar)
        rows = rows.join(_known_at(rows, acceptances, self._calendar), on=["accession", "filed"], how="left")
        return Batch(
            FACTS,
            rows.filter(pl.col("known_at") <= cutoff).select(_SCHEMA.names()).cast(dict(_SCHEMA)),
            source=_SOURCE,
            rejected=(*unread, *rejected, *refused),
        )


def _nothing(*rejected: Rejected) -> Batch:
    return Batch(FACTS, _SCHEMA.to_frame(), source=_SOURCE, rejected=rejected)


# Files -------------------------------------------------------------------------------------------------------------------


class _Unreadable(Exception):
    def __init__(self, rejected: Rejected) -> None:
        super().__init__(rejected.reason)
        self.rejected = rejected


def _whole_file(name: str, content: bytes, rule: str, reason: str) -> Rejected:
    record = {
        "file": name,
        "sha256": sha256(content).hexdigest(),
        "bytes": len(content),
        "begins": content[:80].decode("utf-8", "replace"),
    }
    return Rejected(record, rule, reason)


@dataclass(frozen=True)
class _Files:
    """The JSON files of a folder or a zip by name."""

    paths: Mapping[str, Path]
    archive: zipfile.ZipFile | None = None
    members: Mapping[str, zipfile.ZipInfo] | None = None

    @classmethod
    def at(cls, path: Path, setting: str) -> "_Files":
        if not path.exists():
            raise DataError(
                f"{path} does not exist.",
                f"Put the SEC's files there (companyfacts.zip and submissions.zip from "
                f"https://www.sec.gov/Archives/edgar/daily-index/) or correct {setting}.",
            )
        if path.is_dir():
            return cls({file.name: file for file in sorted(path.rglob("CIK*.json"))})
        if path.suffix.lower() == ".json":
            return cls({_sec_name(path): path})
        try:
            archive = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, OSError) as error:
            raise CorruptInput(f"{path} is not a readable zip ({error}).", "Download it again.") from None
        members = {Path(member.filename).name: member for member in archive.infolist() if member.filename.endswith(".json")}
        return cls({}, archive, members)

    def __contains__(self, name: str) -> bool:
        return name in self.paths or (self.members is not None and name in self.members)

    def names(self) -> list[str]:
        return sorted(self.members if self.members is not None else self.paths)

    def read(self, name: str) -> bytes:
        """Raises _Unreadable when the file is too large, damaged, or cannot be read."""
        try:
            if self.archive is not None and self.members is not None:
                size = self.members[name].file_size
                content = b"" if size > _MAX_FILE_BYTES else self.archive.read(self.members[name])
            else:
                size = self.paths[name].stat().st_size
                content = b"" if size > _MAX_FILE_BYTES else self.paths[name].read_bytes()
        except (zipfile.BadZipFile, OSError, EOFError, NotImplementedError, ValueError) as error:
            raise _Unreadable(_whole_file(name, b"", "corrupt_file", f"it cannot be read: {error}")) from None
        if size > _MAX_FILE_BYTES:
            raise _Unreadable(_whole_file(name, b"", "file_too_large", f"{size} bytes; the limit is {_MAX_FILE_BYTES}"))
        return content

    def __enter__(self) -> "_Files":
        return self

    def __exit__(self, *exception: object) -> None:
        if self.archive is not None:
            self.archive.close()


def _sec_name(path: Path) -> str:
    """A single file may have any name: the CIK inside decides. Unreadable content keeps the name, and is found out later."""
    if re.fullmatch(r"CIK\d{10}(-submissions-\d+)?\.json", path.name):
        return path.name
    found = re.search(rb'"cik"\s*:\s*"?0*(\d{1,10})', path.read_bytes()[:4096])
    return f"CIK{int(found[1]):010d}.json" if found else path.name


# Company facts -----------------------------------------------------------------------------------------------------------


class _Row(msgspec.Struct):
    end: date
    val: float
    accn: str
    form: str
    filed: date
    start: date | None = None
    fy: int | None = None
    fp: str | None = None


class _Company(msgspec.Struct):
    cik: int | str
    facts: dict[str, dict[str, dict[str, Any]]]


class _TypedTag(msgspec.Struct):
    units: dict[str, list[_Row]]


class _TypedCompany(msgspec.Struct):
    cik: int
    facts: dict[str, dict[str, _TypedTag]]


_TYPED = msgspec.json.Decoder(_TypedCompany)


def _parse(content: bytes, name: str, params: Params) -> tuple[_TypedCompany, list[Rejected]]:
    """The whole file in one typed pass; row by row only when something in it is not of its type."""
    try:
        return _TYPED.decode(content), []
    except (msgspec.DecodeError, UnicodeDecodeError):
        pass
    try:
        # The standard parser also reads NaN and Infinity, which JSON does not know: such rows are refused one by one below.
        document = json.loads(content)
        company = msgspec.convert(document, _Company, strict=False)
        cik = int(company.cik)
    except (ValueError, RecursionError) as error:  # msgspec.ValidationError is a ValueError too
        raise _Unreadable(_whole_file(name, content, "corrupt_file", f"not a companyfacts file: {error}")) from None
    rejected: list[Rejected] = []
    facts: dict[str, dict[str, _TypedTag]] = {}
    for taxonomy in params.taxonomies:
        for tag, block in company.facts.get(taxonomy, {}).items():
            units = block.get("units")
            if not isinstance(units, dict):
                rejected.append(Rejected({"file": name, "tag": f"{taxonomy}:{tag}"}, "malformed", "the tag has no units"))
                continue
            typed = {
                unit: _rows(rows, {"file": name, "tag": f"{taxonomy}:{tag}", "unit": unit}, rejected)
                for unit, rows in units.items()
            }
            facts.setdefault(taxonomy, {})[tag] = _TypedTag(typed)
    return _TypedCompany(cik, facts), rejected


def _rows(rows: object, where: dict[str, str], rejected: list[Rejected]) -> list[_Row]:
    if not isinstance(rows, list):
        rejected.append(Rejected(where, "malformed", "the facts of a unit are not a list"))
        return []
    found = []
    for row in rows:
        try:
            typed = msgspec.convert(row, _Row)
        except msgspec.ValidationError as error:
            rejected.append(Rejected({**where, "fact": str(row)}, "malformed", str(error)))
            continue
        if not math.isfinite(typed.val):
            rejected.append(Rejected({**where, "fact": str(row)}, "not_finite", f"the value is {typed.val}"))
            continue
        found.append(typed)
    return found


class _Columns:
    @staticmethod
    def of(company: _TypedCompany, params: Params) -> pl.DataFrame:
        """Columns of FACTS, as reported, one row for each distinct report."""
        wanted = None if params.tags is None else frozenset(params.tags)
        blocks = [
            (taxonomy, tag, unit, rows)
            for taxonomy in params.taxonomies
            for tag, block in company.facts.get(taxonomy, {}).items()
            if wanted is None or tag in wanted
            for unit, rows in block.units.items()
        ]
        flat = [row for *_, rows in blocks for row in rows]
        counts = [len(rows) for *_, rows in blocks]
        label = pl.DataFrame(
            [block[:3] for block in blocks], schema={"taxonomy": pl.String, "tag": pl.String, "unit": pl.String}, orient="row"
        )
        frame = pl.DataFrame(
            {
                "period_start": [row.start for row in flat],
                "period_end": [row.end for row in flat],
                "accession": [row.accn for row in flat],
                "value": [row.val for row in flat],
                "form": [row.form for row in flat],
                "fiscal_year": [row.fy for row in flat],
                "fiscal_period": [row.fp for row in flat],
                "filed": [row.filed for row in flat],
            },
            schema={name: kind for name, kind in FACTS.columns.items() if name not in ("cik", "taxonomy", "tag", "unit")},
        )
        repeated = label.select(pl.all().repeat_by(pl.Series(counts, dtype=pl.UInt32)).explode())
        return (
            pl.concat([repeated, frame], how="horizontal")
            .with_columns(cik=pl.lit(company.cik, pl.Int64))
            .unique(maintain_order=True)
        )


def _refuse(rows: pl.DataFrame, name: str, calendar: TradingCalendar) -> tuple[pl.DataFrame, list[Rejected]]:
    """The rows that may enter, and those that contradict themselves with the first rule each breaks."""
    figures = {f"{tag}|{unit}" for tag, unit in concept_map().by_tag()}
    is_figure = (pl.col("taxonomy") + ":" + pl.col("tag") + "|" + pl.col("unit")).is_in(sorted(figures))
    accession_year = pl.col("accession").str.slice(11, 2).cast(pl.Int32, strict=False)
    conflicting = pl.struct("value", "filed").n_unique().over(FACTS.key) > 1
    rules = {
        "missing_accession": ~pl.col("accession").str.contains(r"^\d{10}-\d{2}-\d{6}$"),
        "missing_form": pl.col("form") == "",
        "not_finite": ~pl.col("value").is_finite(),
        "end_before_start": pl.col("period_end") < pl.col("period_start"),
        "filed_outside_calendar": ~pl.col("filed").is_between(calendar.first, calendar.last - timedelta(days=7)),
        # Notes report coming years (debt falling due), statements do not: a balance of next December is a wrong date.
        "filed_before_period_end": is_figure & (pl.col("filed") < pl.col("period_end")),
        # An accession number carries the year in which it was given. A filing cannot have been public before that; the SEC's
        # data has such facts (Salesforce, 0001108524-22-000008 "filed" 2021-03-17).
        "filed_before_accession": pl.col("filed").dt.year() % 100 < accession_year,
        "filed_after_accession": pl.col("filed").dt.year() % 100 > accession_year + 1,
        "conflicting_versions": conflicting,
    }
    first_rule = pl.coalesce(pl.when(condition.fill_null(False)).then(pl.lit(rule)) for rule, condition in rules.items())
    judged = rows.with_columns(rule=first_rule)
    refused = [
        Rejected({"file": name, **{key: _plain(value) for key, value in row.items()}}, rule, _REASONS[rule])
        for row in judged.filter(pl.col("rule").is_not_null()).iter_rows(named=True)
        for rule in [row.pop("rule")]
    ]
    accepted = judged.filter(pl.col("rule").is_null()).drop("rule").unique(FACTS.key, keep="first", maintain_order=True)
    return accepted, refused


_REASONS = {
    "missing_accession": "the fact names no filing (accession number)",
    "missing_form": "the fact names no form",
    "not_finite": "the value is not a finite number",
    "end_before_start": "the period ends before it begins",
    "filed_outside_calendar": "the filing date is outside the trading calendar",
    "filed_before_period_end": "the figure was filed before its period ended",
    "filed_before_accession": "the accession number was given in a later year than the filing date",
    "filed_after_accession": "the filing date is more than a year after the accession number was given",
    "conflicting_versions": "one filing reports two values, or two filing dates, for the same tag, unit and period",
}


def _plain(value: object) -> object:
    if isinstance(value, date):
        return value.isoformat()
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


# When it was known -------------------------------------------------------------------------------------------------------


class _Filings(msgspec.Struct):
    accessionNumber: list[str]
    filingDate: list[date]
    acceptanceDateTime: list[str]  # empty for some old filings
    form: list[str]


class _Submissions(msgspec.Struct):
    class Recent(msgspec.Struct):
        recent: _Filings

    filings: Recent


@dataclass(frozen=True, slots=True)
class _Acceptance:
    form: str
    filed: date
    clock: datetime  # as written, its zone ignored


def _acceptances(cik: int, submissions: _Files | None) -> tuple[dict[str, datetime], list[Rejected]]:
    """Accession -> acceptance (UTC). A submissions file that cannot be read costs the times in it, not the facts."""
    if submissions is None:
        return {}, []
    stem = f"CIK{cik:010d}"
    read: dict[str, _Acceptance] = {}
    rejected = []
    for name in (f"{stem}.json", *(n for n in submissions.names() if n.startswith(f"{stem}-submissions-"))):
        if name not in submissions:
            continue
        try:
            content = submissions.read(name)
            filings = (
                msgspec.json.decode(content, type=_Filings)
                if "-submissions-" in name
                else msgspec.json.decode(content, type=_Submissions).filings.recent
            )
            columns = (filings.accessionNumber, filings.filingDate, filings.acceptanceDateTime, filings.form)
            for accession, filed, accepted, form in zip(*columns, strict=True):
                if accepted:
                    read[accession] = _Acceptance(form, filed, datetime.fromisoformat(accepted).replace(tzinfo=None))
        except _Unreadable as unreadable:
            rejected.append(unreadable.rejected)
        except (ValueError, UnicodeDecodeError) as error:  # msgspec.DecodeError, and columns of unequal length
            rejected.append(_whole_file(name, content, "corrupt_submissions", f"acceptance times are not used: {error}"))
    return _zoned(read), rejected


def _zoned(read: Mapping[str, _Acceptance]) -> dict[str, datetime]:
    """The acceptance times in UTC, each issuer's clock settled by its own filing dates.

    The `Z` that ends every acceptanceDateTime is true for most issuers, and false for others, whose times are New York's: in
    the SEC's data of 2026, Apple's run from 06:00 to 19:29 and are New York's, those of seven other large companies are UTC
    from 2010 on. The zone belongs to the issuer and not to the filing or the year (measured for 805 of 808 members of the
    S&P 500 against the SGML headers, https://github.com/theOGognf/finagg/issues/64). The right zone is the one in which
    filings fall in EDGAR's hours and got their filing date by the 17:30 rule. In doubt it is New York, the later of the two.
    """
    votes_utc = 0
    for acceptance in read.values():
        if acceptance.form.split("/")[0] in _DATED_BY_DEADLINE:
            votes_utc += _agrees(_new_york(acceptance, UTC), acceptance.filed)
            votes_utc -= _agrees(_new_york(acceptance, NEW_YORK), acceptance.filed)
    zone = UTC if votes_utc > 0 else NEW_YORK
    return {accession: acceptance.clock.replace(tzinfo=zone).astimezone(UTC) for accession, acceptance in read.items()}


def _new_york(acceptance: _Acceptance, zone: Any) -> datetime:
    return acceptance.clock.replace(tzinfo=zone).astimezone(NEW_YORK)


def _agrees(accepted: datetime, filed: date) -> bool:
    """Whether an acceptance at that New York time would have been given that filing date."""
    if not _EDGAR_OPENS <= accepted.time() <= _EDGAR_CLOSES:
        return False
    late = accepted.time() > _FILING_DEADLINE
    return late == (accepted.date() < filed) and accepted.date() <= filed


def _known_at(rows: pl.DataFrame, acceptances: Mapping[str, datetime], calendar: TradingCalendar) -> pl.DataFrame:
    filings = rows.select("accession", "filed").unique(maintain_order=True)
    instants = [_public_from(acceptances.get(accession), filed, calendar) for accession, filed in filings.iter_rows()]
    return filings.with_columns(pl.Series("known_at", instants, INSTANT))


def _public_from(accepted: datetime | None, filed: date, calendar: TradingCalendar) -> datetime:
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
