"""Two processes at one errand: the first falls asleep (SIGSTOP) somewhere, the second does the errand to its end, the first wakes.

So a suspended laptop or a machine short of memory: what the sleeper knows is old, and it is in the middle of acting on it.
"""

import os
import signal
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import date
from itertools import count
from pathlib import Path

import pytest

from tests.faults.story import Bad, Story
from tests.faults.trader import REFUSED
from tests.faults.world import SESSIONS, SLEEVE, at
from tests.faults.zygote import Child, zygote

DAY, NEXT = SESSIONS[:2]
SCRIPT = (f"{DAY} buy AAA 0.3", f"{DAY} buy CCC 0.3")
SEED = 5
EVENING, DAWN, NOON = at(DAY, 18), at(NEXT, 8), at(NEXT, 10, 15)


def overtaken(story: Story, step: str, session: date, nth: int, meanwhile: Callable[[], object]) -> bool:
    """The errand by a process that falls asleep before its n-th mark; what happens meanwhile; its end. Whether it slept."""
    errand = replace(story.work(step, session, Bad(kill_before=nth), renew=story.runs > 0), by=signal.SIGSTOP)
    story.tws.hand.begin()
    process = zygote().start(errand)
    try:
        slept = _asleep(story, process, nth)
        if slept:
            meanwhile()
            os.kill(process.pid, signal.SIGCONT)
        process.join(60)
    finally:
        if process.exitcode is None:
            process.kill()
    assert process.exitcode in (0, REFUSED), (process.exitcode, (story.folder / "said").read_text())
    if step == "submit" and slept:
        story.excuses[session] += 1
    story.steps.append(f"{errand.run}, asleep before mark {nth} -> {process.exitcode}")
    return slept


def _asleep(story: Story, process: Child, nth: int) -> bool:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        if process.exitcode is not None:
            return False
        marks = story.folder / "marks"
        if marks.exists() and len(marks.read_text().split()) == nth:
            time.sleep(0.05)  # from the mark to the signal, which it sends itself
            return process.exitcode is None
        time.sleep(0.01)
    raise AssertionError(f"{story.steps}: neither asleep nor done")


def overtaken_at(folder: Path, step: str, nth: int) -> tuple[set[str], list[str], bool]:
    """One session with two purchases, of which one errand is overtaken: the states afterwards and at the end."""
    with Story(folder, SEED, SCRIPT) as story:
        slept, after = False, list[str]()
        for of, moment, ending in (
            ("decide", EVENING, story.evening),
            ("submit", DAWN, story.dawn),
            ("record", NOON, story.noon),
        ):
            story.clock.set(moment)
            if of == step:
                slept = overtaken(story, step, DAY, nth, lambda of=of: story.errand(of, DAY))
                after = ever_reached(story)
            ending(DAY)
        story.evening(NEXT)
        return after, states(story), slept


def ever_reached(story: Story) -> set[str]:
    with closing(sqlite3.connect(story.ledger._path)) as database:
        return {state for (state,) in database.execute("SELECT state FROM order_states")}


def states(story: Story) -> list[str]:
    return sorted(story.ledger.orders(SLEEVE)["state"])


@pytest.mark.parametrize("step", ["decide", "submit", "record"])
def test_overtaken_at_any_mark_a_sleeper_adds_nothing_and_takes_nothing_away(tmp_path, step):
    """What the sleeper had said it was sending, the other gives up for lost and does not send. The sleeper sends it when it wakes, and
    what the broker says of it takes the place of that."""
    found = []
    for nth in count(1):
        after, ended, slept = overtaken_at(tmp_path / str(nth), step, nth)
        assert ended == ["filled", "filled"], nth
        if not slept:
            break
        found.append(after)
    assert len(found) >= 5
    assert any("lost" in after for after in found) is (step == "submit")


def test_a_sleeper_that_wakes_after_the_open_sends_nothing_more(tmp_path):
    for nth in count(1):
        with Story(tmp_path / str(nth), SEED, SCRIPT) as story:
            story.evening(DAY)
            story.clock.set(DAWN)
            before = []

            def noon(story: Story = story, before: list = before) -> None:
                before += story.truth().orders
                story.clock.set(NOON)

            slept = overtaken(story, "submit", DAY, nth, noon)
            if not slept:
                break
            assert len(story.truth().orders) == len(before), (nth, story.marks[nth - 1])
    assert nth > 5
