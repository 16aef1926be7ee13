"""What happens at a simulated TWS without a client, called from another thread while clients are connected."""

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import pytest
from ib_async import IB, MarketOrder, Stock

from tests.ibkr.conftest import ACCOUNT, THURSDAY, WEDNESDAY, Gateway, at
from tests.ibkr.test_simulated_tws import ask, until
from tests.markets import write_config
from tradebot_core.config import IbkrSettings
from tradebot_core.simulation.account import AccountState
from tradebot_core.simulation.by_hand_lines import perform
from tradebot_core.simulation.order_rules import OrderRefused
from tradebot_core.simulation.tws import SimulatedTws, serving

D = Decimal
OTHER = "DU0000002"
AAA = Stock("AAA", "SMART", "USD")


@dataclass
class Open:
    gateway: Gateway
    tws: SimulatedTws
    settings: IbkrSettings

    def ask(self, work, client_id: int = 5):
        return ask(self.settings, work, client_id)


@pytest.fixture
def tws(gateway: Gateway) -> Iterator[Open]:
    """Wednesday at noon, two accounts."""
    gateway.clock.set(at(WEDNESDAY, 12))
    served = gateway.tws(others=[OTHER])
    with serving(served) as port:
        yield Open(gateway, served, IbkrSettings(port=port, account=ACCOUNT))


def elsewhere(act):
    """Done by a thread of its own while the client waits."""
    thread = threading.Thread(target=act)
    thread.start()
    return thread


def cash(ib: IB) -> Decimal:
    return next(D(value.value) for value in ib.accountValues(ACCOUNT) if value.tag == "TotalCashValue")


def test_a_purchase_by_hand_fills_and_a_client_that_follows_the_account_is_told(tws):
    async def work(ib: IB):
        await ib.reqAccountUpdatesAsync(ACCOUNT)
        elsewhere(lambda: tws.tws.by_hand.buy("AAA", 10))
        await until(ib, lambda: ib.positions() and cash(ib) == 9829)
        return [(p.account, p.contract.symbol, p.position) for p in ib.positions()], ib.fills()

    positions, fills = tws.ask(work)
    assert positions == [(ACCOUNT, "AAA", 10)]
    assert fills == []  # an order that another placed: its executions come only to who asks


def test_cash_that_comes_and_goes_is_told_and_kept(tws):
    async def work(ib: IB):
        await ib.reqAccountUpdatesAsync(ACCOUNT)
        elsewhere(lambda: tws.tws.by_hand.move_cash(D("-2500.50")))
        await until(ib, lambda: cash(ib) == D("7499.50"))

    tws.ask(work)
    entries = AccountState.load(tws.gateway.folder / "account.json").accounts[ACCOUNT].entries
    assert [(entry.kind, entry.amount) for entry in entries] == [("opening", 10_000), ("withdrawal", D("-2500.5"))]


def test_a_correction_comes_to_the_client_that_ordered_with_its_commission(tws):
    async def work(ib: IB):
        placed = ib.placeOrder(AAA, MarketOrder("BUY", 10, account=ACCOUNT, tif="DAY"))
        await until(ib, lambda: placed.isDone() and placed.fills and placed.fills[0].commissionReport.execId)
        first = placed.fills[0].execution
        elsewhere(lambda: tws.tws.by_hand.correct(first.execId, D("17.25")))
        await until(ib, lambda: len(ib.fills()) == 2 and ib.fills()[-1].commissionReport.execId)
        return first, ib.fills()[-1]

    first, corrected = tws.ask(work)
    assert (first.price, corrected.execution.price, corrected.commissionReport.commission) == (17, 17.25, 1)
    assert corrected.execution.execId == first.execId[:-2] + "02"
    with pytest.raises(KeyError, match="no execution"):
        tws.tws.by_hand.correct("0000.0000.01.01", D(1))


def test_an_order_of_a_client_is_cancelled_by_hand_and_the_client_told(tws):
    async def work(ib: IB):
        placed = ib.placeOrder(AAA, MarketOrder("BUY", 10, account=ACCOUNT, tif="OPG"))
        await until(ib, lambda: placed.orderStatus.permId)
        elsewhere(lambda: tws.tws.by_hand.cancel(placed.orderStatus.permId))
        await until(ib, placed.isDone)
        return placed.orderStatus.status

    assert tws.ask(work) == "Cancelled"
    with pytest.raises(OrderRefused, match="permId 7"):
        tws.tws.by_hand.cancel(7)


def test_a_split_takes_effect_at_the_next_open_in_holdings_prices_and_history_and_outlives_the_process(tws):
    tws.tws.by_hand.buy("AAA", 10)
    tws.tws.by_hand.buy("AAA", 4, account=OTHER)
    assert tws.tws.by_hand.split("AAA", 2) == THURSDAY
    assert tws.tws.by_hand.truth().accounts[ACCOUNT].holdings[101].quantity == 10

    async def bars(ib: IB):
        found = await ib.reqHistoricalDataAsync(AAA, "", "3 D", "1 day", "TRADES", useRTH=True, formatDate=2)
        return {bar.date: (bar.open, bar.volume) for bar in found}

    before = tws.ask(bars)
    tws.gateway.clock.set(at(THURSDAY, 18))
    after = tws.ask(bars)
    assert before[WEDNESDAY] == (17.0, 0.0)
    assert (after[WEDNESDAY], after[THURSDAY]) == ((8.5, 2000.0), (9.0, 2000.0))
    state = tws.tws.by_hand.truth()
    assert {account: book.holdings[101].quantity for account, book in state.accounts.items()} == {ACCOUNT: 20, OTHER: 8}
    again = tws.gateway.tws(others=[OTHER])
    assert [bar.open for bar in again.exchange.history(101, WEDNESDAY, THURSDAY)] == [8.5, 9.0]


def test_a_dividend_is_paid_at_the_next_open_on_what_is_held_then(tws):
    tws.tws.by_hand.buy("CC.B", 10)
    assert tws.tws.by_hand.dividend("CC.B", 0.5) == THURSDAY
    tws.tws.by_hand.buy("CC.B", 10)
    tws.gateway.clock.set(at(THURSDAY, 10))
    tws.ask(_nothing)
    entries = tws.tws.by_hand.truth().accounts[ACCOUNT].entries
    assert [(entry.day, entry.kind, entry.amount) for entry in entries[1:]] == [(THURSDAY, "dividend", 10)]


@pytest.mark.parametrize("ratio", [0, -2, float("nan")])
def test_a_split_that_is_none_is_refused(tws, ratio):
    with pytest.raises(ValueError, match="is none"):
        tws.tws.by_hand.split("AAA", ratio)
    with pytest.raises(OrderRefused, match="200"):
        tws.tws.by_hand.split("ZZZ", 2)
    assert tws.tws.by_hand.truth().announced == []


def test_many_threads_at_once_lose_nothing(tws):
    threads = [elsewhere(lambda: [tws.tws.by_hand.move_cash(D(1)) for _ in range(25)]) for _ in range(4)]

    async def trade(ib: IB):
        for _ in range(20):
            placed = ib.placeOrder(AAA, MarketOrder("BUY", 1, account=OTHER, tif="DAY"))
            await until(ib, placed.isDone)

    tws.ask(trade)
    for thread in threads:
        thread.join()
    state = tws.tws.by_hand.truth()
    assert state.accounts[ACCOUNT].cash == 10_100
    assert (state.accounts[OTHER].holdings[101].quantity, len(state.executions)) == (20, 20)


def test_without_a_server_it_is_done_at_once(gateway):
    gateway.clock.set(at(WEDNESDAY, 12))
    tws = gateway.tws()
    order = tws.by_hand.buy("AAA", 10)
    assert (order.status, tws.by_hand.truth().accounts[ACCOUNT].holdings[101].quantity) == ("Filled", 10)


async def _nothing(_: IB) -> None:
    pass


# As lines.


def test_lines_say_what_is_done_and_answer_with_what_came_of_it(tws):
    def say(line: str) -> str:
        return perform(tws.tws.by_hand, line)

    assert say("buy AAA 10") == f"order 1000000001 of {ACCOUNT}: BUY 10 AAA, Filled, 10 filled at 17.00"
    assert say(f"buy AAA 4 20.00 {OTHER}").startswith(f"order 1000000002 of {OTHER}: BUY 4 AAA limit 20.00, Filled")
    assert say("cash -5000") == f"{ACCOUNT}: 4829.00 USD, 10 AAA"
    assert say("sell AAA 11") == "refused: 201: Order rejected - reason:A cash account cannot hold a short position."
    assert "at 17.10" in say("correct AAA 17.10")
    assert say("split AAA 2") == f"AAA: 2 shares for one at the open of {THURSDAY}"
    assert say("dividend AAA 0.25") == f"AAA: 0.25 USD a share at the open of {THURSDAY}"
    assert say("link data-lost") == "link data-lost"
    assert say(f"account {OTHER}") == f"{OTHER}: 9930.92 USD, 4 AAA"  # the correction was of the last execution


@pytest.mark.parametrize(
    "line",
    [
        "",
        "sing",
        "buy",
        "buy AAA",
        "buy AAA ten",
        "buy AAA 1 1 DU9",
        "cash NaN",
        "cash",
        "split AAA",
        "correct ZZZ 1",
        "link up",
    ],
)
def test_a_line_that_is_not_understood_changes_nothing_and_says_what_may_be_said(tws, line):
    before = tws.tws.by_hand.truth()
    answer = perform(tws.tws.by_hand, line)
    assert answer.startswith("not ") and "dividend AAPL 0.25" in answer
    assert tws.tws.by_hand.truth() == before


def test_a_line_scripts_faults_from_then_on(tws):
    assert (
        perform(tws.tws.by_hand, "fault drop@history:2 no_ack")
        == "still to come, counted from now: drop@history:2, no_ack@order:1"
    )
    assert perform(tws.tws.by_hand, "fault gremlin").startswith("not done: fault gremlin ('gremlin' is not a fault. Known are")

    async def work(ib):
        trade = ib.placeOrder(AAA, MarketOrder("BUY", 1, account=ACCOUNT, tif="DAY"))
        await ib.reqCurrentTimeAsync()
        return trade.orderStatus.status

    assert tws.ask(work) == "PendingSubmit"
    assert [str(fault) for fault in tws.tws.faults.happened] == ["no_ack@order:1"]


def test_the_command_takes_lines_while_it_serves(gateway, tmp_path):
    gateway.clock.set(at(WEDNESDAY, 12))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    text = (
        "mode: paper\ndata_store: {{backend: file, path: {store}}}\nsample_market: {{path: MARKET}}\n"
        f"ibkr: {{{{port: {port}, account: {ACCOUNT}}}}}\n"
    )
    config = write_config(tmp_path / "bot", text.replace("MARKET", str(gateway.folder)))
    code = "from tradebot_dagster.cli import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, "simulate-tws", "--by-hand", "--other", OTHER, "--config", str(config)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert process.stdin is not None and process.stdout is not None
    for line in ("buy AAA 10", f"cash -500 {OTHER}"):
        process.stdin.write(f"{line}\n")
        process.stdin.flush()
    assert f"{ACCOUNT}, {OTHER}" in process.stdout.readline()
    assert "BUY 10 AAA, Filled" in process.stdout.readline()
    assert process.stdout.readline() == f"{OTHER}: 99500.00 USD\n"
    process.stdin.close()  # it goes on without

    async def held(ib: IB):
        return {p.contract.symbol: p.position for p in ib.positions() if p.account == ACCOUNT}

    assert ask(IbkrSettings(port=port, account=ACCOUNT), held) == {"AAA": 10}
    os.kill(process.pid, signal.SIGTERM)
    assert process.wait(15) == 0
    assert AccountState.load(gateway.folder / "broker_account.json").accounts[ACCOUNT].holdings[101].quantity == 10
