"""A web server on this machine that answers as the SEC's do, well and badly, and remembers what it was asked."""

import gzip
import socket
import struct
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tradebot_core.collectors.sec_manners import Limiter

UNDECLARED = b"<!DOCTYPE html><html><head><title>SEC.gov | Your Request Originates from an Undeclared Automated Tool</title></head></html>"
TOO_FAST = b"<html><head><title>SEC.gov | Request Rate Threshold Exceeded</title></head><body>ten minutes</body></html>"
NO_SUCH_FILE = b'<?xml version="1.0"?><Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>'
MAINTENANCE = b"<html><head><title>SEC.gov | Maintenance</title></head><body>Back soon.</body></html>"


@dataclass(frozen=True)
class Fault:
    """What comes instead of the file: once for each time it is put in the list of a path's faults."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    cut_to: int | None = None  # Content-Length says more than is sent
    reset: bool = False  # the connection is torn down without an answer
    delay_s: float = 0


@dataclass(frozen=True)
class Asked:
    path: str
    headers: Mapping[str, str]
    status: int


class SecServer:
    """`files` by path; their ETag is their digest. `faults` come first, in order; one under "*" meets whatever is asked."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.files: dict[str, bytes] = {}
        self.modified: dict[str, datetime] = {}
        self.faults: dict[str, list[Fault]] = {}
        self.asked: list[Asked] = []
        self.with_etags = True
        self.with_ranges = True

    def paths(self) -> list[str]:
        return [asked.path for asked in self.asked]

    def since(self, count: int) -> list[tuple[str, int]]:
        """Path and status of what was asked after the first `count` requests."""
        return [(asked.path, asked.status) for asked in self.asked[count:]]


def etag_of(content: bytes) -> str:
    return f'"{sha256(content).hexdigest()[:16]}"'


@contextmanager
def sec_server() -> Iterator[SecServer]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            faults = sec.faults.get(self.path) or sec.faults.get("*")
            if faults:
                self._fail(faults.pop(0))
            elif self.path not in sec.files:
                self._answer(404, b"<Error><Code>NoSuchKey</Code></Error>", {"Content-Type": "application/xml"})
            else:
                self._serve(sec.files[self.path])

        def _serve(self, content: bytes) -> None:
            etag, shown = etag_of(content), self._version(content)
            if sec.with_etags and self.headers.get("If-None-Match") == etag:
                return self._answer(304, b"", shown)
            wanted = self.headers.get("Range")
            if sec.with_ranges and wanted and self.headers.get("If-Range") in (etag, shown.get("Last-Modified"), None):
                begin = int(wanted.removeprefix("bytes=").rstrip("-"))
                shown["Content-Range"] = f"bytes {begin}-{len(content) - 1}/{len(content)}"
                return self._answer(206, content[begin:], shown)
            if "gzip" in self.headers.get("Accept-Encoding", ""):
                return self._answer(200, gzip.compress(content), {**shown, "Content-Encoding": "gzip"})
            return self._answer(200, content, shown)

        def _version(self, content: bytes) -> dict[str, str]:
            shown = {"Content-Type": "application/json"}
            if sec.with_etags:
                shown["ETag"] = etag_of(content)
            if self.path in sec.modified:
                shown["Last-Modified"] = format_datetime(sec.modified[self.path].astimezone(UTC), usegmt=True)
            return shown

        def _fail(self, fault: Fault) -> None:
            time.sleep(fault.delay_s)
            if fault.reset:
                sec.asked.append(Asked(self.path, dict(self.headers), 0))
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.close_connection = True
                self.connection.close()
                return
            if fault.cut_to is not None:
                body = fault.body or sec.files[self.path]
                begin = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").rstrip("-"))
                shown = {**self._version(body), **fault.headers}
                if begin:
                    shown["Content-Range"] = f"bytes {begin}-{len(body) - 1}/{len(body)}"
                self._answer(
                    206 if begin else 200, body[begin : fault.cut_to], {**shown, "Content-Length": str(len(body) - begin)}
                )
                self.close_connection = True
                return
            self._answer(fault.status, fault.body, {"Content-Type": "text/html", **fault.headers})

        def _answer(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
            sec.asked.append(Asked(self.path, dict(self.headers), status))
            try:
                self.send_response(status)
                for name, value in {"Content-Length": str(len(body)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)
            except OSError:  # who asked has gone: a test of impatience
                self.close_connection = True

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: object, client_address: object) -> None:
            if not isinstance(sys.exception(), ConnectionError):  # a connection that was torn down is what some tests are about
                super().handle_error(request, client_address)

    server = Server(("127.0.0.1", 0), Handler)
    sec = SecServer(f"http://127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield sec
    finally:
        server.shutdown()
        server.server_close()


class FakeTime:
    """Time that passes only when someone sleeps."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds

    def limiter(self) -> Limiter:
        return Limiter(self, self.sleep)
