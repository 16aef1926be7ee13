"""What the SEC asks of programs: to say who they are, and at most ten requests a second from a machine.

https://www.sec.gov/search-filings/edgar-search-assistance/accessing-edgar-data
"""

import re
import threading
import time
from collections.abc import Callable
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field

MOST_REQUESTS_PER_SECOND = 10


def _declared(user_agent: str) -> str:
    if not re.fullmatch(r"[\x20-\x7e]+", user_agent):
        raise ValueError("it must be one line of plain ASCII text")
    found = re.search(r"[^\s@<>()]+@([A-Za-z0-9-]+\.)+[A-Za-z]{2,}", user_agent)
    if not found:
        raise ValueError("the SEC wants to know who asks: give a name and a contact e-mail, such as Jane Doe jane@doe.net")
    if re.search(r"@([^\s@]+\.)?example\.(com|org|net)\b|@domain\.|your", user_agent, re.IGNORECASE):
        raise ValueError(f"{found[0]} is a placeholder: give a contact e-mail of your own")
    return user_agent.strip()


def _secure(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme != "https" and parts.hostname not in ("127.0.0.1", "localhost"):
        raise ValueError("the address must begin with https://")
    return url.rstrip("/")


UserAgent = Annotated[str, AfterValidator(_declared)]
BaseUrl = Annotated[str, AfterValidator(_secure)]
Rate = Annotated[float, Field(gt=0, le=MOST_REQUESTS_PER_SECOND)]


class Limiter:
    """Spaces the requests of all who share it evenly: with a rate of 8, two of them begin at least 125 ms apart."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, sleep: Callable[[float], None] = time.sleep) -> None:
        self._clock, self._sleep = clock, sleep
        self._lock = threading.Lock()
        self._last = float("-inf")
        self._not_before = float("-inf")

    def wait(self, per_second: float) -> None:
        """Returns when the next request may begin. Waiting threads are let through one by one."""
        with self._lock:
            at = max(self._last + 1 / per_second, self._not_before)
            while (left := at - self._clock()) > 0:
                self._sleep(left)
            self._last = self._clock()

    def pause(self, seconds: float) -> None:
        """Nobody begins a request before that: what one was told to wait, all wait."""
        with self._lock:
            self._not_before = max(self._not_before, self._clock() + seconds)


SHARED = Limiter()  # the SEC counts by machine: all clients of the process wait their turn here
