"""The live path by hand: what the schedule and the sensor do, once and only once."""

import json
from datetime import UTC, date, datetime, timedelta

import pytest

from tests.cli.conftest import WITH_CLOCK
from tests.markets import SESSIONS, START, XNYS, filing
from tests.scripted import append
from tests.sec_server import sec_server
from tradebot_core.errors import NotPermitted
from tradebot_core.interfaces import Break
from tradebot_core.model.tables import FUNDAMENTALS
from tradebot_core.trading.live import issue_permit

NEXT = SESSIONS[26]


def orders_of(desk, strategy: str = "value_investor") -> list[tuple[str, int, str]]:
    return desk.bot.store.ledger.orders(strategy).select("symbol", "quantity", "state").rows()


def test_a_session_is_decided_and_its_orders_are_sent(live_desk):
    document = live_desk.json("run-session")
    assert document["session"] == str(START)
    value = document["strategies"][0]
    assert (value["strategy"], value["live"], value["decisions"], value["outcome"]) == (
        "value_investor",
        True,
        {"buy": 2},
        "submitted",
    )
    assert orders_of(live_desk) == [("GOOD", 211, "working"), ("FADE", 230, "working")]


def test_a_company_that_a_data_check_stops_is_not_bought_and_the_others_are(live_desk):
    known = datetime(2024, 1, 20, 12, tzinfo=UTC)
    append(live_desk.bot, FUNDAMENTALS, filing("GOOD", date(2023, 12, 31), known, liabilities=9e9), ingested=known)
    document = live_desk.json("run-session")
    assert document["strategies"][0]["decisions"] == {"buy": 1}
    assert orders_of(live_desk) == [("FADE", 230, "working")]
    found = live_desk.json("explain", "GOOD", START, "--strategy", "value_investor")
    assert found["book"] == "live"
    assert found["summary"].startswith("Not bought: the data check balance stops it: liabilities and equity are 2 times")


def test_running_it_twice_places_nothing_twice(live_desk):
    live_desk.json("run-session")
    placed = (live_desk.folder / "store" / "simulated_engine.jsonl").read_text()
    again = live_desk.json("run-session")
    assert (live_desk.folder / "store" / "simulated_engine.jsonl").read_text() == placed
    assert again["strategies"][0]["note"].startswith("Sealed before")
    assert orders_of(live_desk) == [("GOOD", 211, "working"), ("FADE", 230, "working")]


def test_the_next_session_enters_the_fills_of_the_open(live_desk):
    live_desk.json("run-session")
    live_desk.after_close_of(NEXT)
    document = live_desk.json("run-session")
    assert document["strategies"][0]["decisions"] == {"hold": 2}
    fills = live_desk.bot.store.ledger.fills("value_investor")
    assert fills.select("session", "symbol", "quantity", "price").rows() == [
        (NEXT, "GOOD", 211, "60.0300"),
        (NEXT, "FADE", 230, "55.0275"),
    ]
    status = live_desk.json("status")
    cash = 50000 - 211 * 60.03 - 230 * 55.0275 - 1.055 - 1.15
    assert round(status["strategies"][0]["cash"], 4) == round(cash, 4)
    assert status["strategies"][0]["positions"] == {"GOOD": 211, "FADE": 230}
    assert status["strategies"][0]["last_live_session"] == str(NEXT)


def test_a_person_goes_on_where_a_run_failed_with_the_permit_in_hand(live_desk):
    bot = live_desk.bot
    permit = issue_permit(bot.store.ledger, bot.calendar, live_desk.clock.now())
    for name in bot.sleeves:
        bot.store.ledger.claim_permit(permit.permit_id, name, "a-dagster-run-that-died", live_desk.clock.now())
    value = live_desk.json("run-session")["strategies"][0]
    assert (value["live"], value["outcome"]) == (True, "submitted")
    late = live_desk.clock.now()
    with pytest.raises(NotPermitted, match="replaced by a later one"):
        bot.store.ledger.claim_permit(permit.permit_id, "value_investor", "a-dagster-run-that-died", late)


def test_after_the_deadline_nothing_is_decided(live_desk):
    live_desk.clock.set(XNYS.opens_at(NEXT))
    result = live_desk.run("run-session")
    assert result.exit_code == 1
    assert f"The time to submit orders of {START} has passed" in result.stdout and str(NEXT) in result.stdout
    assert live_desk.bot.store.ledger.decision_sets("value_investor") == []


def test_without_bars_of_the_session_nothing_is_decided(desk_with):
    desk = desk_with(sessions=SESSIONS[:25])
    desk.after_close_of(START)
    result = desk.run("run-session")
    assert result.exit_code == 1
    assert f"No bar of {START} has arrived" in result.stderr
    assert desk.bot.store.ledger.decision_sets("value_investor") == []


def test_a_halt_stops_the_orders_until_it_is_ended(live_desk):
    assert live_desk.json("halt", "odd prices")["halted"] == "odd prices"
    assert live_desk.json("status")["halted"] == "odd prices"
    halted = live_desk.json("run-session")
    assert halted["strategies"][0]["outcome"] == "halted" and "odd prices" in halted["strategies"][0]["submission"]
    assert orders_of(live_desk) == []
    assert live_desk.json("resume") == {"halted": None, "was_halted": "odd prices"}
    live_desk.json("run-session")
    assert orders_of(live_desk) == [("GOOD", 211, "working"), ("FADE", 230, "working")]


def test_reconcile_passes_when_ledger_and_broker_agree(live_desk):
    assert live_desk.json("reconcile") == {"passed": True, "breaks": 0, "orders": [], "account": []}
    live_desk.json("run-session")
    document = live_desk.json("reconcile")
    assert document["passed"] and len(document["orders"]) == 5
    assert {order["broker_state"] for order in document["orders"]} == {"working"}


def test_reconcile_sees_that_the_broker_is_ahead(live_desk):
    live_desk.json("run-session")
    live_desk.clock.set(XNYS.opens_at(NEXT) + timedelta(hours=1))
    document = live_desk.json("reconcile")
    assert document["passed"] and {order["broker_state"] for order in document["orders"]} == {"filled"}
    assert "the ledger follows" in document["orders"][0]["reason"]


def test_reconcile_breaks_when_the_broker_does_not_know_an_order(live_desk):
    live_desk.json("run-session")
    (live_desk.folder / "store" / "simulated_engine.jsonl").write_text("")
    result = live_desk.run("reconcile")
    assert result.exit_code == 1
    assert result.stdout.count("BREAK") == 5 and "the broker does not know it" in result.stdout


def test_an_order_expires_on_a_word_only_when_the_broker_does_not_know_it(live_desk):
    live_desk.json("run-session")
    key = live_desk.json("reconcile")["orders"][0]["order_key"]
    known = live_desk.run("reconcile", "--expire", key)
    assert (known.exit_code, "the broker knows it as working, 0 shares executed" in known.output) == (1, True)
    (live_desk.folder / "store" / "simulated_engine.jsonl").write_text("")
    live_desk.run("reconcile", "--expire", key)
    assert key not in {order["order_key"] for order in live_desk.json("reconcile", exit_code=1)["orders"]}


def test_what_a_strategy_left_open_is_settled_though_the_configuration_no_longer_has_it(live_desk):
    live_desk.json("run-session")
    of_value = {order["order_key"] for order in live_desk.json("reconcile")["orders"] if order["strategy"] == "value_investor"}
    config = live_desk.folder / "config.yaml"
    kept = config.read_text().replace("  - name: value_investor\n", "  - name: value_investor\n    enabled: false\n")
    assert kept != config.read_text()
    config.write_text(kept)
    assert of_value <= {order["order_key"] for order in live_desk.json("reconcile")["orders"]}
    (live_desk.folder / "store" / "simulated_engine.jsonl").write_text("")
    key = min(of_value)
    live_desk.run("reconcile", "--expire", key)
    assert key not in {order["order_key"] for order in live_desk.json("reconcile", exit_code=1)["orders"]}


def test_the_history_of_breaks_is_shown_without_asking_anybody(live_desk):
    assert live_desk.run("reconcile", "--history").stdout == "There never was a break.\n"
    at = datetime(2024, 5, 1, 21, tzinfo=UTC)
    cash = Break("cash:USD", "cash", "USD", None, "100", "90", "the broker has -10 USD", at)
    ledger = live_desk.bot.store.ledger
    ledger.record_breaks([cash], [], at, "tradebot", "")
    ledger.record_breaks([], ["cash:USD"], at + timedelta(hours=1), "anna", "a fee")
    assert live_desk.run("reconcile", "--history").stdout == (
        "2024-05-01 21:00 UTC  cash USD: ledger 100, broker 90; the broker has -10 USD; ended 2024-05-01 22:00 UTC by anna: a fee\n"
    )
    (record,) = live_desk.json("reconcile", "--history")["breaks"]
    assert (record["by"], record["word"], record["found"]["broker"]) == ("anna", "a fee", "90")


def test_unasked_is_a_word_about_an_order(live_desk):
    alone = live_desk.run("reconcile", "--unasked", "because")
    assert (alone.exit_code, "--unasked belongs to --expire" in alone.output) == (2, True)


def test_what_would_block_the_assets_stops_the_session_before_anything_is_decided(live_desk, monkeypatch):
    import polars as pl

    finding = pl.DataFrame({"symbol": ["GOOD"]})
    monkeypatch.setattr("tradebot_core.trading.audit.known_too_late", lambda *_: finding)
    result = live_desk.run("run-session", "--json")
    assert result.exit_code == 1
    value = json.loads(result.stdout)["strategies"][0]
    assert "value_investor/screen: no_look_ahead found 1, the first {'symbol': 'GOOD'}" in value["error"]
    assert not (live_desk.folder / "store" / "simulated_engine.jsonl").exists()


def test_a_long_collection_shows_how_far_it_is_and_json_stays_one_document(desk_with):
    with sec_server() as sec:
        block = (
            "collectors:\n  - name: fundamentals\n    class_path: tradebot_core.collectors.edgar_api.EdgarApi\n"
            "    params: {{cache_path: {store}/sec, user_agent: Jane Doe jane@doe.net, data_url: 'URL', archives_url: 'URL'}}\n"
        )
        desk = desk_with(WITH_CLOCK.replace("strategies:", block.replace("URL", sec.url) + "strategies:", 1))
        desk.after_close_of(START)
        lines = desk.run("run-session").stdout.splitlines()
        # The SEC knows none of these companies.
        assert lines[:3] == [
            "SEC: 4 of 4 companies are to be asked for",
            "SEC: 4 of 4 companies done, 4 with a problem",
            "fundamentals: 0 new rows, 8 refused",
        ]
        assert desk.json("run-session")["session"] == str(START)


def test_nothing_is_external_where_there_is_no_account(live_desk):
    result = live_desk.run("reconcile", "--accept-external", "mine")
    assert (result.exit_code, "has no account that could hold anything external" in result.output) == (2, True)
    empty = live_desk.run("reconcile", "--accept-external", " ")
    assert (empty.exit_code, "An external change needs its reason" in empty.output) == (2, True)
