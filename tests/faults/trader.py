"""The trader of a story: a process that does one errand of the live path, as a run of the schedule or of the sensor would.

Desk, ledger, store, engine and ib_async are the real ones. Only waiting times are shorter, and every call that leaves a mark in
the ledger, the store or at the engine is counted, so that the process can end itself (SIGKILL) before the n-th of them.
"""

import os
import signal
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

from tests.faults import disk, planted
from tests.faults.world import ACCOUNT, CAPITAL, CON_IDS, LIMITS, SLEEVE, GivenMarkets, World, sleeve
from tradebot_core.calendar import xnys
from tradebot_core.clock import SampleClock
from tradebot_core.config import IbkrSettings, Mode
from tradebot_core.errors import TradebotError
from tradebot_core.execution.ibkr import IbkrEngine
from tradebot_core.ibkr import connection, orders
from tradebot_core.interfaces import Purpose
from tradebot_core.stores.file_store import FileStore
from tradebot_core.trading.live import LiveDesk, issue_permit
from tradebot_core.trading.risk import LimitGate

REFUSED = 3  # exit code of a run that ended in an error of ours, which names its cause
BROKEN = 4  # of one that ended in any other

_MARKS = {
    "write_results", "require_venue", "claim_permit", "issue_permit", "seal_decisions", "commit_orders", "commit_plan", "mark",
    "record_state", "record_check", "record_fill", "post", "submit", "get_order_status",
}  # fmt: skip


@dataclass(frozen=True)
class Errand:
    """`step` is decide, submit or record. `kill_before` counts the calls that leave a mark, from 1; 0 is never. `by` SIGSTOP the
    process only falls asleep there. `at_write` is one of disk.AT_WRITE at the write of that number, `skew` what the trader's clock is
    ahead, `bug` a name of planted.BUGS."""

    folder: Path
    port: int
    world: World
    step: str
    session: date
    run: str
    renew: bool = False
    sleeve: str = SLEEVE
    kill_before: int = 0
    permit: str = ""  # instead of one that is issued
    by: signal.Signals = signal.SIGKILL
    at_write: tuple[str, int] | None = None
    skew: timedelta = timedelta(0)
    bug: str = ""


@dataclass(frozen=True)
class SkewedClock:
    real: SampleClock
    ahead: timedelta

    def now(self) -> datetime:
        return self.real.now() + self.ahead


class Counter:
    def __init__(self, folder: Path, kill_before: int, by: signal.Signals) -> None:
        self._log = os.open(folder / "marks", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self._kill_before = kill_before
        self._by = by
        self._count = 0

    def mark(self, name: str) -> None:
        self._count += 1
        os.write(self._log, f"{name}\n".encode())
        if self._count == self._kill_before:
            os.kill(os.getpid(), self._by)


class Counted:
    """Passes everything on, and counts the calls that leave a mark."""

    def __init__(self, real: Any, counter: Counter) -> None:
        self._real = real
        self._counter = counter

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._real, name)
        if name == "ledger":
            return Counted(found, self._counter)
        return self._counting(name, found) if name in _MARKS else found

    def _counting(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any, **named: Any) -> Any:
            self._counter.mark(name)
            return call(*arguments, **named)

        return counted


def hurry() -> None:
    """The broker of a story answers at once or never."""
    connection.answer.__kwdefaults__["timeout_s"] = 0.4
    connection.run.__kwdefaults__["connect_timeout_s"] = 1.0
    connection._CLOCK_TIMEOUTS_S = (0.2, 0.2)
    connection._ID_RELEASE_S = 0.1
    orders._COMMISSION_TIMEOUT_S = 0.15


def desk_of(errand: Errand, counter: Counter) -> LiveDesk:
    clock, calendar = SkewedClock(SampleClock(errand.folder / "clock"), errand.skew), xnys()
    settings = IbkrSettings(port=errand.port, account=ACCOUNT)

    def engine() -> Any:
        return Counted(IbkrEngine(settings, Mode.PAPER, CON_IDS, acknowledge_timeout_s=0.3, clock=clock), counter)

    store = Counted(FileStore(errand.folder / "store", calendar), counter)
    markets = GivenMarkets(errand.world.prices)
    gate = LimitGate(LIMITS)
    return LiveDesk(
        store,
        calendar,
        markets,
        LIMITS,
        gate,
        engine,
        clock,
        "the broker of a story",
        lambda _: time.sleep(0.01),
        why_not_armed=lambda _: "",
    )


def run(errand: Errand) -> str:
    if errand.at_write:
        disk.fail(*errand.at_write)
    if errand.bug:
        planted.BUGS[errand.bug]()
    counter = Counter(errand.folder, errand.kill_before, errand.by)
    desk = desk_of(errand, counter)
    world = errand.world
    strategy = sleeve(world.scripts[errand.sleeve], errand.sleeve, world.style)
    now, ledger = desk.clock.now(), desk.store.ledger
    if errand.step == "record":
        done = f"{desk.record_fills(errand.sleeve, now)} ended"
    else:
        purpose = Purpose.DECIDE if errand.step == "decide" else Purpose.SUBMIT
        permit = issue_permit(ledger, desk.calendar, now, purpose, renew=errand.renew)
        permit_id = errand.permit or (permit.permit_id if permit else None)
        if errand.step == "decide":
            decided = desk.decide(strategy, CAPITAL, errand.session, permit_id, errand.run, now)
            done = f"live={decided.live} {decided.note}"
        else:
            submission = desk.submit(strategy, errand.session, permit_id, errand.run, now)
            done = f"{submission.outcome} {submission.note}"
    counter.mark("end")
    return done


def work(errand: Errand) -> None:
    """The process's whole life. Its exit code is 0, REFUSED or BROKEN; what it had to say goes to the file `said`."""
    try:
        said, code = run(errand), 0
    except TradebotError as error:
        said, code = f"{type(error).__name__}: {error}", REFUSED
    except BaseException:
        said, code = traceback.format_exc(), BROKEN
    with (errand.folder / "said").open("a") as file:
        file.write(f"{errand.run}: {said}\n")
    os._exit(code)
