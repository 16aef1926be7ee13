"""IBKR's reports as records and as rows of FACTS: units, signs, periods, and since when each number was known."""

from datetime import UTC, date, datetime

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.ibkr.reports import CIK, SUMMARY, annual, period, snapshot, statement, statements
from tests.real_data import REAL_DATA
from tradebot_core.calendar import xnys
from tradebot_core.collectors.edgar import EdgarFacts
from tradebot_core.ibkr.reports.facts import Seen, fact_rows
from tradebot_core.ibkr.reports.reader import read_report
from tradebot_core.ibkr.reports.record import Report, ReportType, months_to
from tradebot_core.ibkr.reports.safe_xml import Document
from tradebot_core.ibkr.reports.statements import DILUTED_EPS
from tradebot_core.interfaces import Batch
from tradebot_core.model.fundamentals import FIGURES
from tradebot_core.model.tables import FACTS, FUNDAMENTALS, INSTANT
from tradebot_core.quant.statements import normalise, normalise_many, provenance_of
from tradebot_core.schemas import validate
from tradebot_core.stores.file_store import FileStore
from tradebot_core.trading.collection import refresh_fundamentals

REAL = REAL_DATA
CAT_FILE, AMD_FILE = REAL / "ibkr/CAT_ReportsFinStatements_2020-11.xml", REAL / "ibkr/AMD_ReportSnapshot_2025-08.xml"
needs_real_reports = pytest.mark.skipif(not CAT_FILE.exists(), reason=f"no real reports in {REAL}/ibkr (TRADEBOT_REAL_DATA)")
M = 1_000_000


def read(text: str) -> Report:
    return read_report(Document.of("x.xml", text.encode()))


def values(report: Report) -> dict[str, float]:
    return {item.tag: item.value for item in report.items}


def rows(*reports: tuple[str, datetime]) -> pl.DataFrame:
    seen = [Seen(read(text), at, "x.xml", f"{n}") for n, (text, at) in enumerate(reports)]
    found, rejected = fact_rows(CIK, seen, xnys())
    assert rejected == []
    return found


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)


FETCHED = utc(2024, 3, 1, 23)


# Units and signs


def test_money_and_shares_leave_the_millions_exactly_and_signs_stay():
    items = {"RTLR": "53800.000001", "SCEX": "-2669.000000", "SDWS": "567.500000", "SDBF": "10.422910"}
    report = read(statements(period(statement("INC", items))))
    assert values(report) == {"RTLR": 53_800_000_001.0, "SCEX": -2_669_000_000.0, "SDWS": 567_500_000.0, "SDBF": 10.42291}
    assert {item.tag: item.unit for item in report.items} == {
        "RTLR": "USD",
        "SCEX": "USD",
        "SDWS": "shares",
        "SDBF": "USD/shares",
    }


@given(st.integers(-(10**15), 10**15), st.integers(0, 999_999))
def test_the_millions_are_multiplied_as_decimals(whole, part):
    report = read(statements(period(statement("INC", {"RTLR": f"{whole}.{part:06d}"}))))
    sign = -1 if whole < 0 else 1
    expected = whole * M + sign * part
    assert values(report) == ({"RTLR": float(expected)} if f"{whole}.{part:06d}" != "-99999.990000" else {})


def test_a_report_in_another_currency_says_so_in_its_unit():
    (item,) = read(statements(period(statement("INC", {"RTLR": "5"})), currency="EUR")).items
    assert (item.unit, item.value) == ("EUR", 5.0 * M)


@pytest.mark.parametrize("text", ["", "  ", "-99999.99", "-99999.99000"])
def test_what_is_missing_is_no_item_and_never_zero(text):
    report = read(statements(period(statement("INC", {"RTLR": text, "NINC": "0.0"}))))
    assert values(report) == {"NINC": 0.0}
    assert report.rejected == ()


@pytest.mark.parametrize("text", ["NaN", "Infinity", "1e9", "1,000", "0x10", "five", "1" * 40, "--1"])
def test_what_is_not_a_plain_number_is_refused_and_the_rest_goes_on(text):
    report = read(statements(period(statement("INC", {"RTLR": text, "NINC": "7"}))))
    assert values(report) == {"NINC": 7.0 * M}
    assert [(r.rule, r.record["item"], r.record["period"]) for r in report.rejected] == [("not_a_number", "RTLR", "2023-12-31")]


def test_an_item_that_the_map_does_not_count_in_money_is_refused():
    report = read(statements(period(statement("INC", {"XRAT": "5", "ABSENT": "1"})), coa={"XRAT": "4"}))
    assert [(r.rule, r.record["item"]) for r in report.rejected] == [("unknown_unit", "XRAT"), ("unknown_unit", "ABSENT")]
    assert report.items == ()


def test_earnings_a_share_are_those_of_the_filing_not_those_without_what_the_vendor_calls_extraordinary():
    report = read(statements(period(statement("INC", {"SDNI": "754.0", "SDWS": "599.3", "SDBF": "5.21442"})), coa={}))
    assert values(report)[DILUTED_EPS] == pytest.approx(1.258, abs=0.0005)
    assert DILUTED_EPS not in values(read(statements(period(statement("INC", {"SDNI": "754.0"})))))


def test_of_two_values_of_one_item_in_one_statement_none_is_chosen():
    text = statements(period(statement("INC", {"SDNI": "2", "SDWS": "1", "NINC": "3"}))).replace(
        '<lineItem coaCode="SDNI">2</lineItem>', '<lineItem coaCode="SDNI">2</lineItem><lineItem coaCode="SDNI">4</lineItem>'
    )
    report = read(text)
    assert values(report) == {"SDWS": 1.0 * M, "NINC": 3.0 * M}
    assert [(r.rule, r.record["item"]) for r in report.rejected] == [("conflicting_values", "SDNI")]


# Periods


@pytest.mark.parametrize(
    ("end", "length", "unit", "start"),
    [
        ("2020-09-30", 3, "M", "2020-07-01"),
        ("2020-09-30", 9, "M", "2020-01-01"),
        ("2020-12-31", 12, "M", "2020-01-01"),
        ("2024-02-29", 12, "M", "2023-03-01"),
        ("2024-12-28", 52, "W", "2023-12-31"),
        ("2025-06-28", 26, "W", "2024-12-29"),
        ("2024-03-30", 13, "W", "2023-12-31"),
    ],
)
def test_a_period_begins_as_many_months_or_weeks_before_its_end_as_the_statement_says(end, length, unit, start):
    text = statements(period(statement("CAS", {"NINC": "1"}, length=length, unit=unit, of=end, filed="2025-08-06"), end=end))
    (item,) = read(text).items
    assert (item.period_start, item.period_end) == (date.fromisoformat(start), date.fromisoformat(end))


@given(st.dates(date(1990, 1, 1), date(2040, 1, 1)), st.integers(1, 24))
def test_so_many_months_last_as_long_as_so_many_months_do(end, months):
    days = (end - months_to(end, months)).days + 1
    assert 28 * months <= days <= 31 * months
    assert abs(days - 30.44 * months) <= 3.5


def test_a_balance_has_no_beginning_and_an_income_statement_without_length_is_refused():
    (item,) = read(statements(period(statement("BAL", {"ATOT": "9"}, length=None)))).items
    assert item.period_start is None
    report = read(statements(period(statement("INC", {"RTLR": "9"}, length=None))))
    assert ([r.rule for r in report.rejected], report.items) == (["no_period"], ())


@pytest.mark.parametrize(("length", "unit"), [(0, "M"), (25, "M"), (107, "W"), (3, "Y"), (3, "")])
def test_a_length_that_no_statement_has_is_refused(length, unit):
    text = statement("INC", {"RTLR": "9"}, length=length or None, unit=unit)
    report = read(
        statements(period(text.replace("<UpdateType", "<PeriodLength>0</PeriodLength><UpdateType") if not length else text))
    )
    assert ([r.rule for r in report.rejected], report.items) == (["no_period"], ())


def test_a_statement_that_names_no_source_is_refused_since_nothing_says_when_it_was_known():
    report = read(annual().replace('<Source Date="2024-02-15">10-K</Source>', "<Source>10-K</Source>"))
    assert ([r.rule for r in report.rejected], report.items) == (["no_source"], ())


def test_a_source_dated_before_the_end_of_its_period_is_refused():
    report = read(annual(filed="2023-11-01"))
    assert ([r.rule for r in report.rejected], report.items) == (["filed_before_period_end"], ())


# Since when it was known


def test_a_statement_as_first_filed_was_known_from_the_session_after_its_source():
    found = rows((annual(), FETCHED))
    assert dict(found.schema) == {**FACTS.columns, "known_at": INSTANT}
    assert found.to_dicts() == [
        {
            "cik": CIK,
            "taxonomy": "ibkr",
            "tag": "RTLR",
            "unit": "USD",
            "period_start": date(2023, 1, 1),
            "period_end": date(2023, 12, 31),
            "accession": "ibkr-1001-10-K-2024-02-15",
            "value": 100.0 * M,
            "form": "10-K",
            "fiscal_year": 2023,
            "fiscal_period": "FY",
            "filed": date(2024, 2, 15),
            "known_at": utc(2024, 2, 16, 11),  # 06:00 New York
        }
    ]


@pytest.mark.parametrize("heading", [{"update": "RES"}, {"update": "CLA"}, {"update": "XYZ"}, {"of": "2024-12-31"}, {"of": ""}])
def test_a_restated_statement_counts_from_when_we_first_saw_it(heading):
    found = rows((annual(**heading), FETCHED))
    assert found["known_at"].to_list() == [FETCHED]
    assert found["filed"].to_list() == [date(2024, 2, 15)]


def test_a_restated_statement_seen_on_the_evening_of_its_filing_counts_from_the_next_session():
    found = rows((annual(update="RES", filed="2024-03-01"), FETCHED))
    assert found["known_at"].to_list() == [utc(2024, 3, 4, 11)]


def test_a_fourth_quarter_that_the_vendor_calculated_is_known_with_the_annual_report():
    text = statements(
        interim=[period(statement("INC", {"RTLR": "30"}, length=3, update="UCA"), number=4)],
    )
    found = rows((text, FETCHED))
    assert found.select("period_start", "fiscal_period", "known_at").rows() == [(date(2023, 10, 1), "Q4", utc(2024, 2, 16, 11))]


def test_a_number_that_changed_between_two_reports_is_a_later_version_and_the_first_stays():
    later = utc(2024, 6, 3, 21)
    found = rows((annual("100.0"), FETCHED), (annual("100.0"), utc(2024, 4, 1)), (annual("101.5"), later))
    assert found.select("accession", "value", "known_at").rows() == [
        ("ibkr-1001-10-K-2024-02-15", 100.0 * M, utc(2024, 2, 16, 11)),
        ("ibkr-1001-10-K-2024-02-15+20240603T210000Z", 101.5 * M, later),
    ]


def test_the_rows_do_not_depend_on_the_order_in_which_the_files_were_found():
    seen = [
        Seen(read(annual(value)), utc(2024, month, 1), "x", value) for month, value in ((3, "100.0"), (4, "90.0"), (5, "100.0"))
    ]
    forward, _ = fact_rows(CIK, seen, xnys())
    backward, _ = fact_rows(CIK, seen[::-1], xnys())
    assert forward.equals(backward)
    assert forward.sort("known_at")["value"].to_list() == [100.0 * M, 90.0 * M, 100.0 * M]


def test_a_balance_that_differs_between_the_annual_and_the_interim_part_is_refused():
    one, other = (
        period(statement("BAL", {"ATOT": value, "NINC": "1"}, length=None), number=number)
        for value, number in (("9", None), ("8", 4))
    )
    found, rejected = fact_rows(CIK, [Seen(read(statements(one, interim=[other])), FETCHED, "x", "s")], xnys())
    assert found["tag"].to_list() == ["NINC"]
    assert [(r.rule, r.record["item"], r.record["value"]) for r in rejected] == [("conflicting_versions", "ATOT", 8.0 * M)]


def test_share_counts_of_filings_before_a_split_are_refused_since_nothing_says_which_basis_they_have():
    text = statements(period(statement("INC", {"RTLR": "1", "SDWS": "2", "SDNI": "3", "SDBF": "4"})), split="2024-02-16")
    found, rejected = fact_rows(CIK, [Seen(read(text), FETCHED, "x", "s")], xnys())
    assert found["tag"].to_list() == ["RTLR", "SDNI"]
    assert {(r.rule, r.record["item"]) for r in rejected} == {
        ("share_basis_unknown", tag) for tag in ("SDWS", "SDBF", DILUTED_EPS)
    }


def test_a_filing_date_outside_the_calendar_is_refused():
    found, rejected = fact_rows(CIK, [Seen(read(annual(filed="2099-01-01")), FETCHED, "x", "s")], xnys())
    assert (found.height, [r.rule for r in rejected]) == (0, ["filed_outside_calendar"])


# Snapshot and summary


def test_a_snapshot_gives_shares_float_and_employees_and_none_of_the_vendors_ratios():
    found = rows((snapshot(), FETCHED))
    assert found.select("tag", "unit", "period_end", "value", "filed", "known_at").rows() == [
        ("Employees", "pure", date(2023, 12, 31), 50.0, date(2024, 2, 20), FETCHED),
        ("SharesOut", "shares", date(2024, 1, 31), 1e6, date(2024, 2, 20), FETCHED),
        ("TotalFloat", "shares", date(2024, 1, 31), 9e5, date(2024, 2, 20), FETCHED),
    ]
    assert set(found["accession"]) == {"ibkr-1001-ReportSnapshot-2024-02-20"}


def test_the_same_snapshot_with_newer_prices_adds_nothing():
    once = rows((snapshot(), FETCHED))
    assert rows((snapshot(), FETCHED), (snapshot() + "<!-- another day -->", utc(2024, 3, 2))).equals(once)


def test_counts_of_nothing_are_refused_and_a_sentinel_is_missing():
    report = read(snapshot(shares="0.0", free="-99999.99", employees="-5"))
    assert report.items == ()
    assert [(r.rule, r.record["item"]) for r in report.rejected] == [
        ("not_positive", "Employees"),
        ("not_positive", "SharesOut"),
    ]


def test_a_summary_is_in_plain_units_and_keeps_its_kinds_of_report_apart():
    report = read(SUMMARY)
    assert (report.type, report.cik, report.made_on) == (ReportType.SUMMARY, None, None)
    assert [(i.tag, i.unit, i.period_start, i.period_end, i.value) for i in report.items] == [
        ("EPS_R", "USD/shares", date(2023, 7, 1), date(2024, 6, 30), 6.6),
        ("EPS_R", "USD/shares", date(2024, 4, 1), date(2024, 6, 30), 1.4),
        ("EPS_R", "USD/shares", date(2022, 10, 1), date(2022, 12, 31), 1.89),  # a line feed stands in its date
        ("DividendPerShare_P", "USD/shares", date(2024, 4, 1), date(2024, 6, 30), 0.25),
        ("TotalRevenue_A", "USD", date(2022, 10, 1), date(2023, 9, 30), 383_285_000_000.0),
        ("TotalRevenue_TTM", "USD", date(2023, 7, 1), date(2024, 6, 30), 385_603_000_000.0),
    ]


def test_a_summary_names_no_filing_and_counts_from_when_it_was_received():
    found = rows((SUMMARY, utc(2024, 10, 1)), (SUMMARY, utc(2024, 11, 1)))
    assert found.height == 6
    assert set(found["accession"]) == {"ibkr-1001-ReportsFinSummary"}
    assert set(found["known_at"]) == {utc(2024, 10, 1)}
    assert set(found["filed"]) == {date(2024, 9, 30)}  # the New York day


# The real reports


@pytest.fixture(scope="module")
def cat() -> pl.DataFrame:
    document = Document.at(CAT_FILE)
    report = read_report(document)
    assert (report.type, report.cik, report.company_name) == (ReportType.STATEMENTS, 18230, "Caterpillar Inc.")
    assert (report.made_on, report.split_on, report.rejected) == (date(2020, 11, 4), date(2005, 7, 14), ())
    seen = Seen(report, xnys().date_only_known_at(report.made_on), CAT_FILE.name, document.sha256)
    found, rejected = fact_rows(18230, [seen], xnys())
    # The annual part has the capital leases in it, the interim part beside it.
    assert [(r.rule, r.record["item"], r.record["period_end"]) for r in rejected] == [
        ("conflicting_versions", "LLTD", "2019-12-31")
    ]
    return found


def of_year(facts: pl.DataFrame, year: int) -> dict[str, tuple[float, date, datetime]]:
    """tag -> value, filed, known_at of the fiscal year's flows and of the balance at its end."""
    annual_rows = facts.filter(
        (pl.col("period_end") == date(year, 12, 31))
        & (pl.col("period_start").is_null() | (pl.col("period_start") == date(year, 1, 1)))
    )
    return {row["tag"]: (row["value"], row["filed"], row["known_at"]) for row in annual_rows.iter_rows(named=True)}


@needs_real_reports
def test_caterpillar_2019_is_what_its_filing_says_and_was_known_the_session_after(cat):
    found = of_year(cat, 2019)
    expected = {
        "RTLR": 53_800 * M,
        "NINC": 6_093 * M,
        "ATOT": 78_453 * M,
        "QTLE": 14_588 * M,
        "ACAE": 8_284 * M,
        "OTLO": 6_912 * M,
        "SCEX": -2_669 * M,
        "SDWS": 567.5 * M,
        "QTCO": 550_082_610.0,
    }
    assert {tag: found[tag][0] for tag in expected} == expected
    assert {found[tag][1:] for tag in expected} == {(date(2020, 2, 19), utc(2020, 2, 20, 11))}
    assert found[DILUTED_EPS][0] == pytest.approx(10.74, abs=0.005)
    assert found["SDBF"][0] == 10.42291  # not what the filing says


@needs_real_reports
def test_caterpillar_2017_as_reclassified_a_year_later_is_not_known_before_the_report_was_seen(cat):
    found = of_year(cat, 2017)
    assert found["RTLR"] == (45_462.0 * M, date(2019, 2, 14), utc(2020, 11, 5, 11))
    assert found["ATOT"] == (76_962.0 * M, date(2018, 2, 15), utc(2018, 2, 16, 11))  # the balance was not touched


@needs_real_reports
def test_interim_cash_flows_are_to_date_and_interim_income_is_of_the_quarter(cat):
    third = cat.filter(pl.col("period_end") == date(2020, 9, 30))
    starts = dict(third.filter(pl.col("tag").is_in(["RTLR", "OTLO"])).select("tag", "period_start").iter_rows())
    assert starts == {"RTLR": date(2020, 7, 1), "OTLO": date(2020, 1, 1)}


@needs_real_reports
def test_the_facts_of_the_real_reports_fit_their_schema(cat):
    assert validate("facts", cat.with_columns(source=pl.lit("ibkr"), ingested_at=pl.col("known_at"))) == []


@needs_real_reports
def test_caterpillar_normalised_has_every_figure_a_report_can_have(cat):
    row = normalise(cat, "Caterpillar Inc.").row(-1, named=True)
    assert (row["period_end"], row["form"], row["accession"]) == (date(2020, 9, 30), "10-Q", "ibkr-18230-10-Q-2020-11-04")
    assert row["known_at"] == utc(2020, 11, 5, 11)
    expected = {
        "revenue_ttm": (13_144 + 10_635 + 9_997 + 9_881) * M,
        "net_income_ttm": (1_098 + 1_092 + 458 + 668) * M,
        "operating_cash_flow_ttm": (6_912 + 4_255 - 4_478) * M,
        "capital_expenditure_ttm": (2_669 + 1_491 - 1_856) * M,  # a payment: positive
        "free_cash_flow_ttm": (6_689 - 2_304) * M,
        "assets": 76_741 * M,
        "liabilities": (61_792 - 45) * M,  # without the minorities' share
        "current_assets": 38_534 * M,
        "current_liabilities": 24_978 * M,
        "equity": 14_949 * M,
        "cash": 9_315 * M,
        "debt": 38_126 * M,
        "shares_outstanding": 543_258_280.0,
        "shares_diluted": 546.4 * M,
    }
    assert {name: row[name] for name in expected} == expected
    capex = provenance_of(row, "capital_expenditure_ttm")
    assert capex.rule == "less vendor_capital_outflow"
    assert {fact.accession for fact in capex.inputs} == {
        "ibkr-18230-10-K-2020-02-19",
        "ibkr-18230-10-Q-2020-11-04",
        "ibkr-18230-10-Q-2019-10-31",
    }


@needs_real_reports
def test_what_a_backtest_of_early_2020_sees_of_caterpillar_is_the_annual_report_of_2019(cat):
    known = normalise(cat, "Caterpillar Inc.").filter(pl.col("known_at") <= utc(2020, 2, 20, 23)).row(-1, named=True)
    assert (known["period_end"], known["revenue_ttm"]) == (date(2019, 12, 31), 53_800.0 * M)
    assert known["revenue_ttm_3y"] is None  # 2016 is there as reclassified in 2019, and was first seen in November 2020


_SAME_IN_EDGAR = {
    "RTLR": "Revenues",
    "SOPI": "OperatingIncomeLoss",
    "OTLO": "NetCashProvidedByUsedInOperatingActivities",
    "ATOT": "Assets",
    "LTCL": "LiabilitiesCurrent",
    "SDWS": "WeightedAverageNumberOfDilutedSharesOutstanding",
    "AITL": "InventoryNet",
    "LTTD": "LongTermDebtNoncurrent",
}


@needs_real_reports
def test_caterpillars_report_agrees_with_its_filings_at_the_sec(cat):
    """Every value, against the value of the same tag, period and filing date in companyfacts."""
    collector = EdgarFacts(EdgarFacts.Params(path=REAL / "edgar/companyfacts.zip", tags=tuple(_SAME_IN_EDGAR.values())), xnys())
    securities = pl.DataFrame({"cik": [18230]})
    (batch,) = collector.collect(securities, date(2020, 11, 6), date(2020, 11, 6))
    tags = pl.DataFrame(list(_SAME_IN_EDGAR.items()), schema=["tag", "sec_tag"], orient="row")
    ours = cat.join(tags, on="tag")
    both = ours.join(
        batch.rows.select(
            "period_start", "period_end", "filed", sec_tag="tag", sec_value="value", sec_form="form", sec_known_at="known_at"
        ),
        on=["sec_tag", "period_start", "period_end", "filed"],
        nulls_equal=True,
    )
    differing = both.filter(pl.col("value") != pl.col("sec_value")).select("tag", "period_end", "filed", "value", "sec_value")
    # One of 72: the vendor moves 85 M out of the operating income of 2017 as the filing of 2019 has it.
    assert differing.rows() == [("SOPI", date(2017, 12, 31), date(2019, 2, 14), 4_545.0 * M, 4_460.0 * M)]
    assert dict(both.group_by("tag").len().iter_rows()) == {
        **dict.fromkeys(["AITL", "ATOT", "LTCL", "SDWS", "SOPI"], 10),
        "RTLR": 11,
        "LTTD": 6,
        "OTLO": 5,
    }
    assert both.filter(pl.col("form") != pl.col("sec_form")).is_empty()
    assert both.filter(pl.col("known_at") < pl.col("sec_known_at")).is_empty()


@needs_real_reports
def test_amds_snapshot_has_the_known_answers():
    report = read_report(Document.at(AMD_FILE))
    assert (report.type, report.cik, report.company_name) == (ReportType.SNAPSHOT, 2488, "Advanced Micro Devices Inc")
    assert report.industry == "Semiconductors (NEC)"
    assert report.made_on == date(2025, 8, 20)
    assert values(report) == {"Employees": 28_000.0, "SharesOut": 1_622_843_689.0, "TotalFloat": 1_614_630_323.0}
    ratios = report.ratios
    assert ratios["TTMREV"] == 29_600 * M == (25_785 + 15_123 - 11_308) * M
    assert round(ratios["QBVPS"], 2) == 36.78
    assert (ratios["NPRICE"], round(ratios["PRICE2BK"], 3)) == (165.20, 4.491)
    assert ratios["NPRICE"] / ratios["QBVPS"] == pytest.approx(ratios["PRICE2BK"], abs=1e-4)
    assert ratios["MKTCAP"] == pytest.approx(ratios["NPRICE"] * values(report)["SharesOut"], rel=1e-6)
    assert "TargetPrice" not in ratios and "ProjPE" not in ratios


@needs_real_reports
def test_amds_filings_give_the_trailing_revenue_and_book_value_of_its_snapshot_and_the_snapshot_what_they_lack():
    report = read_report(Document.at(AMD_FILE))
    collector = EdgarFacts(EdgarFacts.Params(path=REAL / "edgar/companyfacts.zip"), xnys())
    (batch,) = collector.collect(pl.DataFrame({"cik": [2488]}), date(2025, 8, 21), date(2025, 8, 21))
    seen = Seen(report, xnys().date_only_known_at(report.made_on), AMD_FILE.name, "")
    facts, _ = fact_rows(2488, [seen], xnys())
    row = normalise(pl.concat([batch.rows, facts]), "Advanced Micro Devices").row(-1, named=True)
    assert row["revenue_ttm"] == report.ratios["TTMREV"]
    # The vendor divides by the shares of the balance sheet's day, we have those of the cover page, a month later.
    assert row["equity"] / row["shares_outstanding"] == pytest.approx(report.ratios["QBVPS"], abs=0.02)
    assert row["shares_outstanding"] == 1_622_843_689
    assert (row["float_shares"], row["employees"]) == (1_614_630_323, 28_000)
    assert provenance_of(row, "shares_outstanding").inputs[0].taxonomy == "dei"  # the filing's before the vendor's
    assert provenance_of(row, "float_shares").inputs[0].accession == "ibkr-2488-ReportSnapshot-2025-08-06"


@needs_real_reports
def test_the_report_changes_no_figure_that_the_filings_have_and_fills_in_those_they_lack_here(cat):
    """The SEC's file of Caterpillar in the data has 16 tags: no equity, no current assets."""
    collector = EdgarFacts(EdgarFacts.Params(path=REAL / "edgar/companyfacts.zip"), xnys())
    (batch,) = collector.collect(pl.DataFrame({"cik": [18230]}), date(2020, 11, 6), date(2020, 11, 6))
    # The latest filing is known at both sources from here on.
    filings = normalise(batch.rows, "Caterpillar").row(-1, named=True)
    both = normalise(pl.concat([batch.rows, cat]), "Caterpillar").row(-1, named=True)
    assert filings["period_end"] == both["period_end"] == date(2020, 9, 30)
    known = [name for name in FIGURES if filings[name] is not None]
    assert {"revenue_ttm", "assets", "operating_income_ttm", "revenue_ttm_3y"} <= set(known)
    assert {name: both[name] for name in known} == {name: filings[name] for name in known}
    filled = {name for name in FIGURES if filings[name] is None and both[name] is not None}
    assert {"equity", "current_assets", "liabilities"} <= filled
    assert all(fact.taxonomy == "ibkr" for fact in provenance_of(both, "equity").inputs)


@needs_real_reports
def test_the_report_goes_into_the_store_and_comes_out_as_fundamentals(cat, tmp_path):
    store, now = FileStore(tmp_path, xnys()), utc(2020, 12, 1)
    assert store.append(Batch(FACTS, cat, "ibkr_reports"), now) == cat.height
    securities = pl.DataFrame({"cik": [18230], "name": ["Caterpillar Inc."]})
    assert refresh_fundamentals(store, normalise_many, securities, now, now) > 3
    found = store.read(FUNDAMENTALS, as_of=now)
    assert validate("fundamentals", found) == []
    assert found.row(-1, named=True)["revenue_ttm"] == 43_657 * M


def test_employees_are_counted_once_a_year_and_stand_until_the_next_count():
    quarters = [
        period(statement("INC", {"RTLR": "1"}, length=3, of=end, filed=filed, source="10-Q"), end=end, number=number)
        for number, end, filed in ((1, "2024-03-31", "2024-05-01"), (3, "2024-09-30", "2024-11-01"))
    ]
    facts = rows((snapshot(), FETCHED), (statements(interim=quarters, modified="2024-11-05"), utc(2024, 11, 5)))
    found = normalise(facts, "Alpha")
    assert found.select("period_end", "employees").rows() == [(date(2024, 3, 31), 50.0), (date(2024, 9, 30), 50.0)]
    assert found.row(-1, named=True)["shares_outstanding"] is None  # of January: too old for September


def test_how_often_a_vendor_repeats_a_number_does_not_make_a_filings_tag_incidental():
    """Many versions of one number of the report beside one of the filing."""
    versions = [(annual(f"{n}.0"), utc(2024, 3, n)) for n in range(1, 10)]
    ours = rows(*versions).with_columns(tag=pl.lit("SOPI"))
    filing = ours.head(1).with_columns(
        taxonomy=pl.lit("us-gaap"),
        tag=pl.lit("OperatingIncomeLoss"),
        accession=pl.lit("0000000042-24-000001"),
        value=pl.lit(77.0),
    )
    row = normalise(pl.concat([ours, filing]), "Alpha").row(-1, named=True)
    assert row["operating_income_ttm"] == 77.0
