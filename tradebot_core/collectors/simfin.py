"""Annual statements from SimFin's bulk CSV files (https://simfin.com, semicolon separated; banks and insurers in files of their own).

SimFin keeps one version of a fiscal year: the values of the last filing that showed it, whose day is `Restated Date`. What the
filing of its `Publish Date` said is not in these files. So a row counts, by default, from its Restated Date: up to two years late,
and never too early. `dated_by: published` makes it count from its Publish Date, with values of a later day.

Share counts are stated on the split basis of the day on which the archive was written, whatever their year. Nobody could know them
before that day, and beside an older price they are wrong by every split since: only the latest year's count is taken, from that
day on. The files have no CIK: a ticker is the issuer that bore it on the archive's day, if the company's name agrees.
"""

import csv
import io
import re
import zipfile
import zlib
from collections.abc import Iterator
from datetime import date, timedelta
from enum import StrEnum
from pathlib import Path
from typing import ClassVar

import polars as pl

from tradebot_core.calendar import TradingCalendar
from tradebot_core.collectors import tabular
from tradebot_core.config import Settings
from tradebot_core.errors import CorruptInput, DataError
from tradebot_core.interfaces import Batch, Rejected
from tradebot_core.model.tables import FACTS, INSTANT, FactTable

_SOURCE = "simfin"
_FORM = "SimFin annual"  # no form of the SEC: nothing may take it for a filing
_FILE = re.compile(r"(?:^|-)(?P<kind>income|balance|cashflow)(?:-(?:banks|insurance))?-annual\.(?:zip|csv)$")
_KINDS = ("income", "balance", "cashflow")
_COMPANIES = "us-companies.csv"
_MAX_FILE_BYTES = 1 << 29  # the largest of 2021 has 5 MB
_ISSUER = ("Ticker", "SimFinId")
_DAYS = ("Report Date", "Publish Date", "Restated Date")
_ABOUT = (*_ISSUER, "Currency", "Fiscal Year", "Fiscal Period", *_DAYS)
_SHARES = ("Shares (Basic)", "Shares (Diluted)")
# What several files have. Depreciation in an income statement is only the part that has a line of its own there.
_TAKEN_ELSEWHERE = {"income": {"Depreciation & Amortization"}, "balance": set(_SHARES), "cashflow": set(_SHARES)}
# Words of a name that do not tell companies apart.
_COMMON_WORDS = frozenset(
    {"inc", "incorporated", "corp", "corporation", "co", "company", "ltd", "limited", "llc", "lp", "plc"}
    | {"the", "group", "holdings", "of", "and", "de"}
)
_SCHEMA = pl.Schema({**FACTS.columns, "known_at": INSTANT})
_REPORT, _PUBLISH, _RESTATED = (pl.col(name) for name in _DAYS)


class DatedBy(StrEnum):
    RESTATED = "restated"
    PUBLISHED = "published"


_CAVEATS = {
    DatedBy.RESTATED: "Restated values: SimFin keeps of each year the last version, which counts from its own day, up to two years late.",
    DatedBy.PUBLISHED: "Restated values: SimFin keeps of each year the last version, so decisions saw corrections made years later.",
}


class Params(Settings):
    """`path`: a folder with us-companies.csv and the annual income, balance and cashflow files, as downloaded (zip) or unpacked.

    `archived_on`: the day whose tickers and split basis the files have; by default the day on which the zips were written.
    """

    path: Path
    dated_by: DatedBy = DatedBy.RESTATED
    archived_on: date | None = None


class SimFin:
    table: ClassVar[FactTable] = FACTS
    Params: ClassVar[type[Params]] = Params
    caveat: ClassVar[str] = _CAVEATS[DatedBy.RESTATED]

    def __init__(self, params: Params, calendar: TradingCalendar) -> None:
        self._params, self._calendar = params, calendar
        self.caveat = _CAVEATS[params.dated_by]  # type: ignore[misc]

    def collect(self, securities: pl.DataFrame, start: date, end: date) -> Iterator[Batch]:
        """Every year of these issuers that counts by the cut-off of `end`, those before `start` as well; one batch."""
        files = _statement_files(self._params.path)
        archived_on = self._params.archived_on or _written_on(files)
        companies, rejected = _table(self._params.path / _COMPANIES, (*_ISSUER, "Company Name"))
        issuers, strangers = _issuers(companies, securities, archived_on)
        rejected += strangers
        facts, covered = [_SCHEMA.to_frame()], set[int]()
        for kind, file in files:
            written, malformed = _table(file, _ABOUT)
            rows, refused = self._judged(written.join(issuers, on=_ISSUER), file.name, archived_on)
            covered |= set(rows["cik"])
            rejected += [*malformed, *refused]
            columns = [name for name in _numbers(written) if name not in (*_SHARES, *_TAKEN_ELSEWHERE[kind])]
            facts.append(self._facts(rows, kind, columns))
            if kind == "income":
                facts.append(self._facts(_latest_year(rows, archived_on), "shares", [c for c in _SHARES if c in rows.columns]))
        yield Batch(
            FACTS,
            pl.concat(facts).filter(pl.col("known_at") <= self._calendar.cutoff(end)).sort(FACTS.key),
            source=_SOURCE,
            rejected=(*rejected, *_uncovered(securities, covered)),
        )

    def _judged(self, rows: pl.DataFrame, file: str, archived_on: date) -> tuple[pl.DataFrame, list[Rejected]]:
        numbers = _numbers(rows.drop("cik"))
        written = pl.struct(pl.lit(file).alias("file"), *rows.drop("cik").columns)
        typed = rows.with_columns(written=written).with_columns(
            *(tabular.as_day(name, pl.String()) for name in _DAYS),
            pl.col("Fiscal Year").cast(pl.Int32, strict=False),
            pl.col(numbers).cast(pl.Float64, strict=False),
        )
        unread = [
            pl.col(c).is_null() & pl.col("written").struct.field(c).is_not_null() | ~pl.col(c).is_finite() for c in numbers
        ]
        counts_from = _RESTATED if self._params.dated_by is DatedBy.RESTATED else _PUBLISH
        rules: dict[str, tabular.Rule] = {
            "not_annual": (~pl.col("Fiscal Period").is_in(["FY", "Q4"]), "the fiscal period is not a whole year (FY or Q4)"),
            "bad_currency": (~pl.col("Currency").str.contains("^[A-Z]{3}$"), "the currency is not a code of three letters"),
            "bad_fiscal_year": (pl.col("Fiscal Year").is_null(), "the fiscal year is not a whole number"),
            "unreadable_date": (pl.any_horizontal(pl.col(_DAYS).is_null()), "a date is not a day (YYYY-MM-DD)"),
            "unreadable_number": (pl.any_horizontal(unread), "a figure is not a finite number"),
            # 122 rows of the archive of 2021 carry the period's end as their Publish Date (ADM in all its years).
            "published_by_period_end": (_PUBLISH <= _REPORT, "it was published no later than its period ended"),
            "restated_before_published": (_RESTATED < _PUBLISH, "it was restated before it was published"),
            "after_the_archive": (
                archived_on < _RESTATED,
                f"its last version is of a later day than the archive ({archived_on})",
            ),
            "outside_calendar": (
                ~_PUBLISH.is_between(*self._published_within()),
                "it was published outside the trading calendar",
            ),
            "conflicting_rows": (
                tabular.conflicting((*_ISSUER, _DAYS[0]), ["written"]),
                "the year is written twice, differently",
            ),
        }
        missing = pl.any_horizontal(pl.col("Currency", "Fiscal Period").is_null())
        accepted, rejected = tabular.judge(
            typed, {"missing_label": (missing, "the currency or fiscal period is missing"), **rules}
        )
        return accepted.unique([*_ISSUER, _DAYS[0]], keep="first").with_columns(filed=counts_from), rejected

    def _published_within(self) -> tuple[date, date]:
        return self._calendar.first, self._calendar.last - timedelta(days=7)

    def _facts(self, rows: pl.DataFrame, kind: str, columns: list[str]) -> pl.DataFrame:
        """One fact for each figure that is written, in order of the rows."""
        known = {day: self._calendar.date_only_known_at(day) for day in rows["filed"].unique()}
        name = pl.format("simfin-{}-{}-FY{}-{}", "SimFinId", pl.lit(kind), "Fiscal Year", "filed")
        year_began = (_REPORT + pl.duration(days=1)).dt.offset_by("-12mo")
        return (
            rows.with_columns(
                taxonomy=pl.lit(_SOURCE),
                unit=pl.lit("shares") if kind == "shares" else pl.col("Currency"),
                period_start=pl.lit(None, pl.Date) if kind == "balance" else year_began,
                period_end=_REPORT,
                accession=name,
                form=pl.lit(_FORM),
                fiscal_year=pl.col("Fiscal Year"),
                fiscal_period=pl.lit("FY"),
                known_at=pl.col("filed").replace_strict(known, return_dtype=INSTANT),
            )
            .unpivot(columns, index=[c for c in _SCHEMA if c not in ("tag", "value")], variable_name="tag", value_name="value")
            .drop_nulls("value")
            .select(_SCHEMA.names())
            .cast(dict(_SCHEMA))
        )


def _latest_year(rows: pl.DataFrame, archived_on: date) -> pl.DataFrame:
    """The last year of each issuer, as of the day whose split basis its shares have."""
    return rows.sort(_DAYS[0]).unique("cik", keep="last").with_columns(filed=pl.lit(archived_on))


def _issuers(companies: pl.DataFrame, securities: pl.DataFrame, day: date) -> tuple[pl.DataFrame, list[Rejected]]:
    """Ticker, SimFinId and cik of the issuers that bore a ticker on the day, or last before it, if the names agree."""
    periods = securities.select(
        "cik", "name", pl.col("valid_from").fill_null(date.min), pl.col("valid_to").fill_null(date.max), Ticker="symbol"
    )
    bearers = (
        companies.join(periods.filter(pl.col("valid_from") <= day), on="Ticker")
        .sort("Ticker", "SimFinId", "valid_to", "valid_from")
        .unique(_ISSUER, keep="last", maintain_order=True)
    )
    same = [_same_company(*names) for names in bearers.select("name", "Company Name").iter_rows()]
    rejected = [
        Rejected(
            {k: row[k] for k in (*_ISSUER, "Company Name", "cik", "name")}, "other_company", "the ticker is another company's"
        )
        for row in bearers.filter([not agrees for agrees in same]).iter_rows(named=True)
    ]
    return bearers.filter(same).unique("cik", keep="first", maintain_order=True).select(*_ISSUER, "cik"), rejected


def _same_company(one: str | None, other: str | None) -> bool:
    """Whether two names share a word that is not a legal form. A name that is not known contradicts nothing."""
    if not one or not other:
        return True
    words = [set(re.findall(r"\w+", re.sub(r"['’.]", "", name.casefold()))) for name in (one, other)]
    telling = [found - _COMMON_WORDS for found in words]
    return bool(telling[0] & telling[1]) or words[0] == words[1]


def _uncovered(securities: pl.DataFrame, covered: set[int]) -> list[Rejected]:
    missing = securities.filter(~pl.col("cik").is_in(sorted(covered))).group_by("cik").agg(pl.col("symbol").unique().sort())
    return [
        Rejected({"cik": cik, "symbols": symbols}, "no_statements", "the files have no annual statement of the issuer")
        for cik, symbols in missing.sort("cik").iter_rows()
    ]


def _statement_files(folder: Path) -> list[tuple[str, Path]]:
    found = [(match["kind"], file) for file in sorted(folder.glob("*")) if (match := _FILE.search(file.name))]
    missing = [kind for kind in _KINDS if kind not in [found_kind for found_kind, _ in found]]
    if missing or not (folder / _COMPANIES).exists():
        names = [f"us-{kind}-annual.zip" for kind in missing] or [_COMPANIES]
        raise DataError(
            f"{folder} has no {', '.join(names)}.",
            "Download SimFin's bulk files for US companies there, or correct params.path.",
        )
    return found


def _written_on(files: list[tuple[str, Path]]) -> date:
    """The day of the newest member of the zips."""
    days = [date(*member.date_time[:3]) for _, file in files if file.suffix == ".zip" for member in [_member(file)[1]]]
    if not days:
        raise DataError(
            "Unpacked files do not say when SimFin wrote them.", "Set params.archived_on to the day of the download."
        )
    return max(days)


def _member(file: Path) -> tuple[zipfile.ZipFile, zipfile.ZipInfo]:
    try:
        archive = zipfile.ZipFile(file)
    except (zipfile.BadZipFile, OSError) as error:
        raise CorruptInput(f"{file} is not a readable zip ({error}).", "Download it again.") from None
    members = [member for member in archive.infolist() if member.filename.endswith(".csv")]
    if len(members) != 1 or members[0].file_size > _MAX_FILE_BYTES:
        raise CorruptInput(f"{file} does not hold one CSV file of at most {_MAX_FILE_BYTES} bytes.", "Download it again.")
    return archive, members[0]


def _content(file: Path) -> bytes:
    if file.suffix != ".zip":
        return file.read_bytes()
    archive, member = _member(file)
    with archive:
        return archive.read(member)


def _table(file: Path, required: tuple[str, ...]) -> tuple[pl.DataFrame, list[Rejected]]:
    """The lines of a file as text, null where nothing is written; and those that have not one value for each column."""
    try:
        text = _content(file).decode("utf-8")
        lines = list(csv.reader(io.StringIO(text, newline=""), delimiter=";", strict=True))
    except (OSError, zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, UnicodeDecodeError, csv.Error) as error:
        raise CorruptInput(f"{file} cannot be read: {error}.", "Download it again.") from None
    header = lines[0] if lines else []
    missing = [name for name in required if name not in header]
    if missing or len(set(header)) < len(header):
        raise CorruptInput(f"{file} has no column {', '.join(missing)}." if missing else f"{file} has a column twice.")
    if not text.endswith("\n"):
        raise CorruptInput(f"{file} ends in the middle of a line.", "Download it again.")
    rejected = [
        Rejected(
            {"file": file.name, "line": number, "begins": line[:8]}, "malformed", f"{len(line)} values in {len(header)} columns"
        )
        for number, line in enumerate(lines[1:], start=2)
        if len(line) != len(header)
    ]
    whole = [line for line in lines[1:] if len(line) == len(header)]
    rows = pl.DataFrame(whole, schema=dict.fromkeys(header, pl.String), orient="row")
    return rows.with_columns(pl.all().str.strip_chars().replace("", None)), rejected


def _numbers(rows: pl.DataFrame) -> list[str]:
    return [name for name in rows.columns if name not in _ABOUT]
