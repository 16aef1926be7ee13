"""What the figures of a company cannot be, each planted once; and a company in good order, which nothing may stop."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.markets import filing
from tradebot_core.config import QualitySettings
from tradebot_core.model.fundamentals import FIGURES
from tradebot_core.model.tables import FUNDAMENTALS
from tradebot_core.quant.quality import KEY_FIGURES, RULES, Kind, blocks, findings, without_doubted
from tradebot_core.quant.reporting import REPORTING_COLUMNS, needed_since, remembered, with_reporting

ON = QualitySettings()
QUARTERS = [date(2022, 12, 31), date(2023, 3, 31), date(2023, 6, 30), date(2023, 9, 30), date(2023, 12, 31)]
LAG = timedelta(days=40)
# Each quarter a little larger: figures that repeat are a finding.
GROWTH = [1.0, 1.02, 1.04, 1.06, 1.08]
SCALED = ("revenue_ttm", "net_income_ttm", "assets", "liabilities", "equity")
SESSION = date(2024, 2, 20)


def reports(scale: float = 1.0, symbol: str = "GOOD", **last: float | None) -> list[dict[str, Any]]:
    """Five quarterly reports of a company in good order; `last` are the figures changed in the fifth."""
    rows = []
    for end, growth in zip(QUARTERS, GROWTH, strict=True):
        row = filing(symbol, end, datetime(end.year, end.month, end.day, 21, tzinfo=UTC) + LAG)
        figures = {name: row[name] * scale for name in FIGURES if row[name] is not None}
        row |= figures | {name: figures[name] * growth for name in SCALED} | {"shares_diluted": 1.02e8 * scale}
        rows.append(row | {"form": "10-K" if end.month == 12 else "10-Q"})
    rows[-1] |= last
    return rows


def panel(rows: list[dict[str, Any]], session: date = SESSION, price: float = 60.0) -> pl.DataFrame:
    """The panel's row of the session, as far as the rules read it."""
    frame = pl.DataFrame([{name: row.get(name) for name in FUNDAMENTALS.schema} for row in rows], schema=FUNDAMENTALS.schema)
    last = with_reporting(frame).tail(1)
    shares = pl.coalesce("shares_outstanding", "shares_diluted")
    return last.with_columns(
        session=pl.lit(session),
        security_id=pl.lit(1, pl.Int64),
        symbol=pl.lit("GOOD"),
        shares=shares,
        market_cap=shares * price,
        fundamentals_age_days=(pl.lit(session) - pl.col("period_end")).dt.total_days(),
    )


def found(rows: list[dict[str, Any]], settings: QualitySettings = ON, **where: Any) -> dict[str, float]:
    made = findings(panel(rows, **where), settings)
    return dict(made.select("rule", "value").iter_rows())


def test_a_company_in_good_order_has_no_finding():
    assert found(reports()) == {}
    assert blocks(panel(reports()), ON).is_empty()


PLANTED = [
    ({"liabilities": 5e9}, {"balance": 8.24e9 / 6.48e9}),
    ({"liabilities": 1e9}, {"unaccounted_assets": (6.48e9 - 4.24e9) / 6.48e9}),
    ({"current_assets": 7e9}, {"current_assets": 7e9 / 6.48e9}),
    ({"current_liabilities": 4e9}, {"current_liabilities": 4e9 / 3.24e9}),
    ({"cash": 7e9}, {"cash": 7e9 / 6.48e9}),
    ({"debt": 4e9}, {"debt": 4e9 / 3.24e9}),
    ({"gross_profit_ttm": 6e9}, {"gross_profit": 6e9 / 5.4e9}),
    ({"revenue_ttm": -5e9}, {"revenue_sign": -5e9}),
    ({"revenue_ttm": 5.4e12}, {"revenue_scale": 5.4e12 / 5.3e9}),
    ({"revenue_ttm": 5.4e6, "gross_profit_ttm": 2e6}, {"revenue_scale": 5.1e9 / 5.4e6}),
    ({"assets": 6.48e15}, {"assets_scale": 6.48e15 / 6.36e9, "unaccounted_assets": 1 - 1e-6}),
    ({"shares_outstanding": 1e5}, {"shares_scale": 1e3, "earnings_yield": 7.56e8 / 6e6}),
    ({"shares_outstanding": 5.1e8}, {"share_counts": 5.0}),
    ({"net_income_ttm": 7.56e11}, {"earnings_yield": 126.0, "income_scale": 7.56e11 / 6.48e9}),
    ({"operating_income_ttm": 9.7e11}, {"income_scale": 9.7e11 / 6.48e9}),
    ({"operating_cash_flow_ttm": 9.7e11}, {"cash_flow_scale": 9.7e11 / 6.48e9}),
    ({name: reports()[3][name] for name in ("revenue_ttm", "net_income_ttm", "assets")}, {"repeated_figures": 1.0}),
    (dict.fromkeys(("revenue_ttm", "operating_cash_flow_ttm", "equity", "shares_diluted")), {"missing_figures": 4.0}),
]


@pytest.mark.parametrize(("changed", "expected"), PLANTED, ids=["-".join(expected) for _, expected in PLANTED])
def test_an_error_in_one_report_is_found_with_its_value(changed, expected):
    made = found(reports(**changed))
    assert made.keys() >= expected.keys()
    assert {name: made[name] for name in expected} == pytest.approx(expected, rel=1e-3)
    others = made.keys() - expected.keys()
    assert others <= {"balance"} if "assets" in changed else not others


def test_every_rule_is_planted_somewhere_in_these_tests():
    timely = {"stale", "overdue", "late"}
    assert {rule.name for rule in RULES} == {name for _, expected in PLANTED for name in expected} | timely


@pytest.mark.parametrize("within", [1.0, 1.0049])
def test_half_a_percent_is_rounding_and_no_finding(within):
    assert found(reports(liabilities=3.24e9, equity=3.24e9, assets=6.48e9 / within)) == {}


def test_minorities_beside_the_equity_are_no_finding():
    assert found(reports(equity=2e9)) == {}


def test_a_count_of_one_share_class_is_no_finding():
    """Mastercard's cover pages are left with 122,530,193 of about a billion shares: the diluted average is used in its place."""
    rows = [row | {"shares_outstanding": 2e7} for row in reports()]
    assert found(rows) == {}


def test_negative_equity_is_no_finding():
    assert found(reports(liabilities=8e9, equity=8e9 - 14.48e9 + 6.48e9 - 1.52e9)) == {}


@pytest.mark.parametrize("figure", KEY_FIGURES)
def test_what_is_missing_is_not_measured(figure):
    assert found(reports(**{figure: None})) == {}


def test_a_company_without_any_report_is_not_measured():
    empty = panel(reports()).with_columns(
        pl.lit(None, kind).alias(name)
        for name, kind in panel(reports()).schema.items()
        if name not in ("session", "security_id", "symbol")
    )
    assert findings(empty, ON).is_empty() and blocks(empty, ON).is_empty()


# The periods before


def test_one_wrong_report_makes_no_later_one_look_wrong():
    rows = reports()
    rows[3] |= {"revenue_ttm": 5.3e12, "assets": 6.36e12}
    assert "revenue_scale" in found(rows[:4], session=date(2023, 11, 20))
    assert found(rows) == {}


def test_a_scale_that_a_second_report_confirms_is_believed():
    rows = reports(revenue_ttm=5.4e12, gross_profit_ttm=2e12)
    rows[3] |= {"revenue_ttm": 5.3e12}
    assert "revenue_scale" not in found(rows)


def test_an_amendment_of_a_wrong_report_is_compared_with_the_periods_before_and_not_with_it():
    rows = reports(revenue_ttm=5.4e12)
    again = rows[-1] | {"known_at": rows[-1]["known_at"] + timedelta(days=2), "cash": 4e8}
    assert found([*rows, again])["revenue_scale"] == pytest.approx(5.4e12 / 5.3e9)
    assert found([*rows, again | {"revenue_ttm": 5.4e9}]) == {}


def test_what_is_remembered_of_a_long_history_gives_the_same_row():
    rows = [
        row | {"known_at": row["known_at"] + timedelta(days=n), "cash": 4e8 + n}
        for row in reports(revenue_ttm=5.4e12)
        for n in range(4)
    ]
    columns = ["cik", "known_at", *REPORTING_COLUMNS]
    for seen in range(1, len(rows) + 1):
        kept: list[dict[str, Any]] = []
        for row in rows[:seen]:
            kept = remembered([*kept, row])
        assert len(kept) <= 15
        assert panel(kept).select(columns).equals(panel(rows[:seen]).select(columns))


def test_rows_from_before_they_are_needed_change_nothing_from_an_instant_on():
    """Ten quarters of three companies, the second of which begins late and the third reports one period in many versions."""
    earlier = timedelta(days=455)
    quarters = [
        *(row | {"known_at": row["known_at"] - earlier, "period_end": row["period_end"] - earlier} for row in reports(0.8)),
        *reports(revenue_ttm=5.4e12),
    ]
    long = [
        row | {"known_at": row["known_at"] + timedelta(days=n), "cash": 4e8 + n, "cik": cik}
        for cik, versions in ((1, 4), (2, 2), (3, 7))
        for row in quarters[4 if cik == 2 else 0 :]
        for n in range(versions)
    ]
    rows = pl.DataFrame([{name: row.get(name) for name in FUNDAMENTALS.schema} for row in long], schema=FUNDAMENTALS.schema)
    for at in rows["known_at"].unique().sort():
        since = needed_since(rows, at)
        assert set(since["cik"]) == set(rows.filter(pl.col("known_at") <= at)["cik"])
        few = rows.join(since, on="cik", how="left").filter(pl.col("known_at") >= pl.col("since").fill_null(at)).drop("since")
        from_then_on = (pl.col("known_at") >= at) | (
            pl.col("known_at") == pl.col("known_at").filter(pl.col("known_at") <= at).max().over("cik")
        )
        assert with_reporting(few).filter(from_then_on).equals(with_reporting(rows).filter(from_then_on))
    assert len(few) < len(rows)


# Time


@pytest.mark.parametrize(
    ("form", "session", "days"),
    [
        # After the annual report of 2023-12-31: a 10-Q for 2024-03-31, 45 days and 5 more. Period ends lie 92 days apart at most.
        ("10-K", date(2024, 5, 22), 1),
        ("10-K", date(2024, 6, 1), 11),
        # After a 10-Q it may be the year that is reported next: 90 days and 15 more.
        ("10-Q", date(2024, 7, 16), 1),
        ("10-K/A", date(2024, 7, 16), 1),
        ("20-F", date(2024, 8, 17), 1),
    ],
)
def test_a_report_is_overdue_from_the_day_after_its_extended_term(form, session, days):
    rows = reports(form=form)
    assert found(rows, QualitySettings(overdue=days - 1), session=session)["overdue"] == days
    assert "overdue" not in found(rows, QualitySettings(overdue=days), session=session)


def test_a_company_that_reports_once_a_year_has_a_year_and_four_months():
    rows = [row | {"form": "20-F"} for row in reports()]
    for n, row in enumerate(rows):
        row |= {"period_end": date(2019 + n, 12, 31), "known_at": datetime(2020 + n, 4, 20, tzinfo=UTC)}
    assert found(rows, session=date(2025, 5, 9)) == {}
    assert found(rows, session=date(2025, 5, 29))["overdue"] == 13
    assert found(rows, session=date(2025, 5, 29))["stale"] == 515


def test_how_often_a_company_reports_is_not_known_from_one_report():
    assert "overdue" not in found(reports()[-1:], session=date(2025, 5, 1))
    assert found(reports()[-1:], session=date(2025, 6, 1)) == {"stale": 518}


def test_later_than_the_company_ever_was_is_a_warning_and_stops_nothing():
    """92 days between period ends and 40 to the report: expected on 2024-05-11."""
    late = panel(reports(), session=date(2024, 6, 1))
    assert found(reports(), QualitySettings(overdue="off"), session=date(2024, 6, 1)) == {"late": 21}
    assert blocks(late, QualitySettings(overdue="off")).is_empty()
    assert "late" not in found(reports()[-3:], session=date(2024, 6, 1))  # less than a year of reports


# Settings, doubt, and what must never be stopped


@pytest.mark.parametrize("rule", [rule.name for rule in RULES])
def test_a_rule_that_is_off_finds_nothing(rule):
    off = QualitySettings(**{rule: "off"})
    wrong = reports(liabilities=9e9, cash=7e9, revenue_ttm=-1.0, shares_outstanding=1e5)
    assert rule not in found(wrong, off, session=date(2026, 1, 5))
    assert "balance" in found(wrong, off, session=date(2026, 1, 5)) or rule == "balance"


def test_a_threshold_can_be_moved():
    assert found(reports(liabilities=3.5e9), QualitySettings(balance=1.05)) == {}
    assert found(reports(liabilities=3.5e9)).keys() == {"balance"}


def test_the_first_blocking_rule_is_the_verdict_and_a_warning_is_none():
    (verdict,) = blocks(panel(reports(liabilities=5e9, cash=7e9, debt=6e9)), ON).to_dicts()
    assert (verdict["rule"], verdict["threshold"]) == ("data_quality.balance", 1.005)
    assert verdict["value"] == pytest.approx(8.24e9 / 6.48e9)
    assert blocks(panel(reports(debt=4e9)), ON).is_empty()


def test_only_the_figures_that_a_finding_concerns_are_doubted():
    left = without_doubted(panel(reports(cash=7e9)), ON).row(0, named=True)
    assert {left[name] for name in ("assets", "equity", "cash", "liabilities")} == {None}
    assert left["net_income_ttm"] == 7e8 * 1.08 and left["market_cap"] == 6e9
    late = without_doubted(panel(reports(), session=date(2025, 7, 1)), ON).row(0, named=True)
    assert late["assets"] == 6e9 * 1.08  # an old figure is a figure


@settings(deadline=None)
@given(st.floats(1e-4, 1e6), st.sampled_from([7, 30, 50]))
def test_a_company_in_good_order_is_never_stopped_for_its_size(scale, age):
    rows = reports(scale)
    known = rows[-1]["known_at"].date()
    assert blocks(panel(rows, session=known + timedelta(days=age)), ON).is_empty()


@settings(deadline=None)
@given(st.integers(1, 4), st.sampled_from([1e-6, 1e-3, 1e3, 1e6]))
def test_a_whole_report_in_another_scale_is_found_whichever_report_it_is(which, factor):
    rows = reports()[: which + 1]
    rows[-1] |= {name: rows[-1][name] * factor for name in FIGURES if rows[-1][name] is not None}
    kinds = findings(panel(rows, session=rows[-1]["known_at"].date()), ON, Kind.SCALE)["rule"].to_list()
    assert kinds == ["revenue_scale", "assets_scale", "shares_scale"]


def test_a_loss_of_many_times_the_assets_is_no_finding_but_a_reason_to_sell():
    assert found(reports(net_income_ttm=-9e10, operating_income_ttm=-9e10, operating_cash_flow_ttm=-9e10)) == {}
