"""Stories drawn from seeds, and whether the suite can fail: bugs that are planted in the traders must be found."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.faults.planted import BUGS
from tests.faults.story import Broken, Story, again, tell
from tests.faults.world import SESSIONS, at

DAY, NEXT = SESSIONS[:2]
BUY, SEED = (f"{DAY} buy AAA 0.3",), 5
STORIES, EACH = 208, 26  # `make faults` tells more
AT_ONCE = 5  # stories wait more than they work


@pytest.mark.parametrize("first", range(0, STORIES, EACH))
def test_whatever_goes_wrong_the_ledger_is_the_broker_s_truth(first):
    with ThreadPoolExecutor(AT_ONCE) as threads:
        broken = [found for _, _, found, _ in threads.map(lambda seed: tell(seed, 2), range(first, first + EACH)) if found]
    assert not broken, "\n\n".join(broken)


# What each bug must look like to the oracle, and a seed at which it has been found. Where the stories have changed since, one of the
# next will find it.
SEEN = {
    "resend on unknown": ("2 orders", 6),
    "send what is sending": ("2 orders", 9),
    "send before it is written": ("2 orders", 17),
    "forget a fill": ("is not in the ledger", 0),
    "double a fill": ("is not at the broker", 0),
    "lose the commission": ("cash ", 0),
    "round prices": ("entered as", 0),
    "reuse a key": ("which the ledger has not", 0),
    "ignore corrections": ("entered as", 3),
    "pay a dividend twice": ("cash ", 17),
    "forget splits": ("positions ", 3),
    "look never again": ("entered as", 3),
}


@pytest.mark.parametrize("bug", sorted(BUGS))
def test_the_oracle_catches(bug):
    """The failure names the seed, the step and the command that repeats it."""
    looks, first = SEEN[bug]
    for seed in range(first, first + 60):
        _, _, broken, _ = tell(seed, 2, bug)
        if looks in broken:
            assert broken.startswith(f"seed {seed}, after run ")
            assert broken.endswith(again(seed, 2, bug))
            return
    pytest.fail(f"{bug} passes for right")


def test_the_oracle_sees_a_second_order(tmp_path):
    with Story(tmp_path, SEED, BUY) as story:
        story.evening(DAY)
        story.dawn(DAY)
        exchange = story.tws.exchange
        (order,) = exchange.open_orders()
        exchange.twin(order)
        story.clock.set(at(NEXT, 18))
        with pytest.raises(Broken, match="2 orders at the broker"):
            story.look(DAY)


def test_the_oracle_sees_a_fill_that_was_not_entered_and_the_cash(tmp_path):
    with Story(tmp_path, SEED, BUY) as story:
        story.evening(DAY)
        story.dawn(DAY)
        story.clock.set(at(NEXT, 18))
        story.tws.exchange.advance()
        with pytest.raises(Broken, match=r"is not in the ledger(.|\n)*cash(.|\n)*positions"):
            story.look(NEXT)
