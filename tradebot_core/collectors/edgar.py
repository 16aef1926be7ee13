"""Company facts from SEC EDGAR files: companyfacts (bulk zip, folder, or one company's JSON), with acceptance times where given.

https://www.sec.gov/search-filings/edgar-application-programming-interfaces describes both layouts.
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import polars as pl

from tradebot_core.calendar import TradingCalendar
from tradebot_core.collectors.filing_times import acceptances, public_from
from tradebot_core.collectors.sec_files import SecFiles, Unreadable, whole_file
from tradebot_core.config import Settings
from tradebot_core.interfaces import Batch, Rejected
from tradebot_core.model.tables import FACTS, INSTANT, FactTable
from tradebot_core.quant.concepts import concept_map

_SOURCE = "sec_edgar"
_BATCH_ROWS = 200_000  # some fifty large companies: few writes of the store, little memory
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
        """Every fact known by the cut-off of `end`, those known before `start` as well; whole issuers, some to a batch."""
        company_files = SecFiles.at(self._params.path, "params.path")
        submissions = (
            SecFiles.at(self._params.submissions_path, "params.submissions_path") if self._params.submissions_path else None
        )
        cutoff = self._calendar.cutoff(end)
        with company_files, submissions or SecFiles({}):
            gathered: list[Batch] = []
            for cik in sorted(set(securities["cik"].drop_nulls())):
                gathered.append(self._issuer(cik, company_files, submissions, cutoff))
                if sum(batch.rows.height for batch in gathered) >= _BATCH_ROWS:
                    yield _one_batch(gathered)
                    gathered = []
            if gathered:
                yield _one_batch(gathered)

    def _issuer(self, cik: int, company_files: SecFiles, submissions: SecFiles | None, cutoff: datetime) -> Batch:
        name = f"CIK{cik:010d}.json"
        if name not in company_files:
            return _nothing(Rejected({"cik": cik}, "no_facts", f"{self._params.path} has no {name}; the issuer has no facts"))
        try:
            content = company_files.read(name)
            company, rejected = _parse(content, name, self._params)
        except Unreadable as unreadable:
            return _nothing(unreadable.rejected)
        if company.cik != cik:
            return _nothing(whole_file(name, content, "cik_mismatch", f"the file is about CIK {company.cik}"))
        accepted, unread = acceptances(cik, submissions)
        rows = _columns(company, self._params)
        if not rows.height and not rejected:
            return _nothing(whole_file(name, content, "no_facts", "the file holds no facts of the taxonomies asked for"))
        rows, refused = _refuse(rows, name, self._calendar)
        rows = rows.join(_known_at(rows, accepted, self._calendar), on=["accession", "filed"], how="left")
        return Batch(
            FACTS,
            rows.filter(pl.col("known_at") <= cutoff).select(_SCHEMA.names()).cast(dict(_SCHEMA)),
            source=_SOURCE,
            rejected=(*unread, *rejected, *refused),
        )


def _one_batch(issuers: Sequence[Batch]) -> Batch:
    rejected = tuple(record for batch in issuers for record in batch.rejected)
    return Batch(FACTS, pl.concat([batch.rows for batch in issuers]), source=_SOURCE, rejected=rejected)


def _nothing(*rejected: Rejected) -> Batch:
    return Batch(FACTS, _SCHEMA.to_frame(), source=_SOURCE, rejected=rejected)


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
        raise Unreadable(whole_file(name, content, "corrupt_file", f"not a companyfacts file: {error}")) from None
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


def _columns(company: _TypedCompany, params: Params) -> pl.DataFrame:
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


def _known_at(rows: pl.DataFrame, accepted: Mapping[str, datetime], calendar: TradingCalendar) -> pl.DataFrame:
    filings = rows.select("accession", "filed").unique(maintain_order=True)
    instants = [public_from(accepted.get(accession), filed, calendar) for accession, filed in filings.iter_rows()]
    return filings.with_columns(pl.Series("known_at", instants, INSTANT))
