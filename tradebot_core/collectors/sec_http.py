"""A polite reader of the SEC's web servers: declared, limited in rate, patient with failures, and never satisfied with half a file.

Who does not keep to the SEC's rules (sec_manners) is answered with 403 and a web page, for ten minutes after the last request.
Going on asking prolongs that, so such an answer ends the work.
"""

import logging
import random
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar
from urllib.parse import urlsplit

import requests
from urllib3.exceptions import InvalidHeader
from urllib3.util import Retry

from tradebot_core.collectors.sec_manners import MOST_REQUESTS_PER_SECOND, SHARED, Limiter
from tradebot_core.errors import DataError

CHUNK_BYTES = 1 << 18
_MAX_BYTES = 1 << 29  # of one file in memory; the largest companyfacts file is below 100 MB
_TIMEOUTS_S = (10, 60)  # to connect; between two pieces of the answer
_ATTEMPTS = 6
_FIRST_BACK_OFF_S, _LONGEST_BACK_OFF_S = 1.0, 60.0
_LONGEST_WAIT_S = 600  # the SEC's own pause; who is told to wait longer comes back another day
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
_PAUSE = Retry(retry_after_max=10**9)  # only its reading of Retry-After
_LOG = logging.getLogger(__name__)
_T = TypeVar("_T")


class SecRefused(DataError):
    """The SEC does not want to hear from this machine at present. Nothing more is asked."""


class SecUnavailable(DataError):
    """One file could not be had after all attempts; others may be."""


class Spoilt(Exception):
    """An answer that arrived and is not what was asked for; it may be right the next time."""


@dataclass(frozen=True)
class Validators:
    """What a server said of a file's version, to be shown to it the next time."""

    etag: str | None = None
    last_modified: str | None = None

    @classmethod
    def of(cls, headers: Mapping[str, str]) -> "Validators":
        return cls(headers.get("ETag"), headers.get("Last-Modified"))

    def headers(self) -> dict[str, str]:
        found = {"If-None-Match": self.etag, "If-Modified-Since": self.last_modified}
        return {name: value for name, value in found.items() if value}


@dataclass(frozen=True)
class Fetched:
    content: bytes
    validators: Validators


@dataclass(frozen=True)
class Unchanged:
    """The version that was shown to the server is still the current one (304)."""


@dataclass(frozen=True)
class Absent:
    """There is no such file (404, or 403 in the words of its file store)."""


@dataclass(frozen=True)
class SecClient:
    """Reads files over HTTP. `get` returns whole, checked content; `open` hands out an answer to be read piece by piece."""

    user_agent: str
    per_second: float = 8
    limiter: Limiter = SHARED
    session: requests.Session = field(default_factory=requests.Session)
    attempts: int = _ATTEMPTS
    timeouts_s: tuple[float, float] = _TIMEOUTS_S

    def get(
        self, url: str, check: Callable[[bytes], object], validators: Validators | None = None
    ) -> Fetched | Unchanged | Absent:
        """The whole file, unpacked. `check` raises ValueError when it is not what it should be: it is asked for again.

        Raises SecUnavailable when it could not be had after all attempts, SecRefused when the SEC refuses to answer at all.
        """

        def attempt() -> Fetched | Unchanged | Absent:
            shown = (validators or Validators()).headers()
            with self.open(url, {"Accept-Encoding": "gzip, deflate", **shown}) as response:
                if response.status_code == requests.codes.not_modified and shown:
                    return Unchanged()
                if is_absent(response):
                    return Absent()
                if response.status_code != requests.codes.ok:
                    raise Spoilt(f"the answer was {response.status_code} {response.reason}")
                content = _whole(response)
                try:
                    check(content)
                except ValueError as error:
                    raise Spoilt(f"what came cannot be read ({error})") from None
                return Fetched(content, Validators.of(response.headers))

        return self.persist(url, attempt)

    def persist(self, url: str, attempt: Callable[[], _T], *, advanced: Callable[[], bool] = lambda: False) -> _T:
        """Repeats `attempt` after a passing failure, waiting longer each time, with jitter; the SEC's Retry-After counts.

        Attempts after which `advanced` says that something was gained are not counted.
        """
        failures = 0
        while True:
            try:
                return attempt()
            except (requests.RequestException, Spoilt, _Passing) as error:
                failures = 1 if advanced() else failures + 1
                cause = _words(error)
                if failures >= self.attempts:
                    raise SecUnavailable(
                        f"{url} could not be had in {failures} attempts: {cause}.",
                        "Run it again later: what has arrived is kept, and it goes on from there.",
                    ) from None
                wait = getattr(error, "retry_after_s", None)
                if wait is None:
                    wait = min(_LONGEST_BACK_OFF_S, _FIRST_BACK_OFF_S * 2 ** (failures - 1)) * random.uniform(0.5, 1)
                if wait > _LONGEST_WAIT_S:
                    raise SecRefused(
                        f"{urlsplit(url).hostname} asks to be left alone for {wait:.0f} seconds.",
                        "Run it again after that: what has arrived is kept, and it goes on from there.",
                    ) from None
                _LOG.info("%s: %s; asking again in %.1f s", url, cause, wait)
                self.limiter.pause(wait)

    @contextmanager
    def open(self, url: str, headers: Mapping[str, str]) -> Iterator[requests.Response]:
        """One request. Hands out answers that are a file, a part of one, unchanged or absent; raises for everything else."""
        self.limiter.wait(self.per_second)
        declared = {"User-Agent": self.user_agent, **headers}
        with self.session.get(url, headers=declared, stream=True, timeout=self.timeouts_s, allow_redirects=False) as response:
            status = response.status_code
            if status in _PASSING:
                raise _Passing(f"the answer was {status} {response.reason}", _retry_after(response))
            if status == requests.codes.forbidden and not is_absent(response):
                raise _refusal(url, response, self.user_agent)
            if status >= requests.codes.bad_request and status not in (404, 416) and not is_absent(response):
                raise SecUnavailable(
                    f"{url} was answered with {status} {response.reason}.",
                    "Compare the address with the SEC's documentation of its interfaces.",
                )
            if response.is_redirect:
                raise Spoilt(f"it was answered with a redirection to {response.headers.get('Location')}")
            if response.ok and "text/html" in response.headers.get("Content-Type", "").lower():
                raise Spoilt(f"a web page came instead of the file ({_title(response)})")
            yield response


class _Passing(Exception):
    def __init__(self, cause: str, retry_after_s: float | None) -> None:
        super().__init__(cause)
        self.retry_after_s = retry_after_s


def is_absent(response: requests.Response) -> bool:
    """The SEC's files lie in an object store that answers 403 AccessDenied, in XML, for a name it does not have: so it is for
    the index of a holiday. The refusals of the SEC itself are web pages."""
    if response.status_code == requests.codes.not_found:
        return True
    return response.status_code == requests.codes.forbidden and bool(
        re.search(rb"<Code>(AccessDenied|NoSuchKey)</Code>", _beginning(response))
    )


def _beginning(response: requests.Response) -> bytes:
    """Of an error's body; read once."""
    if not hasattr(response, "sec_beginning"):
        try:
            response.sec_beginning = next(response.iter_content(1 << 15), b"")  # type: ignore[attr-defined]
        except requests.RequestException:  # the status says enough; its page was cut off
            response.sec_beginning = b""  # type: ignore[attr-defined]
    return response.sec_beginning  # type: ignore[attr-defined,no-any-return]


def _title(response: requests.Response) -> str:
    found = re.search(rb"<title>\s*([^<]{1,200}?)\s*</title>", _beginning(response), re.IGNORECASE)
    return found[1].decode("utf-8", "replace") if found else "without a title"


def _refusal(url: str, response: requests.Response, user_agent: str) -> SecRefused:
    host, page = urlsplit(url).hostname, _beginning(response)
    if b"Rate Threshold" in page:
        return SecRefused(
            f"{host} blocks this machine: it had more than {MOST_REQUESTS_PER_SECOND} requests a second from it.",
            "Let every program here that asks the SEC rest for ten minutes, set params.requests_per_second lower if there are "
            "others, and run it again: it goes on from where it stopped.",
        )
    return SecRefused(
        f"{host} refuses this program (403, {_title(response)}). It was introduced as: {user_agent}",
        "Give params.user_agent your name and a contact e-mail, and run it again after ten minutes: before that every request "
        "is refused and prolongs the block.",
    )


def _retry_after(response: requests.Response) -> float | None:
    value = response.headers.get("Retry-After")
    if value is None:
        return None
    try:
        return float(_PAUSE.parse_retry_after(value))
    except InvalidHeader:  # as if it had said nothing
        return None


def _whole(response: requests.Response) -> bytes:
    """The body, unpacked. urllib3 compares it with Content-Length and raises when it is short."""
    body = bytearray()
    for piece in response.iter_content(CHUNK_BYTES):
        body += piece
        if len(body) > _MAX_BYTES:
            raise SecUnavailable(f"{response.url} is larger than {_MAX_BYTES} bytes.", "That is no file of one company.")
    return bytes(body)


def _words(error: Exception) -> str:
    if isinstance(error, requests.Timeout):
        return "no answer in time"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "the answer broke off"
    if isinstance(error, requests.ConnectionError):
        return "the connection failed"
    return str(error).rstrip(".")
