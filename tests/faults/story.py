"""A story: some sessions of a sleeve or two, in which the trader is killed, its disk is full and the broker misbehaves, all drawn
from a seed.

Each session has three errands of each sleeve, as the schedules and the sensor have them: decide in the evening, submit before the
next open, record after it (which may be missed). An errand may end badly several times; then it is done again until it ends well,
twice, and what it has done the second time must be nothing. The oracle looks after each evening.
"""

import faulthandler
import logging
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
from tests.faults.disk import AT_WRITE
from tests.faults.oracle import breaks, dump
from tests.faults.trader import BROKEN, Errand
from tests.faults.world import ACCOUNT, CAPITAL, SESSIONS, SLEEVE, World, at
from tests.faults.zygote import zygote
from tradebot_core.calendar import xnys
from tradebot_core.clock import SampleClock
from tradebot_core.errors import ReconciliationError, StoreError
from tradebot_core.model.order import OrderState
from tradebot_core.simulation.account import AccountState, latest
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
    at_write: tuple[str, int] | None = None
    skew: timedelta = timedelta(0)

    def __str__(self) -> str:
        said = [f"killed before mark {self.kill_before}"] if self.kill_before else []
        said += [f"{self.at_write[0]} at write {self.at_write[1]}"] if self.at_write else []
        said += [f"clock {self.skew.total_seconds() / 60:+.0f} min"] if self.skew else []
        return ", ".join([*said, *(f"{trouble.what} ({trouble.nth})" for trouble in self.troubles)])


@dataclass
class Story:
    """Told in `folder`, by `seed`; of one sleeve with that `script`, unless there is a `world`. `bug` is planted in every trader.
    `steps` is what happened, for the one who reads of a failure."""

    folder: Path
    seed: int
    script: tuple[str, ...] = ()
    world: World | None = None
    bug: str = ""
    steps: list[str] = field(default_factory=list)
    excuses: Counter[date] = field(default_factory=Counter)  # by session, runs that went wrong
    runs: int = 0

    def __enter__(self) -> "Story":
        self.folder.mkdir(parents=True, exist_ok=True)
        self.clock = SampleClock(self.folder / "clock")
        self.clock.set(at(SESSIONS[0], 18))
        self.market = self.world or World.of(self.seed, self.script)
        self.sleeves = tuple(self.market.scripts)
        cash = CAPITAL * len(self.sleeves)
        self.tws = TroubledTws(self.market.prices.market_data(), self.clock, ACCOUNT, cash)
        self._stack = ExitStack()
        self.port = self._stack.enter_context(serving(self.tws))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def ledger(self) -> SqliteLedger:
        return SqliteLedger(self.folder / "store" / "ledger.sqlite")

    @property
    def said(self) -> str:
        said = self.folder / "said"
        return said.read_text() if said.exists() else ""

    @property
    def marks(self) -> list[str]:
        return (self.folder / "marks").read_text().split()

    def errand(
        self,
        step: str,
        session: date,
        bad: Bad | None = None,
        *,
        renew: bool = True,
        permit: str = "",
        sleeve: str = SLEEVE,
    ) -> int:
        """One process's work; its exit code, negative when it was killed."""
        bad = bad or Bad()
        work = self.work(step, session, bad, renew=renew, permit=permit, sleeve=sleeve)
        hand = self.tws.hand
        hand.begin(bad.troubles)
        process = zygote().start(work)
        hand.victim = process.pid
        code = process.join(60)
        if code is None:
            process.kill()
            raise Broken(f"{work.run} hangs")
        if step == "submit" and (code or hand.happened):
            self.excuses[session] += 1
        if step == "submit" and bad.skew:  # it may take the session's time to submit for over
            self.excuses[session] += 9
        self.steps.append(f"{work.run}: {bad} -> {code} {sorted(set(hand.happened))}".replace(":  ->", ": ->"))
        if code == BROKEN:
            raise Broken((self.folder / "said").read_text())
        return code

    def work(self, step: str, session: date, bad: Bad, *, renew: bool, permit: str = "", sleeve: str = SLEEVE) -> Errand:
        self.runs += 1
        (self.folder / "marks").unlink(missing_ok=True)
        return Errand(
            self.folder,
            self.port,
            self.market,
            step,
            session,
            f"{step} {session} {self.runs}" + (f" {sleeve}" if len(self.sleeves) > 1 else ""),
            renew,
            sleeve,
            bad.kill_before,
            permit,
            at_write=bad.at_write,
            skew=bad.skew,
            bug=self.bug,
        )

    def at_once(self, step: str, session: date, count: int) -> list[int | None]:
        """The same errand by several processes that start together, each as a run of its own; their exit codes."""
        self.tws.hand.begin()
        works = [self.work(step, session, Bad(), renew=number > 0) for number in range(count)]
        made = [zygote().start(work) for work in works]
        codes = [process.join(60) for process in made]
        self.excuses[session] += sum(code != 0 for code in codes)
        self.steps.append(f"{step} {session} by {count} at once -> {codes}")
        if BROKEN in codes or None in codes:
            raise Broken((self.folder / "said").read_text())
        return codes

    def until_done(self, step: str, session: date, bads: Sequence[Bad] = ()) -> None:
        """The errand of each sleeve, badly as often as told, and then again until it ends well, and once more, which must change
        nothing."""
        for sleeve in self.sleeves:
            self._until_done(step, session, bads, sleeve)

    def _until_done(self, step: str, session: date, bads: Sequence[Bad], sleeve: str) -> None:
        for number, bad in enumerate(bads):
            self.errand(step, session, bad, renew=number > 0, sleeve=sleeve)
            self.clock.set(self.clock.now() + timedelta(minutes=1))
        for _ in range(_MOST_RUNS):
            if self.errand(step, session, sleeve=sleeve) == 0 and not (step == "submit" and self.unsent(session, sleeve)):
                break
            self.clock.set(self.clock.now() + timedelta(minutes=1))
        else:
            raise Broken(f"{step} {session} does not come to an end: {(self.folder / 'said').read_text()[-2000:]}")
        before = dump(self.folder / "store" / "ledger.sqlite")
        for _ in range(self.repeats(bads)):
            self.errand(step, session, sleeve=sleeve)
        changed = set(dump(self.folder / "store" / "ledger.sqlite")) ^ set(before)
        if changed:
            raise Broken(f"{step} {session} done again changed the ledger: {sorted(changed)}")

    def repeats(self, bads: Sequence[Bad]) -> int:
        """How often what was done is done again: once after a fault and twice after several; where nothing went wrong every other
        time, for each is a process."""
        return min(len(bads), 2) or self.runs % 2

    def unsent(self, session: date, sleeve: str = SLEEVE) -> bool:
        """Whether the sensor would ask for another run."""
        on_their_way = (OrderState.NEW, OrderState.SENDING, OrderState.UNKNOWN)
        return any(intent.session == session and state in on_their_way for intent, state in self.ledger.open_orders(sleeve))

    def evening(self, session: date, bads: Sequence[Bad] = ()) -> None:
        self.clock.set(at(session, 18))
        self.until_done("decide", session, bads)
        # As the sensor does while the broker's word of an order is not whole: a commission may be late.
        for sleeve in self.sleeves:
            unpaid = self.ledger.fills(sleeve, session, session)["commission"].has_nulls()
            if unpaid or any(intent.session < session for intent, _ in self.ledger.open_orders(sleeve)):
                self._until_done("record", session, (), sleeve)
        self.look(session)

    def dawn(self, session: date, bads: Sequence[Bad] = ()) -> None:
        """Before the open that follows the session."""
        self.clock.set(at(xnys().next(session), 8))
        self.until_done("submit", session, bads)

    def noon(self, session: date, bads: Sequence[Bad] = ()) -> None:
        """After the open that follows the session."""
        self.clock.set(at(xnys().next(session), 10, 15))
        self.until_done("record", session, bads)

    def without_link(self, session: date) -> None:
        """The gateway loses IBKR before the open; what trades then is told to nobody. The sensor's run finds out nothing, and the next
        one hears 1101 or 1102 in the middle of its connection."""
        hand = self.tws.hand
        hand.do(lambda: hand.lose_link(until=0))
        self.clock.set(at(xnys().next(session), 10, 15))
        for sleeve in self.sleeves:
            due = bool(self.ledger.open_orders(sleeve))
            code = self.errand("record", session, Bad(troubles=[Trouble("the link is down")]), sleeve=sleeve)
            if due and not code:
                raise Broken(f"record {session} had an answer from a gateway without IBKR")
        assert hand.down is not None
        hand.down.until, hand.down.word = 2, 1101 if session.day % 2 else 1102
        hand.requests = 0
        for sleeve in self.sleeves:
            self.errand("record", session, Bad(troubles=[Trouble("the link is down")]), sleeve=sleeve)

    def truth(self) -> AccountState:
        """What is at the broker by the clock. No trader need have connected since the clock was set."""
        self.tws.hand.do(self.tws.hand.advance)
        return self.tws.exchange.truth()

    def look(self, session: date) -> None:
        found = list(breaks(self.ledger, self.truth(), session, self.excuses, self.sleeves, self.market.unheard(session)))
        if found:
            raise Broken("\n".join(found))

    def correct(self, chance: random.Random) -> None:
        """The exchange corrects the price of one of the day's executions, if there is any."""
        exchange = self.tws.exchange

        def correct() -> str:
            exchange.advance()
            today = list(latest(exchange.executions()))
            if not today:
                return ""
            done = chance.choice(today)
            exchange.correct(done.execution_id, done.price + chance.choice((Decimal("0.05"), Decimal("-0.01"))))
            return done.execution_id

        if corrected := self.tws.hand.do(correct):
            self.steps.append(f"{corrected} corrected")


def told(folder: Path, seed: int, sessions: int = 3, bug: str = "") -> Story:
    """A story of that many sessions, drawn from the seed. Raises Broken, with the steps."""
    chance, days = random.Random(seed), SESSIONS[: sessions + 1]
    with Story(folder, seed, world=World.drawn(seed, days), bug=bug) as story:
        try:
            for session in days[:-1]:
                story.evening(session, drawn(chance, 0.4, most_marks=14, at_order=False))
                story.dawn(session, drawn(chance, 0.9, most_marks=24, at_order=True))
                if chance.random() < 0.3:
                    story.tws.hand.do(lambda: story.tws.exchange.roll_back_ids(1))
                noon = chance.random()
                if noon < 0.15:
                    story.without_link(session)
                if noon < 0.75:
                    if chance.random() < 0.1:  # before the trader has seen it in its first terms
                        story.clock.set(at(xnys().next(session), 10, 10))
                        story.correct(chance)
                    story.noon(session, drawn(chance, 0.5, most_marks=10, at_order=False))
                else:
                    story.steps.append("nobody looks until the evening")
                    story.clock.set(at(xnys().next(session), 10, 15))
                for _ in range(chance.choice((0, 0, 0, 1, 2))):
                    story.correct(chance)
            story.evening(days[-1], drawn(chance, 0.5, most_marks=14, at_order=False))
        except (Broken, StoreError, ReconciliationError) as broken:
            steps = "\n  ".join(story.steps)
            what = f"seed {seed}, after run {story.runs}, which said\n{story.said[-1500:]}"
            raise Broken(f"{what}:\n  {steps}\n{broken}\n{again(seed, sessions, bug)}") from None
    return story


def again(seed: int, sessions: int, bug: str = "") -> str:
    """The command that tells a story again."""
    return f"Again: .venv/bin/python -m tests.faults --seed {seed} --sessions {sessions}" + (f" --bug {bug!r}" if bug else "")


def drawn(chance: random.Random, share: float, *, most_marks: int, at_order: bool) -> list[Bad]:
    """How the runs of an errand go wrong: none or up to three of them."""
    bads = []
    while len(bads) < 3 and chance.random() < share:
        kind, bad = chance.random(), Bad()
        if kind < 0.3:
            bad.kill_before = chance.randint(1, most_marks)
        elif at_order and kind < 0.6:
            bad.troubles = [Trouble(chance.choice(AT_ORDER), chance.choice((1, 1, 2)))]
        elif kind < 0.75:
            bad.troubles = [Trouble(chance.choice(AT_REQUEST), chance.randint(1, 10))]
        elif kind < 0.85:
            bad.troubles = [Trouble(chance.choice(AT_REPLY), chance.randint(1, 30))]
        elif kind < 0.95:
            bad.at_write = (chance.choice(AT_WRITE), chance.randint(1, 20))
        else:
            bad.skew = chance.choice((1, -1)) * chance.choice((timedelta(minutes=2), timedelta(minutes=90), timedelta(days=1)))
        if chance.random() < 0.2:
            bad.troubles = [*bad.troubles, Trouble(chance.choice(AT_REQUEST), chance.randint(1, 12))]
        bads.append(bad)
        share *= 0.6
    return bads


def tell(seed: int, sessions: int, bug: str = "") -> tuple[int, int, str, tuple[str, ...]]:
    """Seed, processes run, what broke ("" for nothing), the steps."""
    logging.getLogger("asyncio").setLevel(logging.ERROR)  # it warns of every client that was killed while it was told something
    with tempfile.TemporaryDirectory(dir=IN_MEMORY) as folder:
        faulthandler.dump_traceback_later(_STORY_HANGS_S)  # where it stands, should it hang
        try:
            story = told(Path(folder), seed, sessions, bug)
        except Broken as broken:
            return seed, 0, str(broken), ()
        finally:
            faulthandler.cancel_dump_traceback_later()
        return seed, story.runs, "", tuple(story.steps)
