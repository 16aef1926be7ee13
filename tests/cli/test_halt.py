"""The kill switch works when nothing else does."""

import json
import sqlite3
from contextlib import closing

import pytest

from tests.cli.conftest import WITH_CLOCK
from tests.markets import START
from tradebot_core.calendar import xnys
from tradebot_core.stores.file_store import FileStore
from tradebot_core.stores.halt_file import HaltFile
from tradebot_core.stores.sqlite_ledger import SqliteLedger

BROKEN = {
    "a strategy that is not there": WITH_CLOCK.replace("ValueInvestor", "NoSuchThing"),
    "a collector that is not there": WITH_CLOCK.replace(
        "strategies:", "collectors:\n  - {{name: bars, class_path: tradebot_core.nothing.Bars}}\nstrategies:", 1
    ),
    "an unknown key": WITH_CLOCK + "moode: paper\n",
    "a limit out of reach": WITH_CLOCK.replace("max_position_weight: 0.4", "max_position_weight: 4"),
}


@pytest.mark.parametrize("text", BROKEN.values(), ids=BROKEN)
def test_halt_and_resume_work_with_a_configuration_that_is_broken(desk, text):
    config = desk.folder / "config.yaml"
    config.write_text(text.format(store=desk.folder / "store"))
    ledger = FileStore(desk.folder / "store", xnys(), fictional=True).ledger
    assert desk.run("status").exit_code == 2
    assert desk.json("halt", "odd prices") == {"halted": "odd prices", "orders": [], "problems": []}
    assert (ledger.halted(), json.loads((desk.folder / "store" / "HALT").read_text())["reason"]) == ("odd prices",) * 2
    assert desk.json("resume") == {"halted": None, "was_halted": "odd prices"}
    assert ledger.halted() is None
    assert not (desk.folder / "store" / "HALT").exists()


def test_halt_needs_no_sample_clock(desk):
    desk.clock.path.unlink()
    assert desk.json("halt", "odd prices") == {"halted": "odd prices", "orders": [], "problems": []}


def test_a_refused_configuration_says_what_is_wrong_and_which_store_was_halted(desk):
    config = desk.folder / "config.yaml"
    config.write_text(config.read_text() + "moode: paper\n")
    result = desk.run("halt", "odd prices")
    assert result.exit_code == 0
    assert "moode: no such setting" in result.stderr and str(desk.folder / "store") in result.stderr


@pytest.mark.parametrize(
    "text", ["moode: paper\n", "data_store: {path: ./elsewhere}\nmoode: paper\n", "a: [\n", "data_store: 5\n"]
)
def test_without_a_store_to_find_the_refusal_stands(desk, text):
    (desk.folder / "config.yaml").write_text(text)
    assert desk.run("halt", "odd prices").exit_code == 2
    assert not (desk.folder / "elsewhere").exists() and not (desk.folder / "data").exists()


# Without a ledger


def damage(desk) -> None:
    for file in (desk.folder / "store").glob("ledger.sqlite*"):
        file.write_bytes(b"not a database, not even close to one" * 40)


def test_with_a_damaged_ledger_it_halts_by_the_file_and_says_what_to_cancel_by_hand(desk):
    assert desk.bot.store.ledger.halted() is None
    damage(desk)
    document = desk.json("halt", "odd prices", exit_code=1)
    assert HaltFile(desk.folder / "store").reason() == document["halted"] == "odd prices"
    recorded, cancelled = document["problems"]
    assert "ledger.sqlite is damaged" in recorded
    assert "Order Ref." in cancelled and "strategy|session|security|side, or tb1-" in cancelled
    (store,) = [found for found in desk.json("doctor", exit_code=1)["findings"] if found["what"] == "store"]
    assert "damaged" in store["text"] and "halted by the file HALT: odd prices" in store["text"]
    resumed = desk.run("resume")
    assert resumed.exit_code == 1
    assert "cannot be recorded, so trading stays halted" in resumed.stderr
    assert HaltFile(desk.folder / "store").reason() == "odd prices"


def test_with_a_locked_ledger_it_halts_by_the_file_first(desk, monkeypatch):
    path = desk.folder / "store" / "ledger.sqlite"
    assert desk.bot.store.ledger.halted() is None
    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda path, **options: connect(path, **options | {"timeout": 0.1}))
    with closing(connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        document = desk.json("halt", "odd prices", exit_code=1)
        assert "locked" in document["problems"][0]
        assert SqliteLedger(path).halted() == "odd prices"
        assert desk.run("resume").exit_code == 1
    assert desk.json("resume")["was_halted"] == "odd prices"


def test_when_neither_can_be_written_it_shouts(desk, monkeypatch):
    damage(desk)
    (desk.folder / "store").rename(desk.folder / "away")
    (desk.folder / "store").write_text("")
    (desk.folder / "config.yaml").write_text(f"data_store: {{path: {desk.folder}/store/in}}\n")
    monkeypatch.setattr(HaltFile, "reason", lambda file: None)
    result = desk.run("halt", "odd prices")
    assert (result.exit_code, "TRADING IS NOT HALTED" in result.stderr) == (1, True)


def test_a_file_that_cannot_be_read_halts_until_it_is_resumed(desk):
    (desk.folder / "store" / "HALT").write_bytes(b"\xff")
    assert "reason cannot be read" in desk.json("status")["halted"]
    assert "reason cannot be read" in desk.json("resume")["was_halted"]
    assert desk.json("status")["halted"] is None


# Orders at the broker


def test_orders_of_the_simulated_engine_are_cancelled(live_desk):
    live_desk.json("run-session")
    before = live_desk.bot.store.ledger.open_orders("value_investor")
    assert before
    document = live_desk.json("halt", "odd prices")
    assert {(order["order_key"], order["state"]) for order in document["orders"]} >= {(i.key, "cancelled") for i, _ in before}
    assert live_desk.bot.store.ledger.open_orders("value_investor") == []
    assert live_desk.json("halt", "odd prices")["orders"] == []


def test_after_the_end_of_a_halt_cancelled_orders_are_not_sent_again(live_desk):
    live_desk.json("run-session")
    live_desk.json("halt", "odd prices")
    live_desk.json("resume")
    live_desk.json("run-session")
    states = live_desk.bot.store.ledger.orders("value_investor").filter("approved")["state"]
    assert set(states) == {"cancelled"}


def test_orders_may_be_kept(live_desk):
    live_desk.json("run-session")
    before = live_desk.bot.store.ledger.open_orders("value_investor")
    document = live_desk.json("halt", "odd prices", "--keep-orders")
    assert (document["orders"], live_desk.bot.store.ledger.open_orders("value_investor")) == ([], before)
    assert "stay there" in live_desk.run("halt", "odd prices", "--keep-orders").stdout


def test_a_halt_outlives_every_process_and_stops_the_next_session(live_desk):
    live_desk.json("halt", "odd prices")
    outcomes = {outcome["outcome"] for outcome in live_desk.json("run-session")["strategies"]}
    assert (outcomes, live_desk.json("status")["halted"]) == ({"halted"}, "odd prices")
    live_desk.after_close_of(xnys().next(START))
    assert {outcome["outcome"] for outcome in live_desk.json("run-session")["strategies"]} == {"halted"}
