"""XML from a vendor, read without trust: no DTD, no entities, no network, and bounds on size, depth and number of elements.

A document that is not what it should be is refused whole (`Unreadable`), never half-read. Reports are UTF-8: one that declares
another encoding, or is not what it declares, is refused instead of guessed at.
"""

import re
from dataclasses import dataclass
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, ParseError, TreeBuilder

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import DefusedXMLParser

from tradebot_core.interfaces import Rejected

MAX_BYTES = 8 << 20  # a real report of full statements has 94 kB
MAX_DEPTH = 32  # real ones have 7
MAX_ELEMENTS = 200_000  # real ones have 2,000
_UTF8_BOM = b"\xef\xbb\xbf"
_UTF8_NAMES = {"utf-8", "utf8", "us-ascii", "ascii"}
_DECLARED = re.compile(rb"""<\?xml\s[^>]{0,200}?encoding\s*=\s*["']([A-Za-z0-9._-]{1,40})["']""")


class Unreadable(Exception):
    """Why a document is refused: `rule` for machines, `reason` for people."""

    def __init__(self, rule: str, reason: str) -> None:
        super().__init__(reason)
        self.rule = rule
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Document:
    """What was received or found: its bytes, or None where there are too many of them, and their hash."""

    name: str
    content: bytes | None
    sha256: str
    size: int

    @classmethod
    def of(cls, name: str, content: bytes) -> "Document":
        return cls(name, content, sha256(content).hexdigest(), len(content))

    @classmethod
    def at(cls, path: Path) -> "Document":
        """A file. One that is too large is hashed in pieces and not kept in memory."""
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
            if len(content) <= MAX_BYTES:
                return cls.of(path.name, content)
            del content
            file.seek(0)
            digest = file_digest(file, "sha256").hexdigest()
            return cls(path.name, None, digest, file.tell())

    def refused(self, rule: str, reason: str) -> Rejected:
        begins = (self.content or b"")[:80].decode("utf-8", "replace")
        return Rejected({"file": self.name, "sha256": self.sha256, "bytes": self.size, "begins": begins}, rule, reason)


def root_of(document: Document) -> Element:
    """The root element. Raises Unreadable."""
    content = document.content
    if content is None or len(content) > MAX_BYTES:
        raise Unreadable("too_large", f"{document.size} bytes; the limit is {MAX_BYTES}")
    content = content.removeprefix(_UTF8_BOM)
    if not content.strip():
        raise Unreadable("empty", "there is nothing in it")
    _require_utf8(content)
    if content.lstrip()[:14].lower().startswith((b"<!doctype html", b"<html")):
        raise Unreadable("web_page", "it is a web page, not a report")
    parser = DefusedXMLParser(target=_Bounded(), encoding="utf-8", forbid_dtd=True)
    try:
        parser.feed(content)
        return parser.close()
    except DefusedXmlException as error:
        raise Unreadable("forbidden_markup", f"a report needs no DTD and no entities, and this has them: {error}") from None
    except ParseError as error:
        raise Unreadable("not_xml", f"it is truncated or not XML: {error}") from None


def _require_utf8(content: bytes) -> None:
    if content[:2] in (b"\xff\xfe", b"\xfe\xff") or b"\0" in content[:4]:
        raise Unreadable("wrong_encoding", "it is UTF-16 or UTF-32, and reports are UTF-8")
    declared = _DECLARED.match(content.lstrip()[:300])
    if declared is not None and declared[1].decode().lower() not in _UTF8_NAMES:
        raise Unreadable("wrong_encoding", f"it declares the encoding {declared[1].decode()}, and reports are UTF-8")
    try:
        content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Unreadable("wrong_encoding", f"it is not UTF-8: {error.reason} at byte {error.start}") from None


class _Bounded(TreeBuilder):
    """Stops at the bound: what comes behind it costs nothing."""

    def __init__(self) -> None:
        super().__init__()
        self._depth = self._elements = 0

    def start(self, tag: Any, attrs: Any) -> Element:
        self._depth += 1
        self._elements += 1
        if self._depth > MAX_DEPTH:
            raise Unreadable("too_deep", f"elements are nested more than {MAX_DEPTH} deep")
        if self._elements > MAX_ELEMENTS:
            raise Unreadable("too_many_elements", f"it has more than {MAX_ELEMENTS} elements")
        return super().start(tag, attrs)

    def end(self, tag: str) -> Element:
        self._depth -= 1
        return super().end(tag)
