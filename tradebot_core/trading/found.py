"""A mapping whose values are found when they are asked for."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeVar

V = TypeVar("V")


class Found(Mapping[int, V]):
    """What is known of each security, found when it is asked for."""

    def __init__(self, find: Callable[[int], V | None], securities: Callable[[], Sequence[int]]) -> None:
        self._find, self._securities = find, securities
        self._known: dict[int, V | None] = {}

    def __getitem__(self, security_id: int) -> V:
        if security_id not in self._known:
            self._known[security_id] = self._find(security_id)
        found = self._known[security_id]
        if found is None:
            raise KeyError(security_id)
        return found

    def __iter__(self) -> Iterator[int]:
        return (security for security in self._securities() if security in self)

    def __len__(self) -> int:
        return sum(1 for _ in self)
