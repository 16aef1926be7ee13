"""SimFin's annual statements: from when a restated value counts, whose they are, what is refused, and the figures made of them."""

import zipfile
from datetime import UTC, date, datetime
from pathlib import Path

import polars as pl
import pytest

from tests.real_data import REAL_DATA
from tests.simfin_files import write_simfin, write_statement, year
from tradebot_core.calendar import xnys
from tradebot_core.collectors.file_securities import FileSecurities
from tradebot_core.collectors.simfin import SimFin
from tradebot_core.config import load_config
from tradebot_core.errors import CorruptInput, DataError
from tradebot_core.interfaces import Batch
from tradebot_core.model.tables import FACTS, FUNDAMENTALS, INSTANT, SECURITIES
from tradebot_core.quant.statements import normalise, provenance_of
from tradebot_core.trading.evidence import filing_link
from tradebot_core.wiring import build

REAL = REAL_DATA
real_data = pytest.mark.skipif(not (REAL / "simfin").is_dir(), reason=f"no real data at {REAL} (TRADEBOT_REAL_DATA)")
CIK = 4242
START, END = date(2009, 1, 2), date(2022, 1, 3)


def listing(symbol: str = "ACME", cik: int = CIK, name: str | None = "Acme, Inc.", begins=None, ends=None) -> dict:
    return {"symbol": symbol, "cik": cik, "name": name, "valid_from": begins, "valid_to": ends}


def collect(folder: Path, *listings: dict, end: date = END, **params) -> Batch:
    securities = pl.DataFrame(list(listings) or [listing()], schema=SECURITIES.schema)
    (batch,) = SimFin(SimFin.Params(path=folder, **params), xnys()).collect(securities, START, end)
    return batch


def rules(batch: Batch) -> set[str]:
    return {record.rule for record in batch.rejected} - {"no_statements"}


def fact(batch: Batch, tag: str) -> dict:
    (found,) = batch.rows.filter(tag=tag).to_dicts()
    return found


# From when a value counts -------------------------------------------------------------------------------------------------


def test_a_value_counts_from_the_day_of_the_version_it_is_of_and_not_from_when_the_year_was_first_published(tmp_path):
    revenue = fact(collect(write_simfin(tmp_path, year())), "Revenue")
    assert revenue == {
        "cik": CIK,
        "taxonomy": "simfin",
        "tag": "Revenue",
        "unit": "USD",
        "period_start": date(2015, 1, 1),
        "period_end": date(2015, 12, 31),
        "accession": "simfin-77-income-FY2015-2018-02-28",
        "value": 5000.0,
        "form": "SimFin annual",
        "fiscal_year": 2015,
        "fiscal_period": "FY",
        "filed": date(2018, 2, 28),
        "known_at": datetime(2018, 3, 1, 11, 0, tzinfo=UTC),
    }


def test_who_asks_for_publish_dates_gets_them_and_the_caveat_says_what_decisions_then_saw(tmp_path):
    folder = write_simfin(tmp_path, year())
    revenue = fact(collect(folder, dated_by="published"), "Revenue")
    assert (revenue["filed"], revenue["known_at"]) == (date(2016, 2, 24), datetime(2016, 2, 25, 11, 0, tzinfo=UTC))
    assert SimFin(SimFin.Params(path=folder), xnys()).caveat == SimFin.caveat
    assert "up to two years late" in SimFin.caveat
    published = SimFin(SimFin.Params(path=folder, dated_by="published"), xnys()).caveat
    assert published.startswith("Restated values")
    assert "saw corrections made years later" in published


def test_nothing_later_than_the_cut_off_of_the_end_is_delivered(tmp_path):
    folder = write_simfin(tmp_path, year())
    assert collect(folder, end=date(2018, 2, 28)).rows.is_empty()
    assert fact(collect(folder, end=date(2018, 3, 1)), "Revenue")["value"] == 5000


def test_share_counts_are_those_of_the_latest_year_and_count_from_the_day_whose_split_basis_they_have(tmp_path):
    later = year(Fiscal_Year="2016", Report_Date="2016-12-31", Publish_Date="2017-02-22", Restated_Date="2017-02-22")
    batch = collect(write_simfin(tmp_path, year(), later | {"Shares (Diluted)": "2000000"}))
    shares = fact(batch, "Shares (Diluted)")
    assert (shares["value"], shares["unit"], shares["period_end"]) == (2_000_000, "shares", date(2016, 12, 31))
    assert (shares["filed"], shares["known_at"]) == (date(2021, 4, 3), datetime(2021, 4, 5, 10, 0, tzinfo=UTC))
    assert collect(tmp_path, end=date(2021, 4, 1)).rows.filter(unit="shares").is_empty()


def test_depreciation_is_that_of_the_cash_flow_statement(tmp_path):
    batch = collect(write_simfin(tmp_path, year()))
    assert fact(batch, "Depreciation & Amortization")["accession"] == "simfin-77-cashflow-FY2015-2018-02-28"


def test_the_same_files_give_the_same_rows_in_key_order_whatever_the_order_of_lines(tmp_path):
    other = year(Fiscal_Year="2014", Report_Date="2014-12-31", Publish_Date="2015-02-20", Restated_Date="2017-02-22")
    one, two = (
        collect(write_simfin(tmp_path / name, *rows)) for name, rows in (("a", (year(), other)), ("b", (other, year())))
    )
    assert one.rows.equals(two.rows)
    assert one.rows.equals(one.rows.sort(FACTS.key))
    assert dict(one.rows.schema) == {**FACTS.columns, "known_at": INSTANT}
    assert one.source == "simfin"


@pytest.mark.parametrize(
    ("report", "begins"),
    [("2016-02-29", date(2015, 3, 1)), ("2017-02-28", date(2016, 3, 1)), ("2015-09-30", date(2014, 10, 1))],
)
def test_a_year_begins_twelve_months_before_the_day_after_its_end(tmp_path, report, begins):
    row = year(Report_Date=report, Publish_Date="2017-04-24", Restated_Date="2018-02-28")
    assert fact(collect(write_simfin(tmp_path, row)), "Revenue")["period_start"] == begins


def test_no_link_into_the_archive_of_the_sec_is_made_of_a_vendors_document():
    assert filing_link(CIK, "simfin-77-income-FY2015-2018-02-28") is None
    assert filing_link(CIK, "0000004242-16-000001") == "https://www.sec.gov/Archives/edgar/data/4242/000000424216000001/"


# Whose it is --------------------------------------------------------------------------------------------------------------


def test_a_ticker_is_the_issuer_that_bore_it_when_the_files_were_written(tmp_path):
    folder = write_simfin(tmp_path, year(Ticker="FB"), names={"FB": "FACEBOOK INC"})
    earlier = listing("FB", 1, "FBR Facebook Holdings", date(2000, 1, 3), date(2003, 3, 31))
    facebook = listing("FB", 1326801, "Facebook Inc", date(2012, 5, 18), date(2022, 6, 8))
    later = listing("FB", 3, "Facebook ETF", date(2022, 6, 9), date(2030, 1, 2))
    batch = collect(folder, earlier, facebook, later)
    assert set(batch.rows["cik"]) == {1326801}
    assert {record.record["cik"] for record in batch.rejected if record.rule == "no_statements"} == {1, 3}


def test_a_ticker_of_another_companys_name_is_refused(tmp_path):
    batch = collect(write_simfin(tmp_path, year(), names={"ACME": "ZENITH MINING CORP"}))
    assert batch.rows.is_empty()
    (other,) = (record for record in batch.rejected if record.rule == "other_company")
    assert other.record == {
        "Ticker": "ACME",
        "SimFinId": "77",
        "Company Name": "ZENITH MINING CORP",
        "cik": CIK,
        "name": "Acme, Inc.",
    }


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("ELI LILLY & Co", "Lilly (Eli) & Co."),
        ("McDonald’s CORPORATION", "MCDONALDS CORP"),
        ("THE BOEING COMPANY", "BOEING CO"),
    ],
)
def test_names_agree_however_they_are_written(tmp_path, ours, theirs):
    assert collect(write_simfin(tmp_path, year(), names={"ACME": theirs}), listing(name=ours)).rows[
        "cik"
    ].unique().to_list() == [CIK]


def test_a_dead_company_keeps_its_last_ticker(tmp_path):
    batch = collect(write_simfin(tmp_path, year()), listing(begins=date(2009, 1, 2), ends=date(2019, 6, 28)))
    assert set(batch.rows["cik"]) == {CIK}


def test_an_issuer_the_files_do_not_have_is_named(tmp_path):
    batch = collect(write_simfin(tmp_path, year()), listing(), listing("BANK", 55))
    assert [(r.rule, r.record) for r in batch.rejected] == [("no_statements", {"cik": 55, "symbols": ["BANK"]})]


# What is refused ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "rule"),
    [
        ({"Fiscal Period": "Q1"}, "not_annual"),
        ({"Currency": "dollars"}, "bad_currency"),
        ({"Currency": ""}, "missing_label"),
        ({"Fiscal Year": "FY15"}, "bad_fiscal_year"),
        ({"Report Date": "31.12.2015"}, "unreadable_date"),
        ({"Restated Date": ""}, "unreadable_date"),
        ({"Publish Date": "2015-12-31"}, "published_by_period_end"),
        ({"Publish Date": "2015-11-01"}, "published_by_period_end"),
        ({"Restated Date": "2016-02-23"}, "restated_before_published"),
        ({"Restated Date": "2021-04-04"}, "after_the_archive"),
    ],
)
def test_a_row_that_contradicts_itself_is_refused_in_every_statement(tmp_path, changed, rule):
    batch = collect(write_simfin(tmp_path, year() | changed))
    assert batch.rows.is_empty()
    assert [record.rule for record in batch.rejected if record.rule != "no_statements"] == [rule] * 3
    assert batch.rejected[0].record["file"] == "us-balance-annual.zip"


@pytest.mark.parametrize("written", ["n/a", "NaN", "inf", "1,5"])
def test_a_row_with_a_figure_that_is_no_number_is_refused_whole(tmp_path, written):
    batch = collect(write_simfin(tmp_path, year(Revenue=written)))
    assert batch.rows.filter(pl.col("accession").str.contains("income|shares")).is_empty()
    assert fact(batch, "Total Assets")["value"] == 8000
    (refused,) = batch.rejected
    assert (refused.rule, refused.record["Revenue"]) == ("unreadable_number", written)


def test_a_year_written_twice_is_refused_when_the_two_differ_and_is_one_when_they_do_not(tmp_path):
    assert rules(collect(write_simfin(tmp_path / "a", year(), year()))) == set()
    twice = collect(write_simfin(tmp_path / "b", year(), year(Net_Income="601")))
    assert twice.rows.filter(tag="Revenue").is_empty()
    assert [record.rule for record in twice.rejected] == ["conflicting_rows"] * 2


def test_a_line_with_too_few_values_is_refused_and_the_rest_is_read(tmp_path):
    folder = write_simfin(tmp_path, year(), suffix=".csv")
    income = folder / "us-income-annual.csv"
    income.write_text(income.read_text() + "ACME;77;USD;2016\n")
    batch = collect(folder, archived_on=date(2021, 4, 3))
    assert fact(batch, "Revenue")["value"] == 5000
    assert [(r.rule, r.record["line"]) for r in batch.rejected] == [("malformed", 3)]


def test_a_file_that_ends_in_the_middle_of_a_line_is_not_half_read(tmp_path):
    folder = write_simfin(tmp_path, year(), suffix=".csv")
    income = folder / "us-income-annual.csv"
    income.write_text(income.read_text()[:-3])
    with pytest.raises(CorruptInput, match=r"us-income-annual\.csv ends in the middle of a line"):
        collect(folder, archived_on=date(2021, 4, 3))


def damaged(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[120] ^= 0xFF
    path.write_bytes(content)


@pytest.mark.parametrize(
    "spoil",
    [
        damaged,
        lambda path: path.write_bytes(path.read_bytes()[:60]),
        lambda path: path.write_text("<html>Sign in</html>"),
        lambda path: zipfile.ZipFile(path, "w").close(),
    ],
    ids=["damaged", "truncated", "web page", "empty"],
)
def test_a_zip_that_cannot_be_read_stops_the_collection_by_name(tmp_path, spoil):
    folder = write_simfin(tmp_path, year())
    spoil(folder / "us-income-annual.zip")
    with pytest.raises(CorruptInput, match=r"us-income-annual\.zip"):
        collect(folder)


def test_a_file_without_a_column_that_identifies_rows_is_named_with_it(tmp_path):
    folder = write_simfin(tmp_path, year())
    (folder / "us-companies.csv").write_text("Ticker;SimFinId\nACME;77\n")
    with pytest.raises(CorruptInput, match=r"us-companies\.csv has no column Company Name"):
        collect(folder)


@pytest.mark.parametrize("name", ["us-balance-annual.zip", "us-companies.csv"])
def test_a_file_that_is_not_there_is_named(tmp_path, name):
    folder = write_simfin(tmp_path, year())
    (folder / name).unlink()
    with pytest.raises(DataError, match=name):
        collect(folder)


def test_unpacked_files_need_the_day_on_which_they_were_written(tmp_path):
    folder = write_simfin(tmp_path, year(), suffix=".csv")
    with pytest.raises(DataError, match="archived_on"):
        collect(folder)


# The figures --------------------------------------------------------------------------------------------------------------


def test_the_figures_of_a_year_are_made_of_simfins_columns_alone(tmp_path):
    facts = collect(write_simfin(tmp_path, year())).rows
    row = normalise(facts, "Acme").row(-1, named=True)
    made = {name: value for name, value in row.items() if isinstance(value, float)}
    assert (row["period_end"], row["form"], row["shares_basis_date"]) == (date(2015, 12, 31), "SimFin annual", date(2021, 4, 3))
    assert made == {
        "revenue_ttm": 5000,
        "gross_profit_ttm": 2000,
        "operating_income_ttm": 800,  # 900 before a charge of 100 that SimFin takes out
        "net_income_ttm": 600,
        "operating_cash_flow_ttm": 850,
        "capital_expenditure_ttm": 250,
        "free_cash_flow_ttm": 600,
        "assets": 8000,
        "current_assets": 2500,
        "liabilities": 5000,
        "current_liabilities": 1100,
        "equity": 3000,
        "debt": 1500,
        "long_term_borrowings": 1200,
        "shares_diluted": 1_000_000,
    }
    assert provenance_of(row, "operating_income_ttm").rule == "vendor_adjusted_operating_income plus vendor_abnormal_gains"
    assert "no fact in USD under us-gaap:Cash" in (provenance_of(row, "cash").reason or "")


def test_a_bank_has_no_current_assets_and_the_reason_says_so(tmp_path):
    folder = write_simfin(tmp_path, year(Ticker="OTHR", SimFinId="78"))
    bank = year(Ticker="BANK", SimFinId="79") | {
        "Total Current Assets": "",
        "Total Current Liabilities": "",
        "Gross Profit": "",
    }
    for kind in ("income", "balance", "cashflow"):
        write_statement(folder / f"us-{kind}-banks-annual.zip", kind, [bank])
    companies = folder / "us-companies.csv"
    companies.write_text(companies.read_text() + 'BANK;79;"FIRST BANK";104002\n')
    row = normalise(collect(folder, listing("BANK", 55, "First Bank")).rows, "First Bank").row(-1, named=True)
    assert (row["revenue_ttm"], row["assets"], row["current_assets"]) == (5000, 8000, None)
    assert (provenance_of(row, "current_assets").reason or "").startswith("no fact in USD under us-gaap:AssetsCurrent")


def test_a_filer_without_capital_expenditure_is_told_of_its_own_tags_and_not_of_another_vendors(tmp_path):
    facts = collect(write_simfin(tmp_path, year())).rows.filter(tag="Revenue")
    own = facts.with_columns(taxonomy=pl.lit("us-gaap"), tag=pl.lit("Revenues"))
    reason = provenance_of(normalise(own, "Acme").row(-1, named=True), "capital_expenditure_ttm").reason or ""
    assert "us-gaap:PaymentsToAcquirePropertyPlantAndEquipment" in reason
    assert "vendor" not in reason


@real_data
def test_the_real_archive_has_the_known_answers_from_the_day_their_version_was_published():
    master = FileSecurities(FileSecurities.Params(path=REAL / "edgar" / "securities.csv"), xnys())
    (securities,) = master.collect(pl.DataFrame(), START, END)
    (batch,) = SimFin(SimFin.Params(path=REAL / "simfin"), xnys()).collect(securities.rows, START, END)

    def answer(cik: int, tag: str, fiscal_year: int) -> tuple[float, date]:
        found = batch.rows.filter(cik=cik, tag=tag, fiscal_year=fiscal_year).row(0, named=True)
        return found["value"], found["filed"]

    assert answer(320193, "Revenue", 2015) == (233_715e6, date(2017, 11, 3))
    assert answer(80424, "Net Income", 2015) == (7_036e6, date(2017, 8, 7))
    assert answer(21344, "Revenue", 2015) == (44_294e6, date(2018, 2, 23))
    assert answer(18230, "Total Assets", 2019)[0] == 78_453e6
    assert batch.rows["cik"].n_unique() == 34
    refused = [record for record in batch.rejected if record.rule == "published_by_period_end"]
    assert {record.record["Ticker"] for record in refused} == {"HD"}  # 4 years of 3 statements
    assert len(refused) == 12


@real_data
def test_the_example_configuration_gives_figures_from_simfin_alone(tmp_path, monkeypatch):
    monkeypatch.setenv("TRADEBOT_REAL_DATA", str(REAL))
    example = (Path(__file__).parents[2] / "examples" / "simfin.yaml").read_text()
    path = tmp_path / "simfin.yaml"
    path.write_text(example.replace("./data/simfin", str(tmp_path / "store")))
    bot = build(load_config(path), path)
    asked = date(2018, 12, 31)
    bot.collect("contract_details", asked, asked)
    bot.collect("fundamentals", asked, asked)
    apple = bot.store.read(FUNDAMENTALS, as_of=xnys().cutoff(asked)).filter(cik=320193).row(-1, named=True)
    assert (apple["period_end"], apple["revenue_ttm"], apple["revenue_ttm_1y"]) == (date(2018, 9, 30), 265_595e6, 229_234e6)
    assert (apple["equity"], apple["shares_diluted"]) == (107_147e6, None)
    assert "saw corrections" in bot.collectors["fundamentals"].caveat
