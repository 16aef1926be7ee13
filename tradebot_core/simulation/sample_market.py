"""The sample market: a small, wholly fictional stock market for those who have no account and no data yet.

It is served through the same doors as the real one, as files in real shapes: company facts and submissions as in the bulk
archives of SEC EDGAR, raw daily bars, corporate actions and the security master. The same seed gives the same bytes.
"""

import csv
import io
import json
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl

from tradebot_core.calendar import xnys
from tradebot_core.errors import StoreError
from tradebot_core.simulation.market_data import ACTIONS_FILE, BARS_FILE, SECURITIES_FILE
from tradebot_core.simulation.sample_companies import Company
from tradebot_core.simulation.sample_filings import JsonObject, company_facts, company_submissions, filing_schedule
from tradebot_core.simulation.sample_prices import RawAction, RawBar, market_mood, trade
from tradebot_core.simulation.sample_roster import COMPANIES
from tradebot_core.simulation.sample_statements import quarterly_statements

FIRST_SESSION = date(2021, 1, 4)
BACKTEST_START = date(2023, 7, 3)
BACKTEST_END = date(2026, 6, 30)
LIVE_START = date(2026, 7, 1)
LAST_SESSION = date(2026, 10, 30)

VERSION = 1  # raise it whenever the same seed gives other bytes
_MARKER_FILE = "sample_market.json"
_COMPANY_FACTS_FILE, _SUBMISSIONS_FILE, _README_FILE = "companyfacts.zip", "submissions.zip", "README.txt"
_FILES = (_COMPANY_FACTS_FILE, _SUBMISSIONS_FILE, BARS_FILE, ACTIONS_FILE, SECURITIES_FILE, _README_FILE)
_README = f"""\
FICTIONAL. Nothing in this folder is real.

The sample market of Tradebot: invented companies, invented filings, invented prices, made by a program from a seed. The names
end in "(sample)", the tickers and CIKs belong to nobody, and any likeness to a real company is chance. Do not use it to judge an
investment or a strategy: it shows how the system works, not what it earns.

Sessions {FIRST_SESSION} to {LAST_SESSION} (XNYS calendar), filings from fiscal year 2018 on.
"""


@dataclass(frozen=True)
class SampleMarket:
    """Where the files of a prepared sample market are."""

    path: Path

    @property
    def companyfacts(self) -> Path:
        return self.path / _COMPANY_FACTS_FILE

    @property
    def submissions(self) -> Path:
        return self.path / _SUBMISSIONS_FILE

    @property
    def bars(self) -> Path:
        return self.path / BARS_FILE

    @property
    def actions(self) -> Path:
        return self.path / ACTIONS_FILE

    @property
    def securities(self) -> Path:
        return self.path / SECURITIES_FILE

    @property
    def clock_path(self) -> Path:
        """The market's time (see clock.SampleClock); it is set by whoever runs the market."""
        return self.path / "clock"


def prepare(path: Path, seed: int = 20) -> SampleMarket:
    """The sample market of this seed under `path`; made there unless it is there already. Other files are left alone.

    Files appear one by one and complete, the marker last: a run that was interrupted is simply done again.
    """
    market = SampleMarket(path)
    marker = path / _MARKER_FILE
    made_of = json.dumps({"version": VERSION, "seed": seed}) + "\n"
    try:
        if _is_made_of(path, made_of):
            return market
        path.mkdir(parents=True, exist_ok=True)
        marker.unlink(missing_ok=True)
        with TemporaryDirectory(prefix=".making-", dir=path) as folder:
            fresh = Path(folder)
            _write_market(SampleMarket(fresh), seed)
            (fresh / _MARKER_FILE).write_text(made_of, encoding="utf-8", newline="\n")
            for name in (*_FILES, _MARKER_FILE):
                (fresh / name).replace(path / name)
    except OSError as error:
        raise StoreError(
            f"The sample market cannot be written to {path} ({error.strerror}).", "Give a folder that can be written to."
        ) from error
    return market


def _is_made_of(path: Path, made_of: str) -> bool:
    marker = path / _MARKER_FILE
    return (
        marker.is_file() and marker.read_text(encoding="utf-8") == made_of and all((path / name).is_file() for name in _FILES)
    )


def _write_market(market: SampleMarket, seed: int) -> None:
    calendar = xnys()
    sessions = calendar.sessions(FIRST_SESSION, LAST_SESSION)
    mood = market_mood(sessions, seed)
    facts: dict[str, JsonObject] = {}
    submissions: dict[str, JsonObject] = {}
    bars: list[RawBar] = []
    actions: list[RawAction] = []
    for company in COMPANIES:
        quarters = quarterly_statements(company, seed)
        filings = filing_schedule(company, quarters, calendar, LAST_SESSION, seed)
        history = trade(company, quarters, filings, sessions, mood, calendar, seed)
        bars += history.bars
        actions += history.actions
        if company.has_facts:
            facts[f"CIK{company.cik:010d}.json"] = company_facts(company, quarters, filings)
        if company.has_submissions:
            submissions |= company_submissions(company, filings)
    _write_zip(market.companyfacts, facts)
    _write_zip(market.submissions, submissions)
    _write_bars(market.bars, bars)
    _write_csv(market.actions, RawAction._fields, sorted(actions, key=lambda a: (a.session, a.symbol, a.type)))
    _write_securities(market.securities)
    (market.path / _README_FILE).write_text(_README, encoding="utf-8", newline="\n")


def _write_zip(path: Path, documents: Mapping[str, JsonObject]) -> None:
    """Stored, not deflated, and without the day it was made: deflate differs from one zlib to another."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, document in sorted(documents.items()):
            member = zipfile.ZipInfo(name)  # dated 1980-01-01
            member.create_system = 3  # else it tells Windows from Unix
            member.external_attr = 0o644 << 16
            archive.writestr(member, json.dumps(document, separators=(",", ":")))


def _write_bars(path: Path, bars: list[RawBar]) -> None:
    schema = {
        "symbol": pl.String,
        "session": pl.Date,
        "open": pl.Float64,
        "high": pl.Float64,
        "low": pl.Float64,
        "close": pl.Float64,
        "volume": pl.Int64,
    }
    table = pl.DataFrame(bars, schema=schema, orient="row").sort("symbol", "session")
    table.write_parquet(path, compression="zstd", compression_level=3, statistics=False, row_group_size=len(bars))


def _write_securities(path: Path) -> None:
    columns = ["symbol", "cik", "name", "exchange", "con_id", "share_class", "industry", "category", "valid_from", "valid_to"]
    _write_csv(path, columns, map(_security_row, sorted(COMPANIES, key=lambda company: company.symbol)))


def _security_row(company: Company) -> tuple[object, ...]:
    kind = company.industry
    last = company.takeover.delisted if company.takeover else ""  # the delisting is the last that happens to the symbol
    listing = (company.symbol, company.cik, company.name, company.exchange, company.con_id, 0)
    return (*listing, kind.industry, kind.category, FIRST_SESSION, last)


def _write_csv(path: Path, columns: Iterable[str], rows: Iterable[Iterable[object]]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    path.write_text(text.getvalue(), encoding="utf-8", newline="\n")
