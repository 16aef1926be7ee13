"""Tables as files: the rows of the store, and the same bytes for the same rows."""

import csv
import io
import json
from datetime import UTC, date, datetime

import polars as pl
import pytest

from tests.cli.conftest import WITH_CLOCK
from tests.markets import SESSIONS, START, SYMBOLS, bar, cik_of, run_layers, security_of
from tests.scripted import append
from tradebot_core.interfaces import Batch, Rejected
from tradebot_core.model.tables import BARS, FACTS, SECURITIES

VALUE = ("--strategy", "value_investor")


def rows_of(desk, table: str, *options: object) -> list[dict]:
    result = desk.run("export", table, *options, "--format", "json", "-o", "-")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_bars_of_a_range(desk):
    rows = rows_of(desk, "bars", "--start", START, "--end", SESSIONS[26])
    assert len(rows) == 8
    assert rows[0]["session"] == str(START) and rows[0]["close"] == 59.05


def test_facts_are_exported_as_the_market_knew_them(desk):
    def periods(*as_of: object) -> list[str]:
        faded = [row for row in rows_of(desk, "fundamentals", *as_of) if row["company_name"] == "FADE (test)"]
        return [row["period_end"] for row in faded]

    assert periods("--as-of", "2024-04-30") == ["2023-12-31"]
    assert periods("--as-of", "2024-05-01T11:59:59+00:00") == ["2023-12-31"]
    assert periods("--as-of", "2024-05-01") == ["2024-03-31"]  # known at noon, before the cut-off
    assert periods() == ["2024-03-31"]
    assert periods("--start", "2024-01-01") == ["2023-12-31", "2024-03-31"]
    assert periods("--start", "2024-01-01", "--end", "2024-04-30") == ["2023-12-31"]


def test_fundamentals_carry_the_symbol_that_the_company_had(desk):
    rows = rows_of(desk, "fundamentals", "--as-of", "2024-04-30")
    assert [(row["symbol"], row["cik"]) for row in rows] == [(symbol, cik_of(symbol)) for symbol in SYMBOLS]
    assert list(rows[0])[:8] == [
        *("symbol", "cik", "company_name", "period_end", "known_at", "form", "accession", "shares_basis_date"),
    ]
    assert rows[0]["industry"] is None


YEAR_2023 = (date(2023, 1, 1), date(2023, 12, 31))


def fact(tag: str, period: tuple[date, date], value: float, filed: date, accession: str) -> dict:
    start, end = period
    row = {"cik": cik_of("GOOD"), "taxonomy": "us-gaap", "tag": tag, "unit": "USD", "period_start": start, "period_end": end}
    return row | {
        "accession": accession,
        "value": value,
        "form": "10-K",
        "fiscal_year": None,
        "fiscal_period": None,
        "filed": filed,
        "known_at": datetime(filed.year, filed.month, filed.day, 21, tzinfo=UTC),
    }


def with_a_restated_revenue(desk) -> None:
    rows = [
        fact("Revenues", YEAR_2023, 500.0, date(2024, 2, 1), "0000000001-24-000001"),
        fact("Revenues", YEAR_2023, 480.0, date(2024, 4, 1), "0000000001-24-000002"),
    ]
    schema = {**FACTS.columns, "known_at": FACTS.schema["known_at"]}
    desk.bot.store.append(Batch(FACTS, pl.DataFrame(rows, schema=schema), "test"), datetime(2024, 4, 2, tzinfo=UTC))


def test_facts_as_first_filed_as_known_and_every_report_are_three_questions(desk):
    with_a_restated_revenue(desk)

    def values(*options: object) -> list[float]:
        return [row["value"] for row in rows_of(desk, "facts", *options)]

    assert values() == values("--reports", "all") == [500, 480]
    assert values("--reports", "first") == [500]
    assert values("--reports", "known") == [480]
    assert values("--reports", "known", "--as-of", "2024-03-31") == [500]


def test_fundamentals_of_fiscal_years(desk):
    with_a_restated_revenue(desk)
    (row,) = rows_of(desk, "fundamentals", "--period", "annual")
    assert (row["symbol"], row["period_end"], row["revenue_fy"], row["accession"]) == (
        *("GOOD", "2023-12-31", 480, "0000000001-24-000002"),
    )
    (row,) = rows_of(desk, "fundamentals", "--period", "annual", "--as-of", "2024-03-31")
    assert row["revenue_fy"] == 500
    assert rows_of(desk, "fundamentals", "--period", "annual", "--end", "2024-03-31") == []


def test_the_tables_of_a_backtest(desk):
    desk.backtest()
    decisions = rows_of(desk, "decisions", *VALUE, "--end", START)
    assert [(row["symbol"], row["action"]) for row in decisions] == [("GOOD", "buy"), ("FADE", "buy")]
    orders = rows_of(desk, "orders", *VALUE)
    assert [(row["symbol"], row["quantity"], row["state"]) for row in orders] == [
        ("GOOD", 211, "filled"),
        ("FADE", 230, "filled"),
    ]
    assert [row["session"] for row in rows_of(desk, "fills", *VALUE)] == ["2024-02-08", "2024-02-08"]
    assert len(rows_of(desk, "equity", *VALUE)) == 30
    assert rows_of(desk, "equity", *VALUE)[0]["equity"] == "50000.0000"
    assert len(rows_of(desk, "positions", *VALUE, "--start", "2024-02-08", "--end", "2024-02-08")) == 2


def test_layers_carry_their_name_and_features(desk):
    desk.backtest()
    rows = rows_of(desk, "layers", *VALUE, "--start", START, "--end", START)
    assert [(row["layer"], row["symbol"], row["passed"]) for row in rows] == [
        ("screen", "GOOD", True),
        ("screen", "DEAR", False),
        ("screen", "LOSS", False),
        ("screen", "FADE", True),
        ("analyze", "GOOD", True),
        ("analyze", "FADE", True),
    ]
    assert rows[0]["score"] is None and rows[4]["score"] == pytest.approx(3 / 4)
    assert {row["layer"] for row in rows_of(desk, "layers", *VALUE, "--layer", "analyze")} == {"analyze"}


def test_the_live_book_is_valued_from_the_ledger(live_desk):
    live_desk.json("run-session")
    live_desk.after_close_of(SESSIONS[26])
    live_desk.json("run-session")
    live = ("--book", "live", *VALUE)
    positions = rows_of(live_desk, "positions", *live)
    assert [(row["session"], row["symbol"], row["quantity"], row["price"]) for row in positions] == [
        ("2024-02-08", "GOOD", 211, "60.2500"),
        ("2024-02-08", "FADE", 230, "55.2500"),
    ]
    assert [(row["session"], row["equity"]) for row in rows_of(live_desk, "equity", *live)] == [
        ("2024-02-07", "50000.0000"),
        ("2024-02-08", "50095.3900"),
    ]
    assert len(rows_of(live_desk, "orders", *live)) == 2 and len(rows_of(live_desk, "fills", *live)) == 2
    assert len(rows_of(live_desk, "decisions", *live)) == 4


def test_events_come_in_the_order_in_which_they_became_known(desk):
    rows = rows_of(desk, "events", "--start", START, "--end", START)
    assert [row["type"] for row in rows] == ["price_bar"] * 4
    everything = rows_of(desk, "events")
    assert len(everything) == 4 + len(SESSIONS) * 4 + 2 + 5
    assert [row["timestamp"] for row in everything] == sorted(row["timestamp"] for row in everything)
    assert json.loads(rows[0]["payload"])["session"] == str(START)


def test_quarantined_records_keep_their_reason(desk):
    refused = Rejected({"symbol": "GOOD", "high": 1, "low": 2}, "high_below_low", "the high is below the low")
    nothing = pl.DataFrame(schema={**BARS.columns, "known_at": BARS.schema["known_at"]})
    desk.bot.store.append(Batch(BARS, nothing, "test", [refused]), datetime(2024, 3, 1, tzinfo=UTC))
    (row,) = rows_of(desk, "quarantine")
    assert (row["rule"], row["reason"]) == ("high_below_low", "the high is below the low")
    assert rows_of(desk, "quarantine", "--start", "2024-03-02") == []


@pytest.mark.parametrize("form", ["parquet", "csv", "json"])
def test_the_same_rows_give_the_same_bytes(desk, form):
    desk.backtest()
    files = [desk.folder / name for name in ("one", "two")]
    for file in files:
        document = desk.json("export", "layers", *VALUE, "--format", form, "-o", file)
    assert document["rows"] == 30 * 6 and document["table"] == "layers"
    assert files[0].read_bytes() == files[1].read_bytes()
    assert not list(desk.folder.glob(".*.new"))


def test_the_forms_hold_the_same_rows(desk):
    desk.run("export", "bars", "--format", "parquet", "-o", desk.folder / "bars.parquet")
    parquet = pl.read_parquet(desk.folder / "bars.parquet")
    text = desk.run("export", "bars", "--format", "csv", "-o", "-").stdout
    read = list(csv.DictReader(io.StringIO(text)))
    assert len(read) == len(parquet) == len(SESSIONS) * 4
    assert [float(row["close"]) for row in read] == parquet["close"].to_list()
    assert datetime.fromisoformat(read[0]["known_at"]) == parquet["known_at"][0]
    assert date.fromisoformat(read[0]["session"]) == parquet["session"][0]


def test_a_strategy_may_be_left_out_when_there_is_one(desk_with):
    desk = desk_with(WITH_CLOCK.replace("allocated_capital: 30000", "allocated_capital: 30000\n    enabled: false"))
    desk.backtest()
    assert len(rows_of(desk, "equity")) == 30


def test_a_disk_without_space_leaves_the_old_file(desk, monkeypatch):
    file = desk.folder / "bars.csv"
    file.write_text("before")

    def full(path, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    result = desk.run("export", "bars", "--format", "csv", "-o", file)
    assert result.exit_code == 1
    assert "The disk is full" in result.stderr and "Free some space" in result.stderr
    assert file.read_text() == "before"


def test_with_json_rows_go_to_standard_output_as_json_only(desk):
    refused = desk.json("export", "bars", "--format", "csv", "-o", "-", exit_code=2)
    assert "not csv" in refused["error"] and "-o" in refused["mend"]
    assert len(desk.json("export", "bars", "--format", "json", "-o", "-")) == len(SESSIONS) * 4


def test_a_review_can_be_exported_and_has_no_orders(live_desk):
    bot = live_desk.bot
    run_layers(bot, "value_investor", [START])
    sleeve = bot.sleeve("value_investor")
    bot.desk.decide(sleeve.strategy, sleeve.capital, START, None, "somebody", live_desk.clock.now())
    review = ("--book", "review", *VALUE)
    assert {row["session"] for row in rows_of(live_desk, "decisions", *review)} == {str(START)}
    assert rows_of(live_desk, "orders", *review) == [] and rows_of(live_desk, "decisions", *VALUE) == []
    assert live_desk.json("explain", "GOOD", START, *review)["book"] == "review"


def test_a_listing_that_ended_has_its_last_price_and_no_end_before_it_came(desk):
    fade = {"security_id": security_of("FADE"), "cik": cik_of("FADE"), "symbol": "FADE", "name": "FADE (test)"}
    dates = {"valid_from": date(2020, 1, 1), "valid_to": SESSIONS[40], "known_at": datetime(2023, 6, 1, tzinfo=UTC)}
    append(desk.bot, SECURITIES, dict.fromkeys(SECURITIES.columns) | fade | dates)

    def ends(as_of: date) -> dict[str, tuple]:
        rows = rows_of(desk, "securities", "--as-of", as_of)
        return {row["symbol"]: (row["valid_to"], row["last_session"], row["last_close"]) for row in rows}

    after = ends(SESSIONS[50])
    assert after["FADE"] == (str(SESSIONS[40]), str(SESSIONS[40]), bar("FADE", 40, SESSIONS[40])["close"])
    assert after["GOOD"] == ("9999-12-31", None, None)
    assert ends(SESSIONS[39])["FADE"] == ("9999-12-31", None, None)


def test_bars_adjusted_by_what_was_known_and_in_effect(desk):
    """GOOD splits two for one on 2024-04-15 and pays 0.50 USD on 2024-03-15."""

    def first_close(*options: object) -> float:
        return rows_of(desk, "bars", "--start", START, "--end", START, *options)[0]["close"]

    assert first_close() == 59.05
    assert first_close("--adjusted", "split", "--as-of", "2024-04-12") == 59.05
    assert first_close("--adjusted", "split", "--as-of", "2024-04-15") == 59.05 / 2
    total = first_close("--adjusted", "total", "--as-of", "2024-03-15")
    good = rows_of(desk, "bars", "--start", "2024-03-14", "--end", "2024-03-14")[0]
    assert total == pytest.approx(59.05 * (1 - 0.5 / good["close"]))
    assert first_close("--adjusted", "total") == pytest.approx(total / 2)


def test_only_bars_can_be_adjusted(desk):
    result = desk.run("export", "actions", "--adjusted", "split", "--format", "json", "-o", "-")
    assert result.exit_code == 2
    assert "--adjusted means nothing for actions." in result.output
