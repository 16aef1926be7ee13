"""A story: some sessions of one sleeve, in which the trader is killed and the broker misbehaves, all drawn from a seed.

Each session has three errands, as the schedules and the sensor have them: decide in the evening, submit before the next open,
record after it. An errand may end badly several times; then it is done again until it ends well, twice, and what it has done
the second time must be nothing. The oracle looks after each evening.
"""

import faulthandler
import os
import random
import tempfile
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

from tests.faults.broker import AT_ORDER, AT_REPLY, AT_REQUEST, Trouble, TroubledTws
from tests.faults.oracle import breaks, dump
from tests.faults.trader import BROKEN, Errand
from tests.faults.world import ACCOUNT, CAPITAL, SESSIONS, SLEEVE, Prices, at, drawn_script
from tests.faults.zygote import zygote
from tradebot_core.calendar import xnys
from tradebot_core.clock import SampleClock
from tradebot_core.model.order import OrderState
from tradebot_core.simulation.account import latest
from tradebot_core.simulation.tws import serving
from tradebot_core.stores.sqlite_ledger import SqliteLedger

STEPS = ("decide", "submit", "record")
_STORY_HANGS_S = 180.0
_MOST_RUNS = 8  # of one errand, before the story is taken to hang
# What is written there survives a kill, as on a disk; a power cut is not simulated.
IN_MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


class Broken(AssertionError):
    """The story has shown an error."""


@dataclass
class Bad:
    """One run of an errand that goes wrong."""

    kill_before: int = 0
    troubles: Sequence[Trouble] = ()

    def __str__(self) -> str:
        said = [f"killed before mark {self.kill_before}"] if self.kill_before else []
        return ", ".join([*said, *(f"{trouble.what} ({trouble.nth})" for trouble in self.troubles)])


@dataclass
class Story:
    """Told in `folder`, by `seed`. `steps` is what happened, for the one who reads of a failure."""

    folder: Path
    seed: int
    script: tuple[str, ...] = ()
    steps: list[str] = field(default_factory=list)
    excuses: Counter[date] = field(default_factory=Counter)  # by session, runs that went wrong
    runs: int = 0

    def __enter__(self) -> "Story":
        self.folder.mkdir(parents=True, exist_ok=True)
        self.clock = SampleClock(self.folder / "clock")
        self.clock.set(at(SESSIONS[0], 18))
        self.tws = TroubledTws(Prices.drawn(self.seed).market_data(), self.clock, ACCOUNT, CAPITAL)
        self._stack = ExitStack()
        self.port = self._stack.enter_context(serving(self.tws))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def ledger(self) -> SqliteLedger:
        return SqliteLedger(self.folder / "store" / "ledger.sqlite")

    @property
    def marks(self) -> list[str]:
        return (self.folder / "marks").read_text().split()

    def errand(self, step: str, session: date, bad: Bad | None = None, *, renew: bool = True, permit: str = "") -> int:
        """One process's work; its exit code, negative when it was killed."""
        bad = bad or Bad()
        self.runs += 1
        (self.folder / "marks").unlink(missing_ok=True)
        name = f"{step} {session} {self.runs}"
        work = Errand(self.folder, self.port, self.seed, self.script, step, session, name, renew, bad.kill_before, permit)
        hand = self.tws.hand
        hand.begin(bad.troubles)
        process = zygote().start(work)
        hand.victim = process.pid
        code = process.join(60)
        if code is None:
            process.kill()
            raise Broken(f"{name} hangs")
        if step == "submit" and (code or hand.happened):
            self.excuses[session] += 1
        self.steps.append(f"{name}: {bad} -> {code} {sorted(set(hand.happened))}".replace(":  ->", ": ->"))
        if code == BROKEN:
            raise Broken((self.folder / "said").read_text())
        return code

    def at_once(self, step: str, session: date, count: int) -> list[int | None]:
        """The same errand by several processes that start together, each as a run of its own; their exit codes."""
        self.tws.hand.begin()
        works = []
        for number in range(count):
            self.runs += 1
            work = Errand(
                self.folder, self.port, self.seed, self.script, step, session, f"{step} {session} {number}", number > 0
            )
            works.append(work)
        made = [zygote().start(work) for work in works]
        codes = [process.join(60) for process in made]
        self.excuses[session] += sum(code != 0 for code in codes)
        self.steps.append(f"{step} {session} by {count} at once -> {codes}")
        if BROKEN in codes or None in codes:
            raise Broken((self.folder / "said").read_text())
        return codes

    def until_done(self, step: str, session: date, bads: Sequence[Bad] = ()) -> None:
        """The errand, badly as often as told, and then again until it ends well, and once more, which must change nothing."""
        for number, bad in enumerate(bads):
            self.errand(step, session, bad, renew=number > 0)
            self.clock.set(self.clock.now() + timedelta(minutes=1))
        for _ in range(_MOST_RUNS):
            if self.errand(step, session) == 0 and not (step == "submit" and self.unsent(session)):
                break
            self.clock.set(self.clock.now() + timedelta(minutes=1))
        else:
            raise Broken(f"{step} {session} does not come to an end: {(self.folder / 'said').read_text()[-2000:]}")
        before = dump(self.folder / "store" / "ledger.sqlite")
        for _ in range(2 if bads else 1):
            self.errand(step, session)
        changed = set(dump(self.folder / "store" / "ledger.sqlite")) ^ set(before)
        if changed:
            raise Broken(f"{step} {session} done again changed the ledger: {sorted(changed)}")

    def unsent(self, session: date) -> bool:
        """Whether the sensor would ask for another run."""
        on_their_way = (OrderState.NEW, OrderState.SENDING, OrderState.UNKNOWN)
        return any(intent.session == session and state in on_their_way for intent, state in self.ledger.open_orders(SLEEVE))

    def evening(self, session: date, bads: Sequence[Bad] = ()) -> None:
        self.clock.set(at(session, 18))
        self.until_done("decide", session, bads)
        self.look(session)

    def dawn(self, session: date, bads: Sequence[Bad] = ()) -> None:
        """Before the open that follows the session."""
        self.clock.set(at(xnys().next(session), 8))
        self.until_done("submit", session, bads)

    def noon(self, session: date, bads: Sequence[Bad] = ()) -> None:
        """After the open that follows the session."""
        self.clock.set(at(xnys().next(session), 10, 15))
        self.until_done("record", session, bads)

    def look(self, session: date) -> None:
        found = list(breaks(self.ledger, self.tws.exchange.truth(), session, self.excuses))
        if found:
            raise Broken("\n".join(found))

    def correct(self, chance: random.Random) -> None:
        """The exchange corrects the price of one of the day's executions, if there is any."""
        exchange = self.tws.exchange
        today = list(latest(exchange.executions()))
        if today:
            done = chance.choice(today)
            exchange.correct(done.execution_id, done.price + Decimal("0.05"))
            self.steps.append(f"{done.execution_id} corrected")


def told(folder: Path, seed: int, sessions: int = 3) -> Story:
    """A story of that many sessions, drawn from the seed. Raises Broken, with the steps."""
    chance, days = random.Random(seed), SESSIONS[: sessions + 1]
    with Story(folder, seed, drawn_script(seed, days[:-1])) as story:
        try:
            for session in days[:-1]:
                story.evening(session, drawn(chance, 0.4, most_marks=14, at_order=False))
                story.dawn(session, drawn(chance, 0.9, most_marks=24, at_order=True))
                if chance.random() < 0.3:
                    story.tws.hand.desk.exchange.roll_back_ids(1)
                story.noon(session, drawn(chance, 0.5, most_marks=10, at_order=False))
                if chance.random() < 0.25:
                    story.correct(chance)
            story.evening(days[-1], drawn(chance, 0.5, most_marks=14, at_order=False))
        except Broken as broken:
            steps = "\n  ".join(story.steps)
            raise Broken(f"seed {seed}, after run {story.runs}:\n  {steps}\n{broken}") from None
    return story


def drawn(chance: random.Random, share: float, *, most_marks: int, at_order: bool) -> list[Bad]:
    """How the runs of an errand go wrong: none or up to three of them."""
    bads = []
    while len(bads) < 3 and chance.random() < share:
        kind, bad = chance.random(), Bad()
        if kind < 0.35:
            bad.kill_before = chance.randint(1, most_marks)
        elif at_order and kind < 0.75:
            bad.troubles = [Trouble(chance.choice(AT_ORDER), chance.choice((1, 1, 2)))]
        elif kind < 0.88:
            bad.troubles = [Trouble(chance.choice(AT_REQUEST), chance.randint(1, 10))]
        else:
            bad.troubles = [Trouble(chance.choice(AT_REPLY), chance.randint(1, 30))]
        if chance.random() < 0.2:
            bad.troubles = [*bad.troubles, Trouble(chance.choice(AT_REQUEST), chance.randint(1, 12))]
        bads.append(bad)
        share *= 0.6
    return bads


def tell(seed: int, sessions: int) -> tuple[int, int, str, tuple[str, ...]]:
    """Seed, processes run, what broke ("" for nothing), the steps."""
    with tempfile.TemporaryDirectory(dir=IN_MEMORY) as folder:
        faulthandler.dump_traceback_later(_STORY_HANGS_S)  # where it stands, should it hang
        try:
            story = told(Path(folder), seed, sessions)
        except Broken as broken:
            return seed, 0, str(broken), ()
        finally:
            faulthandler.cancel_dump_traceback_later()
        return seed, story.runs, "", tuple(story.steps)
