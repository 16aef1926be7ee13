"""What the models accept and what they name as wrong."""

import subprocess
import sys
from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest

from tradebot_core.errors import UsageError
from tradebot_core.model.tables import FACT_TABLES, FACTS, FUNDAMENTALS, INSTANT, RESULT_TABLES
from tradebot_core.quant.statements import normalise
from tradebot_core.schemas import MODELS, validate

SESSION = date(2020, 3, 2)
KNOWN_AT = datetime(2020, 3, 2, 21, 15, tzinfo=UTC)
BAR = {"security_id": 100, "session": SESSION, "open": 10.0, "high": 12.0, "low": 9.0, "close": 11.0, "volume": 1000.0}
ACTION = {"security_id": 100, "session": SESSION, "type": "dividend", "value": 0.5}
SECURITY = {"security_id": 100, "cik": 1, "symbol": "AAA", "valid_from": SESSION, "valid_to": date.max}
FACT = {
    **{"cik": 1, "taxonomy": "us-gaap", "tag": "Assets", "unit": "USD", "period_end": date(2019, 12, 31)},
    **{"accession": "0000000001-20-000001", "value": 5.0, "form": "10-K", "filed": date(2020, 3, 2)},
}
LAYER = {
    "session": SESSION,
    "security_id": 100,
    "symbol": "AAA",
    "passed": True,
    "rule": "max_pe",
    "value": 9.0,
    "threshold": 15.0,
}
DECISION = {"session": SESSION, "security_id": 100, "symbol": "AAA", "action": "buy", "target_weight": 0.1, "rule": "rank"}
ORDER = {
    **{"session": SESSION, "order_key": "k", "security_id": 100, "symbol": "AAA", "side": "buy", "quantity": 10},
    **{"reference_price": "11.00", "order_type": "market_on_open", "approved": True},
}
ORDER_STATE = {"session": SESSION, "order_key": "k", "sequence": 1, "state": "filled"}
FILL = {
    **{"session": SESSION, "execution_id": "e", "order_key": "k", "security_id": 100, "symbol": "AAA", "side": "sell"},
    **{"quantity": 10, "price": "11.02", "commission": "1.00", "filled_at": KNOWN_AT},
}
EQUITY = {
    **{"session": SESSION, "cash": "900.50", "invested": "99.50", "equity": "1000.00"},
    "positions": 1,
}


def rows(table: str, *records: dict) -> pl.DataFrame:
    if table in FACT_TABLES:
        schema = {**FACT_TABLES[table].columns, "known_at": INSTANT}
        records = tuple({"known_at": KNOWN_AT, **record} for record in records)
    else:
        schema = dict(RESULT_TABLES[table].schema)
    return pl.DataFrame(records, schema=schema, orient="row")


GOOD = {
    **{"bars": BAR, "actions": ACTION, "securities": SECURITY, "facts": FACT, "layers": LAYER},
    **{"decisions": DECISION, "orders": ORDER, "order_states": ORDER_STATE, "fills": FILL, "equity": EQUITY},
}


@pytest.mark.parametrize("table", GOOD)
def test_good_rows_have_no_failures(table):
    assert validate(table, rows(table, GOOD[table])) == []


@pytest.mark.parametrize("table", MODELS)
def test_an_empty_table_has_no_failures(table):
    assert validate(table, rows(table)) == []


@pytest.mark.parametrize("table", MODELS)
def test_a_model_has_the_columns_and_types_of_its_table(table):
    fact_table = table in FACT_TABLES
    expected = {**FACT_TABLES[table].columns, "known_at": INSTANT} if fact_table else dict(RESULT_TABLES[table].schema)
    assert {name: column.dtype.type for name, column in MODELS[table].to_schema().columns.items()} == expected


@pytest.mark.parametrize(
    ("table", "change", "column", "check"),
    [
        ("bars", {"low": 0.0}, "low", "greater_than(0)"),
        ("bars", {"volume": -1.0}, "volume", "greater_than_or_equal_to(0)"),
        ("bars", {"close": None}, "close", "not_nullable"),
        ("bars", {"high": 8.5}, None, "high_not_below_low"),
        ("bars", {"close": 12.5}, None, "open_and_close_within_range"),
        ("bars", {"open": float("nan")}, None, "numbers_are_finite"),
        ("bars", {"volume": float("inf")}, None, "numbers_are_finite"),
        ("actions", {"type": "merger"}, "type", "isin(['split', 'dividend', 'delisting'])"),
        ("actions", {"value": 0.0}, None, "only_a_delisting_may_be_worth_nothing"),
        ("securities", {"cik": 0}, "cik", "greater_than(0)"),
        ("securities", {"valid_to": date(2019, 1, 1)}, None, "ends_after_it_begins"),
        ("facts", {"period_start": date(2020, 1, 1)}, None, "period_ends_after_it_begins"),
        ("facts", {"filed": date(2020, 3, 3)}, None, "known_after_it_was_filed"),
        ("facts", {"value": float("inf")}, None, "numbers_are_finite"),
        ("layers", {"value": None}, None, "a_missing_value_never_passes_a_threshold"),
        ("decisions", {"target_weight": 1.5}, "target_weight", "less_than_or_equal_to(1)"),
        ("decisions", {"action": "sell"}, None, "a_sale_leaves_nothing"),
        ("orders", {"quantity": 0}, "quantity", "greater_than(0)"),
        ("order_states", {"state": "gone"}, "state", None),
        ("fills", {"price": "1e3"}, "price", None),
        ("equity", {"equity": "1000.01"}, None, "equity_is_cash_and_what_is_invested"),
    ],
)
def test_a_bad_row_is_named_with_its_column_and_check(table, change, column, check):
    failures = validate(table, rows(table, GOOD[table], {**GOOD[table], **_another_key(table), **change}))
    assert failures
    assert {failure["row"] for failure in failures} == {1}
    assert any(failure["column"] == column and check in (None, failure["check"]) for failure in failures)


def _another_key(table: str) -> dict:
    return {
        **{
            "actions": {"security_id": 200},
            "orders": {"order_key": "k2"},
            "order_states": {"sequence": 2},
            "fills": {"execution_id": "e2"},
        },
        "facts": {"accession": "0000000001-20-000002"},
        "equity": {"session": date(2020, 3, 3)},
    }.get(table, {"security_id": 200})


def test_two_rows_of_one_key_are_named():
    failures = validate("bars", rows("bars", BAR, {**BAR, "close": 10.5}))
    assert [(failure["check"], failure["row"]) for failure in failures] == [
        ("one_row_for_each_key", 0),
        ("one_row_for_each_key", 1),
    ]


def test_versions_of_a_fact_are_not_repeated_keys():
    later = {**FACT, "value": 6.0, "known_at": datetime(2021, 1, 4, tzinfo=UTC)}
    assert validate("facts", rows("facts", FACT, later)) == []


def test_figures_computed_anew_are_no_repeated_keys_and_one_computation_given_twice_is():
    tags = ("NetCashProvidedByUsedInOperatingActivities", "PaymentsToAcquirePropertyPlantAndEquipment")
    flow = {**FACT, "period_start": date(2019, 1, 1)}
    facts = rows("facts", *({**flow, "tag": tag, "value": value} for tag, value in zip(tags, (7.0, 3.0), strict=True)), FACT)
    then = pl.col("known_at").max().cast(INSTANT).alias("ingested_at")
    figures = normalise(facts, "Sample Corp").with_columns(then, source=pl.lit("normalised"))
    anew = figures.with_columns(pl.col("ingested_at") + timedelta(days=1))
    assert validate("fundamentals", pl.concat([figures, anew])) == []
    twice = validate("fundamentals", pl.concat([figures, figures]))
    assert {failure["check"] for failure in twice} == {"one_row_for_each_key"}


def test_a_missing_column_is_named_once():
    failures = validate("bars", rows("bars", BAR).drop("high"))
    assert [(failure["check"], failure["value"]) for failure in failures] == [("column_in_dataframe", "high")]


def test_a_wrong_type_is_named():
    (failure,) = validate("bars", rows("bars", BAR).with_columns(pl.col("close").cast(pl.Float32)))
    assert (failure["column"], failure["check"]) == ("close", "dtype('Float64')")


def test_features_of_layers_must_be_finite():
    featured = rows("layers", LAYER).with_columns(pe=pl.lit(float("nan")))
    assert [failure["check"] for failure in validate("layers", featured)] == ["numbers_are_finite"]


def test_fundamentals_as_normalised_are_valid():
    tags = ("NetCashProvidedByUsedInOperatingActivities", "PaymentsToAcquirePropertyPlantAndEquipment")
    flow = {**FACT, "period_start": date(2019, 1, 1)}
    facts = rows("facts", *({**flow, "tag": tag, "value": value} for tag, value in zip(tags, (7.0, 3.0), strict=True)), FACT)
    normalised = normalise(facts, "Sample Corp")
    assert validate("fundamentals", normalised) == []
    (failure,) = validate("fundamentals", normalised.with_columns(free_cash_flow_ttm=pl.lit(40.0)))
    assert failure["check"] == "free_cash_flow_is_cash_flow_less_capital_expenditure"
    assert set(FUNDAMENTALS.columns) <= set(normalised.columns)
    assert set(FACTS.columns) <= set(facts.columns)


def test_an_unknown_table_is_refused_by_name():
    with pytest.raises(UsageError, match="no schema of a table prices"):
        validate("prices", pl.DataFrame())


def test_pandera_is_imported_by_the_schemas_alone():
    program = (
        "import sys, tradebot_core.quant.statements, tradebot_core.collectors.edgar, tradebot_core.collectors.file_bars;"
        "sys.exit('pandera' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
