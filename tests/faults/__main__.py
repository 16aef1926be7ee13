"""Tells many stories: `python -m tests.faults --seeds 2000`, or one again, with all it did: `python -m tests.faults --seed 17`.

`--bug "forget a fill"` plants one of planted.BUGS in every trader: what the suite is worth.
"""

import argparse
import os
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context

from tests.faults.planted import BUGS
from tests.faults.story import tell
from tradebot_core.trading.code_version import code_version

# A story waits for answers that do not come more than it works.
PROCESSES = 4 * (os.cpu_count() or 1)


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--seeds", type=int, default=500, help="how many stories")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--seed", type=int, help="only this one, told in full")
    parser.add_argument("--sessions", type=int, default=3)
    parser.add_argument("--processes", type=int, default=PROCESSES)
    parser.add_argument("--bug", choices=sorted(BUGS), default="", help="planted in every trader")
    asked = parser.parse_args(arguments)
    if asked.seed is not None:
        _, _, broken, steps = tell(asked.seed, asked.sessions, asked.bug)
        say(broken or "\n".join(steps))
        return 1 if broken else 0
    say(f"Seeds {asked.first} to {asked.first + asked.seeds - 1}, code {code_version(())}")
    began, runs, failed = time.monotonic(), 0, []
    seeds = range(asked.first, asked.first + asked.seeds)
    with ProcessPoolExecutor(asked.processes, get_context("spawn")) as pool:
        stories = [pool.submit(tell, seed, asked.sessions, asked.bug) for seed in seeds]
        for number, story in enumerate(as_completed(stories), 1):
            seed, done, broken, _ = story.result()
            runs += done
            if broken:
                failed.append(seed)
                say(f"{broken}\n")
            if number % 50 == 0:
                say(f"{number} stories, {runs} processes, {time.monotonic() - began:.0f} s, broken: {failed}")
    say(
        f"{len(seeds)} stories of {asked.sessions} sessions, {runs} processes, {time.monotonic() - began:.0f} s, broken: {failed}"
    )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
