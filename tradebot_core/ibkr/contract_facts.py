"""Contract details of many shares, as they come and through connections that break."""

from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime

from ib_async import IB

from tradebot_core.config import IbkrSettings
from tradebot_core.ibkr.connection import BrokerError, Client, broker_time
from tradebot_core.ibkr.contracts import ContractFacts, Named, facts_of
from tradebot_core.ibkr.resuming import Remaining, resumed, some_at_a_time


@dataclass(frozen=True, slots=True)
class ContractAnswered:
    """`number`: which of the shares. `asked_at`: the broker's time."""

    number: int
    asked_at: datetime
    facts: ContractFacts | BrokerError


def contract_facts(
    settings: IbkrSettings,
    shares: Sequence[Named],
    wanted: Callable[[datetime], Sequence[int]],
    in_flight: int,
    reconnects: int,
) -> Iterator[ContractAnswered]:
    """The answers as they come. `wanted` is told the broker's time, once, and says which of the shares to ask for, in which order.

    Raises DataError when no connection can be made, or `reconnects` in a row brought nothing.
    """
    remaining = Remaining(len(shares))

    async def work(ib: IB) -> AsyncIterator[tuple[int, ContractAnswered]]:
        now = await broker_time(ib)
        if not remaining.begun:
            remaining.begun = True
            remaining.only(wanted(now))
        answers = some_at_a_time(deque(remaining.numbers), in_flight, lambda number: facts_of(ib, shares[number]))
        async with aclosing(answers):
            async for number, facts in answers:
                yield number, ContractAnswered(number, now, facts)

    for _, found in resumed(settings, remaining, work, Client.CONTRACTS, reconnects):
        yield found
